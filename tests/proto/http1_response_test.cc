// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "tests/proto/http1_trace.h"

namespace bellhop::proto {
namespace {

using namespace std::string_literals;

std::string error_of(std::string_view input, const TraceOptions& options = {}) {
  std::string trace = trace_responses(input, options);
  size_t line = trace.rfind("error ");
  if (line == std::string::npos) return "no error: " + trace;
  std::string text = trace.substr(line + 6);
  return text.substr(0, text.find_first_of("(\n") - (text.find('(') != std::string::npos ? 1 : 0));
}

TEST(Http1Response, ReportsHeadBodyAndEnd) {
  EXPECT_EQ(trace_responses("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
            "200 interim=0 [content-length: 5] length=5 keep\nbody hello\ncomplete\nerror the stream ended inside a "
            "message\n");
}

TEST(Http1Response, ReadsOneResponseAfterTheOther) {
  std::string two =
      "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na"
      "HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n1\r\nb\r\n0\r\n\r\n";
  EXPECT_EQ(trace_responses(two),
            "200 interim=0 [content-length: 1] length=1 keep\nbody a\ncomplete\n"
            "503 interim=0 [transfer-encoding: chunked] [connection: close] length=? close\nbody b\ncomplete\nend\n");
}

TEST(Http1Response, EndsABodyWithoutLengthAtTheEndOfTheStream) {
  EXPECT_EQ(trace_responses("HTTP/1.1 200 OK\r\n\r\nhello"),
            "200 interim=0 length=? close\nbody hello\ncomplete at end\n");
  EXPECT_EQ(trace_responses("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n"),
            "200 interim=0 [connection: keep-alive] length=? close 1.0\ncomplete at end\n");
}

TEST(Http1Response, KnowsAnswersWithoutBody) {
  TraceOptions head{.head_requests = true, .end_of_stream = false};
  EXPECT_EQ(trace_responses("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", head),
            "200 interim=0 [content-length: 5] length=0 keep\ncomplete\n");
  EXPECT_EQ(trace_responses("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", head),
            "200 interim=0 [transfer-encoding: chunked] length=0 keep\ncomplete\n");
  EXPECT_EQ(trace_responses("HTTP/1.1 200 OK\r\n\r\n", head), "200 interim=0 length=0 keep\ncomplete\n");
  TraceOptions plain{.end_of_stream = false};
  EXPECT_EQ(trace_responses("HTTP/1.1 204 No Content\r\n\r\n", plain), "204 interim=0 length=0 keep\ncomplete\n");
  EXPECT_EQ(trace_responses("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", plain),
            "304 interim=0 [content-length: 9] length=0 keep\ncomplete\n");
  EXPECT_EQ(trace_responses("HTTP/1.1 204 No\r\nContent-Length: 0\r\n\r\n", plain),
            "204 interim=0 [content-length: 0] length=0 keep\ncomplete\n");
  EXPECT_EQ(trace_responses("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", plain),
            "200 interim=0 [content-length: 0] length=0 keep\ncomplete\n");
}

TEST(Http1Response, DoesNotReuseAConnectionWhose204AnnouncedABody) {
  TraceOptions plain{.end_of_stream = false};
  EXPECT_EQ(trace_responses("HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n", plain),
            "204 interim=0 [content-length: 5] length=0 close\ncomplete\n");
}

TEST(Http1Response, DropsInterimResponsesUpToTheLimit) {
  std::string interim = "HTTP/1.1 100 Continue\r\n\r\n";
  std::string hints = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n";
  std::string odd = "HTTP/1.1 150 Odd\r\n\r\n";
  std::string final = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx";
  TraceOptions plain{.end_of_stream = false};
  EXPECT_EQ(trace_responses(interim + hints + odd + interim + final, plain),
            "200 interim=4 [content-length: 1] length=1 keep\nbody x\ncomplete\n");
  EXPECT_EQ(error_of(interim + interim + interim + interim + interim + final), "more interim responses than permitted");
  EXPECT_EQ(trace_responses(interim + final + interim + final, plain),
            "200 interim=1 [content-length: 1] length=1 keep\nbody x\ncomplete\n"
            "200 interim=1 [content-length: 1] length=1 keep\nbody x\ncomplete\n");
}

TEST(Http1Response, RefusesWhatCouldBeReadInTwoWays) {
  const std::pair<std::string, std::string> table[] = {
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
       "content length and transfer encoding do not give one clear length"},
      {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
       "content length and transfer encoding do not give one clear length"},
      {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
       "content length and transfer encoding do not give one clear length"},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
       "content length and transfer encoding do not give one clear length"},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
       "content length and transfer encoding do not give one clear length"},
      {"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
       "content length and transfer encoding do not give one clear length"},
      {"HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\nhello",
       "content length and transfer encoding do not give one clear length"},
      {"HTTP/1.1 200 OK\nContent-Length: 5\r\n\r\n", "bad header field line"},
      {"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", "bad header field line"},
      {"HTTP/1.1 200 OK\r\nA: b\0c\r\n\r\n"s, "bad header field line"},
      {"HTTP/1.1 200 OK\r\nA : b\r\n\r\n", "bad header field line"},
      {"\r\nHTTP/1.1 200 OK\r\n\r\n", "bad start line"},
      {"ICY 200 OK\r\n\r\n", "bad start line"},
      {"HTTP/2.0 200 OK\r\n\r\n", "the version is not HTTP/1.0 or HTTP/1.1"},
      {"HTTP/0.9 200 OK\r\n\r\n", "the version is not HTTP/1.0 or HTTP/1.1"},
      {"HTTP/1.7 200 OK\r\n\r\n", "the version is not HTTP/1.0 or HTTP/1.1"},
      {"HTTP/1.1 099 OK\r\n\r\n", "status outside 100 to 599"},
      {"HTTP/1.1 600 OK\r\n\r\n", "status outside 100 to 599"},
      {"HTTP/1.1 2000 OK\r\n\r\n", "status outside 100 to 599"},
      {"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
       "the server switched protocols unasked"},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x\r\nhello\r\n0\r\n\r\n", "bad chunked coding"},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n\r\n", "bad chunked coding"},
      {"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nxy", "bytes where no message was expected"},
      {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", "the stream ended inside a message"},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "the stream ended inside a message"},
      {"HTTP/1.1 200 OK\r\nContent-Le", "the stream ended inside a message"},
      {"", "the stream ended inside a message"},
  };
  for (const auto& [input, text] : table) EXPECT_EQ(error_of(input), text) << input;
}

