// SPDX-License-Identifier: Apache-2.0
#include "tests/service/device_api_fixture.h"

#include "core/cross_core.h"
#include "core/tls/identity.h"
#include "proto/json_writer.h"
#include "tools/standin/client_bundle.h"

namespace bellhop::service::device_api_test {
namespace {

constexpr std::string_view kHost = "127.0.0.1";

struct Collected final : BodySink {
  std::string text;
  Status on_body(Bytes piece) override {
    text += as_text(piece);
    return {};
  }
};

// Making one takes a quarter of a second: the test program has a few and uses them again.
const crypto::RsaPrivateKey& rsa_key(size_t index) {
  static std::vector<std::unique_ptr<crypto::RsaPrivateKey>> keys;
  while (keys.size() <= index) {
    auto key = crypto::RsaPrivateKey::generate();
    BH_CHECK(key);
    keys.push_back(std::make_unique<crypto::RsaPrivateKey>(*std::move(key)));
  }
  return *keys[index];
}

class FakeExchange final : public HttpExchange {
 public:
  explicit FakeExchange(const Asked& asked) : asked_(asked), headers_(proto::HeaderBlock::Limits{}) {
    (void)headers_.add("host", "push.example.test");
    if (asked.token) (void)headers_.add("ApiToken", *asked.token);
  }
  proto::HttpMethod method() const override {
    if (asked_.method == "GET") return proto::HttpMethod::get;
    return asked_.method == "POST" ? proto::HttpMethod::post : proto::HttpMethod::put;
  }
  std::string_view target() const override { return asked_.path; }
  const proto::HeaderBlock& headers() const override { return headers_; }
  Task<Status> read_body(uint64_t bytes_max, BodySink& sink) override {
    if (asked_.body.size() > bytes_max) co_return fail(proto::http_error(proto::HttpError::body_too_large));
    // In two pieces, as a network might.
    std::string_view body = asked_.body;
    BH_CO_CHECKED(sink.on_body(as_bytes(body.substr(0, body.size() / 2))));
    BH_CO_CHECKED(sink.on_body(as_bytes(body.substr(body.size() / 2))));
    co_return Status();
  }
  Task<Status> respond(const HttpResponse& response) override {
    BH_CHECK(!responded_);
    responded_ = true;
    answered.status = response.status;
    answered.content_type = response.content_type;
    answered.body = response.body;
    answered.close = response.close;
    for (const proto::HeaderField& field : response.headers) answered.headers[std::string(field.name)] = field.value;
    co_return Status();
  }
  bool responded() const override { return responded_; }
  Task<Result<SocketAddress>> peer_address() override {
    co_return SocketAddress{.ip = *IpAddress::parse(asked_.address), .port = 40'000};
  }

  Answered answered;

 private:
  const Asked& asked_;
  proto::HeaderBlock headers_;
  bool responded_ = false;
};

std::shared_ptr<TlsContext> client_of(const Bed& bed, const char* alpn) {
  std::string complaint;
  TlsFile file{"test.pem", bed.certificate.chain_pem};
  auto authorities = TlsAuthorities::parse(std::span(&file, 1), complaint);
  BH_CHECK(authorities);
  auto context = TlsContext::client({.authorities = *authorities, .alpn = {alpn}}, complaint);
  BH_CHECK(context);
  return *context;
}

LogOptions log_options(std::string& lines, unsigned core) {
  LogOptions options;
  options.sink = {[](void* text, std::string_view line) { *static_cast<std::string*>(text) += line; }, &lines};
  options.wall_now = &io::wall_now;
  options.core = core;
  options.level = LogLevel::debug;
  return options;
}

Task<Status> wait_event(Event& event) {
  co_return co_await event.wait();
}

}  // namespace

// ---- Exchange ----

Task<void> FakeExchangeServer::handle(HttpExchange& exchange) {
  ++requests;
  Collected body;
  if (!co_await exchange.read_body(1 << 20, body)) co_return;
  proto::EwsRequestReader reader(7);
  Status fed = reader.feed(body.text);
  Result<const proto::EwsRequest*> request = reader.finish();
  if (!fed || !request) {
    ADD_FAILURE() << "Exchange cannot read what it was sent";
    co_return;
  }
  mailboxes.emplace_back((*request)->mailbox);
  std::string authorization(exchange.headers().find("authorization").value_or(""));
  if (authorization.starts_with("Bearer ")) {
    auto token = token_key ? token_key->read(std::string_view(authorization).substr(7)) : std::nullopt;
    bool good = token && standin::token_valid(*token, io::wall_now());
    if (good && claims_asked == 0) {
      co_await answer(exchange, **request);
      co_return;
    }
    if (good) --claims_asked;
    ++unauthorized;
    const proto::HeaderField claims[] = {
        {"www-authenticate", R"(Bearer error="insufficient_claims", claims="eyJhIjp7ImIiOjF9fQ==")"}};
    const proto::HeaderField invalid[] = {{"www-authenticate", R"(Bearer error="invalid_token")"}};
    HttpResponse refusal{.status = 401};
    refusal.headers = good ? std::span<const proto::HeaderField>(claims) : std::span<const proto::HeaderField>(invalid);
    (void)co_await exchange.respond(refusal);
    co_return;
  }
  bool by_certificate = certificate_account(exchange.peer_certificate()) == kAddress;
  certified += by_certificate;
  if (authorization.empty() && by_certificate) {
    co_await answer(exchange, **request);
    co_return;
  }
  if (certificate_required && !by_certificate) authorization.clear();
  auto decoded = from_base64(std::string_view(authorization).substr(std::min<size_t>(6, authorization.size())));
  if (!decoded || !as_text(*decoded).ends_with(":" + std::string(kPassword))) {
    ++unauthorized;
    constexpr proto::HeaderField kChallenge[] = {{"www-authenticate", "Basic realm=\"test\""}};
    (void)co_await exchange.respond({.status = 401, .headers = kChallenge});
    co_return;
  }
  co_await answer(exchange, **request);
}

Task<void> FakeExchangeServer::answer(HttpExchange& exchange, const proto::EwsRequest& request) {
  bool subscribe = request.kind == proto::EwsRequestKind::subscribe;
  if (subscribe) {
    ++subscribes;
    callback_urls.emplace_back(request.url);
    arrived.set();
    if (hold) (void)co_await wait_event(*hold);
    if (before_answer) co_await before_answer(std::string(request.url));
  } else {
    ++verifies;
    if (hold_verifies) {
      arrived.set();
      (void)co_await wait_event(*hold_verifies);
    }
  }
  if (mood == Mood::broken || mood == Mood::busy) {
    constexpr proto::HeaderField kRetry[] = {{"retry-after", "17"}};
    HttpResponse response{.status = uint16_t(mood == Mood::busy ? 503 : 500)};
    if (mood == Mood::busy) response.headers = kRetry;
    (void)co_await exchange.respond(response);
    co_return;
  }
  if (mood == Mood::garbage) {
    (void)co_await exchange.respond({.content_type = "text/html", .body = "<html><p>hello</html>"});
    co_return;
  }
  std::string id = "subscription-" + std::to_string(subscribes);
  proto::EwsResponseMessage message{.total_items = 0, .includes_last = true};
  if (mood == Mood::refusing) {
    message.response_class = proto::ResponseClass::error;
    message.code = proto::EwsResponseCode::invalid_push_subscription_url;
    message.code_text = proto::response_code_text(message.code);
    message.message_text = "no";
  } else if (subscribe) {
    message.subscription_id = id;
    message.watermark = "AQAAAA==";
  }
  proto::EwsAnswer answer{.kind = subscribe ? proto::EwsAnswerKind::subscribe : proto::EwsAnswerKind::find_item};
  answer.messages = std::span(&message, 1);
  std::string text;
  proto::write_answer(answer, text);
  (void)co_await exchange.respond({.content_type = "text/xml; charset=utf-8", .body = text});
}

// ---- Requests ----

std::string Answered::text(std::string_view name) const {
  auto document = proto::JsonDocument::parse(body);
  if (!document) return {};
  auto value = document->root().string(name);
  return value && *value ? std::string(**value) : std::string();
}

Fields& Fields::set(const std::string& name, std::string_view text) {
  std::string json;
  proto::append_json_string(json, text);
  return set_raw(name, std::move(json));
}

std::string Fields::json() const {
  std::string text;
  proto::JsonWriter writer(text);
  writer.begin_object();
  for (const auto& [name, value] : raw) writer.name(name).raw(value);
  writer.end_object();
  return text;
}

// ---- The bed ----

Bed::Bed(BedOptions o) : options(std::move(o)) {}
Bed::~Bed() = default;

void Bed::start_tokens(TenantConfig& tenant) {
  standin::TokenEndpointOptions endpoint;
  endpoint.listen = test::loopback().tcp;
  endpoint.certificate_pem = certificate.chain_pem;
  endpoint.key_pem = certificate.key_pem;
  endpoint.name = kHost;
  endpoint.key = standin::TokenKey::random();
  std::string complaint;
  tokens = standin::TokenEndpoint::make(std::move(endpoint), complaint).value();
  exchange.token_key = tokens->options().key;
  tenant.oauth_token_hosts = {std::string(kHost), "10.1.2.3", "*.example.test"};
  tenant.oauth_token_ports = {tokens->address().port};
}

Task<bool> Bed::start() {
  set_tls_clock(&io::wall_now);
  WallTime now = io::wall_now();
  std::string addresses[] = {std::string(kHost)};
  auto signed_by_itself = make_self_signed({}, addresses, {now - 24h, now + 24h * 90});
  BH_CHECK(signed_by_itself);
  certificate = *std::move(signed_by_itself);
  auto issuer = make_authority("users", {io::wall_now() - 1h, io::wall_now() + 1h});
  BH_CHECK(issuer);
  client_authority = *std::move(issuer);
  auto listener = io::open_listener(test::loopback());
  BH_CHECK(listener);
  ews_listener = *listener;
  uint16_t port = io::local_address(ews_listener)->port;
  ews_url = "https://" + std::string(kHost) + ":" + std::to_string(port) + "/EWS/Exchange.asmx";

  config.public_url = "https://push.example.test";
  TenantConfig& tenant = config.tenants.emplace_back();
  tenant.id = kTenant;
  tenant.ews_hosts = {std::string(kHost), "10.1.2.3", "169.254.169.254", "*.example.test"};
  tenant.ews_ports = {port};
  tenant.ews_private_cidrs = {{.address = {127}, .bits = 8}};
  tenant.ens2_credentials = options.ens2_credentials;
  if (options.oauth) start_tokens(tenant);
  tenant.apps = {{.topic = "com.example.mail"}, {.topic = "com.example.beta", .environment = ApnsEnvironment::sandbox}};
  if (options.configure) options.configure(config);

  store = store::MemoryStore::create(options.store_bytes_max);
  tenants = Tenants::make(config).value();
  keyring = crypto::Keyring::parse(crypto::make_keyring()).value();
  auto opened = co_await Vault::open(*keyring, *store);
  BH_CHECK(opened);
  vault.emplace(*std::move(opened));
  std::string complaint;
  apns_tokens = ApnsProviderTokens::make(config_without_apps, *store, *vault, complaint).value();
  node.emplace(std::make_shared<Generation>(1, config, Tenants::make(config).value()), *store, *vault, *apns_tokens);
  node->cores.resize(io::cores());
  parts.resize(io::cores());
  node->ready = true;
  for (unsigned core = 0; core < io::cores(); ++core) shards.push_back(std::make_unique<MetricsShard>());
  for (size_t i = 0; i < options.pool_keys; ++i) {
    const crypto::RsaPrivateKey& key = rsa_key(i);
    store::KeyRecord record{.id = Vault::key_id(key.public_key().id()), .created = now};
    record.public_key = key.public_key().spki();
    record.sealed_private_key = vault->seal_private_key(key);
    BH_CHECK(co_await store->add_pool_key(record));
  }
  co_await add_token(kToken, kTenant, store::TokenScope::device, 1);
  co_return true;
}

Task<void> Bed::add_token(std::string_view text, std::string_view tenant, store::TokenScope scope, uint8_t id) {
  store::TokenRecord record{.tenant = std::string(tenant), .scope = scope, .created = io::wall_now()};
  record.id.bytes[0] = id;
  EXPECT_TRUE(co_await store->add_token(vault->token_hash(text), record));
}

Task<store::Counts> Bed::counts() {
  Result<store::Counts> counts = co_await store->counts();
  BH_CHECK(counts);
  co_return *counts;
}

BedCore::BedCore(Bed& b, unsigned index)
    : bed(b),
      metrics(*b.shards[index]),
      ledger(metrics),
      log(log_options(lines, index)),
      decrypter(*b.store, *b.vault, crypto::make_scalar_engine(), b.config.notification, b.config.keys, metrics),
      ews(b.config.ews, client_of(b, "http/1.1"), metrics, log),
      tokens(b.config.oauth, b.config.ews, client_of(b, "http/1.1"), metrics, log),
      autodiscover(b.config.autodiscover, b.config.ews, client_of(b, "http/1.1"), *b.vault, *b.store, metrics, log),
      apns(b.config.apns, *b.apns_tokens, client_of(b, "h2"), metrics, log),
      core{*b.node, index, metrics, ledger, log, decrypter, ews, tokens, apns} {
  mailboxes.emplace(core);
  core.mailboxes = &*mailboxes;
  supervision.emplace(core);
  core.supervision = &*supervision;
  core.autodiscover = &autodiscover;
  api.emplace(core);
  b.node->cores[index] = &core;
  b.parts[index] = this;
}

Task<void> BedCore::close() {
  co_await supervision->close();
  co_await mailboxes->close();
  co_await ews.close();
  co_await tokens.close();
  co_await apns.close();
  EXPECT_TRUE(co_await bed.store->leave_core());
}

Task<Answered> BedCore::ask(Asked asked) {
  FakeExchange exchange(asked);
  co_await api->handle(exchange);
  EXPECT_TRUE(exchange.responded()) << asked.path;
  co_return std::move(exchange.answered);
}

// ---- The phone ----

store::StoredUserId Phone::stored_user() const {
  return core.bed.vault->user_id(kTenant, crypto::user_id_of_address(address));
}

Task<bool> Phone::fetch_key() {
  Answered answer = co_await core.post("getpublickey", Fields().set("userId", user_id()).json());
  EXPECT_EQ(answer.status, 200) << answer.body;
  auto der = from_base64(answer.text("publicKey"));
  if (!der) co_return false;
  auto parsed = crypto::RsaPublicKey::from_spki(*der);
  if (!parsed) co_return false;
  key = *std::move(parsed);
  key_id = answer.text("keyId");
  co_return true;
}

std::string Phone::credentials(std::string_view password, std::string_view username) const {
  crypto::CredentialRecord record{
      .address = crypto::Secret::copy_of(address),
      .logon = crypto::BasicCredentials{crypto::Secret::copy_of(username), crypto::Secret::copy_of(password)}};
  crypto::Secret json = crypto::write_credential_record(record, device_id, io::wall_now());
  return crypto::jwe_encrypt(*key, json.reveal()).value();
}

Fields Phone::identity() const {
  Fields fields;
  fields.set("userId", user_id()).set("deviceId", device_id);
  if (!secret.empty()) fields.set("deviceSecret", secret);
  return fields;
}

Fields Phone::subscribe_fields(std::string_view password) const {
  Fields fields = identity();
  fields.set("keyId", key_id)
      .set("credentials", credentials(password))
      .set("ewsUrl", core.bed.ews_url)
      .set("platform", "apns")
      .set("pushToken", kPushToken)
      .set("topic", "com.example.mail");
  return fields;
}

Fields Phone::oauth_fields(std::string_view refresh_token, std::string_view endpoint) const {
  const standin::TokenEndpoint& tokens = *core.bed.tokens;
  std::string url = endpoint.empty() ? tokens.url() : std::string(endpoint);
  crypto::CredentialRecord record{
      .address = crypto::Secret::copy_of(address),
      .logon = crypto::OauthCredentials{.refresh_token = crypto::Secret::copy_of(refresh_token),
                                        .token_endpoint = crypto::Secret::copy_of(url),
                                        .client_id = crypto::Secret::copy_of(tokens.options().client_id),
                                        .scope = crypto::Secret::copy_of(tokens.options().scope),
                                        .access_token = crypto::Secret()}};
  crypto::Secret json = crypto::write_credential_record(record, device_id, io::wall_now());
  return subscribe_fields().set("credentials", crypto::jwe_encrypt(*key, json.reveal()).value());
}

Fields Phone::certificate_fields(Bytes pkcs12, std::string_view password, bool dual) const {
  using crypto::Secret;
  crypto::CertificateCredentials certificate{
      .pkcs12 = Secret::copy_of(pkcs12), .password = Secret::copy_of(password), .opened = {}};
  crypto::CredentialRecord record{.address = Secret::copy_of(address)};
  if (dual) {
    record.logon = crypto::DualCredentials{{Secret::copy_of(kUsername), Secret::copy_of(device_api_test::kPassword)},
                                           std::move(certificate)};
  } else {
    record.logon = std::move(certificate);
  }
  Secret json = crypto::write_credential_record(record, device_id, io::wall_now());
  return subscribe_fields().set("credentials", crypto::jwe_encrypt(*key, json.reveal()).value());
}

crypto::Secret Phone::pkcs12(std::string_view password, unsigned iterations) const {
  return standin::make_client_bundle(core.bed.client_authority, address, password, io::wall_now(), iterations).value();
}

Task<Answered> Phone::send(Fields fields) {
  Answered answer = co_await core.post("subscribe", fields.json());
  if (std::string given = answer.text("deviceSecret"); !given.empty()) secret = given;
  co_return answer;
}

Task<Answered> Phone::subscribe(std::string_view password) {
  co_return co_await send(subscribe_fields(password));
}

Task<store::UserRecord> Phone::stored() {
  Result<store::UserRecord> user = co_await core.bed.store->read_user(stored_user());
  EXPECT_TRUE(user);
  co_return user ? *user : store::UserRecord();
}

// ---- What Exchange was told to call ----

CallbackUrl parse_callback(const std::string& url) {
  CallbackUrl parsed;
  std::string_view rest = url;
  std::string_view start = "https://push.example.test/notify?id=";
  EXPECT_TRUE(rest.starts_with(start)) << url;
  EXPECT_LT(url.size(), 2083u);
  if (!rest.starts_with(start)) return parsed;
  rest.remove_prefix(start.size());
  parsed.capability = crypto::Capability::from_text(rest.substr(0, 22));
  EXPECT_TRUE(rest.substr(22).starts_with("&creds="));
  parsed.creds = from_base64url(rest.substr(29)).value_or(std::vector<uint8_t>());
  return parsed;
}

store::CapabilityHash capability_of(const std::string& url) {
  return Vault::capability_hash(parse_callback(url).capability.value());
}

Task<store::Route> route_of(Bed& bed, std::string url) {
  store::Route route;
  EXPECT_TRUE(co_await bed.store->read_route(capability_of(url), route));
  co_return route;
}

Task<void> call_back(Bed& bed, std::string url, std::string exchange_id) {
  EXPECT_TRUE(
      co_await bed.store->activate_subscription(capability_of(url), exchange_id, store::SubscriptionState::active));
}

// ---- Running ----

namespace {

struct Cluster {
  Bed bed;
  std::function<Task<void>(BedCore&)> flow;
  Event made, done, left;
  unsigned cores_made = 0, cores_left = 0;

