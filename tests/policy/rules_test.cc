// SPDX-License-Identifier: Apache-2.0
#include "service/policy_rules.h"

#include "tests/policy/policy_fixture.h"

namespace bellhop::service {
namespace {

TEST(TextMatch, TakesStarsCaseAndExclusions) {
  EXPECT_EQ(TextMatch({"Boxer*"}).match("boxer/23.1 (iPhone)"), RuleMatch::yes);
  EXPECT_EQ(TextMatch({"*iphone*"}).match("Boxer/23.1 (iPhone)"), RuleMatch::yes);
  EXPECT_EQ(TextMatch({"a*b*c"}).match("aXbXbc"), RuleMatch::yes);
  EXPECT_EQ(TextMatch({"a*b"}).match("aXbX"), RuleMatch::no);
  EXPECT_EQ(TextMatch({"Boxer"}).match("Boxer/1"), RuleMatch::no);
  EXPECT_EQ(TextMatch({"!Boxer*"}).match("Boxer/1"), RuleMatch::no);
  EXPECT_EQ(TextMatch({"!Boxer*"}).match("Mail/1"), RuleMatch::yes);
  EXPECT_EQ(TextMatch({"B*", "!Boxer*"}).match("Berry"), RuleMatch::yes);
  EXPECT_EQ(TextMatch({"B*", "!Boxer*"}).match("Boxer"), RuleMatch::no);
  EXPECT_EQ(TextMatch({"B*"}).match(""), RuleMatch::unknown);
  EXPECT_EQ(TextMatch({std::string(64, '*') + "b"}).match(std::string(128, 'a')), RuleMatch::no);
}

TEST(Versions, AreComparedAsNumbers) {
  EXPECT_EQ(version_below("17.9", "17.10"), RuleMatch::yes);
  EXPECT_EQ(version_below("17.10", "17.9"), RuleMatch::no);
  EXPECT_EQ(version_below("17", "17.0.1"), RuleMatch::yes);
  EXPECT_EQ(version_below("17.0", "17"), RuleMatch::no);
  EXPECT_EQ(version_below("16.7.2 (20H1)", "17"), RuleMatch::yes);
  EXPECT_EQ(version_below("iOS 17", "17"), RuleMatch::unknown);
  EXPECT_EQ(version_below("", "17"), RuleMatch::unknown);
}

POLICY_TEST(Policy, LetsAllInWhereItIsOff) {
  Policy policy = scene.policy("");
  EXPECT_TRUE(policy.idle("acme"));
  PolicyDecision decision = policy.decide(scene.question("nobody"));
  EXPECT_TRUE(decision.allowed());
  EXPECT_EQ(decision.reason, PolicyReason::off);
  co_return;
}

POLICY_TEST(Policy, KeepsOutWhatIsHeldByNameAlsoWhereItIsOff) {
  Policy policy = scene.policy("");
  EXPECT_TRUE(co_await scene.compliance->set_hold("acme", compliance_key("phone1"), ComplianceHold::blocked));
  EXPECT_FALSE(policy.idle("acme"));
  EXPECT_TRUE(policy.idle("other")) << "another tenant's phone is another phone";
  EXPECT_EQ(policy.decide(scene.question("PHONE1")).reason, PolicyReason::blocked);
  EXPECT_TRUE(policy.decide(scene.question("phone2")).allowed());
}

POLICY_TEST(Policy, IsClosedToUnknownDevicesByDefault) {
  Policy policy = scene.policy("[policy]\nenabled = true\n");
  (void)co_await scene.replace({scene.line("phone1")});
  PolicyDecision decision = policy.decide(scene.question("phone2"));
  EXPECT_EQ(decision.verdict, Verdict::block);
  EXPECT_EQ(decision.reason, PolicyReason::unknown_device);
  EXPECT_NE(policy.how_to_lift(decision, "ID"), "");
  decision = policy.decide(scene.question("phone1"));
  EXPECT_TRUE(decision.allowed());
  EXPECT_EQ(decision.reason, PolicyReason::default_);
  PolicyQuestion nameless = scene.question("phone1");
  nameless.device.reset();
  EXPECT_FALSE(policy.decide(nameless).allowed()) << "who names no device is unknown";
  policy = scene.policy("[policy]\nenabled = true\nunknown_devices = \"allow\"\nknown_devices = \"block\"\n");
  EXPECT_TRUE(policy.decide(scene.question("phone2")).allowed());
  EXPECT_FALSE(policy.decide(scene.question("phone1")).allowed());
}

constexpr std::string_view kMemRules =
    "[policy]\nenabled = true\n"
    "[[policy.rule]]\nname = \"partners\"\nverdict = \"allow\"\non_unknown = \"block\"\nusers = [\"ceo@example.com\"]\n"
    "[[policy.rule]]\nname = \"managed\"\nmanaged = \"no\"\n"
    "[[policy.rule]]\nname = \"compromised\"\ncompromised = \"yes\"\non_unknown = \"allow\"\n"
    "[[policy.rule]]\nname = \"encryption\"\nencrypted = \"no\"\non_unknown = \"allow\"\n"
    "[[policy.rule]]\nname = \"client\"\nmail_clients = [\"!Boxer*\"]\non_unknown = \"allow\"\n"
    "[[policy.rule]]\nname = \"type\"\ndevice_types = [\"WindowsMail\"]\non_unknown = \"allow\"\n"
    "[[policy.rule]]\nname = \"model\"\nmodels = [\"SM-G9*\"]\non_unknown = \"allow\"\n"
    "[[policy.rule]]\nname = \"old-ios\"\nos = [\"iOS\"]\nos_version_below = \"17.2\"\non_unknown = \"allow\"\n"
    "[[policy.rule]]\nname = \"inactive\"\ninactive_days_over = 30\non_unknown = \"allow\"\n"
    "[[policy.rule]]\nname = \"profile\"\nactivesync_profile = \"no\"\non_unknown = \"allow\"\n"
    "points = [\"activesync\"]\n";

POLICY_TEST(Policy, HasARuleForEachFact) {
  Policy policy = scene.policy(kMemRules);
  ComplianceLine good{.device_id = "good", .managed = Known::yes, .last_contact = at_day(-30)};
  auto with = [&](std::string id, auto change) {
    ComplianceLine line = good;
    line.device_id = std::move(id);
    change(line);
    return line;
  };
  using L = ComplianceLine;
  (void)co_await scene.replace({good,
                          with("unmanaged", [](L& l) { l.managed = Known::no; }),
                          with("undecided", [](L& l) { l.managed = Known::unknown; }),
                          with("rooted", [](L& l) { l.compromised = Known::yes; }),
                          with("plain", [](L& l) { l.encrypted = Known::no; }),
                          with("mailapp", [](L& l) { l.mail_client = "Mail/1"; }),
                          with("windows", [](L& l) { l.device_type = "windowsmail"; }),
                          with("galaxy", [](L& l) { l.model = "SM-G991B"; }),
                          with("oldios", [](L& l) { l.os = "iOS", l.os_version = "16.7"; }),
                          with("newios", [](L& l) { l.os = "iOS", l.os_version = "17.2"; }),
                          with("oldandroid", [](L& l) { l.os = "Android", l.os_version = "9"; }),
                          with("lost", [](L& l) { l.last_contact = at_day(-31); }),
                          with("noprofile", [](L& l) { l.activesync_profile = Known::no; })});
  auto rule = [&](std::string_view device, DecisionPoint point = DecisionPoint::activesync) {
    PolicyDecision decision = policy.decide(scene.question(device, point));
    return decision.allowed() ? "" : std::string(policy.rules().name(decision.rule));
  };
  EXPECT_EQ(rule("good"), "");
  EXPECT_EQ(rule("unmanaged"), "managed");
  EXPECT_EQ(rule("undecided"), "managed") << "what is not known blocks, unless the rule says otherwise";
  EXPECT_EQ(rule("rooted"), "compromised");
  EXPECT_EQ(rule("plain"), "encryption");
  EXPECT_EQ(rule("mailapp"), "client");
  EXPECT_EQ(rule("windows"), "type");
  EXPECT_EQ(rule("galaxy"), "model");
  EXPECT_EQ(rule("oldios"), "old-ios");
  EXPECT_EQ(rule("newios"), "");
  EXPECT_EQ(rule("oldandroid"), "");
  EXPECT_EQ(rule("lost"), "inactive");
  EXPECT_EQ(rule("noprofile"), "profile");
  EXPECT_EQ(rule("noprofile", DecisionPoint::push), "") << "the rule is for ActiveSync";

  PolicyQuestion question = scene.question("good");
  question.mail_client = "Mail/2";
  EXPECT_EQ(policy.rules().name(policy.decide(question).rule), "client") << "what the request says counts";
  question = scene.question("unmanaged");
  question.account = scene.compliance->account("acme", "CEO@example.com");
  PolicyDecision decision = policy.decide(question);
  EXPECT_TRUE(decision.allowed());
  EXPECT_EQ(policy.rules().name(decision.rule), "partners");
  question.account = scene.compliance->account("other", "ceo@example.com");
  EXPECT_FALSE(policy.decide(question).allowed()) << "the same address of another tenant is somebody else";
}

POLICY_TEST(Policy, OverridesStandBeforeRulesAndHoldsBeforeBoth) {
  Policy policy = scene.policy(kMemRules);
  (void)co_await scene.replace({{.device_id = "a", .managed = Known::no, .override_to = ComplianceOverride::allow},
                          {.device_id = "b", .managed = Known::yes, .override_to = ComplianceOverride::block}});
  EXPECT_EQ(policy.decide(scene.question("a")).reason, PolicyReason::override_allow);
  EXPECT_EQ(policy.decide(scene.question("b")).reason, PolicyReason::override_block);
  EXPECT_TRUE(co_await scene.compliance->set_hold("acme", compliance_key("a"), ComplianceHold::blocked));
  EXPECT_EQ(policy.decide(scene.question("a")).reason, PolicyReason::blocked);
}

POLICY_TEST(Policy, ADeviceOnRecordForAnotherAccountIsBlocked) {
  Policy policy = scene.policy("[policy]\nenabled = true\n");
  (void)co_await scene.replace({{.device_id = "a", .account = "Ann@example.com"}});
  PolicyQuestion question = scene.question("a");
  question.account = scene.compliance->account("acme", "ann@example.com");
  EXPECT_TRUE(policy.decide(question).allowed());
  question.account = scene.compliance->account("acme", "bob@example.com");
  EXPECT_EQ(policy.decide(question).reason, PolicyReason::other_account);
  question.account.reset();
  EXPECT_TRUE(policy.decide(question).allowed());
  policy = scene.policy("[policy]\nenabled = true\nbind_account = false\n");
  question.account = scene.compliance->account("acme", "bob@example.com");
  EXPECT_TRUE(policy.decide(question).allowed());
}

POLICY_TEST(Policy, ABlockedDeviceReachesProvisionAndOptionsOfActiveSyncAlone) {
  Policy policy = scene.policy("[policy]\nenabled = true\n");
  EXPECT_TRUE(co_await scene.compliance->set_hold("acme", compliance_key("a"), ComplianceHold::wiped));
  PolicyQuestion question = scene.question("a");
  EXPECT_EQ(policy.decide(question).reason, PolicyReason::wiped);
  for (PolicyTraffic traffic : {PolicyTraffic::options, PolicyTraffic::provision}) {
    question.traffic = traffic;
    question.point = DecisionPoint::activesync;
    EXPECT_EQ(policy.decide(question).reason, PolicyReason::exempt);
    question.point = DecisionPoint::ews;
    EXPECT_FALSE(policy.decide(question).allowed());
  }
}

POLICY_TEST(Policy, DryRunsLetInAndSayWhatWouldBe) {
  std::string whole(kMemRules);
  whole.replace(whole.find("enabled = true"), 14, "enabled = true\ndry_run = true");
  Policy policy = scene.policy(whole);
  (void)co_await scene.replace({{.device_id = "a", .managed = Known::no}});
  PolicyDecision decision = policy.decide(scene.question("a"));
  EXPECT_TRUE(decision.allowed());
  EXPECT_TRUE(decision.dry_run);
  EXPECT_EQ(policy.rules().name(decision.rule), "managed");
  EXPECT_TRUE(policy.decide(scene.question("unknown")).dry_run);
  EXPECT_TRUE(co_await scene.compliance->set_hold("acme", compliance_key("a"), ComplianceHold::blocked));
  EXPECT_FALSE(policy.decide(scene.question("a")).allowed()) << "what is blocked by name is no trial";

  policy = scene.policy("[policy]\nenabled = true\n[[policy.rule]]\nname = \"try\"\nmanaged = \"no\"\ndry_run = true\n");
  (void)co_await scene.replace({{.device_id = "b", .managed = Known::no}});
  decision = policy.decide(scene.question("b"));
  EXPECT_TRUE(decision.allowed());
  EXPECT_FALSE(decision.dry_run);
  EXPECT_EQ(policy.rules().name(decision.dry_rule), "try");
}

POLICY_TEST(Policy, ExplainsEachRule) {
  Policy policy = scene.policy(kMemRules);
  (void)co_await scene.replace({{.device_id = "a", .managed = Known::yes, .encrypted = Known::no}});
  std::vector<Policy::Step> steps;
  PolicyDecision decision = policy.explain(scene.question("a"), steps);
  EXPECT_EQ(policy.rules().name(decision.rule), "encryption");
  EXPECT_FALSE(decision.unknown);
  EXPECT_EQ(steps.size(), 4u);
  EXPECT_EQ(steps[0].match, RuleMatch::unknown);
  EXPECT_EQ(steps[1].match, RuleMatch::no);
  EXPECT_EQ(steps[2].match, RuleMatch::unknown);
  EXPECT_EQ(steps[3].match, RuleMatch::yes);
  EXPECT_TRUE(steps[3].decides);
  EXPECT_NE(decision.since, WallTime());
  EXPECT_NE(policy.how_to_lift(decision, "ID").find("encryption"), std::string::npos);
}

POLICY_TEST(Policy, OfSeveralDevicesOneIsEnoughButTheSourceIsNot) {
  Policy policy = scene.policy("[policy]\nenabled = true\n");
  (void)co_await scene.replace({scene.line("a"), {.device_id = "b", .override_to = ComplianceOverride::block}});
  PolicyQuestion question = scene.question("x", DecisionPoint::ews);
  std::vector<store::ComplianceKey> both = {compliance_key("b"), compliance_key("a")}, blocked = {compliance_key("b")};
  EXPECT_TRUE(policy.decide_for(question, both, compliance_key("a")).allowed());
  EXPECT_TRUE(policy.decide_for(question, both, std::nullopt).allowed());
  EXPECT_EQ(policy.decide_for(question, both, compliance_key("b")).reason, PolicyReason::override_block);
  EXPECT_FALSE(policy.decide_for(question, blocked, compliance_key("a")).allowed());
  EXPECT_FALSE(policy.decide_for(question, {}, std::nullopt).allowed());
}

}  // namespace
}  // namespace bellhop::service
