// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "core/base/bytes.h"
#include "core/base/error.h"

namespace bellhop::proto {

// Codes of Domain::json. JsonDocument::explain() adds the member's name.
enum class JsonError : uint16_t {
  malformed = 1,  // RFC 8259 grammar, ill-formed UTF-8, numbers out of range
  too_large = 2,  // bytes, values or members
  too_deep = 3,
  not_an_object = 4,  // the outermost value
  duplicate_member = 5,
  wrong_type = 6,
  missing_member = 7,
};

std::string json_error_text(uint16_t code, uint32_t detail);
inline Error json_error(JsonError code, uint32_t detail = 0) {
  return {Domain::json, 0, static_cast<uint16_t>(code), detail};
}
inline bool is(const Error& error, JsonError code) {
  return error.domain == Domain::json && error.code == static_cast<uint16_t>(code);
}

enum class JsonKind : uint8_t { null, boolean, number, string, object, array };

class JsonObject;
class JsonArray;
struct JsonTree;  // in json.cc

// Views into a JsonDocument; valid as long as it lives, also when it moves.
class JsonValue {
 public:
  JsonKind kind() const;
  // JsonError::wrong_type where the value is of another kind. A number with fraction or exponent is no integer.
  Result<std::string_view> string() const;
  Result<bool> boolean() const;
  Result<int64_t> integer() const;
  Result<uint64_t> unsigned_integer() const;
  Result<double> number() const;
  Result<JsonObject> object() const;
  Result<JsonArray> array() const;

 private:
  friend class JsonObject;
  friend class JsonArray;
  friend class JsonDocument;
  JsonValue(const JsonTree* tree, uint32_t index) : tree_(tree), index_(index) {}
  std::unexpected<Error> wrong_type() const;
  const JsonTree* tree_;
  uint32_t index_;
};

class JsonArray {
 public:
  size_t size() const;
  JsonValue at(size_t index) const;  // index < size(); costs O(index)

 private:
  friend class JsonValue;
  JsonArray(const JsonTree* tree, uint32_t index) : tree_(tree), index_(index) {}
  const JsonTree* tree_;
  uint32_t index_;
};

// Getters of optional members give nothing where the member is absent or null. Members that nobody asks for are
// ignored, so that newer clients may send more; at() shows them.
class JsonObject {
 public:
  Result<std::optional<std::string_view>> string(std::string_view name) const;
  Result<std::optional<bool>> boolean(std::string_view name) const;
  Result<std::optional<int64_t>> integer(std::string_view name) const;
  Result<std::optional<uint64_t>> unsigned_integer(std::string_view name) const;
  Result<std::optional<double>> number(std::string_view name) const;
  Result<std::optional<JsonObject>> object(std::string_view name) const;
  Result<std::optional<JsonArray>> array(std::string_view name) const;

  // JsonError::missing_member where it is absent or null.
  Result<std::string_view> required_string(std::string_view name) const;
  Result<int64_t> required_integer(std::string_view name) const;
  Result<JsonObject> required_object(std::string_view name) const;
  Result<JsonArray> required_array(std::string_view name) const;

  std::optional<JsonValue> find(std::string_view name) const;
  size_t size() const;
  struct Member;
  Member at(size_t index) const;  // in order of arrival; index < size(); costs O(index)

 private:
  friend class JsonValue;
  friend class JsonDocument;
  JsonObject(const JsonTree* tree, uint32_t index) : tree_(tree), index_(index) {}
  std::unexpected<Error> missing(std::string_view name) const;
  template <class T>
  Result<std::optional<T>> optional_member(std::string_view name, Result<T> (JsonValue::*get)() const) const;
  template <class T>
  Result<T> required_member(std::string_view name, Result<T> (JsonValue::*get)() const) const;

  const JsonTree* tree_;
  uint32_t index_;
};

struct JsonObject::Member {
  std::string_view name;
  JsonValue value;
};

struct JsonLimits {
  uint32_t bytes_max = 256 * 1024;
  uint32_t depth_max = 32;
  uint32_t values_max = 16 * 1024;  // of all kinds, names not counted
  uint32_t members_max = 256;       // of one object
};

// One JSON text whose outermost value is an object, checked as a whole (RFC 8259 and I-JSON, RFC 7493: UTF-8, no
// repeated names, no lone surrogates). Owns a copy; every byte of it is wiped at the end, since bodies carry secrets.
// Meant for API bodies and small answers: a parse allocates.
class JsonDocument {
 public:
  static Result<JsonDocument> parse(Bytes text, const JsonLimits& limits = {});
  static Result<JsonDocument> parse(std::string_view text, const JsonLimits& limits = {}) {
    return parse(as_bytes(text), limits);
  }
  JsonDocument(JsonDocument&&) noexcept;
  JsonDocument& operator=(JsonDocument&&) noexcept;
  ~JsonDocument();

  JsonObject root() const;
  // The error's text with the name of the member that the last failing getter asked for: `member "userId" has the
  // wrong type`. Holds nothing that came from the peer.
  std::string explain(const Error& error) const;

 private:
  explicit JsonDocument(std::unique_ptr<JsonTree> tree);
  std::unique_ptr<JsonTree> tree_;
};

}  // namespace bellhop::proto
