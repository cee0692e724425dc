// SPDX-License-Identifier: Apache-2.0
#include "proto/account.h"

#include <gtest/gtest.h>

#include "proto/bearer_claims.h"
#include "proto/credentials.h"
#include "proto/gateway_error.h"

namespace bellhop::proto {
namespace {

using namespace std::string_literals;

AccountNames names() {
  AccountNames made;
  EXPECT_TRUE(made.add_domain_alias("CORP", "example.com"));
  EXPECT_TRUE(made.add_domain_alias("mail.example.com", "Example.COM"));
  EXPECT_TRUE(made.set_default_domain("corp"));
  return made;
}

std::string canonical(const AccountNames& names, std::string_view name) {
  const auto account = names.parse(name);
  return account ? account->text : "none";
}

TEST(AccountNames, GivesAllSpellingsOfOneAccountOneForm) {
  const AccountNames made = names();
  for (std::string_view name : {"jdoe@example.com", "JDoe@EXAMPLE.com", "CORP\\jdoe", "corp\\JDOE", "jdoe", "\\jdoe",
                                "\\jdoe@example.com", "jdoe@mail.example.com", "example.com\\jdoe", "jdoe@corp"})
    EXPECT_EQ(canonical(made, name), "jdoe@example.com") << name;
  EXPECT_EQ(canonical(made, "jdoe@other.example"), "jdoe@other.example");
  EXPECT_EQ(canonical(made, "OTHER\\jdoe"), "jdoe@other");
  EXPECT_EQ(canonical(made, "first last@example.com"), "first last@example.com");
  EXPECT_EQ(canonical(AccountNames(), "jdoe"), "jdoe@");
}

TEST(AccountNames, RefusesWhatNamesNoAccount) {
  const AccountNames made = names();
  for (const std::string& name : {""s,
                                  "\\"s,
                                  "@"s,
                                  "a@"s,
                                  "@b"s,
                                  "a@b@c"s,
                                  "CORP\\"s,
                                  "a\\b\\c"s,
                                  "CORP\\a@b"s,
                                  "\\\\a"s,
                                  " a@b"s,
                                  "\\ a"s,
                                  "a @b"s,
                                  "CORP\\ a"s,
                                  "a@b "s,
                                  "a\0b@c"s,
                                  "a\r\n@b"s,
                                  "a\x7f@c"s,
                                  "\xff@b"s,
                                  "\xc0\xaf@b"s,
                                  "a@b c"s,
                                  "a@.b"s,
                                  "a@b."s,
                                  "a@b..c"s,
                                  "a@b/c"s,
                                  "CORP/a"s,
                                  "corp/a@b"s,
                                  std::string(Account::kBytesMax, 'a') + "@b"})
    EXPECT_EQ(canonical(made, name), "none") << name;
}

TEST(AccountNames, GivesTheLettersWithoutTheirMarks) {
  for (auto [name, plain] : std::initializer_list<std::pair<std::string_view, std::string_view>>{
           {"jdoe.x-1", "jdoe.x-1"}, {"jos\u00e9", "jose"}, {"jose\u0301", "jose"}, {"\u00f8\u00e6\u00e5", "oaea"}, {"mei\u00dfner", "meissner"},
           {"\u0142ukasz", "lukasz"}, {"\u00fe\u00f3r", "thor"}, {"\u0153uvre", "oeuvre"}, {"\u0133", "ij"}, {"\u017f\u017e", "sz"}, {"\u0131", "i"},
           {"\u03ac\u03bd\u03bd\u03b1", "\u03b1\u03bd\u03bd\u03b1"}, {"\u0439\u0451\u0457", "\u0438\u0435\u0456"},
           {"\u05d3\u05b8\u05d5", "\u05d3\u05b8\u05d5"}, {"\u5c71\u7530", "\u5c71\u7530"}})
    EXPECT_EQ(plain_letters(name), plain) << name;
  // What a directory may leave out, or take for a letter.
  for (std::string_view name : {"bo\u00adb", "bo\u200bb", "bo\u05b0b", "1\u05b02", "\uff42ob", "\U0001d41bob", "\u24d1ob", "b\u01d2b", "bo\u0085b", "\u1e05ob",
                                "\u212a", "\ufeff" "bob", "\u0149", "\u00d7"})
    EXPECT_EQ(plain_letters(name), std::nullopt) << name;
  for (char32_t c = 0xc0; c < 0x180; ++c) {
    const char text[] = {static_cast<char>(0xc0 | c >> 6), static_cast<char>(0x80 | (c & 0x3f)), 0};
    const auto plain = plain_letters(fold_case(text));
    for (char letter : plain.value_or("a")) EXPECT_TRUE(letter >= 'a' && letter <= 'z') << std::hex << uint32_t(c);
  }
}

TEST(AccountNames, FoldsTheLettersThatNamesAreIn) {
  EXPECT_EQ(fold_case("ABCxyz09._-"), "abcxyz09._-");
  EXPECT_EQ(fold_case("\xc3\x84\xc3\x96\xc3\x9c\xc3\x9f\xc3\x97"),
            "\xc3\xa4\xc3\xb6\xc3\xbc\xc3\x9f\xc3\x97");                                         // ÄÖÜß×
  EXPECT_EQ(fold_case("\xc5\x81\xc5\xbd\xc5\xb8"), "\xc5\x82\xc5\xbe\xc3\xbf");                  // ŁŽŸ
  EXPECT_EQ(fold_case("\xce\x86\xce\xa3\xcf\x82\xce\x8f"), "\xce\xac\xcf\x83\xcf\x83\xcf\x8e");  // ΆΣςΏ
  EXPECT_EQ(fold_case("\xd0\x81\xd0\x96\xd0\xaf"), "\xd1\x91\xd0\xb6\xd1\x8f");                  // ЁЖЯ
  EXPECT_EQ(fold_case("\xe4\xb8\xad\xf0\x9f\x98\x80"), "\xe4\xb8\xad\xf0\x9f\x98\x80");
  // Folding what is folded changes nothing.
  for (char32_t c = 0x80; c < 0x800; ++c) {
    const std::string letter{char(0xc0 | c >> 6), char(0x80 | (c & 0x3f))};
    EXPECT_EQ(fold_case(fold_case(letter)), fold_case(letter)) << std::hex << uint32_t(c);
  }
}

TEST(AccountNames, TakesIso88591WhereItIsNotUtf8) {
  const AccountNames made = names();
  EXPECT_EQ(made.parse_latin1_or_utf8("J\xdcrgen@example.com")->text, "j\xc3\xbcrgen@example.com");
  EXPECT_EQ(made.parse_latin1_or_utf8("J\xc3\x9crgen@example.com")->text, "j\xc3\xbcrgen@example.com");
}

TEST(AccountNames, AliasesDoNotChainAndDoNotContradict) {
  AccountNames made = names();
  EXPECT_TRUE(made.add_domain_alias("corp", "example.com"));
  EXPECT_FALSE(made.add_domain_alias("CORP", "other.example"));
  EXPECT_FALSE(made.add_domain_alias("x", "corp"));
  EXPECT_FALSE(made.add_domain_alias("example.com", "other.example"));
  EXPECT_FALSE(made.add_domain_alias("", "example.com"));
  EXPECT_FALSE(made.add_domain_alias("a b", "example.com"));
  EXPECT_FALSE(made.set_default_domain(""));
}

TEST(AccountNames, IsCertainOfDomainsThatItWasTold) {
  AccountNames made = names();
  for (std::string_view name : {"jdoe@example.com", "CORP\\jdoe", "jdoe"}) EXPECT_TRUE(made.is_certain(*made.parse(name))) << name;
  for (std::string_view name : {"jdoe@other.example", "OTHER\\jdoe"}) EXPECT_FALSE(made.is_certain(*made.parse(name))) << name;
  ASSERT_TRUE(made.add_domain_alias("other.example", "other.example"));
  EXPECT_TRUE(made.is_certain(*made.parse("jdoe@other.example")));
  // Nothing was told: a principal name stands for itself.
  const AccountNames none;
  EXPECT_TRUE(none.is_certain(*none.parse("jdoe@example.com")));
  for (std::string_view name : {"CORP\\jdoe", "jdoe"}) EXPECT_FALSE(none.is_certain(*none.parse(name))) << name;
}

TEST(AccountNames, HoldsItsBound) {
  AccountNames made;
  for (size_t i = 0; i < AccountNames::kDomainsMax; ++i)
    ASSERT_TRUE(made.add_domain_alias("d" + std::to_string(i), "example.com"));
  const Status full = made.add_domain_alias("more", "example.com");
  ASSERT_FALSE(full);
  EXPECT_TRUE(is(full.error(), CoreError::limit));
}

// --- Authorization ---

TEST(ClientCredentials, ReadsTheUserOfBasicAndTheTokenOfBearer) {
  const auto basic = read_client_credentials("Basic " + to_base64(as_bytes("CORP\\jdoe:pa:ss"s)));
  ASSERT_TRUE(basic);
  EXPECT_EQ(basic->scheme, ClientCredentials::Scheme::basic);
  EXPECT_EQ(basic->user.text(), "CORP\\jdoe");
  const auto bearer = read_client_credentials("bearer abc.def-_.x");
  ASSERT_TRUE(bearer);
  EXPECT_EQ(bearer->scheme, ClientCredentials::Scheme::bearer);
  EXPECT_EQ(bearer->token, "abc.def-_.x");
  // Each length of the base64 text.
  for (std::string_view pair : {"a:", "ab:", "abc:", "abcd:\xff\xfe>?"})
    EXPECT_EQ(read_client_credentials("BASIC " + to_base64(as_bytes(pair)))->user.text(),
              pair.substr(0, pair.find(':')));
}

TEST(ClientCredentials, RefusesNtlmAndNegotiateByName) {
  for (std::string_view value : {"NTLM TlRMTVNTUAAB", "ntlm", "Negotiate YII=", "negotiate", "NeGoTiAtE x"}) {
    const auto read = read_client_credentials(value);
    ASSERT_FALSE(read) << value;
    EXPECT_TRUE(is(read.error(), GatewayError::negotiate_refused)) << value;
  }
}

TEST(ClientCredentials, RefusesWhatTwoServersCouldReadDifferently) {
  for (std::string_view value : {"",
                                 "Basic",
                                 "Basic ",
                                 "Basic  YTpi",
                                 "Basic YTpi YTpi",
                                 "Basic YTpi,Basic YTpi",
                                 "Basic\tYTpi",
                                 "Basic YTp",
                                 "Basic YTpi=",
                                 "Basic YTo",
                                 "Basic YTp_",
                                 "Basic YTpj=Yg=",
                                 "Basic OmI=",
                                 "Basic YWI=",
                                 "Basic YT\npi",
                                 "Digest YTpi",
                                 "Bearer",
                                 "Bearer a b",
                                 "Basic \"YTpi\"",
                                 "Basic YTq=",
                                 " Basic YTpi"}) {
    const auto read = read_client_credentials(value);
    ASSERT_FALSE(read) << value;
    EXPECT_TRUE(is(read.error(), GatewayError::credentials)) << value;
  }
}

// --- claims ---

std::string token_of(std::string_view claims) {
  return to_base64url(as_bytes(R"({"alg":"RS256"})"s)) + "." + to_base64url(as_bytes(claims)) + ".c2ln";
}

TEST(BearerClaims, SaysWhomTheTokenIsFor) {
  const auto read = read_bearer_claims(
      token_of(R"({"upn":"a@b","preferred_username":"c@d","unique_name":"e@f","appid":"1","other":[1,{"x":2}]})"));
  ASSERT_TRUE(read);
  EXPECT_EQ(read->user(), "a@b");
  EXPECT_EQ(read->preferred_username, "c@d");
  EXPECT_EQ(read->app_id, "1");
  EXPECT_EQ(read_bearer_claims(token_of(R"({"preferred_username":"c@d","azp":"2"})"))->user(), "c@d");
  EXPECT_EQ(read_bearer_claims(token_of(R"({"unique_name":"e@f","azp":"2"})"))->app_id, "2");
  EXPECT_EQ(read_bearer_claims(token_of(R"({"smtp":"s@t","unique_name":"e@f"})"))->user(), "s@t");
  EXPECT_EQ(read_bearer_claims(token_of("{}"))->user(), "");
}

TEST(BearerClaims, RefusesWhatIsNoReadableToken) {
  const std::string good = token_of(R"({"upn":"a@b"})");
  ASSERT_TRUE(read_bearer_claims(good));
  for (const std::string& token :
       {""s, "opaque"s, ".."s, "a..b"s, good + ".x", "." + good, good.substr(0, good.rfind('.')), token_of("[1]"),
        token_of(R"({"upn":1})"), token_of(R"({"upn":"a","upn":"b"})"), token_of("{"), "a.!!!.b"s,
        token_of(R"({"upn":")" + std::string(BearerClaims::kTextBytesMax + 1, 'a') + R"("})"),
        token_of(R"({"x":")" + std::string(BearerClaims::kTokenBytesMax, 'a') + R"("})"),
        token_of("{\"upn\":\"\xff\"}")}) {
    const auto read = read_bearer_claims(token);
    ASSERT_FALSE(read) << token.substr(0, 60);
    EXPECT_TRUE(is(read.error(), GatewayError::token));
  }
}

}  // namespace
}  // namespace bellhop::proto
