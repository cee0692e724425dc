// SPDX-License-Identifier: Apache-2.0
#include "service/ews_hosts.h"

#include "tests/ews/ews_fixture.h"

namespace bellhop::service {
namespace {

using namespace ews_test;

proto::Url url_of(size_t number) { return *proto::Url::parse("https://h" + std::to_string(number) + ".example.test/EWS"); }

Task<void> bounds_hosts(Scene& s) {
  Http1ClientOptions options;
  EwsHosts hosts(s.config, options, UpstreamRoutes(nullptr));
  std::vector<EwsHostUse> uses;
  for (size_t i = 0; i < EwsHosts::kHostsMax; ++i) {
    auto use = co_await hosts.use(*s.tenant, url_of(i));
    CO_ASSERT(use);
    uses.push_back(std::move(*use));
  }
  EXPECT_FALSE(co_await hosts.use(*s.tenant, url_of(5000)));
  auto known = co_await hosts.use(*s.tenant, url_of(7));
  CO_ASSERT(known);
  EXPECT_EQ(&**known, &*uses[7]);
  known.reset();

  // Of the unused, the one that rests goes last, though it is the oldest.
  (*uses[0]).back_off(io::now(), 1h);
  uses.clear();
  auto more = co_await hosts.use(*s.tenant, url_of(5000));
  CO_ASSERT(more);
  EXPECT_EQ(hosts.size(), EwsHosts::kHostsMax);
  auto resting = co_await hosts.use(*s.tenant, url_of(0));
  CO_ASSERT(resting);
  EXPECT_TRUE((**resting).refusal(io::now()).has_value());
  more.reset();
  resting.reset();
  co_await hosts.close();
}
TEST(EwsHosts, AreBoundedAndTheLongestUnusedMakesRoom) { run_scene(bounds_hosts); }

Task<void> separates(Scene& s) {
  Http1ClientOptions options;
  EwsHosts hosts(s.config, options, UpstreamRoutes(nullptr));
  std::unique_ptr<Tenant> other = s.make_tenant(1);
  const IpAddress private_address = IpAddress::parse("10.1.2.3").value();
  EXPECT_TRUE(other->addresses.permit(*proto::Cidr::parse("10.0.0.0/8")));
  auto one = co_await hosts.use(*s.tenant, url_of(1));
  auto same = co_await hosts.use(*s.tenant, url_of(1));
  auto foreign = co_await hosts.use(*other, url_of(1));
  auto port = co_await hosts.use(*s.tenant, *proto::Url::parse("https://h1.example.test:8443/EWS"));
  CO_ASSERT(one && same && foreign && port);
  EXPECT_EQ(&**one, &**same);
  EXPECT_NE(&**one, &**foreign);
  EXPECT_NE(&**one, &**port);
  // Each obeys its own tenant's networks, also when a reload has taken the tenant away.
  other.reset();
  EXPECT_TRUE((**foreign).pool.origin().addresses->allows(private_address));
  EXPECT_FALSE((**one).pool.origin().addresses->allows(private_address));
  one.reset(), same.reset(), foreign.reset(), port.reset();
  co_await hosts.close();
}
TEST(EwsHosts, AreKeptByTenantHostAndPort) { run_scene(separates); }

// A request that was begun before a reload may be the first to go to a host after it.
Task<void> newest_networks(Scene& s) {
  Http1ClientOptions options;
  EwsHosts hosts(s.config, options, UpstreamRoutes(nullptr));
  const IpAddress private_address = IpAddress::parse("10.1.2.3").value();
  std::unique_ptr<Tenant> before = s.make_tenant(0);
  EXPECT_TRUE(before->addresses.permit(*proto::Cidr::parse("10.0.0.0/8")));
  Config now;
  now.tenants.push_back({.id = "first"});
  auto tenants = Tenants::make(now);
  CO_ASSERT(tenants);
  CO_ASSERT(tenants->all()[0].number == before->number);
  hosts.renew(UpstreamRoutes(nullptr), *tenants);
  auto use = co_await hosts.use(*before, url_of(1));
  CO_ASSERT(use);
  EXPECT_FALSE((**use).pool.origin().addresses->allows(private_address));
  use.reset();
  // A tenant that came after that reload brings its own.
  std::unique_ptr<Tenant> later = s.make_tenant(7);
  EXPECT_TRUE(later->addresses.permit(*proto::Cidr::parse("10.0.0.0/8")));
  auto other = co_await hosts.use(*later, url_of(1));
  CO_ASSERT(other);
  EXPECT_TRUE((**other).pool.origin().addresses->allows(private_address));
  other.reset();
  co_await hosts.close();
}
TEST(EwsHosts, ANewHostObeysTheNewestNetworksOfItsTenant) { run_scene(newest_networks); }

Task<void> keeps_longest(Scene& s) {
  Http1ClientOptions options;
  EwsHosts hosts(s.config, options, UpstreamRoutes(nullptr));
  auto use = co_await hosts.use(*s.tenant, url_of(1));
  CO_ASSERT(use);
  EwsHost& host = **use;
  Instant now = io::now();
  host.back_off(now, 10s);
  host.back_off(now, 1s);
  EXPECT_EQ(host.back_off_until, now + 10s);
  auto refusal = host.refusal(now + 4s);
  CO_ASSERT(refusal);
  EXPECT_EQ(refusal->failure.retry_after, Duration(6s));
  EXPECT_FALSE(host.refusal(now + 10s));
  use.reset();
  co_await hosts.close();
}
TEST(EwsHosts, AShorterBackOffDoesNotEndALongerOne) { run_scene(keeps_longest); }

TEST(EwsMailboxes, AnEntryLivesAsLongAsItsUsers) {
  EwsMailboxes mailboxes(2);
  {
    EwsMailboxes::Use one(mailboxes, 0, 7), same(mailboxes, 0, 7), other_tenant(mailboxes, 1, 7), other(mailboxes, 0, 8);
    EXPECT_EQ(mailboxes.size(), 3u);
    EXPECT_EQ(&one.requests(), &same.requests());
    EXPECT_NE(&one.requests(), &other_tenant.requests());
    EXPECT_EQ(one.requests().available(), 2u);
  }
  EXPECT_EQ(mailboxes.size(), 0u);
}

}  // namespace
}  // namespace bellhop::service
