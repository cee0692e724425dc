// SPDX-License-Identifier: Apache-2.0
#include "proto/http1_writer.h"

#include <gtest/gtest.h>

#include <array>

#include "tests/proto/http1_trace.h"

namespace bellhop::proto {
namespace {

TEST(Http1Writer, WritesARequestThatOurParserReads) {
  std::string out = "x";
  const std::array<HeaderField, 2> fields = {HeaderField{"Content-Type", "text/xml; charset=utf-8"},
                                             HeaderField{"User-Agent", "MailNotificationService/v2"}};
  ASSERT_TRUE(write_request_head(out, {.method = "POST",
                                       .target = "/EWS/Exchange.asmx?a=b",
                                       .host = "mail.example.com:444",
                                       .headers = fields,
                                       .framing = Http1Framing::sized(5),
                                       .close = true}));
  EXPECT_EQ(
      out,
      "xPOST /EWS/Exchange.asmx?a=b HTTP/1.1\r\nHost: mail.example.com:444\r\nContent-Type: text/xml; charset=utf-8\r\n"
      "User-Agent: MailNotificationService/v2\r\nContent-Length: 5\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(trace_requests(out.substr(1) + "hello"),
            "POST /EWS/Exchange.asmx?a=b [host: mail.example.com:444] [content-type: text/xml; charset=utf-8] "
            "[user-agent: MailNotificationService/v2] [content-length: 5] [connection: close] length=5 close\n"
            "body hello\ncomplete\nidle\n");
}

TEST(Http1Writer, WritesResponsesThatOurParserReads) {
  std::string out;
  const std::array<HeaderField, 1> fields = {HeaderField{"X-A", "b"}};
  ASSERT_TRUE(write_response_head(out, {.status = 200, .headers = fields, .framing = Http1Framing::chunked()}));
  append_chunk(out, as_bytes("hello"));
  append_chunk(out, {});
  append_chunk(out, as_bytes(std::string(300, 'x')));
  append_last_chunk(out);
  ASSERT_TRUE(write_response_head(out, {.status = 503, .framing = Http1Framing::sized(0), .close = true}));
  EXPECT_EQ(trace_responses(out),
            "200 interim=0 [x-a: b] [transfer-encoding: chunked] length=? keep\nbody hello" + std::string(300, 'x') +
                "\ncomplete\n503 interim=0 [content-length: 0] [connection: close] length=0 close\ncomplete\nend\n");
  EXPECT_EQ(
      trace_responses(std::string(continue_response()) + "HTTP/1.1 204 No Content\r\n\r\n", {.end_of_stream = false}),
      "204 interim=1 length=0 keep\ncomplete\n");
}

TEST(Http1Writer, RefusesFieldsThatWouldChangeTheMessage) {
  constexpr std::string_view kWithNul("a\0b", 3);
  const HeaderField bad[] = {
      {"X", "a\r\nY: b"},
      {"X", "a\nb"},
      {"X", "a\rb"},
      {"X", kWithNul},
      {"X", "a\x01"},
      {"X", "a\x7f"},
      {"X", " a"},
      {"X", "a\t"},
      {"", "a"},
      {"X Y", "a"},
      {"X:", "a"},
      {"X\r\n", "a"},
      {kWithNul, "a"},
      {"H\xc3\xa9", "a"},
      {"content-length", "5"},
      {"Host", "b"},
      {"TRANSFER-ENCODING", "chunked"},
      {"Connection", "close"},
  };
  for (const HeaderField& field : bad) {
    std::string out = "kept";
    auto status = write_response_head(out, {.headers = std::span(&field, 1)});
    ASSERT_FALSE(status) << field.name << ": " << field.value;
    EXPECT_TRUE(is(status.error(), HttpError::unwritable));
    EXPECT_FALSE(write_request_head(out, {.target = "/", .host = "a", .headers = std::span(&field, 1)}));
    EXPECT_EQ(out, "kept");
  }
}

TEST(Http1Writer, RefusesBadStartLines) {
  std::string out;
  EXPECT_FALSE(write_request_head(out, {.method = "", .target = "/", .host = "a"}));
  EXPECT_FALSE(write_request_head(out, {.method = "GE T", .target = "/", .host = "a"}));
  for (std::string_view target : {"", "x", "/ HTTP/1.1\r\nX: y", "/a b", "/a\r\n", "/#", "/%", "/\xff", "https://b/"}) {
    EXPECT_FALSE(write_request_head(out, {.target = target, .host = "a"})) << target;
  }
  for (std::string_view host : {"", "a\r\nX: y", "a b", " a"}) {
    EXPECT_FALSE(write_request_head(out, {.target = "/", .host = host})) << host;
  }
  EXPECT_FALSE(write_response_head(out, {.status = 99}));
  EXPECT_FALSE(write_response_head(out, {.status = 600}));
  EXPECT_FALSE(write_response_head(out, {.status = 204, .framing = Http1Framing::sized(0)}));
  EXPECT_FALSE(write_response_head(out, {.status = 100, .framing = Http1Framing::chunked()}));
  EXPECT_EQ(out, "");
}

TEST(Http1Writer, NamesEveryStatusThatAParserErrorMapsTo) {
  for (uint16_t code = 1; code < 70; ++code) {
    uint16_t status = http_error_status(http_error(static_cast<HttpError>(code)));
    EXPECT_NE(reason_phrase(status), "Unknown");
  }
}

TEST(Http1ErrorTexts, AreDistinctAndNeverMissing) {
  std::vector<std::string> seen;
  for (HttpError code : {HttpError::bad_start_line,  HttpError::bad_version,      HttpError::bad_header,
                         HttpError::bad_framing,     HttpError::bad_chunk,        HttpError::header_too_large,
                         HttpError::body_too_large,  HttpError::unexpected_bytes, HttpError::truncated,
                         HttpError::target_too_long, HttpError::bad_target,       HttpError::bad_host,
                         HttpError::bad_expectation, HttpError::method_refused,   HttpError::upgrade_refused,
                         HttpError::bad_status,      HttpError::too_many_interim, HttpError::switching_protocols,
                         HttpError::content_encoded, HttpError::bad_coding,
                         HttpError::unwritable,      HttpError::bad_query}) {
    std::string text = http_error_text(static_cast<uint16_t>(code), 0);
    EXPECT_FALSE(text.starts_with("code ")) << text;
    for (const std::string& other : seen) EXPECT_NE(text, other);
    seen.push_back(text);
  }
}

}  // namespace
}  // namespace bellhop::proto
