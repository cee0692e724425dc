// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

// The policy's part of the configuration: plain values, as in config.h, which includes this file.
namespace bellhop::service {

enum class RuleVerdict : uint8_t { allow, block };
// What a rule asks of a statement about a device: nothing, or that it was denied or made.
enum class RuleFact : uint8_t { any, no, yes };
// Where the compliance data of a tenant is taken from, beside the admin interface.
enum class PolicySourceKind : uint8_t { file, uem };

// [[policy.rule]]: in the order of the file, the first that matches decides.
struct PolicyRuleConfig {
  std::string name;  // required
  RuleVerdict verdict = RuleVerdict::block;
  RuleVerdict on_unknown = RuleVerdict::block;
  bool dry_run = false;
  std::vector<std::string> tenants;  // empty: all
  std::vector<std::string> points;   // empty: all
  RuleFact managed = RuleFact::any;
  RuleFact compromised = RuleFact::any;
  RuleFact encrypted = RuleFact::any;
  RuleFact activesync_profile = RuleFact::any;
  uint32_t inactive_days_over = 0;  // 0: no condition
  std::vector<std::string> mail_clients;
  std::vector<std::string> users;
  std::vector<std::string> device_types;
  std::vector<std::string> models;
  std::vector<std::string> os;
  std::string os_version_below;
};

// [[policy.source]]: at most one for a tenant.
struct PolicySourceConfig {
  std::string tenant;  // empty: the only one there is
  PolicySourceKind kind = PolicySourceKind::file;
  std::string file;  // with kind file
  std::string url;   // with kind uem: "https://host/path"
  std::string token_file;     // one line, for Bearer; or
  std::string username;       // for Basic, with
  std::string password_file;  // one line
  uint32_t interval_seconds = 10;
  uint32_t bulk_interval_minutes = 1'440;
  uint32_t page_timeout_ms = 30'000;
  uint32_t page_bytes_max = 16 << 20;
  uint32_t retry_first_ms = 1'000;
  uint32_t retry_max_ms = 300'000;
  uint32_t stale_after_minutes = 1'440;  // 0: never

  friend bool operator==(const PolicySourceConfig&, const PolicySourceConfig&) = default;
};

// [policy]
struct PolicyConfig {
  bool enabled = false;
  bool dry_run = false;
  RuleVerdict unknown_devices = RuleVerdict::block;
  RuleVerdict known_devices = RuleVerdict::allow;
  bool bind_account = true;
  uint32_t devices_max = 4'000'000;  // of a tenant, further names counted
  uint32_t delta_devices_max = 100'000;
  uint64_t data_bytes_max = uint64_t{2} << 30;
  std::vector<PolicyRuleConfig> rules;
  std::vector<PolicySourceConfig> sources;
};

inline constexpr size_t kPolicyRulesMax = 200;
inline constexpr size_t kPolicySourcesMax = 10'000;
// Users that rules name, each for every tenant of its rule.
inline constexpr size_t kPolicyUsersMax = 200'000;

}  // namespace bellhop::service
