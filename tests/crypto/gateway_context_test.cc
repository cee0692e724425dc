// SPDX-License-Identifier: Apache-2.0
#include "crypto/gateway_context.h"

#include <gtest/gtest.h>

#include "crypto/cookie_jar.h"
#include "tests/crypto/crypto_fixture.h"

namespace bellhop::crypto {
namespace {

using namespace std::chrono_literals;

constexpr std::string_view kFirst = "kek 1 AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
constexpr std::string_view kSecond = "kek 2 //79/Pv6+fj39vX08/Lx8O/u7ezr6uno5+bl5OPi4eA=";

Keyring keyring(std::string_view current) {
  std::string text;
  for (std::string_view line : {kFirst, kSecond})
    text += std::string(line) + (line.substr(4, 1) == current ? " current\n" : "\n");
  auto parsed = Keyring::parse(Secret::copy_of(text));
  EXPECT_TRUE(parsed);
  return *std::move(parsed);
}

const WallTime kNow{std::chrono::seconds(1'700'000'000)};

GatewayContext context() {
  return {.tenant = "demo",
          .user = "jdoe@example.com",
          .devices = {"phone1", "phone2"},
          .source_device = "phone1",
          .issued_at = kNow,
          .body_hash = sha256("<Envelope/>")};
}
constexpr ContextRequest kRequest{.method = "POST", .target = "/EWS/Exchange.asmx", .authorization = "Basic YTpi"};

TEST(GatewayContext, ComesBackAsItWasSigned) {
  const GatewayContextSigner signer(keyring("1"));
  for (GatewayContext made : {context(), GatewayContext{.tenant = "t", .user = "u", .issued_at = kNow}}) {
    const auto field = signer.sign(made, kRequest);
    ASSERT_TRUE(field);
    EXPECT_EQ(signer.open(*field, kRequest, kNow), made);
    EXPECT_EQ(field->find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."),
              field->npos);
  }
}

TEST(GatewayContext, HoldsForItsRequestAlone) {
  const GatewayContextSigner signer(keyring("1"));
  const std::string field = *signer.sign(context(), kRequest);
  for (ContextRequest other : {ContextRequest{"PUT", kRequest.target, kRequest.authorization},
                               ContextRequest{kRequest.method, "/Microsoft-Server-ActiveSync", kRequest.authorization},
                               ContextRequest{kRequest.method, kRequest.target, "Basic YTpj"},
                               ContextRequest{kRequest.method, kRequest.target, ""},
                               ContextRequest{"POST/", "EWS/Exchange.asmx", kRequest.authorization}})
    EXPECT_TRUE(failed_with(signer.open(field, other, kNow), CryptoError::signature_invalid));
}

TEST(GatewayContext, RefusesAChangeOfAnyCharacter) {
  const GatewayContextSigner signer(keyring("1"));
  std::string field = *signer.sign(context(), kRequest);
  for (char& c : field) {
    const char kept = c;
    c = c == 'A' ? 'B' : 'A';
    EXPECT_FALSE(signer.open(field, kRequest, kNow));
    c = kept;
  }
  for (size_t size = 0; size < field.size(); ++size) EXPECT_FALSE(signer.open(field.substr(0, size), kRequest, kNow));
  EXPECT_FALSE(signer.open(field + "A", kRequest, kNow));
  EXPECT_FALSE(signer.open(field + ".", kRequest, kNow));
  EXPECT_FALSE(signer.open(std::string(GatewayContextSigner::kFieldBytesMax + 1, 'A'), kRequest, kNow));
  EXPECT_TRUE(signer.open(field, kRequest, kNow));
}

TEST(GatewayContext, LivesFiveMinutes) {
  const GatewayContextSigner signer(keyring("1"));
  const std::string field = *signer.sign(context(), kRequest);
  EXPECT_TRUE(signer.open(field, kRequest, kNow + GatewayContextSigner::kAgeMax));
  EXPECT_TRUE(signer.open(field, kRequest, kNow - GatewayContextSigner::kEarlyMax));
  const auto stale = signer.open(field, kRequest, kNow + GatewayContextSigner::kAgeMax + 1s);
  ASSERT_TRUE(failed_with(stale, CryptoError::context_stale));
  EXPECT_EQ(stale.error().detail, 301u);
  const auto early = signer.open(field, kRequest, kNow - GatewayContextSigner::kEarlyMax - 1s);
  ASSERT_TRUE(failed_with(early, CryptoError::context_early));
  EXPECT_EQ(early.error().detail, 61u);
}

TEST(GatewayContext, IsUnderstoodWhereTheKeyIsHeld) {
  const std::string field = *GatewayContextSigner(keyring("1")).sign(context(), kRequest);
  EXPECT_TRUE(GatewayContextSigner(keyring("2")).open(field, kRequest, kNow));
  auto other = Keyring::parse(Secret::copy_of(std::string(kSecond) + " current"));
  const auto unknown = GatewayContextSigner(*other).open(field, kRequest, kNow);
  ASSERT_TRUE(failed_with(unknown, CryptoError::key_unknown));
  EXPECT_EQ(unknown.error().detail, 1u);
}

TEST(GatewayContext, HoldsItsBounds) {
  const GatewayContextSigner signer(keyring("1"));
  GatewayContext largest{
      .tenant = std::string(GatewayContext::kTextBytesMax, 't'),
      .user = std::string(GatewayContext::kTextBytesMax, 'u'),
      .devices = std::vector<std::string>(GatewayContext::kDevicesMax, std::string(GatewayContext::kTextBytesMax, 'd')),
      .source_device = std::string(GatewayContext::kTextBytesMax, 's'),
      .issued_at = kNow};
  EXPECT_EQ(signer.open(*signer.sign(largest, kRequest), kRequest, kNow), largest);
  const auto refused = [&](auto change) {
    GatewayContext made = context();
    change(made);
    return failed_with(signer.sign(made, kRequest), CryptoError::malformed);
  };
  EXPECT_TRUE(refused([](auto& made) { made.tenant.clear(); }));
  EXPECT_TRUE(refused([](auto& made) { made.user.clear(); }));
  EXPECT_TRUE(refused([](auto& made) { made.devices.push_back(""); }));
  EXPECT_TRUE(refused([](auto& made) { made.user.assign(GatewayContext::kTextBytesMax + 1, 'u'); }));
  EXPECT_TRUE(refused([](auto& made) { made.devices.assign(GatewayContext::kDevicesMax + 1, "d"); }));
}

// --- the jar ---

constexpr CookieJar::Binding kBinding{.route = "mail", .endpoint = "ews", .account = "jdoe@example.com"};
constexpr std::string_view kCookies = "X-BackEndOverrideCookie=exch1~1942062522; X-BackEndCookie=S-1-5=u56";

TEST(CookieJar, OpensWhatItSealed) {
  const CookieJar jar(keyring("1"));
  for (const std::string& content :
       {std::string(), std::string(kCookies), std::string(CookieJar::kContentBytesMax, 'c')}) {
    const std::string text = jar.seal(kBinding, content, kNow);
    EXPECT_LE(text.size(), CookieJar::kTextBytesMax);
    EXPECT_LE(CookieJar::set_cookie("activesync", text).size(), 4096u);
    EXPECT_EQ(text.find("BackEnd"), text.npos);
    const auto opened = jar.open(kBinding, text, kNow);
    ASSERT_TRUE(opened);
    EXPECT_EQ(opened->reveal_text(), content);
  }
  EXPECT_NE(jar.seal(kBinding, kCookies, kNow), jar.seal(kBinding, kCookies, kNow));
}

TEST(CookieJar, BelongsToOneRouteEndpointAndAccount) {
  const CookieJar jar(keyring("1"));
  const std::string text = jar.seal(kBinding, kCookies, kNow);
  for (CookieJar::Binding other : {CookieJar::Binding{"other", "ews", "jdoe@example.com"},
                                   {"mail", "activesync", "jdoe@example.com"},
                                   {"mail", "ews", "jane@example.com"},
                                   {"mail", "ews", ""},
                                   {"mai", "lews", "jdoe@example.com"}})
    EXPECT_TRUE(failed_with(jar.open(other, text, kNow), CryptoError::decrypt_failed));
}

TEST(CookieJar, RefusesWhatAClientWrote) {
  const CookieJar jar(keyring("1"));
  std::string text = jar.seal(kBinding, kCookies, kNow);
  for (char& c : text) {
    const char kept = c;
    c = c == 'A' ? 'B' : 'A';
    EXPECT_FALSE(jar.open(kBinding, text, kNow));
    c = kept;
  }
  for (size_t size = 0; size < text.size(); ++size) EXPECT_FALSE(jar.open(kBinding, text.substr(0, size), kNow));
  EXPECT_TRUE(failed_with(jar.open(kBinding, "X-BEResource=x", kNow), CryptoError::malformed));
  EXPECT_TRUE(
      failed_with(jar.open(kBinding, std::string(CookieJar::kTextBytesMax + 1, 'A'), kNow), CryptoError::malformed));
}

TEST(CookieJar, AgesAndOutlivesAChangeOfKeys) {
  const CookieJar before(keyring("1")), after(keyring("2"));
  const std::string text = before.seal(kBinding, kCookies, kNow);
  EXPECT_TRUE(after.open(kBinding, text, kNow + CookieJar::kAgeMax));
  const auto stale = after.open(kBinding, text, kNow + CookieJar::kAgeMax + 1s);
  ASSERT_TRUE(failed_with(stale, CryptoError::jar_stale));
  EXPECT_EQ(stale.error().detail, 86'401u);
  auto other = Keyring::parse(Secret::copy_of(std::string(kSecond) + " current"));
  EXPECT_TRUE(failed_with(CookieJar(*other).open(kBinding, text, kNow), CryptoError::key_unknown));
}

TEST(CookieJar, IsACookieThatScriptsAndOtherSitesDoNotSee) {
  EXPECT_EQ(CookieJar::name("ews"), "bellhop-ews");
  EXPECT_EQ(CookieJar::set_cookie("ews", "abc"), "bellhop-ews=abc; Path=/; Secure; HttpOnly; SameSite=Strict");
}

}  // namespace
}  // namespace bellhop::crypto
