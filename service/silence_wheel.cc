// SPDX-License-Identifier: Apache-2.0
#include "service/silence_wheel.h"

namespace bellhop::service {
namespace {

// The bits of an owner say which core is its home, so that on one core they are not evenly spread.
uint32_t mixed(uint64_t owner) { return static_cast<uint32_t>((owner * 0x9e3779b97f4a7c15u) >> 32); }

}  // namespace

SilenceWheel::SilenceWheel(size_t entries_max, uint32_t now_s)
    : entries_max_(std::min<size_t>(entries_max, kNone)), seconds_(kSeconds, kNone), looked_at_s_(now_s) {
  buckets_.push(kNone);
}

size_t SilenceWheel::bytes() const {
  return sizeof *this + entries_.bytes() + buckets_.bytes() + seconds_.capacity() * sizeof(uint32_t);
}

// ---- By owner ----

uint32_t SilenceWheel::bucket_of(uint64_t owner) const {
  uint32_t hash = mixed(owner);
  uint32_t bucket = hash & (2 * round_ - 1);
  return bucket < buckets_.size() ? bucket : hash & (round_ - 1);
}

const SilenceEntry* SilenceWheel::find(uint64_t owner) const {
  uint32_t number = buckets_[bucket_of(owner)];
  while (number != kNone && entries_[number].owner() != owner) number = entries_[number].next_same;
  return number == kNone ? nullptr : &entries_[number];
}

// An entry does not know its number: it is where the chain of its bucket says.
uint32_t SilenceWheel::number_of(const SilenceEntry& entry) const {
  uint32_t number = buckets_[bucket_of(entry.owner())];
  while (&entries_[number] != &entry) number = entries_[number].next_same;
  return number;
}

// One bucket more, which takes its share of the bucket that it splits.
void SilenceWheel::grow() {
  auto added = static_cast<uint32_t>(buckets_.size());
  uint32_t split = added - round_;
  buckets_.push(kNone);
  uint32_t number = std::exchange(buckets_[split], kNone);
  while (number != kNone) {
    SilenceEntry& entry = entries_[number];
    uint32_t& bucket = buckets_[bucket_of(entry.owner())];
    uint32_t next = std::exchange(entry.next_same, bucket);
    bucket = std::exchange(number, next);
  }
  if (buckets_.size() == size_t{2} * round_) round_ *= 2;
}

void SilenceWheel::unlink_from_bucket(SilenceEntry& entry) {
  uint32_t* at = &buckets_[bucket_of(entry.owner())];
  while (&entries_[*at] != &entry) at = &entries_[*at].next_same;
  *at = entry.next_same;
}

SilenceEntry* SilenceWheel::insert(uint64_t owner, uint32_t due_s) {
  uint32_t number = free_;
  if (number != kNone) {
    free_ = entries_[number].next_due;
  } else {
    if (entries_.size() >= entries_max_) return nullptr;
    number = static_cast<uint32_t>(entries_.size());
    entries_.push({});
  }
  SilenceEntry& entry = entries_[number];
  entry = {};
  entry.owner_words[0] = static_cast<uint32_t>(owner);
  entry.owner_words[1] = static_cast<uint32_t>(owner >> 32);
  if (++size_ > buckets_.size() * kEntriesPerBucket) grow();
  uint32_t& bucket = buckets_[bucket_of(owner)];
  entry.next_same = std::exchange(bucket, number);
  uint32_t second = std::clamp(due_s, looked_at_s_ + 1, looked_at_s_ + kSeconds - 1) % kSeconds;
  entry.next_due = std::exchange(seconds_[second], number);
  return &entry;
}

void SilenceWheel::erase(SilenceEntry& entry) {
  BH_CHECK(!entry.removed);
  uint32_t number = number_of(entry);
  unlink_from_bucket(entry);
  --size_;
  entry.removed = true;
  if (&entry != given_) return;  // its list is singly linked: it is taken out when its second comes
  given_ = nullptr;
  entry.next_due = std::exchange(free_, number);
}

SilenceEntry& SilenceWheel::move_up(SilenceEntry& entry, uint32_t due_s) {
  BH_CHECK(&entry != given_);
  SilenceEntry* copy = insert(entry.owner(), due_s);
  if (!copy) return entry;
  SilenceEntry before = entry;
  erase(entry);
  uint32_t next_due = copy->next_due, next_same = copy->next_same;
  *copy = before;
  copy->next_due = next_due;
  copy->next_same = next_same;
  return *copy;
}

// ---- By second ----

SilenceEntry* SilenceWheel::next_due(uint32_t now_s) {
  BH_CHECK(given_ == nullptr);
  // After a long pause each second of the wheel is looked at once.
  if (now_s > looked_at_s_ && now_s - looked_at_s_ > kSeconds) looked_at_s_ = now_s - kSeconds;
  for (;;) {
    while (looking_at_ == kNone) {
      if (looked_at_s_ >= now_s) return nullptr;
      ++looked_at_s_;
      looking_at_ = std::exchange(seconds_[looked_at_s_ % kSeconds], kNone);
    }
    uint32_t number = looking_at_;
    SilenceEntry& entry = entries_[number];
    looking_at_ = entry.next_due;
    if (!entry.removed) return given_ = &entry;
    entry.next_due = std::exchange(free_, number);
  }
}

void SilenceWheel::place(SilenceEntry& entry, uint32_t due_s) {
  BH_CHECK(given_ == &entry);
  given_ = nullptr;
  uint32_t second = std::clamp(due_s, looked_at_s_ + 1, looked_at_s_ + kSeconds - 1) % kSeconds;
  entry.next_due = std::exchange(seconds_[second], number_of(entry));
}

}  // namespace bellhop::service
