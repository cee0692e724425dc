// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/sleep.h"
#include "store/check.h"
#include "store/dump.h"
#include "store/operations.h"
#include "store/rows.h"
#include "tests/store/support.h"

namespace bellhop::store {
namespace {

using testing::HasSubstr;

std::string refusal(const std::string& path, uint64_t map_size = 1 << 24) {
  auto store = LmdbStore::open({.path = path, .map_size = map_size});
  return store ? "opened" : store.error().text;
}

// ---- Opening ----

TEST(LmdbOpen, MakesAFileThatNobodyElseMayRead) {
  TestFolder folder;
  open_or_die(folder.file());
  for (const char* suffix : {"", "-lock"}) {
    struct stat info;
    ASSERT_EQ(stat((folder.file() + suffix).c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0600u) << suffix;
  }
}

TEST(LmdbOpen, RefusesAFileThatOthersMayRead) {
  TestFolder folder;
  open_or_die(folder.file());
  chmod(folder.file().c_str(), 0640);
  EXPECT_THAT(refusal(folder.file()), HasSubstr("(mode 0640); run `chmod 600 " + folder.file() + "`"));
}

TEST(LmdbOpen, SaysPathReasonAndRemedy) {
  TestFolder folder;
  EXPECT_EQ(
      refusal("/nowhere/store.mdb"),
      "cannot open the store /nowhere/store.mdb: No such file or directory; create its folder, or correct store.path");
  std::string parent = std::filesystem::path(folder.file()).parent_path();
  EXPECT_THAT(refusal(parent), HasSubstr("not a regular file"));
  int descriptor = ::open(folder.file().c_str(), O_CREAT | O_WRONLY, 0600);
  std::string garbage(8192, 'g');
  EXPECT_EQ(::write(descriptor, garbage.data(), garbage.size()), ssize_t(garbage.size()));
  ::close(descriptor);
  EXPECT_THAT(refusal(folder.file()), HasSubstr("this is not a bellhop store"));
}

TEST(LmdbOpen, RefusesToOpenOneFileTwiceInAProcess) {
  TestFolder folder;
  auto store = open_or_die(folder.file());
  EXPECT_THAT(refusal(folder.file()), HasSubstr("this process has it open already"));
  store.reset();
  EXPECT_EQ(refusal(folder.file()), "opened");
}

TEST(LmdbOpen, RefusesAnUnknownSchemaVersionAndLeavesTheFileAlone) {
  TestFolder folder;
  uint8_t version[4];
  store_be32(version, kSchemaVersion + 40);
  ASSERT_TRUE(open_or_die(folder.file())->engine().write([&](WriteView& view) {
    return view.put(Table::meta, as_bytes("store/schema"), version);
  }));
  for (int i = 0; i < 2; ++i)
    EXPECT_THAT(refusal(folder.file()), HasSubstr("schema version 44 is unknown, this bellhop knows 4"));
}

TEST(LmdbOpen, TakesOverAStoreOfTheFirstSchemaVersion) {
  TestFolder folder;
  uint8_t version[4];
  store_be32(version, 1);
  ASSERT_TRUE(open_or_die(folder.file())->engine().write([&](WriteView& view) {
    return view.put(Table::meta, as_bytes("store/schema"), version);
  }));
  auto store = open_or_die(folder.file());
  ASSERT_TRUE(store->engine().read([&](ReadView& view) -> Status {
    BH_TRY(std::optional<Bytes> stored, view.get(Table::meta, as_bytes("store/schema")));
    EXPECT_EQ(load_be32(stored.value().data()), kSchemaVersion);
    return {};
  }));
}

TEST(LmdbOpen, LeavesAnEarlierSchemaVersionToTheProgramThatUsesIt) {
  TestFolder folder;
  uint8_t version[4];
  store_be32(version, kSchemaVersion - 1);
  ASSERT_TRUE(open_or_die(folder.file())->engine().write([&](WriteView& view) {
    return view.put(Table::meta, as_bytes("store/schema"), version);
  }));
  for (int i = 0; i < 2; ++i) {
    auto store = LmdbStore::open({.path = folder.file(), .map_size = 1 << 24, .upgrade = false});
    ASSERT_FALSE(store);
    EXPECT_THAT(store.error().text, HasSubstr("schema version 3 only is using it"));
  }
  EXPECT_EQ(refusal(folder.file()), "opened");
}

TEST(LmdbOpen, RefusesDataWithoutASchemaVersion) {
  TestFolder folder;
  ASSERT_TRUE(open_or_die(folder.file())->engine().write([&](WriteView& view) -> Status {
    BH_CHECKED(view.erase(Table::meta, as_bytes("store/schema")));
    return view.put(Table::users, as_bytes("somebody"), as_bytes("else"));
  }));
  EXPECT_THAT(refusal(folder.file()), HasSubstr("not a bellhop store"));
}

// ---- Durability and faults ----

Task<void> write_some(TableStore& store, unsigned) {
  for (uint64_t i = 0; i < 50; ++i) {
    KeyRecord key = a_key(i);
    EXPECT_TRUE(co_await store.add_pool_key(key));
    EXPECT_TRUE(co_await store.get_or_create_user(id_of<StoredUserId>(i), "example", at_ms(1)));
    EXPECT_TRUE(co_await store.register_device(a_registration(i, i, i)));
    EXPECT_TRUE(store.write_hot(MailboxNumber(i), id_of<StoredUserId>(i), HotRecord{.unread = 9}));
  }
}

TEST(Lmdb, KeepsEverythingAcrossARestart) {
  TestFolder folder;
  auto store = open_or_die(folder.file());
  run(*store, &write_some);
  std::string before = all_rows(store->engine());
  store.reset();
  store = open_or_die(folder.file());
  EXPECT_EQ(all_rows(store->engine()), before);
  EXPECT_EQ(check(store->engine())->counts.hot, 50u);
}

Task<void> put_one(TableStore* store, uint64_t number, size_t* good) {
  *good += (co_await store->put_ews_url(id_of<EwsUrlKey>(number), {"https://mail.example.com/", {}})).has_value();
}
Task<void> write_a_thousand_at_once(TableStore& store, unsigned) {
  auto& lmdb = static_cast<LmdbStore&>(store);
  uint64_t commits = lmdb.commits(), syncs = syncs_made();
  size_t good = 0;
  TaskScope scope(&co_await current_context());
  // The writer's thread may have taken up to 256 of them by then; it waits for this transaction, as for a slow commit.
  EXPECT_TRUE(lmdb.engine().write([&](WriteView&) {
    for (uint64_t i = 0; i < 1000; ++i) scope.spawn(put_one(&store, i, &good));
    return Status();
  }));
  co_await scope.join();
  EXPECT_EQ(good, 1000u);
  EXPECT_GE(lmdb.commits() - commits, 4u) << "at most 256 changes in one commit";
  EXPECT_LE(lmdb.commits() - commits, 5u) << "the first, and those that gathered meanwhile";
  EXPECT_GE(syncs_made() - syncs, lmdb.commits() - commits) << "each commit is synced";
}

TEST(Lmdb, WritesAThousandChangesInFewCommits) {
  TestFolder folder;
  run(*open_or_die(folder.file()), &write_a_thousand_at_once);
}

Task<void> fill_the_map(TableStore& store, unsigned) {
  uint64_t written = 0;
  Status status;
  while (written < 10'000 && (status = co_await store.put_meta(std::to_string(written), blob(10'000, 1)))) ++written;
  EXPECT_TRUE(failed_with(status, StoreError::full));
  CO_ASSERT(written > 10);
  for (uint64_t i = 0; i < written; ++i) EXPECT_TRUE(co_await store.get_meta(std::to_string(i))) << i;
  // An operator would raise the map's size; what is freed serves as well.
  EXPECT_TRUE(store.engine().write([&](WriteView& view) -> Status {
    for (uint64_t i = 0; i < 10; ++i) BH_CHECKED(view.erase(Table::meta, as_bytes("service/" + std::to_string(i))));
    return {};
  }));
  EXPECT_TRUE(co_await store.put_meta("small", blob(10, 1)));  // LMDB gives freed pages out two commits later
  EXPECT_TRUE(co_await store.put_meta("again", blob(10'000, 1)));
}

TEST(Lmdb, WithAFullMapIsReadableAndUsableAgainAfterDeletes) {
  TestFolder folder;
  auto store = open_or_die(folder.file(), 2 << 20);
  run(*store, &fill_the_map);
  expect_clean(store->engine());
  store.reset();
  store = open_or_die(folder.file(), 4 << 20);  // and with a bigger map
  EXPECT_TRUE(store->engine().write(
      [](WriteView& view) { return view.put(Table::meta, as_bytes("service/x"), blob(200'000, 1)); }));
}

Task<void> meet_a_full_disk(TableStore& store, unsigned) {
  EXPECT_TRUE(co_await store.put_meta("before", blob(10, 1)));
  StoredUserId user = id_of<StoredUserId>(1);
  EXPECT_TRUE(store.write_hot(1, user, HotRecord{.unread = 5}));
  fail_syncs(0, 2, ENOSPC);
  Status status = co_await store.put_meta("during", blob(10, 2));
  EXPECT_TRUE(failed_with(status, StoreError::full));
  EXPECT_EQ(status.error().detail, uint32_t(ENOSPC));
  EXPECT_TRUE(failed_with(co_await store.flush_hot(), StoreError::full));
  EXPECT_EQ((co_await store.read_hot(1, user))->unread, 5u) << "kept in memory";
  EXPECT_EQ(store.hot_stats().failed_flushes, 1u);
  EXPECT_TRUE(failed_with(co_await store.get_meta("during"), StoreError::not_found));
  EXPECT_TRUE(co_await store.put_meta("after", blob(10, 3)));
  EXPECT_TRUE(co_await store.flush_hot());
  EXPECT_EQ((co_await store.counts())->hot, 1u);
  EXPECT_EQ(*co_await store.get_meta("before"), blob(10, 1));
  EXPECT_TRUE(failed_with(co_await store.extend_tombstone(id_of<CapabilityHash>(1), at_ms(1)), StoreError::not_found));
  WriteHealth health = store.write_health();
  EXPECT_EQ(health.failures, 2u) << "what a change refuses by itself is not the disk's fault";
  EXPECT_EQ(health.failure, store_error(StoreError::full, ENOSPC));
  EXPECT_EQ(health.commits, 3u);
}

TEST(Lmdb, OnAFullDiskFailsTheChangeAndGoesOn) {
  TestFolder folder;
  auto store = open_or_die(folder.file());
  run(*store, &meet_a_full_disk);
  store = nullptr;
  store = open_or_die(folder.file());
  expect_clean(store->engine());
}

// LMDB reports a write that was cut short as EIO, which is fatal otherwise.
Task<void> meet_a_disk_that_becomes_full(TableStore& store, unsigned) {
  EXPECT_TRUE(co_await store.put_meta("before", blob(16'000, 1)));
  fill_disk(true);
  EXPECT_TRUE(failed_with(co_await store.put_meta("one page", blob(10, 2)), StoreError::full));
  EXPECT_TRUE(failed_with(co_await store.put_meta("many pages", blob(16'000, 2)), StoreError::full));
  fill_disk(false);
  EXPECT_TRUE(co_await store.put_meta("after", blob(16'000, 3)));
  EXPECT_EQ(*co_await store.get_meta("before"), blob(16'000, 1));
  EXPECT_TRUE(failed_with(co_await store.get_meta("many pages"), StoreError::not_found));
}

TEST(Lmdb, OnADiskThatTakesOnlyAPartOfACommitFailsTheChangeAndGoesOn) {
  TestFolder folder;
  auto store = open_or_die(folder.file());
  run(*store, &meet_a_disk_that_becomes_full);
  store = nullptr;
  store = open_or_die(folder.file());
  expect_clean(store->engine());
}

Task<void> meet_a_broken_disk(TableStore& store, unsigned) {
  fail_syncs(0, 1, EIO);
  EXPECT_TRUE(co_await store.put_meta("name", blob(10, 1)));
}

template <int kError>
Task<void> meet_broken_roots(TableStore& store, unsigned) {
  fail_root_writes(kError);
  EXPECT_TRUE(co_await store.put_meta("name", blob(10, 1)));
}

TEST(LmdbDeathTest, EndsTheProcessWhereASyncFails) {
  TestFolder folder;
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(run(*open_or_die(folder.file()), &meet_a_broken_disk), testing::ExitedWithCode(kExitDiskFailed),
              "writing or syncing failed: Input/output error");
}

// LMDB serves nobody any more once it could not write its roots, whatever the reason was.
TEST(LmdbDeathTest, EndsTheProcessWhereTheRootsCannotBeWritten) {
  TestFolder folder;
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(run(*open_or_die(folder.file()), &meet_broken_roots<EIO>), testing::ExitedWithCode(kExitDiskFailed),
              "writing or syncing failed: Input/output error");
  EXPECT_EXIT(run(*open_or_die(folder.file()), &meet_broken_roots<ENOSPC>), testing::ExitedWithCode(kExitDiskFailed),
              "writing or syncing failed: No space left on device");
}

Task<void> read_garbage(TableStore& store, unsigned) {
  Route route;
  EXPECT_TRUE(failed_with(co_await store.read_route(id_of<CapabilityHash>(1), route), StoreError::corrupt));
  auto devices = co_await store.read_devices(id_of<StoredUserId>(1));
  EXPECT_TRUE(failed_with(devices, StoreError::corrupt));
  EXPECT_EQ(devices.error().detail, uint32_t(Table::devices));
  EXPECT_TRUE(failed_with(co_await store.end_subscription(id_of<CapabilityHash>(1), Ending{}), StoreError::corrupt));
  EXPECT_TRUE(co_await store.read_route(id_of<CapabilityHash>(2), route));
  EXPECT_EQ(route.kind, RouteKind::subscription) << "others are served";
}

TEST(Lmdb, ReportsDamagedRecordsAndServesTheOthers) {
  TestFolder folder;
  auto store = open_or_die(folder.file());
  run(*store, &write_some);
  ASSERT_TRUE(store->engine().write([](WriteView& view) -> Status {
    BH_CHECKED(view.put(Table::subscriptions, id_of<CapabilityHash>(1), blob(100, 1)));
    return view.put(Table::devices, device_row(id_of<StoredUserId>(1), id_of<DeviceKey>(1)), Bytes());
  }));
  run(*store, &read_garbage);
  Result<CheckReport> report = check(store->engine());
  ASSERT_TRUE(report);
  EXPECT_EQ(report->problems_found, 3u);
  EXPECT_THAT(report->problems, testing::Contains(HasSubstr("the record is damaged")));
}

Task<void> warm_up(TableStore& store, unsigned) {
  auto& lmdb = static_cast<LmdbStore&>(store);
  EXPECT_TRUE(co_await lmdb.warm());
  Context stopped;
  stopped.request_stop();
  Status cut = co_await lmdb.warm().under(stopped);
  CO_ASSERT(!cut);
  EXPECT_TRUE(is(cut.error(), CoreError::canceled));
}

TEST(Lmdb, ReadsItsWholeFileAheadInSlices) {
  TestFolder folder;
  auto store = open_or_die(folder.file());
  ASSERT_TRUE(seed(store->engine(), 5000, "example", at_ms(1),
                   [](uint64_t i, SeededMailbox& mailbox) { mailbox = a_mailbox(i); }));
  run(*store, &warm_up);
}

Task<void> two_cores_write(TableStore& store, unsigned core) {
  for (uint64_t i = 0; i < 200; ++i) {
    uint64_t number = core * 1000 + i;
    KeyRecord key = a_key(number);
    EXPECT_TRUE(co_await store.add_pool_key(key));
    EXPECT_TRUE(co_await store.get_or_create_user(id_of<StoredUserId>(number), "example", at_ms(1)));
    EXPECT_TRUE(co_await store.register_device(a_registration(number, number, number)));
    Route route;
    EXPECT_TRUE(co_await store.read_route(id_of<CapabilityHash>(number), route));
    EXPECT_EQ(route.kind, RouteKind::subscription) << "what is acknowledged is seen";
    EXPECT_TRUE(store.write_hot(route.subscription.mailbox, route.subscription.user, HotRecord{.unread = 1}));
  }
}

TEST(Lmdb, ServesSeveralCoresAtOnce) {
  TestFolder folder;
  auto store = open_or_die(folder.file());
  run_on(*store, 3, &two_cores_write);
  expect_clean(store->engine());
  EXPECT_EQ(check(store->engine())->counts.hot, 600u);
  EXPECT_EQ(*store->clear_stale_readers(), 0u);
}

// ---- Size, dump, check ----

TEST(Lmdb, NeedsAtMost4KilobytesPerMailbox) {
  constexpr uint64_t kMailboxes = 10'000;
  TestFolder folder;
  auto store = open_or_die(folder.file());
  ASSERT_TRUE(seed(store->engine(), kMailboxes, "example", at_ms(1),
                   [](uint64_t i, SeededMailbox& mailbox) { mailbox = a_mailbox(i); }));
  auto use = store->file_use();
  ASSERT_TRUE(use);
  std::printf("per mailbox: %.0f bytes of file, %.0f bytes of pages in use\n", double(use->file_bytes) / kMailboxes,
              double(use->table_bytes) / kMailboxes);
  EXPECT_LE(use->file_bytes, kMailboxes * 4096);
  EXPECT_EQ(std::filesystem::file_size(folder.file()), use->file_bytes);
  expect_clean(store->engine());
}

TEST(Dump, ShowsNothingThatIsSealedOrPersonal) {
  auto store = MemoryStore::create();
  ASSERT_TRUE(seed(store->engine(), 3, "ex\"ample", at_ms(1), [](uint64_t i, SeededMailbox& mailbox) {
    mailbox = a_mailbox(i);
    mailbox.device_record.sealed_push_token.assign(130, 'S');
    mailbox.key.sealed_private_key.assign(1300, 'S');
  }));
  std::string text;
  size_t lines = 0;
  ASSERT_TRUE(dump_redacted(store->engine(), [&](std::string_view line) {
    text += line;
    ++lines;
    EXPECT_TRUE(line.starts_with("{\"table\":\"") && line.ends_with("}\n")) << line;
  }));
  EXPECT_EQ(lines, 2u + 5 * 3) << "meta; user, key, device, subscription, hot of each";
  EXPECT_THAT(text, HasSubstr("\"tenant\":\"ex\\\"ample\""));
  EXPECT_THAT(text, HasSubstr("\"tokenSize\":130"));
  EXPECT_EQ(text.find("SSSS"), text.npos);
  EXPECT_EQ(text.find("mail.example.com"), text.npos);
  EXPECT_EQ(text.find(to_hex(id_of<StoredUserId>(1))), text.npos);
  EXPECT_NE(text.find(to_hex(Bytes(id_of<StoredUserId>(1)).first(6))), text.npos);
}

// Each row says: break this, and check tells.
TEST(Check, FindsEachKindOfContradiction) {
  struct Damage {
    const char* what;
    Status (*make)(WriteView& view);
  };
  static const StoredUserId user = id_of<StoredUserId>(1);
  static const CapabilityHash capability = id_of<CapabilityHash>(1);
  const Damage damages[] = {
      {"its user is missing", [](WriteView& v) { return v.erase(Table::users, user); }},
      {"lists a subscription", [](WriteView& v) { return v.erase(Table::subscriptions, capability); }},
      {"counts 1 devices, has 0",
       [](WriteView& v) { return v.erase(Table::devices, device_row(user, id_of<DeviceKey>(1))); }},
      {"device_owners does not", [](WriteView& v) { return v.erase(Table::device_owners, id_of<DeviceKey>(1)); }},
      {"leads to no device", [](WriteView& v) { return v.put(Table::device_owners, id_of<DeviceKey>(77), user); }},
      {"its key is missing", [](WriteView& v) { return v.erase(Table::key_numbers, id_of<KeyId>(1)); }},
      {"its state and key_pool", [](WriteView& v) { return v.put(Table::key_pool, Key::be64(1), Bytes()); }},
      {"leads to no key", [](WriteView& v) { return v.put(Table::key_pool, Key::be64(99), Bytes()); }},
      {"no such user", [](WriteView& v) { return v.put(Table::unused_users, Key{Key::be64(1), user}, Bytes()); }},
      {"is in use", [](WriteView& v) { return v.put(Table::free_mailboxes, Key::be32(1), Bytes()); }},
      {"leads to no tombstone",
       [](WriteView& v) { return v.put(Table::tombstone_expiry, Key{Key::be64(1), capability}, Bytes()); }},
      {"has a tombstone and lives",
       [](WriteView& v) { return save(v, Table::tombstones, capability, TombstoneRecord()); }},
      {"leads to no such token",
       [](WriteView& v) { return v.put(Table::token_ids, id_of<TokenId>(1), id_of<TokenHash>(1)); }},
      {"its id does not", [](WriteView& v) { return save(v, Table::api_tokens, id_of<TokenHash>(1), TokenRecord()); }},
      {"wrong size", [](WriteView& v) { return v.put(Table::hot, as_bytes("x"), Bytes()); }},
      {"damaged", [](WriteView& v) { return v.put(Table::hot, Key::be32(1), as_bytes("x")); }},
  };
  for (const Damage& damage : damages) {
    auto store = MemoryStore::create();
    ASSERT_TRUE(seed(store->engine(), 3, "example", at_ms(1),
                     [](uint64_t i, SeededMailbox& mailbox) { mailbox = a_mailbox(i); }));
    expect_clean(store->engine());
    ASSERT_TRUE(store->engine().write(damage.make));
    Result<CheckReport> report = check(store->engine());
    ASSERT_TRUE(report);
    EXPECT_FALSE(report->clean()) << damage.what;
    EXPECT_THAT(report->problems, testing::Contains(HasSubstr(damage.what)));
  }
}

// What a server has made ahead is for its devices: a seeded pair is of no use to them.
TEST(Seed, LeavesThePoolAlone) {
  auto store = MemoryStore::create();
  KeyRecord ahead = a_mailbox(100).key;
  ASSERT_TRUE(store->engine().write([&](WriteView& v) { return operations::add_pool_key(v, ahead); }));
  ASSERT_TRUE(seed(store->engine(), 3, "example", at_ms(1),
                   [](uint64_t i, SeededMailbox& mailbox) { mailbox = a_mailbox(i); }));
  expect_clean(store->engine());
  ASSERT_TRUE(store->engine().write([&](WriteView& v) -> Status {
    UserAndKey user;
    BH_CHECKED(operations::get_user(v, a_mailbox(1).user, "example", user));
    EXPECT_EQ(user.key.id, a_mailbox(1).key.id);
    EXPECT_EQ(user.key.user, a_mailbox(1).user);
    BH_CHECKED(operations::get_or_create_user(v, a_mailbox(200).user, "example", at_ms(2), user));
    EXPECT_EQ(user.key.id, ahead.id);
    return {};
  }));
}

TEST(Seed, RefusesAMailboxThatExists) {
  auto store = MemoryStore::create();
  auto make = [](uint64_t, SeededMailbox& mailbox) { mailbox = a_mailbox(1); };
  EXPECT_TRUE(failed_with(seed(store->engine(), 2, "example", at_ms(1), make), StoreError::conflict));
}

}  // namespace
}  // namespace bellhop::store
