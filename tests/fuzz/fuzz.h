// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

#include "core/base/bytes.h"
#include "core/base/check.h"
#include "core/base/error.h"

// What the fuzz targets share. A target reads its input twice: whole, and cut into pieces that the input itself decides;
// both must tell the same, since every parser promises that cuts change nothing.
namespace bellhop::fuzz {

// FNV-1a: the same input is always cut alike, and no byte of it is spent on that.
inline uint64_t hash_of(Bytes input) {
  uint64_t hash = 14695981039346656037u;
  for (uint8_t byte : input) hash = (hash ^ byte) * 1099511628211u;
  return hash;
}

// Pieces of 1 to 16 bytes. `feed` takes one and returns false where it wants no more.
template <class Feed>
void in_pieces(Bytes input, Feed feed) {
  uint64_t state = hash_of(input) | 1;
  while (!input.empty()) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    size_t size = std::min<size_t>(input.size(), 1 + (state >> 60));
    if (!feed(input.first(size))) return;
    input = input.subspan(size);
  }
}

// `read(Feeder)` gives a transcript as text; `Feeder(feed)` drives one reading.
template <class Read>
void same_however_cut(Bytes input, Read read) {
  std::string whole = read([&](auto feed) { (void)feed(input); });
  std::string cut = read([&](auto feed) { in_pieces(input, feed); });
  if (whole != cut) fmt::print(stderr, "whole:\n{}\ncut:\n{}\n", whole, cut);
  BH_CHECK(whole == cut);
}

inline std::string text_of(const Error& error) {
  return fmt::format("error {} {}\n", static_cast<int>(error.domain), error.code);
}

}  // namespace bellhop::fuzz

#define BELLHOP_FUZZ_TARGET(input)                                                       \
  static void fuzz_one(bellhop::Bytes input);                                            \
  extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {              \
    fuzz_one({data, size});                                                              \
    return 0;                                                                            \
  }                                                                                      \
  static void fuzz_one(bellhop::Bytes input)
