// SPDX-License-Identifier: Apache-2.0
// `bellhop status`: the page of GET /v1/status, for people.
#include <fmt/format.h>

#include <cstdio>

#include "proto/json.h"
#include "tools/commands/answers.h"
#include "tools/commands/operate.h"
#include "tools/server_main.h"

namespace bellhop::tools {
namespace {

using proto::JsonObject;

void print_ledger(const JsonObject& ledger) {
  auto balance = ledger.integer("balance");
  int64_t difference = balance && *balance ? **balance : 0;
  fmt::print("ledger         {}: accepted {} = delivered {} + skipped {} + dropped {} + journaled {} + in flight {} + handed back {}\n",
             difference == 0 ? "balances" : fmt::format("OFF BY {}", difference), number_of(ledger, "accepted"),
             number_of(ledger, "delivered"), number_of(ledger, "skipped"), number_of(ledger, "dropped"),
             number_of(ledger, "journaled"), number_of(ledger, "inFlight"), number_of(ledger, "handedBack"));
}

void print_subscriptions(const JsonObject& all) {
  auto states = all.object("byState");
  fmt::print("subscriptions  {} alive, {} ended and still answered\n", number_of(all, "alive"), number_of(all, "tombstones"));
  if (!states || !*states) return;
  fmt::print("               of {} looked at: {} active, {} pending, {} late, {} lost; {} with refused credentials\n",
             number_of(all, "lookedAt"), number_of(**states, "active"), number_of(**states, "pending"),
             number_of(**states, "late"), number_of(**states, "lost"), number_of(all, "credentialsRefused"));
}

void print_supervision(const JsonObject& all) {
  fmt::print("silence        {} mailboxes active, {} late, {} lost; {} devices asked to subscribe again, {} more on trial\n",
             number_of(all, "active"), number_of(all, "late"), number_of(all, "lost"), number_of(all, "devicesAsked"),
             number_of(all, "devicesProbed"));
  auto hosts = all.required_array("silentHosts");
  if (!hosts) return;
  for (size_t i = 0; i < hosts->size(); ++i) {
    auto host = hosts->at(i).object();
    if (!host) continue;
    fmt::print("               {} HAS BEEN SILENT for {}: {} of {} mailboxes late\n", text_of(*host, "host"),
               duration_text(number_of(*host, "silentSeconds")), number_of(*host, "late"), number_of(*host, "mailboxes"));
  }
}

void print_store(const JsonObject& store) {
  fmt::print("store          {} users ({} without a device), {} devices, {} tokens\n", number_of(store, "users"),
             number_of(store, "usersWithoutDevice"), number_of(store, "devices"), number_of(store, "tokens"));
  fmt::print("               {} of {} used; {} commits, {} writes refused{}{}\n", size_text(number_of(store, "tableBytes")),
             size_text(number_of(store, "mapBytes")), number_of(store, "commits"), number_of(store, "writeFailures"),
             number_of(store, "writeFailures") > 0 ? ", last: " : "",
             number_of(store, "writeFailures") > 0 ? text_of(store, "lastFailure") : "");
}

void print_hosts(const JsonObject& ews) {
  auto hosts = ews.required_array("hosts");
  if (!hosts) return;
  if (hosts->size() == 0) fmt::print("EWS            no host asked yet\n");
  for (size_t i = 0; i < hosts->size(); ++i) {
    auto host = hosts->at(i).object();
    if (!host) continue;
    std::string trouble;
    if (text_of(*host, "breaker") != "closed") {
      trouble = fmt::format(", BREAKER {} for {} s", text_of(*host, "breaker"), number_of(*host, "breakerSeconds"));
    }
    if (uint64_t seconds = number_of(*host, "backOffSeconds"); seconds > 0) {
      trouble += fmt::format(", BACKS OFF for {} s", seconds);
    }
    fmt::print("{:<14} {} {}:{} ({}): {} connections, {} requests wait{}\n", i == 0 ? "EWS" : "", text_of(*host, "tenant"),
               text_of(*host, "host"), number_of(*host, "port"), text_of(*host, "server"), number_of(*host, "connections"),
               number_of(*host, "waiting"), trouble);
  }
  if (uint64_t count = number_of(ews, "hostCount"); count > hosts->size()) {
    fmt::print("               and {} more\n", count - hosts->size());
  }
}

void print_routes(const JsonObject& apns) {
  auto routes = apns.required_array("routes");
  if (!routes) return;
  if (routes->size() == 0) fmt::print("APNs           no push sent yet\n");
  for (size_t i = 0; i < routes->size(); ++i) {
    auto route = routes->at(i).object();
    if (!route) continue;
    auto certificate = route->string("certificate");
    std::string key = certificate && *certificate ? std::string(**certificate)
                                                  : fmt::format("{}/{}", text_of(*route, "team"), text_of(*route, "key"));
    fmt::print("{:<14} {} {}, {} tokens: {} connections, {} streams free, {} pushes wait\n", i == 0 ? "APNs" : "", key,
               text_of(*route, "environment"), text_of(*route, "tokens"), number_of(*route, "connections"),
               number_of(*route, "freeStreams"), number_of(*route, "waiting"));
  }
}

void print_troubles(const JsonObject& page) {
  auto troubles = page.required_array("troubles");
  if (!troubles) return;
  if (troubles->size() == 0) fmt::print("troubles       none since the start\n");
  for (size_t i = 0; i < troubles->size(); ++i) {
    auto trouble = troubles->at(i).object();
    if (!trouble) continue;
    auto error = trouble->string("error");
    fmt::print("{:<14} {} {} ({} times){}{}\n", i == 0 ? "troubles" : "", text_of(*trouble, "last"),
               text_of(*trouble, "event"), number_of(*trouble, "count"), error && *error ? ": " : "",
               error && *error ? **error : std::string_view());
  }
}

}  // namespace

int show_status(const AdminTarget& target, bool json) {
  auto answer = ask_admin(target, {"GET", "/v1/status", ""});
  if (!answer) return kExitFailed;
  if (json) {
    fmt::print("{}\n", answer->body);
    return kExitDone;
  }
  auto document = proto::JsonDocument::parse(answer->body, kAnswerLimits);
  if (!document) return not_understood();
  JsonObject page = document->root();
  auto ledger = page.required_object("ledger"), subscriptions = page.required_object("subscriptions"),
       supervision = page.required_object("supervision"),
       store = page.required_object("store"), keys = page.required_object("keys"), queues = page.required_object("queues"),
       connections = page.required_object("connections"), ews = page.required_object("ews"),
       apns = page.required_object("apns");
  if (!ledger || !subscriptions || !supervision || !store || !keys || !queues || !connections || !ews || !apns) return not_understood();
  fmt::print("bellhop {}     {}, up {} (since {}), {} cores, {}\n", text_of(page, "version"), text_of(page, "state"),
             duration_text(number_of(page, "uptimeSeconds")), text_of(page, "started"), number_of(page, "cores"),
             text_of(page, "backend"));
  print_ledger(*ledger);
  print_subscriptions(*subscriptions);
  print_supervision(*supervision);
  print_store(*store);
  fmt::print("key pairs      {} made ahead (goal {}), {} in use\n", number_of(*keys, "pool"), number_of(*keys, "poolTarget"),
             number_of(*keys, "used"));
  fmt::print("queues         {} events in flight, {} decryptions, {} EWS requests, {} pushes ({} streams open), {} in the journal\n",
             number_of(*queues, "eventsInFlight"), number_of(*queues, "decryptions"), number_of(*queues, "ewsRequests"),
             number_of(*queues, "apnsPushes"), number_of(*queues, "apnsStreams"), number_of(*queues, "journal"));
  fmt::print("connections    {} public, {} EWS, {} APNs, {} token endpoints\n", number_of(*connections, "public"),
             number_of(*connections, "ews"), number_of(*connections, "apns"), number_of(*connections, "token"));
  print_hosts(*ews);
  print_routes(*apns);
  print_troubles(page);
  return kExitDone;
}

}  // namespace bellhop::tools
