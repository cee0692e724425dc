// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "proto/http1.h"

namespace bellhop::proto {

// Sizes of the pieces that an input is fed in; the last one repeats.
using Pieces = std::vector<size_t>;

inline Pieces random_pieces(std::mt19937& random, size_t size) {
  Pieces pieces;
  for (size_t at = 0; at < size;) {
    size_t piece = 1 + random() % (random() % 4 == 0 ? 600 : 12);
    pieces.push_back(piece);
    at += piece;
  }
  if (pieces.empty()) pieces.push_back(1);
  return pieces;
}

struct TraceOptions {
  uint64_t body_max = 1 << 20;
  HeaderBlock::Limits limits;
  bool head_requests = false;  // responses
  bool end_of_stream = true;   // responses
};

// What a parser reports for `input`, as text: adjacent pieces of body are one, everything else must not depend on how
// the input was cut. Stops the test program on a broken contract of feed().
std::string trace_requests(std::string_view input, const Pieces& pieces, const TraceOptions& options = {});
std::string trace_responses(std::string_view input, const Pieces& pieces, const TraceOptions& options = {});

// Both parsers' traces for the input as a whole.
inline std::string trace_requests(std::string_view input, const TraceOptions& options = {}) {
  return trace_requests(input, Pieces{input.size() + 1}, options);
}
inline std::string trace_responses(std::string_view input, const TraceOptions& options = {}) {
  return trace_responses(input, Pieces{input.size() + 1}, options);
}

}  // namespace bellhop::proto
