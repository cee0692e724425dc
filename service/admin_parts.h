// SPDX-License-Identifier: Apache-2.0
#pragma once

// What the admin interface is made of: a function for each route, and what they share. For service/admin*.cc alone.

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "core/task.h"
#include "proto/json_writer.h"
#include "proto/problem.h"
#include "service/core.h"
#include "service/http_exchange.h"

namespace bellhop::service {
class Server;
}

namespace bellhop::service::admin {

// One request. All views live until the route's function has ended.
struct Call {
  Core& core;  // core 0
  Server& server;
  HttpExchange& exchange;
  std::string_view argument;  // what stands in the place of {…} in the route's path; never empty there
  std::string_view query;     // without the "?"; empty where there is none
};

// ---- The routes, each named after what it does; the table is in admin.cc ----
Task<void> livez(Call& call);
Task<void> readyz(Call& call);
Task<void> startupz(Call& call);
Task<void> metrics(Call& call);
Task<void> describe(Call& call);
Task<void> status(Call& call);
Task<void> outcomes(Call& call);
Task<void> audit(Call& call);
Task<void> explain(Call& call);
Task<void> config(Call& call);
Task<void> reload(Call& call);
Task<void> drain(Call& call);
Task<void> add_token(Call& call);
Task<void> list_tokens(Call& call);
Task<void> revoke_token(Call& call);
Task<void> list_users(Call& call);
Task<void> show_user(Call& call);
Task<void> rotate_keys(Call& call);
Task<void> list_devices(Call& call);
Task<void> show_device(Call& call);
Task<void> remove_device(Call& call);
Task<void> block_device(Call& call);
Task<void> unblock_device(Call& call);
Task<void> wipe_device(Call& call);
Task<void> compliance_status(Call& call);
Task<void> replace_compliance(Call& call);
Task<void> change_compliance(Call& call);
Task<void> show_compliance(Call& call);
Task<void> gateway_state(Call& call);
Task<void> gateway_device(Call& call);
Task<void> gateway_account(Call& call);
Task<void> gateway_device_type(Call& call);
Task<void> gateway_mail_client(Call& call);
Task<void> gateway_upstreams(Call& call);
Task<void> gateway_redirects(Call& call);
Task<void> forget_redirects(Call& call);
Task<void> list_subscriptions(Call& call);
Task<void> show_subscription(Call& call);
Task<void> end_subscription(Call& call);

// Whose device a request about one by its name means; empty: `complaint` says why.
std::string hold_tenant(const Call& call, std::string& complaint);

// ---- Answers ----
inline constexpr std::string_view kJson = "application/json";

// What an operator may read of a refusal: unlike the public listener's, it says what was wrong.
Task<void> respond_problem(HttpExchange& exchange, uint16_t status, proto::ProblemCode code, std::string_view detail,
                           std::string_view allow = {});
Task<void> respond_store_failure(HttpExchange& exchange, Error error);  // 503
Task<void> respond_status(HttpExchange& exchange, uint16_t status, std::string_view word);
Task<void> respond_json(HttpExchange& exchange, std::string_view body, uint16_t status = 200);

// Seconds, UTC: 2026-01-31T12:00:00Z.
std::string timestamp(WallTime time);
// With milliseconds.
std::string timestamp_ms(WallTime time);

// The members of GET /v1/outcomes' sums, without the braces.
void append_ledger(proto::JsonWriter& json, const LedgerSnapshot& ledger);

// A body that is small and may hold nothing secret.
class SmallBody final : public BodySink {
 public:
  static constexpr uint64_t kBytesMax = 4096;
  Status on_body(Bytes piece) override {
    text.append(as_text(piece));
    return {};
  }
  std::string text;
};

// The interface's description: docs/openapi.json, as it was when the program was built.
std::string_view openapi_document();

}  // namespace bellhop::service::admin
