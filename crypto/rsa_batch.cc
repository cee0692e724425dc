// SPDX-License-Identifier: Apache-2.0
#include "crypto/rsa_batch.h"

#include <algorithm>

#include "core/base/check.h"
#include "crypto/error.h"

namespace bellhop::crypto {
namespace {

constexpr size_t kEngineBatchMax = 64;

}  // namespace

RsaBatchRequest::~RsaBatchRequest() {
  if (batch_) batch_->remove(*this);
}

RsaBatch::RsaBatch(RsaEngine& engine, Clock clock, Limits limits) : engine_(engine), clock_(clock), limits_(limits) {
  BH_CHECK(clock.now != nullptr && limits.waiting_max > 0 && limits.run_at > 0);
}

RsaBatch::~RsaBatch() {
  BH_CHECK(waiting() == 0);
}

Status RsaBatch::enqueue(RsaBatchRequest& request) {
  BH_CHECK(request.key && request.completed && !request.batch_);
  size_t of_tenant = 0;  // counting costs a thousandth of one RSA operation
  for (Queue& queue : queues_) {
    queue.requests.for_each([&](const RsaBatchRequest* waiting) { of_tenant += waiting->tenant == request.tenant; });
  }
  if (waiting() >= limits_.waiting_max || of_tenant >= limits_.waiting_per_tenant_max) {
    ++metrics_.overloaded_total;
    return fail(crypto_error(CryptoError::overloaded));
  }
  ++metrics_.requests_total;
  request.batch_ = this;
  request.queue_ = request.key->modulus_bytes() * 8 == queues_[0].bits ? 0 : 1;
  request.enqueued_at_ = clock_.now(clock_.context);
  Queue& queue = queues_[request.queue_];
  BH_CHECK(queue.bits == request.key->modulus_bytes() * 8);
  queue.requests.push_back(&request);
  ++queue.waiting;
  return {};
}

void RsaBatch::remove(RsaBatchRequest& request) {
  Queue& queue = queues_[request.queue_];
  BH_CHECK(request.batch_ == this && queue.waiting > 0);
  request.unlink();
  request.batch_ = nullptr;
  --queue.waiting;
}

// The queue whose front has waited longest; not called when nothing waits.
const RsaBatch::Queue& RsaBatch::oldest() const {
  const RsaBatchRequest* small = queues_[0].requests.front();
  const RsaBatchRequest* large = queues_[1].requests.front();
  if (!small || !large) return queues_[small ? 0 : 1];
  return queues_[small->enqueued_at_ <= large->enqueued_at_ ? 0 : 1];
}

bool RsaBatch::should_run(Instant now, bool nothing_else_ready) const {
  if (waiting() == 0) return false;
  for (const Queue& queue : queues_) {
    if (queue.waiting >= limits_.run_at) return true;
  }
  return nothing_else_ready || now - oldest().requests.front()->enqueued_at_ >= limits_.wait_max;
}

void RsaBatch::run() {
  BH_CHECK(!running_);
  if (waiting() == 0) return;
  running_ = true;
  ++metrics_.runs_total;
  const Instant start = clock_.now(clock_.context);
  Instant now = start;
  Duration last_call{};
  size_t count = 0;
  IntrusiveList<RsaBatchRequest> done;
  do {
    const Instant before = now;
    count = run_engine(done, before);
    now = clock_.now(clock_.context);
    last_call = now - before;
  } while (count == 1 && waiting() > 0 && now - start + last_call <= limits_.run_max);

  // Completions come last: they may enqueue, or destroy any request, also one of this list, which unlinks itself.
  while (RsaBatchRequest* request = done.pop_front()) request->completed(*request);
  running_ = false;
}

// One call of the engine for the oldest request and those of its size; moves them to `done` with their results. Returns
// how many these were.
size_t RsaBatch::run_engine(IntrusiveList<RsaBatchRequest>& done, Instant now) {
  std::array<RsaBatchRequest*, kEngineBatchMax> requests;
  std::array<RsaEngine::Request, kEngineBatchMax> operations;
  std::array<RsaEngine::Request*, kEngineBatchMax> pointers;
  const Queue& queue = oldest();
  const size_t count = engine_.batch_of(queue.bits, queue.waiting);
  BH_CHECK(count > 0 && count <= std::min(queue.waiting, kEngineBatchMax));
  for (size_t i = 0; i < count; ++i) {
    RsaBatchRequest* request = requests[i] = queue.requests.front();
    request->waited = now - request->enqueued_at_;
    remove(*request);
    operations[i].key = request->key.get();
    operations[i].ciphertext = request->ciphertext;
    pointers[i] = &operations[i];
  }
  engine_.run(std::span(pointers).first(count));
  ++metrics_.engine_calls_by_size[std::min(count, metrics_.engine_calls_by_size.size() - 1)];

  for (size_t i = 0; i < count; ++i) {
    RsaBatchRequest& request = *requests[i];
    if (operations[i].encoded.empty()) {
      request.plaintext = fail(crypto_error(CryptoError::decrypt_failed));
    } else {
      request.plaintext = oaep_decode(operations[i].encoded.reveal(), request.label, request.hashes);
    }
    metrics_.failed_total += !request.plaintext;
    request.key.reset();
    done.push_back(&request);
  }
  return count;
}

}  // namespace bellhop::crypto
