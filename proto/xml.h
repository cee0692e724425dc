// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "core/base/error.h"

struct XML_ParserStruct;  // Expat's; expat.h stays out of our headers

namespace bellhop::proto {

// Why a document is refused. Error.detail = byte position where it was noticed.
enum class XmlError : uint16_t {
  malformed = 1,           // not well-formed XML 1.0 with namespaces
  truncated,               // the document ends too early
  doctype,                 // a document type declaration; never accepted
  processing_instruction,  // `<?target ...?>` other than the XML declaration
  encoding,                // not UTF-8
  depth,                   // more than kXmlDepthMax open elements
  attributes,              // more than kXmlAttributesMax attributes and namespace declarations on one element
  name,                    // a name, prefix or namespace longer than kXmlNameBytesMax
  text,                    // more than kXmlTextBytesMax of text directly in one element
  document,                // more bytes than the reader's document limit
  memory,                  // the parser needed more than kXmlPoolBytesMax
};
Error xml_error(XmlError code, uint32_t position);

inline constexpr uint32_t kXmlDepthMax = 64;
inline constexpr uint32_t kXmlAttributesMax = 64;
inline constexpr uint32_t kXmlNameBytesMax = 256;
inline constexpr uint32_t kXmlTextBytesMax = 64 * 1024;
inline constexpr uint32_t kXmlPoolBytesMax = 8 * 1024 * 1024;
// The document limits of the two sources.
inline constexpr uint32_t kXmlCallbackBytesMax = 256 * 1024;
inline constexpr uint32_t kXmlEwsAnswerBytesMax = 1024 * 1024;

// An expanded name. `space` is the namespace URI, empty for none.
struct XmlName {
  std::string_view space;
  std::string_view local;
};

struct XmlAttribute {
  XmlName name;
  std::string_view value;
};

// The attributes of one start tag, namespace declarations not among them. Views of the parser's memory.
class XmlAttributes {
 public:
  XmlAttributes(const char* const* pairs, uint32_t size) : pairs_(pairs), size_(size) {}
  uint32_t size() const { return size_; }
  XmlAttribute at(uint32_t index) const;
  // The value of the attribute of that name in no namespace.
  std::optional<std::string_view> find(std::string_view local) const;

 private:
  const char* const* pairs_;
  uint32_t size_;
};

// Receives the elements of a document in order. All views die when the function returns. An error ends the parse: it is
// what feed() returns (with the byte position as detail where the consumer left detail 0) and no further call follows.
// A consumer only records: it runs inside the parser and must not call the reader.
class XmlConsumer {
 public:
  virtual Status element_started(XmlName name, const XmlAttributes& attributes) = 0;
  // `text` is the character data directly in the element, entities and CDATA resolved, well-formed UTF-8.
  virtual Status element_ended(std::string_view text) = 0;

 protected:
  ~XmlConsumer() = default;
};

class XmlPool;
class XmlMark;

// A namespace-aware streaming XML 1.0 reader on Expat, hardened for hostile input: no DTD, no entity but the five of
// XML, nothing is ever resolved or loaded, UTF-8 only (a BOM is accepted), every dimension bounded by the constants
// above.
//
// One document: feed()* finish(), then reset() for the next. Reusable, because heartbeats are the hot path: Expat draws
// its memory from a pool of the reader, so that after warm-up a small document does not touch the heap. reset() wipes
// all of it (a document may hold a callback URL with credentials) and puts the parser back as it was made. Belongs to one
// core; the consumer outlives it.
class XmlReader {
 public:
  // `hash_salt` is random and secret (never 0): it keeps a sender from choosing colliding names.
  XmlReader(XmlConsumer& consumer, uint32_t document_bytes_max, uint64_t hash_salt);
  XmlReader(const XmlReader&) = delete;
  XmlReader& operator=(const XmlReader&) = delete;
  ~XmlReader();

  // Any split of the document gives the same events and the same error code. After an error, the same error again.
  Status feed(std::string_view bytes);
  // The end of the document. XmlError::truncated where it is not complete.
  Status finish();
  // Forgets the document and wipes what was held of it.
  void reset();

  // What many documents begin with has to be parsed once: the reader as it is now, after bytes that had no error, to come
  // back to. Nothing where it holds more than a few KB. Not to be used after the reader's death.
  std::shared_ptr<const XmlMark> mark() const;
  // As if the document began with the same bytes.
  void reset_to(const XmlMark& mark);
  // For the consumer: so many bytes of the document were read when the event at hand ended.
  uint32_t event_end() const;

  // Bytes of the heap that the pool holds now; for tests and metrics.
  size_t pool_bytes() const;

 private:
  struct Handlers;
  friend struct Handlers;

  void create_parser();
  void destroy_parser();
  Status parse(std::string_view bytes, bool final);
  std::optional<XmlError> start_fault(std::string_view bytes);
  void fail_at_event(Error error);
  Error parser_error(bool final) const;

  XmlConsumer& consumer_;
  uint32_t document_bytes_max_;
  uint64_t hash_salt_;
  // What belongs to a place in the document, besides the pool.
  struct Place {
    std::array<uint32_t, kXmlDepthMax> text_at{};  // where the text of each open element begins
    uint32_t depth = 0;
    uint32_t declarations = 0;  // namespace declarations seen since the last start tag
    uint32_t bytes_fed = 0;
    std::array<char, 2> first_bytes{};
  };
  friend XmlMark;

  std::unique_ptr<XmlPool> pool_;
  XML_ParserStruct* parser_ = nullptr;
  std::shared_ptr<const XmlMark> new_;  // before any document
  std::string text_;              // text of all open elements, innermost last; wiped by reset()
  Place at_;
  bool finished_ = false;
  std::optional<Error> error_;
};

// Appends text with the characters escaped that XML gives a meaning to, for element content and quoted attributes
// alike. What XML 1.0 cannot express (control characters, ill-formed UTF-8, U+FFFE, U+FFFF) becomes U+FFFD.
void append_xml_escaped(std::string& out, std::string_view text);
// True where append_xml_escaped replaces nothing.
bool xml_can_express(std::string_view text);

// Registers the texts of Domain::xml with error_text(); called once, at start.
void register_xml_error_texts();

}  // namespace bellhop::proto
