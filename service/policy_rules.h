// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "crypto/hash.h"
#include "service/compliance_table.h"
#include "service/config.h"

namespace bellhop::service {

class Vault;
struct PolicyQuestion;

// Where a policy is applied. The names are an interface.
enum class DecisionPoint : uint8_t { registration, subscription, callback, push, ews, activesync };
inline constexpr size_t kDecisionPoints = 6;
std::string_view name_of(DecisionPoint point);

// The place of a rule in the configuration, from 0.
using RuleId = uint16_t;
inline constexpr RuleId kNoRule = 0xffff;

enum class RuleMatch : uint8_t { no, unknown, yes };
std::string_view name_of(RuleMatch match);

// A list of texts with "*" for any characters; letter case does not count; "!" before an item excludes. Matches what an
// item names (anything, where all items exclude) and none excludes.
class TextMatch {
 public:
  TextMatch() = default;
  explicit TextMatch(const std::vector<std::string>& items);
  bool empty() const { return items_.empty(); }
  RuleMatch match(std::string_view text) const;  // unknown for an empty text

 private:
  struct Item {
    std::string pattern;  // lower case
    bool excludes = false;
  };
  std::vector<Item> items_;
  bool includes_ = false;
};

// One [[policy.rule]], made ready. All conditions that it has must match.
struct PolicyRule {
  std::string name;
  bool blocks = true;
  bool unknown_counts = true;  // what is not known counts as a match
  bool dry_run = false;
  uint8_t points = 0xff;             // a bit each
  std::vector<std::string> tenants;  // empty: all
  std::optional<Known> managed, compromised, encrypted, activesync_profile;
  Duration inactive_longer_than{};  // zero: no condition
  TextMatch mail_clients, device_types, models, os;
  std::string os_version_below;
  std::unordered_set<store::StoredUserId> users;  // of all the rule's tenants
  std::unordered_set<store::StoredUserId> users_excluded;
  std::unordered_set<store::StoredUserId> user_names, user_names_excluded;  // user_name_hash() of them, in their domains and in none

  // `facts`: null for a device of which nothing is known.
  RuleMatch match(const PolicyQuestion& question, const DeviceFacts* facts) const;
  bool applies(const PolicyQuestion& question) const;

 private:
  RuleMatch match_user(const PolicyQuestion& question) const;
};

// [policy] made ready; immutable.
struct PolicyRules {
  bool enabled = false;
  bool dry_run = false;
  bool bind_account = true;
  bool unknown_devices_blocked = true;
  bool default_blocks = false;
  std::vector<PolicyRule> rules;

  // The configuration was checked before: this cannot fail.
  static std::shared_ptr<const PolicyRules> make(const Config& config, const Vault& vault);
  std::string_view name(RuleId rule) const;  // empty for kNoRule
};

// Of plain_letters() of a user's name, in this domain or in none.
crypto::Digest user_name_hash(std::string_view name, std::string_view domain = {});

// "17.9" is below "17.10": what stands between dots is compared as numbers. Unknown where `version` does not begin with one.
RuleMatch version_below(std::string_view version, std::string_view bound);

}  // namespace bellhop::service
