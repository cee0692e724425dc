// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>

#include "core/base/bytes.h"
#include "core/base/time.h"

namespace bellhop {

// The keys that session tickets are sealed with: AES-256-CBC and HMAC-SHA-256, looked up by name (RFC 5077 section 4).
struct TicketKey {
  std::array<uint8_t, 16> name;
  std::array<uint8_t, 32> cipher_key;
  std::array<uint8_t, 32> mac_key;
};

// Current and previous ticket key, shared by the server contexts of all cores, so that a client resumes on whichever
// core its next connection lands. A ticket lives kTicketLifetime, no longer than a key stays current, so the previous
// key opens every ticket that is still valid. Keys are wiped when the last handshake that uses them lets go.
//
// Time and randomness come from the caller. Thread-safe: a handshake copies one pointer under a lock.
class TicketKeys {
 public:
  static constexpr std::chrono::hours kRotationPeriod{12};
  static constexpr std::chrono::hours kTicketLifetime{12};
  static constexpr size_t kFreshBytes = sizeof(TicketKey);

  // What the handshakes of one moment see; immutable.
  struct Snapshot {
    TicketKey current{};
    TicketKey previous{};
    bool has_previous = false;
    WallTime rotated_at{};

    Snapshot() = default;
    Snapshot(const Snapshot&) = delete;
    Snapshot& operator=(const Snapshot&) = delete;
    ~Snapshot();
  };

  // `fresh`: exactly kFreshBytes random bytes, becomes the first key.
  TicketKeys(WallTime now, Bytes fresh);
  TicketKeys(const TicketKeys&) = delete;
  TicketKeys& operator=(const TicketKeys&) = delete;

  // True when the current key has been in use for kRotationPeriod (or the clock went back by more than that).
  bool rotation_due(WallTime now) const;
  // `fresh` becomes current, current becomes previous, previous is wiped.
  void rotate(WallTime now, Bytes fresh);

  std::shared_ptr<const Snapshot> snapshot() const;

  // For the process that comes after this one, so that it opens the tickets of ours. Secret: wiped by who holds it.
  using Saved = std::array<uint8_t, 1 + 2 * sizeof(TicketKey) + 9>;
  Saved save() const;
  // Null where `saved` is no whole result of save().
  static std::shared_ptr<TicketKeys> restore(Bytes saved);

 private:
  mutable std::mutex lock_;
  std::shared_ptr<const Snapshot> snapshot_;  // never null; guarded by lock_
};

}  // namespace bellhop
