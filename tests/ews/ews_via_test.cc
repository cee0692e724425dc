// SPDX-License-Identifier: Apache-2.0
// Requests to Exchange through a gateway, which the scene's peer plays (ews.via). Runs on both back ends.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include "crypto/hash.h"
#include "service/compliance_record.h"
#include "service/error_texts.h"
#include "service/ews_contexts.h"
#include "store/memory/memory_store.h"
#include "tests/ews/ews_fixture.h"

namespace bellhop::service::ews_test {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr std::string_view kPath = "/EWS/Exchange.asmx";
// As service/gateway_answers.cc says it.
constexpr std::string_view kDenied =
    R"(<?xml version="1.0" encoding="utf-8"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><s:Fault>)"
    R"(<faultcode>a:ErrorAccessDenied</faultcode><faultstring>Access is denied.</faultstring><detail><e:ResponseCode>)"
    R"(ErrorAccessDenied</e:ResponseCode></detail></s:Fault></s:Body></s:Envelope>)";

// A store with one user, and what signs.
struct Via {
  explicit Via(Scene& s) : scene(s) {
    keys = std::make_shared<const GatewayKeys>(keyring);
    owner.user.bytes[0] = 7;
  }
  Task<void> start() {
    store::KeyRecord key;
    key.id.bytes[0] = 1;
    key.public_key = {1};
    key.sealed_private_key = {1};
    EXPECT_TRUE(co_await store->add_pool_key(key));
    EXPECT_TRUE(co_await store->get_or_create_user(owner.user, scene.tenant->config.id, io::wall_now()));
    contexts.emplace(*store, keys);
    scene.client->set_contexts(*contexts);
  }
  Task<store::DeviceKey> add_device(uint8_t number, std::string_view id) {
    store::Registration registration{.user = owner.user, .device = {}, .record = {}, .subscription = {}, .now = io::wall_now()};
    registration.device.bytes[0] = number;
    if (!id.empty()) registration.record.name = compliance_key(id);
    EXPECT_TRUE(co_await store->register_device(registration));
    co_return registration.device;
  }
  Task<void> stop() { EXPECT_TRUE(co_await store->leave_core()); }
  // An Exchange that only the gateway can reach.
  EwsTarget target() {
    url = fmt::format("https://mail.example.test:{}/ews/exchange.asmx", scene.peer.port());
    EwsTarget target = scene.target();
    target.url = url;
    target.owner = &owner;
    return target;
  }
  Result<crypto::GatewayContext> open(const Seen& seen, WallTime now = io::wall_now()) const {
    return keys->contexts.open(seen.context, {.method = "POST", .target = kPath, .authorization = seen.authorization}, now);
  }

