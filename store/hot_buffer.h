// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "store/store.h"

namespace bellhop::store {

// Up to kHotPendingMax hot records by mailbox, the last value of each. Grows to its size once and then allocates
// nothing.
class HotBuffer {
 public:
  struct Item {
    MailboxNumber mailbox;
    HotRecord record;
  };

  bool empty() const { return items_.empty(); }
  size_t size() const { return items_.size(); }
  const std::vector<Item>& items() const { return items_; }

  HotRecord* find(MailboxNumber mailbox) {
    if (items_.empty()) return nullptr;
    uint16_t place = places_[slot_of(mailbox)];
    return place == kEmpty ? nullptr : &items_[place].record;
  }
  // False where the buffer is full.
  bool put(MailboxNumber mailbox, const HotRecord& record) {
    if (places_.empty()) places_.assign(kSlots, kEmpty);
    size_t slot = slot_of(mailbox);
    if (places_[slot] != kEmpty) {
      items_[places_[slot]].record = record;
      return true;
    }
    if (items_.size() >= kHotPendingMax) return false;
    places_[slot] = uint16_t(items_.size());
    items_.push_back({mailbox, record});
    return true;
  }
  void clear() {
    std::fill(places_.begin(), places_.end(), kEmpty);
    items_.clear();
  }
  void swap(HotBuffer& other) {
    items_.swap(other.items_);
    places_.swap(other.places_);
  }

 private:
  static constexpr size_t kSlots = 2 * kHotPendingMax;
  static constexpr uint16_t kEmpty = UINT16_MAX;
  static_assert((kSlots & (kSlots - 1)) == 0 && kHotPendingMax < kEmpty);

  // The mailbox's slot, or the free one where it would go. Open addressing; half of the slots are always free.
  size_t slot_of(MailboxNumber mailbox) const {
    size_t slot = (mailbox * 0x9e3779b1u >> 7) % kSlots;
    while (places_[slot] != kEmpty && items_[places_[slot]].mailbox != mailbox) slot = (slot + 1) % kSlots;
    return slot;
  }

  std::vector<Item> items_;
  std::vector<uint16_t> places_;
};

}  // namespace bellhop::store
