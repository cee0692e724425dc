// SPDX-License-Identifier: Apache-2.0
#include <array>

#include "core/base/check.h"
#include "crypto/error.h"
#include "crypto/record.h"
#include "crypto/record_parts.h"

namespace bellhop::crypto {
namespace {

constexpr uint8_t kTypeMask = 0x0f;
constexpr uint8_t kAddressFollows = 0x10;
constexpr uint8_t kAddressIsUsername = 0x20;
constexpr size_t kExpiryBytes = 8;

// How long the length in front of each field is: one byte where an RSA envelope has few to spare, else two.
size_t length_bytes(CredentialType type) {
  return type == CredentialType::basic ? 1 : 2;
}

// The fields of a record in their order; the caller's record owns them.
struct Fields {
  std::array<const Secret*, 5> list{};
  size_t count = 0;
  void add(const Secret& field) { list[count++] = &field; }
};

Fields fields_of(const CredentialRecord& record) {
  Fields fields;
  const auto add_basic = [&](const BasicCredentials& basic) {
    fields.add(basic.username);
    fields.add(basic.password);
  };
  const auto add_certificate = [&](const CertificateCredentials& certificate) {
    BH_CHECK(!certificate.opened.private_key.empty());
    fields.add(certificate.opened.private_key);
    fields.add(certificate.opened.chain);
  };
  if (const auto* basic = std::get_if<BasicCredentials>(&record.logon)) {
    add_basic(*basic);
  } else if (const auto* oauth = std::get_if<OauthCredentials>(&record.logon)) {
    for (const Secret* field :
         {&oauth->refresh_token, &oauth->token_endpoint, &oauth->client_id, &oauth->scope, &oauth->access_token}) {
      fields.add(*field);
    }
  } else if (const auto* certificate = std::get_if<CertificateCredentials>(&record.logon)) {
    add_certificate(*certificate);
  } else {
    const auto& dual = std::get<DualCredentials>(record.logon);
    add_basic(dual.basic);
    add_certificate(dual.certificate);
  }
  return fields;
}

bool append_field(SecretBuffer& out, const Secret& field, size_t length_size) {
  uint8_t length[4];
  store_be32(length, static_cast<uint32_t>(field.size()));
  return out.append(Bytes(length).last(length_size)) && out.append(field.reveal());
}

bool append_expiry(SecretBuffer& out, const CredentialRecord& record) {
  const auto* oauth = std::get_if<OauthCredentials>(&record.logon);
  if (!oauth) return true;
  uint8_t expiry[kExpiryBytes];
  store_be64(expiry, static_cast<uint64_t>(to_unix_seconds(oauth->expires)));
  return out.append(Bytes(expiry));
}

// Takes one field after the other off the packed form. After the first that is not there or not good, ok() is false.
class FieldReader {
 public:
  FieldReader(Bytes bytes, size_t length_size) : rest_(bytes), length_size_(length_size) {}

  bool ok() const { return ok_; }
  bool at_end() const { return ok_ && rest_.empty(); }
  Secret take(bool (*good)(std::string_view)) {
    Secret field = take_any();
    ok_ = ok_ && good(field.reveal_text());
    return field;
  }
  Secret take_bytes(bool (*good)(Bytes)) {
    Secret field = take_any();
    ok_ = ok_ && good(field.reveal());
    return field;
  }
  WallTime take_expiry() {
    constexpr uint64_t kSecondsMax = uint64_t{1} << 33;  // the year 2242: far inside the range of nanoseconds
    ok_ = ok_ && rest_.size() >= kExpiryBytes && load_be64(rest_.data()) <= kSecondsMax;
    if (!ok_) return {};
    const uint64_t seconds = load_be64(rest_.data());
    rest_ = rest_.subspan(kExpiryBytes);
    return WallTime(std::chrono::seconds(static_cast<int64_t>(seconds)));
  }

 private:
  Secret take_any() {
    ok_ = ok_ && rest_.size() >= length_size_;
    if (!ok_) return {};
    size_t length = 0;
    for (const uint8_t byte : rest_.first(length_size_)) length = length << 8 | byte;
    rest_ = rest_.subspan(length_size_);
    ok_ = rest_.size() >= length;
    if (!ok_) return {};
    Secret field = Secret::copy_of(rest_.first(length));
    rest_ = rest_.subspan(length);
    return field;
  }

