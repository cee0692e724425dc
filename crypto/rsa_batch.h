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
  Duration waited{};         // in the queue

 private:
  friend class RsaBatch;
  RsaBatch* batch_ = nullptr;  // set while it waits
  size_t queue_ = 0;
  Instant enqueued_at_{};
};

// The queues before the RSA engine, one for each size of key. One RsaBatch per core; knows no reactor: who owns it asks
// should_run() each turn and calls run().
class RsaBatch {
 public:
  struct Limits {
    size_t waiting_max = 256;             // beyond: overloaded, the caller sheds
    size_t waiting_per_tenant_max = 128;  // one tenant cannot fill the queue
    size_t run_at = 8;                    // as many waiting of one size are worth a run at once
    Duration wait_max = std::chrono::milliseconds(1);
    Duration run_max = std::chrono::milliseconds(4);  // of one run(), one by one; at least one call is made
  };
  struct Metrics {
    uint64_t requests_total = 0;
    uint64_t failed_total = 0;  // decrypt_failed
    uint64_t overloaded_total = 0;
    uint64_t runs_total = 0;
    std::array<uint64_t, 9> engine_calls_by_size{};  // [n] calls with n requests; [8] also holds larger ones
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
  // True when 8 of one size wait, when nothing else is ready, or when the oldest has waited 1 ms; never when nothing waits.
  bool should_run(Instant now, bool nothing_else_ready) const;
  // Calls the engine with the oldest request and, where that is faster, others of its size: once for several, else until
  // the queues are empty or another call as long as the last would pass `run_max`. Then calls `completed` of those that ran,
  // oldest first. Not to be called from `completed`.
  void run();

  // For what is enqueued from now on.
  void set_limits(const Limits& limits) { limits_ = limits; }

  size_t waiting() const { return queues_[0].waiting + queues_[1].waiting; }
  const Metrics& metrics() const { return metrics_; }

 private:
  friend struct RsaBatchRequest;
  struct Queue {
    unsigned bits;
    mutable IntrusiveList<RsaBatchRequest> requests;  // oldest first; mutable, for the list has no const front()
    size_t waiting = 0;
  };

  const Queue& oldest() const;
  void remove(RsaBatchRequest& request);
  size_t run_engine(IntrusiveList<RsaBatchRequest>& done, Instant now);

  RsaEngine& engine_;
  const Clock clock_;
  Limits limits_;
  std::array<Queue, 2> queues_{Queue{2048, {}}, Queue{3072, {}}};
  bool running_ = false;
  Metrics metrics_;
};

}  // namespace bellhop::crypto
