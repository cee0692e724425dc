// SPDX-License-Identifier: Apache-2.0
#include "core/base/bytes.h"
#include "proto/xml.h"

namespace bellhop::proto {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";

// U+FFFE and U+FFFF are well-formed UTF-8, but no characters of XML.
bool starts_with_noncharacter(std::string_view text) {
  return text.starts_with("\xef\xbf\xbe") || text.starts_with("\xef\xbf\xbf");
}

// Bytes of the well-formed character at the start of `text` that XML 1.0 allows (production 2), else 0.
size_t character_size(std::string_view text) {
  auto lead = uint8_t(text[0]);
  if (lead < 0x80) return lead >= 0x20 || lead == '\t' || lead == '\n' || lead == '\r';
  size_t size = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  std::string_view character = text.substr(0, size);
  if (character.size() < size || !utf8_valid(character)) return 0;
  return starts_with_noncharacter(character) ? 0 : size;
}

std::string_view escape_of(char c) {
  switch (c) {
    case '&':
      return "&amp;";
    case '<':
      return "&lt;";
    case '>':
      return "&gt;";
    case '"':
      return "&quot;";
    case '\'':
      return "&#39;";
    // Written plainly, a reader would turn these into a space (in attributes) or a line feed.
    case '\t':
      return "&#9;";
    case '\n':
      return "&#10;";
    case '\r':
      return "&#13;";
    default:
      return {};
  }
}

std::string text_of(uint16_t code, uint32_t detail) {
  std::string at = " at byte " + std::to_string(detail);
  switch (static_cast<XmlError>(code)) {
    case XmlError::malformed:
      return "not well-formed" + at;
    case XmlError::truncated:
      return "the document ends too early," + at;
    case XmlError::doctype:
      return "a document type declaration is not accepted," + at;
    case XmlError::processing_instruction:
      return "a processing instruction is not accepted," + at;
    case XmlError::encoding:
      return "the encoding is not UTF-8," + at;
    case XmlError::depth:
      return "more than " + std::to_string(kXmlDepthMax) + " nested elements" + at;
    case XmlError::attributes:
      return "more than " + std::to_string(kXmlAttributesMax) + " attributes" + at;
    case XmlError::name:
      return "a name is longer than " + std::to_string(kXmlNameBytesMax) + " bytes" + at;
    case XmlError::text:
      return "the text of one element is longer than " + std::to_string(kXmlTextBytesMax) + " bytes" + at;
    case XmlError::document:
      return "the document is longer than its limit of " + std::to_string(detail) + " bytes";
    case XmlError::memory:
      return "the parser needs more than " + std::to_string(kXmlPoolBytesMax) + " bytes" + at;
  }
  return "code " + std::to_string(code);
}

}  // namespace

void append_xml_escaped(std::string& out, std::string_view text) {
  while (!text.empty()) {
    if (std::string_view escape = escape_of(text[0]); !escape.empty()) {
      out += escape;
      text.remove_prefix(1);
      continue;
    }
    size_t size = character_size(text);
    out += size ? text.substr(0, size) : kReplacement;
    text.remove_prefix(size ? size : starts_with_noncharacter(text) ? 3 : 1);
  }
}

bool xml_can_express(std::string_view text) {
  while (!text.empty()) {
    size_t size = character_size(text);
    if (size == 0) return false;
    text.remove_prefix(size);
  }
  return true;
}

void register_xml_error_texts() {
  register_error_text(Domain::xml, "xml", text_of);
}

}  // namespace bellhop::proto
