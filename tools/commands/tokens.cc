// SPDX-License-Identifier: Apache-2.0
#include "tools/commands/tokens.h"

#include <fmt/format.h>

#include "core/base/bytes.h"
#include "proto/json.h"
#include "proto/json_writer.h"
#include "tools/commands/answers.h"
#include "tools/server_main.h"

namespace bellhop::tools {
int add_token(const AdminTarget& target, const std::string& tenant, bool plain) {
  std::string body;
  proto::JsonWriter json(body);
  json.begin_object().member("tenant", tenant).member("scope", "device").end_object();
  auto answer = ask_admin(target, {"POST", "/v1/tokens", body});
  if (!answer) return kExitFailed;
  auto document = proto::JsonDocument::parse(answer->body);
  wipe(answer->body);
  auto token = document ? document->root().required_string("token") : fail(document.error());
  if (!token) return not_understood();
  if (plain) {
    fmt::print("{}\n", *token);
  } else {
    fmt::print("id      {}\ntenant  {}\ntoken   {}\n\nThis is the only time that the token is shown: the server keeps a "
               "hash of it. Devices send it as the header ApiToken.\n", text_of(document->root(), "id"),
               text_of(document->root(), "tenant"), *token);
  }
  return kExitDone;
}

int list_tokens(const AdminTarget& target) {
  auto answer = ask_admin(target, {"GET", "/v1/tokens", ""});
  if (!answer) return kExitFailed;
  // As many as the store may hold, each about 150 bytes.
  auto document = proto::JsonDocument::parse(answer->body, {.bytes_max = 1 << 20, .values_max = 1 << 16});
  auto tokens = document ? document->root().required_array("tokens") : fail(document.error());
  if (!tokens) return not_understood();
  fmt::print("{:<16}  {:<20}  {:<8}  {:<8}  {:<20}  {}\n", "id", "tenant", "scope", "state", "created", "revoked");
  for (size_t i = 0; i < tokens->size(); ++i) {
    auto token = tokens->at(i).object();
    if (!token) return not_understood();
    fmt::print("{:<16}  {:<20}  {:<8}  {:<8}  {:<20}  {}\n", text_of(*token, "id"), text_of(*token, "tenant"),
               text_of(*token, "scope"), text_of(*token, "state"), text_of(*token, "created"), text_of(*token, "revoked"));
  }
  return kExitDone;
}

int revoke_token(const AdminTarget& target, const std::string& id) {
  auto bytes = from_hex(id);
  if (!bytes || bytes->size() != 8) {
    complain(fmt::format("\"{}\" is no token id: 16 hex digits, as `bellhop token list` shows", id));
    return kExitUsage;
  }
  if (!ask_admin(target, {"DELETE", "/v1/tokens/" + id, ""})) return kExitFailed;
  fmt::print("token {} is revoked\n", id);
  return kExitDone;
}

}  // namespace bellhop::tools
