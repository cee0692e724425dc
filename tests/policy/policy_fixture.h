// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "crypto/sealing.h"
#include "service/compliance.h"
#include "service/config.h"
#include "service/policy.h"
#include "store/memory/memory_store.h"

namespace bellhop::service {

inline WallTime at_day(int day) { return WallTime(std::chrono::hours(24 * (20'000 + day))); }

// Data, rules and what is needed for both, on one core of the simulator, with a store in memory.
struct PolicyScene {
  std::unique_ptr<store::MemoryStore> store = store::MemoryStore::create();
  std::optional<crypto::Keyring> keyring;
  std::optional<Vault> vault;
  std::optional<Compliance> compliance;
  Config config;

  // A process begins: what the store holds is loaded.
  Task<void> begin();
  // The configuration's [policy] as TOML; tenant "acme".
  Policy policy(std::string_view toml);
  ComplianceLine line(std::string id) { return {.device_id = std::move(id)}; }
  Task<ComplianceChange> replace(std::vector<ComplianceLine> lines, std::string tenant = "acme");
  Task<ComplianceChange> update(std::vector<ComplianceLine> lines, std::string tenant = "acme");
  PolicyQuestion question(std::string_view device, DecisionPoint point = DecisionPoint::activesync);
};

// Runs the flow of a test.
void run_scene(const std::function<Task<void>(PolicyScene& scene)>& flow);

}  // namespace bellhop::service

#define POLICY_TEST(suite, name)                        \
  static Task<void> suite##name##Flow(PolicyScene&);    \
  TEST(suite, name) { run_scene(&suite##name##Flow); }  \
  static Task<void> suite##name##Flow(PolicyScene& scene)
