// SPDX-License-Identifier: Apache-2.0
#include <set>

#include "tests/core/sim/scenario.h"

namespace bellhop {
namespace {

using test::run_scenario;

TEST(Simulator, ASeedDoesTheSameTwice) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    std::vector<unsigned> first_order, second_order;
    sim::world().faults = sim::Faults::draw(seed);
    run_scenario(seed, &first_order);
    uint64_t hash = sim::trace_hash(), events = sim::world().events();
    Duration elapsed = sim::world().elapsed();
    sim::world().faults = sim::Faults::draw(seed);
    run_scenario(seed, &second_order);
    EXPECT_EQ(sim::trace_hash(), hash) << "seed " << seed;
    EXPECT_EQ(sim::world().events(), events) << "seed " << seed;
    EXPECT_EQ(sim::world().elapsed(), elapsed) << "seed " << seed;
    EXPECT_EQ(second_order, first_order) << "seed " << seed;
  }
}

TEST(Simulator, SeedsDiffer) {
  std::set<uint64_t> hashes;
  std::set<std::vector<unsigned>> orders;
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    std::vector<unsigned> order;
    run_scenario(seed, &order);
    hashes.insert(sim::trace_hash());
    orders.insert(order);
  }
  EXPECT_EQ(hashes.size(), 30u);
  EXPECT_GE(orders.size(), 29u);  // 36 flows end in another order with each seed
}

Task<void> draw_number(uint64_t* out) {
  *out = io::random_u64();
  co_return;
}

TEST(Simulator, WhatTheProgramDrawsIsPartOfTheSeed) {
  auto drawn = [](uint64_t seed) {
    uint64_t number = 0;
    EXPECT_TRUE(io::run_cluster(test::options_of(seed), [&](unsigned) { return draw_number(&number); }));
    return number;
  };
  uint64_t seven = drawn(7);
  EXPECT_EQ(drawn(7), seven);
  EXPECT_NE(drawn(8), seven);
}

}  // namespace
}  // namespace bellhop
