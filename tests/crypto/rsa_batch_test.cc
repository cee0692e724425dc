// SPDX-License-Identifier: Apache-2.0
#include "crypto/rsa_batch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>

#include "tests/crypto/crypto_fixture.h"

namespace bellhop::crypto {
namespace {

using namespace std::chrono_literals;

// The scalar engine behind a clock that it moves itself: each call costs `call_cost`.
class TimedEngine final : public RsaEngine {
 public:
  void run(std::span<Request* const> requests) override {
    real_->run(requests);
    now += call_cost;
    calls.push_back(requests.size());
  }
  size_t batch_of(unsigned, size_t waiting) const override { return waiting < from ? 1 : std::min(batch, waiting); }
  std::string_view name() const override { return "timed"; }
  Stats stats() const override { return {}; }

  static Instant read(void* self) { return static_cast<TimedEngine*>(self)->now; }

  Instant now{};
  Duration call_cost = 750us;
  size_t batch = 1;
  size_t from = 1;  // so many are faster together
  std::vector<size_t> calls;

 private:
  std::unique_ptr<RsaEngine> real_ = make_scalar_engine();
};

class RsaBatchTest : public testing::Test {
 protected:
  RsaBatchTest() {
    auto pin = cache_.insert(test_key().clone());
    EXPECT_TRUE(pin);
    auto ciphertext = test_key().public_key().encrypt_oaep(as_bytes("message"), as_bytes("label"));
    EXPECT_TRUE(ciphertext);
    ciphertext_ = *std::move(ciphertext);
  }

  std::unique_ptr<RsaBatchRequest> make(uint32_t tenant = 0) {
    auto request = std::make_unique<RsaBatchRequest>();
    request->key = cache_.find(test_key().public_key().id());
    request->ciphertext = ciphertext_;
    request->label = as_bytes("label");
    request->tenant = tenant;
    request->context = this;
    request->completed = [](RsaBatchRequest& done) {
      static_cast<RsaBatchTest*>(done.context)->done_.push_back(&done);
    };
    return request;
  }
  std::vector<std::unique_ptr<RsaBatchRequest>> enqueue(RsaBatch& batch, size_t count) {
    std::vector<std::unique_ptr<RsaBatchRequest>> requests;
    for (size_t i = 0; i < count; ++i) {
      requests.push_back(make());
      EXPECT_TRUE(batch.enqueue(*requests.back()));
    }
    return requests;
  }

