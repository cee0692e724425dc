// SPDX-License-Identifier: Apache-2.0
#include "service/policy_config_rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "service/gateway_config_rules.h"

namespace bellhop::service {
namespace {

class PolicyConfigRules {
 public:
  PolicyConfigRules(const Config& config, std::string_view file_name, const ConfigPositions& positions,
                    std::vector<ConfigProblem>& problems)
      : config_(config), tenants_(policy_tenants(config)), file_name_(file_name), positions_(positions), problems_(problems) {}

  void check_rules() {
    std::set<std::string_view> names;
    size_t users = 0;
    for (size_t i = 0; i < config_.policy.rules.size(); ++i) {
      const PolicyRuleConfig& rule = config_.policy.rules[i];
      std::string here = fmt::format("policy.rule[{}]", i);
      if (!rule.name.empty() && !names.insert(rule.name).second) {
        problem({here + ".name"}, fmt::format("policy.rule.name \"{}\" is taken by a rule above; choose another", rule.name));
      }
      for (const std::string& tenant : rule.tenants) check_tenant(tenant, here + ".tenants", "policy.rule.tenants");
      users += rule.users.size() * (rule.tenants.empty() ? tenants_.size() : rule.tenants.size());
    }
    if (users > kPolicyUsersMax) {
      problem({"policy"}, fmt::format("policy.rule.users name {} users, each counted for every tenant of its rule; accepted: "
                                      "at most {}; name the tenants of such rules", users, kPolicyUsersMax));
    }
  }

  void check_sources() {
    std::map<std::string, size_t> taken;
    for (size_t i = 0; i < config_.policy.sources.size(); ++i) {
      const PolicySourceConfig& source = config_.policy.sources[i];
      std::string here = fmt::format("policy.source[{}]", i);
      if (source.tenant.empty() && tenants_.size() > 1) {
        problem({here}, "[[policy.source]] names no tenant, and there are several; add tenant = \"…\"");
        continue;
      }
      if (!source.tenant.empty()) check_tenant(source.tenant, here + ".tenant", "policy.source.tenant");
      auto [other, fresh] = taken.try_emplace(source_tenant(config_, source), i);
      if (!fresh) {
        problem({here + ".tenant", here}, fmt::format("[[policy.source]]: tenant \"{}\" has one already; remove one",
                                                      other->first));
      }
      if (source.kind == PolicySourceKind::file && source.file.empty()) {
        problem({here}, "[[policy.source]] of kind \"file\" is missing its file; add for example file = \"/var/lib/bellhop/devices.jsonl\"");
      }
      check_uem(source, here);
    }
  }

 private:
  void check_uem(const PolicySourceConfig& source, const std::string& here) {
    bool uem = source.kind == PolicySourceKind::uem;
    if (uem && !positions_.contains(here + ".url")) {
      problem({here}, "[[policy.source]] of kind \"uem\" is missing its url; add for example url = \"https://uem.example.com/devices\"");
    }
    bool of_uem = !source.url.empty() || !source.token_file.empty() || !source.username.empty() || !source.password_file.empty();
    if (!uem && of_uem) {
      problem({here + ".url", here + ".token_file", here + ".username", here + ".password_file"},
              "policy.source.url, token_file, username and password_file are of no use without kind = \"uem\"; add it, or remove them");
    }
    if (source.username.empty() != source.password_file.empty()) {
      problem({here + ".username", here + ".password_file"},
              "policy.source.username and policy.source.password_file belong together; write both or none");
    }
    if (!source.token_file.empty() && !source.username.empty()) {
      problem({here + ".token_file"}, "policy.source.token_file and policy.source.username exclude each other; remove one");
    }
    if (source.retry_first_ms > source.retry_max_ms) {
      problem({here + ".retry_first_ms", here + ".retry_max_ms"},
              fmt::format("policy.source.retry_first_ms ({}) is above policy.source.retry_max_ms ({}); lower the first or raise the second",
                          source.retry_first_ms, source.retry_max_ms));
    }
  }
  void check_tenant(const std::string& tenant, const std::string& place, std::string_view key) {
    if (std::ranges::find(tenants_, tenant) != tenants_.end()) return;
    problem({place}, fmt::format("{} names \"{}\", and there is no such tenant; correct it, or remove it", key, tenant));
  }
  void problem(std::initializer_list<std::string> keys, std::string message) {
    ConfigPosition position;
    for (const std::string& key : keys) {
      auto found = positions_.find(key);
      if (found == positions_.end()) continue;
      position = found->second;
      break;
    }
    problems_.push_back({std::string(file_name_), position, std::move(message)});
  }

  const Config& config_;
  const std::vector<std::string> tenants_;
  std::string_view file_name_;
  const ConfigPositions& positions_;
  std::vector<ConfigProblem>& problems_;
};

}  // namespace

void check_policy_rules(const Config& config, std::string_view file_name, const ConfigPositions& positions,
                        std::vector<ConfigProblem>& problems) {
  PolicyConfigRules rules(config, file_name, positions, problems);
  rules.check_rules();
  rules.check_sources();
}

std::vector<std::string> policy_tenants(const Config& config) {
  std::set<std::string> all;
  for (const TenantConfig& tenant : config.tenants) all.insert(tenant.id);
  for (const GatewayRouteConfig& route : config.gateway.routes) all.insert(std::string(tenant_of(config, route)));
  all.erase("");
  if (all.empty()) all.insert("default");
  return {all.begin(), all.end()};
}

std::string source_tenant(const Config& config, const PolicySourceConfig& source) {
  if (!source.tenant.empty()) return source.tenant;
  std::vector<std::string> tenants = policy_tenants(config);
  return tenants.size() == 1 ? tenants.front() : "";
}

}  // namespace bellhop::service
