// SPDX-License-Identifier: Apache-2.0
#include "service/accepted_connections.h"

#include <gtest/gtest.h>

namespace bellhop::service {
namespace {

Config config_of(std::vector<std::string> roles) {
  Config config;
  config.roles = std::move(roles);
  config.listen_public.connections_max = 1'000;
  config.listen_gateway.connections_max = 60'000;
  config.listen_admin.connections_max = 64;
  return config;
}

TEST(AcceptedConnections, AreThoseOfTheListenersThatTheRolesName) {
  uint32_t rest = accepted_connections_max(config_of({"public"}), 1) - 1'000;
  EXPECT_EQ(accepted_connections_max(config_of({"gateway"}), 1), rest + 60'000);
  EXPECT_EQ(accepted_connections_max(config_of({"public", "gateway"}), 1), rest + 61'000);
  // Both admin listeners stand on one core, and some more connections are accepted to be closed.
  EXPECT_GT(rest, 2 * 64u);
  Config more = config_of({"public"});
  more.listen_admin.connections_max = 10'000;
  EXPECT_EQ(accepted_connections_max(more, 1), 1'000 + rest + 2 * (10'000 - 64u));
}

TEST(AcceptedConnections, OfACoreAreItsPart) {
  uint32_t rest = accepted_connections_max(config_of({"public"}), 1) - 1'000;
  EXPECT_EQ(accepted_connections_max(config_of({"public", "gateway"}), 4), rest + 250 + 15'000);
  // A core has one of each at least.
  EXPECT_EQ(accepted_connections_max(config_of({"public"}), 2'000), rest + 1);
}

TEST(AcceptedConnections, OfTheLargestConfigurationAreCounted) {
  Config config = config_of({"public", "gateway"});
  config.listen_public.connections_max = config.listen_gateway.connections_max = 10'000'000;
  config.listen_admin.connections_max = 10'000;
  EXPECT_GT(accepted_connections_max(config, 1), 20'020'000u);
}

}  // namespace
}  // namespace bellhop::service
