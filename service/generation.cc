// SPDX-License-Identifier: Apache-2.0
#include "service/generation.h"

#include <atomic>

#include "core/base/check.h"

namespace bellhop::service {
namespace {

std::atomic<size_t> generations_alive{0};

}  // namespace

Generation::Generation(uint64_t n, Config c, Tenants t) : number(n), config(std::move(c)), tenants(std::move(t)) {
  generations_alive.fetch_add(1, std::memory_order_relaxed);
}

// One after the other, and not each inside the one before: a chain of any length ends without a deep stack.
Generation::~Generation() {
  generations_alive.fetch_sub(1, std::memory_order_relaxed);
  std::shared_ptr<const Generation> next = std::move(next_);
  while (next && next.use_count() == 1) {
    std::shared_ptr<const Generation> after = std::move(next->next_);
    next = std::move(after);
  }
}

void Generation::set_next(std::shared_ptr<const Generation> next) const {
  BH_CHECK(!next_ && next && next->number > number);
  next_ = std::move(next);
}

size_t Generation::alive() { return generations_alive.load(std::memory_order_relaxed); }

}  // namespace bellhop::service
