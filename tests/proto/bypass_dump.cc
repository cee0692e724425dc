// SPDX-License-Identifier: Apache-2.0
// Writes the variants for the end-to-end test: a JSON object a line, {"number":…,"family":…,"expect":…,"bytes":
// base64}.
#include <fmt/format.h>

#include "core/base/bytes.h"
#include "tests/proto/bypass_variants.h"

int main() {
  using bellhop::proto::BypassVariant;
  for (const BypassVariant& variant : bellhop::proto::bypass_variants()) {
    fmt::print("{{\"number\":{},\"family\":\"{}\",\"expect\":\"{}\",\"bytes\":\"{}\"}}\n", variant.number,
               variant.family, variant.expect == BypassVariant::Expect::lawful ? "lawful" : "refused",
               bellhop::to_base64(bellhop::as_bytes(variant.bytes)));
  }
  return 0;
}
