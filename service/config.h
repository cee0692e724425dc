// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "service/gateway_config.h"
#include "service/policy_config.h"

// The whole configuration as plain values. Every bound and timeout of the service has its name here; a member is named
// like its key in the file, unit last, and its initialiser is the default. config_table.cc describes each key (range,
// help) for the parser, `bellhop check` and docs/configuration.md. Nothing here is a secret: keys are named by file.
namespace bellhop::service {

// "10.0.0.1:443", "[::1]:443", "mail.example.com:443". `host` is without brackets, lower case. A listener's host is an address.
struct HostPort {
  std::string host;
  uint16_t port = 0;

  friend bool operator==(const HostPort&, const HostPort&) = default;
};
// "host:port", an IPv6 address in brackets.
std::string to_text(const HostPort& address);

// "10.0.0.0/8", "fd00::/8". IPv4: the first 4 bytes. Bits after the prefix are zero.
struct Cidr {
  uint8_t address[16] = {};
  uint8_t bits = 0;
  bool v6 = false;

  friend bool operator==(const Cidr&, const Cidr&) = default;
};

// When Exchange hears OK for new mail: when every push was accepted or refused for good, or else is in the journal; when
// all are in the journal, before they are made; or the one or the other, as many callbacks of their source are in work.
enum class AckMode : uint8_t { after_push, after_journal, automatic };
// What opens credentials: whatever is fastest here, or a certain engine (crypto/rsa_lane_engine.h).
enum class RsaEngineChoice : uint8_t { automatic, boringssl, avx512f, avx512ifma };
enum class LogLevel : uint8_t { debug, info, warning, error };
// How much of a mail a push may show; an order: a device's own wish is cut to the tenant's maximum.
enum class PreviewPolicy : uint8_t { none, sender, subject, full };
enum class ApnsEnvironment : uint8_t { production, sandbox };
// Who looks a destination up that is reached through a proxy.
enum class ProxyResolve : uint8_t { proxy, local };

// [listen.public]: devices and Exchange. [listen.gateway]: EWS and ActiveSync clients.
struct PublicListenerConfig {
  std::vector<HostPort> addresses = {{"0.0.0.0", 443}, {"::", 443}};
  std::string certificate_file;  // PEM, leaf first; required with the listener's role
  std::string private_key_file;  // PEM; likewise
  uint32_t listen_backlog = 4096;
  uint32_t connections_max = 100'000;  // all cores together; each core takes its share
  uint32_t connections_per_address_max = 1'024;
  uint32_t connections_per_address_per_second = 200;  // per core; 0: not limited
  bool proxy_protocol = false;
  std::vector<Cidr> trusted_cidrs;  // of the load balancers; with proxy_protocol
  uint32_t handshakes_in_flight_max = 2'048;  // per core
  uint32_t handshake_timeout_ms = 5'000;
  uint32_t header_timeout_ms = 10'000;
  uint32_t header_bytes_max = 32'768;
  uint32_t header_fields_max = 100;
  uint32_t body_rate_min_bytes_per_s = 1'024;
  uint32_t body_bytes_max = 262'144;
  uint32_t write_stall_timeout_ms = 10'000;
  uint32_t idle_timeout_ms = 60'000;
  uint32_t requests_per_connection_max = 100'000;
  uint32_t drain_timeout_ms = 10'000;
  bool http2 = true;
  uint32_t http2_streams_max = 100;
  uint32_t http2_requests_in_work_max = 16'384;  // per core
  uint32_t http2_header_bytes_max = 16'384;
  uint32_t http2_stream_window_bytes = 65'535;
  uint32_t http2_connection_window_bytes = 262'144;
  uint32_t http2_body_bytes_max = 64 << 20;  // per core
  uint32_t http2_resets_max = 100;
  uint32_t http2_control_frames_max = 1'000;
  uint32_t http2_goaway_grace_ms = 1'000;
};

// [listen.admin]: operators, on this host.
struct AdminListenerConfig {
  HostPort address = {"127.0.0.1", 9443};
  std::string unix_socket = "/run/bellhop/admin.sock";
  uint32_t connections_max = 64;
  uint32_t request_timeout_ms = 10'000;
};

// [store]
struct StoreConfig {
  std::string path = "store";  // relative to data_dir
  uint64_t map_size_bytes = uint64_t{64} << 30;
  uint32_t mailboxes_max = 2'000'000;
};

// [notification]: from the callback to the answer.
struct NotificationConfig {
  AckMode ack = AckMode::automatic;
  uint32_t auto_journal_above = 64;  // per source and core
  uint32_t auto_push_below = 16;     // per source and core
  uint32_t pushes_behind_max = 1'024;  // per core
  uint32_t fetch_timeout_ms = 3'000;
  uint32_t push_timeout_ms = 4'000;
  uint32_t total_timeout_ms = 8'000;
  uint32_t in_flight_max = 8'192;  // per core
  uint32_t overload_delay_ms = 500;
  uint32_t overload_after_ms = 100;
  uint32_t overload_refusal_percent_max = 25;  // of ews.status_frequency_minutes
  uint32_t in_flight_per_mailbox_max = 4;
  uint32_t callbacks_per_mailbox_per_minute_max = 120;
  uint32_t events_per_callback_max = 256;
  uint32_t decrypt_queue_max = 4'096;  // per core
  uint32_t decrypt_queue_per_tenant_max = 2'048;
  uint32_t badge_interval_ms = 15'000;
  uint32_t merge_above = 20;
  uint32_t catch_up_items_max = 20;
};

// [journal]: pushes that have to be made although Exchange has heard OK.
struct JournalConfig {
  uint32_t records_max = 250'000;  // per core
  uint32_t retry_first_ms = 10'000;
  uint32_t retry_max_ms = 600'000;
  uint32_t keep_hours = 24;
  uint32_t pushes_in_flight_max = 256;  // per core
};

// [supervision]: of mailboxes that Exchange is silent about.
struct SupervisionConfig {
  uint32_t resubscribes_per_second_max = 50;  // per core
  uint32_t outage_share_percent = 50;
  uint32_t outage_mailboxes_min = 20;
  uint32_t outage_probe_seconds = 60;
};

// [ews]: what we ask Exchange.
struct EwsConfig {
  std::string user_agent = "MailNotificationService/v2 (ExchangeServicesClient/15.00.0913.015)";
  std::string server_version = "Exchange2010_SP2";
  std::string via;  // "https://host:port" of a gateway; empty: directly
  bool anchor_mailbox = true;
  bool gzip = true;
  std::string ca_file;  // PEM, added to the system's roots; empty: none
  uint32_t status_frequency_minutes = 30;
  uint32_t connections_per_host_max = 16;        // per core
  uint32_t requests_per_host_in_flight_max = 16;  // per core
  uint32_t requests_per_host_waiting_max = 1'024;  // per core
  uint32_t requests_per_mailbox_max = 2;
  uint32_t connect_timeout_ms = 2'000;
  uint32_t handshake_timeout_ms = 5'000;
  uint32_t subscribe_timeout_ms = 15'000;
  uint32_t idle_timeout_ms = 60'000;
  uint32_t certificate_idle_timeout_ms = 10'000;
  uint32_t answer_bytes_max = 1'048'576;
  uint32_t breaker_failure_percent = 50;
  uint32_t breaker_window_requests = 20;
  uint32_t breaker_open_ms = 10'000;
  uint32_t retry_share_percent_max = 10;
  uint32_t back_off_ms_max = 300'000;
  uint32_t logons_after_refusal_per_hour_max = 1;
  uint32_t logons_after_refusal_max = 3;
};

// [oauth]: grants at token endpoints. What a failing host costs is bounded as for Exchange: ews.breaker_*.
struct OauthConfig {
  std::string ca_file;  // PEM, added to the system's roots; empty: none
  uint32_t grant_timeout_ms = 3'000;
  uint32_t renew_before_expiry_seconds = 60;
  uint32_t requests_per_host_in_flight_max = 16;   // per core
  uint32_t requests_per_host_waiting_max = 1'024;  // per core
  uint32_t answer_bytes_max = 65'536;
};

// [autodiscover]: where the EWS of a mailbox is, for devices that do not say.
struct AutodiscoverConfig {
  uint32_t timeout_ms = 15'000;
  uint32_t attempt_timeout_ms = 4'000;
  uint32_t cache_hours = 24;
  uint32_t failure_seconds = 300;
  uint32_t failures_kept_max = 4'096;     // per core
  uint32_t searches_in_flight_max = 64;   // per core
  uint32_t https_port = 443;
  uint32_t http_port = 80;
};

// [apns]
struct ApnsConfig {
  HostPort production = {"api.push.apple.com", 443};
  HostPort sandbox = {"api.sandbox.push.apple.com", 443};
  std::string ca_file;  // PEM, instead of the system's roots; for a stand-in. Empty: the system's
  uint32_t connections_per_core = 1;  // per team and environment
  uint32_t streams_in_flight_max = 1'000;  // per connection; the peer's own limit applies too
  uint32_t requests_waiting_max = 8'192;   // per core
  uint32_t connect_timeout_ms = 5'000;
  uint32_t reconnect_first_ms = 1'000;
  uint32_t reconnect_max_ms = 60'000;
  uint32_t ping_interval_ms = 60'000;
  uint32_t attempts_max = 3;
  uint32_t retry_wait_first_ms = 200;
  uint32_t retry_wait_max_ms = 2'000;
  uint32_t retry_share_percent_max = 10;
  uint32_t token_refresh_minutes = 40;
  uint32_t expiration_hours = 24;
  uint32_t payload_bytes_max = 4'096;
};

// [keys]: one RSA pair per user, made ahead of need.
struct KeysConfig {
  uint32_t rsa_bits = 2'048;
  uint32_t pool_target = 256;
  uint32_t unused_expiry_hours = 24;
  uint32_t cache_mib = 256;  // per core
  RsaEngineChoice rsa_engine = RsaEngineChoice::automatic;
};

// [limits]: of the device API and of callbacks.
struct LimitsConfig {
  uint32_t getpublickey_per_address_per_minute = 60;
  uint32_t getpublickey_per_tenant_per_minute = 6'000;
  uint32_t subscribe_per_address_per_minute = 60;
  uint32_t subscribe_per_tenant_per_minute = 6'000;
  uint32_t unauthorized_per_address_per_minute = 30;
  uint32_t callbacks_per_address_per_minute = 0;              // per core; 0: not limited
  uint32_t unknown_callbacks_per_address_per_minute = 6'000;  // per core; 0: not limited
  std::vector<Cidr> exempt_cidrs;
  uint32_t subscribe_handovers_per_hour = 3;
  uint32_t subscribes_in_flight_max = 256;  // per core
  uint32_t certificates_opening_max = 8;    // in the process
  uint32_t devices_per_user_max = 10;
  uint32_t credential_age_minutes_max = 10;
  uint32_t addresses_tracked_max = 65'536;  // per core
};

// [[proxy]]: an HTTP proxy that makes tunnels (CONNECT), for [[upstream]] to name.
struct ProxyConfig {
  std::string name;
  HostPort address;
  bool tls = false;
  std::string ca_file;  // PEM, instead of the system's roots; with tls
  std::string username;
  std::string password_file;  // one line; with username
  ProxyResolve resolve = ProxyResolve::proxy;

