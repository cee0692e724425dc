// SPDX-License-Identifier: Apache-2.0
#include "crypto/cookie_jar.h"

#include <algorithm>
#include <vector>

#include "core/base/bytes.h"
#include "core/base/check.h"
#include "crypto/aead.h"
#include "crypto/error.h"
#include "crypto/hash.h"
#include "crypto/random.h"

namespace bellhop::crypto {
namespace {

constexpr uint8_t kVersion = 1;
constexpr size_t kHeadBytes = 1 + 4;  // version, KEK id
constexpr size_t kTimeBytes = 8;      // when it was sealed, in milliseconds, before the content
constexpr size_t kOverheadBytes = kHeadBytes + kAeadNonceBytes + kTimeBytes + kAeadTagBytes;
constexpr std::string_view kPurpose = "gateway cookie jar";
static_assert(base64url_size(CookieJar::kContentBytesMax + kOverheadBytes) <= CookieJar::kTextBytesMax);

Digest associated_data(Bytes head, const CookieJar::Binding& binding) {
  return sha256_of_parts({head, as_bytes(binding.route), as_bytes(binding.endpoint), as_bytes(binding.account)});
}

}  // namespace

CookieJar::CookieJar(const Keyring& keyring) : current_(keyring.current()) {
  for (uint32_t id : keyring.ids()) {
    auto key = keyring.derive(id, kPurpose);
    BH_CHECK(key.has_value());
    keys_.emplace(id, *std::move(key));
  }
  BH_CHECK(keys_.contains(current_));
}

std::string CookieJar::seal(const Binding& binding, std::string_view content, WallTime now) const {
  BH_CHECK(content.size() <= kContentBytesMax);
  std::vector<uint8_t> jar(kHeadBytes + kAeadNonceBytes);
  jar[0] = kVersion;
  store_be32(jar.data() + 1, current_);
  const MutableBytes nonce = MutableBytes(jar).subspan(kHeadBytes);
  random_bytes(nonce);
  Secret plaintext = Secret::of_size(kTimeBytes + content.size());
  store_be64(plaintext.reveal_mutable().data(), static_cast<uint64_t>(now.time_since_epoch().count()));
  std::ranges::copy(as_bytes(content), plaintext.reveal_mutable().begin() + kTimeBytes);
  const Digest bound = associated_data(Bytes(jar).first(kHeadBytes), binding);
  const auto sealed = aead_seal(keys_.at(current_).reveal(), nonce, bound, plaintext.reveal());
  jar.insert(jar.end(), sealed.begin(), sealed.end());
  return to_base64url(jar);
}

Result<Secret> CookieJar::open(const Binding& binding, std::string_view text, WallTime now) const {
  if (text.size() > kTextBytesMax) return fail(crypto_error(CryptoError::malformed));
  const auto jar = from_base64url(text);
  if (!jar || jar->size() < kOverheadBytes || (*jar)[0] != kVersion) return fail(crypto_error(CryptoError::malformed));
  const uint32_t id = load_be32(jar->data() + 1);
  const auto key = keys_.find(id);
  if (key == keys_.end()) return fail(crypto_error(CryptoError::key_unknown, id));
  const Bytes head = Bytes(*jar).first(kHeadBytes);
  const Bytes nonce = Bytes(*jar).subspan(kHeadBytes, kAeadNonceBytes);
  BH_TRY(const Secret plaintext, aead_open(key->second.reveal(), nonce, associated_data(head, binding),
                                           Bytes(*jar).subspan(kHeadBytes + kAeadNonceBytes)));
  const WallTime sealed_at{std::chrono::milliseconds(static_cast<int64_t>(load_be64(plaintext.reveal().data())))};
  if (now - sealed_at > kAgeMax) {
    const auto age = std::chrono::floor<std::chrono::seconds>(now - sealed_at).count();
    return fail(crypto_error(CryptoError::jar_stale, static_cast<uint32_t>(std::min<int64_t>(age, UINT32_MAX))));
  }
  return Secret::copy_of(plaintext.reveal().subspan(kTimeBytes));
}

std::string CookieJar::name(std::string_view endpoint) { return "bellhop-" + std::string(endpoint); }

std::string CookieJar::set_cookie(std::string_view endpoint, std::string_view text) {
  return name(endpoint) + "=" + std::string(text) + "; Path=/; Secure; HttpOnly; SameSite=Strict";
}

}  // namespace bellhop::crypto
