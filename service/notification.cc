// SPDX-License-Identifier: Apache-2.0
#include "service/notification.h"

#include <algorithm>
#include <array>

#include "core/cross_core.h"
#include "core/stop_link.h"
#include "crypto/envelope.h"
#include "proto/http_error.h"
#include "proto/target.h"
#include "proto/xml.h"
#include "service/callback_limits.h"
#include "service/store_watch.h"

namespace bellhop::service {
namespace {

// Readers and buffers that wait to be used again; beyond that they are freed.
constexpr size_t kDesksKeptMax = 256;

constexpr std::string_view kPaths[] = {"/notify", "/MailNotifications/notify"};  // the second is ENS2's; both by POST
// All failures of authentication look the same.
constexpr std::string_view kUnknownBody = "not found\n";
constexpr std::string_view kMalformedBody = "bad request\n";

// What one callback needs on the accepting core. Used again and again, so that a heartbeat allocates nothing.
struct Desk {
  explicit Desk(uint64_t hash_salt) : parser(hash_salt) {}

  proto::NotificationParser parser;
  store::Route route;
  Callback callback;
  crypto::Digest digest{};
  std::array<uint8_t, crypto::kCredsBytesMax> creds{};

  Bytes digest_on_record() const {
    return route.kind == store::RouteKind::tombstone ? route.tombstone.digest : route.subscription.digest;
  }
  void clear() {
    parser.reset();
    wipe(creds);
    wipe(callback.capability.bytes);
    callback = {};
  }
};

// The body goes to the parser as it comes.
class ParserSink final : public BodySink {
 public:
  explicit ParserSink(proto::NotificationParser& parser) : parser_(parser) {}
  Status on_body(Bytes piece) override { return parser_.feed(as_text(piece)); }

 private:
  proto::NotificationParser& parser_;
};

// The capability and the envelope of a callback URL; both are as we wrote them, or it is not one of ours.
bool read_target(std::string_view target, Desk& desk) {
  proto::TargetParts parts = proto::split_target(target);
  if (std::ranges::find(kPaths, parts.path) == std::end(kPaths)) return false;
  if (!parts.query || std::ranges::count(*parts.query, '&') != 1) return false;
  auto id = proto::query_parameter(*parts.query, "id");
  auto creds = proto::query_parameter(*parts.query, "creds");
  if (!id || !*id || !creds || !*creds) return false;
  std::optional<crypto::Capability> capability = crypto::Capability::from_text(**id);
  std::optional<size_t> size = from_base64url(**creds, desk.creds);
  if (!capability || !size) return false;
  desk.callback.capability = *capability;
  desk.callback.creds = Bytes(desk.creds).first(*size);
  return true;
}

// The status for a body that could not be read; 0 where nobody is left to answer.
uint16_t body_refusal_status(const Error& error) {
  if (is(error, CoreError::timed_out)) return 408;
  if (error.domain == Domain::xml && error.code == static_cast<uint16_t>(proto::XmlError::document)) return 413;
  if (is(error, proto::HttpError::truncated)) return 0;
  if (error.domain == Domain::http) return proto::http_error_status(error);
  if (error.domain == Domain::xml || error.domain == Domain::ews) return 400;
  return 0;
}

HttpResponse response_for(CallbackOutcome outcome, proto::SoapVersion version) {
  switch (outcome) {
    case CallbackOutcome::ok:
    case CallbackOutcome::heartbeat:
    case CallbackOutcome::badge:
      return {.content_type = proto::soap_content_type(version),
              .body = proto::send_notification_result(version, proto::SubscriptionStatus::ok)};
    case CallbackOutcome::unsubscribe_removed:
    case CallbackOutcome::unsubscribe_blocked:
      return {.content_type = proto::soap_content_type(version),
              .body = proto::send_notification_result(version, proto::SubscriptionStatus::unsubscribe)};
    case CallbackOutcome::refused_unknown:
      return {.status = 404, .content_type = "text/plain", .body = kUnknownBody, .close = true};
    case CallbackOutcome::refused_malformed:
      return {.status = 400, .content_type = "text/plain", .body = kMalformedBody, .close = true};
    case CallbackOutcome::refused_limit:
    case CallbackOutcome::refused_overload:
    case CallbackOutcome::refused_draining:
    case CallbackOutcome::refused_not_ready:
      // No SOAP body: to Exchange this is no answer, and it repeats.
      return {.status = 503, .close = true};
  }
  return {.status = 503, .close = true};
}

}  // namespace

struct NotificationHandler::Impl {
  explicit Impl(Core& c)
      : core(c), store(c.node.store), limits(c.config().limits, c.metrics, io::random_u64()) {
    desks.reserve(kDesksKeptMax);
  }

