// SPDX-License-Identifier: Apache-2.0
#include "service/config_diff.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/check.h"
#include "service/config_table.h"

namespace bellhop::service {
namespace {

constexpr std::string_view kExists = "present";

const SectionRow& section_of(std::string_view path) {
  const SectionRow* section = find_config_section(path);
  BH_CHECK(section != nullptr);
  return *section;
}

// The table's accessors serve the parser too, which writes: they take the struct without const.
const void* member_of(const KeyRow& key, const void* values) { return key.member(const_cast<void*>(values)); }

std::string app_name(const AppConfig& app) {
  return fmt::format("{}, {}", app.topic, app.environment == ApnsEnvironment::production ? "production" : "sandbox");
}

class Comparison {
 public:
  explicit Comparison(std::vector<ConfigChange>& changes) : changes_(changes) {}

  // `name` and `place` are what the section is called in the change and in the file's positions.
  void values(const SectionRow& section, const void* before, const void* after, std::string_view name,
              std::string_view place) {
    for (const KeyRow& key : section.keys) {
      std::string old_value = value_text(key, member_of(key, before)), new_value = value_text(key, member_of(key, after));
      if (old_value == new_value) continue;
      changes_.push_back({.key = joined(name, key.name),
                          .before = std::move(old_value),
                          .after = std::move(new_value),
                          .reload = takes_reload(section, key),
                          .position_key = joined(place, key.name)});
    }
  }

  void proxies(const std::vector<ProxyConfig>& before, const std::vector<ProxyConfig>& after) {
    auto named = [](const std::vector<ProxyConfig>& all, const ProxyConfig& like) {
      return std::ranges::find(all, like.name, &ProxyConfig::name);
    };
    for (const ProxyConfig& proxy : before) {
      if (named(after, proxy) == after.end()) exists(fmt::format("proxy[{}]", proxy.name), "", false);
    }
    for (size_t i = 0; i < after.size(); ++i) {
      std::string name = fmt::format("proxy[{}]", after[i].name), place = fmt::format("proxy[{}]", i);
      auto old_one = named(before, after[i]);
      if (old_one == before.end()) {
        exists(name, place, true);
      } else {
        values(section_of("proxy"), &*old_one, &after[i], name, place);
      }
    }
  }

  // They have no names, and the first that fits a host counts: each is its place in the file.
  void upstreams(const std::vector<UpstreamConfig>& before, const std::vector<UpstreamConfig>& after) {
    for (size_t i = 0; i < std::max(before.size(), after.size()); ++i) {
      std::string place = fmt::format("upstream[{}]", i);
      if (i >= before.size()) {
        exists(place, place, true);
      } else if (i >= after.size()) {
        exists(place, "", false);
      } else {
        values(section_of("upstream"), &before[i], &after[i], place, place);
      }
    }
  }

  // Rules are known by name, and their order counts; sources by their tenant.
  void policy(const PolicyConfig& before, const PolicyConfig& after) {
    named("policy.rule", before.rules, after.rules, [](const PolicyRuleConfig& one) { return one.name; });
    auto names = [](const PolicyConfig& policy) {
      std::string all;
      for (const PolicyRuleConfig& rule : policy.rules) all += (all.empty() ? "" : ", ") + rule.name;
      return all;
    };
    std::string old_order = names(before), new_order = names(after);
    bool moved = old_order != new_order && before.rules.size() == after.rules.size();
    if (moved) changes_.push_back({.key = "policy.rule", .before = old_order, .after = new_order, .reload = true, .position_key = "policy"});
    named("policy.source", before.sources, after.sources, [](const PolicySourceConfig& one) { return one.tenant; });
  }

  // Domains and classes are known by name, routes by their first host.
  void gateway(const GatewayConfig& before, const GatewayConfig& after) {
    named("gateway.domain", before.domains, after.domains, [](const GatewayDomainConfig& one) { return one.name; });
    named("gateway.client", before.clients, after.clients, [](const GatewayClientConfig& one) { return one.name; });
    auto host_of = [](const GatewayRouteConfig& one) { return one.hosts.empty() ? std::string() : one.hosts.front(); };
    named("gateway.route", before.routes, after.routes, host_of);
    for (size_t i = 0; i < after.routes.size(); ++i) {
      const GatewayRouteConfig& route = after.routes[i];
      auto old_one = std::ranges::find(before.routes, host_of(route), host_of);
      if (old_one == before.routes.end()) continue;
      std::string name = fmt::format("gateway.route[{}]", host_of(route)), place = fmt::format("gateway.route[{}]", i);
      values(section_of("gateway.route.ews"), &old_one->ews, &route.ews, name + ".ews", place + ".ews");
      values(section_of("gateway.route.activesync"), &old_one->activesync, &route.activesync, name + ".activesync",
             place + ".activesync");
    }
  }

