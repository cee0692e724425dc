// SPDX-License-Identifier: Apache-2.0
#include "service/generation.h"

#include <gtest/gtest.h>

#include <optional>

namespace bellhop::service {
namespace {

std::shared_ptr<const Generation> make(uint64_t number, std::vector<std::string> tenants = {},
                                       const Tenants* before = nullptr) {
  Config config;
  for (std::string& id : tenants) config.tenants.push_back({.id = std::move(id)});
  auto made = Tenants::make(config, before);
  EXPECT_TRUE(made);
  return std::make_shared<const Generation>(number, config, *std::move(made));
}

void follow(GenerationSlot& slot, std::shared_ptr<const Generation> next) {
  slot.share()->set_next(next);
  slot.become(std::move(next));
}

TEST(GenerationTest, AnOldOneIsFreedWhenItsLastPinIsGone) {
  size_t before = Generation::alive();
  {
    GenerationSlot slot(make(1));
    std::optional<GenerationSlot::Pin> one(slot), two(slot);
    follow(slot, make(2));
    EXPECT_EQ(slot.now().number, 2u);
    EXPECT_EQ(Generation::alive(), before + 2);
    one.reset();
    EXPECT_EQ(Generation::alive(), before + 2);
    two.reset();
    EXPECT_EQ(Generation::alive(), before + 1);
  }
  EXPECT_EQ(Generation::alive(), before);
}

TEST(GenerationTest, APinKeepsAllThatCameAfterIt) {
  size_t before = Generation::alive();
  GenerationSlot slot(make(1));
  std::optional<GenerationSlot::Pin> oldest(slot);
  follow(slot, make(2, {"two"}));
  const Tenant* found = slot.now().tenants.find("two");  // looked at by the flow of `oldest`
  follow(slot, make(3));
  EXPECT_EQ(Generation::alive(), before + 3);
  EXPECT_EQ(found->config.id, "two");
  oldest.reset();
  EXPECT_EQ(Generation::alive(), before + 1);
}

TEST(GenerationTest, ALongChainEndsWithoutADeepStack) {
  size_t before = Generation::alive();
  {
    GenerationSlot slot(make(1));
    GenerationSlot::Pin oldest(slot);
    for (uint64_t number = 2; number <= 20'000; ++number) follow(slot, make(number));
    EXPECT_EQ(Generation::alive(), before + 20'000);
  }
  EXPECT_EQ(Generation::alive(), before);
}

TEST(GenerationTest, TenantsKeepTheirNumbersAndNoNumberComesBack) {
  auto first = make(1, {"a", "b"});
  auto second = make(2, {"c", "b"}, &first->tenants);
  auto third = make(3, {"d", "a", "b"}, &second->tenants);
  EXPECT_EQ(first->tenants.find("a")->number, 0u);
  EXPECT_EQ(first->tenants.find("b")->number, 1u);
  EXPECT_EQ(second->tenants.find("b")->number, 1u);
  EXPECT_EQ(second->tenants.find("c")->number, 2u);
  EXPECT_EQ(second->tenants.find("a"), nullptr);
  EXPECT_EQ(third->tenants.find("b")->number, 1u);
  EXPECT_EQ(third->tenants.find("d")->number, 3u);
  EXPECT_EQ(third->tenants.find("a")->number, 4u) << "what was kept under 0 is not its own any more";
}

}  // namespace
}  // namespace bellhop::service
