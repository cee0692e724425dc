// SPDX-License-Identifier: Apache-2.0
// API tokens. A token's text is in the answer to POST and nowhere else.
#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "core/io.h"
#include "crypto/random.h"
#include "crypto/tokens.h"
#include "proto/http_error.h"
#include "proto/json.h"
#include "proto/json_writer.h"
#include "service/admin_parts.h"
#include "store/error.h"

namespace bellhop::service::admin {
namespace {

using proto::JsonWriter;
using proto::ProblemCode;

constexpr std::string_view kDeviceScope = "device";  // the only scope that opens something in this version

std::string_view scope_name(store::TokenScope scope) {
  switch (scope) {
    case store::TokenScope::device: return kDeviceScope;
    case store::TokenScope::compliance: return "compliance";
    case store::TokenScope::admin: return "admin";
  }
  return "unknown";
}

void append_token(JsonWriter& json, const store::TokenRecord& record) {
  json.begin_object()
      .member("id", to_hex(record.id))
      .member("tenant", record.tenant)
      .member("scope", scope_name(record.scope))
      .member("state", record.state == store::TokenState::active ? "active" : "revoked")
      .member("created", timestamp(record.created));
  if (record.state == store::TokenState::revoked) json.member("revoked", timestamp(record.revoked));
  json.end_object();
}

// What POST /v1/tokens asks for; on failure `complaint` says what is wrong with it.
std::optional<std::string> read_tenant(const std::string& body, const Tenants& tenants, std::string& complaint) {
  auto document = proto::JsonDocument::parse(body);
  if (!document) {
    complaint = error_text(document.error());
    return std::nullopt;
  }
  auto tenant = document->root().required_string("tenant");
  if (!tenant) {
    complaint = document->explain(tenant.error());
    return std::nullopt;
  }
  auto scope = document->root().string("scope");
  if (!scope) {
    complaint = document->explain(scope.error());
    return std::nullopt;
  }
  if (scope->value_or(kDeviceScope) != kDeviceScope) {
    complaint = "scope: the only accepted value is \"device\"";
    return std::nullopt;
  }
  if (!tenants.find(*tenant)) {
    complaint = fmt::format("the configuration has no tenant \"{}\"; its tenants:", utf8_prefix(*tenant, 64));
    size_t listed = 0;
    for (const Tenant& known : tenants.all()) {
      if (++listed > 10) {
        complaint += " …";
        break;
      }
      complaint += " " + known.config.id;
    }
    return std::nullopt;
  }
  return std::string(*tenant);
}

}  // namespace

Task<void> add_token(Call& call) {
  SmallBody body;
  if (Status received = co_await call.exchange.read_body(SmallBody::kBytesMax, body); !received) {
    co_await respond_problem(call.exchange, proto::http_error_status(received.error()), ProblemCode::malformed,
                             error_text(received.error()));
    co_return;
  }
  std::string complaint;
  auto tenant = read_tenant(body.text, call.core.tenants(), complaint);
  if (!tenant) {
    co_await respond_problem(call.exchange, 422, ProblemCode::malformed, complaint);
    co_return;
  }
  store::TokenRecord record{.tenant = *std::move(tenant), .scope = store::TokenScope::device, .created = io::wall_now()};
  crypto::random_bytes(record.id.bytes);
  crypto::Secret token = crypto::random_token_text();
  Status added = co_await call.core.node.store.add_token(call.core.node.vault.token_hash(token.reveal_text()), record);
  if (!added) {
    co_await respond_store_failure(call.exchange, added.error());
    co_return;
  }
  log_line(call.core.log, LogLevel::info, "token_added", field("tenant", not_personal(record.tenant)),
           field("id", not_personal(to_hex(record.id))));
  // The only time that the token is seen: the store has its keyed hash.
  std::string answer;
  answer.reserve(512);
  JsonWriter json(answer);
  json.begin_object()
      .member("id", to_hex(record.id))
      .member("tenant", record.tenant)
      .member("scope", scope_name(record.scope))
      .member("token", token.reveal_text())
      .end_object();
  (void)co_await call.exchange.respond({.status = 201, .content_type = kJson, .body = answer});
  wipe(answer);
}

Task<void> list_tokens(Call& call) {
  auto tokens = co_await call.core.node.store.list_tokens();
  if (!tokens) {
    co_await respond_store_failure(call.exchange, tokens.error());
    co_return;
  }
  std::sort(tokens->begin(), tokens->end(), [](const store::TokenEntry& a, const store::TokenEntry& b) {
    return std::tie(a.record.created, a.record.id) < std::tie(b.record.created, b.record.id);
  });
  std::string body;
  JsonWriter json(body);
  json.begin_object().name("tokens").begin_array();
  for (const store::TokenEntry& token : *tokens) append_token(json, token.record);
  json.end_array().end_object();
  co_await respond_json(call.exchange, body);
}

Task<void> revoke_token(Call& call) {
  auto id = from_hex(call.argument);
  if (!id || id->size() != store::TokenId::kBytes) {
    co_await respond_problem(call.exchange, 404, ProblemCode::unknown, "no token has this id; an id is 16 hex digits");
    co_return;
  }
  Status revoked = co_await call.core.node.store.revoke_token(store::TokenId::from(*id), io::wall_now());
  if (!revoked && store::is(revoked.error(), store::StoreError::not_found)) {
    co_await respond_problem(call.exchange, 404, ProblemCode::unknown, "no token has this id");
  } else if (!revoked) {
    co_await respond_store_failure(call.exchange, revoked.error());
  } else {
    log_line(call.core.log, LogLevel::info, "token_revoked", field("id", not_personal(to_hex(*id))));
    (void)co_await call.exchange.respond({.status = 204});
  }
}

}  // namespace bellhop::service::admin
