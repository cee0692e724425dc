// SPDX-License-Identifier: Apache-2.0
// What a mailbox's memory holds and the store does not, at the end of a process.
#include "core/cross_core.h"
#include "tests/notification/scene.h"

namespace bellhop::service {
namespace {

store::StoredUserId user_of(uint32_t number) {
  store::StoredUserId user;
  store_be64(user.bytes.data(), number + 1);
  return user;
}

// Heartbeats leave more behind than the store takes at once.
SCENE_TEST(Close, WritesTheHotStateOfAllMailboxes) {
  constexpr uint32_t kMailboxes = 3 * store::kHotPendingMax;
  for (uint32_t number = 0; number < kMailboxes; ++number) {
    MailboxCache::Lease mailbox = scene.parts[0]->mailboxes->lease(number, user_of(number));
    CO_ASSERT(mailbox);
    mailbox->loaded = mailbox->dirty = true;
    mailbox->hot.watermark_hash = number + 1;
  }
  co_await scene.restart();
  for (uint32_t number = 0; number < kMailboxes; ++number) {
    auto hot = co_await scene.store->read_hot(number, user_of(number));
    CO_ASSERT(hot && hot->watermark_hash == number + 1);
  }
}

}  // namespace
}  // namespace bellhop::service
