// SPDX-License-Identifier: Apache-2.0
#include "service/kerberos_tickets.h"

#include <gmock/gmock.h>

#include "tests/kerberos/fake_gss_fixture.h"

namespace bellhop::kerberos_test {
namespace {

constexpr std::string_view kMail = "HTTP/mail.example.com";
const Instant kStart{std::chrono::hours(5)};

struct Tickets : ::testing::Test {
  FakeKdc kdc;
  std::shared_ptr<GssCredential> account = *GssCredential::of_account(kdc.api(), "/keytab", "bellhop@EXAMPLE.COM", "cache");

  std::shared_ptr<GssCredential> made() {
    auto made = GssCredential::of_user(kdc.api(), *account, "alice@EXAMPLE.COM", GssNameKind::principal);
    EXPECT_TRUE(made);
    return *made;
  }
  static KerberosTickets::Key key(std::string user, std::string principal = "bellhop@EXAMPLE.COM") {
    return {std::move(user), std::move(principal)};
  }
};

TEST_F(Tickets, AreFoundUntilTheirTimeIsOver) {
  KerberosTickets tickets(10);
  auto alice = made();
  tickets.keep(KerberosTickets::Asking(tickets, key("alice")), alice, kStart + 1h);
  EXPECT_EQ(tickets.find(key("alice"), kMail, kStart).credential, alice);
  EXPECT_FALSE(tickets.find(key("alice"), kMail, kStart).warm);
  tickets.note_warm(key("alice"), *alice, kMail, kStart + 10min);
  EXPECT_TRUE(tickets.find(key("alice"), kMail, kStart + 9min).warm);
  EXPECT_FALSE(tickets.find(key("alice"), "HTTP/other", kStart + 9min).warm);
  EXPECT_FALSE(tickets.find(key("alice"), kMail, kStart + 10min).warm);  // the ticket for the service has ended first
  EXPECT_EQ(tickets.find(key("alice"), kMail, kStart + 10min).credential, alice);
  alice = nullptr;
  EXPECT_EQ(kdc.live_credentials, 2);
  EXPECT_EQ(tickets.find(key("alice"), kMail, kStart + 1h).credential, nullptr);
  EXPECT_EQ(kdc.live_credentials, 1);
  EXPECT_EQ(tickets.users(), 0u);
}

TEST_F(Tickets, OfAUserWhoIsForgottenMeanwhileAreNotKept) {
  KerberosTickets tickets(10);
  KerberosTickets::Asking alice(tickets, key("Alice")), bob(tickets, key("bob"));
  tickets.forget("alice");
  tickets.keep(alice, made(), kStart + 1h);
  tickets.keep(bob, made(), kStart + 1h);
  EXPECT_EQ(tickets.find(key("Alice"), kMail, kStart).credential, nullptr);
  EXPECT_NE(tickets.find(key("bob"), kMail, kStart).credential, nullptr);
  KerberosTickets::Asking later(tickets, key("Alice"));
  tickets.keep(later, made(), kStart + 1h);
  EXPECT_NE(tickets.find(key("Alice"), kMail, kStart).credential, nullptr);
  tickets.forget_all();
  tickets.keep(later, made(), kStart + 1h);
  EXPECT_EQ(tickets.users(), 0u);
}

TEST_F(Tickets, OfOneAccountAreNotAnothers) {
  KerberosTickets tickets(10);
  tickets.keep(KerberosTickets::Asking(tickets, key("alice")), made(), kStart + 1h);
  EXPECT_EQ(tickets.find(key("alice", "other@EXAMPLE.COM"), kMail, kStart).credential, nullptr);
  EXPECT_EQ(tickets.find(key("Alice"), kMail, kStart).credential, nullptr);  // a KDC may tell them apart
}

TEST_F(Tickets, TheLongestUnusedLeaves) {
  KerberosTickets tickets(3);
  for (const char* user : {"a", "b", "c"}) tickets.keep(KerberosTickets::Asking(tickets, key(user)), made(), kStart + 1h);
  EXPECT_NE(tickets.find(key("a"), kMail, kStart).credential, nullptr);
  tickets.keep(KerberosTickets::Asking(tickets, key("d")), made(), kStart + 1h);
  EXPECT_EQ(tickets.find(key("b"), kMail, kStart).credential, nullptr);
  for (const char* user : {"a", "c", "d"}) EXPECT_NE(tickets.find(key(user), kMail, kStart).credential, nullptr) << user;
  EXPECT_EQ(tickets.users(), 3u);
  EXPECT_EQ(kdc.live_credentials, 4);
  tickets.refuse(key("e"), "", kerberos_error(KerberosError::user_unknown), kStart + 1s);  // refusals count too
  EXPECT_EQ(tickets.users(), 2u);
}

TEST_F(Tickets, ARefusalEndsThemAndPasses) {
  KerberosTickets tickets(10);
  tickets.keep(KerberosTickets::Asking(tickets, key("alice")), made(), kStart + 1h);
  tickets.refuse(key("alice"), "HTTP/other", kerberos_error(KerberosError::service_unknown), kStart + 30s);
  EXPECT_FALSE(tickets.find(key("alice"), kMail, kStart).refusal);
  EXPECT_TRUE(tickets.find(key("alice"), "HTTP/other", kStart).refusal);
  EXPECT_FALSE(tickets.find(key("alice"), "HTTP/other", kStart + 30s).refusal);
  tickets.refuse(key("alice"), "", kerberos_error(KerberosError::user_refused), kStart + 30s);
  auto found = tickets.find(key("alice"), kMail, kStart);
  ASSERT_TRUE(found.refusal);
  EXPECT_TRUE(is(*found.refusal, KerberosError::user_refused));
  auto later = tickets.find(key("alice"), kMail, kStart + 31s);
  EXPECT_FALSE(later.refusal || later.warm || later.credential);
  EXPECT_EQ(kdc.live_credentials, 1);
}

TEST_F(Tickets, WhatIsNoLongerKeptIsNotCalledWarm) {
  KerberosTickets tickets(10);
  auto old = made(), young = made();
  tickets.keep(KerberosTickets::Asking(tickets, key("alice")), old, kStart + 1h);
  tickets.keep(KerberosTickets::Asking(tickets, key("alice")), young, kStart + 1h);
  tickets.note_warm(key("alice"), *old, kMail, kStart + 1h);
  EXPECT_FALSE(tickets.find(key("alice"), kMail, kStart).warm);
  tickets.note_warm(key("nobody"), *old, kMail, kStart + 1h);
  EXPECT_EQ(tickets.users(), 1u);
  for (int i = 0; i < 100; ++i) tickets.note_warm(key("alice"), *young, "HTTP/" + std::to_string(i), kStart + 1h);
  EXPECT_TRUE(tickets.find(key("alice"), "HTTP/99", kStart).warm);
  EXPECT_FALSE(tickets.find(key("alice"), "HTTP/0", kStart).warm);
}

TEST_F(Tickets, AllSpellingsOfAUserAreForgotten) {
  KerberosTickets tickets(10);
  for (const char* user : {"alice@x", "Alice@X", "alice@xy", "alic@x"}) tickets.keep(KerberosTickets::Asking(tickets, key(user)), made(), kStart + 1h);
  tickets.keep(KerberosTickets::Asking(tickets, key("alice@x", "other")), made(), kStart + 1h);
  tickets.forget("ALICE@x");
  EXPECT_EQ(tickets.users(), 2u);
  EXPECT_NE(tickets.find(key("alice@xy"), kMail, kStart).credential, nullptr);
  EXPECT_NE(tickets.find(key("alic@x"), kMail, kStart).credential, nullptr);
  tickets.forget_all();
  EXPECT_EQ(tickets.users(), 0u);
  EXPECT_EQ(kdc.live_credentials, 1);
}

TEST_F(Tickets, RealmsAtRestAreFew) {
  KerberosTickets tickets(10);
  tickets.let_rest("A", kStart + 10s, kStart);
  EXPECT_TRUE(tickets.rests("A", kStart + 9s));
  EXPECT_FALSE(tickets.rests("A", kStart + 10s));
  EXPECT_FALSE(tickets.rests("B", kStart));
  for (int i = 0; i < 1000; ++i) tickets.let_rest(std::to_string(i), kStart + 10s, kStart);
  size_t resting = 0;
  for (int i = 0; i < 1000; ++i) resting += tickets.rests(std::to_string(i), kStart);
  EXPECT_EQ(resting, KerberosTickets::kRealmsMax - 1);
  tickets.let_rest("Z", kStart + 30s, kStart + 20s);  // those whose rest is over make room
  EXPECT_TRUE(tickets.rests("Z", kStart + 20s));
}

}  // namespace
}  // namespace bellhop::kerberos_test
