// SPDX-License-Identifier: Apache-2.0
#include "tools/commands/admin_client.h"

#include <fmt/format.h>

#include <algorithm>

#include <cerrno>

#include "core/io.h"
#include "core/sleep.h"
#include "proto/json.h"
#include "service/http1_client.h"
#include "tools/commands/admin_exchange.h"
#include "tools/server_main.h"

namespace bellhop::tools {
namespace {

// The running configuration of many tenants is the longest answer.
constexpr uint64_t kAnswerBytesMax = 64u << 20;

std::optional<std::string> find_socket(const AdminTarget& target) {
  if (!target.socket.empty()) return target.socket;
  if (target.config.empty()) return service::AdminListenerConfig().unix_socket;
  // Who may use the socket need not be allowed to read the keys, so the named files are left alone.
  std::optional<service::Config> config = load_config(target.config, NamedFiles::leave);
  if (!config) return std::nullopt;
  return config->listen_admin.unix_socket;
}

Task<void> ask(const std::string* socket, const AdminRequest* request, Duration patience, Result<AdminAnswer>* answer) {
  *answer = co_await within(std::max(patience, request->patience), exchange_admin(socket, request));
}

// Why there was no answer, and what to do.
std::string explain_silence(const std::string& socket, const AdminTarget& target, const Error& error) {
  if (error == os_error(ENOENT)) {
    return fmt::format("{}: there is no such socket; is bellhopd running, and is this its [listen.admin] unix_socket? "
                       "--socket or --config name another", socket);
  }
  if (error == os_error(ECONNREFUSED)) {
    return fmt::format("{}: nobody listens on this socket; bellhopd has ended: start it again", socket);
  }
  if (error == os_error(EACCES) || error == os_error(EPERM)) {
    return fmt::format("{}: you may not use this socket; its mode is 0660: become its owner, the user that runs bellhopd, "
                       "or a member of its group", socket);
  }
  if (is(error, CoreError::timed_out)) {
    return fmt::format("{}: no answer within {} s; bellhopd hangs or is overloaded: --timeout waits longer", socket,
                       target.timeout_s);
  }
  return fmt::format("no answer from the server at {}: {}; is it bellhopd's [listen.admin] unix_socket?", socket,
                     error_text(error));
}

// The `detail` of a problem document, or what stands in for it.
std::string reason_of(const AdminAnswer& answer) {
  auto document = proto::JsonDocument::parse(answer.body);
  if (document) {
    auto detail = document->root().string("detail");
    if (detail && *detail) return std::string(**detail);
  }
  return fmt::format("HTTP status {}", answer.status);
}

}  // namespace

Task<Result<AdminAnswer>> exchange_admin(const std::string* socket, const AdminRequest* request) {
  service::Http1Origin origin{.host = "localhost", .port = 0, .tls = nullptr, .addresses = nullptr, .unix_path = *socket};
  service::Http1ClientOptions options;
  options.body_bytes_max = kAnswerBytesMax;
  BH_CO_TRY(auto client, co_await service::Http1Client::open(origin, options));
  const proto::HeaderField json{"content-type", "application/json"};
  auto response = co_await client->exchange({.method = request->method,
                                             .target = request->path,
                                             .host = "localhost",
                                             .headers = std::span(&json, request->body.empty() ? 0u : 1u),
                                             .body = request->body,
                                             .close = true});
  Result<AdminAnswer> answer = fail(Error());
  if (response) {
    answer = AdminAnswer{response->status, std::string(response->text())};
  } else {
    answer = fail(response.error());
  }
  co_await client->close();
  co_return answer;
}

std::optional<AdminAnswer> ask_admin(const AdminTarget& target, const AdminRequest& request) {
  std::optional<std::string> socket = find_socket(target);
  if (!socket) return std::nullopt;
  Result<AdminAnswer> answer = fail(core_error(CoreError::canceled));
  io::ClusterOptions options{.cores = 1, .connections_max = 16, .receive_buffers = 16};
  Status ran = io::run_cluster(options, [&](unsigned) {
    return ask(&*socket, &request, std::chrono::seconds(target.timeout_s), &answer);
  });
  if (!ran) {
    complain(io::explain_start_failure(ran.error()));
    return std::nullopt;
  }
  if (!answer) {
    complain(explain_silence(*socket, target, answer.error()));
    return std::nullopt;
  }
  if (answer->status >= 400) {
    complain(fmt::format("the server refused: {}", reason_of(*answer)));
    return std::nullopt;
  }
  return *std::move(answer);
}

}  // namespace bellhop::tools
