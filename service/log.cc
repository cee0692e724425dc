// SPDX-License-Identifier: Apache-2.0
#include "service/log.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>

#include <algorithm>
#include <cstring>

#include "core/base/check.h"
#include "service/metrics.h"

namespace bellhop::service {
namespace {

constexpr char kHexDigits[] = "0123456789abcdef";
constexpr std::string_view kLineEnd = "}\n";
constexpr std::string_view kTruncatedEnd = ",\"truncated\":true}\n";

std::string_view level_text(LogLevel level) {
  switch (level) {
    case LogLevel::debug: return "debug";
    case LogLevel::info: return "info";
    case LogLevel::warning: return "warning";
    case LogLevel::error: return "error";
  }
  check_failed("a log level of the list", __FILE__, __LINE__);
}

// Appends to memory of fixed size; after the first piece that does not fit, nothing more is written.
class LineWriter {
 public:
  explicit LineWriter(std::span<char> out) : out_(out) {}

  bool full() const { return full_; }
  size_t size() const { return size_; }
  void rewind(size_t size) {
    size_ = size;
    full_ = false;
  }
  void raw(std::string_view text) {
    if (full_ || text.size() > out_.size() - size_) {
      full_ = true;
      return;
    }
    std::memcpy(out_.data() + size_, text.data(), text.size());
    size_ += text.size();
  }
  template <class... Args>
  void format(fmt::format_string<Args...> pattern, Args&&... args) {
    char scratch[64];
    auto result = fmt::format_to_n(scratch, sizeof scratch, pattern, std::forward<Args>(args)...);
    BH_CHECK(result.size <= sizeof scratch);
    raw({scratch, result.size});
  }
  void quoted(std::string_view text);

 private:
  void escaped_character(uint32_t point, std::string_view bytes);

