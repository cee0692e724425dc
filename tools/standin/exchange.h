// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/error.h"
#include "core/base/ip.h"
#include "core/base/time.h"
#include "core/io.h"
#include "core/task.h"
#include "proto/ews.h"
#include "proto/ews_response.h"
#include "tools/standin/access_token.h"
#include "tools/standin/exchange_requests.h"

namespace bellhop::standin {

// When the status event that Exchange sends for each new push subscription arrives.
enum class FirstStatus : uint8_t {
  after_answer,   // the Subscribe answer left first
  before_answer,  // the callback is over (or failed) before the Subscribe answer leaves
};

// How clients of EWS prove who they are.
enum class ExchangeLogon : uint8_t {
  password,     // Basic, or a bearer token
  certificate,  // of the authority client_ca_pem, for the mailbox that it names; no TLS without one
  dual,         // both, for one mailbox
};

struct ExchangeOptions {
  // The stand-in lives on the cores [first_core, first_core + cores) of the cluster.
  unsigned first_core = 0;
  unsigned cores = 1;
  SocketAddress listen;                  // EWS over TLS; port 0 picks one
  std::optional<SocketAddress> control;  // plain HTTP with JSON, see exchange_control.cc; loopback only
  std::string certificate_pem;           // chain and key of the EWS listener
  std::string key_pem;
  std::string callback_ca_pem;  // whom the callback listener's certificate must come from
  // Of StatusFrequency and the retry schedule: 0.01 makes them a hundred times faster.
  double time_scale = 1.0;
  FirstStatus first_status = FirstStatus::after_answer;
  bool heartbeats = true;
  bool expect_continue = true;  // callbacks wait for 100 Continue, as .NET does; HTTP/1.1 only
  bool callback_http2 = false;  // callbacks over TLS come by HTTP/2
  uint32_t callback_connections_max = 64;  // per core and callback host
  Duration callback_timeout = 30s;         // from the request to the end of its answer
  uint32_t callback_hosts_max = 64;        // per core
  uint32_t mailboxes_max = 2'000'000;      // per core
  uint32_t items_per_mailbox_max = 1'000;  // the oldest ones go
  uint32_t subscriptions_per_mailbox_max = 20;
  uint32_t pending_events_max = 10'000;  // per subscription; one that falls further behind dies
  uint32_t events_per_notification_max = 100;
  uint32_t connections_max = 20'000;  // per core, of the EWS listener
  uint32_t faults_max = 64;
  // What it is: its ServerVersionInfo, and the latest RequestServerVersion that it takes.
  proto::ExchangeVersion version = proto::ExchangeVersion::exchange2016;
  std::shared_ptr<const TokenKey> token_key;  // bearer tokens signed with it are taken; null: Basic only
  ExchangeLogon logon = ExchangeLogon::password;
  std::string client_ca_pem;  // whom clients' certificates come from
  bool gzip = false;  // answers are gzip where the client takes it
  std::optional<SocketAddress> autodiscover_http;  // the plain listener of Autodiscover's last way; loopback only
  uint32_t ledger_kept = 0;  // entries per core, for ledger_after(); older ones are forgotten; 0: no ledger
  uint32_t requests_kept = 0;  // per core, for requests_after(), as above
  // What a 401 offers beside Bearer, and what is taken: Basic; Negotiate, if somebody can read its tokens; NTLM is only offered.
  bool offers_basic = true;
  bool offers_negotiate = false;
  bool offers_ntlm = false;
  // Who reads Kerberos tokens: POST / with {"token": base64, "host": …} is answered 200 {"user": principal, "token": base64 of the
  // reply}, or with another status. Plain HTTP on loopback.
  std::optional<SocketAddress> negotiate_helper;
  bool affinity = false;   // answers set Exchange's routing cookies, and books say whether they come back
  bool talkative = false;  // answers have the fields with which IIS and Exchange tell of themselves and of ways around a proxy
  // ---- ActiveSync ----
  bool provisioning = false;         // a device must have come by Provision
  uint32_t heartbeat_seconds_min = 60;
  uint32_t devices_per_mailbox_max = 100;
};

struct MailboxSpec {
  std::string address;
  std::string username;  // for Basic; empty = the address. "DOMAIN\name" and "name" work where name is the local part
  std::string password;
};

// One mail that arrives in an Inbox.
struct Mail {
  std::string subject;
  std::string sender_name;
  std::string sender_address;
  std::string conversation;  // its id; empty: one of its own
  std::string preview;
  proto::Sensitivity sensitivity = proto::Sensitivity::normal;
  bool gone = false;  // deleted again before anybody can fetch it
  std::string element = "Message";  // "MeetingRequest", "Task", ...
  std::string item_class = "IPM.Note";
};

// What a request meets instead of, or before, its ordinary answer.
enum class EwsFaultKind : uint8_t {
  none,          // only the delay
  unauthorized,  // 401
  invalid_token,  // 401 with the bearer error of that name
  claims,         // 401 with the bearer error insufficient_claims and claims to ask for
  unavailable,   // plain 503, with Retry-After where back_off is set
  server_busy,   // 500 with the SOAP fault ErrorServerBusy, BackOffMilliseconds where back_off is set
  server_error,  // 500 with the SOAP fault ErrorInternalServerError
  inner_busy,    // 200 whose response message says ErrorServerBusy
  response_code, // 200 whose response message is an error with `code`
  garbage,       // 200 with bytes that are no XML
  truncated,     // 200 with half of the XML
  redirect,      // 302 to another host
  drop,          // the connection ends without an answer
};
std::string_view ews_fault_name(EwsFaultKind kind);
std::optional<EwsFaultKind> parse_ews_fault(std::string_view name);

enum class EwsOperation : uint8_t { subscribe, get_item, find_item, get_folder, other };
inline constexpr size_t kEwsOperationCount = 5;
std::string_view ews_operation_name(EwsOperation operation);
std::optional<EwsOperation> parse_ews_operation(std::string_view name);

// A fault on demand. The first one that fits a request is used.
struct EwsFault {
  EwsFaultKind kind = EwsFaultKind::none;
  std::optional<EwsOperation> operation;  // nothing: all
  std::string mailbox;                    // address; empty: all
  uint64_t count = 0;                     // requests that meet it; 0: all until clear_faults()
  Duration delay{};                       // before the answer
  Duration back_off{};
  std::string code;  // of response_code, as Exchange writes it: "ErrorMailboxMoveInProgress"
  Duration lasting{};  // of the stand-in's scaled clock, from add_fault() on; 0: until clear_faults()
  Instant until{};     // set by add_fault(); the epoch: no end
};

// The same for ActiveSync.
enum class ActiveSyncFaultKind : uint8_t {
  none,      // only the delay
  status,    // an answer of HTTP alone, with `status`; 503 with Retry-After where back_off is set
  moved,     // 451 with X-MS-Location `target`
  found,     // 302 with Location `target`
  common,    // 200 whose root says Status `status`
  garbage,   // 200 with bytes that are no WBXML
  truncated, // 200 with half of the answer
  drop,      // the connection ends without an answer
};
std::string_view activesync_fault_name(ActiveSyncFaultKind kind);
std::optional<ActiveSyncFaultKind> parse_activesync_fault(std::string_view name);
struct ActiveSyncFault {
  ActiveSyncFaultKind kind = ActiveSyncFaultKind::none;
  std::string command;  // "Ping", "OPTIONS"; empty: all
  std::string mailbox;  // address; empty: all
  uint64_t count = 0;   // as in EwsFault
  Duration delay{};
  Duration back_off{};
  uint16_t status = 403;
  std::string target;
};

// What becomes of a callback on demand, whatever the server does. Both are faults of Exchange or of the way to it, and
// show that what looks at the books sees them.
enum class CallbackFaultKind : uint8_t {
  ignore_answer,  // an answer that came counts as none: Exchange repeats what the server has done
  count_as_ok,    // the callback counts as answered OK before it is sent, and is then sent all the same
};
std::string_view callback_fault_name(CallbackFaultKind kind);
std::optional<CallbackFaultKind> parse_callback_fault(std::string_view name);
struct CallbackFault {
  CallbackFaultKind kind = CallbackFaultKind::ignore_answer;
  std::string mailbox;  // address; empty: all
  uint64_t count = 0;   // notifications with new mail that meet it; 0: all until clear_faults()
};

// What a question of Autodiscover meets. The listener of EWS serves both forms; credentials are asked for.
enum class AutodiscoverMode : uint8_t {
  settings,          // the EWS URL of this stand-in, as the request's Host names it; `target` instead where it is set
  redirect_http,     // 302 to `target`
  redirect_url,      // inside the answer
  redirect_address,  // inside the answer
  loop,              // 302 to itself
  html,              // 200 with a page
  not_found,         // 404
  unauthorized,      // 401
  stall,             // no answer
  huge,              // more than anybody takes
};
std::string_view autodiscover_mode_name(AutodiscoverMode mode);
std::optional<AutodiscoverMode> parse_autodiscover_mode(std::string_view name);
struct AutodiscoverScript {
  AutodiscoverMode soap = AutodiscoverMode::settings;
  AutodiscoverMode pox = AutodiscoverMode::settings;
  std::string target;
  std::string http_location;  // where the plain listener redirects to; empty: 404
};

// What happened to the callbacks of one mailbox, or of all. An event is one element of a notification.
struct MailboxBooks {
  uint64_t mails = 0;                  // delivered to the Inbox
  uint64_t notifications = 0;          // POSTs that were begun, repeats included
  uint64_t events_sent = 0;            // in those, each event counted once however often it was repeated
  uint64_t events_acknowledged = 0;    // answered OK
  uint64_t new_mails_acknowledged = 0;
  uint64_t heartbeats_acknowledged = 0;
  uint64_t retries = 0;                // POSTs that repeated an earlier one
  uint64_t failures = 0;               // POSTs that brought neither OK nor Unsubscribe
  uint64_t subscribed = 0;
  uint64_t unsubscribed = 0;           // ended by the answer Unsubscribe
  uint64_t dead = 0;                   // ended because the retries were used up, or the queue overflowed
  uint64_t forgotten = 0;              // ended by restart()
  uint64_t events_lost = 0;            // still unacknowledged when their subscription ended
  MailboxBooks& operator+=(const MailboxBooks& other);
};

struct ExchangeBooks {
  MailboxBooks all;
  uint64_t mailboxes = 0;
  uint64_t subscriptions = 0;  // alive now
  uint64_t events_pending = 0;
  uint64_t requests[kEwsOperationCount] = {};  // by EwsOperation
  uint64_t unauthorized = 0;
  uint64_t bearer = 0;         // requests with a good bearer token
  uint64_t certified = 0;      // requests with a certificate for their mailbox
  uint64_t faulted = 0;        // requests that met a fault on demand
  uint64_t refused = 0;        // answered with an error of Exchange's own rules
  uint64_t connections = 0;    // of the EWS listener, open now
  uint64_t autodiscovers[2] = {};       // requests by form: SOAP, POX
  uint64_t autodiscover_probes = 0;     // of the plain listener
  uint64_t credentials_over_http = 0;   // of these, with an Authorization field. Never
  uint64_t activesync = 0;              // requests, OPTIONS included
  uint64_t activesync_waiting = 0;      // Ping and Sync that wait for mail, now
  uint64_t negotiated = 0;              // requests with a good Kerberos token
  uint64_t cookies_returned = 0;        // routing cookies that this stand-in had given this user
  uint64_t cookies_foreign = 0;         // and others of their names
};

// A device as ActiveSync knows it.
struct ActiveSyncDeviceView {
  std::string id, type, user_agent, model, os;
  std::string_view wipe;  // "none", "asked", "sent", "done"
  uint32_t policy_key = 0;
  uint64_t commands = 0;
};

// One attempt to deliver a notification, when it is over.
struct NotificationAttempt {
  std::string_view mailbox;  // address
  std::string_view subscription_id;
  std::string_view previous_watermark;
  std::string_view watermark;   // of the last event
  uint32_t events = 0;
  uint32_t new_mails = 0;
  bool heartbeat = false;       // nothing but a status event
  uint32_t attempt = 1;         // 1 = first
  Instant begun;
  Instant ended;
  enum class Outcome : uint8_t { ok, unsubscribe, failed, died } outcome = Outcome::ok;
  uint16_t status = 0;          // of HTTP; 0 = none came
  Error error;                  // where outcome is failed or died and no status came
};

// Exchange's own ledger: every mail, every attempt to tell of it with the answer, every end of a subscription, in the
// order of their numbers. Kept apart from MailboxBooks, whose sums it must agree with.
struct ExchangeEntry {
  enum class Kind : uint8_t { mail, attempt, ended };
  uint64_t number = 0;  // from 1, over all cores
  Kind kind = Kind::mail;
  Instant begun{};           // mail: the arrival
  Instant at{};              // attempt: the answer, or what stood in for it; else as begun
  std::string mailbox;       // address
  std::string subject;       // mail
  std::string subscription;  // attempt, ended: its id
  std::vector<std::string> told;  // mail: ids of the subscriptions that are to hear of it
  std::vector<uint64_t> items;    // mail: its number in the mailbox; attempt: new mails; ended: those never acknowledged
  uint32_t attempt = 0;           // 1 = first
  uint32_t events = 0;            // attempt: all kinds
  bool heartbeat = false;         // attempt: nothing but a status event
  NotificationAttempt::Outcome outcome = NotificationAttempt::Outcome::ok;
  uint16_t status = 0;
  Error error;
  std::string_view how;  // ended: "unsubscribed", "dead", "forgotten"
};

// Called on the home core of the mailbox; must not block. Outlives the stand-in.
class ExchangeObserver {
 public:
  virtual void on_attempt(const NotificationAttempt& attempt) = 0;

