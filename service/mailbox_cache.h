// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "core/base/intrusive_list.h"
#include "core/sync.h"
#include "service/config.h"
#include "store/records.h"

namespace bellhop::service {

inline constexpr size_t kMailboxesCachedMax = 65'536;  // hot records in memory, per core
inline constexpr size_t kUnfinishedPushesMax = 2'048;  // remembered for one mailbox; see Mailbox::unfinished
inline constexpr Duration kResubscribeInterval = std::chrono::hours(1);

// One push that was made for a callback that then had to be handed back: Exchange repeats the callback, this push not.
struct UnfinishedPush {
  uint64_t hash = 0;  // of the item
  store::DeviceKey device;
  friend bool operator==(const UnfinishedPush&, const UnfinishedPush&) = default;
};

// The hot state of one mailbox in memory. Belongs to MailboxCache; used by the flows that hold a lease.
struct Mailbox : ListLink {
  store::MailboxNumber number = 0;
  store::StoredUserId user;
  store::HotRecord hot;          // newer than the store's where `dirty`
  WallTime last_seen_written{};  // what the store knows; see store::last_seen_due
  bool loaded = false;
  bool dirty = false;
  bool unread_known = false;  // hot.unread was told, not just zero in a fresh record
  bool forgotten = false;     // its user is gone: to be dropped with the last lease
  uint32_t leases = 0;
  uint32_t callbacks_in_flight = 0;
  uint32_t callbacks_this_minute = 0;
  Instant minute_began{};
  std::optional<Instant> resubscribe_asked;
  // What the policy said of the devices, when, at which count of changes (Compliance::changes), for which source.
  std::optional<Instant> policy_asked;
  uint64_t policy_changes = 0;
  store::DeviceKey policy_source;
  bool source_blocked = false;
  // Renewals (service/renewal.h): of which subscription Exchange said that its mailbox is elsewhere; the generation in
  // which the subscription's EWS URL was found to be permitted.
  store::CapabilityHash moved_from;
  uint64_t url_permitted_at = 0;
  // The last hand-over: callbacks of other subscriptions that came before it may be of ended ones.
  Instant handed_over_at{};
  store::CapabilityHash handed_over_to;
  // The newest logon rule, where writing it to the store has failed.
  std::optional<store::LogonRule> logon_unwritten;
  store::CapabilityHash logon_of;
  // Renewed OAuth tokens, sealed, where writing them to the store has failed: not to be used before they are there.
  std::vector<uint8_t> tokens_unwritten;
  store::CapabilityHash tokens_of;
  // Of the callback that was handed back last; at most kUnfinishedPushesMax, and gone after its success.
  std::vector<UnfinishedPush> unfinished;
  // One callback at a time: a repeat waits, and is then seen to be one.
  Semaphore turn{1};

 private:
  friend class MailboxCache;
  Mailbox* next_in_bucket_ = nullptr;
};

// The mailboxes of one core that were heard of lately, least recently used first out. What leaves goes to `evicted`.
// Memory of mailboxes is used again, so that in a steady state nothing is allocated. One core.
class MailboxCache {
 public:
  // Keeps a mailbox in its place; move-only.
  class Lease {
   public:
    Lease() = default;
    Lease(Lease&& other) noexcept : cache_(other.cache_), mailbox_(std::exchange(other.mailbox_, nullptr)) {}
    Lease& operator=(Lease&&) = delete;
    ~Lease() {
      if (mailbox_) cache_->give_back(*mailbox_);
    }
    explicit operator bool() const { return mailbox_ != nullptr; }
    Mailbox& operator*() const { return *mailbox_; }
    Mailbox* operator->() const { return mailbox_; }

   private:
    friend class MailboxCache;
    Lease(MailboxCache* cache, Mailbox* mailbox) : cache_(cache), mailbox_(mailbox) { ++mailbox->leases; }
    MailboxCache* cache_ = nullptr;
    Mailbox* mailbox_ = nullptr;
  };
  struct Evicted {
    void (*function)(void* context, const Mailbox& mailbox);
    void* context;
  };

  MailboxCache(size_t mailboxes_max, Evicted evicted);
  MailboxCache(const MailboxCache&) = delete;
  MailboxCache& operator=(const MailboxCache&) = delete;
  ~MailboxCache();  // no lease is left

  // The mailbox, a fresh one (not loaded) where it is not here. An empty lease where every place is leased.
  Lease get(store::MailboxNumber number, const store::StoredUserId& user);
  // Null where it is not here.
  Mailbox* find(const store::StoredUserId& user);
  // Drops the user's mailbox, whatever it holds; a leased one with its last lease.
  void forget(const store::StoredUserId& user);
  // Calls f(Mailbox&) for each.
  template <class F>
  void for_each(F&& f) {
    for (const auto& mailbox : places_) {
      if (in_use(*mailbox)) f(*mailbox);
    }
  }
  size_t size() const { return size_; }

 private:
  Mailbox** bucket_of(const store::StoredUserId& user) {
    return &buckets_[std::hash<store::StoredUserId>{}(user) / 7919 % buckets_.size()];
  }
  static bool in_use(const Mailbox& mailbox) { return mailbox.leases > 0 || mailbox.linked(); }
  Mailbox* free_place();
  void remove(Mailbox& mailbox);
  void give_back(Mailbox& mailbox);

  const size_t mailboxes_max_;
  const Evicted evicted_;
  size_t size_ = 0;
  std::vector<std::unique_ptr<Mailbox>> places_;  // grows up to mailboxes_max, never shrinks
  std::vector<Mailbox*> free_;
  std::vector<Mailbox*> buckets_;
  IntrusiveList<Mailbox> idle_;  // not leased, least recently used first
};

}  // namespace bellhop::service
