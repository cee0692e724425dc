// SPDX-License-Identifier: Apache-2.0
#include "proto/ews_soap.h"

#include "core/base/check.h"

namespace bellhop::proto {

Status SoapReader::finish_envelope() {
  BH_CHECKED(reader_.finish());
  BH_CHECK(depth_ == 0 && skipping_ == 0);
  // The parser accepted a whole document, so the root was an envelope; what it must hold is checked here.
  if (!has_body_ || !has_message_) return fail(ews_error(EwsError::envelope));
  return {};
}

void SoapReader::reset_envelope() {
  reader_.reset();
  depth_ = skipping_ = 0;
  has_header_ = has_body_ = has_message_ = false;
  soap_version_ = SoapVersion::soap11;
}

EwsTag SoapReader::resolve(EwsTag, EwsSpace, XmlName) {
  return EwsTag::unknown;
}
Status SoapReader::other_message(EwsSpace, XmlName) {
  return fail(ews_error(EwsError::unexpected_message));
}

Status SoapReader::element_started(XmlName name, const XmlAttributes& attributes) {
  if (skipping_ > 0) {
    ++skipping_;
    return {};
  }
  EwsSpace space = ews_space(name.space);
  if (depth_ == 0) return envelope_started(space, name);
  // Elements of the other SOAP version mean nothing here.
  EwsSpace own_soap = soap_version_ == SoapVersion::soap11 ? EwsSpace::soap11 : EwsSpace::soap12;
  bool foreign_soap = (space == EwsSpace::soap11 || space == EwsSpace::soap12) && space != own_soap;
  EwsTag tag = foreign_soap ? EwsTag::unknown : ews_tag(space, name.local);
  EwsTag parent = path_[depth_ - 1];
  if (parent == EwsTag::envelope) {
    BH_CHECKED(envelope_child_started(tag));
    if (tag != EwsTag::header && tag != EwsTag::body) {
      skipping_ = 1;
      return {};
    }
    path_[depth_++] = tag;
    return {};
  }
  if (parent == EwsTag::body) {
    if (has_message_) return fail(ews_error(EwsError::envelope));
    has_message_ = true;
  }
  if (!grammar_.allows(parent, tag)) tag = resolve(parent, space, name);
  if (tag == EwsTag::unknown) {
    skipping_ = 1;
    return parent == EwsTag::body ? other_message(space, name) : Status();
  }
  path_[depth_++] = tag;
  return part_started(parent, tag, attributes);
}

Status SoapReader::envelope_started(EwsSpace space, XmlName name) {
  if (ews_tag(space, name.local) != EwsTag::envelope) return fail(ews_error(EwsError::not_soap));
  soap_version_ = space == EwsSpace::soap11 ? SoapVersion::soap11 : SoapVersion::soap12;
  path_[depth_++] = EwsTag::envelope;
  return {};
}

Status SoapReader::envelope_child_started(EwsTag tag) {
  bool misplaced = (tag == EwsTag::header && (has_header_ || has_body_)) || (tag == EwsTag::body && has_body_);
  if (misplaced) return fail(ews_error(EwsError::envelope));
  if (tag == EwsTag::header) has_header_ = true;
  if (tag == EwsTag::body) has_body_ = true;
  return {};
}

Status SoapReader::element_ended(std::string_view text) {
  if (skipping_ > 0) {
    --skipping_;
    return {};
  }
  BH_CHECK(depth_ > 0);
  EwsTag tag = path_[--depth_];
  if (tag == EwsTag::envelope || tag == EwsTag::header || tag == EwsTag::body) return {};
  return part_ended(path_[depth_ - 1], tag, text);
}

}  // namespace bellhop::proto
