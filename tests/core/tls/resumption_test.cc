// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <openssl/ssl.h>

#include "core/tls/boringssl.h"
#include "tests/core/tls/tls_fixture.h"

namespace bellhop::tls_test {
namespace {

class Resumption : public ::testing::TestWithParam<TlsVersion> {
 protected:
  void SetUp() override {
    set_time(kNoon);
    keys_ = ticket_keys(1);
    client_ = make_client();
    only(*client_, GetParam());
  }
  void TearDown() override { set_time(kNoon); }
  std::shared_ptr<TlsContext> server_with(std::shared_ptr<TicketKeys> keys) {
    auto options = server_options(server_certificate());
    options.ticket_keys = std::move(keys);
    return make_server(options);
  }
  // True where a new connection resumed. Both ends must open, and text must pass.
  bool resumes(std::shared_ptr<TlsContext> server, const std::string& host = kHost) {
    Meeting m(client_, server, host);
    m.shake();
    EXPECT_EQ(m.client.state(), TlsState::open) << error_text(m.client.error());
    EXPECT_EQ(m.server.state(), TlsState::open) << error_text(m.server.error());
    EXPECT_EQ(m.client.resumed(), m.server.resumed());
    say(m.server, "hello");
    carry(m.server, m.client);
    EXPECT_EQ(read_all(m.client), "hello");  // reads the tickets of 1.3, too
    EXPECT_EQ(m.client.version(), GetParam());
    return m.client.resumed();
  }
  std::shared_ptr<TicketKeys> keys_;
  std::shared_ptr<TlsContext> client_;
};
INSTANTIATE_TEST_SUITE_P(Version, Resumption, ::testing::Values(TlsVersion::v1_2, TlsVersion::v1_3),
                         [](const auto& info) { return info.param == TlsVersion::v1_3 ? "Tls13" : "Tls12"; });

TEST_P(Resumption, WorksOnEveryCoreThatSharesTheKeys) {
  auto first = server_with(keys_), second = server_with(keys_);
  EXPECT_FALSE(resumes(first));
  EXPECT_TRUE(resumes(second));
  EXPECT_TRUE(resumes(first));
}

TEST_P(Resumption, SurvivesTheProcessWhoseKeysWereSaved) {
  EXPECT_FALSE(resumes(server_with(keys_)));
  keys_->rotate(kNoon, fresh_bytes(2));
  TicketKeys::Saved saved = keys_->save();
  std::shared_ptr<TicketKeys> restored = TicketKeys::restore(saved);
  ASSERT_TRUE(restored);
  EXPECT_FALSE(restored->rotation_due(kNoon + std::chrono::hours(11)));
  EXPECT_TRUE(restored->rotation_due(kNoon + std::chrono::hours(13)));
  EXPECT_TRUE(resumes(server_with(restored))) << "by the previous key";
  EXPECT_TRUE(resumes(server_with(restored))) << "by the current key";
}

TEST(TicketKeysTest, WhatIsNoSavedSetOfKeysIsNotRestored) {
  TicketKeys::Saved saved = ticket_keys(1)->save();
  EXPECT_FALSE(TicketKeys::restore({}));
  EXPECT_FALSE(TicketKeys::restore(Bytes(saved).first(saved.size() - 1)));
  saved[0] = 2;
  EXPECT_FALSE(TicketKeys::restore(saved));
}

TEST_P(Resumption, SurvivesOneRotationButNotTwo) {
  auto server = server_with(keys_);
  EXPECT_FALSE(resumes(server));
  keys_->rotate(kNoon, fresh_bytes(2));
  EXPECT_TRUE(resumes(server)) << "by the previous key";
  client_->sessions().clear();
  EXPECT_FALSE(resumes(server));
  keys_->rotate(kNoon, fresh_bytes(3));
  keys_->rotate(kNoon, fresh_bytes(4));
  EXPECT_FALSE(resumes(server)) << "the ticket's key is gone";
  EXPECT_TRUE(resumes(server));
}

TEST_P(Resumption, ATicketOpenedByThePreviousKeyIsReplaced) {
  auto server = server_with(keys_);
  EXPECT_FALSE(resumes(server));
  keys_->rotate(kNoon, fresh_bytes(2));
  EXPECT_TRUE(resumes(server));
  // 1.2 sends a new ticket only when the server asks for a renewal; take the newest and rotate once more.
  keys_->rotate(kNoon, fresh_bytes(3));
  EXPECT_TRUE(resumes(server));
}

TEST_P(Resumption, NeedsNoWordFromTheServer) {
  auto server = server_with(keys_);
  Meeting m(client_, server);
  m.shake();
  EXPECT_EQ(read_all(m.client), "");
  EXPECT_GT(client_->sessions().sessions(), 0u);
}

TEST_P(Resumption, NeedsKnownKeys) {
  EXPECT_FALSE(resumes(server_with(keys_)));
  EXPECT_FALSE(resumes(server_with(ticket_keys(9))));
  client_->sessions().clear();
  auto without = server_with(nullptr);
  EXPECT_FALSE(resumes(without));
  EXPECT_FALSE(resumes(without));
  EXPECT_EQ(client_->sessions().sessions(), 0u);
}

TEST_P(Resumption, EndsWithTheTicketsLifetime) {
  auto server = server_with(keys_);
  EXPECT_FALSE(resumes(server));
  set_time(kNoon + TicketKeys::kTicketLifetime + 1s);
  EXPECT_FALSE(resumes(server));
}

TEST_P(Resumption, IsPerHost) {
  auto server = server_with(keys_);
  EXPECT_FALSE(resumes(server));
  EXPECT_FALSE(resumes(server, "a.wild.example.test"));
  EXPECT_TRUE(resumes(server, "a.wild.example.test"));
}

TEST_P(Resumption, AFailedVerificationLeavesNoSession) {
  auto server = server_with(keys_);
  Meeting m(client_, server, "other.example.test");
  m.shake();
  EXPECT_EQ(m.client.state(), TlsState::failed);
  EXPECT_EQ(client_->sessions().sessions(), 0u);
}

TEST_P(Resumption, ASessionOfTls13IsUsedOnce) {
  auto server = server_with(keys_);
  EXPECT_FALSE(resumes(server));
  size_t kept = client_->sessions().sessions();
  ASSERT_GT(kept, 0u);
  TlsEngine started(client_, kHost);
  EXPECT_EQ(client_->sessions().sessions(), GetParam() == TlsVersion::v1_3 ? kept - 1 : kept);
}

TEST(SessionCache, IsBoundedInHostsAndSessions) {
  set_time(kNoon);
  auto context = make_client();
  auto one = [&] { return SSL_SESSION_new(context->native()); };
  TlsSessionCache cache;
  for (size_t i = 0; i < TlsSessionCache::kSessionsPerHostMax + 3; ++i) cache.put("a", one());
  EXPECT_EQ(cache.sessions(), TlsSessionCache::kSessionsPerHostMax);
  for (size_t i = 0; i < TlsSessionCache::kHostsMax - 1; ++i) cache.put("host" + std::to_string(i), one());
  EXPECT_EQ(cache.hosts(), TlsSessionCache::kHostsMax);
  SSL_SESSION* used = cache.take("a");
  ASSERT_NE(used, nullptr);
  SSL_SESSION_free(used);
  cache.put("one more", one());
  EXPECT_EQ(cache.hosts(), TlsSessionCache::kHostsMax);
  EXPECT_EQ(cache.take("host0"), nullptr) << "the one unused for the longest made room";
  SSL_SESSION* still = cache.take("a");
  EXPECT_NE(still, nullptr);
  SSL_SESSION_free(still);
  cache.clear();
  EXPECT_EQ(cache.hosts(), 0u);
}

TEST(TicketKeysOf, AreDueAfterTwelveHours) {
  TicketKeys keys(kNoon, fresh_bytes(1));
  EXPECT_FALSE(keys.rotation_due(kNoon));
  EXPECT_FALSE(keys.rotation_due(kNoon + 12h - 1ms));
  EXPECT_TRUE(keys.rotation_due(kNoon + 12h));
  EXPECT_TRUE(keys.rotation_due(kNoon - 12h)) << "a clock that went back must not keep a key for ever";
  auto before = keys.snapshot();
  keys.rotate(kNoon + 12h, fresh_bytes(2));
  auto after = keys.snapshot();
  EXPECT_FALSE(before->has_previous);
  EXPECT_TRUE(after->has_previous);
  EXPECT_EQ(after->previous.name, before->current.name);
  EXPECT_NE(after->current.name, before->current.name);
  EXPECT_FALSE(keys.rotation_due(kNoon + 13h));
}

}  // namespace
}  // namespace bellhop::tls_test