TEST(Http1Response, StopsAtTheLimitsForAHostilePeer) {
  std::string fields;
  for (int i = 0; i < 100; ++i) fields += "X-" + std::to_string(i) + ": y\r\n";
  TraceOptions plain{.end_of_stream = false};
  EXPECT_TRUE(trace_responses("HTTP/1.1 204 OK\r\n" + fields + "\r\n", plain).ends_with("complete\n"));
  EXPECT_EQ(error_of("HTTP/1.1 204 OK\r\n" + fields + "X: y\r\n\r\n"), "header section larger than permitted");
  EXPECT_EQ(error_of("HTTP/1.1 204 OK\r\nX: " + std::string(33'000, 'x')), "header section larger than permitted");
  EXPECT_EQ(error_of("HTTP/1.1 204 " + std::string(33'000, 'x')), "header section larger than permitted");

  TraceOptions small{.body_max = 5};
  EXPECT_EQ(error_of("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n", small), "body larger than permitted");
  EXPECT_EQ(error_of("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n", small),
            "body larger than permitted");
  EXPECT_EQ(error_of("HTTP/1.1 200 OK\r\n\r\nhello!", small), "body larger than permitted");
  EXPECT_EQ(trace_responses("HTTP/1.1 200 OK\r\n\r\nhello", small),
            "200 interim=0 length=? close\nbody hello\ncomplete at end\n");
}

TEST(Http1Response, RefusesBytesThatNobodyAskedFor) {
  Http1ResponseParser parser;
  EXPECT_TRUE(parser.feed({}));
  EXPECT_TRUE(parser.finish());
  auto step = parser.feed(as_bytes("HTTP/1.1 408 Request Timeout\r\n\r\n"));
  ASSERT_FALSE(step);
  EXPECT_TRUE(is(step.error(), HttpError::unexpected_bytes));
  EXPECT_FALSE(parser.keep_alive());
}

TEST(Http1Response, AnnouncesUpgradesWithoutTakingThem) {
  TraceOptions plain{.end_of_stream = false};
  EXPECT_EQ(
      trace_responses("HTTP/1.1 200 OK\r\nConnection: upgrade\r\nUpgrade: h2\r\nContent-Length: 0\r\n\r\n", plain),
      "200 interim=0 [connection: upgrade] [upgrade: h2] [content-length: 0] length=0 keep\ncomplete\n");
}

}  // namespace
}  // namespace bellhop::proto
