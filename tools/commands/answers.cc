// SPDX-License-Identifier: Apache-2.0
#include "tools/commands/answers.h"

#include <fmt/format.h>

#include <array>

#include "tools/server_main.h"

namespace bellhop::tools {

int not_understood() {
  complain("the server's answer is not what this version of bellhop expects; use the bellhop that came with the server");
  return kExitFailed;
}

std::string_view text_of(const proto::JsonObject& object, std::string_view name) {
  auto text = object.string(name);
  return text && *text ? **text : std::string_view("-");
}

uint64_t number_of(const proto::JsonObject& object, std::string_view name) {
  auto number = object.unsigned_integer(name);
  return number && *number ? **number : 0;
}

std::string duration_text(uint64_t seconds) {
  uint64_t minutes = seconds / 60, hours = minutes / 60, days = hours / 24;
  if (days > 0) return fmt::format("{} d {} h", days, hours % 24);
  if (hours > 0) return fmt::format("{} h {} min", hours, minutes % 60);
  if (minutes > 0) return fmt::format("{} min", minutes);
  return fmt::format("{} s", seconds);
}

std::string size_text(uint64_t bytes) {
  constexpr std::array<std::string_view, 5> kUnits = {"B", "KiB", "MiB", "GiB", "TiB"};
  if (bytes < 1024) return fmt::format("{} B", bytes);
  double size = double(bytes);
  size_t unit = 0;
  for (; size >= 1024 && unit + 1 < kUnits.size(); ++unit) size /= 1024;
  return fmt::format("{:.1f} {}", size, kUnits[unit]);
}

void print_members(const proto::JsonObject& object, std::string_view prefix) {
  for (size_t i = 0; i < object.size(); ++i) {
    auto [name, value] = object.at(i);
    std::string whole = fmt::format("{}{}", prefix, name);
    switch (value.kind()) {
      case proto::JsonKind::string:
        fmt::print("{:<20} {}\n", whole, *value.string());
        break;
      case proto::JsonKind::number:
        if (auto integer = value.integer()) fmt::print("{:<20} {}\n", whole, *integer);
        break;
      case proto::JsonKind::boolean:
        fmt::print("{:<20} {}\n", whole, *value.boolean() ? "yes" : "no");
        break;
      case proto::JsonKind::object:
        print_members(*value.object(), whole + ".");
        break;
      case proto::JsonKind::null:
      case proto::JsonKind::array:
        break;
    }
  }
}

}  // namespace bellhop::tools
