// SPDX-License-Identifier: Apache-2.0
#include "crypto/record.h"

#include <algorithm>

#include "core/base/check.h"
#include "crypto/error.h"
#include "crypto/flat_json.h"

namespace bellhop::crypto {
namespace {

constexpr uint8_t kTypeMask = 0x0f;
constexpr uint8_t kAddressFollows = 0x10;
constexpr uint8_t kAddressIsUsername = 0x20;

// The Authorization line is base64, but user name and password also reach logs of other servers and, for NTLM-minded
// proxies, plain headers: control characters have no business in them (RFC 7617 section 2).
bool is_plain_text(std::string_view text) {
  return std::none_of(text.begin(), text.end(), [](char c) {
    const auto byte = static_cast<uint8_t>(c);
    return byte < 0x20 || byte == 0x7f;
  });
}

bool is_username(std::string_view text) {
  return !text.empty() && text.size() <= kUsernameBytesMax && is_plain_text(text) &&
         text.find(':') == std::string_view::npos;
}
bool is_password(std::string_view text) {
  return text.size() <= kPasswordBytesMax && is_plain_text(text);
}

bool is_address(std::string_view text) {
  const size_t at = text.find('@');
  return text.size() <= kAddressBytesMax && is_plain_text(text) && at != 0 && at != std::string_view::npos &&
         at + 1 < text.size() && text.find('@', at + 1) == std::string_view::npos &&
         text.find(' ') == std::string_view::npos;
}

// Errors: unsupported_type (one that we know of), record_malformed.
Status check_type(std::string_view type) {
  if (type == "basic") return {};
  constexpr std::pair<std::string_view, CredentialType> kKnown[] = {
      {"oauth", CredentialType::oauth}, {"certificate", CredentialType::certificate}, {"dual", CredentialType::dual}};
  for (const auto& [name, known] : kKnown) {
    if (type == name) return fail(crypto_error(CryptoError::unsupported_type, static_cast<uint32_t>(known)));
  }
  return fail(crypto_error(CryptoError::record_malformed));
}

uint32_t whole_seconds(Duration duration) {
  return static_cast<uint32_t>(
      std::min<int64_t>(std::chrono::duration_cast<std::chrono::seconds>(duration).count(), UINT32_MAX));
}

// Errors: record_stale, record_early, record_malformed (a date that no clock shows).
Status check_issued_at(int64_t issued_at_s, WallTime now, Duration age_max) {
  constexpr int64_t kSecondsMax = int64_t{1} << 33;  // the year 2242: far inside the range of nanoseconds
  if (issued_at_s < 0 || issued_at_s > kSecondsMax) return fail(crypto_error(CryptoError::record_malformed));
  const Duration age = now - WallTime(std::chrono::seconds(issued_at_s));
  if (age > age_max) return fail(crypto_error(CryptoError::record_stale, whole_seconds(age)));
  if (-age > kRecordFutureMax) return fail(crypto_error(CryptoError::record_early, whole_seconds(-age)));
  return {};
}

// Appends length (8 bits) and bytes.
bool append_short(SecretBuffer& out, const Secret& text) {
  return text.size() <= UINT8_MAX && out.append(static_cast<uint8_t>(text.size())) && out.append(text.reveal());
}

// Reads what append_short wrote; nothing where the bytes end too early.
std::optional<Secret> take_short(Bytes& rest) {
  if (rest.empty() || rest.size() - 1 < rest[0]) return std::nullopt;
  Secret text = Secret::copy_of(rest.subspan(1, rest[0]));
  rest = rest.subspan(1 + text.size());
  return text;
}

}  // namespace

Digest user_id_of_address(std::string_view address) {
  WipingBytes lower(address.begin(), address.end());
  for (uint8_t& c : lower) c = static_cast<uint8_t>(ascii_lower(static_cast<char>(c)));
  return sha256(Bytes(lower));
}

Result<CredentialRecord> read_credential_record(const Secret& json, const RecordExpectation& expected) {
  const auto malformed = fail(crypto_error(CryptoError::record_malformed));
  const auto object = FlatJson::parse(json.reveal_text(), {.bytes_max = kRecordJsonBytesMax});
  if (!object) return malformed;
  const WipingString *address = object->text("address"), *user_id = object->text("userId"),
                     *device_id = object->text("deviceId"), *type = object->text("type");
  const int64_t* issued_at_s = object->integer("iat");
  if (!address || !user_id || !device_id || !type || !issued_at_s || !is_address(*address)) return malformed;

  // Whose it is, before what is in it: a record of another user is nobody's business.
  const Digest of_address = user_id_of_address(*address);
  if (!equal_constant_time(of_address, expected.user_id) || ascii_lower(*user_id) != to_hex(of_address)) {
    return fail(crypto_error(CryptoError::record_wrong_user));
  }
  if (*device_id != expected.device_id) return fail(crypto_error(CryptoError::record_wrong_device));
  BH_CHECKED(check_issued_at(*issued_at_s, expected.now, expected.age_max));
  BH_CHECKED(check_type(*type));

  const WipingString *username = object->text("username"), *password = object->text("password");
  if (!username || !password || !is_username(*username) || !is_password(*password)) return malformed;
  return CredentialRecord{
      Secret::copy_of(std::string_view(*address)),
      BasicCredentials{Secret::copy_of(std::string_view(*username)), Secret::copy_of(std::string_view(*password))}};
}

Secret write_credential_record(const CredentialRecord& record, std::string_view device_id, WallTime issued_at) {
  const auto& basic = std::get<BasicCredentials>(record.logon);
  const std::string_view address = record.address.reveal_text();
  WipingString text;
  text.reserve(1024 + 2 * (address.size() + basic.username.size() + basic.password.size() + device_id.size()));
  text += R"({"address":)";
  append_json_string(text, address);
  text += R"(,"userId":")" + to_hex(user_id_of_address(address)) + R"(","deviceId":)";
  append_json_string(text, device_id);
  text += R"(,"iat":)" + std::to_string(to_unix_seconds(issued_at)) + R"(,"type":"basic","username":)";
  append_json_string(text, basic.username.reveal_text());
  text += R"(,"password":)";
  append_json_string(text, basic.password.reveal_text());
  text += '}';
  return Secret::copy_of(std::string_view(text));
}

Result<Secret> pack_record(const CredentialRecord& record, size_t capacity) {
  const auto& basic = std::get<BasicCredentials>(record.logon);
  const size_t needed = 1 + 1 + basic.username.size() + 1 + basic.password.size();
  if (needed > capacity || basic.username.size() > UINT8_MAX || basic.password.size() > UINT8_MAX) {
    return fail(crypto_error(CryptoError::too_large, static_cast<uint32_t>(needed)));
  }
  uint8_t head = static_cast<uint8_t>(CredentialType::basic);
  if (!record.address.empty()) {
    if (record.address.equals(basic.username.reveal())) {
      head |= kAddressIsUsername;
    } else if (needed + 1 + record.address.size() <= capacity && record.address.size() <= UINT8_MAX) {
      head |= kAddressFollows;
    }
  }
  SecretBuffer out(capacity);
  const bool fits = out.append(head) && append_short(out, basic.username) && append_short(out, basic.password) &&
                    (!(head & kAddressFollows) || append_short(out, record.address));
  BH_CHECK(fits);
  return out.finish();
}

Result<CredentialRecord> unpack_record(const Secret& packed) {
  const auto failed = fail(crypto_error(CryptoError::decrypt_failed));
  Bytes rest = packed.reveal();
  if (rest.empty()) return failed;
  const uint8_t head = rest[0];
  rest = rest.subspan(1);
  const bool known = (head & kTypeMask) == static_cast<uint8_t>(CredentialType::basic) &&
                     (head & ~(kTypeMask | kAddressFollows | kAddressIsUsername)) == 0;
  const bool both = (head & kAddressFollows) && (head & kAddressIsUsername);
  if (!known || both) return failed;
  auto username = take_short(rest);
  if (!username || !is_username(username->reveal_text())) return failed;
  auto password = take_short(rest);
  if (!password || !is_password(password->reveal_text())) return failed;
  Secret address;
  if (head & kAddressIsUsername) address = username->clone();
  if (head & kAddressFollows) {
    auto following = take_short(rest);
    if (!following || !is_address(following->reveal_text())) return failed;
    address = *std::move(following);
  }
  if (!rest.empty()) return failed;
  return CredentialRecord{std::move(address), BasicCredentials{*std::move(username), *std::move(password)}};
}

Result<CredentialRecord> read_ens2_credentials(const Secret& text) {
  const std::string_view all = text.reveal_text();
  const size_t colon = all.find(':');
  if (colon == std::string_view::npos || !utf8_valid(all)) return fail(crypto_error(CryptoError::record_malformed));
  const std::string_view username = all.substr(0, colon), password = all.substr(colon + 1);
  if (!is_username(username) || !is_password(password)) return fail(crypto_error(CryptoError::record_malformed));
  return CredentialRecord{Secret(), BasicCredentials{Secret::copy_of(username), Secret::copy_of(password)}};
}

Secret basic_authorization(const BasicCredentials& credentials) {
  SecretBuffer pair(kUsernameBytesMax + 1 + kPasswordBytesMax);
  BH_CHECK(pair.append(credentials.username.reveal()) && pair.append(":") &&
           pair.append(credentials.password.reveal()));
  const Secret encoded = base64_of(pair.finish());
  SecretBuffer line(6 + encoded.size());
  BH_CHECK(line.append("Basic ") && line.append(encoded.reveal()));
  return line.finish();
}

}  // namespace bellhop::crypto
