// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "core/base/bytes.h"
#include "core/base/error.h"
#include "proto/ews_tags.h"
#include "proto/xml.h"

namespace bellhop::proto {

// Within so many bytes the operation of a request must have come.
inline constexpr uint32_t kEwsPeekBytesMax = 64 * 1024;
inline constexpr size_t kImpersonatedBytesMax = 256;

enum class PeekState : uint8_t { need_more, decided };

// Who an ExchangeImpersonation header acts for, and how it says so.
enum class ImpersonatedName : uint8_t { none, principal_name, sid, primary_smtp_address, smtp_address };

// Looks at the beginning of an EWS request while it passes: the SOAP headers and the first element of the body, which is
// the operation. The bytes are the caller's to keep until it is decided; what follows is not looked at. UTF-8 only, no
// document type, no processing instruction (see XmlReader). Any split of the bytes gives the same result.
//
// The requests of a client all begin with the same bytes: declaration, namespaces, headers. What came before the operation
// is known again when it comes a second time, and from the third time on not parsed again. Only what says nothing of a
// user is kept: no header but RequestServerVersion.
//
// Holds an XML parser (tens of KB): let it go, or reset() it for another request, once it decided. One core.
class EwsPeek {
 public:
  explicit EwsPeek(uint64_t hash_salt);  // as XmlReader
  EwsPeek(const EwsPeek&) = delete;
  EwsPeek& operator=(const EwsPeek&) = delete;

  // Not to be called after it decided. Errors, again on each further call: envelope, envelope_too_large, operation (the
  // element is in no namespace of EWS messages), soap_header (a header that only servers send each other, or one that is
  // unknown); xml.
  Result<PeekState> feed(Bytes bytes);
  // The body ended before it decided, which it may do only now. Errors: as feed(); envelope where there is no operation.
  Status finish();
  void reset();

  // Valid once decided, until reset().
  std::string_view operation() const { return operation_; }  // "FindItem"
  // How many of the request's bytes had not to be parsed.
  uint32_t bytes_known() const { return bytes_known_; }
  ImpersonatedName impersonated_by() const { return impersonated_by_; }
  std::string_view impersonated() const { return impersonated_; }  // empty: nobody

 private:
  class Consumer final : public XmlConsumer {
   public:
    explicit Consumer(EwsPeek& peek) : peek_(peek) {}
    Status element_started(XmlName name, const XmlAttributes&) override { return peek_.element_started(name); }
    Status element_ended(std::string_view text) override { return peek_.element_ended(text); }

   private:
    EwsPeek& peek_;
  };
  // What a request began with, up to the end of the start tag of Body.
  struct Beginning {
    std::string bytes;
    EwsSpace soap = EwsSpace::none;
    std::shared_ptr<const XmlMark> mark;  // null until it came a second time
  };
  static constexpr size_t kBeginningsMax = 8;
  static constexpr uint32_t kBeginningBytesMax = 2048;

  enum class Place : uint8_t { document, envelope, header, impersonation, connecting_sid, name, after_header, body };

  Status element_started(XmlName name);
  Status element_ended(std::string_view text);
  Status envelope_child_started(EwsSpace space, std::string_view local);
  Status header_started(EwsSpace space, std::string_view local);
  Status operation_started(EwsSpace space, std::string_view local);
  Result<size_t> skip_beginning(std::string_view text);
  void keep_beginning(std::string_view text);
  static Error error_of(const Error& error);

  Consumer consumer_{*this};
  XmlReader reader_;
  Place place_ = Place::document;
  EwsSpace soap_ = EwsSpace::none;
  uint32_t skipping_ = 0;  // open elements of a header whose content does not matter
  bool decided_ = false;
  bool fed_ = false;
  bool plain_ = true;       // no header but RequestServerVersion
  uint32_t body_at_ = 0;    // the end of the start tag of Body
  uint32_t bytes_known_ = 0;
  std::array<Beginning, kBeginningsMax> beginnings_;
  size_t next_beginning_ = 0;  // the one to be replaced
  ImpersonatedName impersonated_by_ = ImpersonatedName::none;
  std::string operation_, impersonated_;
};

}  // namespace bellhop::proto