  Task<bool> arrive(Event& event, unsigned& count) {
    if (++count == io::cores()) event.set();
    co_return (co_await wait_event(event)).has_value();
  }
  Task<bool> wait_done() { co_return (co_await wait_event(done)).has_value(); }
  Task<bool> started(Event& event) { co_return (co_await wait_event(event)).has_value(); }
};

Task<void> run_core(Cluster& cluster, Event& started, unsigned index) {
  if (index == 0) {
    BH_CHECK(co_await cluster.bed.start());
    started.set();
  }
  co_await on_core(0, [&] { return cluster.started(started); });
  BedCore core(cluster.bed, index);
  co_await on_core(0, [&] { return cluster.arrive(cluster.made, cluster.cores_made); });
  if (index == 0) {
    std::string complaint;
    TlsFile users{"users.pem", cluster.bed.client_authority.chain_pem};
    auto authorities = TlsAuthorities::parse({&users, 1}, complaint);
    BH_CHECK(authorities);
    auto tls = TlsContext::server({.chain = {"chain.pem", cluster.bed.certificate.chain_pem},
                                   .key = {"key.pem", cluster.bed.certificate.key_pem},
                                   .alpn = {"http/1.1"},
                                   .client_auth = TlsClientAuth::optional,
                                   .client_authorities = *authorities},
                                  complaint);
    BH_CHECK(tls);
    HttpServer server(cluster.bed.exchange, {}, *tls);
    TaskScope serving(&co_await current_context());
    serving.spawn(server.run(cluster.bed.ews_listener));
    if (cluster.bed.tokens) serving.spawn(cluster.bed.tokens->run());
    co_await cluster.flow(core);
    cluster.done.set();
    co_await on_core(0, [&] { return cluster.arrive(cluster.left, cluster.cores_left); });
    co_await core.close();
    server.drain();
    if (cluster.bed.tokens) co_await cluster.bed.tokens->stop();
    co_await serving.join();
    cluster.bed.tokens.reset();
  } else {
    co_await on_core(0, [&] { return cluster.wait_done(); });
    co_await on_core(0, [&] { return cluster.arrive(cluster.left, cluster.cores_left); });
    co_await core.close();
  }
}

}  // namespace

void run_bed(BedOptions options, const std::function<Task<void>(BedCore&)>& flow, unsigned cores) {
  Cluster cluster{.bed = Bed(std::move(options)), .flow = flow};
  Event started;
  test::run_on_cores(cores, [&](unsigned index) { return run_core(cluster, started, index); });
}

}  // namespace bellhop::service::device_api_test
