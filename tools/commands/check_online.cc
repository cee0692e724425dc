// SPDX-License-Identifier: Apache-2.0
#include "tools/commands/check_online.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "core/errand.h"
#include "core/sleep.h"
#include "core/tls/engine.h"
#include "core/tls/identity.h"
#include "service/error_texts.h"
#include "service/gateway_routes.h"
#include "service/http1_client.h"
#include "service/kerberos.h"
#include "tools/server_main.h"

namespace bellhop::tools {
namespace {

using service::GatewayEndpoint;
using service::GatewayLogon;

constexpr std::string_view kEws = "/EWS/Exchange.asmx", kActiveSync = "/Microsoft-Server-ActiveSync";
// The id of the user's inbox: nothing is read, and nothing changed.
constexpr std::string_view kGetFolder =
    "<?xml version=\"1.0\" encoding=\"utf-8\"?>"
    "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\""
    " xmlns:t=\"http://schemas.microsoft.com/exchange/services/2006/types\""
    " xmlns:m=\"http://schemas.microsoft.com/exchange/services/2006/messages\"><s:Body><m:GetFolder><m:FolderShape>"
    "<t:BaseShape>IdOnly</t:BaseShape></m:FolderShape><m:FolderIds><t:DistinguishedFolderId Id=\"inbox\"/></m:FolderIds>"
    "</m:GetFolder></s:Body></s:Envelope>";

// What is looked at, and what was found; of one run.
struct Online {
  const CheckOnlineOptions& options;
  service::Config config;
  std::shared_ptr<const service::GatewayRoutes> routes;
  int failures = 0;

