// SPDX-License-Identifier: Apache-2.0
#include "tools/commands/reload.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "core/io.h"
#include "proto/json.h"
#include "service/config_diff.h"
#include "tools/server_main.h"

namespace bellhop::tools {
namespace {

// The keyring's rows may have to be read, all of them.
constexpr Duration kReloadPatience = std::chrono::minutes(2);

std::string_view text_of(const proto::JsonObject& object, std::string_view name) {
  auto text = object.string(name);
  return text && *text ? **text : std::string_view();
}

std::string_view shown(std::string_view value) { return value.empty() ? "(none)" : value; }

// What the server runs, or nothing and the reason on standard error.
std::optional<service::Config> running_config(const std::string& socket) {
  auto answer = ask_admin({.socket = socket, .config = {}}, {.method = "GET", .path = "/v1/config", .body = {}});
  if (!answer) return std::nullopt;
  service::ConfigOutcome outcome = service::parse_config(answer->body, "the running configuration");
  if (outcome.ok()) return std::move(outcome.config);
  for (const service::ConfigProblem& problem : outcome.problems) fmt::print(stderr, "{}\n", service::to_text(problem));
  complain("the server's configuration is not what this version of bellhop expects; use the bellhop that came with the server");
  return std::nullopt;
}

}  // namespace

int reload_server(const AdminTarget& target) {
  auto answer = ask_admin(target, {.method = "POST", .path = "/v1/reload", .body = {}, .patience = kReloadPatience});
  if (!answer) return kExitFailed;
  auto document = proto::JsonDocument::parse(answer->body, {.bytes_max = 4u << 20, .values_max = 1 << 18});
  auto changes = document ? document->root().required_array("changes") : fail(document.error());
  auto files = document ? document->root().required_array("files") : fail(document.error());
  if (!changes || !files) {
    complain("the server's answer is not what this version of bellhop expects; use the bellhop that came with the server");
    return kExitFailed;
  }
  for (size_t i = 0; i < changes->size(); ++i) {
    auto change = changes->at(i).object();
    if (!change) continue;
    fmt::print("{}: {} → {}\n", text_of(*change, "key"), shown(text_of(*change, "before")), shown(text_of(*change, "after")));
  }
  for (size_t i = 0; i < files->size(); ++i) {
    auto file = files->at(i).string();
    if (file) fmt::print("{}: new content\n", *file);
  }
  bool nothing = changes->size() == 0 && files->size() == 0;
  fmt::print("{}\n", nothing ? "nothing has changed" : "reloaded");
  return kExitDone;
}

int diff_config(const DiffOptions& options) {
  std::optional<service::Config> now = load_config(options.file);
  if (!now) return kExitFailed;
  if (int checked = check_config(options.file); checked != kExitDone) return checked;
  std::string socket = options.socket.empty() ? now->listen_admin.unix_socket : options.socket;
  std::optional<service::Config> before =
      options.old_one.empty() ? running_config(socket) : load_config(options.old_one, NamedFiles::leave);
  if (!before) return kExitFailed;
  std::vector<service::ConfigChange> changes = service::config_changes(*before, *now);
  for (const service::ConfigChange& change : changes) fmt::print("{}\n", service::to_text(change));
  auto restarts = std::ranges::count(changes, false, &service::ConfigChange::reload);
  if (changes.empty()) {
    fmt::print("no key differs; a reload takes new content of named files\n");
  } else if (restarts == 0) {
    fmt::print("a reload takes all of it\n");
  } else {
    fmt::print("{} of {} need a restart; a reload would refuse the file\n", restarts, changes.size());
  }
  return restarts == 0 ? kExitDone : kExitRestart;
}

}  // namespace bellhop::tools
