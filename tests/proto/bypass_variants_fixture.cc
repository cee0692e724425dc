// SPDX-License-Identifier: Apache-2.0
// Paths, methods, header fields and framing.
#include <algorithm>
#include <cstdio>

#include "core/base/bytes.h"
#include "tests/proto/bypass_variants.h"

namespace bellhop::proto {
namespace {

using namespace std::string_literals;

constexpr std::string_view kEws = "/EWS/Exchange.asmx", kSync = "/Microsoft-Server-ActiveSync";

// What Exchange has beside the two endpoints.
constexpr std::string_view kDenied[] = {"/owa",
                                        "/owa/auth.owa",
                                        "/ecp/",
                                        "/ecp/default.aspx",
                                        "/PowerShell",
                                        "/mapi/emsmdb",
                                        "/mapi/nspi",
                                        "/rpc/rpcproxy.dll",
                                        "/Autodiscover/Autodiscover.xml",
                                        "/autodiscover/autodiscover.json",
                                        "/OAB/oab.xml",
                                        "/api/v2.0/me",
                                        "/EWS/mrsproxy.svc",
                                        "/EWS/Services.wsdl",
                                        "/EWS/Exchange.asmx/wssecurity",
                                        "/EWS/Exchange.asmx/s/GetUserPhoto",
                                        "/Microsoft-Server-ActiveSync/Proxy",
                                        "/Microsoft-Server-ActiveSync/default.eas",
                                        "/aspnet_client/x.aspx",
                                        "/"};

std::string upper(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = c >= 'a' && c <= 'z' ? char(c - 32) : c;
  return out;
}

std::string escaped(char c) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  const auto byte = static_cast<uint8_t>(c);
  return {'%', kDigits[byte >> 4], kDigits[byte & 15]};
}
std::string escaped_at(std::string_view text, size_t at, std::string_view percent = "%") {
  return std::string(text.substr(0, at)) + std::string(percent) + escaped(text[at]).substr(1) +
         std::string(text.substr(at + 1));
}
std::string all_escaped(std::string_view text) {
  std::string out;
  for (char c : text) out += c == '/' ? "/"s : escaped(c);
  return out;
}

// Ways from an endpoint to what is beside it.
std::vector<std::string> ways_out(std::string_view from, std::string_view to) {
  const std::string p(from), x(to), tail(to.substr(1));
  return {p + "/../.." + x,
          p + "/%2e%2e/%2e%2e" + x,
          p + "/..%2f..%2f" + tail,
          p + "%2f..%2f.." + x,
          p + "/..;/..;" + x,
          p + "/..\\..\\" + tail,
          p + "%5c..%5c..%5c" + tail,
          p + "//..//.." + x,
          p + "%3f/../.." + x,
          p + "%23" + x,
          p + "%00" + x,
          p + ";" + x,
          p + ";x=y/../.." + x,
          p + "/%252e%252e/%252e%252e" + x,
          p + "%c0%af..%c0%af.." + x,
          p + "/%u002e%u002e/" + tail,
          p + "/.%00./" + tail,
          p + "/.." + x,
          p + "/..." + x,
          p + "#" + x,
          p + "\t" + x,
          p + "/%2e%2e%2f%2e%2e" + x,
          p + "/%ef%bc%8e%ef%bc%8e" + x};
}
// Ways to it without one.
std::vector<std::string> ways_to(std::string_view to, std::string_view host) {
  const std::string x(to), h(host);
  return {x,
          upper(x),
          x.size() > 1 ? escaped_at(x, 1) : "/%2f",
          all_escaped(x),
          x.size() > 1 ? escaped_at(x, 1, "%25") : "/%252f",
          "/" + x,
          "/." + x,
          "/%2e" + x,
          "\\" + x.substr(1),
          "/%5c" + x.substr(1),
          "http://" + h + x,
          "https://" + h + x,
          "http://127.0.0.1:81" + x,
          x + "/EWS/Exchange.asmx",
          x + "?/EWS/Exchange.asmx",
          x + "#/EWS/Exchange.asmx",
          x + ";/EWS/Exchange.asmx",
          "/(S(x))" + x,
          x + "?" + h + "/Microsoft-Server-ActiveSync"};
}

bool is_endpoint(std::string_view path) {
  return ascii_equal_ignoring_case(path, kEws) || ascii_equal_ignoring_case(path, kSync);
}

void add_spellings(BypassWriter& out, std::string_view path) {
  const bool ews = path == kEws;
  const std::string query = ews ? "" : "?" + out.query(out.setting.allowed_device);
  const auto request = [&](std::string_view spelt) {
    const std::string target = std::string(spelt) + query;
    return ews ? out.ews(target) : out.sync_target(target);
  };
  for (size_t i = 1; i < path.size(); ++i) {
    out.refused("spelling", request(escaped_at(path, i)));
    out.refused("spelling", request(escaped_at(path, i, "%25")));
    std::string other(path);
    other[i] = other[i] >= 'a' ? char(other[i] - 32) : ascii_lower(other[i]);
    if (is_endpoint(other)) out.lawful("spelling", request(other));
  }
  out.lawful("spelling", request(upper(path)));
  out.lawful("spelling", request(ascii_lower(path)));
  for (std::string_view after :
       {"/",   "//",   "/.",  "/..",     ".",           "..",     "%20", "%00", "%0a",       "%0d%0aX-Y:%20z",
        ";",   ";a=b", "%3b", "::$DATA", "%3a%3a$DATA", "\\",     "%5c", "/x",  "/%2e",      "%2f",
        "%3f", "%23",  "~",   "%ff",     "\x80",        "%c0%80", "*",   "%2a", "/Proxy/..", "/x/..",
        ",",   "%",    "%4",  "%zz"})
    out.refused("spelling", request(std::string(path) + std::string(after)));
  for (std::string_view before : {"/",
                                  "//",
                                  "/.",
                                  "/./",
                                  "/x/..",
                                  "/..",
                                  "\\",
                                  "/\\",
                                  "/%2e",
                                  "/%2f",
                                  "/%5c",
                                  "/;",
                                  "/;x",
                                  "x",
                                  "/owa/..",
                                  "/owa/%2e%2e",
                                  "/owa/..;",
                                  "%2f",
                                  "/ ",
                                  "\t",
                                  "http://localhost",
                                  "https://localhost",
                                  "//localhost",
                                  "@"})
    out.refused("spelling", request(std::string(before) + std::string(path)));
}

}  // namespace

