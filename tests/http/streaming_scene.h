// SPDX-License-Identifier: Apache-2.0
#pragma once

// A handler that reads and answers in pieces, and who asks it.
#include "proto/http_error.h"
#include "service/http_server.h"
#include "tests/core/until.h"
#include "tests/http/http_peer.h"
#include "tests/proto/http2_pair.h"

namespace bellhop::service {

inline Task<Status> wait_set(Event& event) { co_return co_await event.wait(); }

// What the handler does is the first word of the target.
struct PiecesHandler final : HttpHandler {
  Event begun, release, ended, changed;
  std::vector<size_t> pieces;  // that were read
  std::string body;
  Status read, written;
  size_t answer_bytes = 0, written_bytes = 0;
  bool stopped = false;
  uint64_t body_max = UINT64_MAX;
  Duration pause{};  // between two pieces
  bool has_body = false;
  std::optional<uint64_t> announced;
  std::string authority;

  Task<void> handle(HttpExchange& exchange) override {
    has_body = exchange.has_body();
    announced = exchange.content_length();
    authority = exchange.authority();
    std::string target(exchange.target());
    exchange.set_body_max(body_max);
    if (target == "/echo") {
      co_await echo(exchange);
    } else if (target == "/count") {
      co_await count(exchange);
    } else if (target == "/park" || target == "/patient") {
      co_await park(exchange, target == "/patient");
    } else {
      co_await give(exchange, target);
    }
    Context& own = co_await current_context();
    stopped = own.stop_requested();
    ended.set();
  }

  Task<Result<Bytes>> next(HttpExchange& exchange) {
    Result<Bytes> piece = co_await exchange.read_some();
    read = piece ? Status() : fail(piece.error());
    if (piece && !piece->empty()) {
      pieces.push_back(piece->size());
      body += as_text(*piece);
      changed.set();
    }
    co_return piece;
  }

  // Each piece goes back before the next is read.
  Task<void> echo(HttpExchange& exchange) {
    written = co_await exchange.begin_response({.status = 200, .headers = {}, .content_length = exchange.content_length()});
    while (written) {
      Result<Bytes> piece = co_await next(exchange);
      if (!piece) co_return;
      if (piece->empty()) break;
      written = co_await exchange.write_some(*piece);
    }
    if (written) written = co_await exchange.end_response();
  }

  Task<void> count(HttpExchange& exchange) {
    for (;;) {
      Result<Bytes> piece = co_await next(exchange);
      if (!piece) {
        uint16_t status = read.error().domain == Domain::http ? proto::http_error_status(read.error()) : uint16_t{408};
        (void)co_await exchange.respond({.status = status, .close = true});
        co_return;
      }
      if (piece->empty()) break;
      if (pause > Duration::zero()) (void)co_await sleep_for(pause);
    }
    std::string text = std::to_string(body.size());
    written = co_await exchange.respond({.content_type = "text/plain", .body = text});
  }

  Task<void> park(HttpExchange& exchange, bool patient) {
    exchange.be_patient(patient);
    while (true) {
      Result<Bytes> piece = co_await next(exchange);
      if (!piece || piece->empty()) break;
    }
    begun.set();
    if (!co_await wait_set(release)) co_return;
    exchange.be_patient(false);
    written = co_await exchange.respond({.body = "at last"});
  }

  // /sized, /unsized, /short, /long, /abort, /trickle, /leave, /gathered, /none, /bad
  Task<void> give(HttpExchange& exchange, std::string_view what) {
    const proto::HeaderField fields[] = {{"x-kind", what}}, bad[] = {{"Content-Length", "3"}};
    HttpResponseHead head{.status = 200, .headers = fields};
    if (what == "/sized" || what == "/short" || what == "/long") head.content_length = answer_bytes;
    if (what == "/none") head.status = 204;
    if (what == "/bad") head.headers = bad;
    written = co_await exchange.begin_response(head, what == "/gathered");
    if (what == "/bad") {
      EXPECT_FALSE(exchange.responded());
      (void)co_await exchange.respond({.status = 500});
      co_return;
    }
    EXPECT_TRUE(exchange.responded());
    begun.set();
    if (what == "/trickle") (void)co_await wait_set(release);
    std::string piece(5000, 'p');
    size_t all = what == "/short" ? answer_bytes - 1 : what == "/long" ? answer_bytes + 1 : answer_bytes;
    for (size_t left = all; written && left > 0;) {
      size_t size = std::min(left, piece.size());
      left -= size;
      written = co_await exchange.write_some(as_bytes(piece).first(size), what == "/gathered");
      if (written) written_bytes += size;
      changed.set();
      if (what == "/abort" && left == 0) exchange.abort();
    }
    if (what == "/abort" || what == "/leave") co_return;
    if (written) written = co_await exchange.end_response();
  }
};

class PiecesOver : public testing::TestWithParam<Wire> {
 protected:
  PiecesOver() { fixture.other = &handler; }
  void run(const std::function<Task<void>(Fixture&, PiecesHandler&, HttpServer&, io::Endpoint)>& scenario) {
    run_scenario(fixture, [&](Fixture& f, HttpServer& server, io::Endpoint endpoint) {
      return scenario(f, handler, server, endpoint);
    });
  }
  Fixture fixture{GetParam()};
  PiecesHandler handler;
};

inline bool over_http2(const Fixture& fixture) { return fixture.http2(); }
inline bool has_reset(const Peer& peer) {
  return std::ranges::any_of(peer.frames, [](const auto& frame) { return frame.first == proto::kRstStream; });
}

// The head of a request with a body, and a piece of that body as its wire has it.
inline std::string head_of(Fixture& fixture, Peer& peer, std::string_view target, std::optional<size_t> length) {
  std::string digits = std::to_string(length.value_or(0));
  Ask ask{.method = "POST", .target = target};
  if (length) ask.fields.emplace_back("Content-Length", digits);
  if (!length && !fixture.http2()) ask.fields.emplace_back("Transfer-Encoding", "chunked");
  std::string bytes = peer.bytes_of(ask);
  if (fixture.http2()) bytes[4] = static_cast<char>(bytes[4] & ~proto::kEndStream);
  return bytes;
}
inline std::string piece_of(Fixture& fixture, std::string_view bytes, bool chunked, bool last) {
  if (fixture.http2()) return proto::frame(proto::kData, last ? proto::kEndStream : 0, 1, bytes);
  if (!chunked) return std::string(bytes);
  std::string out;
  proto::append_chunk(out, as_bytes(bytes));
  if (last) proto::append_last_chunk(out);
  return out;
}

}  // namespace bellhop::service
