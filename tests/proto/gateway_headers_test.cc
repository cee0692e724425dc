// SPDX-License-Identifier: Apache-2.0
#include "proto/gateway_headers.h"

#include <gtest/gtest.h>

#include "proto/affinity_cookies.h"
#include "proto/gateway_error.h"

namespace bellhop::proto {
namespace {

using namespace std::string_literals;
using Fields = std::vector<std::pair<std::string, std::string>>;

HeaderBlock block(const Fields& fields) {
  HeaderBlock made;
  for (const auto& [name, value] : fields) EXPECT_TRUE(made.add(name, value));
  return made;
}
Fields fields(const HeaderBlock& headers) {
  Fields out;
  for (size_t i = 0; i < headers.size(); ++i) out.emplace_back(headers.at(i).name, headers.at(i).value);
  return out;
}
Fields passed(const GatewayRequest& request, const Fields& in) {
  HeaderBlock out;
  const Status status = copy_request_headers(request, block(in), out);
  return status ? fields(out) : Fields{{"error", std::to_string(status.error().code)}};
}
Fields refused(GatewayError code) {
  return {{"error", std::to_string(uint16_t(code))}};
}
Fields answered(GatewayEndpoint endpoint, const Fields& in) {
  HeaderBlock out;
  EXPECT_TRUE(copy_response_headers(endpoint, block(in), out));
  return fields(out);
}

constexpr GatewayRequest kEws{.endpoint = GatewayEndpoint::ews};
constexpr GatewayRequest kSync{.endpoint = GatewayEndpoint::activesync};

TEST(GatewayRequestHeaders, PassByAllowList) {
  const Fields ews = {{"user-agent", "ExchangeServicesClient/15.00"},
                      {"content-type", "text/xml"},
                      {"soapaction", "\"x\""},
                      {"accept", "text/xml"},
                      {"accept", "*/*"},
                      {"client-request-id", "1"}};
  EXPECT_EQ(passed(kEws, ews), ews);
  const Fields sync = {
      {"ms-asprotocolversion", "14.1"}, {"x-ms-policykey", "0"}, {"user-agent", "Apple-iPhone8C4/1504.100"}};
  EXPECT_EQ(passed(kSync, sync), sync);
  EXPECT_EQ(passed(kEws, sync), (Fields{{"user-agent", "Apple-iPhone8C4/1504.100"}}));
  EXPECT_EQ(passed(kSync, {{"soapaction", "x"}}), Fields());
}

TEST(GatewayRequestHeaders, NeverPassWhatRoutesOrBelongsToOneHop) {
  for (std::string_view name : {"x-original-url",
                                "x-rewrite-url",
                                "x-http-method-override",
                                "x-http-method",
                                "x-method-override",
                                "x-forwarded-for",
                                "x-forwarded-host",
                                "x-forwarded-proto",
                                "forwarded",
                                "via",
                                "x-beresource",
                                "x-anonresource",
                                "x-commonaccesstoken",
                                "x-isfromcafe",
                                "x-isfrombackend",
                                "x-sourcecafeserver",
                                "msexchproxyuri",
                                "x-msexchangeactivityctx",
                                "x-backend-diag-data",
                                "x-owa-explicitlogonuser",
                                "x-upnanchormailbox",
                                "x-publicfoldermailbox",
                                "x-ms-forwarded-client-ip",
                                "front-end-https",
                                "x-arr-ssl",
                                "proxy",
                                "proxy-connection",
                                "proxy-authorization",
                                "translate",
                                "connection",
                                "keep-alive",
                                "te",
                                "trailer",
                                "upgrade",
                                "transfer-encoding",
                                "content-length",
                                "host",
                                "authorization",
                                "cookie",
                                "expect",
                                "content-encoding",
                                "http2-settings",
                                "destination",
                                "x-user-identity",
                                "range",
                                "x_original_url",
                                "x-bellhop-context"}) {
    EXPECT_EQ(passed(kEws, {{std::string(name), "x"}}), Fields()) << name;
    EXPECT_EQ(passed(kSync, {{std::string(name), "x"}}), Fields()) << name;
  }
  EXPECT_EQ(passed(kEws, {{"connection", "close, User-Agent"}, {"user-agent", "x"}, {"accept", "y"}}),
            (Fields{{"accept", "y"}}));
}

TEST(GatewayRequestHeaders, RefuseWhatCouldBeReadTwice) {
  EXPECT_EQ(passed(kEws, {{"content-type", "text/xml"}, {"content-type", "text/xml"}}),
            refused(GatewayError::header_repeated));
  EXPECT_EQ(passed(kEws, {{"authorization", "Basic a"}, {"authorization", "Basic b"}}),
            refused(GatewayError::header_repeated));
  EXPECT_EQ(passed(kEws, {{"soapaction", "a"}, {"soapaction", "b"}}), refused(GatewayError::header_repeated));
  for (const std::string& value : {"a\0b"s, "a\rb"s, "a\nb"s, "a\x7f"s, "\x01"s})
    EXPECT_EQ(passed(kEws, {{"user-agent", value}}), refused(GatewayError::header_value));
  HeaderBlock small({.bytes_max = 20, .fields_max = 10});
  EXPECT_FALSE(copy_request_headers(kEws, block({{"user-agent", "a long name of a client"}}), small));
}

TEST(GatewayRequestHeaders, AgreeWithTheBase64FormOrAreRefused) {
  ActiveSyncQuery query{.base64 = true, .protocol_version = 141, .policy_key = 7};
  const GatewayRequest request{.endpoint = GatewayEndpoint::activesync, .query = &query};
  EXPECT_EQ(passed(request, {{"ms-asprotocolversion", "14.1"}, {"x-ms-policykey", "7"}, {"accept", "x"}}),
            (Fields{{"accept", "x"}}));
  for (std::string_view version : {"14.0", "2.5", "14.10", "141", "", "14,1", "16.1"})
    EXPECT_EQ(passed(request, {{"ms-asprotocolversion", std::string(version)}}), refused(GatewayError::header_repeated))
        << version;
  EXPECT_EQ(passed(request, {{"x-ms-policykey", "8"}}), refused(GatewayError::header_repeated));
  query.policy_key.reset();
  EXPECT_EQ(passed(request, {{"x-ms-policykey", "0"}}), Fields());
  EXPECT_EQ(passed(request, {{"x-ms-policykey", "7"}}), refused(GatewayError::header_repeated));
}

TEST(GatewayRequestHeaders, KeepCodingsThatExchangeKnows) {
  EXPECT_EQ(passed(kSync, {{"accept-encoding", "br, gzip, deflate"}}), (Fields{{"accept-encoding", "gzip, deflate"}}));
  EXPECT_EQ(passed(kSync, {{"accept-encoding", "GZIP;q=0.5,zstd, identity"}}),
            (Fields{{"accept-encoding", "GZIP;q=0.5, identity"}}));
  EXPECT_EQ(passed(kSync, {{"accept-encoding", "br"}}), Fields());
}

TEST(GatewayRequestHeaders, LetTheAnchorNameTheClientsOwnMailboxOnly) {
  AccountNames names;
  ASSERT_TRUE(names.add_domain_alias("mail.example.com", "example.com"));
  const auto account = names.parse("jdoe@example.com");
  GatewayRequest request{.endpoint = GatewayEndpoint::ews, .names = &names, .account = &*account};
  const auto anchor = [&request](std::string_view value) {
    return passed(request, {{"x-anchormailbox", std::string(value)}});
  };
  EXPECT_EQ(anchor("JDoe@example.com").size(), 1u);
  EXPECT_EQ(anchor("jdoe@mail.example.com").size(), 1u);
  for (std::string_view value : {"other@example.com", "ServerInfo~localhost/autodiscover", "jdoe", "corp\\jdoe",
                                 "SID:S-1-5", "jdoe@example.com/x", "jdoe@example.com~1", "", "jdoe@",
                                 "a@jdoe@example.com", "\\jdoe@example.com", "SMTP:jdoe@example.com"})
    EXPECT_EQ(anchor(value), Fields()) << value;
  request.impersonates = true;
  EXPECT_EQ(anchor("other@example.com").size(), 1u);
  EXPECT_EQ(anchor("ServerInfo~localhost/autodiscover"), Fields());
  request = {.endpoint = GatewayEndpoint::ews};
  EXPECT_EQ(anchor("jdoe@example.com"), Fields());
}

TEST(GatewayResponseHeaders, PassByAllowList) {
  const Fields kept = {{"content-type", "application/vnd.ms-sync.wbxml"},
                       {"ms-asprotocolversions", "14.0,14.1"},
                       {"x-ms-rp", "14.1"},
                       {"retry-after", "60"},
                       {"request-id", "1"},
                       {"allow", "OPTIONS,POST"}};
  EXPECT_EQ(answered(GatewayEndpoint::activesync, kept), kept);
  for (std::string_view name : {"alt-svc",
                                "server",
                                "x-powered-by",
                                "x-aspnet-version",
                                "x-feserver",
                                "x-beserver",
                                "x-targetbeserver",
                                "x-calculatedbetarget",
                                "x-diaginfo",
                                "x-backendhttpstatus",
                                "persistent-auth",
                                "set-cookie",
                                "location",
                                "x-ms-location",
                                "x-ms-credential-service-url",
                                "connection",
                                "transfer-encoding",
                                "content-length",
                                "trailer",
                                "upgrade",
                                "proxy-authenticate",
                                "strict-transport-security",
                                "refresh",
                                "link",
                                "content-location",
                                "x-federationtrusttokenissueruri"}) {
    EXPECT_EQ(answered(GatewayEndpoint::ews, {{std::string(name), "x"}}), Fields()) << name;
    EXPECT_EQ(answered(GatewayEndpoint::activesync, {{std::string(name), "x"}}), Fields()) << name;
  }
  EXPECT_EQ(answered(GatewayEndpoint::ews, {{"request-id", "a\r\nSet-Cookie: b"}, {"content-type", "a\0"s}}), Fields());
  EXPECT_EQ(answered(GatewayEndpoint::ews, {{"content-type", "a"}, {"content-type", "b"}}),
            (Fields{{"content-type", "a"}}));
  EXPECT_EQ(answered(GatewayEndpoint::ews, {{"connection", "request-id"}, {"request-id", "1"}}), Fields());
}

TEST(GatewayResponseHeaders, OfferBasicAndBearerAlone) {
  const std::pair<std::string_view, std::string_view> table[] = {
      {"Basic realm=\"mail\"", "Basic realm=\"mail\""},
      {"Negotiate", ""},
      {"NTLM", ""},
      {"Negotiate YIIabc==", ""},
      {"Negotiate, NTLM, Basic realm=\"a, NTLM b\"", "Basic realm=\"a, NTLM b\""},
      {"Basic realm=\"x\", Negotiate", "Basic realm=\"x\""},
      {"Bearer client_id=\"1\", trusted_issuers=\"a@b,c@d\", token_types=\"app_asserted_user_v1\", NTLM",
       "Bearer client_id=\"1\", trusted_issuers=\"a@b,c@d\", token_types=\"app_asserted_user_v1\""},
      {"Digest realm = \"a\", nonce=b, basic REALM = \"x\\\"y\"", "basic REALM = \"x\\\"y\""},
      {"nEgOtIaTe,basic", "basic"},
      {"Basic realm=\"open, NTLM", ""},
      {"", ""},
  };
  for (auto [value, expected] : table) EXPECT_EQ(filter_challenges(value).value_or(""), expected) << value;
  EXPECT_EQ(answered(GatewayEndpoint::ews, {{"www-authenticate", "Negotiate"},
                                            {"www-authenticate", "NTLM"},
                                            {"www-authenticate", "Basic realm=\"x\""}}),
            (Fields{{"www-authenticate", "Basic realm=\"x\""}}));
}

Status ews_content(const Fields& in) {
  return check_ews_content(block(in));
}

TEST(GatewayContent, IsXmlInUtf8OrWbxml) {
  for (std::string_view type : {"text/xml", "text/xml; charset=utf-8", "TEXT/XML;charset=\"UTF-8\"",
                                "application/soap+xml; charset=utf-8; action=\"x\"", "text/xml; charset=utf-8;"})
    EXPECT_TRUE(ews_content({{"content-type", std::string(type)}})) << type;
  for (std::string_view type :
       {"", "text/plain", "application/json; charset=utf-8", "text/xml; charset=utf-16",
        "text/xml; charset=utf-8; charset=utf-7", "text/xml; charset=", "multipart/related", "text/xmlx",
        // A charset that only some readers see: .NET takes comments and no-break spaces for nothing.
        "text/xml; (x)charset=utf-7", "text/xml; charset =utf-7", "text/xml; \xa0" "charset=utf-7", "text/xml; charset*=utf-7",
        "text/xml; =utf-7", "text/xml; \"charset\"=utf-7"})
    EXPECT_FALSE(ews_content({{"content-type", std::string(type)}})) << type;
  EXPECT_FALSE(ews_content({}));
  EXPECT_FALSE(ews_content({{"content-type", "text/xml"}, {"content-encoding", "gzip"}}));
  EXPECT_FALSE(
      ews_content({{"content-type", "text/xml"}, {"content-encoding", "identity"}, {"content-encoding", "gzip"}}));
  EXPECT_TRUE(ews_content({{"content-type", "text/xml"}, {"content-encoding", "identity"}}));
  for (std::string_view type : {"application/vnd.ms-sync.wbxml", "application/vnd.ms-sync", "message/rfc822"})
    EXPECT_TRUE(check_activesync_content(block({{"content-type", std::string(type)}}))) << type;
  EXPECT_TRUE(check_activesync_content(block({})));
  EXPECT_FALSE(check_activesync_content(block({{"content-type", "text/xml"}})));
  EXPECT_FALSE(check_activesync_content(block({{"content-encoding", "gzip"}})));
}

TEST(GatewayContent, NamesTheOperationThatItHolds) {
  const auto agrees = [](const Fields& in) { return check_soap_action(block(in), "GetItem").has_value(); };
  EXPECT_TRUE(agrees({}));
  EXPECT_TRUE(agrees({{"soapaction", ""}}));
  EXPECT_TRUE(agrees({{"soapaction", "\"\""}}));
  EXPECT_TRUE(agrees({{"soapaction", "\"http://schemas.microsoft.com/exchange/services/2006/messages/GetItem\""}}));
  EXPECT_TRUE(agrees({{"soapaction", "GetItem"}}));
  EXPECT_TRUE(agrees({{"content-type", "application/soap+xml; action=\"http://x/GetItem\""}}));
  EXPECT_FALSE(
      agrees({{"soapaction", "\"http://schemas.microsoft.com/exchange/services/2006/messages/ExportItems\""}}));
  EXPECT_FALSE(agrees({{"soapaction", "GetItem"}, {"soapaction", "GetItem"}}));
  EXPECT_FALSE(agrees({{"content-type", "application/soap+xml; action=\"http://x/ExportItems\""}}));
  EXPECT_FALSE(agrees({{"soapaction", "XGetItem"}}));
  // As services.wsdl has it.
  const auto action_of = [](std::string_view action, std::string_view operation) {
    return check_soap_action(block({{"soapaction", "\"http://schemas.microsoft.com/exchange/services/2006/messages/" + std::string(action) + "\""}}),
                             operation)
        .has_value();
  };
  EXPECT_TRUE(action_of("GetEvents", "GetStreamingEvents"));
  EXPECT_TRUE(action_of("GetStreamingEvents", "GetStreamingEvents"));
  EXPECT_FALSE(action_of("GetStreamingEvents", "GetEvents"));
  EXPECT_TRUE(action_of("GetMeetingInstanceRequest", "GetMeetingInstance"));
  EXPECT_FALSE(action_of("GetMeetingInstanceRequest", "DeleteMeetingInstance"));
  EXPECT_FALSE(action_of("Request", "GetItem"));
}

TEST(GatewayRedirect, GoesToAnotherHostForTheSameEndpoint) {
  const auto redirect =
      read_redirect(GatewayEndpoint::activesync, "https://Mail2.example.com:444/microsoft-server-activesync?Cmd=x");
  ASSERT_TRUE(redirect);
  EXPECT_EQ(*redirect, (GatewayRedirect{.host = "mail2.example.com", .port = 444}));
  EXPECT_TRUE(read_redirect(GatewayEndpoint::ews, "https://a.example.com/EWS/Exchange.asmx"));
  for (std::string_view location :
       {"", "/Microsoft-Server-ActiveSync", "http://a.example.com/Microsoft-Server-ActiveSync",
        "https://a.example.com/owa", "https://a.example.com/", "https://u@a.example.com/Microsoft-Server-ActiveSync",
        "https://a.example.com/Microsoft-Server-ActiveSync/..", "https://a.example.com/EWS/Exchange.asmx"})
    EXPECT_FALSE(read_redirect(GatewayEndpoint::activesync, location)) << location;
}

// --- cookies ---

WallTime at(int64_t seconds) {
  return WallTime(std::chrono::seconds(seconds));
}
constexpr int64_t kNow = 1'700'000'000;  // 14 November 2023

TEST(AffinityCookies, FollowTheAnswers) {
  AffinityCookies cookies;
  EXPECT_TRUE(cookies.empty());
  EXPECT_TRUE(cookies.apply(
      block({{"set-cookie",
              "X-BackEndCookie=S-1-5-21=u56Lnp2e; expires=Tue, 14-Nov-2099 10:00:00 GMT; path=/EWS; secure; HttpOnly"},
             {"set-cookie", "exchangecookie=ab12; path=/"},
             {"other", "x=y"}}),
      at(kNow)));
  EXPECT_EQ(cookies.text(), "X-BackEndCookie=S-1-5-21=u56Lnp2e; exchangecookie=ab12");
  EXPECT_FALSE(cookies.apply(block({{"set-cookie", "exchangecookie=ab12"}}), at(kNow)));
  EXPECT_TRUE(cookies.apply(block({{"set-cookie", "exchangecookie=cd"}}), at(kNow)));
  const AffinityCookies again = AffinityCookies::of_text(cookies.text());
  EXPECT_EQ(again.text(), "X-BackEndCookie=S-1-5-21=u56Lnp2e; exchangecookie=cd");
  EXPECT_TRUE(
      cookies.apply(block({{"set-cookie", "exchangecookie=; expires=Thu, 01 Jan 1970 00:00:00 GMT"}}), at(kNow)));
  EXPECT_TRUE(cookies.apply(
      block({{"set-cookie", "X-BackEndCookie=x; Max-Age=0; expires=Tue, 14-Nov-2099 10:00:00 GMT"}}), at(kNow)));
  EXPECT_TRUE(cookies.empty());
}

TEST(AffinityCookies, EndWhenTheySay) {
  for (std::string_view attribute :
       {"Max-Age=0", "max-age=-5", "expires=Tue, 14 Nov 2023 22:13:20 GMT", "Expires=Tue Nov 14 22:13:20 2023",
        "expires=Tuesday, 14-Nov-23 22:13:19 GMT", "Max-Age=0; expires=Tue, 14-Nov-2099 10:00:00 GMT"}) {
    AffinityCookies cookies = AffinityCookies::of_text("a=1");
    cookies.apply(block({{"set-cookie", "a=2; " + std::string(attribute)}}), at(kNow));
    EXPECT_TRUE(cookies.empty()) << attribute;
  }
  for (std::string_view attribute : {"", "Max-Age=5", "Max-Age=x", "Max-Age=-", "expires=Tue, 14 Nov 2023 22:13:21 GMT",
                                     "expires=nonsense", "expires=Tue, 31 Feb 2000 00:00:00 GMT",
                                     "Max-Age=1; expires=Thu, 01 Jan 1970 00:00:00 GMT", "path=/; secure"}) {
    AffinityCookies cookies = AffinityCookies::of_text("a=1");
    cookies.apply(block({{"set-cookie", "a=2; " + std::string(attribute)}}), at(kNow));
    EXPECT_EQ(cookies.text(), "a=2") << attribute;
  }
}

TEST(AffinityCookies, TakeNothingBrokenAndNothingBeyondTheirBounds) {
  AffinityCookies cookies;
  for (std::string_view value :
       {"", "a", "=b", "a b=c", "a=b c", "a=\"b\"", "a=b\\c", "a=b,c", "a\x01=b", "a=\xc3\xa9"})
    EXPECT_FALSE(cookies.apply(block({{"set-cookie", std::string(value)}}), at(kNow))) << value;
  for (size_t i = 0; i < AffinityCookies::kCookiesMax; ++i)
    EXPECT_TRUE(cookies.apply(block({{"set-cookie", "c" + std::to_string(i) + "=1"}}), at(kNow)));
  EXPECT_FALSE(cookies.apply(block({{"set-cookie", "more=1"}}), at(kNow)));
  EXPECT_TRUE(cookies.apply(block({{"set-cookie", "c0=2"}}), at(kNow)));
  EXPECT_FALSE(cookies.apply(block({{"set-cookie", "c0=" + std::string(AffinityCookies::kBytesMax, 'x')}}), at(kNow)));
  AffinityCookies large;
  EXPECT_TRUE(large.apply(block({{"set-cookie", "a=" + std::string(AffinityCookies::kBytesMax - 4, 'x')}}), at(kNow)));
  EXPECT_LE(large.text().size(), AffinityCookies::kBytesMax);
  EXPECT_EQ(AffinityCookies::of_text(large.text()).text(), large.text());
  EXPECT_TRUE(AffinityCookies::of_text("a=1; broken").empty());
  EXPECT_TRUE(AffinityCookies::of_text(std::string(AffinityCookies::kBytesMax + 1, 'x')).empty());
}

TEST(FindCookie, WantsExactlyOne) {
  EXPECT_EQ(find_cookie(block({{"cookie", "a=1; bellhop-ews=x=y; b=2"}}), "bellhop-ews"), "x=y");
  EXPECT_EQ(find_cookie(block({{"cookie", "a=1"}, {"cookie", "j=2"}}), "j"), "2");
  EXPECT_EQ(find_cookie(block({{"cookie", "j=1; j=2"}}), "j"), "");
  EXPECT_EQ(find_cookie(block({{"cookie", "j=1"}, {"cookie", "j=2"}}), "j"), "");
  EXPECT_EQ(find_cookie(block({{"cookie", "J=1"}, {"set-cookie", "j=1"}}), "j"), "");
  EXPECT_EQ(find_cookie(block({}), "j"), "");
}

}  // namespace
}  // namespace bellhop::proto
