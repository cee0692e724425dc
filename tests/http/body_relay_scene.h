// SPDX-License-Identifier: Apache-2.0
#pragma once

// A client, the relay and an upstream whose bytes the test says.
#include "service/body_relay.h"

#include "proto/http_error.h"
#include "service/http_server.h"
#include "tests/core/until.h"
#include "tests/http/http_peer.h"
#include "tests/http/upstream_fixture.h"
#include "tests/proto/http2_pair.h"

namespace bellhop::service {

// Refuses what holds an X.
struct Inspector final : BodySink {
  Status on_body(Bytes piece) override {
    seen += piece.size();
    if (as_text(piece).find('X') != std::string_view::npos) return fail(core_error(CoreError::unsupported));
    return {};
  }
  size_t seen = 0;
};

struct RelayHandler final : HttpHandler {
  UpstreamPool* pool = nullptr;
  Duration answer_timeout = 20s, idle_timeout = 20s;
  bool patient = false, peeks = false;
  Inspector inspector;
  RelayFault fault = RelayFault::none;
  Status asked, answered;
  uint64_t bytes_up = 0, bytes_down = 0;
  Event ended, changed;
  int running = 0;

  Task<void> handle(HttpExchange& exchange) override {
    ++running;
    co_await relay(exchange);
    --running;
    changed.set();
    ended.set();
  }

  Task<void> relay(HttpExchange& exchange) {
    exchange.be_patient(patient);
    UpstreamExchange upstream(*pool, {});
    std::string first;
    if (peeks) {
      Result<Bytes> piece = co_await exchange.read_some();
      if (!piece) co_return;
      first = as_text(*piece);
    }
    asked = co_await upstream.connect();
    if (asked) {
      asked = co_await upstream.send_head({.method = proto::method_name(exchange.method()),
                                           .target = exchange.target(),
                                           .host = "mail.example.com",
                                           .has_body = exchange.has_body(),
                                           .content_length = exchange.content_length()},
                                          true);
    }
    if (asked) co_await carry(exchange, upstream, first);
  }

  Task<void> carry(HttpExchange& exchange, UpstreamExchange& upstream, std::string_view first) {
    BodyRelay relay(exchange, upstream, co_await current_context());
    Result<UpstreamAnswerHead> head = co_await relay.ask(as_bytes(first), &inspector, answer_timeout);
    asked = head ? Status() : fail(head.error());
    if (head) {
      const proto::HeaderField fields[] = {{"x-relayed", "yes"}};
      answered = co_await relay.answer({.status = head->status, .headers = fields}, idle_timeout);
    }
    fault = relay.fault();
    if (!head && !is(head.error(), CoreError::canceled)) {
      bool late = is(head.error(), CoreError::timed_out);
      uint16_t status = fault == RelayFault::inspector ? 403 : fault == RelayFault::client ? 400 : late ? 504 : 502;
      (void)co_await exchange.respond({.status = status});
    }
    co_await relay.finish();
    bytes_up += relay.bytes_up();
    bytes_down += relay.bytes_down();
  }
};

struct RelayScene {
  RelayScene(Fixture& f, HttpServer& s, io::Endpoint e, RawUpstream& r, RelayHandler& h, Context* parent)
      : fixture(f), server(s), endpoint(e), raw(r), handler(h), scripts(parent) {}
  void start(Task<void> script) { scripts.spawn(std::move(script)); }

  Fixture& fixture;
  HttpServer& server;
  io::Endpoint endpoint;
  RawUpstream& raw;
  RelayHandler& handler;
  TaskScope scripts;
};

class BodyRelayOver : public testing::TestWithParam<Wire> {
 protected:
  using Play = Task<void> (*)(RelayScene&);
  BodyRelayOver() { fixture.other = &handler; }
  void run(Play play, const UpstreamOptions& options = {}) {
    run_scenario(fixture, [&, play](Fixture& f, HttpServer& server, io::Endpoint endpoint) {
      return in_scene(f, server, endpoint, handler, options, play);
    });
  }
  static Task<void> in_scene(Fixture& fixture, HttpServer& server, io::Endpoint endpoint, RelayHandler& handler,
                             UpstreamOptions options, Play play) {
    RawUpstream raw;
    UpstreamPool pool(raw.origin, options);
    handler.pool = &pool;
    {
      RelayScene scene(fixture, server, endpoint, raw, handler, &co_await current_context());
      co_await play(scene);
      server.drain();
      CO_ASSERT(co_await test::until(handler.changed, [&] { return handler.running == 0; }));
      co_await pool.close();
      co_await scene.scripts.join();
    }
    EXPECT_EQ(pool.in_use(), 0u);
    co_await raw.close();
  }
  Fixture fixture{GetParam()};
  RelayHandler handler;
};

// A request whose length both versions tell.
inline std::string told(Peer& peer, const Fixture& fixture, std::string_view target, std::string_view body) {
  std::string length = std::to_string(body.size());
  Ask ask{.method = "POST", .target = target, .body = body};
  if (fixture.http2()) ask.fields.emplace_back("Content-Length", length);
  return peer.bytes_of(ask);
}

inline std::string chunks(std::initializer_list<std::string_view> pieces) {
  std::string out;
  for (std::string_view piece : pieces) proto::append_chunk(out, as_bytes(piece));
  return out;
}

}  // namespace bellhop::service
