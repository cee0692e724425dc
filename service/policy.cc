// SPDX-License-Identifier: Apache-2.0
#include "service/policy.h"

#include <fmt/format.h>

#include "core/base/check.h"

namespace bellhop::service {

std::string_view name_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::allow:
      return "allow";
    case Verdict::block:
      return "block";
    case Verdict::unavailable:
      return "unavailable";
  }
  check_failed("a verdict of the list", __FILE__, __LINE__);
}

std::string_view name_of(PolicyReason reason) {
  switch (reason) {
    case PolicyReason::off:
      return "off";
    case PolicyReason::exempt:
      return "exempt";
    case PolicyReason::wiped:
      return "wiped";
    case PolicyReason::blocked:
      return "blocked";
    case PolicyReason::stale:
      return "stale";
    case PolicyReason::other_account:
      return "other_account";
    case PolicyReason::override_allow:
      return "override_allow";
    case PolicyReason::override_block:
      return "override_block";
    case PolicyReason::rule:
      return "rule";
    case PolicyReason::unknown_device:
      return "unknown_device";
    case PolicyReason::default_:
      return "default";
  }
  check_failed("a reason of the list", __FILE__, __LINE__);
}

// What is known, gathered once for a question.
struct Policy::Findings {
  DeviceFacts facts;
  bool found = false;
  ComplianceHold hold = ComplianceHold::none;
  WallTime held_since{};
};

Policy::Findings Policy::look_up(const PolicyQuestion& question) const {
  Findings known;
  if (!question.device) return known;
  known.found = compliance_->find(question.tenant, *question.device, known.facts);
  known.hold = compliance_->hold(question.tenant, *question.device, &known.held_since);
  bool other_name = known.found && known.facts.key != *question.device;
  if (known.hold == ComplianceHold::none && other_name) {
    known.hold = compliance_->hold(question.tenant, known.facts.key, &known.held_since);
  }
  return known;
}

// The rules, and what counts where none does. `steps`: null, or what each rule said.
PolicyDecision Policy::by_rules(const PolicyQuestion& question, const Findings& known, std::vector<Step>* steps) const {
  const DeviceFacts* facts = known.found ? &known.facts : nullptr;
  WallTime since = known.found ? known.facts.updated : WallTime();
  PolicyDecision decision;
  for (size_t i = 0; i < rules_->rules.size(); ++i) {
    const PolicyRule& rule = rules_->rules[i];
    if (!rule.applies(question)) continue;
    RuleMatch match = rule.match(question, facts);
    bool counts = match == RuleMatch::yes || (match == RuleMatch::unknown && rule.unknown_counts);
    if (steps) steps->push_back({.rule = static_cast<RuleId>(i), .match = match, .decides = counts && !rule.dry_run});
    if (!counts) continue;
    if (rule.dry_run) {
      if (decision.dry_rule == kNoRule) decision.dry_rule = static_cast<RuleId>(i);
      continue;
    }
    decision.verdict = rule.blocks ? Verdict::block : Verdict::allow;
    decision.reason = PolicyReason::rule;
    decision.rule = static_cast<RuleId>(i);
    decision.unknown = match == RuleMatch::unknown;
    decision.since = since;
    return decision;
  }
  bool blocks = known.found ? rules_->default_blocks : rules_->unknown_devices_blocked;
  decision.verdict = blocks ? Verdict::block : Verdict::allow;
  decision.reason = known.found ? PolicyReason::default_ : PolicyReason::unknown_device;
  decision.since = since;
  return decision;
}

