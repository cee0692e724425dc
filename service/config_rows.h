// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <string_view>
#include <type_traits>

#include "service/config_table.h"

// How the rows of the configuration's table are written. Included by the files that hold rows only.
namespace bellhop::service::config_rows {

template <class T>
struct MemberTraits;
template <class S, class V>
struct MemberTraits<V S::*> {
  using Section = S;
  using Value = V;
};

template <auto Member>
using ValueOf = typename MemberTraits<decltype(Member)>::Value;

template <auto Member>
void* member_of(void* section) {
  return &(static_cast<typename MemberTraits<decltype(Member)>::Section*>(section)->*Member);
}

template <auto Member>
constexpr KeyRow number(std::string_view name, uint64_t min, uint64_t max, std::string_view unit,
                        std::string_view help) {
  static_assert(std::is_same_v<ValueOf<Member>, uint32_t> || std::is_same_v<ValueOf<Member>, uint64_t>);
  KeyKind kind = std::is_same_v<ValueOf<Member>, uint32_t> ? KeyKind::number32 : KeyKind::number64;
  return {.name = name, .kind = kind, .member = member_of<Member>, .min = min, .max = max, .unit = unit, .help = help};
}

template <auto Member>
constexpr KeyRow one_of_numbers(std::string_view name, std::span<const uint32_t> numbers, std::string_view unit,
                                std::string_view help) {
  static_assert(std::is_same_v<ValueOf<Member>, uint32_t>);
  return {.name = name, .kind = KeyKind::number32, .member = member_of<Member>, .numbers = numbers, .unit = unit,
          .help = help};
}

template <auto Member>
constexpr KeyRow boolean(std::string_view name, std::string_view help) {
  static_assert(std::is_same_v<ValueOf<Member>, bool>);
  return {.name = name, .kind = KeyKind::boolean, .member = member_of<Member>, .help = help};
}

template <auto Member>
constexpr KeyRow text(std::string_view name, TextCheck refuse, std::string_view example, std::string_view help) {
  static_assert(std::is_same_v<ValueOf<Member>, std::string>);
  return {.name = name, .kind = KeyKind::text, .member = member_of<Member>, .refuse = refuse, .example = example,
          .help = help};
}

template <auto Member>
constexpr KeyRow path(std::string_view name, KeyKind kind, std::string_view example, std::string_view help) {
  static_assert(std::is_same_v<ValueOf<Member>, std::string>);
  return {.name = name, .kind = kind, .member = member_of<Member>, .example = example, .help = help};
}

template <auto Member>
constexpr KeyRow choice(std::string_view name, std::span<const std::string_view> choices, std::string_view help) {
  static_assert(std::is_enum_v<ValueOf<Member>> && sizeof(ValueOf<Member>) == 1);
  return {.name = name, .kind = KeyKind::choice, .member = member_of<Member>, .choices = choices, .help = help};
}

template <auto Member>
constexpr KeyRow list(std::string_view name, TextCheck refuse, std::string_view example, std::string_view help) {
  using Value = ValueOf<Member>;
  KeyKind kind = std::is_same_v<Value, std::vector<HostPort>>  ? KeyKind::address_list
                 : std::is_same_v<Value, std::vector<uint16_t>> ? KeyKind::port_list
                 : std::is_same_v<Value, std::vector<Cidr>>     ? KeyKind::cidr_list
                                                                : KeyKind::text_list;
  return {.name = name, .kind = kind, .member = member_of<Member>, .refuse = refuse, .example = example, .help = help};
}

template <auto Member>
constexpr KeyRow address(std::string_view name, std::string_view example, std::string_view help) {
  static_assert(std::is_same_v<ValueOf<Member>, HostPort>);
  return {.name = name, .kind = KeyKind::address, .member = member_of<Member>, .example = example, .help = help};
}

constexpr KeyRow required(KeyRow row) {
  row.required = true;
  return row;
}

constexpr KeyRow at_reload(KeyRow row) {
  row.when_changed = WhenChanged::reload;
  return row;
}
constexpr KeyRow at_restart(KeyRow row) {
  row.when_changed = WhenChanged::restart;
  return row;
}

// Required where the process has this role, and not otherwise.
constexpr KeyRow with_role(std::string_view role, KeyRow row) {
  row.role = role;
  return row;
}

// All rows but one.
template <size_t N>
consteval std::array<KeyRow, N - 1> without(const KeyRow (&rows)[N], std::string_view name) {
  std::array<KeyRow, N - 1> rest{};
  size_t at = 0;
  for (const KeyRow& row : rows) {
    if (row.name != name) rest[at++] = row;
  }
  return rest;
}

template <auto Member>
void* enter(void* parent) {
  return member_of<Member>(parent);
}
template <auto Member>
void* append(void* parent) {
  auto* items = static_cast<ValueOf<Member>*>(member_of<Member>(parent));
  return &items->emplace_back();
}

}  // namespace bellhop::service::config_rows
