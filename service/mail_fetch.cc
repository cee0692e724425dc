// SPDX-License-Identifier: Apache-2.0
#include "service/mail_fetch.h"

#include <algorithm>
#include <iterator>

#include "core/sleep.h"
#include "crypto/envelope.h"
#include "crypto/error.h"
#include "service/logon_rule.h"

namespace bellhop::service {
namespace {

// The rule that holds now: another callback may have changed it since this one was routed.
Task<store::LogonRule> current_rule(store::Store& store, const Callback& callback, const Mailbox& mailbox) {
  if (mailbox.logon_unwritten && mailbox.logon_of == callback.capability_hash) co_return *mailbox.logon_unwritten;
  store::Route route;
  Status read = co_await store.read_route(callback.capability_hash, route);
  if (read && route.kind == store::RouteKind::subscription) co_return route.subscription.logon;
  co_return callback.subscription->logon;
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
    arrivals[i].mail = std::move(items[i]);
  }
}

}  // namespace

Task<FetchResult> MailFetch::run(const Callback& callback, const Tenant& tenant, Mailbox& mailbox, FetchPlan plan,
                                 std::vector<Arrival>& arrivals) {
  FetchResult result;
  store::LogonRule rule = co_await current_rule(core_.node.store, callback, mailbox);
  if (!logon_allowed(rule, io::wall_now(), core_.node.config.ews)) {
    result.end = FetchEnd::no_logon;
    co_return result;
  }

  Instant begin = io::now();
  Result<crypto::CredentialRecord> credentials = co_await open_envelope(callback, tenant);
  Instant opened = io::now();
  result.decrypt = opened - begin;
  core_.metrics.observe(metric::stage_time, Stage::decrypt, result.decrypt);
  if (!credentials) {
    // Stopped: nobody waits for the answer any more, and Exchange will send it again.
    bool overload = is(credentials.error(), crypto::CryptoError::overloaded) || is(credentials.error(), CoreError::canceled);
    result.end = overload ? FetchEnd::overload : FetchEnd::unopened;
    if (!overload) {
      log_line(core_.log, LogLevel::error, "envelope_unopened", field("user", core_.fingerprint(mailbox.user)),
               field("error", credentials.error()));
    }
    co_return result;
  }

  EwsTarget target{.tenant = &tenant,
                   .url = callback.subscription->ews_url,
                   .mailbox = mailbox.number,
                   .credentials = &*credentials};
  const NotificationConfig& limits = core_.node.config.notification;
  Instant expiry = std::min(opened + std::chrono::milliseconds(limits.fetch_timeout_ms),
                            callback.received_at + std::chrono::milliseconds(limits.total_timeout_ms));
  DeadlineContext deadline(&co_await current_context(), expiry);
  result.end = co_await ask(target, mailbox, plan, arrivals, result).under(deadline.context());
  credentials = fail({});  // wiped here, before anything else is done
  result.fetch = io::now() - opened;
  core_.metrics.observe(metric::stage_time, Stage::fetch, result.fetch);

  if (result.end == FetchEnd::no_logon) co_await note_refusal(callback, mailbox, rule);
  if (result.end == FetchEnd::done && rule.failed > 0) co_await note_success(callback, mailbox);
  co_return result;
}

Task<Result<crypto::CredentialRecord>> MailFetch::open_envelope(const Callback& callback, const Tenant& tenant) {
  const store::SubscriptionRecord& subscription = *callback.subscription;
  BH_CO_TRY(crypto::KeyCache::Pin key, co_await core_.decrypter.key(subscription.key));
  const crypto::RsaPublicKey& public_key = key->key().public_key();
  crypto::EnvelopeBinding binding{
      .capability = callback.capability, .key_id = public_key.id(), .ews_origin = subscription.ews_origin()};
  BH_CO_TRY(crypto::EnvelopePrepared envelope, crypto::envelope_prepare(callback.creds, public_key, binding));
  BH_CO_TRY(crypto::Secret packed,
            co_await core_.decrypter.decrypt(std::move(key), envelope.ciphertext, envelope.label, tenant.number));
  co_return crypto::envelope_finish(envelope, packed);
}

Task<FetchEnd> MailFetch::ask(const EwsTarget& target, Mailbox& mailbox, FetchPlan plan, std::vector<Arrival>& arrivals,
                              FetchResult& result) {
  const NotificationConfig& limits = core_.node.config.notification;
  if (plan.list) {
    core_.metrics.add(metric::catch_ups);
    auto found = co_await core_.ews.find_items(target, plan.since, limits.catch_up_items_max);
    if (!found) co_return end_of(found.error(), mailbox);
    size_t before = arrivals.size();
    bool reached_known = add_listed(std::move(found->items), core_.node.vault, mailbox, arrivals);
    result.listed = true;
    result.caught_up = static_cast<uint32_t>(arrivals.size() - before);
    result.more = found->more && !reached_known;
  }
  if (!plan.content || arrivals.empty() || arrivals.size() > arrivals_shown_max(limits)) co_return FetchEnd::done;
  std::vector<std::string_view> ids;
  for (const Arrival& arrival : arrivals) ids.push_back(arrival.id);
  auto items = co_await core_.ews.get_items(target, ids, plan.preview);
  if (!items) co_return end_of(items.error(), mailbox);
  add_content(*std::move(items), arrivals);
  co_return FetchEnd::done;
}

FetchEnd MailFetch::end_of(const EwsFailure& failure, const Mailbox& mailbox) {
  log_line(core_.log, LogLevel::warning, "mail_not_fetched", field("user", core_.fingerprint(mailbox.user)),
           field("error", failure.error), field("code", not_personal(proto::response_code_text(failure.code))));
  return failure.kind == EwsFailureKind::unauthorized ? FetchEnd::no_logon : FetchEnd::no_exchange;
}

Task<void> MailFetch::note_refusal(const Callback& callback, Mailbox& mailbox, store::LogonRule rule) {
  store::LogonRule refused = logon_refused(rule, io::wall_now(), core_.node.config.ews);
  log_line(core_.log, LogLevel::warning, "credentials_refused", field("user", core_.fingerprint(mailbox.user)),
           field("refusals", uint32_t{refused.failed}));
  co_await write_logon(callback, mailbox, refused);
}

Task<void> MailFetch::note_success(const Callback& callback, Mailbox& mailbox) {
  co_await write_logon(callback, mailbox, store::LogonRule());
}

// Synced, so that no crash makes us try more often than the rule allows.
Task<void> MailFetch::write_logon(const Callback& callback, Mailbox& mailbox, store::LogonRule rule) {
  store::SubscriptionPatch patch;
  patch.logon = rule;
  Status written = co_await core_.node.store.update_subscription(callback.capability_hash, patch);
  if (written || is(written.error(), store::StoreError::not_found)) {
    mailbox.logon_unwritten.reset();
    co_return;
  }
  mailbox.logon_unwritten = rule;
  mailbox.logon_of = callback.capability_hash;
  log_line(core_.log, LogLevel::error, "logon_rule_not_written", field("user", core_.fingerprint(mailbox.user)),
           field("error", written.error()));
}

}  // namespace bellhop::service
