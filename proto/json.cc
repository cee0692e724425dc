// SPDX-License-Identifier: Apache-2.0
#include "proto/json.h"

#include <simdjson.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "core/base/check.h"
#include "proto/wiping_buffer.h"

namespace bellhop::proto {
namespace {

enum class NumberKind : uint8_t { signed_integer, unsigned_integer, real };

// A value with its place in the tree. Children of one parent are linked by next_sibling; 0 ends the list, since node 0
// is the root and nobody's sibling.
struct Node {
  JsonKind kind = JsonKind::null;
  NumberKind number_kind = NumberKind::signed_integer;
  bool boolean = false;
  uint32_t first_child = 0;
  uint32_t next_sibling = 0;
  uint32_t child_count = 0;
  std::string_view name;  // of a member
  std::string_view text;  // of a string
  int64_t signed_number = 0;
  uint64_t unsigned_number = 0;
  double real_number = 0;
};

JsonError error_of_simdjson(simdjson::error_code code) {
  switch (code) {
    case simdjson::DEPTH_ERROR:
      return JsonError::too_deep;
    case simdjson::CAPACITY:
      return JsonError::too_large;
    default:
      return JsonError::malformed;
  }
}

// Only brackets nest: a string in an object of the last permitted depth is fine.
uint32_t child_depth(simdjson::dom::element child, uint32_t depth) {
  return child.is_object() || child.is_array() ? depth + 1 : depth;
}

// Every value but the first follows one of these.
size_t values_bound(Bytes text) {
  return 1 + static_cast<size_t>(
                 std::count_if(text.begin(), text.end(), [](uint8_t c) { return c == ',' || c == '[' || c == '{'; }));
}

}  // namespace

// simdjson checks the whole text and unescapes the strings; the nodes are our own, so that no header needs simdjson's
// and names can be checked.
struct JsonTree {
  JsonTree() = default;
  JsonTree(const JsonTree&) = delete;
  JsonTree& operator=(const JsonTree&) = delete;
  ~JsonTree();

  Status build(Bytes text, const JsonLimits& limits);
  Result<uint32_t> add(simdjson::dom::element element, const JsonLimits& limits, uint32_t depth);
  Status add_object(uint32_t index, simdjson::dom::object object, const JsonLimits& limits, uint32_t depth);
  Status add_array(uint32_t index, simdjson::dom::array array, const JsonLimits& limits, uint32_t depth);
  bool add_number(Node& node, simdjson::dom::element element) const;
  bool names_repeat(uint32_t object) const;
  void link(uint32_t parent, uint32_t& last, uint32_t child);
  const Node& child(uint32_t parent, size_t index) const;

