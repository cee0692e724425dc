// SPDX-License-Identifier: Apache-2.0
#include "tools/standin/wbxml.h"

#include <algorithm>

#include "core/base/check.h"

namespace bellhop::standin {
namespace {

constexpr uint8_t kVersion = 0x03;   // 1.3
constexpr uint8_t kPublicId = 0x01;  // unknown
constexpr uint8_t kUtf8 = 0x6a;      // MIBenum 106
constexpr uint8_t kSwitchPage = 0x00, kEnd = 0x01, kInlineString = 0x03, kOpaque = 0xc3;
constexpr uint8_t kHasContent = 0x40, kHasAttributes = 0x80, kTagMask = 0x3f, kFirstTag = 0x05;
constexpr int kNumberBytesMax = 4;

// Reads one document, front to back.
class Reader {
 public:
  explicit Reader(Bytes document) : left_(document) {}

  std::optional<WbxmlElement> read(std::string& complaint) {
    if (read_header() && read_body()) return std::move(root_);
    complaint = complaint_;
    return std::nullopt;
  }

 private:
  bool fail(std::string_view why) {
    complaint_ = why;
    return false;
  }
  std::optional<uint8_t> next() {
    if (left_.empty()) return std::nullopt;
    uint8_t byte = left_.front();
    left_ = left_.subspan(1);
    return byte;
  }

  bool read_header() {
    if (next() != kVersion) return fail("not WBXML 1.3");
    if (next() != kPublicId) return fail("a public identifier other than 1");
    if (next() != kUtf8) return fail("a character set other than UTF-8");
    if (next() != 0x00) return fail("a string table");
    return true;
  }

  bool read_body() {
    while (!done_) {
      auto token = next();
      if (!token) return fail("the document ends too early");
      switch (*token) {
        case kSwitchPage: {
          auto page = next();
          if (!page) return fail("the document ends too early");
          page_ = *page;
          break;
        }
        case kEnd:
          if (open_.empty()) return fail("an end without an element");
          close();
          break;
        case kInlineString:
          if (!read_inline()) return false;
          break;
        case kOpaque:
          if (!read_opaque()) return false;
          break;
        default:
          if (!begin_element(*token)) return false;
      }
    }
    return left_.empty() || fail("bytes after the root element");
  }

  bool begin_element(uint8_t token) {
    if (token & kHasAttributes) return fail("attributes");
    uint8_t code = token & kTagMask;
    if (code < kFirstTag) return fail("a token that ActiveSync does not use");
    if (++elements_ > kWbxmlElementsMax) return fail("too many elements");
    if (open_.size() == kWbxmlDepthMax) return fail("too deep");
    if (open_.empty()) {
      root_.tag = {page_, code};
      open_.push_back(&root_);
    } else {
      // Pointers in open_ stay: a parent's children grow only while it is the innermost.
      open_.push_back(&open_.back()->add({page_, code}));
    }
    if (!(token & kHasContent)) close();
    return true;
  }
  void close() {
    open_.pop_back();
    done_ = open_.empty();
  }

  bool read_inline() {
    if (open_.empty()) return fail("text outside of the root element");
    auto end = std::ranges::find(left_, 0);
    if (end == left_.end()) return fail("a string without its end");
    auto size = static_cast<size_t>(end - left_.begin());
    open_.back()->text.append(as_text(left_.first(size)));
    left_ = left_.subspan(size + 1);
    return true;
  }
  bool read_opaque() {
    if (open_.empty()) return fail("data outside of the root element");
    size_t size = 0;
    for (int i = 0;; ++i) {
      auto byte = next();
      if (!byte || i == kNumberBytesMax) return fail("a broken length");
      size = size << 7 | (*byte & 0x7f);
      if (!(*byte & 0x80)) break;
    }
    if (size > left_.size()) return fail("data longer than the document");
    open_.back()->text.append(as_text(left_.first(size)));
    open_.back()->opaque = true;
    left_ = left_.subspan(size);
    return true;
  }

  Bytes left_;
  WbxmlElement root_;
  std::vector<WbxmlElement*> open_;  // root first
  size_t elements_ = 0;
  uint8_t page_ = 0;
  bool done_ = false;
  std::string_view complaint_;
};

void write_opaque(std::string_view data, std::string& out) {
  BH_CHECK(data.size() < size_t{1} << 28);
  out += static_cast<char>(kOpaque);
  for (int shift = 21; shift > 0; shift -= 7) {
    if (data.size() >> shift) out += static_cast<char>(0x80 | (data.size() >> shift & 0x7f));
  }
  out += static_cast<char>(data.size() & 0x7f);
  out += data;
}

void write_element(const WbxmlElement& element, uint8_t& page, std::string& out) {
  if (element.tag.page != page) {
    page = element.tag.page;
    out += static_cast<char>(kSwitchPage);
    out += static_cast<char>(page);
  }
  if (element.text.empty() && element.children.empty()) {
    out += static_cast<char>(element.tag.code);
    return;
  }
  out += static_cast<char>(element.tag.code | kHasContent);
  if (element.opaque) {
    write_opaque(element.text, out);
  } else if (!element.text.empty()) {
    BH_CHECK(!element.text.contains('\0'));
    out += static_cast<char>(kInlineString);
    out += element.text;
    out += '\0';
  }
  for (const WbxmlElement& child : element.children) write_element(child, page, out);
  out += static_cast<char>(kEnd);
}

}  // namespace

WbxmlElement& WbxmlElement::add(WbxmlTag child) {
  WbxmlElement& made = children.emplace_back();
  made.tag = child;
  return made;
}

WbxmlElement& WbxmlElement::add(WbxmlTag child, std::string_view value) {
  WbxmlElement& made = add(child);
  made.text = value;
  return made;
}

const WbxmlElement* WbxmlElement::find(WbxmlTag child) const {
  auto at = std::ranges::find(children, child, &WbxmlElement::tag);
  return at == children.end() ? nullptr : &*at;
}

std::string_view WbxmlElement::text_of(WbxmlTag child) const {
  const WbxmlElement* found = find(child);
  return found ? std::string_view(found->text) : std::string_view();
}

std::optional<uint64_t> WbxmlElement::number_of(WbxmlTag child) const {
  return parse_decimal(text_of(child));
}

std::optional<WbxmlElement> read_wbxml(Bytes document, std::string& complaint) {
  return Reader(document).read(complaint);
}

std::string write_wbxml(const WbxmlElement& root) {
  std::string out{static_cast<char>(kVersion), static_cast<char>(kPublicId), static_cast<char>(kUtf8), '\0'};
  uint8_t page = 0;
  write_element(root, page, out);
  return out;
}

}  // namespace bellhop::standin
