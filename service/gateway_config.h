// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "service/logon_config.h"

// The gateway's part of the configuration: plain values, as in config.h, which includes this file.
namespace bellhop::service {

// Who logs on at Exchange: the client, whose Authorization is passed through, or the gateway for it, by Kerberos.
enum class GatewayLogon : uint8_t { client, kerberos };
// What the gateway does where Exchange sends an ActiveSync client to another server (451, 302).
enum class GatewayRedirects : uint8_t { follow, rewrite, refuse };
// Who belongs to a [[gateway.client]] class: anybody, or bellhop itself, known by its signed context header.
enum class GatewayClientKind : uint8_t { any, bellhop };

// [gateway.route.ews], [gateway.route.activesync]: where the requests of one endpoint go.
struct GatewayEndpointConfig {
  std::string upstream;                  // "https://host:port"; empty: the endpoint does not exist at these hosts
  std::vector<std::string> redirect_to;  // further "https://host:port" that redirects may lead to
  std::string ca_file;                   // PEM, instead of the system's roots
  std::vector<std::string> spki_pins;    // "sha256/BASE64"
  std::string client_certificate_file;   // PEM; the gateway's own, for the upstream that asks for one
  std::string client_private_key_file;   // PEM
  GatewayLogon logon = GatewayLogon::client;
  std::string service_principal;  // "HTTP/mail.example.com"; empty: "HTTP/" and the upstream's host
  bool share_connections = false;
  uint32_t connections_max = 65'536;  // per core: as many as requests_in_work_max
  uint32_t connect_timeout_ms = 5'000;
  uint32_t handshake_timeout_ms = 5'000;
  uint32_t answer_timeout_ms = 120'000;
  uint32_t parked_answer_timeout_ms = 3'660'000;
  uint32_t stall_timeout_ms = 60'000;
  uint32_t idle_timeout_ms = 60'000;
  uint64_t body_bytes_max = uint64_t{64} << 20;
  uint32_t breaker_failure_percent = 50;
  uint32_t breaker_window_requests = 20;
  uint32_t breaker_open_ms = 10'000;

  bool on() const { return !upstream.empty(); }
  friend bool operator==(const GatewayEndpointConfig&, const GatewayEndpointConfig&) = default;
};

// [[gateway.route]]: the hosts that clients name, and what stands behind them.
struct GatewayRouteConfig {
  std::vector<std::string> hosts;  // exact names, or "*.example.com" for one label before it
  std::string tenant;              // empty: the only [[tenant]]
  std::string default_domain;      // of user names without a domain; empty: such names are nobody's
  GatewayRedirects redirects = GatewayRedirects::follow;
  GatewayEndpointConfig ews;
  GatewayEndpointConfig activesync;

  friend bool operator==(const GatewayRouteConfig&, const GatewayRouteConfig&) = default;
};

// [[gateway.domain]]: the names under which one account appears.
struct GatewayDomainConfig {
  std::string name;                  // "example.com"
  std::string netbios;               // "EXAMPLE"; empty: none
  std::vector<std::string> aliases;  // further mail domains and UPN suffixes with the same accounts

  friend bool operator==(const GatewayDomainConfig&, const GatewayDomainConfig&) = default;
};

// [[gateway.client]]: what a class of EWS clients may do. The first class that fits counts.
struct GatewayClientConfig {
  std::string name;
  GatewayClientKind kind = GatewayClientKind::any;
  std::vector<std::string> accounts;     // empty: all
  std::vector<std::string> user_agents;  // exact, or with "*" at the end; empty: all
  std::vector<std::string> operations;   // of EWS, or groups of them: see proto/ews_operations.h
  bool impersonation = false;

  friend bool operator==(const GatewayClientConfig&, const GatewayClientConfig&) = default;
};

// [gateway]
struct GatewayConfig {
  std::vector<std::string> operations = {"notification", "read", "write"};  // of clients that no class fits
  uint32_t requests_in_work_max = 65'536;  // per core
  uint32_t requests_per_account_max = 64;  // per core, by credentials
  uint32_t repeatable_bytes_max = 16'384;
  uint32_t redirects_kept_max = 65'536;    // per core
  uint32_t redirects_kept_hours = 24;
  uint32_t retry_after_seconds = 30;
  CertificatesConfig certificates;
  KerberosConfig kerberos;
  std::vector<GatewayDomainConfig> domains;
  std::vector<GatewayClientConfig> clients;
  std::vector<GatewayRouteConfig> routes;

  friend bool operator==(const GatewayConfig&, const GatewayConfig&) = default;
};

inline constexpr size_t kGatewayRoutesMax = 1'000;
inline constexpr size_t kGatewayDomainsMax = 1'000;
inline constexpr size_t kGatewayClientsMax = 100;

}  // namespace bellhop::service
