// SPDX-License-Identifier: Apache-2.0
// What a host that Autodiscover asks may answer, in either form.
#include "proto/autodiscover.h"
#include "tests/fuzz/fuzz.h"

using namespace bellhop;
using namespace bellhop::proto;

static std::string read_answer(auto feeder) {
  static AutodiscoverReader reader(1);
  reader.reset();
  Status fed;
  feeder([&](Bytes piece) {
    fed = reader.feed(as_text(piece));
    return fed.has_value();
  });
  if (!fed) return fuzz::text_of(fed.error());
  Result<const AutodiscoverAnswer*> answer = reader.finish();
  if (!answer) return fuzz::text_of(answer.error());
  const AutodiscoverAnswer& a = **answer;
  bool redirects = a.kind == AutodiscoverKind::redirect_address || a.kind == AutodiscoverKind::redirect_url;
  BH_CHECK(redirects == !a.redirect.empty());
  BH_CHECK(a.kind != AutodiscoverKind::settings || !a.external_url.empty() || !a.internal_url.empty());
  return fmt::format("{} {} {} {} {}\n", static_cast<int>(a.kind), a.external_url, a.internal_url, a.redirect, a.error);
}

BELLHOP_FUZZ_TARGET(input) {
  fuzz::same_however_cut(input, [](auto feeder) { return read_answer(feeder); });
}
