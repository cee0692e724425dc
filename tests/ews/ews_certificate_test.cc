// SPDX-License-Identifier: Apache-2.0
// Client certificates towards Exchange: whom a connection belongs to, and what a refusal means.
#include "service/error_texts.h"
#include "service/ews_client.h"
#include "tests/ews/ews_fixture.h"

namespace bellhop::service {
namespace {

using namespace ews_test;
using ::testing::HasSubstr;

void demand(Scene& s) { s.peer.client_auth = TlsClientAuth::required; }

EwsTarget target_of(const Scene& s, const crypto::CredentialRecord& credentials, store::MailboxNumber mailbox = 1) {
  EwsTarget target = s.target(mailbox);
  target.credentials = &credentials;
  return target;
}

Task<void> logs_on(Scene& s) {
  s.peer.otherwise = found(0, true);
  crypto::CredentialRecord ann = s.certified("ann@example.test"), bob = s.certified("bob@example.test", true);
  CO_ASSERT(co_await s.client->verify(target_of(s, ann)));
  CO_ASSERT(co_await s.client->verify(target_of(s, bob, 2)));
  CO_ASSERT(s.peer.seen.size() == 2);
  EXPECT_EQ(s.peer.seen[0].account, "ann@example.test");
  EXPECT_EQ(s.peer.seen[0].authorization, "");
  EXPECT_EQ(s.peer.seen[0].anchor, "ann@example.test");
  EXPECT_EQ(s.peer.seen[1].account, "bob@example.test");
  EXPECT_EQ(s.peer.seen[1].authorization, "Basic YWRhOmNvcnJlY3QgaG9yc2UgYmF0dGVyeSBzdGFwbGU=");
}
TEST(EwsCertificate, IsShownInTheHandshakeAndDualAddsBasic) { run_scene(logs_on, {}, demand); }

Task<void> keeps_apart(Scene& s) {
  s.peer.otherwise = found(0, true);
  crypto::CredentialRecord ann = s.certified("ann@example.test"), bob = s.certified("bob@example.test");
  for (int round = 0; round < 3; ++round) {
    CO_ASSERT(co_await s.client->verify(target_of(s, ann)));
    CO_ASSERT(co_await s.client->verify(target_of(s, bob, 2)));
    CO_ASSERT(co_await s.client->verify(target_of(s, s.credentials, 3)));
    // The same certificate for another mailbox is another user.
    CO_ASSERT(co_await s.client->verify(target_of(s, ann, 4)));
  }
  CO_ASSERT(s.peer.seen.size() == 12);
  for (size_t i = 0; i < 12; ++i) {
    const Seen& seen = s.peer.seen[i];
    EXPECT_EQ(seen.connection, i % 4 + 1) << "one connection for each, used again";
    EXPECT_EQ(seen.account, i % 4 == 1 ? "bob@example.test" : i % 4 == 2 ? "" : "ann@example.test");
    EXPECT_FALSE(seen.resumed);
  }
}
TEST(EwsCertificate, EachUsersConnectionsAreTheirOwn) {
  run_scene(keeps_apart, {}, [](Scene& s) {
    s.peer.client_auth = TlsClientAuth::optional;
    std::array<uint8_t, TicketKeys::kFreshBytes> fresh{};
    s.peer.ticket_keys = std::make_shared<TicketKeys>(io::wall_now(), fresh);
  });
}

Task<void> forgets(Scene& s) {
  s.peer.otherwise = found(0, true);
  crypto::CredentialRecord ann = s.certified("ann@example.test");
  CO_ASSERT(co_await s.client->verify(target_of(s, ann)));
  EXPECT_EQ(s.open_connections(), 1u);
  co_await s.peer.until_ended(1);  // by itself, soon
  // The certificate's own timer is due by now, and fires before this one.
  CO_ASSERT(co_await sleep_for(10ms));
  CO_ASSERT(co_await s.client->verify(target_of(s, ann)));
  EXPECT_EQ(s.peer.seen[1].connection, 2u);
  EXPECT_FALSE(s.peer.seen[1].resumed) << "the sessions went with the connections";
}
TEST(EwsCertificate, ItsConnectionsAndSessionsAreForgottenAfterAShortRest) {
  run_scene(forgets, [](EwsConfig& config) { config.certificate_idle_timeout_ms = 150; }, [](Scene& s) {
    s.peer.client_auth = TlsClientAuth::required;
    std::array<uint8_t, TicketKeys::kFreshBytes> fresh{};
    s.peer.ticket_keys = std::make_shared<TicketKeys>(io::wall_now(), fresh);
  });
}

Task<void> stays_bounded(Scene& s) {
  s.peer.otherwise = found(0, true);
  std::vector<crypto::CredentialRecord> users;
  for (int i = 0; i < 10; ++i) users.push_back(s.certified("user" + std::to_string(i) + "@example.test"));
  for (size_t i = 0; i < users.size(); ++i) {
    CO_ASSERT(co_await s.client->verify(target_of(s, users[i], i + 1)));
    EXPECT_LE(s.open_connections(), 4u) << i;
  }
  // The one that was used last is still there, the first is not.
  CO_ASSERT(co_await s.client->verify(target_of(s, users[9], 10)));
  EXPECT_EQ(s.peer.seen.back().connection, 10u);
  CO_ASSERT(co_await s.client->verify(target_of(s, users[0], 1)));
  EXPECT_EQ(s.peer.seen.back().connection, 11u);
  // Requests without a certificate have their place too.
  CO_ASSERT(co_await s.client->verify(target_of(s, s.credentials, 20)));
  EXPECT_LE(s.open_connections(), 4u);
}
TEST(EwsCertificate, ManyUsersKeepToTheHostsConnections) {
  run_scene(
      stays_bounded, [](EwsConfig& config) { config.connections_per_host_max = 4; },
      [](Scene& s) { s.peer.client_auth = TlsClientAuth::optional; });
}

Task<void> refused_by_alert(Scene& s) {
  auto stranger = make_authority("stranger", {io::wall_now() - 1h, io::wall_now() + 1h});
  CO_ASSERT(stranger);
  crypto::CredentialRecord ann = s.certified("ann@example.test", false, &*stranger);
  auto reply = co_await s.client->verify(target_of(s, ann));
  CO_ASSERT(!reply);
  EXPECT_EQ(reply.error().kind, EwsFailureKind::unauthorized);
  EXPECT_TRUE(is_certificate_refusal(reply.error().error)) << error_text(reply.error().error);
  EXPECT_EQ(s.counted(EwsResult::certificate_refused), 1u);
  EXPECT_EQ(s.peer.connections, 1u) << "no second try";
  EXPECT_TRUE(s.peer.seen.empty());
  // Without any certificate it is not the user's fault, nor the host's.
  auto bare = co_await s.client->verify(s.target());
  CO_ASSERT(!bare);
  EXPECT_EQ(bare.error().kind, EwsFailureKind::unavailable);
  EXPECT_EQ(s.counted(EwsResult::certificate_refused), 2u);
  // Others go on, however many were refused.
  s.peer.otherwise = found(0, true);
  for (int i = 0; i < 30; ++i) (void)co_await s.client->verify(target_of(s, ann));
  crypto::CredentialRecord bob = s.certified("bob@example.test");
  EXPECT_TRUE(co_await s.client->verify(target_of(s, bob, 2)));
}
TEST(EwsCertificate, ThatTheServerDoesNotTakeIsARefusedLogonAndNoFaultOfTheHost) {
  run_scene(refused_by_alert, {}, demand);
}

Task<void> not_asked(Scene& s) {
  for (uint16_t status : {401, 403}) s.peer.script.push_back({.bytes = plain(status)});
  crypto::CredentialRecord ann = s.certified("ann@example.test");
  for (uint32_t status : {401u, 403u}) {
    auto reply = co_await s.client->verify(target_of(s, ann));
    CO_ASSERT(!reply);
    EXPECT_EQ(reply.error().kind, EwsFailureKind::unauthorized);
    EXPECT_EQ(reply.error().error, service_error(ServiceError::certificate_not_asked, status));
  }
  EXPECT_THAT(s.log_text(), HasSubstr("did not ask for a certificate"));
}
TEST(EwsCertificate, ThatTheServerDidNotAskForIsSaidSoWhenItRefuses) { run_scene(not_asked); }

Task<void> forbidden(Scene& s) {
  s.peer.script.push_back({.bytes = plain(403)});
  crypto::CredentialRecord ann = s.certified("ann@example.test");
  auto reply = co_await s.client->verify(target_of(s, ann));
  CO_ASSERT(!reply);
  EXPECT_EQ(reply.error().kind, EwsFailureKind::unauthorized);
  EXPECT_TRUE(is(reply.error().error, ServiceError::credentials_refused));
}
TEST(EwsCertificate, ThatIsForbiddenByHttpCountsAsARefusedLogon) { run_scene(forbidden, {}, demand); }

Task<void> broken_record(Scene& s) {
  crypto::CredentialRecord ann = s.certified("ann@example.test"), bob = s.certified("bob@example.test");
  crypto::certificate_of(ann)->opened.private_key = crypto::certificate_of(bob)->opened.private_key.clone();
  auto reply = co_await s.client->verify(target_of(s, ann));
  CO_ASSERT(!reply);
  EXPECT_EQ(reply.error().kind, EwsFailureKind::unauthorized);
  EXPECT_TRUE(is(reply.error().error, TlsError::key_mismatch));
}
TEST(EwsCertificate, WhoseKeyDoesNotFitIsNotTried) { run_scene(broken_record, {}, demand); }

}  // namespace
}  // namespace bellhop::service
