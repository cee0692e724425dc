// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "core/sync.h"
#include "core/task.h"
#include "service/http1_client.h"
#include "service/http2_connection.h"

namespace bellhop::standin {

// A whole answer, in either version of HTTP. Holds the connection's lease over HTTP/1.1: let it go soon.
class HttpReply {
 public:
  explicit HttpReply(service::Http1Lease lease) : held_(std::move(lease)) {}
  explicit HttpReply(proto::Http2Response response) : held_(std::move(response)) {}

  uint16_t status() const;
  const proto::HeaderBlock& headers() const;
  std::string_view text() const;  // the body

 private:
  std::variant<service::Http1Lease, proto::Http2Response> held_;
};

// Sends requests to one server, over a pool of HTTP/1.1 connections or over a few of HTTP/2, on one core. Not for
// hostile servers: what a request may cost is bounded by the options, how many wait is the caller's to bound.
class HttpOrigin {
 public:
  // Few, so that streams share them, and more than one, so that they spread over the server's cores.
  static constexpr size_t kHttp2ConnectionsMax = 4;

  // `http2`: only over TLS, whose context then offers h2 alone; a plain origin speaks HTTP/1.1.
  HttpOrigin(service::Http1Origin origin, const service::Http1ClientOptions& options, bool http2);
  HttpOrigin(const HttpOrigin&) = delete;
  HttpOrigin& operator=(const HttpOrigin&) = delete;
  ~HttpOrigin();  // after close()

  // The deadline is the caller's. What the server surely did not process is sent again, once. Over HTTP/2 `expect_continue`
  // and `close` are left out. Errors: those of Http1Pool::send, http2, canceled.
  Task<Result<HttpReply>> send(const service::Http1Request& request);
  // Ends the connections in order and awaits their end; no request may be under way.
  Task<void> close();

 private:
  struct Connection;
  struct Lane;

  Task<Result<HttpReply>> send_http2(const service::Http1Request& request);
  Task<Result<std::shared_ptr<Connection>>> connection_of(Lane& lane);
  Task<void> run(std::shared_ptr<Connection> connection);

  service::Http1Origin origin_;
  service::Http1ClientOptions options_;
  std::unique_ptr<service::Http1Pool> http1_;  // null: HTTP/2
  std::vector<std::unique_ptr<Lane>> lanes_;
  size_t next_lane_ = 0;
  TaskScope running_{nullptr};
};

}  // namespace bellhop::standin