  friend bool operator==(const ProxyConfig&, const ProxyConfig&) = default;
};

// [[upstream]]: hosts that need more than their section says. See service/upstreams.h.
struct UpstreamConfig {
  std::vector<std::string> hosts;      // as tenant.ews_hosts, or "*"
  std::string ca_file;                 // PEM, instead of the section's; empty: those
  std::vector<std::string> spki_pins;  // "sha256/BASE64"
  std::string proxy;                   // name of a [[proxy]], or "http://host:port"; empty: directly

  friend bool operator==(const UpstreamConfig&, const UpstreamConfig&) = default;
};

// [log]: JSON lines.
struct LogConfig {
  LogLevel level = LogLevel::info;
  std::string output = "stdout";  // or a file
  uint32_t lines_per_event_per_second_max = 20;
};

// [renewal]: subscriptions are renewed by the server itself, with the credentials that a callback brings.
struct RenewalConfig {
  bool enabled = true;
  uint32_t age_max_hours = 168;  // 0: never for their age
  uint32_t in_flight_max = 32;   // per core
  uint32_t per_host_per_second_max = 10;  // per core
};

// [reload]
struct ReloadConfig {
  uint32_t watch_interval_seconds = 10;  // of named files; 0: never
};

// [[tenant.app]]: one push app; its topic is what devices may name.
struct AppConfig {
  std::string topic;     // bundle id
  std::string team_id;   // Apple's, 10 characters
  std::string key_id;    // Apple's, 10 characters
  std::string key_file;  // .p8
  // Instead of the three: a provider certificate.
  std::string certificate_file;  // PEM, its own first
  std::string private_key_file;  // PEM
  ApnsEnvironment environment = ApnsEnvironment::production;

