// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

// The closed lists of how things end. The dotted names are the same in logs, metrics, the admin page, reports and docs.
namespace bellhop::service {

class MetricsShard;

// How one new-mail event ended for one device. `journaled` is the only one that later becomes another.
enum class DeviceOutcome : uint8_t {
  delivered_apns,         // the provider accepted the push
  delivered_fcm,
  delivered_sns,
  delivered_contentfree,  // accepted without content: Exchange did not give the mail, or policy hides it all
  journaled,              // synced to disk without content; to be pushed later
  skipped_duplicate,      // the item was pushed before
  skipped_merged,         // part of one push for many items
  skipped_gone,           // the item no longer exists at Exchange
  skipped_policy,
  skipped_muted,          // by the device's preferences
  skipped_no_device,      // the mailbox has no device; counted once for the event
  dropped_expired,        // older than the journal keeps
  dropped_token_gone,     // the provider says that the app is gone
  dropped_payload,        // the provider refuses this push for good
};
inline constexpr size_t kDeviceOutcomes = 14;

// How one callback of Exchange was answered.
enum class CallbackOutcome : uint8_t {
  ok,
  heartbeat,
  badge,
  unsubscribe_removed,
  unsubscribe_blocked,
  refused_unknown,    // 404: capability, digest or SubscriptionId
  refused_malformed,  // 400, 413
  refused_limit,      // 503: rate of one subscription
  refused_overload,   // 503: all work
  refused_draining,
  refused_not_ready,
};
inline constexpr size_t kCallbackOutcomes = 11;

// How one request of a device was answered; all but `ok` are the `code` of the problem document (RFC 9457).
enum class ApiOutcome : uint8_t {
  ok,
  malformed,
  unauthorized,
  forbidden,
  credentials,
  exchange,
  throttled,
  blocked,
  unavailable,
};
inline constexpr size_t kApiOutcomes = 9;

// How one request ended at the gateway. `passed.*`: Exchange was asked and its answer given to the client.
enum class GatewayOutcome : uint8_t {
  passed_ok,            // an answer below 400
  passed_unauthorized,  // Exchange's own 401
  passed_error,         // any other answer of Exchange
  passed_cut,           // the answer began and did not come to its end; the client sees that it is not whole
  blocked_policy,       // 403: a rule, or a block of the device
  blocked_parked,       // the same, of a request that waited at Exchange when the block came
  refused_host,         // 421: no route has this host
  refused_target,       // 404: neither of the two endpoints, or one that the route does not have
  refused_method,       // 405
  refused_request,      // 400: target, query, header or body that is no good request
  refused_ambiguous,    // 400: what two servers could read in two ways
  refused_identity,     // 400: two accounts or ways to log on in one request, or a user by what is no name
  refused_logon,        // 401: NTLM, Negotiate, or credentials that cannot be read
  refused_certificate,  // 403: the client's certificate is missing, or names nobody that may come in
  refused_context,      // 403: a signed context header that is forged, old or of another request
  refused_operation,    // 403: an EWS operation or SOAP header that this class of clients may not use
  refused_encoding,     // 415: a compressed request body
  refused_too_large,    // 413
  refused_busy,         // 503: too many requests of this account, or on this core
  refused_stopping,     // 503: this server is about to end
  unavailable_policy,   // 503: the policy cannot decide now
  unavailable_logon,    // 502 or 503: the gateway could not log on for the user (Kerberos)
  unavailable_upstream,  // 502: Exchange cannot be reached, or gave no good answer
  unavailable_timeout,   // 504: Exchange did not answer in time
  unavailable_breaker,   // 503: Exchange failed too often just now, or its connections are all in use
  unavailable_redirect,  // 502: Exchange sent the client to a server that is not configured, or round in circles
  client_left,           // the client went away, or its body did not come
};
inline constexpr size_t kGatewayOutcomes = 27;

// The names, in the order of the enums.
inline constexpr std::array<std::string_view, kDeviceOutcomes> kDeviceOutcomeNames = {
    "delivered.apns",    "delivered.fcm",  "delivered.sns",  "delivered.contentfree", "journaled",
    "skipped.duplicate", "skipped.merged", "skipped.gone",   "skipped.policy",        "skipped.muted",
    "skipped.no_device", "dropped.expired", "dropped.token_gone", "dropped.payload"};
inline constexpr std::array<std::string_view, kCallbackOutcomes> kCallbackOutcomeNames = {
    "ok",
    "heartbeat",
    "badge",
    "unsubscribe.removed",
    "unsubscribe.blocked",
    "refused.unknown",
    "refused.malformed",
    "refused.limit",
    "refused.overload",
    "refused.draining",
    "refused.not_ready"};
inline constexpr std::array<std::string_view, kApiOutcomes> kApiOutcomeNames = {
    "ok", "malformed", "unauthorized", "forbidden", "credentials", "exchange", "throttled", "blocked", "unavailable"};
inline constexpr std::array<std::string_view, kGatewayOutcomes> kGatewayOutcomeNames = {
    "passed.ok",           "passed.unauthorized", "passed.error",         "passed.cut",          "blocked.policy",
    "blocked.parked",      "refused.host",        "refused.target",       "refused.method",      "refused.request",
    "refused.ambiguous",   "refused.identity",    "refused.logon",        "refused.certificate", "refused.context",
    "refused.operation",   "refused.encoding",    "refused.too_large",    "refused.busy",        "refused.stopping",
    "unavailable.policy",  "unavailable.logon",   "unavailable.upstream", "unavailable.timeout", "unavailable.breaker",
    "unavailable.redirect", "client_left"};

constexpr std::string_view name_of(DeviceOutcome outcome) { return kDeviceOutcomeNames[static_cast<size_t>(outcome)]; }
constexpr std::string_view name_of(CallbackOutcome outcome) {
  return kCallbackOutcomeNames[static_cast<size_t>(outcome)];
}
constexpr std::string_view name_of(ApiOutcome outcome) { return kApiOutcomeNames[static_cast<size_t>(outcome)]; }
constexpr std::string_view name_of(GatewayOutcome outcome) { return kGatewayOutcomeNames[static_cast<size_t>(outcome)]; }

// By the exact name; nothing for any other text.
std::optional<DeviceOutcome> device_outcome(std::string_view name);
std::optional<CallbackOutcome> callback_outcome(std::string_view name);
std::optional<ApiOutcome> api_outcome(std::string_view name);
std::optional<GatewayOutcome> gateway_outcome(std::string_view name);

// The first word of a device outcome.
enum class DeviceOutcomeClass : uint8_t { delivered, journaled, skipped, dropped };
DeviceOutcomeClass class_of(DeviceOutcome outcome);

// The ledger of one core, or the sum of several. All numbers count since start, but in_flight and journaled, which
// count what is there now. `device[journaled]` counts how often something went into the journal.
struct LedgerSnapshot {
  uint64_t accepted = 0;     // events x devices taken on, those restored from the journal included
  uint64_t handed_back = 0;  // given back by a 503: Exchange sends the event again, which is then accepted anew
  uint64_t in_flight = 0;
  uint64_t journaled = 0;
  std::array<uint64_t, kDeviceOutcomes> device = {};
  std::array<uint64_t, kCallbackOutcomes> callback = {};
  std::array<uint64_t, kApiOutcomes> api = {};
  std::array<uint64_t, kGatewayOutcomes> gateway = {};

