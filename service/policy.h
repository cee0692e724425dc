// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/time.h"
#include "service/compliance.h"
#include "service/config.h"
#include "service/policy_rules.h"

namespace bellhop::service {

// What of a request matters to a policy: whatever a device must be able to do to be wiped stays open to a blocked one.
enum class PolicyTraffic : uint8_t { ordinary, options, provision };

// Who asks, where, and for what. Views live until decide() has returned.
struct PolicyQuestion {
  std::string_view tenant;
  DecisionPoint point = DecisionPoint::push;
  PolicyTraffic traffic = PolicyTraffic::ordinary;
  std::optional<store::StoredUserId> account;   // Compliance::account(); absent: not known
  // user_name_hash() of whom the account may be as well: where nobody knows its domain, a user of any; a user without its accents.
  // Zeros: anybody.
  std::optional<store::StoredUserId> user_name = {};
  std::optional<store::ComplianceKey> device;   // compliance_key(); absent: the request names none
  std::string_view device_type;                 // as the request says; empty: as on record
  std::string_view mail_client;                 // likewise: User-Agent
  WallTime now{};
};

enum class Verdict : uint8_t { allow, block, unavailable };

// Why. The names are an interface: they stand in logs, answers of explain and docs/policy.md.
enum class PolicyReason : uint8_t {
  off,             // [policy] enabled = false
  exempt,          // OPTIONS, Provision
  wiped,           // by name
  blocked,         // by name
  stale,           // the data is too old to decide by, or its source has not been read once
  other_account,   // the device is on record for another owner
  override_allow,  // of the device, in the data
  override_block,
  rule,            // of the configuration: `rule` says which
  unknown_device,  // nothing is known of it, and no rule allowed or blocked it
  default_,        // it is known, and no rule was against it
};
std::string_view name_of(Verdict verdict);
std::string_view name_of(PolicyReason reason);

struct PolicyDecision {
  Verdict verdict = Verdict::block;
  PolicyReason reason = PolicyReason::unknown_device;
  RuleId rule = kNoRule;     // with PolicyReason::rule
  bool unknown = false;      // the rule counted because what it asks for is not known
  WallTime since{};          // of what the reason rests on; the epoch: not known
  // Allowed only because the whole policy is in dry run; `reason` and `rule` say what stands against it.
  bool dry_run = false;
  RuleId dry_rule = kNoRule;  // the first rule in dry run that would have decided

  bool allowed() const { return verdict == Verdict::allow; }
};

// Decides. One per core: rules are the core's own and change with a reload; data is shared.
class Policy {
 public:
  Policy(const Compliance& compliance, std::shared_ptr<const PolicyRules> rules)
      : compliance_(&compliance), rules_(std::move(rules)) {}

  void renew(std::shared_ptr<const PolicyRules> rules) { rules_ = std::move(rules); }
  const Compliance& compliance() const { return *compliance_; }
  const PolicyRules& rules() const { return *rules_; }

  // Nothing can keep a device of the tenant out: there is nothing to ask.
  bool idle(std::string_view tenant) const { return !rules_->enabled && !compliance_->any_hold(tenant); }

  // Pure over data, rules and the state of the source; 2 µs at most. In this order: holds by name; staleness; the
  // record's owner; its override; the rules as they stand in the file; unknown_devices or known_devices. OPTIONS and
  // Provision of ActiveSync are then allowed all the same.
  PolicyDecision decide(const PolicyQuestion& question) const;
  // For a request on behalf of several devices, with the credentials of one of them (bellhop's own EWS): allowed while
  // one of `devices` is, and `source` is not blocked. Answers with the decision that counts.
  PolicyDecision decide_for(const PolicyQuestion& question, std::span<const store::ComplianceKey> devices,
                            const std::optional<store::ComplianceKey>& source) const;

  // For operators: what each rule says to the question, in order.
  struct Step {
    RuleId rule = kNoRule;
    RuleMatch match = RuleMatch::no;
    bool decides = false;
  };
  PolicyDecision explain(const PolicyQuestion& question, std::vector<Step>& steps) const;
  // What lifts a block: one sentence. Empty for an allow. `device`: how `bellhop device` is told which one.
  std::string how_to_lift(const PolicyDecision& decision, std::string_view device) const;

 private:
  struct Findings;
  Findings look_up(const PolicyQuestion& question) const;
  PolicyDecision by_rules(const PolicyQuestion& question, const Findings& known, std::vector<Step>* steps) const;
  PolicyDecision weigh(const PolicyQuestion& question, std::vector<Step>* steps) const;
  PolicyDecision conclude(const PolicyQuestion& question, PolicyDecision decision) const;

  const Compliance* compliance_;
  std::shared_ptr<const PolicyRules> rules_;
};

}  // namespace bellhop::service
