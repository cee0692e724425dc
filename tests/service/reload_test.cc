// SPDX-License-Identifier: Apache-2.0
// Reloads of a whole server, asked for and by changed files. Runs on both back ends.

#include "service/reload.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "core/cross_core.h"
#include "core/sleep.h"
#include "core/tls/certificate.h"
#include "proto/json.h"
#include "service/http1_client.h"
#include "service/server.h"
#include "store/memory/memory_store.h"
#include "tests/core/run.h"

namespace bellhop::service {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr unsigned kCores = 2;

struct Answer {
  uint16_t status = 0;
  std::string body;
};

// What the configuration file says; the rest is as the server began.
struct FileOptions {
  std::string more;                                  // tables at the end
  std::string limits = "[limits]\n";
  std::string certificate = "server.pem";
  std::string ews_ca = "ca.pem", oauth_ca = "ca.pem";
  std::vector<std::string> tenants = {"first"};
};

// A server that was started from files, and what an operator does to them. A scenario runs on core 0.
class ReloadWorld {
 public:
  using Scenario = Task<void> (*)(ReloadWorld&);
  static void run(Scenario scenario) {
    ReloadWorld world(scenario);
    test::run_on_cores(kCores, [&](unsigned core) { return world.run_core(core); });
    EXPECT_EQ(world.ended_, kCores);
  }

  std::string path(std::string_view name) const { return folder_ + "/" + std::string(name); }
  void write(std::string_view name, std::string_view content, unsigned mode = 0600) {
    EXPECT_TRUE(io::write_file(path(name), as_bytes(content), mode)) << name;
  }
  void write_config(const FileOptions& options = {}) {
    std::string text = fmt::format(R"(public_url = "https://localhost"
data_dir = "data"
keyring_file = "keyring"
[listen.public]
addresses = ["127.0.0.1:0"]
certificate_file = "{}"
private_key_file = "server.key"
[listen.admin]
address = "127.0.0.1:0"
unix_socket = "{}"
[ews]
ca_file = "{}"
[oauth]
ca_file = "{}"
[apns]
ca_file = "ca.pem"
[keys]
pool_target = 1
[log]
level = "error"
[reload]
watch_interval_seconds = 1
{})", options.certificate, socket_, options.ews_ca, options.oauth_ca, options.limits);
    for (const std::string& tenant : options.tenants) {
      text += fmt::format("[[tenant]]\nid = \"{}\"\nname = \"Tenant\"\news_hosts = [\"mail.example.com\"]\n", tenant);
    }
    write("bellhop.toml", text + options.more);
  }
  // A new pair for the listener. `key`: false writes the certificate alone.
  SpkiPin write_certificate(bool key = true, std::string_view name = "server.pem") {
    std::string names[] = {"localhost"}, addresses[] = {"127.0.0.1"};
    CertificateValidity validity{io::wall_now() - 1h, io::wall_now() + std::chrono::days(90)};
    pair_ = issue_certificate(*authority_, names, addresses, validity).value();
    write(name, pair_.chain_pem);
    if (key) write("server.key", pair_.key_pem);
    return spki_pin(pair_.chain_pem).value();
  }
  void write_waiting_key() { write("server.key", pair_.key_pem); }

  Task<Answer> admin(std::string method, std::string target, std::string body = {}) {
    Http1Origin origin{.host = "localhost", .port = 0, .tls = nullptr, .addresses = nullptr, .unix_path = socket_};
    co_return co_await ask(origin, std::move(method), std::move(target), std::move(body));
  }
  Task<Answer> reload() { co_return co_await admin("POST", "/v1/reload"); }
  // 200 where a new handshake gets a certificate with this key.
  Task<uint16_t> handshake(SpkiPin pin) {
    Http1Origin origin = public_origin(pin);
    Answer answer = co_await ask(origin, "GET", "/api/ens/alive", "");
    co_return answer.status;
  }
  Http1Origin public_origin(SpkiPin pin) {
    std::string complaint;
    auto tls = TlsContext::client({.authorities = authorities_, .pins = {pin}, .alpn = {"http/1.1"}}, complaint).value();
    return {.host = "127.0.0.1", .port = server_->public_addresses()[0].port, .tls = tls, .addresses = nullptr, .unix_path = {}};
  }
  uint64_t metric(MetricId<MetricType::gauge, void> id) { return server_->shards()[0]->value(id); }
  uint64_t reloads(ReloadResult result) { return server_->shards()[0]->value(metric::reloads, result); }
  Task<bool> wait_generation(uint64_t number) {
    for (int i = 0; i < 400 && metric(metric::generation) < number; ++i) (void)co_await sleep_for(25ms);
    co_return metric(metric::generation) == number;
  }