  KeyCache cache_;
  std::vector<uint8_t> ciphertext_;
  std::vector<RsaBatchRequest*> done_;
  TimedEngine engine_;
  RsaBatch::Clock clock_{&TimedEngine::read, &engine_};
};

TEST_F(RsaBatchTest, DecryptsAndCompletesInOrder) {
  RsaBatch batch(engine_, clock_);
  auto requests = enqueue(batch, 3);
  batch.run();
  ASSERT_THAT(done_, testing::ElementsAre(requests[0].get(), requests[1].get(), requests[2].get()));
  for (auto& request : requests) {
    ASSERT_TRUE(request->plaintext);
    EXPECT_EQ(request->plaintext->reveal_text(), "message");
    EXPECT_FALSE(request->key);  // unpinned
  }
  EXPECT_EQ(batch.metrics().requests_total, 3u);
  EXPECT_EQ(batch.metrics().failed_total, 0u);
  EXPECT_EQ(batch.metrics().runs_total, 1u);
  EXPECT_EQ(batch.metrics().engine_calls_by_size[1], 3u);
}

TEST_F(RsaBatchTest, GivesEveryFailureTheSameError) {
  RsaBatch batch(engine_, clock_);
  auto wrong_label = make(), short_text = make(), changed = make();
  wrong_label->label = as_bytes("other");
  short_text->ciphertext = short_text->ciphertext.first(255);
  auto bytes = ciphertext_;
  bytes[200] ^= 1;
  changed->ciphertext = bytes;
  for (auto* request : {wrong_label.get(), short_text.get(), changed.get()}) ASSERT_TRUE(batch.enqueue(*request));
  batch.run();
  ASSERT_EQ(done_.size(), 3u);
  for (RsaBatchRequest* request : done_) EXPECT_TRUE(failed_with(request->plaintext, CryptoError::decrypt_failed));
  EXPECT_EQ(batch.metrics().failed_total, 3u);
}

TEST_F(RsaBatchTest, RunsWhenEightWaitOrNothingElseIsReadyOrTheOldestIsDue) {
  RsaBatch batch(engine_, clock_);
  EXPECT_FALSE(batch.should_run(engine_.now, true));  // nothing waits
  auto requests = enqueue(batch, 1);
  EXPECT_FALSE(batch.should_run(engine_.now, false));
  EXPECT_TRUE(batch.should_run(engine_.now, true));
  EXPECT_FALSE(batch.should_run(engine_.now + 1ms - 1ns, false));
  EXPECT_TRUE(batch.should_run(engine_.now + 1ms, false));
  auto more = enqueue(batch, 6);
  EXPECT_FALSE(batch.should_run(engine_.now, false));
  auto eighth = enqueue(batch, 1);
  EXPECT_TRUE(batch.should_run(engine_.now, false));
  while (batch.waiting()) batch.run();
  EXPECT_FALSE(batch.should_run(engine_.now, true));
}

TEST_F(RsaBatchTest, StopsBeforeItWouldPassItsTime) {
  RsaBatch batch(engine_, clock_);
  auto requests = enqueue(batch, 20);
  batch.run();  // 750 us each: five fit into 4 ms
  EXPECT_EQ(done_.size(), 5u);
  EXPECT_EQ(batch.waiting(), 15u);
  engine_.call_cost = 10ms;
  batch.run();  // a call longer than the bound still makes progress
  EXPECT_EQ(done_.size(), 6u);
  engine_.call_cost = 0ms;
  batch.run();
  EXPECT_EQ(done_.size(), 20u);
}

TEST_F(RsaBatchTest, FillsTheEnginesBatch) {
  engine_.batch = 8;
  RsaBatch batch(engine_, clock_);
  auto requests = enqueue(batch, 19);
  batch.run();
  EXPECT_THAT(engine_.calls, testing::ElementsAre(8));  // one batch a turn
  while (batch.waiting()) batch.run();
  EXPECT_THAT(engine_.calls, testing::ElementsAre(8, 8, 3));
  EXPECT_EQ(batch.metrics().engine_calls_by_size[8], 2u);
  EXPECT_EQ(batch.metrics().engine_calls_by_size[3], 1u);
}

TEST_F(RsaBatchTest, TakesTheTimeOfOneByOneWhereTheyAreTooFewForABatch) {
  engine_.batch = engine_.from = 8;
  RsaBatch batch(engine_, clock_);
  auto requests = enqueue(batch, 7);
  batch.run();  // 750 us each: five fit into 4 ms
  EXPECT_THAT(engine_.calls, testing::ElementsAre(1, 1, 1, 1, 1));
  EXPECT_EQ(batch.waiting(), 2u);
  EXPECT_EQ(batch.metrics().engine_calls_by_size[1], 5u);
  auto more = enqueue(batch, 6);
  batch.run();
  EXPECT_THAT(engine_.calls, testing::ElementsAre(1, 1, 1, 1, 1, 8));
}

TEST_F(RsaBatchTest, RefusesBeyondItsBounds) {
  RsaBatch batch(engine_, clock_, {.waiting_max = 4, .waiting_per_tenant_max = 3});
  auto requests = enqueue(batch, 3);
  auto same_tenant = make(), other_tenant = make(1), third_tenant = make(2);
  EXPECT_TRUE(failed_with(batch.enqueue(*same_tenant), CryptoError::overloaded));
  EXPECT_TRUE(batch.enqueue(*other_tenant));
  EXPECT_TRUE(failed_with(batch.enqueue(*third_tenant), CryptoError::overloaded));
  EXPECT_EQ(batch.metrics().overloaded_total, 2u);
  batch.run();
  EXPECT_EQ(done_.size(), 4u);
  EXPECT_TRUE(batch.enqueue(*third_tenant));  // there is room again
  batch.run();
}

TEST_F(RsaBatchTest, ForgetsARequestThatIsDestroyed) {
  RsaBatch batch(engine_, clock_);
  auto requests = enqueue(batch, 3);
  requests[1].reset();
  EXPECT_EQ(batch.waiting(), 2u);
  batch.run();
  EXPECT_THAT(done_, testing::ElementsAre(requests[0].get(), requests[2].get()));
}

TEST_F(RsaBatchTest, LetsACompletionEnqueueAndDestroy) {
  RsaBatch batch(engine_, clock_);
  struct Context {
    RsaBatchTest* test;
    RsaBatch* batch;
    std::unique_ptr<RsaBatchRequest> next, victim;
  } context{this, &batch, make(), make()};
  auto first = make();
  first->context = &context;
  first->completed = [](RsaBatchRequest& request) {
    auto* mine = static_cast<Context*>(request.context);
    mine->victim.reset();  // it has run too, and is not completed any more
    EXPECT_TRUE(mine->batch->enqueue(*mine->next));
  };
  ASSERT_TRUE(batch.enqueue(*first));
  ASSERT_TRUE(batch.enqueue(*context.victim));
  batch.run();
  EXPECT_TRUE(done_.empty());
  EXPECT_EQ(batch.waiting(), 1u);
  batch.run();
  EXPECT_THAT(done_, testing::ElementsAre(context.next.get()));
}

TEST_F(RsaBatchTest, MeasuresHowLongRequestsWaited) {
  RsaBatch batch(engine_, clock_);
  auto requests = enqueue(batch, 1);
  engine_.now += 300us;
  auto later = make();
  ASSERT_TRUE(batch.enqueue(*later));
  batch.run();
  EXPECT_EQ(requests[0]->waited, 300us);
  EXPECT_EQ(later->waited, engine_.call_cost);  // that of the one before
}

// Of both sizes. The engine runs one size in a call, and the oldest request says which.
class RsaBatchSizesTest : public RsaBatchTest {
 protected:
  RsaBatchSizesTest() {
    auto key = RsaPrivateKey::generate(3072);
    EXPECT_TRUE(key);
    auto ciphertext = key->public_key().encrypt_oaep(as_bytes("wide"), as_bytes("label"));
    EXPECT_TRUE(ciphertext);
    wide_ciphertext_ = *std::move(ciphertext);
    wide_id_ = key->public_key().id();
    EXPECT_TRUE(cache_.insert(*std::move(key)));
  }
  std::unique_ptr<RsaBatchRequest> make_wide() {
    auto request = make();
    request->key = cache_.find(wide_id_);
    request->ciphertext = wide_ciphertext_;
    return request;
  }