 protected:
  ~ExchangeObserver() = default;
};

// A stand-in for Microsoft Exchange as far as a push service and a gateway see it: EWS over TLS with Basic, bearer, certificate and Negotiate
// authentication (what bellhop asks: Subscribe, GetItem, FindItem, GetFolder; what clients ask besides, see exchange_clients.h), ActiveSync on the same
// listener, mailboxes with items, unread counts and watermarks, and push notifications with Exchange's retry rules. Each mailbox lives on one home core; the members may be called on any core of the cluster. Everything is
// in memory. Made on its first core, destroyed after run() has returned on every one of its cores.
class Exchange {
 public:
  // Opens the listeners. Errors: os, tls; `complaint` is a line for the operator.
  static Result<std::unique_ptr<Exchange>> make(ExchangeOptions options, std::string& complaint);
  ~Exchange();
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  // Serves until stop(), on the calling core; once on each core of the options.
  Task<void> run();
  // Ends run() everywhere: pending callbacks are cut off. Returns when it is asked, not when it is done.
  Task<bool> stop();

  SocketAddress address() const;          // of the EWS listener
  SocketAddress control_address() const;  // port 0 without control
  SocketAddress autodiscover_http_address() const;  // port 0 without
  void set_observer(ExchangeObserver* observer);  // before run()

