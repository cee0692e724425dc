// SPDX-License-Identifier: Apache-2.0
#include "proto/xml.h"

#include <expat.h>

#include <algorithm>
#include <cstring>

#include "core/base/bytes.h"
#include "core/base/check.h"
#include "proto/xml_pool.h"

namespace bellhop::proto {
namespace {

// Stands between namespace and local name in Expat's expanded names. No XML document can contain it.
constexpr char kNameSeparator = '\f';
// What an idle reader keeps. Documents of the usual size stay below.
constexpr size_t kPoolBytesKept = 64 * 1024;
constexpr size_t kTextBytesKept = 4 * 1024;

void* pool_malloc(size_t size) {
  return XmlPoolScope::current()->allocate(size);
}
void* pool_realloc(void* memory, size_t size) {
  return memory ? XmlPool::reallocate(memory, size) : XmlPoolScope::current()->allocate(size);
}
constexpr XML_Memory_Handling_Suite kPoolFunctions = {pool_malloc, pool_realloc, XmlPool::release};

XmlName split_name(const char* name) {
  std::string_view all = name;
  size_t separator = all.find(kNameSeparator);
  if (separator == all.npos) return {{}, all};
  return {all.substr(0, separator), all.substr(separator + 1)};
}

bool fits(XmlName name) {
  return name.space.size() <= kXmlNameBytesMax && name.local.size() <= kXmlNameBytesMax;
}

}  // namespace

Error xml_error(XmlError code, uint32_t position) {
  return {Domain::xml, 0, static_cast<uint16_t>(code), position};
}

XmlAttribute XmlAttributes::at(uint32_t index) const {
  BH_CHECK(index < size_);
  return {split_name(pairs_[2 * index]), pairs_[2 * index + 1]};
}

std::optional<std::string_view> XmlAttributes::find(std::string_view local) const {
  for (uint32_t i = 0; i < size_; ++i) {
    if (pairs_[2 * i] == local) return pairs_[2 * i + 1];
  }
  return std::nullopt;
}

// A reader at a place in a document.
class XmlMark {
 public:
  XmlMark(XmlPool::Kept pool, const std::string& text, const XmlReader::Place& place)
      : pool_(std::move(pool)), text_(text), place_(place) {}

 private:
  friend XmlReader;
  XmlPool::Kept pool_;
  std::string text_;
  XmlReader::Place place_;
};

// Expat's handlers. The first failure is kept and stops the parser; Expat may still finish the tag at hand, so each
// handler looks first.
struct XmlReader::Handlers {
  static void XMLCALL start(void* user, const XML_Char* name, const XML_Char** pairs) {
    XmlReader& reader = *static_cast<XmlReader*>(user);
    if (reader.error_) return;
    XmlName expanded = split_name(name);
    uint32_t attribute_count = 0;
    bool names_fit = fits(expanded);
    for (; pairs[2 * attribute_count]; ++attribute_count) names_fit &= fits(split_name(pairs[2 * attribute_count]));
    if (!names_fit) return reader.fail_at_event(xml_error(XmlError::name, 0));
    if (attribute_count + reader.at_.declarations > kXmlAttributesMax)
      return reader.fail_at_event(xml_error(XmlError::attributes, 0));
    if (reader.at_.depth == kXmlDepthMax) return reader.fail_at_event(xml_error(XmlError::depth, 0));
    reader.at_.declarations = 0;
    reader.at_.text_at[reader.at_.depth++] = uint32_t(reader.text_.size());
    Status status = reader.consumer_.element_started(expanded, XmlAttributes(pairs, attribute_count));
    if (!status) reader.fail_at_event(status.error());
  }

  static void XMLCALL end(void* user, const XML_Char*) {
    XmlReader& reader = *static_cast<XmlReader*>(user);
    if (reader.error_) return;
    BH_CHECK(reader.at_.depth > 0);
    size_t text_at = reader.at_.text_at[--reader.at_.depth];
    Status status = reader.consumer_.element_ended(std::string_view(reader.text_).substr(text_at));
    reader.text_.resize(text_at);
    if (!status) reader.fail_at_event(status.error());
  }

