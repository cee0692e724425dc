// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "core/base/time.h"

namespace bellhop::service {

// Keeps requests away from a server that fails: opens when of the last `window` requests at least `failure_percent`
// failed, refuses for `open_for`, then lets one request through, whose result closes it or opens it again. A request that
// has no result for as long (a long poll) does not keep others away: another one is let through. No clock of its own. Every admitted request ends with exactly one of succeeded(), failed(), undecided(). One core.
class CircuitBreaker {
 public:
  // probing: a request is on its way to find out; until open_until() it is the only one.
  enum class State : uint8_t { closed, open, probing };
  enum class Change : uint8_t { none, opened, closed };

  // window >= 1; failure_percent 1..100.
  CircuitBreaker(uint32_t failure_percent, uint32_t window, Duration open_for);

  // Would admit() refuse now?
  bool refuses(Instant now) const;
  // False: refused. True: the request may be made.
  [[nodiscard]] bool admit(Instant now);
  Change succeeded();
  // `jitter` lengthens the time that it stays open, so that many servers' breakers do not close at one moment.
  Change failed(Instant now, Duration jitter);
  // The request says nothing about the server: it was stopped, or the server asked to wait.
  void undecided();
  bool open() const { return state_ != State::closed; }
  State state() const { return state_; }
  Instant open_until() const { return open_until_; }  // when the next request is let through

 private:
  void note(bool failure);
  void forget();

  const uint32_t failure_percent_;
  const Duration open_for_;
  std::vector<bool> results_;  // ring of the last ones; true = failed
  uint32_t next_ = 0;
  uint32_t size_ = 0;
  uint32_t failures_ = 0;
  State state_ = State::closed;
  Instant open_until_{};
};

}  // namespace bellhop::service
