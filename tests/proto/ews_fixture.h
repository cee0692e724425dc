// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "proto/ews_notification.h"
#include "proto/ews_response.h"
#include "proto/ews_server.h"

namespace bellhop::proto {

inline constexpr uint64_t kTestSalt = 0x6a09e667f3bcc908;

// One line that holds everything that was read; equal lines mean equal results.
std::string describe(const NotificationMessage& message);
std::string describe(const EwsAnswer& answer);
std::string describe(const EwsRequest& request);
// "xml malformed", "ews missing_part": domain and code, without the position.
std::string describe(const Error& error);

// The document cut into pieces of random size (at least 1).
std::vector<std::string_view> random_pieces(std::string_view document, std::mt19937& random);
std::vector<std::string_view> single_bytes(std::string_view document);
// A few random edits: bytes changed, dropped, doubled, or replaced by characters that mean something to XML.
std::string mutated(std::string_view document, std::mt19937& random);

// Reads one document with a reader that may have read others: resets it, feeds the pieces, describes the result.
template <class Reader>
std::string read_pieces(Reader& reader, const std::vector<std::string_view>& pieces) {
  reader.reset();
  for (std::string_view piece : pieces) {
    if (Status status = reader.feed(piece); !status) return describe(status.error());
  }
  auto result = reader.finish();
  return result ? describe(**result) : describe(result.error());
}
template <class Reader>
std::string read_whole(Reader& reader, std::string_view document) {
  return read_pieces(reader, {document});
}

// What every reader promises for a document that it accepts.
template <class Reader>
void expect_splits_agree(Reader& reader, std::string_view document) {
  std::string whole = read_whole(reader, document);
  EXPECT_EQ(read_pieces(reader, single_bytes(document)), whole);
  std::mt19937 random(1);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(read_pieces(reader, random_pieces(document, random)), whole);
}
template <class Reader>
void expect_no_prefix_is_accepted(Reader& reader, std::string_view document) {
  size_t end = document.rfind('>');
  for (size_t size = 0; size <= end; ++size) {
    reader.reset();
    if (!reader.feed(document.substr(0, size))) continue;
    EXPECT_FALSE(reader.finish()) << "accepted the first " << size << " bytes";
  }
}
template <class Reader>
void expect_mutations_are_survived(Reader& reader, std::string_view document, int rounds) {
  std::mt19937 random(2);
  for (int i = 0; i < rounds; ++i) {
    std::string mutant = mutated(document, random);
    std::string whole = read_whole(reader, mutant);
    EXPECT_EQ(read_pieces(reader, random_pieces(mutant, random)), whole) << mutant;
  }
}

// The folder of external data; nothing where the environment names none.
std::optional<std::string> test_data_folder();
std::string read_file(const std::string& path);

// Validates the message in the Body of each document against messages.xsd with xmllint.
// Empty where all are valid, else what xmllint says. Call only where schema_is_available().
bool schema_is_available();
std::string schema_errors(const std::vector<std::string>& documents);

}  // namespace bellhop::proto

#define SKIP_WITHOUT_SCHEMA() \
  if (!schema_is_available()) GTEST_SKIP() << "needs xmllint and BELLHOP_TEST_DATA with ews-schema/messages.xsd"
