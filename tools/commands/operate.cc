// SPDX-License-Identifier: Apache-2.0
#include "tools/commands/operate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <expected>
#include <optional>

#include "core/base/bytes.h"
#include "crypto/record.h"
#include "proto/json.h"
#include "tools/commands/answers.h"
#include "tools/commands/query.h"
#include "tools/server_main.h"

namespace bellhop::tools {
namespace {

constexpr uint32_t kPageMax = 256;  // that the server gives

int wrong_arguments(std::string_view what) {
  fmt::print(stderr, "bellhop: {}\n", what);
  return kExitUsage;
}

void add_user(Query& query, const UserChoice& who) {
  query.add("tenant", who.tenant).add("user", who.user).add("userId", who.user_id);
  if (!who.address.empty()) query.add("userId", to_hex(crypto::user_id_of_address(who.address)));
}

// ---- Listings ----

using PrintRow = void (*)(const proto::JsonObject& row);

struct Table {
  std::string_view path;  // and the member of the answer: "/v1/" + member
  std::string_view member;
  void (*print_head)();
  PrintRow print_row;
};

// The rows of one page as they stand between the brackets of the answer, which holds no other array around them.
std::string_view rows_of(std::string_view body) {
  size_t begin = body.find('['), end = body.rfind(']');
  if (begin == std::string_view::npos || end == std::string_view::npos || end < begin) return {};
  return body.substr(begin + 1, end - begin - 1);
}

// Pages until there are as many rows as were asked for: a page may hold fewer where the server looked through many.
int print_listing(const Listing& listing, const Table& table) {
  std::string cursor = listing.after;
  uint64_t left = listing.all ? UINT64_MAX : listing.limit, printed = 0;
  if (listing.json) {
    fmt::print("{{\"{}\":[", table.member);
  } else {
    table.print_head();
  }
  for (;;) {
    Query query;
    add_user(query, listing.who);
    query.add("state", listing.state).add("host", listing.host).add("after", cursor);
    query.add("limit", std::to_string(std::min<uint64_t>(left, kPageMax)));
    auto answer = ask_admin(listing.target, {"GET", std::string(table.path) + query.text(), ""});
    if (!answer) return kExitFailed;
    auto document = proto::JsonDocument::parse(answer->body, kAnswerLimits);
    auto rows = document ? document->root().required_array(table.member) : fail(document.error());
    if (!rows) return not_understood();
    if (listing.json) {
      std::string_view text = rows_of(answer->body);
      fmt::print("{}{}", printed > 0 && !text.empty() ? "," : "", text);
    }
    size_t count = 0;
    for (; count < rows->size() && !listing.json; ++count) {
      auto row = rows->at(count).object();
      if (!row) return not_understood();
      table.print_row(*row);
    }
    printed += rows->size();
    left -= std::min<uint64_t>(left, rows->size());
    auto next = document->root().string("next");
    if (!next) return not_understood();
    cursor = next->value_or("");
    if (cursor.empty() || left == 0) break;
  }
  if (listing.json) {
    fmt::print("]{}}}\n", cursor.empty() ? "" : fmt::format(",\"next\":\"{}\"", cursor));
  } else if (!cursor.empty()) {
    fmt::print(stderr, "there are more: --after {}, or --all\n", cursor);
  }
  bool one_user = !listing.who.user.empty() || !listing.who.user_id.empty() || !listing.who.address.empty();
  if (printed == 0 && one_user) {
    complain("nothing found of this user; the store knows users by tenant and hash of the address");
    return kExitFailed;
  }
  return kExitDone;
}

void print_user_head() {
  fmt::print("{:<64}  {:<16}  {:>7}  {:<12}  {:<20}  {}\n", "user", "tenant", "devices", "subscription", "last seen", "EWS host");
}
void print_user(const proto::JsonObject& row) {
  auto found = row.object("subscription");
  std::optional<proto::JsonObject> subscription = found ? *found : std::nullopt;
  fmt::print("{:<64}  {:<16}  {:>7}  {:<12}  {:<20}  {}\n", text_of(row, "id"), text_of(row, "tenant"),
             number_of(row, "deviceCount"), subscription ? text_of(*subscription, "state") : "none",
             subscription ? text_of(*subscription, "lastSeen") : "-",
             subscription ? text_of(*subscription, "ewsHost") : "-");
}

void print_device_head() {
  fmt::print("{:<32}  {:<16}  {:<8}  {:<10}  {:<8}  {:<24}  {}\n", "device", "tenant", "state", "push token", "platform", "topic", "created");
}
void print_device(const proto::JsonObject& row) {
  fmt::print("{:<32}  {:<16}  {:<8}  {:<10}  {:<8}  {:<24}  {}\n", text_of(row, "id"), text_of(row, "tenant"),
             text_of(row, "state"), text_of(row, "pushToken"), text_of(row, "platform"), text_of(row, "topic"),
             text_of(row, "created"));
}

void print_subscription_head() {
  fmt::print("{:<32}  {:<16}  {:<8}  {:>10}  {:<20}  {:<24}  {}\n", "subscription", "tenant", "state", "age", "last seen", "logon", "EWS host");
}
void print_subscription(const proto::JsonObject& row) {
  std::string logon = "ok";
  if (auto rule = row.object("logon"); rule && *rule && number_of(**rule, "refusals") > 0) {
    logon = fmt::format("refused {} times", number_of(**rule, "refusals"));
  }
  fmt::print("{:<32}  {:<16}  {:<8}  {:>10}  {:<20}  {:<24}  {}\n", text_of(row, "id"), text_of(row, "tenant"),
             text_of(row, "state"), duration_text(number_of(row, "ageSeconds")), text_of(row, "lastSeen"), logon,
             text_of(row, "ewsHost"));
}

// ---- One thing ----

bool is_id(std::string_view text) {
  auto bytes = from_hex(text);
  return bytes && bytes->size() == 16;
}

int show(const Choice& choice, std::string_view path) {
  auto answer = ask_admin(choice.target, {"GET", fmt::format("{}/{}", path, choice.id), ""});
  if (!answer) return kExitFailed;
  if (choice.json) {
    fmt::print("{}\n", answer->body);
    return kExitDone;
  }
  auto document = proto::JsonDocument::parse(answer->body, kAnswerLimits);
  if (!document) return not_understood();
  print_members(document->root());
  return kExitDone;
}

// The store's id of the device that was chosen by user and its own id. On failure the exit code.
std::expected<std::string, int> find_device(const Choice& choice) {
  bool by_user = !choice.device_id.empty();
  if (by_user == !choice.id.empty()) {
    return std::unexpected(wrong_arguments("name a device by its id, or by --device-id with --tenant and --user-id or --address"));
  }
  if (!by_user) {
    if (is_id(choice.id)) return choice.id;
    return std::unexpected(wrong_arguments("that is no device id: 32 hex digits, as `bellhop device list` shows"));
  }
  if (std::string_view complaint = complaint_of(choice.who); !complaint.empty()) return std::unexpected(wrong_arguments(complaint));
  if (choice.who.user.empty() && choice.who.user_id.empty() && choice.who.address.empty()) {
    return std::unexpected(wrong_arguments("--device-id needs its user: --user, or --tenant with --user-id or --address"));
  }
  Query query;
  add_user(query, choice.who);
  query.add("deviceId", choice.device_id);
  auto answer = ask_admin(choice.target, {"GET", "/v1/devices" + query.text(), ""});
  if (!answer) return std::unexpected(kExitFailed);
  auto document = proto::JsonDocument::parse(answer->body, kAnswerLimits);
  auto devices = document ? document->root().required_array("devices") : fail(document.error());
  if (!devices) return std::unexpected(not_understood());
  if (devices->size() == 0) {
    complain("this user has no such device");
    return std::unexpected(kExitFailed);
  }
  auto device = devices->at(0).object();
  auto id = device ? device->required_string("id") : fail(device.error());
  if (!id) return std::unexpected(not_understood());
  return std::string(*id);
}

}  // namespace

std::string_view complaint_of(const UserChoice& who) {
  int named = !who.user.empty() + !who.user_id.empty() + !who.address.empty();
  if (named > 1) return "choose one of --user, --user-id and --address";
  if (who.tenant.empty() && (!who.user_id.empty() || !who.address.empty())) {
    return "--user-id and --address need --tenant: the same address is another user at another tenant";
  }
  if (!who.address.empty() && who.address.find('@') == std::string::npos) return "--address is an e-mail address";
  return {};
}

std::expected<std::string, int> find_chosen(const Choice& choice) {
  if (!choice.device_id.empty()) return find_device(choice);
  if (std::string_view complaint = complaint_of(choice.who); !complaint.empty()) return std::unexpected(wrong_arguments(complaint));
  if (!choice.who.user.empty()) return choice.who.user;
  Query query;
  add_user(query, choice.who);
  auto answer = ask_admin(choice.target, {"GET", "/v1/users" + query.text(), ""});
  if (!answer) return std::unexpected(kExitFailed);
  auto document = proto::JsonDocument::parse(answer->body, kAnswerLimits);
  auto users = document ? document->root().required_array("users") : fail(document.error());
  if (!users) return std::unexpected(not_understood());
  if (users->size() == 0) {
    complain("there is no such user; the store knows users by tenant and hash of the address");
    return std::unexpected(kExitFailed);
  }
  auto user = users->at(0).object();
  auto id = user ? user->required_string("id") : fail(user.error());
  if (!id) return std::unexpected(not_understood());
  return std::string(*id);
}

int list_users(const Listing& listing) {
  if (std::string_view complaint = complaint_of(listing.who); !complaint.empty()) return wrong_arguments(complaint);
  return print_listing(listing, {"/v1/users", "users", &print_user_head, &print_user});
}

int list_devices(const Listing& listing) {
  if (std::string_view complaint = complaint_of(listing.who); !complaint.empty()) return wrong_arguments(complaint);
  return print_listing(listing, {"/v1/devices", "devices", &print_device_head, &print_device});
}

int list_subscriptions(const Listing& listing) {
  if (std::string_view complaint = complaint_of(listing.who); !complaint.empty()) return wrong_arguments(complaint);
  return print_listing(listing, {"/v1/subscriptions", "subscriptions", &print_subscription_head, &print_subscription});
}

int show_device(const Choice& choice) {
  auto id = find_device(choice);
  if (!id) return id.error();
  Choice found = choice;
  found.id = *std::move(id);
  return show(found, "/v1/devices");
}

namespace {

// A device by what it is called, whoever uses it: also one that only the gateway knows.
bool named_alone(const Choice& choice) {
  return !choice.device_id.empty() && choice.id.empty() && choice.who.user.empty() && choice.who.user_id.empty() &&
         choice.who.address.empty();
}

// What stands for the device in the path of a hold, with its query. On failure the exit code.
std::expected<std::string, int> hold_path(const Choice& choice, std::string_view action) {
  if (!action.empty() && named_alone(choice)) {
    Query query;
    query.add("tenant", choice.who.tenant);
    if (choice.who.tenant.empty() && is_id(choice.device_id)) {
      return std::unexpected(wrong_arguments("that could be an id of bellhop's: say which --tenant calls a device so"));
    }
    return fmt::format("/v1/devices/{}{}{}", escaped(choice.device_id), action, query.text());
  }
  auto id = find_device(choice);
  if (!id) return std::unexpected(id.error());
  return fmt::format("/v1/devices/{}{}", *id, action);
}

// `done`: what the device then is.
int take_out(const Choice& choice, std::string_view method, std::string_view action, std::string_view done) {
  auto path = hold_path(choice, action);
  if (!path) return path.error();
  std::string_view shown = choice.id.empty() ? choice.device_id : choice.id;
  auto answer = ask_admin(choice.target, {std::string(method), *path, ""});
  if (!answer) return kExitFailed;
  if (choice.json) {
    fmt::print("{}\n", answer->body);
    return kExitDone;
  }
  auto document = proto::JsonDocument::parse(answer->body, kAnswerLimits);
  if (!document) return not_understood();
  auto last = document->root().boolean("lastDevice"), other = document->root().boolean("resubscribeNeeded");
  if (!last || !other) return not_understood();
  fmt::print("device {} is {}\n", shown, done);
  if (named_alone(choice) && number_of(document->root(), "devices") == 0) {
    fmt::print("no device of bellhop is called so; the gateway keeps it out\n");
  }
  uint64_t ended = number_of(document->root(), "subscriptionsEnded");
  if (last->value_or(false)) {
    fmt::print("it was its user's last: the key pair is deleted, and {} subscriptions end with Exchange's next callback\n",
               ended);
  } else if (other->value_or(false)) {
    fmt::print("the subscription carries its credentials{}: another device of the user is asked to subscribe again\n",
               ended > 0 ? " and ends with Exchange's next callback" : "");
  }
  return kExitDone;
}

}  // namespace

int remove_device(const Choice& choice) { return take_out(choice, "DELETE", "", "removed"); }
int wipe_device(const Choice& choice) { return take_out(choice, "POST", "/wipe", "removed as wiped"); }
int block_device(const Choice& choice) { return take_out(choice, "POST", "/block", "blocked"); }

int unblock_device(const Choice& choice) {
  auto path = hold_path(choice, "/unblock");
  if (!path) return path.error();
  std::string_view shown = choice.id.empty() ? choice.device_id : choice.id;
  if (!ask_admin(choice.target, {"POST", *path, ""})) return kExitFailed;
  if (choice.json) {
    fmt::print("{{\"id\":\"{}\",\"unblocked\":true}}\n", shown);
  } else {
    fmt::print("device {} may be used again, unless a rule is against it; it subscribes when it checks in\n", shown);
  }
  return kExitDone;
}

// Page after page, so that no request holds the server for long. What a page noted stays noted where a later one fails.
int rotate_keys(const Listing& listing) {
  const UserChoice& who = listing.who;
  if (std::string_view complaint = complaint_of(who); !complaint.empty()) return wrong_arguments(complaint);
  bool one_user = !who.user.empty() || !who.user_id.empty() || !who.address.empty();
  if (listing.all ? one_user || !who.tenant.empty() : !one_user && who.tenant.empty()) {
    return wrong_arguments("say whose: --user, or --tenant with --user-id or --address; --tenant alone; or --all");
  }
  uint64_t users = 0, subscriptions = 0, pool_keys = 0;
  std::string cursor;
  for (;;) {
    Query query;
    add_user(query, who);
    query.add("all", listing.all ? "true" : "").add("after", cursor);
    if (!one_user) query.add("limit", std::to_string(kPageMax));
    auto answer = ask_admin(listing.target, {"POST", "/v1/keys/rotate" + query.text(), ""});
    if (!answer) return kExitFailed;
    auto document = proto::JsonDocument::parse(answer->body, kAnswerLimits);
    if (!document) return not_understood();
    users += number_of(document->root(), "users");
    subscriptions += number_of(document->root(), "subscriptions");
    pool_keys += number_of(document->root(), "poolKeysErased");
    auto next = document->root().string("next");
    if (!next) return not_understood();
    cursor = next->value_or("");
    if (cursor.empty()) break;
  }
  if (listing.json) {
    fmt::print("{{\"users\":{},\"subscriptions\":{},\"poolKeysErased\":{}}}\n", users, subscriptions, pool_keys);
    return kExitDone;
  }
  fmt::print("{} users are to get new key pairs; {} subscriptions are renewed with them, each at a heartbeat\n", users,
             subscriptions);
  if (pool_keys > 0) fmt::print("{} pairs that lay in the pool are erased\n", pool_keys);
  return kExitDone;
}

int show_subscription(const Choice& choice) {
  if (!is_id(choice.id)) return wrong_arguments("that is no subscription id: 32 hex digits, as `bellhop subscription list` shows");
  return show(choice, "/v1/subscriptions");
}

int end_subscription(const Choice& choice) {
  if (!is_id(choice.id)) return wrong_arguments("that is no subscription id: 32 hex digits, as `bellhop subscription list` shows");
  if (!ask_admin(choice.target, {"DELETE", "/v1/subscriptions/" + choice.id, ""})) return kExitFailed;
  if (choice.json) {
    fmt::print("{{\"id\":\"{}\",\"ended\":true}}\n", choice.id);
  } else {
    fmt::print("subscription {} has ended: Exchange's next callback is answered Unsubscribe, and the user's devices are "
               "told to subscribe again when they check in\n", choice.id);
  }
  return kExitDone;
}

}  // namespace bellhop::tools