  SpkiPin first_pin{};

 private:
  explicit ReloadWorld(Scenario scenario) : scenario_(scenario) {}

  Task<Answer> ask(const Http1Origin& origin, std::string method, std::string target, std::string body) {
    Http1ClientOptions options;
    Answer answer;
    auto client = co_await Http1Client::open(origin, options);
    if (!client) co_return answer;
    Http1Request request{.method = method, .target = target, .host = "localhost", .headers = {}, .body = body};
    auto response = co_await within(30s, (*client)->exchange(request));
    if (response) answer = {response->status, std::string(response->text())};
    co_await (*client)->close();
    co_return answer;
  }

  void make_files() {
    folder_ = "/tmp/bellhop-reload-" + std::to_string(io::random_u64());
    socket_ = folder_ + "/admin.sock";
    EXPECT_TRUE(io::make_folder(folder_, 0700));
    authority_ = make_authority("Test", {io::wall_now() - 1h, io::wall_now() + std::chrono::days(365)}).value();
    write("ca.pem", authority_->chain_pem);
    std::string complaint;
    const TlsFile file{"ca.pem", authority_->chain_pem};
    authorities_ = TlsAuthorities::parse(std::span(&file, 1), complaint).value();
    write("keyring", crypto::make_keyring(1).reveal_text(), 0400);
    first_pin = write_certificate();
    write_config();
  }

  Task<bool> wait_made() { co_return (co_await made_.wait()).has_value(); }
  Task<bool> count_end() {
    ++ended_;
    co_return true;
  }

  Task<void> run_core(unsigned core) {
    if (core == 0) {
      set_tls_clock(&io::wall_now);
      make_files();
      auto text = io::read_file(path("bellhop.toml"));
      ConfigOutcome outcome = parse_config(text.value(), path("bellhop.toml"));
      for (const ConfigProblem& problem : outcome.problems) ADD_FAILURE() << to_text(problem);
      std::string complaint;
      auto files = read_start_files(outcome.config, complaint);
      EXPECT_TRUE(files) << complaint;
      server_.emplace(outcome.config, std::move(files.value()), *store_);
      server_->set_config_file(path("bellhop.toml"));
      server_->handle_signals(false);
      made_.set();
      TaskScope serving(&co_await current_context());
      serving.spawn(server_->run(0));
      bool ready = co_await server_->wait_ready();
      EXPECT_TRUE(ready) << server_->complaint();
      if (ready) {
        co_await scenario_(*this);
        co_await server_->drain();
      }
      co_await serving.join();
    } else {
      co_await on_core(0, [this] { return wait_made(); });
      co_await server_->run(core);
    }
    co_await on_core(0, [this] { return count_end(); });
  }

