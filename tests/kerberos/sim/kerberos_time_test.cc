// SPDX-License-Identifier: Apache-2.0
// What takes minutes and hours: tickets that end, accounts that are renewed, a KDC that is away for a while.
#include <gmock/gmock.h>

#include "core/sim/world.h"
#include "core/sleep.h"
#include "service/kerberos.h"
#include "tests/core/run.h"
#include "tests/kerberos/fake_gss_fixture.h"

namespace bellhop::kerberos_test {
namespace {

struct Scene {
  FakeKdc kdc;
  KerberosConfig config = config_for_tests();
  std::unique_ptr<Kerberos> kerberos;

  void run(Task<void> (*flow)(Scene&)) {
    kerberos = std::make_unique<Kerberos>(config, kdc.api());
    test::run_on_cores(1, [&](unsigned) { return flow(*this); });
    kerberos.reset();
    EXPECT_EQ(kdc.live_credentials, 0);
    EXPECT_TRUE(kdc.caches.empty());
  }
  Task<Result<crypto::Secret>> ask(std::string user = "alice@example.com") {
    return kerberos->authorization(request_for(std::move(user)));
  }
};

Task<void> asked_again(Scene& s) {
  for (int minute = 0; minute < 180; ++minute) {
    EXPECT_TRUE(co_await s.ask());
    EXPECT_TRUE(co_await sleep_for(1min));
  }
}
TEST(KerberosTime, AUserIsAskedForAgainEveryHour) {
  Scene s;
  s.run(asked_again);
  EXPECT_EQ(s.kdc.user_tickets, 3);
  EXPECT_EQ(s.kdc.accounts, 1);
}
TEST(KerberosTime, ShortTicketsAreAskedForBeforeTheyEnd) {
  Scene s;
  s.kdc.lifetime_seconds = 600;
  s.run(asked_again);
  EXPECT_GE(s.kdc.user_tickets, 180 / 10);
  EXPECT_LE(s.kdc.user_tickets, 180 / 7 + 1);
  EXPECT_GE(s.kdc.accounts, 180 / 10);
}

Task<void> disabled_later(Scene& s) {
  EXPECT_TRUE(co_await s.ask());
  s.kdc.refusals["alice@EXAMPLE.COM"] = kRevoked;
  EXPECT_TRUE(co_await sleep_for(59min));
  EXPECT_TRUE(co_await s.ask());
  EXPECT_TRUE(co_await sleep_for(2min));
  EXPECT_TRUE(failed_with(co_await s.ask(), KerberosError::user_refused));
  s.kdc.refusals.clear();
  EXPECT_TRUE(co_await sleep_for(29s));
  EXPECT_TRUE(failed_with(co_await s.ask(), KerberosError::user_refused));  // remembered
  EXPECT_TRUE(co_await sleep_for(2s));
  EXPECT_TRUE(co_await s.ask());
}
TEST(KerberosTime, ALockedUserIsOutWithinAnHour) {
  Scene s;
  s.run(disabled_later);
}

Task<void> kdc_returns(Scene& s) {
  s.kdc.dead = true;
  EXPECT_TRUE(failed_with(co_await s.ask(), KerberosError::unreachable));
  s.kdc.dead = false;
  EXPECT_TRUE(co_await sleep_for(9s));
  EXPECT_TRUE(failed_with(co_await s.ask(), KerberosError::unreachable));  // at rest
  EXPECT_TRUE(co_await sleep_for(2s));
  EXPECT_TRUE(co_await s.ask());
}
TEST(KerberosTime, AKdcThatIsBackIsFoundAfterItsRest) {
  Scene s;
  s.run(kdc_returns);
}

Task<void> account_renewed(Scene& s) {
  s.config.tickets_kept_minutes = 1;
  EXPECT_TRUE(co_await s.ask());
  EXPECT_TRUE(co_await sleep_for(5h + 1min));  // half of its ten hours
  EXPECT_TRUE(co_await s.ask());
  EXPECT_EQ(s.kdc.accounts, 2);
  EXPECT_TRUE(co_await sleep_for(5h + 1min));
  s.kdc.account_refusal = kPreauthFailed;  // the password was changed, and the keytab not
  EXPECT_TRUE(co_await s.ask());           // the old ticket still does
  EXPECT_TRUE(co_await sleep_for(5h));
  EXPECT_TRUE(failed_with(co_await s.ask(), KerberosError::service_logon));
  s.kdc.account_refusal = 0;
  EXPECT_TRUE(co_await s.ask());
}
TEST(KerberosTime, TheAccountLogsOnAnewInTime) {
  Scene s;
  s.run(account_renewed);
}

Task<void> endless(Scene& s) {
  EXPECT_TRUE(co_await s.ask());
  sim::world().errand_time = 60s;
  Instant begin = io::now();
  EXPECT_TRUE(failed_with(co_await s.ask("bob@example.com"), KerberosError::busy));
  EXPECT_LT(io::now() - begin, 11s);
  EXPECT_GE(io::now() - begin, 10s);
  EXPECT_EQ(s.kerberos->stats().waiting, 0u);
  sim::world().errand_time = {};
  EXPECT_TRUE(co_await sleep_for(2min));
  EXPECT_TRUE(co_await s.ask("bob@example.com"));
}
TEST(KerberosTime, NobodyWaitsLongerThanTheTimeout) {
  Scene s;
  s.run(endless);
}

Task<void> queued_behind(Scene& s) {
  // The threads are busy for so long that nobody's turn to ask comes in time.
  sim::world().errand_time = 9s;
  EXPECT_TRUE(failed_with(co_await s.ask("alice@example.com"), KerberosError::busy));
  sim::world().errand_time = {};
  EXPECT_EQ(s.kdc.accounts, 0);
  // Who never asked knows nothing of the KDC, and keeps nobody from asking it.
  EXPECT_TRUE(s.kerberos->health().troubles().empty());
  EXPECT_TRUE(co_await s.ask("bob@example.com"));
  EXPECT_EQ(s.kdc.accounts, 1);
}
TEST(KerberosTime, WhoWaitsBehindOthersSaysNothingOfItsOwnKdc) {
  Scene s;
  s.run(queued_behind);
}

}  // namespace
}  // namespace bellhop::kerberos_test
