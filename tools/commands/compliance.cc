// SPDX-License-Identifier: Apache-2.0
#include "tools/commands/compliance.h"

#include <fmt/format.h>

#include <cstdio>
#include <optional>

#include "core/base/bytes.h"
#include "core/io.h"
#include "crypto/record.h"
#include "proto/json.h"
#include "tools/commands/answers.h"
#include "tools/commands/query.h"
#include "tools/server_main.h"

namespace bellhop::tools {
namespace {

// Of a bulk of a million devices on a slow disk.
constexpr Duration kBulkPatience = std::chrono::minutes(10);

std::optional<std::string> read_data(const std::string& file) {
  if (file != "-") {
    Result<std::string> text = io::read_file(file);
    if (text) return *std::move(text);
    complain(fmt::format("{}: cannot be read: {}", file, error_text(text.error())));
    return std::nullopt;
  }
  std::string text;
  char piece[64 * 1024];
  while (size_t size = std::fread(piece, 1, sizeof piece, stdin)) text.append(piece, size);
  return text;
}

int send_data(const ComplianceOptions& options, std::string_view method) {
  std::optional<std::string> data = read_data(options.file);
  if (!data) return kExitFailed;
  Query query;
  query.add("tenant", options.tenant);
  auto answer = ask_admin(options.target, {.method = std::string(method),
                                           .path = "/v1/compliance" + query.text(),
                                           .body = *std::move(data),
                                           .patience = kBulkPatience});
  if (!answer) return kExitFailed;
  if (options.json) {
    fmt::print("{}\n", answer->body);
    return kExitDone;
  }
  auto document = proto::JsonDocument::parse(answer->body, kAnswerLimits);
  if (!document) return not_understood();
  proto::JsonObject page = document->root();
  fmt::print("{} lines taken in {} ms; {} devices are known\n", number_of(page, "lines"), number_of(page, "milliseconds"),
             number_of(page, "devices"));
  if (uint64_t wiped = number_of(page, "wiped")) fmt::print("{} devices are wiped by it\n", wiped);
  if (uint64_t held = number_of(page, "held")) {
    fmt::print("{} of them are blocked or wiped by name, and stay so: bellhop device unblock --device-id ID --tenant {} lets one go\n",
               held, options.tenant.empty() ? "TENANT" : options.tenant);
  }
  return kExitDone;
}

std::string_view flag_text(const proto::JsonObject& object, std::string_view name) {
  auto flag = object.boolean(name);
  return flag && flag->value_or(false) ? "yes" : "no";
}

int print_decisions(const proto::JsonObject& page) {
  auto decisions = page.required_array("decisions");
  if (!decisions) return not_understood();
  for (size_t i = 0; i < decisions->size(); ++i) {
    auto decision = decisions->at(i).object();
    if (!decision) return not_understood();
    std::string why(text_of(*decision, "reason"));
    if (text_of(*decision, "rule") != "-") why += fmt::format(" \"{}\"", text_of(*decision, "rule"));
    if (flag_text(*decision, "becauseUnknown") == "yes") why += ", because what it asks for is not known";
    if (flag_text(*decision, "dryRun") == "yes") why += "; only a dry run lets it in";
    if (text_of(*decision, "dryRunRule") != "-") why += fmt::format("; rule \"{}\" is in dry run", text_of(*decision, "dryRunRule"));
    if (text_of(*decision, "since") != "-") why += fmt::format(", since {}", text_of(*decision, "since"));
    fmt::print("{:<13} {:<12} {}\n", text_of(*decision, "point"), text_of(*decision, "verdict"), why);
    if (text_of(*decision, "toLift") != "-") fmt::print("{:<13} {:<12} {}\n", "", "", text_of(*decision, "toLift"));
  }
  return kExitDone;
}

}  // namespace

int put_compliance(const ComplianceOptions& options) { return send_data(options, "PUT"); }
int patch_compliance(const ComplianceOptions& options) { return send_data(options, "PATCH"); }

int show_compliance_status(const ComplianceOptions& options) {
  auto answer = ask_admin(options.target, {.method = "GET", .path = "/v1/compliance", .body = ""});
  if (!answer) return kExitFailed;
  if (options.json) {
    fmt::print("{}\n", answer->body);
    return kExitDone;
  }
  auto document = proto::JsonDocument::parse(answer->body, kAnswerLimits);
  if (!document) return not_understood();
  proto::JsonObject page = document->root();
  auto rules = page.required_array("rules"), tenants = page.required_array("tenants");
  if (!rules || !tenants) return not_understood();
  fmt::print("policy           {}{}\n", flag_text(page, "enabled") == "yes" ? "on" : "off",
             flag_text(page, "dryRun") == "yes" ? ", in dry run: nobody is kept out" : "");
  fmt::print("unknown devices  {}\nknown devices    {}\n", text_of(page, "unknownDevices"), text_of(page, "knownDevices"));
  if (uint64_t unnamed = number_of(page, "devicesUnnamed"); unnamed > 0) {
    fmt::print("unnamed          {} devices have not told what they are called since that is kept; they are unknown until they do\n", unnamed);
  }
  for (size_t i = 0; i < rules->size(); ++i) {
    auto rule = rules->at(i).object();
    if (!rule) return not_understood();
    fmt::print("rule {:<3}         {}: {}; what is not known: {}{}\n", i + 1, text_of(*rule, "name"), text_of(*rule, "verdict"),
               text_of(*rule, "onUnknown"), flag_text(*rule, "dryRun") == "yes" ? "; dry run" : "");
  }
  fmt::print("\n{:<16}  {:>9}  {:>6}  {:>10}  {:<6}  {:<11}  {:<20}  {}\n", "tenant", "devices", "held", "memory", "source",
             "state", "last success", "too old at");
  for (size_t i = 0; i < tenants->size(); ++i) {
    auto tenant = tenants->at(i).object();
    if (!tenant) return not_understood();
    fmt::print("{:<16}  {:>9}  {:>6}  {:>10}  {:<6}  {:<11}  {:<20}  {}\n", text_of(*tenant, "tenant"),
               number_of(*tenant, "devices"), number_of(*tenant, "held"), size_text(number_of(*tenant, "bytes")),
               text_of(*tenant, "source"), text_of(*tenant, "state"), text_of(*tenant, "lastSuccess"),
               text_of(*tenant, "staleAt"));
    if (text_of(*tenant, "complaint") != "-") fmt::print("  {}\n", text_of(*tenant, "complaint"));
  }
  return kExitDone;
}

int show_compliance(const ComplianceOptions& options) {
  Query query;
  query.add("tenant", options.tenant).add("point", options.point).add("mailClient", options.mail_client);
  query.add("deviceType", options.device_type).add("command", options.command);
  if (!options.address.empty()) query.add("userId", to_hex(crypto::user_id_of_address(options.address)));
  auto answer = ask_admin(options.target, {.method = "GET",
                                           .path = "/v1/compliance/" + escaped(options.device) + query.text(),
                                           .body = ""});
  if (!answer) return kExitFailed;
  if (options.json) {
    fmt::print("{}\n", answer->body);
    return kExitDone;
  }
  auto document = proto::JsonDocument::parse(answer->body, kAnswerLimits);
  if (!document) return not_understood();
  proto::JsonObject page = document->root();
  print_members(page);
  fmt::print("\n");
  return print_decisions(page);
}

}  // namespace bellhop::tools
