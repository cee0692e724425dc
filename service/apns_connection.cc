// SPDX-License-Identifier: Apache-2.0
#include "service/apns_connection.h"

#include <algorithm>
#include <utility>

namespace bellhop::service {
namespace {

Http2ConnectionLimits limits_of(const ApnsConfig& config) {
  Http2ConnectionLimits limits;
  limits.http2.streams_max = config.streams_in_flight_max;
  limits.http2.body_bytes_max = proto::kApnsAnswerBytesMax;
  limits.ping_interval = std::chrono::milliseconds(config.ping_interval_ms);
  return limits;
}

}  // namespace

ApnsConnection::ApnsConnection(std::unique_ptr<Stream> stream, Owner& owner, const ApnsConfig& config,
                               bool by_certificate)
    : stream_(std::move(stream)),
      owner_(owner),
      http2_(*stream_, *this, limits_of(config)),
      by_certificate_(by_certificate) {}

Task<Status> ApnsConnection::run() {
  Status ended = co_await http2_.run();
  ended_ = true;
  co_await stream_->close();
  co_return ended;
}

uint32_t ApnsConnection::free_streams() const {
  if (!usable()) return 0;
  uint32_t available = http2_.streams_available();
  bool untried = !token_accepted_ && !by_certificate_;
  if (untried && http2_.streams_open() > 0) return 0;
  if (untried) available = std::min(available, 1u);
  return available > reserved_ ? available - reserved_ : 0;
}

void ApnsConnection::give_back() {
  BH_CHECK(reserved_ > 0);
  --reserved_;
}

Task<Result<Http2Answer>> ApnsConnection::send(const proto::Http2Request& request) {
  give_back();
  co_return co_await http2_.send(request);
}

void ApnsConnection::note_token_accepted() {
  if (!std::exchange(token_accepted_, true)) owner_.on_token_accepted();
}

void ApnsConnection::retire() {
  if (std::exchange(retired_, true)) return;
  http2_.drain();
  owner_.on_connection_changed();
}

void ApnsConnection::on_goaway(const proto::Http2GoAway& goaway) {
  owner_.on_goaway(goaway, proto::parse_apns_answer(0, as_bytes(goaway.debug_data)));
}

}  // namespace bellhop::service
