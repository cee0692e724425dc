// SPDX-License-Identifier: Apache-2.0
#include <cstdlib>

#include "core/cross_core.h"
#include "crypto/envelope.h"
#include "proto/http_error.h"
#include "service/journal.h"
#include "store/memory/memory_store.h"
#include "tests/notification/scene.h"

namespace bellhop::service {
namespace {

constexpr std::string_view kEwsUrl = "https://mail.example.com/EWS/Exchange.asmx";

// Made when first asked for: one takes a quarter of a second.
const crypto::RsaPrivateKey& test_key(size_t number) {
  static std::vector<std::unique_ptr<crypto::RsaPrivateKey>> keys;
  while (keys.size() <= number) {
    auto key = crypto::RsaPrivateKey::generate();
    BH_CHECK(key);
    keys.push_back(std::make_unique<crypto::RsaPrivateKey>(*std::move(key)));
  }
  return *keys[number];
}

LogOptions log_options(Scene& scene, MetricsShard& metrics, unsigned core) {
  return {.sink = {.write = [](void* lines, std::string_view line) { static_cast<std::string*>(lines)->append(line); },
                   .context = &scene.log_lines},
          .wall_now = &io::wall_now,
          .metrics = &metrics,
          .level = LogLevel::debug,
          .core = core};
}

}  // namespace

// ---- SceneStore ----

struct SceneStore::Disk final : store::Engine {
  std::unique_ptr<store::MemoryStore> tables = store::MemoryStore::create();
  bool taken = false;
  std::optional<unsigned> commits_left;

