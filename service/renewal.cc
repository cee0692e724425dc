// SPDX-License-Identifier: Apache-2.0
#include "service/renewal.h"

#include <algorithm>
#include <map>
#include <unordered_map>
#include <utility>

#include "core/io.h"
#include "service/rate_limits.h"
#include "service/registration.h"
#include "service/subscription_end.h"
#include "service/subscription_health.h"
#include "service/succession.h"

namespace bellhop::service {
namespace {

constexpr size_t kHostsPacedMax = 1'024;  // whose pace one core remembers
// Mailboxes whose next renewal waits, on one core: where heartbeats come once in half an hour, most mailboxes have left
// the cache before the next one. Further ones try again with each heartbeat, as their host's pace allows.
constexpr size_t kPausesMax = 65'536;
constexpr Duration kPausesSweep = std::chrono::minutes(1);
// Of the requests that a host may have at once, one in so many is a renewal's: mails must not wait for them.
constexpr uint32_t kHostShare = 4;

// A renewal among those of its host.
class HostPlace {
 public:
  using Hosts = std::map<std::string, size_t, std::less<>>;  // by EWS origin, those with a renewal

  HostPlace(Hosts& hosts, std::string_view origin)
      : hosts_(&hosts), place_(hosts.try_emplace(std::string(origin)).first) {
    ++place_->second;
  }
  HostPlace(HostPlace&& other) noexcept : hosts_(std::exchange(other.hosts_, nullptr)), place_(other.place_) {}
  HostPlace& operator=(HostPlace&&) = delete;
  ~HostPlace() {
    if (hosts_ && --place_->second == 0) hosts_->erase(place_);
  }

 private:
  Hosts* hosts_;
  Hosts::iterator place_;
};

// The age at which one subscription is renewed: spread over the last eighth, the same at each look.
std::chrono::milliseconds age_due(const store::CapabilityHash& capability, uint32_t age_max_hours) {
  std::chrono::milliseconds age_max = std::chrono::hours(age_max_hours);
  uint64_t spread = static_cast<uint64_t>(age_max.count() / 8 + 1);
  return age_max - std::chrono::milliseconds(load_be64(capability.bytes.data()) % spread);
}

}  // namespace

struct Renewal::Impl {
  explicit Impl(Core& c)
      : core(c), pace(c.config().renewal.per_host_per_second_max, 1s, kHostsPacedMax, io::random_u64()), flows(nullptr) {}

  // No renewal of this mailbox before `until`; failed so often in a row.
  struct Pause {
    Instant until{};
    uint8_t failed = 0;
  };

  bool begin(const Callback& callback, Mailbox& mailbox, RenewalReason reason);
  Pause pause_of(const store::StoredUserId& user) const;
  void pause(const store::StoredUserId& user, Pause pause);
  bool permitted(const Callback& callback, Mailbox& mailbox);
  bool room(std::string_view origin) const;
  Task<void> run(RenewalJob job, HostPlace place);
  void note(RenewalJob& job, Mailbox& mailbox, RenewalResult result);
  Task<void> give_up(RenewalJob& job, RenewalResult result);
  const RenewalConfig& config() const { return core.config().renewal; }

