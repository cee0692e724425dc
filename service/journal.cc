// SPDX-License-Identifier: Apache-2.0
#include "service/journal.h"

#include <algorithm>

#include "core/join.h"
#include "core/sleep.h"
#include "service/policy_points.h"
#include "service/push.h"

namespace bellhop::service {
namespace {

// After a record that could not be erased.
constexpr Duration kEraseRetry = 5s;
// After a page of the store that could not be read.
constexpr Duration kReadRetry = 5s;
// Numbers of attempts are gathered for so long before they are written: a crash may lose them, and nothing else.
constexpr Duration kChangesDelay = 1s;
// Records that one turn of the loop starts, then others have theirs.
constexpr size_t kStartsPerTurn = 64;
// Where nothing is due.
constexpr Duration kIdleWait = 1h;

std::chrono::milliseconds wall(Duration duration) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(duration);
}

Duration random_up_to(Duration most) {
  return Duration(static_cast<int64_t>(io::random_u64() % (static_cast<uint64_t>(most.count()) + 1)));
}

std::optional<DeviceOutcome> outcome_of(PushEnd end) {
  switch (end) {
    case PushEnd::delivered:
      return DeviceOutcome::delivered_contentfree;
    case PushEnd::token_gone:
      return DeviceOutcome::dropped_token_gone;
    case PushEnd::refused:
      return DeviceOutcome::dropped_payload;
    case PushEnd::unsettled:
      break;
  }
  return std::nullopt;
}

}  // namespace

struct Journal::Destination {
  const Tenant* tenant = nullptr;
  store::DeviceEntry device;
  RouteName route;
};

// One push's place on its way to APNs, and what its end says of the way.
class Journal::RoutePlace {
 public:
  RoutePlace(Journal& journal, Routes::iterator route) : journal_(journal), route_(route) { ++route_->second.in_flight; }
  RoutePlace(const RoutePlace&) = delete;
  RoutePlace& operator=(const RoutePlace&) = delete;
  ~RoutePlace() {
    --route_->second.in_flight;
    journal_.serve(route_);
  }
  void note(PushEnd end) {
    Route& route = route_->second;
    size_t most = std::max<size_t>(1, journal_.limits().pushes_in_flight_max / 2);
    route.window = end == PushEnd::unsettled ? 1 : std::min(route.window * 2, most);
  }

 private:
  Journal& journal_;
  Routes::iterator route_;
};

// A record that was called up, on its way to a place. Without one, the next record is called.
class Journal::Call {
 public:
  Call(Journal& journal, const store::JournalKey& key) : journal_(journal) {
    auto call = journal.called_.find(key);
    if (call == journal.called_.end()) return;
    by_ = call->second;
    journal.called_.erase(call);
  }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;
  ~Call() { end(); }
  bool by(Routes::iterator route) const { return by_ == route; }
  void end() {
    if (by_) journal_.end_call(*std::exchange(by_, std::nullopt));
  }

 private:
  Journal& journal_;
  std::optional<Routes::iterator> by_;
};

Journal::Journal(Core& core, Pusher& pusher) : core_(core), pusher_(pusher), tries_(nullptr), upkeep_(nullptr) {}
Journal::~Journal() = default;

// ---- Records come ----

Task<Status> Journal::add(std::vector<store::JournalEntry> entries, JournalStart start) {
  if (entries.empty()) co_return Status();
  if (entries_.size() + entries.size() > limits().records_max) co_return fail(core_error(CoreError::limit));
  bool tried = start == JournalStart::later;
  WallTime now = io::wall_now();
  for (store::JournalEntry& entry : entries) {
    entry.record.first_seen = now;
    entry.record.attempts = tried ? 1 : 0;
    entry.record.next_attempt = now + (tried ? wall(retry_wait(0)) : wall(Duration(0)));
    bool added = entries_.try_emplace(entry.key, Entry{.record = entry.record}).second;
    BH_CHECK(added);
  }
  Status written = co_await core_.node.store.add_journal(entries);
  for (const store::JournalEntry& entry : entries) {
    auto place = entries_.find(entry.key);
    BH_CHECK(place != entries_.end() && place->second.state == State::adding);
    if (written) {
      begin(place, start);
    } else if (place->second.found) {
      // An earlier process has left this very record, and restore() has met it meanwhile.
      core_.ledger.restore_journaled(1);
      begin(place, JournalStart::at_once);
    } else {
      entries_.erase(place);
    }
  }
  if (!written) room_.set();
  co_return written;
}