  // False: the address exists, or mailboxes_max is reached, or a field is empty.
  Task<bool> add_mailbox(MailboxSpec spec);
  // A mail arrives; callbacks go out. False: no such mailbox.
  Task<bool> deliver(std::string address, Mail mail);
  // `count` mails over all mailboxes in turn, `rate` in mails per second (0: as fast as it goes), subjects "mail N".
  // Returns at once; what is under way is cut off by stop(). False: there is no mailbox.
  Task<bool> deliver_many(uint64_t count, double rate);
  // The newest `count` unread items become read elsewhere: Modified events with the new unread count.
  Task<bool> mark_read(std::string address, uint32_t count);
  // The newest `count` items are deleted, without events.
  Task<bool> delete_items(std::string address, uint32_t count);

  // Each subscription of the mailbox gets a notification that is an error with this code, once. False: no such mailbox.
  Task<bool> report_error(std::string address, std::string code);

  // How Autodiscover answers from now on.
  Task<bool> set_autodiscover(AutodiscoverScript script);

  // False: faults_max is reached.
  Task<bool> add_fault(EwsFault fault);
  Task<bool> add_callback_fault(CallbackFault fault);
  Task<bool> clear_faults();  // of all kinds
  // Exchange restarts: all subscriptions are forgotten without a word.
  Task<bool> restart();

