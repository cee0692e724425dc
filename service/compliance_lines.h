// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "core/base/error.h"
#include "service/compliance_record.h"

namespace bellhop::service {

// Reads compliance data as it comes, in pieces of any size: JSON objects, one after the other (JSON lines) or in one
// array. Nothing is kept but the object at hand. The members are in docs/policy.md; one that is not known is refused, so
// that a mistake in a name cannot leave a device allowed.
//
//   ComplianceReader reader([&](const ComplianceLine& line) { return take(line); });
//   while (…) BH_TRY(reader.feed(piece));
//   BH_TRY(reader.finish());       // errors: ServiceError::compliance_data; reader.complaint() says what and where
class ComplianceReader {
 public:
  static constexpr size_t kObjectBytesMax = 8 * 1024;

  // `take` may refuse with any error, which feed() returns; compliance_repeated becomes a complaint. `delta`: lines of PATCH, which may remove a device.
  ComplianceReader(bool delta, std::function<Status(const ComplianceLine& line)> take)
      : delta_(delta), take_(std::move(take)) {}

  Status feed(std::string_view piece);
  Status finish();
  uint64_t lines() const { return lines_; }
  // Neither an object nor an array was there.
  bool empty() const { return lines_ == 0 && !array_; }
  // "device 12: managed is \"maybe\"; accepted: true, false, null, …". Holds nothing but names of members and short values.
  const std::string& complaint() const { return complaint_; }
  // Of the object at hand or the last one; of the data where there is none.
  Status refuse(std::string_view what);

 private:
  enum class Place : uint8_t { begin, between, object, after_array };
  Status on_object();
  bool read(std::string_view text, ComplianceLine& line);
  bool between(char c);
  Status refuse_between(std::string_view what);

  const bool delta_;
  std::function<Status(const ComplianceLine& line)> take_;
  Place place_ = Place::begin;
  bool array_ = false;
  bool comma_ = false;     // in an array: one was read since the last object
  size_t mark_ = 0;        // bytes of a byte order mark that were read
  bool in_string_ = false, escaped_ = false;
  unsigned depth_ = 0;
  std::string object_;
  uint64_t lines_ = 0;
  std::string complaint_;
};

// "2026-01-31T12:00:00Z", with a fraction or without, or with an offset from UTC (RFC 3339).
std::optional<WallTime> parse_time(std::string_view text);

}  // namespace bellhop::service
