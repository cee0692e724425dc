// SPDX-License-Identifier: Apache-2.0
#include "core/tls/ticket_keys.h"

#include <type_traits>
#include <utility>

#include "core/base/check.h"

namespace bellhop {
namespace {

static_assert(std::is_trivially_copyable_v<TicketKey> && sizeof(TicketKey) == 80);

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

std::shared_ptr<const TicketKeys::Snapshot> TicketKeys::snapshot() const {
  std::lock_guard hold(lock_);
  return snapshot_;
}

}  // namespace bellhop