  Status read(store::FunctionRef<Status(store::ReadView&)> f) override { return tables->engine().read(f); }
  Status write(store::FunctionRef<Status(store::WriteView&)> f) override {
    if (commits_left && (*commits_left)-- == 0) taken = true;
    if (taken) return fail(store::store_error(store::StoreError::closed));
    return tables->engine().write(f);
  }
  Result<store::FileUse> file_use() override { return tables->engine().file_use(); }
};

SceneStore::SceneStore(std::unique_ptr<Disk> disk) : TableStore(std::move(disk)) {
  disk_ = static_cast<Disk*>(&engine());
}
std::unique_ptr<SceneStore> SceneStore::create() {
  return std::unique_ptr<SceneStore>(new SceneStore(std::make_unique<Disk>()));
}
void SceneStore::take_disk() {
  disk_->taken = true;
}
void SceneStore::take_disk_after(unsigned commits) {
  disk_->commits_left = commits;
}
void SceneStore::bring_disk() {
  disk_->taken = false;
  disk_->commits_left.reset();
}
uint64_t SceneStore::journal_rows() {
  uint64_t rows = 0;
  BH_CHECK(disk_->read([&](store::ReadView& view) -> Status {
    BH_TRY(rows, view.count(store::Table::journal));
    return {};
  }));
  return rows;
}

// ---- FakeHttpExchange ----

Task<Status> FakeHttpExchange::read_body(uint64_t bytes_max, BodySink& sink) {
  BH_CHECK(!body_read);
  body_read = true;
  if (body_gate) BH_CO_CHECKED(co_await body_gate->wait());
  std::string_view rest = body_;
  if (body_error) rest = rest.substr(0, rest.size() / 2);
  uint64_t seen = 0;
  while (!rest.empty()) {
    std::string_view piece = rest.substr(0, piece_bytes);
    rest.remove_prefix(piece.size());
    seen += piece.size();
    if (seen > bytes_max) co_return fail(proto::http_error(proto::HttpError::body_too_large));
    BH_CO_CHECKED(sink.on_body(as_bytes(piece)));
  }
  if (body_error) co_return fail(*body_error);
  co_return Status();
}

Task<Status> FakeHttpExchange::respond(const HttpResponse& response) {
  ++answers;
  status = response.status;
  content_type = response.content_type;
  body = response.body;
  closed = response.close;
  for (const proto::HeaderField& field : response.headers) {
    if (field.name == "retry-after") retry_after = field.value;
  }
  co_return Status();
}

Task<Result<SocketAddress>> FakeHttpExchange::peer_address() {
  co_return SocketAddress{.ip = *IpAddress::parse(client), .port = 40'000};
}

std::string Subscriber::target_with(std::string_view id, std::string_view creds_text) {
  return "/notify?id=" + std::string(id) + "&creds=" + std::string(creds_text);
}

// ---- Parts ----

Scene::Parts::Parts(Scene& scene, unsigned index)
    : log(log_options(scene, *metrics, index)),
      decrypter(*scene.store, *scene.vault, crypto::make_scalar_engine(), scene.config.notification, scene.config.keys,
                *metrics),
      ews(scene.config.ews, UpstreamRoutes(nullptr), *metrics, log),
      tokens(scene.config.oauth, scene.config.ews, UpstreamRoutes(nullptr), *metrics, log),
      apns(scene.config.apns, *scene.apns_tokens, UpstreamRoutes(nullptr), *metrics, log),
      core{.node = *scene.node,
           .index = index,
           .metrics = *metrics,
           .ledger = ledger,
           .log = log,
           .decrypter = decrypter,
           .ews = ews,
           .tokens = tokens,
           .apns = apns},
      mailboxes(std::make_unique<Mailboxes>(core)),
      supervision(std::make_unique<Supervision>(core)),
      handler(core) {
  core.mailboxes = mailboxes.get();
  core.supervision = supervision.get();
  registrar = std::make_unique<Registrar>(core);
  if (scene.renewal) renewal = std::make_unique<Renewal>(core);
  core.renewal = renewal.get();
}
Scene::Parts::~Parts() = default;

// ---- Scene ----

Task<void> Scene::begin() {
  reset_fakes();
  TenantConfig tenant;
  tenant.id = "acme";
  tenant.ews_hosts = {"mail.example.com"};
  tenant.oauth_token_hosts = {"login.example.com"};
  tenant.apps = {{.topic = "com.example.mail"}};
  config.tenants = {tenant};
  crypto::Secret text = crypto::make_keyring();
  keyring_text = text.reveal_text();
  auto ring = crypto::Keyring::parse(text);
  BH_CHECK(ring);
  keyring = *std::move(ring);
  auto opened = co_await Vault::open(*keyring, *store);
  BH_CHECK(opened);
  vault.emplace(*std::move(opened));
  std::string complaint;
  auto tokens = ApnsProviderTokens::make(config, *store, *vault, complaint);
  BH_CHECK(tokens);
  apns_tokens = *std::move(tokens);
}

Task<Subscriber> Scene::subscribe(std::string name, std::vector<DeviceOptions> devices, bool pending,
                                  std::string password) {
  crypto::BasicCredentials basic{.username = crypto::Secret::copy_of(name + "@example.com"),
                                 .password = crypto::Secret::copy_of(password)};
  co_return co_await subscribe_with(std::move(name), std::move(devices), pending, std::move(basic), false);
}

Task<Subscriber> Scene::subscribe_split(std::string name) {
  crypto::BasicCredentials basic{.username = crypto::Secret::copy_of(name + "@example.com"),
                                 .password = crypto::Secret::copy_of(kPassword)};
  co_return co_await subscribe_with(std::move(name), {DeviceOptions()}, false, std::move(basic), true);
}

Task<Subscriber> Scene::subscribe_oauth(std::string name) {
  crypto::OauthCredentials oauth{.refresh_token = crypto::Secret::copy_of(fake_tokens().refresh_token),
                                 .token_endpoint = crypto::Secret::copy_of(kTokenEndpoint),
                                 .client_id = crypto::Secret::copy_of("mail-app"),
                                 .scope = crypto::Secret::copy_of("EWS.AccessAsUser.All"),
                                 .access_token = crypto::Secret()};
  co_return co_await subscribe_with(std::move(name), {DeviceOptions()}, false, std::move(oauth), true);
}

void Scene::seal(const crypto::RsaPrivateKey& key, const crypto::CredentialRecord& record, bool split,
                 Subscriber& subscriber, store::SubscriptionRecord& subscription) {
  if (!split) {
    crypto::EnvelopeBinding binding{.capability = subscriber.capability,
                                    .key_id = key.public_key().id(),
                                    .ews_origin = subscription.ews_origin()};
    auto creds = crypto::envelope_seal(key.public_key(), record, binding);
    BH_CHECK(creds);
    subscriber.creds = *std::move(creds);
    return;
  }
  crypto::SplitBinding binding{
      .capability = subscriber.capability, .key_name = subscriber.key, .ews_origin = subscription.ews_origin()};
  crypto::Secret split_key = crypto::make_split_key();
  subscriber.creds = vault->split_keys().make_creds(split_key, binding);
  auto ciphertext = crypto::split_seal(split_key, record, binding);
  BH_CHECK(ciphertext);
  subscription.envelope = store::EnvelopeKind::split;
  subscription.split_ciphertext = vault->seal_split(subscriber.capability_hash, *ciphertext);
  subscription.kek = vault->split_keys().current();
}

Task<crypto::CredentialRecord> Scene::stored_record(const Subscriber& subscriber) {
  store::SubscriptionRecord subscription = co_await stored_subscription(subscriber);
  crypto::SplitBinding binding{
      .capability = subscriber.capability, .key_name = subscriber.key, .ews_origin = subscription.ews_origin()};
  auto key = vault->split_keys().open_creds(subscriber.creds, binding);
  BH_CHECK(key);
  auto ciphertext = vault->unseal_split(subscriber.capability_hash, subscription.split_ciphertext);
  BH_CHECK(ciphertext);
  auto record = crypto::split_open(*key, ciphertext->reveal(), binding);
  BH_CHECK(record);
  co_return *std::move(record);
}

Task<Subscriber> Scene::subscribe_with(std::string name, std::vector<DeviceOptions> devices, bool pending,
                                       decltype(crypto::CredentialRecord::logon) logon, bool split) {
  const crypto::RsaPrivateKey& key = test_key(keys_used_++);
  store::KeyRecord pooled{.id = Vault::key_id(key.public_key().id()),
                          .public_key = key.public_key().spki(),
                          .sealed_private_key = vault->seal_private_key(key)};
  BH_CHECK(co_await store->add_pool_key(pooled));
  std::string address = name + "@example.com";
  Subscriber subscriber;
  subscriber.user = vault->user_id("acme", crypto::user_id_of_address(address));
  auto user = co_await store->get_or_create_user(subscriber.user, "acme", io::wall_now());
  BH_CHECK(user);
  subscriber.mailbox = user->user.mailbox;
  subscriber.key = user->key.id;
  subscriber.capability = crypto::Capability::random();
  subscriber.capability_hash = Vault::capability_hash(subscriber.capability);
  subscriber.exchange_id = "subscription of " + name;

  crypto::CredentialRecord record{.address = crypto::Secret::copy_of(address), .logon = std::move(logon)};
  store::SubscriptionRecord subscription;
  subscription.ews_url = kEwsUrl;
  seal(key, record, split, subscriber, subscription);
  subscription.exchange_id = pending ? "" : subscriber.exchange_id;
  subscription.digest = store::Digest::from(crypto::creds_digest(subscriber.creds));
  subscription.state = pending ? store::SubscriptionState::pending : store::SubscriptionState::active;
  subscription.key = subscriber.key;
  subscription.created = io::wall_now();

  for (size_t i = 0; i < devices.size(); ++i) {
    store::DeviceKey device = vault->device_key(subscriber.user, "device " + std::to_string(i));
    std::string token = to_hex(crypto::sha256(name + std::to_string(i)));
    store::DeviceRecord fields{.sealed_push_token = vault->seal_push_token(subscriber.user, device, token),
                               .topic = "com.example.mail",
                               .environment = devices[i].environment,
                               .preview = devices[i].preview,
                               .state = devices[i].state,
                               .badge = devices[i].badge,
                               .proven = devices[i].proven,
                               .registered_at = io::wall_now(),
                               .created = io::wall_now()};
    store::Registration registration{
        .user = subscriber.user, .device = device, .record = fields, .subscription = {}, .now = io::wall_now()};
    if (i == 0) {
      subscription.source_device = device;
      registration.subscription = store::NewSubscription{subscriber.capability_hash, subscription};
    }
    BH_CHECK(co_await store->register_device(registration));
    subscriber.devices.push_back(device);
    subscriber.tokens.push_back(token);
  }
  if (!pending && !devices.empty()) {
    BH_CHECK(co_await store->activate_subscription(subscriber.capability_hash, subscriber.exchange_id,
                                                   store::SubscriptionState::active));
  }
  co_return subscriber;
}

Task<void> Scene::deliver(FakeHttpExchange& exchange, unsigned core) {
  co_await parts[core]->handler.handle(exchange);
}

Task<Scene::Reply> Scene::post(std::string target, std::string body, unsigned core) {
  FakeHttpExchange exchange(std::move(target), std::move(body));
  co_await deliver(exchange, core);
  EXPECT_EQ(exchange.answers, 1);
  co_return Reply{.status = exchange.status, .body = exchange.body, .closed = exchange.closed};
}

Task<Scene::Reply> Scene::mail(Subscriber& subscriber, std::vector<std::string> ids, unsigned core) {
  co_return co_await post(subscriber.target(), mail_body(subscriber, ids), core);
}
Task<Scene::Reply> Scene::heartbeat(Subscriber& subscriber) {
  co_return co_await post(subscriber.target(), heartbeat_body(subscriber));
}
Task<Scene::Reply> Scene::unread(Subscriber& subscriber, int32_t count) {
  co_return co_await post(subscriber.target(), unread_body(subscriber, count));
}

std::string Scene::body_of(Subscriber& subscriber, std::vector<proto::NotificationEvent> events, std::string previous) {
  if (previous.empty()) previous = subscriber.last_watermark.empty() ? next_watermark() : subscriber.last_watermark;
  std::vector<std::string> watermarks;
  for (size_t i = 0; i < events.size(); ++i) watermarks.push_back(next_watermark());
  for (size_t i = 0; i < events.size(); ++i) {
    events[i].watermark = watermarks[i];
    events[i].timestamp = io::wall_now();
  }
  proto::Notification notification{.response_code = proto::EwsResponseCode::no_error,
                                   .subscription_id = subscriber.exchange_id,
                                   .previous_watermark = previous,
                                   .events = events};
  proto::NotificationMessage message{.notifications = {&notification, 1}};
  std::string body;
  proto::write_send_notification(message, proto::ExchangeVersion::exchange2016, body);
  subscriber.last_watermark = watermarks.back();
  return body;
}

std::string Scene::mail_body(Subscriber& subscriber, const std::vector<std::string>& ids, std::string previous) {
  std::vector<proto::NotificationEvent> events;
  for (const std::string& id : ids) {
    events.push_back({.kind = proto::EventKind::new_mail, .item_id = id, .parent_folder_id = "inbox"});
  }
  return body_of(subscriber, events, std::move(previous));
}
std::string Scene::heartbeat_body(Subscriber& subscriber) {
  return body_of(subscriber, {{.kind = proto::EventKind::status}}, "");
}
std::string Scene::unread_body(Subscriber& subscriber, int32_t count) {
  return body_of(
      subscriber,
      {{.kind = proto::EventKind::modified, .folder_id = "inbox", .parent_folder_id = "root", .unread_count = count}},
      "");
}

// On its core.
Task<bool> Scene::open_core(unsigned core) {
  parts[core] = std::make_unique<Parts>(*this, core);
  node->cores[core] = &parts[core]->core;
  co_return true;
}

Task<bool> Scene::close_core(unsigned core) {
  Parts& closed = *parts[core];
  closed.background.request_stop();
  co_await closed.background.join();
  co_await closed.supervision->close();
  if (closed.renewal) co_await closed.renewal->close();
  co_await closed.mailboxes->close();
  EXPECT_EQ(closed.ledger.snapshot().balance(), 0);
  EXPECT_EQ(closed.ledger.snapshot().in_flight, 0u);
  EXPECT_EQ(closed.ledger.snapshot().journaled, closed.core.journal->size());
  parts[core].reset();
  co_return true;
}

Task<void> Scene::restart() {
  co_await close_all();
  co_await open_all();
}

Task<void> Scene::close_all() {
  for (unsigned core = 0; core < parts.size(); ++core) {
    co_await on_core(core, [this, core] { return close_core(core); });
  }
}

Task<void> Scene::open_all() {
  for (unsigned core = 0; core < parts.size(); ++core) {
    co_await on_core(core, [this, core] { return open_core(core); });
  }
  for (unsigned core = 0; core < parts.size(); ++core) {
    co_await on_core(core, [this, core] { return begin_journal(core); });
  }
}

// Once every core is there: each takes up what is its own.
Task<bool> Scene::begin_journal(unsigned core) {
  Parts& begun = *parts[core];
  begun.background.spawn(begun.core.journal->restore());
  begun.background.spawn(begun.core.journal->run());
  co_return true;
}

void Scene::die() {
  store->power_cut();
  store->take_disk();
}

Task<void> Scene::start_again() {
  co_await close_all();
  store->power_cut();  // hot records that could not be written
  store->bring_disk();
  co_await open_all();
}

Task<Subscriber> Scene::successor_of(const Subscriber& subscriber) {
  BH_CHECK(!fake_exchange().callback_urls.empty());
  const std::string& url = fake_exchange().callback_urls.back();
  size_t id = url.find("?id=") + 4, creds = url.find("&creds=");
  Subscriber successor = subscriber;
  successor.capability = *crypto::Capability::from_text(std::string_view(url).substr(id, creds - id));
  successor.capability_hash = Vault::capability_hash(successor.capability);
  successor.creds = *from_base64url(std::string_view(url).substr(creds + 7));
  successor.exchange_id = "successor " + std::to_string(fake_exchange().subscribes);
  successor.last_watermark.clear();
  store::Route route;
  BH_CHECK(co_await store->read_route(successor.capability_hash, route));
  if (route.kind == store::RouteKind::subscription) successor.key = route.subscription.key;
  co_return successor;
}

Task<void> Scene::add_pool_key() {
  const crypto::RsaPrivateKey& key = test_key(keys_used_++);
  store::KeyRecord pooled{.id = Vault::key_id(key.public_key().id()),
                          .created = io::wall_now(),
                          .public_key = key.public_key().spki(),
                          .sealed_private_key = vault->seal_private_key(key)};
  BH_CHECK(co_await store->add_pool_key(pooled));
}

Task<store::RouteKind> Scene::route_kind(const Subscriber& subscriber) {
  store::Route route;
  BH_CHECK(co_await store->read_route(subscriber.capability_hash, route));
  co_return route.kind;
}

Task<store::UserRecord> Scene::stored_user(const Subscriber& subscriber) {
  auto user = co_await store->read_user(subscriber.user);
  BH_CHECK(user);
  co_return *user;
}

Task<store::HotRecord> Scene::stored_hot(const Subscriber& subscriber) {
  BH_CHECK(co_await store->flush_hot());
  auto hot = co_await store->read_hot(subscriber.mailbox, subscriber.user);
  BH_CHECK(hot);
  co_return *hot;
}
Task<store::SubscriptionRecord> Scene::stored_subscription(const Subscriber& subscriber) {
  store::Route route;
  BH_CHECK(co_await store->read_route(subscriber.capability_hash, route));
  BH_CHECK(route.kind == store::RouteKind::subscription);
  co_return route.subscription;
}
Task<store::DeviceRecord> Scene::stored_device(const Subscriber& subscriber, size_t device) {
  auto record = co_await store->read_device(subscriber.user, subscriber.devices[device]);
  BH_CHECK(record);
  co_return *record;
}

LedgerSnapshot Scene::ledger() const {
  LedgerSnapshot sum;
  for (const auto& part : parts) sum += part->ledger.snapshot();
  return sum;
}
uint64_t Scene::outcomes(DeviceOutcome outcome) const {
  return ledger().device[static_cast<size_t>(outcome)];
}
uint64_t Scene::outcomes(CallbackOutcome outcome) const {
  return ledger().callback[static_cast<size_t>(outcome)];
}
uint64_t Scene::decryptions() const {
  uint64_t sum = 0;
  for (const auto& part : parts) sum += part->decrypter.batch_metrics().requests_total;
  return sum;
}

// ---- Running ----

// Core 0 sets the scene and runs the flow; the others make their parts when told and live until it has ended.
struct SceneRun {
  SceneRun(SceneFlow f, SceneOptions o) : flow(f), options(std::move(o)) {}

  SceneFlow flow;
  SceneOptions options;
  Scene scene;
  std::vector<std::unique_ptr<Event>> ended;

  Task<bool> end_core(unsigned core) {
    ended[core]->set();
    co_return true;
  }
  Task<void> run_first() {
    scene.renewal = options.renewal;
    co_await scene.begin();
    if (options.configure) options.configure(scene.config);
    auto made = Tenants::make(scene.config);
    BH_CHECK(made);
    scene.tenants = *std::move(made);
    auto tenants = Tenants::make(scene.config);
    BH_CHECK(tenants);
    scene.node.reset(new Node{.start = std::make_shared<Generation>(1, scene.config, *std::move(tenants)),
                              .store = *scene.store,
                              .vault = *scene.vault,
                              .apns_tokens = *scene.apns_tokens,
                              .cores = {}});
    scene.parts.resize(options.cores);
    scene.node->cores.resize(options.cores);
    co_await scene.open_all();
    scene.node->ready = true;
    co_await flow(scene);
    for (unsigned core = 1; core < options.cores; ++core) {
      co_await on_core(core, [this, core] { return end_core(core); });
    }
  }
  Task<void> run(unsigned core) {
    if (core == 0) {
      co_await run_first();
    } else {
      (void)co_await ended[core]->wait();
    }
    co_await scene.close_core(core);
    BH_CHECK(co_await scene.store->leave_core());
  }
};

void run_scene(SceneFlow flow, SceneOptions options) {
  auto run = std::make_unique<SceneRun>(flow, options);
  for (unsigned core = 0; core < options.cores; ++core) run->ended.push_back(std::make_unique<Event>());
  io::ClusterOptions cluster;
  cluster.cores = options.cores;
  if (const char* seed = std::getenv("BELLHOP_TEST_SEED")) cluster.seed = std::strtoull(seed, nullptr, 10);
  Status status = io::run_cluster(cluster, [&](unsigned core) { return run->run(core); });
  EXPECT_TRUE(status);
}

void have_mail(const std::string& id, FakeMail mail) {
  if (mail.received == WallTime()) mail.received = io::wall_now();
  fake_exchange().mails[id] = std::move(mail);
}
void have_mail(const std::string& id) {
  have_mail(id, {.subject = "Subject of " + id,
                 .sender = "Sender of " + id,
                 .preview = "Preview of " + id,
                 .conversation = "conversation"});
}

}  // namespace bellhop::service
