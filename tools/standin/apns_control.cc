// SPDX-License-Identifier: Apache-2.0
#include "tools/standin/apns_control.h"

#include <algorithm>

#include "proto/json_writer.h"

namespace bellhop::standin {
namespace {

using proto::ApnsReason;
using proto::HttpMethod;

constexpr uint64_t kPushesMax = 5'000;  // of one answer

}  // namespace

Task<ControlAnswer> ApnsControl::answer(const ControlRequest& request) {
  if (request.is(HttpMethod::get, "/books")) co_return co_await books();
  if (request.is(HttpMethod::get, "/pushes")) co_return co_await pushes(request);
  if (request.is(HttpMethod::post, "/rules")) co_return co_await add_rule(request);
  if (request.is(HttpMethod::delete_, "/rules")) {
    co_await apns_.clear_rules();
    co_return ControlAnswer::ok();
  }
  if (request.is(HttpMethod::post, "/goaway")) {
    std::string name = request.text("reason");
    ApnsReason reason = name.empty() ? ApnsReason::shutdown : proto::apns_reason_of(name);
    if (reason == ApnsReason::unknown) co_return ControlAnswer::problem(400, "unknown reason");
    co_await apns_.goaway(reason);
    co_return ControlAnswer::ok();
  }
  if (request.is(HttpMethod::post, "/streams")) {
    uint64_t streams_max = request.number("max", 0);
    if (streams_max == 0 || streams_max > 100'000) co_return ControlAnswer::problem(400, "max is 1 to 100000");
    co_await apns_.set_streams_max(static_cast<uint32_t>(streams_max));
    co_return ControlAnswer::ok();
  }
  if (request.is(HttpMethod::post, "/outage")) {
    auto outage = parse_apns_outage(request.text("kind"));
    uint64_t minutes = request.number("minutes", 0);
    bool lasts = minutes > 0 || outage == ApnsOutage::none;
    if (!outage || !lasts) co_return ControlAnswer::problem(400, "kind is none, refuse, silent or unavailable; minutes at least 1");
    co_await apns_.set_outage(*outage, std::chrono::minutes(minutes));
    co_return ControlAnswer::ok();
  }
  if (request.is(HttpMethod::post, "/kill")) {
    co_await apns_.kill_connections();
    co_return ControlAnswer::ok();
  }
  co_return ControlAnswer::problem(404, "no such control");
}

Task<ControlAnswer> ApnsControl::add_rule(const ControlRequest& request) {
  ApnsRule rule;
  rule.device_token = request.text("deviceToken");
  if (std::string action = request.text("action"); !action.empty()) {
    auto parsed = parse_apns_action(action);
    if (!parsed) co_return ControlAnswer::problem(400, "unknown action");
    rule.action = *parsed;
  }
  if (std::string reason = request.text("reason"); !reason.empty()) {
    rule.reason = proto::apns_reason_of(reason);
    if (rule.reason == ApnsReason::unknown) co_return ControlAnswer::problem(400, "unknown reason");
  }
  rule.count = request.number("count", 0);
  rule.delay = std::chrono::milliseconds(request.number("delayMs", 0));
  rule.timestamp = WallTime(std::chrono::milliseconds(request.number("timestampMs", 0)));
  if (!co_await apns_.add_rule(std::move(rule))) co_return ControlAnswer::problem(409, "too many rules");
  co_return ControlAnswer::ok();
}

Task<ControlAnswer> ApnsControl::books() {
  ApnsBooks books = co_await apns_.books();
  ControlAnswer reply;
  proto::JsonWriter json(reply.body);
  json.begin_object()
      .member("requests", books.requests)
      .member("accepted", books.accepted)
      .member("alerts", books.alerts)
      .member("duplicates", books.duplicates)
      .member("unseen", books.unseen)
      .member("badges", books.badges)
      .member("silent", books.silent)
      .member("ruled", books.ruled)
      .member("outage", books.outage)
      .member("bytes", books.bytes)
      .member("connections", books.connections)
      .member("connectionsOpened", books.connections_opened)
      .member("tokensSeen", books.tokens_seen)
      .member("certified", books.certified);
  json.name("refused").begin_object();
  for (const auto& [reason, count] : books.refused) json.member(reason, count);
  json.end_object().end_object();
  co_return reply;
}

Task<ControlAnswer> ApnsControl::pushes(const ControlRequest& request) {
  uint64_t last = request.query_number("after", 0);
  size_t limit = std::min(kPushesMax, request.query_number("limit", 1'000));
  auto found = co_await apns_.pushes_after(last, limit);
  ControlAnswer reply;
  proto::JsonWriter json(reply.body);
  json.begin_object().name("pushes").begin_array();
  for (const AcceptedPush& push : found) {
    json.begin_object()
        .member("number", push.number)
        .member("atNs", static_cast<int64_t>(push.at.time_since_epoch().count()))
        .member("atMs", static_cast<int64_t>(push.wall_at.time_since_epoch().count()))
        .member("deviceToken", push.device_token)
        .member("topic", push.topic)
        .member("collapseId", push.collapse_id)
        .member("pushType", push.push_type)
        .member("priority", unsigned{push.priority})
        .member("title", push.title)
        .member("body", push.body);
    if (!push.payload.empty()) json.name("payload").raw(push.payload);
    json.end_object();
    last = push.number;
  }
  json.end_array().member("last", last).end_object();
  co_return reply;
}

}  // namespace bellhop::standin
