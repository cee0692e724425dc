// SPDX-License-Identifier: Apache-2.0
#include "service/error_texts.h"

#include <fmt/format.h>

#include <cstring>
#include <string>

#include "service/kerberos_error.h"

namespace bellhop::service {
namespace {

std::string errno_text(uint32_t number) {
  const char* text = strerrordesc_np(static_cast<int>(number));
  return text ? text : fmt::format("errno {}", number);
}

std::string config_error_text(uint16_t code, uint32_t detail) {
  switch (static_cast<ConfigError>(code)) {
    case ConfigError::unreadable:
      return fmt::format("the configuration file cannot be read: {}", errno_text(detail));
    case ConfigError::too_large: return fmt::format("the configuration file is larger than {} bytes", detail);
    case ConfigError::invalid:
      return fmt::format("the configuration has {} problem{}; `bellhop check` lists {}", detail, detail == 1 ? "" : "s",
                         detail == 1 ? "it" : "them");
  }
  return fmt::format("code {}", code);
}

std::string with_status(std::string_view text, uint32_t status) {
  return status == 0 ? std::string(text) : fmt::format("{} (HTTP status {})", text, status);
}

std::string with_seconds(std::string_view text, uint32_t seconds) {
  return seconds == 0 ? std::string(text) : fmt::format("{} ({} s)", text, seconds);
}

std::string service_error_text(uint16_t code, uint32_t detail) {
  switch (static_cast<ServiceError>(code)) {
    case ServiceError::draining: return "the server is about to stop";
    case ServiceError::not_ready: return "the store is not ready yet";
    case ServiceError::overload: return "a queue of this core is full";
    case ServiceError::rate_limit: return "a rate limit was reached";
    case ServiceError::unknown_capability: return "no subscription has this capability";
    case ServiceError::wrong_digest: return "creds is not what the subscription was made with";
    case ServiceError::wrong_subscription: return "the SubscriptionId belongs to no subscription of this capability";
    case ServiceError::malformed_request:
      return detail == 0 ? "malformed request" : fmt::format("malformed request at byte {}", detail);
    case ServiceError::unauthorized: return "no valid API token";
    case ServiceError::wrong_device_secret: return "wrong device secret";
    case ServiceError::wrong_user: return "the address in the credentials does not belong to this userId";
    case ServiceError::wrong_device: return "the credentials were made for another deviceId";
    case ServiceError::stale_credentials: return with_seconds("the credentials' iat is too far from now", detail);
    case ServiceError::credentials_unreadable: return "the credentials cannot be opened with this user's key";
    case ServiceError::credentials_refused: return "Exchange refuses the credentials";
    case ServiceError::logon_not_allowed: return "no further logon is allowed after a refusal, to spare the account";
    case ServiceError::host_not_allowed: return "the EWS host is not on the tenant's list (tenant.ews_hosts)";
    case ServiceError::address_not_allowed:
      return "the EWS host resolves to an address that is not allowed (tenant.ews_private_cidrs)";
    case ServiceError::topic_not_allowed: return "the tenant has no app with this topic and environment";
    case ServiceError::platform_unavailable: return "this platform is not available on this server";
    case ServiceError::exchange_failed: return with_status("Exchange did not give a usable answer", detail);
    case ServiceError::exchange_throttled: return with_seconds("Exchange asks to wait", detail);
    case ServiceError::gateway_denied:
      return "the gateway on the way lets none of the mailbox's devices in, or not the one whose credentials were used";
    case ServiceError::breaker_open: return "the EWS host failed too often just now; not asked again yet";
    case ServiceError::too_many_handovers:
      return "too many hand-overs of this mailbox's subscription within an hour (limits.subscribe_handovers_per_hour)";
    case ServiceError::too_many_devices: return "the user has too many devices (limits.devices_per_user_max)";
    case ServiceError::key_pool_empty: return "no key pair is ready yet (keys.pool_target)";
    case ServiceError::blocked: return "the device or its user is blocked";
    case ServiceError::store_failed: return "the store did not take the write";
    case ServiceError::token_host_not_allowed:
      return "the token endpoint's host is not on the tenant's list (tenant.oauth_token_hosts)";
    case ServiceError::token_endpoint_failed:
      return with_status("the token endpoint did not give a usable answer", detail);
    case ServiceError::grant_refused: return with_status("the token endpoint refuses the refresh token", detail);
    case ServiceError::refresh_token_spent:
      return "the answer to a grant was lost, and the refresh token may not be used again "
             "(tenant.oauth_reuse_grace_seconds)";
    case ServiceError::certificate_not_asked:
      return with_status("Exchange did not ask for a certificate in the TLS handshake, and refuses the client; it must "
                         "negotiate client certificates at once", detail);
    case ServiceError::compliance_data: return "the compliance data cannot be used";
    case ServiceError::compliance_limit:
      return fmt::format("more devices than are taken at once ({}); policy.devices_max says how many there may be", detail);
    case ServiceError::compliance_repeated: return "two lines of the compliance data name one device";
    case ServiceError::compliance_delta_limit:
      return fmt::format("more lines than one PATCH may have ({}); policy.delta_devices_max says how many; send several", detail);
    case ServiceError::proxy_unreachable:
      return detail == 0 ? "the proxy cannot be reached: its name has no address"
                         : fmt::format("the proxy cannot be reached: {}", errno_text(detail));
    case ServiceError::proxy_timed_out: return "the proxy made no connection in time";
    case ServiceError::proxy_tls:
      return "TLS with the proxy failed: " + error_text(Error{Domain::tls, 0, static_cast<uint16_t>(detail), 0});
    case ServiceError::proxy_authentication:
      return "the proxy wants another user name or password (proxy.username, proxy.password_file)";
    case ServiceError::proxy_refused: return with_status("the proxy refuses the connection", detail);
    case ServiceError::proxy_malformed:
      return "the proxy's answer is none: " + error_text(Error{Domain::http, 0, static_cast<uint16_t>(detail), 0});
    case ServiceError::proxy_closed: return "the proxy closed the connection without an answer";
  }
  return fmt::format("code {}", code);
}

}  // namespace

void register_error_texts() {
  register_kerberos_error_texts();
  register_error_text(Domain::config, "config", config_error_text);
  register_error_text(Domain::service, "service", service_error_text);
}

}  // namespace bellhop::service
