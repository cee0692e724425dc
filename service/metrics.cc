// SPDX-License-Identifier: Apache-2.0
#include "service/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>

namespace bellhop::service {
namespace {

using Shards = std::span<const MetricsShard* const>;

static_assert(histogram_bound(histogram_bucket(uint64_t{1} << 37)) == uint64_t{1} << 37);
static_assert(histogram_bucket(~uint64_t{0}) == kHistogramBuckets - 1);

uint64_t sum_of(Shards shards, size_t cell) {
  uint64_t sum = 0;
  for (const MetricsShard* shard : shards) sum += shard->read(cell);
  return sum;
}

uint64_t largest_of(Shards shards, size_t cell) {
  uint64_t largest = 0;
  for (const MetricsShard* shard : shards) largest = std::max(largest, shard->read(cell));
  return largest;
}

HistogramSnapshot histogram_at(Shards shards, size_t series) {
  HistogramSnapshot snapshot;
  snapshot.sum = sum_of(shards, series);
  for (size_t i = 0; i < kHistogramBuckets; ++i) {
    snapshot.buckets[i] = sum_of(shards, series + 1 + i);
    snapshot.count += snapshot.buckets[i];
  }
  return snapshot;
}

// The sum of a histogram is wide; 2^53 ns are 104 days, beyond which a double loses single nanoseconds only.
std::string exposed_number(uint64_t value, MetricUnit unit) {
  return unit == MetricUnit::nanoseconds ? fmt::format("{}", static_cast<double>(value) / 1e9)
                                         : fmt::format("{}", value);
}

std::string_view type_text(MetricType type) {
  switch (type) {
    case MetricType::counter: return "counter";
    case MetricType::gauge:
    case MetricType::gauge_longest: return "gauge";
    case MetricType::histogram: return "histogram";
  }
  check_failed("a metric type of the list", __FILE__, __LINE__);
}

void render_histogram(const MetricFamily& family, std::string_view label_value, const HistogramSnapshot& histogram,
                      std::string& out) {
  auto to = std::back_inserter(out);
  std::string label = family.label_name.empty() ? "" : fmt::format("{}=\"{}\"", family.label_name, label_value);
  std::string_view comma = label.empty() ? "" : ",";
  uint64_t below = 0;
  size_t bucket = 0;
  for (unsigned power = family.first_power; power <= family.last_power; ++power) {
    uint64_t bound = uint64_t{1} << power;
    for (; bucket < kHistogramBuckets && histogram_bound(bucket) <= bound; ++bucket) below += histogram.buckets[bucket];
    fmt::format_to(to, "{}_bucket{{{}{}le=\"{}\"}} {}\n", family.name, label, comma,
                   exposed_number(bound, family.unit), below);
  }
  fmt::format_to(to, "{}_bucket{{{}{}le=\"+Inf\"}} {}\n", family.name, label, comma, histogram.count);
  std::string braces = label.empty() ? "" : "{" + label + "}";
  fmt::format_to(to, "{}_sum{} {}\n", family.name, braces, exposed_number(histogram.sum, family.unit));
  fmt::format_to(to, "{}_count{} {}\n", family.name, braces, histogram.count);
}

}  // namespace

uint64_t HistogramSnapshot::quantile(double quantile) const {
  if (count == 0) return 0;
  double share = std::clamp(quantile, 0.0, 1.0);
  uint64_t rank = std::max<uint64_t>(1, static_cast<uint64_t>(std::ceil(share * static_cast<double>(count))));
  uint64_t below = 0;
  for (size_t i = 0; i < kHistogramBuckets; ++i) {
    below += buckets[i];
    if (below >= rank) return histogram_bound(i);
  }
  return histogram_bound(kHistogramBuckets - 1);
}

HistogramSnapshot histogram_snapshot(Shards shards, MetricId<MetricType::histogram, void> id) {
  return histogram_at(shards, id.first_cell);
}

HistogramSnapshot histogram_snapshot(Shards shards, MetricId<MetricType::histogram, Stage> id, Stage stage) {
  return histogram_at(shards, id.first_cell + static_cast<size_t>(stage) * (1 + kHistogramBuckets));
}

void render_prometheus(Shards shards, std::string& out) {
  auto to = std::back_inserter(out);
  size_t cell = 0;
  for (const MetricFamily& family : kMetricFamilies) {
    fmt::format_to(to, "# HELP {} {}\n# TYPE {} {}\n", family.name, family.help, family.name, type_text(family.type));
    for (std::string_view label_value : family.label_values) {
      if (family.type == MetricType::histogram) {
        render_histogram(family, label_value, histogram_at(shards, cell), out);
      } else {
        bool longest = family.type == MetricType::gauge_longest;
        uint64_t value = longest ? largest_of(shards, cell) : sum_of(shards, cell);
        std::string label =
            family.label_name.empty() ? "" : fmt::format("{{{}=\"{}\"}}", family.label_name, label_value);
        fmt::format_to(to, "{}{} {}\n", family.name, label, exposed_number(value, family.unit));
      }
      cell += detail::cells_of_series(family);
    }
  }
  BH_CHECK(cell == kMetricCells);
}

}  // namespace bellhop::service