void add_path_variants(BypassWriter& out) {
  const std::string& host = out.setting.host;
  for (std::string_view denied : kDenied) {
    for (const std::string& target : ways_to(denied, host)) {
      out.refused("path", out.ews(target));
    }
    for (const std::string& target : ways_out(kEws, denied)) out.refused("path", out.ews(target));
    for (const std::string& target : ways_out(kSync, denied)) out.refused("path", out.sync_target(target));
  }
  for (std::string_view target :
       {"", "*", "?", "%2f", "EWS/Exchange.asmx", "localhost:443", "@localhost/EWS/Exchange.asmx"})
    out.refused("path", out.ews(target));
  for (std::string_view query : {"?wsdl", "?op=x", "?X-Rps-CAT=x", "?/../owa", "?%00"})
    out.refused("path", out.ews(std::string(kEws) + std::string(query)));
  add_spellings(out, kEws);
  add_spellings(out, kSync);
}

void add_method_variants(BypassWriter& out) {
  const std::string sync_target = std::string(kSync) + "?" + out.query(out.setting.allowed_device);
  for (std::string_view method :
       {"GET",       "HEAD",      "PUT",   "PATCH", "DELETE",      "TRACE",        "CONNECT", "PROPFIND", "SEARCH",
        "BPROPFIND", "SUBSCRIBE", "POLL",  "LOCK",  "RPC_IN_DATA", "RPC_OUT_DATA", "DEBUG",   "TRACK",    "PRI",
        "post",      "Post",      "POSTX", "POST ", " POST",       "POST\t",       "X",       "M-SEARCH", ""}) {
    auto fields = out.ews_fields();
    fields.emplace_back("Content-Length", "0");
    out.refused("method", out.request(method, kEws, fields, ""));
    fields = out.sync_fields();
    fields.emplace_back("Content-Length", "0");
    out.refused("method", out.request(method, sync_target, fields, ""));
    // A method inside of a POST, for another one.
    for (std::string_view name : {"X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"}) {
      if (method.empty() || method.find_first_of(" \t") != method.npos) continue;
      out.lawful("method", out.ews_with({{std::string(name), std::string(method)}}, BypassWriter::get_folder()));
    }
  }
  auto fields = out.ews_fields();
  fields.emplace_back("Content-Length", "0");
  out.refused("method", out.request("OPTIONS", kEws, fields, ""));
  out.refused("method", out.request("OPTIONS", "*", fields, ""));
  fields = out.sync_fields();
  fields.emplace_back("Content-Length", "0");
  out.lawful("method", out.request("OPTIONS", kSync, fields, ""));
  out.lawful("method", out.request("OPTIONS", kSync, {fields.begin(), fields.begin() + 3}, ""));
  for (std::string_view version :
       {"HTTP/0.9", "HTTP/1.2", "HTTP/2.0", "HTTP/9.9", "http/1.1", "HTTP/1.1 x", "HTTPS/1.1", "RTSP/1.0", ""}) {
    std::string text = out.ews();
    text.replace(text.find("HTTP/1.1"), 8, version);
    out.refused("method", std::move(text));
  }
}