// The record is on the disk.
void Journal::begin(Entries::iterator place, JournalStart start) {
  Entry& entry = place->second;
  if (start == JournalStart::held) {
    entry.state = State::held;
    return;
  }
  set_due(place, State::waiting, due_of(entry.record));
}

// By the clock that does not jump. A wall clock that was set must not keep a record for days.
Instant Journal::due_of(const store::JournalRecord& record) const {
  std::chrono::milliseconds wait = record.next_attempt - io::wall_now(), most(limits().retry_max_ms);
  return io::now() + std::clamp(wait, 0ms, most);
}

// What this core owns and does not have yet. Returns how many.
size_t Journal::take_page(const std::vector<store::JournalEntry>& page) {
  size_t taken = 0;
  for (const store::JournalEntry& entry : page) {
    if (core_.node.home_core(entry.record.user) != core_.index) continue;
    auto [place, added] = entries_.try_emplace(entry.key, Entry{.record = entry.record});
    if (!added) {
      place->second.found = true;
      continue;
    }
    core_.ledger.restore_journaled(1);
    begin(place, JournalStart::at_once);
    ++taken;
  }
  return taken;
}

Task<void> Journal::restore() {
  std::optional<store::JournalKey> after;
  size_t taken = 0;
  for (Context& context = co_await current_context(); !context.stop_requested(); co_await yield_now()) {
    if (entries_.size() >= limits().records_max) {
      room_.reset();
      if (!co_await room_.wait()) co_return;
      continue;
    }
    Result<std::vector<store::JournalEntry>> page = co_await core_.node.store.list_journal(after);
    if (!page) {
      log_line(core_.log, LogLevel::error, "journal_unreadable", field("error", page.error()));
      if (!co_await sleep_for(kReadRetry)) co_return;
      continue;
    }
    taken += take_page(*page);
    if (page->size() < store::kListMax) {
      restored_ = true;
      if (taken > 0) log_line(core_.log, LogLevel::info, "journal_restored", field("records", taken));
      co_return;
    }
    after = page->back().key;
  }
}

// ---- Records wait ----

void Journal::set_due(Entries::iterator place, State state, Instant due) {
  Entry& entry = place->second;
  BH_CHECK(state == State::waiting || state == State::ending);
  entry.state = state;
  entry.due = due;
  due_.emplace(due, place->first);
  if (due_.begin()->second == place->first) wake_.set();
}

// With full jitter: what failed together does not come back together.
Duration Journal::retry_wait(uint16_t attempts) const {
  Duration most = std::chrono::milliseconds(limits().retry_max_ms);
  Duration wait = std::chrono::milliseconds(limits().retry_first_ms);
  for (uint16_t i = 0; i < attempts && wait < most; ++i) wait *= 2;
  return random_up_to(std::min(wait, most));
}

void Journal::await_retry(Entries::iterator place) {
  Entry& entry = place->second;
  Duration wait = retry_wait(entry.record.attempts);
  if (entry.record.attempts < UINT16_MAX) ++entry.record.attempts;
  entry.record.next_attempt = io::wall_now() + wall(wait);
  set_due(place, State::waiting, io::now() + wait);
  changed_.insert(place->first);
  if (std::exchange(writing_changes_, true)) return;
  upkeep_.spawn(write_changes());
}

Task<void> Journal::write_changes() {
  (void)co_await sleep_for(kChangesDelay);  // cut short by a stop: then what there is
  while (!changed_.empty()) {
    std::vector<store::JournalEntry> entries;
    while (!changed_.empty() && entries.size() < store::kListMax) {
      auto place = entries_.find(*changed_.begin());
      changed_.erase(changed_.begin());
      if (place != entries_.end()) entries.push_back({place->first, place->second.record});
    }
    Status written = co_await core_.node.store.update_journal(entries);
    if (written) continue;
    // Known again with the next try of each.
    log_line(core_.log, LogLevel::warning, "journal_not_updated", field("error", written.error()));
    break;
  }
  writing_changes_ = false;
}

