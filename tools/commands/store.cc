// SPDX-License-Identifier: Apache-2.0
#include "tools/commands/store.h"

#include <fmt/format.h>

#include <cstdio>

#include "core/io.h"
#include "store/check.h"
#include "store/dump.h"
#include "store/lmdb/lmdb_store.h"
#include "tools/commands/keyring.h"
#include "tools/server_main.h"

namespace bellhop::tools {

std::unique_ptr<store::LmdbEnvironment> open_existing_store(const StoreTarget& target) {
  store::LmdbOptions options{.path = target.file};
  if (target.file.empty()) {
    std::optional<service::Config> config = load_config(target.config, NamedFiles::leave);
    if (!config) return nullptr;
    options = {.path = store_path(*config), .map_size = config->store.map_size_bytes};
  }
  if (auto info = io::file_info(options.path); !info) {
    complain(fmt::format("{}: cannot open the store: {}; name the store's file itself, [store] path of the configuration",
                         options.path, error_text(info.error())));
    return nullptr;
  }
  options.upgrade = !somebody_serves(options.path);
  auto environment = store::LmdbEnvironment::open(options);
  if (!environment) {
    complain(environment.error().text);
    return nullptr;
  }
  return *std::move(environment);
}

int check_store(const StoreTarget& target) {
  auto environment = open_existing_store(target);
  if (!environment) return kExitFailed;
  auto report = store::check(*environment);
  if (!report) {
    complain(fmt::format("the store cannot be read: {}", error_text(report.error())));
    return kExitFailed;
  }
  const store::Counts& counts = report->counts;
  fmt::print("rows           {}\nusers          {} ({} without a device)\ndevices        {}\nsubscriptions  {}\n"
             "key pairs      {} ({} in the pool)\ntombstones     {}\ntokens         {}\njournal        {}\n",
             report->rows, counts.users, counts.users_unused, counts.devices, counts.subscriptions, counts.keys,
             counts.keys_pool, counts.tombstones, counts.tokens, counts.journal);
  if (auto use = environment->file_use()) {
    fmt::print("file           {} bytes, {} of them in use\n", use->file_bytes, use->table_bytes);
  }
  for (const std::string& problem : report->problems) fmt::print(stderr, "problem: {}\n", problem);
  if (!print_kek_use(*environment, target)) return kExitFailed;
  if (report->clean()) {
    fmt::print("no problem found\n");
    return kExitDone;
  }
  complain(fmt::format("the store has {} problems, of which {} are listed above; keep a copy of the file, and restore "
                       "the last good backup if callbacks fail", report->problems_found, report->problems.size()));
  return kExitFailed;
}

int dump_store(const StoreTarget& target) {
  auto environment = open_existing_store(target);
  if (!environment) return kExitFailed;
  Status dumped = store::dump_redacted(*environment, [](std::string_view line) {
    std::fwrite(line.data(), 1, line.size(), stdout);
  });
  if (!dumped) {
    complain(fmt::format("the store cannot be read: {}; run: bellhop store check", error_text(dumped.error())));
    return kExitFailed;
  }
  return kExitDone;
}

}  // namespace bellhop::tools
