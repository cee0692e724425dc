// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <initializer_list>
#include <string_view>
#include <variant>

#include "core/base/error.h"
#include "core/base/time.h"
#include "crypto/hash.h"
#include "crypto/secret.h"

namespace bellhop::crypto {

// Value = the number in the compact form.
enum class CredentialType : uint8_t { basic = 1, oauth = 2, certificate = 3, dual = 4 };

// A set of types.
class CredentialTypes {
 public:
  constexpr CredentialTypes(std::initializer_list<CredentialType> types) {
    for (const CredentialType type : types) bits_ |= bit(type);
  }
  constexpr bool has(CredentialType type) const { return (bits_ & bit(type)) != 0; }

 private:
  static constexpr uint32_t bit(CredentialType type) { return 1u << static_cast<uint8_t>(type); }
  uint32_t bits_ = 0;
};

struct BasicCredentials {
  Secret username;  // no colon (RFC 7617), no control character
  Secret password;
};

// A grant that a device was given for this server (RFC 6749). The device sends the first four; the last two are what
// the newest refresh brought.
struct OauthCredentials {
  Secret refresh_token;
  Secret token_endpoint;  // a URL; plain ASCII here, judged by who connects to it
  Secret client_id;       // of a public client: there is no client secret
  Secret scope;           // may be empty
  Secret access_token;    // empty: none yet
  WallTime expires{};     // of the access token, whole seconds
};

// A certificate that its owner logs on with.
struct ClientCertificate {
  Secret private_key;  // PKCS#8, DER
  Secret chain;        // certificates in DER one after the other, the owner's first, each issued by the next
};

// A device sends a PKCS#12, whose opening costs much on purpose. It is opened once (pkcs12.h), and from then on the
// record holds what was in it instead.
struct CertificateCredentials {
  Secret pkcs12;    // as the device sent it (RFC 7292), not parsed here; empty once it is opened
  Secret password;  // of the PKCS#12; empty once it is opened
  ClientCertificate opened;
};

// Exchange asks for both: the certificate in the handshake, the password in each request.
struct DualCredentials {
  BasicCredentials basic;
  CertificateCredentials certificate;
};

// How to log on to a mailbox.
struct CredentialRecord {
  Secret address;  // of the mailbox, as the device wrote it; empty where the envelope had no room for it
  std::variant<BasicCredentials, OauthCredentials, CertificateCredentials, DualCredentials> logon;

  CredentialType type() const { return static_cast<CredentialType>(logon.index() + 1); }
};

inline constexpr size_t kRecordJsonBytesMax = 24 * 1024;
inline constexpr size_t kAddressBytesMax = 254;
inline constexpr size_t kUsernameBytesMax = 255;
inline constexpr size_t kPasswordBytesMax = 255;
inline constexpr size_t kRefreshTokenBytesMax = 4096;
inline constexpr size_t kAccessTokenBytesMax = 8192;
inline constexpr size_t kTokenEndpointBytesMax = 512;
inline constexpr size_t kClientIdBytesMax = 256;
inline constexpr size_t kScopeBytesMax = 1024;
inline constexpr size_t kPkcs12BytesMax = 12 * 1024;
inline constexpr size_t kPackedBytesMax = 16 * 1024;  // of the compact form of any record within these bounds
inline constexpr Duration kRecordAgeMax = std::chrono::minutes(10);
inline constexpr Duration kRecordFutureMax = std::chrono::minutes(1);

// SHA-256 of the address with A–Z lower-cased: the user id that devices send, as 64 hex digits.
Digest user_id_of_address(std::string_view address);

// What the request says that brought the record.
struct RecordExpectation {
  Digest user_id;
  std::string_view device_id;
  WallTime now;
  Duration age_max = kRecordAgeMax;
  CredentialTypes types = {CredentialType::basic};  // that the caller can use
};

// Reads the plaintext of the device's JWE, {"address","userId","deviceId","iat","type",…} (iat in seconds), and checks
// it against the request. By type follow
//   basic        username, password
//   oauth        refreshToken, tokenEndpoint, clientId, scope (may be absent)
//   certificate  pkcs12 (base64), password
//   dual         username, password, pkcs12, pkcs12Password
// Unknown members are ignored, so an access token is too; one that comes alone is refused, for it would be worth
// nothing within the hour. Errors: record_malformed, unsupported_type, record_no_refresh_token, record_wrong_user,
// record_wrong_device, record_stale, record_early.
Result<CredentialRecord> read_credential_record(const Secret& json, const RecordExpectation& expected);
// The same text, made: for `bellhop device` and tests.
Secret write_credential_record(const CredentialRecord& record, std::string_view device_id, WallTime issued_at);

// The certificate of a record that has one, opened or not; null else.
CertificateCredentials* certificate_of(CredentialRecord& record);
const CertificateCredentials* certificate_of(const CredentialRecord& record);

// Tokens as an endpoint may give them, and we pass them on (RFC 6749 appendix A, RFC 6750 section 2.1), within their
// bounds.
bool is_refresh_token(std::string_view text);
bool is_access_token(std::string_view text);

// The form inside envelopes: head ‖ fields. head: bits 0–3 the type, bit 4 "an address follows", bit 5 "the address is
// the username" (stored once, `basic` only), the rest zero.
//   basic        username ‖ password ‖ [address], each with its length (8 bits) in front
//   oauth        refresh token ‖ token endpoint ‖ client id ‖ scope ‖ access token ‖ expiry ‖ [address]
//   certificate  private key ‖ chain ‖ [address]
//   dual         username ‖ password ‖ private key ‖ chain ‖ [address]
// Lengths of the last three types are of 16 bits, big-endian; the expiry is 64 bits of Unix seconds. The address is
// left out where it would not fit into `capacity` bytes; the rest must. A PKCS#12 must have been opened. Errors: too_large.
Result<Secret> pack_record(const CredentialRecord& record, size_t capacity);
// Errors: decrypt_failed where it is not what pack_record made: after a good decryption that is a forgery or our own
// fault, and neither is the caller's to tell apart.
Result<CredentialRecord> unpack_record(const Secret& packed);

// The ENS2 shape: "username:password", split at the first colon. Errors: record_malformed.
Result<CredentialRecord> read_ens2_credentials(const Secret& text);

// "Basic …" for the Authorization header (RFC 7617).
Secret basic_authorization(const BasicCredentials& credentials);
// "Bearer …" (RFC 6750 section 2.1).
Secret bearer_authorization(const Secret& access_token);
// What a record's requests carry: Basic for basic and dual, Bearer for oauth (the access token must be there), nothing
// for certificate.
Secret authorization_of(const CredentialRecord& record);

}  // namespace bellhop::crypto
