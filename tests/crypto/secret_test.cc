// SPDX-License-Identifier: Apache-2.0
#include "crypto/secret.h"

#include <fmt/format.h>
#include <fmt/ostream.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ostream>

#include "tests/crypto/crypto_fixture.h"

namespace bellhop::crypto {
namespace {

using testing::Each;

// Each line is a way in which a secret could leak by accident; none compiles.
template <class T>
concept Streamable = requires(std::ostream& out, const T& value) { out << value; };
template <class T>
concept TestPrintable = requires(std::ostream* out, const T& value) { PrintTo(value, out); };
static_assert(Streamable<std::string> && !Streamable<Secret> && !Streamable<SecretBuffer>);
static_assert(!TestPrintable<Secret> && !TestPrintable<SecretBuffer>);
static_assert(fmt::is_formattable<std::string>::value && !fmt::is_formattable<Secret>::value);
static_assert(!fmt::is_formattable<SecretBuffer>::value);
static_assert(!std::is_copy_constructible_v<Secret> && !std::is_copy_assignable_v<Secret>);
static_assert(!std::is_convertible_v<Secret, std::string_view> && !std::is_convertible_v<Secret, Bytes>);
static_assert(!std::is_convertible_v<Secret, std::string> && !std::is_convertible_v<Secret, bool>);
static_assert(!std::equality_comparable<Secret>);
static_assert(std::is_nothrow_move_constructible_v<Secret> && std::is_nothrow_move_assignable_v<Secret>);

TEST(Secret, IsWipedWhenItDies) {
  const uint8_t* at = nullptr;
  {
    Secret secret = Secret::copy_of("correct horse battery staple");
    at = secret.reveal().data();
    EXPECT_EQ(secret.reveal_text(), "correct horse battery staple");
  }
  EXPECT_THAT(peek(at, 28), Each(0));
}

TEST(Secret, IsWipedWhenAnotherIsMovedOverIt) {
  Secret secret = Secret::copy_of("first");
  const uint8_t* at = secret.reveal().data();
  secret = Secret::copy_of("second");
  EXPECT_THAT(peek(at, 5), Each(0));
  EXPECT_EQ(secret.reveal_text(), "second");
}

TEST(Secret, LeavesTheMovedFromEmpty) {
  Secret from = Secret::copy_of("text");
  Secret to = std::move(from);
  EXPECT_TRUE(from.empty());  // NOLINT(bugprone-use-after-move)
  EXPECT_EQ(to.reveal_text(), "text");
  Secret& same = to;
  to = std::move(same);
  EXPECT_EQ(to.reveal_text(), "text");
}

TEST(Secret, WipesWhatItCutsOff) {
  Secret secret = Secret::copy_of("headtail");
  const uint8_t* at = secret.reveal().data();
  secret.truncate(4);
  EXPECT_EQ(secret.reveal_text(), "head");
  EXPECT_THAT(peek(at + 4, 4), Each(0));
}

TEST(Secret, CountsTheLiving) {
  const int64_t before = Secret::live_count();
  {
    Secret a = Secret::copy_of("a"), b = a.clone(), c = std::move(a), empty, none = Secret::copy_of("");
    EXPECT_EQ(Secret::live_count(), before + 2);
    b.clear();
    EXPECT_EQ(Secret::live_count(), before + 1);
  }
  EXPECT_EQ(Secret::live_count(), before);
}

TEST(Secret, ComparesByContent) {
  Secret secret = Secret::copy_of("same");
  EXPECT_TRUE(secret.equals(as_bytes("same")));
  EXPECT_FALSE(secret.equals(as_bytes("sama")));
  EXPECT_FALSE(secret.equals(as_bytes("sam")));
}

TEST(SecretBuffer, RefusesWhatPassesItsBound) {
  SecretBuffer buffer(10);
  EXPECT_TRUE(buffer.append("12345678"));
  EXPECT_FALSE(buffer.append("abc"));
  EXPECT_EQ(buffer.size(), 8u);
  EXPECT_TRUE(buffer.append("90"));
  EXPECT_FALSE(buffer.append(uint8_t{1}));
  const Secret secret = buffer.finish();
  EXPECT_EQ(secret.reveal_text(), "1234567890");
  EXPECT_EQ(buffer.size(), 0u);
}

TEST(SecretBase64, RoundTripsTheRfc4648Vectors) {
  for (auto [plain, text] : {std::pair<std::string_view, std::string_view>{"f", "Zg=="},
                             {"fo", "Zm8="},
                             {"foo", "Zm9v"},
                             {"foob", "Zm9vYg=="},
                             {"fooba", "Zm9vYmE="},
                             {"foobar", "Zm9vYmFy"},
                             {"\xff\xef\xbe", "/+++"}}) {
    EXPECT_EQ(base64_of(Secret::copy_of(plain)).reveal_text(), text);
    const auto decoded = secret_from_base64(text);
    ASSERT_TRUE(decoded) << text;
    EXPECT_EQ(decoded->reveal_text(), plain);
  }
}

TEST(SecretBase64, RefusesOtherSpellings) {
  for (std::string_view bad : {"Zg", "Zg=", "Zh==", "Zm9v\n", "-___", "Zg==Zg==", "====", "Z===", " Zm9"}) {
    EXPECT_FALSE(secret_from_base64(bad)) << bad;
  }
  for (std::string_view bad : {"Zg==", "A", "Zh", "/+++"}) EXPECT_FALSE(secret_from_base64url(bad)) << bad;
}

}  // namespace
}  // namespace bellhop::crypto
