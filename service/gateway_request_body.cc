// SPDX-License-Identifier: Apache-2.0
// GatewayRequest: the beginning of the body, which servers go by as much as by the head.
#include "proto/ews_peek.h"
#include "proto/gateway_error.h"
#include "proto/gateway_headers.h"
#include "proto/wbxml_peek.h"
#include "service/gateway_request.h"

namespace bellhop::service {
namespace {

using proto::ActiveSyncCommand;

// Of a signed context, whose hash is checked before a byte goes on: bellhop's own requests are small.
constexpr size_t kSignedBodyBytesMax = 256 * 1024;

}  // namespace

// Reads what has to be looked at, and the whole of a small body, so that the request can be sent again.
Task<Refused> GatewayRequest::read_ahead() {
  body_ended_ = !exchange_.has_body();
  Refused refused = is_ews() ? co_await look_at_soap() : co_await look_at_wbxml();
  if (refused) co_return refused;
  size_t bytes_max = identity_.context ? kSignedBodyBytesMax : routes_.config().repeatable_bytes_max;
  if (!identity_.context && exchange_.content_length().value_or(0) > bytes_max) co_return Refused();
  while (!body_ended_ && body_.size() <= bytes_max) {
    auto more = co_await read_piece();
    if (!more) co_return refusal_of(more.error());
  }
  if (identity_.context) co_return check_body_hash();
  co_return Refused();
}

// False at the end.
Task<Result<bool>> GatewayRequest::read_piece() {
  Task<Result<Bytes>> reading = exchange_.read_some();
  if (!reading.value()) return wait_for_piece(std::move(reading));
  return Task<Result<bool>>::of(take_piece(*reading.value()));
}

Task<Result<bool>> GatewayRequest::wait_for_piece(Task<Result<Bytes>> reading) {
  co_return take_piece(co_await std::move(reading));
}

Result<bool> GatewayRequest::take_piece(const Result<Bytes>& piece) {
  if (!piece) return fail(piece.error());
  body_ended_ = piece->empty();
  body_.append(*piece);
  return !body_ended_;
}

Task<Refused> GatewayRequest::look_at_soap() {
  // Nothing is held for a client before it has sent something.
  if (!body_ended_) {
    auto first = co_await read_piece();
    if (!first) co_return refusal_of(first.error());
  }
  std::unique_ptr<proto::EwsPeek> peek = gateway_.take_peek();
  if (!peek) co_return refusal(GatewayOutcome::refused_busy);
  Refused refused = co_await read_operation(*peek);
  if (!refused) {
    operation_ = peek->operation();
    impersonates_ = peek->impersonated_by() != proto::ImpersonatedName::none;
    parked_ = operation_ == "GetStreamingEvents";
  }
  gateway_.give_back(std::move(peek));
  co_return refused ? refused : check_operation();
}

Task<Refused> GatewayRequest::read_operation(proto::EwsPeek& peek) {
  for (size_t seen = 0; !body_ended_;) {
    auto state = peek.feed(body_.bytes().subspan(seen));
    if (!state) co_return refusal_of(state.error());
    if (*state == proto::PeekState::decided) co_return Refused();
    seen = body_.size();
    auto more = co_await read_piece();
    if (!more) co_return refusal_of(more.error());
  }
  Status finished = peek.finish();
  if (!finished) co_return refusal_of(finished.error());
  co_return Refused();
}

Refused GatewayRequest::check_operation() {
  const GatewayClientClass& client = routes_.client_class(identity_.context.has_value(), identity_.account, user_agent());
  if (!client.operations.allows(operation_)) return refusal(GatewayOutcome::refused_operation);
  if (impersonates_ && !client.impersonation) return refusal(GatewayOutcome::refused_operation);
  bool kept_out = identity_.account && !routes_.others_allow(client, *identity_.account, route_->accounts.is_certain(*identity_.account),
                                                             user_agent(), operation_, impersonates_);
  if (kept_out) return refusal(GatewayOutcome::refused_operation);
  Status action = proto::check_soap_action(exchange_.headers(), operation_);
  if (!action) return refusal_of(action.error());
  return {};
}

Task<Refused> GatewayRequest::look_at_wbxml() {
  if (!query_->command) co_return Refused();  // OPTIONS
  ActiveSyncCommand command = *query_->command;
  parked_ = query_->may_hang();
  for (;;) {
    Bytes head = body_.bytes();
    auto fits = proto::check_wbxml_root(command, head.subspan(0, std::min(head.size(), proto::kWbxmlPeekBytesMax)), body_ended_);
    if (!fits) co_return refusal_of(fits.error());
    if (*fits) co_return Refused();
    auto more = co_await read_piece();
    if (!more) co_return refusal_of(more.error());
  }
}

Refused GatewayRequest::check_body_hash() const {
  bool good = body_ended_ && crypto::sha256(body_.bytes()) == identity_.context->body_hash;
  if (!good) return refusal(GatewayOutcome::refused_context);
  return {};
}

}  // namespace bellhop::service
