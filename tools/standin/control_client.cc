// SPDX-License-Identifier: Apache-2.0
#include "tools/standin/control_client.h"

#include <cerrno>

#include "core/base/ip.h"
#include "proto/json_writer.h"

namespace bellhop::standin {
namespace {

const service::Http1ClientOptions& options() {
  static const service::Http1ClientOptions control_options{.body_bytes_max = 16 << 20};
  return control_options;
}

}  // namespace

ControlClient::ControlClient(service::Http1Origin origin, std::string host)
    : host_(std::move(host)), pool_(std::move(origin), options()) {}

std::unique_ptr<ControlClient> ControlClient::make(const std::string& address) {
  auto parsed = SocketAddress::parse(address);
  if (!parsed) return nullptr;
  service::Http1Origin origin;
  origin.host = parsed->ip.to_string();
  origin.port = parsed->port;
  return std::unique_ptr<ControlClient>(new ControlClient(std::move(origin), address));
}

Task<Result<proto::JsonDocument>> ControlClient::call(std::string_view method, std::string target, std::string body) {
  service::Http1Request request{.method = method, .target = target, .host = host_, .headers = {}, .body = body};
  auto answered = co_await pool_.send(request);
  if (!answered) co_return fail(answered.error().error);
  if (answered->response().status != 200) co_return fail(os_error(EPROTO, answered->response().status));
  co_return proto::JsonDocument::parse(answered->response().body, {.bytes_max = 16 << 20, .values_max = 1 << 20});
}

Task<void> ControlClient::close() {
  co_await pool_.close();
}

Task<bool> take_refresh_token(ControlClient& tokens, DeviceAccount& account) {
  std::string body;
  proto::JsonWriter(body).begin_object().member("user", account.address).end_object();
  auto answer = co_await tokens.call("POST", "/tokens", std::move(body));
  if (!answer) co_return false;
  proto::JsonObject root = answer->root();
  auto refresh_token = root.required_string("refreshToken"), endpoint = root.required_string("tokenEndpoint");
  auto client_id = root.required_string("clientId"), scope = root.required_string("scope");
  if (!refresh_token || !endpoint || !client_id || !scope) co_return false;
  account.refresh_token = *refresh_token;
  account.token_endpoint = *endpoint;
  account.client_id = *client_id;
  account.scope = *scope;
  co_return true;
}

}  // namespace bellhop::standin
