// SPDX-License-Identifier: Apache-2.0
#include "proto/ews_peek.h"

#include <algorithm>
#include <array>
#include <utility>

#include "core/base/check.h"
#include "proto/ews.h"
#include "proto/gateway_error.h"

namespace bellhop::proto {
namespace {

// What clients may say about their request. Everything else in the header is refused, since it is for servers, or
// unknown: SerializedSecurityContext, ProxySecurityContext, ManagementRole, OpenAsAdminOrSystemService, wsse:Security, ...
constexpr std::array<std::string_view, 4> kHarmlessHeaders = {"RequestServerVersion", "MailboxCulture",
                                                              "TimeZoneContext", "DateTimePrecision"};

struct ConnectingName {
  std::string_view local;
  ImpersonatedName name;
};
constexpr std::array kConnectingNames = {
    ConnectingName{"PrincipalName", ImpersonatedName::principal_name},
    ConnectingName{"SID", ImpersonatedName::sid},
    ConnectingName{"PrimarySmtpAddress", ImpersonatedName::primary_smtp_address},
    ConnectingName{"SmtpAddress", ImpersonatedName::smtp_address},
};

// Stops the parser where the operation is known; never seen by the caller.
std::unexpected<Error> stop() { return fail(core_error(CoreError::closed)); }
std::unexpected<Error> refuse(GatewayError code) { return fail(gateway_error(code)); }

}  // namespace

EwsPeek::EwsPeek(uint64_t hash_salt) : reader_(consumer_, kEwsPeekBytesMax, hash_salt) {}

void EwsPeek::reset() {
  reader_.reset();
  fed_ = false;
  plain_ = true;
  body_at_ = bytes_known_ = 0;
  place_ = Place::document;
  soap_ = EwsSpace::none;
  skipping_ = 0;
  decided_ = false;
  impersonated_by_ = ImpersonatedName::none;
  operation_.clear();
  impersonated_.clear();
}

Result<PeekState> EwsPeek::feed(Bytes bytes) {
  BH_CHECK(!decided_);
  const std::string_view text = as_text(bytes);
  const bool first = !std::exchange(fed_, true);
  size_t skipped = 0;
  if (first) {
    const auto known = skip_beginning(text);
    if (!known) return fail(error_of(known.error()));
    skipped = *known;
  }
  const Status fed = reader_.feed(text.substr(skipped));
  if (decided_ && first && skipped == 0) keep_beginning(text);
  if (decided_) return PeekState::decided;
  if (!fed) return fail(error_of(fed.error()));
  return PeekState::need_more;
}

// How many bytes of the first piece need no further look.
Result<size_t> EwsPeek::skip_beginning(std::string_view text) {
  const auto known = std::ranges::find_if(
      beginnings_, [text](const Beginning& one) { return !one.bytes.empty() && text.starts_with(one.bytes); });
  if (known == beginnings_.end()) return 0;
  if (known->mark) {
    reader_.reset_to(*known->mark);
    soap_ = known->soap;
    place_ = Place::body;
    bytes_known_ = uint32_t(known->bytes.size());
  } else {
    BH_CHECKED(reader_.feed(known->bytes));
    if (place_ == Place::body) known->mark = reader_.mark();  // else the parser waits for more before it says so
  }
  const size_t size = known->bytes.size();
  if (!known->mark) known->bytes.clear();  // more than a mark can hold
  return size;
}

// For the next request that begins so.
void EwsPeek::keep_beginning(std::string_view text) {
  if (!plain_ || impersonated_by_ != ImpersonatedName::none) return;
  if (body_at_ == 0 || body_at_ > std::min<size_t>(text.size(), kBeginningBytesMax)) return;
  beginnings_[next_beginning_] = {.bytes = std::string(text.substr(0, body_at_)), .soap = soap_, .mark = nullptr};
  next_beginning_ = (next_beginning_ + 1) % kBeginningsMax;
}

// Expat may keep a tag back until it knows that no more comes.
Status EwsPeek::finish() {
  BH_CHECK(!decided_);
  const Status finished = reader_.finish();
  if (decided_) return {};
  if (!finished) return fail(error_of(finished.error()));
  return refuse(GatewayError::envelope);
}

Error EwsPeek::error_of(const Error& error) {
  const bool too_long = error.domain == Domain::xml && error.code == static_cast<uint16_t>(XmlError::document);
  return too_long ? gateway_error(GatewayError::envelope_too_large) : error;
}

Status EwsPeek::element_started(XmlName name) {
  if (skipping_ > 0) {
    ++skipping_;
    return {};
  }
  const EwsSpace space = ews_space(name.space);
  switch (place_) {
    case Place::document:
      if (ews_tag(space, name.local) != EwsTag::envelope) return refuse(GatewayError::envelope);
      soap_ = space;
      place_ = Place::envelope;
      return {};
    case Place::envelope:
    case Place::after_header: return envelope_child_started(space, name.local);
    case Place::header: return header_started(space, name.local);
    case Place::impersonation:
      if (space != EwsSpace::types || name.local != "ConnectingSID") return refuse(GatewayError::soap_header);
      place_ = Place::connecting_sid;
      return {};
    case Place::connecting_sid: {
      const auto known = std::ranges::find(kConnectingNames, name.local, &ConnectingName::local);
      const bool once = impersonated_by_ == ImpersonatedName::none;
      if (space != EwsSpace::types || known == kConnectingNames.end() || !once)
        return refuse(GatewayError::soap_header);
      impersonated_by_ = known->name;
      place_ = Place::name;
      return {};
    }
    case Place::name: return refuse(GatewayError::soap_header);
    case Place::body: return operation_started(space, name.local);
  }
  BH_CHECK(false);
}

Status EwsPeek::envelope_child_started(EwsSpace space, std::string_view local) {
  if (space != soap_) return refuse(GatewayError::envelope);
  if (local == "Header" && place_ == Place::envelope) {
    place_ = Place::header;
    return {};
  }
  if (local != "Body") return refuse(GatewayError::envelope);
  place_ = Place::body;
  body_at_ = reader_.event_end();
  return {};
}

Status EwsPeek::header_started(EwsSpace space, std::string_view local) {
  if (space != EwsSpace::types) return refuse(GatewayError::soap_header);
  if (local == "ExchangeImpersonation" && impersonated_by_ == ImpersonatedName::none) {
    place_ = Place::impersonation;
    return {};
  }
  if (std::ranges::find(kHarmlessHeaders, local) == kHarmlessHeaders.end()) return refuse(GatewayError::soap_header);
  plain_ &= local == "RequestServerVersion";
  skipping_ = 1;
  return {};
}

Status EwsPeek::operation_started(EwsSpace space, std::string_view local) {
  if (space != EwsSpace::messages) return refuse(GatewayError::operation);
  // The element of some operations is called after its type: GetUserAvailabilityRequest.
  constexpr std::string_view kSuffix = "Request";
  if (local.size() > kSuffix.size() && local.ends_with(kSuffix)) local.remove_suffix(kSuffix.size());
  operation_ = local;
  decided_ = true;
  return stop();
}

Status EwsPeek::element_ended(std::string_view text) {
  if (skipping_ > 0) {
    --skipping_;
    return {};
  }
  switch (place_) {
    case Place::name:
      if (text.empty() || text.size() > kImpersonatedBytesMax) return refuse(GatewayError::soap_header);
      impersonated_ = text;
      place_ = Place::connecting_sid;
      return {};
    case Place::connecting_sid:
      if (impersonated_by_ == ImpersonatedName::none) return refuse(GatewayError::soap_header);
      place_ = Place::impersonation;
      return {};
    case Place::impersonation:
      if (impersonated_by_ == ImpersonatedName::none) return refuse(GatewayError::soap_header);
      place_ = Place::header;
      return {};
    case Place::header: place_ = Place::after_header; return {};
    default: return refuse(GatewayError::envelope);  // Envelope or Body without an operation
  }
}

}  // namespace bellhop::proto
