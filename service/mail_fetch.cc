// SPDX-License-Identifier: Apache-2.0
#include "service/mail_fetch.h"

#include <algorithm>
#include <iterator>

#include "core/sleep.h"
#include "crypto/error.h"
#include "service/autodiscover.h"
#include "service/ews_contexts.h"
#include "service/logon_notes.h"
#include "service/logon_rule.h"
#include "service/oauth_tokens.h"
#include "service/renewal.h"

namespace bellhop::service {
namespace {

// The subscription as it is now: another callback may have changed its logon rule or its tokens since this one was
// routed. Where it cannot be read any more, it is as it was: good enough for a password, but not for tokens that may
// have been used since; then nothing.
Task<std::optional<store::SubscriptionRecord>> current_subscription(store::Store& store, const Callback& callback,
                                                                    const Mailbox& mailbox) {
  store::Route route;
  Status read = co_await store.read_route(callback.capability_hash, route);
  bool current = read && route.kind == store::RouteKind::subscription;
  if (!current && callback.subscription->envelope == store::EnvelopeKind::split) co_return std::nullopt;
  store::SubscriptionRecord subscription = current ? std::move(route.subscription) : *callback.subscription;
  if (mailbox.logon_unwritten && mailbox.logon_of == callback.capability_hash) {
    subscription.logon = *mailbox.logon_unwritten;
  }
  co_return subscription;
}

// Puts what is listed and new in front, oldest first. True where the list goes back to something that was seen before,
// so that nothing older can have been missed.
bool add_listed(std::vector<MailItem> listed, const Vault& vault, const Mailbox& mailbox,
                std::vector<Arrival>& arrivals) {
  std::vector<Arrival> fresh;
  bool reached_known = false;
  for (MailItem& item : listed) {  // newest first
    uint64_t hash = vault.item_hash(mailbox.user, item.id);
    bool known = mailbox.hot.seen(hash);
    bool named_in_events = std::ranges::find(arrivals, hash, &Arrival::hash) != arrivals.end();
    reached_known |= known;
    if (known || named_in_events) continue;
    fresh.push_back({.id = item.id, .hash = hash, .at = item.received, .mail = {}});
  }
  std::ranges::reverse(fresh);
  arrivals.insert(arrivals.begin(), std::make_move_iterator(fresh.begin()), std::make_move_iterator(fresh.end()));
  return reached_known;
}

void add_content(std::vector<MailItem> items, std::vector<Arrival>& arrivals) {
  BH_CHECK(items.size() == arrivals.size());
  for (size_t i = 0; i < items.size(); ++i) {
    arrivals[i].gone = items[i].gone;
    if (items[i].received) arrivals[i].at = items[i].received;
    // What Exchange cannot show is pushed without content.
    if (!items[i].unreadable) arrivals[i].mail = std::move(items[i]);
  }
}

}  // namespace

Task<FetchResult> MailFetch::run(const Callback& callback, const Tenant& tenant, Mailbox& mailbox, FetchPlan plan,
                                 std::vector<Arrival>& arrivals) {
  FetchResult result;
  std::optional<store::SubscriptionRecord> subscription =
      co_await current_subscription(core_.node.store, callback, mailbox);
  bool tokens_stored = subscription && co_await write_waiting_tokens(core_, callback.capability_hash, mailbox,
                                                                     *subscription);
  if (!tokens_stored) {
    result.end = FetchEnd::no_exchange;
    co_return result;
  }
  if (!logon_allowed(subscription->logon, io::wall_now(), core_.config().ews)) {
    result.end = FetchEnd::no_logon;
    co_return result;
  }
  Instant begin = io::now();
  Result<OpenEnvelope> opened =
      co_await open_envelope(core_, callback.capability, callback.creds, *subscription, tenant.number);
  result.decrypt = io::now() - begin;
  core_.metrics.observe(metric::stage_time, Stage::decrypt, result.decrypt);
  if (!opened) {
    // Stopped: nobody waits for the answer any more, and Exchange will send it again.
    bool overload = is(opened.error(), crypto::CryptoError::overloaded) || is(opened.error(), CoreError::canceled);
    result.end = overload ? FetchEnd::overload : FetchEnd::unopened;
    if (!overload) {
      log_line(core_.log, LogLevel::error, "envelope_unopened", field("user", core_.fingerprint(mailbox.user)),
               field("error", opened.error()));
    }
    co_return result;
  }
  begin = io::now();
  result.end = co_await use(callback, tenant, mailbox, *subscription, *opened, plan, arrivals, result);
  // The next device that subscribes must not be led to the same place.
  if (result.end == FetchEnd::moved && core_.autodiscover) {
    co_await core_.autodiscover->forget(tenant, opened->record, callback.subscription->ews_url);
  }
  opened = fail({});  // wiped here, before anything else is done
  result.fetch = io::now() - begin;
  core_.metrics.observe(metric::stage_time, Stage::fetch, result.fetch);

  store::LogonRule rule = subscription->logon;
  if (result.end == FetchEnd::no_logon) {
    co_await note_logon_refused(core_, callback.capability_hash, mailbox, rule);
  }
  if (result.end == FetchEnd::token_lost) co_await note_lost_token(callback, mailbox);
  if (result.end == FetchEnd::done && rule.failed > 0) {
    co_await write_logon_rule(core_, callback.capability_hash, mailbox, store::LogonRule());
  }
  co_return result;
}

// With OAuth: a usable token first; and where Exchange does not take it, one fresh one and one more try.
Task<FetchEnd> MailFetch::use(const Callback& callback, const Tenant& tenant, Mailbox& mailbox,
                              store::SubscriptionRecord& subscription, OpenEnvelope& opened, FetchPlan plan,
                              std::vector<Arrival>& arrivals, FetchResult& result) {
  const auto* oauth = std::get_if<crypto::OauthCredentials>(&opened.record.logon);
  bool fresh = false;
  if (oauth && !access_token_usable(*oauth, io::wall_now())) {
    FetchEnd renewed = co_await renew(callback, tenant, mailbox, subscription, opened, {});
    if (renewed != FetchEnd::done) co_return renewed;
    fresh = true;
  }
  Asked asked = co_await ask_in_time(callback, tenant, mailbox, opened, plan, arrivals, result);
  // A token that was granted a moment ago is refused for what it lacks, which only claims can tell.
  bool another = oauth && asked.end == FetchEnd::no_logon && asked.challenge && asked.challenge->token_refused &&
                 (!fresh || !asked.challenge->claims.empty());
  if (!another) co_return asked.end;
  FetchEnd renewed = co_await renew(callback, tenant, mailbox, subscription, opened, asked.challenge->claims);
  if (renewed != FetchEnd::done) co_return renewed;
  co_return (co_await ask_in_time(callback, tenant, mailbox, opened, plan, arrivals, result)).end;
}

// FetchEnd::done: the record holds a token that is stored.
Task<FetchEnd> MailFetch::renew(const Callback& callback, const Tenant& tenant, Mailbox& mailbox,
                                store::SubscriptionRecord& subscription, OpenEnvelope& opened, std::string_view claims) {
  OpenSplit split{.capability = callback.capability_hash,
                  .tenant = tenant,
                  .mailbox = mailbox,
                  .subscription = subscription,
                  .binding = opened.binding,
                  .key = opened.split_key,
                  .oauth = std::get<crypto::OauthCredentials>(opened.record.logon),
                  .record = opened.record};
  // A successor has the refresh token by now: presented twice, it might cost the whole grant.
  if (!co_await may_grant(core_, callback.capability_hash, subscription)) co_return FetchEnd::no_exchange;
  switch (co_await renew_tokens(core_, split, claims)) {
    case RenewalEnd::renewed:
      co_return FetchEnd::done;
    case RenewalEnd::refused:
      co_return FetchEnd::no_logon;
    case RenewalEnd::lost:
      co_return FetchEnd::token_lost;
    case RenewalEnd::unavailable:
      break;
  }
  co_return FetchEnd::no_exchange;
}

Task<MailFetch::Asked> MailFetch::ask_in_time(const Callback& callback, const Tenant& tenant, Mailbox& mailbox,
                                              const OpenEnvelope& opened, FetchPlan plan, std::vector<Arrival>& arrivals,
                                              FetchResult& result) {
  EwsOwner owner{.user = mailbox.user, .source = callback.subscription->source_device, .asking = {}};
  EwsTarget target{.tenant = &tenant,
                   .url = callback.subscription->ews_url,
                   .mailbox = mailbox.number,
                   .credentials = &opened.record,
                   .owner = &owner};
  const NotificationConfig& limits = core_.config().notification;
  Instant expiry = std::min(io::now() + std::chrono::milliseconds(limits.fetch_timeout_ms),
                            callback.received_at + std::chrono::milliseconds(limits.total_timeout_ms));
  DeadlineContext deadline(&co_await current_context(), expiry);
  co_return co_await ask(target, mailbox, plan, arrivals, result).under(deadline.context());
}

Task<MailFetch::Asked> MailFetch::ask(const EwsTarget& target, Mailbox& mailbox, FetchPlan plan,
                                      std::vector<Arrival>& arrivals, FetchResult& result) {
  const NotificationConfig& limits = core_.config().notification;
  if (plan.list && !result.listed) {
    core_.metrics.add(metric::catch_ups);
    auto found = co_await core_.ews.find_items(target, plan.since, limits.catch_up_items_max);
    if (!found) co_return end_of(std::move(found.error()), mailbox);
    size_t before = arrivals.size();
    bool reached_known = add_listed(std::move(found->items), core_.node.vault, mailbox, arrivals);
    result.listed = true;
    result.caught_up = static_cast<uint32_t>(arrivals.size() - before);
    result.more = found->more && !reached_known;
    if (plan.unread) co_await ask_unread(target, result);
  }
  if (!plan.content || arrivals.empty() || arrivals.size() > arrivals_shown_max(limits)) co_return Asked();
  std::vector<std::string_view> ids;
  for (const Arrival& arrival : arrivals) ids.push_back(arrival.id);
  auto items = co_await core_.ews.get_items(target, ids, plan.preview);
  if (!items) co_return end_of(std::move(items.error()), mailbox);
  add_content(*std::move(items), arrivals);
  co_return Asked();
}

// For the badge alone: without the number everything else goes on.
Task<void> MailFetch::ask_unread(const EwsTarget& target, FetchResult& result) {
  EwsReply<InboxCounts> counts = co_await core_.ews.inbox(target);
  if (counts) result.unread = counts->unread;
}

MailFetch::Asked MailFetch::end_of(EwsFailure failure, const Mailbox& mailbox) {
  log_line(core_.log, LogLevel::warning, "mail_not_fetched", field("user", core_.fingerprint(mailbox.user)),
           field("error", failure.error), field("code", not_personal(proto::response_code_text(failure.code))));
  bool refused = failure.kind == EwsFailureKind::unauthorized;
  FetchEnd end = failure.moved ? FetchEnd::moved : refused ? FetchEnd::no_logon : FetchEnd::no_exchange;
  return {.end = end, .challenge = std::move(failure.challenge)};
}

// For good: only a new subscribe brings a new token.
Task<void> MailFetch::note_lost_token(const Callback& callback, Mailbox& mailbox) {
  log_line(core_.log, LogLevel::warning, "refresh_token_lost", field("user", core_.fingerprint(mailbox.user)));
  co_await write_logon_rule(core_, callback.capability_hash, mailbox,
                            {.failed = UINT8_MAX, .next_allowed = WallTime::max()});
}

}  // namespace bellhop::service
