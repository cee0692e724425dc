// SPDX-License-Identifier: Apache-2.0
#include "tools/commands/gateway.h"

#include <fmt/format.h>

#include "core/base/bytes.h"
#include "crypto/hash.h"
#include "proto/account.h"
#include "proto/display_text.h"
#include "proto/json.h"
#include "tools/commands/answers.h"
#include "tools/server_main.h"

namespace bellhop::tools {
namespace {

std::string escaped(std::string_view text) {
  std::string out;
  for (char c : text) {
    bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
    if (plain) {
      out += c;
    } else {
      out += fmt::format("%{:02X}", static_cast<uint8_t>(c));
    }
  }
  return out;
}

// A client calls itself what it likes: nothing that a terminal obeys.
void print_request(const proto::JsonObject& row) {
  fmt::print("{:<24}  {:<20}  {:<10}  {:>6}  {:<18}  {:<12}  {}\n", text_of(row, "at"), text_of(row, "outcome"), text_of(row, "endpoint"),
             number_of(row, "status"), text_of(row, "operation"), proto::harmless_text(text_of(row, "deviceType")),
             proto::harmless_text(text_of(row, "mailClient")));
  std::string_view reason = text_of(row, "reason"), rule = text_of(row, "rule");
  if (reason != "-") fmt::print("{:>26}why: {}{}{}\n", "", reason, rule == "-" ? "" : ", rule ", rule == "-" ? "" : rule);
}

void print_upstream(const proto::JsonObject& row) {
  fmt::print("{:<28}  {:<10}  {:<32}  {:<22}  {:>6}  {:>5}  {:>7}  {:>8}  {}\n", text_of(row, "route"), text_of(row, "endpoint"),
             text_of(row, "server"), text_of(row, "health"), number_of(row, "connectionsInUse"), number_of(row, "connectionsIdle"),
             number_of(row, "requestsWaiting"), number_of(row, "requests"), number_of(row, "failures"));
  std::string_view last = text_of(row, "lastError");
  if (last != "-") fmt::print("    last failure {}: {}\n", text_of(row, "lastFailure"), last);
}

// The gateway's Kerberos: its tickets, services, and what keeps everybody out. False: the answer is not understood.
bool print_kerberos(const proto::JsonObject& kerberos) {
  auto services = kerberos.required_array("services"), troubles = kerberos.required_array("troubles");
  if (!services || !troubles) return false;
  fmt::print("\nKerberos: tickets of {} users kept, {} requests waiting, {} tokens ({} without asking a KDC), {} failures\n",
             number_of(kerberos, "usersKept"), number_of(kerberos, "requestsWaiting"), number_of(kerberos, "tokens"),
             number_of(kerberos, "tokensWithoutAsking"), number_of(kerberos, "failures"));
  for (size_t i = 0; i < troubles->size(); ++i) {
    auto row = troubles->at(i).object();
    if (!row) return false;
    fmt::print("    realm {}: nobody gets a ticket since {}, last tried {}: {}\n", text_of(*row, "realm"), text_of(*row, "since"),
               text_of(*row, "last"), text_of(*row, "error"));
  }
  if (services->size() > 0) fmt::print("{:<44}  {:<8}  {:>8}  {:>8}  {}\n", "service", "health", "tokens", "failures", "last token");
  for (size_t i = 0; i < services->size(); ++i) {
    auto row = services->at(i).object();
    if (!row) return false;
    fmt::print("{:<44}  {:<8}  {:>8}  {:>8}  {}\n", text_of(*row, "service"), text_of(*row, "health"), number_of(*row, "tokens"),
               number_of(*row, "failures"), text_of(*row, "lastToken"));
    std::string_view last = text_of(*row, "lastError");
    if (last != "-") fmt::print("    last failure {}: {}\n", text_of(*row, "lastFailure"), last);
  }
  return true;
}

}  // namespace

int show_gateway_requests(const GatewayLookUp& look_up) {
  std::string subject = look_up.kind == "account" ? to_hex(crypto::sha256(proto::fold_case(look_up.subject))) : escaped(look_up.subject);
  std::string path = fmt::format("/v1/gateway/{}s/{}?limit={}", look_up.kind, subject, look_up.limit);
  if (!look_up.tenant.empty()) path += "&tenant=" + escaped(look_up.tenant);
  auto answer = ask_admin(look_up.target, {.method = "GET", .path = std::move(path), .body = {}});
  if (!answer) return kExitFailed;
  auto document = proto::JsonDocument::parse(answer->body, kAnswerLimits);
  auto rows = document ? document->root().required_array("requests") : fail(document.error());
  if (!rows) return not_understood();
  if (look_up.json) {
    fmt::print("{}\n", answer->body);
    return kExitDone;
  }
  if (rows->size() == 0) {
    complain("the gateway remembers no such request; it keeps the last 4,096 of each core since its start");
    return kExitFailed;
  }
  fmt::print("{:<24}  {:<20}  {:<10}  {:>6}  {:<18}  {:<12}  {}\n", "at (UTC)", "outcome", "endpoint", "status", "operation", "device type",
             "mail client");
  for (size_t i = 0; i < rows->size(); ++i) {
    auto row = rows->at(i).object();
    if (!row) return not_understood();
    print_request(*row);
  }
  return kExitDone;
}

int show_gateway(const AdminTarget& target, bool json) {
  auto answer = ask_admin(target, {.method = "GET", .path = "/v1/gateway", .body = {}});
  if (!answer) return kExitFailed;
  auto document = proto::JsonDocument::parse(answer->body, kAnswerLimits);
  auto outcomes = document ? document->root().required_object("outcomes") : fail(document.error());
  auto upstreams = document ? document->root().required_array("upstreams") : fail(document.error());
  if (!outcomes || !upstreams) return not_understood();
  if (json) {
    fmt::print("{}\n", answer->body);
    return kExitDone;
  }
  const proto::JsonObject root = document->root();
  std::string_view expires = text_of(root, "certificateExpires");
  fmt::print("{} requests in work, {} redirects kept, certificate good until {}\n\n", number_of(root, "requestsInWork"),
             number_of(root, "redirectsKept"), expires);
  for (size_t i = 0; i < outcomes->size(); ++i) {
    auto [name, value] = outcomes->at(i);
    auto count = value.unsigned_integer();
    if (count && *count > 0) fmt::print("{:<22}  {}\n", name, *count);
  }
  fmt::print("\n{:<28}  {:<10}  {:<32}  {:<22}  {:>6}  {:>5}  {:>7}  {:>8}  {}\n", "route", "endpoint", "server", "health", "in use", "idle",
             "waiting", "requests", "failures");
  for (size_t i = 0; i < upstreams->size(); ++i) {
    auto row = upstreams->at(i).object();
    if (!row) return not_understood();
    print_upstream(*row);
  }
  auto kerberos = root.object("kerberos");
  if (!kerberos || (*kerberos && !print_kerberos(**kerberos))) return not_understood();
  return kExitDone;
}

int show_redirects(const AdminTarget& target, bool json) {
  auto answer = ask_admin(target, {.method = "GET", .path = "/v1/gateway/redirects", .body = {}});
  if (!answer) return kExitFailed;
  auto document = proto::JsonDocument::parse(answer->body, kAnswerLimits);
  auto rows = document ? document->root().required_array("redirects") : fail(document.error());
  if (!rows) return not_understood();
  if (json) {
    fmt::print("{}\n", answer->body);
    return kExitDone;
  }
  fmt::print("{:<28}  {:<32}  {:>6}  {}\n", "route", "server", "status", "forgotten in");
  for (size_t i = 0; i < rows->size(); ++i) {
    auto row = rows->at(i).object();
    if (!row) return not_understood();
    fmt::print("{:<28}  {:<32}  {:>6}  {} s\n", text_of(*row, "route"), text_of(*row, "server"), number_of(*row, "status"),
               number_of(*row, "forgottenInSeconds"));
  }
  return kExitDone;
}

int forget_redirects(const AdminTarget& target, uint32_t status) {
  std::string path = "/v1/gateway/redirects";
  if (status != 0) path += fmt::format("?status={}", status);
  auto answer = ask_admin(target, {.method = "DELETE", .path = std::move(path), .body = {}});
  if (!answer) return kExitFailed;
  auto document = proto::JsonDocument::parse(answer->body, kAnswerLimits);
  auto forgotten = document ? document->root().required_integer("forgotten") : fail(document.error());
  if (!forgotten) return not_understood();
  fmt::print("{} forgotten; Exchange redirects these accounts anew\n", *forgotten);
  return kExitDone;
}

}  // namespace bellhop::tools