  Task<void> handle(HttpExchange& exchange);
  std::optional<CallbackOutcome> unavailable() const;
  FairShare::Place admit(Callback& callback);
  void note_end(const Callback& callback, CallbackOutcome outcome);
  Task<bool> limited(HttpExchange& exchange, Task<Duration> wait);
  Task<std::optional<CallbackOutcome>> route(HttpExchange& exchange, Desk& desk);
  Task<Result<const proto::NotificationMessage*>> parse(HttpExchange& exchange, Desk& desk);
  Task<std::optional<CallbackOutcome>> check_subscription(const proto::NotificationMessage& message, Desk& desk);
  Task<std::optional<CallbackOutcome>> activate(std::string_view exchange_id, Desk& desk);
  Task<CallbackOutcome> unsubscribe(Desk& desk);
  Task<CallbackAnswer> ask_home_core(Callback& callback);
  void note_trail(const Callback& callback, const NotificationTrace& trace, bool brought_mail);
  Task<void> respond(HttpExchange& exchange, CallbackOutcome outcome,
                     proto::SoapVersion version = proto::SoapVersion::soap11, uint16_t status = 0);

  std::unique_ptr<Desk> take_desk();
  void give_back(std::unique_ptr<Desk> desk);

  Core& core;
  store::Store& store;
  CallbackLimits limits;
  std::vector<std::unique_ptr<Desk>> desks;

