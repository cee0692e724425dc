// SPDX-License-Identifier: Apache-2.0
#pragma once

// An upstream whose every byte the test says: connections of a listener, in the order in which they come.

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/sleep.h"
#include "core/socket.h"
#include "core/stream/block_pool.h"
#include "core/stream/stream.h"
#include "service/upstream_client.h"
#include "tests/core/run.h"

namespace bellhop::service {

// One connection of it.
class RawConnection {
 public:
  explicit RawConnection(Socket socket) : stream(std::move(socket)) {}

  // Until what came contains `text`; what came up to its end is dropped and returned.
  Task<std::string> read_to(std::string text) {
    for (;;) {
      size_t at = received.find(text);
      if (at != std::string::npos) {
        std::string taken = received.substr(0, at + text.size());
        received.erase(0, at + text.size());
        co_return taken;
      }
      if (!co_await read_more()) {
        ADD_FAILURE() << "no \"" << text << "\" in: " << received;
        co_return std::string();
      }
    }
  }
  // One request's head.
  Task<std::string> read_head() { co_return co_await read_to("\r\n\r\n"); }
  // False at the end, of whatever kind.
  Task<bool> read_more() {
    {
      Block block;
      size_t size = stream.read(block.all());
      block.used(size);
      received += as_text(block.all().first(size));
      if (size > 0) co_return true;
    }
    auto more = co_await within(20s, stream.wait_input());
    if (!more && is(more.error(), CoreError::timed_out)) ADD_FAILURE() << "nothing more came";
    co_return more && *more;
  }
  Task<void> read_to_end() {
    while (co_await read_more()) {
    }
  }
  Task<Status> write(std::string bytes) { co_return co_await within(20s, stream.write(as_bytes(bytes))); }
  Task<void> answer(std::string body, std::string more_fields = {}) {
    EXPECT_TRUE(co_await write("HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" + more_fields +
                               "\r\n" + body));
  }
  Task<void> close() { co_await stream.close(Duration::zero()); }

  Stream stream;
  std::string received;
};

class RawUpstream {
 public:
  RawUpstream() {
    auto handle = io::open_listener(test::loopback());
    BH_CHECK(handle);
    origin = {.host = "127.0.0.1", .port = test::endpoint_of(*handle, test::loopback()).tcp.port, .tls = nullptr};
    listener_ = std::make_unique<Listener>(*handle);
  }
  Task<std::unique_ptr<RawConnection>> accept() {
    Result<Socket> socket = co_await within(20s, listener_->accept());
    if (!socket) {
      ADD_FAILURE() << "no connection came";
      co_return nullptr;
    }
    ++accepted;
    co_return std::make_unique<RawConnection>(*std::move(socket));
  }
  Task<void> close() { co_await listener_->close(); }

  OutboundOrigin origin;
  int accepted = 0;

 private:
  std::unique_ptr<Listener> listener_;
};

// A pool and what the other ends of its connections do.
struct UpstreamScene {
  explicit UpstreamScene(Context* parent, const UpstreamOptions& options = {}) : pool(raw.origin, options), scripts(parent) {}
  void start(Task<void> script) { scripts.spawn(std::move(script)); }
  Task<void> end() {
    co_await pool.close();
    co_await scripts.join();
    co_await raw.close();
    EXPECT_EQ(pool.idle(), 0u);
    EXPECT_EQ(pool.in_use(), 0u);
  }
  RawUpstream raw;
  UpstreamPool pool;
  TaskScope scripts;
};

inline const UpstreamRequestHead kGet{.method = "OPTIONS", .target = "/", .host = "mail.example.com"};

// The whole answer's body.
inline Task<Result<std::string>> read_all(UpstreamExchange& exchange) {
  std::string body;
  for (;;) {
    BH_CO_TRY(Bytes piece, co_await within(20s, exchange.read_some()));
    if (piece.empty()) co_return body;
    body += as_text(piece);
  }
}

// One exchange without a body, to its end; the answer's.
inline Task<Result<std::string>> ask(UpstreamPool& pool, std::string owner, bool& reused) {
  UpstreamExchange exchange(pool, {.owner = owner});
  BH_CO_CHECKED(co_await exchange.connect());
  BH_CO_CHECKED(co_await exchange.send_head(kGet, true));
  BH_CO_CHECKED(co_await exchange.end_body());
  BH_CO_CHECKED(co_await within(20s, exchange.read_head()));
  reused = exchange.reused();
  co_return co_await read_all(exchange);
}

}  // namespace bellhop::service
