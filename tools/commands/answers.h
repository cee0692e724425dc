// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "proto/json.h"

namespace bellhop::tools {

// Reading what the admin interface answers, for people.

// Complains that the answer is of another version, and gives kExitFailed.
int not_understood();

// A page of a listing at most.
inline constexpr proto::JsonLimits kAnswerLimits = {.bytes_max = 4u << 20, .depth_max = 32, .values_max = 1u << 17, .members_max = 256};

// "-" where the member is absent.
std::string_view text_of(const proto::JsonObject& object, std::string_view name);
// 0 where the member is absent.
uint64_t number_of(const proto::JsonObject& object, std::string_view name);

// 4 d 3 h, 3 h 12 min, 12 min, 40 s.
std::string duration_text(uint64_t seconds);
// 12 B, 3.4 KiB, 64.0 GiB.
std::string size_text(uint64_t bytes);

// Every member as a line "name  value", in the order of the answer; those of an object inside as "outer.inner". Arrays
// are left out.
void print_members(const proto::JsonObject& object, std::string_view prefix = {});

}  // namespace bellhop::tools