  WipingBuffer text;  // padded for simdjson
  simdjson::dom::parser parser;
  std::vector<Node> nodes;
  mutable std::string asked;  // the name that the last failing getter was given; see explain()
};

// The sizes are those that simdjson's document::allocate() gives to its two buffers for this capacity.
JsonTree::~JsonTree() {
  static_assert(simdjson::SIMDJSON_VERSION_MAJOR == 3, "look up the buffer sizes in document::allocate()");
  size_t capacity = parser.doc.capacity();
  if (capacity > 0) {
    wipe(parser.doc.string_buf.get(), SIMDJSON_ROUNDUP_N(5 * capacity / 3 + simdjson::SIMDJSON_PADDING, 64));
    wipe(parser.doc.tape.get(), SIMDJSON_ROUNDUP_N(capacity + 3, 64) * sizeof(uint64_t));
  }
  wipe(nodes.data(), nodes.size() * sizeof(Node));
}

Status JsonTree::build(Bytes input, const JsonLimits& limits) {
  if (input.size() > limits.bytes_max) return fail(json_error(JsonError::too_large));
  text.reserve(input.size() + simdjson::SIMDJSON_PADDING);
  text.append(input);
  text.append_zeros(simdjson::SIMDJSON_PADDING);
  // simdjson's own limit only keeps its stack small: it counts empty brackets differently. add() is exact.
  if (auto code = parser.allocate(input.size(), limits.depth_max + 1)) return fail(json_error(error_of_simdjson(code)));
  simdjson::dom::element root;
  if (auto code = parser.parse(text.data(), input.size(), false).get(root)) {
    return fail(json_error(error_of_simdjson(code)));
  }
  if (!root.is_object()) return fail(json_error(JsonError::not_an_object));
  nodes.reserve(std::min<size_t>(values_bound(input), limits.values_max));  // never grows, so never leaves a copy
  BH_CHECKED(add(root, limits, 1));
  return {};
}

Result<uint32_t> JsonTree::add(simdjson::dom::element element, const JsonLimits& limits, uint32_t depth) {
  if (depth > limits.depth_max) return fail(json_error(JsonError::too_deep));
  if (nodes.size() >= limits.values_max) return fail(json_error(JsonError::too_large));
  uint32_t index = static_cast<uint32_t>(nodes.size());
  Node& node = nodes.emplace_back();
  switch (element.type()) {
    case simdjson::dom::element_type::NULL_VALUE:
      break;
    case simdjson::dom::element_type::BOOL:
      node.kind = JsonKind::boolean;
      node.boolean = element.get_bool().value_unsafe();
      break;
    case simdjson::dom::element_type::STRING:
      node.kind = JsonKind::string;
      node.text = element.get_string().value_unsafe();
      if (!utf8_valid(node.text)) return fail(json_error(JsonError::malformed));
      break;
    case simdjson::dom::element_type::INT64:
    case simdjson::dom::element_type::UINT64:
    case simdjson::dom::element_type::DOUBLE:
      node.kind = JsonKind::number;
      if (!add_number(node, element)) return fail(json_error(JsonError::malformed));
      break;
    case simdjson::dom::element_type::OBJECT:
      node.kind = JsonKind::object;
      BH_CHECKED(add_object(index, element.get_object().value_unsafe(), limits, depth));
      break;
    case simdjson::dom::element_type::ARRAY:
      node.kind = JsonKind::array;
      BH_CHECKED(add_array(index, element.get_array().value_unsafe(), limits, depth));
      break;
  }
  return index;
}

bool JsonTree::add_number(Node& node, simdjson::dom::element element) const {
  if (element.is_int64()) {
    node.signed_number = element.get_int64().value_unsafe();
    return true;
  }
  if (element.is_uint64()) {
    node.number_kind = NumberKind::unsigned_integer;
    node.unsigned_number = element.get_uint64().value_unsafe();
    return true;
  }
  node.number_kind = NumberKind::real;
  return element.get_double().get(node.real_number) == simdjson::SUCCESS;
}

void JsonTree::link(uint32_t parent, uint32_t& last, uint32_t child_index) {
  if (last == 0) {
    nodes[parent].first_child = child_index;
  } else {
    nodes[last].next_sibling = child_index;
  }
  last = child_index;
  ++nodes[parent].child_count;
}

Status JsonTree::add_object(uint32_t index, simdjson::dom::object object, const JsonLimits& limits, uint32_t depth) {
  uint32_t last = 0;
  for (auto [name, value] : object) {
    if (nodes[index].child_count >= limits.members_max) return fail(json_error(JsonError::too_large));
    if (!utf8_valid(name)) return fail(json_error(JsonError::malformed));
    BH_TRY(uint32_t member, add(value, limits, child_depth(value, depth)));
    nodes[member].name = name;
    link(index, last, member);
  }
  if (names_repeat(index)) return fail(json_error(JsonError::duplicate_member));
  return {};
}

Status JsonTree::add_array(uint32_t index, simdjson::dom::array array, const JsonLimits& limits, uint32_t depth) {
  uint32_t last = 0;
  for (simdjson::dom::element element : array) {
    BH_TRY(uint32_t item, add(element, limits, child_depth(element, depth)));
    link(index, last, item);
  }
  return {};
}

bool JsonTree::names_repeat(uint32_t object) const {
  std::vector<std::string_view> names;
  names.reserve(nodes[object].child_count);
  for (uint32_t at = nodes[object].first_child; at != 0; at = nodes[at].next_sibling) names.push_back(nodes[at].name);
  std::sort(names.begin(), names.end());
  return std::adjacent_find(names.begin(), names.end()) != names.end();
}

const Node& JsonTree::child(uint32_t parent, size_t index) const {
  BH_CHECK(index < nodes[parent].child_count);
  uint32_t at = nodes[parent].first_child;
  while (index-- > 0) at = nodes[at].next_sibling;
  return nodes[at];
}

std::string json_error_text(uint16_t code, uint32_t) {
  switch (static_cast<JsonError>(code)) {
    case JsonError::malformed:
      return "not well-formed JSON in UTF-8";
    case JsonError::too_large:
      return "more bytes, values or members than permitted";
    case JsonError::too_deep:
      return "nested deeper than permitted";
    case JsonError::not_an_object:
      return "the outermost value is not an object";
    case JsonError::duplicate_member:
      return "a member name is repeated";
    case JsonError::wrong_type:
      return "a member has the wrong type";
    case JsonError::missing_member:
      return "a required member is missing";
  }
  return "code " + std::to_string(code);
}

JsonDocument::JsonDocument(std::unique_ptr<JsonTree> tree) : tree_(std::move(tree)) {}
JsonDocument::JsonDocument(JsonDocument&&) noexcept = default;
JsonDocument& JsonDocument::operator=(JsonDocument&&) noexcept = default;
JsonDocument::~JsonDocument() = default;

Result<JsonDocument> JsonDocument::parse(Bytes text, const JsonLimits& limits) {
  auto tree = std::make_unique<JsonTree>();
  BH_CHECKED(tree->build(text, limits));
  return JsonDocument(std::move(tree));
}

JsonObject JsonDocument::root() const {
  return JsonObject(tree_.get(), 0);
}

std::string JsonDocument::explain(const Error& error) const {
  const std::string& name = tree_->asked;
  if (is(error, JsonError::wrong_type) && !name.empty()) return "member \"" + name + "\" has the wrong type";
  if (is(error, JsonError::missing_member)) return "member \"" + name + "\" is missing";
  return error_text(error);
}

JsonKind JsonValue::kind() const {
  return tree_->nodes[index_].kind;
}

// Whoever asked by name sets it afterwards; an array's element has none.
std::unexpected<Error> JsonValue::wrong_type() const {
  tree_->asked.clear();
  return fail(json_error(JsonError::wrong_type));
}

Result<std::string_view> JsonValue::string() const {
  if (kind() != JsonKind::string) return wrong_type();
  return tree_->nodes[index_].text;
}

Result<bool> JsonValue::boolean() const {
  if (kind() != JsonKind::boolean) return wrong_type();
  return tree_->nodes[index_].boolean;
}

Result<int64_t> JsonValue::integer() const {
  const Node& node = tree_->nodes[index_];
  if (kind() != JsonKind::number || node.number_kind != NumberKind::signed_integer) return wrong_type();
  return node.signed_number;
}

Result<uint64_t> JsonValue::unsigned_integer() const {
  const Node& node = tree_->nodes[index_];
  if (kind() != JsonKind::number) return wrong_type();
  switch (node.number_kind) {
    case NumberKind::unsigned_integer:
      return node.unsigned_number;
    case NumberKind::signed_integer:
      if (node.signed_number >= 0) return static_cast<uint64_t>(node.signed_number);
      break;
    case NumberKind::real:
      break;
  }
  return wrong_type();
}

Result<double> JsonValue::number() const {
  const Node& node = tree_->nodes[index_];
  if (kind() != JsonKind::number) return wrong_type();
  switch (node.number_kind) {
    case NumberKind::signed_integer:
      return static_cast<double>(node.signed_number);
    case NumberKind::unsigned_integer:
      return static_cast<double>(node.unsigned_number);
    case NumberKind::real:
      return node.real_number;
  }
  return wrong_type();
}

Result<JsonObject> JsonValue::object() const {
  if (kind() != JsonKind::object) return wrong_type();
  return JsonObject(tree_, index_);
}

Result<JsonArray> JsonValue::array() const {
  if (kind() != JsonKind::array) return wrong_type();
  return JsonArray(tree_, index_);
}

size_t JsonArray::size() const {
  return tree_->nodes[index_].child_count;
}

JsonValue JsonArray::at(size_t index) const {
  return JsonValue(tree_, static_cast<uint32_t>(&tree_->child(index_, index) - tree_->nodes.data()));
}

size_t JsonObject::size() const {
  return tree_->nodes[index_].child_count;
}

JsonObject::Member JsonObject::at(size_t index) const {
  const Node& node = tree_->child(index_, index);
  return {node.name, JsonValue(tree_, static_cast<uint32_t>(&node - tree_->nodes.data()))};
}

std::optional<JsonValue> JsonObject::find(std::string_view name) const {
  const std::vector<Node>& nodes = tree_->nodes;
  for (uint32_t at = nodes[index_].first_child; at != 0; at = nodes[at].next_sibling) {
    if (nodes[at].name == name) return JsonValue(tree_, at);
  }
  return std::nullopt;
}

std::unexpected<Error> JsonObject::missing(std::string_view name) const {
  tree_->asked = name;
  return fail(json_error(JsonError::missing_member));
}

template <class T>
Result<std::optional<T>> JsonObject::optional_member(std::string_view name, Result<T> (JsonValue::*get)() const) const {
  auto value = find(name);
  if (!value || value->kind() == JsonKind::null) return std::optional<T>();
  auto result = ((*value).*get)();
  if (!result) {
    tree_->asked = name;
    return fail(result.error());
  }
  return std::optional<T>(*result);
}

template <class T>
Result<T> JsonObject::required_member(std::string_view name, Result<T> (JsonValue::*get)() const) const {
  BH_TRY(auto value, optional_member(name, get));
  if (!value) return missing(name);
  return *value;
}

Result<std::optional<std::string_view>> JsonObject::string(std::string_view name) const {
  return optional_member(name, &JsonValue::string);
}
Result<std::optional<bool>> JsonObject::boolean(std::string_view name) const {
  return optional_member(name, &JsonValue::boolean);
}
Result<std::optional<int64_t>> JsonObject::integer(std::string_view name) const {
  return optional_member(name, &JsonValue::integer);
}
Result<std::optional<uint64_t>> JsonObject::unsigned_integer(std::string_view name) const {
  return optional_member(name, &JsonValue::unsigned_integer);
}
Result<std::optional<double>> JsonObject::number(std::string_view name) const {
  return optional_member(name, &JsonValue::number);
}
Result<std::optional<JsonObject>> JsonObject::object(std::string_view name) const {
  return optional_member(name, &JsonValue::object);
}
Result<std::optional<JsonArray>> JsonObject::array(std::string_view name) const {
  return optional_member(name, &JsonValue::array);
}
Result<std::string_view> JsonObject::required_string(std::string_view name) const {
  return required_member(name, &JsonValue::string);
}
Result<int64_t> JsonObject::required_integer(std::string_view name) const {
  return required_member(name, &JsonValue::integer);
}
Result<JsonObject> JsonObject::required_object(std::string_view name) const {
  return required_member(name, &JsonValue::object);
}
Result<JsonArray> JsonObject::required_array(std::string_view name) const {
  return required_member(name, &JsonValue::array);
}

}  // namespace bellhop::proto
