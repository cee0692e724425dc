// SPDX-License-Identifier: Apache-2.0
// `bellhop audit` and `bellhop explain`.
#include <fmt/format.h>

#include "proto/json.h"
#include "tools/commands/answers.h"
#include "tools/commands/operate.h"
#include "tools/server_main.h"

namespace bellhop::tools {
namespace {

std::string_view explain_finding(std::string_view name) {
  if (name == "unbalanced") return "a core's ledger does not balance: an event has no end, or two; this is a fault of bellhop";
  if (name == "journal_differs") return "the journal in the store holds other records than the ledger counts";
  if (name == "journal_orphans") return "the journal holds records of devices that are gone";
  return "a finding that this version of bellhop does not know";
}

void print_ledger(std::string_view name, const proto::JsonObject& ledger) {
  auto balance = ledger.integer("balance");
  fmt::print("{:<10} {:>12} {:>12} {:>12} {:>12} {:>12} {:>12} {:>12} {:>9}\n", name, number_of(ledger, "accepted"),
             number_of(ledger, "handedBack"), number_of(ledger, "delivered"), number_of(ledger, "skipped"),
             number_of(ledger, "dropped"), number_of(ledger, "journaled"), number_of(ledger, "inFlight"),
             balance && *balance ? **balance : 0);
}

// The whole page; on failure the exit code.
int print_audit(const proto::JsonObject& page) {
  auto balanced = page.boolean("balanced");
  auto findings = page.required_array("findings"), cores = page.required_array("cores");
  auto ledger = page.required_object("ledger"), journal = page.required_object("journal");
  if (!balanced || !*balanced || !findings || !cores || !ledger || !journal) return not_understood();
  fmt::print("{:<10} {:>12} {:>12} {:>12} {:>12} {:>12} {:>12} {:>12} {:>9}\n", "", "accepted", "handed back", "delivered",
             "skipped", "dropped", "journaled", "in flight", "balance");
  for (size_t i = 0; i < cores->size(); ++i) {
    auto core = cores->at(i).object();
    if (!core) return not_understood();
    print_ledger(fmt::format("core {}", i), *core);
  }
  print_ledger("all", *ledger);
  fmt::print("journal    {} records counted, {} stored; of {} looked at, {} of devices that are gone\n",
             number_of(*journal, "counted"), number_of(*journal, "stored"), number_of(*journal, "lookedAt"),
             number_of(*journal, "orphans"));
  auto restored = journal->boolean("restored");
  if (restored && *restored && !**restored) fmt::print("journal    still being taken up from before the start\n");
  for (size_t i = 0; i < findings->size(); ++i) {
    auto name = findings->at(i).string();
    if (!name) return not_understood();
    fmt::print("FOUND {}: {}\n", *name, explain_finding(*name));
  }
  if (**balanced) fmt::print("every accepted event is accounted for\n");
  return **balanced ? kExitDone : kExitFailed;
}

bool print_steps(const proto::JsonObject& page, std::string_view name, std::string_view head) {
  auto steps = page.array(name);
  if (!steps) return false;
  if (!*steps || (*steps)->size() == 0) return true;
  fmt::print("\n{}\n", head);
  for (size_t i = 0; i < (*steps)->size(); ++i) {
    auto step = (*steps)->at(i).object();
    if (!step) return false;
    std::string about;
    for (std::string_view member : {"outcome", "device", "subscription", "item"}) {
      auto value = step->string(member);
      if (value && *value) about += fmt::format("{}{} {}", about.empty() ? "  [" : ", ", member, **value);
    }
    if (!about.empty()) about += ']';
    fmt::print("{:<24}  {:<15}  {}{}\n", text_of(*step, "at"), text_of(*step, "what"), text_of(*step, "text"), about);
  }
  return true;
}

bool print_pending(const proto::JsonObject& page) {
  auto pending = page.array("pending");
  if (!pending) return false;
  if (!*pending || (*pending)->size() == 0) return true;
  fmt::print("\n{} pushes wait in the journal\n", number_of(page, "pendingCount"));
  for (size_t i = 0; i < (*pending)->size(); ++i) {
    auto record = (*pending)->at(i).object();
    if (!record) return false;
    fmt::print("  item {} for device {}: since {}, {} attempts, next {}\n", text_of(*record, "item"), text_of(*record, "device"),
               text_of(*record, "firstSeen"), number_of(*record, "attempts"), text_of(*record, "nextAttempt"));
  }
  return true;
}

}  // namespace

int show_audit(const AdminTarget& target, bool json) {
  auto answer = ask_admin(target, {"GET", "/v1/audit", ""});
  if (!answer) return kExitFailed;
  auto document = proto::JsonDocument::parse(answer->body, kAnswerLimits);
  if (!document) return not_understood();
  if (!json) return print_audit(document->root());
  fmt::print("{}\n", answer->body);
  auto balanced = document->root().boolean("balanced");
  return balanced && balanced->value_or(false) ? kExitDone : kExitFailed;
}

int explain_thing(const Choice& choice) {
  bool chosen = !choice.device_id.empty() || !choice.who.user.empty() || !choice.who.user_id.empty() || !choice.who.address.empty();
  if (chosen == !choice.id.empty()) {
    complain("name a thing by its id or name, or a user by --user, or by --tenant with --user-id or --address; --device-id then "
             "names one of the user's devices");
    return kExitUsage;
  }
  std::string thing = choice.id;
  if (chosen) {
    auto found = find_chosen(choice);
    if (!found) return found.error();
    thing = *std::move(found);
  }
  for (char c : thing) {
    bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_';
    if (plain) continue;
    complain("that is no id (hex digits in lower case) and no outcome's name (such as skipped.merged)");
    return kExitUsage;
  }
  auto answer = ask_admin(choice.target, {"GET", "/v1/explain/" + thing, ""});
  if (!answer) return kExitFailed;
  if (choice.json) {
    fmt::print("{}\n", answer->body);
    return kExitDone;
  }
  auto document = proto::JsonDocument::parse(answer->body, kAnswerLimits);
  if (!document) return not_understood();
  const proto::JsonObject& page = document->root();
  fmt::print("{} {}\n{}\n", text_of(page, "kind"), text_of(page, "thing"), text_of(page, "summary"));
  bool outcome = text_of(page, "kind") == "outcome";
  if (outcome) fmt::print("{} since start{}{}\n", number_of(page, "count"), page.string("todo") && *page.string("todo") ? "; " : "",
                          page.string("todo") && *page.string("todo") ? text_of(page, "todo") : "");
  if (!outcome) fmt::print("user {} of tenant {}, in the log {}\n", text_of(page, "user"), text_of(page, "tenant"), text_of(page, "userLogName"));
  bool good = print_steps(page, "chain", outcome ? "met last" : "what happened") && print_pending(page) &&
              print_steps(page, "next", "what comes");
  return good ? kExitDone : not_understood();
}

}  // namespace bellhop::tools
