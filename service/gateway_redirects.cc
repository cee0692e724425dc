// SPDX-License-Identifier: Apache-2.0
#include "service/gateway_redirects.h"

#include <cstring>
#include <iterator>

#include "core/base/bytes.h"
#include "core/base/check.h"

namespace bellhop::service {

size_t GatewayRedirectCache::Hash::operator()(const crypto::Digest& digest) const {
  size_t word;
  std::memcpy(&word, digest.data(), sizeof word);
  return word;
}

crypto::Digest GatewayRedirectCache::key(std::string_view route, proto::GatewayEndpoint endpoint, std::string_view account) {
  return crypto::sha256_of_parts({as_bytes(route), as_bytes(proto::endpoint_name(endpoint)), as_bytes(account)});
}

void GatewayRedirectCache::renew(size_t entries_max, Duration lifetime) {
  entries_max_ = entries_max;
  lifetime_ = lifetime;
  while (entries_.size() > entries_max_) forget(crypto::Digest(entries_.front().key));
}

std::optional<HostPort> GatewayRedirectCache::find(const crypto::Digest& key, Instant now) {
  auto place = places_.find(key);
  if (place == places_.end()) return std::nullopt;
  if (now >= place->second->until) {
    forget(key);
    return std::nullopt;
  }
  entries_.splice(entries_.end(), entries_, place->second);
  return place->second->server;
}

void GatewayRedirectCache::learn(KnownRedirect redirect, Instant now) {
  redirect.until = now + lifetime_;
  crypto::Digest key = redirect.key;
  forget(key);
  if (entries_max_ == 0) return;
  if (entries_.size() >= entries_max_) forget(crypto::Digest(entries_.front().key));
  entries_.push_back(std::move(redirect));
  places_[key] = std::prev(entries_.end());
  BH_CHECK(places_.size() == entries_.size());
}

bool GatewayRedirectCache::forget(const crypto::Digest& key) {
  auto place = places_.find(key);
  if (place == places_.end()) return false;
  entries_.erase(place->second);
  places_.erase(place);
  return true;
}

size_t GatewayRedirectCache::clear(uint16_t status) {
  size_t before = entries_.size();
  for (auto at = entries_.begin(); at != entries_.end();) {
    auto here = at++;
    if (status == 0 || here->status == status) forget(crypto::Digest(here->key));
  }
  return before - entries_.size();
}

std::vector<KnownRedirect> GatewayRedirectCache::list(size_t entries_max, Instant now) const {
  std::vector<KnownRedirect> found;
  for (auto at = entries_.rbegin(); at != entries_.rend() && found.size() < entries_max; ++at) {
    if (at->until > now) found.push_back(*at);
  }
  return found;
}

}  // namespace bellhop::service
