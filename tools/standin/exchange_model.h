// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/intrusive_list.h"
#include "core/base/time.h"
#include "core/sync.h"
#include "core/timer_wheel.h"
#include "proto/ews_server.h"
#include "tools/standin/exchange.h"

// The mailboxes of the stand-in as plain data: no I/O, no clock. One core.
namespace bellhop::standin {

struct Mailbox;
struct CallbackHost;
struct ActiveSyncDevice;

// Ids and watermarks look like Exchange's: opaque base64. Inside are the mailbox's tag and a number.
struct MailboxMark {
  uint64_t tag = 0;
  uint64_t number = 0;
  friend bool operator==(const MailboxMark&, const MailboxMark&) = default;
};
std::string item_id_text(MailboxMark mark);
std::string folder_id_text(MailboxMark mark);
std::string watermark_text(MailboxMark mark);
// Nothing where the text is not what the function above makes.
std::optional<MailboxMark> parse_item_id(std::string_view text);
std::optional<MailboxMark> parse_watermark(std::string_view text);

// The spelling under which a mailbox is looked up: lower case, without "DOMAIN\" and "@domain".
std::string account_name(std::string_view name);

// True for a callback URL that Exchange takes: 1 to 2,082 bytes, http or https, with a host.
struct CallbackUrl {
  bool tls = true;
  std::string host;  // without brackets
  std::string authority;
  uint16_t port = 443;
  std::string_view target;  // into the text
};
std::optional<CallbackUrl> parse_callback_url(std::string_view text);

struct StoredItem {
  uint64_t number = 0;
  WallTime received;
  std::string subject, sender_name, sender_address, conversation, preview;
  proto::Sensitivity sensitivity = proto::Sensitivity::normal;
  bool read = false;
  std::string element, item_class;
};

// An event that a subscription has still to hear of.
struct PendingEvent {
  proto::EventKind kind = proto::EventKind::status;
  uint64_t number = 0;  // of the watermark
  uint64_t item = 0;    // 0: the folder
  int32_t unread = 0;
  WallTime at;
};

// One push subscription. Owned by its mailbox. Invariants:
//  1. state idle: nothing is pending, the heartbeat's timer is armed (where heartbeats are on).
//  2. state waiting: the first `sent` events failed `failures` times and the timer is armed for the next attempt.
//  3. state sending: one flow works on it and alone may end it; others set `doom` instead.
struct Subscription : ListLink {
  enum class State : uint8_t { fresh, idle, sending, waiting };
  enum class Doom : uint8_t { none, forgotten, overflow };

  explicit Subscription(void (*on_timer)(Timer&)) : timer(on_timer, this) {}

  struct OwnTimer : Timer {
    OwnTimer(void (*function)(Timer&), Subscription* s) : Timer(function), subscription(s) {}
    Subscription* subscription;
  };

  void* part = nullptr;  // the Exchange::Part that it lives in; for the timer
  Mailbox* mailbox = nullptr;
  CallbackHost* host = nullptr;
  std::string id, target;
  uint32_t frequency_minutes = 30;
  uint32_t kinds = 0;  // bit per EventKind
  uint64_t last = 0;   // number of the last acknowledged event
  std::vector<PendingEvent> pending;
  uint32_t sent = 0;
  uint32_t failures = 0;
  State state = State::fresh;
  Doom doom = Doom::none;
  OwnTimer timer;

  bool wants(proto::EventKind kind) const {
    return kind == proto::EventKind::status || (kinds >> static_cast<unsigned>(kind) & 1) != 0;
  }
};

// A pull or streaming subscription: its owner asks for the events. Owned by its mailbox.
struct Readable {
  std::string id;
  bool streaming = false;
  uint32_t kinds = 0;  // bit per EventKind
  uint64_t last = 0;   // number of the last event that was read
  std::deque<PendingEvent> pending;
};

struct Mailbox {
  Mailbox();
  ~Mailbox();

  std::string address, username, password;
  uint64_t tag = 0;
  uint64_t number = 0;  // of the last event or item
  int32_t unread = 0;
  std::vector<StoredItem> items;  // oldest first
  std::vector<std::unique_ptr<Subscription>> subscriptions;
  std::vector<std::unique_ptr<Readable>> readables;
  std::map<std::string, std::unique_ptr<ActiveSyncDevice>> devices;  // by id, lower case
  Event changed;  // set and at once reset whenever something happens: for those who wait for mail
  MailboxBooks books;

  MailboxMark mark(uint64_t n) const { return {tag, n}; }
  StoredItem* find(uint64_t item_number);
};

inline constexpr size_t kReadableEventsMax = 10'000;  // the oldest ones go

// Whether the folder that a request names is the mailbox's Inbox.
bool asks_inbox(const Mailbox& mailbox, const proto::EwsRequest& request);

// A mail arrives, or items change. The events are appended to the subscriptions that want them.
void arrive(Mailbox& mailbox, Mail mail, WallTime now, uint32_t items_max);
void read_elsewhere(Mailbox& mailbox, uint32_t count, WallTime now);
void delete_newest(Mailbox& mailbox, uint32_t count);
// The next status event.
PendingEvent make_status(Mailbox& mailbox, WallTime now);

// m:SendNotification for the first `sent` events of a subscription.
void write_notification(const Subscription& subscription, proto::ExchangeVersion version, std::string& out);

// The build that a version of the stand-in says it is.
proto::ServerVersion server_version(proto::ExchangeVersion version);

// Answers to GetItem, FindItem and GetFolder, as whole SOAP messages. `request` was read from the wire. `refused` says whether any
// message is an error.
void answer_get_item(Mailbox& mailbox, const proto::EwsRequest& request, const proto::ServerVersion& server,
                     std::string& out, bool& refused);
void answer_find_item(Mailbox& mailbox, const proto::EwsRequest& request, const proto::ServerVersion& server,
                      std::string& out, bool& refused);
void answer_get_folder(Mailbox& mailbox, const proto::EwsRequest& request, const proto::ServerVersion& server,
                       std::string& out, bool& refused);
// A response message of the operation that says error, or a SOAP fault.
void answer_error(const proto::EwsRequest& request, std::string_view code, std::string_view text,
                  std::optional<uint32_t> back_off_ms, std::string& out);
void answer_fault(proto::SoapVersion version, std::string_view code, std::string_view text,
                  std::optional<uint32_t> back_off_ms, std::string& out);

}  // namespace bellhop::standin
