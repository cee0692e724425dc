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
  BH_CHECK(engine.batch_max() > 0 && engine.batch_max() <= kEngineBatchMax);
}

RsaBatch::~RsaBatch() {
  BH_CHECK(waiting_ == 0);
}

Status RsaBatch::enqueue(RsaBatchRequest& request) {
  BH_CHECK(request.key && request.completed && !request.batch_);
  size_t of_tenant = 0;  // counting costs a thousandth of one RSA operation
  queue_.for_each([&](const RsaBatchRequest* waiting) { of_tenant += waiting->tenant == request.tenant; });
  if (waiting_ >= limits_.waiting_max || of_tenant >= limits_.waiting_per_tenant_max) {
    ++metrics_.overloaded_total;
    return fail(crypto_error(CryptoError::overloaded));
  }
  ++metrics_.requests_total;
  request.batch_ = this;
  request.enqueued_at_ = clock_.now(clock_.context);
  queue_.push_back(&request);
  ++waiting_;
  return {};
}

void RsaBatch::remove(RsaBatchRequest& request) {
  BH_CHECK(request.batch_ == this && waiting_ > 0);
  request.unlink();
  request.batch_ = nullptr;
  --waiting_;
}

bool RsaBatch::should_run(Instant now, bool nothing_else_ready) const {
  if (waiting_ == 0) return false;
  if (waiting_ >= limits_.run_at || nothing_else_ready) return true;
  return now - queue_.front()->enqueued_at_ >= limits_.wait_max;
}

void RsaBatch::run() {
  BH_CHECK(!running_);
  if (waiting_ == 0) return;
  running_ = true;
  ++metrics_.runs_total;
  const Instant start = clock_.now(clock_.context);
  Instant now = start;
  Duration last_call{};
  IntrusiveList<RsaBatchRequest> done;
  do {
    const Instant before = now;
    run_engine(done, before);
    now = clock_.now(clock_.context);
    last_call = now - before;
  } while (waiting_ > 0 && now - start + last_call <= limits_.run_max);

  // Completions come last: they may enqueue, or destroy any request, also one of this list, which unlinks itself.
  while (RsaBatchRequest* request = done.pop_front()) request->completed(*request);
  running_ = false;
}

// One call of the engine for the oldest requests; moves them to `done` with their results.
void RsaBatch::run_engine(IntrusiveList<RsaBatchRequest>& done, Instant now) {
  std::array<RsaBatchRequest*, kEngineBatchMax> requests;
  std::array<RsaEngine::Request, kEngineBatchMax> operations;
  std::array<RsaEngine::Request*, kEngineBatchMax> pointers;
  const size_t count = std::min(waiting_, engine_.batch_max());
  for (size_t i = 0; i < count; ++i) {
    RsaBatchRequest* request = requests[i] = queue_.front();
    const Duration waited = now - request->enqueued_at_;
    metrics_.waited_total += waited;
    metrics_.waited_max = std::max(metrics_.waited_max, waited);
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
}

}  // namespace bellhop::crypto
