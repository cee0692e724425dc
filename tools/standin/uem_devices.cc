// SPDX-License-Identifier: Apache-2.0
#include "tools/standin/uem_devices.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "core/base/bytes.h"
#include "proto/json_writer.h"

namespace bellhop::standin {
namespace {

constexpr std::string_view kMadeUpPrefix = "UEM";
constexpr size_t kMadeUpDigits = 7;

std::string control_line(std::string_view name, std::string_view token) {
  std::string line;
  proto::JsonWriter(line).begin_object().member(name, token).end_object();
  return line;
}

}  // namespace

std::string UemDevices::made_up_id(uint64_t number) { return fmt::format("{}{:07}", kMadeUpPrefix, number); }

std::string UemDevices::made_up_line(uint64_t number) const {
  constexpr std::array<std::string_view, 4> kModels = {"iPhone14,5", "iPhone15,2", "iPad13,16", "Pixel 8"};
  constexpr std::array<std::string_view, 4> kVersions = {"17.5.1", "17.6", "18.0", "14"};
  size_t kind = number % kModels.size();
  bool android = kind == 3;
  std::string line;
  proto::JsonWriter(line)
      .begin_object()
      .member("deviceId", made_up_id(number))
      .member("account", fmt::format("user{}@{}", (number - 1) % users_ + 1, domain_))
      .member("managed", "yes")
      .member("compromised", "no")
      .member("encrypted", "yes")
      .member("model", kModels[kind])
      .member("os", android ? "Android" : "iOS")
      .member("osVersion", kVersions[kind])
      .end_object();
  return line;
}

std::optional<uint64_t> UemDevices::place_of(std::string_view id) const {
  if (id.starts_with(kMadeUpPrefix) && id.size() >= kMadeUpPrefix.size() + kMadeUpDigits) {
    std::optional<uint64_t> number = parse_decimal(id.substr(kMadeUpPrefix.size()));
    if (number && *number >= 1 && *number <= made_up_ && made_up_id(*number) == id) return *number - 1;
  }
  auto place = places_.find(std::string(id));
  return place == places_.end() ? std::nullopt : std::optional(place->second);
}

std::string UemDevices::id_at(uint64_t place) const {
  return place < made_up_ ? made_up_id(place + 1) : added_[place - made_up_].id;
}

// Empty where the device was removed.
std::string_view UemDevices::line_at(uint64_t place, std::string& scratch) const {
  if (place >= made_up_) return added_[place - made_up_].line;
  auto changed = changed_.find(place);
  if (changed != changed_.end()) return changed->second;
  scratch = made_up_line(place + 1);
  return scratch;
}

void UemDevices::put(std::string_view id, std::string_view line) {
  std::optional<uint64_t> place = place_of(id);
  std::string scratch;
  if (place && line_at(*place, scratch).empty()) --removed_;
  if (!place) {
    place = made_up_ + added_.size();
    added_.push_back({std::string(id), {}});
    places_.emplace(id, *place);
  }
  if (*place < made_up_) {
    changed_.insert_or_assign(*place, std::string(line));
  } else {
    added_[*place - made_up_].line = line;
  }
  changes_.push_back(*place);
}

bool UemDevices::remove(std::string_view id) {
  std::optional<uint64_t> place = place_of(id);
  std::string scratch;
  if (!place || line_at(*place, scratch).empty()) return false;
  if (*place < made_up_) {
    changed_.insert_or_assign(*place, std::string());
  } else {
    added_[*place - made_up_].line.clear();
  }
  ++removed_;
  changes_.push_back(*place);
  return true;
}

std::string UemDevices::token(char kind, uint64_t version, uint64_t place) const {
  return fmt::format("{}.{:x}.{}.{}", kind, epoch_, version, place);
}

void UemDevices::append(std::string& out, std::string_view line) {
  out += line;
  out += '\n';
  ++books.lines;
}

std::optional<std::string> UemDevices::page(std::string_view text, uint32_t lines_max) {
  if (text.empty()) {
    ++books.bulks;
    return bulk_page(changes_.size(), 0, lines_max);
  }
  std::array<std::string_view, 4> parts;  // kind, epoch, version, place
  for (size_t i = 0; i < parts.size(); ++i) {
    size_t dot = text.find('.');
    parts[i] = text.substr(0, dot);
    text = dot == text.npos ? std::string_view() : text.substr(dot + 1);
  }
  std::optional<uint64_t> version = parse_decimal(parts[2]), place = parse_decimal(parts[3]);
  bool known = version && place && *version <= changes_.size() && parts[1] == fmt::format("{:x}", epoch_);
  if (known && parts[0] == "b") return bulk_page(*version, *place, lines_max);
  if (known && parts[0] == "d") {
    ++books.deltas;
    return delta_page(*version, lines_max);
  }
  ++books.gone;
  return std::nullopt;
}

// What changes while the pages are read comes with the changes since `version`, at which the first one was given.
std::string UemDevices::bulk_page(uint64_t version, uint64_t place, uint32_t lines_max) {
  std::string out, scratch;
  uint64_t end = made_up_ + added_.size();
  for (uint32_t lines = 0; place < end && lines < lines_max; ++place) {
    std::string_view line = line_at(place, scratch);
    if (line.empty()) continue;
    append(out, line);
    ++lines;
  }
  out += place < end ? control_line("next", token('b', version, place)) : control_line("since", token('d', version));
  return out + "\n";
}

std::string UemDevices::delta_page(uint64_t version, uint32_t lines_max) {
  uint64_t end = std::min<uint64_t>(changes_.size(), version + lines_max);
  std::vector<uint64_t> places(changes_.begin() + static_cast<ptrdiff_t>(version), changes_.begin() + static_cast<ptrdiff_t>(end));
  std::ranges::sort(places);
  auto repeated = std::ranges::unique(places);
  places.erase(repeated.begin(), repeated.end());
  std::string out, scratch;
  for (uint64_t place : places) {
    std::string_view line = line_at(place, scratch);
    if (!line.empty()) {
      append(out, line);
      continue;
    }
    std::string removed;
    proto::JsonWriter(removed).begin_object().member("deviceId", id_at(place)).member("removed", true).end_object();
    append(out, removed);
  }
  out += control_line(end < changes_.size() ? "next" : "since", token('d', end));
  return out + "\n";
}

}  // namespace bellhop::standin
