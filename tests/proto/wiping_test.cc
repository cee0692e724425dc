// SPDX-License-Identifier: Apache-2.0
// Nothing secret stays on the heap once its owner is gone: the heap is searched as an attacker would.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>

#include "proto/http1.h"
#include "proto/json.h"
#include "proto/json_writer.h"
#include "proto/wiping_buffer.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define BELLHOP_OWN_HEAP 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define BELLHOP_OWN_HEAP 1
#endif
#endif

namespace bellhop::proto {
namespace {

// Only in constants, so that the search finds no copy of its own.
constexpr char kSecret[] = "correct-horse-battery-staple-7151";
constexpr size_t kSecretSize = sizeof kSecret - 1;

// How often the secret stands in the process's heap, freed blocks included.
size_t secrets_on_heap() {
  std::ifstream maps("/proc/self/maps");
  size_t found = 0;
  for (std::string line; std::getline(maps, line);) {
    uintptr_t from = 0, to = 0;
    if (!line.ends_with("[heap]") || std::sscanf(line.c_str(), "%lx-%lx", &from, &to) != 2) continue;
    const char* at = reinterpret_cast<const char*>(from);
    const char* end = reinterpret_cast<const char*>(to);
    while ((at = static_cast<const char*>(memmem(at, static_cast<size_t>(end - at), kSecret, kSecretSize)))) {
      ++found;
      at += kSecretSize;
    }
  }
  return found;
}

class Wiping : public testing::Test {
 protected:
  void SetUp() override {
#ifdef BELLHOP_OWN_HEAP
    GTEST_SKIP() << "the sanitizer's heap is not searched";
#endif
    ASSERT_EQ(secrets_on_heap(), 0u);
  }
};

TEST_F(Wiping, HappensToJsonBodies) {
  std::string text = "{\"first\":\"a member that is long enough\",\"credentials\":";
  append_json_string(text, kSecret);
  text.push_back('}');
  {
    auto document = JsonDocument::parse(text);
    ASSERT_TRUE(document);
    wipe(text);
    ASSERT_EQ(document->root().required_string("credentials").value(), kSecret);
    EXPECT_EQ(secrets_on_heap(), 2u);  // the copy of the text, and the string without its escapes
  }
  EXPECT_EQ(secrets_on_heap(), 0u);
}

TEST_F(Wiping, HappensToRequests) {
  {
    Http1RequestParser parser;
    std::string request = "GET /notify?creds=";
    grow_wiped(request, 400);
    request.append(kSecret).append(" HTTP/1.1\r\nHost: a\r\nAuthorization: Basic ").append(kSecret).append("\r\n\r\n");
    for (char c : request) ASSERT_TRUE(parser.feed(as_bytes(std::string_view(&c, 1))));
    wipe(request);
    ASSERT_TRUE(parser.headers().find("authorization"));
    EXPECT_EQ(secrets_on_heap(), 2u);  // target and field
    parser.reset();
    EXPECT_EQ(secrets_on_heap(), 0u);
  }
  EXPECT_EQ(secrets_on_heap(), 0u);
}

TEST_F(Wiping, HappensWhereABufferMoves) {
  {
    WipingBuffer buffer;
    buffer.append(kSecret);
    EXPECT_EQ(secrets_on_heap(), 1u);
    buffer.append_zeros(5000);
    EXPECT_EQ(secrets_on_heap(), 1u);
    WipingBuffer other = std::move(buffer);
    EXPECT_EQ(secrets_on_heap(), 1u);
    EXPECT_EQ(other.text().substr(0, kSecretSize), kSecret);
  }
  EXPECT_EQ(secrets_on_heap(), 0u);
}

TEST_F(Wiping, HappensWhereAHeadOrJsonTextGrows) {
  std::string out;
  HeaderField field{"Authorization", kSecret};
  ASSERT_TRUE(write_request_head(out, {.target = "/", .host = "a", .headers = std::span(&field, 1)}));
  append_json_string(out, kSecret);
  for (int i = 0; i < 20; ++i) append_chunk(out, as_bytes("0123456789012345678901234567890123456789"));
  EXPECT_EQ(secrets_on_heap(), 2u);
  wipe(out);
  EXPECT_EQ(secrets_on_heap(), 0u);
}

}  // namespace
}  // namespace bellhop::proto