  const Scenario scenario_;
  std::unique_ptr<store::MemoryStore> store_ = store::MemoryStore::create();
  std::string folder_, socket_;
  std::optional<CertificateAndKey> authority_;
  std::shared_ptr<const TlsAuthorities> authorities_;
  CertificateAndKey pair_;
  std::optional<Server> server_;
  Event made_;
  unsigned ended_ = 0;
};

std::string member(const Answer& answer, std::string_view name) {
  auto document = proto::JsonDocument::parse(answer.body);
  if (!document) return "";
  auto text = document->root().string(name);
  return text && *text ? std::string(**text) : "";
}

Task<void> tenants_come_and_go(ReloadWorld& world) {
  Answer same = co_await world.reload();
  EXPECT_EQ(same.status, 200);
  EXPECT_EQ(member(same, "result"), "unchanged") << same.body;
  EXPECT_EQ(world.metric(metric::generation), 1u);

  EXPECT_EQ((co_await world.admin("POST", "/v1/tokens", R"({"tenant":"second"})")).status, 422);
  world.write_config({.tenants = {"second", "first"}});
  Answer added = co_await world.reload();
  EXPECT_EQ(added.status, 200) << added.body;
  EXPECT_EQ(member(added, "result"), "reloaded");
  EXPECT_THAT(added.body, HasSubstr(R"({"key":"tenant[second]","before":"","after":"present"})"));
  EXPECT_EQ((co_await world.admin("POST", "/v1/tokens", R"({"tenant":"second"})")).status, 201);

  world.write_config();
  EXPECT_EQ((co_await world.reload()).status, 200);
  EXPECT_EQ((co_await world.admin("POST", "/v1/tokens", R"({"tenant":"second"})")).status, 422);
  EXPECT_EQ((co_await world.admin("POST", "/v1/tokens", R"({"tenant":"first"})")).status, 201);
  EXPECT_EQ(world.metric(metric::generation), 3u);
  EXPECT_EQ(world.metric(metric::reload_last_success), 1u);
}
TEST(Reload, TenantsComeAndGo) { ReloadWorld::run(&tenants_come_and_go); }

// What a device that nobody has told of gets at a callback.
Task<std::string> verdict(ReloadWorld& world) {
  Answer answer = co_await world.admin("GET", "/v1/compliance/phone?tenant=first&point=callback");
  auto document = proto::JsonDocument::parse(answer.body);
  if (!document) co_return answer.body;
  auto decisions = document->root().required_array("decisions");
  if (!decisions || decisions->size() != 1) co_return answer.body;
  auto decision = decisions->at(0).object();
  co_return decision ? std::string(decision->required_string("verdict").value_or(answer.body)) : answer.body;
}

// A policy that comes with its source, and a source in place of another: what has not been read once blocks nobody.
Task<void> sources_come_and_go(ReloadWorld& world) {
  const std::string policy = "[policy]\nenabled = true\n";
  const std::string of_file = policy + "[[policy.source]]\nkind = \"file\"\nfile = \"" + world.path("devices") + "\"\n";
  const std::string of_uem = policy + "[[policy.source]]\nkind = \"uem\"\nurl = \"https://localhost:1/devices\"\nretry_first_ms = 60000\n";
  EXPECT_EQ(co_await verdict(world), "allow");
  std::vector<const std::string*> sources = {&of_file};
  // The simulator has no authorities of the system, which a source over HTTPS needs.
  if (io::file_info(kSystemRootsFile)) sources.insert(sources.end(), {&of_uem, &of_file});
  for (const std::string* source : sources) {
    world.write_config({.more = *source});
    Answer reloaded = co_await world.reload();
    EXPECT_EQ(reloaded.status, 200) << reloaded.body;
    for (Instant end = io::now() + 1500ms; io::now() < end; (void)co_await sleep_for(20ms)) {
      std::string seen = co_await verdict(world);
      EXPECT_EQ(seen, "unavailable") << *source;
      if (seen != "unavailable") break;
    }
  }
  world.write_config({.more = policy});
  EXPECT_EQ((co_await world.reload()).status, 200);
  for (int i = 0; i < 200 && co_await verdict(world) == "unavailable"; ++i) (void)co_await sleep_for(25ms);
  EXPECT_EQ(co_await verdict(world), "block") << "nobody tells of devices any more";
}
TEST(Reload, ASourceThatHasNotBeenReadBlocksNobody) { ReloadWorld::run(&sources_come_and_go); }

Task<void> faults_change_nothing(ReloadWorld& world) {
  auto expect_refused = [&](const Answer& answer, uint16_t status, std::string_view why) {
    EXPECT_EQ(answer.status, status) << answer.body;
    EXPECT_THAT(member(answer, "detail"), HasSubstr(std::string(why)));
    EXPECT_EQ(world.metric(metric::generation), 1u);
    EXPECT_EQ(world.metric(metric::reload_last_success), 0u);
  };
  world.write_config({.more = "[broken\n"});
  expect_refused(co_await world.reload(), 422, "not TOML");
  world.write_config({.limits = "[limits]\ndevices_per_user_max = 0\n"});
  expect_refused(co_await world.reload(), 422, ":24:24: limits.devices_per_user_max is 0");
  // One key needs a restart: what a reload could take is not taken either.
  world.write_config({.limits = "[limits]\ndevices_per_user_max = 3\n[store]\nmailboxes_max = 5\n", .tenants = {"other"}});
  Answer restart = co_await world.reload();
  expect_refused(restart, 409, ":26:17: store.mailboxes_max cannot change from 2000000 to 5 by a reload");
  EXPECT_EQ(member(restart, "result"), "restart_needed");
  EXPECT_EQ((co_await world.admin("POST", "/v1/tokens", R"({"tenant":"other"})")).status, 422);

  world.write_config({.certificate = "ca.pem"});
  Answer foreign = co_await world.reload();
  expect_refused(foreign, 422, "server.key");  // does not belong to the first certificate in ca.pem
  world.write_config({.certificate = "absent.pem"});
  expect_refused(co_await world.reload(), 422, world.path("absent.pem"));
  EXPECT_EQ(co_await world.handshake(world.first_pin), 200);

  world.write_config();
  EXPECT_EQ((co_await world.reload()).status, 200);
  EXPECT_EQ(world.metric(metric::reload_last_success), 1u);
  EXPECT_EQ(world.reloads(ReloadResult::refused), 4u);
  EXPECT_EQ(world.reloads(ReloadResult::restart_needed), 1u);
}
TEST(Reload, AFaultIsNamedWithItsPlaceAndChangesNothing) { ReloadWorld::run(&faults_change_nothing); }

Task<void> new_certificate(ReloadWorld& world) {
  Http1Origin origin = world.public_origin(world.first_pin);
  Http1ClientOptions options;
  auto client = co_await Http1Client::open(origin, options);
  CO_ASSERT(client);
  Http1Request alive{.method = "GET", .target = "/api/ens/alive", .host = "localhost", .headers = {}, .body = {}};
  auto before = co_await (*client)->exchange(alive);
  EXPECT_TRUE(before && before->status == 200);

  SpkiPin pin = world.write_certificate();
  Answer answer = co_await world.reload();
  EXPECT_EQ(answer.status, 200) << answer.body;
  EXPECT_THAT(answer.body, HasSubstr(world.path("server.pem")));
  EXPECT_EQ(co_await world.handshake(pin), 200);
  EXPECT_EQ(co_await world.handshake(world.first_pin), 0);
  auto after = co_await (*client)->exchange(alive);
  EXPECT_TRUE(after && after->status == 200) << "an established connection lives on";
  co_await (*client)->close();
}
TEST(Reload, NewHandshakesGetTheNewCertificateAndOldConnectionsLiveOn) { ReloadWorld::run(&new_certificate); }

// The configuration file holds a change that needs a restart: files that it names are renewed all the same.
Task<void> watched_files(ReloadWorld& world) {
  world.write_config({.more = "[store]\nmailboxes_max = 5\n"});
  SpkiPin pin = world.write_certificate(/*key=*/false);
  for (int i = 0; i < 400 && world.reloads(ReloadResult::refused) < 2; ++i) (void)co_await sleep_for(25ms);
  EXPECT_GE(world.reloads(ReloadResult::refused), 2u) << "a half-written pair is tried again";
  EXPECT_EQ(world.metric(metric::generation), 1u);
  EXPECT_EQ(co_await world.handshake(world.first_pin), 200);
  world.write_waiting_key();
  EXPECT_TRUE(co_await world.wait_generation(2));
  EXPECT_EQ(co_await world.handshake(pin), 200);
  EXPECT_EQ(co_await world.handshake(world.first_pin), 0);
  EXPECT_EQ(world.metric(metric::reload_last_success), 1u);
}
TEST(Reload, AChangedCertificateIsTakenOnceItsKeyFits) { ReloadWorld::run(&watched_files); }

std::string keyring_line(uint32_t id, bool current) {
  return fmt::format("kek {} {}{}\n", id, to_base64(std::vector<uint8_t>(32, static_cast<uint8_t>(id))), current ? " current" : "");
}

Task<void> keyrings(ReloadWorld& world) {
  auto text = io::read_file(world.path("keyring"));
  CO_ASSERT(text);
  std::string first = *text;
  std::string without_current = first;
  without_current.replace(without_current.find(" current"), 8, "");
  // Another keyring altogether does not open the store.
  world.write("keyring", keyring_line(1, true), 0400);
  EXPECT_EQ((co_await world.reload()).status, 422);
  // A new key beside the old one becomes current.
  world.write("keyring", without_current + keyring_line(2, true), 0400);
  Answer rotated = co_await world.reload();
  EXPECT_EQ(rotated.status, 200) << rotated.body;
  EXPECT_EQ(world.metric(metric::generation), 2u);
  EXPECT_EQ((co_await world.admin("POST", "/v1/tokens", R"({"tenant":"first"})")).status, 201);
  // The key that seals the store's index key may not vanish, and the one in use may not either.
  world.write("keyring", keyring_line(2, true), 0400);
  EXPECT_EQ((co_await world.reload()).status, 422);
  world.write("keyring", first + keyring_line(3, false), 0400);
  Answer current_gone = co_await world.reload();
  EXPECT_EQ(current_gone.status, 422);
  EXPECT_THAT(member(current_gone, "detail"), HasSubstr("key 2 is missing"));
  // A key that nothing names may go.
  world.write("keyring", without_current + keyring_line(2, false) + keyring_line(3, true), 0400);
  EXPECT_EQ((co_await world.reload()).status, 200);
  for (int i = 0; i < 400 && world.metric(metric::key_pool_keys) < 1; ++i) (void)co_await sleep_for(25ms);
  world.write("keyring", without_current + keyring_line(3, true), 0400);
  Answer retired = co_await world.reload();
  EXPECT_TRUE(retired.status == 200 || member(retired, "detail").find("still name it") != std::string::npos) << retired.body;
  // Whoever may read it besides us makes it no keyring.
  world.write("keyring", without_current + keyring_line(3, true), 0644);
  EXPECT_EQ((co_await world.reload()).status, 422);
}
TEST(Reload, AKeyOfTheKeyringThatIsStillNamedMayNotVanish) { ReloadWorld::run(&keyrings); }

Task<void> hundred_reloads(ReloadWorld& world) {
  for (int i = 0; i < 100; ++i) {
    world.write_config({.limits = fmt::format("[limits]\ndevices_per_user_max = {}\n", 1 + i % 50),
                        .tenants = i % 2 ? std::vector<std::string>{"first", "second"} : std::vector<std::string>{"first"}});
    Answer answer = co_await world.reload();
    EXPECT_EQ(answer.status, 200) << answer.body;
  }
  EXPECT_EQ(world.metric(metric::generation), 101u);
  // The answer to the last reload still held the one before.
  EXPECT_LE(Generation::alive(), 2u);
}
TEST(Reload, OldGenerationsAreFreed) {
  ReloadWorld::run(&hundred_reloads);
  EXPECT_EQ(Generation::alive(), 0u);
}

// A reloader by itself, with the configuration file as it is now; what the cores would be told is kept.
struct LoneReloader {
  explicit LoneReloader(ReloadWorld& world) : file(world.path("bellhop.toml")) {}

