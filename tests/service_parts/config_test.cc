// SPDX-License-Identifier: Apache-2.0
#include "service/config.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <iterator>
#include <random>

#include "core/base/bytes.h"
#include "service/config_table.h"
#include "tests/service_parts/bad_configs.h"

namespace bellhop::service {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<std::string> texts_of(const ConfigOutcome& outcome) {
  std::vector<std::string> texts;
  for (const ConfigProblem& problem : outcome.problems) texts.push_back(to_text(problem));
  return texts;
}

std::string changed(std::string_view find, std::string_view replace) {
  std::string text(kGoodConfig);
  size_t at = text.find(find);
  EXPECT_NE(at, std::string::npos) << find;
  EXPECT_EQ(text.find(find, at + 1), std::string::npos) << find;
  return text.replace(at, find.size(), replace);
}

TEST(Config, AShortFileIsAcceptedAndLeavesTheDefaults) {
  ConfigOutcome outcome = parse_config(kGoodConfig, "bellhop.toml");
  ASSERT_THAT(texts_of(outcome), IsEmpty());
  const Config& config = outcome.config;
  EXPECT_EQ(config.public_url, "https://push.example.com");
  EXPECT_EQ(config.listen_public.idle_timeout_ms, 60'000u);
  EXPECT_EQ(config.listen_public.handshake_timeout_ms, 5'000u);
  EXPECT_EQ(config.listen_public.header_timeout_ms, 10'000u);
  EXPECT_EQ(config.listen_public.body_bytes_max, 262'144u);
  EXPECT_EQ(config.listen_admin.address, (HostPort{"127.0.0.1", 9443}));
  EXPECT_EQ(config.notification.total_timeout_ms, 8'000u);
  EXPECT_EQ(config.notification.merge_above, 20u);
  EXPECT_EQ(config.store.map_size_bytes, uint64_t{64} << 30);
  EXPECT_EQ(config.ews.user_agent, "MailNotificationService/v2 (ExchangeServicesClient/15.00.0913.015)");
  EXPECT_EQ(config.apns.production, (HostPort{"api.push.apple.com", 443}));
  EXPECT_EQ(config.apns.token_refresh_minutes, 40u);
  EXPECT_EQ(config.keys.rsa_bits, 2'048u);
  ASSERT_EQ(config.tenants.size(), 1u);
  EXPECT_THAT(config.tenants[0].ews_hosts, ElementsAre("mail.example.com"));
  EXPECT_FALSE(config.tenants[0].ens2_credentials);
  EXPECT_EQ(config.tenants[0].preview_max, PreviewPolicy::full);
  ASSERT_EQ(config.tenants[0].apps.size(), 1u);
  EXPECT_EQ(config.tenants[0].apps[0].topic, "com.example.mail");
  EXPECT_EQ(config.tenants[0].apps[0].environment, ApnsEnvironment::production);
}

TEST(Config, ValuesOfEveryKindAreTaken) {
  std::string text = changed("[listen.public]\n",
                             "[listen.public]\naddresses = [\"192.0.2.1:8443\", \"[2001:DB8::1]:0\"]\n");
  text = text.replace(text.find("[store]\n"), 8, "[store]\nmap_size_bytes = 0x4000_0000\npath = \"/srv/store\"\n");
  text = text.replace(text.find("[log]\n"), 6, "[log]\nlevel = \"debug\"\noutput = \"bellhop.log\"\n");
  text += "environment = \"sandbox\"\n[[tenant]]\nid = \"second\"\nname = \"Zweiter Mandant ü\"\n"
          "ews_hosts = [\"*.example.net\"]\news_ports = [443, 8443]\n"
          "ews_private_cidrs = [\"10.0.0.0/8\", \"fd00:20::/32\", \"0.0.0.0/0\"]\npreview_max = \"sender\"\n"
          "ens2_credentials = true\n";
  ConfigOutcome outcome = parse_config(text, "/etc/bellhop/bellhop.toml");
  ASSERT_THAT(texts_of(outcome), IsEmpty());
  const Config& config = outcome.config;
  EXPECT_THAT(config.listen_public.addresses, ElementsAre(HostPort{"192.0.2.1", 8443}, HostPort{"2001:db8::1", 0}));
  EXPECT_EQ(config.store.map_size_bytes, uint64_t{1} << 30);
  EXPECT_EQ(config.store.path, "/srv/store");
  EXPECT_EQ(config.log.level, LogLevel::debug);
  EXPECT_EQ(config.log.output, "/etc/bellhop/bellhop.log");
  ASSERT_EQ(config.tenants.size(), 2u);
  EXPECT_EQ(config.tenants[0].apps[0].environment, ApnsEnvironment::sandbox);
  const TenantConfig& tenant = config.tenants[1];
  EXPECT_EQ(tenant.name, "Zweiter Mandant ü");
  EXPECT_THAT(tenant.ews_ports, ElementsAre(443, 8443));
  ASSERT_EQ(tenant.ews_private_cidrs.size(), 3u);
  EXPECT_EQ(to_text(tenant.ews_private_cidrs[0]), "10.0.0.0/8");
  EXPECT_EQ(to_text(tenant.ews_private_cidrs[1]), "fd00:20::/32");
  EXPECT_EQ(tenant.ews_private_cidrs[1].address[0], 0xfd);
  EXPECT_EQ(to_text(tenant.ews_private_cidrs[2]), "0.0.0.0/0");
  EXPECT_EQ(tenant.preview_max, PreviewPolicy::sender);
  EXPECT_TRUE(tenant.ens2_credentials);
  EXPECT_THAT(tenant.apps, IsEmpty());
}

TEST(Config, EveryBadFileIsRefusedWithTheExactMessage) {
  for (const BadConfig& bad : kBadConfigs) {
    ConfigOutcome outcome = parse_config(changed(bad.find, bad.replace), "bellhop.toml");
    std::vector<std::string> expected;
    for (std::string_view problem : bad.problems) expected.push_back("bellhop.toml:" + std::string(problem));
    EXPECT_FALSE(outcome.ok()) << bad.what;
    EXPECT_EQ(texts_of(outcome), expected) << bad.what;
  }
  EXPECT_GE(kBadConfigs.size(), 100u);
}

TEST(Config, AllFaultsOfAFileAreReportedInItsOrder) {
  ConfigOutcome outcome = parse_config(
      "public_url = 5\n"
      "[log]\n"
      "level = \"loud\"\n"
      "lines = 1\n"
      "[keys]\n"
      "rsa_bits = 4096\n"
      "pool_target = 0\n"
      "[[tenant]]\n"
      "id = \"a b\"\n",
      "x.toml");
  EXPECT_THAT(texts_of(outcome),
              ElementsAre(HasSubstr("x.toml:1:1: missing key \"keyring_file\""), HasSubstr("missing table [listen.public]"),
                          HasSubstr("missing table [listen.public]"), HasSubstr("x.toml:1:14: public_url must be a string"),
                          HasSubstr("x.toml:3:9: log.level is \"loud\""), HasSubstr("x.toml:4:1: unknown key \"lines\""),
                          HasSubstr("x.toml:6:12: keys.rsa_bits is 4096"),
                          HasSubstr("x.toml:7:15: keys.pool_target is 0"), HasSubstr("x.toml:8:1: missing key \"name\""),
                          HasSubstr("x.toml:8:1: missing key \"ews_hosts\""), HasSubstr("x.toml:9:6: tenant.id is \"a b\"")));
}

TEST(Config, AnEmptyFileNamesAllThatIsMissing) {
  EXPECT_THAT(texts_of(parse_config("", "x.toml")),
              ElementsAre(HasSubstr("\"public_url\""), HasSubstr("\"keyring_file\""), HasSubstr("\"certificate_file\""),
                          HasSubstr("\"private_key_file\""), "x.toml:1:1: there is no [[tenant]]; add one with id, name and ews_hosts"));
}

TEST(Config, RelativePathsAreTakenFromTheFolderOfTheFile) {
  ConfigOutcome outcome = parse_config(changed("[store]\n", "[store]\npath = \"lmdb\"\n"), "/etc/bellhop/bellhop.toml");
  ASSERT_TRUE(outcome.ok());
  EXPECT_EQ(outcome.config.keyring_file, "/etc/bellhop/keyring");
  EXPECT_EQ(outcome.config.store.path, "/var/lib/bellhop/lmdb");
  EXPECT_EQ(outcome.config.log.output, "stdout");
}

TEST(Config, FilesThatMustExistAreListedWithTheirPlaces) {
  ConfigOutcome outcome = parse_config(kGoodConfig, "conf/bellhop.toml");
  ASSERT_EQ(outcome.files.size(), 4u);
  EXPECT_EQ(outcome.files[0].key, "keyring_file");
  EXPECT_EQ(outcome.files[1].path, "conf/tls/server.pem");
  EXPECT_EQ(outcome.files[3].key, "tenant[0].app[0].key_file");
  EXPECT_EQ(to_text(config_missing_file("conf/bellhop.toml", outcome.files[3], ENOENT)),
            "conf/bellhop.toml:33:12: tenant[0].app[0].key_file names \"/etc/bellhop/apns/key.p8\", which cannot be read: "
            "No such file or directory; correct the path or the file's owner and mode");
  EXPECT_EQ(to_text(config_unreadable("/etc/bellhop/bellhop.toml", EACCES)),
            "/etc/bellhop/bellhop.toml:1:1: cannot read the configuration: Permission denied; correct the path or the file's owner and mode");
  EXPECT_THAT(to_text(config_unreadable("x", 99'999)), HasSubstr("errno 99999"));
}

TEST(Config, TooMuchOfAnythingIsRefused) {
  std::string large(kConfigBytesMax + 1, '#');
  EXPECT_THAT(texts_of(parse_config(large, "x")), ElementsAre("x:1:1: the file has 4194305 bytes; accepted: at most 4194304"));

  std::string hosts = "ews_hosts = [";
  for (size_t i = 0; i <= kListItemsMax; ++i) hosts += "\"h" + std::to_string(i) + ".example.com\",";
  EXPECT_THAT(texts_of(parse_config(changed("ews_hosts = [\"mail.example.com\"]", hosts + "]"), "x")),
              ElementsAre("x:27:13: tenant.ews_hosts has 1001 items; accepted: at most 1000"));

  std::string many(kGoodConfig);
  for (size_t i = 0; i < kAppsPerTenantMax; ++i) many += "[[tenant.app]]\n";
  EXPECT_THAT(texts_of(parse_config(many, "x")),
              ElementsAre(HasSubstr("there are 101 [[tenant.app]]; accepted: at most 100")));

  std::string tenants(kGoodConfig);
  for (size_t i = 0; i < kTenantsMax; ++i) tenants += "[[tenant]]\n";
  EXPECT_THAT(texts_of(parse_config(tenants, "x")), ElementsAre(HasSubstr("there are 10001 [[tenant]]; accepted: at most 10000")));

  std::string deep = "x = " + std::string(10'000, '[') + std::string(10'000, ']');
  EXPECT_THAT(texts_of(parse_config(deep, "x")), ElementsAre(HasSubstr("x:1:")));
}

TEST(Config, AFileCutBeforeItsLastRequiredKeyIsRefused) {
  size_t app = kGoodConfig.find("[[tenant.app]]");
  for (size_t size = 0; size < kGoodConfig.find("]", kGoodConfig.find("ews_hosts")); ++size) {
    EXPECT_FALSE(parse_config(kGoodConfig.substr(0, size), "x").ok()) << size;
  }
  for (size_t size = app + 1; size < kGoodConfig.find("/etc/bellhop/apns/key.p8") + 2; ++size) {
    EXPECT_FALSE(parse_config(kGoodConfig.substr(0, size), "x").ok()) << size;
  }
}

TEST(Config, MutatedFilesGiveCleanMessages) {
  std::mt19937 random(7);
  for (int round = 0; round < 2'000; ++round) {
    std::string text(kGoodConfig);
    for (int change = 0; change < 1 + round % 3; ++change) text[random() % text.size()] = static_cast<char>(random());
    for (const ConfigProblem& problem : parse_config(text, "x").problems) {
      EXPECT_GE(problem.position.line, 1u);
      EXPECT_LE(problem.position.line, 40u + 8u);
      EXPECT_EQ(problem.message.find_first_of("\r\n\033"), std::string::npos) << problem.message;
      EXPECT_TRUE(utf8_valid(problem.message));
    }
  }
}

TEST(ConfigTable, EveryDefaultIsAcceptedByItsOwnRow) {
  // All defaults, written as a file, are read without complaint about one of them and give the defaults again.
  std::string text;
  Config config;
  TenantConfig tenant;
  for (const SectionRow& section : config_sections()) {
    if (inside_repeated(section)) continue;
    if (!section.path.empty()) text += "[" + std::string(section.path) + "]\n";
    void* values = enter_section(section, config);
    for (const KeyRow& key : section.keys) {
      std::string value = value_text(key, key.member(values));
      if (key.required) value = key.example;
      if (!value.empty()) text += std::string(key.name) + " = " + value + "\n";
    }
  }
  text += kGoodConfig.substr(kGoodConfig.find("[[tenant]]"));
  ConfigOutcome outcome = parse_config(text, "x");
  ASSERT_THAT(texts_of(outcome), ElementsAre(HasSubstr("[listen.gateway] is of no use"))) << "no role runs it by default: " << text;
  EXPECT_EQ(outcome.config.listen_public.addresses, config.listen_public.addresses);
  EXPECT_EQ(outcome.config.apns.payload_bytes_max, config.apns.payload_bytes_max);
}

// The headers that lead to a section, its own the last.
std::string headers_of(const SectionRow& section) {
  if (section.path.empty()) return "";
  const SectionRow* parent = parent_of(section);
  bool named = parent && inside_repeated(*parent);
  return (named ? headers_of(*parent) : "") + section_text(section) + "\n";
}

TEST(ConfigTable, EveryExampleIsAcceptedByItsOwnRow) {
  for (const SectionRow& section : config_sections()) {
    for (const KeyRow& key : section.keys) {
      if (key.example.empty()) continue;
      // Only the problems of this value count: the rest of the file is missing, and with it what some keys go with.
      std::string text = headers_of(section) + std::string(key.name) + " = " + std::string(key.example) + "\n";
      for (const ConfigProblem& problem : parse_config(text, "x").problems) {
        EXPECT_THAT(problem.message, testing::AnyOf(HasSubstr("missing"), HasSubstr("there is no"), HasSubstr("of no use"),
                                                    HasSubstr("belong together"), HasSubstr("names no [["), HasSubstr("leads nowhere"),
                                                    HasSubstr("names neither")))
            << text;
      }
    }
  }
}

TEST(ConfigTable, EachNumberIsTakenAtItsBoundsAndRefusedBeyondThem) {
  for (const SectionRow& section : config_sections()) {
    for (const KeyRow& key : section.keys) {
      if (key.kind != KeyKind::number32 && key.kind != KeyKind::number64) continue;
      auto refused = [&](uint64_t value) {
        std::string text = headers_of(section) + std::string(key.name) + " = " + std::to_string(value) + "\n";
        std::string start = full_key(section, key.name) + " is ";
        for (const ConfigProblem& problem : parse_config(text, "x").problems) {
          if (problem.message.starts_with(start)) return true;
        }
        return false;
      };
      uint64_t min = key.numbers.empty() ? key.min : key.numbers.front();
      uint64_t max = key.numbers.empty() ? key.max : key.numbers.back();
      EXPECT_FALSE(refused(min)) << key.name;
      EXPECT_FALSE(refused(max)) << key.name;
      EXPECT_TRUE(refused(max + 1)) << key.name;
      if (min > 0) EXPECT_TRUE(refused(min - 1)) << key.name;
      if (key.kind == KeyKind::number32) EXPECT_LT(max, uint64_t{1} << 32) << key.name;
    }
  }
}

TEST(ConfigTable, KeysAreNamedOnceAndExplained) {
  for (const SectionRow& section : config_sections()) {
    EXPECT_EQ(find_config_section(section.path), &section);
    EXPECT_FALSE(section.help.empty());
    for (const KeyRow& key : section.keys) {
      EXPECT_EQ(find_config_key(section, key.name), &key) << key.name;
      EXPECT_TRUE(key.help.ends_with('.')) << key.name;
      EXPECT_EQ(key.help.find('|'), std::string_view::npos) << key.name;
    }
  }
}

TEST(Config, ReadsProxiesUpstreamsAndLoadBalancers) {
  std::string text = changed("[log]\n",
                             "[[proxy]]\n"
                             "name = \"outside\"\n"
                             "address = \"[2001:db8::1]:3128\"\n"
                             "tls = true\n"
                             "ca_file = \"proxy-ca.pem\"\n"
                             "username = \"bellhop\"\n"
                             "password_file = \"proxy-password\"\n"
                             "resolve = \"local\"\n"
                             "[[upstream]]\n"
                             "hosts = [\"mail.example.com\", \"*.example.net\"]\n"
                             "ca_file = \"exchange-ca.pem\"\n"
                             "spki_pins = [\"sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"]\n"
                             "[[upstream]]\n"
                             "hosts = [\"*\"]\n"
                             "proxy = \"outside\"\n"
                             "[log]\n");
  ConfigOutcome outcome = parse_config(text, "/etc/bellhop/bellhop.toml");
  ASSERT_THAT(texts_of(outcome), IsEmpty());
  const Config& config = outcome.config;
  ASSERT_EQ(config.proxies.size(), 1u);
  EXPECT_EQ(config.proxies[0].address, (HostPort{"2001:db8::1", 3128}));
  EXPECT_TRUE(config.proxies[0].tls);
  EXPECT_EQ(config.proxies[0].resolve, ProxyResolve::local);
  ASSERT_EQ(config.upstreams.size(), 2u);
  EXPECT_THAT(config.upstreams[0].hosts, ElementsAre("mail.example.com", "*.example.net"));
  EXPECT_EQ(config.upstreams[1].proxy, "outside");
  std::vector<std::string> files;  // `bellhop check` opens each
  for (const ConfigFileReference& file : outcome.files) files.push_back(file.key + " " + file.path);
  EXPECT_THAT(files, testing::IsSupersetOf({"proxy[0].ca_file /etc/bellhop/proxy-ca.pem",
                                            "proxy[0].password_file /etc/bellhop/proxy-password",
                                            "upstream[0].ca_file /etc/bellhop/exchange-ca.pem"}));
}

TEST(ConfigValues, AProxysUrlIsSchemeHostAndPort) {
  auto plain = parse_proxy_url("http://proxy.example.com:3128"), tls = parse_proxy_url("https://[2001:db8::1]:443");
  ASSERT_TRUE(plain && tls);
  EXPECT_EQ(plain->address, (HostPort{"proxy.example.com", 3128}));
  EXPECT_FALSE(plain->tls);
  EXPECT_TRUE(tls->tls);
  for (std::string_view bad : {"", "proxy", "proxy.example.com:3128", "http://proxy.example.com", "http://a:1/", "ftp://a:1",
                               "http://user:secret@a:1", "http://:1", "http://a:0"}) {
    EXPECT_FALSE(parse_proxy_url(bad)) << bad;
  }
}

constexpr std::string_view kGatewayTables = R"(
[listen.gateway]
addresses = ["127.0.0.1:0"]
certificate_file = "tls/gateway.pem"
private_key_file = "tls/gateway.key"

[gateway.certificates]
logon = "optional"
ca_file = "users-ca.pem"
crl_file = "users.crl"
user_domains = ["example.com"]

[gateway.kerberos]
keytab_file = "kcd.keytab"
principal = "svc-bellhop@CORP.EXAMPLE.COM"
kdcs = ["CORP.EXAMPLE.COM=dc1.corp.example.com", "CORP.EXAMPLE.COM=[2001:db8::5]:8888"]
realms = ["example.net=CORP.EXAMPLE.COM"]
channel_binding = "endpoint"

[[gateway.domain]]
name = "example.com"
netbios = "EXAMPLE"
aliases = ["example.net"]

[[gateway.client]]
name = "archive"
accounts = ["archive@example.com"]
operations = ["read", "ExportItems"]
impersonation = true

[[gateway.route]]
hosts = ["mail.example.com"]
default_domain = "example.com"
[gateway.route.ews]
upstream = "https://exchange.example.com"
ca_file = "exchange-ca.pem"
[gateway.route.activesync]
upstream = "https://exchange.example.com:8443"
redirect_to = ["https://exchange2.example.com"]
logon = "kerberos"

[[gateway.route]]
hosts = ["*.mail.example.org"]
redirects = "refuse"
[gateway.route.ews]
upstream = "https://[2001:db8::1]:444"
)";

TEST(Config, ReadsAGatewayBesideTheRest) {
  std::string text = "roles = [\"gateway\", \"public\"]\n" + std::string(kGoodConfig) + std::string(kGatewayTables);
  ConfigOutcome outcome = parse_config(text, "/etc/bellhop/bellhop.toml");
  ASSERT_THAT(texts_of(outcome), IsEmpty());
  const Config& config = outcome.config;
  EXPECT_TRUE(config.is_public() && config.is_gateway());
  EXPECT_EQ(config.listen_gateway.certificate_file, "/etc/bellhop/tls/gateway.pem");
  ASSERT_EQ(config.gateway.routes.size(), 2u);
  const GatewayRouteConfig& first = config.gateway.routes[0];
  EXPECT_EQ(first.ews.upstream, "https://exchange.example.com");
  EXPECT_EQ(first.ews.ca_file, "/etc/bellhop/exchange-ca.pem");
  EXPECT_EQ(first.activesync.logon, GatewayLogon::kerberos);
  EXPECT_THAT(first.activesync.redirect_to, ElementsAre("https://exchange2.example.com"));
  EXPECT_EQ(first.redirects, GatewayRedirects::follow);
  EXPECT_TRUE(config.gateway.routes[1].ews.on());
  EXPECT_FALSE(config.gateway.routes[1].activesync.on());
  EXPECT_EQ(config.gateway.routes[1].redirects, GatewayRedirects::refuse);
  ASSERT_EQ(config.gateway.clients.size(), 1u);
  EXPECT_THAT(config.gateway.clients[0].operations, ElementsAre("read", "ExportItems"));
  EXPECT_TRUE(config.gateway.clients[0].impersonation);
  std::vector<std::string> files;
  for (const ConfigFileReference& file : outcome.files) files.push_back(file.key);
  EXPECT_THAT(files, testing::IsSupersetOf({"listen.gateway.certificate_file", "gateway.route[0].ews.ca_file",
                                            "gateway.certificates.ca_file", "gateway.certificates.crl_file",
                                            "gateway.kerberos.keytab_file"}));
  const KerberosConfig& kerberos = config.gateway.kerberos;
  EXPECT_TRUE(kerberos.on() && config.gateway.certificates.on());
  EXPECT_EQ(kerberos.keytab_file, "/etc/bellhop/kcd.keytab");
  EXPECT_EQ(kerberos.user_names, KerberosNames::enterprise);
  EXPECT_EQ(kerberos.channel_binding, KerberosBinding::endpoint);
  EXPECT_EQ(kerberos.kdcs.size(), 2u);
  EXPECT_EQ(config.gateway.certificates.logon, CertificateLogon::optional);
}

TEST(Config, AGatewayAloneNeedsNothingOfThePublicListener) {
  std::string text = "roles = [\"gateway\"]\nkeyring_file = \"keyring\"\n" + std::string(kGatewayTables);
  EXPECT_THAT(texts_of(parse_config(text, "x")), IsEmpty());
  // And the other way round: without its role the gateway asks for no certificate.
  EXPECT_THAT(texts_of(parse_config(kGoodConfig, "x")), IsEmpty());
  std::string bare = "roles = [\"gateway\"]\nkeyring_file = \"keyring\"\n";
  EXPECT_THAT(texts_of(parse_config(bare, "x")),
              ElementsAre(HasSubstr("missing table [listen.gateway] with the key \"certificate_file\""),
                          HasSubstr("missing table [listen.gateway] with the key \"private_key_file\""),
                          HasSubstr("there is no [[gateway.route]]")));
}

TEST(Config, AGatewayThatNoRoleRunsIsNamedAtItsTable) {
  std::string without = std::string(kGoodConfig) + std::string(kGatewayTables);
  size_t lines = static_cast<size_t>(std::ranges::count(without.substr(0, without.find("[listen.gateway]")), '\n'));
  std::string wanted = "no gateway runs; write roles = [\"public\", \"gateway\"] at the top of the file, or [\"gateway\"] for a "
                       "gateway alone";
  EXPECT_THAT(texts_of(parse_config(without, "x")),
              ElementsAre(testing::AllOf(HasSubstr(fmt::format("{}:1: [listen.gateway] is of no use", lines + 1)), HasSubstr(wanted))));
  EXPECT_THAT(texts_of(parse_config("roles = [\"public\"]\n" + without, "x")), ElementsAre(HasSubstr(wanted)));
  std::string route = std::string(kGoodConfig) + "[[gateway.route]]\nhosts = [\"mail.example.com\"]\n[gateway.route.ews]\n"
                      "upstream = \"https://exchange.example.com\"\n";
  EXPECT_THAT(texts_of(parse_config(route, "x")),
              ElementsAre(testing::AllOf(HasSubstr("[[gateway.route]] is of no use"), HasSubstr(wanted))));
  // The rest of [gateway] may stand ready.
  std::string ready = std::string(kGoodConfig) + "[gateway]\noperations = [\"read\"]\n[[gateway.domain]]\nname = \"example.com\"\n"
                      "[[gateway.client]]\nname = \"archive\"\naccounts = [\"archive@example.com\"]\noperations = [\"read\"]\n";
  EXPECT_THAT(texts_of(parse_config(ready, "x")), IsEmpty());
}

TEST(Config, RefusesGatewaysThatCannotWork) {
  struct Fault {
    std::string_view find, replace, problem;
  };
  constexpr Fault kFaults[] = {
      {"https://exchange.example.com\"", "http://exchange.example.com\"", "must begin with \"https://\""},
      {"https://exchange.example.com\"", "https://exchange.example.com/EWS\"", "no path"},
      {"upstream = \"https://[2001:db8::1]:444\"\n", "", "missing key \"upstream\" in [gateway.route.ews]"},
      {"[gateway.route.ews]\nupstream = \"https://[2001:db8::1]:444\"\n", "", "[[gateway.route]] leads nowhere"},
      {"*.mail.example.org", "mail.example.com", "gateway.route.hosts names \"mail.example.com\", which the [[gateway.route]]"},
      {"aliases = [\"example.net\"]", "aliases = [\"example.com\"]", "an account would be two"},
      {"accounts = [\"archive@example.com\"]\n", "", "would let every account act for others"},
      {"\"ExportItems\"", "\"ExportItem\"", "must be an operation of EWS"},
      {"logon = \"kerberos\"", "logon = \"kerberos\"\nshare_connections = true", "cannot go with logon = \"kerberos\""},
      {"logon = \"optional\"", "logon = \"none\"", "gateway.route.activesync.logon is \"kerberos\", for users who show"},
      {"keytab_file = \"kcd.keytab\"\n", "", "gateway.kerberos.keytab_file and principal belong together"},
      {"principal = \"svc-bellhop@CORP.EXAMPLE.COM\"\n", "", "gateway.kerberos.keytab_file and principal belong together"},
      {"svc-bellhop@CORP", "svc-bellhop", "must be an account, \"@\" and its realm"},
      {"ca_file = \"users-ca.pem\"\n", "", "nothing says whose are good; add ca_file and user_domains"},
      {"user_domains = [\"example.com\"]\n", "", "nothing says whose are good; add ca_file and user_domains"},
      {"CORP.EXAMPLE.COM=dc1.corp", "dc1.corp", "must be a realm, \"=\" and a host"},
      {"example.net=CORP", "Example.net=CORP", "must be a domain in lower case, \"=\" and its realm"},
      {"ca_file = \"exchange-ca.pem\"", "client_certificate_file = \"a.pem\"", "belong together"},
      {"default_domain = \"example.com\"", "tenant = \"nobody\"", "gateway.route.tenant \"nobody\" names no [[tenant]]"},
      {"127.0.0.1:0", "127.0.0.1:9443", "which listen.admin.address names too"},
      {"addresses = [\"127.0.0.1:0\"]", "addresses = [\"0.0.0.0:443\"]", "which listen.public.addresses names too"},
      {"redirects = \"refuse\"", "redirects = \"pass\"", "gateway.route.redirects is \"pass\""},
  };
  for (const Fault& fault : kFaults) {
    std::string text = "roles = [\"public\", \"gateway\"]\n" + std::string(kGoodConfig) + std::string(kGatewayTables);
    size_t at = text.find(fault.find);
    ASSERT_NE(at, std::string::npos) << fault.find;
    text.replace(at, fault.find.size(), fault.replace);
    EXPECT_THAT(texts_of(parse_config(text, "x")), testing::Contains(HasSubstr(fault.problem))) << fault.problem;
  }
}

TEST(ConfigReference, TheDocumentIsWhatTheTableSays) {
  std::ifstream file(BELLHOP_SOURCE_DIR "/docs/configuration.md");
  ASSERT_TRUE(file.is_open());
  std::string document{std::istreambuf_iterator<char>(file), {}};
  EXPECT_EQ(document, config_reference_markdown()) << "write docs/configuration.md anew from config_reference_markdown()";
}

TEST(ConfigValues, HostNamesAreNotAddressesInDisguise) {
  for (std::string_view good : {"localhost", "a.b", "mail-1.example.com", "1and1.example.com", "3.example"}) {
    EXPECT_TRUE(is_host_name(good)) << good;
  }
  for (std::string_view bad : {"", ".", "a..b", "-a.com", "a-.com", "a.", "1.2.3.4", "127.1", "0x7f000001", "a.0x1", "A.com",
                               "a b", "a%00.com", "1", "a.1"}) {
    EXPECT_FALSE(is_host_name(bad)) << bad;
  }
  EXPECT_TRUE(is_host_name(std::string(63, 'a') + ".com"));
  EXPECT_FALSE(is_host_name(std::string(64, 'a') + ".com"));
}

// The reference is made from the table: what is left out there would be left out here.
TEST(ConfigTable, EveryKeyTellsItsMeaningRangeAndUnit) {
  constexpr std::pair<std::string_view, std::string_view> kUnits[] = {
      {"_ms", "ms"}, {"seconds", "seconds"}, {"minutes", "minutes"}, {"hours", "hours"}, {"percent", "%"}, {"bits", "bits"}};
  for (const SectionRow& section : config_sections()) {
    EXPECT_THAT(std::string(section.help), testing::EndsWith(".")) << section.path;
    for (const KeyRow& key : section.keys) {
      std::string name = full_key(section, key.name);
      EXPECT_THAT(std::string(key.help), testing::EndsWith(".")) << name;
      bool is_number = key.kind == KeyKind::number32 || key.kind == KeyKind::number64;
      if (is_number) {
        EXPECT_TRUE(!key.numbers.empty() || key.min < key.max) << name;
        bool bytes = key.name.find("bytes") != std::string_view::npos;
        if (bytes) EXPECT_TRUE(key.unit == "bytes" || key.unit == "bytes/s") << name;
        for (auto [word, unit] : kUnits) {
          if (key.name.find(word) != std::string_view::npos) EXPECT_EQ(key.unit, unit) << name;
        }
      } else if (key.kind != KeyKind::boolean && key.kind != KeyKind::choice) {
        EXPECT_FALSE(key.example.empty()) << name;
      }
    }
  }
}

TEST(ConfigValues, OnlyLoopbackIsLoopback) {
  EXPECT_TRUE(is_loopback_address("127.0.0.1"));
  EXPECT_TRUE(is_loopback_address("127.9.9.9"));
  EXPECT_TRUE(is_loopback_address("::1"));
  for (std::string_view other : {"128.0.0.1", "0.0.0.0", "::", "::2", "localhost", "::ffff:10.0.0.1"}) {
    EXPECT_FALSE(is_loopback_address(other)) << other;
  }
}

TEST(ConfigValues, TheClosestWordIsASlipAway) {
  constexpr std::string_view words[] = {"level", "output", "lines_per_event_per_second_max"};
  EXPECT_EQ(closest_word("leevl", words), "level");
  EXPECT_EQ(closest_word("OUTPUT", words), "output");
  EXPECT_EQ(closest_word("lines_per_event", words), "lines_per_event_per_second_max");
  EXPECT_EQ(closest_word("colour", words), std::nullopt);
  EXPECT_EQ(closest_word("", words), std::nullopt);
  EXPECT_EQ(closest_word(std::string(65, 'a'), words), std::nullopt);
}

}  // namespace
}  // namespace bellhop::service