  bool by_certificate() const { return !certificate_file.empty(); }
};

// [[tenant]]
struct TenantConfig {
  std::string id;
  std::string name;
  std::vector<std::string> ews_hosts;  // exact names, or "*.example.com" for one label before it
  std::vector<uint16_t> ews_ports = {443};
  std::vector<Cidr> ews_private_cidrs;
  std::vector<std::string> oauth_token_hosts;  // as ews_hosts; empty: no credentials of type oauth
  std::vector<uint16_t> oauth_token_ports = {443};
  uint32_t oauth_reuse_grace_seconds = 60;
  std::vector<std::string> autodiscover_domains;
  std::vector<std::string> autodiscover_hosts;
  PreviewPolicy preview_max = PreviewPolicy::full;
  bool ens2_credentials = false;
  std::vector<AppConfig> apps;
};

// What a process does: "public" serves devices and Exchange's callbacks, "gateway" stands in front of Exchange.
inline constexpr std::string_view kRolePublic = "public", kRoleGateway = "gateway";

struct Config {
  std::string public_url;  // "https://push.example.com", no slash at the end; required with the role "public"
  std::vector<std::string> roles = {std::string(kRolePublic)};
  uint32_t cores = 0;      // 0: all that the process may use
  std::string data_dir = "/var/lib/bellhop";
  std::string keyring_file;  // required
  std::string credentials_directory;  // no key: what ${CREDENTIALS_DIRECTORY} stands for; empty: it is not set
  PublicListenerConfig listen_public;
  PublicListenerConfig listen_gateway = {.addresses = {{"0.0.0.0", 8443}, {"::", 8443}}};
  AdminListenerConfig listen_admin;
  StoreConfig store;
  NotificationConfig notification;
  JournalConfig journal;
  SupervisionConfig supervision;
  EwsConfig ews;
  OauthConfig oauth;
  AutodiscoverConfig autodiscover;
  ApnsConfig apns;
  KeysConfig keys;
  LimitsConfig limits;
  LogConfig log;
  std::vector<ProxyConfig> proxies;
  std::vector<UpstreamConfig> upstreams;
  ReloadConfig reload;
  RenewalConfig renewal;
  GatewayConfig gateway;
  PolicyConfig policy;
  std::vector<TenantConfig> tenants;

