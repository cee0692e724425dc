// SPDX-License-Identifier: Apache-2.0
// Differential tests: what the parsers report depends on the bytes, never on how they arrive.
#include <gtest/gtest.h>

#include "tests/proto/http1_trace.h"

namespace bellhop::proto {
namespace {

using namespace std::string_literals;
using TraceFunction = std::string (*)(std::string_view, const Pieces&, const TraceOptions&);

constexpr int kMutationsPerSeed = 250;

const std::vector<std::string>& request_seeds() {
  static const std::vector<std::string> seeds = {
      "GET /alive HTTP/1.1\r\nHost: a.example.com\r\n\r\n",
      "POST /notify?id=abc&creds=def HTTP/1.1\r\nHost: a.example.com:8443\r\nContent-Type: text/xml; charset=utf-8\r\n"
      "SOAPAction: \"x\"\r\nExpect: 100-continue\r\nContent-Length: 26\r\n\r\nabcdefghijklmnopqrstuvwxyz"
      "GET /two HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n",
      "POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: "
      "chunked\r\n\r\n1\r\na\r\n10\r\n0123456789abcdef\r\n0000\r\n\r\n"
      "\r\nDELETE /v1/x HTTP/1.1\r\nHost: [2001:db8::1]:443\r\n\r\n",
      "OPTIONS * HTTP/1.0\r\nConnection: keep-alive\r\nX-Empty:\r\nX-Space: \t a b \t\r\n\r\n"
      "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
      "POST /limit HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n" + std::string(100, 'x') + "\r\n" +
          std::string(62, '0') + "\r\n\r\n",
      "GET /" + std::string(8190, 'a') + " HTTP/1.1\r\nHost: a\r\nA: " + std::string(200, 'b') + "\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: a\r\nX: " + std::string(500, 'v') + "\r\nY: " + std::string(500, 'w') + "\r\n\r\n",
  };
  return seeds;
}

const std::vector<std::string>& response_seeds() {
  static const std::vector<std::string> seeds = {
      "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: text/xml\r\n\r\nhelloHTTP/1.1 204 No Content\r\n\r\n",
      "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: </x>\r\n\r\nHTTP/1.1 401 Unauthorized\r\n"
      "WWW-Authenticate: Basic realm=\"x\"\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
      "HTTP/1.1 200\r\nServer: x\r\n\r\nbody until the end of the stream",
      "HTTP/1.0 302 Found\r\nLocation: https://b.example.com/\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
      "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 3\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno",
  };
  return seeds;
}

std::string mutated(std::string text, std::mt19937& random) {
  static const std::vector<std::string> kPieces = {"\r",
                                                   "\n",
                                                   "\r\n",
                                                   " ",
                                                   ":",
                                                   "\0"s,
                                                   "\t",
                                                   "chunked",
                                                   "Content-Length: 1\r\n",
                                                   "Transfer-Encoding: chunked\r\n",
                                                   "Host: x\r\n",
                                                   "0",
                                                   "f",
                                                   ";",
                                                   "HTTP/1.1",
                                                   "\xff",
                                                   "Connection: close\r\n"};
  for (size_t changes = 1 + random() % 3; changes > 0 && !text.empty(); --changes) {
    size_t at = random() % text.size();
    switch (random() % 5) {
      case 0:
        text[at] = static_cast<char>(random());
        break;
      case 1:
        text.erase(at, 1 + random() % 8);
        break;
      case 2:
        text.insert(at, kPieces[random() % kPieces.size()]);
        break;
      case 3:
        text.insert(at, text.substr(random() % text.size(), random() % 40));
        break;
      case 4:
        text.resize(at);
        break;
    }
  }
  return text;
}

void expect_same_however_cut(TraceFunction trace, const std::string& input, const TraceOptions& options,
                             std::mt19937& random, int random_cuts) {
  std::string whole = trace(input, Pieces{input.size() + 1}, options);
  ASSERT_EQ(trace(input, Pieces{1}, options), whole) << testing::PrintToString(input);
  for (int i = 0; i < random_cuts; ++i) {
    Pieces pieces = random_pieces(random, input.size());
    ASSERT_EQ(trace(input, pieces, options), whole) << testing::PrintToString(input);
  }
}

const TraceOptions& options_of_round(int round) {
  static const TraceOptions kRounds[] = {
      {},
      {.body_max = 20, .limits = {.bytes_max = 900, .fields_max = 4}},
      {.body_max = 110, .limits = {.bytes_max = 120}, .head_requests = true},
  };
  return kRounds[static_cast<size_t>(round) % std::size(kRounds)];
}

void run(TraceFunction trace, const std::vector<std::string>& seeds) {
  std::mt19937 random(20240601);
  for (const std::string& seed : seeds) {
    for (int round = 0; round < 3; ++round) {
      ASSERT_NO_FATAL_FAILURE(expect_same_however_cut(trace, seed, options_of_round(round), random, 20));
    }
    for (int i = 0; i < kMutationsPerSeed; ++i) {
      std::string input = mutated(seed, random);
      ASSERT_NO_FATAL_FAILURE(expect_same_however_cut(trace, input, options_of_round(i), random, 2));
    }
  }
}

TEST(Http1Splits, RequestsGiveTheSameEventsHoweverTheyArrive) {
  run(trace_requests, request_seeds());
}

TEST(Http1Splits, ResponsesGiveTheSameEventsHoweverTheyArrive) {
  run(trace_responses, response_seeds());
}

TEST(Http1Splits, TruncatedRequestsNeverComplete) {
  for (const std::string& seed : request_seeds()) {
    std::string first = seed.substr(0, seed.find("\r\n\r\n") + 3);
    for (size_t size = 1; size < first.size(); size += 1 + size / 200) {
      std::string trace = trace_requests(first.substr(0, size));
      EXPECT_EQ(trace, "more\n") << size;
    }
  }
}

}  // namespace
}  // namespace bellhop::proto
