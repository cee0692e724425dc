// SPDX-License-Identifier: Apache-2.0
#include "service/apns_connection.h"

#include <algorithm>
#include <utility>

#include "core/sleep.h"
#include "core/tls/error.h"

namespace bellhop::service {
namespace {

Task<Result<std::unique_ptr<Stream>>> open_at(SocketAddress address, std::string_view host,
                                              std::shared_ptr<TlsContext> tls) {
  BH_CO_TRY(Socket socket, co_await connect({.tcp = address, .unix_path = {}}));
  auto stream = std::make_unique<Stream>(std::move(socket), std::make_unique<TlsEngine>(std::move(tls), host));
  Status shaken = co_await stream->handshake();
  // A peer that chose no protocol would take our preface for nonsense (RFC 9113 section 3.3).
  if (shaken && stream->tls()->alpn() != "h2") shaken = fail(tls_error(TlsError::alpn_not_shared));
  if (!shaken) {
    co_await stream->close();
    co_return fail(shaken.error());
  }
  co_return stream;
}

Http2ConnectionLimits limits_of(const ApnsConfig& config) {
  Http2ConnectionLimits limits;
  limits.http2.streams_max = config.streams_in_flight_max;
  limits.http2.body_bytes_max = proto::kApnsAnswerBytesMax;
  limits.ping_interval = std::chrono::milliseconds(config.ping_interval_ms);
  return limits;
}

}  // namespace

Task<Result<std::unique_ptr<Stream>>> open_apns_stream(const HostPort& host, std::shared_ptr<TlsContext> tls,
                                                       const ApnsConfig& config) {
  Instant deadline = io::now() + std::chrono::milliseconds(config.connect_timeout_ms);
  BH_CO_TRY(std::vector<IpAddress> addresses, co_await within_until(deadline, resolve(host.host)));
  if (addresses.empty()) co_return fail(core_error(CoreError::closed));
  std::ranges::rotate(addresses, addresses.begin() + static_cast<ptrdiff_t>(io::random_u64() % addresses.size()));
  size_t tried = std::min(addresses.size(), kApnsAddressesTried);
  Error last = core_error(CoreError::timed_out);
  for (size_t i = 0; i < tried; ++i) {
    // An address that does not answer must leave time for those after it.
    Instant now = io::now();
    Instant until = now + (deadline - now) / static_cast<int64_t>(tried - i);
    auto stream = co_await within_until(until, open_at({.ip = addresses[i], .port = host.port}, host.host, tls));
    if (stream) co_return stream;
    last = stream.error();
    if (is(last, CoreError::canceled)) break;
  }
  co_return fail(last);
}

ApnsConnection::ApnsConnection(std::unique_ptr<Stream> stream, Owner& owner, const ApnsConfig& config)
    : stream_(std::move(stream)), owner_(owner), http2_(*stream_, *this, limits_of(config)) {}

Task<Status> ApnsConnection::run() {
  Status ended = co_await http2_.run();
  ended_ = true;
  co_await stream_->close();
  co_return ended;
}

uint32_t ApnsConnection::free_streams() const {
  if (!usable()) return 0;
  uint32_t available = http2_.streams_available();
  if (!token_accepted_ && http2_.streams_open() > 0) return 0;
  if (!token_accepted_) available = std::min(available, 1u);
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
