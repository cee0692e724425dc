// SPDX-License-Identifier: Apache-2.0
#pragma once

// Suites whose tests run against each kind of store:
//
//   class AnyStore : public EachStore {};
//   EACH_STORE(AnyStore);
//   EACH_STORE_TEST(AnyStore, does_something) { EXPECT_TRUE(co_await store.…); }

#include <gtest/gtest.h>

#include <memory>

#include "tests/store/support.h"

namespace bellhop::store {

enum class Backend { memory, lmdb };

// Runs a flow on a store of its own, which must be sound afterwards.
class EachStore : public testing::TestWithParam<Backend> {
 protected:
  void run(StoreFlow flow) {
    std::unique_ptr<TableStore> store;
    if (GetParam() == Backend::memory) {
      store = MemoryStore::create();
    } else {
      store = open_or_die(folder_.file());
    }
    store::run(*store, flow);
    expect_clean(store->engine());
  }

 private:
  TestFolder folder_;
};

#define EACH_STORE(suite)                                                                 \
  INSTANTIATE_TEST_SUITE_P(Store, suite, testing::Values(Backend::memory, Backend::lmdb), \
                           [](const auto& test) { return test.param == Backend::memory ? "memory" : "lmdb"; })

#define EACH_STORE_TEST(suite, name)                               \
  static Task<void> name##_flow(TableStore& store, unsigned core); \
  TEST_P(suite, name) {                                            \
    run(&name##_flow);                                             \
  }                                                                \
  static Task<void> name##_flow(TableStore& store, [[maybe_unused]] unsigned core)

}  // namespace bellhop::store
