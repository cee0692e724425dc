// SPDX-License-Identifier: Apache-2.0
#include "crypto/record.h"

#include <algorithm>

#include "core/base/check.h"
#include "crypto/error.h"
#include "crypto/flat_json.h"
#include "crypto/record_parts.h"

namespace bellhop::crypto {
namespace {

constexpr std::pair<std::string_view, CredentialType> kTypeNames[] = {{"basic", CredentialType::basic},
                                                                      {"oauth", CredentialType::oauth},
                                                                      {"certificate", CredentialType::certificate},
                                                                      {"dual", CredentialType::dual}};

// Errors: unsupported_type (one that we know of), record_malformed.
Result<CredentialType> read_type(std::string_view text, CredentialTypes types) {
  for (const auto& [name, type] : kTypeNames) {
    if (text != name) continue;
    if (types.has(type)) return type;
    return fail(crypto_error(CryptoError::unsupported_type, static_cast<uint32_t>(type)));
  }
  return fail(crypto_error(CryptoError::record_malformed));
}

std::string_view name_of(CredentialType type) {
  return kTypeNames[static_cast<size_t>(type) - 1].first;
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

Secret secret_of(const WipingString& text) {
  return Secret::copy_of(std::string_view(text));
}

using Logon = decltype(CredentialRecord::logon);

Result<BasicCredentials> read_basic(const FlatJson& object) {
  const WipingString *username = object.text("username"), *password = object.text("password");
  if (!username || !password || !is_username(*username) || !is_password(*password)) {
    return fail(crypto_error(CryptoError::record_malformed));
  }
  return BasicCredentials{secret_of(*username), secret_of(*password)};
}

Result<OauthCredentials> read_oauth(const FlatJson& object) {
  const WipingString *refresh_token = object.text("refreshToken"), *endpoint = object.text("tokenEndpoint"),
                     *client_id = object.text("clientId"), *scope = object.text("scope");
  if (!object.has("refreshToken") && object.has("accessToken")) {
    return fail(crypto_error(CryptoError::record_no_refresh_token));
  }
  const bool good = refresh_token && is_refresh_token(*refresh_token) && endpoint && is_endpoint(*endpoint) &&
                    client_id && is_client_id(*client_id) && (scope ? is_scope(*scope) : !object.has("scope"));
  if (!good) return fail(crypto_error(CryptoError::record_malformed));
  return OauthCredentials{.refresh_token = secret_of(*refresh_token),
                          .token_endpoint = secret_of(*endpoint),
                          .client_id = secret_of(*client_id),
                          .scope = scope ? secret_of(*scope) : Secret(),
                          .access_token = Secret()};
}

Result<CertificateCredentials> read_certificate(const FlatJson& object, std::string_view password_name) {
  const auto malformed = fail(crypto_error(CryptoError::record_malformed));
  const WipingString *pkcs12 = object.text("pkcs12"), *password = object.text(password_name);
  if (!pkcs12 || !password || !is_pkcs12_password(*password)) return malformed;
  auto bytes = secret_from_base64(*pkcs12);
  if (!bytes || !is_pkcs12(bytes->reveal())) return malformed;
  return CertificateCredentials{.pkcs12 = *std::move(bytes), .password = secret_of(*password), .opened = {}};
}

Result<Logon> read_logon(CredentialType type, const FlatJson& object) {
  switch (type) {
    case CredentialType::basic: {
      BH_TRY(BasicCredentials basic, read_basic(object));
      return Logon(std::move(basic));
    }
    case CredentialType::oauth: {
      BH_TRY(OauthCredentials oauth, read_oauth(object));
      return Logon(std::move(oauth));
    }
    case CredentialType::certificate: {
      BH_TRY(CertificateCredentials certificate, read_certificate(object, "password"));
      return Logon(std::move(certificate));
    }
    case CredentialType::dual: {
      BH_TRY(BasicCredentials basic, read_basic(object));
      BH_TRY(CertificateCredentials certificate, read_certificate(object, "pkcs12Password"));
      return Logon(DualCredentials{std::move(basic), std::move(certificate)});
    }
  }
  return fail(crypto_error(CryptoError::record_malformed));
}

void append_member(WipingString& text, std::string_view name, std::string_view value) {
  text += ",\"";
  text += name;
  text += "\":";
  append_json_string(text, value);
}
void append_basic(WipingString& text, const BasicCredentials& basic) {
  append_member(text, "username", basic.username.reveal_text());
  append_member(text, "password", basic.password.reveal_text());
}
void append_certificate(WipingString& text, const CertificateCredentials& certificate, std::string_view password_name) {
  append_member(text, "pkcs12", base64_of(certificate.pkcs12).reveal_text());
  append_member(text, password_name, certificate.password.reveal_text());
}
void append_logon(WipingString& text, const Logon& logon) {
  if (const auto* basic = std::get_if<BasicCredentials>(&logon)) {
    append_basic(text, *basic);
  } else if (const auto* oauth = std::get_if<OauthCredentials>(&logon)) {
    append_member(text, "refreshToken", oauth->refresh_token.reveal_text());
    append_member(text, "tokenEndpoint", oauth->token_endpoint.reveal_text());
    append_member(text, "clientId", oauth->client_id.reveal_text());
    append_member(text, "scope", oauth->scope.reveal_text());
  } else if (const auto* certificate = std::get_if<CertificateCredentials>(&logon)) {
    append_certificate(text, *certificate, "password");
  } else {
    const auto& dual = std::get<DualCredentials>(logon);
    append_basic(text, dual.basic);
    append_certificate(text, dual.certificate, "pkcs12Password");
  }
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
  BH_TRY(const CredentialType known, read_type(*type, expected.types));
  BH_TRY(Logon logon, read_logon(known, *object));
  return CredentialRecord{secret_of(*address), std::move(logon)};
}

Secret write_credential_record(const CredentialRecord& record, std::string_view device_id, WallTime issued_at) {
  const std::string_view address = record.address.reveal_text();
  WipingString text;
  text.reserve(kRecordJsonBytesMax);
  text += R"({"address":)";
  append_json_string(text, address);
  text += R"(,"userId":")" + to_hex(user_id_of_address(address)) + "\"";
  append_member(text, "deviceId", device_id);
  text += R"(,"iat":)" + std::to_string(to_unix_seconds(issued_at));
  append_member(text, "type", name_of(record.type()));
  append_logon(text, record.logon);
  text += '}';
  return Secret::copy_of(std::string_view(text));
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

Secret bearer_authorization(const Secret& access_token) {
  SecretBuffer line(7 + access_token.size());
  BH_CHECK(line.append("Bearer ") && line.append(access_token.reveal()));
  return line.finish();
}

CertificateCredentials* certificate_of(CredentialRecord& record) {
  if (auto* certificate = std::get_if<CertificateCredentials>(&record.logon)) return certificate;
  auto* dual = std::get_if<DualCredentials>(&record.logon);
  return dual ? &dual->certificate : nullptr;
}

const CertificateCredentials* certificate_of(const CredentialRecord& record) {
  return certificate_of(const_cast<CredentialRecord&>(record));
}

Secret authorization_of(const CredentialRecord& record) {
  if (const auto* basic = std::get_if<BasicCredentials>(&record.logon)) return basic_authorization(*basic);
  if (const auto* dual = std::get_if<DualCredentials>(&record.logon)) return basic_authorization(dual->basic);
  if (const auto* oauth = std::get_if<OauthCredentials>(&record.logon)) {
    BH_CHECK(!oauth->access_token.empty());
    return bearer_authorization(oauth->access_token);
  }
  return {};
}

}  // namespace bellhop::crypto
