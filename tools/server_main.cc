// SPDX-License-Identifier: Apache-2.0
#include "tools/server_main.h"

#include <fmt/format.h>

#include <cstdio>
#include <filesystem>
#include <thread>

#include "core/descriptors.h"
#include "core/io.h"
#include "core/tls/context.h"
#include "core/tls/error.h"
#include "crypto/arena.h"
#include "crypto/error.h"
#include "crypto/es256.h"
#include "proto/error_texts.h"
#include "service/accepted_connections.h"
#include "service/config_diff.h"
#include "service/error_texts.h"
#include "service/server.h"
#include "store/error.h"
#include "store/lmdb/lmdb_store.h"
#include "tools/service_manager.h"

namespace bellhop::tools {
namespace {

bool check_push_keys(const service::Config& config) {
  bool good = true;
  for (const service::TenantConfig& tenant : config.tenants) {
    for (const service::AppConfig& app : tenant.apps) {
      auto pem = io::read_file(app.key_file);
      Status parsed;
      if (!pem) {
        parsed = fail(pem.error());
      } else {
        if (auto key = crypto::Es256PrivateKey::from_pem(*pem); !key) parsed = fail(key.error());
        wipe(*pem);
      }
      if (parsed) continue;
      good = false;
      complain(fmt::format("{}: not a usable APNs key ({}) of topic {}: {}; use the .p8 file as Apple gives it", app.key_file,
                           app.key_id, app.topic, error_text(parsed.error())));
    }
  }
  return good;
}

Task<void> warm_store(store::LmdbStore* store) { (void)co_await store->warm(); }

// Core 0 also brings the store into the page cache, beside the server.
Task<void> run_core(service::Server* server, store::LmdbStore* store, unsigned core) {
  if (core != 0) {
    co_await server->run(core);
    co_return;
  }
  TaskScope beside(&co_await current_context());
  beside.spawn(warm_store(store));
  co_await server->run(core);
  beside.request_stop();
  co_await beside.join();
}

}  // namespace

void complain(std::string_view text) { fmt::print(stderr, "error: {}\n", text); }

void prepare_process() {
  proto::register_error_texts();
  crypto::register_error_texts();
  service::register_error_texts();
  store::register_error_texts();
  register_tls_error_texts();
  set_tls_clock(&io::wall_now);
}

std::string store_path(const service::Config& config) {
  return config.store.path.starts_with('/') ? config.store.path : config.data_dir + "/" + config.store.path;
}

std::string owner_path(const std::string& store_path) { return store_path + "-owner"; }

bool somebody_serves(const std::string& store_path) {
  std::string path = owner_path(store_path);
  if (!io::file_info(path)) return false;
  auto lock = io::open_lock_file(path);
  if (!lock) return false;
  auto free = io::try_lock(*lock);
  return free && !*free;
}

std::unique_ptr<store::LmdbStore> open_store(const service::Config& config) {
  std::string path = store_path(config);
  std::string folder = path.substr(0, path.rfind('/'));
  if (Status made = io::make_folder(folder, 0750); !made) {
    complain(fmt::format("{}: cannot make the folder of the store: {}; check data_dir and its owner", folder,
                         error_text(made.error())));
    return nullptr;
  }
  auto store = store::LmdbStore::open(
      {.path = path, .map_size = config.store.map_size_bytes, .upgrade = !somebody_serves(path)});
  if (!store) {
    complain(store.error().text);
    return nullptr;
  }
  return *std::move(store);
}

std::optional<service::Config> load_config(const std::string& path, NamedFiles named_files, service::ConfigPositions* positions) {
  auto text = io::read_file(path);
  if (!text) {
    fmt::print(stderr, "{}\n", service::to_text(service::config_unreadable(path, text.error().code)));
    return std::nullopt;
  }
  service::ConfigOutcome outcome = service::parse_config(*text, path, environment("CREDENTIALS_DIRECTORY"));
  for (const service::ConfigFileReference& file : outcome.files) {
    if (named_files == NamedFiles::leave) break;
    if (auto content = io::read_file(file.path); !content) {
      outcome.problems.push_back(service::config_missing_file(path, file, content.error().code));
    } else {
      wipe(*content);
    }
  }
  for (const service::ConfigProblem& problem : outcome.problems) fmt::print(stderr, "{}\n", service::to_text(problem));
  if (!outcome.ok()) return std::nullopt;
  if (positions) *positions = std::move(outcome.positions);
  return std::move(outcome.config);
}

// Where the server would listen, and may not.
bool names_other_file(const std::string& path) {
  std::error_code error;
  auto status = std::filesystem::symlink_status(path, error);
  return !error && std::filesystem::exists(status) && status.type() != std::filesystem::file_type::socket;
}

int check_config(const std::string& path) {
  service::ConfigPositions positions;
  std::optional<service::Config> config = load_config(path, NamedFiles::read, &positions);
  if (!config) return kExitFailed;
  std::string complaint;
  auto files = service::read_start_files(*config, complaint);
  if (!files) {
    complain(service::at_key(complaint, path, *config, positions));
    return kExitFailed;
  }
  bool on_public = !config->is_public() || service::listener_context(config->listen_public, files->public_listener, nullptr, complaint);
  bool on_gateway = !config->is_gateway() || service::listener_context(config->listen_gateway, files->gateway_listener, nullptr, complaint, files->certificates.get());
  if (!on_public || !on_gateway) {
    complain(service::at_key(complaint, path, *config, positions));
    return kExitFailed;
  }
  if (const std::string& socket = config->listen_admin.unix_socket; names_other_file(socket)) {
    auto place = positions.find("listen.admin.unix_socket");
    complain(service::to_text({path, place == positions.end() ? service::ConfigPosition() : place->second,
                               fmt::format("listen.admin.unix_socket names \"{}\", which is a file and no socket; name another path", socket)}));
    return kExitFailed;
  }
  if (!check_push_keys(*config)) return kExitFailed;
  fmt::print("{}: fine\n", path);
  return kExitDone;
}

int run_server(const std::string& config_path, bool take_over) {
  std::optional<ServiceManager> manager = read_service_manager();
  if (!manager) return kExitFailed;
  if (Status hardened = crypto::harden_process(); !hardened) {
    complain("core dumps could not be switched off: " + error_text(hardened.error()));
    return kExitFailed;
  }
  service::ConfigPositions positions;
  std::optional<service::Config> config = load_config(config_path, NamedFiles::read, &positions);
  if (!config) return kExitFailed;
  if (Status opened = io::set_log_file(config->log.output); !opened) {
    complain(fmt::format("{}: cannot write the log: {}; correct [log] output", config->log.output, error_text(opened.error())));
    return kExitFailed;
  }
  std::string complaint;
  auto files = service::read_start_files(*config, complaint);
  if (!files) {
    complain(service::at_key(complaint, config_path, *config, positions));
    return kExitFailed;
  }
  std::unique_ptr<store::LmdbStore> store = open_store(*config);
  if (!store) return kExitFailed;

  io::ClusterOptions options;
  options.cores = config->cores != 0 ? config->cores : std::max(1u, std::thread::hardware_concurrency());
  options.connections_max = service::accepted_connections_max(*config, options.cores);
  service::HandoverOptions handover{.lock_path = owner_path(store_path(*config)),
                                    .socket_path = config->data_dir + "/handover.sock",
                                    .take_over = take_over};
  service::Server server(*std::move(config), *std::move(files), *store);
  server.set_config_file(config_path);
  server.inherit(std::move(manager->descriptors));
  server.set_handover(std::move(handover));
  server.set_supervisor(std::move(manager->supervisor));
  Status ran = io::run_cluster(options, [&](unsigned core) { return run_core(&server, store.get(), core); });
  if (!ran) {
    complain(io::explain_start_failure(ran.error()));
    return kExitFailed;
  }
  if (server.failed()) {
    complain(server.complaint());
    return kExitFailed;
  }
  return kExitDone;
}

}  // namespace bellhop::tools
