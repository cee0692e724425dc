// SPDX-License-Identifier: Apache-2.0
// TOML to Config, driven by the table. The only file that includes toml++.
#define TOML_EXCEPTIONS 0
#define TOML_ENABLE_FORMATTERS 0
// toml++ 3.3 asserts (with NDEBUG: assumes) that a table header begins with a key character, which a bad file breaks:
// "[%a]" would abort or be undefined. Without the assertion it goes on to its own error message for that case.
#undef NDEBUG
#define TOML_ASSERT(condition) static_cast<void>(0)
#include <toml++/toml.h>

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "core/base/bytes.h"
#include "core/base/check.h"
#include "service/config_rules.h"
#include "service/config_table.h"

namespace bellhop::service {
namespace {

ConfigPosition position_of(const toml::source_region& region) {
  return {std::max<uint32_t>(1, region.begin.line), std::max<uint32_t>(1, region.begin.column)};
}

std::string_view toml_type_text(const toml::node& node) {
  switch (node.type()) {
    case toml::node_type::none: return "nothing";
    case toml::node_type::table: return "a table";
    case toml::node_type::array: return "a list";
    case toml::node_type::string: return "a string";
    case toml::node_type::integer: return "a whole number";
    case toml::node_type::floating_point: return "a fraction";
    case toml::node_type::boolean: return "a boolean";
    case toml::node_type::date: return "a date";
    case toml::node_type::time: return "a time";
    case toml::node_type::date_time: return "a date and time";
  }
  return "another type";
}

std::string folder_of(std::string_view file_name) {
  size_t slash = file_name.rfind('/');
  return slash == std::string_view::npos ? "" : std::string(file_name.substr(0, slash + 1));
}

// Texts of the file inside messages: quoted, cut, without control bytes.
std::string shown(std::string_view text) {
  std::string out = "\"";
  std::string_view part = utf8_prefix(text, 80);
  for (char c : part) out += static_cast<uint8_t>(c) < 0x20 || c == 0x7f ? '?' : c;
  return out + (part.size() < text.size() ? "…\"" : "\"");
}

// What helps after a refused value.
std::string hint_text(const KeyRow& key) {
  if (!key.example.empty()) return fmt::format("for example {}", key.example);
  bool only = key.choices.size() == 1;
  return fmt::format("{}: {}", only ? "the only mode of this version" : "accepted", accepted_text(key));
}

std::string place_text(const SectionRow& section) {
  return section.path.empty() ? "at the top of the file" : "in " + section_text(section);
}

// Reads one document. Lives for one call of parse_config.
class Reader {
 public:
  Reader(std::string_view file_name, ConfigOutcome& outcome)
      : file_name_(file_name), folder_(folder_of(file_name)), outcome_(outcome) {}

  // `path`: of the table's section, or of the tables that only lead to one ("listen"). `shown_path` has indexes.
  void read_table(const toml::table& table, const std::string& path, const std::string& shown_path, void* parent);
  void report_missing_sections();
  const ConfigPositions& positions() const { return positions_; }

 private:
  void problem(ConfigPosition position, std::string message) {
    outcome_.problems.push_back({std::string(file_name_), position, std::move(message)});
  }
  void read_child(const toml::node& node, const std::string& path, const std::string& shown_path, void* parent);
  void report_unknown(const toml::key& key, const toml::node& node, const std::string& path);
  void report_missing_keys(const SectionRow& section, const toml::table& table);
  void read_value(const KeyRow& key, const std::string& name, const std::string& shown_name, const toml::node& node,
                  void* member);
  void read_number(const KeyRow& key, const std::string& name, const toml::node& node, void* member);
  void read_choice(const KeyRow& key, const std::string& name, const toml::node& node, void* member);
  void read_text(const KeyRow& key, const std::string& name, const std::string& shown_name, const toml::node& node,
                 std::string& value);
  void read_address(const KeyRow& key, const std::string& name, const toml::node& node, bool listen, HostPort& value);
  void read_list(const KeyRow& key, const std::string& name, const toml::node& node, void* member);
  void read_port(const std::string& name, const toml::node& node, std::vector<uint16_t>& ports);
  void read_cidr(const std::string& name, const toml::node& node, std::vector<Cidr>& cidrs);
  void wrong_type(const std::string& name, std::string_view wanted, const KeyRow& key, const toml::node& node) {
    problem(position_of(node.source()),
            fmt::format("{} must be {}, not {}; {}", name, wanted, toml_type_text(node), hint_text(key)));
  }

