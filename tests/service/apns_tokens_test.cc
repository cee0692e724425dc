// SPDX-License-Identifier: Apache-2.0
#include "core/cross_core.h"
#include "crypto/es256.h"
#include "crypto/jose.h"
#include "tests/service/apns_fixture.h"

namespace bellhop::service {
namespace {

using apns_test::ApnsPeer;
using apns_test::Bench;
using apns_test::Identity;
using apns_test::Provider;
using apns_test::Sender;
using test::run_on_cores;
using ::testing::HasSubstr;

const HostPort kNowhere{"127.0.0.1", 9};

Task<std::string> token_of(Provider& provider, size_t app = 0) {
  auto token = co_await provider.tokens->token(provider.app(app));
  EXPECT_TRUE(token);
  co_return token ? token->text : std::string();
}

Task<void> signed_flow(unsigned) {
  Provider provider;
  co_await provider.start(kNowhere);
  EXPECT_FALSE(provider.tokens->current(provider.app()));
  std::string text = co_await token_of(provider);
  Result<std::string> pem = io::read_file(provider.app().key_file);
  CO_ASSERT(pem);
  auto key = crypto::Es256PrivateKey::from_pem(*pem);
  auto jwt = crypto::parse_jwt(text);
  CO_ASSERT(key && jwt);
  EXPECT_TRUE(crypto::verify_jwt(*jwt, key->public_key()));
  EXPECT_EQ(jwt->kid, provider.app().key_id);
  EXPECT_EQ(co_await token_of(provider), text);
  EXPECT_EQ(provider.tokens->current(provider.app()), text);
  EXPECT_NE(co_await token_of(provider, 1), text);
  EXPECT_EQ(provider.tokens->signed_count(), 2u);
  EXPECT_TRUE(co_await provider.store->leave_core());
}

TEST(ApnsTokens, ATokenIsSignedOnceForEachTeamAndKey) {
  run_on_cores(1, signed_flow);
}

Task<void> restart_flow(unsigned) {
  Provider provider;
  co_await provider.start(kNowhere);
  std::string text = co_await token_of(provider);
  provider.restart_tokens();
  EXPECT_EQ(co_await token_of(provider), text);
  EXPECT_EQ(provider.tokens->signed_count(), 0u);
  // Too old to be used again.
  provider.config.apns.token_refresh_minutes = 0;
  provider.restart_tokens();
  (void)co_await token_of(provider);
  EXPECT_EQ(provider.tokens->signed_count(), 1u);
  EXPECT_TRUE(co_await provider.store->leave_core());
}

TEST(ApnsTokens, ARestartUsesTheSealedTokenWhileItIsYoung) {
  run_on_cores(1, restart_flow);
}

Task<void> new_key_flow(unsigned) {
  Provider provider;
  co_await provider.start(kNowhere);
  std::string text = co_await token_of(provider);
  crypto::Secret pem = crypto::Es256PrivateKey::generate().to_pem();
  CO_ASSERT(io::write_file(provider.app().key_file, pem.reveal(), 0600));
  provider.restart_tokens();
  EXPECT_NE(co_await token_of(provider), text);
  EXPECT_EQ(provider.tokens->signed_count(), 1u);
  EXPECT_TRUE(co_await provider.store->leave_core());
}

TEST(ApnsTokens, ANewKeyUnderTheOldIdDoesNotMeetTheOldToken) {
  run_on_cores(1, new_key_flow);
}

Task<void> expired_flow(unsigned) {
  Provider provider;
  co_await provider.start(kNowhere);
  std::string first = co_await token_of(provider);
  provider.tokens->expired(provider.app(), "another one");
  EXPECT_EQ(co_await token_of(provider), first);
  provider.tokens->expired(provider.app(), first);
  EXPECT_FALSE(provider.tokens->current(provider.app()));
  std::string second = co_await token_of(provider);
  EXPECT_EQ(provider.tokens->signed_count(), 2u);
  provider.tokens->expired(provider.app(), first);   // a late answer
  provider.tokens->expired(provider.app(), second);  // within 20 minutes
  EXPECT_EQ(co_await token_of(provider), second);
  EXPECT_EQ(provider.tokens->signed_count(), 2u);
  provider.restart_tokens();
  EXPECT_EQ(co_await token_of(provider), second);  // what was stored is the new one
  EXPECT_TRUE(co_await provider.store->leave_core());
}

TEST(ApnsTokens, AnExpiredTokenIsReplacedOnceInTwentyMinutes) {
  run_on_cores(1, expired_flow);
}

Task<void> take_token(Provider& provider, std::string* text) {
  *text = co_await token_of(provider);
}

Task<void> meanwhile_flow(unsigned) {
  Provider provider;
  provider.config.apns.token_refresh_minutes = 0;  // every token is due at once
  co_await provider.start(kNowhere);
  (void)co_await token_of(provider);
  EXPECT_FALSE(provider.tokens->current(provider.app()));
  std::string renewed;
  TaskScope scope(&co_await current_context());
  scope.spawn(take_token(provider, &renewed));
  CO_ASSERT(scope.live() == 1);  // it waits for the store
  EXPECT_TRUE(provider.tokens->current(provider.app()));
  co_await scope.join();
  EXPECT_FALSE(provider.tokens->current(provider.app()));
  EXPECT_EQ(provider.tokens->signed_count(), 2u);
  EXPECT_TRUE(co_await provider.store->leave_core());
}

TEST(ApnsTokens, WhileOneRefreshesTheOthersGoOnWithTheOldOne) {
  run_on_cores(1, meanwhile_flow);
}

Task<void> complaints_flow(unsigned) {
  Provider provider;
  co_await provider.start(kNowhere);
  std::string complaint, file = provider.app().key_file;
  Config config = provider.config;
  config.tenants[0].apps[3].key_file = file + ".missing";
  EXPECT_FALSE(ApnsProviderTokens::make(config, *provider.store, *provider.vault, complaint));
  EXPECT_THAT(complaint, HasSubstr(file + ".missing"));
  EXPECT_THAT(complaint, HasSubstr("KEY0000003"));

  CO_ASSERT(io::write_file(file + ".bad", as_bytes("no key"), 0600));
  config.tenants[0].apps[3].key_file = file + ".bad";
  EXPECT_FALSE(ApnsProviderTokens::make(config, *provider.store, *provider.vault, complaint));
  EXPECT_THAT(complaint, HasSubstr(file + ".bad: no APNs key"));

  crypto::Secret pem = crypto::Es256PrivateKey::generate().to_pem();
  CO_ASSERT(io::write_file(file + ".other", pem.reveal(), 0600));
  config = provider.config;
  config.tenants[0].apps.back().key_file = file + ".other";
  EXPECT_FALSE(ApnsProviderTokens::make(config, *provider.store, *provider.vault, complaint));
  EXPECT_THAT(complaint, HasSubstr("a key id belongs to one .p8 file"));
  EXPECT_TRUE(co_await provider.store->leave_core());
}

TEST(ApnsTokens, AKeyFileThatCannotBeUsedIsNamed) {
  run_on_cores(1, complaints_flow);
}

// Two cores push at the same time; core 0 has the peer.
struct Shared {
  std::optional<Identity> identity;
  std::optional<ApnsPeer> peer;
  Provider provider;
  Event ready, all_done;
  unsigned done = 0;
};

Task<bool> wait_ready(Shared* shared) {
  co_return (co_await shared->ready.wait()).has_value();
}
Task<bool> wait_all_done(Shared* shared) {
  if (++shared->done == 2) shared->all_done.set();
  co_return (co_await shared->all_done.wait()).has_value();
}

Task<void> push_one(Sender& sender, const Provider& provider, size_t number, unsigned* delivered) {
  std::string token = Bench::device_token(number);
  ApnsPush push{.app = &provider.app(), .device_token = token, .payload = "{}", .proven = true};
  ApnsResult result = co_await sender.apns->push(push, io::now() + 20s);
  if (result.verdict == proto::ApnsVerdict::delivered) ++*delivered;
}

Task<void> two_cores_flow(Shared* shared, unsigned core) {
  TaskScope peer_scope(nullptr);
  if (core == 0) {
    shared->identity.emplace();
    shared->peer.emplace(shared->identity->server());
    CO_ASSERT(shared->peer->start(peer_scope));
    co_await shared->provider.start(shared->peer->address());
    shared->ready.set();
  }
  CO_ASSERT(co_await on_core(0, [=] { return wait_ready(shared); }));
  unsigned delivered = 0;
  {
    Sender sender(shared->provider, *shared->identity);
    TaskScope pushes(&co_await current_context());
    for (size_t i = 0; i < 20; ++i) pushes.spawn(push_one(sender, shared->provider, core * 100 + i, &delivered));
    co_await pushes.join();
    co_await sender.apns->close();
  }
  EXPECT_EQ(delivered, 20u);
  CO_ASSERT(co_await on_core(0, [=] { return wait_all_done(shared); }));
  if (core == 0) {
    EXPECT_EQ(shared->provider.tokens->signed_count(), 1u);
    EXPECT_EQ(shared->peer->requests.size(), 40u);
    for (const auto& seen : shared->peer->requests) {
      EXPECT_EQ(seen.authorization, shared->peer->requests[0].authorization);
    }
    EXPECT_EQ(shared->peer->connections(), 2u);
    co_await shared->peer->stop();
    peer_scope.request_stop();
    co_await peer_scope.join();
  }
  EXPECT_TRUE(co_await shared->provider.store->leave_core());
}

TEST(ApnsTokens, TwoCoresShareATokenThatIsSignedOnce) {
  Shared shared;
  run_on_cores(2, [&](unsigned core) { return two_cores_flow(&shared, core); });
}

}  // namespace
}  // namespace bellhop::service
