// SPDX-License-Identifier: Apache-2.0
#include "service/kerberos.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <algorithm>

#include "core/sleep.h"
#include "core/sync.h"
#include "service/gateway_logon.h"
#include "service/kerberos_desk.h"
#include "tests/core/run.h"
#include "tests/kerberos/fake_gss_fixture.h"

namespace bellhop::kerberos_test {
namespace {

using test::run_on_cores;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

struct Scene {
  FakeKdc kdc;
  KerberosConfig config = config_for_tests();
  std::unique_ptr<Kerberos> kerberos;

  void run(Task<void> (*flow)(Scene&), unsigned cores = 1) {
    kerberos = std::make_unique<Kerberos>(config, kdc.api());
    run_on_cores(cores, [&](unsigned) { return flow(*this); });
    kerberos.reset();
    EXPECT_EQ(kdc.live_credentials, 0);
    EXPECT_TRUE(kdc.caches.empty());
    EXPECT_EQ(kdc.live_names, 0);
    EXPECT_EQ(kdc.live_contexts, 0);
    EXPECT_EQ(kdc.before_account, 0);
  }
};

Task<void> two_tokens(Scene& s) {
  auto first = co_await s.kerberos->authorization(request_for("alice@example.com"));
  CO_ASSERT(first);
  EXPECT_EQ(token_text(*first), "alice@EXAMPLE.COM HTTP/mail.example.com 1");
  auto second = co_await s.kerberos->authorization(request_for("alice@example.com"));
  CO_ASSERT(second);
  EXPECT_EQ(token_text(*second), "alice@EXAMPLE.COM HTTP/mail.example.com 2");  // never the same one
  auto other = co_await s.kerberos->authorization(request_for("bob@example.com"));
  CO_ASSERT(other);
  EXPECT_EQ(token_text(*other), "bob@EXAMPLE.COM HTTP/mail.example.com 3");
}

TEST(Kerberos, AsksForAUserOnceAndMakesATokenForEachRequest) {
  Scene s;
  s.run(two_tokens);
  EXPECT_EQ(s.kdc.user_tickets, 2);
  EXPECT_EQ(s.kdc.service_tickets, 2);
  EXPECT_THAT(s.kdc.keytabs, ::testing::Each("FILE:/etc/bellhop/kcd.keytab"));
}

Task<void> count_stats(Scene& s) {
  co_await two_tokens(s);
  EXPECT_FALSE(co_await s.kerberos->authorization(request_for("nobody@example.com")));
  KerberosStats stats = s.kerberos->stats();
  EXPECT_EQ(stats.tokens, 3u);
  EXPECT_EQ(stats.from_cache, 1u);
  EXPECT_EQ(stats.failures, 1u);
  EXPECT_EQ(stats.users, 2u);
  EXPECT_EQ(stats.waiting, 0u);
}
TEST(Kerberos, CountsWhatItDoes) { Scene().run(count_stats); }

Task<void> one_token(Scene& s, int* made) {
  auto token = co_await s.kerberos->authorization(request_for("alice@example.com"));
  EXPECT_TRUE(token);
  *made += token.has_value();
}
Task<void> hundred_at_once(Scene& s) {
  int made = 0;
  TaskScope scope(&co_await current_context());
  for (int i = 0; i < 100; ++i) scope.spawn(one_token(s, &made));
  co_await scope.join();
  EXPECT_EQ(made, 100);
}
TEST(Kerberos, AHundredRequestsOfOneUserCostOneQuestion) {
  Scene s;
  s.run(hundred_at_once, 3);
  EXPECT_EQ(s.kdc.user_tickets, 1);
  EXPECT_EQ(s.kdc.service_tickets, 1);
  EXPECT_EQ(s.kdc.tokens, 300);
}

Task<void> names(Scene& s) {
  for (const char* user : {"alice@example.com", "Bob@Sales.Example.Org", "carol@example.net"}) {
    (void)co_await s.kerberos->authorization(request_for(user));
  }
}
TEST(Kerberos, NamesUsersAsConfigured) {
  Scene s;
  s.config.realms = {"example.net=CORP.EXAMPLE.NET", "SALES.example.org=EXAMPLE.ORG"};
  s.run(names);
  EXPECT_THAT(s.kdc.asked_users,
              ElementsAre("principal:alice@EXAMPLE.COM", "principal:Bob@EXAMPLE.ORG", "principal:carol@CORP.EXAMPLE.NET"));
}
TEST(Kerberos, LeavesTheNameToTheDirectoryByDefault) {
  EXPECT_EQ(KerberosConfig().user_names, KerberosNames::enterprise);
  Scene s;
  s.config.user_names = KerberosNames::enterprise;
  s.run(names);
  EXPECT_THAT(s.kdc.asked_users, ElementsAre("enterprise:alice@example.com", "enterprise:Bob@Sales.Example.Org",
                                             "enterprise:carol@example.net"));
}

Task<void> malformed_names(Scene& s) {
  for (std::string user : {"", "alice", "@example.com", "alice@", "a@b@example.com", "HTTP/mail@example.com", "al\\ice@example.com",
                           "al ice@example.com", "al\nice@example.com"}) {
    auto token = co_await s.kerberos->authorization(request_for(user));
    EXPECT_TRUE(failed_with(token, KerberosError::name_malformed)) << user;
  }
  auto nul = co_await s.kerberos->authorization(request_for(std::string("al\0ice@example.com", 18)));
  EXPECT_TRUE(failed_with(nul, KerberosError::name_malformed));
  auto endless = co_await s.kerberos->authorization(request_for(std::string(256, 'a') + "@example.com"));
  EXPECT_TRUE(failed_with(endless, KerberosError::name_malformed));
}
TEST(Kerberos, NoNameOfAUserIsThatOfAService) {
  for (KerberosNames form : {KerberosNames::principal, KerberosNames::enterprise}) {
    Scene s;
    s.config.user_names = form;
    s.run(malformed_names);
    EXPECT_TRUE(s.kdc.asked_users.empty());
    EXPECT_EQ(s.kdc.accounts, 0);
  }
}

Task<void> refused_users(Scene& s) {
  s.kdc.refusals["locked@EXAMPLE.COM"] = kRevoked;
  for (int round = 0; round < 3; ++round) {
    auto unknown = co_await s.kerberos->authorization(request_for("nobody@example.com"));
    EXPECT_TRUE(failed_with(unknown, KerberosError::user_unknown));
    auto locked = co_await s.kerberos->authorization(request_for("locked@example.com"));
    EXPECT_TRUE(failed_with(locked, KerberosError::user_refused));
  }
  EXPECT_TRUE(co_await s.kerberos->authorization(request_for("alice@example.com")));
}
TEST(Kerberos, RemembersARefusalForAWhile) {
  Scene s;
  s.run(refused_users);
  EXPECT_EQ(s.kdc.asked_users.size(), 3u);  // nobody, locked, alice: once each
}

Task<void> refused_service(Scene& s) {
  KerberosRequest other = request_for("alice@example.com");
  other.service = "HTTP/other.example.com";
  for (int round = 0; round < 2; ++round) {
    EXPECT_TRUE(failed_with(co_await s.kerberos->authorization(other), KerberosError::service_unknown));
    EXPECT_TRUE(co_await s.kerberos->authorization(request_for("alice@example.com")));  // elsewhere she may
  }
  s.kdc.service_refusal = kBadOption;
  EXPECT_TRUE(failed_with(co_await s.kerberos->authorization(request_for("bob@example.com")), KerberosError::delegation_refused));
}
TEST(Kerberos, ARefusedServiceIsRefusedForItselfOnly) {
  Scene s;
  s.run(refused_service);
  EXPECT_EQ(s.kdc.user_tickets, 2);
}

Task<void> bad_account(Scene& s) {
  s.kdc.account_refusal = kPreauthFailed;
  EXPECT_TRUE(failed_with(co_await s.kerberos->authorization(request_for("alice@example.com")), KerberosError::service_logon));
  s.kdc.account_refusal = 2;  // ENOENT
  EXPECT_TRUE(failed_with(co_await s.kerberos->authorization(request_for("alice@example.com")), KerberosError::keytab));
  s.kdc.account_refusal = kSkew;
  EXPECT_TRUE(failed_with(co_await s.kerberos->authorization(request_for("alice@example.com")), KerberosError::clock));
  s.kdc.account_refusal = kRealmUnknown;
  EXPECT_TRUE(failed_with(co_await s.kerberos->authorization(request_for("alice@example.com")), KerberosError::realm_unknown));
  s.kdc.account_refusal = 0;  // mended: no restart is needed
  EXPECT_TRUE(co_await s.kerberos->authorization(request_for("alice@example.com")));
}
TEST(Kerberos, SaysWhatIsWrongWithItsAccount) {
  Scene s;
  s.run(bad_account);
}

Task<void> expired_under_way(Scene& s) {
  EXPECT_TRUE(co_await s.kerberos->authorization(request_for("alice@example.com")));
  s.kdc.expired_tokens = 1;  // of those that are kept
  EXPECT_TRUE(co_await s.kerberos->authorization(request_for("alice@example.com")));
  s.kdc.expired_tokens = 3;  // kept, new, new again: something else is wrong
  EXPECT_TRUE(failed_with(co_await s.kerberos->authorization(request_for("alice@example.com")), KerberosError::ticket_expired));
  EXPECT_EQ(s.kdc.expired_tokens, 0);
  EXPECT_TRUE(co_await s.kerberos->authorization(request_for("alice@example.com")));
}
TEST(Kerberos, BeginsAnewWithATicketThatExpiredEarly) {
  Scene s;
  s.run(expired_under_way);
}

Task<void> dead_kdc(Scene& s) {
  EXPECT_TRUE(co_await s.kerberos->authorization(request_for("alice@example.com")));
  s.kdc.dead = true;
  EXPECT_TRUE(co_await s.kerberos->authorization(request_for("alice@example.com")));  // has what she needs
  size_t asked = s.kdc.asked_users.size();
  for (int i = 0; i < 20; ++i) {
    EXPECT_TRUE(failed_with(co_await s.kerberos->authorization(request_for("bob@example.com")), KerberosError::unreachable));
  }
  EXPECT_LE(s.kdc.asked_users.size(), asked + 1);
}
TEST(Kerberos, ADeadKdcIsLeftAloneAndStopsNobodyWithTickets) {
  Scene s;
  s.run(dead_kdc);
}

Task<void> dead_trusted_domain(Scene& s) {
  // The KDCs of a domain that the account's own trusts are away; its users are found through the own ones.
  s.kdc.users = {"alice@example.com", "bob@example.com"};
  s.kdc.refusals["eve@trusted.example"] = kUnreachable;
  for (const char* user : {"alice@example.com", "bob@example.com"}) {
    EXPECT_TRUE(failed_with(co_await s.kerberos->authorization(request_for("eve@trusted.example")), KerberosError::unreachable));
    EXPECT_TRUE(co_await s.kerberos->authorization(request_for(user))) << user;
  }
  EXPECT_EQ(std::ranges::count(s.kdc.asked_users, "enterprise:eve@trusted.example"), 1);  // left alone
}
TEST(Kerberos, ADeadTrustedDomainIsItsOwnUsersAffair) {
  Scene s;
  s.config.user_names = KerberosNames::enterprise;
  s.run(dead_trusted_domain);
}

Task<void> forgotten(Scene& s) {
  EXPECT_TRUE(co_await s.kerberos->authorization(request_for("alice@example.com")));
  EXPECT_TRUE(co_await s.kerberos->authorization(request_for("bob@example.com")));
  s.kerberos->forget("ALICE@example.com");
  EXPECT_EQ(s.kerberos->stats().users, 1u);
  EXPECT_TRUE(co_await s.kerberos->authorization(request_for("alice@example.com")));
  EXPECT_EQ(s.kdc.user_tickets, 3);
  int accounts = s.kdc.accounts;
  s.kerberos->forget_all();
  EXPECT_EQ(s.kerberos->stats().users, 0u);
  EXPECT_TRUE(co_await s.kerberos->authorization(request_for("bob@example.com")));
  EXPECT_EQ(s.kdc.user_tickets, 4);
  EXPECT_EQ(s.kdc.accounts, accounts + 1);  // the keytab was read again
}
TEST(Kerberos, ForgetsWhomItIsToldTo) {
  Scene s;
  s.run(forgotten);
}

Task<void> forgotten_while_asked(Scene& s) {
  s.kdc.on_user = [&s] { s.kerberos->forget("alice@example.com"); };
  EXPECT_TRUE(co_await s.kerberos->authorization(request_for("alice@example.com")));
  s.kdc.on_user = {};
  EXPECT_EQ(s.kerberos->stats().users, 0u);
  EXPECT_TRUE(co_await s.kerberos->authorization(request_for("alice@example.com")));
  EXPECT_EQ(s.kerberos->stats().users, 1u);
}
TEST(Kerberos, KeepsNothingOfAUserWhoIsForgottenWhileAKdcIsAsked) {
  Scene s;
  s.run(forgotten_while_asked);
  EXPECT_EQ(s.kdc.user_tickets, 2);
}

Task<void> health(Scene& s) {
  const KerberosHealth& health = s.kerberos->health();
  bool asked = false;
  EXPECT_TRUE(co_await s.kerberos->authorization(request_for("alice@example.com"), &asked));
  EXPECT_TRUE(std::exchange(asked, false));
  EXPECT_TRUE(co_await s.kerberos->authorization(request_for("alice@example.com"), &asked));
  EXPECT_FALSE(asked);
  KerberosRequest other = request_for("alice@example.com");
  other.service = "HTTP/other.example.com";
  EXPECT_FALSE(co_await s.kerberos->authorization(other));
  EXPECT_FALSE(co_await s.kerberos->authorization(request_for("nobody@example.com")));
  CO_ASSERT(health.services().size() == 2);
  KerberosHealth::Service mail = health.services()[0], wrong = health.services()[1];
  EXPECT_EQ(mail.name, "HTTP/mail.example.com");
  EXPECT_EQ(mail.tokens, 2u);
  EXPECT_EQ(mail.failures, 1u);
  EXPECT_TRUE(mail.failing);
  EXPECT_TRUE(is(mail.last_error, KerberosError::user_unknown));
  EXPECT_NE(mail.last_token, WallTime());
  EXPECT_EQ(wrong.name, "HTTP/other.example.com");
  EXPECT_EQ(wrong.tokens, 0u);
  EXPECT_TRUE(is(wrong.last_error, KerberosError::service_unknown));
  EXPECT_EQ(health.realms_in_trouble(), 0u);  // answers about one user or one service are none
  // What keeps everybody out is a trouble, from its first failure to the next answer.
  s.kdc.account_refusal = kPreauthFailed;
  s.kerberos->forget_all();
  EXPECT_FALSE(co_await s.kerberos->authorization(request_for("alice@example.com")));
  CO_ASSERT(health.troubles().size() == 1);
  WallTime since = health.troubles()[0].since;
  EXPECT_EQ(health.troubles()[0].realm, "EXAMPLE.COM");
  s.kdc.account_refusal = kSkew;
  EXPECT_FALSE(co_await s.kerberos->authorization(request_for("alice@example.com")));
  CO_ASSERT(health.troubles().size() == 1);
  EXPECT_EQ(health.troubles()[0].since, since);
  EXPECT_GE(health.troubles()[0].last, since);
  EXPECT_TRUE(is(health.troubles()[0].error, KerberosError::clock));
  s.kdc.account_refusal = 0;
  EXPECT_TRUE(co_await s.kerberos->authorization(request_for("alice@example.com")));
  EXPECT_EQ(health.realms_in_trouble(), 0u);
  EXPECT_FALSE(health.services()[0].failing);
}
TEST(Kerberos, TellsHowServicesAndRealmsAre) {
  Scene s;
  s.run(health);
}

TEST(KerberosHealth, IsBounded) {
  KerberosHealth health;
  for (size_t i = 0; i < 100; ++i) {
    health.count(fmt::format("HTTP/{}", i), kerberos_error(KerberosError::busy), WallTime(1s));
    health.asked(fmt::format("REALM{}", i), kerberos_error(KerberosError::unreachable), WallTime(1s));
  }
  EXPECT_EQ(health.services().size(), KerberosHealth::kServicesMax);
  EXPECT_EQ(health.troubles().size(), KerberosHealth::kRealmsMax);
  health.asked("REALM0", kerberos_error(KerberosError::protocol), WallTime(2s));  // says nothing
  EXPECT_EQ(health.realms_in_trouble(), KerberosHealth::kRealmsMax);
  health.asked("REALM0", kerberos_error(KerberosError::user_unknown), WallTime(2s));
  EXPECT_EQ(health.realms_in_trouble(), KerberosHealth::kRealmsMax - 1);
}

TEST(KerberosResults, EachErrorHasItsOwnThatOperatorsCanActOn) {
  EXPECT_EQ(kerberos_result({}, true), KerberosResult::asked);
  EXPECT_EQ(kerberos_result({}, false), KerberosResult::kept);
  EXPECT_EQ(kerberos_result(core_error(CoreError::canceled), true), KerberosResult::canceled);
  std::set<KerberosResult> seen;
  for (KerberosError code : {KerberosError::keytab, KerberosError::service_logon, KerberosError::clock, KerberosError::realm_unknown,
                             KerberosError::unreachable, KerberosError::user_unknown, KerberosError::user_refused,
                             KerberosError::name_malformed, KerberosError::service_unknown, KerberosError::delegation_refused,
                             KerberosError::busy, KerberosError::protocol}) {
    EXPECT_TRUE(seen.insert(kerberos_result(kerberos_error(code), true)).second) << error_text(kerberos_error(code));
  }
}

Task<void> note_busy(Scene& s, int* busy, int* made) {
  auto token = co_await s.kerberos->authorization(request_for("alice@example.com"));
  *busy += failed_with(token, KerberosError::busy);
  *made += token.has_value();
}
Task<void> too_many(Scene& s) {
  int busy = 0, made = 0;
  TaskScope scope(&co_await current_context());
  for (int i = 0; i < 10; ++i) scope.spawn(note_busy(s, &busy, &made));
  co_await scope.join();
  EXPECT_EQ(busy, 6);
  EXPECT_EQ(made, 4);
  EXPECT_TRUE(co_await s.kerberos->authorization(request_for("alice@example.com")));
}
TEST(Kerberos, NoMoreWaitThanMay) {
  Scene s;
  s.config.requests_waiting_max = 4;
  s.run(too_many);
}

Task<void> stopped(Scene& s, int* canceled) {
  auto token = co_await s.kerberos->authorization(request_for("alice@example.com"));
  *canceled += !token && is(token.error(), CoreError::canceled);
}
Task<void> stop_some(Scene& s) {
  int canceled = 0;
  TaskScope scope(&co_await current_context());
  for (int i = 0; i < 10; ++i) scope.spawn(stopped(s, &canceled));
  scope.request_stop();
  co_await scope.join();
  EXPECT_GT(canceled, 0);
  EXPECT_TRUE(co_await s.kerberos->authorization(request_for("alice@example.com")));
  EXPECT_EQ(s.kerberos->stats().waiting, 0u);
}
TEST(Kerberos, AStoppedRequestLeavesNothingBehind) {
  Scene s;
  s.run(stop_some);
}

Task<void> bound(Scene& s) {
  KerberosRequest request = request_for("alice@example.com");
  EXPECT_TRUE(co_await s.kerberos->authorization(request));
  request.endpoint_hash = {1, 2, 3};
  EXPECT_TRUE(co_await s.kerberos->authorization(request));
  request.endpoint_hash = {4, 5, 6};
  EXPECT_TRUE(co_await s.kerberos->authorization(request));
}
TEST(Kerberos, BindsEachTokenToItsConnection) {
  Scene s;
  s.run(bound);
  EXPECT_THAT(s.kdc.bindings, ElementsAre("tls-server-end-point:\x01\x02\x03", "tls-server-end-point:\x04\x05\x06"));
  EXPECT_EQ(s.kdc.service_tickets, 1);  // the ticket is the same
}

TEST(KerberosSettings, HaveWhatDelegationNeeds) {
  std::string settings = krb5_settings(config_for_tests());
  for (const char* line : {"default_realm = EXAMPLE.COM", "forwardable = true", "rdns = false", "dns_canonicalize_hostname = false"}) {
    EXPECT_THAT(settings, HasSubstr(line));
  }
  EXPECT_THAT(settings, ::testing::Not(HasSubstr("dns_lookup_kdc")));  // DNS may find them
}

TEST(KerberosSettings, NameTheKdcsThatAreGivenAndNoOthers) {
  KerberosConfig config = config_for_tests();
  config.kdcs = {"EXAMPLE.COM=dc1.example.com", "EXAMPLE.NET=192.0.2.1:8888", "EXAMPLE.COM=dc2.example.com:88"};
  std::string settings = krb5_settings(config);
  EXPECT_THAT(settings, HasSubstr("dns_lookup_kdc = false\n[realms]\n"));
  EXPECT_THAT(settings, HasSubstr("  EXAMPLE.COM = {\n    kdc = dc1.example.com\n    kdc = dc2.example.com:88\n  }\n"));
  EXPECT_THAT(settings, HasSubstr("  EXAMPLE.NET = {\n    kdc = 192.0.2.1:8888\n  }\n"));
}

TEST(KerberosErrors, EachSaysItselfAndWhoIsToBlame) {
  register_kerberos_error_texts();
  std::set<std::string> texts;
  for (uint16_t code = 1; code <= static_cast<uint16_t>(KerberosError::protocol); ++code) {
    Error error = kerberos_error(static_cast<KerberosError>(code));
    std::string text = error_text(error);
    EXPECT_THAT(text, ::testing::StartsWith("kerberos: ")) << code;
    EXPECT_THAT(text, ::testing::Not(HasSubstr("code "))) << code;
    EXPECT_TRUE(texts.insert(text).second) << text;
  }
  EXPECT_THAT(error_text(kerberos_error(KerberosError::user_unknown, kUserUnknown)), HasSubstr("KDC_ERR_C_PRINCIPAL_UNKNOWN"));
  EXPECT_EQ(blame_of(kerberos_error(KerberosError::user_unknown)), KerberosBlame::user);
  EXPECT_EQ(blame_of(kerberos_error(KerberosError::delegation_refused)), KerberosBlame::set_up);
  EXPECT_EQ(blame_of(kerberos_error(KerberosError::unreachable)), KerberosBlame::for_now);
  EXPECT_EQ(blame_of(core_error(CoreError::canceled)), KerberosBlame::for_now);
}

}  // namespace
}  // namespace bellhop::kerberos_test
