// SPDX-License-Identifier: Apache-2.0
#include "tests/gateway/scene.h"

#include <algorithm>

#include "core/base/bytes.h"
#include "core/sleep.h"
#include "core/stream/block_pool.h"
#include "core/tls/engine.h"
#include "core/tls/identity.h"
#include "crypto/rsa_engine.h"

namespace bellhop::service::gateway_test {
namespace {

constexpr size_t kBodyKept = 64 * 1024;
constexpr std::string_view kServerName = "server.example.test";  // what tests/http's clients verify

CertificateValidity valid_now() { return {io::wall_now() - 1h, io::wall_now() + 24h}; }

LogOptions log_options(std::string& lines) {
  LogOptions options;
  options.sink = {[](void* text, std::string_view line) { *static_cast<std::string*>(text) += line; }, &lines};
  options.wall_now = &io::wall_now;
  options.level = LogLevel::debug;
  return options;
}

std::shared_ptr<TlsContext> client_context(std::string_view pem, std::vector<std::string> alpn) {
  std::string complaint;
  TlsFile file{"test", pem};
  auto authorities = TlsAuthorities::parse(std::span(&file, 1), complaint);
  BH_CHECK(authorities);
  auto context = TlsContext::client({.authorities = *authorities, .alpn = std::move(alpn)}, complaint);
  BH_CHECK(context);
  return *context;
}

Task<Status> wait_set(Event& event) { co_return co_await event.wait(); }

}  // namespace

std::string Seen::field(std::string_view name) const {
  std::string all;
  for (const auto& [key, value] : fields) {
    if (key == name) all += (all.empty() ? "" : ", ") + value;
  }
  return all;
}

bool Seen::has(std::string_view name) const {
  return std::ranges::any_of(fields, [&](const auto& field) { return field.first == name; });
}

// ---- Exchange ----

Task<void> FakeExchange::handle(HttpExchange& exchange) {
  auto request = std::make_unique<Seen>();
  request->method = proto::method_name(exchange.method());
  request->target = exchange.target();
  request->host = exchange.authority();
  for (size_t i = 0; i < exchange.headers().size(); ++i) {
    proto::HeaderField field = exchange.headers().at(i);
    request->fields.emplace_back(field.name, field.value);
  }
  auto peer = co_await exchange.peer_address();
  request->connection = peer ? peer->port : 0;
  ++running;
  exchange.be_patient(true);  // so that it hears of a gateway that leaves
  co_await serve(exchange, *request);
  Context& own = co_await current_context();
  stopped += own.stop_requested();
  --running;
  ++ended;
  changed.set();
}

Task<void> FakeExchange::serve(HttpExchange& exchange, Seen& request) {
  Seen& noted = request;
  Reply reply;
  bool early = respond(request).early;
  if (!early) {
    for (;;) {
      auto piece = co_await exchange.read_some();
      if (!piece) break;
      noted.whole = piece->empty();
      if (piece->empty()) break;
      body_bytes += piece->size();
      if (noted.body.size() < kBodyKept) noted.body += as_text(*piece);
    }
  }
  reply = respond(request);
  seen.push_back(std::make_unique<Seen>(request));
  changed.set();
  if (reply.hang_up) {
    exchange.abort();
    co_return;
  }
  if (reply.hold && !co_await wait_set(*reply.hold)) co_return;
  std::vector<proto::HeaderField> fields;
  for (const auto& [name, value] : reply.fields) fields.push_back({name, value});
  std::optional<uint64_t> length = reply.body.size() + (reply.cut ? 10 : 0);
  if (reply.chunked) length.reset();
  Status sent = co_await exchange.begin_response({.status = reply.status, .headers = fields, .content_length = length});
  if (sent && reply.hold_body) sent = co_await wait_set(*reply.hold_body);
  if (sent && !reply.body.empty()) sent = co_await exchange.write_some(as_bytes(reply.body));
  if (!sent) co_return;
  if (reply.cut) {
    exchange.abort();
  } else {
    (void)co_await exchange.end_response();
  }
}

// ---- Seams ----

Task<Result<crypto::Secret>> FakeAuthenticator::authorization(const GatewayIdentity& identity, const GatewayEndpoint& endpoint,
                                                              const HostPort&, Bytes server_certificate) {
  EXPECT_FALSE(server_certificate.empty());
  EXPECT_TRUE(identity.proven);
  if (failure) co_return fail(*failure);
  users.push_back(identity.user);
  services.push_back(endpoint.config.service_principal);
  co_return crypto::Secret::copy_of(fmt::format("Negotiate token{}", ++made));
}

Result<std::string> FakeCertificates::user(Bytes der, WallTime) const {
  if (failure) return fail(*failure);
  return certificate_account(der);
}

// ---- The scene ----

struct Scene::Parts {
  Parts(Scene& scene, std::shared_ptr<TlsContext> tls)
      : ledger(scene.metrics),
        log(log_options(scene.lines)),
        decrypter(*scene.store_, *scene.vault_, crypto::make_scalar_engine(), scene.config.notification, scene.config.keys,
                  scene.metrics),
        ews(scene.config.ews, tls, scene.metrics, log),
        tokens(scene.config.oauth, scene.config.ews, tls, scene.metrics, log),
        apns(scene.config.apns, *scene.apns_tokens_, tls, scene.metrics, log),
        core{*scene.node_, 0, scene.metrics, ledger, log, decrypter, ews, tokens, apns} {
    scene.node_->cores = {&core};
  }
  Ledger ledger;
  Log log;
  Decrypter decrypter;
  EwsClient ews;
  TokenClient tokens;
  ApnsSender apns;
  Core core;
};

Scene::Scene(SceneOptions o) : options(std::move(o)), fixture(options.wire) {}
Scene::~Scene() = default;

void Scene::run(const Flow& flow, SceneOptions options) {
  Scene scene(std::move(options));
  test::run_on_cores(1, [&](unsigned) { return scene.live(flow); });
}

void Scene::make_tls() {
  set_tls_clock(&io::wall_now);
  std::string names[] = {std::string(kServerName)}, addresses[] = {"127.0.0.1"};
  auto own = make_self_signed(names, addresses, valid_now());
  auto authority = make_authority("users", valid_now());
  BH_CHECK(own && authority);
  server_certificate = *std::move(own);
  client_authority = *std::move(authority);
  std::string complaint;
  TlsServerOptions server{.chain = {"chain", server_certificate.chain_pem}, .key = {"key", server_certificate.key_pem}, .alpn = {"http/1.1"}};
  exchange_tls_ = *TlsContext::server(server, complaint);
  if (options.wire == Wire::http1 && options.client_auth == TlsClientAuth::none) return;
  server.alpn = {"h2", "http/1.1"};
  server.client_auth = options.client_auth;
  TlsFile file{"users", client_authority.chain_pem};
  if (options.client_auth != TlsClientAuth::none) server.client_authorities = *TlsAuthorities::parse(std::span(&file, 1), complaint);
  fixture.server_tls = *TlsContext::server(server, complaint);
  fixture.client_tls = client_context(server_certificate.chain_pem, {options.wire == Wire::http2 ? "h2" : "http/1.1"});
}

Task<void> Scene::start() {
  make_tls();
  config.public_url = "https://push.example.test";
  config.tenants.push_back({.id = std::string(kTenant), .name = "Acme", .ews_hosts = {"mail.example.test"}});
  config.gateway.domains = {{.name = "example.com", .netbios = "EXAMPLE", .aliases = {"example.net"}}};
  std::string pin = "sha256/" + to_base64(*spki_pin(server_certificate.chain_pem));
  GatewayEndpointConfig endpoint_config{.upstream = fmt::format("https://127.0.0.1:{}", exchange_port), .spki_pins = {pin}};
  config.gateway.routes = {{.hosts = {"x.example.com"}, .tenant = std::string(kTenant), .default_domain = "example.com",
                            .ews = endpoint_config, .activesync = endpoint_config}};
  config.policy.enabled = options.policy;
  if (options.configure) options.configure(config, *this);
  store_ = store::MemoryStore::create();
  keyring_ = crypto::Keyring::parse(crypto::make_keyring()).value();
  auto vault = co_await Vault::open(*keyring_, *store_);
  BH_CHECK(vault);
  vault_.emplace(*std::move(vault));
  std::string complaint;
  apns_tokens_ = ApnsProviderTokens::make(config, *store_, *vault_, complaint).value();
  node_.emplace(std::make_shared<Generation>(1, config, Tenants::make(config).value()), *store_, *vault_, *apns_tokens_);
  compliance = std::make_unique<Compliance>(*store_, *vault_);
  compliance->set_tenants({std::string(kTenant)});
  BH_CHECK(co_await compliance->load());
  policy = std::make_unique<Policy>(*compliance, PolicyRules::make(config, *vault_));
  parts_ = std::make_unique<Parts>(*this, client_context(server_certificate.chain_pem, {"http/1.1"}));
  keys = std::make_shared<const GatewayKeys>(*keyring_);
  gateway = std::make_unique<Gateway>(
      Gateway::Parts{.core = parts_->core,
                     .policy = options.policy ? policy.get() : nullptr,
                     .compliance = options.policy ? compliance.get() : nullptr,
                     .authenticator = &authenticator,
                     .certificates = &certificates},
      GatewaySettings{routes(), keys});
}

std::shared_ptr<const GatewayRoutes> Scene::routes() const {
  std::string complaint;
  auto made = GatewayRoutes::make(config, complaint);
  EXPECT_TRUE(made) << complaint;
  return made.value();
}

void Scene::reload(std::function<void(Config&)> change) {
  change(config);
  gateway->take({.routes = routes(), .keys = nullptr});
}

void Scene::next_generation() {
  uint64_t number = parts_->core.generations.now().number + 1;
  parts_->core.generations.become(std::make_shared<Generation>(number, config, Tenants::make(config).value()));
  compliance->note_change();
}

void Scene::stop_work() { parts_->core.work.request_stop(); }

void Scene::reload_policy(std::function<void(Config&)> change) {
  change(config);
  policy->renew(PolicyRules::make(config, *vault_));
  compliance->note_change();
}

Task<void> Scene::live(const Flow& flow) {
  auto exchange_handle = io::open_listener(test::loopback()), second_handle = io::open_listener(test::loopback()),
       handle = io::open_listener(test::loopback());
  CO_ASSERT(exchange_handle && second_handle && handle);
  exchange_port = io::local_address(*exchange_handle)->port;
  second_port = io::local_address(*second_handle)->port;
  endpoint = test::endpoint_of(*handle, test::loopback());
  co_await start();
  HttpServer exchange_server(exchange, fixture.limits, exchange_tls_);
  HttpServer server(*gateway, fixture.limits, fixture.server_tls);
  TaskScope scope(&co_await current_context()), watching(&co_await current_context());
  scope.spawn(exchange_server.run(*exchange_handle));
  scope.spawn(exchange_server.run(*second_handle));
  scope.spawn(server.run(*handle));
  watching.spawn(gateway->watch());
  co_await flow(*this);
  server.drain();
  exchange_server.drain();
  parts_->core.work.request_stop();
  co_await scope.join();
  watching.request_stop();
  co_await watching.join();
  EXPECT_EQ(gateway->requests_in_work(), 0u);
  co_await gateway->close();
  EXPECT_EQ(metrics.value(metric::connections, ConnectionKind::gateway_upstream), 0u);
  EXPECT_EQ(metrics.value(metric::gateway_requests_parked), 0u);
  co_await parts_->ews.close();
  co_await parts_->tokens.close();
  co_await parts_->apns.close();
  gateway.reset();
  parts_.reset();
  EXPECT_TRUE(co_await store_->leave_core());
}

Task<Peer::Answer> Scene::ask(Ask ask) { return ask_alone(fixture, endpoint, std::move(ask)); }

Task<std::string> Scene::raw(std::string bytes) {
  auto peer = co_await open();
  if (!peer) co_return std::string("no connection");
  (void)co_await peer->send(std::move(bytes));
  (void)co_await peer->read_answers(1);
  std::string received = peer->received;
  co_await peer->close();
  co_return received;
}

Task<std::string> Scene::raw_as(std::string user, std::string bytes) {
  auto socket = co_await within(20s, connect(endpoint));
  if (!socket) co_return std::string("no connection");
  auto context = client_context(server_certificate.chain_pem, {"http/1.1"});
  std::unique_ptr<TlsEngine> engine;
  std::optional<TlsOwnIdentity> own;
  TlsIdentity identity;
  if (!user.empty()) {
    auto issued = issue_client_certificate(client_authority, {.account = user, .validity = valid_now()});
    BH_CHECK(issued);
    std::string complaint;
    auto read = TlsOwnIdentity::read({"chain", issued->chain_pem}, {"key", issued->key_pem}, complaint);
    BH_CHECK(read);
    own.emplace(*std::move(read));
    identity = own->view();
  }
  engine = std::make_unique<TlsEngine>(context, kServerName, user.empty() ? nullptr : &identity);
  Stream stream(*std::move(socket), std::move(engine));
  if (!co_await within(20s, stream.handshake())) co_return std::string("no handshake");
  (void)co_await within(20s, stream.write(as_bytes(bytes)));
  std::string received;
  while (received.find("\r\n\r\n") == std::string::npos) {
    {
      Block block;
      size_t size = stream.read(block.all());
      block.used(size);
      received += as_text(block.all().first(size));
      if (size > 0) continue;
    }
    auto more = co_await within(20s, stream.wait_input());
    if (!more || !*more) break;
  }
  co_await stream.close(Duration::zero());
  co_return received;
}

Task<void> Scene::allow(std::string device, std::string account) {
  ComplianceLine line{.device_id = std::move(device), .managed = Known::yes};
  if (!account.empty()) line.account = std::move(account);
  std::vector<ComplianceLine> lines_of_devices;
  lines_of_devices.push_back(std::move(line));
  EXPECT_TRUE(co_await compliance->update(std::string(kTenant), std::move(lines_of_devices)));
}

Task<void> Scene::hold(std::string device, ComplianceHold hold) {
  EXPECT_TRUE(co_await compliance->set_hold(std::string(kTenant), compliance_key(device), hold));
}

Task<void> Scene::look() {
  uint64_t changes = compliance->changes();
  while (gateway->acted_on() < changes) EXPECT_TRUE(co_await sleep_for(1ms));
}

// ---- Requests ----

std::string basic(std::string_view user, std::string_view password) {
  return "Basic " + to_base64(as_bytes(fmt::format("{}:{}", user, password)));
}

std::string bearer(std::string_view claims) {
  auto part = [](std::string_view text) { return to_base64url(as_bytes(text)); };
  return fmt::format("Bearer {}.{}.{}", part(R"({"alg":"RS256"})"), part(claims), part("signature"));
}

std::string soap(std::string_view operation, std::string_view headers, std::string_view content) {
  return fmt::format(
      R"(<?xml version="1.0" encoding="utf-8"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" )"
      R"(xmlns:t="http://schemas.microsoft.com/exchange/services/2006/types" )"
      R"(xmlns:m="http://schemas.microsoft.com/exchange/services/2006/messages"><s:Header>{}</s:Header><s:Body>)"
      R"(<m:{}>{}</m:{}></s:Body></s:Envelope>)",
      headers, operation, content, operation);
}

