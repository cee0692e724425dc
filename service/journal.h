// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <expected>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "core/sync.h"
#include "service/core.h"
#include "service/pusher.h"
#include "store/store.h"

namespace bellhop::service {

// How a record begins.
enum class JournalStart : uint8_t {
  held,     // whoever adds it makes the push, and tells how that ended: settle() or release()
  at_once,  // the journal makes the push as soon as it can
  later,    // a push was tried just now; after the first wait
};

// Pushes that still have to be made although Exchange has heard OK: content-free records of the mailboxes whose home is
// this core, in the store and here. A record is tried again after journal.retry_first_ms, doubling up to retry_max_ms,
// with full jitter, until APNs takes or refuses it, its device is gone, or it is keep_hours old. The phone is shown "new
// mail" under the collapse id that the item always has, so that a push which was made twice is seen once.
//
// Order, on which everything rests:
//  1. add() returns after the records are on the disk, and only then may Exchange hear OK.
//  2. A record is erased from the disk after its push was accepted or refused, never before. A crash in between repeats
//     the push.
//  3. A record is counted (Ledger::settle_journaled) once, after it was erased. One that cannot be erased stays, and is
//     not pushed again by this process.
//  4. Each record is in exactly one State; only `waiting` and `ending` ones stand in due_.
//  5. One core owns a record: the home core of its user. After a start restore() takes up what is ours.
//  6. Where records wait for room on a way, a push is under way there, or a record was called up to make one.
//
// Pushes of one way to APNs (key and environment) that fail leave it a window of one push at a time, which doubles with
// each success: a way that is out of order holds no other one up. One per core; owned by Mailboxes.
class Journal {
 public:
  Journal(Core& core, Pusher& pusher);
  ~Journal();
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  // All entries or none; of each, key, user and collapse id count, and no key may be one that holds() knows. Errors:
  // CoreError::limit (journal.records_max would be passed), store. Not cut short by a stop.
  Task<Status> add(std::vector<store::JournalEntry> entries, JournalStart start);
  bool holds(const store::JournalKey& key) const { return entries_.contains(key); }
  bool held(const store::JournalKey& key) const;

  // The end of a held record's push: the record is erased, then counted.
  Task<void> settle(store::JournalKey key, DeviceOutcome outcome);
  // The push of a held record was not made: the journal will, after a wait.
  void release(const store::JournalKey& key);

  // The device was removed, and its records in the store with it. None of them is pushed from now on, but for a push
  // that is on its way.
  void forget(store::MailboxNumber mailbox, const store::DeviceKey& device);

  // Takes up the records of an earlier process, page by page, as far as there is room; ends with the last one, or with a
  // stop. To be run once, when this process owns the store; beside run().
  Task<void> restore();
  // Makes the pushes that are due, until it is stopped. To be run once.
  Task<void> run();
  // Ends in good order: no further try, those under way end or are cut at `until`; what is known is written.
  // After run() and restore() have ended.
  Task<void> close(Instant until);

  size_t size() const { return entries_.size(); }
  // restore() has come to its end.
  bool restored() const { return restored_; }

 private:
  enum class State : uint8_t {
    adding,   // on its way to the disk
    held,     // a callback's flow makes the push
    waiting,  // for `due`
    queued,   // for room on its way to APNs
    trying,   // a push is under way
    ending,   // settled; to be erased
  };
  struct Entry {
    store::JournalRecord record;
    State state = State::adding;
    DeviceOutcome outcome{};  // ending
    bool found = false;       // restore() met it in the store
    Instant due{};            // waiting; ending, where it could not be erased
  };
  using Entries = std::map<store::JournalKey, Entry>;
  // Team, key, certificate file, environment.
  using RouteName = std::tuple<std::string, std::string, std::string, ApnsEnvironment>;
  struct Route {
    size_t in_flight = 0;
    size_t called = 0;  // records that left `waiting` for a place, and have not come for it yet
    size_t window = 1;
    std::deque<store::JournalKey> waiting;  // those that are not `queued` any more are passed over
  };
  using Routes = std::map<RouteName, Route>;
  using Sought = std::expected<void, std::optional<DeviceOutcome>>;
  class RoutePlace;
  class Call;
  struct Destination;

  const JournalConfig& limits() const { return core_.config().journal; }
  void begin(Entries::iterator place, JournalStart start);
  Instant due_of(const store::JournalRecord& record) const;
  void set_due(Entries::iterator place, State state, Instant due);
  void await_retry(Entries::iterator place);
  Duration retry_wait(uint16_t attempts) const;
  Task<void> write_changes();
  size_t take_page(const std::vector<store::JournalEntry>& page);
  Task<Status> wait_for_work();
  bool start_due();
  Task<void> attempt(store::JournalKey key);
  Task<std::optional<DeviceOutcome>> make(const store::JournalKey& key);
  Task<Sought> find_destination(const store::JournalKey& key, const store::JournalRecord& record, Destination& to);
  void serve(Routes::iterator place);
  void end_call(Routes::iterator place);
  Task<void> finish(store::JournalKey key, DeviceOutcome outcome);
  void drop(Entries::iterator place, DeviceOutcome outcome);

  Core& core_;
  Pusher& pusher_;
  Entries entries_;
  std::set<std::pair<Instant, store::JournalKey>> due_;
  Routes routes_;
  std::map<store::JournalKey, Routes::iterator> called_;  // and by which way; Route::called of each
  std::set<store::JournalKey> changed_;  // `record` is newer than the store's
  bool writing_changes_ = false;
  Event wake_;  // run() has something to look at
  Event room_;  // a record left
  TaskScope tries_;
  TaskScope upkeep_;
  bool restored_ = false;
};

}  // namespace bellhop::service
