// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "core/task.h"
#include "proto/json.h"
#include "service/http_exchange.h"

namespace bellhop::standin {

inline constexpr size_t kControlBytesMax = 4 * 1024 * 1024;  // of a request's JSON

// An answer of a control API: JSON.
struct ControlAnswer {
  uint16_t status = 200;
  std::string body;

  static ControlAnswer ok() { return {200, "{\"ok\":true}"}; }
  // {"error": text}
  static ControlAnswer problem(uint16_t status, std::string_view text);
  // 404 where `done` is false.
  static ControlAnswer done(bool done, std::string_view otherwise) { return done ? ok() : problem(404, otherwise); }
};

// A request of a control API. The document is an empty object where the request had no body.
struct ControlRequest {
  proto::HttpMethod method = proto::HttpMethod::get;
  std::string_view path;
  std::string_view query;
  proto::JsonObject json;

  bool is(proto::HttpMethod m, std::string_view p) const { return method == m && path == p; }
  std::string text(std::string_view name) const;
  uint64_t number(std::string_view name, uint64_t otherwise) const;
  double real(std::string_view name, double otherwise) const;
  bool flag(std::string_view name, bool otherwise = false) const;
  // A decimal parameter of the query.
  uint64_t query_number(std::string_view name, uint64_t otherwise) const;
  std::string query_text(std::string_view name) const;
};

// Reads the body as JSON and lets `answer` do the rest. The control APIs are plain HTTP on loopback, for the person at the
// machine: whoever reaches them may do everything.
class ControlHandler : public service::HttpHandler {
 public:
  Task<void> handle(service::HttpExchange& exchange) final;

 protected:
  ~ControlHandler() = default;
  virtual Task<ControlAnswer> answer(const ControlRequest& request) = 0;
};

}  // namespace bellhop::standin
