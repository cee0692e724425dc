// SPDX-License-Identifier: Apache-2.0
// Compliance data, of a watched file, a UEM or the body of PUT and PATCH. The first byte: "d", a delta.
#include "proto/json_writer.h"
#include "service/compliance_lines.h"
#include "tests/fuzz/fuzz.h"

using namespace bellhop;
using namespace bellhop::service;

namespace {

constexpr size_t kTextBytesMax = 128;  // of a model, OS, …: docs/policy.md

// The line as data says it.
std::string text_of(const ComplianceLine& line) {
  std::string out;
  proto::JsonWriter json(out);
  json.begin_object().member("deviceId", line.device_id).name("otherIds").begin_array();
  for (const std::string& id : line.other_ids) json.value(id);
  json.end_array();
  if (line.removed) json.member("removed", true);
  if (line.wiped) json.member("wiped", true);
  if (line.account) json.member("account", *line.account);
  auto known = [&](std::string_view name, std::optional<Known> value) {
    if (value) json.member(name, name_of(*value));
  };
  known("managed", line.managed);
  known("compromised", line.compromised);
  known("encrypted", line.encrypted);
  known("activeSyncProfile", line.activesync_profile);
  if (line.override_to) json.member("override", name_of(*line.override_to));
  auto text = [&](std::string_view name, const std::optional<std::string>& value) {
    if (value) json.member(name, *value);
  };
  text("model", line.model);
  text("os", line.os);
  text("osVersion", line.os_version);
  text("deviceType", line.device_type);
  text("mailClient", line.mail_client);
  if (line.last_contact) json.member("lastContact", std::chrono::duration_cast<std::chrono::seconds>(line.last_contact->time_since_epoch()).count());
  json.end_object();
  return out;
}

void check_bounds(const ComplianceLine& line, bool delta) {
  BH_CHECK(!line.device_id.empty() && line.device_id.size() <= kDeviceIdSizeMax);
  BH_CHECK(line.other_ids.size() <= kOtherIdsMax);
  for (const std::string& id : line.other_ids) BH_CHECK(!id.empty() && id.size() <= kDeviceIdSizeMax);
  if (line.account && !line.account->empty()) {
    BH_CHECK(line.account->size() <= kAccountSizeMax && line.account->find('@') != std::string::npos && line.account->find(' ') == std::string::npos);
  }
  for (const auto* text : {&line.model, &line.os, &line.os_version, &line.device_type, &line.mail_client}) {
    BH_CHECK(!*text || ((*text)->size() <= kTextBytesMax && utf8_valid(**text)));
  }
  BH_CHECK(delta || !line.removed);
}

// What a line says is a line that says the same.
void check_again(const std::string& text, bool delta) {
  if (text.size() > ComplianceReader::kObjectBytesMax) return;  // escapes made it longer
  std::string again;
  ComplianceReader reader(delta, [&](const ComplianceLine& line) -> Status {
    again += text_of(line);
    return {};
  });
  BH_CHECK(reader.feed(text) && reader.finish() && reader.lines() == 1 && again == text);
}

}  // namespace

BELLHOP_FUZZ_TARGET(input) {
  if (input.empty()) return;
  bool delta = input[0] == 'd';
  fuzz::same_however_cut(input.subspan(1), [&](auto drive) {
    std::string transcript;
    ComplianceReader reader(delta, [&](const ComplianceLine& line) -> Status {
      check_bounds(line, delta);
      std::string text = text_of(line);
      check_again(text, delta);
      transcript += text + "\n";
      return {};
    });
    Status status;
    drive([&](Bytes piece) {
      status = reader.feed(as_text(piece));
      return status.has_value();
    });
    if (status) status = reader.finish();
    BH_CHECK(status.has_value() || !reader.complaint().empty());
    if (!status) transcript += fuzz::text_of(status.error()) + reader.complaint();
    return transcript + fmt::format("\n{} lines{}\n", reader.lines(), reader.empty() ? ", empty" : "");
  });
}