void add_header_variants(BypassWriter& out) {
  // Fields that route, override or speak for somebody; they stay out, and the request is what it would be without.
  for (std::string_view name : {"X-Original-URL",
                                "X-Rewrite-URL",
                                "X-Original-Host",
                                "X-Forwarded-For",
                                "X-Forwarded-Host",
                                "X-Forwarded-Proto",
                                "X-Forwarded-Server",
                                "X-Forwarded-Path",
                                "X-Forwarded-Prefix",
                                "X-Real-IP",
                                "X-Client-IP",
                                "True-Client-IP",
                                "Forwarded",
                                "Via",
                                "X-Host",
                                "X-ProxyUser-Ip",
                                "X-CommonAccessToken",
                                "X-IsFromCafe",
                                "X-IsFromBackend",
                                "X-SourceCafeServer",
                                "msExchProxyUri",
                                "X-MSExchangeActivityCtx",
                                "X-Backend-Diag-Data",
                                "X-BEResource",
                                "X-OWA-ExplicitLogonUser",
                                "X-UpnAnchorMailbox",
                                "X-PublicFolderMailbox",
                                "X-MS-Forwarded-Client-IP",
                                "Front-End-Https",
                                "X-ARR-SSL",
                                "X-ARR-ClientCert",
                                "Translate",
                                "Destination",
                                "Proxy",
                                "X-User-Identity",
                                "X-AnchorMailbox",
                                "X-Remote-User",
                                "Remote-User",
                                "SSL-Client-Cert",
                                "X-SSL-Client-DN",
                                "X-ClientCert",
                                "X-Authenticated-User",
                                "X-MS-Client-Principal",
                                "Range",
                                "If-Match",
                                "HTTP2-Settings",
                                "TE",
                                "Trailer",
                                "X_ORIGINAL_URL",
                                "Content-Location",
                                "Max-Forwards"}) {
    for (std::string_view value :
         {"/ecp/default.aspx", "ServerInfo~localhost/autodiscover?a=~1942062522", "user2@example.com"}) {
      out.lawful("header", out.ews_with({{std::string(name), std::string(value)}}, BypassWriter::get_folder()));
    }
    auto fields = out.sync_fields();
    fields.emplace_back(name, "/owa");
    fields.emplace_back("Content-Length", std::to_string(BypassWriter::folder_sync_body().size()));
    out.lawful("header", out.request("POST", std::string(kSync) + "?" + out.query(out.setting.allowed_device), fields,
                                     BypassWriter::folder_sync_body()));
    fields = out.sync_fields();
    fields.emplace_back(name, std::string(kSync) + "?" + out.query(out.setting.allowed_device));
    fields.emplace_back("Content-Length", "0");
    out.refused("header",
                out.request("POST", std::string(kSync) + "?" + out.query(out.setting.blocked_device), fields, ""));
  }
  for (std::string_view cookie :
       {"X-BEResource=localhost~1942062522", "X-AnonResource=true", "X-AnonResource-Backend=localhost/ecp/x.js?~3",
        "X-BackEndOverrideCookie=exch2~1942062522", "X-BackEndCookie=S-1-5-21=u56", "exchangecookie=a", "cadata=x",
        "bellhop-ews=AAAA", "bellhop-activesync=AAAA", "bellhop-ews=X-BEResource%3Dx; X-BEResource=x",
        "a=b; X-BEResource=x; c=d", "$Version=1; X-BEResource=x"}) {
    out.lawful("cookie", out.ews_with({{"Cookie", std::string(cookie)}}, BypassWriter::get_folder()));
    out.lawful("cookie",
               out.ews_with({{"cOOKIE", "a=b"}, {"Cookie", std::string(cookie)}}, BypassWriter::get_folder()));
  }
  // What Connection nominates is dropped, and nothing that protects is among it.
  for (std::string_view nominated :
       {"Authorization", "Content-Type", "Host", "Cookie", "Content-Length", "Transfer-Encoding"})
    out.lawful("header",
               out.ews_with({{"Connection", "close, " + std::string(nominated)}}, BypassWriter::get_folder()));
  const auto raw_field = [&out](std::string_view line) {
    std::string text = out.ews();
    return text.insert(text.find("\r\n") + 2, std::string(line) + "\r\n");
  };
  for (std::string_view line : {"Host: evil.example.net",
                                "Host:",
                                "host: localhost",
                                "X-A : b",
                                " X-A: b",
                                "\tX-A: b",
                                "X-A: b\r\n c: d",
                                "X A: b",
                                "X-A",
                                ": b",
                                "X-A: b\rX-Original-URL: /owa",
                                "X-A: b\nX-Original-URL: /owa",
                                "X(A): b",
                                "X-\x80: b",
                                "X-A: \x01",
                                "Upgrade: h2c",
                                "Upgrade: websocket",
                                "Content-Type: application/json",
                                "Authorization: Bearer x",
                                "SOAPAction: \"a\"\r\nSOAPAction: \"b\"",
                                "Expect: 200-ok",
                                "Content-Encoding: gzip",
                                "Content-Encoding: identity, gzip",
                                "Proxy-Connection: x\r\nHost: localhost"})
    out.refused("header", raw_field(line));
  for (std::string_view host :
       {"", "evil.example.net", "localhost@evil.example.net", "localhost, evil", "localhost/owa", "localhost:443:80",
        "localhost:99999", "[::1", "localhost#", "localhost?", "local host", "127.0.0.1", "%6cocalhost", "localhost%00",
        "localhost\\x", "http://localhost", "."}) {
    std::string text = out.ews();
    const size_t at = text.find("Host: ") + 6;
    out.refused("host", text.replace(at, text.find("\r\n", at) - at, host));
  }
}

