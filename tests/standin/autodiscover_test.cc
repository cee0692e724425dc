// SPDX-License-Identifier: Apache-2.0
// Autodiscover of the stand-in: both forms, all that it may do on demand, and the plain listener.
#include "proto/autodiscover.h"
#include "tests/standin/site.h"

namespace bellhop::standin::test {
namespace {

using proto::AutodiscoverForm;
using proto::AutodiscoverKind;
using ::testing::HasSubstr;

constexpr const char* kAlice = "alice@example.com";

WorldOptions options_with_http() {
  WorldOptions options;
  options.exchange.time_scale = fast();
  options.exchange.autodiscover_http = SocketAddress{.ip = *IpAddress::parse("127.0.0.1"), .port = 0};
  return options;
}

std::string question(AutodiscoverForm form) {
  std::string body;
  BH_CHECK(proto::write_autodiscover_request(form, kAlice, "https://mail.example.com/", body));
  return body;
}

struct Read {
  AutodiscoverKind kind = AutodiscoverKind::refused;
  std::string url, redirect;
};
Read read(const std::string& text) {
  proto::AutodiscoverReader reader(1);
  if (!reader.feed(text)) return {};
  auto answer = reader.finish();
  if (!answer) return {};
  return {(*answer)->kind, std::string((*answer)->external_url), std::string((*answer)->redirect)};
}

Task<void> answers_both(Site& site) {
  EXPECT_TRUE(co_await site.exchange.add_mailbox({kAlice, {}, "secret"}));
  for (AutodiscoverForm form : {AutodiscoverForm::soap, AutodiscoverForm::pox}) {
    std::string path(proto::autodiscover_path(form));
    EwsResult result = co_await site.ews(kAlice, "secret", question(form), path);
    EXPECT_EQ(result.status, 200);
    EXPECT_EQ(read(result.body).url, "https://mail.example.com/EWS/Exchange.asmx") << "as its Host names it";
    EXPECT_EQ((co_await site.ews(kAlice, "wrong", question(form), path)).status, 401);
    EXPECT_EQ(read((co_await site.ews(kAlice, "secret", "<html/>", path)).body).kind, AutodiscoverKind::refused);
  }
  ExchangeBooks books = co_await site.exchange.books();
  EXPECT_EQ(books.autodiscovers[0], 3u);
  EXPECT_EQ(books.autodiscovers[1], 3u);
}
TEST(ExchangeAutodiscover, AnswersBothFormsToThoseWhoKnowThePassword) { run_site(options_with_http(), answers_both); }

Task<EwsResult> ask(Site& site, AutodiscoverMode mode, std::string target = {}) {
  co_await site.exchange.set_autodiscover({.soap = mode, .target = std::move(target)});
  std::string path(proto::autodiscover_path(AutodiscoverForm::soap));
  co_return co_await site.ews(kAlice, "secret", question(AutodiscoverForm::soap), path);
}

Task<void> misleads(Site& site) {
  EXPECT_TRUE(co_await site.exchange.add_mailbox({kAlice, {}, "secret"}));
  EwsResult result = co_await ask(site, AutodiscoverMode::redirect_http, "https://a.example.com/");
  EXPECT_EQ(result.status, 302);
  EXPECT_EQ(result.headers["location"], "https://a.example.com/");
  result = co_await ask(site, AutodiscoverMode::loop);
  EXPECT_EQ(result.headers["location"], "https://mail.example.com/autodiscover/autodiscover.svc");
  result = co_await ask(site, AutodiscoverMode::redirect_url, "https://b.example.com/");
  EXPECT_EQ(read(result.body).redirect, "https://b.example.com/");
  result = co_await ask(site, AutodiscoverMode::redirect_address, "alice@cloud.example.com");
  EXPECT_EQ(read(result.body).kind, AutodiscoverKind::redirect_address);
  EXPECT_THAT((co_await ask(site, AutodiscoverMode::html)).body, HasSubstr("<html>"));
  EXPECT_EQ((co_await ask(site, AutodiscoverMode::not_found)).status, 404);
  EXPECT_EQ((co_await ask(site, AutodiscoverMode::unauthorized)).status, 401);
  EXPECT_EQ((co_await ask(site, AutodiscoverMode::huge)).status, 0) << "more than a client takes";
  EXPECT_EQ(read((co_await ask(site, AutodiscoverMode::settings, "https://c.example.com/")).body).url, "https://c.example.com/");
}
TEST(ExchangeAutodiscover, MisleadsOnDemand) { run_site(options_with_http(), misleads); }

Task<Result<uint16_t>> get_once(service::Http1Client* client, const service::Http1Request* request, std::string* location) {
  BH_CO_TRY(service::Http1Response response, co_await client->exchange(*request));
  *location = response.headers->find("location").value_or(std::string_view());
  co_return response.status;
}

Task<void> redirects_plain(Site& site) {
  service::Http1ClientOptions options;
  service::Http1Origin origin{.host = "127.0.0.1", .port = site.exchange.autodiscover_http_address().port};
  std::string location;
  for (bool with_credentials : {false, true}) {
    auto client = co_await service::Http1Client::open(origin, options);
    CO_ASSERT(client);
    const proto::HeaderField headers[] = {{"authorization", "Basic YTpi"}};
    service::Http1Request request{.target = "/autodiscover/autodiscover.xml", .host = "autodiscover.example.com"};
    if (with_credentials) request.headers = headers;
    auto status = co_await get_once(client->get(), &request, &location);
    CO_ASSERT(status);
    EXPECT_EQ(*status, with_credentials ? 302 : 404);
    co_await (*client)->close();
    co_await site.exchange.set_autodiscover({.http_location = "https://autodiscover.example.com/"});
  }
  EXPECT_EQ(location, "https://autodiscover.example.com/");
  ExchangeBooks books = co_await site.exchange.books();
  EXPECT_EQ(books.autodiscover_probes, 2u);
  EXPECT_EQ(books.credentials_over_http, 1u);
}
TEST(ExchangeAutodiscover, ThePlainListenerRedirectsAndCountsCredentials) {
  run_site(options_with_http(), redirects_plain);
}

}  // namespace
}  // namespace bellhop::standin::test
