// SPDX-License-Identifier: Apache-2.0
#include "service/uem_page.h"

#include <algorithm>

#include "proto/json.h"

namespace bellhop::service {
namespace {

constexpr proto::JsonLimits kLastLine{.bytes_max = 4'096, .depth_max = 2, .values_max = 16, .members_max = 8};

}  // namespace

bool is_uem_token(std::string_view text) {
  return !text.empty() && text.size() <= kUemTokenBytesMax && std::ranges::all_of(text, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' || c == '~';
  });
}

std::expected<UemPage, std::string_view> read_uem_page(std::string_view body) {
  size_t end = body.find_last_not_of(" \t\r\n");
  std::string_view text = body.substr(0, end == body.npos ? 0 : end + 1);
  size_t before = text.rfind('\n');
  std::string_view last = before == text.npos ? text : text.substr(before + 1);
  auto document = proto::JsonDocument::parse(last, kLastLine);
  if (!document) return std::unexpected("does not end with a line {\"next\": …} or {\"since\": …}, so it was cut or is something else");
  auto next = document->root().string("next"), since = document->root().string("since");
  bool one = next && since && next->has_value() != since->has_value();
  if (!one) return std::unexpected("ends with a line that has not one of next and since as text");
  UemPage page{.devices = text.substr(0, text.size() - last.size()),
               .next = std::string(next->value_or(std::string_view())),
               .since = std::string(since->value_or(std::string_view()))};
  if (!is_uem_token(page.next.empty() ? page.since : page.next)) {
    return std::unexpected("ends with a token that is not 1 to 512 letters, digits, \"-\", \".\", \"_\" or \"~\"");
  }
  return page;
}

}  // namespace bellhop::service