PolicyDecision Policy::weigh(const PolicyQuestion& question, std::vector<Step>* steps) const {
  Findings known = look_up(question);
  auto decide_by = [](Verdict verdict, PolicyReason reason, WallTime since) {
    return PolicyDecision{.verdict = verdict, .reason = reason, .since = since};
  };
  // By name: whether there is a policy or not.
  if (known.hold == ComplianceHold::wiped) return decide_by(Verdict::block, PolicyReason::wiped, known.held_since);
  if (known.hold == ComplianceHold::blocked) return decide_by(Verdict::block, PolicyReason::blocked, known.held_since);
  if (!rules_->enabled) return decide_by(Verdict::allow, PolicyReason::off, {});
  if (std::optional<WallTime> stale = compliance_->stale_at(question.tenant); stale && question.now >= *stale) {
    return decide_by(Verdict::unavailable, PolicyReason::stale, *stale);
  }
  if (known.found) {
    const DeviceFacts& facts = known.facts;
    bool other = rules_->bind_account && facts.account != 0 && question.account &&
                 facts.account != account_word(*question.account);
    if (other) return decide_by(Verdict::block, PolicyReason::other_account, facts.updated);
    if (facts.override_to == ComplianceOverride::block) {
      return decide_by(Verdict::block, PolicyReason::override_block, facts.updated);
    }
    if (facts.override_to == ComplianceOverride::allow) {
      return decide_by(Verdict::allow, PolicyReason::override_allow, facts.updated);
    }
  }
  return by_rules(question, known, steps);
}

PolicyDecision Policy::conclude(const PolicyQuestion& question, PolicyDecision decision) const {
  if (decision.allowed()) return decision;
  bool exempt = question.point == DecisionPoint::activesync && question.traffic != PolicyTraffic::ordinary;
  if (exempt) {
    decision.verdict = Verdict::allow;
    decision.reason = PolicyReason::exempt;
    return decision;
  }
  bool by_name = decision.reason == PolicyReason::wiped || decision.reason == PolicyReason::blocked;
  if (rules_->dry_run && !by_name) {
    decision.verdict = Verdict::allow;
    decision.dry_run = true;
  }
  return decision;
}

PolicyDecision Policy::decide(const PolicyQuestion& question) const {
  return conclude(question, weigh(question, nullptr));
}

PolicyDecision Policy::explain(const PolicyQuestion& question, std::vector<Step>& steps) const {
  steps.clear();
  return conclude(question, weigh(question, &steps));
}

PolicyDecision Policy::decide_for(const PolicyQuestion& question, std::span<const store::ComplianceKey> devices,
                                  const std::optional<store::ComplianceKey>& source) const {
  PolicyQuestion one = question;
  if (source) {
    one.device = *source;
    PolicyDecision decision = decide(one);
    if (!decision.allowed()) return decision;
  }
  // Nobody's request is as that of an unknown device.
  one.device.reset();
  PolicyDecision last = devices.empty() ? decide(one) : PolicyDecision();
  for (const store::ComplianceKey& device : devices) {
    one.device = device;
    PolicyDecision decision = decide(one);
    if (decision.allowed()) return decision;
    bool worse = last.verdict != Verdict::unavailable;  // that one may be lifted by itself
    if (worse) last = decision;
  }
  return last;
}

std::string Policy::how_to_lift(const PolicyDecision& decision, std::string_view device) const {
  if (decision.allowed()) return "";
  switch (decision.reason) {
    case PolicyReason::wiped:
      return fmt::format("the device was wiped; where it is in good hands again, let it go by name: bellhop device unblock {}", device);
    case PolicyReason::blocked:
      return fmt::format("the device was blocked by name; let it go by: bellhop device unblock {}", device);
    case PolicyReason::stale:
      return "the source of compliance data has been out of reach for too long, or has not been read yet; see its complaint "
             "in: bellhop compliance status. Decisions are made as soon as it answers";
    case PolicyReason::other_account:
      return "the device is on record for another account; correct \"account\" where the data comes from, or set "
             "policy.bind_account = false";
    case PolicyReason::override_block:
      return "the source says \"override\": \"block\"; change it there";
    case PolicyReason::rule:
      if (decision.unknown) {
        return fmt::format("rule \"{}\" asks for what is not known of the device; complete its data, or set on_unknown of "
                           "the rule", rules_->name(decision.rule));
      }
      return fmt::format("rule \"{}\" is against it; change what is known of the device, or the rule",
                         rules_->name(decision.rule));
    case PolicyReason::unknown_device:
      return "nothing is known of the device; enrol it, give its data by PATCH /v1/compliance, or set "
             "policy.unknown_devices = \"allow\"";
    case PolicyReason::default_:
      return "no rule allows it and policy.known_devices is \"block\"; add a rule that allows it";
    case PolicyReason::off:
    case PolicyReason::exempt:
    case PolicyReason::override_allow:
      break;
  }
  return "";
}

}  // namespace bellhop::service
