// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "proto/ews.h"
#include "proto/ews_tags.h"
#include "proto/xml.h"

namespace bellhop::proto {

// What the readers of EWS messages share: the SOAP envelope around the message, and the rule how unknown parts are
// treated. An element counts only where the message's grammar has it as child of its parent; anything else (Exchange
// adds elements with each version) is skipped with all that is inside. So an accepted element always stands at its
// place in the schema. SOAP headers are skipped but for those in the grammar.
class SoapReader : private XmlConsumer {
 public:
  SoapReader(const SoapReader&) = delete;
  SoapReader& operator=(const SoapReader&) = delete;

  // As XmlReader::feed(): any split, sticky errors (Domain::xml or Domain::ews, detail = byte position).
  Status feed(std::string_view bytes) { return reader_.feed(bytes); }

 protected:
  SoapReader(const EwsGrammar& grammar, uint32_t document_bytes_max, uint64_t hash_salt)
      : grammar_(grammar), reader_(*this, document_bytes_max, hash_salt) {}
  ~SoapReader() = default;

  Status finish_envelope();
  void reset_envelope();
  SoapVersion soap_version() const { return soap_version_; }

  // An accepted element below Envelope. `parent` is EwsTag::body for the message itself.
  virtual Status part_started(EwsTag parent, EwsTag tag, const XmlAttributes& attributes) = 0;
  virtual Status part_ended(EwsTag parent, EwsTag tag, std::string_view text) = 0;
  // Gives a tag to an element that the grammar does not have under `parent`; unknown (the default) skips it.
  virtual EwsTag resolve(EwsTag parent, EwsSpace space, XmlName name);
  // The element in Body is not in the grammar. The default refuses it.
  virtual Status other_message(EwsSpace space, XmlName name);

 private:
  Status element_started(XmlName name, const XmlAttributes& attributes) final;
  Status element_ended(std::string_view text) final;
  Status envelope_started(EwsSpace space, XmlName name);
  Status envelope_child_started(EwsTag tag);

  const EwsGrammar& grammar_;
  XmlReader reader_;
  std::array<EwsTag, kXmlDepthMax> path_{};
  uint32_t depth_ = 0;
  uint32_t skipping_ = 0;  // open elements of the subtree that is being skipped
  SoapVersion soap_version_ = SoapVersion::soap11;
  bool has_header_ = false;
  bool has_body_ = false;
  bool has_message_ = false;
};

}  // namespace bellhop::proto
