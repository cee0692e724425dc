// SPDX-License-Identifier: Apache-2.0
#include "service/seg_import.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "service/config.h"

namespace bellhop::service {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr std::string_view kPin = "sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

SegImport import(std::string_view text, SegImportOptions options = {}) {
  if (options.file_name.empty()) options.file_name = "seg.properties";
  return import_seg(text, options);
}

// The configuration of a gateway that the tables make.
Config config_of(const SegImport& made, std::string_view further = "") {
  for (const SegNote& note : made.notes) {
    if (note.refused) ADD_FAILURE() << note.line << ": " << note.text;
  }
  std::string text = "keyring_file = \"keyring\"\nroles = [\"gateway\"]\n" + made.toml;
  size_t at = text.find("[listen.gateway]\n");
  EXPECT_NE(at, text.npos) << text;
  text.insert(at + std::string_view("[listen.gateway]\n").size(), "certificate_file = \"a.pem\"\nprivate_key_file = \"a.key\"\n");
  text += "[[tenant]]\nid = \"a\"\nname = \"A\"\news_hosts = [\"mail.example.com\"]\n";
  text += further;
  ConfigOutcome outcome = parse_config(text, "/etc/bellhop/bellhop.toml");
  for (const ConfigProblem& problem : outcome.problems) ADD_FAILURE() << to_text(problem) << "\n" << text;
  return outcome.config;
}

// "line text" of those that were refused.
std::vector<std::string> refusals(const SegImport& made) {
  std::vector<std::string> all;
  for (const SegNote& note : made.notes) {
    if (note.refused) all.push_back(fmt::format("{} {}", note.line, note.text));
  }
  return all;
}

constexpr std::string_view kWhole = R"(# SEG
external.url=https://mail.example.com:443
listener.port=8443
email.server.host.and.port=https://exchange.corp.example:444
ews.email.server.host.and.port=https://ews.corp.example:443
email.server.connection.timeout=7000
email.server.response.timeout=90000
email.server.idle.timeout.seconds=45
email.server.max.connections=500
ignoreSslErrorsWithExch=false
)";

