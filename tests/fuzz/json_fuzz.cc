// SPDX-License-Identifier: Apache-2.0
// Bodies of the device API, and the small answers of push services.
#include "proto/apns_answer.h"
#include "proto/json.h"
#include "tests/fuzz/fuzz.h"

using namespace bellhop;
using namespace bellhop::proto;

static size_t visit(const JsonValue& value, unsigned depth);

static size_t visit(const JsonObject& object, unsigned depth) {
  size_t values = 0;
  for (size_t i = 0; i < std::min<size_t>(object.size(), 20); ++i) {
    JsonObject::Member member = object.at(i);
    values += visit(member.value, depth);
    // Names are unique, so that a member is found under its own.
    std::optional<JsonValue> found = object.find(member.name);
    BH_CHECK(found && found->kind() == member.value.kind());
  }
  return values;
}

static size_t visit(const JsonValue& value, unsigned depth) {
  BH_CHECK(depth < 64);
  JsonKind kind = value.kind();
  BH_CHECK(value.string().has_value() == (kind == JsonKind::string));
  BH_CHECK(value.boolean().has_value() == (kind == JsonKind::boolean));
  BH_CHECK(kind == JsonKind::number || !value.integer());
  if (value.unsigned_integer() && value.integer()) BH_CHECK(*value.integer() >= 0);
  if (Result<JsonObject> object = value.object()) return 1 + visit(*object, depth + 1);
  if (Result<JsonArray> array = value.array()) {
    size_t values = 1;
    for (size_t i = 0; i < std::min<size_t>(array->size(), 20); ++i) values += visit(array->at(i), depth + 1);
    return values;
  }
  return 1;
}

BELLHOP_FUZZ_TARGET(input) {
  if (Result<JsonDocument> document = JsonDocument::parse(input)) (void)visit(document->root(), 0);
  for (uint16_t status : {400, 410, 503}) {
    ApnsAnswer answer = parse_apns_answer(status, input);
    BH_CHECK(answer.status == status && answer.unknown_name.size() <= 64);
    (void)classify_apns(answer, WallTime());
  }
}
