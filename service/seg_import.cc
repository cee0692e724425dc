// SPDX-License-Identifier: Apache-2.0
#include "service/seg_import.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <optional>

#include "core/base/bytes.h"
#include "core/base/check.h"
#include "proto/properties.h"
#include "proto/url.h"
#include "service/config_table.h"
#include "service/seg_words.h"

namespace bellhop::service {
namespace {

constexpr std::string_view kListener = "listen.gateway";
constexpr std::string_view kRoute = "gateway.route";
constexpr std::string_view kEws = "gateway.route.ews";
constexpr std::string_view kActiveSync = "gateway.route.activesync";
constexpr std::string_view kEwsSwitch = "ews";
constexpr std::string_view kLogonKerberos = "\"kerberos\"", kLogonClient = "\"client\"";  // in TOML

// What one key of ours gets, and from where.
struct Assigned {
  std::string value;  // in TOML
  std::string from;   // name of the setting; or of the option
  uint32_t line = 0;
};
using Table = std::map<std::string, Assigned, std::less<>>;

const KeyRow& row_of(std::string_view section, std::string_view key) {
  const SectionRow* found = find_config_section(section);
  BH_CHECK(found != nullptr);
  const KeyRow* row = find_config_key(*found, key);
  BH_CHECK(row != nullptr);
  return *row;
}

// Reads the settings one after the other. Lives for one call of import_seg.
class Importer {
 public:
  explicit Importer(const SegImportOptions& options) : options_(options) {}

  void read(const proto::Property& property);
  SegImport finish();

 private:
  struct Setting {
    std::string name;  // as it may be shown
    std::string_view value;
    uint32_t line;
    SegWords words;
    SegSubject subject;
  };

  bool read_trust(const Setting& setting);
  void refuse_unverified(const Setting& setting);
  bool read_places(const Setting& setting);
  bool read_logon(const Setting& setting);
  bool read_switches(const Setting& setting);
  bool read_numbers(const Setting& setting);
  bool read_others(const Setting& setting);

  void read_upstream(const Setting& setting);
  void read_external(const Setting& setting);
  void read_port(const Setting& setting);
  void read_timeout(const Setting& setting, std::string_view key);
  void read_number(const Setting& setting, std::string_view key, uint64_t factor);
  std::optional<bool> flag(const Setting& setting);

  void assign(Table& table, std::string_view key, std::string value, const Setting& setting);
  Table& table_of(const Setting& setting) { return setting.subject == SegSubject::ews ? ews_ : mail_; }
  void refuse_line(uint32_t line, std::string text) { import_.notes.push_back({line, true, std::move(text)}); }
  void refuse(const Setting& setting, std::string_view why) {
    refuse_line(setting.line, fmt::format("{}: {}", setting.name, why));
  }
  void leave(const Setting& setting, std::string_view why) {
    import_.notes.push_back({setting.line, false, fmt::format("{}: {}", setting.name, why)});
  }
  void drop(const Table& table, std::string_view why);
  void settle_ews();
  void settle_logon();
  void settle_timeouts();
  void settle_trust();
  void settle_hosts();
  void write_table(std::string_view section, const Table& table, std::string_view brackets);

