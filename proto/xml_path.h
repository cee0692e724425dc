// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "proto/xml.h"

namespace bellhop::proto {

// Reads small documents of a fixed shape: a table says which element may stand in which, and everything else is skipped
// with all that is in it. For documents beside EWS, whose shapes are too few for EwsGrammar. Parts are numbers of the
// derived class; 0 is the document itself, outside the root.
class XmlPathReader : private XmlConsumer {
 public:
  XmlPathReader(const XmlPathReader&) = delete;
  XmlPathReader& operator=(const XmlPathReader&) = delete;

  // As XmlReader::feed().
  Status feed(std::string_view bytes) { return reader_.feed(bytes); }

 protected:
  struct Rule {
    uint8_t parent;
    std::span<const std::string_view> spaces;  // any of these namespaces
    std::string_view local;
    uint8_t part;
  };

  XmlPathReader(std::span<const Rule> rules, uint32_t document_bytes_max, uint64_t hash_salt)
      : rules_(rules), reader_(*this, document_bytes_max, hash_salt) {}
  ~XmlPathReader() = default;

  // The end of the document. EwsError::unexpected_message where the root is none of the table's.
  Status finish_document() { return reader_.finish(); }
  void reset_document();

  virtual Status part_started(uint8_t part, const XmlAttributes& attributes) = 0;
  virtual Status part_ended(uint8_t part, std::string_view text) = 0;

 private:
  Status element_started(XmlName name, const XmlAttributes& attributes) final;
  Status element_ended(std::string_view text) final;
  uint8_t part_of(uint8_t parent, XmlName name) const;

  std::span<const Rule> rules_;
  XmlReader reader_;
  std::array<uint8_t, kXmlDepthMax> path_{};
  uint32_t depth_ = 0;
  uint32_t skipping_ = 0;  // open elements of the subtree that is being skipped
};

}  // namespace bellhop::proto
