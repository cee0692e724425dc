// SPDX-License-Identifier: Apache-2.0
// Settings as Java writes them, from a file of somebody's.
#include "proto/properties.h"
#include "tests/fuzz/fuzz.h"

using namespace bellhop;
using namespace bellhop::proto;

namespace {

// What reads back as this, character by character.
std::string escaped(std::string_view text) {
  std::string out;
  for (char c : text) {
    if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (static_cast<uint8_t>(c) < 0x80) {
      out += '\\';
      bool letter = c == 't' || c == 'n' || c == 'r' || c == 'f' || c == 'u';
      if (letter) out.pop_back();
      out += c;
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace

BELLHOP_FUZZ_TARGET(input) {
  auto properties = parse_properties(as_text(input));
  if (!properties) {
    BH_CHECK(!properties.error().what.empty());
    return;
  }
  BH_CHECK(utf8_valid(as_text(input)) && properties->size() <= kPropertiesMax);
  std::string written = "#\n";  // or a character at the beginning would be taken for a byte order mark
  uint32_t line = 0;
  for (const Property& property : *properties) {
    BH_CHECK(utf8_valid(property.name) && utf8_valid(property.value) && property.line > line);
    line = property.line;
    written += escaped(property.name) + "=" + escaped(property.value) + "\n";
  }
  if (written.size() > kPropertiesBytesMax) return;
  auto again = parse_properties(written);
  BH_CHECK(again && again->size() == properties->size());
  for (size_t i = 0; i < again->size(); ++i) {
    BH_CHECK((*again)[i].name == (*properties)[i].name && (*again)[i].value == (*properties)[i].value);
  }
}
