// SPDX-License-Identifier: Apache-2.0
#include "service/store_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "store/error.h"

namespace bellhop::service {
namespace {

using store::StoreError;
using testing::HasSubstr;
using testing::SizeIs;

class StoreWatchTest : public testing::Test {
 protected:
  StoreWatchTest() {
    store::register_error_texts();
    LogOptions options;
    options.sink = {[](void* self, std::string_view line) {
                      static_cast<StoreWatchTest*>(self)->lines_.emplace_back(line);
                    },
                    this};
    options.wall_now = [] { return WallTime(); };
    log_ = std::make_unique<Log>(options);
    watch_ = std::make_unique<StoreWatch>(*log_, *metrics_);
  }
  void seconds_pass(int seconds) {
    for (int i = 0; i < seconds; ++i) watch_->look(health_, now_ += 1s);
  }
  void fail_one(Error error = store::store_error(StoreError::full)) {
    ++health_.failures;
    health_.failure = error;
  }

  std::vector<std::string> lines_;
  std::unique_ptr<MetricsShard> metrics_ = std::make_unique<MetricsShard>();
  std::unique_ptr<Log> log_;
  std::unique_ptr<StoreWatch> watch_;
  store::WriteHealth health_;
  Instant now_{1h};
};

TEST_F(StoreWatchTest, SaysNothingWhileAllIsWell) {
  health_.commits = 5;
  seconds_pass(3);
  health_.commits = 6;
  seconds_pass(3000);
  EXPECT_THAT(lines_, SizeIs(0));
}

TEST_F(StoreWatchTest, TellsManyFailuresOnceAndCountsThemAll) {
  for (int i = 0; i < 60; ++i) {
    fail_one();
    fail_one();
    seconds_pass(1);
  }
  ASSERT_THAT(lines_, SizeIs(1));
  EXPECT_THAT(lines_[0], HasSubstr("\"level\":\"error\""));
  EXPECT_THAT(lines_[0], HasSubstr("\"event\":\"store_refuses_writes\""));
  EXPECT_THAT(lines_[0], HasSubstr("raise store.map_size_bytes"));
  EXPECT_EQ(metrics_->value(metric::store_failures), 120u);
}

TEST_F(StoreWatchTest, RemindsWhileItLasts) {
  int minutes = int(std::chrono::duration_cast<std::chrono::minutes>(StoreWatch::kRepeat).count());
  for (int i = 0; i <= 60 * minutes; ++i) {
    fail_one();
    seconds_pass(1);
  }
  ASSERT_THAT(lines_, SizeIs(2));
  EXPECT_THAT(lines_[1], HasSubstr("\"failures\":" + std::to_string(60 * minutes)));
}

TEST_F(StoreWatchTest, TellsTheEndOnceACommitCameAndItStayedQuiet) {
  fail_one();
  seconds_pass(60);
  EXPECT_THAT(lines_, SizeIs(1)) << "nothing was tried since";
  ++health_.commits;
  seconds_pass(1);
  ASSERT_THAT(lines_, SizeIs(2));
  EXPECT_THAT(lines_[1], HasSubstr("\"event\":\"store_writes_again\""));
  ++health_.commits;
  seconds_pass(60);
  EXPECT_THAT(lines_, SizeIs(2));
  fail_one();
  seconds_pass(1);
  EXPECT_THAT(lines_, SizeIs(3)) << "a new trouble is told at once";
}

TEST_F(StoreWatchTest, DoesNotTakeASmallWriteThatFitsForTheEnd) {
  for (int i = 0; i < 100; ++i) {
    fail_one();
    ++health_.commits;
    seconds_pass(5);
  }
  EXPECT_THAT(lines_, SizeIs(1));
}

TEST(LevelOfFailure, IsLowOnlyForWhatTheWatchTells) {
  EXPECT_EQ(level_of_failure(store::store_error(StoreError::full)), LogLevel::debug);
  EXPECT_EQ(level_of_failure(store::store_error(StoreError::corrupt)), LogLevel::error);
}

}  // namespace
}  // namespace bellhop::service
