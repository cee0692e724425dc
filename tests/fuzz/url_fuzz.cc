// SPDX-License-Identifier: Apache-2.0
// URLs that devices name, and request targets. What passes is in one canonical form: reading it again changes nothing.
#include "core/base/bytes.h"
#include "proto/target.h"
#include "proto/url.h"
#include "tests/fuzz/fuzz.h"

using namespace bellhop;
using namespace bellhop::proto;

BELLHOP_FUZZ_TARGET(input) {
  std::string_view text = as_text(input);
  if (Result<Url> url = Url::parse(text)) {
    Result<Url> again = Url::parse(url->to_string());
    BH_CHECK(again && *again == *url);
    BH_CHECK(url->origin().starts_with("https://") && url->to_string().starts_with(url->origin()));
    BH_CHECK(url->host.find_first_of("@/\\ %") == std::string::npos);
    BH_CHECK(is_path_and_query(url->target()));
  }
  HostAllowList list;
  // Patterns may be in any case, hosts are in lower case.
  if (list.add(text) && list.matches("evil.example.net")) {
    BH_CHECK(ascii_lower(text).find("example.net") != std::string::npos);
  }
  TargetParts parts = split_target(text);
  if (parts.query) (void)query_parameter(*parts.query, "id");
  Result<std::string> decoded = percent_decode(text);
  std::string room(text.size(), '\0');
  std::optional<size_t> size = percent_decode(text, MutableBytes(reinterpret_cast<uint8_t*>(room.data()), room.size()));
  BH_CHECK(decoded.has_value() == size.has_value());
  if (decoded) BH_CHECK(*decoded == std::string_view(room).substr(0, *size));
}
