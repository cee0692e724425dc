// SPDX-License-Identifier: Apache-2.0
// Whom a client trusts, and what it says when it does not.
#include <gmock/gmock.h>
#include <openssl/bn.h>
#include <openssl/bytestring.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>

#include "core/tls/pem.h"
#include "core/tls/verify.h"
#include "tests/core/tls/tls_fixture.h"

namespace bellhop::tls_test {
namespace {

class Trust : public ::testing::Test {
 protected:
  void SetUp() override { set_time(kNoon); }
  void TearDown() override { set_time(kNoon); }

  // The client's error after a handshake, or "open".
  std::string meet(const TlsClientOptions& client, const CertificateAndKey& identity, const std::string& host = kHost,
                   WallTime client_time = kNoon) {
    set_time(kNoon);
    auto server = make_server(server_options(identity));
    set_time(client_time);
    Meeting m(make_client(client), server, host);
    m.shake();
    alert_ = m.server.error();
    return m.client.state() == TlsState::failed ? error_text(m.client.error()) : to_text(m.client.state());
  }
  TlsClientOptions by_authority(const CertificateAndKey& root = authority()) {
    TlsClientOptions options;
    options.authorities = trusting(root);
    return options;
  }
  TlsClientOptions by_pin(const CertificateAndKey& identity) {
    TlsClientOptions options;
    options.pins = {*spki_pin(identity.chain_pem)};
    return options;
  }
  Error alert_;
};

TEST_F(Trust, AcceptsTheNamesAndAddressesInTheCertificate) {
  for (std::string host :
       {"mail.example.test", "MAIL.Example.Test", "a.wild.example.test", "192.0.2.7", "2001:db8::7"}) {
    EXPECT_EQ(meet(by_authority(), server_certificate(), host), "open") << host;
  }
}

TEST_F(Trust, RefusesEveryOtherName) {
  for (std::string host : {"example.test", "other.example.test", "a.b.wild.example.test", "wild.example.test",
                           "192.0.2.8", "2001:db8::8", "bellhop"}) {
    EXPECT_EQ(meet(by_authority(), server_certificate(), host), "tls: certificate is for another name") << host;
    EXPECT_TRUE(is(alert_, TlsError::peer_alert));
    EXPECT_EQ(alert_.detail, uint32_t{SSL_AD_BAD_CERTIFICATE});
  }
}

TEST_F(Trust, RefusesExpiredAndEarlyCertificates) {
  EXPECT_EQ(meet(by_authority(), server_certificate(), kHost, kGood.to + 1s), "tls: certificate has expired");
  EXPECT_EQ(alert_.detail, uint32_t{SSL_AD_CERTIFICATE_EXPIRED});
  EXPECT_EQ(meet(by_authority(), server_certificate(), kHost, kGood.from - 1s), "tls: certificate is not valid yet");
  EXPECT_EQ(meet(by_authority(), server_certificate(), kHost, kGood.to - 1s), "open");
}

TEST_F(Trust, RefusesAnUnknownAuthorityEvenOfTheSameName) {
  auto stranger = *make_authority("bellhop test authority", kGood);
  auto other = *make_authority("another authority", kGood);
  EXPECT_EQ(meet(by_authority(other), server_certificate()), "tls: certificate is from an unknown authority");
  EXPECT_EQ(alert_.detail, uint32_t{SSL_AD_UNKNOWN_CA});
  EXPECT_THAT(meet(by_authority(stranger), server_certificate()), ::testing::StartsWith("tls: certificate is "));
}

TEST_F(Trust, RefusesSelfSignedUnlessItIsNamedOrPinned) {
  std::vector<std::string> names = {kHost};
  auto self_signed = *make_self_signed(names, {}, kGood);
  EXPECT_EQ(meet(by_authority(), self_signed), "tls: certificate is self-signed and not among the trusted ones");
  EXPECT_EQ(meet(by_authority(self_signed), self_signed), "open");
  EXPECT_EQ(meet(by_pin(self_signed), self_signed), "open");
}

TEST_F(Trust, PinsStillWantNameAndDates) {
  EXPECT_EQ(meet(by_pin(server_certificate()), server_certificate()), "open");
  EXPECT_EQ(meet(by_pin(server_certificate()), server_certificate(), "192.0.2.7"), "open");
  EXPECT_EQ(meet(by_pin(server_certificate()), server_certificate(), "other.example.test"),
            "tls: certificate is for another name");
  EXPECT_EQ(meet(by_pin(server_certificate()), server_certificate(), "192.0.2.8"),
            "tls: certificate is for another name");
  EXPECT_EQ(meet(by_pin(server_certificate()), server_certificate(), kHost, kGood.to + 1s),
            "tls: certificate has expired");
  EXPECT_EQ(meet(by_pin(server_certificate()), server_certificate(), kHost, kGood.from - 1s),
            "tls: certificate is not valid yet");
}

TEST_F(Trust, RefusesAKeyThatIsNotPinnedWhoeverIssuedIt) {
  std::vector<std::string> names = {kHost};
  auto replaced = *issue_certificate(authority(), names, {}, kGood);
  EXPECT_EQ(meet(by_pin(replaced), server_certificate()), "tls: certificate has none of the pinned keys");
  auto both = by_authority();
  both.pins = by_pin(replaced).pins;
  EXPECT_EQ(meet(both, server_certificate()), "tls: certificate has none of the pinned keys");
  both.pins.push_back(by_pin(server_certificate()).pins[0]);
  EXPECT_EQ(meet(both, server_certificate()), "open");
  auto stranger = *make_authority("another authority", kGood);
  auto pinned_but_unknown = by_authority(stranger);
  pinned_but_unknown.pins = by_pin(server_certificate()).pins;
  EXPECT_EQ(meet(pinned_but_unknown, server_certificate()), "tls: certificate is from an unknown authority");
}

std::vector<bssl::UniquePtr<CRYPTO_BUFFER>> der_of(std::string_view pem) {
  std::vector<bssl::UniquePtr<CRYPTO_BUFFER>> out;
  EXPECT_TRUE(read_pem_certificates(pem, 8, nullptr, out));
  return out;
}

TEST_F(Trust, RefusesChainsOfMoreThanEight) {
  auto context = make_client();
  auto leaf = der_of(server_certificate().chain_pem);
  bssl::UniquePtr<STACK_OF(CRYPTO_BUFFER)> chain(sk_CRYPTO_BUFFER_new_null());
  EXPECT_EQ(error_text(verify_server_chain(*context, kHost, chain.get()).error()),
            "tls: the peer sent no certificate");
  for (size_t i = 0; i < TlsContext::kPeerChainMax; ++i) {
    ASSERT_TRUE(bssl::PushToStack(chain.get(), bssl::UpRef(leaf[0].get())));
  }
  EXPECT_TRUE(verify_server_chain(*context, kHost, chain.get()));
  ASSERT_TRUE(bssl::PushToStack(chain.get(), bssl::UpRef(leaf[0].get())));
  EXPECT_EQ(error_text(verify_server_chain(*context, kHost, chain.get()).error()),
            "tls: certificate chain is too long: 9 certificates");
}

// The test server's certificate with an RSA key of `bits` in place of its own, as DER.
bssl::UniquePtr<CRYPTO_BUFFER> with_rsa_key(unsigned bits) {
  bssl::UniquePtr<X509> certificate(X509_parse_from_buffer(der_of(server_certificate().chain_pem)[0].get()));
  bssl::UniquePtr<BIGNUM> modulus(BN_new()), exponent(BN_new());
  EXPECT_TRUE(BN_rand(modulus.get(), static_cast<int>(bits), BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ODD));
  EXPECT_TRUE(BN_set_word(exponent.get(), 65537));
  bssl::UniquePtr<RSA> rsa(RSA_new());
  EXPECT_TRUE(RSA_set0_key(rsa.get(), modulus.release(), exponent.release(), nullptr));
  bssl::UniquePtr<EVP_PKEY> key(EVP_PKEY_new());
  EXPECT_TRUE(EVP_PKEY_set1_RSA(key.get(), rsa.get()));
  EXPECT_TRUE(X509_set_pubkey(certificate.get(), key.get()));
  auto signer = read_pem_key(authority().key_pem);
  EXPECT_GT(X509_sign(certificate.get(), signer.get(), EVP_sha256()), 0);
  uint8_t* der = nullptr;
  int size = i2d_X509(certificate.get(), &der);
  bssl::UniquePtr<uint8_t> owner(der);
  return bssl::UniquePtr<CRYPTO_BUFFER>(CRYPTO_BUFFER_new(der, static_cast<size_t>(size), nullptr));
}

TEST_F(Trust, RefusesGiantAndTinyRsaKeysBeforeAnySignatureCheck) {
  auto context = make_client();
  auto judge = [&](unsigned bits) {
    bssl::UniquePtr<STACK_OF(CRYPTO_BUFFER)> chain(sk_CRYPTO_BUFFER_new_null());
    EXPECT_TRUE(bssl::PushToStack(chain.get(), with_rsa_key(bits)));
    return verify_server_chain(*context, kHost, chain.get());
  };
  EXPECT_TRUE(judge(2048));
  EXPECT_TRUE(judge(8192));
  EXPECT_EQ(error_text(judge(8200).error()),
            "tls: certificate has an RSA key of 8200 bits (2048 to 8192 are accepted)");
  EXPECT_TRUE(is(judge(1024).error(), TlsError::certificate_key_size));
}

TEST_F(Trust, NamesTheFileWithUnusableAuthorities) {
  auto complaint_about = [](std::string_view text) {
    TlsFile file{"roots.pem", text};
    std::string complaint;
    auto made = TlsAuthorities::parse({&file, 1}, complaint);
    EXPECT_FALSE(made);
    if (!made) EXPECT_TRUE(is(made.error(), TlsError::invalid_authorities));
    return complaint;
  };
  EXPECT_EQ(complaint_about(""), "roots.pem: holds no PEM block of type CERTIFICATE");
  EXPECT_EQ(complaint_about(authority().key_pem), "roots.pem: holds no PEM block of type CERTIFICATE");
  std::string damaged = authority().chain_pem;
  damaged.replace(100, 1, "!");
  EXPECT_EQ(complaint_about(damaged), "roots.pem: the PEM text is damaged");
  EXPECT_EQ(complaint_about("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
            "roots.pem: certificate 1 does not parse");
  std::string many;
  for (size_t i = 0; i <= TlsAuthorities::kCertificatesMax; ++i) many += authority().chain_pem;
  EXPECT_EQ(complaint_about(many), "roots.pem: too many trusted certificates (more than 1000 in all)");
  std::string complaint;
  EXPECT_FALSE(TlsAuthorities::parse({}, complaint));
}

TEST_F(Trust, ReadsSeveralFilesAndSkipsOtherBlocks) {
  auto other = *make_authority("another authority", kGood);
  std::string mixed = other.key_pem + other.chain_pem;
  TlsFile files[] = {{"a.pem", authority().chain_pem}, {"b.pem", mixed}};
  std::string complaint;
  auto both = TlsAuthorities::parse(files, complaint);
  ASSERT_TRUE(both) << complaint;
  EXPECT_EQ((*both)->size(), 2u);
  TlsClientOptions options;
  options.authorities = *both;
  EXPECT_EQ(meet(options, server_certificate()), "open");
}

TEST_F(Trust, WantsAuthoritiesOrPins) {
  std::string complaint;
  auto context = TlsContext::client({}, complaint);
  ASSERT_FALSE(context);
  EXPECT_EQ(complaint, "neither trusted certificates nor pinned keys are given");
}

}  // namespace
}  // namespace bellhop::tls_test
