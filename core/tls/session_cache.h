// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

struct ssl_session_st;

namespace bellhop {

// Sessions that servers gave us, by host, for resumption. One context's, one core's. Bounded: the host that was not
// used for the longest makes room, and of one host the oldest session.
class TlsSessionCache {
 public:
  static constexpr size_t kHostsMax = 256;
  static constexpr size_t kSessionsPerHostMax = 4;

  TlsSessionCache() = default;
  TlsSessionCache(const TlsSessionCache&) = delete;
  TlsSessionCache& operator=(const TlsSessionCache&) = delete;
  ~TlsSessionCache() { clear(); }

  // Takes over one reference to `session`.
  void put(std::string_view host, ssl_session_st* session);
  // The newest session of the host, with one reference for the caller, or null. A TLS 1.3 session leaves the cache,
  // because a second use would link the two connections (RFC 8446 appendix C.4).
  ssl_session_st* take(std::string_view host);
  void clear();

  size_t hosts() const { return entries_.size(); }
  size_t sessions() const;

 private:
  struct Entry {
    std::string host;
    std::array<ssl_session_st*, kSessionsPerHostMax> sessions{};  // oldest first, `count` of them
    size_t count = 0;
    uint64_t used = 0;
  };
  Entry* find(std::string_view host);

  std::vector<Entry> entries_;
  uint64_t uses_ = 0;
};

}  // namespace bellhop
