// SPDX-License-Identifier: Apache-2.0
#include "tools/standin/control.h"

#include "proto/http_error.h"
#include "proto/json_writer.h"
#include "proto/target.h"
#include "tools/standin/body.h"

namespace bellhop::standin {
namespace {

constexpr proto::JsonLimits kLimits{
    .bytes_max = kControlBytesMax, .depth_max = 8, .values_max = 400'000, .members_max = 64};

}  // namespace

ControlAnswer ControlAnswer::problem(uint16_t status, std::string_view text) {
  ControlAnswer answer{status, {}};
  proto::JsonWriter(answer.body).begin_object().member("error", text).end_object();
  return answer;
}

std::string ControlRequest::text(std::string_view name) const {
  auto value = json.string(name);
  return value && *value ? std::string(**value) : std::string();
}
uint64_t ControlRequest::number(std::string_view name, uint64_t otherwise) const {
  auto value = json.unsigned_integer(name);
  return value && *value ? **value : otherwise;
}
double ControlRequest::real(std::string_view name, double otherwise) const {
  auto value = json.number(name);
  return value && *value ? **value : otherwise;
}
bool ControlRequest::flag(std::string_view name, bool otherwise) const {
  auto value = json.boolean(name);
  return value && *value ? **value : otherwise;
}
uint64_t ControlRequest::query_number(std::string_view name, uint64_t otherwise) const {
  return parse_decimal(query_text(name)).value_or(otherwise);
}
std::string ControlRequest::query_text(std::string_view name) const {
  auto value = proto::query_parameter(query, name);
  if (!value || !*value) return {};
  auto text = proto::percent_decode(**value);
  return text ? *text : std::string();
}

Task<void> ControlHandler::handle(service::HttpExchange& exchange) {
  BodyText body(kControlBytesMax);
  if (Status read = co_await exchange.read_body(kControlBytesMax, body); !read) {
    if (read.error().domain == Domain::http) {
      (void)co_await exchange.respond({.status = proto::http_error_status(read.error()), .close = true});
    }
    co_return;
  }
  auto document = proto::JsonDocument::parse(body.text.empty() ? std::string_view("{}") : body.text, kLimits);
  ControlAnswer reply;
  if (document) {
    auto [path, query] = proto::split_target(exchange.target());
    reply = co_await answer({exchange.method(), path, query.value_or(std::string_view()), document->root()});
  } else {
    reply = ControlAnswer::problem(400, error_text(document.error()));
  }
  (void)co_await exchange.respond({.status = reply.status, .content_type = "application/json", .body = reply.body});
}

}  // namespace bellhop::standin
