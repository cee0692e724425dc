// SPDX-License-Identifier: Apache-2.0
#include "service/supervision.h"

#include <cstring>
#include <limits>

#include "core/cross_core.h"
#include "core/sleep.h"

namespace bellhop::service {
namespace {

uint32_t now_s() {
  return static_cast<uint32_t>(std::chrono::floor<std::chrono::seconds>(io::now().time_since_epoch()).count());
}

uint64_t owner_of(const store::StoredUserId& user) { return std::hash<store::StoredUserId>{}(user); }

SilenceContact contact_of(const store::StoredUserId& user, const store::SubscriptionRecord& subscription) {
  return {.owner = owner_of(user),
          .frequency_minutes = subscription.status_frequency_minutes,
          .origin = subscription.ews_origin()};
}

SilenceRules rules_of(const SupervisionConfig& config) {
  return {.asks_per_second_max = config.resubscribes_per_second_max,
          .hosts = {.share_percent = config.outage_share_percent,
                    .mailboxes_min = config.outage_mailboxes_min,
                    .probe_interval_s = config.outage_probe_seconds}};
}

// Where a key stands among all: each core reads its share of them. Keys are hashes.
uint64_t number_of(const std::array<uint8_t, 32>& key) { return load_be64(key.data()); }

// The last key below all that stand at `number`, which is not 0.
std::array<uint8_t, 32> before(uint64_t number) {
  std::array<uint8_t, 32> key;
  key.fill(0xff);
  store_be64(key.data(), number - 1);
  return key;
}

}  // namespace

Supervision::Supervision(Core& core)
    : core_(core), pusher_(core), watch_(core.node.host_outages, core.config().store.mailboxes_max, now_s()) {}

// ---- What the core's flows tell ----

void Supervision::heard(const store::StoredUserId& user, const store::SubscriptionRecord& subscription) {
  std::optional<HostRecovery> recovery = watch_.heard(contact_of(user, subscription), now_s());
  if (!recovery) return;
  log_line(core_.log, LogLevel::info, "ews_host_speaks_again", field("host", not_personal(recovery->origin)),
           field("silent_s", recovery->silent_s));
}

void Supervision::begun(const store::StoredUserId& user, const store::SubscriptionRecord& subscription) {
  watch_.begun(contact_of(user, subscription), now_s());
}

void Supervision::forget(const store::StoredUserId& user) { watch_.forget(owner_of(user)); }

Supervised Supervision::state(const store::StoredUserId& user) const { return watch_.state(owner_of(user), now_s()); }

// ---- Who there is ----

// Each core reads its share of the subscriptions and hands them to their homes, so that each is read once. Then likewise
// the users who have devices and no subscription: it ended, and whoever was asked for another may not have heard.
Task<void> Supervision::fill() {
  Instant began = io::now();
  if (!co_await fill_from(&Supervision::read_subscriptions)) co_return;
  if (!co_await fill_from(&Supervision::read_users)) co_return;
  filled_ = true;
  log_line(core_.log, LogLevel::info, "supervision_filled", field("mailboxes", watch_.size()),
           field("ms", to_milliseconds(io::now() - began)));
}

// False where it was stopped.
Task<bool> Supervision::fill_from(ReadPage read) {
  const auto cores = static_cast<unsigned>(core_.node.cores.size());
  const uint64_t share = std::numeric_limits<uint64_t>::max() / cores;
  const bool last = core_.index + 1 == cores;
  std::optional<Place> after;
  if (core_.index > 0) after = before(share * core_.index);
  const uint64_t end = last ? std::numeric_limits<uint64_t>::max() : share * (core_.index + 1);
  Seeds seeds(cores);
  for (;;) {
    Result<bool> more = co_await (this->*read)(after, end, seeds);
    if (!more) {
      // What is not read yet is not watched until it calls.
      log_line(core_.log, LogLevel::error, "supervision_incomplete", field("error", more.error()));
      if (!co_await sleep_for(kSupervisionFillRetry)) co_return false;
      continue;
    }
    for (unsigned home = 0; home < cores; ++home) {
      if (seeds[home].empty()) continue;
      Supervision* there = core_.node.cores[home]->supervision;
      const std::vector<Seed>* batch = &seeds[home];
      co_await on_core(home, [there, batch] { return take(there, batch); });
      seeds[home].clear();
    }
    if (!*more) co_return true;
    if ((co_await current_context()).stop_requested()) co_return false;
    co_await yield_now();
  }
}

Task<Result<bool>> Supervision::read_subscriptions(std::optional<Place>& after, uint64_t end, Seeds& seeds) {
  std::optional<store::CapabilityHash> key;
  if (after) key = store::CapabilityHash{*after};
  BH_CO_TRY(auto entries, co_await core_.node.store.list_subscriptions(key, kSupervisionRowsPerRead));
  HostOutages& hosts = core_.node.host_outages;
  uint16_t host = HostOutages::kNoHost;
  for (const store::SubscriptionEntry& entry : entries) {
    after = entry.capability.bytes;
    if (number_of(*after) >= end) co_return false;
    const store::SubscriptionRecord& record = entry.record;
    if (hosts.origin(host) != record.ews_origin()) host = hosts.id_of(record.ews_origin(), now_s());
    seeds[core_.node.home_core(record.user)].push_back(
        {.owner = owner_of(record.user), .frequency_minutes = record.status_frequency_minutes, .host = host});
  }
  co_return entries.size() == kSupervisionRowsPerRead;
}

Task<Result<bool>> Supervision::read_users(std::optional<Place>& after, uint64_t end, Seeds& seeds) {
  std::optional<store::StoredUserId> key;
  if (after) key = store::StoredUserId{*after};
  BH_CO_TRY(auto entries, co_await core_.node.store.list_users(key, kSupervisionRowsPerRead));
  auto frequency = static_cast<uint16_t>(core_.config().ews.status_frequency_minutes);
  for (const store::UserEntry& entry : entries) {
    after = entry.id.bytes;
    if (number_of(*after) >= end) co_return false;
    if (entry.record.devices == 0 || !entry.record.subscriptions.empty()) continue;
    seeds[core_.node.home_core(entry.id)].push_back(
        {.owner = owner_of(entry.id), .frequency_minutes = frequency, .host = HostOutages::kNoHost});
  }
  co_return entries.size() == kSupervisionRowsPerRead;
}

Task<bool> Supervision::take(Supervision* home, const std::vector<Seed>* seeds) {
  uint32_t now = now_s();
  for (const Seed& seed : *seeds) home->watch_.stored(seed.owner, seed.frequency_minutes, seed.host, now);
  co_return true;
}

// ---- Who is silent ----

Task<void> Supervision::run() {
  watch_.listen_from(now_s());
  TaskScope filling(&co_await current_context());
  filling.spawn(fill());
  Instant due = io::now();
  for (;;) {
    due += 1s;
    if (!co_await sleep_until(due)) break;
    Duration late = io::now() - due;
    if (late > kSupervisionStall) {
      log_line(core_.log, LogLevel::warning, "supervision_stalled",
               field("seconds", std::chrono::floor<std::chrono::seconds>(late).count()));
      watch_.listen_from(now_s());
    }
    if (late > 1s) due = io::now();
    co_await look();
    note_metrics();
  }
  filling.request_stop();
  co_await filling.join();
}

Task<void> Supervision::look() {
  for (bool more = true; more;) {
    found_.clear();
    uint64_t cpu = io::thread_cpu_ns();
    more = watch_.look(now_s(), kSupervisionLooksPerTurn, rules_of(core_.config().supervision), found_);
    core_.metrics.add(metric::supervision_cpu, io::thread_cpu_ns() - cpu);
    for (const HostOutage& outage : found_.outages) {
      core_.metrics.add(metric::ews_host_outages);
      log_line(core_.log, LogLevel::warning, "ews_host_silent", field("host", not_personal(outage.origin)),
               field("mailboxes", outage.mailboxes), field("late", outage.late),
               field("silent_s", now_s() - outage.since_s));
    }
    for (const SilenceFound::Ask& asked : found_.asks) co_await ask(asked);
    if (more) co_await yield_now();
  }
}

Task<void> Supervision::ask(SilenceFound::Ask ask) {
  GenerationSlot::Pin pin(core_.generations);
  store::Store& store = core_.node.store;
  Result<std::optional<store::UserEntry>> user = co_await find_user(ask.owner);
  if (user && (!*user || (*user)->record.devices == 0)) {
    watch_.forget(ask.owner);
    co_return;
  }
  Result<std::vector<store::DeviceEntry>> devices = std::vector<store::DeviceEntry>();
  if (user) devices = co_await store.read_devices((*user)->id);
  if (!user || !devices) {  // asked the next time
    log_line(core_.log, LogLevel::error, "resubscribe_not_asked",
             field("error", user ? devices.error() : user.error()));
    co_return;
  }
  const store::UserRecord& record = (*user)->record;
  PushTarget target{.tenant = core_.tenants().find(record.tenant), .user = (*user)->id};
  if (!target.tenant) co_return;  // out of the configuration, and to be asked where it comes back
  store::DeviceKey source;
  store::Route route;
  for (const store::CapabilityHash& capability : record.subscriptions) {  // the newest counts
    Status read = co_await store.read_route(capability, route);
    if (read && route.kind == store::RouteKind::subscription) source = route.subscription.source_device;
  }
  core_.metrics.add(metric::resubscribe_asks, ask.probe ? AskReason::probe : AskReason::lost);
  pusher_.ask_to_resubscribe(target, *devices, source);
}

// By the start of the stored id, which is all that is kept in memory. Nothing where the user is gone.
Task<Result<std::optional<store::UserEntry>>> Supervision::find_user(uint64_t owner) {
  store::StoredUserId after;  // a hash does not end in so many zeros
  std::memcpy(after.bytes.data(), &owner, sizeof owner);
  BH_CO_TRY(auto users, co_await core_.node.store.list_users(after, 1));
  if (users.empty() || owner_of(users[0].id) != owner) co_return std::nullopt;
  co_return std::optional(std::move(users[0]));
}

void Supervision::note_metrics() {
  MetricsShard& metrics = core_.metrics;
  for (SilenceStage stage : {SilenceStage::active, SilenceStage::late, SilenceStage::lost}) {
    metrics.set(metric::mailboxes_supervised, stage, watch_.count(stage));
  }
  metrics.set(metric::supervision_bytes, watch_.bytes());
  metrics.add(metric::supervision_looks, watch_.looks() - std::exchange(looks_counted_, watch_.looks()));
  if (core_.index == 0) metrics.set(metric::ews_hosts_silent, core_.node.host_outages.silent_hosts().size());
  if (watch_.left_out() == left_out_told_) return;
  log_line(core_.log, LogLevel::error, "supervision_full", field("mailboxes", watch_.size()),
           field("left_out", watch_.left_out() - std::exchange(left_out_told_, watch_.left_out())));
}

// An ask that is cut is made again by the next process.
Task<void> Supervision::close() { co_await pusher_.close(io::now() + 1s); }

}  // namespace bellhop::service
