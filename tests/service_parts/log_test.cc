// SPDX-License-Identifier: Apache-2.0
#include "service/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "service/error_texts.h"
#include "service/metrics.h"

namespace bellhop::service {
namespace {

using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

// What must never become a field. A secret is not loggable however it can be viewed or converted.
struct LooksLikeText {
  operator std::string_view() const { return "password"; }  // NOLINT: the point of the test
  operator std::string() const { return "password"; }       // NOLINT
  operator bool() const { return true; }                    // NOLINT
  operator uint64_t() const { return 1; }                   // NOLINT
};
struct MoveOnlySecret {
  MoveOnlySecret(const MoveOnlySecret&) = delete;
  Bytes view() const;
};
enum class SomeEnum : uint8_t { value };
static_assert(!Loggable<LooksLikeText>);
static_assert(!Loggable<MoveOnlySecret>);
static_assert(!Loggable<std::string>);
static_assert(!Loggable<std::string_view>);
static_assert(!Loggable<const char*>);
static_assert(!Loggable<char*>);
static_assert(!Loggable<Bytes>);
static_assert(!Loggable<MutableBytes>);
static_assert(!Loggable<std::vector<uint8_t>>);
static_assert(!Loggable<std::array<uint8_t, 32>>);
static_assert(!Loggable<char>);
static_assert(!Loggable<double>);
static_assert(!Loggable<void*>);
static_assert(!Loggable<std::nullptr_t>);
static_assert(!Loggable<SomeEnum>);
static_assert(Loggable<bool> && Loggable<int> && Loggable<uint64_t> && Loggable<int64_t> && Loggable<uint8_t>);
static_assert(Loggable<Duration> && Loggable<std::chrono::seconds>);
static_assert(Loggable<Error> && Loggable<Fingerprint> && Loggable<NotPersonal>);

WallTime test_now;
WallTime read_test_now() { return test_now; }

class LogTest : public testing::Test {
 protected:
  LogTest() {
    test_now = WallTime(1'767'225'599'999ms);  // 2025-12-31T23:59:59.999Z
    register_error_texts();
  }
  LogOptions options() {
    LogOptions options;
    options.sink = {[](void* context, std::string_view line) {
                      static_cast<LogTest*>(context)->lines_.emplace_back(line);
                    },
                    this};
    options.wall_now = read_test_now;
    options.metrics = shard_.get();
    options.core = 1;
    options.lines_per_event_per_second_max = 3;
    for (size_t i = 0; i < kLogSaltBytes; ++i) options.salt[i] = static_cast<uint8_t>(i);
    return options;
  }
  // The text of one field "text" as it stands in the line, quotes included.
  std::string escaped(std::string_view text) {
    lines_.clear();
    test_now += 1s;
    log_line(*log_, LogLevel::info, "text", field("text", not_personal(text)));
    EXPECT_EQ(lines_.size(), 1u);
    size_t start = lines_[0].find("\"text\":") + 7;
    return lines_[0].substr(start, lines_[0].size() - start - 2);
  }

