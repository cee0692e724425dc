// SPDX-License-Identifier: Apache-2.0
#include "core/tls/ticket_keys.h"

#include <type_traits>
#include <utility>

#include "core/base/check.h"

namespace bellhop {
namespace {

static_assert(std::is_trivially_copyable_v<TicketKey> && sizeof(TicketKey) == 80);
constexpr uint8_t kSavedFormat = 1;

}  // namespace

TicketKeys::Snapshot::~Snapshot() {
  wipe(&current, sizeof current);
  wipe(&previous, sizeof previous);
}

TicketKeys::TicketKeys(WallTime now, Bytes fresh) {
  BH_CHECK(fresh.size() == kFreshBytes);
  auto first = std::make_shared<Snapshot>();
  std::memcpy(&first->current, fresh.data(), kFreshBytes);
  first->rotated_at = now;
  snapshot_ = std::move(first);
}

bool TicketKeys::rotation_due(WallTime now) const {
  Duration age = now - snapshot()->rotated_at;
  return age >= kRotationPeriod || age <= -kRotationPeriod;
}

void TicketKeys::rotate(WallTime now, Bytes fresh) {
  BH_CHECK(fresh.size() == kFreshBytes);
  auto next = std::make_shared<Snapshot>();
  std::memcpy(&next->current, fresh.data(), kFreshBytes);
  next->rotated_at = now;
  next->has_previous = true;
  std::shared_ptr<const Snapshot> old;  // released, and wiped, after the lock
  std::lock_guard hold(lock_);
  next->previous = snapshot_->current;
  old = std::exchange(snapshot_, std::move(next));
}

// Format 1, the keys, whether there is a previous one, and when the current one became so, in milliseconds.
TicketKeys::Saved TicketKeys::save() const {
  std::shared_ptr<const Snapshot> now = snapshot();
  Saved saved{};
  uint8_t* at = saved.data();
  *at++ = kSavedFormat;
  std::memcpy(at, &now->current, sizeof(TicketKey));
  std::memcpy(at += sizeof(TicketKey), &now->previous, sizeof(TicketKey));
  *(at += sizeof(TicketKey)) = now->has_previous;
  int64_t rotated_ms = now->rotated_at.time_since_epoch().count();
  std::memcpy(at + 1, &rotated_ms, sizeof rotated_ms);
  return saved;
}

std::shared_ptr<TicketKeys> TicketKeys::restore(Bytes saved) {
  static_assert(std::tuple_size_v<Saved> == 2 + 2 * sizeof(TicketKey) + sizeof(int64_t));
  if (saved.size() != std::tuple_size_v<Saved> || saved[0] != kSavedFormat) return nullptr;
  const uint8_t* at = saved.data() + 1;
  auto keys = std::make_shared<TicketKeys>(WallTime(), saved.subspan(1, kFreshBytes));
  auto restored = std::make_shared<Snapshot>();
  std::memcpy(&restored->current, at, sizeof(TicketKey));
  std::memcpy(&restored->previous, at + sizeof(TicketKey), sizeof(TicketKey));
  restored->has_previous = at[2 * sizeof(TicketKey)] != 0;
  int64_t rotated_ms;
  std::memcpy(&rotated_ms, at + 2 * sizeof(TicketKey) + 1, sizeof rotated_ms);
  restored->rotated_at = WallTime(WallTime::duration(rotated_ms));
  keys->snapshot_ = std::move(restored);
  return keys;
}

std::shared_ptr<const TicketKeys::Snapshot> TicketKeys::snapshot() const {
  std::lock_guard hold(lock_);
  return snapshot_;
}

}  // namespace bellhop
