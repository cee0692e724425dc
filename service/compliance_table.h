// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/base/error.h"
#include "core/base/time.h"
#include "service/compliance_record.h"
#include "store/tables.h"

namespace bellhop::service {

// Texts of which many devices share few: models, versions, clients. Each has a number; number 0 is the empty text, which
// stands for "not known". Grows only. add() on core 0; text() on any core.
class TextPool {
 public:
  static constexpr uint32_t kTextsMax = 1u << 20;

  TextPool() = default;
  ~TextPool();
  TextPool(const TextPool&) = delete;
  TextPool& operator=(const TextPool&) = delete;

  // The number of `text`; 0 where the pool is full, so that what finds no room closes rather than opens.
  uint32_t add(std::string_view text);
  std::string_view text(uint32_t number) const;
  size_t size() const { return numbers_.size(); }
  uint64_t refused() const { return refused_; }  // texts that found no room

 private:
  static constexpr uint32_t kTextsPerBlock = 4096;
  struct Block {
    std::array<std::string, kTextsPerBlock> texts;
  };
  std::array<std::atomic<Block*>, kTextsMax / kTextsPerBlock> blocks_{};
  std::unordered_map<std::string_view, uint32_t> numbers_;  // views into the blocks
  uint32_t next_ = 1;
  uint64_t refused_ = 0;
};

// What is known of one device. Texts are views into the pool, which lives as long as the process.
struct DeviceFacts {
  store::ComplianceKey key;  // of the device's first name
  uint64_t account = 0;      // see account_word(); 0: not known
  Known managed = Known::unknown;
  Known compromised = Known::unknown;
  Known encrypted = Known::unknown;
  Known activesync_profile = Known::unknown;
  ComplianceOverride override_to = ComplianceOverride::none;
  ComplianceHold hold = ComplianceHold::none;  // in a table of holds alone
  std::string_view model, os, os_version, device_type, mail_client;
  WallTime last_contact{};  // the epoch: not known
  WallTime updated{};
};

// Devices by key: 48 bytes each and 6 of index. One writer (core 0), readers on every core, who neither lock nor write:
// an entry is six atomic words under its segment's sequence count, and is read again where the writer was there
// meanwhile. A segment that fills up is replaced by a larger one; the old one goes to `retired`, to be freed when every
// core has begun another turn.
//
// Invariants:
//  1. a segment's slots name entries below its size; an entry's key never changes in its segment;
//  2. another name of a device is an entry that leads to the key of its first name.
class ComplianceTable {
 public:
  struct Segment;
  struct FreeSegment {
    void operator()(Segment* segment) const;
  };
  using Retired = std::vector<std::unique_ptr<Segment, FreeSegment>>;

  explicit ComplianceTable(TextPool& texts) : texts_(texts) {}
  ~ComplianceTable();
  ComplianceTable(const ComplianceTable&) = delete;
  ComplianceTable& operator=(const ComplianceTable&) = delete;

  // Any core.
  bool find(const store::ComplianceKey& key, DeviceFacts& facts) const;

  // ---- Core 0 ----
  // Inserts or replaces. `retired` is null while no other core knows the table.
  void put(const store::ComplianceKey& key, const ComplianceRecord& record, ComplianceHold hold, Retired* retired);
  void erase(const store::ComplianceKey& key);  // fine where there is none
  bool has(const store::ComplianceKey& key) const;
  // What put() was given; times in whole seconds. False where there is none.
  bool read(const store::ComplianceKey& key, ComplianceRecord& record) const;
  // Gives back the room that growth took in one segment.
  void trim(size_t segment, Retired* retired);
  // Other names and the first names that they lead to, of one segment.
  void for_each_other_name(size_t segment,
                           store::FunctionRef<void(const store::ComplianceKey& name, const store::ComplianceKey& first)> f) const;
  // Where a device of one segment is as `before` has it, but for its last contact, it has been so since then: `updated`.
  void keep_times(size_t segment, const ComplianceTable& before);
  // The entries of one segment, nearly in the order of their keys. The record is used again for the next.
  void for_each(size_t segment, store::FunctionRef<void(const store::ComplianceKey&, const ComplianceRecord&)> f) const;

  static constexpr size_t kSegments = 256;
  size_t size() const { return size_.load(std::memory_order_relaxed); }    // names
  size_t bytes() const { return bytes_.load(std::memory_order_relaxed); }  // of entries and index, without the texts

 private:
  struct Words;
  Segment* segment_of(const store::ComplianceKey& key) const;
  Segment* grow(size_t segment, size_t entries_max, Retired* retired);
  bool find_words(const store::ComplianceKey& key, Words& words) const;
  Words pack(const store::ComplianceKey& key, const ComplianceRecord& record, ComplianceHold hold);
  void unpack(const Words& words, ComplianceRecord& record) const;

  TextPool& texts_;
  std::array<std::atomic<Segment*>, kSegments> segments_{};
  std::atomic<size_t> size_{0};
  std::atomic<size_t> bytes_{0};
};

}  // namespace bellhop::service
