// SPDX-License-Identifier: Apache-2.0
#include "service/succession.h"

#include <algorithm>

#include "core/io.h"
#include "crypto/error.h"
#include "service/autodiscover.h"
#include "service/ews_contexts.h"
#include "service/key_maker.h"
#include "service/logon_notes.h"
#include "service/oauth_tokens.h"
#include "service/policy_points.h"
#include "service/registration.h"
#include "service/store_watch.h"
#include "service/subscription_end.h"
#include "service/subscription_health.h"

namespace bellhop::service {
namespace {

using store::StoreError;

std::optional<crypto::Capability> capability_of(const crypto::Secret& bytes) {
  crypto::Capability capability;
  if (bytes.size() != capability.bytes.size()) return std::nullopt;
  std::ranges::copy(bytes.reveal(), capability.bytes.begin());
  return capability;
}

}  // namespace

store::Ending taken_back(uint16_t status_frequency_minutes) {
  return {.reason = store::TombstoneReason::removed,
          .expires = tombstone_expiry(io::wall_now(), status_frequency_minutes)};
}

Task<RenewalResult> Succession::run() {
  if (End end = co_await read_user()) co_return *end;
  if (End end = co_await clear_leftovers()) co_return *end;
  if (End end = co_await choose_key()) co_return *end;
  if (End end = co_await open()) co_return *end;
  if (End end = co_await find_exchange()) co_return *end;
  if (End end = co_await store_successor()) co_return *end;
  // Not during the Subscribe: Exchange may call the successor before it answers, and that callback needs the turn.
  turn_.release();
  co_return co_await subscribe();
}

RenewalResult Succession::store_failed(const Error& error) {
  log_line(core_.log, level_of_failure(error), "renewal_failed", field("user", core_.fingerprint(job_.user)),
           field("error", error));
  return RenewalResult::store;
}

Task<Succession::End> Succession::read_user() {
  Result<store::UserRecord> user = co_await core_.node.store.read_user(job_.user);
  if (!user && is(user.error(), StoreError::not_found)) co_return RenewalResult::no_source;
  if (!user) co_return store_failed(user.error());
  user_ = *std::move(user);
  store::Route route;
  if (Status read = co_await core_.node.store.read_route(job_.capability_hash, route); !read) {
    co_return store_failed(read.error());
  }
  if (route.kind != store::RouteKind::subscription) co_return RenewalResult::conflict;  // ended since the callback
  old_one_ = std::move(route.subscription);
  // Whose credentials they are decides: a device that left, or is blocked, watches nothing any more.
  auto source = co_await core_.node.store.read_device(job_.user, old_one_.source_device);
  if (!source && !is(source.error(), StoreError::not_found)) co_return store_failed(source.error());
  if (!source || source->state != store::DeviceState::active) co_return RenewalResult::no_source;
  bool let_in = decide_device(core_, user_.tenant, job_.user, source->name, DecisionPoint::subscription).allowed();
  if (!let_in) co_return RenewalResult::no_source;
  co_return End();
}

// Only the newest subscription has a successor. One that a crash left, or that Exchange never called, goes first.
Task<Succession::End> Succession::clear_leftovers() {
  store::Route route;
  while (!user_.subscriptions.empty() && user_.subscriptions.back() != job_.capability_hash) {
    store::CapabilityHash newest = user_.subscriptions.back();
    if (Status read = co_await core_.node.store.read_route(newest, route); !read) co_return store_failed(read.error());
    bool leftover = route.kind == store::RouteKind::subscription && successor_lost(route.subscription, io::wall_now());
    if (!leftover) co_return RenewalResult::conflict;
    Status ended = co_await end_pending(core_, newest, taken_back(route.subscription.status_frequency_minutes));
    if (!ended && is(ended.error(), StoreError::conflict)) co_return RenewalResult::conflict;
    if (!ended && !is(ended.error(), StoreError::not_found)) co_return store_failed(ended.error());
    user_.subscriptions.pop_back();
  }
  if (user_.subscriptions.empty()) co_return RenewalResult::conflict;
  co_return End();
}

// The present pair, or a new one where that is wished. While the pair before is still in use, the wish waits.
Task<Succession::End> Succession::choose_key() {
  bool wished = user_.rekey_wished != WallTime();
  if (wished && user_.old_key == store::KeyId()) {
    auto pooled = co_await core_.node.store.count_pool_keys();
    bool empty = pooled && *pooled == 0;
    Result<store::UserAndKey> rotated = store::UserAndKey();
    if (!empty) rotated = co_await core_.node.store.rotate_key(job_.user);
    if (core_.key_maker) core_.key_maker->nudge();
    if (!rotated && is(rotated.error(), StoreError::conflict)) co_return RenewalResult::conflict;
    if (!rotated) co_return store_failed(rotated.error());
    // Another pair can wait, a subscription that is dead or at the wrong place cannot.
    if (!rotated->created && job_.reason == RenewalReason::key) co_return RenewalResult::no_key;
    if (rotated->created) {
      user_ = std::move(rotated->user);
      core_.metrics.add(metric::keys_rotated);
      log_line(core_.log, LogLevel::info, "key_rotated", field("user", core_.fingerprint(job_.user)));
    }
  }
  auto record = co_await core_.node.store.read_key(user_.key);
  if (!record) co_return store_failed(record.error());
  Result<crypto::RsaPublicKey> key = crypto::RsaPublicKey::from_spki(record->public_key);
  if (!key) co_return store_failed(key.error());
  key_ = *std::move(key);
  co_return End();
}

// In the mailbox's turn, and with the record as it is now: a callback may have renewed its tokens since.
Task<Succession::End> Succession::open() {
  Result<Semaphore::Permit> turn = co_await mailbox_.turn.acquire();
  if (!turn) co_return RenewalResult::canceled;
  turn_ = *std::move(turn);
  store::Route route;
  if (Status read = co_await core_.node.store.read_route(job_.capability_hash, route); !read) {
    co_return store_failed(read.error());
  }
  if (route.kind != store::RouteKind::subscription) co_return RenewalResult::conflict;
  old_one_ = std::move(route.subscription);
  if (mailbox_.logon_unwritten && mailbox_.logon_of == job_.capability_hash) old_one_.logon = *mailbox_.logon_unwritten;
  // What is left of the logon rule's few tries is for mails.
  if (credentials_refused(old_one_)) co_return RenewalResult::refused;
  if (!co_await write_waiting_tokens(core_, job_.capability_hash, mailbox_, old_one_)) co_return RenewalResult::store;

  std::optional<crypto::Capability> capability = capability_of(job_.capability);
  BH_CHECK(capability);
  Result<OpenEnvelope> opened =
      co_await open_envelope(core_, *capability, job_.creds.reveal(), old_one_, tenant_.number);
  wipe(capability->bytes);
  if (!opened) {
    if (is(opened.error(), crypto::CryptoError::overloaded)) co_return RenewalResult::unavailable;
    if (is(opened.error(), CoreError::canceled)) co_return RenewalResult::canceled;
    log_line(core_.log, LogLevel::error, "envelope_unopened", field("user", core_.fingerprint(job_.user)),
             field("error", opened.error()));
    co_return RenewalResult::unopened;
  }
  opened_ = *std::move(opened);
  job_.capability.clear();
  job_.creds.clear();
  if (std::holds_alternative<crypto::OauthCredentials>(opened_->record.logon)) co_return co_await fresh_token();
  turn_.release();
  co_return End();
}

// From here on the refresh token is the successor's: the old subscription has to do with this access token.
Task<Succession::End> Succession::fresh_token() {
  auto& oauth = std::get<crypto::OauthCredentials>(opened_->record.logon);
  auto life = std::chrono::duration_cast<std::chrono::milliseconds>(kHandOverTokenLife);
  if (access_token_usable(oauth, io::wall_now() + life)) co_return End();
  OpenSplit split{.capability = job_.capability_hash,
                  .tenant = tenant_,
                  .mailbox = mailbox_,
                  .subscription = old_one_,
                  .binding = opened_->binding,
                  .key = opened_->split_key,
                  .oauth = oauth,
                  .record = opened_->record};
  switch (co_await renew_tokens(core_, split, {})) {
    case RenewalEnd::renewed:
      co_return End();
    case RenewalEnd::refused:
      co_await note_logon_refused(core_, job_.capability_hash, mailbox_, old_one_.logon);
      co_return RenewalResult::refused;
    case RenewalEnd::lost:
      co_return RenewalResult::refused;
    case RenewalEnd::unavailable:
      break;
  }
  co_return RenewalResult::unavailable;
}

// Where it was, unless that is not so any more.
Task<Succession::End> Succession::find_exchange() {
  ews_url_ = old_one_.ews_url;
  bool elsewhere = job_.reason == RenewalReason::moved || job_.reason == RenewalReason::url;
  if (!elsewhere && tenant_.ews_url(ews_url_)) co_return End();
  if (!core_.autodiscover || opened_->record.address.empty()) co_return RenewalResult::moved_nowhere;
  if (job_.reason == RenewalReason::moved) {
    co_await core_.autodiscover->forget(tenant_, opened_->record, old_one_.ews_url);
  }
  Autodiscover::Reply found = co_await core_.autodiscover->find(tenant_, opened_->record, false);
  if (!found && found.error() == AutodiscoverResult::unauthorized) {
    co_await note_logon_refused(core_, job_.capability_hash, mailbox_, old_one_.logon);
    co_return RenewalResult::refused;
  }
  if (!found) {
    bool later = found.error() == AutodiscoverResult::unavailable || found.error() == AutodiscoverResult::timed_out ||
                 found.error() == AutodiscoverResult::overload;
    co_return later ? RenewalResult::unavailable : RenewalResult::moved_nowhere;
  }
  if (found->url == old_one_.ews_url) co_return RenewalResult::moved_nowhere;
  ews_url_ = std::move(found->url);
  co_return End();
}

// Synced before Exchange hears of the URL.
Task<Succession::End> Succession::store_successor() {
  successor_.source_device = old_one_.source_device;
  successor_.status_frequency_minutes = static_cast<uint16_t>(core_.config().ews.status_frequency_minutes);
  successor_.created = io::wall_now();
  EnvelopeWish wish{.key = *key_,
                    .key_name = user_.key,
                    .ews_url = ews_url_,
                    .split = std::holds_alternative<crypto::OauthCredentials>(opened_->record.logon)};
  Result<SealedEnvelope> sealed = seal_envelope(core_, opened_->record, wish, successor_);
  if (!sealed) co_return store_failed(sealed.error());
  sealed_ = *std::move(sealed);
  Status begun = co_await core_.node.store.begin_succession(
      {.old_one = job_.capability_hash, .subscription = {sealed_.capability, successor_}});
  if (begun) co_return End();
  bool overtaken = is(begun.error(), StoreError::not_found) || is(begun.error(), StoreError::conflict);
  if (overtaken) co_return RenewalResult::conflict;
  co_return store_failed(begun.error());
}

Task<RenewalResult> Succession::subscribe() {
  EwsOwner owner{.user = job_.user, .source = old_one_.source_device, .asking = {}};
  EwsTarget target{
      .tenant = &tenant_, .url = ews_url_, .mailbox = job_.mailbox, .credentials = &opened_->record, .owner = &owner};
  EwsReply<EwsSubscribed> reply = co_await core_.ews.subscribe(target, sealed_.callback_url);
  wipe(sealed_.callback_url);
  opened_.reset();  // wiped here, before anything else is done
  if (!reply) co_return co_await take_back(reply.error());
  Status noted = co_await core_.node.store.activate_subscription(sealed_.capability, reply->subscription_id,
                                                                 store::SubscriptionState::pending);
  if (noted) co_return RenewalResult::renewed;
  // Ended meanwhile, with its user or by a device's own subscribe; or called by another id.
  bool overtaken = is(noted.error(), StoreError::not_found) || is(noted.error(), StoreError::conflict);
  if (overtaken) co_return RenewalResult::conflict;
  // Its first callback tells the id as well.
  log_line(core_.log, level_of_failure(noted.error()), "renewal_unnoted", field("user", core_.fingerprint(job_.user)),
           field("error", noted.error()));
  co_return RenewalResult::renewed;
}

// Exchange did not answer, or said no. A callback may have come all the same: then it has made the subscription.
Task<RenewalResult> Succession::take_back(const EwsFailure& failure) {
  Status ended =
      co_await end_pending(core_, sealed_.capability, taken_back(successor_.status_frequency_minutes));
  if (!ended && is(ended.error(), StoreError::conflict)) co_return RenewalResult::renewed;
  if (!ended && !is(ended.error(), StoreError::not_found)) {
    (void)store_failed(ended.error());  // found and taken back by successor_lost(), later
  }
  log_line(core_.log, LogLevel::warning, "renewal_exchange", field("user", core_.fingerprint(job_.user)),
           field("error", failure.error), field("code", not_personal(proto::response_code_text(failure.code))));
  if (is(failure.error, CoreError::canceled)) co_return RenewalResult::canceled;
  if (failure.moved) {
    mailbox_.moved_from = job_.capability_hash;
    co_return RenewalResult::moved_nowhere;
  }
  bool refused =
      failure.kind == EwsFailureKind::unauthorized ||
      (failure.kind == EwsFailureKind::ews_error && proto::classify(failure.code) == proto::EwsVerdict::credentials);
  // An access token that Exchange does not take is no wrong password: the next mail's fetch asks for another.
  bool token = old_one_.envelope == store::EnvelopeKind::split && failure.challenge && failure.challenge->token_refused;
  if (refused && !token) {
    co_await note_logon_refused(core_, job_.capability_hash, mailbox_, old_one_.logon);
    co_return RenewalResult::refused;
  }
  co_return refused || failure.kind == EwsFailureKind::refused ? RenewalResult::refused : RenewalResult::unavailable;
}

// ---- Who may grant ----

bool successor_lost(const store::SubscriptionRecord& successor, WallTime now) {
  if (successor.state != store::SubscriptionState::pending) return false;
  if (now < successor.created) return true;  // the clock was set back: nothing is known of its age
  std::chrono::milliseconds patience = std::chrono::duration_cast<std::chrono::milliseconds>(kSuccessorAnswerMax);
  // Exchange has it, and calls at once or, where we are not there, again and again within a status frequency.
  if (!successor.exchange_id.empty()) patience = std::chrono::minutes(successor.status_frequency_minutes);
  return now - successor.created > patience;
}

Task<bool> may_grant(Core& core, const store::CapabilityHash& capability,
                     const store::SubscriptionRecord& subscription) {
  auto user = co_await core.node.store.read_user(subscription.user);
  if (!user) co_return is(user.error(), StoreError::not_found);  // gone: its last device asks for nothing
  store::Route route;
  while (!user->subscriptions.empty() && user->subscriptions.back() != capability) {
    store::CapabilityHash newest = user->subscriptions.back();
    if (!co_await core.node.store.read_route(newest, route)) co_return false;
    bool successor = route.kind == store::RouteKind::subscription && route.subscription.takes_over;
    if (successor) {
      if (!successor_lost(route.subscription, io::wall_now())) co_return false;
      Status ended = co_await end_pending(core, newest, taken_back(route.subscription.status_frequency_minutes));
      if (!ended && !is(ended.error(), StoreError::not_found)) co_return false;
    }
    user->subscriptions.pop_back();
  }
  co_return true;
}

}  // namespace bellhop::service
