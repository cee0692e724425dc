// SPDX-License-Identifier: Apache-2.0
// The source of kind uem against the UEM stand-in. Runs on both back ends.
#include "service/uem_source.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/sleep.h"
#include "core/tls/error.h"
#include "proto/error_texts.h"
#include "service/error_texts.h"
#include "service/policy_config_rules.h"
#include "service/uem_sources.h"
#include "store/memory/memory_store.h"
#include "tests/core/run.h"
#include "tests/core/until.h"
#include "tools/standin/identity.h"
#include "tools/standin/uem.h"

namespace bellhop::service {
namespace {

using standin::Uem;
using standin::UemDevices;
using standin::UemFaultKind;
using testing::HasSubstr;

constexpr std::string_view kTenant = "demo";

struct Texts : testing::Environment {
  void SetUp() override {
    register_tls_error_texts();
    proto::register_error_texts();
    register_error_texts();
  }
};
[[maybe_unused]] const auto* const texts = testing::AddGlobalTestEnvironment(new Texts);

// The stand-in, and the data of one tenant.
struct Scene {
  Scene()
      : log({.sink = {&Scene::keep, this},
             .wall_now = &io::wall_now,
             .metrics = &metrics,
             .level = LogLevel::debug,
             .lines_per_event_per_second_max = 100'000}) {}

  Task<bool> start(standin::UemOptions uem_options, UemSourceOptions wished = {}) {
    set_tls_clock(&io::wall_now);
    auto identity = standin::make_identity({"localhost"}, {"127.0.0.1"}, io::wall_now());
    BH_CHECK(identity);
    ca_pem = identity->authority.chain_pem;
    uem_options.listen = *SocketAddress::parse("127.0.0.1:0");
    uem_options.certificate_pem = identity->standin.chain_pem;
    uem_options.key_pem = identity->standin.key_pem;
    uem_options.name = "127.0.0.1";
    std::string complaint;
    auto made = Uem::make(std::move(uem_options), complaint);
    EXPECT_TRUE(made) << complaint;
    if (!made) co_return false;
    uem = *std::move(made);
    serving.spawn(uem->run());
    store = store::MemoryStore::create();
    keyring = crypto::Keyring::parse(crypto::make_keyring()).value();
    auto opened = co_await Vault::open(*keyring, *store);
    BH_CHECK(opened);
    vault.emplace(*std::move(opened));
    compliance.emplace(*store, *vault);
    compliance->set_tenants({std::string(kTenant)});
    EXPECT_TRUE(co_await compliance->load());
    options = std::move(wished);
    options.tenant = kTenant;
    options.url = proto::Url::parse(uem->url()).value();
    if (options.delta_interval == UemSourceOptions().delta_interval) options.delta_interval = 20ms;
    co_return true;
  }
  UpstreamRoutes routes() const {
    TlsFile file{"ca", ca_pem};
    std::string complaint;
    auto authorities = TlsAuthorities::parse({&file, 1}, complaint);
    BH_CHECK(authorities);
    auto tls = TlsContext::client({.authorities = *authorities, .pins = {}, .alpn = {"http/1.1"}}, complaint);
    BH_CHECK(tls);
    return *tls;
  }
  void begin() {
    source.emplace(options, routes(), *compliance, metrics, log);
    running.spawn(source->run());
  }
  Task<void> stop() {
    running.request_stop();
    co_await running.join();
    co_await uem->stop();
    co_await serving.join();
    EXPECT_TRUE(co_await store->leave_core());
  }

  static void keep(void* context, std::string_view line) {
    auto* scene = static_cast<Scene*>(context);
    scene->lines.emplace_back(line);
    scene->changed.set();
  }
  size_t pulls(UemPull result) const { return metrics.value(metric::uem_pulls, result); }
  // Until the source was asked `more` times with this result.
  Task<bool> wait(UemPull result, size_t more = 1) {
    size_t wanted = pulls(result) + more;
    bool came = (co_await test::until(changed, [&] { return pulls(result) >= wanted; })).has_value();
    EXPECT_TRUE(came) << lines.size() << " lines, the last: " << (lines.empty() ? "" : lines.back());
    co_return came;
  }
  std::optional<DeviceFacts> facts(std::string_view device) const {
    DeviceFacts found;
    if (!compliance->find(kTenant, compliance_key(device), found)) return std::nullopt;
    return found;
  }
  SourceReport report() const { return compliance->source(kTenant); }
  void fault(UemFaultKind kind, uint64_t count = 1) { EXPECT_TRUE(uem->add_fault({.kind = kind, .count = count})); }

  std::vector<std::string> lines;
  Event changed;
  MetricsShard metrics;
  Log log;
  std::string ca_pem;
  std::unique_ptr<Uem> uem;
  std::unique_ptr<store::MemoryStore> store;
  std::optional<crypto::Keyring> keyring;
  std::optional<Vault> vault;
  std::optional<Compliance> compliance;
  UemSourceOptions options;
  std::optional<UemSource> source;
  TaskScope serving{nullptr}, running{nullptr};
};

std::string device(std::string_view id, std::string_view more = "") {
  return fmt::format(R"({{"deviceId":"{}","managed":true{}}})", id, more);
}

Task<void> bulk_then_changes(unsigned) {
  Scene s;
  CO_ASSERT(co_await s.start({.devices = 2'345, .users = 100, .page_lines = 100}));
  s.begin();
  CO_ASSERT(co_await s.wait(UemPull::bulk));
  EXPECT_EQ(s.compliance->counts(kTenant).names, 2'345u);
  EXPECT_EQ(s.uem->devices().books.bulks, 1u);
  EXPECT_EQ(s.uem->devices().books.requests, 24u) << "pages of a hundred";
  EXPECT_EQ(s.report().kind, SourceKind::uem);
  EXPECT_EQ(s.report().state, SourceState::fresh);
  CO_ASSERT(s.facts(UemDevices::made_up_id(2'345)));
  EXPECT_EQ(s.facts(UemDevices::made_up_id(2'345))->managed, Known::yes);

  uint64_t seen = s.compliance->changes();
  s.uem->devices().put(UemDevices::made_up_id(7), device(UemDevices::made_up_id(7), R"(,"compromised":true)"));
  s.uem->devices().put("new", device("new"));
  CO_ASSERT(s.uem->devices().remove(UemDevices::made_up_id(8)));
  CO_ASSERT(co_await s.wait(UemPull::delta, 2));  // one may have been under way
  EXPECT_EQ(s.facts(UemDevices::made_up_id(7))->compromised, Known::yes);
  EXPECT_TRUE(s.facts("new"));
  EXPECT_FALSE(s.facts(UemDevices::made_up_id(8)));
  EXPECT_GT(s.compliance->changes(), seen) << "whoever waits hears of it";
  EXPECT_EQ(s.uem->devices().books.bulks, 1u) << "only what has changed was asked for";
  EXPECT_EQ(s.uem->devices().books.lines, 2'345u + 3u);
  // Pages of changes.
  for (int i = 0; i < 250; ++i) s.uem->devices().put(fmt::format("many-{}", i), device(fmt::format("many-{}", i)));
  CO_ASSERT(co_await s.wait(UemPull::delta, 2));
  EXPECT_EQ(s.compliance->counts(kTenant).names, 2'345u + 250u);
  co_await s.stop();
}
TEST(UemSource, ReadsAllDevicesInPagesAndThenWhatHasChanged) { test::run_on_cores(1, bulk_then_changes); }

Task<void> wiped(unsigned) {
  Scene s;
  CO_ASSERT(co_await s.start({.devices = 3}));
  s.uem->devices().put("lost", device("lost", R"(,"wiped":true)"));
  s.begin();
  CO_ASSERT(co_await s.wait(UemPull::bulk));
  EXPECT_EQ(s.compliance->hold(kTenant, compliance_key("lost")), ComplianceHold::wiped);
  EXPECT_EQ(s.compliance->take_wipes().size(), 1u) << "for whoever removes the device from bellhop";
  s.uem->devices().put("stolen", device("stolen", R"(,"wiped":true)"));
  CO_ASSERT(co_await s.wait(UemPull::delta, 2));
  EXPECT_EQ(s.compliance->hold(kTenant, compliance_key("stolen")), ComplianceHold::wiped);
  EXPECT_EQ(s.compliance->take_wipes().size(), 1u);
  co_await s.stop();
}
TEST(UemSource, KeepsOutWhatItCallsWipedAndTellsOfItOnce) { test::run_on_cores(1, wiped); }

// Whatever is wrong with an answer, what is known stays, the state says it, and the source is asked again.
Task<void> troubles(unsigned) {
  Scene s;
  CO_ASSERT(co_await s.start({.devices = 10}, {.page_timeout = 2s, .page_bytes_max = 1 << 20, .retry_first = 5ms, .retry_max = 40ms}));
  s.begin();
  CO_ASSERT(co_await s.wait(UemPull::bulk));
  struct Case {
    UemFaultKind kind;
    SourceState state;
    std::string_view words;
  };
  for (auto [kind, state, words] :
       {Case{UemFaultKind::unauthorized, SourceState::broken, "answered 401"},
        Case{UemFaultKind::throttled, SourceState::unreachable, "answered 429"},
        Case{UemFaultKind::unavailable, SourceState::unreachable, "answered 503"},
        Case{UemFaultKind::html, SourceState::broken, "does not end with a line"},
        Case{UemFaultKind::garbage, SourceState::broken, "deviceId"},
        Case{UemFaultKind::oversized, SourceState::broken, "more than 1048576 bytes"},
        Case{UemFaultKind::redirect, SourceState::broken, "redirects are not followed"},
        Case{UemFaultKind::stall, SourceState::unreachable, "could not be asked"},
        Case{UemFaultKind::drop, SourceState::unreachable, "could not be asked"}}) {
    UemPull result = state == SourceState::broken ? UemPull::broken : UemPull::unreachable;
    s.fault(kind, 0);  // until it is cleared
    CO_ASSERT(co_await s.wait(result));
    EXPECT_EQ(s.report().state, state) << words;
    EXPECT_THAT(s.report().complaint, HasSubstr(std::string(words)));
    EXPECT_THAT(s.report().complaint, HasSubstr(s.uem->url()));
    EXPECT_EQ(s.compliance->counts(kTenant).names, 10u);
    s.uem->clear_faults();
    CO_ASSERT(co_await s.wait(UemPull::delta));
    EXPECT_EQ(s.report().state, SourceState::fresh);
    EXPECT_EQ(s.report().complaint, "");
  }
  EXPECT_EQ(s.pulls(UemPull::bulk), 1u) << "a failure is no reason to ask for everything";
  co_await s.stop();
}
TEST(UemSource, AfterAFailureTheLastDataHoldsAndItTriesAgain) { test::run_on_cores(1, troubles); }

Task<void> no_devices(unsigned) {
  Scene s;
  CO_ASSERT(co_await s.start({.devices = 0}));
  s.begin();
  CO_ASSERT(co_await s.wait(UemPull::broken));
  EXPECT_EQ(s.report().state, SourceState::broken);
  EXPECT_THAT(s.report().complaint, HasSubstr("names none"));
  s.uem->devices().put("first", device("first"));
  CO_ASSERT(co_await s.wait(UemPull::bulk));
  EXPECT_EQ(s.report().state, SourceState::fresh);
  EXPECT_TRUE(s.facts("first"));
  co_await s.stop();
}
TEST(UemSource, AListOfEverythingThatNamesNobodyIsRefused) { test::run_on_cores(1, no_devices); }

// A device that moves to a later page while pages are read comes twice.
Task<void> twice_in_a_bulk(unsigned) {
  Scene s;
  CO_ASSERT(co_await s.start({.devices = 250, .page_lines = 100}));
  s.uem->devices().put("again", device(UemDevices::made_up_id(3), R"(,"compromised":true)"));
  s.begin();
  CO_ASSERT(co_await s.wait(UemPull::bulk));
  EXPECT_EQ(s.compliance->counts(kTenant).names, 250u);
  EXPECT_EQ(s.facts(UemDevices::made_up_id(3))->compromised, Known::yes) << "the later line counts";
  EXPECT_EQ(s.report().state, SourceState::fresh);
  s.uem->devices().put("nobody", R"({"deviceId":"nobody","account":"EXAMPLE\\user1"})");
  CO_ASSERT(co_await s.wait(UemPull::broken));
  EXPECT_THAT(s.report().complaint, HasSubstr("device 1: \"account\" is no address"));
  EXPECT_FALSE(s.facts("nobody"));
  co_await s.stop();
}
TEST(UemSource, TakesADeviceTwiceAndNoAccountThatIsNoAddress) { test::run_on_cores(1, twice_in_a_bulk); }

Task<void> half_a_bulk(unsigned) {
  Scene s;
  CO_ASSERT(co_await s.start({.devices = 500, .page_lines = 100}, {.retry_first = 5ms, .retry_max = 10ms}));
  s.begin();
  CO_ASSERT(co_await s.wait(UemPull::bulk));
  for (UemFaultKind kind : {UemFaultKind::truncated, UemFaultKind::drop, UemFaultKind::garbage}) {
    s.uem->devices().put("late", device("late"));
    s.uem->devices().forget();  // so that everything is asked for
    uint64_t requests = s.uem->devices().books.requests;
    // 410 for the changes, two good pages, then the fault.
    s.fault(UemFaultKind::none, 3);
    s.fault(kind, kind == UemFaultKind::drop ? 2 : 1);  // a kept connection that dies is replaced, once
    UemPull result = kind == UemFaultKind::drop ? UemPull::unreachable : UemPull::broken;
    size_t before = s.pulls(result), bulks = s.pulls(UemPull::bulk);
    CO_ASSERT(co_await test::until(s.changed, [&] { return s.pulls(result) > before; }));
    EXPECT_EQ(s.pulls(UemPull::bulk), bulks) << "nothing of it counts";
    EXPECT_TRUE(s.facts(UemDevices::made_up_id(500))) << "what the cut list did not reach is still known";
    EXPECT_GE(s.uem->devices().books.requests, requests + 4);
    CO_ASSERT(co_await test::until(s.changed, [&] { return s.pulls(UemPull::bulk) > bulks; }));
    EXPECT_EQ(s.compliance->counts(kTenant).names, 501u);
    CO_ASSERT(s.uem->devices().remove("late"));
    CO_ASSERT(co_await s.wait(UemPull::delta, 2));
  }
  co_await s.stop();
}
TEST(UemSource, ABulkThatDoesNotComeToItsEndCountsNothing) { test::run_on_cores(1, half_a_bulk); }

Task<void> changes_before_a_bulk(unsigned) {
  Scene s;
  CO_ASSERT(co_await s.start({.devices = 500, .page_lines = 100},
                             {.delta_interval = std::chrono::hours(1), .retry_first = 5ms, .retry_max = 50ms}));
  s.begin();
  CO_ASSERT(co_await s.wait(UemPull::bulk));
  s.uem->devices().put("rooted", device("rooted", R"(,"compromised":true)"));
  s.fault(UemFaultKind::none, 2);  // two good pages of five
  s.fault(UemFaultKind::garbage, 1);
  s.source->nudge(/*bulk=*/true);
  CO_ASSERT(co_await s.wait(UemPull::broken));
  CO_ASSERT(co_await test::until(s.changed, [&] { return s.pulls(UemPull::delta) + s.pulls(UemPull::bulk) > 1; }));
  EXPECT_EQ(s.pulls(UemPull::delta), 1u) << "first what has changed";
  EXPECT_TRUE(s.facts("rooted"));
  (void)co_await sleep_for(60ms);  // the time of the list comes
  s.source->nudge();
  CO_ASSERT(co_await test::until(s.changed, [&] { return s.pulls(UemPull::bulk) == 2; }));
  co_await s.stop();
}
TEST(UemSource, AListOfEverythingThatFailsHoldsUpNoChange) { test::run_on_cores(1, changes_before_a_bulk); }

Task<void> forgotten_token(unsigned) {
  Scene s;
  CO_ASSERT(co_await s.start({.devices = 5}, {.retry_first = 5ms, .retry_max = 10ms}));
  s.begin();
  CO_ASSERT(co_await s.wait(UemPull::bulk));
  s.uem->devices().forget();
  CO_ASSERT(s.uem->devices().remove(UemDevices::made_up_id(5)));
  CO_ASSERT(co_await s.wait(UemPull::bulk));
  EXPECT_EQ(s.uem->devices().books.bulks, 2u) << "all again, at once";
  EXPECT_FALSE(s.facts(UemDevices::made_up_id(5)));
  EXPECT_EQ(s.pulls(UemPull::broken) + s.pulls(UemPull::unreachable), 0u) << "that is no failure";
  // It forgets even what it has just given: a failure.
  s.fault(UemFaultKind::gone, 0);
  CO_ASSERT(co_await s.wait(UemPull::broken));
  EXPECT_THAT(s.report().complaint, HasSubstr("does not know a token"));
  co_await s.stop();
}
TEST(UemSource, AsksForEverythingWhereItsTokenIsForgotten) { test::run_on_cores(1, forgotten_token); }

Task<void> bulk_interval(unsigned) {
  Scene s;
  CO_ASSERT(co_await s.start({.devices = 5}, {.delta_interval = std::chrono::hours(1), .bulk_interval = 30ms}));
  s.begin();
  CO_ASSERT(co_await s.wait(UemPull::bulk));
  s.uem->devices().put("new", device("new"));
  s.source->nudge();
  CO_ASSERT(co_await test::until(s.changed, [&] { return s.pulls(UemPull::delta) + s.pulls(UemPull::bulk) >= 2; }));
  EXPECT_TRUE(s.facts("new")) << "a nudge does not wait for the hour";
  size_t bulks = s.pulls(UemPull::bulk);
  s.source->nudge(/*bulk=*/true);
  CO_ASSERT(co_await test::until(s.changed, [&] { return s.pulls(UemPull::bulk) > bulks; }));
  co_await s.stop();
}
TEST(UemSource, IsAskedAtOnceWhenNudged) { test::run_on_cores(1, bulk_interval); }

Task<void> credentials(unsigned) {
  Scene s;
  std::string path = fmt::format("/tmp/bellhop-test-{}.token", io::random_u64());
  BH_CHECK(io::write_file(path, as_bytes("first\n"), 0600));
  CO_ASSERT(co_await s.start({.authorization = "Bearer second", .devices = 5}, {.token_file = path, .retry_first = 5ms, .retry_max = 10ms}));
  s.begin();
  CO_ASSERT(co_await s.wait(UemPull::broken));
  EXPECT_THAT(s.report().complaint, testing::AllOf(HasSubstr("answered 401"), HasSubstr(path)));
  EXPECT_GT(s.uem->devices().books.refused, 0u);
  BH_CHECK(io::write_file(path, as_bytes("second"), 0644));
  CO_ASSERT(co_await s.wait(UemPull::broken, 2));
  EXPECT_THAT(s.report().complaint, HasSubstr("chmod o= "));
  BH_CHECK(io::write_file(path, as_bytes("two words"), 0600));
  CO_ASSERT(co_await s.wait(UemPull::broken, 2));
  EXPECT_THAT(s.report().complaint, HasSubstr("one line"));
  BH_CHECK(io::write_file(path, as_bytes("second"), 0600));
  CO_ASSERT(co_await s.wait(UemPull::bulk));
  for (const std::string& line : s.lines) {
    EXPECT_THAT(line, testing::Not(HasSubstr("first")));
    EXPECT_THAT(line, testing::Not(HasSubstr("Bearer")));
  }
  co_await s.stop();
  BH_CHECK(io::write_file(path, {}, 0600));
}
TEST(UemSource, ReadsItsTokenAnewForEachTry) { test::run_on_cores(1, credentials); }

Task<void> stale(unsigned) {
  Scene s;
  CO_ASSERT(co_await s.start({.devices = 5}, {.retry_first = 5ms, .retry_max = 10ms, .stale_after = std::chrono::minutes(10)}));
  s.begin();
  CO_ASSERT(co_await s.wait(UemPull::bulk));
  s.fault(UemFaultKind::unavailable, 0);
  CO_ASSERT(co_await s.wait(UemPull::unreachable));
  SourceReport report = s.report();
  CO_ASSERT(s.compliance->stale_at(kTenant));
  EXPECT_EQ(*s.compliance->stale_at(kTenant), report.last_success + std::chrono::minutes(10));
  CO_ASSERT(co_await s.wait(UemPull::unreachable, 3));
  EXPECT_EQ(s.report().last_success, report.last_success) << "failures do not make it younger";
  co_await s.stop();
}
TEST(UemSource, ItsDataGrowsOldWhileItCannotBeReached) { test::run_on_cores(1, stale); }

// ---- Those of a configuration ----

Task<void> by_configuration(unsigned) {
  Scene s;
  CO_ASSERT(co_await s.start({.devices = 5}));
  TlsFile file{"ca", s.ca_pem};
  std::string complaint;
  auto authorities = TlsAuthorities::parse({&file, 1}, complaint);
  CO_ASSERT(authorities);
  Config config;
  config.tenants.push_back({.id = std::string(kTenant)});
  auto ways = [&] { return Upstreams::make(config, {*authorities, *authorities, *authorities, *authorities}, complaint).value(); };
  UemSources sources(*s.compliance, s.metrics, s.log);
  sources.take(config, ways());
  s.running.spawn(sources.run());
  EXPECT_EQ(sources.nudge("", true), 0u) << "none is named";

  config.policy.sources.push_back({.kind = PolicySourceKind::uem, .url = s.uem->url(), .interval_seconds = 3'600});
  sources.take(config, nullptr);
  CO_ASSERT(co_await test::until(s.changed, [&] { return s.pulls(UemPull::bulk) == 1; }));
  // A reload that leaves it alone.
  config.policy.rules.push_back({.name = "a"});
  sources.take(config, nullptr);
  EXPECT_EQ(sources.nudge(kTenant, false), 1u);
  CO_ASSERT(co_await s.wait(UemPull::delta));
  EXPECT_EQ(s.pulls(UemPull::bulk), 1u);
  // Reloads that do not.
  config.policy.sources[0].interval_seconds = 1'800;
  sources.take(config, nullptr);
  CO_ASSERT(co_await test::until(s.changed, [&] { return s.pulls(UemPull::bulk) == 2; }));
  sources.take(config, ways());
  CO_ASSERT(co_await test::until(s.changed, [&] { return s.pulls(UemPull::bulk) == 3; }));
  config.policy.sources.clear();
  sources.take(config, nullptr);
  EXPECT_EQ(sources.nudge("", false), 0u);
  EXPECT_EQ(s.report().kind, SourceKind::uem) << "it has not ended yet";
  co_await s.stop();
  EXPECT_EQ(s.report().kind, SourceKind::api) << "forgotten with its end";
}
TEST(UemSources, FollowTheConfiguration) { test::run_on_cores(1, by_configuration); }

}  // namespace
}  // namespace bellhop::service
