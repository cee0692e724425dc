// SPDX-License-Identifier: Apache-2.0
#include "crypto/certificate_user.h"

#include <gtest/gtest.h>
#include <openssl/asn1.h>
#include <openssl/bytestring.h>
#include <openssl/ec.h>
#include <openssl/ec_key.h>
#include <openssl/evp.h>
#include <openssl/mem.h>
#include <openssl/nid.h>
#include <openssl/obj.h>
#include <openssl/x509.h>

#include "crypto/boringssl.h"
#include "tests/crypto/crypto_fixture.h"

namespace bellhop::crypto {
namespace {

using namespace std::string_literals;
using Source = CertificateUser::Source;

constexpr std::string_view kUpnOid = "2b060104018237140203";  // 1.3.6.1.4.1.311.20.2.3
constexpr std::string_view kSidNameOid = "2b060104018237190201";

// One DER element.
std::string element(uint8_t tag, std::string_view content) {
  bssl::ScopedCBB out;
  EXPECT_TRUE(CBB_init(out.get(), 64) && CBB_add_u8(out.get(), tag));
  const size_t size = content.size();
  if (size < 128) {
    EXPECT_TRUE(CBB_add_u8(out.get(), static_cast<uint8_t>(size)));
  } else {
    EXPECT_TRUE(CBB_add_u8(out.get(), 0x82) && CBB_add_u16(out.get(), static_cast<uint16_t>(size)));
  }
  std::string text(reinterpret_cast<const char*>(CBB_data(out.get())), CBB_len(out.get()));
  return text.append(content);
}
std::string oid_of(std::string_view hex) {
  const auto bytes = bytes_of_hex(hex);
  return element(0x06, as_text(bytes));
}
// GeneralName: otherName [0] { OID, [0] value }
std::string other_name(std::string_view oid, std::string_view value) {
  return element(0xa0, oid_of(oid) + element(0xa0, value));
}
std::string upn(std::string_view name) {
  return other_name(kUpnOid, element(0x0c, name));
}
std::string rfc822(std::string_view name) {
  return element(0x81, name);
}

struct Extension {
  std::string oid;
  std::string value;
};
Extension alternative_names(std::string_view names) {
  return {"2.5.29.17", element(0x30, names)};
}
Extension sid(std::string_view text) {
  return {"1.3.6.1.4.1.311.25.2", element(0x30, other_name(kSidNameOid, element(0x04, text)))};
}

std::string certificate(const std::vector<Extension>& extensions) {
  bssl::UniquePtr<EC_KEY> ec(EC_KEY_new_by_curve_name(NID_X9_62_prime256v1));
  EXPECT_TRUE(EC_KEY_generate_key(ec.get()));
  bssl::UniquePtr<EVP_PKEY> key(EVP_PKEY_new());
  EXPECT_TRUE(EVP_PKEY_set1_EC_KEY(key.get(), ec.get()));
  bssl::UniquePtr<X509> made(X509_new());
  EXPECT_TRUE(X509_set_version(made.get(), X509_VERSION_3) && X509_set_pubkey(made.get(), key.get()));
  EXPECT_TRUE(X509_NAME_add_entry_by_txt(X509_get_subject_name(made.get()), "CN", MBSTRING_UTF8,
                                         reinterpret_cast<const uint8_t*>("cn@example.com"), -1, -1, 0));
  EXPECT_TRUE(X509_gmtime_adj(X509_getm_notBefore(made.get()), 0) &&
              X509_gmtime_adj(X509_getm_notAfter(made.get()), 60));
  for (const Extension& extension : extensions) {
    bssl::UniquePtr<ASN1_OBJECT> oid(OBJ_txt2obj(extension.oid.c_str(), 1));
    bssl::UniquePtr<ASN1_OCTET_STRING> value(ASN1_OCTET_STRING_new());
    EXPECT_TRUE(ASN1_OCTET_STRING_set(value.get(), reinterpret_cast<const uint8_t*>(extension.value.data()),
                                      static_cast<int>(extension.value.size())));
    bssl::UniquePtr<X509_EXTENSION> entry(X509_EXTENSION_create_by_OBJ(nullptr, oid.get(), 0, value.get()));
    EXPECT_TRUE(X509_add_ext(made.get(), entry.get(), -1));
  }
  EXPECT_TRUE(X509_sign(made.get(), key.get(), EVP_sha256()));
  uint8_t* der = nullptr;
  const int size = i2d_X509(made.get(), &der);
  EXPECT_GT(size, 0);
  std::string text(reinterpret_cast<const char*>(der), static_cast<size_t>(size));
  OPENSSL_free(der);
  return text;
}

Result<CertificateUser> user_of(const std::vector<Extension>& extensions, CertificateUserRules rules = {}) {
  return certificate_user(as_bytes(certificate(extensions)), rules);
}

TEST(CertificateUser, IsTheUpn) {
  const auto user = user_of({alternative_names(rfc822("mail@example.com") + upn("JDoe@Example.com"))});
  ASSERT_TRUE(user);
  EXPECT_EQ(user->name, "JDoe@Example.com");
  EXPECT_EQ(user->source, Source::upn);
  EXPECT_EQ(user->sid, "");
  // Other names of other kinds do not count.
  EXPECT_EQ(user_of({alternative_names(other_name("2b0601", element(0x0c, "x@y")) + upn("a@b"))})->name, "a@b");
  EXPECT_EQ(user_of({alternative_names(upn("\xc3\xbc@b"))})->name, "\xc3\xbc@b");
}

TEST(CertificateUser, IsTheMailAddressOnlyWhereThatIsAsked) {
  const std::vector<Extension> mail = {alternative_names(rfc822("a@b"))};
  EXPECT_TRUE(failed_with(user_of(mail), CryptoError::certificate_no_user));
  const auto user = user_of(mail, {.rfc822_name = true});
  ASSERT_TRUE(user);
  EXPECT_EQ(user->name, "a@b");
  EXPECT_EQ(user->source, Source::rfc822_name);
  EXPECT_EQ(user_of({alternative_names(rfc822("a@b") + upn("c@d"))}, {.rfc822_name = true})->name, "c@d");
  EXPECT_EQ(user_of({alternative_names(rfc822("a@b") + upn("c@d"))}, {.upn = false, .rfc822_name = true})->name, "a@b");
  EXPECT_TRUE(failed_with(user_of({alternative_names(rfc822("a@b") + rfc822("c@d"))}, {.rfc822_name = true}),
                          CryptoError::certificate_many_users));
}

TEST(CertificateUser, IsNeverTheCommonName) {
  EXPECT_TRUE(failed_with(user_of({}), CryptoError::certificate_no_user));
  EXPECT_TRUE(failed_with(user_of({alternative_names(element(0x82, "host.example.com"))}, {.rfc822_name = true}),
                          CryptoError::certificate_no_user));
}

TEST(CertificateUser, IsOneAndReadsInOneWay) {
  EXPECT_TRUE(failed_with(user_of({alternative_names(upn("a@b") + upn("a@b"))}), CryptoError::certificate_many_users));
  EXPECT_TRUE(failed_with(user_of({alternative_names(upn("a@b")), alternative_names(upn("c@d"))}),
                          CryptoError::certificate_many_users));
  for (const std::string& name : {""s, "a"s, "@b"s, "a@"s, "a@b@c"s, "a@b\0.evil"s, "a\0@b"s, " a@b"s, "a@b "s,
                                  "a\n@b"s, "a\\b@c"s, "a/b@c"s, std::string(256, 'a') + "@b"})
    EXPECT_TRUE(failed_with(user_of({alternative_names(upn(name))}), CryptoError::certificate_bad_user)) << name;
  EXPECT_TRUE(failed_with(user_of({alternative_names(upn("\xff@b"))}), CryptoError::malformed));
  // IA5String in place of UTF8String.
  EXPECT_TRUE(failed_with(user_of({alternative_names(other_name(kUpnOid, element(0x16, "a@b")))}),
                          CryptoError::certificate_bad_user));
  EXPECT_TRUE(failed_with(user_of({alternative_names(upn("a@b") + other_name(kUpnOid, element(0x16, "c@d")))}),
                          CryptoError::certificate_bad_user));
}

TEST(CertificateUser, CarriesItsSecurityIdentifier) {
  const auto names = alternative_names(upn("a@b"));
  EXPECT_EQ(user_of({names, sid("S-1-5-21-1-2-3-500")})->sid, "S-1-5-21-1-2-3-500");
  EXPECT_EQ(user_of({names, sid("S-1-5-21-1-2-3-500"), sid("S-1-5-21-9")})->sid, "");
  EXPECT_EQ(user_of({names, sid("evil")})->sid, "");
  EXPECT_EQ(user_of({names, {"1.3.6.1.4.1.311.25.2", "\x30\x03garbage"}})->sid, "");
}

TEST(CertificateUser, RefusesWhatIsNoCertificate) {
  const std::string good = certificate({alternative_names(upn("a@b"))});
  ASSERT_TRUE(certificate_user(as_bytes(good)));
  EXPECT_TRUE(failed_with(certificate_user({}), CryptoError::malformed));
  EXPECT_TRUE(failed_with(certificate_user(as_bytes(good + "x")), CryptoError::malformed));
  for (size_t size = 1; size < good.size(); size += 7)
    EXPECT_TRUE(failed_with(certificate_user(as_bytes(good).first(size)), CryptoError::malformed)) << size;
  EXPECT_TRUE(failed_with(user_of({{"2.5.29.17", "\x30\x05garbage"}}), CryptoError::malformed));
}

}  // namespace
}  // namespace bellhop::crypto
