// SPDX-License-Identifier: Apache-2.0
#include "service/admin_reload.h"

#include <string>

#include "proto/json_writer.h"
#include "proto/problem.h"
#include "service/server.h"

namespace bellhop::service {
namespace {

using proto::JsonWriter;
using proto::ProblemCode;

std::string_view result_name(ReloadResult result) {
  return LabelSet<ReloadResult>::values[static_cast<size_t>(result)];
}

void append_texts(JsonWriter& json, std::string_view name, const std::vector<std::string>& texts) {
  json.name(name).begin_array();
  for (const std::string& text : texts) json.value(text);
  json.end_array();
}

void append_head(JsonWriter& json, ProblemCode code, uint16_t status, std::string_view detail) {
  json.member("type", "urn:bellhop:problem:" + std::string(proto::problem_code_name(code)))
      .member("title", proto::problem_title(code))
      .member("status", status)
      .member("code", proto::problem_code_name(code))
      .member("detail", detail);
}

std::string detail_of(const ReloadReport& report) {
  std::string text = "nothing was changed:";
  for (const std::string& problem : report.problems) text += "\n" + problem;
  return text;
}

void append_report(JsonWriter& json, const ReloadReport& report) {
  json.member("result", result_name(report.result)).member("generation", report.generation);
  json.name("changes").begin_array();
  for (const ConfigChange& change : report.changes) {
    json.begin_object()
        .member("key", change.key)
        .member("before", change.before)
        .member("after", change.after)
        .end_object();
  }
  json.end_array();
  append_texts(json, "files", report.files);
  append_texts(json, "problems", report.problems);
}

}  // namespace

Task<void> answer_reload(HttpExchange& exchange, Core& core, Server& server) {
  std::string body;
  JsonWriter json(body);
  if (core.node.leaving || core.node.draining) {
    json.begin_object();
    append_head(json, ProblemCode::unavailable, 503, "the server drains");
    json.end_object();
    (void)co_await exchange.respond({.status = 503, .content_type = proto::kProblemMediaType, .body = body});
    co_return;
  }
  ReloadReport report = co_await server.reload("admin");
  json.begin_object();
  uint16_t status = 200;
  if (!report.problems.empty()) {
    status = report.result == ReloadResult::restart_needed ? 409 : 422;
    append_head(json, ProblemCode::malformed, status, detail_of(report));
  }
  append_report(json, report);
  json.end_object();
  (void)co_await exchange.respond({.status = status,
                                   .content_type = status == 200 ? "application/json" : proto::kProblemMediaType,
                                   .body = body});
}

Task<void> answer_config(HttpExchange& exchange, Core& core) {
  std::string body = config_toml(core.config());
  (void)co_await exchange.respond({.content_type = "application/toml", .body = body});
}

}  // namespace bellhop::service
