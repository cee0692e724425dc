// SPDX-License-Identifier: Apache-2.0
// Subjects and names as anybody in the world may write them.
#include "proto/display_text.h"
#include "proto/encoded_word.h"
#include "proto/item_kind.h"
#include "tests/fuzz/fuzz.h"

using namespace bellhop;
using namespace bellhop::proto;

BELLHOP_FUZZ_TARGET(input) {
  std::string_view text = as_text(input);
  BH_CHECK(decode_encoded_words(text).size() <= 3 * text.size());
  std::string shown = display_text(text);
  BH_CHECK(utf8_valid(shown));
  BH_CHECK(harmless_text(shown) == shown);
  for (std::string_view bad : {"\u202e", "\u2066", "\u200b", "\ufeff", "\n", "\r"}) {
    BH_CHECK(shown.find(bad) == std::string::npos);
  }
  (void)item_kind(text.substr(0, text.size() / 2), text.substr(text.size() / 2));
}
