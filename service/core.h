// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "core/context.h"
#include "core/io.h"
#include "service/apns_sender.h"
#include "service/decrypter.h"
#include "service/ews_client.h"
#include "service/generation.h"
#include "service/host_outages.h"
#include "service/log.h"
#include "service/metrics.h"
#include "service/outcome.h"
#include "service/overload.h"
#include "service/token_client.h"
#include "service/trail.h"
#include "service/vault.h"
#include "store/store.h"

namespace bellhop::service {

class Autodiscover;
class Gateway;
class Compliance;
class Journal;
class Kerberos;
class KeyMaker;
class Mailboxes;
class NotificationObserver;
class Gateway;
class Policy;
class Pusher;
class Registrar;
class Supervision;
class Renewal;
struct Core;

// What all cores share. Made by Server before the cores run; immutable afterwards but for the atomics and what says of
// itself that it is thread-safe. Configuration and tenants are a core's own: see Core::config().
struct Node {
  std::shared_ptr<const Generation> start;  // what cores begin with; given up when they have begun
  store::Store& store;
  const Vault& vault;
  ApnsProviderTokens& apns_tokens;
  std::vector<Core*> cores;          // filled by each core before any of them listens
  std::atomic<bool> ready{false};    // callbacks are taken
  std::atomic<bool> leaving{false};  // they still are, but whoever asks is told to go elsewhere: the first step of a drain
  std::atomic<bool> draining{false};  // what comes now is handed back
  Refusals refusals;                 // subscriptions that all cores turned away lately
  std::atomic<int64_t> listener_certificate_expires_s{0};  // Unix seconds; 0: not known yet, or none
  std::atomic<int64_t> gateway_certificate_expires_s{0};   // likewise
  HostOutages host_outages{};
  Compliance* compliance = nullptr;  // null where a test needs none
  Kerberos* kerberos = nullptr;      // null where [gateway.kerberos] is off

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
  Pusher* pusher = nullptr;    // set by Mailboxes, which keeps it
  Journal* journal = nullptr;  // likewise
  Supervision* supervision = nullptr;
  Autodiscover* autodiscover = nullptr;       // null where no test needs it
  Registrar* registrar = nullptr;             // set by itself; DeviceApi keeps it
  Renewal* renewal = nullptr;                 // null where a test needs none: subscriptions are then left as they are
  KeyMaker* key_maker = nullptr;              // to be nudged when the pool of keys shrinks; null in tests
  NotificationObserver* observer = nullptr;  // demo and tests
  Policy* policy = nullptr;                  // null: everybody is let in
  Gateway* gateway = nullptr;                // null without its role
  GenerationSlot generations{node.start};
  Overload overload{};
  // What the handling of callbacks hangs on. Stopped when the patience of a drain is over: what is left is handed back.
  Context work{};
  Trail trail;  // what lately happened here

  // As of the last reload. What is found here stays while a GenerationSlot::Pin is held that is older than the look: each
  // request, and each flow in the background that waits, holds one.
  const Config& config() const { return generations.now().config; }
  const Tenants& tenants() const { return generations.now().tenants; }
  Fingerprint fingerprint(const store::StoredUserId& user) const { return log.fingerprint("user", user); }
};

}  // namespace bellhop::service
