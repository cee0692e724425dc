// SPDX-License-Identifier: Apache-2.0
// The way of a heartbeat allocates nothing once it is warm.
#include "tests/notification/scene.h"
#include "tests/proto/heap_count_fixture.h"

namespace bellhop::service {
namespace {

// As FakeHttpExchange, without a memory of its own.
class LeanExchange final : public HttpExchange {
 public:
  LeanExchange(std::string_view target, std::string_view body) : target_(target), body_(body) {}
  uint16_t status = 0;

  proto::HttpMethod method() const override { return proto::HttpMethod::post; }
  std::string_view target() const override { return target_; }
  const proto::HeaderBlock& headers() const override { return headers_; }
  Task<Status> read_body(uint64_t, BodySink& sink) override { co_return sink.on_body(as_bytes(body_)); }
  Task<Status> respond(const HttpResponse& response) override {
    status = response.status;
    co_return Status();
  }
  bool responded() const override { return status != 0; }
  Task<Result<SocketAddress>> peer_address() override { co_return SocketAddress(); }

 private:
  std::string_view target_, body_;
  proto::HeaderBlock headers_;
};

SCENE_TEST_WITH(Heap, IsNotTouchedByAHeartbeatAfterWarmUp, SceneOptions{.renewal = true}) {
  Subscriber subscriber = co_await scene.subscribe("anna");
  std::string target = subscriber.target();
  std::vector<std::string> bodies;
  for (int i = 0; i < 60; ++i) bodies.push_back(scene.heartbeat_body(subscriber));
  uint64_t before = 0, frames_before = 0;
  for (size_t i = 0; i < bodies.size(); ++i) {
    if (i == 10) {
      before = test::heap_allocations();
      frames_before = FramePool::stats().heap_calls;
    }
    LeanExchange exchange(target, bodies[i]);
    co_await scene.parts[0]->handler.handle(exchange);
    EXPECT_EQ(exchange.status, 200);
  }
  uint64_t allocations = test::heap_allocations() - before;
  EXPECT_EQ(FramePool::stats().heap_calls, frames_before) << "frames come from the pool";
  if (test::heap_is_counted()) EXPECT_EQ(allocations, 0u);
}

}  // namespace
}  // namespace bellhop::service