  std::vector<std::string> lines_;
  std::unique_ptr<MetricsShard> shard_ = std::make_unique<MetricsShard>();
  std::unique_ptr<Log> log_ = std::make_unique<Log>(options());
};

TEST_F(LogTest, ALineIsOneJsonObjectWithItsFieldsInOrder) {
  Fingerprint user = log_->fingerprint("user", as_bytes("id"));
  log_line(*log_, LogLevel::info, "subscription_active", field("user", user), field("state", "ready"),
           field("count", 3u), field("balance", -7), field("largest", ~uint64_t{0}), field("known", true),
           field("took_ms", Duration(1'234'567)), field("late_ms", -1500us), field("host", not_personal("mail.example.com")),
           field("error", os_error(ENOENT)));
  ASSERT_EQ(lines_.size(), 1u);
  EXPECT_EQ(lines_[0],
            "{\"time\":\"2025-12-31T23:59:59.999Z\",\"level\":\"info\",\"core\":1,\"event\":\"subscription_active\",\"user\":\"" +
                std::string(user.text()) +
                "\",\"state\":\"ready\",\"count\":3,\"balance\":-7,\"largest\":18446744073709551615,\"known\":true,"
                "\"took_ms\":1.234,\"late_ms\":-1.500,\"host\":\"mail.example.com\","
                "\"error\":\"os: No such file or directory\"}\n");
}

TEST_F(LogTest, AnEventWithoutFieldsIsALine) {
  log_line(*log_, LogLevel::error, "store_failed");
  EXPECT_THAT(lines_, ElementsAre(EndsWith("\"level\":\"error\",\"core\":1,\"event\":\"store_failed\"}\n")));
}

TEST_F(LogTest, WhatDidNotFailHasNoError) {
  log_line(*log_, LogLevel::info, "request_ended", field("error", Error()));
  EXPECT_THAT(lines_, ElementsAre(EndsWith("\"event\":\"request_ended\",\"error\":null}\n")));
}

TEST_F(LogTest, LinesBelowTheLevelAreNotWritten) {
  log_line(*log_, LogLevel::debug, "detail");
  EXPECT_THAT(lines_, IsEmpty());
  log_->renew({.level = LogLevel::debug});
  log_line(*log_, LogLevel::debug, "detail");
  EXPECT_EQ(lines_.size(), 1u);
  log_->renew({.level = LogLevel::error});
  log_line(*log_, LogLevel::warning, "detail");
  EXPECT_EQ(lines_.size(), 1u);
}

TEST_F(LogTest, NoTextCanForgeALineOrHideOnATerminal) {
  EXPECT_EQ(escaped("a\"b\\c"), "\"a\\\"b\\\\c\"");
  EXPECT_EQ(escaped("x\r\n{\"event\":\"forged\"}"), "\"x\\u000d\\u000a{\\\"event\\\":\\\"forged\\\"}\"");
  EXPECT_EQ(escaped(std::string_view("\0\x1b[31m\x7f\t", 8)), "\"\\u0000\\u001b[31m\\u007f\\u0009\"");
  EXPECT_EQ(escaped("\xc2\x85\xc2\x9b"), "\"\\u0085\\u009b\"");                          // C1: next line, CSI
  EXPECT_EQ(escaped("\xe2\x80\xae" "abc\xe2\x81\xa9\xe2\x80\xa8"), "\"\\u202eabc\\u2069\\u2028\"");  // bidi, line separator
  EXPECT_EQ(escaped("grüße 日本 🔔"), "\"grüße 日本 🔔\"");
}

TEST_F(LogTest, IllFormedUtf8IsReplaced) {
  EXPECT_EQ(escaped("a\xff" "b"), "\"a\xef\xbf\xbd" "b\"");
  EXPECT_EQ(escaped("\xc0\xaf"), "\"\xef\xbf\xbd\xef\xbf\xbd\"");             // overlong
  EXPECT_EQ(escaped("\xed\xa0\x80").size(), 2u + 9u);                          // surrogate
  EXPECT_EQ(escaped("\xf0\x9f\x94"), "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");  // cut
}

TEST_F(LogTest, ALongTextIsCutOnACharacterBoundary) {
  EXPECT_EQ(escaped(std::string(kLogTextBytesMax, 'a')), "\"" + std::string(kLogTextBytesMax, 'a') + "\"");
  EXPECT_EQ(escaped(std::string(kLogTextBytesMax + 1, 'a')), "\"" + std::string(kLogTextBytesMax, 'a') + "…\"");
  EXPECT_EQ(escaped(std::string(kLogTextBytesMax - 1, 'a') + "ü"), "\"" + std::string(kLogTextBytesMax - 1, 'a') + "…\"");
}

TEST_F(LogTest, ALongLineLosesItsLastFieldsAndSaysSo) {
  std::string control(kLogTextBytesMax, '\x01');  // six bytes each when escaped
  log_line(*log_, LogLevel::info, "long", field("first", not_personal(control)), field("second", not_personal(control)),
           field("third", 1));
  ASSERT_EQ(lines_.size(), 1u);
  EXPECT_LE(lines_[0].size(), kLogLineBytesMax);
  EXPECT_THAT(lines_[0], HasSubstr("\"first\":\"\\u0001"));
  EXPECT_THAT(lines_[0], testing::Not(HasSubstr("second")));
  EXPECT_THAT(lines_[0], EndsWith("\\u0001\",\"truncated\":true}\n"));
}

TEST_F(LogTest, RandomBytesNeverReachTheSinkRaw) {
  std::mt19937 random(5);
  for (int round = 0; round < 500; ++round) {
    std::string text(random() % 700, 0);
    for (char& c : text) c = static_cast<char>(random());
    std::string line = escaped(text);
    EXPECT_TRUE(utf8_valid(line));
    for (char c : line) EXPECT_TRUE(static_cast<uint8_t>(c) >= 0x20 && c != 0x7f);
  }
}

TEST_F(LogTest, AnEventBeyondItsRateIsCountedAndTold) {
  for (int i = 0; i < 10; ++i) log_line(*log_, LogLevel::warning, "noisy", field("i", i));
  log_line(*log_, LogLevel::warning, "quiet");
  EXPECT_EQ(lines_.size(), 4u);  // three of the one, one of the other
  test_now += 1s;
  log_line(*log_, LogLevel::warning, "noisy", field("i", 10));
  EXPECT_THAT(lines_.back(), EndsWith("\"event\":\"noisy\",\"suppressed\":7,\"i\":10}\n"));
  log_line(*log_, LogLevel::warning, "noisy", field("i", 11));
  EXPECT_THAT(lines_.back(), EndsWith("\"event\":\"noisy\",\"i\":11}\n"));
  EXPECT_EQ(shard_->value(metric::log_lines), 6u);
  EXPECT_EQ(shard_->value(metric::log_lines_suppressed), 7u);
}

TEST_F(LogTest, SuppressedLinesAreToldAtTheEnd) {
  for (int i = 0; i < 5; ++i) log_line(*log_, LogLevel::info, "noisy");
  lines_.clear();
  log_->flush_suppressed();
  EXPECT_THAT(lines_, ElementsAre(EndsWith("\"event\":\"log_suppressed\",\"of\":\"noisy\",\"lines\":2}\n")));
  log_->flush_suppressed();
  EXPECT_EQ(lines_.size(), 1u);
}

// 300 names at compile time: event_000 … event_299.
struct NumberedName {
  char text[10] = "event_000";
  consteval explicit NumberedName(int number) {
    text[6] = static_cast<char>('0' + number / 100);
    text[7] = static_cast<char>('0' + number / 10 % 10);
    text[8] = static_cast<char>('0' + number % 10);
  }
};
template <int Number>
constexpr NumberedName kNumberedName{Number};

template <int First, int... Numbers>
void log_numbered(Log& log, std::integer_sequence<int, Numbers...>) {
  (log_line(log, LogLevel::info, LogEvent(kNumberedName<First + Numbers>.text)), ...);
}

TEST_F(LogTest, MoreEventNamesThanPlacesShareOneRate) {
  log_numbered<0>(*log_, std::make_integer_sequence<int, 150>());
  log_numbered<150>(*log_, std::make_integer_sequence<int, 150>());
  EXPECT_EQ(lines_.size(), kLogEventsMax + 3);  // the 44 beyond share three lines a second
  lines_.clear();
  log_->flush_suppressed();
  EXPECT_THAT(lines_, ElementsAre(HasSubstr("\"of\":\"other\",\"lines\":41}")));
}

TEST_F(LogTest, AFingerprintDependsOnSaltKindAndId) {
  Fingerprint user = log_->fingerprint("user", as_bytes("id"));
  EXPECT_EQ(user, log_->fingerprint("user", as_bytes("id")));
  EXPECT_NE(user, log_->fingerprint("device", as_bytes("id")));
  EXPECT_NE(user, log_->fingerprint("user", as_bytes("ie")));
  EXPECT_NE(log_->fingerprint("ab", as_bytes("c")), log_->fingerprint("a", as_bytes("bc")));
  LogOptions other = options();
  other.salt[0] ^= 1;
  EXPECT_NE(user, Log(other).fingerprint("user", as_bytes("id")));
  EXPECT_TRUE(from_hex(user.text()).has_value());
}

TEST_F(LogTest, AFingerprintIsTheStartOfHmacSha256) {
  // printf 'user\0id' | openssl dgst -sha256 -mac HMAC -macopt hexkey:000102…1f
  EXPECT_EQ(log_->fingerprint("user", as_bytes("id")).text(), "3f9e4129d19d44bd");
}

TEST_F(LogTest, ErrorsOfTheServiceHaveTexts) {
  log_line(*log_, LogLevel::warning, "failed", field("error", service_error(ServiceError::exchange_failed, 503)));
  EXPECT_THAT(lines_.back(), HasSubstr("\"error\":\"service: Exchange did not give a usable answer (HTTP status 503)\""));
}

TEST(ErrorTexts, EveryCodeHasATextOfItsOwn) {
  register_error_texts();
  std::vector<std::string> seen;
  for (uint16_t code = 1; code <= static_cast<uint16_t>(ServiceError::store_failed); ++code) {
    std::string text = error_text(service_error(static_cast<ServiceError>(code)));
    EXPECT_THAT(text, StartsWith("service: "));
    EXPECT_THAT(text, testing::Not(HasSubstr("code ")));
    EXPECT_THAT(seen, testing::Not(testing::Contains(text)));
    seen.push_back(text);
  }
  EXPECT_EQ(error_text(service_error(static_cast<ServiceError>(999))), "service: code 999");
  EXPECT_EQ(error_text(config_error(ConfigError::invalid, 2)),
            "config: the configuration has 2 problems; `bellhop check` lists them");
  EXPECT_EQ(error_text(config_error(ConfigError::unreadable, ENOENT)),
            "config: the configuration file cannot be read: No such file or directory");
  EXPECT_EQ(error_text(config_error(ConfigError::unreadable, 99'999)),
            "config: the configuration file cannot be read: errno 99999");
  EXPECT_TRUE(is(config_error(ConfigError::too_large), ConfigError::too_large));
  EXPECT_FALSE(is(config_error(ConfigError::too_large), static_cast<ServiceError>(2)));
}

}  // namespace
}  // namespace bellhop::service
