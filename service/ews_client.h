// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/stream/stream.h"
#include "core/task.h"
#include "crypto/record.h"
#include "proto/ews.h"
#include "proto/ews_response.h"
#include "proto/oauth.h"
#include "proto/item_kind.h"
#include "service/config.h"
#include "service/log.h"
#include "service/metrics.h"
#include "service/tenants.h"
#include "service/upstreams.h"
#include "store/ids.h"

namespace bellhop::service {

class EwsContexts;
struct EwsHostState;
struct EwsOwner;

// Where and as whom a request goes. Views outlive the call.
struct EwsTarget {
  const Tenant* tenant = nullptr;
  std::string_view url;                      // was accepted by Tenant::ews_url
  store::MailboxNumber mailbox = 0;          // for the cap per mailbox
  const crypto::CredentialRecord* credentials = nullptr;
  const EwsOwner* owner = nullptr;           // needed with config.via
};

// How a request to Exchange failed, in the groups that the service acts on.
enum class EwsFailureKind : uint8_t {
  unauthorized,   // 401, or an account that may not log on: the logon rule
  throttled,      // busy or backing off: retry_after says how long
  unavailable,    // connect, TLS, timeout, 5xx, connection lost
  garbage,        // an answer that is no EWS answer, or too large
  refused,        // the host's addresses are not allowed (SSRF rules)
  blocked,        // the gateway on the way lets none of the mailbox's devices in
  ews_error,      // Exchange says no: see code
};
struct EwsFailure {
  EwsFailureKind kind = EwsFailureKind::unavailable;
  Error error;                 // for the log
  proto::EwsResponseCode code = proto::EwsResponseCode::none;
  std::string code_text;       // as Exchange wrote it, at most 64 bytes; for the device's problem document
  Duration retry_after{};      // throttled
  std::optional<proto::BearerChallenge> challenge;  // unauthorized by a 401 that says something of bearer tokens
  bool moved = false;          // the mailbox is not at this URL (a redirect, EwsVerdict::moved): ask Autodiscover
};
template <class T>
using EwsReply = std::expected<T, EwsFailure>;

struct EwsSubscribed {
  std::string subscription_id;
  std::string watermark;
};

// What a push shows of an item. Mail text: wiped when it dies.
struct MailItem {
  std::string id;
  bool gone = false;        // ErrorItemNotFound; all else is empty
  bool unreadable = false;  // Exchange has it and cannot show it (corrupt, no such property); all else is empty
  proto::ItemKind kind = proto::ItemKind::mail;
  std::string subject, sender_name, sender_address, conversation_id, preview, item_class;
  std::optional<WallTime> received;
  std::optional<bool> is_read;
  bool private_ = false;  // Sensitivity private or confidential
  MailItem() = default;
  MailItem(MailItem&&) = default;
  MailItem& operator=(MailItem&&) = default;
  ~MailItem();
};

// m:GetFolder of the Inbox; nothing where Exchange does not say.
struct InboxCounts {
  std::optional<uint32_t> total, unread;
};

// EWS over HTTPS/1.1 for one core: keep-alive connections pooled per host and port (and, where a certificate logs on, per
// mailbox and certificate: they are never shared), bounded per host and per mailbox,
// back-off honoured per host, a circuit breaker per host. Names are resolved once for each connection; every address
// must satisfy the tenant's policy, and the connection goes to the address that was checked. No redirects. Credentials
// appear only in the request head of the call and are wiped with it. Owned by the core; joined by close().
//
// The mailbox's address goes into a request (X-AnchorMailbox, which routes it, and t:Mailbox) only where the credential
// record of the call carries it, and the header only with config.anchor_mailbox: no other place knows an address.
// Each request names the lowest version that has what it asks for. Each leaves a line in the log (a failed one as
// `ews_request_failed`, others as `ews_request` at debug) with our client-request-id and Exchange's request-id.
class EwsClient {
 public:
  EwsClient(const EwsConfig& config, UpstreamRoutes routes, MetricsShard& metrics, Log& log);
  ~EwsClient();
  // For whom requests are made; needed with config.via, before the first one. Outlives the client.
  void set_contexts(EwsContexts& contexts);
  EwsClient(const EwsClient&) = delete;
  EwsClient& operator=(const EwsClient&) = delete;

  // m:Subscribe on the Inbox. `callback_url` holds the sealed credentials. Deadline: config.subscribe_timeout_ms.
  Task<EwsReply<EwsSubscribed>> subscribe(const EwsTarget& target, std::string_view callback_url);
  // Checks that Exchange takes the credentials for their mailbox: m:FindItem for one item.
  Task<EwsReply<std::monostate>> verify(const EwsTarget& target);
  // m:GetItem for up to 100 ids in one request; one MailItem per id, in their order. A server that is too old for a
  // preview, and items that have no sender, cost a second request, for less. The deadline is the caller's.
  Task<EwsReply<std::vector<MailItem>>> get_items(const EwsTarget& target, std::span<const std::string_view> ids,
                                                    bool with_preview);
  // m:FindItem: Inbox items received since, newest first, at most `entries_max`; `more` where there are others.
  struct Found {
    std::vector<MailItem> items;
    bool more = false;
  };
  Task<EwsReply<Found>> find_items(const EwsTarget& target, WallTime received_since, uint32_t entries_max);

  // m:GetFolder of the Inbox.
  Task<EwsReply<InboxCounts>> inbox(const EwsTarget& target);

  // False while a request to this URL's host would be refused unsent: its breaker is open, or it asked us to wait.
  bool takes_requests(const Tenant& tenant, std::string_view url) const;
  // The hosts that were asked lately, for operators.
  std::vector<EwsHostState> hosts() const;
  // At a reload; see EwsHosts::renew.
  void renew(UpstreamRoutes routes, const Tenants& tenants);
  // Closes idle connections and refuses new requests; those under way end by their deadlines. Awaits them.
  Task<void> close();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace bellhop::service