  static void XMLCALL text(void* user, const XML_Char* text, int size) {
    XmlReader& reader = *static_cast<XmlReader*>(user);
    if (reader.error_) return;
    BH_CHECK(reader.at_.depth > 0 && size >= 0);
    size_t own_size = reader.text_.size() - reader.at_.text_at[reader.at_.depth - 1];
    if (own_size + size_t(size) > kXmlTextBytesMax) return reader.fail_at_event(xml_error(XmlError::text, 0));
    if (reader.text_.size() + size_t(size) > reader.text_.capacity()) {
      std::string larger;  // grown by hand, so that the old memory is wiped
      larger.reserve(std::max(kTextBytesKept, 2 * (reader.text_.size() + size_t(size))));
      larger = reader.text_;
      wipe(reader.text_);
      reader.text_.swap(larger);
    }
    reader.text_.append(text, size_t(size));
  }

  static void XMLCALL declaration(void* user, const XML_Char*, const XML_Char* encoding, int) {
    XmlReader& reader = *static_cast<XmlReader*>(user);
    if (reader.error_) return;
    if (encoding && !ascii_equal_ignoring_case(encoding, "utf-8"))
      reader.fail_at_event(xml_error(XmlError::encoding, 0));
  }

  static void XMLCALL doctype(void* user, const XML_Char*, const XML_Char*, const XML_Char*, int) {
    XmlReader& reader = *static_cast<XmlReader*>(user);
    if (!reader.error_) reader.fail_at_event(xml_error(XmlError::doctype, 0));
  }

  static void XMLCALL processing_instruction(void* user, const XML_Char*, const XML_Char*) {
    XmlReader& reader = *static_cast<XmlReader*>(user);
    if (!reader.error_) reader.fail_at_event(xml_error(XmlError::processing_instruction, 0));
  }