bool Journal::held(const store::JournalKey& key) const {
  auto place = entries_.find(key);
  return place != entries_.end() && place->second.state == State::held;
}

void Journal::release(const store::JournalKey& key) {
  auto place = entries_.find(key);
  BH_CHECK(place != entries_.end() && place->second.state == State::held);
  await_retry(place);
}

// ---- Records leave ----

Task<void> Journal::settle(store::JournalKey key, DeviceOutcome outcome) {
  BH_CHECK(held(key));
  co_await finish(key, outcome);
}

// From the disk first: what is counted as ended is not pushed again after a crash.
Task<void> Journal::finish(store::JournalKey key, DeviceOutcome outcome) {
  auto place = entries_.find(key);
  BH_CHECK(place != entries_.end());
  place->second.state = State::ending;
  place->second.outcome = outcome;
  Status erased = co_await core_.node.store.erase_journal(key);
  place = entries_.find(key);
  BH_CHECK(place != entries_.end() && place->second.state == State::ending);
  if (erased) {
    drop(place, outcome);
  } else {
    log_line(core_.log, LogLevel::error, "journal_not_erased", field("error", erased.error()));
    set_due(place, State::ending, io::now() + kEraseRetry);
  }
  wake_.set();
}

void Journal::drop(Entries::iterator place, DeviceOutcome outcome) {
  core_.trail.note({.at = io::wall_now(),
                    .user = place->second.record.user,
                    .outcome = outcome,
                    .device = place->first.device,
                    .item = place->first.item_hash,
                    .events = 1});
  entries_.erase(place);
  core_.ledger.settle_journaled(outcome);
  room_.set();
}

void Journal::forget(store::MailboxNumber mailbox, const store::DeviceKey& device) {
  auto place = entries_.lower_bound({mailbox, device, 0});
  while (place != entries_.end() && place->first.mailbox == mailbox && place->first.device == device) {
    auto next = std::next(place);
    const Entry& entry = place->second;
    if (entry.state == State::waiting) due_.erase({entry.due, place->first});
    bool idle = entry.state == State::waiting || entry.state == State::queued;
    Call call(*this, place->first);
    if (idle) drop(place, DeviceOutcome::skipped_no_device);
    place = next;
  }
}

// ---- Pushes ----

Task<Status> Journal::wait_for_work() {
  co_return co_await wake_.wait();
}

Task<void> Journal::run() {
  for (Context& context = co_await current_context(); !context.stop_requested();) {
    wake_.reset();
    if (start_due()) {
      co_await yield_now();
      continue;
    }
    bool full = tries_.live() >= limits().pushes_in_flight_max;
    Instant next = full || due_.empty() ? io::now() + kIdleWait : due_.begin()->first;
    (void)co_await within_until(next, wait_for_work());
  }
}

// False where nothing more can be started now.
bool Journal::start_due() {
  Instant now = io::now();
  for (size_t i = 0; i < kStartsPerTurn; ++i) {
    bool full = tries_.live() >= limits().pushes_in_flight_max;
    if (full || due_.empty() || due_.begin()->first > now) return false;
    store::JournalKey key = due_.begin()->second;
    due_.erase(due_.begin());
    Entry& entry = entries_.at(key);
    if (entry.state == State::ending) {
      tries_.spawn(finish(key, entry.outcome));
    } else {
      entry.state = State::queued;
      tries_.spawn(attempt(key));
    }
  }
  return true;
}

Task<void> Journal::attempt(store::JournalKey key) {
  std::optional<DeviceOutcome> outcome = co_await make(key);
  if (outcome) co_await finish(key, *outcome);
  auto place = entries_.find(key);
  if (place != entries_.end() && place->second.state == State::trying) await_retry(place);
  wake_.set();
}

