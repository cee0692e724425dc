// SPDX-License-Identifier: Apache-2.0
#include "service/config_rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <tuple>

#include "service/config_table.h"
#include "service/gateway_config_rules.h"
#include "service/policy_config_rules.h"

namespace bellhop::service {
namespace {

constexpr size_t kUnixSocketPathBytesMax = 107;  // sockaddr_un

// `lower` must not be above `upper`.
struct OrderRule {
  std::string_view lower;
  uint32_t (*lower_value)(const Config&);
  std::string_view upper;
  uint32_t (*upper_value)(const Config&);
};
#define BH_ORDER(lower_key, lower_member, upper_key, upper_member)           \
  OrderRule {                                                                \
    lower_key, [](const Config& c) { return c.lower_member; }, upper_key,    \
        [](const Config& c) { return c.upper_member; }                       \
  }
constexpr OrderRule kOrderRules[] = {
    BH_ORDER("listen.public.connections_per_address_max", listen_public.connections_per_address_max,
             "listen.public.connections_max", listen_public.connections_max),
    BH_ORDER("listen.public.http2_stream_window_bytes", listen_public.http2_stream_window_bytes,
             "listen.public.http2_connection_window_bytes", listen_public.http2_connection_window_bytes),
    BH_ORDER("listen.public.http2_connection_window_bytes", listen_public.http2_connection_window_bytes,
             "listen.public.http2_body_bytes_max", listen_public.http2_body_bytes_max),
    BH_ORDER("listen.gateway.connections_per_address_max", listen_gateway.connections_per_address_max,
             "listen.gateway.connections_max", listen_gateway.connections_max),
    BH_ORDER("listen.gateway.http2_stream_window_bytes", listen_gateway.http2_stream_window_bytes,
             "listen.gateway.http2_connection_window_bytes", listen_gateway.http2_connection_window_bytes),
    BH_ORDER("listen.gateway.http2_connection_window_bytes", listen_gateway.http2_connection_window_bytes,
             "listen.gateway.http2_body_bytes_max", listen_gateway.http2_body_bytes_max),
    BH_ORDER("notification.decrypt_queue_per_tenant_max", notification.decrypt_queue_per_tenant_max,
             "notification.decrypt_queue_max", notification.decrypt_queue_max),
    BH_ORDER("notification.auto_push_below", notification.auto_push_below, "notification.auto_journal_above",
             notification.auto_journal_above),
    BH_ORDER("journal.retry_first_ms", journal.retry_first_ms, "journal.retry_max_ms", journal.retry_max_ms),
    BH_ORDER("ews.connect_timeout_ms", ews.connect_timeout_ms, "notification.fetch_timeout_ms",
             notification.fetch_timeout_ms),
    BH_ORDER("ews.requests_per_mailbox_max", ews.requests_per_mailbox_max, "ews.requests_per_host_in_flight_max",
             ews.requests_per_host_in_flight_max),
    BH_ORDER("ews.logons_after_refusal_per_hour_max", ews.logons_after_refusal_per_hour_max,
             "ews.logons_after_refusal_max", ews.logons_after_refusal_max),
    BH_ORDER("apns.reconnect_first_ms", apns.reconnect_first_ms, "apns.reconnect_max_ms", apns.reconnect_max_ms),
    BH_ORDER("apns.retry_wait_first_ms", apns.retry_wait_first_ms, "apns.retry_wait_max_ms", apns.retry_wait_max_ms),
};
#undef BH_ORDER

class Rules {
 public:
  Rules(const Config& config, std::string_view file_name, const ConfigPositions& positions,
        std::vector<ConfigProblem>& problems)
      : config_(config), file_name_(file_name), positions_(positions), problems_(problems) {}

  void check_orders() {
    for (const OrderRule& rule : kOrderRules) {
      uint32_t lower = rule.lower_value(config_), upper = rule.upper_value(config_);
      if (lower <= upper) continue;
      problem(at({rule.lower, rule.upper}),
              fmt::format("{} ({}) is above {} ({}); lower the first or raise the second", rule.lower, lower, rule.upper,
                          upper));
    }
    const NotificationConfig& n = config_.notification;
    if (n.fetch_timeout_ms + n.push_timeout_ms > n.total_timeout_ms) {
      problem(at({"notification.total_timeout_ms", "notification.push_timeout_ms", "notification.fetch_timeout_ms"}),
              fmt::format("notification.total_timeout_ms ({}) is below fetch_timeout_ms ({}) + push_timeout_ms ({}); "
                          "set it to {} or more", n.total_timeout_ms, n.fetch_timeout_ms, n.push_timeout_ms,
                          n.fetch_timeout_ms + n.push_timeout_ms));
    }
  }

