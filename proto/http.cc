// SPDX-License-Identifier: Apache-2.0
#include "proto/http.h"

#include <algorithm>
#include <span>
#include <utility>

#include "core/base/check.h"

namespace bellhop::proto {
namespace {

// Room that most messages need no more than.
constexpr size_t kTextFirst = 2048, kFieldsFirst = 24;

}  // namespace

std::string_view method_name(HttpMethod method) {
  switch (method) {
    case HttpMethod::get:
      return "GET";
    case HttpMethod::head:
      return "HEAD";
    case HttpMethod::post:
      return "POST";
    case HttpMethod::put:
      return "PUT";
    case HttpMethod::patch:
      return "PATCH";
    case HttpMethod::delete_:
      return "DELETE";
    case HttpMethod::options:
      return "OPTIONS";
  }
  BH_CHECK(false);
}

std::optional<HttpMethod> method_of_name(std::string_view name) {
  for (HttpMethod method : {HttpMethod::get, HttpMethod::post, HttpMethod::head, HttpMethod::put, HttpMethod::patch,
                            HttpMethod::delete_, HttpMethod::options}) {
    if (method_name(method) == name) return method;
  }
  return std::nullopt;
}

HeaderBlock::HeaderBlock(HeaderBlock&& other) noexcept { *this = std::move(other); }

HeaderBlock& HeaderBlock::operator=(HeaderBlock&& other) noexcept {
  if (this == &other) return *this;
  clear();
  limits_ = other.limits_;
  text_.swap(other.text_);  // swapped, so that a short string leaves no copy behind
  entries_.swap(other.entries_);
  return *this;
}

bool HeaderBlock::add(std::string_view name, std::string_view value) {
  if (entries_.size() >= limits_.fields_max) return false;
  if (text_.size() + name.size() + value.size() > limits_.bytes_max) return false;
  if (entries_.capacity() == 0) entries_.reserve(kFieldsFirst);
  size_t needed = text_.size() + name.size() + value.size();
  if (needed > text_.capacity()) {
    std::string larger;
    larger.reserve(std::max(kTextFirst, needed * 2));
    larger = text_;
    wipe(text_);
    text_.swap(larger);
  }
  Entry entry{.name_at = uint32_t(text_.size()), .name_size = uint32_t(name.size())};
  text_.append(name);
  for (char& c : std::span(text_).subspan(entry.name_at)) c = ascii_lower(c);
  entry.value_at = uint32_t(text_.size());
  entry.value_size = uint32_t(value.size());
  text_.append(value);
  entries_.push_back(entry);
  return true;
}

void HeaderBlock::clear() {
  wipe(text_.data(), text_.size());  // behind it nothing was written
  text_.clear();
  entries_.clear();
}

HeaderField HeaderBlock::at(size_t index) const {
  const Entry& entry = entries_[index];
  std::string_view all = text_;
  return {all.substr(entry.name_at, entry.name_size), all.substr(entry.value_at, entry.value_size)};
}

std::optional<std::string_view> HeaderBlock::find(std::string_view name) const {
  std::optional<std::string_view> found;
  for (size_t i = 0; i < entries_.size(); ++i) {
    HeaderField field = at(i);
    if (field.name != name) continue;
    if (found) return std::nullopt;
    found = field.value;
  }
  return found;
}

size_t HeaderBlock::count(std::string_view name) const {
  size_t n = 0;
  for (size_t i = 0; i < entries_.size(); ++i) n += at(i).name == name;
  return n;
}

}  // namespace bellhop::proto
