// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "service/ack_sources.h"
#include "service/badge.h"
#include "service/classify.h"
#include "service/delivery.h"
#include "service/journal.h"
#include "service/mail_fetch.h"
#include "service/mailbox_cache.h"
#include "service/compliance.h"
#include "service/notification.h"
#include "service/policy_points.h"
#include "service/push_plan.h"
#include "service/pushes_behind.h"
#include "service/renewal.h"
#include "service/subscription_end.h"
#include "service/subscription_health.h"
#include "service/supervision.h"

namespace bellhop::service {
namespace {

// How far Exchange's clock may be from ours. Hosts of one Active Directory are never further apart (Kerberos).
constexpr Duration kClockSkewMax = std::chrono::minutes(5);
// How much later than its mail an event's time may be. Mails of this time are listed again; the ring knows them.
constexpr Duration kEventDelayMax = std::chrono::minutes(1);
// Of a close, for pushes that are still being made. Then they are the journal's, and so the next process's, which waits
// for the end of this one before it serves.
constexpr Duration kClosePatience = 3s;
// A verdict on a mailbox's devices rests on what is known of them, which has a count of changes, and on the time of day.
constexpr Duration kPolicyGoodFor = std::chrono::minutes(5);
// Hot records that one close hands to the store at once.
constexpr size_t kFlushedAtOnce = store::kHotPendingMax / 2;

// A time at Exchange before which no event of this mailbox can have been missed. `contact`: the first that we know of.
WallTime subscription_began(WallTime contact) {
  WallTime first = contact == WallTime() ? io::wall_now() : contact;
  return first - std::chrono::duration_cast<std::chrono::milliseconds>(kClockSkewMax);
}

struct HashContext {
  const Vault& vault;
  const store::StoredUserId& user;

  EventHashes hashes() const {
    return {.context = this,
            .item = [](const void* self, std::string_view id) { return of(self).vault.item_hash(of(self).user, id); },
            .watermark = [](const void* self, std::string_view text) { return of(self).vault.watermark_hash(text); }};
  }
  static const HashContext& of(const void* self) { return *static_cast<const HashContext*>(self); }
};

// A callback's place among those of its mailbox.
class InFlight {
 public:
  explicit InFlight(Mailbox& mailbox) : mailbox_(mailbox) { ++mailbox.callbacks_in_flight; }
  ~InFlight() { --mailbox_.callbacks_in_flight; }
  InFlight(const InFlight&) = delete;
  InFlight& operator=(const InFlight&) = delete;

 private:
  Mailbox& mailbox_;
};

std::vector<Arrival> arrivals_of(const Classified& events) {
  std::vector<Arrival> arrivals;
  for (const NewMailEvent& event : events.fresh) {
    arrivals.push_back({.id = std::string(event.item_id), .hash = event.hash, .at = event.at, .mail = {}});
  }
  return arrivals;
}

CallbackOutcome outcome_of(const Classified& events, size_t arrivals) {
  if (arrivals > 0 || events.duplicates > 0) return CallbackOutcome::ok;
  if (events.unread) return CallbackOutcome::badge;
  return events.heartbeat ? CallbackOutcome::heartbeat : CallbackOutcome::ok;
}

}  // namespace

struct Mailboxes::Impl {
  explicit Impl(Core& c)
      : core(c),
        cache(kMailboxesCachedMax, {.function = &Impl::evicted, .context = this}),
        pusher(c),
        journal(c, pusher),
        badges(c, pusher),
        mail_fetch(c),
        sources(c),
        behind(c, pusher, mail_fetch),
        chores(nullptr) {}

  // What handle_mail works on and with.
  struct MailWork {
    Callback& callback;
    Mailbox& mailbox;
    const Classified& events;
    CallbackAnswer& answer;
    AckSources::Work source;
    std::vector<store::DeviceEntry> devices;
    Instant devices_read{};
    std::vector<Arrival> arrivals;
    FetchPlan plan;
    BehindPlace behind = {};          // out: answered, and the pushes are still to be made
    NotificationConfig planned = {};  // out: by which they were planned
    bool renewing = false;            // out: a successor is being made
  };

