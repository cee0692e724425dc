// SPDX-License-Identifier: Apache-2.0
#include "tools/standin/access_token.h"

#include <fmt/format.h>

#include <vector>

#include "core/base/bytes.h"
#include "crypto/hash.h"
#include "crypto/random.h"

namespace bellhop::standin {
namespace {

constexpr size_t kMacBytes = 16;

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  for (;;) {
    size_t end = text.find('\n');
    lines.push_back(text.substr(0, end));
    if (end == text.npos) return lines;
    text.remove_prefix(end + 1);
  }
}

}  // namespace

std::shared_ptr<const TokenKey> TokenKey::random() {
  return std::shared_ptr<const TokenKey>(new TokenKey(crypto::random_secret(kBytes)));
}

std::shared_ptr<const TokenKey> TokenKey::from_text(std::string_view text) {
  auto key = crypto::secret_from_base64(ascii_trim(text));
  if (!key || key->size() != kBytes) return nullptr;
  return std::shared_ptr<const TokenKey>(new TokenKey(*std::move(key)));
}

std::string TokenKey::text() const {
  return std::string(crypto::base64_of(key_).reveal_text());
}

std::string TokenKey::mac(std::string_view bytes) const {
  crypto::Digest digest = crypto::hmac_sha256(key_.reveal(), as_bytes(bytes));
  return std::string(as_text(Bytes(digest).first(kMacBytes)));
}

std::string TokenKey::sign(std::string_view user, WallTime expires, uint64_t number) const {
  std::string said =
      to_base64url(as_bytes(fmt::format("{}\n{}\n{}\n{}", kIssuer, user, expires.time_since_epoch().count(), number)));
  crypto::Digest digest = crypto::hmac_sha256(key_.reveal(), as_bytes(said));
  return said + "." + to_base64url(digest);
}

std::optional<AccessToken> TokenKey::read(std::string_view token) const {
  size_t dot = token.find('.');
  if (dot == token.npos) return std::nullopt;
  auto given = from_base64url(token.substr(dot + 1));
  crypto::Digest digest = crypto::hmac_sha256(key_.reveal(), as_bytes(token.substr(0, dot)));
  if (!given || !equal_constant_time(*given, digest)) return std::nullopt;
  auto said = from_base64url(token.substr(0, dot));
  if (!said) return std::nullopt;
  std::vector<std::string_view> lines = lines_of(as_text(*said));
  auto expires = lines.size() == 4 ? parse_decimal(lines[2]) : std::nullopt;
  if (!expires) return std::nullopt;
  return AccessToken{.issuer = std::string(lines[0]),
                     .user = std::string(lines[1]),
                     .expires = WallTime(std::chrono::milliseconds(static_cast<int64_t>(*expires)))};
}

bool token_valid(const AccessToken& token, WallTime now) {
  return token.issuer == TokenKey::kIssuer && now < token.expires;
}

}  // namespace bellhop::standin
