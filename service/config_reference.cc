// SPDX-License-Identifier: Apache-2.0
// docs/configuration.md, from the table.
#include <fmt/format.h>

#include <iterator>

#include "core/base/check.h"
#include "service/config_table.h"

namespace bellhop::service {
namespace {

std::string_view type_text(const KeyRow& key) {
  switch (key.kind) {
    case KeyKind::boolean: return "boolean";
    case KeyKind::number32:
    case KeyKind::number64: return "number";
    case KeyKind::text: return "text";
    case KeyKind::path: return "path";
    case KeyKind::file: return "existing file";
    case KeyKind::log_output: return "`stdout` or path";
    case KeyKind::choice: return "choice";
    case KeyKind::address: return "host:port";
    case KeyKind::address_list: return "list of address:port";
    case KeyKind::text_list: return "list of text";
    case KeyKind::port_list: return "list of ports";
    case KeyKind::cidr_list: return "list of networks";
  }
  check_failed("a key kind of the list", __FILE__, __LINE__);
}

std::string default_text(const KeyRow& key, void* section) {
  if (key.required && key.role.empty()) return "required";
  if (key.required) return fmt::format("required with the role `{}`", key.role);
  std::string value = value_text(key, key.member(section));
  return value.empty() ? "none" : fmt::format("`{}`", value);
}

std::string range_text(const KeyRow& key) {
  switch (key.kind) {
    case KeyKind::number32:
    case KeyKind::number64: return accepted_text(key);
    case KeyKind::boolean: return "`true`, `false`";
    case KeyKind::choice: {
      std::string text;
      for (std::string_view choice : key.choices) text += fmt::format("{}`{}`", text.empty() ? "" : ", ", choice);
      return text;
    }
    case KeyKind::port_list: return fmt::format("1 to 65535 each, e.g. `{}`", key.example);
    default: return fmt::format("e.g. `{}`", key.example);
  }
}

void append_section(const SectionRow& section, void* values, std::string& out) {
  auto to = std::back_inserter(out);
  std::string title = section.path.empty() ? "Top of the file" : fmt::format("`{}`", section_text(section));
  fmt::format_to(to, "\n## {}\n\n{}\n\n| key | type | default | accepted | changed by | meaning |\n|---|---|---|---|---|---|\n", title,
                 section.help);
  for (const KeyRow& key : section.keys) {
    fmt::format_to(to, "| `{}` | {} | {} | {} | {} | {} |\n", key.name, type_text(key), default_text(key, values),
                   range_text(key), takes_reload(section, key) ? "reload" : "restart", key.help);
  }
}

}  // namespace

std::string config_reference_markdown() {
  std::string out =
      "# Configuration\n\n"
      "<!-- Made by `bellhop config-reference` from service/config_table.cc; a test compares the two. -->\n\n"
      "bellhop reads one TOML file. It is strict: an unknown or doubled key, a wrong type, a value out of range or a\n"
      "missing file is an error that names file, line, column and what is accepted. `bellhop check` tests a file without\n"
      "starting the server and lists all its faults at once. Relative paths are taken from the folder of the file.\n"
      "Limits \"on one core\" hold for each of `cores`. The file holds no secret: keys are named by their files.\n\n"
      "A change takes effect by a reload (`bellhop reload`, SIGHUP) or a restart, as the table says; `bellhop check --diff`\n"
      "tells which before it is made. A reload takes all of a file or, where anything needs a restart, nothing of it.\n";
  for (const SectionRow& section : config_sections()) {
    Config config;
    append_section(section, enter_section(section, config), out);
  }
  return out;
}

}  // namespace bellhop::service