  std::string_view file_name_;
  std::string folder_;
  ConfigOutcome& outcome_;
  ConfigPositions positions_;
  std::map<std::string, bool, std::less<>> visited_;
};

// The next words after `path` in the sections' paths, and what leads to them.
bool leads_to_section(std::string_view path) {
  for (const SectionRow& section : config_sections()) {
    if (section.path == path || section.path.starts_with(std::string(path) + ".")) return !path.empty();
  }
  return false;
}

std::string child_path(const std::string& path, std::string_view name) {
  return path.empty() ? std::string(name) : fmt::format("{}.{}", path, name);
}

void Reader::read_table(const toml::table& table, const std::string& path, const std::string& shown_path, void* parent) {
  const SectionRow* section = find_config_section(path);
  void* values = section ? section->enter(parent) : parent;
  visited_[path] = true;
  positions_[shown_path] = position_of(table.source());
  for (auto&& [key, node] : table) {
    std::string name = child_path(path, key.str());
    std::string shown_name = child_path(shown_path, key.str());
    const KeyRow* row = section ? find_config_key(*section, key.str()) : nullptr;
    if (row) {
      positions_[shown_name] = position_of(node.source());
      read_value(*row, name, shown_name, node, row->member(values));
    } else if (key.str().find('.') == std::string_view::npos && leads_to_section(name)) {
      read_child(node, name, shown_name, values);
    } else {
      report_unknown(key, node, path);
    }
  }
  if (section) report_missing_keys(*section, table);
}

void Reader::read_child(const toml::node& node, const std::string& path, const std::string& shown_path, void* parent) {
  const SectionRow* section = find_config_section(path);
  visited_[path] = true;  // even where it is refused, it is not missing
  if (!section || !section->repeated) {
    const toml::table* table = node.as_table();
    if (table) {
      read_table(*table, path, shown_path, parent);
    } else {
      std::string_view hint = section ? "write it" : "write its parts";
      problem(position_of(node.source()), fmt::format("{} must be a table, not {}; {} as [{}{}]", path,
                                                      toml_type_text(node), hint, path, section ? "" : ".…"));
    }
    return;
  }
  const toml::array* items = node.as_array();
  if (!items || !items->is_homogeneous<toml::table>()) {
    problem(position_of(node.source()), fmt::format("{} must be an array of tables, not {}; write [[{}]] before each",
                                                    path, toml_type_text(node), path));
    return;
  }
  if (items->size() > section->items_max) {
    problem(position_of(node.source()), fmt::format("there are {} [[{}]]; accepted: at most {}", items->size(), path,
                                                    section->items_max));
    return;
  }
  for (size_t i = 0; i < items->size(); ++i) {
    read_table(*items->get_as<toml::table>(i), path, fmt::format("{}[{}]", shown_path, i), parent);
  }
}

void Reader::report_unknown(const toml::key& key, const toml::node& node, const std::string& path) {
  const SectionRow* section = find_config_section(path);
  std::vector<std::string_view> tables, keys;
  for (const SectionRow& other : config_sections()) {
    std::string prefix = path.empty() ? "" : path + ".";
    if (other.path.size() <= prefix.size() || !other.path.starts_with(prefix)) continue;
    std::string_view rest = other.path.substr(prefix.size());
    std::string_view word = rest.substr(0, rest.find('.'));
    if (std::find(tables.begin(), tables.end(), word) == tables.end()) tables.push_back(word);
  }
  if (section) {
    for (const KeyRow& row : section->keys) keys.push_back(row.name);
  }
  bool is_table = node.is_table() || node.is_array_of_tables();
  ConfigPosition position = position_of(is_table ? node.source() : key.source());
  std::string place = section ? place_text(*section) : fmt::format("in [{}]", path);
  std::string text = is_table ? fmt::format("unknown table {}", shown(child_path(path, key.str())))
                              : fmt::format("unknown key {} {}", shown(key.str()), place);
  std::vector<std::string_view> candidates = is_table ? tables : keys;
  if (auto word = closest_word(key.str(), candidates)) {
    std::string name = is_table ? fmt::format("[{}]", child_path(path, *word)) : shown(*word);
    problem(position, fmt::format("{}; did you mean {}?", text, name));
    return;
  }
  for (const SectionRow& other : config_sections()) {
    if (is_table || !find_config_key(other, key.str())) continue;
    problem(position, fmt::format("{}; it belongs to {}", text, section_text(other)));
    return;
  }
  if (candidates.empty()) candidates = tables;
  std::string list;
  for (std::string_view word : candidates) list += (list.empty() ? "" : ", ") + std::string(word);
  problem(position, list.empty() ? fmt::format("{}; no table belongs {}", text, place)
                                 : fmt::format("{}; accepted: {}", text, list));
}

void Reader::report_missing_keys(const SectionRow& section, const toml::table& table) {
  ConfigPosition position = section.path.empty() ? ConfigPosition{} : position_of(table.source());
  for (const KeyRow& key : section.keys) {
    if (!key.required || table.contains(key.name)) continue;
    problem(position, fmt::format("missing key \"{}\" {}; add for example {} = {}", key.name, place_text(section),
                                  key.name, key.example));
  }
}

void Reader::report_missing_sections() {
  for (const SectionRow& section : config_sections()) {
    if (section.repeated || visited_.contains(section.path)) continue;
    for (const KeyRow& key : section.keys) {
      if (!key.required) continue;
      problem({}, fmt::format("missing table {} with the key \"{}\"; add for example {} = {}", section_text(section),
                              key.name, key.name, key.example));
    }
  }
  if (!visited_.contains("tenant")) problem({}, "there is no [[tenant]]; add one with id, name and ews_hosts");
}

void Reader::read_value(const KeyRow& key, const std::string& name, const std::string& shown_name,
                        const toml::node& node, void* member) {
  switch (key.kind) {
    case KeyKind::boolean:
      if (const auto* value = node.as_boolean()) {
        *static_cast<bool*>(member) = value->get();
      } else {
        wrong_type(name, "a boolean", key, node);
      }
      return;
    case KeyKind::number32:
    case KeyKind::number64: read_number(key, name, node, member); return;
    case KeyKind::choice: read_choice(key, name, node, member); return;
    case KeyKind::text:
    case KeyKind::path:
    case KeyKind::file:
    case KeyKind::log_output: read_text(key, name, shown_name, node, *static_cast<std::string*>(member)); return;
    case KeyKind::address:
      read_address(key, name, node, name.starts_with("listen."), *static_cast<HostPort*>(member));
      return;
    case KeyKind::address_list:
    case KeyKind::text_list:
    case KeyKind::port_list:
    case KeyKind::cidr_list: read_list(key, name, node, member); return;
  }
  check_failed("a key kind of the list", __FILE__, __LINE__);
}

void Reader::read_number(const KeyRow& key, const std::string& name, const toml::node& node, void* member) {
  const auto* integer = node.as_integer();
  if (!integer) return wrong_type(name, "a whole number", key, node);
  int64_t value = integer->get();
  bool listed = std::find(key.numbers.begin(), key.numbers.end(), value) != key.numbers.end();
  bool in_range = value >= 0 && static_cast<uint64_t>(value) >= key.min && static_cast<uint64_t>(value) <= key.max;
  if (key.numbers.empty() ? !in_range : !listed) {
    return problem(position_of(node.source()), fmt::format("{} is {}; {}", name, value, hint_text(key)));
  }
  if (key.kind == KeyKind::number32) {
    *static_cast<uint32_t*>(member) = static_cast<uint32_t>(value);
  } else {
    *static_cast<uint64_t*>(member) = static_cast<uint64_t>(value);
  }
}

void Reader::read_choice(const KeyRow& key, const std::string& name, const toml::node& node, void* member) {
  const auto* string = node.as_string();
  if (!string) return wrong_type(name, "a string", key, node);
  for (size_t i = 0; i < key.choices.size(); ++i) {
    if (key.choices[i] != string->get()) continue;
    *static_cast<uint8_t*>(member) = static_cast<uint8_t>(i);
    return;
  }
  auto word = closest_word(string->get(), key.choices);
  std::string hint = word ? fmt::format("; did you mean \"{}\"?", *word) : "";
  problem(position_of(node.source()),
          fmt::format("{} is {}; {}{}", name, shown(string->get()), hint_text(key), hint));
}

void Reader::read_text(const KeyRow& key, const std::string& name, const std::string& shown_name,
                       const toml::node& node, std::string& value) {
  const auto* string = node.as_string();
  if (!string) return wrong_type(name, "a string", key, node);
  const std::string& text = string->get();
  ConfigPosition position = position_of(node.source());
  if (key.kind == KeyKind::text) {
    std::string_view reason = key.refuse(text);
    if (!reason.empty()) {
      return problem(position, fmt::format("{} is {}: it {}; for example {}", name, shown(text), reason, key.example));
    }
    value = text;
    return;
  }
  if (text.empty()) {
    std::string_view hint = key.required ? "for example " : "leave the key out, or write for example ";
    return problem(position, fmt::format("{} is empty; {}{}", name, hint, key.example));
  }
  if (text.find('\0') != std::string::npos) {
    return problem(position, fmt::format("{} holds a zero byte; for example {}", name, key.example));
  }
  bool as_written = text.front() == '/' || name == "store.path" || (key.kind == KeyKind::log_output && text == "stdout");
  value = as_written ? text : folder_ + text;
  if (key.kind == KeyKind::file) outcome_.files.push_back({shown_name, value, position});
}

void Reader::read_address(const KeyRow& key, const std::string& name, const toml::node& node, bool listen,
                          HostPort& value) {
  const auto* string = node.as_string();
  if (!string) return wrong_type(name, "a string", key, node);
  auto parsed = parse_host_port(string->get(), listen ? PortRange::from_0 : PortRange::from_1);
  if (!parsed || (listen && !is_ip_address(parsed->host))) {
    std::string_view form = listen ? "an address with a port" : "a host with a port";
    return problem(position_of(node.source()), fmt::format("{} is {}, which is not {}; for example {}", name,
                                                           shown(string->get()), form, key.example));
  }
  value = *parsed;
}

void Reader::read_port(const std::string& name, const toml::node& node, std::vector<uint16_t>& ports) {
  const auto* integer = node.as_integer();
  if (!integer || integer->get() < 1 || integer->get() > 65535) {
    std::string value = integer ? std::to_string(integer->get()) : std::string(toml_type_text(node));
    return problem(position_of(node.source()), fmt::format("{} is {}; accepted: 1 to 65535", name, value));
  }
  ports.push_back(static_cast<uint16_t>(integer->get()));
}

void Reader::read_cidr(const std::string& name, const toml::node& node, std::vector<Cidr>& cidrs) {
  const auto* string = node.as_string();
  auto cidr = string ? parse_cidr(string->get()) : std::nullopt;
  if (!cidr) {
    std::string value = string ? shown(string->get()) : std::string(toml_type_text(node));
    return problem(position_of(node.source()),
                   fmt::format("{} is {}, which is not a network whose bits after the prefix are zero; for example "
                               "\"10.20.0.0/16\" or \"fd00:20::/32\"", name, value));
  }
  cidrs.push_back(*cidr);
}

void Reader::read_list(const KeyRow& key, const std::string& name, const toml::node& node, void* member) {
  const toml::array* items = node.as_array();
  if (!items) return wrong_type(name, "a list", key, node);
  ConfigPosition position = position_of(node.source());
  if (items->size() > kListItemsMax) {
    return problem(position, fmt::format("{} has {} items; accepted: at most {}", name, items->size(), kListItemsMax));
  }
  if (items->empty() && key.kind != KeyKind::cidr_list) {
    return problem(position, fmt::format("{} is an empty list; {}", name, hint_text(key)));
  }
  std::vector<std::string> texts;
  std::vector<HostPort> addresses;
  std::vector<uint16_t> ports;
  std::vector<Cidr> cidrs;
  for (size_t i = 0; i < items->size(); ++i) {
    const toml::node& item = *items->get(i);
    std::string item_name = fmt::format("{}[{}]", name, i);
    if (key.kind == KeyKind::port_list) {
      read_port(item_name, item, ports);
    } else if (key.kind == KeyKind::cidr_list) {
      read_cidr(item_name, item, cidrs);
    } else if (key.kind == KeyKind::address_list) {
      HostPort address;
      read_address(key, item_name, item, true, address);
      addresses.push_back(address);
    } else if (const auto* string = item.as_string(); !string) {
      wrong_type(item_name, "a string", key, item);
    } else if (std::string_view reason = key.refuse(string->get()); !reason.empty()) {
      problem(position_of(item.source()), fmt::format("{} is {}: it {}; for example {}", item_name,
                                                      shown(string->get()), reason, key.example));
    } else {
      texts.push_back(string->get());
    }
  }
  switch (key.kind) {
    case KeyKind::address_list: *static_cast<std::vector<HostPort>*>(member) = std::move(addresses); return;
    case KeyKind::port_list: *static_cast<std::vector<uint16_t>*>(member) = std::move(ports); return;
    case KeyKind::cidr_list: *static_cast<std::vector<Cidr>*>(member) = std::move(cidrs); return;
    default: *static_cast<std::vector<std::string>*>(member) = std::move(texts); return;
  }
}

std::string errno_text(int error_number) {
  const char* text = strerrordesc_np(error_number);
  return text ? text : fmt::format("errno {}", error_number);
}

}  // namespace

ConfigOutcome parse_config(std::string_view text, std::string_view file_name) {
  ConfigOutcome outcome;
  auto refuse = [&](ConfigPosition position, std::string message) {
    outcome.problems.push_back({std::string(file_name), position, std::move(message)});
  };
  if (text.size() > kConfigBytesMax) {
    refuse({}, fmt::format("the file has {} bytes; accepted: at most {}", text.size(), kConfigBytesMax));
    return outcome;
  }
  toml::parse_result parsed = toml::parse(text);
  if (!parsed) {
    const toml::parse_error& error = parsed.error();
    refuse(position_of(error.source()), fmt::format("not TOML: {}; correct this first, the rest was not read",
                                                    error.description()));
    return outcome;
  }
  Reader reader(file_name, outcome);
  reader.read_table(parsed.table(), "", "", &outcome.config);
  reader.report_missing_sections();
  if (outcome.config.store.path.front() != '/') {
    outcome.config.store.path = outcome.config.data_dir + "/" + outcome.config.store.path;
  }
  check_config_rules(outcome.config, file_name, reader.positions(), outcome.problems);
  std::stable_sort(outcome.problems.begin(), outcome.problems.end(),
                   [](const ConfigProblem& a, const ConfigProblem& b) { return a.position < b.position; });
  std::sort(outcome.files.begin(), outcome.files.end(),
            [](const ConfigFileReference& a, const ConfigFileReference& b) { return a.position < b.position; });
  return outcome;
}

std::string to_text(const ConfigProblem& problem) {
  return fmt::format("{}:{}:{}: {}", problem.file, problem.position.line, problem.position.column, problem.message);
}

ConfigProblem config_unreadable(std::string_view file_name, int error_number) {
  return {std::string(file_name), {},
          fmt::format("cannot read the configuration: {}; name another file with --config", errno_text(error_number))};
}

ConfigProblem config_missing_file(std::string_view file_name, const ConfigFileReference& file, int error_number) {
  return {std::string(file_name), file.position,
          fmt::format("{} names \"{}\", which cannot be read: {}; correct the path or the file's owner and mode", file.key,
                      file.path, errno_text(error_number))};
}

}  // namespace bellhop::service
