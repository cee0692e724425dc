// SPDX-License-Identifier: Apache-2.0
// A body that says it is gzip; and text that is deflated and comes back.
#include "proto/gzip.h"
#include "tests/fuzz/fuzz.h"

using namespace bellhop;
using namespace bellhop::proto;

constexpr uint64_t kBytesMax = 1 << 20;

static std::string inflated(auto feeder) {
  GzipReader reader(kBytesMax);
  WipingBuffer out;
  Status fed;
  feeder([&](Bytes piece) {
    fed = reader.feed(piece, out);
    return fed.has_value();
  });
  BH_CHECK(out.size() <= kBytesMax);
  if (fed) fed = reader.finish();
  return fed ? std::string(out.text()) : fuzz::text_of(fed.error());
}

BELLHOP_FUZZ_TARGET(input) {
  // Small enough that the ratio, which depends on the cuts, is no matter.
  Bytes body = input.first(std::min<size_t>(input.size(), 60));
  fuzz::same_however_cut(body, [](auto feeder) { return inflated(feeder); });
  (void)inflated([&](auto feed) { (void)feed(input); });
  std::string packed = gzip(as_text(input));
  BH_CHECK(inflated([&](auto feed) { fuzz::in_pieces(as_bytes(packed), feed); }) == as_text(input));
}
