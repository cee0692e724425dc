// SPDX-License-Identifier: Apache-2.0
#include "service/compliance.h"

#include "core/sim/world.h"
#include "core/sleep.h"
#include "service/compliance_file.h"
#include "service/error_texts.h"
#include "tests/policy/policy_fixture.h"

namespace bellhop::service {
namespace {

// What is known of a device; nothing where it is unknown.
std::optional<DeviceFacts> facts_of(PolicyScene& scene, std::string_view device, std::string_view tenant = "acme") {
  DeviceFacts facts;
  if (!scene.compliance->find(tenant, compliance_key(device), facts)) return std::nullopt;
  return facts;
}

POLICY_TEST(Compliance, IsThereAgainAfterARestart) {
  (void)co_await scene.replace({{.device_id = "ApplF1", .other_ids = {"phone1"}, .account = "ann@example.com", .managed = Known::yes,
                           .model = "Phone 9", .last_contact = at_day(-1)},
                          scene.line("b")});
  (void)co_await scene.update({{.device_id = "b", .encrypted = Known::no}, scene.line("c")});
  (void)co_await scene.replace({scene.line("theirs")}, "other");
  EXPECT_TRUE(co_await scene.compliance->set_hold("acme", compliance_key("c"), ComplianceHold::wiped));
  co_await scene.begin();
  auto facts = facts_of(scene, "PHONE1");
  EXPECT_TRUE(facts.has_value());
  EXPECT_EQ(facts->model, "Phone 9");
  EXPECT_EQ(facts->managed, Known::yes);
  EXPECT_EQ(facts->last_contact, at_day(-1));
  EXPECT_EQ(facts->account, account_word(scene.compliance->account("acme", "ann@example.com")));
  EXPECT_EQ(facts_of(scene, "b")->encrypted, Known::no);
  EXPECT_TRUE(facts_of(scene, "c").has_value());
  EXPECT_FALSE(facts_of(scene, "theirs").has_value());
  EXPECT_TRUE(facts_of(scene, "theirs", "other").has_value());
  EXPECT_EQ(scene.compliance->hold("acme", compliance_key("c")), ComplianceHold::wiped);
  EXPECT_EQ(scene.compliance->hold("other", compliance_key("c")), ComplianceHold::none);
  EXPECT_EQ(scene.compliance->take_wipes().size(), 1u);
}

POLICY_TEST(Compliance, BothSpellingsOfADeviceAreOne) {
  (void)co_await scene.replace({scene.line("4E696E65343338334146333436383630")});  // "Nine4383AF346860"
  EXPECT_TRUE(facts_of(scene, "nine4383af346860").has_value());
}

POLICY_TEST(Compliance, ABulkReplacesAsAWhole) {
  (void)co_await scene.replace({scene.line("a"), scene.line("b")});
  uint64_t before = scene.compliance->changes();
  ComplianceBulk bulk = scene.compliance->begin("acme");
  EXPECT_TRUE(scene.compliance->add(bulk, scene.line("c")));
  EXPECT_TRUE(facts_of(scene, "a").has_value());
  EXPECT_FALSE(facts_of(scene, "c").has_value()) << "not before it is whole";
  EXPECT_EQ(scene.compliance->changes(), before);
  EXPECT_TRUE(co_await scene.compliance->replace(std::move(bulk)));
  EXPECT_FALSE(facts_of(scene, "a").has_value());
  EXPECT_TRUE(facts_of(scene, "c").has_value());
  EXPECT_GT(scene.compliance->changes(), before);
  EXPECT_EQ(scene.compliance->counts("acme").names, 1u);
}

// By the device's own name, another spelling of it, or another name, of either of the two lines.
POLICY_TEST(Compliance, ABulkNamesADeviceOnce) {
  const ComplianceLine first = {.device_id = "Nine4383AF346860", .other_ids = {"phone1", "phone2"}, .managed = Known::no};
  const ComplianceLine again[] = {
      {.device_id = "NINE4383af346860", .managed = Known::yes},
      {.device_id = "4E696E65343338334146333436383630", .managed = Known::yes},
      {.device_id = "PHONE2", .managed = Known::yes},
      {.device_id = "other", .other_ids = {"b", "nine4383af346860"}, .managed = Known::yes},
      {.device_id = "other", .other_ids = {"phone1"}, .managed = Known::yes},
  };
  for (const ComplianceLine& line : again) {
    for (bool reversed : {false, true}) {
      ComplianceBulk bulk = scene.compliance->begin("acme");
      EXPECT_TRUE(scene.compliance->add(bulk, reversed ? line : first));
      Status added = scene.compliance->add(bulk, reversed ? first : line);
      EXPECT_TRUE(!added && is(added.error(), ServiceError::compliance_repeated)) << line.device_id << reversed;
    }
  }
  // Within a line it is one device, however often it is named.
  ComplianceBulk bulk = scene.compliance->begin("acme");
  EXPECT_TRUE(scene.compliance->add(bulk, {.device_id = "a", .other_ids = {"A", "b", "B", "b"}}));
  EXPECT_TRUE(scene.compliance->add(bulk, scene.line("c")));
  EXPECT_EQ(bulk.names(), 3u);
  co_return;
}

POLICY_TEST(Compliance, TheLaterLineOfADeviceCountsInABulkOfPagesAndInADelta) {
  ComplianceBulk bulk = scene.compliance->begin("acme", Repeats::later_counts);
  EXPECT_TRUE(scene.compliance->add(bulk, {.device_id = "a", .other_ids = {"a2"}, .managed = Known::no}));
  EXPECT_TRUE(scene.compliance->add(bulk, {.device_id = "A", .managed = Known::yes}));
  EXPECT_TRUE(scene.compliance->add(bulk, {.device_id = "b", .managed = Known::yes}));
  EXPECT_TRUE(scene.compliance->add(bulk, {.device_id = "B", .managed = Known::no}));
  EXPECT_TRUE(co_await scene.compliance->replace(std::move(bulk)));
  EXPECT_EQ(facts_of(scene, "a2")->managed, Known::yes);
  EXPECT_EQ(facts_of(scene, "b")->managed, Known::no);
  EXPECT_EQ(scene.compliance->counts("acme").names, 3u);
  (void)co_await scene.update({{.device_id = "a2", .managed = Known::yes}, {.device_id = "a", .managed = Known::no}});
  EXPECT_EQ(facts_of(scene, "a")->managed, Known::no);
}

// Looks at each turn of the loop: a reader that saw half of a bulk would find "a" and "c" together, or neither.
Task<void> watch_bulk(PolicyScene* scene, bool* end, uint64_t* looks, uint64_t* halves) {
  while (!*end) {
    ++*looks;
    bool old_one = facts_of(*scene, "a").has_value(), new_one = facts_of(*scene, "c").has_value();
    *halves += old_one == new_one;
    co_await yield_now();
  }
}

POLICY_TEST(Compliance, NobodySeesHalfOfABulk) {
  (void)co_await scene.replace({scene.line("a")});
  ComplianceBulk bulk = scene.compliance->begin("acme");
  for (int i = 0; i < 5'000; ++i) EXPECT_TRUE(scene.compliance->add(bulk, scene.line("d" + std::to_string(i))));
  EXPECT_TRUE(scene.compliance->add(bulk, scene.line("c")));
  bool end = false;
  uint64_t looks = 0, halves = 0;
  TaskScope scope(&co_await current_context());
  scope.spawn(watch_bulk(&scene, &end, &looks, &halves));
  EXPECT_TRUE(co_await scene.compliance->replace(std::move(bulk)));
  end = true;
  co_await scope.join();
  EXPECT_GT(looks, 10u);
  EXPECT_EQ(halves, 0u);
  EXPECT_TRUE(facts_of(scene, "d4999").has_value());
}

POLICY_TEST(Compliance, ABulkThatACrashCutShortLeavesTheDataBefore) {
  (void)co_await scene.replace({scene.line("a")});
  uint32_t set = (co_await scene.store->newest_compliance_set()).value();
  // What a bulk had written when the process died: rows of a set that no tenant has.
  store::ComplianceWrite half{.set = set + 1, .puts = {{compliance_key("b"), {}}}, .erased = {}};
  EXPECT_TRUE(co_await scene.store->write_compliance(half));
  co_await scene.begin();
  EXPECT_TRUE(facts_of(scene, "a").has_value());
  EXPECT_FALSE(facts_of(scene, "b").has_value());
  (void)co_await scene.replace({scene.line("c")});
  EXPECT_FALSE(facts_of(scene, "b").has_value());
  TaskScope scope(&co_await current_context());
  scope.spawn(scene.compliance->run());
  EXPECT_TRUE(co_await sleep_for(std::chrono::seconds(3)));
  scope.request_stop();
  co_await scope.join();
  EXPECT_EQ((co_await scene.store->counts()).value().compliance, 1u) << "rows of other sets are swept";
}

POLICY_TEST(Compliance, ADeltaChangesWhatItNames) {
  (void)co_await scene.replace({{.device_id = "a", .other_ids = {"a2"}, .managed = Known::yes, .model = "M"}, scene.line("b")});
  ComplianceChange change = co_await scene.update(
      {{.device_id = "a2", .compromised = Known::yes}, {.device_id = "b", .removed = true}, scene.line("new")});
  EXPECT_EQ(change.lines, 3u);
  EXPECT_EQ(change.removed, 1u);
  EXPECT_EQ(change.names, 3u);
  auto facts = facts_of(scene, "a");
  EXPECT_EQ(facts->compromised, Known::yes) << "by another name";
  EXPECT_EQ(facts->managed, Known::yes) << "what is not named stays";
  EXPECT_FALSE(facts_of(scene, "b").has_value());
  EXPECT_TRUE(facts_of(scene, "new").has_value());
  (void)co_await scene.update({{.device_id = "b", .removed = true}, scene.line("b"), {.device_id = "a", .managed = Known::unknown, .model = ""}});
  EXPECT_TRUE(facts_of(scene, "b").has_value()) << "in the order of the lines";
  co_await scene.begin();
  EXPECT_TRUE(facts_of(scene, "b").has_value());
  EXPECT_EQ(facts_of(scene, "a2")->managed, Known::unknown);
  EXPECT_EQ(facts_of(scene, "a2")->model, "");
}

POLICY_TEST(Compliance, ManyDeltasInOneAreTaken) {
  std::vector<ComplianceLine> lines;
  for (int i = 0; i < 3'000; ++i) lines.push_back({.device_id = "d" + std::to_string(i), .managed = Known::yes});
  ComplianceChange change = co_await scene.update(std::move(lines));
  EXPECT_EQ(change.names, 3'000u);
  co_await scene.begin();
  EXPECT_EQ(scene.compliance->counts("acme").names, 3'000u);
}

Task<void> take_bulk(Compliance* compliance, ComplianceBulk* bulk, Result<ComplianceChange>* change) {
  *change = co_await compliance->replace(std::move(*bulk));
}

Task<void> hold_it(Compliance* compliance, std::string_view name, Result<std::vector<store::ComplianceKey>>* names) {
  *names = co_await compliance->set_hold("acme", compliance_key(name), ComplianceHold::blocked);
}

POLICY_TEST(Compliance, NoLineLiftsAHold) {
  (void)co_await scene.replace({scene.line("a"), scene.line("b")});
  EXPECT_TRUE(co_await scene.compliance->set_hold("acme", compliance_key("a"), ComplianceHold::wiped));
  EXPECT_TRUE(co_await scene.compliance->set_hold("acme", compliance_key("b"), ComplianceHold::blocked));
  ComplianceChange change = co_await scene.replace({{.device_id = "a", .override_to = ComplianceOverride::none}, scene.line("b")});
  EXPECT_EQ(change.held, 2u);
  change = co_await scene.update({{.device_id = "a", .override_to = ComplianceOverride::allow}, {.device_id = "b", .removed = true}});
  EXPECT_EQ(change.held, 2u);
  EXPECT_EQ(scene.compliance->hold("acme", compliance_key("a")), ComplianceHold::wiped);
  EXPECT_EQ(scene.compliance->hold("acme", compliance_key("b")), ComplianceHold::blocked);
  EXPECT_TRUE(co_await scene.compliance->set_hold("acme", compliance_key("a"), ComplianceHold::blocked));
  EXPECT_EQ(scene.compliance->hold("acme", compliance_key("a")), ComplianceHold::wiped) << "a block does not lift a wipe";
  EXPECT_TRUE(co_await scene.compliance->set_hold("acme", compliance_key("a"), ComplianceHold::none));
  EXPECT_EQ(scene.compliance->hold("acme", compliance_key("a")), ComplianceHold::none);
  co_await scene.begin();
  EXPECT_EQ(scene.compliance->hold("acme", compliance_key("a")), ComplianceHold::none);
  EXPECT_EQ(scene.compliance->hold("acme", compliance_key("b")), ComplianceHold::blocked);
}

POLICY_TEST(Compliance, AHoldIsOfAllNamesOfADevice) {
  Policy policy = scene.policy("");
  (void)co_await scene.replace({{.device_id = "a", .other_ids = {"a2", "a3"}}});
  EXPECT_TRUE(co_await scene.compliance->set_hold("acme", compliance_key("a2"), ComplianceHold::blocked));
  for (std::string_view name : {"a", "a2", "a3"}) EXPECT_FALSE(policy.decide(scene.question(name)).allowed()) << name;
  EXPECT_TRUE(co_await scene.compliance->set_hold("acme", compliance_key("a2"), ComplianceHold::none));
  for (std::string_view name : {"a", "a2", "a3"}) EXPECT_TRUE(policy.decide(scene.question(name)).allowed()) << name;
}

// Who is wiped by one name is out by all, whatever data says of the names later.
POLICY_TEST(Compliance, NoDataPartsAHeldDeviceFromItsNames) {
  Policy policy = scene.policy("");
  auto held = [&](std::string_view name) { return scene.compliance->hold("acme", compliance_key(name)); };
  (void)co_await scene.replace({{.device_id = "ApplF1", .other_ids = {"phone1"}}, scene.line("phone2")});
  auto names = co_await scene.compliance->set_hold("acme", compliance_key("ApplF1"), ComplianceHold::wiped);
  EXPECT_EQ(names.value().size(), 2u);
  EXPECT_EQ(scene.compliance->take_wipes().size(), 2u) << "bellhop's device may be called by either";
  EXPECT_EQ(held("phone1"), ComplianceHold::wiped);
  (void)co_await scene.replace({{.device_id = "phone1", .other_ids = {"ApplF1"}}, scene.line("phone2")});
  for (std::string_view name : {"ApplF1", "phone1"}) EXPECT_FALSE(policy.decide(scene.question(name)).allowed()) << name;
  (void)co_await scene.update({{.device_id = "phone1", .removed = true}, scene.line("phone1")});
  for (std::string_view name : {"ApplF1", "phone1"}) EXPECT_FALSE(policy.decide(scene.question(name)).allowed()) << name;

  co_await scene.begin();
  EXPECT_EQ(held("phone1"), ComplianceHold::wiped) << "it is on the disk";
  (void)scene.compliance->take_wipes();
  (void)co_await scene.replace({{.device_id = "new1", .other_ids = {"new2", "phone1"}}, scene.line("phone2")});
  for (std::string_view name : {"new1", "new2"}) EXPECT_EQ(held(name), ComplianceHold::wiped) << name << ", by a bulk";
  EXPECT_EQ(scene.compliance->take_wipes().size(), 2u);
  (void)co_await scene.update({{.device_id = "new3", .other_ids = {"new4", "phone2", "new2"}}});
  for (std::string_view name : {"new3", "new4", "phone2"}) EXPECT_EQ(held(name), ComplianceHold::wiped) << name << ", by a delta";
  co_await scene.begin();
  for (std::string_view name : {"new1", "new2", "new3", "new4", "phone2"}) EXPECT_EQ(held(name), ComplianceHold::wiped) << name;
  EXPECT_TRUE(co_await scene.compliance->set_hold("acme", compliance_key("new3"), ComplianceHold::none));
  for (std::string_view name : {"new3", "new4", "phone2", "new2"}) EXPECT_EQ(held(name), ComplianceHold::none) << name;
  EXPECT_EQ(held("phone1"), ComplianceHold::wiped) << "the data says no more that it is the same device";
}

POLICY_TEST(Compliance, AHoldThatIsSetWhileDataIsTakenIsOfTheNamesBeforeAndAfter) {
  (void)co_await scene.replace({{.device_id = "a", .other_ids = {"a2"}}});
  ComplianceBulk bulk = scene.compliance->begin("acme");
  EXPECT_TRUE(scene.compliance->add(bulk, {.device_id = "a3", .other_ids = {"a"}}));
  EXPECT_TRUE(scene.compliance->add(bulk, scene.line("a2")));
  Result<ComplianceChange> change;
  Result<std::vector<store::ComplianceKey>> names;
  TaskScope scope(&co_await current_context());
  scope.spawn(take_bulk(&*scene.compliance, &bulk, &change));
  scope.spawn(hold_it(&*scene.compliance, "a", &names));
  co_await scope.join();
  EXPECT_TRUE(change && names);
  co_await scene.begin();
  for (std::string_view name : {"a", "a2", "a3"}) {
    EXPECT_EQ(scene.compliance->hold("acme", compliance_key(name)), ComplianceHold::blocked) << name;
  }
}

POLICY_TEST(Compliance, WhatIsRemovedLeavesNoNames) {
  (void)co_await scene.replace({{.device_id = "a", .other_ids = {"a2", "a3"}}, {.device_id = "b", .other_ids = {"b2"}}});
  ComplianceChange change = co_await scene.update({{.device_id = "a3", .removed = true}});
  EXPECT_EQ(change.names, 2u);
  (void)co_await scene.update({scene.line("a")});
  EXPECT_TRUE(facts_of(scene, "a") && !facts_of(scene, "a2")) << "another device may be called so now";
  co_await scene.begin();
  EXPECT_EQ(scene.compliance->counts("acme").names, 3u);
  EXPECT_TRUE(facts_of(scene, "b2"));
}

// What was known of a device by a name stays where that becomes another name of it.
POLICY_TEST(Compliance, ANameThatIsLinkedBringsWhatIsKnownOfIt) {
  auto known = [&](std::string_view name) { return facts_of(scene, name).value_or(DeviceFacts()); };
  (void)co_await scene.update({{.device_id = "serial1", .managed = Known::yes, .compromised = Known::yes, .model = "M"},
                               {.device_id = "serial2", .encrypted = Known::no, .override_to = ComplianceOverride::block},
                               {.device_id = "serial3", .override_to = ComplianceOverride::allow, .model = "M3"},
                               {.device_id = "eas3", .managed = Known::no}});
  (void)co_await scene.update({{.device_id = "eas1", .other_ids = {"serial1", "serial2"}, .managed = Known::no}});
  (void)co_await scene.update({{.device_id = "eas3", .other_ids = {"serial3"}}});
  for (int round = 0; round < 2; ++round) {
    for (std::string_view name : {"eas1", "serial1", "serial2"}) {
      EXPECT_EQ(known(name).managed, Known::no) << name << ", what the line says";
      EXPECT_EQ(known(name).compromised, Known::yes) << name;
      EXPECT_EQ(known(name).encrypted, Known::no) << name;
      EXPECT_EQ(known(name).override_to, ComplianceOverride::block) << name;
      EXPECT_EQ(known(name).model, "M") << name;
    }
    EXPECT_EQ(known("serial3").managed, Known::no) << "of two that were known, what the first says";
    EXPECT_EQ(known("serial3").override_to, ComplianceOverride::none);
    EXPECT_EQ(known("serial3").model, "M3");
    co_await scene.begin();
  }
  ComplianceBulk bulk = scene.compliance->begin("acme", Repeats::later_counts);
  EXPECT_TRUE(scene.compliance->add(bulk, {.device_id = "serial1", .compromised = Known::yes}));
  EXPECT_TRUE(scene.compliance->add(bulk, {.device_id = "eas1", .other_ids = {"serial1"}, .managed = Known::yes}));
  EXPECT_TRUE(co_await scene.compliance->replace(std::move(bulk)));
  EXPECT_EQ(known("eas1").compromised, Known::yes);
}

// A first name that becomes another name of a third device leaves its own other names with it.
POLICY_TEST(Compliance, NamesLeadOnWhereTheirFirstNameBecomesAnotherName) {
  auto held = [&](std::string_view name) { return scene.compliance->hold("acme", compliance_key(name)); };
  (void)co_await scene.update({{.device_id = "a", .other_ids = {"b"}, .managed = Known::yes}});
  (void)co_await scene.update({{.device_id = "c", .other_ids = {"a"}, .managed = Known::yes}});
  for (int round = 0; round < 2; ++round) {
    for (std::string_view name : {"a", "b", "c"}) EXPECT_TRUE(facts_of(scene, name).has_value()) << name;
    co_await scene.begin();
  }
  (void)co_await scene.update({{.device_id = "b", .override_to = ComplianceOverride::block}});
  for (std::string_view name : {"a", "b", "c"}) {
    EXPECT_EQ(facts_of(scene, name)->override_to, ComplianceOverride::block) << name;
    EXPECT_EQ(facts_of(scene, name)->managed, Known::yes) << name;
  }
  EXPECT_TRUE(co_await scene.compliance->set_hold("acme", compliance_key("b"), ComplianceHold::blocked));
  for (std::string_view name : {"a", "b", "c"}) EXPECT_EQ(held(name), ComplianceHold::blocked) << name;
  EXPECT_TRUE(co_await scene.compliance->set_hold("acme", compliance_key("c"), ComplianceHold::none));
  (void)co_await scene.update({{.device_id = "d", .wiped = true}});  // what is held is spread over all names again
  for (std::string_view name : {"a", "b", "c"}) EXPECT_EQ(held(name), ComplianceHold::none) << name;
  (void)co_await scene.update({{.device_id = "b", .removed = true}});
  EXPECT_EQ(scene.compliance->counts("acme").names, 1u) << "but for d";
  for (int i = 0; i < 20; ++i) {
    (void)co_await scene.update({{.device_id = "n" + std::to_string(i + 1), .other_ids = {"n" + std::to_string(i)}}});
  }
  EXPECT_TRUE(facts_of(scene, "n15").has_value());
  EXPECT_FALSE(facts_of(scene, "n0").has_value()) << "the way has an end";
  (void)co_await scene.update({scene.line("n0")});
  EXPECT_TRUE(facts_of(scene, "n0").has_value()) << "named again it is known again";
}

POLICY_TEST(Compliance, SinceWhenIsSinceItIsSo) {
  (void)co_await scene.replace({{.device_id = "a", .managed = Known::no}, {.device_id = "b", .managed = Known::no}});
  EXPECT_TRUE(co_await scene.compliance->set_hold("acme", compliance_key("b"), ComplianceHold::blocked));
  WallTime first = facts_of(scene, "a")->updated, held{}, again{};
  (void)scene.compliance->hold("acme", compliance_key("b"), &held);
  EXPECT_TRUE(co_await sleep_for(std::chrono::hours(240)));
  (void)co_await scene.replace({{.device_id = "a", .managed = Known::no, .last_contact = io::wall_now()}, {.device_id = "b", .managed = Known::yes}});
  (void)co_await scene.update({{.device_id = "a", .managed = Known::no}});
  EXPECT_TRUE(co_await scene.compliance->set_hold("acme", compliance_key("b"), ComplianceHold::blocked));
  co_await scene.begin();
  EXPECT_EQ(facts_of(scene, "a")->updated, first) << "nothing has changed but its last contact";
  EXPECT_GT(facts_of(scene, "b")->updated, first);
  (void)scene.compliance->hold("acme", compliance_key("b"), &again);
  EXPECT_EQ(again, held);
  (void)co_await scene.update({{.device_id = "a", .managed = Known::yes}});
  EXPECT_GT(facts_of(scene, "a")->updated, first);
}

POLICY_TEST(Compliance, AWipeInTheDataCountsUntilItIsLiftedByName) {
  (void)co_await scene.replace({{.device_id = "a", .wiped = true}});
  EXPECT_EQ(scene.compliance->hold("acme", compliance_key("a")), ComplianceHold::wiped);
  EXPECT_EQ(scene.compliance->take_wipes().size(), 1u);
  EXPECT_TRUE(scene.compliance->take_wipes().empty());
  (void)co_await scene.replace({{.device_id = "a", .wiped = true}});
  EXPECT_TRUE(scene.compliance->take_wipes().empty()) << "it is wiped already";
  (void)co_await scene.replace({scene.line("a")});
  EXPECT_EQ(scene.compliance->hold("acme", compliance_key("a")), ComplianceHold::wiped);
  ComplianceChange change = co_await scene.update({{.device_id = "b", .wiped = true}});
  EXPECT_EQ(change.wiped.size(), 1u);
  EXPECT_EQ(scene.compliance->hold("acme", compliance_key("b")), ComplianceHold::wiped);
  EXPECT_TRUE(co_await scene.compliance->set_hold("acme", compliance_key("b"), ComplianceHold::none));
  (void)co_await scene.update({scene.line("b")});
  EXPECT_EQ(scene.compliance->hold("acme", compliance_key("b")), ComplianceHold::none);
  (void)co_await scene.update({{.device_id = "b", .wiped = true}});
  EXPECT_EQ(scene.compliance->hold("acme", compliance_key("b")), ComplianceHold::wiped) << "its source still says so";
}

Task<void> let_go(Compliance* compliance, std::string_view name) {
  EXPECT_TRUE(co_await compliance->set_hold("acme", compliance_key(name), ComplianceHold::none));
}

Task<void> take_delta(Compliance* compliance, ComplianceLine line) {
  EXPECT_TRUE(co_await compliance->update("acme", {std::move(line)}));
}

// Whoever is answered last has the last word.
POLICY_TEST(Compliance, AWipeInTheDataThatComesWhileABlockIsLiftedStays) {
  for (bool bulk : {false, true}) {
    EXPECT_TRUE(co_await scene.compliance->set_hold("acme", compliance_key("a"), ComplianceHold::blocked));
    ComplianceBulk whole = scene.compliance->begin("acme");
    EXPECT_TRUE(scene.compliance->add(whole, {.device_id = "a", .wiped = true}));
    Result<ComplianceChange> change;
    TaskScope scope(&co_await current_context());
    scope.spawn(let_go(&*scene.compliance, "a"));
    if (bulk) {
      scope.spawn(take_bulk(&*scene.compliance, &whole, &change));
    } else {
      scope.spawn(take_delta(&*scene.compliance, {.device_id = "a", .wiped = true}));
    }
    co_await scope.join();
    EXPECT_EQ(scene.compliance->hold("acme", compliance_key("a")), ComplianceHold::wiped) << bulk;
    co_await scene.begin();
    EXPECT_EQ(scene.compliance->hold("acme", compliance_key("a")), ComplianceHold::wiped) << bulk;
    co_await let_go(&*scene.compliance, "a");
    co_await scene.begin();
    EXPECT_FALSE(scene.compliance->any_hold("acme")) << "nothing is left on the disk";
  }
}

POLICY_TEST(Compliance, TakesNoMoreThanItMay) {
  scene.compliance->set_names_max(2);
  ComplianceBulk bulk = scene.compliance->begin("acme");
  EXPECT_TRUE(scene.compliance->add(bulk, {.device_id = "a", .other_ids = {"a2"}}));
  Status third = scene.compliance->add(bulk, scene.line("b"));
  EXPECT_TRUE(!third && is(third.error(), ServiceError::compliance_limit));
  (void)co_await scene.replace({scene.line("a"), scene.line("b")});
  auto updated = co_await scene.compliance->update("acme", {scene.line("c")});
  EXPECT_TRUE(!updated && is(updated.error(), ServiceError::compliance_limit));
  EXPECT_TRUE(co_await scene.compliance->update("acme", {scene.line("a"), scene.line("b")})) << "those are known";
  scene.compliance->set_names_max(1);  // by a reload
  EXPECT_TRUE(co_await scene.compliance->update("acme", {{.device_id = "a", .override_to = ComplianceOverride::block}}));
  EXPECT_EQ(facts_of(scene, "a")->override_to, ComplianceOverride::block);
  EXPECT_FALSE(co_await scene.compliance->update("acme", {scene.line("c")}));
  EXPECT_TRUE(co_await scene.compliance->update("acme", {{.device_id = "b", .removed = true}}));
}

// Names of wiped devices stay when the data forgets the devices: without a bound, data could fill the memory with them.
POLICY_TEST(Compliance, DataWipesNoMoreThanItMayName) {
  scene.compliance->set_names_max(2);
  for (std::string_view name : {"a", "b", "b"}) {
    EXPECT_TRUE(co_await scene.compliance->update("acme", {{.device_id = std::string(name), .wiped = true}})) << name;
    EXPECT_TRUE(co_await scene.compliance->update("acme", {{.device_id = std::string(name), .removed = true}}));
  }
  auto third = co_await scene.compliance->update("acme", {{.device_id = "c", .removed = true, .wiped = true}});
  EXPECT_TRUE(!third && is(third.error(), ServiceError::compliance_limit));
  ComplianceBulk bulk = scene.compliance->begin("acme");
  EXPECT_TRUE(scene.compliance->add(bulk, {.device_id = "c", .wiped = true}));
  auto whole = co_await scene.compliance->replace(std::move(bulk));
  EXPECT_TRUE(!whole && is(whole.error(), ServiceError::compliance_limit));
  EXPECT_EQ(scene.compliance->counts("acme").held, 2u);
  EXPECT_TRUE(co_await scene.compliance->set_hold("acme", compliance_key("c"), ComplianceHold::wiped)) << "by an operator";
}

POLICY_TEST(Compliance, DataThatIsTooOldDecidesNothing) {
  Policy policy = scene.policy("[policy]\nenabled = true\n");
  (void)co_await scene.replace({scene.line("a")});
  PolicyQuestion question = scene.question("a");
  scene.compliance->note_success("acme", SourceKind::uem, std::chrono::minutes(10));
  question.now = io::wall_now();
  EXPECT_TRUE(policy.decide(question).allowed());
  scene.compliance->note_failure("acme", SourceKind::uem, SourceState::unreachable, "no answer", std::chrono::minutes(10));
  EXPECT_TRUE(policy.decide(question).allowed()) << "the last data counts for a while";
  EXPECT_EQ(scene.compliance->source("acme").state, SourceState::unreachable);
  TaskScope scope(&co_await current_context());
  scope.spawn(scene.compliance->run());
  uint64_t before = scene.compliance->changes();
  EXPECT_TRUE(co_await sleep_for(std::chrono::minutes(11)));
  question.now = io::wall_now();
  EXPECT_GT(scene.compliance->changes(), before) << "who waits on a decision hears of it";
  EXPECT_EQ(scene.compliance->source("acme").state, SourceState::stale);
  PolicyDecision decision = policy.decide(question);
  EXPECT_EQ(decision.verdict, Verdict::unavailable);
  EXPECT_EQ(decision.reason, PolicyReason::stale);
  auto verdict_with = [&](Duration stale_after) {
    scene.compliance->note_failure("acme", SourceKind::uem, SourceState::unreachable, "no answer", stale_after);
    return policy.decide(question).verdict;
  };
  EXPECT_EQ(verdict_with(std::chrono::minutes(20)), Verdict::allow) << "a reload gives it more time";
  EXPECT_EQ(verdict_with(Duration::zero()), Verdict::allow);
  EXPECT_EQ(verdict_with(std::chrono::minutes(5)), Verdict::unavailable) << "or less";
  question.tenant = "other";
  EXPECT_EQ(policy.decide(question).verdict, Verdict::block) << "the other tenant has no such source";
  question.tenant = "acme";
  scene.compliance->note_success("acme", SourceKind::uem, std::chrono::minutes(10));
  EXPECT_TRUE(policy.decide(question).allowed());
  scope.request_stop();
  co_await scope.join();
}

POLICY_TEST(Compliance, AClockThatIsSetBackMakesNoDataYounger) {
  Policy policy = scene.policy("[policy]\nenabled = true\n");
  (void)co_await scene.replace({scene.line("a")});
  auto verdict = [&] {
    PolicyQuestion question = scene.question("a");
    question.now = io::wall_now();
    return policy.decide(question).verdict;
  };
  TaskScope scope(&co_await current_context());
  scope.spawn(scene.compliance->run());
  scene.compliance->note_success("acme", SourceKind::uem, std::chrono::minutes(10));
  sim::world().shift_wall_clock(-std::chrono::hours(48));
  scene.compliance->note_failure("acme", SourceKind::uem, SourceState::unreachable, "no answer", std::chrono::minutes(10));
  EXPECT_TRUE(co_await sleep_for(std::chrono::minutes(9)));
  EXPECT_EQ(verdict(), Verdict::allow);
  EXPECT_TRUE(co_await sleep_for(std::chrono::minutes(2)));
  EXPECT_EQ(verdict(), Verdict::unavailable);
  scope.request_stop();
  co_await scope.join();
}

POLICY_TEST(Compliance, BeforeASourceHasBeenReadOnceNothingIsDecided) {
  Policy policy = scene.policy("[policy]\nenabled = true\n");
  auto verdict = [&] {
    PolicyQuestion question = scene.question("a", DecisionPoint::callback);
    question.now = io::wall_now();
    return policy.decide(question).verdict;
  };
  EXPECT_EQ(verdict(), Verdict::block) << "by the admin interface: what nobody gave is not known";
  for (SourceState state : {SourceState::waiting, SourceState::unreachable, SourceState::broken}) {
    for (Duration stale_after : {Duration(std::chrono::hours(24)), Duration::zero()}) {
      scene.compliance->note_failure("acme", SourceKind::uem, state, "", stale_after);
      EXPECT_EQ(verdict(), Verdict::unavailable);
      EXPECT_EQ(scene.compliance->source_state("acme"), state);
    }
  }
  (void)co_await scene.replace({scene.line("b")});
  uint64_t before = scene.compliance->changes();
  scene.compliance->note_success("acme", SourceKind::uem, std::chrono::hours(24));
  EXPECT_GT(scene.compliance->changes(), before);
  EXPECT_EQ(verdict(), Verdict::block);
}

POLICY_TEST(Compliance, ARestartDoesNotMakeDataOlder) {
  auto allowed = [&] {
    Policy policy = scene.policy("[policy]\nenabled = true\n");
    PolicyQuestion question = scene.question("a");
    question.now = io::wall_now();
    return policy.decide(question).allowed();
  };
  constexpr Duration kStale = std::chrono::hours(24);
  (void)co_await scene.replace({scene.line("a")});
  EXPECT_TRUE(co_await sleep_for(std::chrono::hours(48)));
  {
    TaskScope scope(&co_await current_context());
    scope.spawn(scene.compliance->run());
    scene.compliance->note_success("acme", SourceKind::file, kStale);  // it is as it was
    EXPECT_TRUE(co_await sleep_for(std::chrono::seconds(3)));
    scope.request_stop();
    co_await scope.join();
  }
  co_await scene.begin();
  for (SourceState state : {SourceState::waiting, SourceState::unreachable}) {
    scene.compliance->note_failure("acme", SourceKind::file, state, "", kStale);
    EXPECT_TRUE(allowed()) << name_of(state);
  }
  EXPECT_TRUE(co_await sleep_for(std::chrono::hours(22)));
  co_await scene.begin();
  scene.compliance->note_failure("acme", SourceKind::file, SourceState::waiting, "", kStale);
  EXPECT_TRUE(allowed());
  EXPECT_TRUE(co_await sleep_for(std::chrono::hours(3)));
  EXPECT_FALSE(allowed()) << "the time goes on from the last success, whatever starts meanwhile";
}

// ---- The watched file ----

Status write(const std::string& path, std::string_view text) { return io::write_file(path, as_bytes(text), 0600); }

POLICY_TEST(ComplianceFile, IsTakenOnceItIsAtRestAndKeptWhereItBreaks) {
  const std::string path = "/data/devices.jsonl";
  EXPECT_TRUE(io::make_folder("/data", 0700));
  ComplianceFile file(*scene.compliance, "acme", path);
  constexpr Duration kStale = std::chrono::hours(1);
  auto look = co_await file.look(kStale, 1 << 20);
  EXPECT_FALSE(look.good) << "it is not there";
  EXPECT_EQ(scene.compliance->source("acme").state, SourceState::unreachable);
  EXPECT_NE(scene.compliance->source("acme").complaint.find(path), std::string::npos);

  EXPECT_TRUE(write(path, R"({"deviceId":"a"})"));
  look = co_await file.look(kStale, 1 << 20);
  EXPECT_FALSE(facts_of(scene, "a").has_value()) << "it may still be written";
  EXPECT_TRUE(file.unsettled());
  look = co_await file.look(kStale, 1 << 20);
  EXPECT_TRUE(look.good && look.changed);
  EXPECT_TRUE(facts_of(scene, "a").has_value());
  EXPECT_EQ(scene.compliance->source("acme").state, SourceState::fresh);

  for (std::string_view bad : {R"({"deviceId":"b"} {"deviceId":"c","managed":7})", R"({"deviceId":"b"} {"device)", "", "[]"}) {
    EXPECT_TRUE(write(path, bad));
    look = co_await file.look(kStale, 1 << 20);
    look = co_await file.look(kStale, 1 << 20);
    EXPECT_FALSE(look.good) << bad;
    EXPECT_EQ(scene.compliance->source("acme").state, SourceState::broken);
    EXPECT_TRUE(facts_of(scene, "a").has_value()) << "the last data counts";
    EXPECT_FALSE(facts_of(scene, "b").has_value());
    look = co_await file.look(kStale, 1 << 20);
    EXPECT_FALSE(look.changed) << "the same fault is told once";
  }
  EXPECT_TRUE(write(path, R"([{"deviceId":"b"}])"));
  look = co_await file.look(kStale, 1 << 20);
  look = co_await file.look(kStale, 1 << 20);
  EXPECT_TRUE(look.good);
  EXPECT_FALSE(facts_of(scene, "a").has_value());
  EXPECT_TRUE(facts_of(scene, "b").has_value());
  // A share that is away for a while: the same file comes back.
  const sim::World::File kept = *sim::world().file(path);
  sim::world().remove_file(path);
  look = co_await file.look(kStale, 1 << 20);
  EXPECT_FALSE(look.good);
  EXPECT_EQ(scene.compliance->source("acme").state, SourceState::unreachable);
  sim::world().set_file(path, kept.content, kept.mode);
  const_cast<sim::World::File*>(sim::world().file(path))->version = kept.version;
  for (int i = 0; i < 3; ++i) look = co_await file.look(kStale, 1 << 20);
  EXPECT_TRUE(look.good);
  EXPECT_EQ(scene.compliance->source("acme").state, SourceState::fresh) << scene.compliance->source("acme").complaint;
  EXPECT_TRUE(facts_of(scene, "b").has_value());

  EXPECT_TRUE(write(path, R"([{"deviceId":"c"}])"));
  look = co_await file.look(kStale, 4);
  look = co_await file.look(kStale, 4);
  EXPECT_FALSE(look.good) << "larger than it may be";
}

}  // namespace
}  // namespace bellhop::service
