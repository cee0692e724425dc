// SPDX-License-Identifier: Apache-2.0
#include "service/seg_words.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/bytes.h"

namespace bellhop::service {
namespace {

bool is_upper(char c) { return c >= 'A' && c <= 'Z'; }
bool is_lower_or_digit(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

}  // namespace

SegWords::SegWords(std::string_view name) {
  std::string word;
  for (size_t i = 0; i < name.size(); ++i) {
    char c = name[i], before = i > 0 ? name[i - 1] : '.', after = i + 1 < name.size() ? name[i + 1] : '.';
    bool begins = is_upper(c) && (is_lower_or_digit(before) || (is_upper(before) && is_lower_or_digit(after)));
    if (begins || !(is_upper(c) || is_lower_or_digit(c))) end_word(word);
    if (is_upper(c) || is_lower_or_digit(c)) word += ascii_lower(c);
  }
  end_word(word);
}

bool SegWords::any(std::initializer_list<std::string_view> wanted) const {
  return std::ranges::any_of(wanted, [&](std::string_view word) { return std::ranges::find(words_, word) != words_.end(); });
}

bool SegWords::only(std::initializer_list<std::string_view> wanted) const {
  return words_.size() == wanted.size() && std::ranges::all_of(wanted, [&](std::string_view word) { return any({word}); });
}

bool SegWords::within(std::initializer_list<std::string_view> allowed) const {
  return std::ranges::all_of(words_, [&](const std::string& word) { return std::ranges::find(allowed, word) != allowed.end(); });
}

void SegWords::end_word(std::string& word) {
  if (!word.empty()) words_.push_back(std::move(word));
  word.clear();
}

SegSubject subject_of(const SegWords& words) {
  if (words.any({"api", "aw", "airwatch", "awcm", "uem", "console"})) return SegSubject::console;
  if (words.any({"ews"})) return SegSubject::ews;
  if (words.any({"exch", "exchange", "email", "mail", "eas", "activesync", "mailserver", "emailserver"})) return SegSubject::mail;
  return SegSubject::unknown;
}

// The first that fits: it is a connection that is idle, and TLS that shakes hands on one.
std::string_view seg_timeout_key(const SegWords& words) {
  if (words.any({"idle", "keepalive"}) || (words.any({"keep"}) && words.any({"alive"}))) return "idle_timeout_ms";
  if (words.any({"handshake"})) return "handshake_timeout_ms";
  if (words.any({"ping"})) return "parked_answer_timeout_ms";
  bool waits_for_one = words.any({"pool", "lease", "queue"}) || (words.any({"connection"}) && words.any({"request"}));
  if (waits_for_one) return "";
  if (words.any({"connect", "connection", "connecting"})) return "connect_timeout_ms";
  bool of_answers = words.any({"read", "response", "answer", "request", "reply", "receive", "socket"});
  bool of_all = words.within({"timeout", "email", "mail", "server", "ews", "exch", "exchange", "eas", "activesync", "mailserver",
                              "emailserver", "in", "ms", "millis", "milliseconds", "s", "sec", "secs", "second", "seconds", "min",
                              "mins", "minute", "minutes"});
  return of_answers || of_all ? "answer_timeout_ms" : "";
}

std::optional<bool> parse_seg_flag(std::string_view text) {
  std::string word = ascii_lower(ascii_trim(text));
  for (std::string_view yes : {"true", "yes", "on", "1", "enabled"}) {
    if (word == yes) return true;
  }
  for (std::string_view no : {"false", "no", "off", "0", "disabled", ""}) {
    if (word == no) return false;
  }
  return std::nullopt;
}

std::string toml_quoted(std::string_view text) {
  std::string out = "\"";
  for (char c : text) {
    auto byte = static_cast<uint8_t>(c);
    if (byte < 0x20 || byte == 0x7f) {
      out += fmt::format("\\u{:04x}", byte);
    } else {
      if (c == '"' || c == '\\') out += '\\';
      out += c;
    }
  }
  return out + '"';
}

std::string toml_quoted(const std::vector<std::string>& texts) {
  std::string out;
  for (const std::string& text : texts) out += (out.empty() ? "" : ", ") + toml_quoted(text);
  return "[" + out + "]";
}

std::string shown_setting(std::string_view name) {
  std::string out;
  for (char c : utf8_prefix(name, 100)) out += static_cast<uint8_t>(c) < 0x20 || c == 0x7f ? '?' : c;
  return out;
}

}  // namespace bellhop::service
