// SPDX-License-Identifier: Apache-2.0
#include "proto/gzip.h"

#include <gtest/gtest.h>

#include <random>

#include "proto/http_error.h"

namespace bellhop::proto {
namespace {

// What `body` inflates to, fed in pieces of at most `piece` bytes; the error's code where it does not.
std::string inflated(std::string_view body, uint64_t bytes_max = 1 << 20, size_t piece = SIZE_MAX) {
  GzipReader reader(bytes_max);
  WipingBuffer out;
  Status status;
  for (size_t at = 0; at < body.size() && status; at += std::min(piece, body.size() - at)) {
    status = reader.feed(as_bytes(body.substr(at, piece)), out);
  }
  if (status) status = reader.finish();
  if (!status) return http_error_text(status.error().code, 0);
  return std::string(out.text());
}

const std::string kBad = http_error_text(uint16_t(HttpError::bad_coding), 0);
const std::string kTooLarge = http_error_text(uint16_t(HttpError::body_too_large), 0);

// Text that deflates a little.
std::string words(size_t size) {
  std::mt19937 random(5);
  std::string text;
  while (text.size() < size) text += "word" + std::to_string(random()) + " ";
  text.resize(size);
  return text;
}

TEST(Gzip, InflatesWhatWasDeflatedInAnySplit) {
  for (size_t size : {0, 1, 100, 8191, 8192, 8193, 100'000}) {
    std::string text = words(size), body = gzip(text);
    EXPECT_EQ(inflated(body), text);
    EXPECT_EQ(inflated(body, 1 << 20, 1), text);
    EXPECT_EQ(inflated(body, 1 << 20, 7), text);
  }
}

TEST(Gzip, ABodyWithoutAByteIsEmpty) {
  EXPECT_EQ(inflated(""), "");
}

TEST(Gzip, NoPrefixAndNoMutantIsTakenForAnotherText) {
  std::string text = words(2000), body = gzip(text);
  for (size_t size = 1; size < body.size(); ++size) EXPECT_EQ(inflated(body.substr(0, size)), kBad) << size;
  EXPECT_EQ(inflated(body + "x"), kBad);
  EXPECT_EQ(inflated(body + body), kBad);
  std::mt19937 random(2);
  for (int round = 0; round < 2000; ++round) {
    std::string mutant = body;
    size_t at = 10 + random() % (body.size() - 10);  // the fields of the header before it may be anything
    mutant[at] = char(mutant[at] ^ (1 << random() % 8));
    EXPECT_EQ(inflated(mutant), kBad);
  }
  EXPECT_EQ(inflated("<html>"), kBad);
  EXPECT_EQ(inflated(std::string("\x78\x9c\x03\x00\x00\x00\x00\x01", 8)), kBad);  // zlib's own framing
}

TEST(Gzip, IsBoundedByItsSize) {
  std::string text = words(10'000), body = gzip(text);
  EXPECT_EQ(inflated(body, 10'000), text);
  EXPECT_EQ(inflated(body, 9'999), kTooLarge);
}

TEST(Gzip, IsBoundedByItsRatio) {
  std::string free(kGzipFreeBytes, 'a');
  EXPECT_EQ(inflated(gzip(free)), free);
  EXPECT_EQ(inflated(gzip(free + "a")), kTooLarge);
  // Of a bomb no more than the free part is made, however long it is.
  std::string bomb = gzip(std::string(64 << 20, 'a'));
  GzipReader reader(UINT64_MAX);
  WipingBuffer out;
  Status status = reader.feed(as_bytes(bomb), out);
  ASSERT_FALSE(status);
  EXPECT_TRUE(is(status.error(), HttpError::body_too_large));
  EXPECT_LE(out.size(), kGzipRatioMax * bomb.size());
}

}  // namespace
}  // namespace bellhop::proto