Ask ews(std::string_view authorization, const std::string& body) {
  Ask ask{.method = "POST", .target = kEws, .body = body, .fields = {{"Content-Type", "text/xml; charset=utf-8"}}};
  if (!authorization.empty()) ask.fields.emplace_back("Authorization", authorization);
  return ask;
}

std::string wbxml(proto::ActiveSyncCommand command, size_t more) {
  std::string root;
  switch (command) {
    case proto::ActiveSyncCommand::sync: root = "\x45"; break;
    case proto::ActiveSyncCommand::ping: root = std::string("\x00\x0d\x45", 3); break;
    case proto::ActiveSyncCommand::provision: root = std::string("\x00\x0e\x45", 3); break;
    case proto::ActiveSyncCommand::folder_sync: root = std::string("\x00\x07\x56", 3); break;
    case proto::ActiveSyncCommand::send_mail: root = std::string("\x00\x15\x45", 3); break;
    case proto::ActiveSyncCommand::smart_forward: root = std::string("\x00\x15\x46", 3); break;
    case proto::ActiveSyncCommand::smart_reply: root = std::string("\x00\x15\x47", 3); break;
    default: ADD_FAILURE() << "no such root here";
  }
  return std::string("\x03\x01\x6a\x00", 4) + root + std::string(more, '\x01') + "\x01";
}

std::string activesync_target(std::string_view command, std::string_view user, std::string_view device) {
  return fmt::format("{}?Cmd={}&User={}&DeviceId={}&DeviceType=iPhone", kActiveSync, command, user, device);
}

Ask activesync(std::string_view authorization, const std::string& target, const std::string& body) {
  Ask ask{.method = "POST", .target = target, .body = body,
          .fields = {{"MS-ASProtocolVersion", "14.1"}, {"User-Agent", "Apple-iPhone8C4/1504.100"}}};
  if (!body.empty()) ask.fields.emplace_back("Content-Type", "application/vnd.ms-sync.wbxml");
  if (!authorization.empty()) ask.fields.emplace_back("Authorization", authorization);
  return ask;
}

}  // namespace bellhop::service::gateway_test
