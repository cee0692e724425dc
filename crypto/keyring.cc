// SPDX-License-Identifier: Apache-2.0
#include <sys/stat.h>

#include <algorithm>
#include <array>

#include "core/base/check.h"
#include "crypto/error.h"
#include "crypto/hash.h"
#include "crypto/random.h"
#include "crypto/sealing.h"

namespace bellhop::crypto {
namespace {

constexpr size_t kWordsMax = 4;

struct Line {
  std::array<std::string_view, kWordsMax> words;
  size_t count = 0;
};

// Splits at spaces and tabs; nothing where there are more words than any line may have.
std::optional<Line> split_line(std::string_view text) {
  Line line;
  while (!(text = ascii_trim(text)).empty()) {
    if (line.count == kWordsMax) return std::nullopt;
    const size_t end = std::min(text.find_first_of(" \t"), text.size());
    line.words[line.count++] = text.substr(0, end);
    text.remove_prefix(end);
  }
  return line;
}

struct KeyLine {
  uint32_t id = 0;
  Secret key;
  bool current = false;
};

std::optional<KeyLine> read_key_line(const Line& line) {
  if (line.count < 3 || line.words[0] != "kek") return std::nullopt;
  if (line.count == 4 && line.words[3] != "current") return std::nullopt;
  const auto id = parse_decimal(line.words[1]);
  if (!id || *id == 0 || *id > UINT32_MAX || line.words[1][0] == '0') return std::nullopt;
  auto key = secret_from_base64(line.words[2]);
  if (!key || key->size() != kAeadKeyBytes) return std::nullopt;
  return KeyLine{static_cast<uint32_t>(*id), *std::move(key), line.count == 4};
}

}  // namespace

Result<Keyring> Keyring::parse(const Secret& text) {
  std::string_view rest = text.reveal_text();
  if (rest.size() > kTextBytesMax) return fail(crypto_error(CryptoError::keyring_syntax));
  Keyring keyring;
  for (uint32_t number = 1; !rest.empty(); ++number) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    const std::string_view text_line = ascii_trim(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (text_line.empty() || text_line.front() == '#') continue;
    const auto line = split_line(text_line);
    auto entry = line ? read_key_line(*line) : std::nullopt;
    if (!entry || keyring.keys_.size() == kKeysMax) return fail(crypto_error(CryptoError::keyring_syntax, number));
    if (keyring.has(entry->id)) return fail(crypto_error(CryptoError::keyring_duplicate, number));
    if (entry->current && keyring.current_ != 0) return fail(crypto_error(CryptoError::keyring_current, number));
    if (entry->current) keyring.current_ = entry->id;
    keyring.keys_.emplace(entry->id, std::move(entry->key));
  }
  if (keyring.keys_.empty()) return fail(crypto_error(CryptoError::keyring_empty));
  if (keyring.current_ == 0) return fail(crypto_error(CryptoError::keyring_current));
  return keyring;
}

Status Keyring::check_permissions(uint32_t mode, uint32_t owner, uint32_t self) {
  const uint32_t bits = mode & 07777;
  if (!S_ISREG(mode) || (bits != 0400 && bits != 0600))
    return fail(crypto_error(CryptoError::keyring_permissions, bits));
  if (owner != self) return fail(crypto_error(CryptoError::keyring_owner, owner));
  return {};
}

std::vector<uint32_t> Keyring::ids() const {
  std::vector<uint32_t> ids;
  for (const auto& entry : keys_) ids.push_back(entry.first);
  return ids;
}

Result<Secret> Keyring::derive(uint32_t id, std::string_view purpose) const {
  const auto key = keys_.find(id);
  if (key == keys_.end()) return fail(crypto_error(CryptoError::key_unknown, id));
  return hkdf_sha256(key->second, purpose, kAeadKeyBytes);
}

Secret make_keyring(uint32_t id) {
  BH_CHECK(id > 0);
  SecretBuffer text(1024);
  const Secret key = base64_of(random_secret(kAeadKeyBytes));
  const bool fits =
      text.append(
          "# Key-encryption keys of bellhop. Keep a copy in a safe place: without it the store cannot be read.\n"
          "# The same file on every node, mode 0400. A line: kek <id> <base64 of 32 bytes> [current]\n"
          "kek ") &&
      text.append(std::to_string(id)) && text.append(" ") && text.append(key.reveal()) && text.append(" current\n");
  BH_CHECK(fits);
  return text.finish();
}

}  // namespace bellhop::crypto