  Task<bool> make() {
    ConfigOutcome outcome = parse_config(io::read_file(file).value(), file);
    std::string complaint;
    auto files = read_start_files(outcome.config, complaint);
    EXPECT_TRUE(files) << complaint;
    if (!files) co_return false;
    vault.emplace((co_await Vault::open(*files->keyring, *store)).value());
    tokens = ApnsProviderTokens::make(outcome.config, *store, *vault, complaint).value();
    LogOptions options;
    options.sink.write = [](void*, std::string_view line) { io::write_log(line); };
    options.wall_now = &io::wall_now;
    log.emplace(options);
    auto first = std::make_shared<const Generation>(1, outcome.config, Tenants::make(outcome.config).value());
    auto keep = [this](std::shared_ptr<const Switch> next) { return take(std::move(next)); };
    reloader.emplace(Reloader::Parts{.store = *store,
                                     .vault = *vault,
                                     .apns_tokens = *tokens,
                                     .ticket_keys = nullptr,
                                     .log = *log,
                                     .metrics = metrics,
                                     .cores = 1,
                                     .switch_cores = keep},
                     file, std::move(first), files->seen);
    co_return true;
  }
  Task<void> take(std::shared_ptr<const Switch> next) {
    taken = std::move(next);
    co_return;
  }

