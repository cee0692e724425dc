// SPDX-License-Identifier: Apache-2.0

// Autodiscover of the stand-in: both forms on the listener of EWS, and the plain one of the last way.

#include "core/sleep.h"
#include "proto/http_error.h"
#include "tools/standin/body.h"
#include "tools/standin/exchange_part.h"

namespace bellhop::standin {
namespace {

constexpr uint64_t kRequestBytesMax = 64 * 1024;
constexpr size_t kHugeBytes = 4 * 1024 * 1024;
constexpr Duration kStall = std::chrono::hours(1);

// Nothing where the mode is no document of Autodiscover.
std::optional<proto::AutodiscoverAnswer> answer_of(AutodiscoverMode mode, std::string_view target,
                                                   std::string_view own_url) {
  using proto::AutodiscoverKind;
  switch (mode) {
    case AutodiscoverMode::settings:
      return proto::AutodiscoverAnswer{.kind = AutodiscoverKind::settings,
                                       .external_url = target.empty() ? own_url : target};
    case AutodiscoverMode::redirect_url:
      return proto::AutodiscoverAnswer{.kind = AutodiscoverKind::redirect_url, .redirect = target};
    case AutodiscoverMode::redirect_address:
      return proto::AutodiscoverAnswer{.kind = AutodiscoverKind::redirect_address, .redirect = target};
    default:
      return std::nullopt;
  }
}

}  // namespace

// On the home core of the user.
bool Exchange::Part::opens_mailbox(std::string_view authorization) {
  auto credentials = parse_basic(authorization);
  Mailbox* mailbox = credentials ? find_by_username(credentials->username) : nullptr;
  bool opens = mailbox && equal_constant_time(as_bytes(mailbox->password), as_bytes(credentials->password));
  if (credentials) wipe(credentials->password);
  if (!opens) ++counts.unauthorized;
  return opens;
}

Task<void> Exchange::Part::handle_autodiscover(service::HttpExchange& request, proto::AutodiscoverForm form) {
  BodyText body(kRequestBytesMax);
  if (Status read = co_await request.read_body(kRequestBytesMax, body); !read) {
    if (read.error().domain == Domain::http) {
      (void)co_await request.respond({.status = proto::http_error_status(read.error()), .close = true});
    }
    co_return;
  }
  ++counts.autodiscovers[static_cast<size_t>(form)];
  const AutodiscoverScript script = autodiscover;
  AutodiscoverMode mode = form == proto::AutodiscoverForm::soap ? script.soap : script.pox;
  std::string authorization(request.headers().find("authorization").value_or(std::string_view()));
  std::string host(request.headers().find("host").value_or(std::string_view()));
  std::string self = "https://" + host + std::string(proto::autodiscover_path(form));
  if (mode == AutodiscoverMode::stall && !co_await sleep_for(kStall)) co_return;
  if (mode == AutodiscoverMode::not_found) {
    (void)co_await request.respond({.status = 404});
    co_return;
  }
  if (mode == AutodiscoverMode::redirect_http || mode == AutodiscoverMode::loop) {
    const proto::HeaderField location[] = {{"location", mode == AutodiscoverMode::loop ? self : script.target}};
    (void)co_await request.respond({.status = 302, .headers = location});
    co_return;
  }
  if (mode == AutodiscoverMode::html || mode == AutodiscoverMode::huge) {
    std::string page = "<html><body>Welcome</body></html>";
    if (mode == AutodiscoverMode::huge) page.append(kHugeBytes, ' ');
    (void)co_await request.respond({.content_type = "text/html", .body = page});
    co_return;
  }

  proto::AutodiscoverRequestReader question(io::random_u64() | 1);
  bool understood = question.feed(body.text) && question.finish();
  std::string account;
  if (auto credentials = parse_basic(authorization)) account = credentials->username;
  bool opens = co_await on_part(exchange.home(account), [&](Part& part) {
    return part.opens_mailbox(authorization);
  });
  wipe(authorization);
  if (!opens || mode == AutodiscoverMode::unauthorized) {
    constexpr proto::HeaderField kChallenge[] = {{"www-authenticate", "Basic realm=\"mail.example.com\""}};
    (void)co_await request.respond({.status = 401, .headers = kChallenge});
    co_return;
  }
  std::string own_url = "https://" + host + "/EWS/Exchange.asmx";
  std::optional<proto::AutodiscoverAnswer> answer;
  if (understood) answer = answer_of(mode, script.target, own_url);
  std::string text;
  proto::write_autodiscover_answer(form, answer.value_or(proto::AutodiscoverAnswer{.error = "InvalidRequest"}), text);
  (void)co_await request.respond(
      {.content_type = proto::soap_content_type(proto::SoapVersion::soap11), .body = text});
}

Task<void> AutodiscoverHttp::handle(service::HttpExchange& request) {
  ++part_.counts.autodiscover_probes;
  if (request.headers().count("authorization") > 0) ++part_.counts.credentials_over_http;
  std::string location = part_.autodiscover.http_location;
  if (location.empty()) {
    (void)co_await request.respond({.status = 404});
    co_return;
  }
  const proto::HeaderField fields[] = {{"location", location}};
  (void)co_await request.respond({.status = 302, .headers = fields});
}

}  // namespace bellhop::standin