  void tenants(const std::vector<TenantConfig>& before, const std::vector<TenantConfig>& after) {
    for (const TenantConfig& tenant : before) {
      if (find(after, tenant) == after.end()) exists(fmt::format("tenant[{}]", tenant.id), "", false);
    }
    for (size_t i = 0; i < after.size(); ++i) {
      std::string name = fmt::format("tenant[{}]", after[i].id), place = fmt::format("tenant[{}]", i);
      auto old_one = find(before, after[i]);
      if (old_one == before.end()) {
        exists(name, place, true);
        continue;
      }
      values(section_of("tenant"), &*old_one, &after[i], name, place);
      apps(*old_one, after[i], name, place);
    }
  }

 private:
  template <class Item, class Name>
  void named(std::string_view path, const std::vector<Item>& before, const std::vector<Item>& after, Name name_of) {
    for (const Item& item : before) {
      bool still = std::ranges::find(after, name_of(item), name_of) != after.end();
      if (!still) exists(fmt::format("{}[{}]", path, name_of(item)), "", false);
    }
    for (size_t i = 0; i < after.size(); ++i) {
      std::string name = fmt::format("{}[{}]", path, name_of(after[i])), place = fmt::format("{}[{}]", path, i);
      auto old_one = std::ranges::find(before, name_of(after[i]), name_of);
      if (old_one == before.end()) {
        exists(name, place, true);
      } else {
        values(section_of(path), &*old_one, &after[i], name, place);
      }
    }
  }

  static std::string joined(std::string_view name, std::string_view key) {
    return name.empty() ? std::string(key) : fmt::format("{}.{}", name, key);
  }
  static std::vector<TenantConfig>::const_iterator find(const std::vector<TenantConfig>& tenants,
                                                        const TenantConfig& like) {
    return std::ranges::find(tenants, like.id, &TenantConfig::id);
  }
  static std::vector<AppConfig>::const_iterator find(const std::vector<AppConfig>& apps, const AppConfig& like) {
    return std::ranges::find_if(apps, [&](const AppConfig& app) {
      return app.topic == like.topic && app.environment == like.environment;
    });
  }

  void exists(std::string name, std::string place, bool now) {
    changes_.push_back({.key = std::move(name),
                        .before = now ? "" : std::string(kExists),
                        .after = now ? std::string(kExists) : "",
                        .reload = true,
                        .position_key = std::move(place)});
  }

  void apps(const TenantConfig& before, const TenantConfig& after, std::string_view name, std::string_view place) {
    for (const AppConfig& app : before.apps) {
      if (find(after.apps, app) == after.apps.end()) exists(fmt::format("{}.app[{}]", name, app_name(app)), "", false);
    }
    for (size_t i = 0; i < after.apps.size(); ++i) {
      std::string app = fmt::format("{}.app[{}]", name, app_name(after.apps[i]));
      std::string app_place = fmt::format("{}.app[{}]", place, i);
      auto old_one = find(before.apps, after.apps[i]);
      if (old_one == before.apps.end()) {
        exists(app, app_place, true);
      } else {
        values(section_of("tenant.app"), &*old_one, &after.apps[i], app, app_place);
      }
    }
  }

