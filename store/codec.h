// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <string>
#include <type_traits>
#include <vector>

#include "core/base/bytes.h"
#include "core/base/time.h"
#include "store/ids.h"

namespace bellhop::store {

// A 32-bit check over `bytes`: finds every change within one 8-byte word and nearly all others. Not keyed: against
// broken files, not against people.
inline uint32_t checksum(Bytes bytes) {
  uint64_t h = 0x9e3779b97f4a7c15u ^ bytes.size();
  while (!bytes.empty()) {
    uint64_t word = 0;
    size_t n = std::min<size_t>(8, bytes.size());
    std::memcpy(&word, bytes.data(), n);
    h = (h ^ word) * 0xff51afd7ed558ccdu;
    h ^= h >> 32;
    bytes = bytes.subspan(n);
  }
  return uint32_t(h ^ h >> 29);
}

// The two directions of a record's layout. Each record names its fields once (records.cc, fields()) and is handed to
// either. All integers are little-endian.
class Encoder {
 public:
  explicit Encoder(std::vector<uint8_t>& out) : out_(out) { out_.clear(); }
  bool within_limits() const { return within_limits_; }

  template <std::unsigned_integral T>
  void number(const T& value) {
    for (size_t i = 0; i < sizeof(T); ++i) out_.push_back(uint8_t(uint64_t{value} >> (8 * i)));
  }
  void flag(const bool& value) { number(uint8_t(value)); }
  template <class E>
  void choice(const E& value, E last) {
    within_limits_ &= value <= last;
    number(uint8_t(value));
  }
  void time(const WallTime& value) { number(uint64_t(value.time_since_epoch().count())); }
  template <size_t kSize>
  void fixed(const std::array<uint8_t, kSize>& value) {
    out_.insert(out_.end(), value.begin(), value.end());
  }
  // Text or bytes of at most `size_max` (< 64 KB).
  template <class S>
  void string(const S& value, size_t size_max) {
    within_limits_ &= value.size() <= size_max;
    if (!within_limits_) return;
    number(uint16_t(value.size()));
    out_.insert(out_.end(), value.begin(), value.end());
  }
  template <size_t kSize, class Tag>
  void ids(const std::vector<Id<kSize, Tag>>& value, size_t count_max) {
    within_limits_ &= value.size() <= count_max;
    number(uint8_t(value.size()));
    for (const auto& id : value) fixed(id.bytes);
  }
  void below(const uint8_t& value, uint8_t bound) {
    within_limits_ &= value < bound;
    number(value);
  }

 private:
  std::vector<uint8_t>& out_;
  bool within_limits_ = true;
};

// Reads what Encoder wrote. After the first field that does not fit, ok() is false and all later reads do nothing.
class Decoder {
 public:
  explicit Decoder(Bytes in) : in_(in) {}
  bool ok() const { return ok_; }
  bool at_end() const { return ok_ && in_.empty(); }

  template <std::unsigned_integral T>
  void number(T& value) {
    if (!has(sizeof(T))) return;
    uint64_t v = 0;
    for (size_t i = 0; i < sizeof(T); ++i) v |= uint64_t{in_[i]} << (8 * i);
    value = T(v);
    in_ = in_.subspan(sizeof(T));
  }
  void flag(bool& value) {
    uint8_t v = 0;
    number(v);
    ok_ &= v <= 1;
    value = v == 1;
  }
  template <class E>
  void choice(E& value, E last) {
    uint8_t v = 0;
    number(v);
    ok_ &= v <= uint8_t(last);
    if (ok_) value = E(v);
  }
  void time(WallTime& value) {
    uint64_t v = 0;
    number(v);
    value = WallTime(std::chrono::milliseconds(int64_t(v)));
  }
  template <size_t kSize>
  void fixed(std::array<uint8_t, kSize>& value) {
    if (!has(kSize)) return;
    std::copy_n(in_.begin(), kSize, value.begin());
    in_ = in_.subspan(kSize);
  }
  template <class S>
  void string(S& value, size_t size_max) {
    uint16_t size = 0;
    number(size);
    ok_ &= size <= size_max;
    if (!has(size)) return;
    // By pointers to its own elements: foreign ones would make std::string build a temporary.
    const auto* begin = reinterpret_cast<const typename S::value_type*>(in_.data());
    value.assign(begin, begin + size);
    in_ = in_.subspan(size);
  }
  template <size_t kSize, class Tag>
  void ids(std::vector<Id<kSize, Tag>>& value, size_t count_max) {
    uint8_t count = 0;
    number(count);
    ok_ &= count <= count_max;
    if (!has(count * kSize)) return;
    value.resize(count);
    for (auto& id : value) fixed(id.bytes);
  }
  void below(uint8_t& value, uint8_t bound) {
    number(value);
    ok_ &= value < bound;
  }

 private:
  bool has(size_t size) { return ok_ = ok_ && in_.size() >= size; }

  Bytes in_;
  bool ok_ = true;
};

}  // namespace bellhop::store
