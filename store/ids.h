// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <compare>
#include <cstdint>
#include <cstring>

#include "core/base/bytes.h"
#include "core/base/check.h"

namespace bellhop::store {

// A fixed-size identifier: a hash or a random number, never readable data. `Tag` keeps the kinds apart. The names with
// "Stored" are what is written to disk: keyed hashes of what the outside calls the thing.
template <size_t kSize, class Tag>
struct Id {
  static constexpr size_t kBytes = kSize;
  std::array<uint8_t, kSize> bytes{};

  friend auto operator<=>(const Id&, const Id&) = default;
  operator Bytes() const { return bytes; }
  bool zero() const { return *this == Id{}; }
  // Copies the first kSize bytes of `from`, which has at least so many.
  static Id from(Bytes from) {
    BH_CHECK(from.size() >= kSize);
    Id id;
    std::copy_n(from.begin(), kSize, id.bytes.begin());
    return id;
  }
};

using StoredUserId = Id<32, struct StoredUserIdTag>;      // HMAC(index key, tenant, SHA-256(address))
using DeviceKey = Id<16, struct DeviceKeyTag>;            // hash of stored user id and device id
using CapabilityHash = Id<32, struct CapabilityHashTag>;  // hash of the `id` of a callback URL
using TokenHash = Id<32, struct TokenHashTag>;            // keyed hash of an API token
using TokenId = Id<8, struct TokenIdTag>;                 // public name of a token, for list and revoke
using KeyId = Id<16, struct KeyIdTag>;                    // name of an RSA key pair
using Digest = Id<32, struct DigestTag>;                  // SHA-256 of `creds`
using ComplianceKey = Id<16, struct ComplianceKeyTag>;    // hash of what a device is called, one for all spellings
using EwsUrlKey = Id<32, struct EwsUrlKeyTag>;            // keyed hash of tenant and mail domain

// The dense number of a mailbox: 0, 1, 2 …; numbers of removed mailboxes are used again.
using MailboxNumber = uint32_t;

}  // namespace bellhop::store

template <size_t kSize, class Tag>
struct std::hash<bellhop::store::Id<kSize, Tag>> {
  // The bytes are already hashes: the first eight are as good as any mix of all.
  size_t operator()(const bellhop::store::Id<kSize, Tag>& id) const noexcept {
    uint64_t word;
    std::memcpy(&word, id.bytes.data(), sizeof word);
    return word;
  }
};
