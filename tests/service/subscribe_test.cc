// SPDX-License-Identifier: Apache-2.0
// Registration from the device's words to Exchange's answer. Runs on both back ends.

#include "crypto/envelope.h"
#include "service/subscription_health.h"
#include "tests/service/device_api_fixture.h"

namespace bellhop::service::device_api_test {
namespace {

using Mood = FakeExchangeServer::Mood;

// ---- The good way ----

Task<void> expect_first_registration(BedCore& core) {
  Bed& bed = core.bed;
  Phone phone{core};
  // A user of the last core: with several cores, not the one that takes the request.
  auto home = [&] { return bed.node->home_core(phone.stored_user()); };
  for (int i = 0; home() != io::cores() - 1; ++i) phone.address = "ann" + std::to_string(i) + "@example.test";
  CO_ASSERT(co_await phone.fetch_key());
  Answered answer = co_await phone.send(
      phone.subscribe_fields().set("preview", "sender").set_raw("badge", "false").set("locale", "de-CH"));
  CO_ASSERT(answer.status == 201);
  EXPECT_EQ(answer.text("status"), "pending");
  EXPECT_EQ(answer.text("envelope"), "rsa");
  EXPECT_EQ(phone.secret.size(), crypto::kTokenTextSize);
  EXPECT_EQ(bed.exchange.subscribes, 1);
  EXPECT_EQ(bed.exchange.verifies, 0);
  CO_ASSERT(bed.exchange.mailboxes.size() == 1);
  EXPECT_EQ(bed.exchange.mailboxes[0], phone.address);

  store::UserRecord user = co_await phone.stored();
  CO_ASSERT(user.subscriptions.size() == 1);
  CallbackUrl url = parse_callback(bed.exchange.callback_urls.at(0));
  CO_ASSERT(url.capability);
  store::Route route = co_await route_of(bed, bed.exchange.callback_urls[0]);
  CO_ASSERT(route.kind == store::RouteKind::subscription);
  EXPECT_EQ(route.subscription.exchange_id, "subscription-1");
  EXPECT_EQ(route.subscription.ews_url, bed.ews_url);
  EXPECT_EQ(route.subscription.source_device, phone.device_key());
  EXPECT_EQ(route.subscription.digest, store::Digest::from(crypto::creds_digest(url.creds)));
  EXPECT_EQ(answer.text("subscriptionId"), subscription_id(capability_of(bed.exchange.callback_urls[0])));

  // The URL opens with the user's key under its binding, and holds what the phone sent.
  auto key = co_await core.decrypter.key(user.key);
  CO_ASSERT(key);
  crypto::EnvelopeBinding binding{
      .capability = *url.capability, .key_id = phone.key->id(), .ews_origin = route.subscription.ews_origin()};
  auto prepared = crypto::envelope_prepare(url.creds, *phone.key, binding);
  CO_ASSERT(prepared);
  auto opened = co_await core.decrypter.decrypt(*std::move(key), prepared->ciphertext, prepared->label, 0);
  CO_ASSERT(opened);
  auto record = crypto::envelope_finish(*prepared, *opened);
  CO_ASSERT(record);
  EXPECT_EQ(record->address.reveal_text(), phone.address);
  EXPECT_EQ(std::get<crypto::BasicCredentials>(record->logon).password.reveal_text(), kPassword);

  auto device = co_await bed.store->read_device(phone.stored_user(), phone.device_key());
  CO_ASSERT(device);
  EXPECT_EQ(device->topic, "com.example.mail");
  EXPECT_EQ(device->preview, store::Preview::sender);
  EXPECT_FALSE(device->badge);
  EXPECT_EQ(device->locale, "de-CH");
  EXPECT_FALSE(device->proven);
  EXPECT_EQ(device->registered_at, device->created);  // it told its token once
  auto token = bed.vault->unseal_push_token(phone.stored_user(), phone.device_key(), *device);
  CO_ASSERT(token);
  EXPECT_EQ(token->reveal_text(), kPushToken);

  // Nobody's name, password, token or URL is in the log.
  const std::string& lines = bed.parts[home()]->lines;
  EXPECT_NE(lines.find("\"subscribed\""), std::string::npos) << lines;
  for (std::string_view secret :
       {std::string_view(phone.address), kUsername, kPassword, std::string_view(kPushToken),
        std::string_view(phone.secret), std::string_view("notify?id="), std::string_view("phone-1")}) {
    EXPECT_EQ(lines.find(secret), std::string::npos) << secret;
  }
}

TEST(SubscribeTest, FirstDeviceMakesASubscriptionThatCarriesItsCredentials) {
  run_bed({}, expect_first_registration);
}

TEST(SubscribeTest, RunsOnTheHomeCoreWhicheverCoreTookTheRequest) {
  run_bed({}, expect_first_registration, 3);
}

// ---- Bad input ----

struct BadRow {
  const char* what;
  uint16_t status;
  const char* code;
  std::function<void(Fields&, Phone&)> spoil;
};

std::string forged(const Phone& phone, std::string_view address, std::string_view device, WallTime issued,
                   const crypto::RsaPublicKey& key) {
  (void)phone;
  crypto::CredentialRecord record{
      .address = crypto::Secret::copy_of(address),
      .logon = crypto::BasicCredentials{crypto::Secret::copy_of(kUsername), crypto::Secret::copy_of(kPassword)}};
  return crypto::jwe_encrypt(key, crypto::write_credential_record(record, device, issued).reveal()).value();
}

std::vector<BadRow> bad_rows(const crypto::RsaPublicKey& foreign_key) {
  auto now = [] { return io::wall_now(); };
  return {
      {"platform fcm", 422, "malformed", [](Fields& f, Phone&) { f.set("platform", "fcm"); }},
      {"platform sns", 422, "malformed", [](Fields& f, Phone&) { f.set("platform", "sns"); }},
      {"no platform", 422, "malformed", [](Fields& f, Phone&) { f.drop("platform"); }},
      {"short push token", 422, "malformed", [](Fields& f, Phone&) { f.set("pushToken", "abcd"); }},
      {"push token no hex", 422, "malformed", [](Fields& f, Phone&) { f.set("pushToken", std::string(64, 'z')); }},
      {"unknown topic", 403, "forbidden", [](Fields& f, Phone&) { f.set("topic", "com.example.other"); }},
      {"topic of the other environment", 403, "forbidden", [](Fields& f, Phone&) { f.set("environment", "sandbox"); }},
      {"no topic where there are two", 403, "forbidden", [](Fields& f, Phone&) { f.drop("topic"); }},
      {"unknown environment", 422, "malformed", [](Fields& f, Phone&) { f.set("environment", "test"); }},
      {"preview of another kind", 422, "malformed", [](Fields& f, Phone&) { f.set("preview", "all"); }},
      {"badge no boolean", 422, "malformed", [](Fields& f, Phone&) { f.set("badge", "true"); }},
      {"locale with a quote", 422, "malformed", [](Fields& f, Phone&) { f.set("locale", "de\""); }},
      {"no ewsUrl", 422, "malformed", [](Fields& f, Phone&) { f.drop("ewsUrl"); }},
      {"ewsUrl over http", 422, "malformed", [](Fields& f, Phone&) { f.set("ewsUrl", "http://127.0.0.1/"); }},
      {"ewsUrl with userinfo", 422, "malformed", [](Fields& f, Phone&) { f.set("ewsUrl", "https://a@127.0.0.1/"); }},
      {"EWS host not listed", 403, "forbidden",
       [](Fields& f, Phone&) { f.set("ewsUrl", "https://mail.example.org/EWS"); }},
      {"EWS port not listed", 403, "forbidden", [](Fields& f, Phone&) { f.set("ewsUrl", "https://127.0.0.1:1/EWS"); }},
      {"EWS on a private address without permission", 403, "forbidden",
       [](Fields& f, Phone& p) {
         std::string port = p.core.bed.ews_url.substr(std::string("https://127.0.0.1:").size());
         f.set("ewsUrl", "https://10.1.2.3:" + port);
       }},
      {"EWS on the metadata service", 403, "forbidden",
       [](Fields& f, Phone& p) {
         std::string port = p.core.bed.ews_url.substr(std::string("https://127.0.0.1:").size());
         f.set("ewsUrl", "https://169.254.169.254:" + port);
       }},
      {"no keyId", 422, "malformed", [](Fields& f, Phone&) { f.drop("keyId"); }},
      {"keyId of nobody", 403, "credentials", [](Fields& f, Phone&) { f.set("keyId", "x"); }},
      {"keyId of another key", 403, "credentials", [&](Fields& f, Phone&) { f.set("keyId", foreign_key.id().text()); }},
      {"no credentials", 422, "malformed", [](Fields& f, Phone&) { f.drop("credentials"); }},
      {"credentials no JWE", 403, "credentials", [](Fields& f, Phone&) { f.set("credentials", "a.b.c.d.e"); }},
      {"credentials of the ENS2 shape where they are off", 403, "credentials",
       [](Fields& f, Phone& p) {
         auto sealed = p.key->encrypt_oaep(as_bytes("ann@example.test:right-password"), Bytes()).value();
         f.set("credentials", to_base64(sealed));
       }},
      {"JWE of another key", 403, "credentials",
       [&, now](Fields& f, Phone& p) { f.set("credentials", forged(p, kAddress, p.device_id, now(), foreign_key)); }},
      {"JWE altered in its last place", 403, "credentials",
       [](Fields& f, Phone& p) {
         std::string text = p.credentials();
         size_t tag = text.rfind('.') + 1;
         text[tag] = text[tag] == 'A' ? 'B' : 'A';
         f.set("credentials", text);
       }},
      {"address of another user", 403, "credentials",
       [now](Fields& f, Phone& p) { f.set("credentials", forged(p, "bob@example.test", p.device_id, now(), *p.key)); }},
      {"credentials of another device", 403, "credentials",
       [now](Fields& f, Phone& p) { f.set("credentials", forged(p, kAddress, "phone-2", now(), *p.key)); }},
      {"stale credentials", 403, "credentials",
       [now](Fields& f, Phone& p) { f.set("credentials", forged(p, kAddress, p.device_id, now() - 11min, *p.key)); }},
      {"credentials from the future", 403, "credentials",
       [now](Fields& f, Phone& p) { f.set("credentials", forged(p, kAddress, p.device_id, now() + 5min, *p.key)); }},
      {"credentials of a type to come", 422, "malformed",
       [](Fields& f, Phone& p) {
         std::string json = "{\"address\":\"" + p.address + "\",\"userId\":\"" + p.user_id() + "\",\"deviceId\":\"" +
                            p.device_id + "\",\"iat\":" + std::to_string(to_unix_seconds(io::wall_now())) +
                            ",\"type\":\"oauth\",\"refreshToken\":\"r\"}";
         f.set("credentials", crypto::jwe_encrypt(*p.key, as_bytes(json)).value());
       }},
      {"a user who never asked for a key", 403, "credentials",
       [](Fields& f, Phone&) { f.set("userId", std::string(64, 'c')); }},
  };
}

Task<void> expect_bad_input_refused(BedCore& core) {
  Bed& bed = core.bed;
  Phone phone{core};
  CO_ASSERT(co_await phone.fetch_key());
  Phone stranger{.core = core, .address = "eve@example.test"};
  CO_ASSERT(co_await stranger.fetch_key());
  store::Counts before = co_await bed.counts();
  std::string credentials_body;
  for (const BadRow& row : bad_rows(*stranger.key)) {
    SCOPED_TRACE(row.what);
    Fields fields = phone.subscribe_fields();
    row.spoil(fields, phone);
    Answered answer = co_await phone.send(fields);
    EXPECT_EQ(answer.status, row.status) << answer.body;
    EXPECT_EQ(answer.code(), row.code) << answer.body;
    EXPECT_TRUE(co_await bed.counts() == before);
    // All failures of credentials look the same.
    if (answer.code() == "credentials") {
      if (credentials_body.empty()) credentials_body = answer.body;
      EXPECT_EQ(answer.body, credentials_body);
    }
  }
  EXPECT_EQ(bed.exchange.requests, 0);
  EXPECT_EQ((co_await phone.subscribe()).status, 201);  // and nothing of it harms the good one
}

TEST(SubscribeTest, BadInputIsRefusedAndNothingIsStored) {
  run_bed({}, expect_bad_input_refused);
}

// ---- Device secrets ----

Task<void> expect_secret_rules(BedCore& core) {
  Bed& bed = core.bed;
  Phone phone{core};
  CO_ASSERT(co_await phone.fetch_key());
  CO_ASSERT((co_await phone.subscribe()).status == 201);
  std::string secret = phone.secret;
  store::Counts before = co_await bed.counts();
  int requests = bed.exchange.requests;

  Answered wrong = co_await core.post("subscribe", phone.subscribe_fields().set("deviceSecret", "guess").json());
  EXPECT_EQ(wrong.status, 403);
  EXPECT_EQ(wrong.code(), "forbidden");
  EXPECT_EQ(bed.exchange.requests, requests);
  EXPECT_TRUE(co_await bed.counts() == before);

  // Lost, and the credentials are wrong: the device stays what it was, its push token too.
  Answered refused = co_await core.post(
      "subscribe", phone.subscribe_fields("wrong").drop("deviceSecret").set("pushToken", kOtherPushToken).json());
  EXPECT_EQ(refused.code(), "credentials");
  auto device = co_await bed.store->read_device(phone.stored_user(), phone.device_key());
  CO_ASSERT(device);
  EXPECT_EQ(bed.vault->unseal_push_token(phone.stored_user(), phone.device_key(), *device)->reveal_text(), kPushToken);
  EXPECT_TRUE(bed.vault->device_secret_matches(phone.stored_user(), phone.device_key(), *device, secret));

  // Lost, and Exchange takes the credentials: a new secret, and the old one is worth nothing.
  Answered renewed =
      co_await phone.send(phone.subscribe_fields().drop("deviceSecret").set("pushToken", kOtherPushToken));
  EXPECT_EQ(renewed.status, 200);
  EXPECT_NE(phone.secret, secret);
  device = co_await bed.store->read_device(phone.stored_user(), phone.device_key());
  CO_ASSERT(device);
  EXPECT_EQ(bed.vault->unseal_push_token(phone.stored_user(), phone.device_key(), *device)->reveal_text(),
            kOtherPushToken);
  EXPECT_FALSE(bed.vault->device_secret_matches(phone.stored_user(), phone.device_key(), *device, secret));
  EXPECT_EQ((co_await core.post("checkin", phone.identity().set("deviceSecret", secret).json())).status, 403);
  EXPECT_EQ((co_await core.post("checkin", phone.identity().json())).status, 200);

  // With its secret a device keeps it.
  Answered again = co_await core.post("subscribe", phone.subscribe_fields().json());
  EXPECT_EQ(again.status, 200);
  EXPECT_EQ(again.text("deviceSecret"), "");
}

TEST(SubscribeTest, KnownDeviceNeedsItsSecretOrCredentialsThatExchangeTakes) {
  run_bed({}, expect_secret_rules);
}

// ---- Exchange says no ----

struct MoodRow {
  Mood mood;
  uint16_t status;
  const char* code;
  const char* retry_after;
  const char* response_code;
};

Task<void> expect_rolled_back(BedCore& core, MoodRow row) {
  Bed& bed = core.bed;
  Phone phone{core};
  CO_ASSERT(co_await phone.fetch_key());
  store::Counts before = co_await bed.counts();
  bed.exchange.mood = row.mood;
  Answered answer = co_await phone.subscribe();
  EXPECT_EQ(answer.status, row.status) << answer.body;
  EXPECT_EQ(answer.code(), row.code);
  EXPECT_EQ(answer.headers["retry-after"], row.retry_after);
  EXPECT_EQ(answer.text("responseCode"), row.response_code);
  store::Counts after = co_await bed.counts();
  EXPECT_EQ(after.devices, 0u);
  EXPECT_EQ(after.subscriptions, 0u);
  EXPECT_EQ(after.users, before.users);
  EXPECT_EQ(after.keys, before.keys);
  EXPECT_EQ(after.users_unused, 1u);
  // Should Exchange have made it after all, its next callback ends it.
  store::Route route = co_await route_of(bed, bed.exchange.callback_urls.at(0));
  EXPECT_EQ(route.kind, store::RouteKind::tombstone);
}

TEST(SubscribeTest, FailureOfExchangeLeavesWhatWasBefore) {
  for (MoodRow row :
       {MoodRow{Mood::busy, 429, "throttled", "17", ""}, MoodRow{Mood::broken, 503, "unavailable", "30", ""},
        MoodRow{Mood::garbage, 502, "exchange", "", ""},
        MoodRow{Mood::refusing, 502, "exchange", "", "ErrorInvalidPushSubscriptionUrl"}}) {
    SCOPED_TRACE(row.code);
    run_bed({}, [row](BedCore& core) { return expect_rolled_back(core, row); });
  }
}

Task<void> expect_logon_rule(BedCore& core) {
  Bed& bed = core.bed;
  Phone phone{core};
  CO_ASSERT(co_await phone.fetch_key());
  Fields wrong = phone.subscribe_fields("wrong");
  Answered first = co_await phone.send(wrong);
  EXPECT_EQ(first.status, 403);
  EXPECT_EQ(first.code(), "credentials");
  EXPECT_EQ(bed.exchange.unauthorized, 1);
  EXPECT_EQ((co_await bed.counts()).devices, 0u);
  // The same text again is no logon.
  Answered second = co_await phone.send(wrong);
  EXPECT_EQ(second.body, first.body);
  EXPECT_EQ(bed.exchange.unauthorized, 1);
  // New texts are, until it could lock the account.
  for (uint32_t i = 1; i < kRefusedLogonsPerUserPerHourMax; ++i) {
    EXPECT_EQ((co_await phone.subscribe("wrong")).status, 403);
  }
  EXPECT_EQ(bed.exchange.unauthorized, int(kRefusedLogonsPerUserPerHourMax));
  Answered spared = co_await phone.subscribe("wrong");
  EXPECT_EQ(spared.status, 429);
  EXPECT_EQ(spared.code(), "throttled");
  EXPECT_EQ(bed.exchange.unauthorized, int(kRefusedLogonsPerUserPerHourMax));
  // Others are not concerned.
  Phone bob{.core = core, .address = "bob@example.test"};
  CO_ASSERT(co_await bob.fetch_key());
  EXPECT_EQ((co_await bob.subscribe()).status, 201);
}

TEST(SubscribeTest, RefusedCredentialsAreTriedOnceAndAnAccountIsNotLocked) {
  run_bed({}, expect_logon_rule);
}

// ---- Callbacks that are faster ----

Task<void> expect_early_callback(BedCore& core) {
  Bed& bed = core.bed;
  bed.exchange.before_answer = [&bed](std::string url) { return call_back(bed, url, "subscription-1"); };
  Phone phone{core};
  CO_ASSERT(co_await phone.fetch_key());
  Answered answer = co_await phone.subscribe();
  EXPECT_EQ(answer.status, 201);
  EXPECT_EQ(answer.text("status"), "active");
}

TEST(SubscribeTest, CallbackBeforeTheAnswerMakesItActive) {
  run_bed({}, expect_early_callback);
}

Task<void> expect_lost_answer(BedCore& core) {
  Bed& bed = core.bed;
  bed.exchange.mood = Mood::garbage;
  bed.exchange.before_answer = [&bed](std::string url) { return call_back(bed, url, "subscription-1"); };
  Phone phone{core};
  CO_ASSERT(co_await phone.fetch_key());
  Answered answer = co_await phone.subscribe();
  EXPECT_EQ(answer.status, 201) << answer.body;
  EXPECT_EQ(answer.text("status"), "active");
  EXPECT_EQ((co_await bed.counts()).subscriptions, 1u);
}

TEST(SubscribeTest, CallbackProvesASubscriptionWhoseAnswerWasLost) {
  run_bed({}, expect_lost_answer);
}

// ---- Bounds ----

Task<void> expect_devices_max(BedCore& core) {
  for (int i = 0; i < 2; ++i) {
    Phone phone{.core = core, .device_id = "phone-" + std::to_string(i)};
    CO_ASSERT(co_await phone.fetch_key());
    EXPECT_EQ((co_await phone.subscribe()).status, 201);
  }
  Phone third{.core = core, .device_id = "phone-3"};
  CO_ASSERT(co_await third.fetch_key());
  Answered refused = co_await third.subscribe();
  EXPECT_EQ(refused.status, 503);
  EXPECT_EQ(refused.code(), "unavailable");
  EXPECT_EQ((co_await core.bed.counts()).devices, 2u);
}

TEST(SubscribeTest, UserHasABoundedNumberOfDevices) {
  run_bed({.configure = [](Config& c) { c.limits.devices_per_user_max = 2; }}, expect_devices_max);
}

Task<void> subscribe_into(Phone& phone, Answered& answer) {
  answer = co_await phone.subscribe();
}

Task<void> expect_in_flight_max(BedCore& core) {
  Bed& bed = core.bed;
  Event released;
  bed.exchange.hold = &released;
  Phone ann{core}, bob{.core = core, .address = "bob@example.test"};
  CO_ASSERT(co_await ann.fetch_key());
  CO_ASSERT(co_await bob.fetch_key());
  Answered first;
  TaskScope running(&co_await current_context());
  running.spawn(subscribe_into(ann, first));
  EXPECT_TRUE(co_await bed.exchange.arrived.wait());
  Answered second = co_await bob.subscribe();
  EXPECT_EQ(second.status, 503);
  EXPECT_EQ(second.code(), "unavailable");
  released.set();
  co_await running.join();
  EXPECT_EQ(first.status, 201);
  EXPECT_EQ((co_await bob.subscribe()).status, 201);
}

TEST(SubscribeTest, BoundedNumberIsInFlight) {
  run_bed({.configure = [](Config& c) { c.limits.subscribes_in_flight_max = 1; }}, expect_in_flight_max);
}

Task<void> expect_serial(BedCore& core) {
  Bed& bed = core.bed;
  Event released;
  bed.exchange.hold = &released;
  std::vector<std::unique_ptr<Phone>> phones;
  std::vector<Answered> answers(UserLocks::kWaitingMax + 2);
  TaskScope running(&co_await current_context());
  for (size_t i = 0; i < answers.size(); ++i) {
    phones.push_back(std::make_unique<Phone>(Phone{.core = core, .device_id = "phone-" + std::to_string(i)}));
    CO_ASSERT(co_await phones[i]->fetch_key());
  }
  for (size_t i = 0; i < answers.size(); ++i) {
    running.spawn(subscribe_into(*phones[i], answers[i]));
    if (i == 0) EXPECT_TRUE(co_await bed.exchange.arrived.wait());
  }
  released.set();
  co_await running.join();
  // One makes the subscription, those that waited join it, and what was too much was sent away.
  EXPECT_EQ(bed.exchange.subscribes, 1);
  EXPECT_EQ(answers.back().status, 429);
  answers.pop_back();
  for (const Answered& answer : answers) EXPECT_EQ(answer.status, 201) << answer.body;
  EXPECT_EQ((co_await bed.counts()).devices, UserLocks::kWaitingMax + 1);
  EXPECT_EQ((co_await bed.counts()).subscriptions, 1u);
}

TEST(SubscribeTest, RequestsOfOneUserGoOneAfterTheOtherAndFewWait) {
  run_bed({}, expect_serial);
}

Task<void> expect_address_limit(BedCore& core) {
  Phone phone{core};
  CO_ASSERT(co_await phone.fetch_key());
  EXPECT_EQ((co_await core.post("subscribe", "{}")).status, 422);
  EXPECT_EQ((co_await core.post("subscribe", "{}")).status, 422);
  EXPECT_EQ((co_await phone.subscribe()).status, 429);
  EXPECT_EQ(core.bed.exchange.requests, 0);
}

TEST(SubscribeTest, AddressSubscribesABoundedNumberOfTimes) {
  run_bed({.configure = [](Config& c) { c.limits.subscribe_per_address_per_minute = 2; }}, expect_address_limit);
}

// ---- A store that takes no more ----

Task<void> expect_store_full(BedCore& core) {
  Bed& bed = core.bed;
  Phone phone{core};
  CO_ASSERT(co_await phone.fetch_key());
  std::vector<uint8_t> piece(1024);
  for (int i = 0; co_await bed.store->put_meta("fill " + std::to_string(i), piece); ++i) CO_ASSERT(i < 1000);
  piece.resize(1);
  for (int i = 0; co_await bed.store->put_meta("f" + std::to_string(i), piece); ++i) CO_ASSERT(i < 1000);
  store::Counts before = co_await bed.counts();
  Answered refused = co_await phone.subscribe();
  EXPECT_EQ(refused.status, 503);
  EXPECT_EQ(refused.code(), "unavailable");
  EXPECT_EQ(bed.exchange.requests, 0);
  EXPECT_TRUE(co_await bed.counts() == before);
  EXPECT_NE(core.lines.find("registration_failed"), std::string::npos);
}

TEST(SubscribeTest, FullStoreRefusesBeforeExchangeIsAsked) {
  run_bed({.store_bytes_max = 64 * 1024}, expect_store_full);
}

// ---- ENS2 credentials ----

std::string ens2(const Phone& phone, std::string_view text) {
  return to_base64(phone.key->encrypt_oaep(as_bytes(text), Bytes()).value());
}

Task<void> expect_ens2(BedCore& core) {
  Bed& bed = core.bed;
  Phone phone{core};
  CO_ASSERT(co_await phone.fetch_key());
  Answered made =
      co_await phone.send(phone.subscribe_fields().set("credentials", ens2(phone, "Ann@Example.test:right-password")));
  EXPECT_EQ(made.status, 201) << made.body;
  EXPECT_EQ(bed.exchange.mailboxes.at(0), "Ann@Example.test");
  // Somebody else's account proves nothing about this mailbox.
  Phone thief{.core = core, .device_id = "phone-2"};
  CO_ASSERT(co_await thief.fetch_key());
  Answered refused =
      co_await thief.send(thief.subscribe_fields().set("credentials", ens2(thief, "EXAMPLE\\eve:right-password")));
  EXPECT_EQ(refused.code(), "credentials");
  EXPECT_EQ((co_await bed.counts()).devices, 1u);
  Answered garbage = co_await thief.send(thief.subscribe_fields().set("credentials", ens2(thief, "no colon")));
  EXPECT_EQ(garbage.body, refused.body);
  // The first device of a user may bring a name that is not its address.
  Phone bob{.core = core, .address = "bob@example.test"};
  CO_ASSERT(co_await bob.fetch_key());
  Answered plain =
      co_await bob.send(bob.subscribe_fields().set("credentials", ens2(bob, "EXAMPLE\\bob:right-password")));
  EXPECT_EQ(plain.status, 201) << plain.body;
  EXPECT_EQ(bed.exchange.mailboxes.back(), "");
}

TEST(SubscribeTest, TenantMayAllowEns2CredentialsThatCannotStealAMailbox) {
  run_bed({.ens2_credentials = true}, expect_ens2);
}

}  // namespace
}  // namespace bellhop::service::device_api_test
