// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/base/error.h"

namespace bellhop::service {

// Why a configuration is not used. What is wrong in it stands in ConfigOutcome::problems.
enum class ConfigError : uint16_t {
  unreadable = 1,  // detail = errno
  too_large = 2,   // detail = bytes allowed
  invalid = 3,     // detail = number of problems
};

// Failures inside the service. Each leads to one outcome; the public text is one constant per status, never this one.
enum class ServiceError : uint16_t {
  draining = 1,             // the process is about to stop
  not_ready = 2,            // the store has not answered yet
  overload = 3,             // a queue of this core is full
  rate_limit = 4,           // one address, tenant or mailbox asks too often
  unknown_capability = 5,   // no subscription has this id
  wrong_digest = 6,         // creds is not what was registered
  wrong_subscription = 7,   // the body names a foreign SubscriptionId
  malformed_request = 8,    // the HTTP request or its document; detail = byte offset where known
  unauthorized = 9,         // no valid API token
  wrong_device_secret = 10,
  wrong_user = 11,          // the record's address does not hash to userId
  wrong_device = 12,        // the record names another device
  stale_credentials = 13,   // iat is too old or in the future; detail = seconds
  credentials_unreadable = 14,  // the JWE does not open
  credentials_refused = 15,     // Exchange answered 401
  logon_not_allowed = 16,       // no further logon after a 401 now
  host_not_allowed = 17,        // the EWS host is not on the tenant's list
  address_not_allowed = 18,     // the EWS host resolves to a forbidden address
  topic_not_allowed = 19,       // the tenant has no app with this topic
  platform_unavailable = 20,    // fcm, sns
  exchange_failed = 21,         // detail = HTTP status, or 0
  exchange_throttled = 22,      // detail = seconds to wait
  breaker_open = 23,            // the host failed too often just now
  too_many_handovers = 24,
  too_many_devices = 25,
  key_pool_empty = 26,
  blocked = 27,                 // the device or user is blocked
  store_failed = 28,
  token_host_not_allowed = 29,  // the token endpoint's host is not on the tenant's list
  token_endpoint_failed = 30,   // detail = HTTP status, or 0
  grant_refused = 31,           // the token endpoint takes the refresh token no more, or never did; detail = status
  refresh_token_spent = 32,     // its grant's answer was lost, and the issuer's grace is over
  certificate_not_asked = 33,   // Exchange refused a client whose certificate it had not asked for; detail = status
  compliance_data = 34,         // a line of compliance data cannot be used; who read it says why
  compliance_limit = 35,        // more devices than a tenant may have; detail = how many it may
  compliance_repeated = 36,     // a line names a device that an earlier one of the same data has named
  compliance_delta_limit = 37,  // more lines than one PATCH may have; detail = how many it may

  gateway_denied = 50,          // a gateway on the way to Exchange lets the mailbox's devices not in
  // The proxy between us and a server; is_proxy_fault() knows them by their order.
  proxy_unreachable = 60,     // detail = errno, or 0 where its name has no address
  proxy_timed_out = 61,
  proxy_tls = 62,             // TLS with the proxy itself; detail = TlsError
  proxy_authentication = 63,  // 407
  proxy_refused = 64,         // detail = its HTTP status
  proxy_malformed = 65,       // no answer to CONNECT, or more than one; detail = proto::HttpError
  proxy_closed = 66,          // it left before it had answered
};

inline Error config_error(ConfigError code, uint32_t detail = 0) {
  return {Domain::config, 0, static_cast<uint16_t>(code), detail};
}
inline Error service_error(ServiceError code, uint32_t detail = 0) {
  return {Domain::service, 0, static_cast<uint16_t>(code), detail};
}
inline bool is(const Error& error, ConfigError code) {
  return error.domain == Domain::config && error.code == static_cast<uint16_t>(code);
}
inline bool is(const Error& error, ServiceError code) {
  return error.domain == Domain::service && error.code == static_cast<uint16_t>(code);
}

// Registers the texts of Domain::config and Domain::service; once, at start.
void register_error_texts();

}  // namespace bellhop::service
