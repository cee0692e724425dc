// SPDX-License-Identifier: Apache-2.0
#include "service/outbound.h"

#include <algorithm>
#include <cerrno>

#include "core/sleep.h"
#include "core/tls/error.h"
#include "service/error_texts.h"
#include "service/proxy_connect.h"

namespace bellhop::service {
namespace {

// Where CONNECT shall lead.
std::string authority_of(const OutboundOrigin& origin, const OutboundTarget& target) {
  if (target) return SocketAddress{*target, origin.port}.to_string();
  if (auto literal = IpAddress::parse(origin.host)) return SocketAddress{*literal, origin.port}.to_string();
  return origin.host + ":" + std::to_string(origin.port);
}

// What went wrong before the proxy said anything.
Error unreachable(const Error& error) {
  if (is(error, CoreError::canceled) || error.domain == Domain::service) return error;
  if (error.domain == Domain::tls) return service_error(ServiceError::proxy_tls, error.code);
  return service_error(ServiceError::proxy_unreachable, error.domain == Domain::os ? error.code : 0);
}

Task<Result<Socket>> connect_to_proxy(const OutboundProxy& proxy) {
  BH_CO_TRY(std::vector<IpAddress> addresses, co_await resolve(proxy.host));
  Error last = os_error(EHOSTUNREACH);
  for (size_t i = 0; i < std::min(addresses.size(), kOutboundTargetsMax); ++i) {
    Result<Socket> socket = co_await connect({.tcp = {addresses[i], proxy.port}, .unix_path = {}});
    if (socket) co_return std::move(socket);
    last = socket.error();
    if (is(last, CoreError::canceled)) break;
  }
  co_return fail(last);
}

Task<Result<std::unique_ptr<Stream>>> reach_proxy(const OutboundProxy& proxy) {
  BH_CO_TRY(Socket socket, co_await connect_to_proxy(proxy));
  auto stream = std::make_unique<Stream>(std::move(socket));
  if (proxy.tls) {
    stream->start_tls(std::make_unique<TlsEngine>(proxy.tls, proxy.host));
    BH_CO_CHECKED(co_await stream->handshake());
  }
  co_return std::move(stream);
}

Task<Result<std::unique_ptr<Stream>>> open_tunnel(const OutboundOrigin& origin, const OutboundTarget& target) {
  const OutboundProxy& proxy = *origin.proxy;
  Result<std::unique_ptr<Stream>> stream = co_await reach_proxy(proxy);
  if (!stream) co_return fail(unreachable(stream.error()));
  std::string authority = authority_of(origin, target);
  Status connected = co_await connect_through(**stream, authority, proxy.authorization.get());
  if (!connected) co_return fail(unreachable(connected.error()));
  co_return std::move(stream);
}

}  // namespace

Task<Result<std::vector<OutboundTarget>>> find_targets(const OutboundOrigin& origin) {
  bool by_proxy = origin.proxy && !origin.proxy->resolve_locally;
  auto refused = [&](const IpAddress& address) { return origin.addresses && !origin.addresses->allows(address); };
  if (!origin.unix_path.empty() || by_proxy) {
    auto literal = IpAddress::parse(origin.host);
    if (literal && refused(*literal)) co_return fail(service_error(ServiceError::address_not_allowed));
    co_return std::vector<OutboundTarget>(1);
  }
  BH_CO_TRY(std::vector<IpAddress> addresses, co_await resolve(origin.host));
  if (std::ranges::any_of(addresses, refused)) co_return fail(service_error(ServiceError::address_not_allowed));
  if (addresses.empty()) co_return fail(os_error(EHOSTUNREACH));
  co_return std::vector<OutboundTarget>(addresses.begin(),
                                        addresses.begin() + std::min(addresses.size(), kOutboundTargetsMax));
}

Task<Result<std::unique_ptr<Stream>>> open_carrier(const OutboundOrigin& origin, OutboundTarget target) {
  if (origin.proxy && origin.unix_path.empty()) co_return co_await open_tunnel(origin, target);
  io::Endpoint endpoint{.tcp = {target.value_or(IpAddress()), origin.port}, .unix_path = origin.unix_path};
  BH_CO_TRY(Socket socket, co_await connect(endpoint));
  co_return std::make_unique<Stream>(std::move(socket));
}

std::unique_ptr<Stream> encrypt(std::unique_ptr<Stream> carrier, const OutboundOrigin& origin,
                                const TlsIdentity* identity) {
  if (!origin.tls) return carrier;
  auto engine = std::make_unique<TlsEngine>(origin.tls, origin.host, identity);
  if (carrier->tls()) return std::make_unique<Stream>(std::move(carrier), std::move(engine));
  carrier->start_tls(std::move(engine));
  return carrier;
}

Task<Result<std::unique_ptr<Stream>>> open_outbound(const OutboundOrigin& origin, OutboundTimes times,
                                                    const TlsIdentity* identity) {
  BH_CO_TRY(std::vector<OutboundTarget> targets, co_await within(times.connect, find_targets(origin)));
  Error last = os_error(EHOSTUNREACH);
  std::unique_ptr<Stream> carrier;
  for (const OutboundTarget& target : targets) {
    auto opened = co_await within(times.connect, open_carrier(origin, target));
    if (opened) {
      carrier = *std::move(opened);
      break;
    }
    last = blame(origin, opened.error());
    if (!may_try_next_target(last)) break;
  }
  if (!carrier) co_return fail(last);
  std::unique_ptr<Stream> stream = encrypt(std::move(carrier), origin, identity);
  BH_CO_CHECKED(co_await within(times.handshake, stream->handshake()));
  co_return std::move(stream);
}

Error blame(const OutboundOrigin& origin, const Error& error) {
  bool late = is(error, CoreError::timed_out) && origin.proxy;
  return late ? service_error(ServiceError::proxy_timed_out) : error;
}

// A proxy that cannot be used is the same for all; one that cannot reach an address may reach the next.
bool may_try_next_target(const Error& error) {
  return !is(error, CoreError::canceled) && (!is_proxy_fault(error) || is(error, ServiceError::proxy_refused));
}

bool is_proxy_fault(const Error& error) {
  return error.domain == Domain::service && error.code >= static_cast<uint16_t>(ServiceError::proxy_unreachable) &&
         error.code <= static_cast<uint16_t>(ServiceError::proxy_closed);
}

namespace {

ConnectFailure tls_failure_of(const Error& error) {
  switch (static_cast<TlsError>(error.code)) {
    case TlsError::certificate_expired:
      return ConnectFailure::certificate_expired;
    case TlsError::certificate_not_yet_valid:
      return ConnectFailure::certificate_not_yet_valid;
    case TlsError::certificate_other_name:
      return ConnectFailure::certificate_other_name;
    case TlsError::certificate_unknown_authority:
      return ConnectFailure::certificate_unknown_authority;
    case TlsError::certificate_self_signed:
      return ConnectFailure::certificate_self_signed;
    case TlsError::certificate_pin_mismatch:
      return ConnectFailure::certificate_pin_mismatch;
    case TlsError::certificate_missing:
    case TlsError::certificate_chain_too_long:
    case TlsError::certificate_key_size:
    case TlsError::certificate_invalid:
      return ConnectFailure::certificate_invalid;
    default:
      return ConnectFailure::tls;
  }
}

ConnectFailure proxy_failure_of(const Error& error) {
  switch (static_cast<ServiceError>(error.code)) {
    case ServiceError::proxy_timed_out:
      return ConnectFailure::proxy_timed_out;
    case ServiceError::proxy_tls:
      return ConnectFailure::proxy_tls;
    case ServiceError::proxy_authentication:
      return ConnectFailure::proxy_authentication;
    case ServiceError::proxy_refused:
      return ConnectFailure::proxy_refused;
    case ServiceError::proxy_malformed:
    case ServiceError::proxy_closed:
      return ConnectFailure::proxy_malformed;
    default:
      return ConnectFailure::proxy_unreachable;
  }
}

}  // namespace

std::optional<ConnectFailure> connect_failure_of(const Error& error) {
  if (is(error, CoreError::canceled)) return std::nullopt;
  if (is(error, CoreError::timed_out)) return ConnectFailure::timed_out;
  if (is(error, ServiceError::address_not_allowed)) return ConnectFailure::address_not_allowed;
  if (is_proxy_fault(error)) return proxy_failure_of(error);
  if (error.domain == Domain::dns) return ConnectFailure::dns;
  return error.domain == Domain::tls ? tls_failure_of(error) : ConnectFailure::unreachable;
}

void count_connect_failure(MetricsShard* metrics, const Error& error) {
  auto reason = connect_failure_of(error);
  if (metrics && reason) metrics->add(metric::connect_failures, *reason);
}

}  // namespace bellhop::service
