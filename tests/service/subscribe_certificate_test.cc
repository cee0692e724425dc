// SPDX-License-Identifier: Apache-2.0
// Registration with a client certificate: the PKCS#12 is opened once, and what was in it is what is stored. Runs on both
// back ends.

#include "crypto/error.h"
#include "crypto/pkcs12.h"
#include "crypto/split.h"
#include "tests/service/device_api_fixture.h"
#include "tools/standin/client_bundle.h"

namespace bellhop::service::device_api_test {
namespace {

constexpr std::string_view kFilePassword = "file-password";

// Opens both halves of the newest subscription.
Task<std::optional<crypto::CredentialRecord>> opened(Bed& bed, std::string url) {
  store::Route route = co_await route_of(bed, url);
  CallbackUrl callback = parse_callback(url);
  crypto::SplitBinding binding{.capability = callback.capability.value(),
                               .key_name = route.subscription.key,
                               .ews_origin = route.subscription.ews_origin()};
  auto key = bed.vault->split_keys().open_creds(callback.creds, binding);
  if (!key) co_return std::nullopt;
  auto ciphertext = bed.vault->unseal_split(capability_of(url), route.subscription.split_ciphertext);
  if (!ciphertext) co_return std::nullopt;
  auto record = crypto::split_open(*key, ciphertext->reveal(), binding);
  if (!record) co_return std::nullopt;
  co_return *std::move(record);
}

Task<void> subscribes(BedCore& core, bool dual) {
  Bed& bed = core.bed;
  bed.exchange.certificate_required = dual;
  Phone phone{core};
  CO_ASSERT(co_await phone.fetch_key());
  crypto::Secret file = phone.pkcs12(kFilePassword);
  Answered answer = co_await phone.send(phone.certificate_fields(file.reveal(), kFilePassword, dual));
  EXPECT_EQ(answer.status, 201) << answer.body << core.lines;
  CO_ASSERT(answer.status == 201);
  EXPECT_EQ(answer.text("envelope"), "split");
  EXPECT_EQ(bed.exchange.subscribes, 1);
  EXPECT_EQ(bed.exchange.certified, bed.exchange.requests);
  CO_ASSERT(bed.exchange.callback_urls.size() == 1);
  auto record = co_await opened(bed, bed.exchange.callback_urls[0]);
  CO_ASSERT(record);
  EXPECT_EQ(record->type(), dual ? crypto::CredentialType::dual : crypto::CredentialType::certificate);
  EXPECT_EQ(record->address.reveal_text(), phone.address);
  const crypto::CertificateCredentials* stored = crypto::certificate_of(*record);
  CO_ASSERT(stored);
  auto expected = crypto::open_pkcs12(file.reveal(), kFilePassword, io::wall_now());
  CO_ASSERT(expected);
  EXPECT_TRUE(stored->opened.private_key.equals(expected->private_key.reveal()));
  EXPECT_TRUE(stored->opened.chain.equals(expected->chain.reveal()));
  EXPECT_TRUE(stored->pkcs12.empty() && stored->password.empty()) << "the file's password is nowhere";
  EXPECT_EQ(core.lines.find(kFilePassword), std::string::npos);
  EXPECT_EQ(core.lines.find(phone.address), std::string::npos);
}
TEST(SubscribeCertificate, OpensThePkcs12OnceAndLogsOnWithIt) {
  run_bed({}, [](BedCore& core) { return subscribes(core, false); });
}
TEST(SubscribeCertificate, OfTypeDualShowsThePasswordToo) {
  run_bed({}, [](BedCore& core) { return subscribes(core, true); });
}

// What the device is told of a file that is no good. `problem` empty: credentials, without a word why.
struct BadFile {
  std::string_view name;
  std::string file, password;
  std::string_view detail;
};

Task<void> refuses(BedCore& core) {
  Bed& bed = core.bed;
  Phone phone{core};
  CO_ASSERT(co_await phone.fetch_key());
  WallTime now = io::wall_now();
  auto bundle = [&](CertificateValidity validity, bool for_clients) {
    auto made = issue_client_certificate(bed.client_authority,
                                         {.account = phone.address, .validity = validity, .for_clients = for_clients});
    return std::string(standin::bundle_of(*made, kFilePassword)->reveal_text());
  };
  std::string good = bundle({now - 1h, now + 1h}, true);
  const BadFile cases[] = {
      {"wrong password", good, "wrong", ""},
      {"expired", bundle({now - 2h, now - 1h}, true), std::string(kFilePassword), ""},
      {"not yet valid", bundle({now + 1h, now + 2h}, true), std::string(kFilePassword), ""},
      {"for servers", bundle({now - 1h, now + 1h}, false), std::string(kFilePassword), ""},
      {"junk", "no PKCS#12 at all", std::string(kFilePassword), "PKCS#12 malformed"},
  };
  for (const BadFile& one : cases) {
    Answered answer = co_await phone.send(phone.certificate_fields(as_bytes(one.file), one.password));
    EXPECT_EQ(answer.code(), one.detail.empty() ? "credentials" : "malformed") << one.name << answer.body;
    EXPECT_EQ(answer.text("detail"), one.detail) << one.name;
  }
  // Each counted as a refused logon: the sixth has to wait, whatever it holds.
  EXPECT_EQ((co_await phone.send(phone.certificate_fields(as_bytes(good), kFilePassword))).status, 429);
  EXPECT_EQ(bed.exchange.requests, 0);
  EXPECT_EQ((co_await bed.counts()).subscriptions, 0u);
}
TEST(SubscribeCertificate, SaysWhatIsWrongWithAFileButNotWithAPassword) {
  crypto::register_error_texts();
  run_bed({}, refuses);
}

Task<void> refused_by_exchange(BedCore& core) {
  Bed& bed = core.bed;
  Phone phone{core};
  CO_ASSERT(co_await phone.fetch_key());
  // Of an authority that Exchange does not know: the handshake ends with an alert.
  auto stranger = make_authority("stranger", {io::wall_now() - 1h, io::wall_now() + 1h});
  auto file = standin::make_client_bundle(*stranger, phone.address, kFilePassword, io::wall_now());
  CO_ASSERT(file);
  Fields fields = phone.certificate_fields(file->reveal(), kFilePassword);
  Answered answer = co_await phone.send(fields);
  EXPECT_EQ(answer.code(), "credentials") << answer.body << core.lines;
  EXPECT_EQ(bed.exchange.requests, 0);
  // The same credentials are not tried again.
  EXPECT_EQ((co_await phone.send(fields)).code(), "credentials");
  EXPECT_EQ(core.metrics.value(metric::ews_requests, EwsResult::certificate_refused), 1u);
}
TEST(SubscribeCertificate, ThatExchangeDoesNotTakeIsTriedOnce) {
  run_bed({}, refused_by_exchange);
}

Task<void> needs_url(BedCore& core) {
  Phone phone{core};
  CO_ASSERT(co_await phone.fetch_key());
  crypto::Secret file = phone.pkcs12(kFilePassword);
  Answered answer = co_await phone.send(phone.certificate_fields(file.reveal(), kFilePassword).drop("ewsUrl"));
  EXPECT_EQ(answer.code(), "malformed");
  EXPECT_EQ(answer.text("detail"), "ewsUrl is missing; with credentials of this type the server does not search for it");
  EXPECT_EQ(core.bed.exchange.requests, 0);
}
TEST(SubscribeCertificate, HasToNameTheUrl) {
  run_bed({}, needs_url);
}

Task<void> send_into(Phone* phone, Fields fields, Answered* answer) {
  *answer = co_await phone->send(std::move(fields));
}

Task<void> bounded(BedCore& core) {
  std::vector<std::unique_ptr<Phone>> phones;
  std::vector<Answered> answers(3);
  for (size_t i = 0; i < answers.size(); ++i) {
    phones.push_back(std::make_unique<Phone>(Phone{core}));
    phones.back()->address = "user" + std::to_string(i) + "@example.com";
    CO_ASSERT(co_await phones.back()->fetch_key());
  }
  std::vector<Fields> requests;  // made before: that takes longer than to open one
  for (const auto& phone : phones) {
    crypto::Secret file = phone->pkcs12("wrong later", 300'000);  // so slow to open that the requests meet
    requests.push_back(phone->certificate_fields(file.reveal(), "wrong"));
  }
  TaskScope scope(&co_await current_context());
  for (size_t i = 0; i < answers.size(); ++i) {
    scope.spawn(send_into(phones[i].get(), std::move(requests[i]), &answers[i]));
  }
  co_await scope.join();
  size_t busy = 0, refused = 0;
  for (const Answered& answer : answers) {
    busy += answer.status == 503;
    refused += answer.code() == "credentials";
  }
  EXPECT_GE(busy, 1u);
  EXPECT_GE(refused, 1u);
  EXPECT_EQ(busy + refused, answers.size());
}
TEST(SubscribeCertificate, OpensNoMoreFilesAtOnceThanConfigured) {
  run_bed({.configure = [](Config& config) { config.limits.certificates_opening_max = 1; }, .pool_keys = 3}, bounded);
}

}  // namespace
}  // namespace bellhop::service::device_api_test