  struct Visit {
    explicit Visit(Impl& i) : impl(i), desk(i.take_desk()) {}
    ~Visit() { impl.give_back(std::move(desk)); }
    Visit(const Visit&) = delete;
    Visit& operator=(const Visit&) = delete;
    Impl& impl;
    std::unique_ptr<Desk> desk;
  };
};

// The way of one notification.
Task<void> NotificationHandler::Impl::handle(HttpExchange& exchange) {
  if (std::optional<CallbackOutcome> refused = unavailable()) {
    co_await respond(exchange, *refused);
    co_return;
  }
  if (limits.counts_all() && co_await limited(exchange, limits.take_callback(exchange))) co_return;
  Visit visit(*this);
  Desk& desk = *visit.desk;
  desk.callback.received_at = io::now();

  // 1 route
  if (std::optional<CallbackOutcome> refused = co_await route(exchange, desk)) {
    bool unknown = *refused == CallbackOutcome::refused_unknown;
    if (unknown && co_await limited(exchange, limits.take_unknown(exchange))) co_return;
    co_await respond(exchange, *refused);
    co_return;
  }
  Instant routed = io::now();
  bool counts = desk.route.kind == store::RouteKind::subscription;
  FairShare::Place place = counts ? admit(desk.callback) : FairShare::Place();
  if (counts && !place) {
    note_end(desk.callback, CallbackOutcome::refused_overload);
    co_await respond(exchange, CallbackOutcome::refused_overload);
    note_trail(desk.callback,
               {.outcome = CallbackOutcome::refused_overload, .total = io::now() - desk.callback.received_at}, false);
    co_return;
  }

  // 2 parse
  Result<const proto::NotificationMessage*> message = co_await parse(exchange, desk);
  if (!message) {
    uint16_t status = body_refusal_status(message.error());
    if (status != 0) co_await respond(exchange, CallbackOutcome::refused_malformed, {}, status);
    co_return;
  }
  proto::SoapVersion version = (*message)->soap_version;
  if (desk.route.kind == store::RouteKind::tombstone) {
    co_await respond(exchange, co_await unsubscribe(desk), version);
    co_return;
  }
  if (std::optional<CallbackOutcome> refused = co_await check_subscription(**message, desk)) {
    co_await respond(exchange, *refused, version);
    co_return;
  }
  Instant parsed = io::now();

  // 3 classify … 7 note, on the home core
  Context handling(&co_await current_context());
  StopLink patience(core.work, handling);
  CallbackAnswer answer = co_await ask_home_core(desk.callback).under(handling);
  bool handed_back = answer.outcome == CallbackOutcome::refused_overload && core.work.stop_requested();
  if (handed_back) answer.outcome = CallbackOutcome::refused_draining;
  note_end(desk.callback, answer.outcome);

  // 8 answer
  co_await respond(exchange, answer.outcome, version);
  NotificationTrace& trace = answer.trace;
  trace.outcome = answer.outcome;
  trace.route = routed - desk.callback.received_at;
  trace.parse = parsed - routed;
  trace.total = io::now() - desk.callback.received_at;
  core.metrics.observe(metric::stage_time, Stage::route, trace.route);
  core.metrics.observe(metric::stage_time, Stage::parse, trace.parse);
  core.metrics.observe(metric::stage_time, Stage::total, trace.total);
  bool brought_mail = trace.items > 0 || trace.duplicates > 0;
  note_trail(desk.callback, trace, brought_mail);
  if (core.observer && brought_mail) core.observer->notified(trace);
}

// Refused at once, and with the connection, so that Exchange tries again later or elsewhere.
std::optional<CallbackOutcome> NotificationHandler::Impl::unavailable() const {
  if (core.node.draining.load(std::memory_order_relaxed)) return CallbackOutcome::refused_draining;
  if (!core.node.ready.load(std::memory_order_acquire)) return CallbackOutcome::refused_not_ready;
  return std::nullopt;
}

// A place for a callback that is Exchange's: its URL was ours. Without one it is refused before any work: its body is not
// read, nothing is decrypted, nobody is asked. But what was refused for too long is served all the same, because Exchange
// would give the subscription up.
FairShare::Place NotificationHandler::Impl::admit(Callback& callback) {
  const NotificationConfig& config = core.config().notification;
  const store::SubscriptionRecord& subscription = *callback.subscription;
  const Core& home = *core.node.cores[core.node.home_core(subscription.user)];
  OverloadLevel level = std::max(core.overload.level(), home.overload.level());
  uint32_t tenant = callback.tenant->number;
  Duration patience = std::chrono::minutes(subscription.status_frequency_minutes);
  Duration budget = patience * config.overload_refusal_percent_max / 100;
  Instant now = io::now();
  callback.journal_only = core.node.refusals.refused_for(callback.capability_hash, now) >= budget;
  FairShare::Place place = core.overload.places.take(tenant, config.in_flight_max, level, now);
  if (place || !callback.journal_only) return place;
  FairShare::Place urgent = core.overload.places.take_urgently(tenant, config.in_flight_max);
  if (urgent) core.metrics.add(metric::overload_admitted);
  return urgent;
}

// Refusals count together, wherever the callback was refused: here, or by its mailbox's core.
void NotificationHandler::Impl::note_end(const Callback& callback, CallbackOutcome outcome) {
  if (outcome == CallbackOutcome::refused_overload) {
    core.node.refusals.refused(callback.capability_hash, io::now());
  } else if (outcome < CallbackOutcome::refused_unknown) {
    core.node.refusals.served(callback.capability_hash);
  }
}

// True where the address has to wait; it was told so, and has to come by a new connection.
Task<bool> NotificationHandler::Impl::limited(HttpExchange& exchange, Task<Duration> wait) {
  Duration left = co_await std::move(wait);
  if (left == Duration::zero()) co_return false;
  core.ledger.count(CallbackOutcome::refused_limit);
  std::string seconds = std::to_string(std::chrono::ceil<std::chrono::seconds>(left).count());
  proto::HeaderField retry_after = {"retry-after", seconds};
  (void)co_await exchange.respond({.status = 429, .headers = {&retry_after, 1}, .close = true});
  co_return true;
}

// Capability → subscription or tombstone. Whoever does not hold the URL as we made it learns nothing, and costs two
// hashes and one read.
Task<std::optional<CallbackOutcome>> NotificationHandler::Impl::route(HttpExchange& exchange, Desk& desk) {
  if (exchange.method() != proto::HttpMethod::post || !read_target(exchange.target(), desk)) {
    co_return CallbackOutcome::refused_unknown;
  }
  Callback& callback = desk.callback;
  callback.capability_hash = Vault::capability_hash(callback.capability);
  desk.digest = crypto::creds_digest(callback.creds);
  Status read = co_await store.read_route(callback.capability_hash, desk.route);
  if (!read) {
    log_line(core.log, LogLevel::error, "route_unreadable", field("error", read.error()));
    co_return CallbackOutcome::refused_not_ready;
  }
  if (desk.route.kind == store::RouteKind::none) co_return CallbackOutcome::refused_unknown;
  if (!equal_constant_time(desk.digest, desk.digest_on_record())) co_return CallbackOutcome::refused_unknown;
  if (desk.route.kind == store::RouteKind::tombstone) co_return std::nullopt;

  callback.subscription = &desk.route.subscription;
  callback.tenant = core.tenants().find(desk.route.subscription.tenant);
  if (!callback.tenant) {
    // Taken out of the configuration. To Exchange that is no answer: it repeats, and where the tenant comes back within a
    // status frequency, as after a mistake, nothing was missed.
    log_line(core.log, LogLevel::warning, "tenant_unknown",
             field("user", core.fingerprint(desk.route.subscription.user)));
    co_return CallbackOutcome::refused_not_ready;
  }
  co_return std::nullopt;
}

Task<Result<const proto::NotificationMessage*>> NotificationHandler::Impl::parse(HttpExchange& exchange, Desk& desk) {
  ParserSink sink(desk.parser);
  BH_CO_CHECKED(co_await exchange.read_body(core.config().listen_public.body_bytes_max, sink));
  BH_CO_TRY(const proto::NotificationMessage* message, desk.parser.finish());
  size_t events = 0;
  for (const proto::Notification& notification : message->notifications) events += notification.events.size();
  if (events > core.config().notification.events_per_callback_max) {
    co_return fail(proto::ews_error(proto::EwsError::too_many));
  }
  desk.callback.notifications = message->notifications;
  co_return message;
}

// Every notification must be of the subscription that Exchange made for this URL. The first callback may come before
// Exchange's own answer has told us its id: then it tells us.
Task<std::optional<CallbackOutcome>> NotificationHandler::Impl::check_subscription(
    const proto::NotificationMessage& message, Desk& desk) {
  const store::SubscriptionRecord& subscription = desk.route.subscription;
  std::string_view expected = subscription.exchange_id;
  for (const proto::Notification& notification : message.notifications) {
    // An error may come without the id.
    bool unnamed = notification.subscription_id.empty() && notification.response_class == proto::ResponseClass::error;
    if (unnamed) continue;
    if (expected.empty()) expected = notification.subscription_id;
    if (notification.subscription_id != expected) co_return CallbackOutcome::refused_unknown;
  }
  bool first = subscription.exchange_id.empty() || subscription.state == store::SubscriptionState::pending;
  if (!first || expected.empty()) co_return std::nullopt;
  co_return co_await activate(expected, desk);
}

Task<std::optional<CallbackOutcome>> NotificationHandler::Impl::activate(std::string_view exchange_id, Desk& desk) {
  if (exchange_id.size() > store::kExchangeIdSizeMax) co_return CallbackOutcome::refused_malformed;
  Status activated = co_await store.activate_subscription(desk.callback.capability_hash, exchange_id,
                                                          store::SubscriptionState::active);
  Fingerprint user = core.fingerprint(desk.route.subscription.user);
  if (activated) {
    log_line(core.log, LogLevel::info, "subscription_active", field("user", user));
    co_return std::nullopt;
  }
  // Another id was recorded meanwhile, or the subscription has ended.
  bool foreign =
      is(activated.error(), store::StoreError::conflict) || is(activated.error(), store::StoreError::not_found);
  if (foreign) co_return CallbackOutcome::refused_unknown;
  log_line(core.log, level_of_failure(activated.error()), "subscription_not_activated", field("user", user),
           field("error", activated.error()));
  co_return CallbackOutcome::refused_not_ready;
}

// A subscription that must end. The tombstone stays until Exchange has been silent for long enough.
Task<CallbackOutcome> NotificationHandler::Impl::unsubscribe(Desk& desk) {
  const store::TombstoneRecord& tombstone = desk.route.tombstone;
  WallTime expires = io::wall_now() + 2 * std::chrono::minutes(tombstone.status_frequency_minutes);
  Status extended = co_await store.extend_tombstone(desk.callback.capability_hash, expires);
  if (!extended && !is(extended.error(), store::StoreError::not_found)) {
    log_line(core.log, LogLevel::warning, "tombstone_not_extended", field("error", extended.error()));
  }
  co_return tombstone.reason == store::TombstoneReason::blocked ? CallbackOutcome::unsubscribe_blocked
                                                                : CallbackOutcome::unsubscribe_removed;
}

Task<CallbackAnswer> NotificationHandler::Impl::ask_home_core(Callback& callback) {
  unsigned home = core.node.home_core(callback.subscription->user);
  Mailboxes* mailboxes = core.node.cores[home]->mailboxes;
  return on_core_stoppable(home, [mailboxes, &callback] { return mailboxes->handle(callback); });
}

// Heartbeats and badges are left out; see Trail.
void NotificationHandler::Impl::note_trail(const Callback& callback, const NotificationTrace& trace, bool brought_mail) {
  bool quiet = trace.outcome == CallbackOutcome::heartbeat || trace.outcome == CallbackOutcome::badge;
  if (quiet && !brought_mail) return;
  core.trail.note({.at = io::wall_now(),
                   .user = callback.subscription->user,
                   .outcome = trace.outcome,
                   .subscription = callback.capability_hash,
                   .events = trace.items + trace.duplicates,
                   .duplicates = trace.duplicates,
                   .caught_up = trace.caught_up,
                   .took = trace.total});
}

Task<void> NotificationHandler::Impl::respond(HttpExchange& exchange, CallbackOutcome outcome,
                                              proto::SoapVersion version, uint16_t status) {
  core.ledger.count(outcome);
  HttpResponse response = response_for(outcome, version);
  if (status != 0) response.status = status;
  // Where the connection is gone, Exchange repeats, and what was done is seen as a duplicate.
  (void)co_await exchange.respond(response);
}

std::unique_ptr<Desk> NotificationHandler::Impl::take_desk() {
  if (desks.empty()) return std::make_unique<Desk>(io::random_u64());
  std::unique_ptr<Desk> desk = std::move(desks.back());
  desks.pop_back();
  return desk;
}

void NotificationHandler::Impl::give_back(std::unique_ptr<Desk> desk) {
  desk->clear();
  if (desks.size() < kDesksKeptMax) desks.push_back(std::move(desk));
}

NotificationHandler::NotificationHandler(Core& core) : impl_(std::make_unique<Impl>(core)) {}
NotificationHandler::~NotificationHandler() = default;
std::vector<RouteInfo> NotificationHandler::routes() {
  std::vector<RouteInfo> routes;
  for (std::string_view path : kPaths) routes.push_back({proto::HttpMethod::post, std::string(path)});
  return routes;
}
Task<void> NotificationHandler::handle(HttpExchange& exchange) {
  return impl_->handle(exchange);
}

}  // namespace bellhop::service
