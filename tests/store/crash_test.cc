// SPDX-License-Identifier: Apache-2.0
// A process that writes is killed again and again; what it had acknowledged must be there.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/store/support.h"

namespace bellhop::store {
namespace {

constexpr int kKills = 20;
constexpr uint64_t kNumbersPerRound = 100'000;

int acknowledgements = -1;  // write end of the pipe, in the child
uint64_t first_number = 0;

Task<void> register_one(TableStore* store, uint64_t number) {
  KeyRecord key = a_key(number);
  EXPECT_TRUE(co_await store->add_pool_key(key));
  EXPECT_TRUE(co_await store->get_or_create_user(id_of<StoredUserId>(number), "example", at_ms(1)));
  Registration registration = a_registration(number, number, number);
  // Which key the user got depends on the order; the store knows.
  EXPECT_TRUE(co_await store->register_device(registration));
  if (number % 3 == 0)
    EXPECT_TRUE(co_await store->end_subscription(id_of<CapabilityHash>(number), {.expires = at_ms(9)}));
  EXPECT_EQ(write(acknowledgements, &number, sizeof number), ssize_t(sizeof number));
}

Task<void> register_until_killed(TableStore& store, unsigned) {
  TaskScope scope(&co_await current_context());
  for (uint64_t number = first_number;; ++number) {
    while (scope.live() >= 30) co_await yield_now();
    scope.spawn(register_one(&store, number));
  }
}

// Starts a writer and kills it after `acknowledged` registrations. All that it acknowledged until its death.
std::vector<uint64_t> run_and_kill(const std::string& file, size_t acknowledged) {
  int ends[2];
  BH_CHECK(pipe(ends) == 0);
  pid_t child = fork();
  BH_CHECK(child >= 0);
  if (child == 0) {
    close(ends[0]);
    acknowledgements = ends[1];
    auto store = open_or_die(file);
    run(*store, &register_until_killed);
    _exit(1);
  }
  close(ends[1]);
  std::vector<uint64_t> numbers;
  uint64_t number = 0;
  while (read(ends[0], &number, sizeof number) == ssize_t(sizeof number)) {
    numbers.push_back(number);
    if (numbers.size() == acknowledged) kill(child, SIGKILL);
  }
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  return numbers;
}

TEST(Crash, KilledWritersLeaveACleanStoreWithAllThatTheyAcknowledged) {
  TestFolder folder;
  size_t total = 0;
  for (int round = 0; round < kKills; ++round) {
    first_number = uint64_t(round) * kNumbersPerRound;
    std::vector<uint64_t> numbers = run_and_kill(folder.file(), size_t(5 + 13 * round));
    ASSERT_GE(numbers.size(), size_t(5 + 13 * round));
    auto store = open_or_die(folder.file());
    expect_clean(store->engine());
    ASSERT_TRUE(store->engine().read([&](ReadView& view) -> Status {
      for (uint64_t number : numbers) {
        BH_TRY(std::optional<Bytes> user, view.get(Table::users, id_of<StoredUserId>(number)));
        BH_TRY(std::optional<Bytes> owner, view.get(Table::device_owners, id_of<DeviceKey>(number)));
        Table table = number % 3 == 0 ? Table::tombstones : Table::subscriptions;
        BH_TRY(std::optional<Bytes> capability, view.get(table, id_of<CapabilityHash>(number)));
        EXPECT_TRUE(user && owner && capability) << number;
      }
      return {};
    }));
    total += numbers.size();
  }
  std::printf("%d writers killed, %zu acknowledged registrations all present\n", kKills, total);
}

}  // namespace
}  // namespace bellhop::store
