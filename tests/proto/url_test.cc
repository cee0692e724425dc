// SPDX-License-Identifier: Apache-2.0
#include "proto/url.h"

#include <gtest/gtest.h>

#include "proto/address_policy.h"

namespace bellhop::proto {
namespace {

using namespace std::string_literals;
using enum UrlError;

bool is_error(const Error& error, UrlError code) {
  return error.domain == Domain::url && error.code == static_cast<uint16_t>(code);
}

std::string canonical(std::string_view text) {
  auto url = Url::parse(text);
  return url ? url->to_string() : "error: " + url_error_text(url.error().code, url.error().detail);
}

TEST(Url, ReadsEveryPart) {
  auto url = Url::parse("HTTPS://Mail.Example.COM:8443/EWS/Exchange.asmx?a=b&c=%20d");
  ASSERT_TRUE(url);
  EXPECT_EQ(url->host, "mail.example.com");
  EXPECT_EQ(url->port, 8443);
  EXPECT_EQ(url->path, "/EWS/Exchange.asmx");
  EXPECT_EQ(url->query, "a=b&c=%20d");
  EXPECT_FALSE(url->ip);
  EXPECT_EQ(url->authority(), "mail.example.com:8443");
  EXPECT_EQ(url->origin(), "https://mail.example.com:8443");
  EXPECT_EQ(url->target(), "/EWS/Exchange.asmx?a=b&c=%20d");
}

TEST(Url, HasOneSpellingPerPlace) {
  const std::pair<std::string_view, std::string_view> table[] = {
      {"https://a.example.com", "https://a.example.com/"},
      {"https://a.example.com/", "https://a.example.com/"},
      {"https://a.example.com:443/", "https://a.example.com/"},
      {"https://A.EXAMPLE.com./x", "https://a.example.com/x"},
      {"https://a.example.com?q", "https://a.example.com/?q"},
      {"https://a.example.com/?", "https://a.example.com/?"},
      {"https://192.0.2.1/", "https://192.0.2.1/"},
      {"https://[2001:DB8:0:0::1]/", "https://[2001:db8::1]/"},
      {"https://[2001:db8::1]:444/", "https://[2001:db8::1]:444/"},
      {"https://xn--bcher-kva.example/", "https://xn--bcher-kva.example/"},
      {"https://exchange/ews", "https://exchange/ews"},
      {"https://1e100.example.net/", "https://1e100.example.net/"},
      {"https://a.example.com//x", "https://a.example.com//x"},
      {"https://a.example.com/..a/b..", "https://a.example.com/..a/b.."},
  };
  for (auto [text, expected] : table) EXPECT_EQ(canonical(text), expected) << text;
}

TEST(Url, GivesBracketsOnlyToIpv6) {
  auto url = Url::parse("https://[2001:db8::2]:1443/");
  ASSERT_TRUE(url);
  EXPECT_EQ(url->host, "2001:db8::2");
  ASSERT_TRUE(url->ip);
  EXPECT_TRUE(url->ip->v6);
  EXPECT_EQ(url->authority(), "[2001:db8::2]:1443");
}

struct Hostile {
  std::string text;
  UrlError code;
};

TEST(Url, RefusesHostileUrls) {
  const Hostile table[] = {
      // Other schemes and no scheme.
      {"", bad_scheme},
      {"https:", bad_scheme},
      {"https:/a.example.com/", bad_scheme},
      {"http://a.example.com/", bad_scheme},
      {"httpss://a.example.com/", bad_scheme},
      {"ftp://a.example.com/", bad_scheme},
      {"file:///etc/passwd", bad_scheme},
      {"gopher://127.0.0.1:25/", bad_scheme},
      {"javascript:alert(1)", bad_scheme},
      {"//a.example.com/", bad_scheme},
      {"a.example.com/", bad_scheme},
      {"/EWS/Exchange.asmx", bad_scheme},
      {"jar:https://a.example.com!/", bad_scheme},
      {"https:a.example.com", bad_scheme},
      // Bytes that readers treat differently.
      {" https://a.example.com/", bad_character},
      {"https://a.example.com/ ", bad_character},
      {"https://a.example.com/\r\nHost: b", bad_character},
      {"https://a.example.com/\n", bad_character},
      {"https://a\texample.com/", bad_character},
      {"https://a.example.com\0.b.example.com/"s, bad_character},
      {"https://a.example.com\\@b.example.com/", bad_character},
      {"https:\\\\a.example.com/", bad_character},
      {"https://a.example.com\\b", bad_character},
      {"https://b\xc3\xbc"
       "cher.example/",
       bad_character},
      {"https://a\xe3\x80\x82"
       "example.com/",
       bad_character},
      {"https://\xe2\x91\xa0\xe2\x91\xa1\xe2\x91\xa7.0.0.1/", bad_character},
      {"https://a.example.com/\x7f", bad_character},
      {"https://a.example.com/\x80", bad_character},
      // User information.
      {"https://u@a.example.com/", userinfo},
      {"https://u:p@a.example.com/", userinfo},
      {"https://@a.example.com/", userinfo},
      {"https://a.example.com@127.0.0.1/", userinfo},
      {"https://a.example.com:443@127.0.0.1/", userinfo},
      {"https://a.example.com%40127.0.0.1/", bad_address},
      {"https://[::1]@a.example.com/", userinfo},
      // Hosts.
      {"https://", bad_host},
      {"https:///", bad_host},
      {"https://?x", bad_host},
      {"https://.", bad_host},
      {"https://./", bad_host},
      {"https://a..example.com/", bad_host},
      {"https://.a.example.com/", bad_host},
      {"https://a.example.com../", bad_host},
      {"https://-a.example.com/", bad_host},
      {"https://a-.example.com/", bad_host},
      {"https://a_b.example.com/", bad_host},
      {"https://a,b.example.com/", bad_host},
      {"https://a;b.example.com/", bad_host},
      {"https://a*b.example.com/", bad_host},
      {"https://*.example.com/", bad_host},
      {"https://a!b.example.com/", bad_host},
      {"https://%6c%6f%63alhost/", bad_host},
      {"https://127.0.0.1%2f/", bad_host},
      {"https://%31%32%37.0.0.1/", bad_address},
      {"https://a.example.com%00.b/", bad_host},
      {"https://xn--/", bad_host},
      {"https://" + std::string(64, 'a') + ".example.com/", bad_host},
      {"https://" + "aaaaaaa."s + std::string(250, 'a') + "/", bad_host},
      {"https://a.example.com]/", bad_host},
      {"https://localhost%23@a.example.com/", userinfo},
      // Addresses in disguise.
      {"https://2130706433/", bad_address},
      {"https://0x7f000001/", bad_address},
      {"https://0X7F000001/", bad_address},
      {"https://017700000001/", bad_address},
      {"https://127.1/", bad_address},
      {"https://127.0.1/", bad_address},
      {"https://0/", bad_address},
      {"https://0x/", bad_address},
      {"https://0x7f.0.0.1/", bad_address},
      {"https://0x7f.1/", bad_address},
      {"https://0177.0.0.1/", bad_address},
      {"https://127.0.0.01/", bad_address},
      {"https://127.0.0.0x1/", bad_address},
      {"https://127.0.0.256/", bad_address},
      {"https://127.0.0.1.1/", bad_address},
      {"https://127.0.0.1./", bad_address},
      {"https://1.2.3/", bad_address},
      {"https://1.2.3.4.5/", bad_address},
      {"https://a.example.1/", bad_address},
      {"https://a.example.0x1f/", bad_address},
      {"https://a.example.1./", bad_address},
      {"https://00000000000000000177.0.0.1/", bad_address},
      {"https://4294967296/", bad_address},
      {"https://169.254.43518/", bad_address},
      {"https://[::1/", bad_address},
      {"https://[]/", bad_address},
      {"https://[127.0.0.1]/", bad_address},
      {"https://[::1%25lo]/", bad_address},
      {"https://[fe80::1%eth0]/", bad_address},
      {"https://[::g]/", bad_address},
      {"https://[1:2:3:4:5:6:7:8:9]/", bad_address},
      {"https://[1::2::3]/", bad_address},
      {"https://[::ffff:127.1]/", bad_address},
      {"https://[::ffff:0x7f.0.0.1]/", bad_address},
      {"https://[v1.fe80::a]/", bad_address},
      {"https://[a.example.com]/", bad_address},
      {"https://[::1]a/", bad_host},
      {"https://::1/", bad_host},
      {"https://2001:db8::1/", bad_address},
      // Ports.
      {"https://a.example.com:/", bad_port},
      {"https://a.example.com:0/", bad_port},
      {"https://a.example.com:00443/", bad_port},
      {"https://a.example.com:65536/", bad_port},
      {"https://a.example.com:99999999999999999999/", bad_port},
      {"https://a.example.com:-1/", bad_port},
      {"https://a.example.com:+443/", bad_port},
      {"https://a.example.com:443:443/", bad_port},
      {"https://a.example.com:https/", bad_port},
      {"https://a.example.com:0x1bb/", bad_port},
      {"https://[::1]:/", bad_port},
      // Paths and queries.
      {"https://a.example.com/../x", bad_path},
      {"https://a.example.com/a/./x", bad_path},
      {"https://a.example.com/a/..", bad_path},
      {"https://a.example.com/%2e%2e/x", bad_path},
      {"https://a.example.com/.%2E/x", bad_path},
      {"https://a.example.com/..;/x", bad_path},
      {"https://a.example.com/a%2fb", bad_path},
      {"https://a.example.com/a%5cb", bad_path},
      {"https://a.example.com/a%00b", bad_path},
      {"https://a.example.com/a%0d%0ab", bad_path},
      {"https://a.example.com/%", bad_path},
      {"https://a.example.com/%4", bad_path},
      {"https://a.example.com/%zz", bad_path},
      {"https://a.example.com/<x>", bad_path},
      {"https://a.example.com/{x}", bad_path},
      {"https://a.example.com/?a=%0a", bad_path},
      {"https://a.example.com/?a=%", bad_path},
      {"https://a.example.com/?a=^", bad_path},
      // Fragments.
      {"https://a.example.com/#x", fragment},
      {"https://a.example.com#@b.example.com/", fragment},
      {"https://a.example.com/?a#b", fragment},
      // Length.
      {"https://a.example.com/" + std::string(2027, 'a'), too_long},
  };
  static_assert(std::size(table) >= 100);
  for (const Hostile& hostile : table) {
    auto url = Url::parse(hostile.text);
    ASSERT_FALSE(url) << hostile.text << " read as " << url->to_string();
    EXPECT_TRUE(is_error(url.error(), hostile.code))
        << hostile.text << ": " << url_error_text(url.error().code, url.error().detail);
  }
}

TEST(Url, TakesTheLongestPermittedOne) {
  std::string text = "https://a.example.com/" + std::string(Url::kBytesMax - 22, 'a');
  ASSERT_EQ(text.size(), Url::kBytesMax);
  EXPECT_TRUE(Url::parse(text));
  std::string label(63, 'a');
  std::string host = label + "." + label + "." + label + "." + std::string(61, 'b');
  ASSERT_EQ(host.size(), 253u);
  EXPECT_TRUE(Url::parse("https://" + host + "/"));
  EXPECT_FALSE(Url::parse("https://" + host + "b/"));
}

TEST(Url, ReadsItsOwnTextAgain) {
  for (std::string_view text : {"https://a.example.com:444/x?y=%41", "https://[2001:db8::1]/", "https://192.0.2.9/"}) {
    auto url = Url::parse(text);
    ASSERT_TRUE(url);
    auto again = Url::parse(url->to_string());
    ASSERT_TRUE(again);
    EXPECT_EQ(*again, *url);
  }
}

TEST(HostAllowList, MatchesExactNamesAndSuffixes) {
  HostAllowList list;
  EXPECT_FALSE(list.matches("mail.example.com"));
  ASSERT_TRUE(list.add("Mail.Example.com"));
  ASSERT_TRUE(list.add("*.corp.example.com"));
  ASSERT_TRUE(list.add("192.0.2.1"));
  ASSERT_TRUE(list.add("[2001:db8::1]"));
  EXPECT_TRUE(list.matches("mail.example.com"));
  EXPECT_TRUE(list.matches("a.corp.example.com"));
  EXPECT_TRUE(list.matches("a.b.corp.example.com"));
  EXPECT_TRUE(list.matches("192.0.2.1"));
  EXPECT_TRUE(list.matches("2001:db8::1"));
  for (std::string_view other : {"example.com", "corp.example.com", "xcorp.example.com", "mail.example.com.evil.test",
                                 "evilmail.example.com", "a.mail.example.com", "", ".corp.example.com", "192.0.2.10"}) {
    EXPECT_FALSE(list.matches(other)) << other;
  }
}

TEST(HostAllowList, RefusesPatternsThatOpenTooMuch) {
  HostAllowList list;
  for (std::string_view pattern :
       {"*", "*.", "*.com", "*.*.example.com", "a.*.example.com", "*example.com", "", "https://a.example.com",
        "a.example.com/", "a.example.com:443", "*.192.0.2.1", "10.0.0.0/8"}) {
    auto status = list.add(pattern);
    ASSERT_FALSE(status) << pattern;
    EXPECT_TRUE(is_error(status.error(), bad_pattern)) << pattern;
  }
  EXPECT_EQ(list.size(), 0u);
}

TEST(HostAllowList, IsBounded) {
  HostAllowList list;
  for (size_t i = 0; i < HostAllowList::kEntriesMax; ++i)
    ASSERT_TRUE(list.add("h" + std::to_string(i) + ".example.com"));
  auto status = list.add("one.more.example.com");
  ASSERT_FALSE(status);
  EXPECT_TRUE(is(status.error(), CoreError::limit));
}

TEST(Cidr, IsStrict) {
  for (std::string_view good : {"10.0.0.0/8", "0.0.0.0/0", "192.0.2.1/32", "::/0", "fd00::/8", "2001:db8::1/128"}) {
    auto block = Cidr::parse(good);
    ASSERT_TRUE(block) << good;
    EXPECT_EQ(block->to_string(), good);
  }
  EXPECT_EQ(Cidr::parse("192.0.2.1")->to_string(), "192.0.2.1/32");
  for (std::string_view bad : {"", "/", "10.0.0.0/", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/08", "10.0.0.0/-1", "10/8",
                               "10.0.0.0/8/8", "fd00::1/8", "::/129", "a.example.com/8", "10.0.0.0 /8", "[fd00::]/8"}) {
    EXPECT_FALSE(Cidr::parse(bad)) << bad;
  }
}

TEST(Cidr, ContainsExactlyItsBlock) {
  auto contains = [](std::string_view block, std::string_view address) {
    return Cidr::parse(block)->contains(*IpAddress::parse(address));
  };
  EXPECT_TRUE(contains("10.0.0.0/8", "10.255.255.255"));
  EXPECT_FALSE(contains("10.0.0.0/8", "11.0.0.0"));
  EXPECT_TRUE(contains("172.16.0.0/12", "172.31.255.255"));
  EXPECT_FALSE(contains("172.16.0.0/12", "172.32.0.0"));
  EXPECT_TRUE(contains("0.0.0.0/0", "203.0.113.1"));
  EXPECT_FALSE(contains("0.0.0.0/0", "::ffff:203.0.113.1"));
  EXPECT_TRUE(contains("192.0.2.1/32", "192.0.2.1"));
  EXPECT_FALSE(contains("192.0.2.1/32", "192.0.2.0"));
  EXPECT_TRUE(contains("2001:db8::/33", "2001:db8:7fff::1"));
  EXPECT_FALSE(contains("2001:db8::/33", "2001:db8:8000::1"));
  EXPECT_TRUE(contains("::/0", "2001:db8::1"));
}

TEST(AddressPolicy, ClassifiesEveryKind) {
  using enum AddressKind;
  const std::pair<std::string_view, AddressKind> table[] = {
      {"8.8.8.8", global},
      {"1.0.0.0", global},
      {"100.63.255.255", global},
      {"100.128.0.0", global},
      {"9.255.255.255", global},
      {"11.0.0.0", global},
      {"172.15.255.255", global},
      {"172.32.0.0", global},
      {"192.167.255.255", global},
      {"192.169.0.0", global},
      {"223.255.255.255", global},
      {"126.255.255.255", global},
      {"128.0.0.0", global},
      {"169.253.255.255", global},
      {"169.255.0.0", global},
      {"2606:4700::1111", global},
      {"2a00:1450:4001::1", global},
      {"0.0.0.0", unspecified},
      {"0.1.2.3", unspecified},
      {"::", unspecified},
      {"127.0.0.1", loopback},
      {"127.255.255.255", loopback},
      {"::1", loopback},
      {"10.0.0.0", private_},
      {"10.255.255.255", private_},
      {"172.16.0.0", private_},
      {"172.31.255.255", private_},
      {"192.168.0.0", private_},
      {"192.168.255.255", private_},
      {"100.64.0.0", cgnat},
      {"100.127.255.255", cgnat},
      {"169.254.0.0", link_local},
      {"169.254.255.255", link_local},
      {"fe80::1", link_local},
      {"febf::1", link_local},
      {"169.254.169.254", metadata},
      {"fd00:ec2::254", metadata},
      {"100.100.100.200", metadata},
      {"168.63.129.16", metadata},
      {"169.254.170.2", metadata},
      {"192.0.0.192", metadata},
      {"fc00::1", ula},
      {"fdff::1", ula},
      {"224.0.0.1", multicast},
      {"239.255.255.255", multicast},
      {"ff02::1", multicast},
      {"192.0.2.1", documentation},
      {"198.51.100.1", documentation},
      {"203.0.113.1", documentation},
      {"2001:db8::1", documentation},
      {"3fff::1", documentation},
      {"198.18.0.1", benchmark},
      {"198.19.255.255", benchmark},
      {"2001:2::1", benchmark},
      {"240.0.0.1", reserved},
      {"255.255.255.255", reserved},
      {"192.0.0.1", reserved},
      {"fec0::1", reserved},
      {"100::1", reserved},
      {"4000::1", reserved},
      {"5f00::1", reserved},
      {"2001:10::1", reserved},
      {"::ffff:127.0.0.1", v4_mapped},
      {"::ffff:8.8.8.8", v4_mapped},
      {"::127.0.0.1", v4_mapped},
      {"::2", v4_mapped},
      {"2002:7f00:1::", six_to_four},
      {"192.88.99.1", six_to_four},
      {"64:ff9b::7f00:1", nat64},
      {"64:ff9b:1::1", nat64},
      {"2001:0:7f00:1::", teredo},
  };
  for (auto [text, kind] : table) {
    auto address = IpAddress::parse(text);
    ASSERT_TRUE(address) << text;
    EXPECT_EQ(classify(*address), kind) << text << " is " << address_kind_name(classify(*address));
  }
}

TEST(AddressPolicy, AllowsOnlyGlobalAddressesByDefault) {
  AddressPolicy policy;
  EXPECT_TRUE(policy.allows(*IpAddress::parse("8.8.8.8")));
  EXPECT_TRUE(policy.allows(*IpAddress::parse("2606:4700::1111")));
  for (std::string_view text : {"127.0.0.1",        "::1",        "10.0.0.1",       "172.16.0.1",
                                "192.168.1.1",      "100.64.0.1", "169.254.1.1",    "169.254.169.254",
                                "168.63.129.16",    "fd00::1",    "fe80::1",        "224.0.0.1",
                                "0.0.0.0",          "::",         "::ffff:8.8.8.8", "2002:808:808::",
                                "64:ff9b::808:808", "2001::1",    "192.0.2.1",      "198.18.0.1",
                                "255.255.255.255"}) {
    EXPECT_FALSE(policy.allows(*IpAddress::parse(text))) << text;
  }
}

TEST(AddressPolicy, OpensDeclaredBlocksButNeverMetadataOrTunnels) {
  AddressPolicy policy;
  for (std::string_view block : {"10.1.0.0/16", "127.0.0.1/32", "fd00::/8", "100.64.0.0/10", "192.0.2.0/24"}) {
    ASSERT_TRUE(policy.permit(*Cidr::parse(block)));
  }
  for (std::string_view text : {"10.1.2.3", "127.0.0.1", "fd00::1", "100.64.0.1", "192.0.2.1"}) {
    EXPECT_TRUE(policy.allows(*IpAddress::parse(text))) << text;
  }
  for (std::string_view text : {"10.2.0.1", "127.0.0.2", "::1", "192.168.0.1", "100.100.100.200", "fd00:ec2::254"}) {
    EXPECT_FALSE(policy.allows(*IpAddress::parse(text))) << text;
  }
  ASSERT_TRUE(policy.permit(*Cidr::parse("0.0.0.0/0")));
  ASSERT_TRUE(policy.permit(*Cidr::parse("::/0")));
  for (std::string_view text :
       {"169.254.169.254", "168.63.129.16", "fd00:ec2::254", "169.254.1.1", "fe80::1", "0.0.0.0", "::ffff:127.0.0.1",
        "::ffff:8.8.8.8", "64:ff9b::1", "2002::1", "2001::1", "224.0.0.1", "255.255.255.255", "192.0.0.1"}) {
    EXPECT_FALSE(policy.allows(*IpAddress::parse(text))) << text;
  }
}

TEST(AddressPolicy, IsBounded) {
  AddressPolicy policy;
  for (size_t i = 0; i < AddressPolicy::kBlocksMax; ++i) ASSERT_TRUE(policy.permit(*Cidr::parse("10.0.0.0/8")));
  EXPECT_FALSE(policy.permit(*Cidr::parse("10.0.0.0/8")));
}

}  // namespace
}  // namespace bellhop::proto
