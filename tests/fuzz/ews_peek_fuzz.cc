// SPDX-License-Identifier: Apache-2.0
// The look into EWS requests: the same however the bytes are cut, within its bounds, and it ends.
#include "proto/ews_peek.h"
#include "tests/fuzz/fuzz.h"

using namespace bellhop;
using namespace bellhop::proto;

static std::string look(auto feeder) {
  static EwsPeek peek(1);  // used again and again
  peek.reset();
  Result<PeekState> state = PeekState::need_more;
  feeder([&](Bytes piece) {
    state = peek.feed(piece);
    return state && *state == PeekState::need_more;
  });
  if (!state) return fuzz::text_of(state.error());
  if (*state == PeekState::need_more) {
    const Status finished = peek.finish();
    if (!finished) return fuzz::text_of(finished.error());
  }
  BH_CHECK(!peek.operation().empty() && peek.operation().size() <= kXmlNameBytesMax);
  BH_CHECK((peek.impersonated_by() == ImpersonatedName::none) == peek.impersonated().empty());
  BH_CHECK(peek.impersonated().size() <= kImpersonatedBytesMax);
  return fmt::format("{} {} {}\n", peek.operation(), static_cast<int>(peek.impersonated_by()), peek.impersonated());
}

BELLHOP_FUZZ_TARGET(input) {
  fuzz::same_however_cut(input, [](auto feeder) { return look(feeder); });
}