  bool has_role(std::string_view role) const {
    for (const std::string& one : roles) {
      if (one == role) return true;
    }
    return false;
  }
  bool is_public() const { return has_role(kRolePublic); }
  bool is_gateway() const { return has_role(kRoleGateway); }
};

// Where a thing stands in the file; both count from 1. toml++ counts columns in code points.
struct ConfigPosition {
  uint32_t line = 1;
  uint32_t column = 1;

  friend auto operator<=>(const ConfigPosition&, const ConfigPosition&) = default;
};

// One fault. `message` says what is wrong and, after "; ", what to do.
struct ConfigProblem {
  std::string file;
  ConfigPosition position;
  std::string message;
};
// "bellhop.toml:3:1: unknown key \"idle_timout_ms\" in [listen.public]; did you mean \"idle_timeout_ms\"?"
std::string to_text(const ConfigProblem& problem);

// A file that the configuration names and that must exist and be readable. The parser does not touch files: the caller
// opens each and reports what fails with config_missing_file().
struct ConfigFileReference {
  std::string key;   // "tenant[0].app[1].key_file"
  std::string path;  // as it is to be opened
  ConfigPosition position;
};

// Where each table and key of the file stands, by its path with indexes: "tenant[0].app[1].topic", "store". Keys that
// the file leaves out are absent.
using ConfigPositions = std::map<std::string, ConfigPosition, std::less<>>;

// `config` is meant for use only where `problems` is empty. Problems stand in the order of the file.
struct ConfigOutcome {
  Config config;
  std::vector<ConfigProblem> problems;
  std::vector<ConfigFileReference> files;
  ConfigPositions positions;

  bool ok() const { return problems.empty(); }
};

inline constexpr size_t kConfigBytesMax = 4u << 20;
inline constexpr size_t kTenantsMax = 10'000;
inline constexpr size_t kAppsPerTenantMax = 100;
inline constexpr size_t kListItemsMax = 1'000;
inline constexpr size_t kProxiesMax = 100;
inline constexpr size_t kUpstreamsMax = 1'000;

// Parses one whole TOML file. Reports every fault that it finds: an unknown, missing or duplicate key, a wrong type, a
// value out of range, a contradiction between keys. After a fault of TOML syntax nothing else can be said, so that one
// stands alone. Relative paths are taken from the folder of `file_name`; store.path from data_dir. A path may begin with
// "${CREDENTIALS_DIRECTORY}/", the folder in which systemd puts the credentials of a service; nothing else is expanded.
ConfigOutcome parse_config(std::string_view text, std::string_view file_name, std::string_view credentials_directory = {});

// The configuration file itself cannot be opened or read: one problem with position 1:1. `error_number` is an errno.
ConfigProblem config_unreadable(std::string_view file_name, int error_number);
// A file that the configuration names cannot be opened or read.
ConfigProblem config_missing_file(std::string_view file_name, const ConfigFileReference& file, int error_number);

// docs/configuration.md: all keys with type, default, range, unit and meaning, from the same table as the parser.
std::string config_reference_markdown();

}  // namespace bellhop::service
