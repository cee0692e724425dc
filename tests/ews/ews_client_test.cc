// SPDX-License-Identifier: Apache-2.0
#include "service/ews_client.h"

#include "proto/ews_server.h"
#include "service/error_texts.h"
#include "tests/ews/ews_fixture.h"

namespace bellhop::service {
namespace {

using namespace ews_test;
using proto::EwsAnswerKind;
using proto::EwsResponseCode;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::StartsWith;

constexpr std::string_view kCallback = "https://push.example.com/notify?id=AAAAAAAAAAAAAAAAAAAAAA&creds=c2VhbGVk";
constexpr std::string_view kBasic = "Basic YWRhOmNvcnJlY3QgaG9yc2UgYmF0dGVyeSBzdGFwbGU=";

// ---- Requests and good answers ----

Task<void> subscribes(Scene& s) {
  s.peer.script.push_back({.bytes = subscribed("sub-7", "mark-7")});
  auto reply = co_await s.client->subscribe(s.target(), kCallback);
  CO_ASSERT(reply);
  EXPECT_EQ(reply->subscription_id, "sub-7");
  EXPECT_EQ(reply->watermark, "mark-7");
  EXPECT_EQ(s.counted(EwsResult::ok), 1u);
  CO_ASSERT(s.peer.seen.size() == 1);
  const Seen& seen = s.peer.seen[0];
  EXPECT_EQ(seen.method, "POST");
  EXPECT_EQ(seen.target, "/EWS/Exchange.asmx");
  EXPECT_EQ(seen.host, "127.0.0.1:" + std::to_string(s.peer.port()));
  EXPECT_EQ(seen.authorization, kBasic);
  EXPECT_EQ(seen.anchor, "ada@example.test");
  EXPECT_EQ(seen.action, proto::kSubscribeAction);
  EXPECT_EQ(seen.user_agent, s.config.user_agent);
  EXPECT_EQ(seen.return_id, "true");
  EXPECT_EQ(seen.encoding, "gzip");
  EXPECT_EQ(seen.type, "text/xml; charset=utf-8");
  EXPECT_THAT(seen.request_id, ::testing::MatchesRegex("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"));
  proto::EwsRequestReader reader(1);
  CO_ASSERT(reader.feed(seen.body));
  auto request = reader.finish();
  CO_ASSERT(request);
  EXPECT_EQ((*request)->url, kCallback);
  EXPECT_EQ((*request)->mailbox, "ada@example.test");
  EXPECT_EQ((*request)->server_version, "Exchange2010_SP2");
  EXPECT_EQ((*request)->status_frequency_minutes, 30u);
}
TEST(EwsClient, SubscribeNamesMailboxAndUrlAndLogsOnWithBasic) { run_scene(subscribes); }

Task<void> leaves_out_anchor(Scene& s) {
  s.credentials.address.clear();
  s.peer.script.push_back({.bytes = subscribed()});
  CO_ASSERT(co_await s.client->subscribe(s.target(), kCallback));
  EXPECT_EQ(s.peer.seen[0].anchor, "");
}
TEST(EwsClient, SendsNoAnchorWhereTheRecordHasNoAddress) { run_scene(leaves_out_anchor); }

Task<void> gets_items(Scene& s) {
  std::vector<proto::EwsItem> items{{.element = "Message",
                                     .id = "id-1",
                                     .subject = "Lunch & more",
                                     .from = {.name = "Bob", .address = "bob@example.test"},
                                     .received = WallTime(std::chrono::seconds(1'800'000'000)),
                                     .item_class = "IPM.Note",
                                     .sensitivity = proto::Sensitivity::private_,
                                     .conversation_id = "conversation",
                                     .is_read = false,
                                     .preview = "Hello"},
                                    {.element = "MeetingRequest", .id = "id-3", .subject = "Meet", .sender = {.name = "Eve"}}};
  std::vector<proto::EwsResponseMessage> messages(3);
  messages[0] = {.code = EwsResponseCode::no_error, .code_text = "NoError", .items = std::span(items).first(1)};
  messages[1] = {.response_class = proto::ResponseClass::error,
                 .code = EwsResponseCode::item_not_found,
                 .code_text = "ErrorItemNotFound"};
  messages[2] = {.code = EwsResponseCode::no_error, .code_text = "NoError", .items = std::span(items).last(1)};
  s.peer.script.push_back({.bytes = soap_answer({.kind = EwsAnswerKind::get_item, .messages = messages})});
  std::vector<std::string_view> ids = {"id-1", "id-2", "id-3"};
  auto reply = co_await s.client->get_items(s.target(), ids, true);
  CO_ASSERT(reply && reply->size() == 3);
  const MailItem& first = (*reply)[0];
  EXPECT_EQ(first.id, "id-1");
  EXPECT_EQ(first.subject, "Lunch & more");
  EXPECT_EQ(first.sender_name, "Bob");
  EXPECT_EQ(first.sender_address, "bob@example.test");
  EXPECT_EQ(first.conversation_id, "conversation");
  EXPECT_EQ(first.preview, "Hello");
  EXPECT_EQ(first.received, WallTime(std::chrono::seconds(1'800'000'000)));
  EXPECT_EQ(first.is_read, false);
  EXPECT_TRUE(first.private_);
  EXPECT_FALSE(first.gone);
  EXPECT_TRUE((*reply)[1].gone);
  EXPECT_EQ((*reply)[1].id, "id-2");
  EXPECT_EQ((*reply)[2].sender_name, "Eve");
  EXPECT_FALSE((*reply)[2].private_);
  EXPECT_EQ(s.counted(EwsResult::item_gone), 1u);
  EXPECT_EQ(s.counted(EwsResult::ok), 0u);
}
TEST(EwsClient, GetItemsGivesOneItemPerIdAndMarksThoseThatAreGone) { run_scene(gets_items); }

Task<void> counts_answers(Scene& s) {
  std::vector<proto::EwsItem> items{{.element = "Message", .id = "id-1"}};
  std::vector<proto::EwsResponseMessage> messages{
      {.code = EwsResponseCode::no_error, .code_text = "NoError", .items = items}};
  s.peer.script.push_back({.bytes = soap_answer({.kind = EwsAnswerKind::get_item, .messages = messages})});
  std::vector<std::string_view> ids = {"id-1", "id-2"};
  auto reply = co_await s.client->get_items(s.target(), ids, false);
  CO_ASSERT(!reply);
  EXPECT_EQ(reply.error().kind, EwsFailureKind::garbage);
}
TEST(EwsClient, FewerAnswersThanIdsAreGarbage) { run_scene(counts_answers); }

Task<void> finds_items(Scene& s) {
  s.peer.script.push_back({.bytes = found(3, true)});
  s.peer.script.push_back({.bytes = found(2, false)});
  s.peer.script.push_back({.bytes = found(5, true)});
  WallTime since(std::chrono::seconds(1'790'000'000));
  auto all = co_await s.client->find_items(s.target(), since, 20);
  CO_ASSERT(all && all->items.size() == 3);
  EXPECT_EQ(all->items[2].id, "item-2");
  EXPECT_TRUE(all->items[0].received.has_value());
  EXPECT_FALSE(all->more);
  proto::EwsRequestReader reader(1);
  CO_ASSERT(reader.feed(s.peer.seen[0].body));
  auto request = reader.finish();
  CO_ASSERT(request);
  EXPECT_EQ((*request)->received_since, since);
  EXPECT_EQ((*request)->entries_max, 20u);
  EXPECT_EQ((*request)->mailbox, "ada@example.test");
  auto some = co_await s.client->find_items(s.target(), since, 2);
  CO_ASSERT(some);
  EXPECT_TRUE(some->more);
  auto too_many = co_await s.client->find_items(s.target(), since, 2);  // a server that gives more than was asked for
  CO_ASSERT(too_many);
  EXPECT_THAT(too_many->items, SizeIs(2));
  EXPECT_TRUE(too_many->more);
}
TEST(EwsClient, FindItemsGivesIdsAndTimesAndSaysWhetherThereAreMore) { run_scene(finds_items); }

Task<void> reads_slow_answers(Scene& s) {
  s.peer.script.push_back({.bytes = subscribed("sub-9"), .slow = true});
  auto reply = co_await s.client->subscribe(s.target(), kCallback);
  CO_ASSERT(reply);
  EXPECT_EQ(reply->subscription_id, "sub-9");
}
TEST(EwsClient, AnAnswerMayComeByteByByte) { run_scene(reads_slow_answers); }

// ---- Connections ----

Task<void> keeps_alive(Scene& s) {
  s.peer.otherwise = found(0, true);
  for (int i = 0; i < 5; ++i) CO_ASSERT(co_await s.client->verify(s.target()));
  EXPECT_EQ(s.peer.connections, 1u);
  EXPECT_THAT(s.peer.seen, SizeIs(5));
  EXPECT_EQ(s.open_connections(), 1u);
}
TEST(EwsClient, FurtherRequestsUseTheSameConnection) { run_scene(keeps_alive); }

Task<void> replaces_stale(Scene& s) {
  s.peer.script.push_back({.bytes = found(0, true), .end = Reply::End::close});
  s.peer.script.push_back({.bytes = found(0, true), .end = Reply::End::reset});
  s.peer.otherwise = found(0, true);
  for (int i = 0; i < 3; ++i) {
    CO_ASSERT(co_await s.client->verify(s.target()));
    if (i < 2) co_await s.peer.until_ended(static_cast<size_t>(i) + 1);
  }
  EXPECT_EQ(s.peer.connections, 3u);
  EXPECT_THAT(s.peer.seen, SizeIs(3));
}
TEST(EwsClient, AConnectionThatDiedIdleIsReplaced) { run_scene(replaces_stale); }

Task<void> obeys_close(Scene& s) {
  s.peer.script.push_back({.bytes = http_answer(200, "", "connection: close\r\n"), .end = Reply::End::close});
  (void)co_await s.client->verify(s.target());
  EXPECT_EQ(s.open_connections(), 0u);
}
TEST(EwsClient, AnAnswerThatClosesEndsTheConnection) { run_scene(obeys_close); }

Task<void> closes_idle(Scene& s) {
  s.peer.otherwise = found(0, true);
  CO_ASSERT(co_await s.client->verify(s.target()));
  co_await s.peer.until_ended(1);
  EXPECT_EQ(s.peer.connections, 1u);
}
TEST(EwsClient, IdleConnectionsAreClosedAfterTheirTime) {
  run_scene(closes_idle, [](EwsConfig& config) { config.idle_timeout_ms = 50; });
}

Task<void> keeps_tenants_apart(Scene& s) {
  s.peer.otherwise = found(0, true);
  std::unique_ptr<Tenant> other = s.make_tenant(1);
  EwsTarget of_other = s.target();
  of_other.tenant = other.get();
  for (int i = 0; i < 3; ++i) {
    CO_ASSERT(co_await s.client->verify(s.target()));
    CO_ASSERT(co_await s.client->verify(of_other));
  }
  EXPECT_EQ(s.peer.connections, 2u);
  for (size_t i = 0; i < s.peer.seen.size(); ++i) EXPECT_EQ(s.peer.seen[i].connection, i % 2 + 1);
  co_await s.client->close();  // before the tenant dies
}
TEST(EwsClient, TenantsDoNotShareConnections) { run_scene(keeps_tenants_apart); }

Task<void> verifies_certificate(Scene& s) {
  auto stranger = make_authority("another authority", {io::wall_now() - 24h, io::wall_now() + 24h});
  CO_ASSERT(stranger);
  s.authority = *std::move(stranger);
  co_await s.client->close();
  s.make_client();
  auto reply = co_await s.client->verify(s.target());
  CO_ASSERT(!reply);
  EXPECT_EQ(reply.error().kind, EwsFailureKind::unavailable);
  EXPECT_EQ(reply.error().error.domain, Domain::tls);
  EXPECT_THAT(s.peer.seen, SizeIs(0));
  EXPECT_EQ(s.peer.connections, 1u);
  EXPECT_EQ(s.counted(EwsResult::connect_failed), 1u);
}
TEST(EwsClient, ACertificateOfAnotherAuthorityGetsNoRequest) { run_scene(verifies_certificate); }

// ---- Where it may go ----

Task<void> refuses_addresses(Scene& s) {
  for (const char* url : {"https://127.0.0.3:PORT/EWS", "https://mail.example.com:PORT/EWS", "http://127.0.0.1:PORT/EWS",
                          "https://127.0.0.1:1/EWS", "https://169.254.169.254:PORT/", "https://2130706433:PORT/"}) {
    std::string text = url;
    if (size_t at = text.find("PORT"); at != text.npos) text.replace(at, 4, std::to_string(s.peer.port()));
    EwsTarget target = s.target();
    target.url = text;
    auto reply = co_await s.client->verify(target);
    CO_ASSERT(!reply);
    EXPECT_EQ(reply.error().kind, EwsFailureKind::refused) << text;
  }
  std::unique_ptr<Tenant> strict = s.make_tenant(1);
  strict->addresses = proto::AddressPolicy();
  EwsTarget target = s.target();
  target.tenant = strict.get();
  auto reply = co_await s.client->verify(target);
  CO_ASSERT(!reply);
  EXPECT_EQ(reply.error().kind, EwsFailureKind::refused);
  EXPECT_EQ(s.peer.connections, 0u);
}
TEST(EwsClient, RefusesHostsPortsAndAddressesThatTheTenantMayNotReach) { run_scene(refuses_addresses); }

// ---- Failures ----

Task<void> never_retries_401(Scene& s) {
  s.peer.otherwise = plain(401, "www-authenticate: Basic realm=\"x\"\r\n");
  auto reply = co_await s.client->verify(s.target());
  CO_ASSERT(!reply);
  EXPECT_EQ(reply.error().kind, EwsFailureKind::unauthorized);
  EXPECT_THAT(s.peer.seen, SizeIs(1));
  EXPECT_EQ(s.counted(EwsResult::unauthorized), 1u);
  s.peer.otherwise = plain(403);
  auto forbidden = co_await s.client->verify(s.target());
  CO_ASSERT(!forbidden);
  EXPECT_EQ(forbidden.error().kind, EwsFailureKind::unauthorized);
  s.peer.otherwise = refused(EwsAnswerKind::find_item, "ErrorAccountDisabled");
  auto disabled = co_await s.client->verify(s.target());
  CO_ASSERT(!disabled);
  EXPECT_EQ(disabled.error().kind, EwsFailureKind::unauthorized);
  EXPECT_THAT(s.peer.seen, SizeIs(3));
}
TEST(EwsClient, ARefusedLogonIsNotTriedAgain) { run_scene(never_retries_401); }

Task<void> retries_503(Scene& s) {
  s.peer.script.push_back({.bytes = plain(503)});
  s.peer.otherwise = found(0, true);
  CO_ASSERT(co_await s.client->verify(s.target()));
  EXPECT_THAT(s.peer.seen, SizeIs(2));
  EXPECT_EQ(s.counted(EwsResult::ok), 1u);
}
TEST(EwsClient, APlain503IsTriedOnceMore) { run_scene(retries_503); }

Task<void> stops_after_second_503(Scene& s) {
  s.peer.otherwise = plain(503);
  auto reply = co_await s.client->verify(s.target());
  CO_ASSERT(!reply);
  EXPECT_EQ(reply.error().kind, EwsFailureKind::throttled);
  EXPECT_GT(reply.error().retry_after, Duration::zero());
  EXPECT_THAT(s.peer.seen, SizeIs(2));
  auto next = co_await s.client->verify(s.target(2));
  CO_ASSERT(!next);
  EXPECT_EQ(next.error().kind, EwsFailureKind::throttled);
  EXPECT_THAT(s.peer.seen, SizeIs(2));
}
TEST(EwsClient, ASecond503MakesTheHostRest) { run_scene(stops_after_second_503); }

Task<void> honours_back_off(Scene& s) {
  s.peer.script.push_back({.bytes = busy_fault(60)});
  s.peer.script.push_back({.bytes = refused(EwsAnswerKind::find_item, "ErrorInternalServerError", 60)});
  s.peer.script.push_back({.bytes = refused(EwsAnswerKind::find_item, "ErrorServerBusy", 60)});
  s.peer.otherwise = found(0, true);
  for (size_t form = 1; form <= 3; ++form) {
    auto busy = co_await s.client->verify(s.target());
    CO_ASSERT(!busy);
    EXPECT_EQ(busy.error().kind, EwsFailureKind::throttled) << form;
    EXPECT_EQ(busy.error().retry_after, Duration(60ms));
    auto early = co_await s.client->verify(s.target(2));
    CO_ASSERT(!early);
    EXPECT_EQ(early.error().kind, EwsFailureKind::throttled);
    EXPECT_LE(early.error().retry_after, Duration(60ms));
    EXPECT_THAT(s.peer.seen, SizeIs(form));
    CO_ASSERT(co_await sleep_for(busy.error().retry_after));
  }
  CO_ASSERT(co_await s.client->verify(s.target()));
  EXPECT_EQ(s.counted(EwsResult::throttled), 6u);
}
TEST(EwsClient, NothingIsSentBeforeABackOffEnds) { run_scene(honours_back_off); }

Task<void> caps_back_off(Scene& s) {
  s.peer.script.push_back({.bytes = busy_fault(297'749)});
  auto fault = co_await s.client->verify(s.target());
  CO_ASSERT(!fault);
  EXPECT_EQ(fault.error().retry_after, Duration(50ms));
  EXPECT_EQ(fault.error().code, EwsResponseCode::server_busy);
  EXPECT_EQ(fault.error().code_text, "ErrorServerBusy");
  CO_ASSERT(co_await sleep_for(fault.error().retry_after));
  s.peer.script.push_back({.bytes = plain(503, "retry-after: 120\r\n")});
  auto header = co_await s.client->verify(s.target());
  CO_ASSERT(!header);
  EXPECT_EQ(header.error().retry_after, Duration(50ms));
  EXPECT_THAT(s.peer.seen, SizeIs(2));  // a 503 with a hint is not repeated
}
TEST(EwsClient, ABackOffIsCutToTheConfiguredMaximum) {
  run_scene(caps_back_off, [](EwsConfig& config) { config.back_off_ms_max = 50; });
}

Task<void> mailbox_trouble_stays_local(Scene& s) {
  s.peer.script.push_back({.bytes = refused(EwsAnswerKind::find_item, "ErrorInternalServerError")});
  s.peer.script.push_back({.bytes = refused(EwsAnswerKind::find_item, "ErrorMailboxMoveInProgress")});
  s.peer.otherwise = found(0, true);
  auto busy = co_await s.client->verify(s.target());
  CO_ASSERT(!busy);
  EXPECT_EQ(busy.error().kind, EwsFailureKind::throttled);
  auto moving = co_await s.client->verify(s.target());
  CO_ASSERT(!moving);
  EXPECT_EQ(moving.error().kind, EwsFailureKind::ews_error);
  EXPECT_EQ(moving.error().code, EwsResponseCode::mailbox_move_in_progress);
  EXPECT_EQ(s.counted(EwsResult::ews_error), 1u);
  CO_ASSERT(co_await s.client->verify(s.target(2)));
}
TEST(EwsClient, AMailboxsOwnTroubleDoesNotStopTheHost) { run_scene(mailbox_trouble_stays_local); }

struct BadAnswer {
  const char* name;
  std::string bytes;
  EwsFailureKind kind;
  EwsResult result;
};
std::vector<BadAnswer> bad_answers() {
  using K = EwsFailureKind;
  using R = EwsResult;
  std::string many_fields, interim;
  for (int i = 0; i < 120; ++i) many_fields += "x-" + std::to_string(i) + ": y\r\n";
  for (int i = 0; i < 6; ++i) interim += "HTTP/1.1 103 Early\r\n\r\n";
  return {
      {"not HTTP", "ICY 200 OK\r\n\r\n", K::garbage, R::malformed},
      {"HTML", http_answer(200, "<html><body>hello</body></html>"), K::garbage, R::malformed},
      {"no XML", http_answer(200, "hello"), K::garbage, R::malformed},
      {"empty", http_answer(200, ""), K::garbage, R::malformed},
      {"DOCTYPE", http_answer(200, "<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>"), K::garbage, R::malformed},
      {"another message", subscribed(), K::garbage, R::malformed},
      {"too large", http_answer(200, std::string(40'000, ' ')), K::garbage, R::too_large},
      {"too large later", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9c40\r\n" + std::string(40'000, ' '),
       K::garbage, R::too_large},
      {"header fields", plain(200, many_fields), K::garbage, R::too_large},
      {"interim flood", interim + found(0, true), K::garbage, R::malformed},
      {"encoded", http_answer(200, "\x1f\x8b", "content-encoding: gzip\r\n"), K::garbage, R::malformed},
      {"another request's", http_answer(200, found(0, true), "client-request-id: 0\r\n"), K::garbage, R::malformed},
      {"redirect", plain(302, "location: https://127.0.0.1/\r\n"), K::garbage, R::http_error},
      {"see other", plain(307, "location: /EWS/Exchange.asmx\r\n"), K::garbage, R::http_error},
      {"not found", plain(404), K::garbage, R::http_error},
      {"server error", plain(500), K::unavailable, R::http_error},
      {"bad gateway", plain(502), K::unavailable, R::http_error},
      {"cut short", found(0, true).substr(0, 200), K::unavailable, R::http_error},
  };
}

Task<void> survives_bad_answers(Scene& s) {
  for (const BadAnswer& bad : bad_answers()) {
    for (Reply::End end : {Reply::End::close, Reply::End::reset}) {
      uint64_t counted = s.counted(bad.result);
      size_t seen = s.peer.seen.size();
      s.peer.script.push_back({.bytes = bad.bytes, .end = end});
      auto reply = co_await s.client->verify(s.target());
      CO_ASSERT(!reply);
      EXPECT_EQ(reply.error().kind, bad.kind) << bad.name << ": " << error_text(reply.error().error);
      EXPECT_EQ(s.counted(bad.result), counted + 1) << bad.name << ": " << error_text(reply.error().error);
      EXPECT_EQ(s.peer.seen.size(), seen + 1) << bad.name;
      // The connection is of no more use; the next request finds a new one.
      s.peer.script.push_back({.bytes = found(0, true)});
      EXPECT_TRUE(co_await s.client->verify(s.target())) << bad.name;
    }
  }
}
TEST(EwsClient, NonsenseRedirectsAndLostConnectionsFailOneRequestOnly) {
  run_scene(survives_bad_answers, [](EwsConfig& config) {
    config.answer_bytes_max = 32'768;
    config.breaker_window_requests = 1000;
  });
}

Task<void> gives_up_on_fresh(Scene& s) {
  for (Reply::End end : {Reply::End::close, Reply::End::reset}) {
    s.peer.script.push_back({.bytes = "", .end = end});
    auto reply = co_await s.client->verify(s.target());
    CO_ASSERT(!reply);
    EXPECT_EQ(reply.error().kind, EwsFailureKind::unavailable);
  }
  EXPECT_THAT(s.peer.seen, SizeIs(2));
}
TEST(EwsClient, ANewConnectionThatDiesWithoutAnAnswerIsNotReplaced) { run_scene(gives_up_on_fresh); }

Task<void> obeys_deadline(Scene& s) {
  Event release;
  s.peer.script.push_back({.bytes = found(0, true), .hold = &release});
  {
    DeadlineContext deadline(&co_await current_context(), io::now() + 150ms);
    auto reply = co_await s.client->verify(s.target()).under(deadline.context());
    CO_ASSERT(!reply);
    EXPECT_EQ(reply.error().kind, EwsFailureKind::unavailable);
    EXPECT_TRUE(deadline.expired());
  }
  EXPECT_EQ(s.counted(EwsResult::timed_out), 1u);
  EXPECT_EQ(s.open_connections(), 0u);
  release.set();
}
TEST(EwsClient, ASlowAnswerEndsAtTheCallersDeadline) { run_scene(obeys_deadline); }

Task<void> has_own_deadline(Scene& s) {
  Event release;
  s.peer.script.push_back({.bytes = subscribed(), .hold = &release});
  auto reply = co_await s.client->subscribe(s.target(), kCallback);
  CO_ASSERT(!reply);
  EXPECT_EQ(reply.error().error, core_error(CoreError::timed_out));
  release.set();
}
TEST(EwsClient, ARequestWithoutDeadlineEndsBySubscribeTimeout) {
  run_scene(has_own_deadline, [](EwsConfig& config) { config.subscribe_timeout_ms = 150; });
}

Task<void> retries_connect(Scene& s) {
  co_await s.peer.stop();
  auto reply = co_await s.client->verify(s.target());
  CO_ASSERT(!reply);
  EXPECT_EQ(reply.error().kind, EwsFailureKind::unavailable);
  EXPECT_EQ(reply.error().error.domain, Domain::os);
  EXPECT_EQ(s.counted(EwsResult::connect_failed), 1u);
  EXPECT_THAT(s.log_text(), HasSubstr("\"attempts\":2"));
  co_await s.peer.start(s.authority, s.peer.port());
}
TEST(EwsClient, ARefusedConnectIsTriedOnceMore) { run_scene(retries_connect); }

Task<void> logs_nothing_personal(Scene& s) {
  s.peer.script.push_back({.bytes = refused(EwsAnswerKind::subscribe, "ErrorNonExistentMailbox")});
  auto reply = co_await s.client->subscribe(s.target(), kCallback);
  CO_ASSERT(!reply);
  EXPECT_THAT(s.log_text(), HasSubstr("\"code\":\"ErrorNonExistentMailbox\""));
  EXPECT_THAT(s.log_text(), HasSubstr("\"operation\":\"Subscribe\""));
  for (std::string_view secret : {"ada", "correct horse", "YWRhOm", "c2VhbGVk", "creds="}) {
    EXPECT_THAT(s.log_text(), Not(HasSubstr(std::string(secret))));
  }
}
TEST(EwsClient, AFailureIsLoggedWithoutPersonalData) { run_scene(logs_nothing_personal); }

}  // namespace
}  // namespace bellhop::service