  static void XMLCALL namespace_declared(void* user, const XML_Char* prefix, const XML_Char* uri) {
    XmlReader& reader = *static_cast<XmlReader*>(user);
    if (reader.error_) return;
    size_t longest = std::max(prefix ? std::strlen(prefix) : 0, uri ? std::strlen(uri) : 0);
    if (longest > kXmlNameBytesMax) return reader.fail_at_event(xml_error(XmlError::name, 0));
    if (++reader.at_.declarations > kXmlAttributesMax) reader.fail_at_event(xml_error(XmlError::attributes, 0));
  }
};

XmlReader::XmlReader(XmlConsumer& consumer, uint32_t document_bytes_max, uint64_t hash_salt)
    : consumer_(consumer),
      document_bytes_max_(document_bytes_max),
      hash_salt_(hash_salt),
      pool_(std::make_unique<XmlPool>(kXmlPoolBytesMax)) {
  BH_CHECK(hash_salt != 0);
  create_parser();
}

XmlReader::~XmlReader() {
  destroy_parser();
  wipe(text_);
}

void XmlReader::create_parser() {
  XmlPoolScope scope(*pool_);
  // The encoding is imposed, so that neither a BOM nor a declaration can change it.
  const char separator[] = {kNameSeparator, 0};
  parser_ = XML_ParserCreate_MM("UTF-8", &kPoolFunctions, separator);
  BH_CHECK(parser_ != nullptr);
  XML_SetHashSalt(parser_, hash_salt_);  // else Expat asks the kernel for one per document
  XML_SetUserData(parser_, this);
  XML_SetElementHandler(parser_, Handlers::start, Handlers::end);
  XML_SetCharacterDataHandler(parser_, Handlers::text);
  XML_SetXmlDeclHandler(parser_, Handlers::declaration);
  XML_SetStartDoctypeDeclHandler(parser_, Handlers::doctype);
  XML_SetProcessingInstructionHandler(parser_, Handlers::processing_instruction);
  XML_SetStartNamespaceDeclHandler(parser_, Handlers::namespace_declared);
  BH_CHECK(XML_Parse(parser_, "", 0, XML_FALSE) == XML_STATUS_OK);  // what each document begins with, done once
  new_ = mark();
  BH_CHECK(new_ != nullptr);
}

void XmlReader::destroy_parser() {
  XmlPoolScope scope(*pool_);
  XML_ParserFree(parser_);
  parser_ = nullptr;
}

// The parser as it was made. XML_ParserReset keeps the names, attribute values and the input buffer of the old document in
// its own free lists, out of the pool's sight.
void XmlReader::reset() {
  reset_to(*new_);
}

void XmlReader::reset_to(const XmlMark& mark) {
  pool_->restore(mark.pool_, kPoolBytesKept);
  wipe(text_);
  if (text_.capacity() > kTextBytesKept) std::string().swap(text_);
  text_ = mark.text_;
  at_ = mark.place_;
  finished_ = false;
  error_.reset();
}

std::shared_ptr<const XmlMark> XmlReader::mark() const {
  BH_CHECK(!finished_ && !error_);
  auto pool = pool_->keep();
  return pool ? std::make_shared<const XmlMark>(*std::move(pool), text_, at_) : nullptr;
}

uint32_t XmlReader::event_end() const {
  return uint32_t(XML_GetCurrentByteIndex(parser_) + XML_GetCurrentByteCount(parser_));
}

size_t XmlReader::pool_bytes() const {
  return pool_->bytes();
}

Status XmlReader::feed(std::string_view bytes) {
  if (error_) return fail(*error_);
  BH_CHECK(!finished_);
  // What is within the limit is read first, so that the first fault of a document wins, however it is split.
  size_t room = document_bytes_max_ - at_.bytes_fed;
  BH_CHECKED(parse(bytes.substr(0, room), false));
  if (bytes.size() > room) {
    error_ = xml_error(XmlError::document, document_bytes_max_);
    return fail(*error_);
  }
  return {};
}

Status XmlReader::finish() {
  if (error_) return fail(*error_);
  BH_CHECK(!finished_);
  finished_ = true;
  return parse({}, true);
}

Status XmlReader::parse(std::string_view bytes, bool final) {
  if (std::optional<XmlError> fault = start_fault(bytes)) {
    error_ = xml_error(*fault, 0);
    return fail(*error_);
  }
  at_.bytes_fed += uint32_t(bytes.size());
  XmlPoolScope scope(*pool_);
  XML_Status status = XML_Parse(parser_, bytes.data(), int(bytes.size()), final);
  if (!error_ && status == XML_STATUS_ERROR) error_ = parser_error(final);
  if (error_) return fail(*error_);
  return {};
}

// Encoding where the document begins as UTF-16 or UTF-32 do: a BOM, or a zero in the first two bytes. Else malformed
// where the first byte can begin no document: with the first byte alone Expat would say so before the second is seen.
std::optional<XmlError> XmlReader::start_fault(std::string_view bytes) {
  for (size_t i = 0; i < bytes.size() && at_.bytes_fed + i < at_.first_bytes.size(); ++i)
    at_.first_bytes[at_.bytes_fed + i] = bytes[i];
  if (at_.bytes_fed >= at_.first_bytes.size() || bytes.empty()) return std::nullopt;
  auto first = uint8_t(at_.first_bytes[0]);
  if (first == 0 || first == 0xff || first == 0xfe) return XmlError::encoding;
  bool begins = first == '<' || first == 0xef || std::string_view(" \t\r\n").find(char(first)) != std::string_view::npos;
  if (!begins) return XmlError::malformed;
  bool second_seen = at_.bytes_fed + bytes.size() >= 2;
  if (second_seen && at_.first_bytes[1] == 0) return XmlError::encoding;
  return std::nullopt;
}

void XmlReader::fail_at_event(Error error) {
  BH_CHECK(!error_);
  if (error.detail == 0) error.detail = uint32_t(XML_GetCurrentByteIndex(parser_));
  error_ = error;
  XML_StopParser(parser_, XML_FALSE);
}

Error XmlReader::parser_error(bool final) const {
  auto position = uint32_t(XML_GetErrorByteIndex(parser_));
  switch (XML_GetErrorCode(parser_)) {
    case XML_ERROR_NO_MEMORY:
      return xml_error(XmlError::memory, position);
    case XML_ERROR_NO_ELEMENTS:
    case XML_ERROR_UNCLOSED_TOKEN:
    case XML_ERROR_PARTIAL_CHAR:
    case XML_ERROR_UNCLOSED_CDATA_SECTION:
      return xml_error(final ? XmlError::truncated : XmlError::malformed, position);
    case XML_ERROR_UNKNOWN_ENCODING:
    case XML_ERROR_INCORRECT_ENCODING:
      return xml_error(XmlError::encoding, position);
    default:
      return xml_error(XmlError::malformed, position);
  }
}

}  // namespace bellhop::proto