  uint64_t total(DeviceOutcomeClass outcome_class) const;
  // accepted - handed_back - (delivered + skipped + dropped + journaled + in flight). Anything but 0 is a lost event.
  int64_t balance() const;
  // The balance without its sign. Of several ledgers, add these: what one misses must not hide what another has too much.
  uint64_t imbalance() const { return static_cast<uint64_t>(balance() < 0 ? -balance() : balance()); }
  LedgerSnapshot& operator+=(const LedgerSnapshot& other);
};

// The ledger of one core. Only that core calls the members; each is a few plain additions. The numbers live in the
// core's metrics shard, so that /metrics and the ledger cannot disagree. The shard outlives the ledger.
// Each accepted event x device goes in flight, and leaves it exactly once: by settle() or hand_back(). To take more out
// than is there is a bug of ours (BH_CHECK).
class Ledger {
 public:
  explicit Ledger(MetricsShard& shard) : shard_(shard) {}
  Ledger(const Ledger&) = delete;
  Ledger& operator=(const Ledger&) = delete;

  // A new-mail event for `devices` devices was taken on (no device: count 1, then settle with skipped_no_device).
  void accept(uint64_t devices);
  // Ended, or went into the journal, for `devices` devices.
  void settle(DeviceOutcome outcome, uint64_t devices = 1);
  // The callback is answered 503: its unsettled devices leave the ledger and come again.
  void hand_back(uint64_t devices);
  // At start: records of the journal that an earlier process wrote.
  void restore_journaled(uint64_t records);
  // A record of the journal ended. `outcome` is not journaled.
  void settle_journaled(DeviceOutcome outcome);

  void count(CallbackOutcome outcome);
  void count(ApiOutcome outcome);
  void count(GatewayOutcome outcome);

  LedgerSnapshot snapshot() const;

 private:
  MetricsShard& shard_;
};

// The ledger's numbers of a shard, from any core. They are read one by one: exact on the shard's own core or when it
// rests; from another core in_flight may be off by what happens meanwhile.
LedgerSnapshot ledger_snapshot(const MetricsShard& shard);

}  // namespace bellhop::service