void add_framing_variants(BypassWriter& out) {
  // What a second reader would take for the next request: the blocked phone's.
  auto inner_fields = out.sync_fields();
  inner_fields.emplace_back("Content-Length", "0");
  const std::string inner =
      out.request("POST", std::string(kSync) + "?" + out.query(out.setting.blocked_device, "Ping"), inner_fields, "");
  const std::string outer_body = BypassWriter::get_folder();
  const auto post = [&out](const BypassWriter::Fields& more, std::string_view body) {
    auto fields = out.ews_fields();
    fields.insert(fields.end(), more.begin(), more.end());
    return out.request("POST", kEws, fields, body);
  };
  char hex[16];
  std::snprintf(hex, sizeof hex, "%zx", outer_body.size());
  const std::string chunk = std::string(hex) + "\r\n" + outer_body + "\r\n0\r\n\r\n";
  const std::string length = std::to_string(outer_body.size()), both = std::to_string(outer_body.size() + inner.size());
  // Two lengths at once, and lengths that are none.
  for (std::string_view coding : {"chunked",
                                  "Chunked",
                                  " chunked",
                                  "chunked ",
                                  "xchunked",
                                  "chunkedx",
                                  "x-chunked",
                                  "chunked, identity",
                                  "identity, chunked",
                                  "chunked, chunked",
                                  "gzip, chunked",
                                  "identity",
                                  "\"chunked\"",
                                  "chunked;q=1",
                                  "chunk",
                                  "\x0b"
                                  "chunked",
                                  "chunked\x0b",
                                  "cow",
                                  "",
                                  ",chunked",
                                  "chunked,",
                                  "deflate"}) {
    out.refused("framing",
                post({{"Content-Length", length}, {"Transfer-Encoding", std::string(coding)}}, chunk + inner));
    out.refused("framing", post({{"Transfer-Encoding", std::string(coding)}, {"Content-Length", both}}, chunk + inner));
    const bool plain = ascii_equal_ignoring_case(ascii_trim(coding), "chunked");
    if (!plain) out.refused("framing", post({{"Transfer-Encoding", std::string(coding)}}, chunk + inner));
  }
  for (std::string_view name :
       {"Transfer-Encoding ", " Transfer-Encoding", "X\r\nTransfer-Encoding", "Transfer-Encoding\t"})
    out.refused("framing", post({{"Content-Length", length}, {std::string(name), "chunked"}}, chunk + inner));
  out.lawful("framing", post({{"Content-Length", length}, {"Transfer_Encoding", "chunked"}}, outer_body));
  out.refused("framing", post({{"Transfer-Encoding", "chunked"}, {"Transfer-Encoding", "identity"}}, chunk + inner));
  out.refused("framing", post({{"Transfer-Encoding", "chunked"}, {"Transfer-Encoding", "chunked"}}, chunk + inner));
  for (const std::string& value :
       {"+"s + length, "-1"s, "0x10"s, length + ","s + length, length + " "s + length, "1e3"s, "99999999999999999999"s,
        ""s, "a"s, length + "\x0b"s, length + ";"s, "\""s + length + "\""s, length + ".0"s, "1_0"s})
    out.refused("framing", post({{"Content-Length", value}}, outer_body + inner));
  out.refused("framing", post({{"Content-Length", length}, {"Content-Length", both}}, outer_body + inner));
  out.refused("framing", post({{"Content-Length", length}, {"Content-Length", length}}, outer_body + inner));
  out.refused("framing", post({{"Content-Length", "0"}, {"content-length", both}}, outer_body + inner));
  // Chunks that two readers measure differently. The beginning may have gone on by then; what comes behind must not.
  const std::string size(hex);
  for (const std::string& first :
       {"0x"s + size, "+"s + size, size + "_"s, "-"s + size, " "s + size, size + ";a=b"s, size + ";\n"s, size + " "s,
        "g"s, ""s, "1"s + std::string(20, '0'), size + "\n"s, size + "\r"s})
    out.refused("framing",
                post({{"Transfer-Encoding", "chunked"}}, first + "\r\n" + outer_body + "\r\n0\r\n\r\n" + inner));
  // Line ends.
  for (auto [from, to] : {std::pair("\r\n\r\n", "\n\n"), std::pair("\r\n\r\n", "\r\n\n"),
                          std::pair("\r\n\r\n", "\n\r\n"), std::pair("\r\n\r\n", "\r\r")}) {
    std::string text = post({{"Content-Length", length}}, outer_body);
    out.refused("framing", text.replace(text.find(from), 4, to) + inner);
  }
  // One behind the other is two requests, and each is judged.
  const std::string first = post({{"Content-Length", length}}, outer_body),
                    chunked = post({{"Transfer-Encoding", "chunked"}}, chunk);
  out.lawful("framing", first + inner);
  out.lawful("framing", chunked + inner);
  out.lawful("framing", "\r\n" + first);
  out.lawful("framing", post({{"Content-Length", length}, {"Expect", "100-continue"}}, outer_body) + inner);
  out.refused("framing", "\r\n\r\n" + first);
  out.refused("framing", "\n" + first);
  out.refused("framing", " " + first);
  out.refused("framing", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + first);
  out.refused("framing", "PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n" + first);
}

}  // namespace bellhop::proto
