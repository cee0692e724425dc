// SPDX-License-Identifier: Apache-2.0
#include "service/http2_open.h"

#include <algorithm>

#include "core/sleep.h"
#include "core/tls/error.h"

namespace bellhop::service {
namespace {

Task<Result<std::unique_ptr<Stream>>> shake_hands(const OutboundOrigin& origin, std::unique_ptr<Stream> carrier,
                                                  const TlsIdentity* identity) {
  std::unique_ptr<Stream> stream = encrypt(std::move(carrier), origin, identity);
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

Task<Result<std::unique_ptr<Stream>>> open_http2_stream(OutboundOrigin origin, Duration timeout,
                                                         const TlsIdentity* identity) {
  Instant deadline = io::now() + timeout;
  BH_CO_TRY(std::vector<OutboundTarget> targets, co_await within_until(deadline, find_targets(origin)));
  std::ranges::rotate(targets, targets.begin() + static_cast<ptrdiff_t>(io::random_u64() % targets.size()));
  size_t tried = std::min(targets.size(), kHttp2AddressesTried);
  Error last = core_error(CoreError::timed_out);
  for (size_t i = 0; i < tried; ++i) {
    // An address that does not answer must leave time for those after it.
    Instant now = io::now();
    Instant until = now + (deadline - now) / static_cast<int64_t>(tried - i);
    auto carrier = co_await within_until(until, open_carrier(origin, targets[i]));
    if (!carrier) {
      last = blame(origin, carrier.error());
      if (!may_try_next_target(last)) break;
      continue;
    }
    auto stream = co_await within_until(until, shake_hands(origin, *std::move(carrier), identity));
    if (stream) co_return stream;
    last = stream.error();
    if (is(last, CoreError::canceled)) break;
  }
  co_return fail(last);
}

}  // namespace bellhop::service
