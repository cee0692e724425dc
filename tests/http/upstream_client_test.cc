// SPDX-License-Identifier: Apache-2.0
// Exchanges with an upstream in pieces. Runs on both back ends.
#include "service/upstream_client.h"

#include "proto/http_error.h"
#include "tests/core/until.h"
#include "tests/http/upstream_fixture.h"

namespace bellhop::service {
namespace {

using test::run_on_cores;
using testing::HasSubstr;

// ---- Requests ----

Task<void> answer_sized(RawUpstream& raw, std::string& head) {
  auto peer = co_await raw.accept();
  CO_ASSERT(peer);
  head = co_await peer->read_to("hello");
  co_await peer->answer("world", "X-Kind: a\r\n");
  co_await peer->read_to_end();
}
Task<void> sends_a_sized_body(unsigned) {
  UpstreamScene scene(&co_await current_context());
  std::string head;
  scene.start(answer_sized(scene.raw, head));
  {
    UpstreamExchange exchange(scene.pool, {});
    EXPECT_EQ(exchange.stage(), UpstreamStage::waiting);
    CO_ASSERT(co_await exchange.connect());
    EXPECT_FALSE(exchange.reused());
    EXPECT_EQ(exchange.note(), 0u);
    const proto::HeaderField fields[] = {{"authorization", "Basic eA=="}};
    CO_ASSERT(co_await exchange.send_head({.method = "POST",
                                           .target = "/EWS/Exchange.asmx",
                                           .host = "mail.example.com",
                                           .headers = fields,
                                           .has_body = true,
                                           .content_length = 5},
                                          true));
    CO_ASSERT(co_await exchange.write_some(as_bytes("he")));
    CO_ASSERT(co_await exchange.write_some(as_bytes("llo"), true));
    CO_ASSERT(co_await exchange.end_body());
    EXPECT_TRUE(exchange.request_sent());
    auto answer = co_await within(20s, exchange.read_head());
    CO_ASSERT(answer);
    EXPECT_EQ(exchange.stage(), UpstreamStage::answering);
    EXPECT_EQ(answer->status, 200);
    EXPECT_EQ(answer->content_length, 5u);
    EXPECT_TRUE(answer->has_body);
    EXPECT_EQ(answer->headers->find("x-kind"), "a");
    auto body = co_await read_all(exchange);
    CO_ASSERT(body);
    EXPECT_EQ(*body, "world");
    EXPECT_TRUE(exchange.answer_whole());
    CO_ASSERT(co_await exchange.read_some());  // the end again
  }
  EXPECT_EQ(scene.pool.idle(), 1u);
  EXPECT_THAT(head, HasSubstr("POST /EWS/Exchange.asmx HTTP/1.1\r\nHost: mail.example.com\r\n"));
  EXPECT_THAT(head, HasSubstr("authorization: Basic eA==\r\nContent-Length: 5\r\n\r\nhello"));
  co_await scene.end();
}
TEST(UpstreamExchange, SendsABodyOfKnownLengthInPieces) { run_on_cores(1, sends_a_sized_body); }

Task<void> answer_chunked(RawUpstream& raw, std::string& got) {
  auto peer = co_await raw.accept();
  CO_ASSERT(peer);
  got = co_await peer->read_to("0\r\n\r\n");
  for (std::string_view piece : {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-", "Encoding: chunked\r\n\r\n3\r\na", "bc\r",
                                 "\n2\r\nde\r\n0\r", "\n\r\n"}) {
    CO_ASSERT(co_await peer->write(std::string(piece)));
    CO_ASSERT(co_await sleep_for(1ms));
  }
  co_await peer->read_to_end();
}
Task<void> sends_chunks(unsigned) {
  UpstreamScene scene(&co_await current_context());
  std::string got;
  scene.start(answer_chunked(scene.raw, got));
  {
    UpstreamExchange exchange(scene.pool, {});
    CO_ASSERT(co_await exchange.connect());
    CO_ASSERT(co_await exchange.send_head({.method = "POST", .target = "/", .host = "m", .has_body = true}));
    CO_ASSERT(co_await exchange.write_some(as_bytes("0123456789abcdefX")));
    CO_ASSERT(co_await exchange.write_some(as_bytes("yz"), true));
    CO_ASSERT(co_await exchange.end_body());
    auto answer = co_await within(20s, exchange.read_head());
    CO_ASSERT(answer);
    EXPECT_EQ(answer->content_length, std::nullopt);
    auto body = co_await read_all(exchange);
    CO_ASSERT(body);
    EXPECT_EQ(*body, "abcde");
  }
  EXPECT_EQ(scene.pool.idle(), 1u);
  EXPECT_THAT(got, HasSubstr("Transfer-Encoding: chunked\r\n\r\n11\r\n0123456789abcdefX\r\n2\r\nyz\r\n0\r\n\r\n"));
  co_await scene.end();
}
TEST(UpstreamExchange, SendsAndReadsChunks) { run_on_cores(1, sends_chunks); }

// What comes after the last whole message makes a connection unfit, and so does what is not whole.
Task<void> serve_one(RawUpstream& raw, std::string answer) {
  auto peer = co_await raw.accept();
  CO_ASSERT(peer);
  (void)co_await peer->read_head();
  CO_ASSERT(co_await peer->write(answer));
  if (answer.find("until") != std::string::npos) {
    co_await peer->close();
  } else {
    co_await peer->read_to_end();
  }
}
Task<void> keeps_only_what_is_whole(unsigned) {
  struct Row {
    std::string answer;
    bool kept;
    std::string body;
  };
  const Row rows[] = {{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", true, "ok"},
                      {"HTTP/1.1 204 No Content\r\n\r\n", true, ""},
                      {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true, ""},
                      {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok", false, "ok"},
                      {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n", false, "ok"},
                      {"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", false, "ok"},
                      {"HTTP/1.1 200 OK\r\n\r\nuntil", false, "until"}};
  for (const Row& row : rows) {
    UpstreamScene scene(&co_await current_context());
    scene.start(serve_one(scene.raw, row.answer));
    bool reused = false;
    auto body = co_await ask(scene.pool, "", reused);
    CO_ASSERT(body);
    EXPECT_EQ(*body, row.body);
    EXPECT_EQ(scene.pool.idle(), row.kept ? 1u : 0u) << row.answer;
    co_await scene.end();
  }
}
TEST(UpstreamPool, KeepsConnectionsThatAreBetweenMessages) { run_on_cores(1, keeps_only_what_is_whole); }

Task<void> refuses_answers(unsigned) {
  struct Row {
    std::string answer;
    proto::HttpError error;
  };
  const Row rows[] = {{"HTTP/1.1 101 Switching Protocols\r\n\r\n", proto::HttpError::switching_protocols},
                      {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", proto::HttpError::bad_framing},
                      {"HTTP/1.1 200 OK\r\nX: " + std::string(40'000, 'x') + "\r\n\r\n", proto::HttpError::header_too_large},
                      {"SSH-2.0-until\r\n", proto::HttpError::bad_start_line}};
  for (const Row& row : rows) {
    UpstreamScene scene(&co_await current_context());
    scene.start(serve_one(scene.raw, row.answer));
    bool reused = false;
    auto body = co_await ask(scene.pool, "", reused);
    EXPECT_TRUE(!body && is(body.error(), row.error)) << row.answer;
    EXPECT_EQ(scene.pool.idle(), 0u);
    co_await scene.end();
  }
}
TEST(UpstreamExchange, RefusesAnswersThatAreNotOne) { run_on_cores(1, refuses_answers); }

Task<void> truncate(RawUpstream& raw) {
  auto peer = co_await raw.accept();
  CO_ASSERT(peer);
  (void)co_await peer->read_head();
  CO_ASSERT(co_await peer->write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"));
  co_await peer->close();
}
Task<void> sees_a_cut_answer(unsigned) {
  UpstreamScene scene(&co_await current_context());
  scene.start(truncate(scene.raw));
  bool reused = false;
  auto body = co_await ask(scene.pool, "", reused);
  EXPECT_TRUE(!body && is(body.error(), proto::HttpError::truncated));
  co_await scene.end();
}
TEST(UpstreamExchange, SeesThatAnAnswerWasCutOff) { run_on_cores(1, sees_a_cut_answer); }

// ---- What comes early, and what does not come ----

Task<void> answer_early(RawUpstream& raw, Event& answered) {
  auto peer = co_await raw.accept();
  CO_ASSERT(peer);
  (void)co_await peer->read_head();
  co_await peer->answer("no");
  answered.set();
  co_await peer->read_to_end();
}
Task<void> early_answer(unsigned) {
  UpstreamScene scene(&co_await current_context());
  Event answered;
  scene.start(answer_early(scene.raw, answered));
  {
    UpstreamExchange exchange(scene.pool, {});
    CO_ASSERT(co_await exchange.connect());
    CO_ASSERT(co_await exchange.send_head({.method = "POST", .target = "/", .host = "m", .has_body = true, .content_length = 100}));
    CO_ASSERT(co_await exchange.write_some(as_bytes("some")));
    auto answer = co_await within(20s, exchange.read_head());
    CO_ASSERT(answer);
    EXPECT_FALSE(exchange.request_sent());
    auto body = co_await read_all(exchange);
    CO_ASSERT(body);
    EXPECT_EQ(*body, "no");
    // The rest may still go out.
    CO_ASSERT(co_await exchange.write_some(as_bytes("more")));
    Status ended = co_await exchange.end_body();
    EXPECT_TRUE(!ended && is(ended.error(), proto::HttpError::unwritable));
  }
  EXPECT_EQ(scene.pool.idle(), 0u);  // the request was never whole
  co_await scene.end();
}
TEST(UpstreamExchange, ReadsAnAnswerThatComesBeforeTheRequestIsWhole) { run_on_cores(1, early_answer); }

Task<void> invite(RawUpstream& raw, std::string& head, bool mute) {
  auto peer = co_await raw.accept();
  CO_ASSERT(peer);
  head = co_await peer->read_head();
  if (!mute) CO_ASSERT(co_await peer->write("HTTP/1.1 100 Continue\r\n\r\n"));
  (void)co_await peer->read_to("body");
  co_await peer->answer("fine");
  co_await peer->read_to_end();
}
Task<void> expects(bool mute) {
  UpstreamScene scene(&co_await current_context());
  std::string head;
  scene.start(invite(scene.raw, head, mute));
  {
    UpstreamExchange exchange(scene.pool, {});
    CO_ASSERT(co_await exchange.connect());
    CO_ASSERT(co_await exchange.send_head(
        {.method = "POST", .target = "/", .host = "m", .has_body = true, .content_length = 4, .expect_continue = true}, true));
    Instant start = io::now();
    auto invited = co_await exchange.invited();
    CO_ASSERT(invited);
    EXPECT_TRUE(*invited);
    if (mute) EXPECT_GE(io::now() - start, UpstreamExchange::kContinueWait);
    CO_ASSERT(co_await exchange.write_some(as_bytes("body")));
    CO_ASSERT(co_await exchange.end_body());
    auto answer = co_await within(20s, exchange.read_head());
    CO_ASSERT(answer);
    auto body = co_await read_all(exchange);
    CO_ASSERT(body);
    EXPECT_EQ(*body, "fine");
  }
  EXPECT_THAT(head, HasSubstr("expect: 100-continue"));
  EXPECT_EQ(scene.pool.idle(), 1u);
  co_await scene.end();
}
TEST(UpstreamExchange, WaitsForTheInvitationOfABody) {
  run_on_cores(1, [](unsigned) { return expects(false); });
}
TEST(UpstreamExchange, SendsABodyToAnUpstreamThatDoesNotInvite) {
  run_on_cores(1, [](unsigned) { return expects(true); });
}

Task<void> refuse_body(RawUpstream& raw) {
  auto peer = co_await raw.accept();
  CO_ASSERT(peer);
  (void)co_await peer->read_head();
  CO_ASSERT(co_await peer->write("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"));
  co_await peer->read_to_end();
  EXPECT_EQ(peer->received, "");
}
Task<void> refused_body(unsigned) {
  UpstreamScene scene(&co_await current_context());
  scene.start(refuse_body(scene.raw));
  {
    UpstreamExchange exchange(scene.pool, {});
    CO_ASSERT(co_await exchange.connect());
    CO_ASSERT(co_await exchange.send_head(
        {.method = "POST", .target = "/", .host = "m", .has_body = true, .content_length = 4, .expect_continue = true}));
    auto invited = co_await exchange.invited();
    CO_ASSERT(invited);
    EXPECT_FALSE(*invited);
    auto answer = co_await within(20s, exchange.read_head());
    CO_ASSERT(answer);
    EXPECT_EQ(answer->status, 401);
    EXPECT_FALSE(answer->has_body);
    EXPECT_TRUE(exchange.answer_whole());
  }
  EXPECT_EQ(scene.pool.idle(), 0u);
  co_await scene.end();
}
TEST(UpstreamExchange, TakesTheAnswerInPlaceOfAnInvitation) { run_on_cores(1, refused_body); }

Task<void> stay_mute(RawUpstream& raw, Event& asked) {
  auto peer = co_await raw.accept();
  CO_ASSERT(peer);
  (void)co_await peer->read_head();
  asked.set();
  co_await peer->read_to_end();
}
Task<void> no_answer(unsigned) {
  UpstreamScene scene(&co_await current_context());
  Event asked;
  scene.start(stay_mute(scene.raw, asked));
  {
    UpstreamExchange exchange(scene.pool, {});
    CO_ASSERT(co_await exchange.connect());
    CO_ASSERT(co_await exchange.send_head(kGet));
    CO_ASSERT(co_await exchange.end_body());
    CO_ASSERT(co_await test::until(asked, [&] { return asked.is_set(); }));
    auto answer = co_await within(50ms, exchange.read_head());
    EXPECT_TRUE(!answer && is(answer.error(), CoreError::timed_out));
    EXPECT_EQ(exchange.stage(), UpstreamStage::sending);
  }
  EXPECT_EQ(scene.pool.idle(), 0u);
  EXPECT_EQ(scene.pool.in_use(), 0u);
  co_await scene.end();
}
TEST(UpstreamExchange, EndsItsConnectionWithADeadlineThatPassed) { run_on_cores(1, no_answer); }

Task<void> read_nothing(RawUpstream& raw, Event& done) {
  auto peer = co_await raw.accept();
  CO_ASSERT(peer);
  (void)co_await peer->read_head();
  CO_ASSERT(co_await test::until(done, [&] { return done.is_set(); }));
  co_await peer->close();
}
Task<void> stalls(unsigned) {
  UpstreamScene scene(&co_await current_context(), {.write_stall_timeout = 200ms});
  Event done;
  scene.start(read_nothing(scene.raw, done));
  {
    UpstreamExchange exchange(scene.pool, {});
    CO_ASSERT(co_await exchange.connect());
    CO_ASSERT(co_await exchange.send_head({.method = "POST", .target = "/", .host = "m", .has_body = true}));
    std::string piece(16'000, 'x');
    Status sent;
    size_t bytes = 0;
    while (sent && bytes < (256u << 20)) {
      sent = co_await exchange.write_some(as_bytes(piece));
      bytes += piece.size();
    }
    EXPECT_TRUE(!sent && is(sent.error(), CoreError::timed_out));
  }
  done.set();
  co_await scene.end();
}
TEST(UpstreamExchange, GivesUpAnUpstreamThatTakesNothing) { run_on_cores(1, stalls); }

}  // namespace
}  // namespace bellhop::service
