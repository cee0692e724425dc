// SPDX-License-Identifier: Apache-2.0
#include "core/tls/revocations.h"

#include <gmock/gmock.h>
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/nid.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "core/tls/identity.h"
#include "tests/core/tls/tls_fixture.h"

namespace bellhop::tls_test {
namespace {

using ::testing::HasSubstr;

CertificateAndKey issued(const ClientCertificateProfile& profile, const CertificateAndKey& issuer = authority()) {
  auto made = issue_client_certificate(issuer, profile);
  BH_CHECK(made);
  return *std::move(made);
}

TlsOwnIdentity identity_of(const CertificateAndKey& made) {
  std::string complaint;
  auto read = TlsOwnIdentity::read({"client.pem", made.chain_pem}, {"client.key", made.key_pem}, complaint);
  BH_CHECK(read);
  return *std::move(read);
}

std::string list_of(std::initializer_list<std::string> revoked, const CertificateAndKey& issuer = authority(),
                    CertificateValidity validity = kGood) {
  std::vector<std::string> all(revoked);
  auto made = make_revocation_list(issuer, all, validity);
  BH_CHECK(made);
  return *made;
}

// The same list as one part of several: of the certificates that name this distribution point.
std::string part_of(const std::string& list, const CertificateAndKey& issuer = authority()) {
  bssl::UniquePtr<BIO> from(BIO_new_mem_buf(list.data(), static_cast<ossl_ssize_t>(list.size())));
  bssl::UniquePtr<X509_CRL> crl(PEM_read_bio_X509_CRL(from.get(), nullptr, nullptr, nullptr));
  bssl::UniquePtr<BIO> key_text(BIO_new_mem_buf(issuer.key_pem.data(), static_cast<ossl_ssize_t>(issuer.key_pem.size())));
  bssl::UniquePtr<EVP_PKEY> key(PEM_read_bio_PrivateKey(key_text.get(), nullptr, nullptr, nullptr));
  ISSUING_DIST_POINT* scope = ISSUING_DIST_POINT_new();
  GENERAL_NAME* name = GENERAL_NAME_new();
  ASN1_IA5STRING* url = ASN1_IA5STRING_new();
  BH_CHECK(crl && key && ASN1_STRING_set(url, "http://ca.example.com/1.crl", -1) == 1);
  GENERAL_NAME_set0_value(name, GEN_URI, url);
  scope->distpoint = DIST_POINT_NAME_new();
  scope->distpoint->type = 0;  // fullName
  scope->distpoint->name.fullname = GENERAL_NAMES_new();
  BH_CHECK(sk_GENERAL_NAME_push(scope->distpoint->name.fullname, name) > 0);
  BH_CHECK(X509_CRL_add1_ext_i2d(crl.get(), NID_issuing_distribution_point, scope, 1, 0) == 1);
  ISSUING_DIST_POINT_free(scope);
  bssl::UniquePtr<BIO> to(BIO_new(BIO_s_mem()));
  BH_CHECK(X509_CRL_sign(crl.get(), key.get(), EVP_sha256()) > 0 && PEM_write_bio_X509_CRL(to.get(), crl.get()) == 1);
  const uint8_t* text = nullptr;
  size_t size = 0;
  BH_CHECK(BIO_mem_contents(to.get(), &text, &size) == 1);
  return {text, text + size};
}

Result<std::shared_ptr<const TlsRevocations>> parse(std::string_view text, std::string& complaint,
                                                    const CertificateAndKey& root = authority()) {
  TlsFile file{"users.crl", text};
  return TlsRevocations::parse({&file, 1}, *trusting(root), complaint);
}

std::shared_ptr<const TlsRevocations> revocations(std::string_view text) {
  std::string complaint;
  auto read = parse(text, complaint);
  EXPECT_TRUE(read) << complaint;
  return read ? *read : nullptr;
}

std::shared_ptr<TlsContext> server(std::shared_ptr<const TlsRevocations> lists, std::shared_ptr<TicketKeys> keys = nullptr) {
  TlsServerOptions options = server_options(server_certificate());
  options.client_auth = TlsClientAuth::optional;
  options.client_authorities = trusting(authority());
  options.client_revocations = std::move(lists);
  options.client_use_stated = true;
  options.ticket_keys = std::move(keys);
  return make_server(options);
}

// The server's verdict: nothing where both can talk.
struct Visit {
  TlsEngine client, server;
  Visit(std::shared_ptr<TlsContext> client_context, std::shared_ptr<TlsContext> server_context, const TlsIdentity* identity)
      : client(std::move(client_context), kHost, identity), server(std::move(server_context)) {
    shake(client, server);
    if (client.state() == TlsState::open && server.state() == TlsState::open) {
      say(client, "hello");
      carry(client, server);
      heard = read_all(server) == "hello";
      say(server, "hi");
    }
    carry(server, client);
    if (client.state() == TlsState::open) heard = read_all(client) == "hi" && heard;
  }
  bool heard = false;
};

class Revocation : public ::testing::TestWithParam<TlsVersion> {
 protected:
  void SetUp() override {
    set_time(kNoon);
    register_tls_error_texts();
    client_ = make_client();
    only(*client_, GetParam());
  }
  void TearDown() override { set_time(kNoon); }
  std::shared_ptr<TlsContext> client_;
};
INSTANTIATE_TEST_SUITE_P(Version, Revocation, ::testing::Values(TlsVersion::v1_2, TlsVersion::v1_3),
                         [](const auto& info) { return info.param == TlsVersion::v1_3 ? "Tls13" : "Tls12"; });

TEST_P(Revocation, TurnsAwayWhomTheListNamesAndNobodyElse) {
  CertificateAndKey ann = issued({.account = "ann@example.com", .validity = kGood});
  CertificateAndKey bob = issued({.account = "bob@example.com", .validity = kGood});
  auto lists = revocations(list_of({ann.chain_pem}));
  for (bool revoked : {true, false}) {
    TlsOwnIdentity identity = identity_of(revoked ? ann : bob);
    TlsIdentity view = identity.view();
    auto context = client_->sibling();
    only(*context, GetParam());
    Visit visit(context, server(lists), &view);
    EXPECT_EQ(visit.heard, !revoked) << error_text(visit.server.error());
    if (!revoked) continue;
    EXPECT_TRUE(is(visit.server.error(), TlsError::certificate_revoked)) << error_text(visit.server.error());
    EXPECT_EQ(visit.server.error().detail, 1u);
    EXPECT_TRUE(is_certificate_refusal(visit.client.error())) << error_text(visit.client.error());
  }
}

TEST_P(Revocation, EndsSessionsToo) {
  auto keys = ticket_keys(9);
  CertificateAndKey ann = issued({.account = "ann@example.com", .validity = kGood});
  TlsOwnIdentity identity = identity_of(ann);
  TlsIdentity view = identity.view();
  auto before = revocations(list_of({}));
  EXPECT_TRUE(Visit(client_, server(before, keys), &view).heard);
  Visit resumed(client_, server(before, keys), &view);
  EXPECT_TRUE(resumed.heard && resumed.client.resumed());
  Visit after(client_, server(revocations(list_of({ann.chain_pem})), keys), &view);
  EXPECT_FALSE(after.heard);
  EXPECT_TRUE(is(after.server.error(), TlsError::certificate_revoked)) << error_text(after.server.error());
}

TEST_P(Revocation, SessionsEndWithTheirCertificate) {
  auto keys = ticket_keys(9);
  TlsOwnIdentity identity = identity_of(issued({.account = "ann@example.com", .validity = {kNoon - 1h, kNoon + 1h}}));
  TlsIdentity view = identity.view();
  EXPECT_TRUE(Visit(client_, server(nullptr, keys), &view).heard);
  set_time(kNoon + 61min);
  Visit late(client_, server(nullptr, keys), &view);
  EXPECT_TRUE(late.client.resumed() || is(late.server.error(), TlsError::certificate_expired));
  EXPECT_FALSE(late.heard);
  EXPECT_TRUE(is(late.server.error(), TlsError::certificate_expired)) << error_text(late.server.error());
}

TEST_P(Revocation, WithoutAListOfTheIssuerNobodyCanSay) {
  auto other = make_authority("other authority", kGood);
  ASSERT_TRUE(other);
  std::string both = authority().chain_pem + other->chain_pem, complaint;
  TlsFile roots{"roots.pem", both};
  auto authorities = TlsAuthorities::parse({&roots, 1}, complaint);
  ASSERT_TRUE(authorities) << complaint;
  std::string text = list_of({}, *other);
  TlsFile file{"users.crl", text};
  auto lists = TlsRevocations::parse({&file, 1}, **authorities, complaint);
  ASSERT_TRUE(lists) << complaint;
  TlsOwnIdentity identity = identity_of(issued({.account = "ann@example.com", .validity = kGood}));
  TlsIdentity view = identity.view();
  Visit visit(client_, server(*lists), &view);
  EXPECT_FALSE(visit.heard);
  EXPECT_TRUE(is(visit.server.error(), TlsError::certificate_revocation_unknown)) << error_text(visit.server.error());
}

TEST_P(Revocation, AListPastItsDateStillTakesBack) {
  CertificateAndKey ann = issued({.account = "ann@example.com", .validity = kGood});
  auto lists = revocations(list_of({ann.chain_pem}, authority(), {kNoon - 48h, kNoon - 24h}));
  ASSERT_TRUE(lists);
  EXPECT_EQ(lists->next_update(), kNoon - 24h);
  TlsOwnIdentity identity = identity_of(ann);
  TlsIdentity view = identity.view();
  EXPECT_FALSE(Visit(client_, server(lists), &view).heard);
}

TEST_P(Revocation, AUseThatIsNotStatedIsNotEnough) {
  TlsOwnIdentity silent = identity_of(issued({.account = "ann@example.com", .validity = kGood, .use_stated = false}));
  TlsIdentity view = silent.view();
  Visit visit(client_, server(nullptr), &view);
  EXPECT_FALSE(visit.heard);
  EXPECT_TRUE(is(visit.server.error(), TlsError::certificate_use_unstated)) << error_text(visit.server.error());
}

TEST(RevocationList, IsLookedUpAgainWithoutItsIssuer) {
  set_time(kNoon);
  CertificateAndKey ann = issued({.account = "ann@example.com", .validity = kGood});
  CertificateAndKey bob = issued({.account = "bob@example.com", .validity = kGood});
  auto lists = revocations(list_of({ann.chain_pem}));
  EXPECT_EQ(lists->lists(), 1u);
  EXPECT_EQ(lists->size(), 1u);
  Status revoked = lists->check_again(identity_of(ann).view().chain);
  EXPECT_TRUE(!revoked && is(revoked.error(), TlsError::certificate_revoked));
  EXPECT_TRUE(lists->check_again(identity_of(bob).view().chain));
  auto stranger = make_authority("stranger", kGood);
  Status unknown = lists->check_again(identity_of(issued({.account = "ann", .validity = kGood}, *stranger)).view().chain);
  EXPECT_TRUE(!unknown && is(unknown.error(), TlsError::certificate_revocation_unknown));
  Status nothing = lists->check_again(as_bytes("no certificate"));
  EXPECT_TRUE(!nothing && is(nothing.error(), TlsError::certificate_invalid));
}

TEST(RevocationList, OfManyFindsEach) {
  set_time(kNoon);
  std::vector<std::string> revoked;
  std::vector<CertificateAndKey> made;
  for (int i = 0; i < 40; ++i) {
    made.push_back(issued({.account = "user" + std::to_string(i), .validity = kGood}));
    if (i % 2 == 0) revoked.push_back(made.back().chain_pem);
  }
  auto text = make_revocation_list(authority(), revoked, kGood);
  ASSERT_TRUE(text);
  auto lists = revocations(*text);
  EXPECT_EQ(lists->size(), 20u);
  for (size_t i = 0; i < made.size(); ++i) {
    EXPECT_EQ(lists->check_again(identity_of(made[i]).view().chain).has_value(), i % 2 != 0) << i;
  }
}

TEST(RevocationList, ThatIsNotOurAuthoritysIsRefusedWithItsFile) {
  set_time(kNoon);
  auto stranger = make_authority("stranger", kGood);
  ASSERT_TRUE(stranger);
  auto twin = make_authority("bellhop test authority", kGood);  // a name alone signs nothing
  std::string damaged = list_of({});
  damaged[damaged.size() / 2] = damaged[damaged.size() / 2] == 'A' ? 'B' : 'A';
  struct {
    std::string text;
    const char* complaint;
  } cases[] = {
      {list_of({}, *stranger), "not signed by an authority"},
      {list_of({}, *twin), "not signed by an authority"},
      {authority().chain_pem, "holds no revocation list"},
      {"", "holds no revocation list"},
      {"\x30\x03\x02\x01\x05", "does not parse"},
      {damaged, ""},
      {part_of(list_of({})), "name the authority's full list"},
      {list_of({}) + list_of({}, *stranger), "list 2"},
  };
  for (auto& one : cases) {
    std::string complaint;
    auto read = parse(one.text, complaint);
    ASSERT_FALSE(read) << one.complaint;
    EXPECT_TRUE(is(read.error(), TlsError::invalid_revocations));
    EXPECT_THAT(complaint, HasSubstr("users.crl: "));
    EXPECT_THAT(complaint, HasSubstr(one.complaint));
  }
}

TEST(EndpointHash, IsThatOfTheCertificatesSignature) {
  set_time(kNoon);
  TlsOwnIdentity own = identity_of(issued({.account = "ann@example.com", .validity = kGood}));
  std::vector<uint8_t> hash = endpoint_hash(own.view().chain);
  EXPECT_EQ(hash.size(), 32u);  // ECDSA with SHA-256
  EXPECT_TRUE(endpoint_hash(as_bytes("no certificate")).empty());
  TlsOwnIdentity other = identity_of(issued({.account = "ann@example.com", .validity = kGood}));
  EXPECT_NE(endpoint_hash(other.view().chain), hash);
  auto life = certificate_life(own.view().chain);
  ASSERT_TRUE(life);
  EXPECT_EQ(life->from, kGood.from);
  EXPECT_EQ(life->to, kGood.to);
}

}  // namespace
}  // namespace bellhop::tls_test