  KeyId wide_id_;
  std::vector<uint8_t> wide_ciphertext_;
};

TEST_F(RsaBatchSizesTest, KeepsAQueueForEachSize) {
  engine_.batch = 8;
  RsaBatch batch(engine_, clock_);
  std::vector<std::unique_ptr<RsaBatchRequest>> requests;
  auto add = [&](std::unique_ptr<RsaBatchRequest> request) {
    EXPECT_TRUE(batch.enqueue(*request));
    requests.push_back(std::move(request));
    engine_.now += 1us;
  };
  add(make_wide());
  for (int i = 0; i < 7; ++i) add(make());
  add(make_wide());
  EXPECT_EQ(batch.waiting(), 9u);
  EXPECT_FALSE(batch.should_run(engine_.now, false));  // nine wait, but not eight of one size
  batch.run();
  EXPECT_THAT(done_, testing::ElementsAre(requests[0].get(), requests[8].get()));
  EXPECT_EQ(batch.waiting(), 7u);
  add(make());
  EXPECT_TRUE(batch.should_run(engine_.now, false));
  batch.run();
  EXPECT_THAT(engine_.calls, testing::ElementsAre(2, 8));
  EXPECT_EQ(batch.waiting(), 0u);
  for (const auto& request : requests) {
    ASSERT_TRUE(request->plaintext);
    bool wide = request == requests[0] || request == requests[8];
    EXPECT_EQ(request->plaintext->reveal_text(), wide ? "wide" : "message");
  }
}

TEST_F(RsaBatchSizesTest, GivesBothSizesTheirTurnOneByOne) {
  RsaBatch batch(engine_, clock_);
  std::vector<std::unique_ptr<RsaBatchRequest>> requests;
  for (int i = 0; i < 4; ++i) {
    requests.push_back(i % 2 == 0 ? make() : make_wide());
    ASSERT_TRUE(batch.enqueue(*requests.back()));
    engine_.now += 1us;
  }
  batch.run();
  EXPECT_THAT(done_, testing::ElementsAre(requests[0].get(), requests[1].get(), requests[2].get(), requests[3].get()));
}

}  // namespace
}  // namespace bellhop::crypto
