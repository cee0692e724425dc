// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <concepts>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "core/base/bytes.h"
#include "core/base/error.h"
#include "core/base/time.h"
#include "service/config.h"

// JSON lines: {"time":"2026-01-31T12:00:00.123Z","level":"info","core":0,"event":"subscription_active","user":"9f…"}
//
// No personal data. A field's text is a literal of ours or marked not_personal(); users, devices and subscriptions
// appear as a Fingerprint only; no address, subject, token or URL of a callback is a field at all. Types that hold
// secrets, and bytes, do not compile as fields.
namespace bellhop::service {

class MetricsShard;

// Stands for a user, device or subscription in the log: 64 bits of HMAC-SHA-256 under a random salt that is made at
// start and forgotten at the end, so that lines of one run can be joined, and nothing else.
struct Fingerprint {
  std::array<char, 16> hex = {};
  std::string_view text() const { return {hex.data(), hex.size()}; }
  friend bool operator==(const Fingerprint&, const Fingerprint&) = default;
};

inline constexpr size_t kLogSaltBytes = 32;
inline constexpr size_t kLogLineBytesMax = 4'096;  // a longer line loses fields at the end and says "truncated":true
inline constexpr size_t kLogTextBytesMax = 512;    // of one field; the rest is cut on a character boundary
inline constexpr size_t kLogEventsMax = 256;       // event names with a rate of their own; more share one

// The name of an event: a literal in snake_case, known at compile time.
struct LogEvent {
  template <size_t N>
  consteval LogEvent(const char (&literal)[N]) : name(literal, N - 1) {
    hash = 0xcbf29ce484222325u;
    for (char c : name) {
      if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_')) not_a_log_name();
      hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3u;
    }
  }
  std::string_view name;
  uint64_t hash = 0;

 private:
  static void not_a_log_name() {}  // not constexpr: a bad name does not compile
};

// The key of a field: a literal in snake_case, unit last.
struct LogKey {
  template <size_t N>
  consteval LogKey(const char (&literal)[N]) : name(LogEvent(literal).name) {}
  std::string_view name;
};

// A text of ours.
struct LogLiteral {
  template <size_t N>
  consteval LogLiteral(const char (&literal)[N]) : text(literal, N - 1) {}
  std::string_view text;
};

// A run-time text of which the caller vouches that it is no address, name, subject, token, credential or callback URL:
// a file of ours, the name of a listed EWS host, an outcome. It may hold any bytes; the log escapes them.
struct NotPersonal {
  std::string_view text;
};
inline NotPersonal not_personal(std::string_view text) { return {text}; }

// One field. Made by field() only; views of texts live until the line is written.
struct LogField {
  enum class Kind : uint8_t { text, unsigned_integer, signed_integer, boolean, duration, error, fingerprint };
  std::string_view key;
  Kind kind = Kind::text;
  std::string_view text;
  uint64_t number = 0;
  Error error;
  Fingerprint fingerprint;
};

inline LogField field(LogKey key, LogLiteral value) { return {.key = key.name, .text = value.text}; }
inline LogField field(LogKey key, NotPersonal value) { return {.key = key.name, .text = value.text}; }
template <std::same_as<bool> T>
LogField field(LogKey key, T value) {
  return {.key = key.name, .kind = LogField::Kind::boolean, .number = value};
}
template <std::integral T>
  requires(!std::same_as<T, bool> && !std::same_as<T, char>)
LogField field(LogKey key, T value) {
  return {.key = key.name,
          .kind = std::is_signed_v<T> ? LogField::Kind::signed_integer : LogField::Kind::unsigned_integer,
          .number = static_cast<uint64_t>(value)};
}
// Written in milliseconds with three decimals; name the key ..._ms.
template <class Rep, class Period>
LogField field(LogKey key, std::chrono::duration<Rep, Period> value) {
  return {.key = key.name,
          .kind = LogField::Kind::duration,
          .number = static_cast<uint64_t>(std::chrono::duration_cast<Duration>(value).count())};
}
inline LogField field(LogKey key, const Error& value) {
  return {.key = key.name, .kind = LogField::Kind::error, .error = value};
}
inline LogField field(LogKey key, const Fingerprint& value) {
  return {.key = key.name, .kind = LogField::Kind::fingerprint, .fingerprint = value};
}

// True for the types that field() takes at run time. Strings, bytes and secrets are not among them.
template <class T>
concept Loggable = requires(LogKey key, const T& value) {
  { field(key, value) } -> std::same_as<LogField>;
};

// Where whole lines go ('\n' included); main sets it. Must not block and must not log.
struct LogSink {
  void (*write)(void* context, std::string_view line) = nullptr;
  void* context = nullptr;
};

struct LogOptions {
  LogSink sink;
  WallTime (*wall_now)() = nullptr;  // io::wall_now
  MetricsShard* metrics = nullptr;   // counts lines written and suppressed; may be null
  LogLevel level = LogLevel::info;
  uint32_t core = 0;
  uint32_t lines_per_event_per_second_max = 20;
  std::array<uint8_t, kLogSaltBytes> salt = {};  // random, the same on all cores
};

// What went wrong lately, of one kind: an event of level warning or error. Lines that the rate limit left out count.
struct LogTrouble {
  std::string_view event;  // a literal
  LogLevel level = LogLevel::warning;
  uint64_t count = 0;  // since start
  WallTime last{};
  Error error;  // of the last one; Domain::none where it named none
};

// The log of one core: owned by main, passed by reference, used on that core only. Takes no heap but for the text of
// an Error.
// Of each event at most lines_per_event_per_second_max lines a second are written; the next line after that second says
// how many were left out ("suppressed":N). Lines of level error are limited alike.
class Log {
 public:
  explicit Log(const LogOptions& options);
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;
  ~Log();  // wipes the salt

  bool enabled(LogLevel level) const { return level >= options_.level; }
  void renew(const LogConfig& config) {  // at a reload
    options_.level = config.level;
    options_.lines_per_event_per_second_max = config.lines_per_event_per_second_max;
  }
  void write(LogLevel level, LogEvent event, std::span<const LogField> fields);
  // Writes {"event":"log_suppressed","of":NAME,"lines":N} for each event with lines left out; at drain.
  void flush_suppressed();

  // What was logged as warning or error since the start, one entry a kind. Kinds below the log's level are not seen.
  std::vector<LogTrouble> troubles() const;

  // `kind` separates the name spaces ("user", "device", "subscription"); `id` is the stored id or hash.
  Fingerprint fingerprint(LogLiteral kind, Bytes id) const;

 private:
  struct Rate {
    std::string_view name;
    uint64_t hash = 0;
    int64_t second = 0;
    uint32_t lines = 0;
    uint64_t suppressed = 0;
    LogTrouble trouble = {};
  };
  Rate& rate_of(const LogEvent& event);
  void send(size_t size);

  LogOptions options_;
  std::array<Rate, kLogEventsMax + 1> rates_ = {};  // the last one: all names beyond the table
  std::array<char, kLogLineBytesMax> line_ = {};
};

// log_line(log, LogLevel::info, "subscription_active", field("user", fingerprint), field("took_ms", duration));
template <std::same_as<LogField>... Fields>
void log_line(Log& log, LogLevel level, LogEvent event, const Fields&... fields) {
  if (!log.enabled(level)) return;
  if constexpr (sizeof...(fields) == 0) {
    log.write(level, event, {});
  } else {
    const LogField list[] = {fields...};
    log.write(level, event, list);
  }
}

}  // namespace bellhop::service
