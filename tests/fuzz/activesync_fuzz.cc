// SPDX-License-Identifier: Apache-2.0
// ActiveSync queries of both forms, and the WBXML that comes with them. What passes has one reading: no parameter that
// tells who asks is there twice, in any spelling.
#include "proto/activesync.h"
#include "proto/target.h"
#include "proto/wbxml_peek.h"
#include "tests/fuzz/fuzz.h"

using namespace bellhop;
using namespace bellhop::proto;

// How often a name occurs where someone decodes first and cuts then.
static size_t occurrences(std::string_view query, std::string_view name) {
  const std::string decoded = "&" + ascii_lower(*percent_decode(query));
  const std::string wanted = "&" + std::string(name) + "=";
  size_t count = 0;
  for (size_t at = decoded.find(wanted); at != decoded.npos; at = decoded.find(wanted, at + 1)) ++count;
  return count;
}

static void check_query(HttpMethod method, std::string_view text) {
  const auto query = parse_activesync_query(method, text);
  if (!query) {
    BH_CHECK(query.error().domain == Domain::gateway);
    return;
  }
  BH_CHECK(is_query(text));
  BH_CHECK(method == HttpMethod::options || (query->command && query->has_device() && !query->device_type.empty()));
  BH_CHECK(!query->has_device() || query->device == device_key(device_text(query->device_id)));
  BH_CHECK(query->user.size() <= ActiveSyncQuery::kUserBytesMax && utf8_valid(query->user));
  BH_CHECK(query->user.find('\0') == query->user.npos && query->device_type.find('\0') == query->device_type.npos);
  if (query->base64) {
    BH_CHECK(query->command && text.find_first_of("&%") == text.npos);
    return;
  }
  for (std::string_view name : {"cmd", "user", "deviceid", "devicetype"}) BH_CHECK(occurrences(text, name) <= 1);
  BH_CHECK(!query->command || text.find(activesync_command_name(*query->command)) != text.npos);
  BH_CHECK(text.find(query->device_id) != text.npos);
}

static void check_body(Bytes body) {
  for (ActiveSyncCommand command :
       {ActiveSyncCommand::sync, ActiveSyncCommand::provision, ActiveSyncCommand::send_mail}) {
    // What is decided stays, however much more there is.
    bool decided = false;
    for (size_t size = 0; size <= std::min(body.size(), 2 * kWbxmlPeekBytesMax); ++size) {
      const auto fits = check_wbxml_root(command, body.first(size), false);
      if (!fits) break;
      BH_CHECK(*fits || !decided);
      BH_CHECK(*fits || size < kWbxmlPeekBytesMax);
      decided |= *fits;
    }
  }
}

BELLHOP_FUZZ_TARGET(input) {
  check_query(HttpMethod::post, as_text(input));
  check_query(HttpMethod::options, as_text(input));
  // A base64 form whose alphabet needs no luck.
  check_query(HttpMethod::post, to_base64(input));
  check_body(input);
}
