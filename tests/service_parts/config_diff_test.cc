// SPDX-License-Identifier: Apache-2.0
#include "service/config_diff.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "service/config_table.h"
#include "tests/service_parts/bad_configs.h"

namespace bellhop::service {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

Config good(std::string_view find = "", std::string_view replace = "") {
  std::string text(kGoodConfig);
  if (!find.empty()) text.replace(text.find(find), find.size(), replace);
  ConfigOutcome outcome = parse_config(text, "/etc/bellhop/bellhop.toml");
  for (const ConfigProblem& problem : outcome.problems) ADD_FAILURE() << to_text(problem);
  return outcome.config;
}

std::vector<std::string> diff(const Config& before, const Config& after) {
  std::vector<std::string> texts;
  for (const ConfigChange& change : config_changes(before, after)) texts.push_back(to_text(change));
  return texts;
}

TEST(ConfigDiff, NothingDiffersWhereTheMeaningIsTheSame) {
  EXPECT_THAT(diff(good(), good()), IsEmpty());
  EXPECT_THAT(diff(good(), good("[limits]\n", "[limits]\ndevices_per_user_max = 10\n")), IsEmpty()) << "the default";
}

TEST(ConfigDiff, EachKeyIsNamedWithBothValuesAndWhatItTakes) {
  EXPECT_THAT(diff(good(), good("[limits]\n", "[limits]\ndevices_per_user_max = 3\n")),
              ElementsAre("limits.devices_per_user_max: 10 → 3 (reload)"));
  EXPECT_THAT(diff(good(), good("[store]\n", "[store]\nmailboxes_max = 5\n")),
              ElementsAre("store.mailboxes_max: 2000000 → 5 (restart)"));
  EXPECT_THAT(diff(good(), good("[ews]\n", "[ews]\nca_file = \"ca.pem\"\nidle_timeout_ms = 2000\n")),
              ElementsAre("ews.ca_file: (none) → \"/etc/bellhop/ca.pem\" (reload)",
                          "ews.idle_timeout_ms: 60000 → 2000 (restart)"));
  EXPECT_THAT(diff(good(), good("[log]\n", "[log]\nlevel = \"debug\"\noutput = \"x.log\"\n")),
              ElementsAre("log.level: \"info\" → \"debug\" (reload)",
                          "log.output: \"stdout\" → \"/etc/bellhop/x.log\" (restart)"));
}

TEST(ConfigDiff, TenantsAndAppsAreKnownByNameAndNotByPlace) {
  Config before = good(), after = good();
  after.tenants.insert(after.tenants.begin(), TenantConfig{.id = "new", .ews_hosts = {"new.example.com"}});
  after.tenants[1].preview_max = PreviewPolicy::none;
  after.tenants[1].apps[0].key_id = "ABCDEFGHIJ";
  after.tenants[1].apps.push_back({.topic = "com.example.beta", .environment = ApnsEnvironment::sandbox});
  EXPECT_THAT(diff(before, after),
              ElementsAre("tenant[new]: (none) → present (reload)",
                          "tenant[example].preview_max: \"full\" → \"none\" (reload)",
                          "tenant[example].app[com.example.mail, production].key_id: \"F6G7H8I9J0\" → \"ABCDEFGHIJ\" (reload)",
                          "tenant[example].app[com.example.beta, sandbox]: (none) → present (reload)"));
  EXPECT_THAT(diff(after, before),
              ElementsAre("tenant[new]: present → (none) (reload)", HasSubstr("preview_max"),
                          "tenant[example].app[com.example.beta, sandbox]: present → (none) (reload)", HasSubstr("key_id")));
}

TEST(ConfigDiff, EveryKeyThatDiffersIsNoticed) {
  for (const SectionRow& section : config_sections()) {
    if (inside_repeated(section)) continue;
    for (const KeyRow& key : section.keys) {
      if (key.kind != KeyKind::number32) continue;
      Config before = good(), after = good();
      auto& value = *static_cast<uint32_t*>(key.member(enter_section(section, after)));
      ++value;
      std::vector<ConfigChange> changes = config_changes(before, after);
      ASSERT_EQ(changes.size(), 1u) << key.name;
      EXPECT_EQ(changes[0].key, full_key(section, key.name));
      EXPECT_EQ(changes[0].reload, takes_reload(section, key));
    }
  }
}

// A list that the comparison does not know would make a reload do nothing, and say that all is well.
TEST(ConfigDiff, EveryListIsCompared) {
  for (const SectionRow& section : config_sections()) {
    if (!section.repeated) continue;
    Config before = good(), after = good();
    enter_section(section, after);
    EXPECT_THAT(config_changes(before, after), SizeIs(1)) << section.path;
    EXPECT_THAT(config_changes(after, before), SizeIs(1)) << section.path;
  }
}

TEST(ConfigDiff, RoutesOfTheGatewayAreKnownByTheirFirstHost) {
  Config before = good();
  before.gateway.routes = {{.hosts = {"a.example.com"}, .ews = {.upstream = "https://one"}},
                           {.hosts = {"b.example.com"}, .activesync = {.upstream = "https://two"}}};
  before.gateway.domains = {{.name = "example.com"}};
  Config after = before;
  std::swap(after.gateway.routes[0], after.gateway.routes[1]);
  EXPECT_THAT(diff(before, after), IsEmpty());
  after.gateway.routes[0].activesync.idle_timeout_ms = 1'000;
  after.gateway.routes[1].hosts.push_back("c.example.com");
  after.gateway.routes.push_back({.hosts = {"d.example.com"}});
  after.gateway.domains[0].netbios = "EXAMPLE";
  after.gateway.clients.push_back({.name = "archive"});
  EXPECT_THAT(diff(before, after),
              ElementsAre("gateway.domain[example.com].netbios: (none) → \"EXAMPLE\" (reload)",
                          "gateway.client[archive]: (none) → present (reload)",
                          HasSubstr("gateway.route[a.example.com].hosts: "), "gateway.route[d.example.com]: (none) → present (reload)",
                          "gateway.route[b.example.com].activesync.idle_timeout_ms: 60000 → 1000 (reload)"));
}

TEST(ConfigDiff, ProxiesAreKnownByNameAndUpstreamsByPlace) {
  Config before = good();
  before.proxies = {{.name = "one", .address = {"p1.example.com", 3128}}, {.name = "two", .address = {"p2.example.com", 3128}}};
  before.upstreams = {{.hosts = {"mail.example.com"}, .proxy = "one"}, {.hosts = {"*"}, .proxy = "two"}};
  Config after = before;
  std::swap(after.proxies[0], after.proxies[1]);
  EXPECT_THAT(diff(before, after), IsEmpty());
  after.proxies[0].password_file = "/etc/bellhop/password";
  after.proxies.push_back({.name = "three", .address = {"p3.example.com", 3128}});
  after.upstreams[1].proxy = "three";
  after.upstreams.push_back({.hosts = {"apns.example.com"}});
  EXPECT_THAT(diff(before, after),
              ElementsAre(HasSubstr("proxy[two].password_file: (none) → "), "proxy[three]: (none) → present (reload)",
                          HasSubstr("upstream[1].proxy: "), "upstream[2]: (none) → present (reload)"));
  EXPECT_THAT(diff(after, before), ElementsAre("proxy[three]: present → (none) (reload)", HasSubstr("password_file"),
                                               HasSubstr("upstream[1].proxy"), "upstream[2]: present → (none) (reload)"));
}

TEST(ConfigDiff, ThePositionIsThatOfTheKeyOrOfItsTable) {
  std::string text(kGoodConfig);
  ConfigOutcome outcome = parse_config(text, "x.toml");
  EXPECT_EQ(position_of({.key = {}, .before = {}, .after = {}, .position_key = "listen.public.certificate_file"}, outcome.positions),
            (ConfigPosition{5, 20}));
  EXPECT_EQ(position_of({.key = {}, .before = {}, .after = {}, .position_key = "store.mailboxes_max"}, outcome.positions).line, 10u);
  EXPECT_EQ(position_of({.key = {}, .before = {}, .after = {}, .position_key = "oauth.ca_file"}, outcome.positions), (ConfigPosition{1, 1}));
}

TEST(ConfigDiff, TheWrittenFileMeansTheSame) {
  Config config = good("ews_hosts = [", "ews_private_cidrs = [\"10.0.0.0/8\"]\news_hosts = [\"*.example.net\", ");
  config.tenants[0].name = "Quote \" backslash \\ ü";
  config.log.output = "/var/log/be\"ll\\hop.log";
  config.proxies.push_back({.name = "outside", .address = {"proxy.example.com", 3128}, .tls = true, .ca_file = "/etc/ca.pem",
                            .username = "be\\ll", .password_file = "/etc/password", .resolve = ProxyResolve::local});
  config.upstreams.push_back({.hosts = {"mail.example.com"}, .ca_file = "/etc/mail-ca.pem"});
  config.upstreams.push_back({.hosts = {"*"},
                              .spki_pins = {"sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="},
                              .proxy = "outside"});
  config.tenants.push_back({.id = "second", .name = "Second", .ews_hosts = {"b.example.com"}});
  ConfigOutcome outcome = parse_config(config_toml(config), "/elsewhere/x.toml");
  for (const ConfigProblem& problem : outcome.problems) ADD_FAILURE() << to_text(problem);
  EXPECT_THAT(diff(config, outcome.config), IsEmpty());
  EXPECT_EQ(outcome.config.tenants[0].name, config.tenants[0].name);
  EXPECT_EQ(outcome.config.proxies, config.proxies);
  EXPECT_EQ(outcome.config.upstreams, config.upstreams);
}

TEST(ConfigDiff, NamedFilesAreListedByTheirKeys) {
  std::vector<ConfigFileReference> files = config_files(good());
  ASSERT_EQ(files.size(), 4u);
  EXPECT_EQ(files[0].key, "keyring_file");
  EXPECT_EQ(files[1].key, "listen.public.certificate_file");
  EXPECT_EQ(files[3].key, "tenant[0].app[0].key_file");
  EXPECT_EQ(files[3].path, "/etc/bellhop/apns/key.p8");

  Config more = good();
  more.proxies.push_back({.name = "outside", .ca_file = "/etc/proxy-ca.pem", .password_file = "/etc/password"});
  more.upstreams.push_back({.hosts = {"*"}, .ca_file = "/etc/mail-ca.pem"});
  files = config_files(more);
  ASSERT_EQ(files.size(), 7u);
  EXPECT_EQ(files[3].key, "proxy[0].ca_file");
  EXPECT_EQ(files[4].key, "proxy[0].password_file");
  EXPECT_EQ(files[5].key, "upstream[0].ca_file");
}

TEST(Config, APathMayBeginWithTheFolderOfCredentials) {
  std::string text(kGoodConfig);
  text.replace(text.find("\"keyring\""), 9, "\"${CREDENTIALS_DIRECTORY}/keyring\"");
  ConfigOutcome set = parse_config(text, "/etc/bellhop/bellhop.toml", "/run/credentials/bellhop.service");
  ASSERT_TRUE(set.ok());
  EXPECT_EQ(set.config.keyring_file, "/run/credentials/bellhop.service/keyring");
  ConfigOutcome unset = parse_config(text, "/etc/bellhop/bellhop.toml");
  ASSERT_EQ(unset.problems.size(), 1u);
  EXPECT_THAT(to_text(unset.problems[0]), HasSubstr(":2:16: keyring_file is \"${CREDENTIALS_DIRECTORY}/keyring\": the "
                                                    "environment has no CREDENTIALS_DIRECTORY"));
  for (std::string_view wrong : {"${HOME}/keyring", "/etc/${CREDENTIALS_DIRECTORY}/x", "${CREDENTIALS_DIRECTORY}x",
                                 "${CREDENTIALS_DIRECTORY}/${CREDENTIALS_DIRECTORY}/x"}) {
    std::string other(kGoodConfig);
    other.replace(other.find("\"keyring\""), 9, "\"" + std::string(wrong) + "\"");
    ConfigOutcome outcome = parse_config(other, "/etc/bellhop/bellhop.toml", "/run/credentials");
    ASSERT_EQ(outcome.problems.size(), 1u) << wrong;
    EXPECT_THAT(to_text(outcome.problems[0]), HasSubstr("at the beginning of a path is replaced")) << wrong;
  }
}

}  // namespace
}  // namespace bellhop::service
