// SPDX-License-Identifier: Apache-2.0
#include "proto/activesync.h"

#include <gtest/gtest.h>

#include <set>

#include "core/base/bytes.h"
#include "proto/gateway_error.h"
#include "proto/wbxml_peek.h"
#include "tests/proto/activesync_record.h"

namespace bellhop::proto {
namespace {

using namespace std::string_literals;
using enum GatewayError;

Result<ActiveSyncQuery> post(std::string_view query) {
  return parse_activesync_query(HttpMethod::post, query);
}
Result<ActiveSyncQuery> options(std::string_view query) {
  return parse_activesync_query(HttpMethod::options, query);
}

// The error's code; 0 where there is none.
uint16_t code_of(const Result<ActiveSyncQuery>& query) {
  return query ? 0 : query.error().code;
}

TEST(ActiveSyncQuery, ReadsThePlainFormInAnyOrder) {
  for (std::string_view query : {"Cmd=Sync&User=corp%5Cjdoe&DeviceId=ApplC39K&DeviceType=iPhone",
                                 "User=corp%5Cjdoe&DeviceId=ApplC39K&DeviceType=iPhone&Cmd=Sync",
                                 "Cmd=Sync&User=corp\\jdoe&DeviceId=ApplC39K&DeviceType=iPhone",
                                 "user=corp%5cjdoe&DEVICEID=ApplC39K&cmd=Sync&deviceType=iPhone&CollectionId=7"}) {
    const auto read = post(query);
    ASSERT_TRUE(read) << query;
    EXPECT_FALSE(read->base64);
    EXPECT_EQ(read->command, ActiveSyncCommand::sync);
    EXPECT_EQ(read->user, "corp\\jdoe");
    EXPECT_EQ(read->device_id, "ApplC39K");
    EXPECT_EQ(read->device, device_key("applc39k"));
    EXPECT_EQ(read->device_type, "iPhone");
    EXPECT_EQ(read->protocol_version, 0);
    EXPECT_TRUE(read->may_hang());
  }
  const auto spaced = post("Cmd=SendMail&DeviceId=a&DeviceType=Windows%20Mail&SaveInSent=T");
  ASSERT_TRUE(spaced);
  EXPECT_EQ(spaced->device_type, "Windows Mail");
  EXPECT_EQ(spaced->user, "");
  EXPECT_FALSE(spaced->may_hang());
}

TEST(ActiveSyncQuery, ReadsThePublishedVectorsOfTheBase64Form) {
  const auto first = post("jAAJBAp2MTQwRGV2aWNlAApTbWFydFBob25l");
  ASSERT_TRUE(first);
  EXPECT_TRUE(first->base64);
  EXPECT_EQ(first->protocol_version, 140);
  EXPECT_EQ(first->command, ActiveSyncCommand::sync);
  EXPECT_EQ(first->device_id, "v140Device");
  EXPECT_EQ(first->device_type, "SmartPhone");
  EXPECT_EQ(first->device, device_key("V140DEVICE"));
  EXPECT_FALSE(first->policy_key);
  const auto second = post("jQAJBBBOaW5lNDM4M0FGMzQ2ODYwBAAAAAAHQW5kcm9pZAcBAA==");
  ASSERT_TRUE(second);
  EXPECT_EQ(second->protocol_version, 141);
  EXPECT_EQ(second->device_id, "Nine4383AF346860");
  EXPECT_EQ(second->device_type, "Android");
  EXPECT_EQ(second->policy_key, 0u);
  // The same 16 bytes as open servers write them down.
  EXPECT_EQ(second->device, device_key("4E696E65343338334146333436383630"));
}

TEST(ActiveSyncQuery, GivesARawGuidAndItsDigitsOneKey) {
  std::string guid = "\x34\xda\x01\xff\x00\x7f\x41\x61\x80\x90\xa0\xb0\xc0\xd0\xe0\xf0"s;
  const auto raw = post(ActiveSyncRecord{.device_id = guid}.text());
  ASSERT_TRUE(raw);
  EXPECT_EQ(raw->device_id, guid);
  const auto text = post("Cmd=Sync&DeviceId=34DA01FF007F41618090A0B0C0D0E0F0&DeviceType=x");
  ASSERT_TRUE(text);
  EXPECT_EQ(text->device, raw->device);
  EXPECT_EQ(device_text(raw->device_id), text->device_id);
  const auto other = post("Cmd=Sync&DeviceId=34DA01FF007F61618090A0B0C0D0E0F0&DeviceType=x");
  EXPECT_NE(other->device, raw->device);
}

TEST(ActiveSyncQuery, ReadsTagsOfTheBase64Form) {
  ActiveSyncRecord record{.version = 161, .command = 20, .policy_key = 0x12345678};
  record.add(8, "user@example.com").add(7, "\x03").add(1, "7").add(0, "").add(3, "1").add(4, "x").add(6, "y");
  const auto read = post(record.text());
  ASSERT_TRUE(read);
  EXPECT_EQ(read->user, "user@example.com");
  EXPECT_EQ(read->command, ActiveSyncCommand::provision);
  EXPECT_EQ(read->policy_key, 0x12345678u);
}

TEST(ActiveSyncQuery, RefusesEveryRecordThatBreaksTheLayout) {
  const std::string good = ActiveSyncRecord{}.add(8, "user").bytes();
  ASSERT_TRUE(post(to_base64(as_bytes(good))));
  // Cut anywhere: a cut between parameters leaves a whole record.
  const size_t whole = ActiveSyncRecord{}.bytes().size();
  for (size_t size = 1; size < good.size(); ++size) {
    const auto read = post(to_base64(as_bytes(good).first(size)));
    EXPECT_EQ(read.has_value(), size == whole) << size;
  }
  EXPECT_EQ(code_of(post(ActiveSyncRecord{.version = 191}.text())), uint16_t(query_malformed));
  EXPECT_EQ(code_of(post(ActiveSyncRecord{.version = 25}.text())), uint16_t(query_malformed));
  EXPECT_EQ(code_of(post(ActiveSyncRecord{.version = 120}.text())), uint16_t(query_malformed));
  for (uint8_t command : {5, 6, 7, 8, 24, 255})
    EXPECT_EQ(code_of(post(ActiveSyncRecord{.command = command}.text())), uint16_t(GatewayError::command))
        << int(command);
  EXPECT_EQ(code_of(post(ActiveSyncRecord{.device_id = ""}.text())), uint16_t(device_missing));
  EXPECT_EQ(code_of(post(ActiveSyncRecord{.device_type = ""}.text())), uint16_t(device_missing));
  EXPECT_EQ(code_of(post(ActiveSyncRecord{.device_id = "\x01\x02"}.text())), uint16_t(query_malformed));
  EXPECT_EQ(code_of(post(ActiveSyncRecord{.device_id = "a,b"}.text())), uint16_t(ambiguous));
  EXPECT_EQ(code_of(post(ActiveSyncRecord{.device_id = std::string(65, 'a')}.text())), uint16_t(query_malformed));
  EXPECT_EQ(code_of(post(ActiveSyncRecord{}.add(8, "a").add(8, "b").text())), uint16_t(ambiguous));
  EXPECT_EQ(code_of(post(ActiveSyncRecord{}.add(7, "\x03").add(7, "\x03").text())), uint16_t(ambiguous));
  EXPECT_EQ(code_of(post(ActiveSyncRecord{}.add(7, "\x04").text())), uint16_t(query_malformed));
  EXPECT_EQ(code_of(post(ActiveSyncRecord{}.add(7, "").text())), uint16_t(query_malformed));
  for (uint8_t tag : {2, 5, 9, 200})
    EXPECT_EQ(code_of(post(ActiveSyncRecord{}.add(tag, "x").text())), uint16_t(parameter)) << int(tag);
}

TEST(ActiveSyncQuery, RefusesOtherSpellingsOfBase64) {
  const std::string text = ActiveSyncRecord{.device_id = "\xfb\xef\xbe\xff?>?>\xfb\xef\xbe\xff?>?>"}.text();
  ASSERT_TRUE(post(text));
  ASSERT_NE(text.find_first_of("+/"), text.npos);
  std::string url = text;
  for (char& c : url) c = c == '+' ? '-' : c == '/' ? '_' : c;
  EXPECT_FALSE(post(url));
  std::string escaped = text;
  escaped.replace(escaped.find_first_of("+/"), 1, "%2B");
  EXPECT_EQ(code_of(post(escaped)), uint16_t(query_malformed));
  const std::string padded = "jQAJBBBOaW5lNDM4M0FGMzQ2ODYwBAAAAAAHQW5kcm9pZAcBAA==";
  for (const std::string& other : {padded.substr(0, padded.size() - 1), padded.substr(0, padded.size() - 2),
                                   padded + "=", padded + "====", padded.substr(0, padded.size() - 2) + "%3D%3D",
                                   " " + padded, padded.substr(0, padded.size() - 3) + "B=="}) {
    EXPECT_FALSE(post(other)) << other;
  }
}

TEST(ActiveSyncQuery, RefusesWhatTwoServersCouldReadDifferently) {
  const std::string base = "Cmd=Sync&User=u&DeviceId=d&DeviceType=t";
  ASSERT_TRUE(post(base));
  for (std::string_view more :
       {"&DeviceId=e", "&deviceid=e", "&DEVICEID=d", "&Cmd=Ping", "&cmd=Sync", "&user=v", "&deviceTYPE=t",
        "&Device%49d=e", "&%44eviceId=e", "&DeviceId%00=e", "&DeviceId%5B%5D=e", "&+DeviceId=e", ";DeviceId=e",
        "&CollectionId=1&collectionid=2", "&CollectionId=1%26DeviceId=e", "&ItemId=1%26cmd%3dPing"}) {
    EXPECT_EQ(code_of(post(base + std::string(more))), uint16_t(ambiguous)) << more;
  }
  for (std::string_view query :
       {"Cmd=Sync&User=u&DeviceId=d+e&DeviceType=t", "Cmd=Sync&User=u+v&DeviceId=d&DeviceType=t",
        "Cmd=S%79nc&User=u&DeviceId=d&DeviceType=t", "Cmd=Sync&User=u&DeviceId=%64&DeviceType=t",
        "Cmd=Sync&User=u%252540v&DeviceId=d&DeviceType=t", "Cmd=Sync&User=u&DeviceId=d,e&DeviceType=t",
        "Cmd=Sync&User=u%26DeviceId%3De&DeviceId=d&DeviceType=t", "Cmd=Sync&User=u&DeviceId=d&DeviceType=t%2Cu",
        "Cmd=Sync&User=u&DeviceId=d%2564&DeviceType=t", "Cmd=Sync&User=u&DeviceId=d&DeviceType=t%2574"})
    EXPECT_EQ(code_of(post(query)), uint16_t(ambiguous)) << query;
  // Both forms at once.
  const std::string record = ActiveSyncRecord{}.text();
  for (const std::string& query : {record + "&" + base, base + "&" + record, record + "&DeviceId=e"})
    EXPECT_FALSE(post(query)) << query;
}

TEST(ActiveSyncQuery, RefusesWhatIsNoQuery) {
  for (std::string_view query :
       {"", "Cmd", "Cmd=", "Cmd=Sync&", "&Cmd=Sync", "Cmd=Sync&&User=u", "=Sync", "User=u&DeviceId=d&DeviceType=t",
        "Cmd=Sync&DeviceId=d%00&DeviceType=t", "Cmd=Sync&DeviceId=d&DeviceType=%0d%0a", "jAAJ", "AAAA",
        "Cmd=Sync&User=%ff&DeviceId=d&DeviceType=t", "Cmd=Sync&User=%c0%af&DeviceId=d&DeviceType=t",
        "Cmd=Sync&User=u&DeviceId=d%&DeviceType=t", "Cmd=Sync&User=u&DeviceId=d\\e&DeviceType=t",
        "Cmd=Sync&User=u&DeviceId=d/e&DeviceType=t", "Cmd=Sync&DeviceId=d&DeviceType=t&ItemId=%0a"})
    EXPECT_FALSE(post(query)) << query;
  EXPECT_EQ(code_of(post("Cmd=Sync&DeviceId=d&DeviceType=t&X-Rps-CAT=x")), uint16_t(parameter));
  EXPECT_EQ(code_of(post("Cmd=sync&DeviceId=d&DeviceType=t")), uint16_t(GatewayError::command));
  EXPECT_EQ(code_of(post("Cmd=GetHierarchy&DeviceId=d&DeviceType=t")), uint16_t(GatewayError::command));
  EXPECT_EQ(code_of(post("Cmd=Sync&DeviceType=t")), uint16_t(device_missing));
  EXPECT_EQ(code_of(post("Cmd=Sync&DeviceId=d")), uint16_t(device_missing));
  const std::string at_bound(ActiveSyncQuery::kDeviceIdBytesMax, 'd');
  EXPECT_TRUE(post("Cmd=Sync&DeviceType=t&DeviceId=" + at_bound));
  EXPECT_FALSE(post("Cmd=Sync&DeviceType=t&DeviceId=d" + at_bound));
}

TEST(ActiveSyncQuery, LetsOptionsComeWithoutADevice) {
  const auto bare = options("");
  ASSERT_TRUE(bare);
  EXPECT_FALSE(bare->has_device());
  EXPECT_FALSE(bare->command);
  const auto part = options("User=u&DeviceId=d&DeviceType=t");
  ASSERT_TRUE(part);
  EXPECT_TRUE(part->has_device());
  EXPECT_FALSE(options("DeviceId=d&DeviceId=e"));
}

TEST(ActiveSyncCommand, NamesGoBothWays) {
  for (int code = 0; code < 24; ++code) {
    if (code >= 5 && code <= 8) continue;
    const auto command = static_cast<ActiveSyncCommand>(code);
    EXPECT_EQ(activesync_command_of_name(activesync_command_name(command)), command);
    const auto read = post(ActiveSyncRecord{.command = uint8_t(code)}.text());
    ASSERT_TRUE(read) << code;
    EXPECT_EQ(read->command, command);
  }
}

TEST(DeviceKey, IsOneForAllSpellings) {
  const DeviceKey key = device_key("Nine4383AF346860");
  EXPECT_EQ(key, device_key("nine4383af346860"));
  EXPECT_EQ(key, device_key_of_bytes(as_bytes("Nine4383AF346860"s)));
  EXPECT_EQ(key, device_key(to_hex(as_bytes("Nine4383AF346860"s))));
  EXPECT_EQ(key, device_key_of_bytes(as_bytes(to_hex(as_bytes("NINE4383af346860"s)))));
  const std::string guid(16, '\x9a');
  EXPECT_EQ(device_key_of_bytes(as_bytes(guid)), device_key("9A9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a"));
}

TEST(DeviceKey, DiffersForDifferentIds) {
  // Numbers that would spell bytes are numbers.
  EXPECT_NE(device_key("00000041"), device_key("00000061"));
  EXPECT_NE(device_key("41424344"), device_key("61626364"));
  EXPECT_NE(device_key("a"), device_key("b"));
  EXPECT_NE(device_key(""), device_key(std::string(1, '\0')));
  std::set<DeviceKey> keys;
  for (int i = 0; i < 10'000; ++i) keys.insert(device_key("ApplDevice" + std::to_string(i)));
  EXPECT_EQ(keys.size(), 10'000u);
}

// The published vectors of SipHash-2-4 with 128 bits, of which the empty text and one zero byte are texts too.
TEST(DeviceKey, IsSipHash) {
  EXPECT_EQ(to_hex(as_bytes(std::string_view(reinterpret_cast<const char*>(device_key("").bytes.data()), 16))),
            "a3817f04ba25a8e66df67214c7550293");
  const DeviceKey zero = device_key(std::string(1, '\0'));
  EXPECT_EQ(to_hex(as_bytes(std::string_view(reinterpret_cast<const char*>(zero.bytes.data()), 16))),
            "da87c1d86b99af44347659119b22fc45");
}

Bytes bytes_of(const std::string& text) {
  return as_bytes(text);
}

TEST(WbxmlRoot, FitsTheCommandOrNot) {
  const std::string sync = "\x03\x01\x6a\x00\x45rest"s, ping = "\x03\x01\x6a\x00\x00\x0d\x45rest"s,
                    provision = "\x03\x01\x6a\x00\x00\x0e\x45"s, empty_provision = "\x03\x01\x6a\x00\x00\x0e\x05"s;
  EXPECT_EQ(check_wbxml_root(ActiveSyncCommand::sync, bytes_of(sync), false), true);
  EXPECT_EQ(check_wbxml_root(ActiveSyncCommand::ping, bytes_of(ping), false), true);
  EXPECT_EQ(check_wbxml_root(ActiveSyncCommand::provision, bytes_of(provision), true), true);
  EXPECT_EQ(check_wbxml_root(ActiveSyncCommand::provision, bytes_of(empty_provision), true), true);
  for (const std::string& other : {sync, ping, "\x03\x01\x6a\x00\x00\x0e\x46"s, "\x03\x01\x6a\x00\x00\x0e\xc5"s,
                                   "\x03\x01\x6a\x01\x00\x00\x0e\x45"s, "\x02\x01\x6a\x00\x00\x0e\x45"s, "<xml/>"s,
                                   "\x03\x01\x6a\x00\x00\x0e\x00\x00\x45"s}) {
    EXPECT_FALSE(check_wbxml_root(ActiveSyncCommand::provision, bytes_of(other), true)) << to_hex(bytes_of(other));
  }
  // Any beginning asks for more; where it is all there is, it is refused.
  for (size_t size = 0; size < provision.size(); ++size) {
    EXPECT_EQ(check_wbxml_root(ActiveSyncCommand::provision, bytes_of(provision).first(size), false), false) << size;
    EXPECT_EQ(check_wbxml_root(ActiveSyncCommand::provision, bytes_of(provision).first(size), true).has_value(),
              size == 0);
  }
  EXPECT_LE(provision.size(), kWbxmlPeekBytesMax);
  EXPECT_EQ(check_wbxml_root(ActiveSyncCommand::send_mail, bytes_of("From: a"), false), true);
  EXPECT_FALSE(check_wbxml_root(ActiveSyncCommand::send_mail, bytes_of(sync), false));
  EXPECT_EQ(check_wbxml_root(ActiveSyncCommand::send_mail, bytes_of("\x03\x01\x6a\x00\x00\x15\x45"s), false), true);
}

}  // namespace
}  // namespace bellhop::proto