TEST(SegImport, OneMailServerBecomesOneRouteWithBothEndpoints) {
  SegImport made = import(kWhole);
  EXPECT_THAT(made.notes, IsEmpty());
  Config config = config_of(made);
  ASSERT_EQ(config.gateway.routes.size(), 1u);
  const GatewayRouteConfig& route = config.gateway.routes[0];
  EXPECT_THAT(route.hosts, ElementsAre("mail.example.com"));
  EXPECT_EQ(route.activesync.upstream, "https://exchange.corp.example:444");
  EXPECT_EQ(route.ews.upstream, "https://ews.corp.example:443");
  for (const GatewayEndpointConfig* endpoint : {&route.activesync, &route.ews}) {
    EXPECT_EQ(endpoint->connect_timeout_ms, 7'000u) << "SEG has one set for both";
    EXPECT_EQ(endpoint->answer_timeout_ms, 90'000u);
    EXPECT_EQ(endpoint->idle_timeout_ms, 45'000u);
    EXPECT_EQ(endpoint->connections_max, 500u);
    EXPECT_EQ(endpoint->ca_file, "");
  }
  EXPECT_THAT(config.listen_gateway.addresses, ElementsAre(HostPort{"0.0.0.0", 8443}, HostPort{"::", 8443}));
  EXPECT_THAT(made.toml, HasSubstr("connect_timeout_ms = 7000  # email.server.connection.timeout, line 6\n"));
}

TEST(SegImport, NamesAreReadByTheirWords) {
  for (std::string_view name : {"email.server.host.and.port", "emailServerHostAndPort", "EMAIL_SERVER_HOST_AND_PORT",
                                "email-server-url", "exchangeServerURL"}) {
    SegImport made = import(fmt::format("{}=https://mail.corp.example\n", name), {.hosts = {"Mail.example.com"}});
    Config config = config_of(made);
    ASSERT_EQ(config.gateway.routes.size(), 1u) << name;
    EXPECT_EQ(config.gateway.routes[0].activesync.upstream, "https://mail.corp.example:443") << name;
    EXPECT_THAT(config.gateway.routes[0].hosts, ElementsAre("mail.example.com"));
    EXPECT_FALSE(config.gateway.routes[0].ews.on()) << "nobody asked for it";
    EXPECT_THAT(made.toml, HasSubstr("# EWS is not passed on"));
  }
}

TEST(SegImport, EwsMayBeSwitchedOnWithoutAServerOfItsOwnAndOff) {
  std::string base = "external.url=mail.example.com\nemail.server.host.and.port=mail.corp.example:443\n";
  EXPECT_EQ(config_of(import(base + "enable.boxer.ens.ews.proxy=true\n")).gateway.routes.at(0).ews.upstream,
            "https://mail.corp.example:443");
  SegImport off = import(base + "ews.email.server.host.and.port=https://e.corp.example:443\nenable.boxer.ens.ews.proxy=false\n");
  EXPECT_FALSE(config_of(off).gateway.routes.at(0).ews.on());
  EXPECT_THAT(refusals(import("external.url=mail.example.com\nenable.boxer.ens.ews.proxy=true\n")), Not(IsEmpty()));
}

TEST(SegImport, ASettingOfEwsAloneIsOfEwsAlone) {
  Config config = config_of(import(std::string(kWhole) + "ews.email.server.connection.timeout=9000\n"));
  EXPECT_EQ(config.gateway.routes.at(0).ews.connect_timeout_ms, 9'000u);
  EXPECT_EQ(config.gateway.routes.at(0).activesync.connect_timeout_ms, 7'000u);
}

TEST(SegImport, IgnoringCertificatesIsRefusedAndTheSafeWayIsNamed) {
  for (std::string_view line : {"ignoreSslErrorsWithExch=true", "ignore.ssl.errors.with.exch = TRUE", "email.server.trust.all=1",
                                "exchange.skip.certificate.verification=yes"}) {
    SegImport made = import(std::string(kWhole) + std::string(line) + "\n");
    EXPECT_FALSE(made.ok()) << line;
    EXPECT_THAT(refusals(made), ElementsAre(testing::AllOf(testing::StartsWith("11 "), HasSubstr("ca_file"), HasSubstr("--ca-file"),
                                                           HasSubstr("spki_pins")))) << line;
  }
}

TEST(SegImport, AnAuthorityOrAKeyTakesThePlaceOfIgnoring) {
  std::string text = std::string(kWhole) + "ignoreSslErrorsWithExch=true\n";
  SegImport made = import(text, {.ca_file = "/etc/bellhop/tls/exchange \"ca\".pem"});
  Config config = config_of(made);
  EXPECT_EQ(config.gateway.routes.at(0).activesync.ca_file, "/etc/bellhop/tls/exchange \"ca\".pem");
  EXPECT_EQ(config.gateway.routes.at(0).ews.ca_file, "/etc/bellhop/tls/exchange \"ca\".pem");
  EXPECT_THAT(made.toml, HasSubstr("# in place of ignoreSslErrorsWithExch, line 11\n"));
  EXPECT_THAT(config_of(import(text, {.spki_pins = {std::string(kPin)}})).gateway.routes.at(0).ews.spki_pins, ElementsAre(kPin));
  EXPECT_THAT(refusals(import(text, {.spki_pins = {"sha256/short"}})), ElementsAre(HasSubstr("--spki-pin")));
}

TEST(SegImport, WhatWouldBeUnsafeIsRefused) {
  struct Case {
    std::string_view line, words;
  };
  for (auto [line, words] : {Case{"ignoreSslErrorsWithAW=true", "[[upstream]]"},
                             Case{"email.server.url=http://mail.corp.example:80", "https://"},
                             Case{"allow.email.flow.if.no.policies.are.present=true", "stale_after_minutes"},
                             Case{"terminate.ssl.on.seg=false", "proxy_protocol"}, Case{"ssl.offload=true", "proxy_protocol"},
                             Case{"ntlm.enabled=true", "NTLM"}, Case{"email.server.port=443", "behind the host"},
                             Case{"email.server.connection.timeout=0", "100 to"},
                             Case{"email.server.read.timeout=30", "milliseconds"},
                             Case{"ignoreSslErrorsWithExch=maybe", "neither true nor false"},
                             Case{"external.url=https://192.0.2.1", "host name"}, Case{"listener.port=70000", "65535"},
                             Case{"emailServerConnectionTimeout=8000", "email.server.connection.timeout in line 6"}}) {
    std::vector<std::string> refused = refusals(import(std::string(kWhole) + std::string(line) + "\n"));
    ASSERT_FALSE(refused.empty()) << line;
    EXPECT_THAT(refused.front(), testing::AllOf(testing::StartsWith("11 "), HasSubstr(words))) << line;
  }
}

TEST(SegImport, SettingsThatAreOffAreSilent) {
  SegImport made = import(std::string(kWhole) + "ignoreSslErrorsWithAW=false\nallow.email.flow.if.no.policies=false\n"
                          "terminate.ssl.on.seg=true\nntlm.enabled=false\nkerberos.enabled=false\n");
  EXPECT_THAT(made.notes, IsEmpty());
  EXPECT_TRUE(made.ok());
}

TEST(SegImport, WhatIsDoneInAnotherWayIsLeftOutWithWords) {
  SegImport made = import(std::string(kWhole) +
                          "api.server.url=https://as.example.com\nseg.ssl.keystore.password=hunter2\nsyslog.host=logs\n"
                          "outbound.proxy.host=proxy\ndelta.sync.interval=10\nfrobnicate=hunter2\n");
  EXPECT_TRUE(made.ok());
  ASSERT_EQ(made.notes.size(), 6u);
  std::vector<std::string_view> words = {"/v1/compliance", "PEM", "[log]", "[[proxy]]", "[[policy.source]]", "no setting of this name"};
  for (size_t i = 0; i < words.size(); ++i) {
    EXPECT_FALSE(made.notes[i].refused);
    EXPECT_EQ(made.notes[i].line, 11 + i);
    EXPECT_THAT(made.notes[i].text, HasSubstr(words[i]));
    EXPECT_THAT(made.notes[i].text, Not(HasSubstr("hunter2"))) << "values may be passwords";
  }
  EXPECT_THAT(made.toml, Not(HasSubstr("hunter2")));
}

TEST(SegImport, HostsThatNoConfigurationMayNameAreRefused) {
  // A last label that some resolvers would read as a number.
  EXPECT_THAT(refusals(import("external.url=https://mail.example.0xcom\nemail.server.host.and.port=https://ex.example:443\n")),
              ElementsAre(HasSubstr("1 external.url: is no https://host:port with a host name"), HasSubstr("no setting says which host name")));
  EXPECT_THAT(refusals(import("external.url=https://mail.example.com\nemail.server.host.and.port=https://ex.example.0xcom:443\n")),
              testing::Contains(HasSubstr("2 email.server.host.and.port: it must be \"https://\" with a host")));
}

TEST(SegImport, KerberosIsALogonOfTheGateway) {
  SegImport made = import(std::string(kWhole) + "kerberos.enabled=true\n");
  EXPECT_THAT(made.notes, IsEmpty()) << "nothing of it is left out";
  EXPECT_THAT(made.toml, HasSubstr("[gateway.certificates] and [gateway.kerberos]; docs/kerberos.md"));
  Config config = config_of(made,
                            "[gateway.certificates]\nlogon = \"required\"\nca_file = \"users.pem\"\nuser_domains = [\"example.com\"]\n"
                            "[gateway.kerberos]\nkeytab_file = \"kcd.keytab\"\nprincipal = \"svc-bellhop@CORP.EXAMPLE\"\n"
                            "user_names = \"principal\"\n");
  EXPECT_EQ(config.gateway.routes.at(0).ews.logon, GatewayLogon::kerberos);
  EXPECT_EQ(config.gateway.routes.at(0).activesync.logon, GatewayLogon::kerberos);
}

TEST(SegImport, ALaterLineOfTheSameNameCounts) {
  Config config = config_of(import(std::string(kWhole) + "email.server.connection.timeout=8000\n"));
  EXPECT_EQ(config.gateway.routes.at(0).activesync.connect_timeout_ms, 8'000u);
}

// "line text" of those that were left out.
std::vector<std::string> left_out(const SegImport& made) {
  std::vector<std::string> all;
  for (const SegNote& note : made.notes) {
    if (!note.refused) all.push_back(fmt::format("{} {}", note.line, note.text));
  }
  return all;
}

TEST(SegImport, EachTimeoutBecomesTheKeyOfItsKindOrNone) {
  std::string base = "external.url=mail.example.com\nemail.server.host.and.port=mail.corp.example:443\n";
  Config config = config_of(import(base + "email.server.connection.idle.timeout=60000\nemail.server.connect.timeout=6000\n"
                                          "email.server.ssl.handshake.timeout=4000\nemail.server.ping.timeout=3600000\n"
                                          "email.server.timeout=70000\n"));
  const GatewayEndpointConfig& endpoint = config.gateway.routes.at(0).activesync;
  EXPECT_EQ(endpoint.idle_timeout_ms, 60'000u);
  EXPECT_EQ(endpoint.connect_timeout_ms, 6'000u);
  EXPECT_EQ(endpoint.handshake_timeout_ms, 4'000u);
  EXPECT_EQ(endpoint.parked_answer_timeout_ms, 3'600'000u);
  EXPECT_EQ(endpoint.answer_timeout_ms, 70'000u);
  for (std::string_view name : {"email.server.keep.alive.timeout", "emailServerKeepAliveTimeout", "email.server.keepalive.timeout",
                                "email.server.connection.pool.idle.timeout"}) {
    SegImport made = import(base + std::string(name) + "=61000\nemail.server.response.timeout=50000\n");
    EXPECT_EQ(config_of(made).gateway.routes.at(0).activesync.idle_timeout_ms, 61'000u) << name;
    EXPECT_THAT(made.notes, IsEmpty()) << name;
  }
  for (std::string_view name : {"email.server.connection.request.timeout", "email.server.connection.pool.timeout",
                                "email.server.ssl.session.timeout", "email.server.shutdown.timeout"}) {
    SegImport made = import(base + std::string(name) + "=61000\n");
    EXPECT_THAT(left_out(made), ElementsAre(HasSubstr("bellhop has no timeout of this kind"))) << name;
    EXPECT_THAT(made.toml, Not(HasSubstr("61000"))) << name;
  }
  EXPECT_THAT(refusals(import(base + "email.server.ping.timeout=60000\n")),
              ElementsAre(HasSubstr("3 email.server.ping.timeout: becomes parked_answer_timeout_ms, which cannot be below")));
  EXPECT_TRUE(import(base + "email.server.ping.timeout=60000\nemail.server.response.timeout=60000\n").ok());
  SegImport made = import(base + "email.server.max.idle.connections=20\n");
  EXPECT_THAT(left_out(made), ElementsAre(HasSubstr("connections_max")));
  EXPECT_THAT(made.toml, Not(HasSubstr("connections_max")));
}

TEST(SegImport, ALaterLineOfTheSameNameCountsForSwitchesToo) {
  SegImport off = import(std::string(kWhole) + "kerberos.enabled=true\nkerberos.enabled=false\n");
  EXPECT_EQ(config_of(off).gateway.routes.at(0).activesync.logon, GatewayLogon::client);
  EXPECT_THAT(off.toml, Not(HasSubstr("logon")));
  EXPECT_THAT(import(std::string(kWhole) + "kerberos.enabled=false\nkerberos.enabled=true\n").toml, HasSubstr("logon = \"kerberos\""));
  for (std::string_view name : {"ignoreSslErrorsWithExch", "ntlm.enabled", "ssl.offload"}) {
    EXPECT_TRUE(import(fmt::format("{}{}=true\n{}=false\n", kWhole, name, name)).ok()) << name;
    EXPECT_THAT(refusals(import(fmt::format("{}{}=false\n{}=true\n", kWhole, name, name))), ElementsAre(testing::StartsWith("12 ")))
        << name;
  }
  EXPECT_TRUE(config_of(import(std::string(kWhole) + "ews.enabled=false\news.enabled=true\n")).gateway.routes.at(0).ews.on());
  EXPECT_THAT(refusals(import(std::string(kWhole) + "kerberos.enabled=true\nkerberosEnabled=false\n")),
              ElementsAre(HasSubstr("12 kerberosEnabled: says otherwise than kerberos.enabled in line 11")));
}

TEST(SegImport, ASettingOfEwsIsNoSwitchOfIt) {
  for (std::string_view line : {"ews.kerberos.enabled=false", "ews.ntlm.enabled=false", "ews.oauth.enabled=false",
                                "ews.attachments.enabled=false"}) {
    SegImport made = import(std::string(kWhole) + std::string(line) + "\n");
    EXPECT_TRUE(config_of(made).gateway.routes.at(0).ews.on()) << line;
  }
  SegImport alone = import(std::string(kWhole) + "kerberos.enabled=true\news.kerberos.enabled=false\n");
  EXPECT_THAT(alone.toml.substr(alone.toml.find("[gateway.route.ews]")), Not(HasSubstr("logon")));
  EXPECT_THAT(alone.toml, HasSubstr("logon = \"kerberos\"  # kerberos.enabled, line 11"));
}

TEST(SegImport, WithoutEwsEachOfItsSettingsIsLeftOutWithALine) {
  std::string base = "external.url=mail.example.com\nemail.server.host.and.port=mail.corp.example:443\n";
  std::string of_ews = "ews.email.server.connection.timeout=9000\news.kerberos.enabled=true\n";
  SegImport off = import(base + "ews.email.server.host.and.port=https://e.corp.example:443\n" + of_ews +
                         "enable.boxer.ens.ews.proxy=false\n");
  EXPECT_FALSE(config_of(off).gateway.routes.at(0).ews.on());
  auto dropped = HasSubstr("EWS is not passed on, for enable.boxer.ens.ews.proxy in line 6 is off");
  EXPECT_THAT(left_out(off), ElementsAre(testing::AllOf(testing::StartsWith("3 ews.email.server.host.and.port: "), dropped),
                                         testing::AllOf(testing::StartsWith("4 ews.email.server.connection.timeout: "), dropped),
                                         testing::AllOf(testing::StartsWith("5 ews.kerberos.enabled: "), dropped)));
  auto unnamed = HasSubstr("no setting names its server");
  EXPECT_THAT(left_out(import(base + of_ews)), ElementsAre(unnamed, unnamed));
  SegImport ews_alone = import("external.url=mail.example.com\news.email.server.host.and.port=e.corp.example\n" + of_ews +
                               "email.server.connection.timeout=8000\nemail.server.response.timeout=80000\n");
  EXPECT_THAT(left_out(ews_alone), ElementsAre(HasSubstr("5 email.server.connection.timeout: ActiveSync is not passed on")))
      << "what EWS takes from the mail server is not left out";
  EXPECT_THAT(ews_alone.toml, HasSubstr("answer_timeout_ms = 80000"));
}

TEST(SegImport, NtlmIsRefusedByNameAndByValue) {
  for (std::string_view line : {"ews.ntlm.enabled=true", "authentication.type=NTLM", "ews.authentication.method=Basic, ntlm",
                                "email.server.auth.scheme=NTLMv2", "ntlm.domain=CORP", "ntlmV2Enabled=true"}) {
    EXPECT_THAT(refusals(import(std::string(kWhole) + std::string(line) + "\n")),
                ElementsAre(testing::AllOf(testing::StartsWith("11 "), HasSubstr("NTLM proves"), HasSubstr("OAuth"),
                                           Not(HasSubstr("CORP")))))
        << line;
  }
  EXPECT_TRUE(import(std::string(kWhole) + "authentication.type=Basic\nauthentication.password=ntlm\n").ok());
}

TEST(SegImport, NamesInCertificatesAreAlwaysVerified) {
  for (std::string_view line : {"email.server.verify.hostname=false", "hostname.verification.enabled=no", "ignoreHostname=true",
                                "email.server.hostname.verification.disabled=true"}) {
    for (const SegImportOptions& options : {SegImportOptions{}, SegImportOptions{.ca_file = "/ca.pem"}}) {
      SegImport made = import(std::string(kWhole) + std::string(line) + "\n", options);
      EXPECT_THAT(refusals(made), ElementsAre(testing::AllOf(testing::StartsWith("11 "), HasSubstr("--ca-file"),
                                                             HasSubstr("names in certificates are always verified")))) << line;
    }
  }
  EXPECT_THAT(refusals(import(std::string(kWhole) + "email.server.ssl.verification=false\n")), ElementsAre(HasSubstr("--spki-pin")));
  EXPECT_THAT(import(std::string(kWhole) + "email.server.verify.hostname=true\nemail.server.ssl.verification=true\n").notes, IsEmpty());
}

TEST(SegImport, TheTablesSayWhichRolesTheyNeed) {
  SegImport made = import(kWhole);
  EXPECT_THAT(made.toml, testing::AllOf(HasSubstr("roles = [\"gateway\"] for a gateway alone"),
                                        HasSubstr("roles = [\"public\", \"gateway\"] beside")));
  ConfigOutcome outcome = parse_config("keyring_file = \"keyring\"\n" + made.toml, "/etc/bellhop/bellhop.toml");
  EXPECT_THAT(outcome.problems, testing::Contains(testing::Field(&ConfigProblem::message, HasSubstr("no gateway runs"))));
}

TEST(SegImport, WithoutServerOrHostThereIsNothing) {
  EXPECT_THAT(refusals(import("")), ElementsAre(HasSubstr("--host"), HasSubstr("email.server.host.and.port")));
  EXPECT_THAT(refusals(import("email.server.url=mail.corp.example\n", {.hosts = {"not a host"}})),
              ElementsAre(HasSubstr("not a host"), HasSubstr("--host")));
  EXPECT_THAT(refusals(import("a=\\u12\n")), ElementsAre(testing::StartsWith("1 a \\u that")));
}

}  // namespace
}  // namespace bellhop::service