  Scene& scene;
  crypto::Keyring keyring = crypto::Keyring::parse(crypto::make_keyring()).value();
  std::shared_ptr<const GatewayKeys> keys;
  std::unique_ptr<store::MemoryStore> store = store::MemoryStore::create();
  std::optional<EwsContexts> contexts;
  EwsOwner owner;
  std::string url;
};

// The peer has its port by now.
Task<void> make_client_via(Scene& s) {
  co_await s.client->close();
  s.config.via = fmt::format("https://127.0.0.1:{}", s.peer.port());
  s.make_client();
}

Task<void> tells_who_asks(Scene& s) {
  co_await make_client_via(s);
  Via via(s);
  co_await via.start();
  via.owner.source = co_await via.add_device(1, "phone-1");
  co_await via.add_device(2, "phone-2");
  co_await via.add_device(3, "");  // has not told its id since it is kept
  s.peer.script.push_back({.bytes = subscribed()});
  CO_ASSERT(co_await s.client->subscribe(via.target(), "https://push.example.test/notify?id=1"));
  CO_ASSERT(s.peer.seen.size() == 1);
  const Seen& seen = s.peer.seen[0];
  EXPECT_EQ(seen.host, fmt::format("mail.example.test:{}", s.peer.port())) << "by which the gateway finds its route";
  auto context = via.open(seen);
  CO_ASSERT(context);
  EXPECT_EQ(context->tenant, s.tenant->config.id);
  EXPECT_EQ(context->user, "ada@example.test");
  EXPECT_EQ(context->body_hash, crypto::sha256(seen.body));
  EXPECT_EQ(context_device_key(context->source_device), compliance_key("phone-1"));
  CO_ASSERT(context->devices.size() == 2);
  EXPECT_EQ(context_device_key(context->devices[0]), compliance_key("phone-1"));
  EXPECT_EQ(context_device_key(context->devices[1]), compliance_key("PHONE-2"));
  EXPECT_FALSE(via.open(seen, io::wall_now() + 6min)) << "short-lived";
  // Nothing of it holds beside other credentials or another path.
  EXPECT_FALSE(via.keys->contexts.open(seen.context, {.method = "POST", .target = kPath, .authorization = "Basic eA=="}, io::wall_now()));
  co_await via.stop();
}
TEST(EwsVia, ASignedContextSaysForWhomARequestIs) { run_scene(tells_who_asks); }

Task<void> of_a_new_device(Scene& s) {
  co_await make_client_via(s);
  Via via(s);
  co_await via.start();
  co_await via.add_device(1, "phone-1");
  via.owner.source.bytes[0] = 9;
  via.owner.asking = compliance_key("new-phone");
  s.peer.script.push_back({.bytes = subscribed()});
  CO_ASSERT(co_await s.client->subscribe(via.target(), "https://push.example.test/notify?id=1"));
  auto context = via.open(s.peer.seen[0]);
  CO_ASSERT(context);
  EXPECT_EQ(context_device_key(context->source_device), compliance_key("new-phone"));
  CO_ASSERT(context->devices.size() == 2);
  EXPECT_EQ(context_device_key(context->devices[0]), compliance_key("new-phone"));
  co_await via.stop();
}
TEST(EwsVia, ADeviceThatRegistersIsNamedBeforeItIsStored) { run_scene(of_a_new_device); }

Task<void> without_address(Scene& s) {
  co_await make_client_via(s);
  Via via(s);
  co_await via.start();
  s.credentials.address.clear();
  s.peer.script.push_back({.bytes = subscribed()});
  CO_ASSERT(co_await s.client->subscribe(via.target(), "https://push.example.test/notify?id=1"));
  auto context = via.open(s.peer.seen[0]);
  CO_ASSERT(context);
  EXPECT_EQ(context->user, "ada") << "who logs on";
  EXPECT_THAT(context->devices, IsEmpty());
  EXPECT_EQ(context->source_device, "");
  co_await via.stop();
}
TEST(EwsVia, WithoutAnAddressTheUserNameStandsForIt) { run_scene(without_address); }

Task<void> is_blocked(Scene& s) {
  co_await make_client_via(s);
  Via via(s);
  co_await via.start();
  for (size_t i = 0; i < 30; ++i) {
    s.peer.script.push_back({.bytes = http_answer(403, kDenied)});
    auto reply = co_await s.client->verify(via.target());
    CO_ASSERT(!reply);
    EXPECT_EQ(reply.error().kind, EwsFailureKind::blocked) << "no word about the credentials";
    EXPECT_TRUE(is(reply.error().error, ServiceError::gateway_denied));
  }
  EXPECT_EQ(s.counted(EwsResult::blocked), 30u);
  s.peer.script.push_back({.bytes = found(1, true)});
  EXPECT_TRUE(co_await s.client->verify(via.target())) << "the gateway is well: no breaker opens";
  s.peer.script.push_back({.bytes = http_answer(403, "<html>Forbidden</html>", "", "text/html")});
  auto reply = co_await s.client->verify(via.target());
  CO_ASSERT(!reply);
  EXPECT_EQ(reply.error().kind, EwsFailureKind::unauthorized) << "Exchange's own";
  co_await via.stop();
}
TEST(EwsVia, ABlockAtTheGatewayIsNoRefusedLogon) { run_scene(is_blocked); }

Task<void> goes_directly(Scene& s) {
  s.peer.script.push_back({.bytes = found(1, true)});
  s.peer.script.push_back({.bytes = http_answer(403, kDenied)});
  EXPECT_TRUE(co_await s.client->verify(s.target()));
  EXPECT_EQ(s.peer.seen[0].context, "") << "Exchange hears nothing of devices";
  auto reply = co_await s.client->verify(s.target());
  CO_ASSERT(!reply);
  EXPECT_EQ(reply.error().kind, EwsFailureKind::unauthorized);
}
TEST(EwsVia, WithoutAGatewayNothingIsTold) { run_scene(goes_directly); }

Task<void> many_devices(Scene& s) {
  co_await make_client_via(s);
  Via via(s);
  co_await via.start();
  for (uint8_t i = 1; i <= 40; ++i) {
    store::DeviceKey device = co_await via.add_device(i, fmt::format("phone-{}", i));
    if (i == 40) via.owner.source = device;
  }
  s.peer.script.push_back({.bytes = found(1, true)});
  CO_ASSERT(co_await s.client->verify(via.target()));
  auto context = via.open(s.peer.seen[0]);
  CO_ASSERT(context);
  EXPECT_EQ(context->devices.size(), crypto::GatewayContext::kDevicesMax);
  EXPECT_EQ(context_device_key(context->devices[0]), compliance_key("phone-40")) << "the source is among them";
  co_await via.stop();
}
TEST(EwsVia, SoManyDevicesAreNamedAtMost) { run_scene(many_devices); }

TEST(ContextDevice, AKeyAndAnIdStandForTheSame) {
  store::ComplianceKey key = compliance_key("AbCdEf0123");
  EXPECT_EQ(context_device_key(context_device(key)), key);
  EXPECT_EQ(context_device_key("AbCdEf0123"), key);
  EXPECT_EQ(context_device_key("key:00"), compliance_key("key:00")) << "an id that looks like one";
  EXPECT_NE(context_device_key(to_hex(key)), key);
}

}  // namespace
}  // namespace bellhop::service::ews_test
