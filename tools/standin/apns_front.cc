// SPDX-License-Identifier: Apache-2.0

// What the APNs stand-in does with a request.

#include <array>

#include "core/sleep.h"
#include "proto/http_error.h"
#include "tools/standin/apns_part.h"
#include "tools/standin/body.h"

namespace bellhop::standin {
namespace {

using proto::ApnsReason;

constexpr uint64_t kBodyBytesMax = 64 * 1024;  // larger than any payload, so that PayloadTooLarge is ours to say

// A UUID of version 4.
std::string make_apns_id() {
  std::array<uint8_t, 16> bytes;
  io::random(bytes);
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  std::string text = to_hex(bytes);
  for (size_t at : {20, 16, 12, 8}) text.insert(at, 1, '-');
  return text;
}

}  // namespace

Task<void> Apns::Part::Connection::handle(service::HttpExchange& exchange) {
  ++part.counts.requests;
  BodyText body(kBodyBytesMax);
  if (Status read = co_await exchange.read_body(kBodyBytesMax, body); !read) {
    if (read.error().domain == Domain::http) {
      (void)co_await exchange.respond({.status = proto::http_error_status(read.error())});
    }
    co_return;
  }
  if (part.outage() != ApnsOutage::none) {
    co_await outlast(exchange);
    co_return;
  }
  PushRequest push;
  const std::vector<std::string>* topics = nullptr;
  ApnsReason reason = check_path(exchange.method(), exchange.target(), push);
  if (!certified_for.empty()) {
    ++part.counts.certified;
    topics = &certified_for;
  } else if (reason == ApnsReason::none) {
    reason = part.gate.check(exchange.headers().find("authorization"), io::wall_now(),
                             part.shared.options.refuse_fast_token_updates, session, topics);
    if (reason == ApnsReason::none && !proven) {
      proven = true;
      http2.set_streams_max(part.streams_max);
    }
  }
  if (reason == ApnsReason::none) reason = check_fields(exchange.headers(), *topics, push);
  if (reason == ApnsReason::none) reason = check_payload(body.text, push);
  if (reason != ApnsReason::none) {
    co_await answer(exchange, push, reason, {});
    co_return;
  }
  const ApnsRule* rule = part.rules.take(
      [&](const ApnsRule& one) { return one.device_token.empty() || one.device_token == push.device_token; });
  if (rule) {
    ++part.counts.ruled;
    co_await follow_rule(exchange, push, body.text, *rule);
    co_return;
  }
  part.accept_push(push, body.text);
  co_await answer(exchange, push, ApnsReason::none, {});
}

// Nothing is accepted while the service is down.
Task<void> Apns::Part::Connection::outlast(service::HttpExchange& exchange) {
  ++part.counts.outage;
  if (part.outage() == ApnsOutage::unavailable) {
    co_await answer(exchange, {}, ApnsReason::service_unavailable, {});
    co_return;
  }
  co_await part.outlast_silence();
  co_await die();
}

Task<void> Apns::Part::Connection::follow_rule(service::HttpExchange& exchange, const PushRequest& push,
                                               std::string_view payload, ApnsRule rule) {
  service::Http2Exchange& stream = *exchange.http2();
  if (rule.delay > Duration(0) && !co_await sleep_for(rule.delay)) co_return;
  switch (rule.action) {
    case ApnsAction::answer:
      if (rule.reason == ApnsReason::none) part.accept_push(push, payload);
      if (rule.reason == ApnsReason::expired_provider_token) session.told_expired = true;
      co_await answer(exchange, push, rule.reason, rule.timestamp);
      break;
    case ApnsAction::refuse:
      (void)stream.reset(proto::Http2Code::refused_stream);  // fails where the stream is gone anyway
      break;
    case ApnsAction::swallow:
      co_await answer(exchange, push, ApnsReason::none, {});
      break;
    case ApnsAction::lose:
      part.accept_push(push, payload);
      co_await die();
      break;
    case ApnsAction::kill:
      co_await die();
      break;
    case ApnsAction::goaway: {
      std::string debug =
          proto::write_apns_answer(rule.reason == ApnsReason::none ? ApnsReason::shutdown : rule.reason, io::wall_now());
      http2.goaway(std::max(0, stream.stream_id() - 2), proto::Http2Code::no_error, debug);
      break;
    }
    case ApnsAction::stall: {
      Event never;
      (void)co_await never.wait();  // until the peer resets the stream or the connection ends
      break;
    }
  }
}

// The connection ends with nothing more said, not even about the streams.
Task<void> Apns::Part::Connection::die() {
  (void)co_await http2.stream().socket().shutdown_send();
  http2.abort();
}

Task<void> Apns::Part::Connection::answer(service::HttpExchange& exchange, const PushRequest& push, ApnsReason reason,
                                          WallTime timestamp) {
  std::string id = push.apns_id.empty() ? make_apns_id() : std::string(push.apns_id);
  const proto::HeaderField headers[] = {{"apns-id", id}};
  service::HttpResponse response{.status = 200, .headers = headers};
  std::string body;
  if (reason != ApnsReason::none) {
    const proto::ApnsReasonInfo& info = proto::apns_reason_info(reason);
    ++part.counts.refused[std::string(info.name)];
    body = proto::write_apns_answer(reason, timestamp == WallTime() ? io::wall_now() : timestamp);
    response.status = info.status;
    response.content_type = "application/json";
    response.body = body;
  }
  (void)co_await exchange.respond(response);
}

}  // namespace bellhop::standin
