// SPDX-License-Identifier: Apache-2.0
#include "tests/standin/site.h"

#include "core/tls/certificate.h"
#include "crypto/record.h"
#include "tools/standin/body.h"
#include "tools/standin/tls.h"

namespace bellhop::standin::test {
namespace {

constexpr Duration kPatience = 60s;
constexpr Duration kSimulatedPatience = std::chrono::hours(48);

Duration patience() { return simulated() ? kSimulatedPatience : kPatience; }

Task<Status> wait_event(Event& event) { co_return co_await event.wait(); }

Task<Result<EwsResult>> exchange_once(service::Http1Client* client, const service::Http1Request* request) {
  BH_CO_TRY(service::Http1Response response, co_await client->exchange(*request));
  EwsResult result{response.status, std::string(response.text()), {}};
  for (size_t i = 0; i < response.headers->size(); ++i) {
    result.headers[std::string(response.headers->at(i).name)] = response.headers->at(i).value;
  }
  co_return result;
}

}  // namespace

Task<void> CallbackPeer::handle(service::HttpExchange& exchange) {
  BodyText body(1 << 20);
  Callback callback{.expects_continue = exchange.headers().find("expect").has_value(), .at = io::now()};
  if (!co_await exchange.read_body(1 << 20, body)) co_return;
  parser_.reset();
  Result<const proto::NotificationMessage*> parsed = fail(Error());
  if (parser_.feed(body.text)) parsed = parser_.finish();
  if (!parsed) {
    malformed.push_back(body.text);
  } else {
    const proto::Notification& notification = (*parsed)->notifications[0];
    callback.subscription_id = notification.subscription_id;
    callback.previous_watermark = notification.previous_watermark;
    callback.more_events = notification.more_events;
    for (const proto::NotificationEvent& event : notification.events) {
      callback.kinds.push_back(event.kind);
      callback.watermarks.emplace_back(event.watermark);
      if (!event.item_id.empty()) callback.item_ids.emplace_back(event.item_id);
      if (event.unread_count) callback.unread = event.unread_count;
    }
  }
  seen.push_back(std::move(callback));
  open_max = std::max(open_max, ++open);
  changed_.set();
  Answer answer = otherwise;
  if (!script.empty()) {
    answer = script.front();
    script.pop_front();
  }
  if (answer == Answer::hang) (void)co_await released.wait();
  --open;
  constexpr proto::SoapVersion kSoap = proto::SoapVersion::soap11;
  service::HttpResponse response{.content_type = proto::soap_content_type(kSoap)};
  switch (answer) {
    case Answer::hang:
    case Answer::ok:
      response.body = proto::send_notification_result(kSoap, proto::SubscriptionStatus::ok);
      break;
    case Answer::unsubscribe:
      response.body = proto::send_notification_result(kSoap, proto::SubscriptionStatus::unsubscribe);
      break;
    case Answer::unavailable:
      response.status = 503;
      response.close = true;
      break;
    case Answer::garbage:
      response.body = "<ok/>";
      break;
    case Answer::drop:
      co_return;
  }
  (void)co_await exchange.respond(response);
}

Task<bool> CallbackPeer::wait(size_t count) {
  while (seen.size() < count) {
    changed_.reset();
    if (!co_await within(patience(), wait_event(changed_))) co_return false;
  }
  co_return true;
}

void AttemptLog::on_attempt(const NotificationAttempt& attempt) {
  all.push_back({std::string(attempt.mailbox), std::string(attempt.subscription_id),
                 std::string(attempt.previous_watermark), std::string(attempt.watermark), attempt.events,
                 attempt.new_mails, attempt.attempt, attempt.heartbeat, attempt.outcome, attempt.status, attempt.begun,
                 attempt.ended});
  changed_.set();
}

Task<bool> AttemptLog::wait(size_t count) {
  while (all.size() < count) {
    changed_.reset();
    if (!co_await within(patience(), wait_event(changed_))) co_return false;
  }
  co_return true;
}

Site::Site(World& w, bool http2) : world(w), exchange(w.exchange()), callback_protocol_(http2 ? "h2" : "http/1.1") {
  std::string complaint;
  TlsFile ca{"ca", world.texts().ca_pem};
  auto authorities = TlsAuthorities::parse({&ca, 1}, complaint);
  BH_CHECK(authorities);
  auto client = TlsContext::client({.authorities = *authorities, .alpn = {"http/1.1"}}, complaint);
  BH_CHECK(client);
  client_tls_ = *client;
  address_ = {.ip = *IpAddress::parse("127.0.0.1"), .port = 0};
  auto handle = open_listener(address_, false, complaint);
  BH_CHECK(handle);
  listener_ = *handle;
}

Task<void> Site::serve() {
  std::string complaint;
  const WorldTexts& texts = world.texts();
  auto tls = make_server_context(texts.server_chain_pem, texts.server_key_pem, callback_protocol_, nullptr, complaint);
  CO_ASSERT(tls);
  server_ = std::make_unique<service::HttpServer>(
      peer, service::HttpServerLimits{.connections_max = 200, .idle_timeout = std::chrono::hours(24 * 30)}, *tls);
  co_await server_->run(listener_);
}

void Site::use_foreign_certificate() {
  std::vector<std::string> names{"localhost"}, addresses{"127.0.0.1"};
  WallTime now = io::wall_now();
  auto own = make_self_signed(names, addresses, {now - std::chrono::hours(1), now + std::chrono::hours(1)});
  BH_CHECK(own);
  std::string complaint;
  auto tls = make_server_context(own->chain_pem, own->key_pem, callback_protocol_, nullptr, complaint);
  BH_CHECK(tls);
  server_->set_tls(*tls);
}

void Site::stop() {
  peer.released.set();
  if (server_) server_->drain();
}

std::string Site::callback_url(std::string_view query) const {
  return "https://" + address_.to_string() + "/notify?" + std::string(query);
}

Task<EwsResult> Site::ews(std::string user, std::string password, std::string body, std::string path) {
  crypto::Secret basic = crypto::basic_authorization({crypto::Secret::copy_of(user), crypto::Secret::copy_of(password)});
  co_return co_await ews_authorized(std::string(basic.reveal_text()), std::move(body), std::move(path));
}

Task<EwsResult> Site::ews_authorized(std::string authorization, std::string body, std::string path) {
  service::Http1ClientOptions options;
  service::Http1Origin origin;
  origin.host = world.texts().ews_host;
  origin.port = world.texts().ews_port;
  origin.tls = client_tls_;
  auto client = co_await service::Http1Client::open(origin, options);
  if (!client) co_return EwsResult{};
  const proto::HeaderField headers[] = {{"authorization", authorization},
                                        {"content-type", "text/xml; charset=utf-8"}};
  service::Http1Request request;
  request.method = "POST";
  request.target = path;
  request.host = "mail.example.com";
  request.headers = headers;
  request.body = body;
  auto result = co_await within(patience(), exchange_once(client->get(), &request));
  co_await (*client)->close();
  co_return result ? *result : EwsResult{};
}

Task<std::string> Site::subscribe(std::string address, uint32_t minutes) {
  std::string url = callback_url(), body;
  Status written = proto::write_subscribe({.mailbox = address, .status_frequency_minutes = minutes, .url = url}, body);
  BH_CHECK(written);
  EwsResult result = co_await ews(address, "secret", body);
  auto reading = read_answer(result.body);
  co_return reading && result.status == 200 ? reading->subscription_id : std::string();
}

Task<EwsResult> Site::get_item(std::string address, std::string item_id) {
  std::string body;
  std::string_view ids[] = {item_id};
  BH_CHECK(proto::write_get_item({.item_ids = ids}, body));
  co_return co_await ews(address, "secret", body);
}

std::optional<EwsReading> read_answer(const std::string& body) {
  proto::EwsAnswerReader reader(1);
  if (!reader.feed(body)) return std::nullopt;
  auto answer = reader.finish();
  if (!answer) return std::nullopt;
  EwsReading reading{.kind = (*answer)->kind};
  if (reading.kind == proto::EwsAnswerKind::fault) {
    reading.code = (*answer)->fault.code_text;
    reading.back_off_ms = (*answer)->fault.back_off_ms;
  } else if (!(*answer)->messages.empty()) {
    const proto::EwsResponseMessage& message = (*answer)->messages[0];
    reading.code = message.code_text;
    reading.back_off_ms = message.back_off_ms;
    reading.subscription_id = message.subscription_id;
    reading.watermark = message.watermark;
    reading.items = message.items.size();
    if (!message.items.empty()) {
      reading.subject = message.items[0].subject;
      reading.sender_address = message.items[0].from.address;
      reading.sender_name = message.items[0].from.name;
    }
  }
  return reading;
}

namespace {

Task<void> run_test(WorldOptions options, Task<void> (*body)(Site&), World** shared, Event* made, Event* ended) {
  std::string complaint;
  bool http2 = options.exchange.callback_http2;
  auto world = World::make(std::move(options), complaint);
  EXPECT_TRUE(world) << complaint;
  if (!world) {
    made->set();
    co_return;
  }
  *shared = world->get();
  Site site(**world, http2);
  if (io::cores() == 1) (*world)->exchange().set_observer(&site.attempts);  // the log is of one core
  made->set();
  Context& own = co_await current_context();
  TaskScope serving(&own), listening(&own);
  serving.spawn((*world)->run());
  listening.spawn(site.serve());
  co_await body(site);
  site.stop();
  co_await (*world)->stop();
  co_await serving.join();
  co_await listening.join();
  EXPECT_THAT(site.peer.malformed, ::testing::IsEmpty());
  (void)co_await ended->wait();
}

Task<World*> await_world(Event* made, World** world) {
  (void)co_await made->wait();
  co_return *world;
}

Task<bool> note_end(Event* ended, unsigned* left) {
  if (--*left == 0) ended->set();
  co_return true;
}

}  // namespace

void run_site(WorldOptions options, Task<void> (*body)(Site&), unsigned cores) {
  set_tls_clock(&io::wall_now);
  World* world = nullptr;
  Event made, ended;
  unsigned left = cores - 1;
  options.exchange.cores = options.apns.cores = cores;
  struct Flow {
    static Task<void> other(Event* made, World** world, Event* ended, unsigned* left) {
      World* there = co_await on_core(0, [=] { return await_world(made, world); });
      if (there) co_await there->run();
      co_await on_core(0, [=] { return note_end(ended, left); });
    }
  };
  if (left == 0) ended.set();
  bellhop::test::run_on_cores(cores, [&](unsigned core) {
    return core == 0 ? run_test(options, body, &world, &made, &ended) : Flow::other(&made, &world, &ended, &left);
  });
}

}  // namespace bellhop::standin::test
