// SPDX-License-Identifier: Apache-2.0
#include "service/http2_open.h"

#include <algorithm>

#include "core/sleep.h"
#include "core/tls/error.h"

namespace bellhop::service {
namespace {

Task<Result<std::unique_ptr<Stream>>> open_at(SocketAddress address, std::string_view host,
                                              std::shared_ptr<TlsContext> tls, const TlsIdentity* identity) {
  BH_CO_TRY(Socket socket, co_await connect({.tcp = address, .unix_path = {}}));
  auto stream = std::make_unique<Stream>(std::move(socket), std::make_unique<TlsEngine>(std::move(tls), host, identity));
  Status shaken = co_await stream->handshake();
  // A peer that chose no protocol would take our preface for nonsense (RFC 9113 section 3.3).
  if (shaken && stream->tls()->alpn() != "h2") shaken = fail(tls_error(TlsError::alpn_not_shared));
  if (!shaken) {
    co_await stream->close();
    co_return fail(shaken.error());
  }
  co_return stream;
}

}  // namespace

Task<Result<std::unique_ptr<Stream>>> open_http2_stream(std::string host, uint16_t port,
                                                        std::shared_ptr<TlsContext> tls, Duration timeout,
                                                        const TlsIdentity* identity) {
  Instant deadline = io::now() + timeout;
  BH_CO_TRY(std::vector<IpAddress> addresses, co_await within_until(deadline, resolve(host)));
  if (addresses.empty()) co_return fail(core_error(CoreError::closed));
  std::ranges::rotate(addresses, addresses.begin() + static_cast<ptrdiff_t>(io::random_u64() % addresses.size()));
  size_t tried = std::min(addresses.size(), kHttp2AddressesTried);
  Error last = core_error(CoreError::timed_out);
  for (size_t i = 0; i < tried; ++i) {
    // An address that does not answer must leave time for those after it.
    Instant now = io::now();
    Instant until = now + (deadline - now) / static_cast<int64_t>(tried - i);
    auto stream = co_await within_until(until, open_at({.ip = addresses[i], .port = port}, host, tls, identity));
    if (stream) co_return stream;
    last = stream.error();
    if (is(last, CoreError::canceled)) break;
  }
  co_return fail(last);
}

}  // namespace bellhop::service
