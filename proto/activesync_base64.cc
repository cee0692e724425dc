// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>

#include "core/base/bytes.h"
#include "proto/activesync_parts.h"
#include "proto/gateway_error.h"

// MS-ASHTTP 2.2.1.1.1.1: one record of fixed and counted fields.
namespace bellhop::proto::activesync {
namespace {

constexpr std::array<uint8_t, 5> kVersions = {121, 140, 141, 160, 161};
constexpr size_t kGuidBytes = 16;

// MS-ASHTTP 2.2.1.1.1.1.3. 2 and 5 are of versions that do not have this form.
enum class Tag : uint8_t {
  attachment_name = 0,
  collection_id = 1,
  item_id = 3,
  long_id = 4,
  occurrence = 6,
  options = 7,
  user = 8,
};
constexpr size_t kTagCount = 9;
constexpr uint8_t kOptionBits = 0x03;  // SaveInSent, AcceptMultiPart

std::unexpected<Error> refuse(GatewayError code) { return fail(gateway_error(code)); }

class RecordReader {
 public:
  explicit RecordReader(Bytes record) : rest_(record) {}

  Result<ActiveSyncQuery> read() {
    BH_CHECKED(read_head());
    BH_CHECKED(read_device());
    while (!rest_.empty()) BH_CHECKED(read_parameter());
    return std::move(result_);
  }

 private:
  Result<Bytes> take(size_t size) {
    if (rest_.size() < size) return refuse(GatewayError::query_malformed);
    const Bytes taken = rest_.first(size);
    rest_ = rest_.subspan(size);
    return taken;
  }
  // One byte of length, and so many bytes.
  Result<Bytes> take_counted() {
    BH_TRY(const Bytes length, take(1));
    return take(length[0]);
  }

  // Version, command, locale.
  Status read_head() {
    BH_TRY(const Bytes head, take(4));
    if (std::ranges::find(kVersions, head[0]) == kVersions.end()) return refuse(GatewayError::query_malformed);
    result_.base64 = true;
    result_.protocol_version = head[0];
    result_.command = command_of_code(head[1]);
    return result_.command ? Status() : refuse(GatewayError::command);
  }

  Status read_device() {
    BH_TRY(const Bytes id, take_counted());
    result_.device_id = as_text(id);
    const bool printable = std::ranges::all_of(id, [](uint8_t c) { return c >= 0x20 && c <= 0x7e; });
    if (printable) {
      BH_CHECKED(check_device_id(result_.device_id));
    } else if (id.size() != kGuidBytes) {
      return refuse(GatewayError::query_malformed);
    }
    BH_TRY(const Bytes key, take_counted());
    if (key.size() != 0 && key.size() != 4) return refuse(GatewayError::query_malformed);
    if (key.size() == 4) result_.policy_key = key[0] | key[1] << 8 | key[2] << 16 | uint32_t(key[3]) << 24;
    BH_TRY(const Bytes type, take_counted());
    result_.device_type = as_text(type);
    return check_device_type(result_.device_type);
  }

  Status read_parameter() {
    BH_TRY(const Bytes tag, take(1));
    BH_TRY(const Bytes value, take_counted());
    if (tag[0] >= kTagCount) return refuse(GatewayError::parameter);
    bool& seen = seen_[tag[0]];
    if (seen) return refuse(GatewayError::ambiguous);
    seen = true;
    switch (static_cast<Tag>(tag[0])) {
      case Tag::user: result_.user = as_text(value); return check_user(result_.user);
      case Tag::options:
        return value.size() == 1 && value[0] <= kOptionBits ? Status() : refuse(GatewayError::query_malformed);
      case Tag::attachment_name:
      case Tag::collection_id:
      case Tag::item_id:
      case Tag::long_id:
      case Tag::occurrence: return check_other(as_text(value));
    }
    return refuse(GatewayError::parameter);
  }

  Bytes rest_;
  ActiveSyncQuery result_;
  std::array<bool, kTagCount> seen_{};
};

}  // namespace

Result<ActiveSyncQuery> read_base64(std::string_view query) {
  const auto record = from_base64(query);
  if (!record) return refuse(GatewayError::query_malformed);
  return RecordReader(*record).read();
}

}  // namespace bellhop::proto::activesync
