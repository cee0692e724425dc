// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "core/base/check.h"

namespace bellhop::service {

// How long Exchange has not called for a mailbox: nothing is wrong; it owes us a callback; the subscription is taken to
// be dead.
enum class SilenceStage : uint8_t { active, late, lost };

// What is kept in memory of one supervised mailbox. There may be a million, so each byte counts. Times are whole seconds
// of the monotonic clock.
struct SilenceEntry {
  uint32_t owner_words[2];  // start of the stored user id
  uint32_t next_due;        // SilenceWheel's: the next one in the same second, or in the list of free ones
  uint32_t next_same;       // SilenceWheel's: the next one in the same bucket
  uint32_t since_s;         // of the last callback; with stage `lost`: when the device is asked next
  uint16_t frequency_minutes;
  uint16_t host;  // of HostOutages
  SilenceStage stage;
  uint8_t asks;          // silent pushes since it was lost; stays at 255
  uint8_t epoch;         // of its host, in which it is counted; see HostOutages
  bool counted_late : 1;  // in that epoch
  bool ask_reserved : 1;  // since_s is the second that pacing gave it
  bool removed : 1;       // SilenceWheel's

  uint64_t owner() const { return owner_words[0] | uint64_t{owner_words[1]} << 32; }
};
static_assert(sizeof(SilenceEntry) == 28);

// Memory in pieces of fixed size, so that it grows without copying what is there.
template <class T, size_t kPieceSize>
class Pieces {
 public:
  size_t size() const { return size_; }
  T& operator[](size_t i) { return pieces_[i / kPieceSize][i % kPieceSize]; }
  const T& operator[](size_t i) const { return pieces_[i / kPieceSize][i % kPieceSize]; }
  T& push(const T& value) {
    if (size_ == pieces_.size() * kPieceSize) pieces_.push_back(std::make_unique<T[]>(kPieceSize));
    T& place = (*this)[size_++];
    place = value;
    return place;
  }
  size_t bytes() const { return pieces_.size() * (kPieceSize * sizeof(T) + sizeof(void*)); }

 private:
  std::vector<std::unique_ptr<T[]>> pieces_;
  size_t size_ = 0;
};

// Entries by owner, and by the second in which each is to be looked at next: a hashed wheel of one list a second. Nothing
// is ever scanned or moved: a callback only writes the entry's time, and whoever looks at a due entry puts it back to
// where it belongs by then. The table by owner grows bucket by bucket (linear hashing), so that no turn pays for all.
// About 30 bytes an entry. No clock; one core.
//
// Invariants:
//  1. each entry lies in exactly one list: of a second of the wheel, of the second that is being looked at, or of the
//     free ones; but for the one that next_due() gave, until place() or erase();
//  2. no entry lies more than kSeconds - 1 seconds ahead of the second that was looked at last.
class SilenceWheel {
 public:
  static constexpr uint32_t kSeconds = 8'192;

  // `entries_max`: removed ones included that wait to be used again, kSeconds at most.
  SilenceWheel(size_t entries_max, uint32_t now_s);
  SilenceWheel(const SilenceWheel&) = delete;
  SilenceWheel& operator=(const SilenceWheel&) = delete;

  // Null where there is none.
  SilenceEntry* find(uint64_t owner) {
    return const_cast<SilenceEntry*>(static_cast<const SilenceWheel*>(this)->find(owner));
  }
  const SilenceEntry* find(uint64_t owner) const;
  // A new entry, all zero but for its owner, who has none; to be looked at when `due_s` has come. Null where the wheel
  // is full.
  SilenceEntry* insert(uint64_t owner, uint32_t due_s);
  void erase(SilenceEntry& entry);
  // The same entry, to be looked at earlier than it was going to be. A reference to the old one is good for nothing then.
  // Where the wheel is full it stays where it is.
  SilenceEntry& move_up(SilenceEntry& entry, uint32_t due_s);

  // An entry whose time has come by `now_s`, or null. The caller puts it back or erases it before the next call.
  SilenceEntry* next_due(uint32_t now_s);
  // Only for what next_due() gave. What is further ahead than the wheel reaches comes earlier, to be put back.
  void place(SilenceEntry& entry, uint32_t due_s);

  size_t size() const { return size_; }
  size_t bytes() const;  // all memory that it holds

 private:
  static constexpr uint32_t kNone = UINT32_MAX;
  static constexpr size_t kEntriesPerBucket = 2;

  uint32_t bucket_of(uint64_t owner) const;
  uint32_t number_of(const SilenceEntry& entry) const;
  void grow();
  void unlink_from_bucket(SilenceEntry& entry);

  const size_t entries_max_;
  Pieces<SilenceEntry, 1'024> entries_;
  Pieces<uint32_t, 1'024> buckets_;  // first entry of each
  uint32_t round_ = 1;               // a power of two: buckets before the ones that this round adds
  std::vector<uint32_t> seconds_;    // first entry of each second
  uint32_t looked_at_s_;             // the last second that was begun
  uint32_t looking_at_ = kNone;      // what is left of it
  uint32_t free_ = kNone;
  size_t size_ = 0;
  SilenceEntry* given_ = nullptr;  // what next_due() gave and is not back yet
};

}  // namespace bellhop::service