  const SegImportOptions& options_;
  SegImport import_;
  Table listener_, route_, mail_, ews_;
  Table switches_;  // kEwsSwitch: "true" or "false"
  std::vector<std::string> hosts_;
  std::string hosts_from_;
  std::optional<Assigned> ignores_certificate_;
};

void Importer::read(const proto::Property& property) {
  SegWords words(property.name);
  Setting setting{.name = shown_setting(property.name), .value = ascii_trim(property.value), .line = property.line, .words = words,
                  .subject = subject_of(words)};
  if (read_trust(setting) || read_places(setting) || read_logon(setting) || read_switches(setting) || read_numbers(setting)) return;
  if (!read_others(setting)) leave(setting, "bellhop has no setting of this name; docs/configuration.md lists its own");
}

std::optional<bool> Importer::flag(const Setting& setting) {
  std::optional<bool> value = parse_seg_flag(setting.value);
  if (!value) refuse(setting, "is neither true nor false; write one of them");
  return value;
}

// Each name comes once here. Two names that say the same differently do not say what counts.
void Importer::assign(Table& table, std::string_view key, std::string value, const Setting& setting) {
  auto place = table.find(key);
  if (place != table.end() && place->second.value != value) {
    refuse(setting, fmt::format("says otherwise than {} in line {}; remove one", place->second.from, place->second.line));
    return;
  }
  table.insert_or_assign(std::string(key), Assigned{std::move(value), setting.name, setting.line});
}

// What would switch the verification of certificates off, or of the names in them.
bool Importer::read_trust(const Setting& setting) {
  const SegWords& words = setting.words;
  bool tls = words.any({"ssl", "tls", "certificate", "certificates", "cert", "hostname"});
  bool ignores = words.any({"ignore", "ignores", "ignored", "skip", "skips", "skipped", "disable", "disabled"}) && tls;
  bool trusts_all = words.any({"trust"}) && words.any({"all", "any"});
  bool of_clients = words.any({"client", "clients", "user", "users", "device", "devices"}) && !words.any({"hostname", "host"});
  bool verifies = words.any({"verify", "verifies", "verification", "verifier", "validate", "validation", "strict"}) &&
                  (tls || words.any({"host", "name", "names"})) && !of_clients;
  if (!ignores && !trusts_all && !verifies) return false;
  std::optional<bool> on = flag(setting);
  if (on && *on == (ignores || trusts_all)) refuse_unverified(setting);
  return true;
}

void Importer::refuse_unverified(const Setting& setting) {
  if (setting.subject == SegSubject::console) {
    refuse(setting, "certificates are always verified, the compliance source's too; give its authority or key in an [[upstream]] "
                    "for its host (ca_file, spki_pins), and set this the other way");
  } else if (setting.words.any({"hostname", "host", "name", "names"})) {
    refuse(setting, "names in certificates are always verified, or any server with a good certificate could get the passwords; write "
                    "the host as Exchange's certificate names it in the setting that names the host, name its authority with --ca-file "
                    "FILE (ca_file) where it is not public, and remove this");
  } else if (options_.ca_file.empty() && options_.spki_pins.empty()) {
    refuse(setting, "certificates are always verified, or whoever answers in Exchange's place gets the passwords; name who vouches "
                    "for Exchange's certificate with --ca-file FILE (ca_file), or its key with --spki-pin sha256/BASE64 (spki_pins), "
                    "which a self-signed one may have too");
  } else {
    ignores_certificate_ = Assigned{{}, setting.name, setting.line};
  }
}

bool Importer::read_places(const Setting& setting) {
  const SegWords& words = setting.words;
  bool place = words.any({"host", "hostname", "url", "uri", "address", "fqdn"}), port = words.any({"port"});
  if (words.any({"proxy"}) && (place || port || words.any({"user", "username", "password"}))) {
    leave(setting, "outbound proxies are tables of their own, [[proxy]] and [[upstream]]; docs/configuration.md describes them");
    return true;
  }
  if (words.any({"external"}) && place) {
    read_external(setting);
    return true;
  }
  bool of_mail = setting.subject == SegSubject::mail || setting.subject == SegSubject::ews;
  if (of_mail && place) {
    read_upstream(setting);
    return true;
  }
  if (of_mail && port) {
    refuse(setting, "a port alone; write it behind the host, as https://mail.example.com:443, in the setting that names the host");
    return true;
  }
  bool listens = words.any({"listen", "listener", "listening"}) || words.only({"server", "port"}) || words.only({"seg", "port"});
  if (listens && port) {
    read_port(setting);
    return true;
  }
  return false;
}

// "https://host:port" or "host:port". What follows the port is one of the two paths that there are.
void Importer::read_upstream(const Setting& setting) {
  std::string text(setting.value);
  if (text.find("://") == std::string::npos) text = "https://" + text;
  Result<proto::Url> url = proto::Url::parse(text);
  if (ascii_lower(text).starts_with("http://")) {
    refuse(setting, "http:// would show passwords to the network; bellhop speaks TLS with Exchange: write https://");
  } else if (!url) {
    refuse(setting, fmt::format("is no https://host:port ({})", error_text(url.error())));
  } else {
    std::string host = url->ip && url->ip->v6 ? "[" + url->host + "]" : url->host;
    std::string upstream = fmt::format("https://{}:{}", host, url->port);
    std::string_view wrong = refuse_gateway_upstream(upstream);
    if (!wrong.empty()) {
      refuse(setting, fmt::format("it {}", wrong));
    } else {
      assign(table_of(setting), "upstream", toml_quoted(upstream), setting);
    }
  }
}

void Importer::read_external(const Setting& setting) {
  std::string text(setting.value);
  if (text.find("://") == std::string::npos) text = "https://" + text;
  Result<proto::Url> url = proto::Url::parse(text);
  if (!url || url->ip || !is_host_name(url->host)) {
    refuse(setting, "is no https://host:port with a host name; routes are found by the name that clients use");
    return;
  }
  if (std::ranges::find(hosts_, url->host) == hosts_.end()) hosts_.push_back(url->host);
  hosts_from_ = fmt::format("{}, line {}", setting.name, setting.line);
}

void Importer::read_port(const Setting& setting) {
  std::optional<uint64_t> port = parse_decimal(setting.value);
  if (!port || *port == 0 || *port > 65'535) {
    refuse(setting, "is no port from 1 to 65535");
    return;
  }
  assign(listener_, "addresses", fmt::format("[\"0.0.0.0:{0}\", \"[::]:{0}\"]", *port), setting);
}

// NTLM and Kerberos, by their names or as the value of what says how to log on.
bool Importer::read_logon(const Setting& setting) {
  const SegWords& words = setting.words;
  if (setting.subject == SegSubject::console) return false;
  bool names_ntlm = ascii_lower(setting.name).contains("ntlm");
  bool names_kind = words.any({"auth", "authentication", "logon", "login"}) &&
                    !words.any({"user", "username", "password", "secret", "token", "url", "domain"});
  if ((names_ntlm && parse_seg_flag(setting.value) != false) || (names_kind && ascii_lower(setting.value).contains("ntlm"))) {
    refuse(setting, "NTLM proves a user to one TCP connection and cannot pass a gateway safely; let clients log on with OAuth or "
                    "certificates (logon = \"kerberos\"), and remove this");
    return true;
  }
  if (names_ntlm) return true;
  if (!words.any({"kerberos", "kcd"})) return false;
  if (!words.within({"kerberos", "kcd", "enable", "enabled", "use", "auth", "authentication", "seg", "email", "mail", "server",
                     "exchange", "exch", "eas", "activesync", "ews"})) {
    leave(setting, "what Kerberos needs stands in [gateway.kerberos] and [gateway.certificates]; docs/kerberos.md goes through it");
  } else if (std::optional<bool> on = flag(setting)) {
    assign(table_of(setting), "logon", std::string(*on ? kLogonKerberos : kLogonClient), setting);
  }
  return true;
}

bool Importer::read_switches(const Setting& setting) {
  const SegWords& words = setting.words;
  if (words.any({"ews"}) && words.within({"ews", "boxer", "ens", "ens2", "v2", "proxy", "enable", "enabled", "seg"})) {
    if (std::optional<bool> on = flag(setting)) assign(switches_, kEwsSwitch, *on ? "true" : "false", setting);
    return true;
  }
  bool offloads = words.any({"offload", "offloaded"}), terminates = words.any({"terminate", "terminated"});
  if ((offloads || terminates) && words.any({"ssl", "tls"})) {
    std::optional<bool> on = flag(setting);
    if (on && *on == offloads) {
      refuse(setting, "the gateway ends TLS itself, or client certificates and channel bindings would be lost; let the balancer pass "
                      "TCP through (listen.gateway.proxy_protocol tells the clients' addresses), and set this the other way");
    }
    return true;
  }
  if (words.any({"allow"}) && words.any({"policy", "policies", "compliance"})) {
    std::optional<bool> on = flag(setting);
    if (on && *on) {
      refuse(setting, "no mail flows for devices that nothing is known of; what may pass is said by a [[policy.rule]] with on_unknown = "
                      "\"allow\", and for how long old decisions hold by policy.source.stale_after_minutes; set this to false");
    }
    return true;
  }
  return false;
}

bool Importer::read_numbers(const Setting& setting) {
  const SegWords& words = setting.words;
  bool of_mail = setting.subject == SegSubject::mail || setting.subject == SegSubject::ews;
  if (words.any({"timeout"})) {
    std::string_view key = seg_timeout_key(words);
    if (!of_mail) {
      leave(setting, "it does not say whose timeout it is; those of the listener are in [listen.gateway], those of Exchange in "
                     "[gateway.route.activesync] and [gateway.route.ews]");
    } else if (key.empty()) {
      leave(setting, "bellhop has no timeout of this kind; those that it has for Exchange are connect_, handshake_, answer_, "
                     "parked_answer_, stall_ and idle_timeout_ms in [gateway.route.activesync] and [gateway.route.ews]");
    } else {
      read_timeout(setting, key);
    }
    return true;
  }
  bool most = words.any({"max", "maximum", "limit"}) || (words.any({"pool"}) && words.any({"size"}));
  if (!of_mail || !most || !words.any({"connection", "connections", "pool"})) return false;
  if (words.any({"idle", "age", "lifetime", "life", "ttl", "attempts", "retries", "requests", "wait"})) {
    leave(setting, "connections to Exchange have one bound, connections_max of [gateway.route.activesync] and [gateway.route.ews]; "
                   "it comes from email.server.max.connections");
  } else {
    read_number(setting, "connections_max", 1);
  }
  return true;
}

void Importer::read_timeout(const Setting& setting, std::string_view key) {
  const SegWords& words = setting.words;
  bool seconds = words.any({"s", "sec", "secs", "second", "seconds"}), minutes = words.any({"min", "mins", "minute", "minutes"});
  read_number(setting, key, minutes ? 60'000 : seconds ? 1'000 : 1);
}

void Importer::read_number(const Setting& setting, std::string_view key, uint64_t factor) {
  const KeyRow& row = row_of(setting.subject == SegSubject::ews ? kEws : kActiveSync, key);
  std::optional<uint64_t> number = parse_decimal(setting.value);
  bool fits = number && *number <= row.max / factor && *number * factor >= row.min;
  if (!fits) {
    std::string_view hint = factor == 1 && row.unit == "ms" ? "; without a unit in its name it is read as milliseconds" : "";
    refuse(setting, fmt::format("becomes {}, which is {}{}", key, accepted_text(row), hint));
    return;
  }
  assign(table_of(setting), key, std::to_string(*number * factor), setting);
}

// What ours does in another way. The first words that fit say how.
bool Importer::read_others(const Setting& setting) {
  struct Other {
    std::initializer_list<std::string_view> words;
    std::string_view instead;
  };
  static constexpr std::string_view kPem =
      "certificates and keys are PEM files: listen.gateway.certificate_file and private_key_file; "
      "`openssl pkcs12 -in FILE.pfx -out FILE.pem -nodes` makes them of a PFX";
  const Other others[] = {
      {{"451", "302", "redirect", "redirects"}, "redirects of ActiveSync are followed and remembered: gateway.route.redirects"},
      {{"delta", "bulk", "interval", "refresh"}, "how often compliance is asked for stands in [[policy.source]]"},
      {{"pfx", "p12", "keystore", "truststore", "certificate", "cert", "jks"}, kPem},
      {{"syslog", "log", "logger", "logging"}, "the log is JSON lines on standard output or in a file: [log]; journald and rsyslog take them on"},
      {{"cluster", "clustering", "hazelcast"}, "nodes need no cluster: each asks the compliance source itself"},
      {{"attachment", "attachments", "hyperlink", "hyperlinks", "classification", "transform"},
       "mail passes as it is; rules are about devices, users and clients: [[policy.rule]]"},
      {{"seg", "mem", "config", "configuration", "organization", "group"},
       "a bellhop has its configuration in its own file"},
  };
  if (setting.subject == SegSubject::console) {
    leave(setting, "the console's own interface is not spoken; compliance comes by PUT and PATCH /v1/compliance, from a file, or "
                   "from a [[policy.source]] of kind \"uem\": docs/uem.md");
    return true;
  }
  for (const Other& other : others) {
    if (!setting.words.any(other.words)) continue;
    leave(setting, other.instead);
    return true;
  }
  return false;
}

// A line for each setting that became part of a table which is not written; before those of the whole file.
void Importer::drop(const Table& table, std::string_view why) {
  for (const auto& [key, assigned] : table) {
    auto place = std::ranges::upper_bound(import_.notes, assigned.line, {}, &SegNote::line);
    import_.notes.insert(place, {assigned.line, false, fmt::format("{}: {}", assigned.from, why)});
  }
}

// What holds for the mail server holds for its EWS too, where nothing else is said.
void Importer::settle_ews() {
  auto place = switches_.find(kEwsSwitch);
  bool asked_for = place != switches_.end() && place->second.value == "true";
  bool switched_off = place != switches_.end() && !asked_for;
  if (switched_off || (!asked_for && !ews_.contains("upstream"))) {
    drop(ews_, switched_off ? fmt::format("EWS is not passed on, for {} in line {} is off", place->second.from, place->second.line)
                            : "EWS is not passed on, for no setting names its server (ews.email.server.host.and.port) or asks for it "
                              "(enable.boxer.ens.ews.proxy)");
    ews_.clear();
    return;
  }
  Table of_mail_alone;
  for (const auto& [key, assigned] : mail_) {
    if (!ews_.try_emplace(key, assigned).second) of_mail_alone.emplace(key, assigned);
  }
  if (!mail_.contains("upstream")) drop(of_mail_alone, "ActiveSync is not passed on, for no setting names the mail server");
  if (ews_.contains("upstream")) return;
  ews_.clear();
  refuse_line(0, "EWS is to be passed on, and no setting names its server; add ews.email.server.host.and.port=https://host:443");
}

// A route is logged on to by its clients where nothing is said.
void Importer::settle_logon() {
  for (Table* table : {&mail_, &ews_}) {
    auto place = table->find("logon");
    if (place != table->end() && place->second.value == kLogonClient) table->erase(place);
  }
}

// A long poll's answer may take longer than others: with less of it there is no configuration.
void Importer::settle_timeouts() {
  const GatewayEndpointConfig defaults;
  for (const Table* table : {&mail_, &ews_}) {
    auto answer = table->find("answer_timeout_ms"), parked = table->find("parked_answer_timeout_ms");
    if (parked == table->end()) continue;  // the default is above every answer_timeout_ms
    uint64_t answer_ms = answer == table->end() ? defaults.answer_timeout_ms : parse_decimal(answer->second.value).value_or(0);
    if (!table->contains("upstream") || parse_decimal(parked->second.value).value_or(0) >= answer_ms) continue;
    refuse_line(parked->second.line, fmt::format("{}: becomes parked_answer_timeout_ms, which cannot be below answer_timeout_ms ({}); "
                                                 "write more", parked->second.from, answer_ms));
    return;  // that of EWS is mostly the same
  }
}

void Importer::settle_trust() {
  if (options_.ca_file.empty() && options_.spki_pins.empty()) return;
  bool pins = options_.ca_file.empty();
  Assigned trust{.value = pins ? toml_quoted(options_.spki_pins) : toml_quoted(options_.ca_file),
                 .from = ignores_certificate_ ? "in place of " + ignores_certificate_->from : pins ? "--spki-pin" : "--ca-file",
                 .line = ignores_certificate_ ? ignores_certificate_->line : 0};
  for (Table* table : {&mail_, &ews_}) {
    if (table->contains("upstream")) table->insert_or_assign(pins ? "spki_pins" : "ca_file", trust);
  }
  for (const std::string& pin : options_.spki_pins) {
    if (std::string_view wrong = refuse_spki_pin(pin); !wrong.empty()) refuse_line(0, fmt::format("--spki-pin: it {}", wrong));
  }
}

void Importer::settle_hosts() {
  for (const std::string& host : options_.hosts) {
    std::string name = ascii_lower(host);
    if (!is_host_name(name)) {
      refuse_line(0, fmt::format("--host: \"{}\" is no host name", shown_setting(host)));
    } else if (std::ranges::find(hosts_, name) == hosts_.end()) {
      hosts_.push_back(std::move(name));
    }
  }
  if (hosts_.empty()) {
    refuse_line(0, "no setting says which host name clients use (the external URL); give it with --host mail.example.com");
  }
  route_.insert_or_assign("hosts", Assigned{toml_quoted(hosts_), hosts_from_, 0});
}

void Importer::write_table(std::string_view section, const Table& table, std::string_view brackets) {
  auto to = std::back_inserter(import_.toml);
  fmt::format_to(to, "\n{}{}{}\n", brackets, section, brackets == "[" ? "]" : "]]");
  // In the order of the reference.
  const SectionRow* known = find_config_section(section);
  BH_CHECK(known != nullptr);
  size_t written = 0;
  for (const KeyRow& row : known->keys) {
    auto place = table.find(row.name);
    if (place == table.end()) continue;
    const Assigned& assigned = place->second;
    fmt::format_to(to, "{} = {}", row.name, assigned.value);
    if (!assigned.from.empty()) fmt::format_to(to, "  # {}", assigned.from);
    if (assigned.line != 0) fmt::format_to(to, ", line {}", assigned.line);
    import_.toml += '\n';
    ++written;
  }
  BH_CHECK(written == table.size());
}

SegImport Importer::finish() {
  settle_ews();
  settle_logon();
  settle_timeouts();
  settle_trust();
  settle_hosts();
  bool mail = mail_.contains("upstream"), ews = ews_.contains("upstream");
  if (!mail && !ews) refuse_line(0, "no setting names the mail server; add email.server.host.and.port=https://host:443");
  if (std::ranges::any_of(import_.notes, &SegNote::refused)) return std::move(import_);
  fmt::format_to(std::back_inserter(import_.toml),
                 "# A gateway as {} describes it. Needed besides: certificate_file and private_key_file in [listen.gateway],\n"
                 "# [policy] with enabled = true and its rules, and at the top of the file roles = [\"gateway\"] for a gateway alone, or\n"
                 "# roles = [\"public\", \"gateway\"] beside the rest. docs/seg.md goes through it.\n",
                 shown_setting(options_.file_name));
  if ((mail && mail_.contains("logon")) || ews_.contains("logon")) {
    import_.toml += "# For logon = \"kerberos\" also [gateway.certificates] and [gateway.kerberos]; docs/kerberos.md goes through them.\n";
  }
  write_table(kListener, listener_, "[");
  write_table(kRoute, route_, "[[");
  if (mail) write_table(kActiveSync, mail_, "[");
  if (ews) write_table(kEws, ews_, "[");
  if (!ews) {
    import_.toml += "\n# EWS is not passed on, for no setting asks for it. [gateway.route.ews] with its upstream would.\n";
  }
  return std::move(import_);
}

}  // namespace

SegImport import_seg(std::string_view text, const SegImportOptions& options) {
  Importer importer(options);
  auto properties = proto::parse_properties(text);
  if (!properties) {
    return {.toml = {}, .notes = {{properties.error().line, true,
                                   fmt::format("{}; the settings are lines NAME=VALUE", properties.error().what)}}};
  }
  // A later line of the same name counts, as in Java.
  std::map<std::string_view, uint32_t> last;
  for (const proto::Property& property : *properties) last[property.name] = property.line;
  for (const proto::Property& property : *properties) {
    if (last[property.name] == property.line) importer.read(property);
  }
  return importer.finish();
}

}  // namespace bellhop::service