// SPDX-License-Identifier: Apache-2.0
#include "service/circuit_breaker.h"

#include "core/base/check.h"

namespace bellhop::service {

CircuitBreaker::CircuitBreaker(uint32_t failure_percent, uint32_t window, Duration open_for)
    : failure_percent_(failure_percent), open_for_(open_for), results_(window) {
  BH_CHECK(window > 0);
}

bool CircuitBreaker::refuses(Instant now) const {
  return state_ != State::closed && now < open_until_;
}

bool CircuitBreaker::admit(Instant now) {
  if (refuses(now)) return false;
  if (state_ == State::closed) return true;
  state_ = State::probing;
  open_until_ = now + open_for_;
  return true;
}

CircuitBreaker::Change CircuitBreaker::succeeded() {
  if (state_ == State::closed) {
    note(false);
    return Change::none;
  }
  // Late results of requests from before it opened do not close it: only the probe does.
  if (state_ == State::open) return Change::none;
  state_ = State::closed;
  forget();
  return Change::closed;
}

CircuitBreaker::Change CircuitBreaker::failed(Instant now, Duration jitter) {
  if (state_ == State::open) return Change::none;
  if (state_ == State::closed) {
    note(true);
    if (size_ < results_.size() || uint64_t{failures_} * 100 < uint64_t{failure_percent_} * size_) return Change::none;
  }
  state_ = State::open;
  open_until_ = now + open_for_ + jitter;
  forget();
  return Change::opened;
}

void CircuitBreaker::undecided() {
  if (state_ != State::probing) return;
  state_ = State::open;
  open_until_ = {};  // the next request is the probe
}

void CircuitBreaker::note(bool failure) {
  if (size_ == results_.size()) {
    failures_ -= results_[next_];
  } else {
    ++size_;
  }
  results_[next_] = failure;
  failures_ += failure;
  next_ = (next_ + 1) % static_cast<uint32_t>(results_.size());
}

void CircuitBreaker::forget() {
  next_ = size_ = failures_ = 0;
}

}  // namespace bellhop::service
