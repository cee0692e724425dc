// SPDX-License-Identifier: Apache-2.0
#include "tools/standin/activesync_query.h"

#include <algorithm>
#include <array>

#include "core/base/bytes.h"
#include "proto/target.h"

namespace bellhop::standin {
namespace {

// Command codes of MS-ASHTTP 2.2.1.1.1.2.2; empty: none that servers still have.
constexpr std::array<std::string_view, 24> kCommands = {"Sync",
                                                        "SendMail",
                                                        "SmartForward",
                                                        "SmartReply",
                                                        "GetAttachment",
                                                        "",
                                                        "",
                                                        "",
                                                        "",
                                                        "FolderSync",
                                                        "FolderCreate",
                                                        "FolderDelete",
                                                        "FolderUpdate",
                                                        "MoveItems",
                                                        "GetItemEstimate",
                                                        "MeetingResponse",
                                                        "Search",
                                                        "Settings",
                                                        "Ping",
                                                        "ItemOperations",
                                                        "Provision",
                                                        "ResolveRecipients",
                                                        "ValidateCert",
                                                        "Find"};
constexpr uint8_t kTagAttachmentName = 0, kTagUser = 8;

// Front to back through the bytes of a base64 query. A read past the end sets `broken`.
class Cursor {
 public:
  explicit Cursor(Bytes bytes) : left_(bytes) {}
  bool broken = false;

  bool at_end() const { return left_.empty(); }
  uint8_t byte() {
    Bytes one = take(1);
    return one.empty() ? 0 : one[0];
  }
  Bytes take(size_t size) {
    if (size > left_.size()) {
      broken = true;
      left_ = {};
      return {};
    }
    Bytes taken = left_.first(size);
    left_ = left_.subspan(size);
    return taken;
  }
  Bytes field() { return take(byte()); }

 private:
  Bytes left_;
};

std::string device_id_text(Bytes bytes) {
  bool printable = std::ranges::all_of(bytes, [](uint8_t c) { return c > ' ' && c <= '~'; });
  if (printable) return std::string(as_text(bytes));
  std::string hex = to_hex(bytes);
  std::ranges::transform(hex, hex.begin(), [](char c) { return c >= 'a' && c <= 'f' ? static_cast<char>(c - 32) : c; });
  return hex;
}

std::optional<ActiveSyncRequestQuery> read_base64(std::string_view text) {
  std::string padded(text);
  while (padded.size() % 4 != 0) padded += '=';
  auto bytes = from_base64(padded);
  if (!bytes) return std::nullopt;
  Cursor cursor(*bytes);
  ActiveSyncRequestQuery query{.base64 = true};
  uint8_t version = cursor.byte(), command = cursor.byte();
  query.protocol_version = std::to_string(version / 10) + "." + std::to_string(version % 10);
  cursor.take(2);  // the locale
  query.device_id = device_id_text(cursor.field());
  Bytes key = cursor.field();
  if (key.size() == 4)
    query.policy_key = uint32_t{key[3]} << 24 | uint32_t{key[2]} << 16 | uint32_t{key[1]} << 8 | key[0];
  query.device_type = as_text(cursor.field());
  if (cursor.broken || command >= kCommands.size() || kCommands[command].empty()) return std::nullopt;
  query.command = kCommands[command];
  while (!cursor.at_end()) {
    uint8_t tag = cursor.byte();
    Bytes value = cursor.field();
    if (cursor.broken) return std::nullopt;
    if (tag == kTagAttachmentName) query.attachment_name = as_text(value);
    if (tag == kTagUser) query.user = as_text(value);
  }
  return query;
}

void join(std::string& field, std::string_view value) {
  if (!field.empty()) field += ',';
  field += value;
}

std::optional<ActiveSyncRequestQuery> read_plain(std::string_view text) {
  ActiveSyncRequestQuery query;
  while (!text.empty()) {
    std::string_view parameter = text.substr(0, text.find('&'));
    text.remove_prefix(std::min(text.size(), parameter.size() + 1));
    size_t equals = parameter.find('=');
    auto name = proto::percent_decode(parameter.substr(0, equals));
    auto value = proto::percent_decode(equals == parameter.npos ? std::string_view() : parameter.substr(equals + 1));
    if (!name || !value) return std::nullopt;
    std::string key = ascii_lower(*name);
    if (key == "cmd") join(query.command, *value);
    if (key == "user") join(query.user, *value);
    if (key == "deviceid") join(query.device_id, *value);
    if (key == "devicetype") join(query.device_type, *value);
    if (key == "attachmentname") join(query.attachment_name, *value);
  }
  return query;
}

}  // namespace

std::optional<ActiveSyncRequestQuery> read_activesync_query(std::string_view query) {
  if (query.find_first_of("&=") == query.npos && !query.empty()) return read_base64(query);
  size_t equals = query.find('=');
  bool padding_only = equals != query.npos && query.find_first_not_of('=', equals) == query.npos;
  // "=" at the end alone pads; a parameter has a name.
  if (padding_only && query.find('&') == query.npos && query.size() % 4 == 0) {
    if (auto base64 = read_base64(query)) return base64;
  }
  return read_plain(query);
}

}  // namespace bellhop::standin
