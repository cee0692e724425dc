// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include "core/tls/identity.h"
#include "tests/core/tls/tls_fixture.h"

namespace bellhop::tls_test {
namespace {

using Key = ClientCertificateProfile::Key;

TlsOwnIdentity identity_of(const ClientCertificateProfile& profile, const CertificateAndKey& issuer = authority()) {
  auto made = issue_client_certificate(issuer, profile);
  BH_CHECK(made);
  std::string complaint;
  auto read = TlsOwnIdentity::read({"client.pem", made->chain_pem}, {"client.key", made->key_pem}, complaint);
  EXPECT_TRUE(read) << complaint;
  return *std::move(read);
}

std::shared_ptr<TlsContext> asking_server(TlsClientAuth auth, std::shared_ptr<TicketKeys> keys = nullptr) {
  TlsServerOptions options = server_options(server_certificate());
  options.client_auth = auth;
  options.client_authorities = trusting(authority());
  options.ticket_keys = std::move(keys);
  return make_server(options);
}

struct Mutual {
  TlsEngine client, server;
  Mutual(std::shared_ptr<TlsContext> client_context, std::shared_ptr<TlsContext> server_context,
         const TlsIdentity* identity)
      : client(std::move(client_context), kHost, identity), server(std::move(server_context)) {
    shake(client, server);
  }
  // Text both ways: what a TLS 1.3 server thinks of a certificate shows only after the client's handshake.
  bool talks() {
    if (client.state() != TlsState::open || server.state() != TlsState::open) return false;
    say(client, "hello");
    carry(client, server);
    bool heard = read_all(server) == "hello";
    say(server, "hi");
    carry(server, client);
    return read_all(client) == "hi" && heard;
  }
  // What the client learns of a refusal.
  Error refusal() {
    carry(server, client);
    if (client.state() == TlsState::open) (void)read_all(client);
    return client.error();
  }
};

class ClientCertificate : public ::testing::TestWithParam<TlsVersion> {
 protected:
  void SetUp() override {
    set_time(kNoon);
    client_ = make_client();
    only(*client_, GetParam());
  }
  void TearDown() override { set_time(kNoon); }
  std::shared_ptr<TlsContext> client_;
};
INSTANTIATE_TEST_SUITE_P(Version, ClientCertificate, ::testing::Values(TlsVersion::v1_2, TlsVersion::v1_3),
                         [](const auto& info) { return info.param == TlsVersion::v1_3 ? "Tls13" : "Tls12"; });

TEST_P(ClientCertificate, SaysWhoTheClientIs) {
  for (Key key : {Key::p256, Key::p384, Key::rsa2048}) {
    TlsOwnIdentity ann = identity_of({.account = "Ann@example.com", .validity = kGood, .key = key});
    TlsIdentity view = ann.view();
    auto context = client_->sibling();
    only(*context, GetParam());
    Mutual m(context, asking_server(TlsClientAuth::required), &view);
    EXPECT_TRUE(m.talks()) << error_text(m.client.error()) << error_text(m.server.error());
    EXPECT_EQ(m.client.version(), GetParam());
    EXPECT_TRUE(m.client.certificate_asked());
    EXPECT_EQ(certificate_account(m.server.peer_certificate()), "ann@example.com");
  }
}

TEST_P(ClientCertificate, IsNotMissedWhereItIsOptional) {
  Mutual m(client_, asking_server(TlsClientAuth::optional), nullptr);
  EXPECT_TRUE(m.talks());
  EXPECT_TRUE(m.client.certificate_asked());
  EXPECT_TRUE(m.server.peer_certificate().empty());
}

TEST_P(ClientCertificate, IsKeptToItselfWhereTheServerDoesNotAsk) {
  TlsOwnIdentity ann = identity_of({.account = "ann@example.com", .validity = kGood});
  TlsIdentity view = ann.view();
  Mutual m(client_, make_server(), &view);
  EXPECT_TRUE(m.talks());
  EXPECT_FALSE(m.client.certificate_asked());
  EXPECT_TRUE(m.server.peer_certificate().empty());
}

TEST_P(ClientCertificate, ThatIsMissingOrBadIsRefusedByAnAlert) {
  auto stranger = make_authority("stranger", kGood);
  ASSERT_TRUE(stranger);
  struct {
    const char* name;
    std::optional<TlsOwnIdentity> identity;
    TlsError at_server;
  } cases[] = {
      {"none", {}, TlsError::certificate_missing},
      {"expired", identity_of({.account = "ann", .validity = {kNoon - 48h, kNoon - 1h}}), TlsError::certificate_expired},
      {"early", identity_of({.account = "ann", .validity = {kNoon + 1h, kNoon + 48h}}),
       TlsError::certificate_not_yet_valid},
      {"of a stranger", identity_of({.account = "ann", .validity = kGood}, *stranger),
       TlsError::certificate_unknown_authority},
      {"of a server", identity_of({.account = "ann", .validity = kGood, .for_clients = false}),
       TlsError::certificate_invalid},
  };
  for (auto& one : cases) {
    auto context = client_->sibling();
    only(*context, GetParam());
    std::optional<TlsIdentity> view;
    if (one.identity) view = one.identity->view();
    Mutual m(context, asking_server(TlsClientAuth::required), view ? &*view : nullptr);
    EXPECT_EQ(m.server.state(), TlsState::failed) << one.name;
    EXPECT_TRUE(is(m.server.error(), one.at_server)) << one.name << ": " << error_text(m.server.error());
    Error refusal = m.refusal();
    bool bad_form = GetParam() == TlsVersion::v1_2 && !one.identity;  // 1.2 has no alert of its own for that
    EXPECT_TRUE(bad_form ? is(refusal, TlsError::peer_alert) : is_certificate_refusal(refusal))
        << one.name << ": " << error_text(refusal);
  }
}

TEST_P(ClientCertificate, StaysKnownToAResumedSession) {
  auto keys = ticket_keys(7);
  TlsOwnIdentity ann = identity_of({.account = "ann@example.com", .validity = kGood});
  TlsIdentity view = ann.view();
  for (bool resumed : {false, true}) {
    Mutual m(client_, asking_server(TlsClientAuth::required, keys), &view);
    EXPECT_TRUE(m.talks());
    EXPECT_EQ(m.client.resumed(), resumed);
    EXPECT_EQ(m.client.certificate_asked(), !resumed);
    EXPECT_EQ(certificate_account(m.server.peer_certificate()), "ann@example.com");
  }
}

TEST_P(ClientCertificate, IsAskedForAgainAfterASessionOfAServerThatDidNot) {
  auto keys = ticket_keys(7);
  TlsServerOptions lax = server_options(server_certificate());
  lax.ticket_keys = keys;
  EXPECT_TRUE(Mutual(client_, make_server(lax), nullptr).talks());
  EXPECT_GT(client_->sessions().sessions(), 0u);
  Mutual m(client_, asking_server(TlsClientAuth::required, keys), nullptr);
  EXPECT_FALSE(m.talks());
  EXPECT_TRUE(is(m.server.error(), TlsError::certificate_missing)) << error_text(m.server.error());
}

TEST_P(ClientCertificate, SharesNoSessionWithAnother) {
  auto keys = ticket_keys(7);
  TlsOwnIdentity ann = identity_of({.account = "ann@example.com", .validity = kGood});
  TlsOwnIdentity bob = identity_of({.account = "bob@example.com", .validity = kGood});
  auto of_ann = client_->sibling(), of_bob = of_ann->sibling();
  only(*of_ann, GetParam()), only(*of_bob, GetParam());
  TlsIdentity a = ann.view(), b = bob.view();
  EXPECT_TRUE(Mutual(of_ann, asking_server(TlsClientAuth::required, keys), &a).talks());
  EXPECT_GT(of_ann->sessions().sessions(), 0u);
  EXPECT_EQ(of_ann->sibling()->sessions().sessions(), 0u);
  Mutual m(of_bob, asking_server(TlsClientAuth::required, keys), &b);
  EXPECT_TRUE(m.talks());
  EXPECT_FALSE(m.client.resumed());
  EXPECT_EQ(certificate_account(m.server.peer_certificate()), "bob@example.com");
}

using ClientCertificateDeath = ClientCertificate;
INSTANTIATE_TEST_SUITE_P(Version, ClientCertificateDeath, ::testing::Values(TlsVersion::v1_3));
TEST_P(ClientCertificateDeath, OfAnotherOnOneContextIsABug) {
  TlsOwnIdentity ann = identity_of({.account = "ann@example.com", .validity = kGood});
  TlsIdentity view = ann.view();
  TlsEngine first(client_, kHost, &view);
  EXPECT_DEATH(TlsEngine(client_, kHost), "claim");
}

TEST(ClientIdentity, ThatDoesNotFitTogetherMakesAFailedEngine) {
  set_time(kNoon);
  TlsOwnIdentity ann = identity_of({.account = "ann", .validity = kGood});
  TlsOwnIdentity bob = identity_of({.account = "bob", .validity = kGood});
  TlsIdentity a = ann.view(), b = bob.view();
  const uint8_t junk[] = {0x30, 0x01};
  struct {
    TlsIdentity identity;
    TlsError error;
  } const cases[] = {{{.private_key = a.private_key, .chain = b.chain}, TlsError::key_mismatch},
                     {{.private_key = a.private_key, .chain = {}}, TlsError::invalid_chain},
                     {{.private_key = a.private_key, .chain = junk}, TlsError::invalid_chain},
                     {{.private_key = junk, .chain = a.chain}, TlsError::invalid_key}};
  for (const auto& one : cases) {
    TlsEngine engine(make_client(), kHost, &one.identity);
    EXPECT_EQ(engine.state(), TlsState::failed);
    EXPECT_TRUE(is(engine.error(), one.error)) << error_text(engine.error());
  }
}

TEST(ClientIdentity, IsReadThoughItHasExpired) {
  set_time(kNoon);
  TlsOwnIdentity old = identity_of({.account = "com.example.mail", .validity = {kNoon - 48h, kNoon - 1h}});
  EXPECT_EQ(old.expires(), kNoon - 1h);
  EXPECT_EQ(old.valid_from(), kNoon - 48h);
  auto made = issue_client_certificate(authority(), {.account = "ann", .validity = kGood});
  auto other = issue_client_certificate(authority(), {.account = "bob", .validity = kGood});
  std::string complaint;
  auto mixed = TlsOwnIdentity::read({"a.pem", made->chain_pem}, {"b.key", other->key_pem}, complaint);
  ASSERT_FALSE(mixed);
  EXPECT_TRUE(is(mixed.error(), TlsError::key_mismatch));
  EXPECT_EQ(complaint, "b.key: does not belong to the first certificate in a.pem");
}

TEST(CertificateAccount, IsThePrincipalNameThenTheAddressThenTheCommonName) {
  set_time(kNoon);
  TlsOwnIdentity ann = identity_of({.account = "Ann@Example.com", .validity = kGood});
  EXPECT_EQ(certificate_account(ann.view().chain), "ann@example.com");
  EXPECT_EQ(certificate_account(as_bytes("junk")), "");
  EXPECT_EQ(certificate_account({}), "");
  EXPECT_FALSE(issue_client_certificate(authority(), {.account = "a,DNS:b", .validity = kGood}));
  EXPECT_FALSE(issue_client_certificate(authority(), {.account = "", .validity = kGood}));
}

}  // namespace
}  // namespace bellhop::tls_test
