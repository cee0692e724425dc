// SPDX-License-Identifier: Apache-2.0
#include "tools/standin/commands.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "core/io.h"
#include "core/cross_core.h"
#include "core/sleep.h"
#include "core/socket.h"
#include "tools/standin/apns.h"
#include "tools/standin/client_bundle.h"
#include "tools/standin/client_tls.h"
#include "tools/standin/control_client.h"
#include "tools/standin/exchange.h"
#include "tools/standin/folder.h"
#include "tools/standin/proxy.h"
#include "tools/standin/token_endpoint.h"
#include "tools/standin/uem.h"

namespace bellhop::standin {
namespace {

constexpr int kDone = 0;
constexpr int kFailed = 1;

int fail_with(std::string_view what) {
  fmt::print(stderr, "bellhop: {}\n", what);
  return kFailed;
}

int run_cores(unsigned cores, const std::function<Task<void>(unsigned)>& flow) {
  io::ClusterOptions options;
  options.cores = cores;
  Status ran = io::run_cluster(options, flow);
  return ran ? kDone : fail_with(io::explain_start_failure(ran.error()));
}

// A stand-in that runs until a signal. All of it is made on core 0; other cores wait there for it.
template <class Standin>
struct Host {
  std::function<Result<std::unique_ptr<Standin>>(std::string&)> make;
  std::function<Task<bool>(Standin&)> prepare;
  std::string_view name;
  std::unique_ptr<Standin> standin;
  std::string complaint;
  Event made;
  bool failed = false;

