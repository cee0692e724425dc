// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace bellhop::service {

// How the settings of a SEG are read and ours are written: see seg_import.h.

// The words of a name in lower case: of "ignoreSslErrorsWithExch" and "ignore.ssl.errors.with.exch" the same.
class SegWords {
 public:
  explicit SegWords(std::string_view name);

  bool any(std::initializer_list<std::string_view> wanted) const;
  bool only(std::initializer_list<std::string_view> wanted) const;
  bool within(std::initializer_list<std::string_view> allowed) const;  // no word is another than these

 private:
  void end_word(std::string& word);
  std::vector<std::string> words_;
};

// Whom a setting is about.
enum class SegSubject : uint8_t { unknown, mail, ews, console };
SegSubject subject_of(const SegWords& words);

// Our key for a timeout of the mail server; empty: there is none of this kind.
std::string_view seg_timeout_key(const SegWords& words);

// "true", "yes", "on", "1", "enabled", and their opposites; what is empty is none of the first.
std::optional<bool> parse_seg_flag(std::string_view text);

// A string of TOML, and a list of them.
std::string toml_quoted(std::string_view text);
std::string toml_quoted(const std::vector<std::string>& texts);

// A name as it may stand in a message or a comment.
std::string shown_setting(std::string_view name);

}  // namespace bellhop::service
