// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "core/io.h"
#include "service/apns_sender.h"
#include "service/config.h"
#include "service/decrypter.h"
#include "service/ews_client.h"
#include "service/log.h"
#include "service/metrics.h"
#include "service/outcome.h"
#include "service/tenants.h"
#include "service/token_client.h"
#include "service/vault.h"
#include "store/store.h"

namespace bellhop::service {

class Autodiscover;
class KeyMaker;
class Mailboxes;
class NotificationObserver;
class Registrar;
struct Core;

// What all cores share. Made by Server before the cores run; immutable afterwards but for the atomics and what says of
// itself that it is thread-safe.
struct Node {
  const Config& config;
  const Tenants& tenants;
  store::Store& store;
  const Vault& vault;
  ApnsProviderTokens& apns_tokens;
  std::vector<Core*> cores;          // filled by each core before any of them listens
  std::atomic<bool> ready{false};    // callbacks are taken
  std::atomic<bool> draining{false};
  std::atomic<int64_t> listener_certificate_expires_s{0};  // Unix seconds; 0: not known yet

  // The core that owns a mailbox's hot state.
  unsigned home_core(const store::StoredUserId& user) const {
    return static_cast<unsigned>(std::hash<store::StoredUserId>{}(user) % cores.size());
  }
};

// What one core owns; used on its thread only (metrics may be read by others).
struct Core {
  Node& node;
  unsigned index;
  MetricsShard& metrics;
  Ledger& ledger;
  Log& log;
  Decrypter& decrypter;
  EwsClient& ews;
  TokenClient& tokens;
  ApnsSender& apns;
  Mailboxes* mailboxes = nullptr;
  Autodiscover* autodiscover = nullptr;       // null where no test needs it
  Registrar* registrar = nullptr;             // set by itself; DeviceApi keeps it
  KeyMaker* key_maker = nullptr;              // to be nudged when the pool of keys shrinks; null in tests
  NotificationObserver* observer = nullptr;  // demo and tests

  Fingerprint fingerprint(const store::StoredUserId& user) const { return log.fingerprint("user", user); }
};

}  // namespace bellhop::service