  Duration patience() const { return std::chrono::milliseconds(options.timeout_ms); }
  void fine(std::string_view what) { fmt::print("ok    {}\n", what); }
  void bad(std::string_view what) {
    ++failures;
    fmt::print("FAIL  {}\n", what);
  }
};

std::string name_of(const Online& online, const GatewayEndpoint& endpoint) {
  bool ews = endpoint.kind == proto::GatewayEndpoint::ews;
  return fmt::format("{} {} at {}", online.routes->all()[endpoint.route]->name, ews ? "EWS" : "ActiveSync",
                     service::to_text(endpoint.upstream));
}

struct Offers {
  bool basic = false, bearer = false, negotiate = false;
};

Offers offers_of(const proto::HeaderBlock& headers) {
  Offers out;
  for (size_t i = 0; i < headers.size(); ++i) {
    proto::HeaderField field = headers.at(i);
    if (field.name != "www-authenticate") continue;
    std::string scheme = ascii_lower(field.value.substr(0, field.value.find(' ')));
    out.basic |= scheme == "basic";
    out.bearer |= scheme == "bearer";
    out.negotiate |= scheme == "negotiate";
  }
  return out;
}

// The request that Exchange answers without doing anything.
Task<Result<service::Http1Response>> ask(service::Http1Client& client, const GatewayEndpoint& endpoint,
                                         std::string_view authorization) {
  bool ews = endpoint.kind == proto::GatewayEndpoint::ews;
  proto::HeaderField fields[2] = {{"content-type", "text/xml; charset=utf-8"}, {"authorization", authorization}};
  co_return co_await client.exchange({.method = ews ? "POST" : "OPTIONS",
                                      .target = ews ? kEws : kActiveSync,
                                      .host = endpoint.upstream.host,
                                      .headers = {fields, authorization.empty() ? size_t{1} : size_t{2}},
                                      .body = ews ? kGetFolder : std::string_view()});
}

void report_offers(Online& online, const GatewayEndpoint& endpoint, const service::Http1Response& response) {
  std::string name = name_of(online, endpoint);
  Offers offers = offers_of(*response.headers);
  if (response.status != 401) {
    return online.fine(fmt::format("{}: answers {} to who does not log on", name, response.status));
  }
  bool kerberos = endpoint.config.logon == GatewayLogon::kerberos;
  if (kerberos && !offers.negotiate) {
    return online.bad(fmt::format("{}: does not offer Negotiate; switch Windows authentication on for this virtual directory", name));
  }
  if (!kerberos && !offers.basic && !offers.bearer) {
    return online.bad(fmt::format("{}: offers neither Basic nor Bearer, which are all that clients may use through the gateway", name));
  }
  online.fine(fmt::format("{}: offers{}{}{}", name, offers.basic ? " Basic" : "", offers.bearer ? " Bearer" : "",
                          offers.negotiate ? " Negotiate" : ""));
}

struct Probe {
  Result<crypto::Secret> header = fail(Error());
  std::string step;
};
Task<Result<Probe>> get_ticket(const service::KerberosConfig& config, service::KerberosRequest request) {
  co_return co_await run_errand(0, [config, request = std::move(request)] {
    Probe probe;
    probe.header = service::probe_kerberos(config, request, probe.step);
    return probe;
  });
}

Task<void> try_ticket(Online& online, const GatewayEndpoint& endpoint, service::Http1Client& client) {
  std::string name = name_of(online, endpoint);
  const service::KerberosConfig& config = online.config.gateway.kerberos;
  const std::string& service = endpoint.config.service_principal;
  service::KerberosRequest request{.user = online.options.user,
                                   .service = service.empty() ? "HTTP/" + endpoint.upstream.host : service,
                                   .principal = {},
                                   .endpoint_hash = {}};
  if (config.channel_binding == service::KerberosBinding::endpoint) {
    request.endpoint_hash = endpoint_hash(client.stream().tls()->peer_certificate());
  }
  Result<Probe> probe = co_await within(online.patience(), get_ticket(config, request));
  if (!probe) co_return online.bad(fmt::format("{}: Kerberos: {}", name, error_text(probe.error())));
  if (!probe->header) {
    co_return online.bad(fmt::format("{}: Kerberos, {}: {}", name, probe->step, error_text(probe->header.error())));
  }
  if (online.options.user.empty()) co_return online.fine(fmt::format("{}: Kerberos, {}", name, probe->step));
  auto response = co_await within(online.patience(), ask(client, endpoint, probe->header->reveal_text()));
  if (!response) co_return online.bad(fmt::format("{}: with a ticket: {}", name, error_text(response.error())));
  if (response->status == 401) {
    co_return online.bad(fmt::format("{}: does not take the ticket for {} (401); the SPN belongs to another account than the one that the "
                                     "application pool uses, or gateway.kerberos.channel_binding is wrong", name, request.service));
  }
  online.fine(fmt::format("{}: takes the ticket for {} (answers {})", name, request.service, response->status));
}

Task<void> look_at(Online& online, const GatewayEndpoint& endpoint) {
  std::string name = name_of(online, endpoint), complaint;
  auto tls = TlsContext::client(endpoint.tls, complaint);
  if (!tls) co_return online.bad(fmt::format("{}: {}", name, complaint));
  service::Http1Origin origin{.host = endpoint.upstream.host, .port = endpoint.upstream.port, .tls = *tls};
  service::Http1ClientOptions options{.connect_timeout = std::chrono::milliseconds(endpoint.config.connect_timeout_ms),
                                      .handshake_timeout = std::chrono::milliseconds(endpoint.config.handshake_timeout_ms)};
  std::optional<TlsIdentity> identity;
  if (endpoint.identity) identity = endpoint.identity->view();
  auto client = co_await service::Http1Client::open(origin, options, identity ? &*identity : nullptr);
  if (!client) co_return online.bad(fmt::format("{}: no connection: {}", name, error_text(client.error())));
  auto response = co_await within(online.patience(), ask(**client, endpoint, {}));
  if (response) {
    report_offers(online, endpoint, *response);
  } else {
    online.bad(fmt::format("{}: no answer: {}", name, error_text(response.error())));
  }
  bool again = response && endpoint.config.logon == GatewayLogon::kerberos;
  if (again && !(*client)->reusable()) {
    co_await (*client)->close();
    client = co_await service::Http1Client::open(origin, options, identity ? &*identity : nullptr);
    if (!client) co_return online.bad(fmt::format("{}: no second connection: {}", name, error_text(client.error())));
  }
  if (again) co_await try_ticket(online, endpoint, **client);
  co_await (*client)->close();
}

Task<void> look_at_all(Online& online) {
  bool kerberos = std::ranges::any_of(online.routes->all(), [](const auto& route) {
    auto logs_on = [](const auto& endpoint) { return endpoint && endpoint->config.logon == GatewayLogon::kerberos; };
    return logs_on(route->ews) || logs_on(route->activesync);
  });
  if (!online.options.user.empty() && !kerberos) {
    online.bad(fmt::format("--as {}: no endpoint has logon = \"kerberos\", so there is no ticket to try", online.options.user));
  }
  for (const auto& route : online.routes->all()) {
    if (route->ews) co_await look_at(online, *route->ews);
    if (route->activesync) co_await look_at(online, *route->activesync);
  }
}

}  // namespace

int check_online(const CheckOnlineOptions& options) {
  if (int checked = check_config(options.file); checked != kExitDone) return checked;
  std::optional<service::Config> config = load_config(options.file);
  if (!config) return kExitFailed;
  if (!config->is_gateway()) {
    fmt::print("{}: no gateway, so there is nothing to ask\n", options.file);
    return kExitDone;
  }
  std::string complaint;
  auto routes = service::GatewayRoutes::make(*config, complaint);
  if (!routes) {
    complain(complaint);
    return kExitFailed;
  }
  set_tls_clock(&io::wall_now);
  if (config->gateway.kerberos.on()) {
    if (Status set = service::use_krb5_settings(config->gateway.kerberos); !set) {
      complain("the settings of Kerberos cannot be given to its library: " + error_text(set.error()));
      return kExitFailed;
    }
  }
  Online online{.options = options, .config = *std::move(config), .routes = *std::move(routes)};
  io::ClusterOptions cluster{.cores = 1, .connections_max = 64, .receive_buffers = 64};
  Status ran = io::run_cluster(cluster, [&](unsigned) { return look_at_all(online); });
  if (!ran) {
    complain(io::explain_start_failure(ran.error()));
    return kExitFailed;
  }
  return online.failures == 0 ? kExitDone : kExitFailed;
}

}  // namespace bellhop::tools
