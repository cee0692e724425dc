// SPDX-License-Identifier: Apache-2.0
#include "tools/standin/http_origin.h"

#include <algorithm>
#include <optional>

#include "service/http2_open.h"

namespace bellhop::standin {

using service::Http2Answer;
using service::Http2Connection;

uint16_t HttpReply::status() const {
  if (auto* lease = std::get_if<service::Http1Lease>(&held_)) return lease->response().status;
  return std::get<proto::Http2Response>(held_).status;
}
const proto::HeaderBlock& HttpReply::headers() const {
  if (auto* lease = std::get_if<service::Http1Lease>(&held_)) return *lease->response().headers;
  return std::get<proto::Http2Response>(held_).headers;
}
std::string_view HttpReply::text() const {
  if (auto* lease = std::get_if<service::Http1Lease>(&held_)) return lease->response().text();
  return std::get<proto::Http2Response>(held_).body;
}

// Kept by its flow and by all that send over it.
struct HttpOrigin::Connection final : Http2Connection::Observer {
  Connection(std::unique_ptr<Stream> opened, const service::Http2ConnectionLimits& limits, Event& lane_changed)
      : stream(std::move(opened)), http2(*stream, *this, limits), changed(lane_changed) {}
  void on_streams_changed() override { changed.set(); }
  void on_goaway(const proto::Http2GoAway&) override { changed.set(); }
  bool usable() const { return !ended && !http2.draining(); }

  std::unique_ptr<Stream> stream;
  Http2Connection http2;
  Event& changed;
  bool ended = false;
};

// The place of one connection, and who waits for it.
struct HttpOrigin::Lane {
  std::shared_ptr<Connection> connection;
  bool connecting = false;
  Event changed;
};

HttpOrigin::HttpOrigin(service::Http1Origin origin, const service::Http1ClientOptions& options, bool http2)
    : origin_(std::move(origin)), options_(options) {
  if (!http2 || !origin_.tls) {
    http1_ = std::make_unique<service::Http1Pool>(origin_, options_);
    return;
  }
  size_t lanes = std::clamp<size_t>(options_.connections_max, 1, kHttp2ConnectionsMax);
  for (size_t i = 0; i < lanes; ++i) lanes_.push_back(std::make_unique<Lane>());
}
HttpOrigin::~HttpOrigin() = default;

Task<void> HttpOrigin::run(std::shared_ptr<Connection> connection) {
  (void)co_await connection->http2.run();  // what was open then fails, and says so to its sender
  connection->ended = true;
  connection->changed.set();
  co_await connection->stream->close();
}

// A connection that may take a stream now.
Task<Result<std::shared_ptr<HttpOrigin::Connection>>> HttpOrigin::connection_of(Lane& lane) {
  for (;;) {
    if (lane.connection && !lane.connection->usable()) lane.connection.reset();
    if (lane.connection && lane.connection->http2.streams_available() > 0) co_return lane.connection;
    if (!lane.connection && !lane.connecting) {
      lane.connecting = true;
      auto stream = co_await service::open_http2_stream(origin_, options_.connect_timeout);
      lane.connecting = false;
      lane.changed.set();
      if (!stream) co_return fail(stream.error());
      service::Http2ConnectionLimits limits;
      limits.http2.body_bytes_max = static_cast<uint32_t>(options_.body_bytes_max);
      lane.connection = std::make_shared<Connection>(*std::move(stream), limits, lane.changed);
      running_.spawn(run(lane.connection));
      continue;
    }
    lane.changed.reset();
    BH_CO_CHECKED(co_await lane.changed.wait());
  }
}

Task<Result<HttpReply>> HttpOrigin::send_http2(const service::Http1Request& request) {
  std::vector<proto::Http2Header> fields;
  for (const proto::HeaderField& field : request.headers) fields.push_back({.name = field.name, .value = field.value});
  proto::Http2Request wanted{.method = request.method, .authority = request.host, .path = request.target,
                             .headers = fields, .body = as_bytes(request.body)};
  Lane& lane = *lanes_[next_lane_++ % lanes_.size()];
  for (bool repeated = false;;) {
    BH_CO_TRY(std::shared_ptr<Connection> connection, co_await connection_of(lane));
    auto answer = co_await connection->http2.send(wanted);
    if (!answer && answer.error() == proto::http2_error(proto::Http2Error::no_stream)) continue;  // another was quicker
    if (!answer) co_return fail(answer.error());
    if (auto* response = std::get_if<proto::Http2Response>(&*answer)) co_return HttpReply(std::move(*response));
    const auto& failed = std::get<proto::Http2StreamFailed>(*answer);
    bool again = failed.fate == proto::Http2Fate::not_processed && !std::exchange(repeated, true);
    if (!again) co_return fail(proto::http2_error(proto::Http2Error::closed, static_cast<uint32_t>(failed.code)));
  }
}

Task<Result<HttpReply>> HttpOrigin::send(const service::Http1Request& request) {
  if (!http1_) co_return co_await send_http2(request);
  auto lease = co_await http1_->send(request);
  if (!lease) co_return fail(lease.error().error);
  co_return HttpReply(*std::move(lease));
}

Task<void> HttpOrigin::close() {
  if (http1_) co_await http1_->close();
  for (auto& lane : lanes_) {
    if (lane->connection) lane->connection->http2.drain();
  }
  co_await running_.join();
}

}  // namespace bellhop::standin
