// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>
#include <variant>

#include "core/base/error.h"
#include "core/base/time.h"
#include "crypto/hash.h"
#include "crypto/secret.h"

namespace bellhop::crypto {

// Value = the number in the compact form.
enum class CredentialType : uint8_t { basic = 1, oauth = 2, certificate = 3, dual = 4 };

struct BasicCredentials {
  Secret username;  // no colon (RFC 7617), no control character
  Secret password;
};

// How to log on to a mailbox. Other types become further alternatives of `logon`.
struct CredentialRecord {
  Secret address;  // of the mailbox, as the device wrote it; empty where the envelope had no room for it
  std::variant<BasicCredentials> logon;

  CredentialType type() const { return CredentialType::basic; }
};

inline constexpr size_t kRecordJsonBytesMax = 16 * 1024;
inline constexpr size_t kAddressBytesMax = 254;
inline constexpr size_t kUsernameBytesMax = 255;
inline constexpr size_t kPasswordBytesMax = 255;
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
};

// Reads the plaintext of the device's JWE, {"address","userId","deviceId","iat","type","username","password"} (iat in
// seconds), and checks it against the request. Unknown members are ignored. Errors: record_malformed, unsupported_type,
// record_wrong_user, record_wrong_device, record_stale, record_early.
Result<CredentialRecord> read_credential_record(const Secret& json, const RecordExpectation& expected);
// The same text, made: for `bellhop device` and tests.
Secret write_credential_record(const CredentialRecord& record, std::string_view device_id, WallTime issued_at);

// The form inside envelopes: head ‖ username ‖ password ‖ [address], each with its length (8 bits) in front.
// head: bits 0–3 the type, bit 4 "an address follows", bit 5 "the address is the username" (stored once), the rest
// zero. The address is left out where it would not fit into `capacity` bytes; user name and password must. Errors:
// too_large.
Result<Secret> pack_record(const CredentialRecord& record, size_t capacity);
// Errors: decrypt_failed where it is not what pack_record made: after a good decryption that is a forgery or our own
// fault, and neither is the caller's to tell apart.
Result<CredentialRecord> unpack_record(const Secret& packed);

// The ENS2 shape: "username:password", split at the first colon. Errors: record_malformed.
Result<CredentialRecord> read_ens2_credentials(const Secret& text);

// "Basic …" for the Authorization header (RFC 7617).
Secret basic_authorization(const BasicCredentials& credentials);

}  // namespace bellhop::crypto
