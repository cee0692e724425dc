// SPDX-License-Identifier: Apache-2.0
// What an Exchange, or who poses as one, answers.
#include "proto/ews_response.h"
#include "tests/fuzz/fuzz.h"

using namespace bellhop;
using namespace bellhop::proto;

static std::string read_answer(auto feeder) {
  static EwsAnswerReader reader(1);
  reader.reset();
  Status fed;
  feeder([&](Bytes piece) {
    fed = reader.feed(as_text(piece));
    return fed.has_value();
  });
  if (!fed) return fuzz::text_of(fed.error());
  Result<const EwsAnswer*> answer = reader.finish();
  if (!answer) return fuzz::text_of(answer.error());
  std::string out = fmt::format("{} {} {}\n", static_cast<int>((*answer)->kind), (*answer)->element,
                                (*answer)->fault.code_text);
  out += fmt::format("{} {}\n", (*answer)->server.text(), (*answer)->server_schema);
  for (const EwsResponseMessage& message : (*answer)->messages) {
    out += fmt::format("{} {} {}\n", message.code_text, message.subscription_id, message.back_off_ms.value_or(0));
    out += fmt::format("{}\n", message.sync_state);
    for (const EwsFolder& folder : message.folders) {
      out += fmt::format(" {} {} {}\n", folder.id, folder.unread.value_or(-1), folder.total.value_or(-1));
    }
    for (const EwsItem& item : message.items) {
      BH_CHECK(!item.id.empty());
      out += fmt::format(" {} {} {} {}\n", item.id, item.subject, item.from.name, item.preview);
    }
  }
  return out;
}

BELLHOP_FUZZ_TARGET(input) {
  fuzz::same_however_cut(input, [](auto feeder) { return read_answer(feeder); });
}