  Task<ExchangeBooks> books();
  // The living subscriptions of a mailbox. The URL holds sealed credentials. Nothing where there is no such mailbox.
  struct SubscriptionView {
    std::string id, url, watermark;
  };
  Task<std::optional<std::vector<SubscriptionView>>> subscriptions(std::string address);
  // Nothing where there is no such mailbox.
  Task<std::optional<MailboxBooks>> mailbox_books(std::string address);

  // Up to `count` entries with a number above `number`, ascending.
  struct LedgerPage {
    std::vector<ExchangeEntry> entries;
    uint64_t forgotten = 0;  // the largest number that was given and is not kept any more
  };
  Task<LedgerPage> ledger_after(uint64_t number, size_t count);

  // Requests as they reached the listener of EWS and ActiveSync, as ledger_after().
  struct RequestPage {
    std::vector<ExchangeRequest> requests;
    uint64_t forgotten = 0;
  };
  Task<RequestPage> requests_after(uint64_t number, size_t count);

  // ---- ActiveSync ----
  Task<bool> add_activesync_fault(ActiveSyncFault fault);
  // The device is to wipe itself: it is told so at its next request. False: no such mailbox or device.
  Task<bool> wipe_device(std::string address, std::string device_id);
  // Nothing where there is no such mailbox.
  Task<std::optional<std::vector<ActiveSyncDeviceView>>> devices(std::string address);

 private:
  struct Shared;
  class Part;
  friend class AutodiscoverHttp;
  friend class ExchangeControl;
  Exchange();
  Part& home(std::string_view name) const;

  std::unique_ptr<Shared> shared_;
  std::vector<std::unique_ptr<Part>> parts_;
};

}  // namespace bellhop::standin
