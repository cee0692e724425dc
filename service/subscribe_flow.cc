// SPDX-License-Identifier: Apache-2.0
#include "service/subscribe_flow.h"

#include "core/io.h"
#include "crypto/error.h"
#include "crypto/tokens.h"
#include "service/autodiscover.h"
#include "service/client_certificate.h"
#include "service/compliance_record.h"
#include "service/error_texts.h"
#include "service/notification.h"
#include "service/oauth_tokens.h"
#include "service/policy_points.h"
#include "service/store_watch.h"
#include "service/subscription_end.h"
#include "service/subscription_health.h"
#include "service/supervision.h"

namespace bellhop::service {
namespace {

using crypto::CryptoError;
using store::StoreError;

constexpr Duration kExchangeRetry = 30s;
// One place in the user's list is kept for the attempt.
constexpr size_t kLeftoversMax = store::kSubscriptionsPerUserMax - 1;
constexpr Duration kDevicesFullRetry = 1h;

crypto::CredentialTypes types_taken(const Tenant& tenant) {
  using enum crypto::CredentialType;
  if (!tenant.takes_oauth()) return {basic, certificate, dual};
  return {basic, oauth, certificate, dual};
}

// What is wrong with the file itself, which its owner may know. Whether its password is right, or whether it is still good,
// is like any other refusal of credentials.
bool is_of_file(const Error& error) {
  using enum CryptoError;
  for (CryptoError code : {pkcs12_malformed, pkcs12_too_large, pkcs12_unsupported, pkcs12_iterations, pkcs12_no_key,
                           pkcs12_many_keys, pkcs12_no_certificate, pkcs12_key_kind, pkcs12_key_size}) {
    if (is(error, code)) return true;
  }
  return false;
}

}  // namespace

SubscribeFlow::SubscribeFlow(Core& core, RateLimits& limits, Semaphore& openings, const SubscribeRequest& request)
    : core_(core),
      limits_(limits),
      openings_(openings),
      request_(request),
      who_(request.who),
      owner_{.user = who_.user, .source = who_.device, .asking = compliance_key(who_.device_id)},
      ews_url_(request.ews_url ? request.ews_url->to_string() : std::string()),
      credentials_digest_(crypto::sha256(request.credentials)) {}

SubscribeFlow::~SubscribeFlow() = default;

Task<ApiResult<Subscribed>> SubscribeFlow::run() {
  answer_.heartbeat_minutes = static_cast<uint16_t>(core_.config().ews.status_frequency_minutes);
  BH_CO_STEP(co_await read_user_and_device());
  BH_CO_STEP(co_await open_credentials());
  BH_CO_STEP(co_await open_certificate());
  BH_CO_STEP(co_await find_live_subscription());
  if (!secret_proven_) give_secret();
  wished_ = wished_record();
  BH_CO_STEP(co_await find_exchange(true));
  ApiStatus done = co_await subscribe_at_exchange();
  if (!done && co_await found_elsewhere()) done = co_await subscribe_at_exchange();
  if (!done) co_return std::unexpected(std::move(done.error()));
  log_line(core_.log, LogLevel::info, "subscribed", field("user", core_.fingerprint(who_.user)),
           field("device", core_.log.fingerprint("device", who_.device)), field("new_device", answer_.device_created),
           field("new_subscription", !joins()));
  co_return std::move(answer_);
}

// ---- Who is it ----

Task<ApiStatus> SubscribeFlow::read_user_and_device() {
  Result<store::UserRecord> user = co_await core_.node.store.read_user(who_.user);
  if (!user) {
    // Nobody asked for this user's key, so nothing can have been encrypted to it.
    if (is(user.error(), StoreError::not_found)) co_return credentials_not_good("no_user", user.error());
    co_return store_failed(user.error());
  }
  user_ = *std::move(user);
  Result<store::DeviceRecord> device = co_await core_.node.store.read_device(who_.user, who_.device);
  if (!device) {
    if (!is(device.error(), StoreError::not_found)) co_return store_failed(device.error());
    if (user_.devices >= core_.config().limits.devices_per_user_max) {
      log_line(core_.log, LogLevel::warning, "subscribe_refused", field("user", core_.fingerprint(who_.user)),
               field("error", service_error(ServiceError::too_many_devices)));
      co_return refuse_unavailable(kDevicesFullRetry);
    }
    co_return ask_policy(DecisionPoint::registration);  // a new device; a secret that it may remember is worth nothing
  }
  device_ = *std::move(device);
  if (device_->state == store::DeviceState::blocked) co_return refuse_blocked();
  BH_CO_STEP(ask_policy(DecisionPoint::subscription));
  if (who_.device_secret.empty()) co_return ApiStatus();  // lost: Exchange must take the credentials
  secret_proven_ = core_.node.vault.device_secret_matches(who_.user, who_.device, *device_, who_.device_secret);
  if (!secret_proven_) co_return refuse_forbidden();
  co_return ApiStatus();
}

ApiStatus SubscribeFlow::ask_policy(DecisionPoint point) {
  store::ComplianceKey name = compliance_key(who_.device_id);
  PolicyDecision decision = decide_device(core_, who_.tenant->config.id, who_.user, name, point);
  if (decision.allowed()) return ApiStatus();
  log_line(core_.log, LogLevel::info, "subscribe_blocked", field("user", core_.fingerprint(who_.user)),
           field("device", core_.log.fingerprint("device", who_.device)),
           field("reason", not_personal(name_of(decision.reason))),
           field("rule", not_personal(core_.policy->rules().name(decision.rule))));
  if (decision.verdict == Verdict::unavailable) return refuse_unavailable(kExchangeRetry);
  return refuse_blocked();
}

// Much may have happened while Exchange made up its mind: a wipe finds no device that is not registered yet.
ApiStatus SubscribeFlow::ask_policy_again() {
  return ask_policy(device_ ? DecisionPoint::subscription : DecisionPoint::registration);
}

// ---- Whose credentials are they ----

Task<ApiStatus> SubscribeFlow::open_credentials() {
  // What Exchange refused is not tried again: an account must not be locked by a device that repeats itself.
  Instant now = io::now();
  if (limits_.wait(RateLimit::refused_credentials, rate_key(credentials_digest_), now) > Duration::zero()) {
    core_.metrics.add(metric::rate_limited, RateLimit::refused_credentials);
    co_return credentials_not_good("refused_before", service_error(ServiceError::logon_not_allowed));
  }
  Duration wait = limits_.wait(RateLimit::refused_logon_user, rate_key(Bytes(who_.user)), now);
  if (wait > Duration::zero()) {
    core_.metrics.add(metric::rate_limited, RateLimit::refused_logon_user);
    co_return refuse_throttled(wait);
  }

  std::optional<crypto::KeyId> key_id = crypto::KeyId::from_text(request_.key_id);
  std::optional<store::KeyId> named;
  if (key_id) named = Vault::key_id(*key_id);
  // The pair before is good for devices that asked for the key a moment before it was replaced.
  bool known = named && (*named == user_.key || (user_.old_key != store::KeyId() && *named == user_.old_key));
  if (!known) co_return credentials_not_good("key_id", service_error(ServiceError::credentials_unreadable));
  opening_key_ = *named;
  // A JWE has dots, base64 has none.
  bool ens2 = who_.tenant->config.ens2_credentials && request_.credentials.find('.') == std::string_view::npos;
  if (ens2) {
    BH_CO_STEP(co_await open_ens2());
  } else {
    BH_CO_STEP(co_await open_jwe());
  }
  co_return ApiStatus();
}

// The private-key step. With `jwe` the content is opened too: where the key step failed, a random key takes its place,
// so that both failures take the same way.
Task<ApiResult<crypto::Secret>> SubscribeFlow::decrypt(Bytes ciphertext, const crypto::JweParsed* jwe) {
  // What is sealed from now on is sealed under the present pair.
  Result<crypto::KeyCache::Pin> present = co_await core_.decrypter.key(user_.key);
  if (!present) co_return store_failed(present.error());
  public_key_ = (*present)->key().public_key();
  Result<crypto::KeyCache::Pin> key = co_await core_.decrypter.key(opening_key_);
  if (!key) co_return store_failed(key.error());
  Result<crypto::Secret> opened =
      co_await core_.decrypter.decrypt(*std::move(key), ciphertext, Bytes(), who_.tenant->number);
  if (!opened && is(opened.error(), CryptoError::overloaded)) co_return refuse_unavailable();
  if (jwe) opened = crypto::jwe_open(*jwe, opened);
  if (!opened) co_return credentials_not_good("unreadable", opened.error());
  co_return *std::move(opened);
}

Task<ApiStatus> SubscribeFlow::open_jwe() {
  Result<crypto::JweParsed> jwe = crypto::parse_jwe_compact(request_.credentials);
  if (!jwe) co_return credentials_not_good("no_jwe", jwe.error());
  if (!jwe->kid.empty() && jwe->kid != request_.key_id) {
    co_return credentials_not_good("kid", service_error(ServiceError::credentials_unreadable));
  }
  ApiResult<crypto::Secret> json = co_await decrypt(jwe->encrypted_key, &*jwe);
  if (!json) co_return std::unexpected(std::move(json.error()));
  Result<crypto::CredentialRecord> record = crypto::read_credential_record(
      *json, {.user_id = who_.address_hash,
              .device_id = who_.device_id,
              .now = io::wall_now(),
              .age_max = std::chrono::minutes(core_.config().limits.credential_age_minutes_max),
              .types = types_taken(*who_.tenant)});
  if (!record) {
    if (is(record.error(), CryptoError::unsupported_type)) {
      co_return refuse_malformed("this server does not take credentials of this type");
    }
    if (is(record.error(), CryptoError::record_no_refresh_token)) {
      co_return refuse_malformed("credentials of type oauth need a refreshToken; an access token alone is not taken");
    }
    co_return credentials_not_good("record", record.error());
  }
  credentials_ = *std::move(record);
  if (const auto* oauth = std::get_if<crypto::OauthCredentials>(&credentials_->logon)) {
    Result<proto::Url> endpoint = who_.tenant->token_url(oauth->token_endpoint.reveal_text());
    if (!endpoint) co_return refuse_forbidden("tokenEndpoint is no https URL with a host that is permitted");
  }
  co_return ApiStatus();
}

// The ENS2 shape names no mailbox. Where the user name is the user's address, it does.
Task<ApiStatus> SubscribeFlow::open_ens2() {
  Result<crypto::KeyCache::Pin> key = co_await core_.decrypter.key(opening_key_);
  if (!key) co_return store_failed(key.error());
  auto ciphertext = crypto::parse_ens2_credentials(request_.credentials, (*key)->key().public_key());
  key->reset();
  if (!ciphertext) co_return credentials_not_good("no_ens2", ciphertext.error());
  ApiResult<crypto::Secret> text = co_await decrypt(*ciphertext, nullptr);
  if (!text) co_return std::unexpected(std::move(text.error()));
  Result<crypto::CredentialRecord> record = crypto::read_ens2_credentials(*text);
  if (!record) co_return credentials_not_good("record", record.error());
  credentials_ = *std::move(record);
  const crypto::Secret& username = std::get<crypto::BasicCredentials>(credentials_->logon).username;
  address_bound_ = crypto::user_id_of_address(username.reveal_text()) == who_.address_hash;
  if (address_bound_) {
    credentials_->address = username.clone();
  } else if (user_.devices > (device_ ? 1u : 0u)) {
    // Any account would do to become a device of this user, and to be told of the user's mail.
    co_return credentials_not_good("not_bound", service_error(ServiceError::wrong_user));
  }
  co_return ApiStatus();
}

// Each refusal counts, so that nobody tries passwords, or our CPU, for long.
Task<ApiStatus> SubscribeFlow::open_certificate() {
  crypto::CertificateCredentials* certificate = crypto::certificate_of(*credentials_);
  if (!certificate) co_return ApiStatus();
  Status opened = co_await service::open_certificate(openings_, *certificate);
  if (opened) co_return ApiStatus();
  if (is(opened.error(), ServiceError::overload)) co_return refuse_unavailable();
  note_refusal();
  if (!is_of_file(opened.error())) co_return credentials_not_good("certificate", opened.error());
  log_line(core_.log, LogLevel::info, "subscribe_certificate", field("user", core_.fingerprint(who_.user)),
           field("error", opened.error()));
  std::string why = error_text(opened.error());
  size_t module_end = why.find("PKCS#12");
  co_return refuse_malformed(std::string_view(why).substr(module_end == why.npos ? 0 : module_end));
}

// ---- What is there already ----

// The newest subscription that works: heard of, its credentials good, its source device still there and let in.
Task<ApiStatus> SubscribeFlow::find_live_subscription() {
  store::Route route;
  SilenceStage silence = core_.supervision->state(who_.user).stage;
  for (auto capability = user_.subscriptions.rbegin(); capability != user_.subscriptions.rend(); ++capability) {
    if (Status read = co_await core_.node.store.read_route(*capability, route); !read) {
      co_return store_failed(read.error());
    }
    if (route.kind != store::RouteKind::subscription || credentials_refused(route.subscription)) continue;
    bool under_way = route.subscription.takes_over && route.subscription.state == store::SubscriptionState::pending;
    if (under_way) continue;
    if (health_of(route.subscription, silence) == SubscriptionHealth::lost) continue;
    if (route.subscription.source_device != who_.device) {
      auto source = co_await core_.node.store.read_device(who_.user, route.subscription.source_device);
      if (!source && !is(source.error(), StoreError::not_found)) co_return store_failed(source.error());
      if (!source) continue;
      // Exchange is not asked with its credentials: its mails are told of without a word of them.
      if (source_kept_out(core_, who_.tenant->config.id, who_.user, *source)) continue;
    } else if (!device_) {
      continue;  // it was another life of this device
    }
    live_ = Existing{*capability, std::move(route.subscription)};
    co_return ApiStatus();
  }
  co_return ApiStatus();
}

// ---- Where is its mailbox ----

Task<ApiStatus> SubscribeFlow::find_exchange(bool cache_allowed) {
  if (!ews_url_.empty()) co_return ApiStatus();
  if (joins()) {  // where the mailbox is being watched, it is
    ews_url_ = live_->record.ews_url;
    co_return ApiStatus();
  }
  if (!core_.autodiscover || credentials_->address.empty()) co_return not_found(AutodiscoverResult::off);
  Autodiscover::Reply found = co_await core_.autodiscover->find(*who_.tenant, *credentials_, cache_allowed);
  if (!found) co_return not_found(found.error());
  ews_url_ = std::move(found->url);
  url_cached_ = found->cached;
  co_return ApiStatus();
}

Task<ApiStatus> SubscribeFlow::subscribe_at_exchange() {
  moved_ = false;
  if (joins()) {
    BH_CO_STEP(co_await join_live_subscription());
  } else {
    BH_CO_STEP(co_await make_subscription());
  }
  co_return ApiStatus();
}

// One more search, and another attempt only where it leads elsewhere.
Task<bool> SubscribeFlow::found_elsewhere() {
  if (!moved_ || !url_cached_ || !credentials_) co_return false;
  std::string old_url = std::exchange(ews_url_, {});
  co_await core_.autodiscover->forget(*who_.tenant, *credentials_, old_url);
  log_line(core_.log, LogLevel::info, "mailbox_moved", field("user", core_.fingerprint(who_.user)));
  ApiStatus found = co_await find_exchange(false);
  co_return found && ews_url_ != old_url;
}

std::unexpected<ApiProblem> SubscribeFlow::not_found(AutodiscoverResult result) {
  log_line(core_.log, LogLevel::warning, "subscribe_autodiscover", field("user", core_.fingerprint(who_.user)),
           field("result", not_personal(LabelSet<AutodiscoverResult>::values[static_cast<size_t>(result)])));
  switch (result) {
    case AutodiscoverResult::off:
      if (credentials_->type() != crypto::CredentialType::basic) {
        return refuse_malformed("ewsUrl is missing; with credentials of this type the server does not search for it");
      }
      return refuse_malformed("ewsUrl is missing, and this server does not search for this mailbox");
    case AutodiscoverResult::unauthorized:
      note_refusal();
      return credentials_not_good("autodiscover", service_error(ServiceError::credentials_refused));
    case AutodiscoverResult::overload:
      return refuse_unavailable();
    case AutodiscoverResult::unavailable:
    case AutodiscoverResult::timed_out:
      return refuse_unavailable(kExchangeRetry);
    default:
      return refuse_exchange("ErrorAutoDiscoverFailed");
  }
}

// ---- Another device of a mailbox that is being watched ----

Task<ApiStatus> SubscribeFlow::join_live_subscription() {
  BH_CO_STEP(co_await log_on());
  credentials_.reset();
  BH_CO_STEP(co_await store_device());
  answer_.subscription_id = subscription_id(live_->capability);
  answer_.envelope = live_->record.envelope;
  answer_.state = live_->record.state;
  co_return ApiStatus();
}

Task<ApiStatus> SubscribeFlow::verify_at_exchange() {
  EwsReply<std::monostate> verified = co_await core_.ews.verify(target());
  moved_ = !verified && verified.error().moved;
  if (!verified) co_return exchange_failed(verified.error());
  co_return ApiStatus();
}

// Exchange takes the credentials. With OAuth: a grant first, and one more where Exchange asks for claims.
Task<ApiStatus> SubscribeFlow::log_on() {
  if (!uses_oauth()) co_return co_await verify_at_exchange();
  BH_CO_STEP(co_await grant_token({}));
  EwsReply<std::monostate> verified = co_await core_.ews.verify(target());
  bool claims_asked = !verified && verified.error().challenge && !verified.error().challenge->claims.empty();
  if (claims_asked) {
    BH_CO_STEP(co_await grant_token(verified.error().challenge->claims));
    verified = co_await core_.ews.verify(target());
  }
  if (!verified) co_return exchange_failed(verified.error());
  co_return ApiStatus();
}

Task<ApiStatus> SubscribeFlow::grant_token(std::string_view claims) {
  auto& oauth = std::get<crypto::OauthCredentials>(credentials_->logon);
  RateKey key = rate_key(crypto::sha256(oauth.refresh_token.reveal()));
  // A device that repeats itself must not present a spent token for us.
  Duration remembered = limits_.wait(RateLimit::spent_refresh_token, key, io::now());
  Duration age = kSpentRefreshTokenMemory - remembered;
  if (remembered > Duration::zero() && age >= std::chrono::seconds(who_.tenant->config.oauth_reuse_grace_seconds)) {
    co_return credentials_not_good("refresh_token_spent", service_error(ServiceError::refresh_token_spent));
  }
  GrantReply granted = co_await core_.tokens.refresh(grant_request(*who_.tenant, oauth, claims));
  bool maybe_spent = granted ? !granted->refresh_token.empty() : granted.error().maybe_spent;
  if (maybe_spent) (void)limits_.take(RateLimit::spent_refresh_token, key, io::now());
  if (!granted) co_return grant_failed(granted.error());
  take_grant(oauth, *std::move(granted), io::wall_now(), core_.config().oauth);
  co_return ApiStatus();
}

// ---- A new subscription: the first of a mailbox, or in place of older ones ----

Task<ApiStatus> SubscribeFlow::make_subscription() {
  bool replaces = !user_.subscriptions.empty();
  if (replaces) {
    Duration wait = limits_.wait(RateLimit::handover_user, rate_key(Bytes(who_.user)), io::now());
    if (wait > Duration::zero()) {
      core_.metrics.add(metric::rate_limited, RateLimit::handover_user);
      co_return refuse_throttled(wait);
    }
  }
  // A stranger's device must not hear of a user's mail while Exchange makes up its mind. And once tokens are stored, only
  // the callbacks renew them: what Exchange has against the first one must come to light before.
  if (uses_oauth() || (!device_ && user_.devices > 0)) BH_CO_STEP(co_await log_on());
  Attempt attempt;
  BH_CO_STEP(seal_envelope(attempt));
  answer_.envelope = attempt.record.envelope;
  BH_CO_STEP(co_await end_leftovers());
  BH_CO_STEP(co_await store_pending(attempt));
  EwsReply<EwsSubscribed> reply = co_await core_.ews.subscribe(target(), attempt.envelope.callback_url);
  wipe(attempt.envelope.callback_url);
  moved_ = !reply && reply.error().moved;
  if (!moved_ || !url_cached_) credentials_.reset();  // else they are needed once more
  BH_CO_STEP(co_await settle(attempt, std::move(reply)));
  if (replaces) (void)limits_.take(RateLimit::handover_user, rate_key(Bytes(who_.user)), io::now());
  co_return ApiStatus();
}

ApiStatus SubscribeFlow::seal_envelope(Attempt& attempt) {
  attempt.record.source_device = who_.device;
  attempt.record.status_frequency_minutes = answer_.heartbeat_minutes;
  attempt.record.created = io::wall_now();
  auto sealed = service::seal_envelope(
      core_, *credentials_,
      {.key = *public_key_, .key_name = user_.key, .ews_url = ews_url_, .split = uses_oauth()}, attempt.record);
  if (!sealed) return store_failed(sealed.error());
  attempt.envelope = *std::move(sealed);
  return {};
}

// Attempts whose end could not be stored, or that a crash left, must not fill the user's list.
Task<ApiStatus> SubscribeFlow::end_leftovers() {
  store::Ending ending{.reason = store::TombstoneReason::handed_over,
                       .expires = tombstone_expiry(io::wall_now(), answer_.heartbeat_minutes)};
  while (user_.subscriptions.size() > kLeftoversMax) {
    auto oldest = user_.subscriptions.begin();
    if (live_ && *oldest == live_->capability) ++oldest;
    Status ended = co_await end_subscription(core_, *oldest, ending);
    if (!ended && !is(ended.error(), StoreError::not_found)) co_return store_failed(ended.error());
    user_.subscriptions.erase(oldest);
  }
  co_return ApiStatus();
}

// Synced before Exchange hears of the URL: it may call back before its own answer arrives.
Task<ApiStatus> SubscribeFlow::store_pending(Attempt& attempt) {
  BH_CO_STEP(ask_policy_again());
  store::Registration registration{.user = who_.user,
                                   .device = who_.device,
                                   .record = device_ ? *device_ : wished_,
                                   .subscription = store::NewSubscription{attempt.envelope.capability, attempt.record},
                                   .now = wished_.registered_at};
  Result<store::RegistrationResult> result = co_await core_.node.store.register_device(registration);
  if (!result && is(result.error(), StoreError::conflict)) co_return refuse_blocked();  // a moment ago
  if (!result) co_return store_failed(result.error());
  attempt.device_created = result->device_created;
  co_return ApiStatus();
}

Task<ApiStatus> SubscribeFlow::settle(Attempt& attempt, EwsReply<EwsSubscribed> reply) {
  if (!reply) {
    // A callback may have come although the answer did not: then Exchange has made the subscription.
    store::Route route;
    Status read = co_await core_.node.store.read_route(attempt.envelope.capability, route);
    bool called_back = read && route.kind == store::RouteKind::subscription &&
                       route.subscription.state == store::SubscriptionState::active;
    if (called_back) {
      BH_CO_STEP(co_await hand_over(attempt, route.subscription.exchange_id));
      co_return ApiStatus();
    }
    co_await roll_back(attempt);
    co_return exchange_failed(reply.error());
  }
  BH_CO_STEP(co_await hand_over(attempt, reply->subscription_id));
  co_return ApiStatus();
}

// Exchange took the credentials: what the device asked for becomes so.
Task<ApiStatus> SubscribeFlow::hand_over(Attempt& attempt, std::string_view exchange_id) {
  store::Store& store = core_.node.store;
  Status noted =
      co_await store.activate_subscription(attempt.envelope.capability, exchange_id, store::SubscriptionState::pending);
  if (!noted) {
    co_await roll_back(attempt);
    co_return store_failed(noted.error());
  }
  core_.supervision->begun(who_.user, attempt.record);
  answer_.device_created = attempt.device_created;
  if (device_) {
    ApiStatus stored = co_await store_device();
    if (!stored) {
      co_await roll_back(attempt);
      co_return stored;
    }
  }
  store::Ending ending{.reason = store::TombstoneReason::handed_over,
                       .expires = tombstone_expiry(io::wall_now(), answer_.heartbeat_minutes)};
  for (const store::CapabilityHash& old_one : user_.subscriptions) {
    Status replaced = co_await store.replace_subscription(old_one, attempt.envelope.capability, {}, ending);
    if (!replaced && !is(replaced.error(), StoreError::not_found)) {
      // Both watch the mailbox until the next hand-over; what both tell of is pushed once.
      log_line(core_.log, LogLevel::error, "hand_over_unfinished", field("user", core_.fingerprint(who_.user)),
               field("error", replaced.error()));
    }
  }
  if (user_.old_key != store::KeyId()) core_.decrypter.forget(user_.old_key);  // it went with the older subscriptions
  store::Route route;
  Status read = co_await store.read_route(attempt.envelope.capability, route);
  if (read && route.kind == store::RouteKind::subscription) answer_.state = route.subscription.state;
  answer_.subscription_id = subscription_id(attempt.envelope.capability);
  co_return ApiStatus();
}

Task<void> SubscribeFlow::roll_back(Attempt& attempt) {
  store::Store& store = core_.node.store;
  WallTime now = io::wall_now();
  store::Ending ending{.reason = store::TombstoneReason::removed,
                       .expires = tombstone_expiry(now, answer_.heartbeat_minutes)};
  Status undone = co_await end_subscription(core_, attempt.envelope.capability, ending);
  bool blocked = false;
  if (!undone && is(undone.error(), StoreError::not_found)) {  // somebody has ended it meanwhile
    undone = Status();
    Result<store::DeviceRecord> device = co_await store.read_device(who_.user, who_.device);
    blocked = device && device->state == store::DeviceState::blocked;  // and must stay so
  }
  if (undone && attempt.device_created && !blocked) {
    Result<store::RemovedDevice> removed = co_await store.remove_device(
        {.user = who_.user, .device = who_.device, .ending = ending, .keep_user = true, .now = now});
    if (!removed) undone = fail(removed.error());
  }
  if (!undone) {
    // What is left is a pending subscription that the next subscribe replaces.
    log_line(core_.log, LogLevel::error, "subscribe_roll_back_failed", field("user", core_.fingerprint(who_.user)),
             field("error", undone.error()));
  }
}

// ---- The device ----

void SubscribeFlow::give_secret() {
  answer_.device_secret = crypto::random_token_text();
}

store::DeviceRecord SubscribeFlow::wished_record() const {
  const Vault& vault = core_.node.vault;
  store::DeviceRecord record = device_ ? *device_ : store::DeviceRecord();
  bool same_app = device_ && device_->topic == request_.app->topic &&
                  (device_->environment == store::PushEnvironment::sandbox) ==
                      (request_.app->environment == ApnsEnvironment::sandbox);
  bool same_token = false;
  if (same_app) {
    auto known = vault.unseal_push_token(who_.user, who_.device, *device_);
    same_token = known && known->equals(as_bytes(request_.push_token));
  }
  if (!same_token) {
    record.sealed_push_token = vault.seal_push_token(who_.user, who_.device, request_.push_token);
    record.proven = false;
  }
  if (!answer_.device_secret.empty()) {
    record.sealed_secret_hash = vault.seal_device_secret_hash(
        who_.user, who_.device, vault.device_secret_hash(answer_.device_secret.reveal_text()));
  }
  record.name = compliance_key(who_.device_id);
  record.platform = store::Platform::apns;
  record.topic = request_.app->topic;
  record.environment = request_.app->environment == ApnsEnvironment::sandbox ? store::PushEnvironment::sandbox
                                                                             : store::PushEnvironment::production;
  record.preview = request_.preview;
  record.badge = request_.badge;
  record.locale = request_.locale;
  record.token_gone = false;
  record.registered_at = io::wall_now();
  return record;
}

Task<ApiStatus> SubscribeFlow::store_device() {
  BH_CO_STEP(ask_policy_again());
  store::Registration registration{
      .user = who_.user, .device = who_.device, .record = wished_, .subscription = {}, .now = wished_.registered_at};
  Result<store::RegistrationResult> result = co_await core_.node.store.register_device(registration);
  if (!result) co_return store_failed(result.error());
  answer_.device_created |= result->device_created;
  co_return ApiStatus();
}

// ---- Exchange, and what may go wrong ----

EwsTarget SubscribeFlow::target() const {
  return {.tenant = who_.tenant, .url = ews_url_, .mailbox = user_.mailbox, .credentials = &*credentials_, .owner = &owner_};
}

// The device learns that its credentials were not accepted, never why; the log says it without naming anybody.
std::unexpected<ApiProblem> SubscribeFlow::credentials_not_good(const char* why, const Error& error) {
  log_line(core_.log, LogLevel::info, "subscribe_credentials", field("user", core_.fingerprint(who_.user)),
           field("why", not_personal(why)), field("error", error));
  return refuse_credentials();
}

void SubscribeFlow::note_refusal() {
  Instant now = io::now();
  (void)limits_.take(RateLimit::refused_credentials, rate_key(credentials_digest_), now);
  (void)limits_.take(RateLimit::refused_logon_user, rate_key(Bytes(who_.user)), now);
}

std::unexpected<ApiProblem> SubscribeFlow::exchange_failed(const EwsFailure& failure) {
  bool refused =
      failure.kind == EwsFailureKind::unauthorized ||
      (failure.kind == EwsFailureKind::ews_error && proto::classify(failure.code) == proto::EwsVerdict::credentials);
  if (refused) {
    note_refusal();
    return credentials_not_good("exchange", failure.error);
  }
  log_line(core_.log, LogLevel::warning, "subscribe_exchange", field("user", core_.fingerprint(who_.user)),
           field("error", failure.error), field("code", not_personal(proto::response_code_text(failure.code))));
  switch (failure.kind) {
    case EwsFailureKind::throttled:
      return refuse_throttled(failure.retry_after);
    case EwsFailureKind::unavailable:
      return refuse_unavailable(kExchangeRetry);
    case EwsFailureKind::refused:
      return refuse_forbidden("the host of ewsUrl is not permitted");
    case EwsFailureKind::blocked:
      return refuse_blocked();
    case EwsFailureKind::unauthorized:
    case EwsFailureKind::garbage:
    case EwsFailureKind::ews_error:
      break;
  }
  return refuse_exchange(failure.code_text);
}

std::unexpected<ApiProblem> SubscribeFlow::grant_failed(const GrantFailure& failure) {
  switch (failure.kind) {
    case GrantFailureKind::refused:
      note_refusal();
      return credentials_not_good("token_endpoint", failure.error);
    case GrantFailureKind::not_allowed:
      return refuse_forbidden("the host of tokenEndpoint is not permitted");
    case GrantFailureKind::throttled:
      return refuse_throttled(failure.retry_after);
    case GrantFailureKind::unavailable:
    case GrantFailureKind::garbage:
      break;
  }
  return refuse_unavailable(kExchangeRetry);
}

std::unexpected<ApiProblem> SubscribeFlow::store_failed(const Error& error) {
  log_line(core_.log, level_of_failure(error), "registration_failed", field("user", core_.fingerprint(who_.user)),
           field("error", error));
  return refuse_unavailable();
}

}  // namespace bellhop::service
