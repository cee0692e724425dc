// SPDX-License-Identifier: Apache-2.0
#include "service/policy_points.h"

#include "core/io.h"
#include "service/push.h"

namespace bellhop::service {

PolicyDecision decide_device(const Core& core, std::string_view tenant, const store::StoredUserId& user,
                             const store::ComplianceKey& name, DecisionPoint point) {
  if (!core.policy || core.policy->idle(tenant)) {
    return {.verdict = Verdict::allow, .reason = PolicyReason::off};
  }
  PolicyQuestion question{.tenant = tenant, .point = point, .account = user, .device = {}, .now = io::wall_now()};
  if (!name.zero()) question.device = name;
  PolicyDecision decision = core.policy->decide(question);
  core.metrics.add(metric::policy_decisions, static_cast<PolicyVerdictLabel>(decision.verdict));
  if (decision.dry_run || decision.dry_rule != kNoRule) core.metrics.add(metric::policy_dry_runs);
  return decision;
}

bool source_kept_out(const Core& core, std::string_view tenant, const store::StoredUserId& user,
                     const store::DeviceRecord& source) {
  if (source.state == store::DeviceState::blocked) return true;
  return decide_device(core, tenant, user, source.name, DecisionPoint::subscription).verdict == Verdict::block;
}

PushVerdict judge_push(const Core& core, std::string_view tenant, const store::StoredUserId& user,
                       const store::DeviceRecord& device) {
  if (std::optional<DeviceOutcome> refusal = device_refusal(device)) return {.refusal = refusal};
  PolicyDecision decision = decide_device(core, tenant, user, device.name, DecisionPoint::push);
  if (decision.allowed()) return {};
  if (decision.verdict == Verdict::unavailable) return {.refusal = {}, .undecided = true};
  return {.refusal = DeviceOutcome::skipped_policy};
}

std::optional<DeviceOutcome> push_refusal(const Core& core, std::string_view tenant, const store::StoredUserId& user,
                                          const store::DeviceRecord& device) {
  PushVerdict verdict = judge_push(core, tenant, user, device);
  return verdict.undecided ? DeviceOutcome::skipped_policy : verdict.refusal;
}

MailboxVerdict judge_mailbox(const Core& core, std::string_view tenant, const store::StoredUserId& user,
                             const std::vector<store::DeviceEntry>& devices, const store::DeviceKey& source) {
  MailboxVerdict verdict{.all_blocked = !devices.empty()};
  for (const store::DeviceEntry& device : devices) {
    PolicyDecision decision = decide_device(core, tenant, user, device.record.name, DecisionPoint::callback);
    bool blocked = device.record.state == store::DeviceState::blocked || decision.verdict == Verdict::block;
    // What cannot be decided now may be allowed again: it ends no subscription, and asks nothing of Exchange.
    if (!blocked) verdict.all_blocked = false;
    if (device.key == source && (blocked || !decision.allowed())) verdict.source_blocked = true;
  }
  return verdict;
}

}  // namespace bellhop::service
