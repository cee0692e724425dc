// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <variant>

#include "core/base/error.h"
#include "crypto/arena.h"

namespace bellhop::crypto {

using WipingString = std::basic_string<char, std::char_traits<char>, WipingAllocator<char>>;

struct FlatJsonLimits {
  size_t bytes_max = 4096;
  size_t members_max = 16;
};

// One flat JSON object (RFC 8259): members are strings, integers, true, false or null; no arrays, no objects inside,
// no fraction or exponent. Duplicate names, ill-formed UTF-8, lone surrogates, U+0000 and anything after the object are
// refused. For JOSE headers and credential records only, where the text is a secret and a general parser would leave
// copies. Values are read where they stay, in the arena (a short string's bytes lie inside the string object).
class FlatJson {
 public:
  using Value = std::variant<std::nullptr_t, bool, int64_t, WipingString>;
  struct Member {
    WipingString name;
    Value value;
  };

  // Errors: malformed.
  static Result<FlatJson> parse(std::string_view text, FlatJsonLimits limits = {});

  // Null where the member is absent or of another kind. Valid while this lives.
  const WipingString* text(std::string_view name) const;
  const int64_t* integer(std::string_view name) const;
  bool has(std::string_view name) const { return find(name) != nullptr; }
  const WipingVector<Member>& members() const { return members_; }

 private:
  const Value* find(std::string_view name) const;
  WipingVector<Member> members_;
};

// Appends `text` as a JSON string, quotes included. `text` is well-formed UTF-8.
void append_json_string(WipingString& out, std::string_view text);

}  // namespace bellhop::crypto