  std::span<char> out_;
  size_t size_ = 0;
  bool full_ = false;
};

// Control characters of both sets, line and paragraph separators, and what turns the direction of text: they can forge
// lines or hide text on a terminal.
bool needs_escape(uint32_t point) {
  return point < 0x20 || (point >= 0x7f && point <= 0x9f) || point == 0x061c || point == 0x200e || point == 0x200f ||
         (point >= 0x2028 && point <= 0x202e) || (point >= 0x2066 && point <= 0x2069) || point == 0xfeff;
}

uint32_t code_point(std::string_view bytes) {
  auto byte = [&](size_t at) { return static_cast<uint32_t>(static_cast<uint8_t>(bytes[at])); };
  switch (bytes.size()) {
    case 1: return byte(0);
    case 2: return (byte(0) & 0x1f) << 6 | (byte(1) & 0x3f);
    case 3: return (byte(0) & 0x0f) << 12 | (byte(1) & 0x3f) << 6 | (byte(2) & 0x3f);
    default: return (byte(0) & 0x07) << 18 | (byte(1) & 0x3f) << 12 | (byte(2) & 0x3f) << 6 | (byte(3) & 0x3f);
  }
}

// The length of the well-formed sequence at the front; 0 where it is ill-formed.
size_t sequence_length(std::string_view text) {
  uint8_t lead = static_cast<uint8_t>(text.front());
  if (lead < 0x80) return 1;
  size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  return text.size() >= length && utf8_valid(text.substr(0, length)) ? length : 0;
}

void LineWriter::escaped_character(uint32_t point, std::string_view bytes) {
  if (point == '"' || point == '\\') {
    char pair[2] = {'\\', static_cast<char>(point)};
    raw({pair, 2});
  } else if (needs_escape(point)) {
    char unicode[6] = {'\\', 'u', kHexDigits[point >> 12 & 15], kHexDigits[point >> 8 & 15],
                       kHexDigits[point >> 4 & 15], kHexDigits[point & 15]};
    raw({unicode, sizeof unicode});
  } else {
    raw(bytes);
  }
}

void LineWriter::quoted(std::string_view text) {
  raw("\"");
  size_t taken = 0;
  while (!text.empty() && !full_) {
    size_t length = sequence_length(text);
    if (taken + std::max<size_t>(length, 1) > kLogTextBytesMax) {
      raw("\xe2\x80\xa6");
      break;
    }
    if (length == 0) {
      raw("\xef\xbf\xbd");
      length = 1;
    } else {
      escaped_character(code_point(text.substr(0, length)), text.substr(0, length));
    }
    taken += length;
    text.remove_prefix(length);
  }
  raw("\"");
}

void write_value(LineWriter& line, const LogField& field) {
  switch (field.kind) {
    case LogField::Kind::text: line.quoted(field.text); return;
    case LogField::Kind::unsigned_integer: line.format("{}", field.number); return;
    case LogField::Kind::signed_integer: line.format("{}", static_cast<int64_t>(field.number)); return;
    case LogField::Kind::boolean: line.raw(field.number ? "true" : "false"); return;
    case LogField::Kind::duration: {
      int64_t microseconds = static_cast<int64_t>(field.number) / 1000;
      uint64_t size = microseconds < 0 ? 0 - static_cast<uint64_t>(microseconds) : static_cast<uint64_t>(microseconds);
      line.format("{}{}.{:03}", microseconds < 0 ? "-" : "", size / 1000, size % 1000);
      return;
    }
    case LogField::Kind::error: {
      if (field.error.domain == Domain::none) return line.raw("null");
      line.quoted(error_text(field.error));
      return;
    }
    case LogField::Kind::fingerprint: line.quoted(field.fingerprint.text()); return;
  }
}

void write_head(LineWriter& line, WallTime now, LogLevel level, uint32_t core, std::string_view event) {
  auto seconds = std::chrono::floor<std::chrono::seconds>(now);
  auto milliseconds = (now - seconds).count();
  line.format("{{\"time\":\"{:%Y-%m-%dT%H:%M:%S}.{:03}Z\"", fmt::gmtime(to_unix_seconds(now)), milliseconds);
  line.format(",\"level\":\"{}\",\"core\":{}", level_text(level), core);
  line.raw(",\"event\":");
  line.quoted(event);
}

}  // namespace

namespace {

void note_trouble(LogTrouble& trouble, LogLevel level, WallTime now, std::span<const LogField> fields) {
  trouble.level = level;
  trouble.last = now;
  ++trouble.count;
  trouble.error = {};
  for (const LogField& field : fields) {
    if (field.kind == LogField::Kind::error) trouble.error = field.error;
  }
}

}  // namespace

Log::Log(const LogOptions& options) : options_(options) {
  BH_CHECK(options.sink.write != nullptr);
  BH_CHECK(options.wall_now != nullptr);
  BH_CHECK(options.lines_per_event_per_second_max > 0);
}

Log::~Log() { wipe(options_.salt.data(), options_.salt.size()); }

Log::Rate& Log::rate_of(const LogEvent& event) {
  // Open addressing; a name stays where it was put. More names than places share the last entry.
  for (size_t probe = 0; probe < kLogEventsMax; ++probe) {
    Rate& rate = rates_[(event.hash + probe) % kLogEventsMax];
    if (rate.name.empty()) {
      rate.name = event.name;
      rate.hash = event.hash;
      return rate;
    }
    if (rate.hash == event.hash && rate.name == event.name) return rate;
  }
  rates_[kLogEventsMax].name = "other";
  return rates_[kLogEventsMax];
}

void Log::send(size_t size) {
  options_.sink.write(options_.sink.context, {line_.data(), size});
  if (options_.metrics) options_.metrics->add(metric::log_lines);
}

void Log::write(LogLevel level, LogEvent event, std::span<const LogField> fields) {
  if (!enabled(level)) return;
  WallTime now = options_.wall_now();
  Rate& rate = rate_of(event);
  if (level >= LogLevel::warning) note_trouble(rate.trouble, level, now, fields);
  int64_t second = to_unix_seconds(now);
  if (rate.second != second) {
    rate.second = second;
    rate.lines = 0;
  }
  if (rate.lines >= options_.lines_per_event_per_second_max) {
    ++rate.suppressed;
    if (options_.metrics) options_.metrics->add(metric::log_lines_suppressed);
    return;
  }
  ++rate.lines;

  // Room for the longest end stays free, so that a truncated line is whole JSON.
  LineWriter line(std::span(line_).first(line_.size() - kTruncatedEnd.size()));
  write_head(line, now, level, options_.core, event.name);
  if (rate.suppressed != 0) {
    line.format(",\"suppressed\":{}", rate.suppressed);
    rate.suppressed = 0;
  }
  BH_CHECK(!line.full());
  for (const LogField& field : fields) {
    size_t before = line.size();
    line.raw(",");
    line.quoted(field.key);
    line.raw(":");
    write_value(line, field);
    if (line.full()) {
      line.rewind(before);
      std::memcpy(line_.data() + before, kTruncatedEnd.data(), kTruncatedEnd.size());
      send(before + kTruncatedEnd.size());
      return;
    }
  }
  std::memcpy(line_.data() + line.size(), kLineEnd.data(), kLineEnd.size());
  send(line.size() + kLineEnd.size());
}

void Log::flush_suppressed() {
  WallTime now = options_.wall_now();
  for (Rate& rate : rates_) {
    if (rate.suppressed == 0) continue;
    LineWriter line(line_);
    write_head(line, now, LogLevel::warning, options_.core, "log_suppressed");
    line.raw(",\"of\":");
    line.quoted(rate.name);
    line.format(",\"lines\":{}", rate.suppressed);
    line.raw(kLineEnd);
    rate.suppressed = 0;
    BH_CHECK(!line.full());
    send(line.size());
  }
}

std::vector<LogTrouble> Log::troubles() const {
  std::vector<LogTrouble> troubles;
  for (const Rate& rate : rates_) {
    if (rate.trouble.count == 0) continue;
    troubles.push_back(rate.trouble);
    troubles.back().event = rate.name;
  }
  return troubles;
}

Fingerprint Log::fingerprint(LogLiteral kind, Bytes id) const {
  uint8_t digest[SHA256_DIGEST_LENGTH];
  unsigned size = 0;
  const uint8_t separator = 0;  // kinds are literals without a zero byte: (kind, id) is read in one way only
  HMAC_CTX context;
  HMAC_CTX_init(&context);
  bool done = HMAC_Init_ex(&context, options_.salt.data(), options_.salt.size(), EVP_sha256(), nullptr) &&
              HMAC_Update(&context, as_bytes(kind.text).data(), kind.text.size()) &&
              HMAC_Update(&context, &separator, 1) && HMAC_Update(&context, id.data(), id.size()) &&
              HMAC_Final(&context, digest, &size);
  HMAC_CTX_cleanup(&context);
  BH_CHECK(done && size == sizeof digest);
  Fingerprint fingerprint;
  for (size_t i = 0; i < 8; ++i) {
    fingerprint.hex[2 * i] = kHexDigits[digest[i] >> 4];
    fingerprint.hex[2 * i + 1] = kHexDigits[digest[i] & 15];
  }
  return fingerprint;
}

}  // namespace bellhop::service
