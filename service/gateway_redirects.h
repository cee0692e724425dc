// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <list>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/base/time.h"
#include "crypto/hash.h"
#include "proto/gateway_target.h"
#include "service/config.h"

namespace bellhop::service {

// A redirect that is remembered, as operators see it.
struct KnownRedirect {
  crypto::Digest key{};  // see GatewayRedirectCache::key
  std::string route;
  HostPort server;
  uint16_t status = 0;  // 302 or 451
  Instant until{};
};

// Where Exchange sent an account before, so that its next request goes there at once. One per core, bounded: the account
// that was not asked for the longest is forgotten first.
class GatewayRedirectCache {
 public:
  GatewayRedirectCache(size_t entries_max, Duration lifetime) : entries_max_(entries_max), lifetime_(lifetime) {}
  GatewayRedirectCache(const GatewayRedirectCache&) = delete;
  GatewayRedirectCache& operator=(const GatewayRedirectCache&) = delete;
  void renew(size_t entries_max, Duration lifetime);

  static crypto::Digest key(std::string_view route, proto::GatewayEndpoint endpoint, std::string_view account);

  std::optional<HostPort> find(const crypto::Digest& key, Instant now);
  void learn(KnownRedirect redirect, Instant now);
  bool forget(const crypto::Digest& key);
  // Of one status, or all of them where it is 0. Says how many.
  size_t clear(uint16_t status = 0);
  size_t size() const { return entries_.size(); }
  std::vector<KnownRedirect> list(size_t entries_max, Instant now) const;

 private:
  struct Hash {
    size_t operator()(const crypto::Digest& digest) const;
  };
  using Entries = std::list<KnownRedirect>;  // the least recently used first

  size_t entries_max_;
  Duration lifetime_;
  Entries entries_;
  std::unordered_map<crypto::Digest, Entries::iterator, Hash> places_;
};

}  // namespace bellhop::service
