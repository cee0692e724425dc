// SPDX-License-Identifier: Apache-2.0
#include "tests/policy/policy_fixture.h"

#include "core/io.h"
#include "tests/core/run.h"

namespace bellhop::service {

Task<void> PolicyScene::begin() {
  if (!keyring) {
    crypto::Secret text = crypto::make_keyring();
    keyring = crypto::Keyring::parse(text).value();
  }
  vault.emplace((co_await Vault::open(*keyring, *store)).value());
  compliance.emplace(*store, *vault);
  compliance->set_tenants({"acme", "other"});
  Status loaded = co_await compliance->load();
  BH_CHECK(loaded.has_value());
}

Policy PolicyScene::policy(std::string_view toml) {
  std::string text =
      "roles = [\"gateway\"]\nkeyring_file = \"/k\"\n[listen.gateway]\ncertificate_file = \"/c\"\nprivate_key_file = \"/p\"\n"
      "[[gateway.route]]\nhosts = [\"mail.example.com\"]\ntenant = \"acme\"\n"
      "[gateway.route.ews]\nupstream = \"https://exchange.example.com\"\n"
      "[[tenant]]\nid = \"acme\"\nname = \"Acme\"\news_hosts = [\"mail.example.com\"]\n";
  text += toml;
  ConfigOutcome outcome = parse_config(text, "test.toml");
  for (const ConfigProblem& problem : outcome.problems) ADD_FAILURE() << to_text(problem);
  config = std::move(outcome.config);
  return Policy(*compliance, PolicyRules::make(config, *vault));
}

Task<ComplianceChange> PolicyScene::replace(std::vector<ComplianceLine> lines, std::string tenant) {
  ComplianceBulk bulk = compliance->begin(tenant);
  for (const ComplianceLine& one : lines) BH_CHECK(compliance->add(bulk, one).has_value());
  co_return (co_await compliance->replace(std::move(bulk))).value();
}

Task<ComplianceChange> PolicyScene::update(std::vector<ComplianceLine> lines, std::string tenant) {
  co_return (co_await compliance->update(std::move(tenant), std::move(lines))).value();
}

PolicyQuestion PolicyScene::question(std::string_view device, DecisionPoint point) {
  return {.tenant = "acme", .point = point, .account = {}, .device = compliance_key(device), .now = at_day(0)};
}

namespace {

Task<void> run_flow(const std::function<Task<void>(PolicyScene&)>* flow) {
  PolicyScene scene;
  co_await scene.begin();
  co_await (*flow)(scene);
  Status left = co_await scene.store->leave_core();
  BH_CHECK(left.has_value());
}

}  // namespace

void run_scene(const std::function<Task<void>(PolicyScene& scene)>& flow) {
  test::run_on_cores(1, [&](unsigned) { return run_flow(&flow); });
}

}  // namespace bellhop::service
