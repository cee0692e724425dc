// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/bytes.h"

namespace bellhop::standin {

// WAP Binary XML as ActiveSync uses it (MS-ASWBXML): version 1.3, UTF-8, no string table, no attributes, the code pages
// of activesync_tags.h. Pure functions.

// A tag: its code page, and its six bits within the page.
struct WbxmlTag {
  uint8_t page = 0;
  uint8_t code = 0;
  friend bool operator==(const WbxmlTag&, const WbxmlTag&) = default;
};

// An element with its text, or with elements. The text of several inline strings and opaque pieces is joined.
struct WbxmlElement {
  WbxmlTag tag;
  std::string text;
  bool opaque = false;  // `text` is written as opaque data, not as an inline string that ends with NUL
  std::vector<WbxmlElement> children;

  WbxmlElement& add(WbxmlTag child);
  WbxmlElement& add(WbxmlTag child, std::string_view value);
  WbxmlElement& add_number(WbxmlTag child, uint64_t value) { return add(child, std::to_string(value)); }
  // The first child of that tag; null where there is none.
  const WbxmlElement* find(WbxmlTag child) const;
  // Its text; empty where there is none.
  std::string_view text_of(WbxmlTag child) const;
  // Its text as a decimal number; nothing where there is none.
  std::optional<uint64_t> number_of(WbxmlTag child) const;
};

inline constexpr size_t kWbxmlDepthMax = 32;
inline constexpr size_t kWbxmlElementsMax = 10'000;

// The document's root element. Nothing where it is no such document, or passes a limit; `complaint` then says why.
std::optional<WbxmlElement> read_wbxml(Bytes document, std::string& complaint);
// The document. Text that is not opaque has no NUL.
std::string write_wbxml(const WbxmlElement& root);

}  // namespace bellhop::standin
