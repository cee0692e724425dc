// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "service/config.h"

// The table that describes every key of the configuration. The parser, the messages, the checks and the reference in
// docs/configuration.md are all driven by it; defaults are the initialisers in config.h, reached through `member`.
namespace bellhop::service {

enum class KeyKind : uint8_t {
  boolean,
  number32,      // uint32_t
  number64,      // uint64_t
  text,          // std::string, checked by `refuse`
  path,          // std::string; made by us or by others later, so it need not exist
  file,          // std::string; must exist, so it is listed in ConfigOutcome::files
  log_output,    // std::string: "stdout" or a path
  choice,        // an enum of uint8_t; the names are `choices`
  address,       // HostPort
  address_list,  // std::vector<HostPort>
  text_list,     // std::vector<std::string>, items checked by `refuse`
  port_list,     // std::vector<uint16_t>
  cidr_list,     // std::vector<Cidr>
};

// Nothing, or what is wrong: a phrase that follows "it ".
using TextCheck = std::string_view (*)(std::string_view text);

// What it takes for a change of a key to hold: a reload, or a restart of the server.
enum class WhenChanged : uint8_t { as_section, reload, restart };

struct KeyRow {
  std::string_view name;
  KeyKind kind = KeyKind::boolean;
  void* (*member)(void* section) = nullptr;
  bool required = false;
  uint64_t min = 0;
  uint64_t max = 0;
  std::span<const uint32_t> numbers = {};  // where only these are accepted
  std::string_view unit = "";
  std::span<const std::string_view> choices = {};
  TextCheck refuse = nullptr;
  std::string_view example = "";  // in TOML
  std::string_view help = "";
  WhenChanged when_changed = WhenChanged::as_section;
  std::string_view role = {};  // required with this role only; empty: as its section says
};

// One table of the file. `path` is "" for the top, else dotted. A repeated one is an array of tables.
struct SectionRow {
  std::string_view path;
  bool repeated = false;
  size_t items_max = 0;               // of a repeated one
  void* (*enter)(void* parent) = nullptr;  // the struct inside its parent's; appends where repeated
  std::span<const KeyRow> keys;
  std::string_view help;
  WhenChanged when_changed = WhenChanged::restart;  // of keys that do not say otherwise
  std::string_view role = {};                       // what is required in it is so with this role only; empty: always
};

// A parent stands before its children: "tenant" before "tenant.app".
std::span<const SectionRow> config_sections();
const SectionRow* find_config_section(std::string_view path);
// The section whose struct holds this one's: of "tenant.app" it is "tenant", of "listen.public" the top. Null for the top.
const SectionRow* parent_of(const SectionRow& section);
// It, or one that holds it, is repeated: there is none, or there are several, of its structs.
bool inside_repeated(const SectionRow& section);
// The struct of a section in `config`; appends an item to each repeated section on the way. For tests and the reference.
void* enter_section(const SectionRow& section, Config& config);
// What the file must hold, with these roles.
bool is_required(const SectionRow& section, const KeyRow& key, const Config& config);
const KeyRow* find_config_key(const SectionRow& section, std::string_view name);

// A reload takes the key's new value.
bool takes_reload(const SectionRow& section, const KeyRow& key);
// "listen.public.idle_timeout_ms"; at the top the name alone.
std::string full_key(const SectionRow& section, std::string_view name);
// "[store]", "[[tenant]]", "the top of the file".
std::string section_text(const SectionRow& section);
// What a value may be, in words: "0 to 1024", "\"none\", \"sender\"…".
std::string accepted_text(const KeyRow& key);
// The value of a key as it would stand in the file; "" for an empty text, which means "not set".
std::string value_text(const KeyRow& key, const void* member);

// Parsers of values; nothing on any other form. Port 0 is taken from listeners only: the system chooses one.
enum class PortRange : uint8_t { from_1, from_0 };
std::optional<HostPort> parse_host_port(std::string_view text, PortRange range = PortRange::from_1);
std::optional<Cidr> parse_cidr(std::string_view text);
std::string to_text(const Cidr& cidr);
// "http://host:port", or "https://host:port" for TLS with the proxy; nothing may follow.
std::optional<ProxyConfig> parse_proxy_url(std::string_view text);
// "https://host" or "https://host:port"; nothing may follow.
std::optional<HostPort> parse_gateway_upstream(std::string_view text);
bool is_ip_address(std::string_view host);
bool is_loopback_address(std::string_view host);
// Lower-case letters, digits and hyphens in labels of at most 63, 253 in all (RFC 1123); no trailing dot, and a last
// label that is not a number, so that no form of an IPv4 address is a name.
bool is_host_name(std::string_view host);

// Checks for `refuse`.
std::string_view refuse_public_url(std::string_view text);
std::string_view refuse_header_value(std::string_view text);
std::string_view refuse_server_version(std::string_view text);
std::string_view refuse_tenant_id(std::string_view text);
std::string_view refuse_tenant_name(std::string_view text);
std::string_view refuse_ews_host(std::string_view text);
std::string_view refuse_upstream_host(std::string_view text);  // the same, or "*"
std::string_view refuse_spki_pin(std::string_view text);
std::string_view refuse_proxy_name(std::string_view text);
std::string_view refuse_proxy_reference(std::string_view text);  // a name, or what parse_proxy_url takes
std::string_view refuse_username(std::string_view text);
std::string_view refuse_topic(std::string_view text);
std::string_view refuse_apple_id(std::string_view text);
std::string_view refuse_role(std::string_view text);
std::string_view refuse_decision_point(std::string_view text);
std::string_view refuse_source_url(std::string_view text);  // https, without a query
std::string_view refuse_text_pattern(std::string_view text);  // "*" for any characters, "!" in front
std::string_view refuse_user_pattern(std::string_view text);  // an address in lower case, "!" in front
std::string_view refuse_version(std::string_view text);       // numbers with dots
std::string_view refuse_gateway_upstream(std::string_view text);  // "https://host", perhaps with a port
std::string_view refuse_domain(std::string_view text);
std::string_view refuse_netbios_name(std::string_view text);
std::string_view refuse_user_agent_pattern(std::string_view text);
std::string_view refuse_ews_operation(std::string_view text);  // an operation of EWS, or a group of them
std::string_view refuse_service_principal(std::string_view text);
std::string_view refuse_principal(std::string_view text);
std::string_view refuse_kdc(std::string_view text);              // "REALM=host", perhaps with a port
std::string_view refuse_realm_of_domain(std::string_view text);  // "domain=REALM"
std::string_view refuse_account(std::string_view text);

// The candidate nearest to `word` by edit distance (insert, delete, change, swap of neighbours; letter case counts
// little); nothing where none is near enough to be a slip.
std::optional<std::string_view> closest_word(std::string_view word, std::span<const std::string_view> candidates);

}  // namespace bellhop::service