  static Task<bool> wait_made(Host* host) {
    (void)co_await host->made.wait();
    co_return !host->failed;
  }
  static Task<void> stop_on_signal(Host* host) {
    for (;;) {
      auto number = co_await next_signal();
      if (!number) co_return;
      co_await host->standin->stop();
    }
  }
  Task<void> run(unsigned core) {
    if (core == 0) {
      auto result = make(complaint);
      if (result) standin = *std::move(result);
      failed = !standin || !co_await prepare(*standin);
      made.set();
    }
    if (!co_await on_core(0, [this] { return wait_made(this); })) co_return;
    if (core != 0) {
      co_await standin->run();
      co_return;
    }
    TaskScope signals(&co_await current_context());
    signals.spawn(stop_on_signal(this));
    fmt::print("{} on {}, control on http://{}\n", name, standin->address().to_string(),
               standin->control_address().to_string());
    std::fflush(stdout);
    co_await standin->run();
    signals.request_stop();
    co_await signals.join();
  }
};

template <class Standin>
int run_host(Host<Standin>& host, unsigned cores) {
  int code = run_cores(cores, [&](unsigned core) { return host.run(core); });
  if (host.failed) return fail_with(host.complaint.empty() ? "the stand-in could not be prepared" : host.complaint);
  return code;
}

Result<SocketAddress> parse_listen(const std::string& text, std::string& complaint) {
  auto address = SocketAddress::parse(text);
  if (address) return *address;
  complaint = fmt::format("\"{}\" is no address to listen on; write for example 127.0.0.1:8443", text);
  return fail(os_error(EINVAL));
}

Task<bool> add_mailboxes(Exchange& exchange, const StandinExchangeCommand& command) {
  for (uint32_t i = 1; i <= command.mailboxes; ++i) {
    MailboxSpec spec{.address = fmt::format("user{}@{}", i, command.domain), .username = {}, .password = command.password};
    if (!co_await exchange.add_mailbox(std::move(spec))) co_return false;
  }
  co_return true;
}

template <class Standin>
Task<bool> nothing_to_prepare(Standin&) { co_return true; }

// One request of a device, in a cluster of its own.
using DeviceAction = std::function<Task<int>(DeviceClient&, const DeviceCommand&)>;

Task<void> run_device_flow(const DeviceCommand* command, const DeviceAction* action, int* code) {
  std::string complaint;
  auto tls = make_client_tls(command->ca_file, command->server.http2, complaint);
  if (!tls) {
    *code = fail_with(complaint);
    co_return;
  }
  auto client = DeviceClient::make(command->server, *std::move(tls));
  if (!client) {
    *code = fail_with(fmt::format("{}: {}", command->server.url, error_text(client.error())));
    co_return;
  }
  *code = co_await (*action)(**client, *command);
  co_await (*client)->close();
}

int run_device(const DeviceCommand& command, const DeviceAction& action) {
  int code = kFailed;
  int ran = run_cores(1, [&](unsigned) { return run_device_flow(&command, &action, &code); });
  return ran == kDone ? code : ran;
}

Task<int> get_key(DeviceClient& client, const DeviceCommand& command) {
  auto key = co_await client.get_public_key(command.account.address);
  if (!key) co_return fail_with(key.error().to_string());
  fmt::print("{}\n", key->key.jwk());
  co_return kDone;
}

Task<int> subscribe(DeviceClient& client, const DeviceCommand& command) {
  DeviceAccount account = command.account;
  if (account.auth == DeviceAuth::oauth && account.refresh_token.empty()) {
    auto tokens = ControlClient::make(command.token_control);
    if (!tokens) co_return fail_with("OAuth needs a refresh token, or --token-control with the stand-in's address");
    bool taken = co_await take_refresh_token(*tokens, account);
    co_await tokens->close();
    if (!taken) co_return fail_with(command.token_control + ": the token stand-in gives no refresh token");
  }
  if (!command.pkcs12_file.empty()) {
    auto file = io::read_file(command.pkcs12_file);
    if (!file) co_return fail_with(fmt::format("{}: {}", command.pkcs12_file, error_text(file.error())));
    account.pkcs12 = *file;
    wipe(*file);
  }
  auto subscribed = co_await client.enroll(account);
  if (!subscribed) co_return fail_with(subscribed.error().to_string());
  fmt::print("subscription {} {}, heartbeat every {} min, envelope {}\n", subscribed->subscription_id,
             subscribed->status, subscribed->heartbeat_minutes, subscribed->envelope);
  if (!subscribed->device_secret.empty()) fmt::print("device secret {}\n", subscribed->device_secret);
  co_return kDone;
}

Task<int> check_in(DeviceClient& client, const DeviceCommand& command) {
  auto answer = co_await client.checkin(command.account);
  if (!answer) co_return fail_with(answer.error().to_string());
  fmt::print("status {}, last seen {}, action {}\n", answer->status,
             answer->last_seen.empty() ? std::string("never") : answer->last_seen, answer->action);
  co_return kDone;
}

Task<int> update_token(DeviceClient& client, const DeviceCommand& command) {
  auto answer = co_await client.update_token(command.account);
  if (!answer) co_return fail_with(answer.error().to_string());
  fmt::print("push token updated\n");
  co_return kDone;
}

Task<int> unsubscribe(DeviceClient& client, const DeviceCommand& command) {
  auto answer = co_await client.unsubscribe(command.account);
  if (!answer) co_return fail_with(answer.error().to_string());
  fmt::print("unsubscribed\n");
  co_return kDone;
}

}  // namespace

int run_standin_exchange(const StandinExchangeCommand& command) {
  std::string complaint;
  auto texts = open_folder(command.folder, complaint);
  if (!texts) return fail_with(complaint);
  auto listen = parse_listen(command.listen, complaint);
  auto control = parse_listen(command.control, complaint);
  if (!listen || !control) return fail_with(complaint);
  ExchangeOptions options;
  options.cores = command.cores;
  options.listen = *listen;
  options.control = *control;
  options.certificate_pem = texts->standin_chain_pem;
  options.key_pem = texts->standin_key_pem;
  options.callback_ca_pem = texts->authority.chain_pem;
  options.token_key = texts->token_key;
  if (!command.callback_ca_file.empty()) {
    auto ca = io::read_file(command.callback_ca_file);
    if (!ca) return fail_with(fmt::format("{}: {}", command.callback_ca_file, error_text(ca.error())));
    options.callback_ca_pem = *std::move(ca);
  }
  options.time_scale = command.time_scale;
  options.first_status = command.first_status_before_answer ? FirstStatus::before_answer : FirstStatus::after_answer;
  options.expect_continue = command.expect_continue;
  options.callback_http2 = command.callback_http2;
  options.callback_connections_max = command.callback_connections_max;
  options.callback_timeout = std::chrono::milliseconds(command.callback_timeout_ms);
  auto version = proto::parse_exchange_version(command.version);
  if (!version) {
    return fail_with(fmt::format("\"{}\" is no version of Exchange; write for example Exchange2010_SP2", command.version));
  }
  options.version = *version;
  options.gzip = command.gzip;
  options.ledger_kept = command.ledger_kept;
  if (command.logon == "certificate") options.logon = ExchangeLogon::certificate;
  if (command.logon == "dual") options.logon = ExchangeLogon::dual;
  options.client_ca_pem = texts->authority.chain_pem;
  auto offers = [&](std::string_view name) { return std::ranges::find(command.offers, name) != command.offers.end(); };
  options.offers_basic = offers("basic");
  options.offers_negotiate = offers("negotiate");
  options.offers_ntlm = offers("ntlm");
  options.requests_kept = command.requests_kept;
  options.affinity = command.affinity;
  options.talkative = command.talkative;
  options.provisioning = command.provisioning;
  options.heartbeat_seconds_min = command.heartbeat_seconds_min;
  if (!command.negotiate_helper.empty()) {
    auto helper = parse_listen(command.negotiate_helper, complaint);
    if (!helper) return fail_with(complaint);
    options.negotiate_helper = *helper;
  }
  if (!command.autodiscover_http.empty()) {
    auto http = parse_listen(command.autodiscover_http, complaint);
    if (!http) return fail_with(complaint);
    options.autodiscover_http = *http;
  }
  Host<Exchange> host{.make = [&](std::string& why) { return Exchange::make(std::move(options), why); },
                      .prepare = [&](Exchange& exchange) { return add_mailboxes(exchange, command); },
                      .name = "Exchange stand-in"};
  return run_host(host, command.cores);
}

int run_standin_apns(const StandinApnsCommand& command) {
  std::string complaint;
  auto texts = open_folder(command.folder, complaint);
  if (!texts) return fail_with(complaint);
  auto listen = parse_listen(command.listen, complaint);
  auto control = parse_listen(command.control, complaint);
  if (!listen || !control) return fail_with(complaint);
  ApnsOptions options;
  options.cores = command.cores;
  options.listen = *listen;
  options.control = *control;
  options.certificate_pem = texts->standin_chain_pem;
  options.key_pem = texts->standin_key_pem;
  options.client_ca_pem = texts->authority.chain_pem;
  options.keys.push_back({command.team_id, command.key_id, texts->provider_public_key, command.topics});
  options.streams_max = command.streams_max;
  options.pushes_kept = command.pushes_kept;
  options.keep_payloads = command.keep_payloads;
  options.time_scale = command.time_scale;
  Host<Apns> host{.make = [&](std::string& why) { return Apns::make(std::move(options), why); },
                  .prepare = &nothing_to_prepare<Apns>,
                  .name = "APNs stand-in"};
  return run_host(host, command.cores);
}

int run_standin_proxy(const StandinProxyCommand& command) {
  std::string complaint;
  auto texts = open_folder(command.folder, complaint);
  if (!texts) return fail_with(complaint);
  auto listen = parse_listen(command.listen, complaint);
  auto control = parse_listen(command.control, complaint);
  if (!listen || !control) return fail_with(complaint);
  ProxyOptions options;
  options.listen = *listen;
  options.control = *control;
  options.tls = command.tls;
  options.certificate_pem = texts->standin_chain_pem;
  options.key_pem = texts->standin_key_pem;
  options.username = command.username;
  options.password = command.password;
  Host<Proxy> host{.make = [&](std::string& why) { return Proxy::make(std::move(options), why); },
                   .prepare = &nothing_to_prepare<Proxy>,
                   .name = "proxy stand-in"};
  return run_host(host, 1);
}

int run_standin_uem(const StandinUemCommand& command) {
  std::string complaint;
  auto texts = open_folder(command.folder, complaint);
  if (!texts) return fail_with(complaint);
  auto listen = parse_listen(command.listen, complaint);
  auto control = parse_listen(command.control, complaint);
  if (!listen || !control) return fail_with(complaint);
  UemOptions options;
  options.listen = *listen;
  options.control = *control;
  options.certificate_pem = texts->standin_chain_pem;
  options.key_pem = texts->standin_key_pem;
  options.name = command.folder.names.front();
  if (!command.token.empty()) options.authorization = "Bearer " + command.token;
  if (!command.username.empty()) {
    options.authorization = "Basic " + to_base64(as_bytes(command.username + ":" + command.password));
  }
  options.devices = command.devices;
  options.users = command.users;
  options.domain = command.domain;
  options.page_lines = command.page_lines;
  Host<Uem> host{.make = [&](std::string& why) { return Uem::make(std::move(options), why); },
                 .prepare = &nothing_to_prepare<Uem>,
                 .name = "UEM stand-in"};
  return run_host(host, 1);
}

int run_standin_certificate(const StandinCertificateCommand& command) {
  std::string complaint;
  auto texts = open_folder(command.folder, complaint);
  if (!texts) return fail_with(complaint);
  auto bundle = make_client_bundle(texts->authority, command.address, command.password, io::wall_now());
  if (!bundle) {
    return fail_with(fmt::format("no certificate for \"{}\" can be made: {}", command.address, error_text(bundle.error())));
  }
  Status written = io::write_file(command.file, bundle->reveal(), 0600);
  if (!written) return fail_with(fmt::format("{}: {}", command.file, error_text(written.error())));
  return kDone;
}

int run_standin_token(const StandinTokenCommand& command) {
  std::string complaint;
  auto texts = open_folder(command.folder, complaint);
  if (!texts) return fail_with(complaint);
  auto listen = parse_listen(command.listen, complaint);
  auto control = parse_listen(command.control, complaint);
  if (!listen || !control) return fail_with(complaint);
  TokenEndpointOptions options;
  options.listen = *listen;
  options.control = *control;
  options.certificate_pem = texts->standin_chain_pem;
  options.key_pem = texts->standin_key_pem;
  options.name = command.folder.names.front();
  options.key = texts->token_key;
  options.rules = {.lifetime = std::chrono::seconds(command.lifetime_s),
                   .grace = std::chrono::seconds(command.grace_s),
                   .rotate = command.rotate};
  options.client_id = command.client_id;
  Host<TokenEndpoint> host{.make = [&](std::string& why) { return TokenEndpoint::make(std::move(options), why); },
                           .prepare = &nothing_to_prepare<TokenEndpoint>,
                           .name = "token stand-in"};
  return run_host(host, 1);
}

int run_device_getpublickey(const DeviceCommand& command) { return run_device(command, &get_key); }
int run_device_subscribe(const DeviceCommand& command) { return run_device(command, &subscribe); }
int run_device_checkin(const DeviceCommand& command) { return run_device(command, &check_in); }
int run_device_updatetoken(const DeviceCommand& command) { return run_device(command, &update_token); }
int run_device_unsubscribe(const DeviceCommand& command) { return run_device(command, &unsubscribe); }

}  // namespace bellhop::standin
