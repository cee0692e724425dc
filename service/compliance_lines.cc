// SPDX-License-Identifier: Apache-2.0
#include "service/compliance_lines.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "proto/json.h"
#include "service/error_texts.h"

namespace bellhop::service {
namespace {

using proto::JsonKind;
using proto::JsonValue;

constexpr std::string_view kMark = "\xef\xbb\xbf";  // a byte order mark
constexpr std::string_view kStray = "a character that does not belong there; accepted: objects in lines, or one array of objects";

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

// A value in a complaint: short, printable, and no address.
std::string shown(std::string_view text) {
  if (text.size() > 24 || text.find('@') != text.npos) return "something else";
  for (char c : text) {
    if (c < ' ' || c > '~') return "something else";
  }
  return fmt::format("\"{}\"", text);
}

// A value of which some texts are accepted: the text, or of what type it is.
std::string shown(const JsonValue& value) {
  switch (value.kind()) {
    case JsonKind::null:
      return "null";
    case JsonKind::boolean:
      return "a boolean";
    case JsonKind::number:
      return "a number";
    case JsonKind::string:
      return shown(value.string().value_or(std::string_view()));
    case JsonKind::object:
      return "an object";
    case JsonKind::array:
      return "a list";
  }
  return "something else";
}

bool read_known(const JsonValue& value, std::optional<Known>& known, std::string& what) {
  if (value.kind() == JsonKind::null) {
    known = Known::unknown;
    return true;
  }
  if (auto flag = value.boolean()) {
    known = *flag ? Known::yes : Known::no;
    return true;
  }
  std::string_view text = value.string().value_or(std::string_view());
  for (Known each : {Known::unknown, Known::no, Known::yes}) {
    if (text != name_of(each)) continue;
    known = each;
    return true;
  }
  what = fmt::format("is {}; accepted: true, false, null, \"yes\", \"no\", \"unknown\"", shown(value));
  return false;
}

bool read_override(const JsonValue& value, std::optional<ComplianceOverride>& choice, std::string& what) {
  std::string_view text = value.kind() == JsonKind::null ? "none" : value.string().value_or(std::string_view());
  for (ComplianceOverride each : {ComplianceOverride::none, ComplianceOverride::allow, ComplianceOverride::block}) {
    if (text != name_of(each)) continue;
    choice = each;
    return true;
  }
  what = fmt::format("is {}; accepted: \"none\", \"allow\", \"block\"", shown(value));
  return false;
}

bool read_flag(const JsonValue& value, bool& flag, std::string& what) {
  auto read = value.boolean();
  if (read) flag = *read;
  if (!read) what = "is no boolean; accepted: true or false";
  return read.has_value();
}

bool read_id(const JsonValue& value, std::string& id, std::string& what) {
  auto text = value.string();
  if (!text || text->empty() || text->size() > kDeviceIdSizeMax) {
    what = fmt::format("is no text of 1 to {} bytes", kDeviceIdSizeMax);
    return false;
  }
  id = *text;
  return true;
}

bool read_ids(const JsonValue& value, std::vector<std::string>& ids, std::string& what) {
  auto array = value.array();
  if (!array || array->size() > kOtherIdsMax) {
    what = fmt::format("is no list of at most {} ids", kOtherIdsMax);
    return false;
  }
  for (size_t i = 0; i < array->size(); ++i) {
    if (!read_id(array->at(i), ids.emplace_back(), what)) return false;
  }
  return true;
}

bool read_text(const JsonValue& value, size_t size_max, std::optional<std::string>& text, std::string& what) {
  if (value.kind() == JsonKind::null) {
    text.emplace();
    return true;
  }
  auto read = value.string();
  if (!read || read->size() > size_max) {
    what = fmt::format("is no text of at most {} bytes", size_max);
    return false;
  }
  text.emplace(*read);
  return true;
}

// As mailboxes are known by. Another name of the user would keep everybody out, as other_account.
bool is_address(std::string_view text) {
  size_t at = text.find('@');
  bool whole = at != text.npos && at > 0 && at + 1 < text.size() && text.rfind('@') == at && text.size() <= kAccountSizeMax;
  return whole && std::ranges::none_of(text, [](char c) { return static_cast<uint8_t>(c) <= ' ' || c == '\x7f' || c == '\\'; });
}

bool read_account(const JsonValue& value, std::optional<std::string>& account, std::string& what) {
  if (value.kind() == JsonKind::null) {
    account.emplace();
    return true;
  }
  auto read = value.string();
  if (!read || (!read->empty() && !is_address(*read))) {
    what = fmt::format("is no address; accepted: user@domain, the mailbox's, of at most {} bytes", kAccountSizeMax);
    return false;
  }
  account.emplace(*read);
  return true;
}

bool read_time(const JsonValue& value, std::optional<WallTime>& time, std::string& what) {
  if (value.kind() == JsonKind::null) {
    time = WallTime();
    return true;
  }
  if (auto seconds = value.unsigned_integer(); seconds && *seconds <= UINT32_MAX) {
    time = WallTime(std::chrono::seconds(*seconds));
    return true;
  }
  time = parse_time(value.string().value_or(std::string_view()));
  // Of the same span as numbers: a record keeps 32 bits.
  if (time && (*time < WallTime() || *time > WallTime(std::chrono::seconds(UINT32_MAX)))) time.reset();
  if (!time) what = "is no time; accepted: for example \"2026-01-31T12:00:00Z\", or seconds since 1970";
  return time.has_value();
}

// False where there is no such member, or its value is not to be used: `what` says why.
bool read_member(std::string_view name, const JsonValue& value, ComplianceLine& line, std::string& what) {
  constexpr size_t kText = store::kComplianceTextSizeMax;
  if (name == "deviceId") return read_id(value, line.device_id, what);
  if (name == "otherIds") return read_ids(value, line.other_ids, what);
  if (name == "account") return read_account(value, line.account, what);
  if (name == "managed") return read_known(value, line.managed, what);
  if (name == "compromised") return read_known(value, line.compromised, what);
  if (name == "encrypted") return read_known(value, line.encrypted, what);
  if (name == "activeSyncProfile") return read_known(value, line.activesync_profile, what);
  if (name == "override") return read_override(value, line.override_to, what);
  if (name == "wiped") return read_flag(value, line.wiped, what);
  if (name == "removed") return read_flag(value, line.removed, what);
  if (name == "model") return read_text(value, kText, line.model, what);
  if (name == "os") return read_text(value, kText, line.os, what);
  if (name == "osVersion") return read_text(value, kText, line.os_version, what);
  if (name == "deviceType") return read_text(value, kText, line.device_type, what);
  if (name == "mailClient") return read_text(value, kText, line.mail_client, what);
  if (name == "lastContact") return read_time(value, line.last_contact, what);
  what = "is no member of a device; see docs/policy.md for those there are";
  return false;
}

// Digits alone, and all of them.
bool read_number(std::string_view text, int& number) {
  for (char c : text) {
    if (c < '0' || c > '9') return false;
  }
  return std::from_chars(text.data(), text.data() + text.size(), number).ec == std::errc();
}

}  // namespace

std::optional<WallTime> parse_time(std::string_view text) {
  int year, month, day, hour, minute, second;
  bool shape = text.size() >= 20 && text[4] == '-' && text[7] == '-' && (text[10] == 'T' || text[10] == 't') &&
               text[13] == ':' && text[16] == ':';
  if (!shape) return std::nullopt;
  bool numbers = read_number(text.substr(0, 4), year) && read_number(text.substr(5, 2), month) &&
                 read_number(text.substr(8, 2), day) && read_number(text.substr(11, 2), hour) &&
                 read_number(text.substr(14, 2), minute) && read_number(text.substr(17, 2), second);
  if (!numbers || hour > 23 || minute > 59 || second > 60) return std::nullopt;
  std::chrono::year_month_day date{std::chrono::year(year), std::chrono::month(static_cast<unsigned>(month)),
                                   std::chrono::day(static_cast<unsigned>(day))};
  if (!date.ok()) return std::nullopt;
  std::string_view rest = text.substr(19);
  if (rest.starts_with('.')) {
    size_t digits = rest.find_first_not_of("0123456789", 1);
    if (digits == rest.npos || digits == 1 || digits > 10) return std::nullopt;
    rest.remove_prefix(digits);
  }
  int offset_hours = 0, offset_minutes = 0, sign = 1;
  if (rest != "Z" && rest != "z") {
    bool offset = rest.size() == 6 && (rest[0] == '+' || rest[0] == '-') && rest[3] == ':' &&
                  read_number(rest.substr(1, 2), offset_hours) && read_number(rest.substr(4, 2), offset_minutes);
    if (!offset || offset_hours > 23 || offset_minutes > 59) return std::nullopt;
    if (rest[0] == '-') sign = -1;
  }
  auto moment = std::chrono::sys_days(date) + std::chrono::hours(hour) + std::chrono::minutes(minute) +
                std::chrono::seconds(second) - sign * (std::chrono::hours(offset_hours) + std::chrono::minutes(offset_minutes));
  return std::chrono::time_point_cast<WallTime::duration>(moment);
}

Status ComplianceReader::refuse(std::string_view what) {
  uint64_t number = place_ == Place::object ? lines_ + 1 : lines_;
  complaint_ = number == 0 ? std::string(what) : fmt::format("device {}: {}", number, what);
  return fail(service_error(ServiceError::compliance_data));
}

Status ComplianceReader::refuse_between(std::string_view what) {
  complaint_ = lines_ == 0 ? fmt::format("before device 1: {}", what) : fmt::format("after device {}: {}", lines_, what);
  return fail(service_error(ServiceError::compliance_data));
}

// What may stand between two objects.
bool ComplianceReader::between(char c) {
  if (is_space(c)) return true;
  switch (place_) {
    case Place::begin:
      if (c == '[') {
        array_ = true;
        place_ = Place::between;
        return true;
      }
      return c == '{';
    case Place::between:
      if (!array_) return c == '{';
      if (c == ',' && lines_ > 0 && !comma_) return comma_ = true;
      if (c == ']' && !comma_) {
        place_ = Place::after_array;
        return true;
      }
      return c == '{' && (lines_ == 0 || comma_);
    case Place::object:
    case Place::after_array:
      return false;
  }
  return false;
}

Status ComplianceReader::feed(std::string_view piece) {
  for (char c : piece) {
    if (place_ != Place::object) {
      if (mark_ > 0 || c == kMark[0]) {
        bool marks = c == kMark[mark_];
        if (marks && ++mark_ < kMark.size()) continue;
        return refuse_between(marks ? "a UTF-8 byte order mark; save the data without it" : kStray);
      }
      if (!between(c)) return refuse_between(kStray);
      if (c != '{') continue;
      place_ = Place::object;
      depth_ = 0;
      object_.clear();
    }
    if (object_.size() == kObjectBytesMax) return refuse("its object is longer than 8 KiB");
    object_.push_back(c);
    if (in_string_) {
      if (!escaped_ && c == '"') in_string_ = false;
      escaped_ = !escaped_ && c == '\\';
      continue;
    }
    if (c == '"') in_string_ = true;
    if (c == '{' || c == '[') ++depth_;
    if (c == '}' || c == ']') --depth_;
    if (depth_ > 0) continue;
    place_ = Place::between;
    comma_ = false;
    BH_CHECKED(on_object());
  }
  return {};
}

Status ComplianceReader::on_object() {
  ++lines_;
  ComplianceLine line;
  if (!read(object_, line)) return fail(service_error(ServiceError::compliance_data));
  Status taken = take_(line);
  if (!taken && is(taken.error(), ServiceError::compliance_repeated)) {
    return refuse("named already by an earlier line, by this name or another; name each device once");
  }
  return taken;
}

bool ComplianceReader::read(std::string_view text, ComplianceLine& line) {
  auto document = proto::JsonDocument::parse(text, {.bytes_max = kObjectBytesMax, .depth_max = 3, .values_max = 64, .members_max = 32});
  if (!document) {
    (void)refuse(error_text(document.error()));
    return false;
  }
  proto::JsonObject root = document->root();
  for (size_t i = 0; i < root.size(); ++i) {
    auto member = root.at(i);
    std::string what;
    if (read_member(member.name, member.value, line, what)) continue;
    (void)refuse(fmt::format("{} {}", member.name.size() <= 32 ? shown(member.name) : "a member", what));
    return false;
  }
  if (line.device_id.empty()) (void)refuse("\"deviceId\" is missing");
  if (line.removed && !delta_) (void)refuse("\"removed\" belongs to PATCH; leave the device out instead");
  return complaint_.empty();
}

Status ComplianceReader::finish() {
  if (place_ == Place::object) return refuse("the data ends within its object");
  if (mark_ > 0) return refuse_between(kStray);
  if (array_ && place_ != Place::after_array) return refuse_between("the data ends without \"]\"");
  return {};
}

}  // namespace bellhop::service