  Task<CallbackAnswer> handle(Callback& callback);
  std::optional<CallbackOutcome> refuse(Mailbox& mailbox) const;
  Task<std::optional<CallbackOutcome>> prepare(const Callback& callback, Mailbox& mailbox);
  Task<std::optional<CallbackOutcome>> ask_policy(const Callback& callback, Mailbox& mailbox);
  Task<CallbackOutcome> end_blocked(const Callback& callback, const Mailbox& mailbox);
  Task<Status> load(Mailbox& mailbox);
  Task<void> handle_mail(MailWork& work);
  Task<bool> answer_from_journal(MailWork& work, Delivery& delivery, bool journal_only);
  void push_behind(MailWork& work, MailboxCache::Lease mailbox, Semaphore::Permit turn);
  Task<void> answer_after_push(MailWork& work, Delivery& delivery);
  FetchPlan plan_fetch(const MailWork& work) const;
  void mend(MailWork& work, FetchEnd end);
  Task<CallbackOutcome> end_lost(const Callback& callback, const Mailbox& mailbox, const Classified& events);
  Task<bool> ended_meanwhile(const Callback& callback, const Mailbox& mailbox);
  Task<void> complete_succession(const Callback& callback, Mailbox& mailbox);
  void keep_alive(const Callback& callback, Mailbox& mailbox);
  Task<void> ask_another(std::string tenant_id, store::MailboxNumber number, store::StoredUserId user,
                         store::DeviceKey preferred);
  void note_unread(Mailbox& mailbox, uint32_t unread);
  void note_arrivals(Mailbox& mailbox, const std::vector<Arrival>& arrivals, std::span<const Push> pushes);
  void note_received(Mailbox& mailbox, const std::vector<Arrival>& arrivals);
  void note_watermark(Mailbox& mailbox, const Classified& events);
  void note_contact(Mailbox& mailbox, const store::SubscriptionRecord& subscription, bool changed);
  bool write(Mailbox& mailbox);
  Task<Status> flush();
  Task<void> close();
  static void evicted(void* self, const Mailbox& mailbox);

