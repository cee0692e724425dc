// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "proto/xml.h"

namespace bellhop::proto {

// Appends XML to a string of the caller. Names are our own constants and are not checked; values are escaped.
class XmlWriter {
 public:
  explicit XmlWriter(std::string& out) : out_(out) {}

  XmlWriter& raw(std::string_view xml) {
    out_ += xml;
    return *this;
  }
  XmlWriter& text(std::string_view value) {
    append_xml_escaped(out_, value);
    return *this;
  }
  // <name>value</name>
  XmlWriter& element(std::string_view name, std::string_view value) {
    return raw("<").raw(name).raw(">").text(value).raw("</").raw(name).raw(">");
  }
  // The same, or nothing where the value is empty.
  XmlWriter& optional_element(std::string_view name, std::string_view value) {
    return value.empty() ? *this : element(name, value);
  }
  // <name attribute="value"/>
  XmlWriter& empty_element(std::string_view name, std::string_view attribute, std::string_view value) {
    return raw("<").raw(name).raw(" ").raw(attribute).raw("=\"").text(value).raw("\"/>");
  }

 private:
  std::string& out_;
};

// The most bytes that escaping makes of `size` bytes.
constexpr size_t xml_escaped_bytes_max(size_t size) {
  return 6 * size;
}

}  // namespace bellhop::proto
