// SPDX-License-Identifier: Apache-2.0
#include "tests/service/admin_fixture.h"

#include "core/cross_core.h"
#include "core/sleep.h"
#include "core/tls/certificate.h"
#include "core/tls/context.h"
#include "proto/json.h"
#include "service/http1_client.h"

namespace bellhop::service::admin_test {
namespace {

Config make_config() {
  Config config;
  config.public_url = "https://localhost";
  config.listen_public.addresses = {{"127.0.0.1", 0}};
  config.listen_admin.address = {"127.0.0.1", 0};
  config.listen_admin.unix_socket = test::unix_endpoint().unix_path;
  config.keys.pool_target = 1;
  config.log.level = LogLevel::error;
  config.tenants.push_back({.id = "example", .name = "Example Ltd", .ews_hosts = {"mail.example.com"}});
  config.tenants.push_back({.id = "other", .name = "Other Ltd", .ews_hosts = {"mail.example.test"}});
  return config;
}

StartFiles make_files() {
  StartFiles files;
  std::string names[] = {"localhost"}, complaint;
  auto certificate = make_self_signed(names, {}, {io::wall_now() - 1h, io::wall_now() + 1h});
  BH_CHECK(certificate);
  files.public_listener.certificate_chain = certificate->chain_pem;
  files.public_listener.private_key = certificate->key_pem;
  auto keyring = crypto::Keyring::parse(crypto::make_keyring());
  BH_CHECK(keyring);
  files.keyring = *std::move(keyring);
  const TlsFile authority{"test", files.public_listener.certificate_chain};
  auto authorities = TlsAuthorities::parse(std::span(&authority, 1), complaint);
  BH_CHECK(authorities);
  files.upstreams = *Upstreams::make({}, {*authorities, *authorities, *authorities}, complaint);
  return files;
}

template <class I>
I id_of(uint64_t number, uint64_t kind) {
  I id;
  uint64_t x = (number + 1) * 0x9e3779b97f4a7c15u + kind;
  for (size_t i = 0; i < I::kBytes; ++i) {
    if (i % 8 == 0) x = (x ^ x >> 29) * 0xbf58476d1ce4e5b9u + number;
    id.bytes[i] = uint8_t(x >> (8 * (i % 8)));
  }
  return id;
}

}  // namespace

void AdminWorld::run(Scenario scenario, bool hands_over) {
  AdminWorld world(scenario);
  world.hands_over_ = hands_over;
  test::run_on_cores(kCores, [&](unsigned core) { return world.run_core(core); });
  EXPECT_EQ(world.ended_, kCores);
}

Task<Answer> AdminWorld::ask(Way way, std::string method, std::string target, std::string body) {
  Http1Origin origin{.host = "127.0.0.1", .port = server_->admin_address().port, .tls = nullptr, .addresses = nullptr, .unix_path = {}};
  if (way == Way::unix_socket) origin.unix_path = server_->config().listen_admin.unix_socket;
  Http1ClientOptions options;
  Answer answer;
  auto client = co_await Http1Client::open(origin, options);
  if (!client) {
    ADD_FAILURE() << "no connection: " << error_text(client.error());
    co_return answer;
  }
  Http1Request request{.method = method, .target = target, .host = "localhost", .headers = {}, .body = body};
  auto response = co_await within(10s, (*client)->exchange(request));
  if (response) {
    answer.status = response->status;
    answer.content_type = response->headers->find("content-type").value_or("");
    answer.allow = response->headers->find("allow").value_or("");
    answer.body = response->text();
  }
  co_await (*client)->close();
  co_return answer;
}

Task<void> AdminWorld::run_core(unsigned core) {
  if (core == 0) {
    set_tls_clock(&io::wall_now);
    server_.emplace(make_config(), make_files(), *store_);
    server_->handle_signals(false);
    if (hands_over_) {
      std::string path = test::unix_endpoint().unix_path;
      handover_ = {.lock_path = path + "-owner", .socket_path = path};
      server_->set_handover(handover_);
    }
    made_.set();
    TaskScope serving(&co_await current_context());
    serving.spawn(server_->run(0));
    bool ready = co_await server_->wait_ready();
    EXPECT_TRUE(ready) << server_->complaint();
    if (ready) {
      co_await scenario_(*this);
      if (!drain_asked) co_await server_->drain();
    }
    co_await serving.join();
  } else {
    co_await on_core(0, [this] { return wait_made(); });
    co_await server_->run(core);
  }
  co_await on_core(0, [this] { return count_end(); });
}

std::string text_member(const std::string& body, std::string_view name) {
  auto document = proto::JsonDocument::parse(body);
  if (!document) return "";
  auto text = document->root().string(name);
  return text && *text ? std::string(**text) : "";
}

Task<Mailbox> add_mailbox(store::Store& store, uint64_t number, std::string tenant, unsigned devices, bool subscribed) {
  WallTime now = io::wall_now();
  Mailbox mailbox{.user = id_of<store::StoredUserId>(number, 1), .devices = {}, .capability = id_of<store::CapabilityHash>(number, 2)};
  store::KeyRecord key{.id = id_of<store::KeyId>(number, 3), .created = now};
  key.public_key.assign(294, 1);
  key.sealed_private_key.assign(1300, 2);
  EXPECT_TRUE(co_await store.add_pool_key(key));
  auto user = co_await store.get_or_create_user(mailbox.user, tenant, now);
  EXPECT_TRUE(user);
  for (unsigned i = 0; i < devices; ++i) {
    store::Registration registration{.user = mailbox.user, .device = id_of<store::DeviceKey>(number * 100 + i, 4), .now = now};
    registration.record.topic = "com.example.mail";
    registration.record.locale = "en";
    registration.record.registered_at = now;
    mailbox.devices.push_back(registration.device);
    if (subscribed && i == 0) {
      store::SubscriptionRecord record;
      record.ews_url = "https://mail.example.com/EWS/Exchange.asmx";
      record.source_device = registration.device;
      record.created = now;
      registration.subscription = store::NewSubscription{mailbox.capability, record};
    }
    EXPECT_TRUE(co_await store.register_device(registration));
  }
  co_return mailbox;
}

}  // namespace bellhop::service::admin_test