  Core& core;
  // Of the calling flow, which holds a pin.
  const NotificationConfig& limits() const { return core.config().notification; }
  MailboxCache cache;
  Pusher pusher;
  Journal journal;
  Badges badges;
  MailFetch mail_fetch;
  AckSources sources;
  PushesBehind behind;
  TaskScope chores;  // at most kChoresMax
};

// The home core's part of the way of one notification.
Task<CallbackAnswer> Mailboxes::Impl::handle(Callback& callback) {
  GenerationSlot::Pin pin(core.generations);
  const store::SubscriptionRecord& subscription = *callback.subscription;
  CallbackAnswer answer;
  answer.trace.mailbox = subscription.mailbox;
  core.supervision->heard(subscription.user, subscription);  // it lives, whatever becomes of the callback

  MailboxCache::Lease mailbox = cache.get(subscription.mailbox, subscription.user);
  if (!mailbox) {
    answer.outcome = CallbackOutcome::refused_overload;
    co_return answer;
  }
  if (std::optional<CallbackOutcome> refused = refuse(*mailbox)) {
    answer.outcome = *refused;
    co_return answer;
  }
  InFlight in_flight(*mailbox);
  Result<Semaphore::Permit> turn = co_await mailbox->turn.acquire();
  if (!turn) {  // we are being stopped
    answer.outcome = CallbackOutcome::refused_draining;
    co_return answer;
  }
  if (std::optional<CallbackOutcome> ended = co_await prepare(callback, *mailbox)) {
    answer.outcome = *ended;
    co_return answer;
  }

  // 3 classify
  HashContext hashes{core.node.vault, mailbox->user};
  Classified events = classify(callback.notifications, mailbox->hot, hashes.hashes());
  answer.trace.duplicates = events.duplicates;
  std::optional<uint32_t> unread_before;
  if (mailbox->unread_known) unread_before = mailbox->hot.unread;
  if (events.unread) note_unread(*mailbox, *events.unread);

  std::optional<MailWork> work;
  bool quiet = events.fresh.empty() && events.duplicates == 0 && !events.gap && !events.lost;
  if (quiet) {
    note_watermark(*mailbox, events);
    answer.outcome = outcome_of(events, 0);
  } else {
    work.emplace(MailWork{.callback = callback,
                          .mailbox = *mailbox,
                          .events = events,
                          .answer = answer,
                          .source = sources.enter(subscription.tenant, subscription.ews_origin()),
                          .devices = {},
                          .devices_read = io::now(),
                          .arrivals = arrivals_of(events),
                          .plan = {}});
    co_await handle_mail(*work);
  }
  bool unread_changed = mailbox->unread_known && mailbox->hot.unread != unread_before;
  // The alert of a new mail has told the device the number already.
  if (unread_changed && answer.trace.pushes == 0) {
    badges.update({.tenant = callback.tenant, .user = mailbox->user}, mailbox->hot.unread);
  }
  note_contact(*mailbox, subscription, !quiet || unread_changed);
  // Everything up to this message's end has been told of, or is in the journal, so that nothing is missed without the
  // older ones.
  bool caught_up = events.watermark_hash != 0 && mailbox->hot.watermark_hash == events.watermark_hash;
  if (subscription.takes_over && caught_up) co_await complete_succession(callback, *mailbox);
  // Not at heartbeats alone: a mailbox that always gets mail has none.
  if (quiet || caught_up) keep_alive(callback, *mailbox);
  if (work && work->behind) push_behind(*work, std::move(mailbox), *std::move(turn));
  co_return answer;
}

// What stands against telling of the callback's events, now that it is its turn.
Task<std::optional<CallbackOutcome>> Mailboxes::Impl::prepare(const Callback& callback, Mailbox& mailbox) {
  if (co_await ended_meanwhile(callback, mailbox)) co_return CallbackOutcome::unsubscribe_removed;
  if (Status loaded = co_await load(mailbox); !loaded) {
    log_line(core.log, LogLevel::error, "mailbox_unreadable", field("user", core.fingerprint(mailbox.user)),
             field("error", loaded.error()));
    co_return CallbackOutcome::refused_not_ready;
  }
  co_return co_await ask_policy(callback, mailbox);
}

// Looked at again where anything has changed that may have changed the answer, and now and then for what time changes.
Task<std::optional<CallbackOutcome>> Mailboxes::Impl::ask_policy(const Callback& callback, Mailbox& mailbox) {
  const store::SubscriptionRecord& subscription = *callback.subscription;
  if (!core.policy || core.policy->idle(subscription.tenant)) {
    mailbox.source_blocked = false;
    mailbox.policy_asked.reset();
    co_return std::nullopt;
  }
  uint64_t changes = core.node.compliance->changes();
  Instant now = io::now();
  bool known = mailbox.policy_asked && mailbox.policy_changes == changes && now - *mailbox.policy_asked < kPolicyGoodFor &&
               mailbox.policy_source == subscription.source_device;
  if (known) co_return std::nullopt;
  Result<std::vector<store::DeviceEntry>> devices = co_await core.node.store.read_devices(mailbox.user);
  if (!devices) {
    log_line(core.log, LogLevel::error, "devices_unreadable", field("user", core.fingerprint(mailbox.user)),
             field("error", devices.error()));
    co_return CallbackOutcome::refused_not_ready;
  }
  MailboxVerdict verdict = judge_mailbox(core, subscription.tenant, mailbox.user, *devices, subscription.source_device);
  if (verdict.all_blocked) co_return co_await end_blocked(callback, mailbox);
  mailbox.source_blocked = verdict.source_blocked;
  mailbox.policy_asked = now;
  mailbox.policy_changes = changes;
  mailbox.policy_source = subscription.source_device;
  co_return std::nullopt;
}

// Nobody may hear of its mail. Who may again is told to subscribe when it checks in.
Task<CallbackOutcome> Mailboxes::Impl::end_blocked(const Callback& callback, const Mailbox& mailbox) {
  store::Ending ending{.reason = store::TombstoneReason::blocked,
                       .expires = tombstone_expiry(io::wall_now(), callback.subscription->status_frequency_minutes)};
  Status ended = co_await end_subscription(core, callback.capability_hash, ending);
  if (!ended && !is(ended.error(), store::StoreError::not_found)) {
    log_line(core.log, LogLevel::error, "subscription_not_ended", field("user", core.fingerprint(mailbox.user)),
             field("error", ended.error()));
    co_return CallbackOutcome::refused_not_ready;  // Exchange repeats it; nothing is pushed
  }
  log_line(core.log, LogLevel::info, "subscription_blocked", field("user", core.fingerprint(mailbox.user)));
  co_return CallbackOutcome::unsubscribe_blocked;
}

// A callback that waited for its turn while its subscription was handed over: the successor has told, or will tell, of
// all that it brings.
Task<bool> Mailboxes::Impl::ended_meanwhile(const Callback& callback, const Mailbox& mailbox) {
  bool perhaps = mailbox.handed_over_at > callback.received_at && mailbox.handed_over_to != callback.capability_hash;
  if (!perhaps) co_return false;
  store::Route route;
  Status read = co_await core.node.store.read_route(callback.capability_hash, route);
  co_return read && route.kind == store::RouteKind::tombstone;
}

// The older subscriptions end; Exchange is told by the answer to their next callbacks.
Task<void> Mailboxes::Impl::complete_succession(const Callback& callback, Mailbox& mailbox) {
  store::Ending ending{.reason = store::TombstoneReason::handed_over,
                       .expires = tombstone_expiry(io::wall_now(), callback.subscription->status_frequency_minutes)};
  Result<store::HandedOver> over = co_await core.node.store.complete_succession(callback.capability_hash, ending);
  if (!over) {  // both watch the mailbox until the next callback; what both tell of is pushed once
    log_line(core.log, LogLevel::error, "hand_over_unfinished", field("user", core.fingerprint(mailbox.user)),
             field("error", over.error()));
    co_return;
  }
  mailbox.handed_over_at = io::now();
  if (core.renewal) core.renewal->handed_over(mailbox.user);
  mailbox.handed_over_to = callback.capability_hash;
  if (std::ranges::find(over->ended, mailbox.tokens_of) != over->ended.end()) mailbox.tokens_unwritten.clear();
  if (over->dropped_key) core.decrypter.forget(*over->dropped_key);
  core.metrics.add(metric::hand_overs, over->ended.size());
  log_line(core.log, LogLevel::info, "handed_over", field("user", core.fingerprint(mailbox.user)),
           field("subscriptions_ended", over->ended.size()), field("key_erased", over->dropped_key.has_value()));
}

// What the subscription needs to live on, in the background.
void Mailboxes::Impl::keep_alive(const Callback& callback, Mailbox& mailbox) {
  const store::SubscriptionRecord& subscription = *callback.subscription;
  if (subscription.source_left || mailbox.source_blocked) {
    bool due = !mailbox.resubscribe_asked || io::now() - *mailbox.resubscribe_asked >= kResubscribeInterval;
    if (due && chores.live() < kChoresMax) {
      chores.spawn(ask_another(callback.tenant->config.id, mailbox.number, mailbox.user, subscription.source_device));
    }
  } else if (core.renewal) {
    core.renewal->consider(callback, mailbox);
  }
}

Task<void> Mailboxes::Impl::ask_another(std::string tenant_id, store::MailboxNumber number, store::StoredUserId user,
                                        store::DeviceKey preferred) {
  GenerationSlot::Pin pin(core.generations);
  const Tenant* tenant = core.tenants().find(tenant_id);
  MailboxCache::Lease mailbox = cache.get(number, user);
  if (!tenant || !mailbox) co_return;
  Instant now = io::now();
  if (mailbox->resubscribe_asked && now - *mailbox->resubscribe_asked < kResubscribeInterval) co_return;
  mailbox->resubscribe_asked = now;
  Result<std::vector<store::DeviceEntry>> devices = co_await core.node.store.read_devices(user);
  if (!devices) {
    log_line(core.log, LogLevel::error, "devices_unreadable", field("user", core.fingerprint(user)),
             field("error", devices.error()));
    co_return;
  }
  pusher.ask_to_resubscribe({.tenant = tenant, .user = user}, *devices, preferred);
}

// Overload of one mailbox must not reach the others; a stolen URL must not keep us busy.
std::optional<CallbackOutcome> Mailboxes::Impl::refuse(Mailbox& mailbox) const {
  if (mailbox.callbacks_in_flight >= limits().in_flight_per_mailbox_max) return CallbackOutcome::refused_overload;
  Instant now = io::now();
  if (mailbox.callbacks_this_minute == 0 || now - mailbox.minute_began >= 1min) {
    mailbox.minute_began = now;
    mailbox.callbacks_this_minute = 0;
  }
  if (mailbox.callbacks_this_minute >= limits().callbacks_per_mailbox_per_minute_max) {
    return CallbackOutcome::refused_limit;
  }
  ++mailbox.callbacks_this_minute;
  return std::nullopt;
}

Task<Status> Mailboxes::Impl::load(Mailbox& mailbox) {
  if (mailbox.loaded) co_return Status();
  BH_CO_TRY(mailbox.hot, co_await core.node.store.read_hot(mailbox.number, mailbox.user));
  mailbox.last_seen_written = mailbox.hot.last_seen;
  mailbox.unread_known = mailbox.hot.unread != 0;
  mailbox.loaded = true;
  co_return Status();
}

// New mails, mails that were missed, or repeats of either.
Task<void> Mailboxes::Impl::handle_mail(MailWork& work) {
  Mailbox& mailbox = work.mailbox;
  const Classified& events = work.events;
  Result<std::vector<store::DeviceEntry>> devices = co_await core.node.store.read_devices(mailbox.user);
  if (!devices) {
    log_line(core.log, LogLevel::error, "devices_unreadable", field("user", core.fingerprint(mailbox.user)),
             field("error", devices.error()));
    work.answer.outcome = CallbackOutcome::refused_not_ready;
    co_return;
  }
  work.devices = *std::move(devices);
  work.plan = plan_fetch(work);
  Delivery delivery(core, pusher, {.tenant = work.callback.tenant, .user = mailbox.user}, work.devices,
                    work.devices_read, mailbox);
  delivery.accept(work.arrivals.size() + events.duplicates);
  delivery.settle(DeviceOutcome::skipped_duplicate, events.duplicates);

  bool journal_only = work.callback.journal_only;
  // What was missed is known only when the mailbox was listed: until then Exchange has to wait.
  bool first_journaled = work.source.after_journal() && !events.gap && !work.arrivals.empty();
  if ((journal_only || first_journaled) && co_await answer_from_journal(work, delivery, journal_only)) co_return;
  co_await answer_after_push(work, delivery);
}

// OK when the journal has every push. False where that is not to be: then nothing was done.
Task<bool> Mailboxes::Impl::answer_from_journal(MailWork& work, Delivery& delivery, bool journal_only) {
  Mailbox& mailbox = work.mailbox;
  work.planned = limits();
  std::vector<Push> pushes = plan_pushes(core.node.vault, mailbox.user, work.arrivals, false, work.planned);
  BehindPlace place;
  if (!journal_only) place = behind.take_place();
  JournalStart start = place ? JournalStart::held : JournalStart::at_once;
  bool written = co_await delivery.journal_all(pushes, start);
  if (!written && !journal_only) co_return false;
  if (!written) {
    delivery.hand_back(work.arrivals.size());
    work.answer.outcome = CallbackOutcome::refused_overload;
    co_return true;
  }
  work.behind = std::move(place);
  work.answer.trace.items = static_cast<uint32_t>(work.arrivals.size());
  work.answer.outcome = outcome_of(work.events, work.arrivals.size());
  note_arrivals(mailbox, work.arrivals, pushes);
  mend(work, FetchEnd::done);
  if (work.events.lost && !work.renewing) {
    work.answer.outcome = co_await end_lost(work.callback, mailbox, work.events);
  }
  if (work.events.gap) co_return true;  // stays one, to be listed with the next event
  note_received(mailbox, work.arrivals);
  note_watermark(mailbox, work.events);
  co_return true;
}

// After answer_from_journal: the pushes are made in the background, and the mailbox keeps its turn until then.
void Mailboxes::Impl::push_behind(MailWork& work, MailboxCache::Lease mailbox, Semaphore::Permit turn) {
  auto answered = std::make_unique<AnsweredCallback>(work.callback, std::move(mailbox), std::move(turn),
                                                     std::move(work.source), std::move(work.behind));
  answered->devices = std::move(work.devices);
  answered->devices_read = work.devices_read;
  answered->arrivals = std::move(work.arrivals);
  answered->plan = work.plan;
  answered->renewing = work.renewing;
  answered->limits = work.planned;
  behind.begin(std::move(answered));
}

Task<void> Mailboxes::Impl::answer_after_push(MailWork& work, Delivery& delivery) {
  Callback& callback = work.callback;
  Mailbox& mailbox = work.mailbox;
  const Classified& events = work.events;
  NotificationTrace& trace = work.answer.trace;
  std::vector<Arrival>& arrivals = work.arrivals;
  // 4 decrypt, 5 fetch: only where there is something to ask of Exchange.
  FetchPlan plan = work.plan;
  FetchResult fetched;
  if (plan.list || plan.content) fetched = co_await mail_fetch.run(callback, *callback.tenant, mailbox, plan, arrivals);
  trace.decrypt = fetched.decrypt;
  trace.fetch = fetched.fetch;
  trace.caught_up = fetched.listed;
  trace.items = static_cast<uint32_t>(arrivals.size());
  if (fetched.unread) note_unread(mailbox, *fetched.unread);
  if (fetched.end == FetchEnd::overload) {
    delivery.hand_back(arrivals.size());
    work.answer.outcome = CallbackOutcome::refused_overload;
    co_return;
  }
  mend(work, fetched.end);

  // 6 push
  std::vector<Push> pushes = plan_pushes(core.node.vault, mailbox.user, arrivals, fetched.more, limits());
  size_t gone = static_cast<size_t>(std::ranges::count(arrivals, true, &Arrival::gone));
  size_t extra = static_cast<size_t>(std::ranges::count(pushes, true, &Push::extra));
  delivery.accept(fetched.caught_up + extra);
  delivery.settle(DeviceOutcome::skipped_gone, gone);
  Instant begin = io::now();
  Instant deadline = std::min(begin + std::chrono::milliseconds(limits().push_timeout_ms),
                              callback.received_at + std::chrono::milliseconds(limits().total_timeout_ms));
  bool complete = co_await delivery.push_all(pushes, deadline);
  trace.push = io::now() - begin;
  if (!pushes.empty()) core.metrics.observe(metric::stage_time, Stage::push, trace.push);
  trace.pushes = delivery.counts().pushes;
  trace.pushes_contentfree = delivery.counts().contentfree;

  // 7 note
  note_arrivals(mailbox, arrivals, pushes);
  work.answer.outcome = complete ? outcome_of(events, arrivals.size()) : CallbackOutcome::refused_overload;
  if (complete && events.lost && !work.renewing) work.answer.outcome = co_await end_lost(callback, mailbox, events);
  // What could not be listed stays a gap, to be tried again with the next event.
  bool gap_closed = (!plan.list || fetched.listed) && !(events.gap && mailbox.source_blocked);
  if (!complete || !gap_closed) co_return;
  note_received(mailbox, arrivals);
  note_watermark(mailbox, events);
}

// Nothing is asked, and so nothing decrypted, where no device would show it.
FetchPlan Mailboxes::Impl::plan_fetch(const MailWork& work) const {
  const Classified& events = work.events;
  const Mailbox& mailbox = work.mailbox;
  FetchPlan plan;
  for (const store::DeviceEntry& device : work.devices) {
    if (push_refusal(core, work.callback.tenant->config.id, mailbox.user, device.record)) continue;
    PreviewPolicy preview = preview_for(device.record.preview, work.callback.tenant->config.preview_max);
    plan.list |= events.gap;
    plan.unread |= events.gap && !events.unread && device.record.badge;
    plan.content |= preview != PreviewPolicy::none;
    plan.preview |= preview == PreviewPolicy::full;
  }
  bool merged = events.fresh.size() > arrivals_shown_max(limits());
  if (!events.gap && (events.fresh.empty() || merged)) plan.content = false;
  // The credentials are those of a device that is kept out: what was missed stays a gap, and others hear without content.
  if (mailbox.source_blocked) plan.list = plan.content = plan.unread = false;
  plan.since = mailbox.hot.newest_received;
  // Nothing was noted so far: what is older than the subscription is not ours.
  if (plan.since == WallTime()) plan.since = subscription_began(mailbox.hot.last_seen);
  return plan;
}

// The subscription is dead, at the wrong place, or of no use. The credentials are at hand: where they are good, no device
// is needed for another.
void Mailboxes::Impl::mend(MailWork& work, FetchEnd end) {
  bool moved = work.events.moved || end == FetchEnd::moved;
  if (!work.events.lost && !moved && !credentials_useless(end)) return;
  if (core.renewal && !credentials_useless(end) && !work.mailbox.source_blocked) {
    RenewalReason reason = work.events.lost ? RenewalReason::lost : RenewalReason::moved;
    work.renewing = core.renewal->replace(work.callback, work.mailbox, reason);
  }
  if (work.renewing) return;
  pusher.ask_to_resubscribe({.tenant = work.callback.tenant, .user = work.mailbox.user}, work.mailbox, work.devices,
                            work.callback.subscription->source_device);
}

// Exchange has dropped the subscription. It ends here too, so that check-in tells every device to subscribe again, also
// where the silent push that asks for it does not arrive. What comes until then is caught up on by the next one.
Task<CallbackOutcome> Mailboxes::Impl::end_lost(const Callback& callback, const Mailbox& mailbox,
                                                const Classified& events) {
  const store::SubscriptionRecord& subscription = *callback.subscription;
  log_line(core.log, LogLevel::warning, "subscription_lost", field("user", core.fingerprint(mailbox.user)),
           field("code", not_personal(proto::response_code_text(events.error))));
  store::Ending ending{.reason = store::TombstoneReason::removed,
                       .expires = tombstone_expiry(io::wall_now(), subscription.status_frequency_minutes)};
  Status ended = co_await end_subscription(core, callback.capability_hash, ending);
  if (!ended && !is(ended.error(), store::StoreError::not_found)) {
    log_line(core.log, LogLevel::error, "subscription_not_ended", field("user", core.fingerprint(mailbox.user)),
             field("error", ended.error()));
    co_return CallbackOutcome::ok;  // found dead by its silence, then
  }
  co_return CallbackOutcome::unsubscribe_removed;
}

void Mailboxes::Impl::note_unread(Mailbox& mailbox, uint32_t unread) {
  mailbox.hot.unread = unread;
  mailbox.unread_known = true;
}

// Into the ring goes what is settled for every device, also where the callback is handed back for other mails.
void Mailboxes::Impl::note_arrivals(Mailbox& mailbox, const std::vector<Arrival>& arrivals,
                                    std::span<const Push> pushes) {
  bool merged = arrivals.size() > arrivals_shown_max(limits());
  for (const Arrival& arrival : arrivals) {
    auto push = merged ? pushes.begin() : std::ranges::find(pushes, arrival.hash, &Push::hash);
    bool settled = push == pushes.end() ? arrival.gone : push->complete;
    if (settled) mailbox.hot.add(arrival.hash);
  }
}

// From here a later catch-up lists.
void Mailboxes::Impl::note_received(Mailbox& mailbox, const std::vector<Arrival>& arrivals) {
  WallTime latest = io::wall_now() + std::chrono::duration_cast<std::chrono::milliseconds>(kClockSkewMax);
  for (const Arrival& arrival : arrivals) {
    if (!arrival.at) continue;
    WallTime received = std::min(*arrival.at, latest);
    if (!arrival.mail) received -= std::chrono::duration_cast<std::chrono::milliseconds>(kEventDelayMax);
    mailbox.hot.newest_received = std::max(mailbox.hot.newest_received, received);
  }
}

void Mailboxes::Impl::note_watermark(Mailbox& mailbox, const Classified& events) {
  if (events.watermark_hash == 0) return;
  mailbox.hot.watermark_hash = events.watermark_hash;
  if (mailbox.hot.newest_received == WallTime()) {
    mailbox.hot.newest_received = subscription_began(mailbox.hot.last_seen);
  }
}

// A heartbeat is written only now and then: a crash then costs one listing of the mailbox, and no mail.
void Mailboxes::Impl::note_contact(Mailbox& mailbox, const store::SubscriptionRecord& subscription, bool changed) {
  WallTime now = io::wall_now();
  mailbox.hot.last_seen = now;
  mailbox.dirty = true;
  bool due = store::last_seen_due(mailbox.last_seen_written, now, subscription.status_frequency_minutes);
  if (changed || due) write(mailbox);
}

// False where the store did not take it.
bool Mailboxes::Impl::write(Mailbox& mailbox) {
  if (mailbox.forgotten) return true;
  Status written = core.node.store.write_hot(mailbox.number, mailbox.user, mailbox.hot);
  if (!written) {  // stays dirty: written with its next change
    log_line(core.log, LogLevel::warning, "hot_state_not_written", field("error", written.error()));
    return false;
  }
  mailbox.last_seen_written = mailbox.hot.last_seen;
  mailbox.dirty = false;
  return true;
}

void Mailboxes::Impl::evicted(void* self, const Mailbox& mailbox) {
  auto& impl = *static_cast<Impl*>(self);
  if (!mailbox.dirty) return;
  Status written = impl.core.node.store.write_hot(mailbox.number, mailbox.user, mailbox.hot);
  if (!written) log_line(impl.core.log, LogLevel::warning, "hot_state_not_written", field("error", written.error()));
}

// What a heartbeat told and nothing has written since: without it the next process would list each of these mailboxes.
// Not all at once, for the store takes so many and no more.
Task<Status> Mailboxes::Impl::flush() {
  for (bool more = true; more;) {
    size_t written = 0, left = 0;
    cache.for_each([&](Mailbox& mailbox) {
      if (!mailbox.dirty || mailbox.forgotten) return;
      bool done = written < kFlushedAtOnce && write(mailbox);
      ++(done ? written : left);
    });
    BH_CO_CHECKED(co_await core.node.store.flush_hot());
    more = written > 0 && left > 0;
  }
  co_return Status();
}

Task<void> Mailboxes::Impl::close() {
  Instant until = io::now() + kClosePatience;
  co_await chores.join();
  co_await badges.close(until);
  co_await behind.close(until);  // what it leaves is the journal's
  co_await journal.close(until);
  co_await pusher.close(until);
  Status flushed = co_await flush();
  if (!flushed) log_line(core.log, LogLevel::error, "hot_state_not_flushed", field("error", flushed.error()));
}

Mailboxes::Mailboxes(Core& core) : impl_(std::make_unique<Impl>(core)) {
  core.pusher = &impl_->pusher;
  core.journal = &impl_->journal;
}
Mailboxes::~Mailboxes() = default;

Task<CallbackAnswer> Mailboxes::handle(Callback& callback) {
  return impl_->handle(callback);
}

Task<WallTime> Mailboxes::last_seen(store::MailboxNumber mailbox, store::StoredUserId user) {
  if (const Mailbox* here = impl_->cache.find(user); here && here->loaded && here->number == mailbox) {
    co_return here->hot.last_seen;
  }
  Result<store::HotRecord> record = co_await impl_->core.node.store.read_hot(mailbox, user);
  co_return record ? record->last_seen : WallTime();
}

MailboxCache::Lease Mailboxes::lease(store::MailboxNumber mailbox, const store::StoredUserId& user) {
  return impl_->cache.get(mailbox, user);
}

Task<void> Mailboxes::ask_to_resubscribe(std::string tenant, store::MailboxNumber mailbox, store::StoredUserId user,
                                         store::DeviceKey preferred) {
  return impl_->ask_another(std::move(tenant), mailbox, user, preferred);
}

void Mailboxes::forget(const store::StoredUserId& user) {
  impl_->cache.forget(user);
  impl_->core.supervision->forget(user);
}

Task<void> Mailboxes::close() {
  return impl_->close();
}

}  // namespace bellhop::service
