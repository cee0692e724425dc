// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "store/tables.h"

namespace bellhop::store {

// Prints the store for people, one JSON object a row, without anything that may not leave the host: ids are the first
// 6 bytes of what are hashes already, sealed fields, URLs and Exchange's ids are given as sizes only. `line` gets each
// line, newline included. Blocking. A damaged row is printed as {"table":…,"key":…,"damaged":true}.
Status dump_redacted(Engine& engine, FunctionRef<void(std::string_view line)> line);

}  // namespace bellhop::store
