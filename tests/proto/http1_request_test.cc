// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "tests/proto/http1_trace.h"

namespace bellhop::proto {
namespace {

using namespace std::string_literals;

std::string get(std::string_view fields) {
  return "GET / HTTP/1.1\r\nHost: a.example.com\r\n" + std::string(fields) + "\r\n";
}
std::string post(std::string_view fields, std::string_view body) {
  return "POST / HTTP/1.1\r\nHost: a\r\n" + std::string(fields) + "\r\n" + std::string(body);
}

// The error that ends the input, whole; checks that nothing but an error came last.
std::string error_of(std::string_view input, const TraceOptions& options = {}) {
  std::string trace = trace_requests(input, options);
  size_t line = trace.rfind("error ");
  return line == std::string::npos ? "no error: " + trace : trace.substr(line);
}

Error first_error(std::string_view input, uint64_t body_max = 1 << 20) {
  Http1RequestParser parser;
  for (;;) {
    auto step = parser.feed(as_bytes(input));
    if (!step) return step.error();
    input.remove_prefix(step->consumed);
    if (step->event == Http1Event::head) parser.set_body_max(body_max);
    if (step->event == Http1Event::complete) parser.reset();
    if (step->event == Http1Event::need_more) return {};
  }
}

TEST(Http1Request, ReportsHeadBodyAndEnd) {
  EXPECT_EQ(trace_requests(
                "POST /notify?id=x HTTP/1.1\r\nHost: a.example.com:443\r\nContent-Length: 5\r\nX-Y:  z \r\n\r\nhello"),
            "POST /notify?id=x [host: a.example.com:443] [content-length: 5] [x-y: z] length=5 keep\n"
            "body hello\n"
            "complete\n"
            "idle\n");
}

TEST(Http1Request, ReportsTheHeadBeforeAnyByteOfTheBodyArrived) {
  Http1RequestParser parser;
  std::string input = post("Content-Length: 3\r\nExpect: 100-continue\r\n", "");
  auto step = parser.feed(as_bytes(input));
  ASSERT_TRUE(step);
  EXPECT_EQ(step->event, Http1Event::head);
  EXPECT_EQ(step->consumed, input.size());
  EXPECT_TRUE(parser.expects_continue());
  EXPECT_TRUE(parser.in_message());
  parser.set_body_max(3);
  step = parser.feed({});
  ASSERT_TRUE(step);
  EXPECT_EQ(step->event, Http1Event::need_more);
}

TEST(Http1Request, LeavesPipelinedBytesToTheCaller) {
  Http1RequestParser parser;
  std::string first = post("Content-Length: 2\r\n", "ab");
  std::string second = get("");
  std::string both = first + second;
  Bytes input = as_bytes(both);
  auto step = parser.feed(input);
  ASSERT_EQ(step->event, Http1Event::head);
  EXPECT_EQ(step->consumed, first.size() - 2);
  input = input.subspan(step->consumed);
  parser.set_body_max(2);
  step = parser.feed(input);
  ASSERT_EQ(step->event, Http1Event::body);
  EXPECT_EQ(as_text(step->body), "ab");
  input = input.subspan(step->consumed);
  step = parser.feed(input);
  ASSERT_EQ(step->event, Http1Event::complete);
  EXPECT_EQ(step->consumed, 0u);
  EXPECT_EQ(as_text(input), second);
  EXPECT_EQ(parser.target(), "/");
  parser.reset();
  step = parser.feed(input);
  ASSERT_EQ(step->event, Http1Event::head);
  EXPECT_EQ(step->consumed, second.size());
  EXPECT_EQ(parser.method(), HttpMethod::get);
}

TEST(Http1Request, ReadsChunkedBodies) {
  std::string body = "5\r\nhello\r\n00a\r\n0123456789\r\n0\r\n\r\n";
  EXPECT_EQ(trace_requests(post("Transfer-Encoding: chunked\r\n", body) + get("")),
            "POST / [host: a] [transfer-encoding: chunked] length=? keep\n"
            "body hello0123456789\n"
            "complete\n"
            "GET / [host: a.example.com] length=0 keep\n"
            "complete\n"
            "idle\n");
}

TEST(Http1Request, ReadsAnEmptyChunkedBody) {
  EXPECT_EQ(trace_requests(post("Transfer-Encoding: Chunked\r\n", "0\r\n\r\n")),
            "POST / [host: a] [transfer-encoding: Chunked] length=? keep\ncomplete\nidle\n");
}

TEST(Http1Request, KnowsEveryMethodThatIsServed) {
  for (HttpMethod method : {HttpMethod::get, HttpMethod::head, HttpMethod::post, HttpMethod::put, HttpMethod::patch,
                            HttpMethod::delete_, HttpMethod::options}) {
    Http1RequestParser parser;
    std::string input = std::string(method_name(method)) + " /x HTTP/1.1\r\nHost: a\r\n\r\n";
    auto step = parser.feed(as_bytes(input));
    ASSERT_TRUE(step) << input;
    EXPECT_EQ(step->event, Http1Event::head);
    EXPECT_EQ(parser.method(), method);
  }
}

TEST(Http1Request, DecidesWhetherTheConnectionStays) {
  auto keeps = [](std::string_view input) {
    Http1RequestParser parser;
    auto step = parser.feed(as_bytes(input));
    return step && step->event == Http1Event::head && parser.keep_alive();
  };
  EXPECT_TRUE(keeps(get("")));
  EXPECT_TRUE(keeps(get("Connection: keep-alive\r\n")));
  EXPECT_FALSE(keeps(get("Connection: close\r\n")));
  EXPECT_FALSE(keeps(get("Connection: keep-alive, close\r\n")));
  EXPECT_FALSE(keeps(get("Connection: Close\r\n")));
  EXPECT_FALSE(keeps(get("Connection: keep-alive\r\nConnection: close\r\n")));
  EXPECT_FALSE(keeps("GET / HTTP/1.0\r\n\r\n"));
  EXPECT_TRUE(keeps("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
  EXPECT_FALSE(keeps("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n"));
}

TEST(Http1Request, IgnoresExpectationsThatNeedNoAnswer) {
  for (const std::string& input :
       {get("Expect: 100-continue\r\n"), post("Expect: 100-CONTINUE\r\nContent-Length: 0\r\n", ""),
        "POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n"s}) {
    Http1RequestParser parser;
    auto step = parser.feed(as_bytes(input));
    ASSERT_TRUE(step) << input;
    EXPECT_FALSE(parser.expects_continue()) << input;
  }
}

TEST(Http1Request, RefusesBytesAfterAConnectionThatWasClosed) {
  EXPECT_EQ(trace_requests(get("Connection: close\r\n") + "G"),
            "GET / [host: a.example.com] [connection: close] length=0 close\ncomplete\n"
            "error bytes where no message was expected\n");
  EXPECT_EQ(trace_requests(get("Connection: close\r\n")).substr(57), "close\ncomplete\nidle\n");
  EXPECT_EQ(error_of("GET / HTTP/1.0\r\n\r\n\r\n"), "error bytes where no message was expected\n");
}

TEST(Http1Request, TakesOneEmptyLineBeforeARequest) {
  EXPECT_EQ(trace_requests(get("") + "\r\n" + get("")), trace_requests(get("") + get("")));
  EXPECT_EQ(error_of("\r\n\r\n" + get("")), "error bad start line\n");
  EXPECT_EQ(error_of("\n" + get("")), "error bad start line\n");
  EXPECT_EQ(error_of("\r" + get("")), "error bad start line\n");
}

struct Refusal {
  std::string input;
  HttpError code;
  uint16_t status;
};

TEST(Http1Request, RefusesWhatCouldBeReadInTwoWays) {
  using enum HttpError;
  const Refusal table[] = {
      // Framing: one clear length or none.
      {post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"), bad_framing, 400},
      {post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), bad_framing, 400},
      {post("Content-Length: 5\r\nContent-Length: 6\r\n", "hello"), bad_framing, 400},
      {post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"), bad_framing, 400},
      {post("Content-Length: 5, 5\r\n", "hello"), bad_framing, 400},
      {post("Content-Length: +5\r\n", "hello"), bad_framing, 400},
      {post("Content-Length: -5\r\n", "hello"), bad_framing, 400},
      {post("Content-Length: 0x5\r\n", "hello"), bad_framing, 400},
      {post("Content-Length: 5 5\r\n", "hello"), bad_framing, 400},
      {post("Content-Length: 18446744073709551616\r\n", "hello"), bad_framing, 400},
      {post("Content-Length: \r\n", "hello"), bad_framing, 400},
      {post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"), bad_framing, 400},
      {post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"), bad_framing, 400},
      {post("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"), bad_framing, 400},
      {post("Transfer-Encoding: identity\r\n", "0\r\n\r\n"), bad_framing, 400},
      {post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), bad_framing, 400},
      {post("Transfer-Encoding: \"chunked\"\r\n", "0\r\n\r\n"), bad_framing, 400},
      {post("Transfer-Encoding: chunked;q=1\r\n", "0\r\n\r\n"), bad_framing, 400},
      {post("Transfer-Encoding:\r\n", "0\r\n\r\n"), bad_framing, 400},
      {"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", bad_framing, 400},

      // Field lines.
      {"GET / HTTP/1.1\nHost: a\n\n", bad_header, 400},
      {"GET / HTTP/1.1\r\nHost: a\n\r\n", bad_header, 400},
      {"GET / HTTP/1.1\r\nHost: a\r\n\n", bad_header, 400},
      {"GET / HTTP/1.1\r\nHost: a\rX: y\r\n\r\n", bad_header, 400},
      {get("X: a\r\n b\r\n"), bad_header, 400},
      {get("X: a\r\n\tb\r\n"), bad_header, 400},
      {get("X : a\r\n"), bad_header, 400},
      {get("X\t: a\r\n"), bad_header, 400},
      {get(": a\r\n"), bad_header, 400},
      {get("X\r\n"), bad_header, 400},
      {get("X: a\0b\r\n"s), bad_header, 400},
      {get("X\0: a\r\n"s), bad_header, 400},
      {get("X: a\x7f\r\n"), bad_header, 400},
      {get("X: a\x01\r\n"), bad_header, 400},
      {get("X(y): a\r\n"), bad_header, 400},
      {"GET / HTTP/1.1\r\n Host: a\r\n\r\n", bad_header, 400},

      // Chunks.
      {post("Transfer-Encoding: chunked\r\n", "0x5\r\nhello\r\n0\r\n\r\n"), bad_chunk, 400},
      {post("Transfer-Encoding: chunked\r\n", "+5\r\nhello\r\n0\r\n\r\n"), bad_chunk, 400},
      {post("Transfer-Encoding: chunked\r\n", "5_\r\nhello\r\n0\r\n\r\n"), bad_chunk, 400},
      {post("Transfer-Encoding: chunked\r\n", "5 \r\nhello\r\n0\r\n\r\n"), bad_chunk, 400},
      {post("Transfer-Encoding: chunked\r\n", "5\nhello\r\n0\r\n\r\n"), bad_chunk, 400},
      {post("Transfer-Encoding: chunked\r\n", "5\r\nhello\n0\r\n\r\n"), bad_chunk, 400},
      {post("Transfer-Encoding: chunked\r\n", "5\r\nhelloX\r\n0\r\n\r\n"), bad_chunk, 400},
      {post("Transfer-Encoding: chunked\r\n", "5;a=b\r\nhello\r\n0\r\n\r\n"), bad_chunk, 400},
      {post("Transfer-Encoding: chunked\r\n", "5;\nhello\r\n0\r\n\r\n"), bad_chunk, 400},
      {post("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\nX: y\r\n\r\n"), bad_chunk, 400},
      {post("Transfer-Encoding: chunked\r\n", "10000000000000000\r\n"), bad_chunk, 400},
      {post("Transfer-Encoding: chunked\r\n", std::string(70, '0') + "\r\n\r\n"), bad_chunk, 400},
      {post("Transfer-Encoding: chunked\r\n", "\r\n5\r\nhello\r\n0\r\n\r\n"), bad_chunk, 400},

      // Host.
      {"GET / HTTP/1.1\r\n\r\n", bad_host, 400},
      {"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", bad_host, 400},
      {"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", bad_host, 400},
      {"GET / HTTP/1.1\r\nHost:\r\n\r\n", bad_host, 400},
      {"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", bad_host, 400},
      {"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", bad_host, 400},
      {"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", bad_host, 400},
      {"GET / HTTP/1.1\r\nHost: a:\r\n\r\n", bad_host, 400},
      {"GET / HTTP/1.1\r\nHost: a:0\r\n\r\n", bad_host, 400},
      {"GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", bad_host, 400},
      {"GET / HTTP/1.1\r\nHost: a:1:2\r\n\r\n", bad_host, 400},
      {"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", bad_host, 400},
      {"GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n", bad_host, 400},
      {"GET / HTTP/1.1\r\nHost: [::1%25eth0]\r\n\r\n", bad_host, 400},

      // Targets.
      {"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", bad_target, 400},
      {"GET https://b/ HTTP/1.1\r\nHost: a\r\n\r\n", bad_target, 400},
      {"GET * HTTP/1.1\r\nHost: a\r\n\r\n", bad_target, 400},
      {"GET /a\\b HTTP/1.1\r\nHost: a\r\n\r\n", bad_target, 400},
      {"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", bad_target, 400},
      {"GET /a%4 HTTP/1.1\r\nHost: a\r\n\r\n", bad_target, 400},
      {"GET /a%zz HTTP/1.1\r\nHost: a\r\n\r\n", bad_target, 400},
      {"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", bad_target, 400},
      {"GET /\"x\" HTTP/1.1\r\nHost: a\r\n\r\n", bad_target, 400},
      {"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", bad_start_line, 400},
      {"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", method_refused, 501},
      {"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", method_refused, 501},
      {"PROPFIND / HTTP/1.1\r\nHost: a\r\n\r\n", method_refused, 501},
      {"BREW / HTTP/1.1\r\nHost: a\r\n\r\n", bad_start_line, 400},
      {"get / HTTP/1.1\r\nHost: a\r\n\r\n", bad_start_line, 400},
      {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"s, bad_start_line, 400},

      // Versions and other protocols.
      {"GET /\r\n\r\n", bad_version, 505},
      {"GET / HTTP/0.9\r\nHost: a\r\n\r\n", bad_version, 505},
      {"GET / HTTP/1.2\r\nHost: a\r\n\r\n", bad_version, 505},
      {"GET / HTTP/2.0\r\nHost: a\r\n\r\n", bad_version, 505},
      {"GET / HTTP/3.0\r\nHost: a\r\n\r\n", bad_version, 505},
      {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", bad_version, 505},
      {"OPTIONS / RTSP/1.0\r\nHost: a\r\n\r\n", bad_version, 505},
      {get("Connection: Upgrade\r\nUpgrade: h2c\r\n"), upgrade_refused, 501},
      {get("Connection: Upgrade\r\nUpgrade: websocket\r\n"), upgrade_refused, 501},
      {get("Upgrade: h2c\r\n"), upgrade_refused, 501},
      {post("Expect: 100-continue, x\r\nContent-Length: 1\r\n", ""), bad_expectation, 417},
      {post("Expect: 200-ok\r\nContent-Length: 1\r\n", ""), bad_expectation, 417},
      {post("Expect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 1\r\n", ""), bad_expectation, 417},
  };
  for (const Refusal& refusal : table) {
    Error error = first_error(refusal.input);
    EXPECT_TRUE(is(error, refusal.code)) << refusal.input << " gave " << http_error_text(error.code, error.detail);
    EXPECT_EQ(http_error_status(error), refusal.status) << refusal.input;
  }
}

TEST(Http1Request, DropsOnlySpacesAroundValues) {
  EXPECT_EQ(trace_requests(get("A:\t b c \t\r\nB:\r\nC: \r\n")),
            "GET / [host: a.example.com] [a: b c] [b: ] [c: ] length=0 keep\ncomplete\nidle\n");
}

TEST(Http1Request, PermitsExactlyTheBytesOfTheRfcInNamesValuesAndTargets) {
  for (int byte = 0; byte < 256; ++byte) {
    char c = static_cast<char>(byte);
    bool token = c != 0 && is_token(std::string_view(&c, 1));
    EXPECT_EQ(first_error(get("a"s + c + "b: v\r\n")) == Error{}, token || c == ':') << byte;
    bool value = byte == '\t' || (byte >= 0x20 && byte != 0x7f);
    EXPECT_EQ(first_error(get("n: a"s + c + "b\r\n")) == Error{}, value) << byte;
    bool target = byte > 0x20 && byte < 0x7f && "\"#%<>[\\]^`{|}"s.find(c) == std::string::npos;
    EXPECT_EQ(first_error("GET /a"s + c + "b HTTP/1.1\r\nHost: a\r\n\r\n") == Error{}, target) << byte;
    // ActiveSync clients write User=DOMAIN\user.
    EXPECT_EQ(first_error("GET /?a"s + c + "b HTTP/1.1\r\nHost: a\r\n\r\n") == Error{}, target || c == '\\') << byte;
  }
}

TEST(Http1Request, StopsAtTheTargetLimit) {
  auto request = [](size_t size) { return "GET /" + std::string(size - 1, 'a') + " HTTP/1.1\r\nHost: a\r\n\r\n"; };
  EXPECT_EQ(first_error(request(Http1RequestParser::kTargetMax)), Error{});
  EXPECT_EQ(http_error_status(first_error(request(Http1RequestParser::kTargetMax + 1))), 414);
  EXPECT_EQ(http_error_status(first_error(request(100'000))), 414);
  EXPECT_EQ(http_error_status(first_error("GET /" + std::string(9000, 'a'))), 414);
}

TEST(Http1Request, StopsAtTheHeaderLimits) {
  std::string fields;
  for (int i = 0; i < 99; ++i) fields += "X-" + std::to_string(i) + ": y\r\n";
  EXPECT_EQ(first_error(get(fields)), Error{});  // 100 with Host
  EXPECT_EQ(http_error_status(first_error(get(fields + "X: y\r\n"))), 431);

  // The section counts from the line end of the request line to the end of the empty line.
  constexpr size_t kOther = std::string_view("\r\nHost: a.example.com\r\nX: \r\n\r\n").size();
  auto request = [](size_t value) { return get("X: " + std::string(value, 'v') + "\r\n"); };
  EXPECT_EQ(first_error(request(32 * 1024 - kOther)), Error{});
  EXPECT_EQ(http_error_status(first_error(request(32 * 1024 - kOther + 1))), 431);
  EXPECT_EQ(http_error_status(first_error(get("X:" + std::string(40'000, ' ')))), 431);
  EXPECT_EQ(http_error_status(first_error(get(std::string(40'000, 'x')))), 431);
}

TEST(Http1Request, StopsAtTheBodyLimitThatTheCallerGave) {
  EXPECT_EQ(first_error(post("Content-Length: 5\r\n", "hello"), 5), Error{});
  EXPECT_EQ(http_error_status(first_error(post("Content-Length: 5\r\n", ""), 4)), 413);
  EXPECT_EQ(http_error_status(first_error(post("Content-Length: 18446744073709551615\r\n", ""), UINT64_MAX - 1)), 413);
  std::string chunked = post("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
  EXPECT_EQ(first_error(chunked, 5), Error{});
  EXPECT_EQ(http_error_status(first_error(chunked, 4)), 413);
  EXPECT_EQ(http_error_status(first_error(post("Transfer-Encoding: chunked\r\n", "ffffffffffffffff\r\n"))), 413);
  EXPECT_EQ(http_error_status(first_error(post("Content-Length: 1\r\n", "x"), 0)), 413);
}

TEST(Http1Request, AcceptsNoBodyUnlessALimitWasGiven) {
  Http1RequestParser parser;
  std::string input = post("Content-Length: 1\r\n", "x");
  auto head = parser.feed(as_bytes(input));
  ASSERT_TRUE(head);
  auto body = parser.feed(as_bytes("x"));
  ASSERT_FALSE(body);
  EXPECT_TRUE(is(body.error(), HttpError::body_too_large));
}

TEST(Http1Request, RefusesALateErrorOnlyAfterTheGoodRequestsBeforeIt) {
  EXPECT_EQ(trace_requests(get("") + "GET / HTTP/1.1\r\n\r\n"),
            "GET / [host: a.example.com] length=0 keep\ncomplete\nerror host field missing, repeated or bad\n");
}

TEST(Http1Request, ReusesAndWipesItsMemory) {
  Http1RequestParser parser;
  std::string input = "GET /notify?creds=topsecret HTTP/1.1\r\nHost: a\r\nAuthorization: Basic c2VjcmV0\r\n\r\n";
  const char* target = nullptr;
  const char* value = nullptr;
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(parser.feed(as_bytes(input))->event, Http1Event::head);
    ASSERT_EQ(parser.feed({})->event, Http1Event::complete);
    EXPECT_EQ(*parser.headers().find("authorization"), "Basic c2VjcmV0");
    if (i > 0) {
      EXPECT_EQ(parser.target().data(), target) << "moved";
      EXPECT_EQ(parser.headers().find("authorization")->data(), value) << "moved";
    }
    target = parser.target().data();
    value = parser.headers().find("authorization")->data();
    size_t target_size = parser.target().size();
    parser.reset();
    for (size_t at = 0; at < target_size; ++at) ASSERT_EQ(target[at], 0);
    for (size_t at = 0; at < std::string_view("Basic c2VjcmV0").size(); ++at) ASSERT_EQ(value[at], 0);
    EXPECT_EQ(parser.target(), "");
    EXPECT_TRUE(parser.headers().empty());
  }
}

TEST(Http1Request, ReadsNothingMoreWhereARequestWasAbandoned) {
  Http1RequestParser parser;
  std::string input = post("Content-Length: 10\r\n", "");
  ASSERT_EQ(parser.feed(as_bytes(input))->event, Http1Event::head);
  parser.reset();
  auto step = parser.feed(as_bytes("x"));
  ASSERT_FALSE(step);
  EXPECT_TRUE(is(step.error(), HttpError::unexpected_bytes));
}

TEST(Http1Request, StaysReadyAfterAResetWithoutRequest) {
  Http1RequestParser parser;
  parser.reset();
  std::string input = get("");
  auto step = parser.feed(as_bytes(input));
  ASSERT_TRUE(step);
  EXPECT_EQ(step->event, Http1Event::head);
}

TEST(Http1Request, TellsIdleFromStarted) {
  Http1RequestParser parser;
  EXPECT_FALSE(parser.in_message());
  ASSERT_TRUE(parser.feed(as_bytes("G")));
  EXPECT_TRUE(parser.in_message());
}

}  // namespace
}  // namespace bellhop::proto