  Core& core;
  TokenBuckets pace;
  uint32_t pace_is = 0;
  std::unordered_map<store::StoredUserId, Pause> pauses;
  Instant pauses_swept{};
  HostPlace::Hosts hosts;
  TaskScope flows;
};

Renewal::Renewal(Core& core) : impl_(std::make_unique<Impl>(core)) {}
Renewal::~Renewal() = default;

std::optional<RenewalReason> Renewal::due(const store::CapabilityHash& capability,
                                          const store::SubscriptionRecord& record, WallTime now) const {
  // A successor is renewed no sooner than it is alone; and where Exchange refuses the credentials, only a device helps.
  if (record.takes_over || record.source_left || credentials_refused(record)) return std::nullopt;
  if (record.rekey_wished) return RenewalReason::key;
  bool split = record.envelope == store::EnvelopeKind::split;
  if (split && record.kek != impl_->core.node.vault.split_keys().current()) return RenewalReason::kek;
  uint32_t age_max_hours = impl_->config().age_max_hours;
  if (age_max_hours > 0 && now - record.created >= age_due(capability, age_max_hours)) return RenewalReason::age;
  return std::nullopt;
}

// Looked at once a generation for each mailbox: the tenant's list changes with it alone.
bool Renewal::Impl::permitted(const Callback& callback, Mailbox& mailbox) {
  uint64_t generation = core.generations.now().number;
  if (mailbox.url_permitted_at == generation) return true;
  // As this core sees the tenant: the core that took the callback may be at another generation.
  const Tenant* tenant = core.tenants().find(callback.subscription->tenant);
  if (!tenant) return true;  // nothing can be done for it
  if (!tenant->ews_url(callback.subscription->ews_url)) return false;
  mailbox.url_permitted_at = generation;
  return true;
}

void Renewal::consider(const Callback& callback, Mailbox& mailbox) {
  if (!impl_->config().enabled) return;
  std::optional<RenewalReason> reason =
      due(callback.capability_hash, *callback.subscription, io::wall_now());
  bool alone = !callback.subscription->takes_over && !callback.subscription->source_left &&
               !credentials_refused(*callback.subscription);
  if (alone && mailbox.moved_from == callback.capability_hash) reason = RenewalReason::moved;
  if (alone && !reason && !impl_->permitted(callback, mailbox)) reason = RenewalReason::url;
  if (reason) (void)impl_->begin(callback, mailbox, *reason);
}

bool Renewal::replace(const Callback& callback, Mailbox& mailbox, RenewalReason reason) {
  const store::SubscriptionRecord& record = *callback.subscription;
  if (!impl_->config().enabled || record.source_left || credentials_refused(record)) return false;
  if (reason == RenewalReason::moved) mailbox.moved_from = callback.capability_hash;
  return impl_->begin(callback, mailbox, reason);
}

void Renewal::handed_over(const store::StoredUserId& user) {
  impl_->pauses.erase(user);
}

Renewal::Impl::Pause Renewal::Impl::pause_of(const store::StoredUserId& user) const {
  auto found = pauses.find(user);
  return found == pauses.end() ? Pause() : found->second;
}

void Renewal::Impl::pause(const store::StoredUserId& user, Pause pause) {
  Instant now = io::now();
  if (pauses.size() >= kPausesMax && now - pauses_swept >= kPausesSweep) {
    pauses_swept = now;
    std::erase_if(pauses, [now](const auto& entry) { return entry.second.until <= now; });
  }
  if (pauses.size() < kPausesMax || pauses.contains(user)) pauses[user] = pause;
}

bool Renewal::Impl::room(std::string_view origin) const {
  if (flows.live() >= config().in_flight_max) return false;
  const EwsConfig& ews = core.config().ews;
  uint32_t requests = std::min(ews.requests_per_host_in_flight_max, ews.connections_per_host_max);
  auto host = hosts.find(origin);
  return host == hosts.end() || host->second < std::max(1u, requests / kHostShare);
}

bool Renewal::Impl::begin(const Callback& callback, Mailbox& mailbox, RenewalReason reason) {
  Instant now = io::now();
  if (now < pause_of(mailbox.user).until || core.node.leaving.load(std::memory_order_relaxed)) return false;
  // A device is about to change something: nothing is gained by waiting for it.
  if (!core.registrar || !core.registrar->locks().free(mailbox.user)) return false;
  const store::SubscriptionRecord& record = *callback.subscription;
  bool other_host = reason == RenewalReason::moved || reason == RenewalReason::url;
  if (!other_host && !core.ews.takes_requests(*callback.tenant, record.ews_url)) {
    core.metrics.add(metric::renewals, RenewalResult::host_closed);
    return false;
  }
  if (uint32_t wanted = config().per_host_per_second_max; wanted != pace_is) {
    pace.renew(wanted, 1s, kHostsPacedMax);
    pace_is = wanted;
  }
  std::string_view origin = record.ews_origin();
  if (!room(origin) || pace.take(rate_key(crypto::sha256(origin)), now) > Duration::zero()) {
    core.metrics.add(metric::renewals, RenewalResult::paced);
    return false;
  }
  flows.spawn(run(RenewalJob{.capability_hash = callback.capability_hash,
                      .capability = crypto::Secret::copy_of(Bytes(callback.capability.bytes)),
                      .creds = crypto::Secret::copy_of(callback.creds),
                      .user = mailbox.user,
                      .mailbox = mailbox.number,
                      .source = record.source_device,
                      .tenant = callback.tenant->config.id,
                      .reason = reason},
                 HostPlace(hosts, origin)));
  return true;
}

Task<void> Renewal::Impl::run(RenewalJob job, [[maybe_unused]] HostPlace place) {
  GenerationSlot::Pin pin(core.generations);
  MailboxCache::Lease mailbox = core.mailboxes->lease(job.mailbox, job.user);
  if (!mailbox) {  // its user has just been removed, and every place is taken
    core.metrics.add(metric::renewals, RenewalResult::canceled);
    co_return;
  }
  co_await yield_now();  // its answer goes first
  RenewalResult result = RenewalResult::canceled;
  {
    Result<UserLocks::Held> held = co_await core.registrar->locks().acquire(job.user);
    const Tenant* tenant = core.tenants().find(job.tenant);
    if (held && tenant) {
      Succession succession(core, *tenant, *mailbox, job);
      result = co_await succession.run();
    }
    job.capability.clear();
    job.creds.clear();
    note(job, *mailbox, result);
    if (result == RenewalResult::renewed || result == RenewalResult::canceled) co_return;
  }
  co_await give_up(job, result);
}

void Renewal::Impl::note(RenewalJob& job, Mailbox& mailbox, RenewalResult result) {
  core.metrics.add(metric::renewals, result);
  std::string_view reason = LabelSet<RenewalReason>::values[static_cast<size_t>(job.reason)];
  Fingerprint user = core.fingerprint(job.user);
  if (result == RenewalResult::renewed) {
    core.metrics.add(metric::renewals_done, job.reason);
    pause(job.user, {.until = io::now() + kSuccessorAnswerMax});  // or until the hand-over is complete
    mailbox.moved_from = {};
    log_line(core.log, LogLevel::info, "subscription_renewed", field("user", user), field("reason", not_personal(reason)));
    return;
  }
  // Pairs are being made: another heartbeat.
  if (result == RenewalResult::canceled || result == RenewalResult::no_key) return;
  std::string_view text = LabelSet<RenewalResult>::values[static_cast<size_t>(result)];
  if (result == RenewalResult::conflict) {  // a successor is on its way, or the subscription has ended: no failure
    pause(job.user, {.until = io::now() + kSuccessorAnswerMax, .failed = pause_of(job.user).failed});
    log_line(core.log, LogLevel::debug, "renewal_not_needed", field("user", user), field("reason", not_personal(reason)));
    return;
  }
  // Doubling, and half of it by chance: what failed together does not come back together.
  uint8_t failed = pause_of(job.user).failed;
  Duration wait = kRenewalRetryFirst * (int64_t{1} << std::min<unsigned>(failed, 10));
  wait = std::min(wait, kRenewalRetryMax);
  uint64_t half = static_cast<uint64_t>(wait.count() / 2);
  if (failed < UINT8_MAX) ++failed;
  Duration drawn = wait / 2 + Duration(static_cast<int64_t>(io::random_u64() % (half + 1)));
  pause(job.user, {.until = io::now() + drawn, .failed = failed});
  log_line(core.log, LogLevel::warning, "subscription_not_renewed", field("user", user),
           field("reason", not_personal(reason)), field("result", not_personal(text)));
}

// Only a device can help. A dead subscription ends here too, so that check-in says so.
Task<void> Renewal::Impl::give_up(RenewalJob& job, RenewalResult result) {
  bool dead = job.reason == RenewalReason::lost && result != RenewalResult::conflict;
  bool needs_device = dead || result == RenewalResult::no_source || result == RenewalResult::refused ||
                      result == RenewalResult::unopened || result == RenewalResult::moved_nowhere;
  if (dead) {
    uint16_t frequency = static_cast<uint16_t>(core.config().ews.status_frequency_minutes);
    Status ended = co_await end_subscription(core, job.capability_hash, taken_back(frequency));
    if (!ended && !is(ended.error(), store::StoreError::not_found)) {
      log_line(core.log, LogLevel::error, "subscription_not_ended", field("user", core.fingerprint(job.user)),
               field("error", ended.error()));
    }
  }
  if (needs_device) co_await core.mailboxes->ask_to_resubscribe(job.tenant, job.mailbox, job.user, job.source);
}

Task<void> Renewal::close() {
  impl_->flows.request_stop();
  co_await impl_->flows.join();
}

}  // namespace bellhop::service