  Bytes rest_;
  const size_t length_size_;
  bool ok_ = true;
};

BasicCredentials take_basic(FieldReader& reader) {
  Secret username = reader.take(is_username);
  Secret password = reader.take(is_password);
  return {std::move(username), std::move(password)};
}

CertificateCredentials take_certificate(FieldReader& reader) {
  CertificateCredentials certificate;
  certificate.opened.private_key = reader.take_bytes(is_certificate_part);
  certificate.opened.chain = reader.take_bytes(is_certificate_part);
  return certificate;
}

OauthCredentials take_oauth(FieldReader& reader) {
  const auto absent_or_token = [](std::string_view text) { return text.empty() || is_access_token(text); };
  OauthCredentials oauth;
  oauth.refresh_token = reader.take(is_refresh_token);
  oauth.token_endpoint = reader.take(is_endpoint);
  oauth.client_id = reader.take(is_client_id);
  oauth.scope = reader.take(is_scope);
  oauth.access_token = reader.take(absent_or_token);
  oauth.expires = reader.take_expiry();
  return oauth;
}

void take_logon(FieldReader& reader, CredentialType type, CredentialRecord& record) {
  switch (type) {
    case CredentialType::basic:
      record.logon = take_basic(reader);
      return;
    case CredentialType::oauth:
      record.logon = take_oauth(reader);
      return;
    case CredentialType::certificate:
      record.logon = take_certificate(reader);
      return;
    case CredentialType::dual: {
      BasicCredentials basic = take_basic(reader);
      record.logon = DualCredentials{std::move(basic), take_certificate(reader)};
      return;
    }
  }
}

}  // namespace

Result<Secret> pack_record(const CredentialRecord& record, size_t capacity) {
  const CredentialType type = record.type();
  const size_t length_size = length_bytes(type);
  const Fields fields = fields_of(record);
  size_t needed = 1 + (type == CredentialType::oauth ? kExpiryBytes : 0);
  bool lengths_fit = true;
  for (const Secret* field : std::span(fields.list).first(fields.count)) {
    needed += length_size + field->size();
    lengths_fit = lengths_fit && field->size() >> 8 * length_size == 0;
  }
  if (needed > capacity || !lengths_fit) {
    return fail(crypto_error(CryptoError::too_large, static_cast<uint32_t>(needed)));
  }
  uint8_t head = static_cast<uint8_t>(type);
  if (!record.address.empty()) {
    const auto* basic = std::get_if<BasicCredentials>(&record.logon);
    if (basic && record.address.equals(basic->username.reveal())) {
      head |= kAddressIsUsername;
    } else if (needed + length_size + record.address.size() <= capacity && record.address.size() <= UINT8_MAX) {
      head |= kAddressFollows;
    }
  }
  SecretBuffer out(capacity);
  bool fits = out.append(head);
  for (const Secret* field : std::span(fields.list).first(fields.count)) {
    fits = fits && append_field(out, *field, length_size);
  }
  fits = fits && append_expiry(out, record);
  if (head & kAddressFollows) fits = fits && append_field(out, record.address, length_size);
  BH_CHECK(fits);
  return out.finish();
}

Result<CredentialRecord> unpack_record(const Secret& packed) {
  const auto failed = fail(crypto_error(CryptoError::decrypt_failed));
  const Bytes bytes = packed.reveal();
  if (bytes.empty()) return failed;
  const uint8_t head = bytes[0], number = head & kTypeMask;
  if (number < static_cast<uint8_t>(CredentialType::basic) || number > static_cast<uint8_t>(CredentialType::dual)) {
    return failed;
  }
  const auto type = static_cast<CredentialType>(number);
  const bool follows = (head & kAddressFollows) != 0, is_username = (head & kAddressIsUsername) != 0;
  const bool known = (head & ~(kTypeMask | kAddressFollows | kAddressIsUsername)) == 0 && !(follows && is_username) &&
                     (!is_username || type == CredentialType::basic);
  if (!known) return failed;
  FieldReader reader(bytes.subspan(1), length_bytes(type));
  CredentialRecord record;
  take_logon(reader, type, record);
  if (is_username) record.address = std::get<BasicCredentials>(record.logon).username.clone();
  if (follows) record.address = reader.take(is_address);
  if (!reader.at_end()) return failed;
  // Each record has one form: an address that is the user name is not stored twice.
  const auto* basic = std::get_if<BasicCredentials>(&record.logon);
  if (follows && basic && record.address.equals(basic->username.reveal())) return failed;
  return record;
}

}  // namespace bellhop::crypto
