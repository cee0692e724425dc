// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>

#include "core/base/bytes.h"
#include "proto/oauth.h"

namespace bellhop::proto {
namespace {

// tchar of RFC 9110 section 5.6.2.
bool is_token_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}

// One step at a time through a list of challenges. Nothing and false mean that the grammar is broken, or the end.
class ChallengeReader {
 public:
  explicit ChallengeReader(std::string_view text) : text_(text) {}

  bool at_end() const { return at_ == text_.size(); }
  void skip_space() {
    while (!at_end() && (text_[at_] == ' ' || text_[at_] == '\t')) ++at_;
  }
  void skip_commas() {
    skip_space();
    while (take(',')) skip_space();
  }
  bool take(char c) {
    if (at_end() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  std::string_view token() {
    const size_t start = at_;
    while (!at_end() && is_token_char(text_[at_])) ++at_;
    return text_.substr(start, at_ - start);
  }
  // After a scheme and a space: token68, which ends the challenge. Moves on only where it is one.
  bool take_token68() {
    size_t end = at_;
    while (end < text_.size() && (is_token_char(text_[end]) || text_[end] == '/')) ++end;
    while (end < text_.size() && text_[end] == '=') ++end;
    const size_t after = text_.find_first_not_of(" \t", end);
    if (end == at_ || (after != std::string_view::npos && text_[after] != ',')) return false;
    at_ = end;
    return true;
  }
  // The value of a parameter, after its "=".
  std::optional<std::string> value() {
    if (!take('"')) {
      const std::string_view plain = token();
      return plain.empty() ? std::nullopt : std::optional(std::string(plain));
    }
    std::string quoted;
    while (!at_end()) {
      char c = text_[at_++];
      if (c == '"') return quoted;
      if (c == '\\') {
        if (at_end()) break;
        c = text_[at_++];
      }
      quoted += c;
    }
    return std::nullopt;
  }

 private:
  std::string_view text_;
  size_t at_ = 0;
};

// Servers write both alphabets, with and without padding.
std::optional<std::string> decode_claims(std::string_view text) {
  if (text.size() > kClaimsBytesMax / 3 * 4 + 4) return std::nullopt;
  std::string plain(text.substr(0, text.find_last_not_of('=') + 1));
  std::ranges::replace(plain, '+', '-');
  std::ranges::replace(plain, '/', '_');
  const auto bytes = from_base64url(plain);
  if (!bytes || bytes->size() > kClaimsBytesMax || !JsonDocument::parse(*bytes, TokenAnswer::kLimits)) {
    return std::nullopt;
  }
  return std::string(as_text(*bytes));
}

void note_parameter(std::string_view name, const std::string& value, BearerChallenge& challenge) {
  if (ascii_equal_ignoring_case(name, "error")) {
    challenge.token_refused |= value == "invalid_token" || value == "insufficient_claims";
  } else if (ascii_equal_ignoring_case(name, "claims")) {
    if (auto claims = decode_claims(value)) challenge.claims = *std::move(claims);
  }
}

void read_field(std::string_view text, std::optional<BearerChallenge>& found) {
  ChallengeReader reader(text);
  bool in_bearer = false, scheme_known = false;
  for (reader.skip_commas(); !reader.at_end(); reader.skip_commas()) {
    const std::string_view name = reader.token();
    if (name.empty()) return;
    reader.skip_space();
    if (scheme_known && reader.take('=')) {
      reader.skip_space();
      const auto value = reader.value();
      if (!value) return;
      if (in_bearer) note_parameter(name, *value, *found);
      continue;
    }
    scheme_known = true;
    in_bearer = ascii_equal_ignoring_case(name, "bearer");
    if (in_bearer && !found) found.emplace();
    // The first parameter follows without a comma.
    ChallengeReader ahead = reader;
    if (reader.take_token68() || ahead.at_end()) continue;
    const std::string_view parameter = reader.token();
    if (parameter.empty()) continue;  // a comma: the scheme stands alone
    reader.skip_space();
    if (!reader.take('=')) return;
    reader.skip_space();
    const auto value = reader.value();
    if (!value) return;
    if (in_bearer) note_parameter(parameter, *value, *found);
  }
}

}  // namespace

std::optional<BearerChallenge> find_bearer_challenge(const HeaderBlock& headers) {
  std::optional<BearerChallenge> found;
  for (size_t i = 0; i < headers.size(); ++i) {
    const HeaderField field = headers.at(i);
    if (field.name == "www-authenticate") read_field(field.value, found);
  }
  return found;
}

}  // namespace bellhop::proto
