// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>

#include "core/io.h"
#include "store/lmdb/lmdb_store.h"
#include "store/memory/memory_store.h"
#include "store/seed.h"

// Ends a coroutine test where going on makes no sense.
#define CO_ASSERT(condition)                     \
  if (!(condition)) {                            \
    ADD_FAILURE() << "needed here: " #condition; \
    co_return;                                   \
  }                                              \
  static_assert(true)

namespace bellhop::store {

// An id that is spread like a hash and tells its number.
template <class I>
I id_of(uint64_t number) {
  I id;
  uint64_t x = number * 0x9e3779b97f4a7c15u + 0x1234567;
  for (size_t i = 0; i < I::kBytes; ++i) {
    if (i % 8 == 0) x = (x ^ x >> 29) * 0xbf58476d1ce4e5b9u + number;
    id.bytes[i] = uint8_t(x >> (8 * (i % 8)));
  }
  return id;
}

inline WallTime at_ms(int64_t ms) {
  return WallTime(std::chrono::milliseconds(ms));
}

inline std::vector<uint8_t> blob(size_t size, uint64_t number) {
  std::vector<uint8_t> bytes(size);
  for (size_t i = 0; i < size; ++i) bytes[i] = uint8_t((number + i) * 167 >> 3);
  return bytes;
}

// What the fields of real records weigh: RSA-2048, CRT parts sealed; an APNs token sealed.
inline KeyRecord a_key(uint64_t number) {
  return {.id = id_of<KeyId>(number),
          .state = KeyState::pool,
          .user = {},
          .created = at_ms(1000),
          .public_key = blob(294, number),
          .sealed_private_key = blob(1300, number)};
}
inline DeviceRecord a_device(uint64_t number) {
  DeviceRecord record;
  record.sealed_secret_hash = blob(60, number);
  record.sealed_push_token = blob(130, number);
  record.topic = "com.example.mail";
  record.locale = "en-GB";
  record.registered_at = at_ms(5000);
  return record;
}
inline SubscriptionRecord a_subscription(uint64_t number, const DeviceKey& source) {
  SubscriptionRecord record;
  record.ews_url = "https://mail.example.com/EWS/Exchange.asmx";
  record.exchange_id = std::string(96, char('A' + number % 26));
  record.digest = id_of<Digest>(number);
  record.source_device = source;
  record.created = at_ms(5000);
  return record;
}
inline SeededMailbox a_mailbox(uint64_t number) {
  SeededMailbox mailbox;
  mailbox.user = id_of<StoredUserId>(number);
  mailbox.key = a_key(number);
  mailbox.device = id_of<DeviceKey>(number);
  mailbox.device_record = a_device(number);
  mailbox.capability = id_of<CapabilityHash>(number);
  mailbox.subscription = a_subscription(number, mailbox.device);
  mailbox.hot.watermark_hash = number + 1;
  return mailbox;
}
inline Registration a_registration(uint64_t user, uint64_t device, std::optional<uint64_t> capability,
                                   int64_t now_ms = 9000) {
  Registration registration;
  registration.user = id_of<StoredUserId>(user);
  registration.device = id_of<DeviceKey>(device);
  registration.record = a_device(device);
  registration.now = at_ms(now_ms);
  if (capability) {
    registration.subscription =
        NewSubscription{id_of<CapabilityHash>(*capability), a_subscription(*capability, registration.device)};
  }
  return registration;
}

template <class T>
bool failed_with(const std::expected<T, Error>& result, StoreError code) {
  return !result && is(result.error(), code);
}

// A folder that goes away with the test: in memory where the machine has such a place, so that thousands of synced
// commits take no time.
class TestFolder {
 public:
  TestFolder();
  ~TestFolder() { std::filesystem::remove_all(path_); }
  std::string file() const { return path_ + "/store.mdb"; }

 private:
  std::string path_;
};

// Opens, or ends the test program with the message of the failure.
std::unique_ptr<LmdbStore> open_or_die(const std::string& file, uint64_t map_size = 4ull << 30);

// Runs `flow` on each of `cores` cores; each leaves the store afterwards.
using StoreFlow = Task<void> (*)(TableStore& store, unsigned core);
void run_on(TableStore& store, unsigned cores, StoreFlow flow);
inline void run(TableStore& store, StoreFlow flow) {
  run_on(store, 1, flow);
}

// All rows of all tables, as text; what two stores must have in common.
std::string all_rows(Engine& engine);

// Fails the test with what store/check.h finds.
void expect_clean(Engine& engine);

// The next `count` calls of fdatasync in this process, after `after` good ones, fail with `error_number`.
void fail_syncs(int after, int count, int error_number);
uint64_t syncs_made();
// The disk under every file is full, until it is not: writes fail with ENOSPC, larger ones are cut off in the middle.
void fill_disk(bool full);
// Writes of LMDB's two first pages, the roots of its trees, fail with `error_number`; 0: no longer.
void fail_root_writes(int error_number);

}  // namespace bellhop::store
