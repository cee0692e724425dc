// SPDX-License-Identifier: Apache-2.0
#include "proto/xml_path.h"

#include <algorithm>

#include "core/base/check.h"
#include "proto/ews.h"

namespace bellhop::proto {

void XmlPathReader::reset_document() {
  reader_.reset();
  depth_ = skipping_ = 0;
}

uint8_t XmlPathReader::part_of(uint8_t parent, XmlName name) const {
  for (const Rule& rule : rules_) {
    bool named = rule.parent == parent && rule.local == name.local;
    if (named && std::ranges::find(rule.spaces, name.space) != rule.spaces.end()) return rule.part;
  }
  return 0;
}

Status XmlPathReader::element_started(XmlName name, const XmlAttributes& attributes) {
  if (skipping_ > 0) {
    ++skipping_;
    return {};
  }
  uint8_t part = part_of(depth_ == 0 ? 0 : path_[depth_ - 1], name);
  if (part == 0) {
    if (depth_ == 0) return fail(ews_error(EwsError::unexpected_message));
    skipping_ = 1;
    return {};
  }
  path_[depth_++] = part;
  return part_started(part, attributes);
}

Status XmlPathReader::element_ended(std::string_view text) {
  if (skipping_ > 0) {
    --skipping_;
    return {};
  }
  BH_CHECK(depth_ > 0);
  return part_ended(path_[--depth_], text);
}

}  // namespace bellhop::proto
