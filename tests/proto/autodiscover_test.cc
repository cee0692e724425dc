// SPDX-License-Identifier: Apache-2.0
#include "proto/autodiscover.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "proto/autodiscover_server.h"
#include "tests/proto/ews_fixture.h"

namespace bellhop::proto {

std::string describe(const AutodiscoverAnswer& answer) {
  constexpr std::array kKinds = {"settings", "redirect_address", "redirect_url", "refused"};
  return fmt::format("{} external={} internal={} redirect={} error={}", kKinds[size_t(answer.kind)],
                     answer.external_url, answer.internal_url, answer.redirect, answer.error);
}
std::string describe(const AutodiscoverRequest& request) {
  return fmt::format("{} {}", request.form == AutodiscoverForm::soap ? "soap" : "pox", request.address);
}

namespace {

constexpr std::array kForms = {AutodiscoverForm::soap, AutodiscoverForm::pox};

const std::array kAnswers = {
    AutodiscoverAnswer{.kind = AutodiscoverKind::settings,
                       .external_url = "https://mail.example.com/EWS/Exchange.asmx?a&b",
                       .internal_url = "https://ex01.corp.example.com/EWS/Exchange.asmx"},
    AutodiscoverAnswer{.kind = AutodiscoverKind::settings, .internal_url = "https://ex01.corp.example.com/EWS/"},
    AutodiscoverAnswer{.kind = AutodiscoverKind::redirect_address, .redirect = "ann@cloud.example.com"},
    AutodiscoverAnswer{.kind = AutodiscoverKind::redirect_url, .redirect = "https://other.example.com/autodiscover"},
    AutodiscoverAnswer{.kind = AutodiscoverKind::refused, .error = "InvalidUser"},
};

std::string written(AutodiscoverForm form, const AutodiscoverAnswer& answer) {
  std::string out;
  write_autodiscover_answer(form, answer, out);
  return out;
}
std::string asked(AutodiscoverForm form, std::string_view address,
                  std::string_view url = "https://example.com/autodiscover/autodiscover.svc") {
  std::string out;
  Status status = write_autodiscover_request(form, address, url, out);
  return status ? out : out + describe(status.error());
}
std::string read(std::string_view document) {
  AutodiscoverReader reader(kTestSalt);
  return read_whole(reader, document);
}

TEST(AutodiscoverReader, ReadsBothFormsAlike) {
  for (AutodiscoverForm form : kForms) {
    for (const AutodiscoverAnswer& answer : kAnswers) EXPECT_EQ(read(written(form, answer)), describe(answer));
  }
}

TEST(AutodiscoverReader, GivesTheSameForAnySplitAcceptsNoPrefixAndSurvivesMutants) {
  AutodiscoverReader reader(kTestSalt);
  for (AutodiscoverForm form : kForms) {
    for (const AutodiscoverAnswer& answer : kAnswers) {
      std::string document = written(form, answer);
      expect_splits_agree(reader, document);
      expect_no_prefix_is_accepted(reader, document);
      expect_mutations_are_survived(reader, document, 200);
    }
  }
}

TEST(AutodiscoverReader, TakesTheFirstOfEachProtocolAndNoOther) {
  std::string document = written(AutodiscoverForm::pox, kAnswers[0]);
  size_t at = document.find("</Account>");
  document.insert(at,
                  "<Protocol><Type>EXPR</Type><EwsUrl>https://late.example.com/</EwsUrl></Protocol>"
                  "<Protocol><Type>WEB</Type><EwsUrl>https://web.example.com/</EwsUrl>"
                  "<External><Protocol><Type>EXPR</Type><EwsUrl>https://deep.example.com/</EwsUrl></Protocol></External>"
                  "</Protocol>");
  EXPECT_EQ(read(document), describe(kAnswers[0]));
  document = written(AutodiscoverForm::pox, {.kind = AutodiscoverKind::settings});
  EXPECT_EQ(read(document), "refused external= internal= redirect= error=") << "settings without an EWS URL";
}

TEST(AutodiscoverReader, ReadsFaultsAndErrorsOfTheWholeAnswer) {
  EXPECT_EQ(read(R"(<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><s:Fault>)"
                 R"(<faultcode xmlns:a="urn:a">a:ActionNotSupported</faultcode></s:Fault></s:Body></s:Envelope>)"),
            "refused external= internal= redirect= error=ActionNotSupported");
  std::string document = written(AutodiscoverForm::soap, kAnswers[4]);
  size_t at = document.find("NoError");
  document.replace(at, 7, "ServerBusy");
  EXPECT_EQ(read(document), "refused external= internal= redirect= error=ServerBusy");
}

TEST(AutodiscoverReader, RefusesWhatIsNoAnswer) {
  EXPECT_EQ(read("<html><body>Welcome</body></html>"), "ews unexpected_message");
  EXPECT_EQ(read("<!DOCTYPE html><html/>"), "xml doctype");
  EXPECT_EQ(read(""), "xml truncated");
  EXPECT_EQ(read("not XML"), "xml malformed");
  EXPECT_EQ(read(asked(AutodiscoverForm::pox, "ann@example.com")), "ews unexpected_message");
  for (AutodiscoverForm form : kForms) {
    EXPECT_EQ(read(written(form, {.kind = AutodiscoverKind::redirect_url})), "ews missing_part");
    EXPECT_EQ(read(written(form, {.kind = AutodiscoverKind::redirect_address})), "ews missing_part");
    std::string longest(kAutodiscoverUrlBytesMax, 'u');
    EXPECT_TRUE(read(written(form, {.kind = AutodiscoverKind::redirect_url, .redirect = longest})).starts_with("redirect"));
    longest += "u";
    EXPECT_EQ(read(written(form, {.kind = AutodiscoverKind::redirect_url, .redirect = longest})), "ews bad_value");
  }
  EXPECT_EQ(read(written(AutodiscoverForm::pox, kAnswers[0]) + std::string(kAutodiscoverBytesMax, ' ')), "xml document");
}

TEST(AutodiscoverReader, ReadsTheDocumentedAnswer) {
  auto folder = test_data_folder();
  if (!folder) GTEST_SKIP() << "needs BELLHOP_TEST_DATA with ews-samples";
  std::string document = read_file(*folder + "/ews-samples/msdocs-getusersettings-operation-soap-1.xml");
  EXPECT_EQ(read(document), "refused external= internal= redirect= error=") << "it asks for other settings";
  AutodiscoverRequestReader reader(kTestSalt);
  EXPECT_EQ(read_whole(reader, read_file(*folder + "/ews-samples/msdocs-getusersettings-operation-soap-0.xml")),
            "soap UserName@domain.contoso.com");
}

TEST(AutodiscoverRequest, IsReadBackAsWritten) {
  AutodiscoverRequestReader reader(kTestSalt);
  for (AutodiscoverForm form : kForms) {
    std::string document = asked(form, "o'ann&co@example.com");
    EXPECT_EQ(read_whole(reader, document),
              std::string(form == AutodiscoverForm::soap ? "soap" : "pox") + " o'ann&co@example.com");
    expect_splits_agree(reader, document);
    expect_no_prefix_is_accepted(reader, document);
    expect_mutations_are_survived(reader, document, 200);
  }
}

TEST(AutodiscoverRequest, RefusesWhatCannotBeAsked) {
  for (AutodiscoverForm form : kForms) {
    EXPECT_EQ(asked(form, ""), "ews missing_part");
    EXPECT_EQ(asked(form, "a\x01@example.com"), "ews forbidden_text");
    EXPECT_EQ(asked(form, std::string(321, 'a')), "ews bad_value");
    EXPECT_EQ(asked(form, "ann@example.com", std::string(kAutodiscoverUrlBytesMax + 1, 'u')), "ews bad_value");
  }
}

TEST(AutodiscoverRequest, NeverGrowsItsBufferWhileWriting) {
  std::string address(320, '&'), url(kAutodiscoverUrlBytesMax, '"');
  for (AutodiscoverForm form : kForms) {
    std::string out, reused;
    ASSERT_TRUE(write_autodiscover_request(form, address, url, out));
    reused.reserve(out.capacity());
    const char* memory = reused.data();
    ASSERT_TRUE(write_autodiscover_request(form, address, url, reused));
    EXPECT_EQ(reused.data(), memory);
  }
}

}  // namespace
}  // namespace bellhop::proto