  std::vector<ConfigChange>& changes_;
};

}  // namespace

std::vector<ConfigChange> config_changes(const Config& before, const Config& after) {
  std::vector<ConfigChange> changes;
  Comparison comparison(changes);
  for (const SectionRow& section : config_sections()) {
    if (inside_repeated(section)) continue;
    const void* old_values = enter_section(section, const_cast<Config&>(before));
    const void* new_values = enter_section(section, const_cast<Config&>(after));
    comparison.values(section, old_values, new_values, section.path, section.path);
  }
  comparison.proxies(before.proxies, after.proxies);
  comparison.upstreams(before.upstreams, after.upstreams);
  comparison.gateway(before.gateway, after.gateway);
  comparison.policy(before.policy, after.policy);
  comparison.tenants(before.tenants, after.tenants);
  return changes;
}

std::string to_text(const ConfigChange& change) {
  auto shown = [](const std::string& value) { return value.empty() ? std::string_view("(none)") : std::string_view(value); };
  return fmt::format("{}: {} → {} ({})", change.key, shown(change.before), shown(change.after),
                     change.reload ? "reload" : "restart");
}

namespace {

// Calls `visit(section, values, place)` for each table of the configuration, as it stands in a file.
template <class Visit>
void for_each_table(const Config& config, Visit visit) {
  for (const SectionRow& section : config_sections()) {
    if (inside_repeated(section)) continue;
    // The listener of a gateway that does not run has no table: it would be of no use there.
    if (section.path == "listen.gateway" && !config.is_gateway()) continue;
    visit(section, enter_section(section, const_cast<Config&>(config)), std::string(section.path));
  }
  for (size_t i = 0; i < config.proxies.size(); ++i) {
    visit(section_of("proxy"), &config.proxies[i], fmt::format("proxy[{}]", i));
  }
  for (size_t i = 0; i < config.upstreams.size(); ++i) {
    visit(section_of("upstream"), &config.upstreams[i], fmt::format("upstream[{}]", i));
  }
  for (size_t i = 0; i < config.policy.rules.size(); ++i) {
    visit(section_of("policy.rule"), &config.policy.rules[i], fmt::format("policy.rule[{}]", i));
  }
  for (size_t i = 0; i < config.policy.sources.size(); ++i) {
    visit(section_of("policy.source"), &config.policy.sources[i], fmt::format("policy.source[{}]", i));
  }
  const GatewayConfig& gateway = config.gateway;
  for (size_t i = 0; i < gateway.domains.size(); ++i) {
    visit(section_of("gateway.domain"), &gateway.domains[i], fmt::format("gateway.domain[{}]", i));
  }
  for (size_t i = 0; i < gateway.clients.size(); ++i) {
    visit(section_of("gateway.client"), &gateway.clients[i], fmt::format("gateway.client[{}]", i));
  }
  for (size_t i = 0; i < gateway.routes.size(); ++i) {
    const GatewayRouteConfig& route = gateway.routes[i];
    std::string place = fmt::format("gateway.route[{}]", i);
    visit(section_of("gateway.route"), &route, place);
    // An endpoint that the route does not have has no table either: its upstream would be missing.
    if (route.ews.on()) visit(section_of("gateway.route.ews"), &route.ews, place + ".ews");
    if (route.activesync.on()) visit(section_of("gateway.route.activesync"), &route.activesync, place + ".activesync");
  }
  for (size_t i = 0; i < config.tenants.size(); ++i) {
    const TenantConfig& tenant = config.tenants[i];
    std::string place = fmt::format("tenant[{}]", i);
    visit(section_of("tenant"), &tenant, place);
    for (size_t j = 0; j < tenant.apps.size(); ++j) {
      visit(section_of("tenant.app"), &tenant.apps[j], fmt::format("{}.app[{}]", place, j));
    }
  }
}

bool is_string(KeyKind kind) {
  return kind == KeyKind::text || kind == KeyKind::path || kind == KeyKind::file || kind == KeyKind::log_output;
}

// A basic string of TOML.
std::string toml_string(std::string_view text) {
  std::string out = "\"";
  for (char c : text) {
    auto byte = static_cast<uint8_t>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20 || byte == 0x7f) {
      out += fmt::format("\\u{:04X}", byte);
    } else {
      out += c;
    }
  }
  return out + '"';
}

}  // namespace

std::vector<ConfigFileReference> config_files(const Config& config) {
  std::vector<ConfigFileReference> files;
  for_each_table(config, [&](const SectionRow& section, const void* values, const std::string& place) {
    for (const KeyRow& key : section.keys) {
      if (key.kind != KeyKind::file) continue;
      const auto& path = *static_cast<const std::string*>(member_of(key, values));
      std::string name = place.empty() ? std::string(key.name) : fmt::format("{}.{}", place, key.name);
      if (!path.empty()) files.push_back({std::move(name), path, {}});
    }
  });
  return files;
}

std::string at_key(const std::string& complaint, std::string_view config_file, const Config& config,
                   const ConfigPositions& positions) {
  for (const ConfigFileReference& file : config_files(config)) {
    auto position = positions.find(file.key);
    if (!complaint.starts_with(file.path + ":") || position == positions.end()) continue;
    return to_text(ConfigProblem{std::string(config_file), position->second, fmt::format("{}: {}", file.key, complaint)});
  }
  return complaint;
}

std::string config_toml(const Config& config) {
  std::string out;
  for_each_table(config, [&](const SectionRow& section, const void* values, const std::string&) {
    if (!section.path.empty()) out += fmt::format("\n{}\n", section_text(section));
    for (const KeyRow& key : section.keys) {
      const void* member = member_of(key, values);
      std::string value = is_string(key.kind) ? *static_cast<const std::string*>(member) : value_text(key, member);
      if (value.empty() || value == "[]") continue;
      out += fmt::format("{} = {}\n", key.name, is_string(key.kind) ? toml_string(value) : value);
    }
  });
  return out;
}

ConfigPosition position_of(const ConfigChange& change, const ConfigPositions& positions) {
  for (std::string key = change.position_key; !key.empty();) {
    if (auto found = positions.find(key); found != positions.end()) return found->second;
    size_t dot = key.rfind('.');
    key.resize(dot == std::string::npos ? 0 : dot);
  }
  return {};
}

}  // namespace bellhop::service
