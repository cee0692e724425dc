// SPDX-License-Identifier: Apache-2.0
#include "tools/standin/token_families.h"

#include "core/base/bytes.h"

namespace bellhop::standin {
namespace {

constexpr size_t kNameBytes = 16;

}  // namespace

std::string TokenFamilies::token_text(uint64_t family, uint64_t place) const {
  uint8_t name[kNameBytes];
  store_be64(name, family);
  store_be64(name + 8, place);
  std::string bytes(as_text(Bytes(name)));
  bytes += key_->mac(bytes);
  return "rt-" + to_base64url(as_bytes(bytes));
}

std::string TokenFamilies::begin(std::string user) {
  if (families_.size() >= kFamiliesMax) return {};
  Family& family = families_.emplace_back();
  family.user = std::move(user);
  ++books.families;
  return token_text(families_.size() - 1, 0);
}

void TokenFamilies::revoke(Family& family) {
  if (family.revoked) return;
  family.revoked = true;
  ++books.revoked;
}

size_t TokenFamilies::revoke(std::string_view user) {
  uint64_t before = books.revoked;
  for (Family& family : families_) {
    if (ascii_equal_ignoring_case(family.user, user)) revoke(family);
  }
  return books.revoked - before;
}

std::optional<TokenFamilies::Granted> TokenFamilies::grant(std::string_view refresh_token, WallTime now) {
  auto refuse = [&] {
    ++books.refused;
    return std::nullopt;
  };
  auto bytes = refresh_token.starts_with("rt-") ? from_base64url(refresh_token.substr(3)) : std::nullopt;
  if (!bytes || bytes->size() < kNameBytes) return refuse();
  std::string_view name = as_text(*bytes).substr(0, kNameBytes);
  if (!equal_constant_time(as_bytes(key_->mac(name)), Bytes(*bytes).subspan(kNameBytes))) return refuse();
  uint64_t number = load_be64(bytes->data()), place = load_be64(bytes->data() + 8);
  if (number >= families_.size()) return refuse();
  Family& family = families_[number];
  if (family.revoked) return refuse();
  bool newest = place == family.place;
  bool in_grace = place + 1 == family.place && now - family.rotated_at < rules.grace;
  if (!newest && !in_grace) {
    ++books.reuses;
    revoke(family);
    return refuse();
  }
  if (newest && rules.rotate) {
    ++family.place;
    family.rotated_at = now;
  }
  ++books.grants;
  if (rules.rotate) ++books.rotations;
  if (in_grace) ++books.grace_uses;
  Granted granted;
  granted.access_token = key_->sign(
      family.user, now + std::chrono::duration_cast<std::chrono::milliseconds>(rules.lifetime), books.grants);
  if (rules.rotate) granted.refresh_token = token_text(number, family.place);
  return granted;
}

}  // namespace bellhop::standin
