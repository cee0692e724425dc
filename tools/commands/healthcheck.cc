// SPDX-License-Identifier: Apache-2.0
#include "tools/commands/healthcheck.h"

#include <fmt/format.h>

#include <cstdio>
#include <optional>

#include "core/io.h"
#include "core/sleep.h"
#include "proto/json.h"
#include "service/config_table.h"
#include "service/http1_client.h"
#include "tools/server_main.h"

namespace bellhop::tools {
namespace {

struct Health {
  uint16_t status = 0;
  std::string word;  // "ok", "starting", "draining"
};

std::optional<service::Http1Origin> origin_of(const HealthcheckOptions& options) {
  service::Http1Origin origin{.host = "localhost", .port = 0, .tls = nullptr, .addresses = nullptr, .unix_path = {}};
  if (!options.address.empty()) {
    auto address = service::parse_host_port(options.address);
    if (!address) {
      complain(fmt::format("\"{}\" is no host:port; for example 127.0.0.1:9443", options.address));
      return std::nullopt;
    }
    origin.host = address->host;
    origin.port = address->port;
    return origin;
  }
  origin.unix_path = options.socket.empty() ? service::AdminListenerConfig().unix_socket : options.socket;
  if (!options.config.empty()) {
    std::optional<service::Config> config = load_config(options.config, NamedFiles::leave);
    if (!config) return std::nullopt;
    origin.unix_path = config->listen_admin.unix_socket;
  }
  return origin;
}

Task<Result<Health>> ask(const service::Http1Origin* origin) {
  service::Http1ClientOptions options;
  BH_CO_TRY(auto client, co_await service::Http1Client::open(*origin, options));
  auto response = co_await client->exchange({.method = "GET", .target = "/readyz", .host = "localhost", .headers = {},
                                             .body = {}, .close = true});
  Result<Health> health = fail(Error());
  if (response) {
    auto document = proto::JsonDocument::parse(response->body);
    auto word = document ? document->root().required_string("status") : fail(document.error());
    health = Health{response->status, word ? std::string(*word) : "no word that we know"};
  } else {
    health = fail(response.error());
  }
  co_await client->close();
  co_return health;
}

Task<void> ask_in_time(const service::Http1Origin* origin, Duration timeout, Result<Health>* health) {
  *health = co_await within(timeout, ask(origin));
}

}  // namespace

int check_health(const HealthcheckOptions& options) {
  std::optional<service::Http1Origin> origin = origin_of(options);
  if (!origin) return kExitUsage;
  Result<Health> health = fail(core_error(CoreError::canceled));
  io::ClusterOptions cluster{.cores = 1, .connections_max = 16, .receive_buffers = 16};
  Duration timeout = std::chrono::milliseconds(options.timeout_ms);
  Status ran = io::run_cluster(cluster, [&](unsigned) { return ask_in_time(&*origin, timeout, &health); });
  if (!ran) {
    complain(io::explain_start_failure(ran.error()));
    return kExitFailed;
  }
  if (!health) {
    fmt::print("no answer: {}\n", error_text(health.error()));
    return kExitFailed;
  }
  bool ready = health->status == 200;
  fmt::print("{}\n", ready ? "ready" : "not ready: " + health->word);
  return ready ? kExitDone : kExitFailed;
}

}  // namespace bellhop::tools