  void check_listeners() {
    const std::vector<HostPort>& addresses = config_.listen_public.addresses;
    for (size_t i = 0; i < addresses.size(); ++i) {
      auto here = addresses.begin() + static_cast<ptrdiff_t>(i);
      bool chosen = !here->host.empty() && here->port != 0;  // else it was refused already, or the system chooses
      if (!chosen || std::find(addresses.begin(), here, *here) == here) continue;
      problem(at({"listen.public.addresses"}),
              fmt::format("listen.public.addresses names {} twice; remove one", to_text(*here)));
    }
    const AdminListenerConfig& admin = config_.listen_admin;
    if (!is_loopback_address(admin.address.host)) {
      problem(at({"listen.admin.address"}),
              fmt::format("listen.admin.address is {}, which is no loopback address; for example \"127.0.0.1:9443\"",
                          to_text(admin.address)));
    }
    if (admin.address.port != 0 && std::find(addresses.begin(), addresses.end(), admin.address) != addresses.end()) {
      problem(at({"listen.admin.address", "listen.public.addresses"}),
              fmt::format("listen.admin.address and listen.public.addresses both name {}; change one", to_text(admin.address)));
    }
    if (admin.unix_socket.size() > kUnixSocketPathBytesMax) {
      problem(at({"listen.admin.unix_socket"}),
              fmt::format("listen.admin.unix_socket has {} bytes with its folder; accepted: at most {}",
                          admin.unix_socket.size(), kUnixSocketPathBytesMax));
    }
  }

  void check_trusted() {
    const PublicListenerConfig& listener = config_.listen_public;
    if (listener.proxy_protocol == !listener.trusted_cidrs.empty()) return;
    problem(at({"listen.public.proxy_protocol", "listen.public.trusted_cidrs"}),
            listener.proxy_protocol
                ? "listen.public.proxy_protocol is true, and trusted_cidrs names no load balancer; add their networks"
                : "listen.public.trusted_cidrs is of no use without proxy_protocol = true; add it, or remove trusted_cidrs");
  }

  void check_proxies() {
    std::map<std::string_view, size_t> names;
    for (size_t i = 0; i < config_.proxies.size(); ++i) {
      const ProxyConfig& proxy = config_.proxies[i];
      std::string here = fmt::format("proxy[{}]", i);
      if (!proxy.name.empty() && !names.try_emplace(proxy.name, i).second) {
        problem(at({here + ".name"}), fmt::format("proxy.name \"{}\" is taken by the [[proxy]] in line {}; choose another",
                                                  proxy.name, line_of(fmt::format("proxy[{}]", names[proxy.name]))));
      }
      if (proxy.username.empty() != proxy.password_file.empty()) {
        problem(at({here + ".username", here + ".password_file", here}),
                "proxy.username and proxy.password_file belong together; write both or none");
      }
      if (!proxy.ca_file.empty() && !proxy.tls) {
        problem(at({here + ".ca_file"}), "proxy.ca_file is of no use without tls = true; add it, or remove ca_file");
      }
    }
    check_upstreams(names);
  }

  void check_tenants() {
    std::map<std::string_view, size_t> ids;
    for (size_t i = 0; i < config_.tenants.size(); ++i) {
      const TenantConfig& tenant = config_.tenants[i];
      std::string here = fmt::format("tenant[{}]", i);
      if (!tenant.id.empty() && !ids.try_emplace(tenant.id, i).second) {
        problem(at({here + ".id"}), fmt::format("tenant.id \"{}\" is taken by the [[tenant]] in line {}; choose another",
                                                tenant.id, line_of(fmt::format("tenant[{}]", ids[tenant.id]))));
      }
      check_repeats(here + ".ews_hosts", "tenant.ews_hosts", tenant.ews_hosts);
      check_repeats(here + ".oauth_token_hosts", "tenant.oauth_token_hosts", tenant.oauth_token_hosts);
      check_repeats(here + ".autodiscover_domains", "tenant.autodiscover_domains", tenant.autodiscover_domains);
      check_repeats(here + ".autodiscover_hosts", "tenant.autodiscover_hosts", tenant.autodiscover_hosts);
      check_apps(tenant, here);
    }
  }

 private:
  void check_upstreams(const std::map<std::string_view, size_t>& proxies) {
    std::map<std::string_view, size_t> hosts;
    for (size_t i = 0; i < config_.upstreams.size(); ++i) {
      const UpstreamConfig& upstream = config_.upstreams[i];
      std::string here = fmt::format("upstream[{}]", i);
      bool known = upstream.proxy.empty() || parse_proxy_url(upstream.proxy) || proxies.contains(upstream.proxy);
      if (!known) {
        problem(at({here + ".proxy"}), fmt::format("upstream.proxy \"{}\" names no [[proxy]]; add one with this name, or write "
                                                   "\"http://\" with host and port", upstream.proxy));
      }
      for (const std::string& host : upstream.hosts) {
        if (hosts.try_emplace(host, i).second) continue;
        problem(at({here + ".hosts"}), fmt::format("upstream.hosts names \"{}\", of which the [[upstream]] in line {} says all; "
                                                   "remove one", host, line_of(fmt::format("upstream[{}]", hosts[host]))));
      }
    }
  }