  const std::string file;
  std::unique_ptr<store::MemoryStore> store = store::MemoryStore::create();
  std::optional<Vault> vault;
  std::unique_ptr<ApnsProviderTokens> tokens;
  std::optional<Log> log;
  MetricsShard metrics;
  std::shared_ptr<const Switch> taken;
  std::optional<Reloader> reloader;
};

Task<void> other_authorities(ReloadWorld& world) {
  world.write("other.pem", io::read_file(world.path("ca.pem")).value());
  world.write_config({.oauth_ca = "other.pem"});
  LoneReloader lone(world);
  CO_ASSERT(co_await lone.make());
  // Neither file has other content than before; who vouches for whom is another.
  world.write_config({.ews_ca = "other.pem", .oauth_ca = "ca.pem"});
  EXPECT_EQ((co_await lone.reloader->reload("admin")).result, ReloadResult::reloaded);
  CO_ASSERT(lone.taken);
  EXPECT_TRUE(lone.taken->upstreams) << "the cores must hear of it";
  // What says nothing of authorities leaves connections as they are.
  world.write_config(
      {.limits = "[limits]\ndevices_per_user_max = 7\n", .ews_ca = "other.pem", .oauth_ca = "ca.pem"});
  EXPECT_EQ((co_await lone.reloader->reload("admin")).result, ReloadResult::reloaded);
  EXPECT_FALSE(lone.taken->upstreams);
}
TEST(Reload, AnotherFileOfAuthoritiesIsTaken) { ReloadWorld::run(&other_authorities); }

// Of [[upstream]] and [[proxy]] the keys and what their files hold.
Task<void> other_ways(ReloadWorld& world) {
  auto use = [&](std::string_view proxy) {
    world.write_config({.more = fmt::format(R"([[proxy]]
name = "outside"
address = "127.0.0.1:3128"
username = "bellhop"
password_file = "proxy-password"
[[upstream]]
hosts = ["mail.example.com"]
ca_file = "mail-ca.pem"
proxy = "{}"
)", proxy)});
  };
  world.write("mail-ca.pem", io::read_file(world.path("ca.pem")).value());
  world.write("proxy-password", "open, sesame\n");
  use("outside");
  LoneReloader lone(world);
  CO_ASSERT(co_await lone.make());
  EXPECT_EQ((co_await lone.reloader->reload("admin")).result, ReloadResult::unchanged);

  use("http://127.0.0.1:3129");
  ReloadReport other_proxy = co_await lone.reloader->reload("admin");
  EXPECT_EQ(other_proxy.result, ReloadResult::reloaded);
  CO_ASSERT(other_proxy.changes.size() == 1 && lone.taken);
  EXPECT_EQ(other_proxy.changes[0].key, "upstream[0].proxy");
  EXPECT_TRUE(lone.taken->upstreams);

  world.write("proxy-password", "barley\n");
  ReloadReport other_password = co_await lone.reloader->reload("admin");
  EXPECT_EQ(other_password.result, ReloadResult::reloaded);
  EXPECT_THAT(other_password.files, ElementsAre(world.path("proxy-password")));
  EXPECT_TRUE(lone.taken->upstreams);

  world.write("server.pem", io::read_file(world.path("server.pem")).value() + "\n");
  EXPECT_EQ((co_await lone.reloader->reload("admin")).result, ReloadResult::reloaded);
  EXPECT_FALSE(lone.taken->upstreams) << "the ways are as before, and so are their connections";

  world.write("mail-ca.pem", "no certificate");
  ReloadReport bad = co_await lone.reloader->reload("admin");
  EXPECT_EQ(bad.result, ReloadResult::refused);
  CO_ASSERT(bad.problems.size() == 1);
  EXPECT_THAT(bad.problems[0], HasSubstr("upstream[0].ca_file: " + world.path("mail-ca.pem")));
}
TEST(Reload, OtherProxiesAndUpstreamsAreTaken) { ReloadWorld::run(&other_ways); }

Task<void> running_configuration(ReloadWorld& world) {
  world.write_config({.limits = "[limits]\ndevices_per_user_max = 7\n", .tenants = {"first", "second"}});
  EXPECT_EQ((co_await world.reload()).status, 200);
  Answer answer = co_await world.admin("GET", "/v1/config");
  EXPECT_EQ(answer.status, 200);
  ConfigOutcome running = parse_config(answer.body, "running");
  for (const ConfigProblem& problem : running.problems) ADD_FAILURE() << to_text(problem);
  ConfigOutcome file = parse_config(io::read_file(world.path("bellhop.toml")).value(), world.path("bellhop.toml"));
  EXPECT_THAT(config_changes(running.config, file.config), IsEmpty());
  EXPECT_EQ(running.config.limits.devices_per_user_max, 7u);
}
TEST(Reload, TheRunningConfigurationCanBeRead) { ReloadWorld::run(&running_configuration); }

}  // namespace
}  // namespace bellhop::service
