// SPDX-License-Identifier: Apache-2.0
// Whose certificates log on: files, dates, lists and domains of [gateway.certificates].
#include <gmock/gmock.h>

#include "core/sim/world.h"
#include "core/tls/certificate.h"
#include "core/tls/identity.h"
#include "crypto/error.h"
#include "service/gateway_logon.h"

namespace bellhop::kerberos_test {
namespace {

using namespace bellhop::service;
using ::testing::HasSubstr;

const WallTime kNoon{std::chrono::seconds(1'800'000'000)};
const CertificateValidity kGood{kNoon - 24h, kNoon + std::chrono::hours(24 * 90)};
WallTime noon() { return kNoon; }

struct Certificates : ::testing::Test {
  Certificates() {
    set_tls_clock(&noon);
    authority = *make_authority("users", kGood);
    put("/etc/users-ca.pem", authority.chain_pem);
    config.logon = CertificateLogon::required;
    config.ca_file = "/etc/users-ca.pem";
    config.user_domains = {"example.com", "example.net"};
  }
  void put(const std::string& path, std::string_view text) {
    BH_CHECK(io::make_folder("/etc", 0755));
    BH_CHECK(io::write_file(path, as_bytes(text), 0644));
  }
  CertificateAndKey issued(std::string account, CertificateValidity validity = kGood) {
    return *issue_client_certificate(authority, {.account = std::move(account), .validity = validity});
  }
  std::vector<uint8_t> der(const CertificateAndKey& made) {
    std::string why;
    auto own = TlsOwnIdentity::read({"pem", made.chain_pem}, {"key", made.key_pem}, why);
    BH_CHECK(own);
    Bytes chain = own->view().chain;
    return {chain.begin(), chain.end()};
  }
  void revoke(std::initializer_list<std::string> chains, CertificateValidity validity = kGood) {
    std::vector<std::string> all(chains);
    put("/etc/users.crl", *make_revocation_list(authority, all, validity));
    config.crl_file = "/etc/users.crl";
  }
  std::shared_ptr<const ClientCertificates> read() {
    auto made = ClientCertificates::read(config, complaint);
    EXPECT_TRUE(made) << complaint;
    return made ? *made : nullptr;
  }

  CertificateAndKey authority;
  CertificatesConfig config;
  std::string complaint;
};

bool failed_with(const Status& status, TlsError code) { return !status && is(status.error(), code); }

TEST_F(Certificates, AreGoodBetweenTheirDates) {
  auto users = read();
  std::vector<uint8_t> ann = der(issued("ann@example.com", {kNoon - 1h, kNoon + 1h}));
  EXPECT_TRUE(users->check(ann, kNoon));
  EXPECT_TRUE(failed_with(users->check(ann, kNoon + 61min), TlsError::certificate_expired));
  EXPECT_TRUE(failed_with(users->check(ann, kNoon - 61min), TlsError::certificate_not_yet_valid));
  EXPECT_TRUE(failed_with(users->check(as_bytes("no certificate"), kNoon), TlsError::certificate_invalid));
  EXPECT_EQ(users->next_update(), WallTime::max());
}

TEST_F(Certificates, AreLookedUpInTheListsEachTime) {
  CertificateAndKey ann = issued("ann@example.com"), bob = issued("bob@example.com");
  revoke({ann.chain_pem});
  auto users = read();
  EXPECT_TRUE(failed_with(users->check(der(ann), kNoon), TlsError::certificate_revoked));
  EXPECT_TRUE(users->check(der(bob), kNoon));
}

TEST_F(Certificates, AListThatIsTooOldIsNobodysFault) {
  CertificateAndKey ann = issued("ann@example.com"), bob = issued("bob@example.com");
  config.crl_stale_hours_max = 2;
  revoke({ann.chain_pem}, {kNoon - 48h, kNoon});
  auto users = read();
  EXPECT_EQ(users->next_update(), kNoon);
  EXPECT_TRUE(users->check(der(bob), kNoon + 119min));
  Status stale = users->check(der(bob), kNoon + 121min);
  EXPECT_TRUE(failed_with(stale, TlsError::certificate_revocations_stale));
  EXPECT_TRUE(failed_with(users->check(der(ann), kNoon + 121min), TlsError::certificate_revoked));  // that much is known
  GatewayCertificates names(users);
  EXPECT_TRUE(names.cannot_tell(stale.error()));
  EXPECT_FALSE(names.cannot_tell(tls_error(TlsError::certificate_revoked)));
}

TEST_F(Certificates, NameUsersOfTheListedDomains) {
  GatewayCertificates users(read());
  auto ann = users.user(der(issued("Ann@Example.COM")), kNoon);
  ASSERT_TRUE(ann) << error_text(ann.error());
  EXPECT_EQ(*ann, "Ann@Example.COM");
  EXPECT_TRUE(users.user(der(issued("ann@example.net")), kNoon));
  for (const char* other : {"ann@example.org", "ann@sub.example.com", "ann@xexample.com"}) {
    auto user = users.user(der(issued(other)), kNoon);
    EXPECT_TRUE(!user && crypto::is(user.error(), crypto::CryptoError::certificate_bad_user)) << other;
  }
  auto late = users.user(der(issued("ann@example.com", {kNoon - 48h, kNoon - 1h})), kNoon);
  EXPECT_TRUE(!late && is(late.error(), TlsError::certificate_expired));
  users.take(nullptr);  // a reload switched it off
  EXPECT_FALSE(users.user(der(issued("ann@example.com")), kNoon));
}

TEST_F(Certificates, AskInTheHandshakeAsConfigured) {
  revoke({});
  TlsServerOptions options;
  read()->apply_to(options);
  EXPECT_EQ(options.client_auth, TlsClientAuth::required);
  EXPECT_TRUE(options.client_authorities && options.client_revocations && options.client_use_stated);
  config.logon = CertificateLogon::optional;
  read()->apply_to(options);
  EXPECT_EQ(options.client_auth, TlsClientAuth::optional);
}

TEST_F(Certificates, AFileThatIsNoGoodIsNamed) {
  config.ca_file = "/etc/nothing.pem";
  EXPECT_FALSE(ClientCertificates::read(config, complaint));
  EXPECT_THAT(complaint, HasSubstr("/etc/nothing.pem: "));
  put("/etc/words.pem", "words");
  config.ca_file = "/etc/words.pem";
  EXPECT_FALSE(ClientCertificates::read(config, complaint));
  EXPECT_THAT(complaint, HasSubstr("/etc/words.pem: "));
  config.ca_file = "/etc/users-ca.pem";
  config.crl_file = "/etc/words.pem";
  EXPECT_FALSE(ClientCertificates::read(config, complaint));
  EXPECT_THAT(complaint, HasSubstr("/etc/words.pem: "));
}

}  // namespace
}  // namespace bellhop::kerberos_test
