// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>

#include "core/base/intrusive_list.h"
#include "core/base/time.h"
#include "crypto/key_cache.h"
#include "crypto/rsa_engine.h"

namespace bellhop::crypto {

class RsaBatch;

// One decryption that waits for its turn. Lives where the caller puts it (a coroutine's awaiter) until `completed` was
// called; destroying it earlier takes it out of the queue. Views must live as long.
struct RsaBatchRequest : ListLink {
  RsaBatchRequest() = default;
  ~RsaBatchRequest();

  // in
  KeyCache::Pin key;
  Bytes ciphertext;
  Bytes label;
  OaepHashes hashes;
  uint32_t tenant = 0;  // for the bound per tenant
  // Called once, from run(); may destroy the request or enqueue others.
  void (*completed)(RsaBatchRequest& request) = nullptr;
  void* context = nullptr;  // the caller's

  // out
  Result<Secret> plaintext;  // errors: decrypt_failed

 private:
  friend class RsaBatch;
  RsaBatch* batch_ = nullptr;  // set while it waits
  Instant enqueued_at_{};
};

// The queue before the RSA engine. One per core; knows no reactor: who owns it asks should_run() each turn and calls
// run().
class RsaBatch {
 public:
  struct Limits {
    size_t waiting_max = 256;             // beyond: overloaded, the caller sheds
    size_t waiting_per_tenant_max = 128;  // one tenant cannot fill the queue
    size_t run_at = 8;                    // as many waiting are worth a run at once
    Duration wait_max = std::chrono::milliseconds(1);
    Duration run_max = std::chrono::milliseconds(4);  // of one run(); at least one engine call is made
  };
  struct Metrics {
    uint64_t requests_total = 0;
    uint64_t failed_total = 0;  // decrypt_failed
    uint64_t overloaded_total = 0;
    uint64_t runs_total = 0;
    std::array<uint64_t, 9> engine_calls_by_size{};  // [n] calls with n requests; [8] also holds larger ones
    Duration waited_total{};                         // queue time of all requests
    Duration waited_max{};
  };
  // Monotonic time; run() reads it between engine calls.
  struct Clock {
    Instant (*now)(void* context);
    void* context;
  };

  // `engine` outlives this.
  RsaBatch(RsaEngine& engine, Clock clock, Limits limits);
  RsaBatch(RsaEngine& engine, Clock clock) : RsaBatch(engine, clock, Limits{}) {}
  RsaBatch(const RsaBatch&) = delete;
  RsaBatch& operator=(const RsaBatch&) = delete;
  ~RsaBatch();  // nothing waits

  // Errors: overloaded (the request was not taken and will not be completed).
  Status enqueue(RsaBatchRequest& request);
  // True when 8 wait, when nothing else is ready, or when the oldest has waited 1 ms; never when nothing waits.
  bool should_run(Instant now, bool nothing_else_ready) const;
  // Runs the oldest requests until the queue is empty or another engine call as long as the last would pass `run_max`;
  // then calls `completed` of those that ran, oldest first. Not to be called from `completed`.
  void run();

  // For what is enqueued from now on.
  void set_limits(const Limits& limits) { limits_ = limits; }

  size_t waiting() const { return waiting_; }
  const Metrics& metrics() const { return metrics_; }

 private:
  friend struct RsaBatchRequest;
  void remove(RsaBatchRequest& request);
  void run_engine(IntrusiveList<RsaBatchRequest>& done, Instant now);

  RsaEngine& engine_;
  const Clock clock_;
  Limits limits_;
  mutable IntrusiveList<RsaBatchRequest> queue_;  // oldest first; mutable, for the list has no const front()
  size_t waiting_ = 0;
  bool running_ = false;
  Metrics metrics_;
};

}  // namespace bellhop::crypto
