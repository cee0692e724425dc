// SPDX-License-Identifier: Apache-2.0
#include "service/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <set>
#include <sstream>
#include <thread>

namespace bellhop::service {
namespace {

using testing::HasSubstr;

std::unique_ptr<MetricsShard> new_shard() { return std::make_unique<MetricsShard>(); }

std::string rendered(std::initializer_list<const MetricsShard*> shards) {
  std::string out;
  render_prometheus(std::vector<const MetricsShard*>(shards), out);
  return out;
}

TEST(Histogram, ABucketHoldsValuesUpToItsBound) {
  for (size_t bucket = 0; bucket + 1 < kHistogramBuckets; ++bucket) {
    uint64_t bound = histogram_bound(bucket);
    EXPECT_EQ(histogram_bucket(bound), bucket);
    EXPECT_EQ(histogram_bucket(bound + 1), bucket + 1);
    EXPECT_LT(bound, histogram_bound(bucket + 1));
  }
  EXPECT_EQ(histogram_bucket(0), 0u);
}

TEST(Histogram, ABucketIsAtMostAnEighthWide) {
  for (size_t bucket = 8; bucket < kHistogramBuckets; ++bucket) {
    uint64_t lower = histogram_bound(bucket - 1), upper = histogram_bound(bucket);
    EXPECT_LE(upper - lower, lower / 8 + 1);
  }
}

TEST(Histogram, PowersOfTwoAreBoundsSoThatTheExpositionIsExact) {
  for (unsigned power = 0; power <= 37; ++power) {
    uint64_t value = uint64_t{1} << power;
    EXPECT_EQ(histogram_bound(histogram_bucket(value)), value);
  }
}

TEST(Histogram, QuantilesAreWithinABucketOfTheTruth) {
  auto shard = new_shard();
  std::mt19937_64 random(3);
  std::vector<uint64_t> values;
  for (int i = 0; i < 10'000; ++i) {
    values.push_back(random() % 50'000'000 + 1);
    shard->observe(metric::stage_time, Stage::fetch, Duration(values.back()));
  }
  std::sort(values.begin(), values.end());
  const MetricsShard* shards[] = {shard.get()};
  HistogramSnapshot snapshot = histogram_snapshot(shards, metric::stage_time, Stage::fetch);
  EXPECT_EQ(snapshot.count, 10'000u);
  for (double quantile : {0.01, 0.5, 0.9, 0.99, 1.0}) {
    uint64_t truth = values[static_cast<size_t>(quantile * 10'000) - 1];
    EXPECT_GE(snapshot.quantile(quantile), truth);
    EXPECT_LE(snapshot.quantile(quantile), truth + truth / 8 + 1);
  }
  EXPECT_EQ(histogram_snapshot(shards, metric::stage_time, Stage::push).count, 0u);
  EXPECT_EQ(HistogramSnapshot{}.quantile(0.5), 0u);
}

TEST(Histogram, ExtremeValuesStayInside) {
  auto shard = new_shard();
  shard->observe(metric::stage_time, Stage::total, Duration(-5));
  shard->observe(metric::stage_time, Stage::total, Duration::max());
  const MetricsShard* shards[] = {shard.get()};
  HistogramSnapshot snapshot = histogram_snapshot(shards, metric::stage_time, Stage::total);
  EXPECT_EQ(snapshot.buckets.front(), 1u);
  EXPECT_EQ(snapshot.buckets.back(), 1u);
}

TEST(Metrics, EachSeriesHasACellOfItsOwn) {
  // Set every cell through the exposition order: no two families overlap, and the last one ends at the end.
  size_t cell = 0;
  std::set<std::string_view> names;
  for (size_t i = 0; i < kMetricFamilies.size(); ++i) {
    EXPECT_EQ(detail::first_cell_of(i), cell);
    cell += detail::cells_of_series(kMetricFamilies[i]) * kMetricFamilies[i].label_values.size();
    EXPECT_TRUE(names.insert(kMetricFamilies[i].name).second);
  }
  EXPECT_EQ(cell, kMetricCells);
}

TEST(Metrics, NamesFollowTheRulesOfPrometheus) {
  for (const MetricFamily& family : kMetricFamilies) {
    EXPECT_TRUE(family.name.starts_with("bellhop_")) << family.name;
    EXPECT_EQ(family.name.ends_with("_total"), family.type == MetricType::counter) << family.name;
    // A duration is stored in nanoseconds; a moment is a gauge of Unix time, in whole seconds.
    bool moment = family.name.ends_with("_timestamp_seconds") || family.name.ends_with("_expiry_seconds");
    bool duration = family.name.ends_with("_seconds") || family.name.ends_with("_seconds_total");
    EXPECT_EQ(duration && !moment, family.unit == MetricUnit::nanoseconds) << family.name;
    EXPECT_TRUE(!moment || (family.type == MetricType::gauge && family.unit == MetricUnit::count)) << family.name;
    EXPECT_EQ(family.name.ends_with("_bytes"), family.unit == MetricUnit::bytes) << family.name;
    EXPECT_TRUE(family.help.ends_with('.')) << family.name;
    EXPECT_EQ(family.help.find_first_of("\\\n"), std::string_view::npos) << family.name;
    EXPECT_LE(family.label_values.size(), 32u) << family.name;
  }
}

TEST(Metrics, CountersGaugesAndLongestAddUpOverTheCores) {
  auto first = new_shard(), second = new_shard();
  first->add(metric::callbacks, CallbackOutcome::ok, 2);
  second->add(metric::callbacks, CallbackOutcome::ok, 3);
  second->add(metric::callbacks, CallbackOutcome::refused_draining);
  first->raise(metric::devices, 10);
  second->lower(metric::devices, 4);  // one core lowers what another raised
  first->set(metric::subscriptions, SubscriptionState::alive, 7);
  first->observe_longest(metric::loop_turn_longest, 2ms);
  first->observe_longest(metric::loop_turn_longest, 1ms);
  second->observe_longest(metric::loop_turn_longest, 5ms);
  std::string text = rendered({first.get(), second.get()});
  EXPECT_THAT(text, HasSubstr("# HELP bellhop_callbacks_total Callbacks of Exchange, by how they were answered.\n"
                              "# TYPE bellhop_callbacks_total counter\n"
                              "bellhop_callbacks_total{outcome=\"ok\"} 5\n"));
  EXPECT_THAT(text, HasSubstr("bellhop_callbacks_total{outcome=\"refused.draining\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("\nbellhop_devices 6\n"));
  EXPECT_THAT(text, HasSubstr("bellhop_subscriptions{state=\"alive\"} 7\n"));
  EXPECT_THAT(text, HasSubstr("# TYPE bellhop_loop_turn_longest_seconds gauge\nbellhop_loop_turn_longest_seconds 0.005\n"));
}

TEST(Metrics, HistogramsAreCumulativeInSeconds) {
  auto shard = new_shard();
  shard->observe(metric::stage_time, Stage::push, Duration(8'192));
  shard->observe(metric::stage_time, Stage::push, Duration(8'193));
  shard->observe(metric::stage_time, Stage::push, 100s);
  std::string text = rendered({shard.get()});
  EXPECT_THAT(text, HasSubstr("bellhop_stage_seconds_bucket{stage=\"push\",le=\"8.192e-06\"} 1\n"
                              "bellhop_stage_seconds_bucket{stage=\"push\",le=\"1.6384e-05\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("bellhop_stage_seconds_bucket{stage=\"push\",le=\"34.359738368\"} 2\n"
                              "bellhop_stage_seconds_bucket{stage=\"push\",le=\"+Inf\"} 3\n"
                              "bellhop_stage_seconds_sum{stage=\"push\"} 100.000016385\n"
                              "bellhop_stage_seconds_count{stage=\"push\"} 3\n"));
}

TEST(Metrics, BatchSizesAreCounts) {
  auto shard = new_shard();
  for (uint64_t size : {1, 8, 8, 3}) shard->observe(metric::rsa_batch_size, size);
  EXPECT_THAT(rendered({shard.get()}),
              HasSubstr("# TYPE bellhop_rsa_batch_size histogram\n"
                        "bellhop_rsa_batch_size_bucket{le=\"1\"} 1\n"
                        "bellhop_rsa_batch_size_bucket{le=\"2\"} 1\n"
                        "bellhop_rsa_batch_size_bucket{le=\"4\"} 2\n"
                        "bellhop_rsa_batch_size_bucket{le=\"8\"} 4\n"
                        "bellhop_rsa_batch_size_bucket{le=\"+Inf\"} 4\n"
                        "bellhop_rsa_batch_size_sum 20\n"
                        "bellhop_rsa_batch_size_count 4\n"));
}

TEST(Metrics, EveryLineOfTheExpositionIsWellFormed) {
  auto shard = new_shard();
  std::istringstream lines(rendered({shard.get()}));
  std::set<std::string> series;
  size_t count = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    if (line.starts_with("# HELP ") || line.starts_with("# TYPE ")) continue;
    size_t space = line.rfind(' ');
    ASSERT_NE(space, std::string::npos) << line;
    EXPECT_TRUE(series.insert(line.substr(0, space)).second) << line;
    EXPECT_EQ(line.substr(space + 1), "0") << line;
    std::string name = line.substr(0, line.find_first_of("{ "));
    EXPECT_TRUE(std::all_of(name.begin(), name.end(), [](char c) { return (c >= 'a' && c <= 'z') || c == '_'; })) << line;
  }
  EXPECT_GT(count, 200u);
}

TEST(Metrics, AnotherThreadReadsWholeNumbersWhileTheCoreCounts) {
  auto shard = new_shard();
  constexpr uint64_t kStep = 0x1'0000'0001;  // torn halves would differ
  std::atomic<bool> done = false;
  std::thread writer([&] {
    for (int i = 0; i < 200'000; ++i) shard->add(metric::loop_turns, kStep);
    done.store(true);
  });
  uint64_t last = 0;
  do {
    uint64_t value = shard->value(metric::loop_turns);
    EXPECT_GE(value, last);
    EXPECT_EQ(value >> 32, value & 0xffff'ffff);
    last = value;
  } while (!done.load());
  writer.join();
  EXPECT_EQ(shard->value(metric::loop_turns), kStep * 200'000);
}

TEST(MetricsDeath, AnEnumeratorOutsideItsListIsABug) {
  auto shard = new_shard();
  EXPECT_DEATH(shard->add(metric::callbacks, static_cast<CallbackOutcome>(kCallbackOutcomes)), "check failed");
}

}  // namespace
}  // namespace bellhop::service