  // Apps may share a key; one key then has one team and one file.
  void check_apps(const TenantConfig& tenant, const std::string& here) {
    std::map<std::tuple<std::string_view, ApnsEnvironment>, size_t> topics;
    for (size_t i = 0; i < tenant.apps.size(); ++i) {
      const AppConfig& app = tenant.apps[i];
      std::string app_here = fmt::format("{}.app[{}]", here, i);
      auto [topic, fresh] = topics.try_emplace({app.topic, app.environment}, i);
      if (!app.topic.empty() && !fresh) {
        problem(at({app_here + ".topic"}),
                fmt::format("tenant.app.topic \"{}\" with this environment is taken by the [[tenant.app]] in line {}; "
                            "remove one or change its environment", app.topic,
                            line_of(fmt::format("{}.app[{}]", here, topic->second))));
      }
      if (!check_credentials(app_here)) continue;
      if (app.by_certificate()) {
        auto [file, fresh_file] = certificates_.try_emplace(app.certificate_file, app.private_key_file);
        if (fresh_file || file->second == app.private_key_file) continue;
        problem(at({app_here + ".private_key_file"}),
                fmt::format("tenant.app.certificate_file \"{}\" stands above with another private_key_file; a "
                            "certificate has one", app.certificate_file));
        continue;
      }
      auto [key, first] = keys_.try_emplace(app.key_id, &app);
      const AppConfig& other = *key->second;
      if (first || app.key_id.empty() || app.team_id.empty() || app.key_file.empty()) continue;
      if (other.team_id != app.team_id || other.key_file != app.key_file) {
        problem(at({app_here + ".key_id"}),
                fmt::format("tenant.app.key_id \"{}\" stands above with another team_id or key_file; a key has one of each",
                            app.key_id));
      }
    }
  }

  // An app proves itself by a key of its team or by a certificate, and one of them is whole.
  bool check_credentials(const std::string& here) {
    struct Part {
      std::string_view name, example;
      bool of_certificate;
      bool given;
    };
    auto given = [&](std::string_view name) { return positions_.contains(here + "." + std::string(name)); };
    Part parts[] = {{"team_id", "\"A1B2C3D4E5\"", false, given("team_id")},
                    {"key_id", "\"F6G7H8I9J0\"", false, given("key_id")},
                    {"key_file", "\"/etc/bellhop/apns/AuthKey_F6G7H8I9J0.p8\"", false, given("key_file")},
                    {"certificate_file", "\"/etc/bellhop/apns/mail.pem\"", true, given("certificate_file")},
                    {"private_key_file", "\"/etc/bellhop/apns/mail.key\"", true, given("private_key_file")}};
    bool key = parts[0].given || parts[1].given || parts[2].given, certificate = parts[3].given || parts[4].given;
    if (key && certificate) {
      problem(at({here}), "[[tenant.app]] names both a key (team_id, key_id, key_file) and a certificate "
                          "(certificate_file, private_key_file); remove one");
      return false;
    }
    if (!key && !certificate) {
      problem(at({here}), "[[tenant.app]] names neither a key nor a certificate; add team_id, key_id and key_file, or "
                          "certificate_file and private_key_file");
      return false;
    }
    bool whole = true;
    for (const Part& part : parts) {
      if (part.of_certificate != certificate || part.given) continue;
      problem(at({here}), fmt::format("missing key \"{}\" in [[tenant.app]]; add for example {} = {}", part.name,
                                      part.name, part.example));
      whole = false;
    }
    return whole;
  }

  void check_repeats(const std::string& here, std::string_view name, const std::vector<std::string>& items) {
    for (size_t i = 0; i < items.size(); ++i) {
      if (std::find(items.begin(), items.begin() + i, items[i]) == items.begin() + i) continue;
      problem(at({here}), fmt::format("{} names \"{}\" twice; remove one", name, items[i]));
    }
  }

  // Of the first key that the file holds.
  ConfigPosition at(std::initializer_list<std::string_view> keys) const {
    for (std::string_view key : keys) {
      auto found = positions_.find(key);
      if (found != positions_.end()) return found->second;
    }
    return {};
  }
  uint32_t line_of(const std::string& path) const { return at({path}).line; }
  void problem(ConfigPosition position, std::string message) {
    problems_.push_back({std::string(file_name_), position, std::move(message)});
  }

  const Config& config_;
  std::string_view file_name_;
  const ConfigPositions& positions_;
  std::vector<ConfigProblem>& problems_;
  std::map<std::string_view, const AppConfig*> keys_;
  std::map<std::string_view, std::string_view> certificates_;  // to their keys' files
};

}  // namespace

void check_config_rules(const Config& config, std::string_view file_name, const ConfigPositions& positions,
                        std::vector<ConfigProblem>& problems) {
  Rules rules(config, file_name, positions, problems);
  rules.check_orders();
  rules.check_listeners();
  rules.check_trusted();
  rules.check_proxies();
  rules.check_tenants();
  check_gateway_rules(config, file_name, positions, problems);
  check_policy_rules(config, file_name, positions, problems);
}

}  // namespace bellhop::service