// How the record ended; nothing where it waits for room on its way (queued) or was tried in vain (trying).
Task<std::optional<DeviceOutcome>> Journal::make(const store::JournalKey& key) {
  GenerationSlot::Pin pin(core_.generations);
  Call call(*this, key);
  Entry& entry = entries_.at(key);  // stays: nobody else touches one that is not idle
  entry.state = State::trying;
  const store::JournalRecord record = entry.record;
  if (io::wall_now() - record.first_seen >= std::chrono::hours(limits().keep_hours)) {
    log_line(core_.log, LogLevel::warning, "push_expired", field("user", core_.fingerprint(record.user)),
             field("device", core_.log.fingerprint("device", key.device)), field("attempts", record.attempts));
    co_return DeviceOutcome::dropped_expired;
  }
  Destination to;
  if (Sought sought = co_await find_destination(key, record, to); !sought) co_return sought.error();
  auto route = routes_.try_emplace(to.route).first;
  bool called = call.by(route);
  if (route->second.in_flight + route->second.called - called >= route->second.window) {
    entry.state = State::queued;
    auto& waiting = route->second.waiting;
    waiting.insert(called ? waiting.begin() : waiting.end(), key);
    co_return std::nullopt;
  }
  RoutePlace place(*this, route);
  call.end();
  core_.metrics.add(metric::journal_attempts);
  ShapedPush shaped = shape_push({}, PreviewPolicy::none, false);
  std::string collapse_id = to_hex(record.collapse);
  OutgoingPush outgoing{.payload = shaped.payload, .collapse_id = collapse_id};
  Instant deadline = io::now() + std::chrono::milliseconds(core_.config().notification.push_timeout_ms);
  PushEnd end = co_await pusher_.push({.tenant = to.tenant, .user = record.user}, to.device, outgoing, deadline);
  place.note(end);
  co_return outcome_of(end);
}

// An error: how the record ended without a push, or nothing where it has to wait.
Task<Journal::Sought> Journal::find_destination(const store::JournalKey& key, const store::JournalRecord& record,
                                                Destination& to) {
  store::Store& store = core_.node.store;
  auto unreadable = [&](const Error& error) -> std::optional<DeviceOutcome> {
    if (is(error, store::StoreError::not_found)) return DeviceOutcome::skipped_no_device;
    log_line(core_.log, LogLevel::error, "device_unreadable", field("user", core_.fingerprint(record.user)),
             field("error", error));
    return std::nullopt;
  };
  Result<store::DeviceRecord> device = co_await store.read_device(record.user, key.device);
  if (!device) co_return std::unexpected(unreadable(device.error()));
  if (auto refusal = device_refusal(*device)) co_return std::unexpected(refusal);
  Result<store::UserRecord> user = co_await store.read_user(record.user);
  if (!user) co_return std::unexpected(unreadable(user.error()));
  PushVerdict verdict = judge_push(core_, user->tenant, record.user, *device);
  if (verdict.undecided || verdict.refusal) co_return std::unexpected(verdict.refusal);
  to.tenant = core_.tenants().find(user->tenant);
  if (!to.tenant) co_return std::unexpected(std::nullopt);  // out of the configuration; it may come back
  auto environment = device->environment == store::PushEnvironment::sandbox ? ApnsEnvironment::sandbox
                                                                             : ApnsEnvironment::production;
  const AppConfig* app = to.tenant->app(device->topic, environment);
  // Without an app the pusher says so, and refuses.
  if (app) to.route = {app->team_id, app->key_id, app->certificate_file, environment};
  to.device = {key.device, *std::move(device)};
  co_return Sought();
}

// The way has room: those that wait for it longest are tried again, by run(), which keeps the stack flat.
void Journal::serve(Routes::iterator place) {
  Route& route = place->second;
  while (route.in_flight + route.called < route.window && !route.waiting.empty()) {
    auto entry = entries_.find(route.waiting.front());
    route.waiting.pop_front();
    if (entry == entries_.end() || entry->second.state != State::queued) continue;
    ++route.called;
    called_.emplace(entry->first, place);
    set_due(entry, State::waiting, io::now());
  }
  if (route.in_flight == 0 && route.called == 0 && route.waiting.empty()) routes_.erase(place);
}

void Journal::end_call(Routes::iterator place) {
  BH_CHECK(place->second.called > 0);
  --place->second.called;
  serve(place);
}

// ---- The end ----

Task<void> Journal::close(Instant until) {
  co_await join_or_stop(tries_, until);
  upkeep_.request_stop();  // writes at once what it gathers
  co_await upkeep_.join();
}

}  // namespace bellhop::service
