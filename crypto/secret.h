// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <iosfwd>
#include <optional>
#include <string_view>

#include "core/base/bytes.h"
#include "crypto/arena.h"

namespace bellhop::crypto {

// A byte string that must not leak: a password, a private key, a token.
// Move-only, wiped on destruction, kept in locked memory that is left out of dumps. It cannot be printed or formatted,
// and gives a view of its content only to who asks by name. One owner; not synchronised.
class Secret {
 public:
  Secret() = default;  // empty, owns nothing
  // The caller still has to wipe what it copied from.
  static Secret copy_of(Bytes bytes);
  static Secret copy_of(std::string_view text) { return copy_of(as_bytes(text)); }
  // `size` zero bytes, to be filled through reveal_mutable().
  static Secret of_size(size_t size);

  Secret(Secret&& other) noexcept;
  Secret& operator=(Secret&& other) noexcept;
  Secret(const Secret&) = delete;
  Secret& operator=(const Secret&) = delete;
  ~Secret() { clear(); }

  Secret clone() const { return copy_of(reveal()); }
  // Wipes and frees.
  void clear();
  // Shortens; the cut part is wiped. `size` <= size().
  void truncate(size_t size);

  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  // Views live as long as the secret is neither moved from, cleared nor destroyed. Copies of them are the caller's to
  // wipe.
  Bytes reveal() const { return {data_, size_}; }
  MutableBytes reveal_mutable() { return {data_, size_}; }
  std::string_view reveal_text() const { return as_text(reveal()); }
  // Constant time for equal lengths.
  bool equals(Bytes other) const { return equal_constant_time(reveal(), other); }

  // Secrets that own memory now, in the whole process. For tests and the memory metric.
  static int64_t live_count();

 private:
  explicit Secret(size_t capacity);

  uint8_t* data_ = nullptr;
  size_t size_ = 0;
  size_t capacity_ = 0;
};

// Printing a secret does not compile.
std::ostream& operator<<(std::ostream&, const Secret&) = delete;
void PrintTo(const Secret&, std::ostream*) = delete;

// Grows a secret piece by piece up to a bound; scratch for base64, headers and serialised records.
class SecretBuffer {
 public:
  explicit SecretBuffer(size_t size_max) : size_max_(size_max) {}
  SecretBuffer(SecretBuffer&&) = default;
  SecretBuffer& operator=(SecretBuffer&&) = default;

  // False, and nothing appended, where it would pass the bound.
  [[nodiscard]] bool append(Bytes bytes);
  [[nodiscard]] bool append(std::string_view text) { return append(as_bytes(text)); }
  [[nodiscard]] bool append(uint8_t byte) { return append(Bytes(&byte, 1)); }

  size_t size() const { return bytes_.size(); }
  Bytes reveal() const { return bytes_; }
  void clear() { bytes_ = WipingBytes(); }
  // Moves the content into a secret; the buffer is empty afterwards.
  Secret finish();

 private:
  size_t size_max_;
  WipingBytes bytes_;
};

std::ostream& operator<<(std::ostream&, const SecretBuffer&) = delete;
void PrintTo(const SecretBuffer&, std::ostream*) = delete;

// Standard base64 (padded) of a secret: for an Authorization line, a PEM file.
Secret base64_of(const Secret& secret);
// Decodes base64url text into a secret; nothing where the text is not strict base64url.
std::optional<Secret> secret_from_base64url(std::string_view text);
// The same for padded base64 (RFC 4648 section 4).
std::optional<Secret> secret_from_base64(std::string_view text);

}  // namespace bellhop::crypto
