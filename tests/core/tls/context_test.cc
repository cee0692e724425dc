// SPDX-License-Identifier: Apache-2.0
#include "core/tls/context.h"

#include <gmock/gmock.h>

#include "tests/core/tls/tls_fixture.h"

namespace bellhop::tls_test {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

struct Refusal {
  TlsError code{};
  std::string complaint;
};

Refusal refusal_of(const TlsServerOptions& options) {
  Refusal refusal;
  auto context = TlsContext::server(options, refusal.complaint);
  EXPECT_FALSE(context);
  if (!context) refusal.code = static_cast<TlsError>(context.error().code);
  return refusal;
}

class Context : public ::testing::Test {
 protected:
  void SetUp() override { set_time(kNoon); }
  void TearDown() override { set_time(kNoon); }
};

TEST_F(Context, RefusesAKeyOfAnotherCertificate) {
  auto options = server_options(server_certificate());
  options.key.content = authority().key_pem;
  auto refusal = refusal_of(options);
  EXPECT_EQ(refusal.code, TlsError::key_mismatch);
  EXPECT_EQ(refusal.complaint, "key.pem: does not belong to the first certificate in chain.pem");
}

TEST_F(Context, RefusesUnreadableChainsAndKeys) {
  auto options = server_options(server_certificate());
  options.chain.content = "";
  EXPECT_EQ(refusal_of(options).complaint, "chain.pem: holds no PEM block of type CERTIFICATE");
  options.chain.content = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
  EXPECT_EQ(refusal_of(options).complaint, "chain.pem: certificate 1 does not parse");
  std::string cut = server_certificate().chain_pem.substr(0, 300);
  options.chain.content = cut;
  EXPECT_EQ(refusal_of(options).complaint, "chain.pem: the PEM text is damaged");
  std::string many;
  for (int i = 0; i < 9; ++i) many += server_certificate().chain_pem;
  options.chain.content = many;
  EXPECT_EQ(refusal_of(options).complaint, "chain.pem: holds more than 8 certificates");

  options = server_options(server_certificate());
  for (std::string_view key :
       {std::string_view(), std::string_view(server_certificate().chain_pem),
        std::string_view("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n")}) {
    options.key.content = key;
    auto refusal = refusal_of(options);
    EXPECT_EQ(refusal.code, TlsError::invalid_key);
    EXPECT_EQ(refusal.complaint, "key.pem: holds no unencrypted private key in PEM");
  }
}

TEST_F(Context, RefusesExpiredAndEarlyCertificatesAndNamesTheDate) {
  set_time(kGood.to + 1s);
  auto refusal = refusal_of(server_options(server_certificate()));
  EXPECT_EQ(refusal.code, TlsError::own_certificate_expired);
  EXPECT_EQ(refusal.complaint, "chain.pem: certificate 1 (CN=bellhop) has expired on 2027-04-15 08:00:00 UTC");
  set_time(kGood.from - 1s);
  refusal = refusal_of(server_options(server_certificate()));
  EXPECT_EQ(refusal.code, TlsError::own_certificate_not_yet_valid);
  EXPECT_THAT(refusal.complaint, HasSubstr("is not valid before 2027-01-14 08:00:00 UTC"));
}

TEST_F(Context, AcceptsIssuersInOrderAndRefusesStrangers) {
  std::string chain = server_certificate().chain_pem + authority().chain_pem;
  auto options = server_options(server_certificate());
  options.chain.content = chain;
  auto context = make_server(options);
  EXPECT_EQ(context->certificate_expires(), kGood.to);
  EXPECT_TRUE(context->is_server());
  auto stranger = *make_authority("another authority", kGood);
  chain = server_certificate().chain_pem + stranger.chain_pem;
  options.chain.content = chain;
  auto refusal = refusal_of(options);
  EXPECT_EQ(refusal.code, TlsError::invalid_chain);
  EXPECT_EQ(refusal.complaint, "chain.pem: certificate 2 (CN=another authority) did not issue the one before it");
}

TEST_F(Context, RefusesUnusableProtocolLists) {
  auto options = server_options(server_certificate());
  options.alpn = {""};
  EXPECT_EQ(refusal_of(options).code, TlsError::invalid_alpn);
  options.alpn = {std::string(254, 'a'), "b"};
  EXPECT_EQ(refusal_of(options).code, TlsError::invalid_alpn);
  options.alpn = {std::string(254, 'a')};
  make_server(options);
}

TEST_F(Context, ConnectionsOutliveTheContextThatMadeThem) {
  auto m = std::make_unique<Meeting>(make_client(), make_server());
  m->shake();
  say(m->client, "still here");
  carry(m->client, m->server);
  EXPECT_EQ(read_all(m->server), "still here");
}

TEST_F(Context, CertificateMakerRefusesWhatItCannotWrite) {
  EXPECT_FALSE(make_authority("", kGood));
  EXPECT_FALSE(make_authority(std::string(65, 'a'), kGood));
  EXPECT_FALSE(make_authority("a", {kNoon, kNoon}));
  std::vector<std::string> none, name = {kHost};
  EXPECT_FALSE(issue_certificate(authority(), none, none, kGood));
  for (std::string bad : {"a,DNS:b", "a b", "", "192.0.2.1", "*.", "a.*.b"}) {
    std::vector<std::string> names = {bad};
    EXPECT_FALSE(issue_certificate(authority(), names, none, kGood)) << bad;
    EXPECT_FALSE(issue_certificate(authority(), none, name, kGood)) << "a name is no address";
  }
  CertificateAndKey damaged;
  damaged.chain_pem = "nonsense";
  EXPECT_FALSE(issue_certificate(damaged, name, none, kGood));
  EXPECT_FALSE(spki_pin("nonsense"));
}

TEST(TlsErrors, EveryCodeHasItsOwnText) {
  std::vector<std::string> seen;
  for (uint16_t code = 1; code <= static_cast<uint16_t>(TlsError::invalid_alpn); ++code) {
    std::string text = error_text({Domain::tls, 0, code, 42});
    EXPECT_THAT(text, StartsWith("tls: "));
    EXPECT_THAT(text, ::testing::Not(HasSubstr("code " + std::to_string(code))));
    EXPECT_THAT(seen, ::testing::Not(::testing::Contains(text)));
    seen.push_back(text);
  }
  EXPECT_EQ(error_text({Domain::tls, 0, 999, 0}), "tls: code 999");
}

}  // namespace
}  // namespace bellhop::tls_test
