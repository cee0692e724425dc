// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/stream/stream.h"
#include "core/task.h"
#include "core/tls/context.h"
#include "crypto/secret.h"
#include "proto/address_policy.h"
#include "service/metrics.h"

namespace bellhop::service {

// A proxy on the way, as one core uses it.
struct OutboundProxy {
  std::string host;  // name or address literal; its address is the operator's choice, no policy is asked
  uint16_t port = 0;
  std::shared_ptr<TlsContext> tls;                      // of the connection to the proxy itself; null: plain
  std::shared_ptr<const crypto::Secret> authorization;  // "Basic …" (RFC 7617); null: none is sent
  // We look the destination up, check its addresses and name one of them in CONNECT; else the proxy gets the name.
  bool resolve_locally = false;
};

// Where a connection goes, and how.
struct OutboundOrigin {
  std::string host;                 // name or address literal (v6 without brackets): resolved, sent as SNI and verified
  uint16_t port = 443;
  std::shared_ptr<TlsContext> tls;  // null: plain, for loopback and unix sockets
  // Every address of `host` must satisfy it, or no connection is made; null: any address. Outlives all users. What a
  // proxy makes of a name is out of its reach; an address literal is not.
  const proto::AddressPolicy* addresses = nullptr;
  std::string unix_path;            // instead of host and port
  std::shared_ptr<const OutboundProxy> proxy;  // null: directly
};

// One place to connect to: an address that was checked, or nothing: the proxy finds the host by its name.
using OutboundTarget = std::optional<IpAddress>;
inline constexpr size_t kOutboundTargetsMax = 16;  // that are tried, of one name

// The one way out of the process, in its two steps; every connection to a server is made by them, TCP and TLS after them.
//
// Looks the host up, where that is ours to do, and checks it. One refused address condemns the name: whoever can put one bad
// answer beside good ones must not choose by chance. Never empty. Errors: dns, ServiceError::address_not_allowed, canceled.
Task<Result<std::vector<OutboundTarget>>> find_targets(const OutboundOrigin& origin);
// Connects to one of these targets, to the very address that was checked; through the proxy where there is one. The
// stream is open and has said nothing to the host yet. Deadline: the caller's. `origin` outlives the task.
// Errors: os, canceled; through a proxy ServiceError::proxy_*.
Task<Result<std::unique_ptr<Stream>>> open_carrier(const OutboundOrigin& origin, OutboundTarget target);
// Gives the stream its TLS towards the host, where the origin has any; handshake() is the caller's.
// `identity`: our own certificate for a host that asks for one; used until the handshake is over, see TlsEngine.
std::unique_ptr<Stream> encrypt(std::unique_ptr<Stream> carrier, const OutboundOrigin& origin,
                                const TlsIdentity* identity = nullptr);

struct OutboundTimes {
  Duration connect;    // of the name's look-up, and of open_carrier() for each target
  Duration handshake;  // with the host
};
// All steps: find_targets, the first of them that opens, encrypt, handshake. Errors: those, tls, timed_out,
// ServiceError::proxy_timed_out. `origin` outlives the task.
Task<Result<std::unique_ptr<Stream>>> open_outbound(const OutboundOrigin& origin, OutboundTimes times,
                                                    const TlsIdentity* identity = nullptr);

// A deadline that passed while a proxy was on the way is the proxy's.
Error blame(const OutboundOrigin& origin, const Error& error);
// Another target of the same name may do better.
bool may_try_next_target(const Error& error);
// The proxy is at fault, not the host behind it.
bool is_proxy_fault(const Error& error);
// The reason in bellhop_upstream_connect_failures_total; nothing for one that was stopped by its caller.
std::optional<ConnectFailure> connect_failure_of(const Error& error);
// Counts it; `metrics` may be null.
void count_connect_failure(MetricsShard* metrics, const Error& error);

}  // namespace bellhop::service
