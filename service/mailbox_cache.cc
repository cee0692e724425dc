// SPDX-License-Identifier: Apache-2.0
#include "service/mailbox_cache.h"

#include <algorithm>

#include "core/base/check.h"

namespace bellhop::service {
namespace {

// Makes a used place as good as new. The vector keeps its memory.
void reset(Mailbox& mailbox, store::MailboxNumber number, const store::StoredUserId& user) {
  mailbox.number = number;
  mailbox.user = user;
  mailbox.hot = {};
  mailbox.last_seen_written = {};
  mailbox.loaded = mailbox.dirty = mailbox.unread_known = mailbox.forgotten = false;
  mailbox.callbacks_in_flight = mailbox.callbacks_this_minute = 0;
  mailbox.minute_began = {};
  mailbox.resubscribe_asked.reset();
  mailbox.policy_asked.reset();
  mailbox.source_blocked = false;
  mailbox.handed_over_at = {};
  mailbox.moved_from = {};
  mailbox.url_permitted_at = 0;
  mailbox.handed_over_to = {};
  mailbox.logon_unwritten.reset();
  mailbox.logon_of = {};
  mailbox.tokens_unwritten = {};
  mailbox.tokens_of = {};
  mailbox.unfinished.clear();
}

}  // namespace

MailboxCache::MailboxCache(size_t mailboxes_max, Evicted evicted)
    : mailboxes_max_(mailboxes_max), evicted_(evicted), buckets_(std::max<size_t>(mailboxes_max, 1)) {
  BH_CHECK(mailboxes_max > 0);
}

MailboxCache::~MailboxCache() {
  for (const auto& mailbox : places_) BH_CHECK(mailbox->leases == 0);
}

Mailbox* MailboxCache::find(const store::StoredUserId& user) {
  Mailbox* mailbox = *bucket_of(user);
  while (mailbox && mailbox->user != user) mailbox = mailbox->next_in_bucket_;
  return mailbox;
}

MailboxCache::Lease MailboxCache::get(store::MailboxNumber number, const store::StoredUserId& user) {
  Mailbox* mailbox = find(user);
  // The user went and came back under another number: what is here belongs to the old one.
  if (mailbox && mailbox->number != number) {
    forget(user);
    mailbox = nullptr;
  }
  if (mailbox) {
    mailbox->unlink();
    return Lease(this, mailbox);
  }
  mailbox = free_place();
  if (!mailbox) return Lease();
  reset(*mailbox, number, user);
  Mailbox** bucket = bucket_of(user);
  mailbox->next_in_bucket_ = std::exchange(*bucket, mailbox);
  ++size_;
  return Lease(this, mailbox);
}

void MailboxCache::forget(const store::StoredUserId& user) {
  Mailbox* mailbox = find(user);
  if (!mailbox) return;
  remove(*mailbox);
  if (mailbox->leases > 0) {
    mailbox->forgotten = true;
  } else {
    mailbox->unlink();
    free_.push_back(mailbox);
  }
}

Mailbox* MailboxCache::free_place() {
  if (!free_.empty()) {
    Mailbox* mailbox = free_.back();
    free_.pop_back();
    return mailbox;
  }
  if (places_.size() < mailboxes_max_) {
    // Room for all places, so that giving back never allocates.
    if (free_.capacity() <= places_.size()) free_.reserve(std::min(mailboxes_max_, places_.size() * 2 + 64));
    return places_.emplace_back(std::make_unique<Mailbox>()).get();
  }
  Mailbox* oldest = idle_.pop_front();
  if (!oldest) return nullptr;
  evicted_.function(evicted_.context, *oldest);
  remove(*oldest);
  return oldest;
}

// Takes it out of the table; it can then not be found any more.
void MailboxCache::remove(Mailbox& mailbox) {
  Mailbox** at = bucket_of(mailbox.user);
  while (*at != &mailbox) {
    BH_CHECK(*at != nullptr);
    at = &(*at)->next_in_bucket_;
  }
  *at = std::exchange(mailbox.next_in_bucket_, nullptr);
  --size_;
}

void MailboxCache::give_back(Mailbox& mailbox) {
  BH_CHECK(mailbox.leases > 0);
  if (--mailbox.leases > 0) return;
  if (mailbox.forgotten) {
    free_.push_back(&mailbox);
  } else {
    idle_.push_back(&mailbox);
  }
}

}  // namespace bellhop::service
