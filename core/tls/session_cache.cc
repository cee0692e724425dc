// SPDX-License-Identifier: Apache-2.0
#include "core/tls/session_cache.h"

#include <openssl/ssl.h>

#include <algorithm>

#include "core/base/check.h"
#include "core/tls/boringssl.h"

namespace bellhop {

TlsSessionCache::Entry* TlsSessionCache::find(std::string_view host) {
  for (Entry& entry : entries_) {
    if (entry.host == host) return &entry;
  }
  return nullptr;
}

void TlsSessionCache::put(std::string_view host, ssl_session_st* session) {
  BH_CHECK(session != nullptr);
  Entry* entry = find(host);
  if (!entry) {
    if (entries_.size() < kHostsMax) {
      entry = &entries_.emplace_back();
    } else {
      entry = &*std::min_element(entries_.begin(), entries_.end(),
                                 [](const Entry& a, const Entry& b) { return a.used < b.used; });
      while (entry->count > 0) SSL_SESSION_free(entry->sessions[--entry->count]);
    }
    entry->host = host;
  }
  if (entry->count == kSessionsPerHostMax) {
    SSL_SESSION_free(entry->sessions[0]);
    std::move(entry->sessions.begin() + 1, entry->sessions.end(), entry->sessions.begin());
    --entry->count;
  }
  entry->sessions[entry->count++] = session;
  entry->used = ++uses_;
}

ssl_session_st* TlsSessionCache::take(std::string_view host) {
  Entry* entry = find(host);
  if (!entry || entry->count == 0) return nullptr;
  entry->used = ++uses_;
  SSL_SESSION* newest = entry->sessions[entry->count - 1];
  if (SSL_SESSION_should_be_single_use(newest)) {
    --entry->count;
  } else {
    SSL_SESSION_up_ref(newest);
  }
  return newest;
}

void TlsSessionCache::clear() {
  for (Entry& entry : entries_) {
    for (size_t i = 0; i < entry.count; ++i) SSL_SESSION_free(entry.sessions[i]);
  }
  entries_.clear();
}

size_t TlsSessionCache::sessions() const {
  size_t sum = 0;
  for (const Entry& entry : entries_) sum += entry.count;
  return sum;
}

}  // namespace bellhop
