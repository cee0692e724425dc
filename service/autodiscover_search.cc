// SPDX-License-Identifier: Apache-2.0
#include "service/autodiscover_search.h"

#include <algorithm>
#include <array>
#include <utility>

#include "core/io.h"
#include "core/sleep.h"
#include "core/socket.h"
#include "proto/http_error.h"
#include "service/autodiscover.h"
#include "service/error_texts.h"

namespace bellhop::service {
namespace {

using proto::AutodiscoverForm;
using proto::AutodiscoverKind;

// Names and hosts in the log; a foreign server may have made them.
constexpr size_t kLoggedBytesMax = 253;
// Codes of Domain::dns, as c-ares numbers them: the name has no address, or there is no such name.
constexpr uint16_t kNoData = 1, kNoSuchName = 4;
// Places of an SRV record that are asked.
constexpr size_t kServiceHostsMax = 3;

bool is_redirect(uint16_t status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

// A document that we send; it holds an address.
struct RequestText {
  std::string text;
  RequestText() = default;
  RequestText(const RequestText&) = delete;
  RequestText& operator=(const RequestText&) = delete;
  ~RequestText() { wipe(text); }
};

// By its hash: the list of what was visited is not wiped.
std::string place_of_address(std::string_view address) {
  return "address " + to_hex(crypto::user_id_of_address(address));
}

std::string place_of(const proto::Url& url, AutodiscoverForm form) {
  return (form == AutodiscoverForm::soap ? "soap " : "pox ") + url.to_string();
}

std::string autodiscover_host(std::string_view domain) { return "autodiscover." + std::string(domain); }

std::string copy_of(const proto::HeaderBlock& headers, std::string_view name) {
  return std::string(headers.find(name).value_or(std::string_view()));
}

}  // namespace

AutodiscoverSearch::AutodiscoverSearch(Tools tools, const Tenant& tenant, const crypto::CredentialRecord& credentials,
                                       std::string_view domain)
    : tools_(std::move(tools)),
      tenant_(tenant),
      credentials_(credentials),
      options_{.connect_timeout = std::chrono::milliseconds(tools_.config.attempt_timeout_ms),
               .handshake_timeout = std::chrono::milliseconds(tools_.config.attempt_timeout_ms),
               .body_bytes_max = proto::kAutodiscoverBytesMax,
               .metrics = &tools_.metrics,
               .kind = ConnectionKind::ews},
      address_(credentials.address.reveal_text()),
      domain_(domain) {
  visited_.push_back(place_of_address(address_));
}

AutodiscoverSearch::~AutodiscoverSearch() { wipe(address_); }

Task<AutodiscoverResult> AutodiscoverSearch::run() {
  for (;;) {
    Turn turn = co_await ask_domain();
    if (turn == Turn::found) co_return AutodiscoverResult::found;
    if (turn != Turn::restart) co_return result_;
  }
}

Task<AutodiscoverSearch::Turn> AutodiscoverSearch::ask_domain() {
  for (const std::string& host : {domain_, autodiscover_host(domain_)}) {
    Turn turn = co_await ask_host(host, static_cast<uint16_t>(tools_.config.https_port));
    if (turn != Turn::next && turn != Turn::next_host) co_return turn;
  }
  Turn turn = co_await probe(autodiscover_host(domain_));
  if (turn != Turn::next && turn != Turn::next_host) co_return turn;
  co_return co_await ask_service();
}

// What DNS names in the domain's SRV record is judged as any other host: it must be listed, its port permitted.
Task<AutodiscoverSearch::Turn> AutodiscoverSearch::ask_service() {
  auto records = co_await within(options_.connect_timeout, resolve_service("_autodiscover._tcp." + domain_));
  if (!records) co_return failed({records.error(), Http1Stage::connecting});
  if (records->size() > kServiceHostsMax) records->resize(kServiceHostsMax);
  for (const io::ServiceRecord& record : *records) {
    if (record.host.empty()) continue;  // "no such service"
    Turn turn = co_await ask_host(ascii_lower(record.host), record.port);
    if (turn != Turn::next && turn != Turn::next_host) co_return turn;
  }
  co_return Turn::next;
}

// A host that is not listed is passed over: credentials are not for it.
Task<AutodiscoverSearch::Turn> AutodiscoverSearch::ask_host(std::string host, uint16_t port) {
  for (AutodiscoverForm form : {AutodiscoverForm::soap, AutodiscoverForm::pox}) {
    proto::Url url;
    url.host = host;
    url.port = port;
    url.path = autodiscover_path(form);
    Result<proto::Url> permitted =
        tenant_.autodiscover_url(url.to_string(), static_cast<uint16_t>(tools_.config.https_port));
    if (!permitted) {
      log_line(tools_.log, LogLevel::info, "autodiscover_host_not_listed",
               field("tenant", not_personal(tenant_.config.id)), field("host", not_personal(host)));
      co_return Turn::next_host;
    }
    if (was_asked(*permitted, form)) continue;  // a redirect led here
    Turn turn = co_await ask(*std::move(permitted), form);
    if (turn != Turn::next) co_return turn;
  }
  co_return Turn::next;
}

bool AutodiscoverSearch::was_asked(const proto::Url& url, AutodiscoverForm form) const {
  return std::ranges::find(visited_, place_of(url, form)) != visited_.end();
}

Task<AutodiscoverSearch::Turn> AutodiscoverSearch::ask(proto::Url url, AutodiscoverForm form) {
  visited_.push_back(place_of(url, form));
  auto answer = co_await post(url, form);
  if (!answer) co_return failed(answer.error());
  co_return co_await judge(*answer, url, form);
}

Task<AutodiscoverSearch::Turn> AutodiscoverSearch::judge(const Answer& answer, const proto::Url& url,
                                                         AutodiscoverForm form) {
  if (is_redirect(answer.status)) co_return co_await follow(answer.location, url, form);
  if (answer.status == 401) {
    result_ = AutodiscoverResult::unauthorized;
    co_return Turn::stop;
  }
  if (answer.status != 200) {
    note(answer.status >= 500 ? AutodiscoverResult::unavailable : AutodiscoverResult::not_found);
    co_return Turn::next;
  }
  if (answer.unreadable) {
    note(AutodiscoverResult::garbage);
    co_return Turn::next;
  }
  switch (answer.kind) {
    case AutodiscoverKind::settings:
      co_return take_settings(answer);
    case AutodiscoverKind::redirect_address:
      co_return take_address(answer.redirect);
    case AutodiscoverKind::redirect_url:
      co_return co_await follow(answer.redirect, url, form);
    case AutodiscoverKind::refused:
      break;
  }
  note(AutodiscoverResult::refused);
  co_return Turn::next;
}

// The external URL is meant for those outside; the internal one helps where only it is published and listed.
AutodiscoverSearch::Turn AutodiscoverSearch::take_settings(const Answer& answer) {
  for (const std::string& text : {answer.external_url, answer.internal_url}) {
    if (text.empty()) continue;
    Result<proto::Url> url = tenant_.ews_url(text);
    if (url) {
      url_ = url->to_string();
      return Turn::found;
    }
    log_line(tools_.log, LogLevel::warning, "autodiscover_url_not_permitted",
             field("tenant", not_personal(tenant_.config.id)),
             field("url", not_personal(std::string_view(text).substr(0, kLoggedBytesMax))), field("error", url.error()));
  }
  note(AutodiscoverResult::foreign_host);
  return Turn::next;
}

AutodiscoverSearch::Turn AutodiscoverSearch::take_address(const std::string& address) {
  std::optional<std::string> domain = domain_of_address(address);
  if (!domain) {
    note(AutodiscoverResult::garbage);
    return Turn::next;
  }
  if (!tenant_.autodiscover_domains.matches(*domain)) {
    note(AutodiscoverResult::foreign_host);
    return Turn::next;
  }
  std::string place = place_of_address(address);
  if (std::ranges::find(visited_, place) != visited_.end()) {
    note(AutodiscoverResult::redirect_loop);
    return Turn::next;
  }
  if (!may_redirect()) return Turn::stop;
  visited_.push_back(std::move(place));
  // The same hosts may be asked again, for another mailbox.
  std::erase_if(visited_, [](const std::string& visited) { return !visited.starts_with("address "); });
  moved_domain_ |= *domain != domain_;
  domain_ = *std::move(domain);
  wipe(address_);
  address_ = address;
  return Turn::restart;
}

Task<AutodiscoverSearch::Turn> AutodiscoverSearch::follow(std::string location, proto::Url from, AutodiscoverForm form) {
  if (location.starts_with('/') && !location.starts_with("//")) location.insert(0, from.origin());
  Result<proto::Url> url = tenant_.autodiscover_url(location, static_cast<uint16_t>(tools_.config.https_port));
  if (!url) {
    bool insecure = ascii_equal_ignoring_case(std::string_view(location).substr(0, 5), "http:");
    bool foreign = is(url.error(), ServiceError::host_not_allowed);
    log_line(tools_.log, LogLevel::warning, "autodiscover_redirect_refused",
             field("tenant", not_personal(tenant_.config.id)), field("from", not_personal(from.host)),
             field("to", not_personal(std::string_view(location).substr(0, kLoggedBytesMax))),
             field("error", url.error()));
    note(insecure  ? AutodiscoverResult::insecure_redirect
         : foreign ? AutodiscoverResult::foreign_host
                   : AutodiscoverResult::garbage);
    co_return Turn::next;
  }
  if (url->path.ends_with(".svc")) form = AutodiscoverForm::soap;
  if (url->path.ends_with(".xml")) form = AutodiscoverForm::pox;
  if (was_asked(*url, form)) {
    note(AutodiscoverResult::redirect_loop);
    co_return Turn::next;
  }
  if (!may_redirect()) co_return Turn::stop;
  co_return co_await ask(*std::move(url), form);
}

// Without credentials, and only a redirect counts: whoever can answer plain HTTP can say anything.
Task<AutodiscoverSearch::Turn> AutodiscoverSearch::probe(std::string host) {
  auto answer = co_await get_plain(host);
  if (!answer) co_return failed(answer.error());
  if (!is_redirect(answer->status)) {
    note(AutodiscoverResult::not_found);
    co_return Turn::next;
  }
  proto::Url from;
  from.host = host;
  // A relative one would stay on plain HTTP.
  if (answer->location.starts_with('/')) answer->location.insert(0, "http:");
  co_return co_await follow(answer->location, from, AutodiscoverForm::pox);
}

bool AutodiscoverSearch::may_redirect() {
  if (++redirects_ <= Autodiscover::kRedirectsMax) return true;
  result_ = AutodiscoverResult::too_many_redirects;
  return false;
}

// The order of the list is that of what it tells an operator.
void AutodiscoverSearch::note(AutodiscoverResult result) { result_ = std::max(result_, result); }

AutodiscoverSearch::Turn AutodiscoverSearch::failed(const Http1Failure& failure) {
  const Error& error = failure.error;
  if (is(error, CoreError::canceled)) {  // the deadline, or we are being stopped
    result_ = AutodiscoverResult::timed_out;
    return Turn::stop;
  }
  bool no_such_name = error.domain == Domain::dns && (error.code == kNoData || error.code == kNoSuchName);
  if (is(error, ServiceError::address_not_allowed)) {
    note(AutodiscoverResult::foreign_host);
  } else if (no_such_name) {
    note(AutodiscoverResult::not_found);
  } else if (is(error, CoreError::timed_out)) {
    note(AutodiscoverResult::timed_out);
  } else {
    bool spoke = error.domain == Domain::http && !is(error, proto::HttpError::truncated);
    note(spoke ? AutodiscoverResult::garbage : AutodiscoverResult::unavailable);
  }
  return failure.stage == Http1Stage::connecting || is(error, CoreError::timed_out) ? Turn::next_host : Turn::next;
}

namespace {

// Opens a connection, asks, and gives the answer to `take` before the connection ends.
template <class Take>
Task<std::expected<void, Http1Failure>> exchange(const Http1Origin& origin, const Http1ClientOptions& options,
                                                 const Http1Request& request, Take& take) {
  Result<std::unique_ptr<Http1Client>> client = co_await Http1Client::open(origin, options);
  if (!client) co_return std::unexpected(Http1Failure{client.error(), Http1Stage::connecting});
  Result<Http1Response> response = co_await (*client)->exchange(request);
  if (!response) co_return std::unexpected(Http1Failure{response.error(), Http1Stage::exchanging});
  take(*response);
  co_return std::expected<void, Http1Failure>();
}

// The same with a deadline of its own.
template <class Take>
Task<std::expected<void, Http1Failure>> exchange_within(Duration limit, const Http1Origin& origin,
                                                        const Http1ClientOptions& options, const Http1Request& request,
                                                        Take& take) {
  DeadlineContext deadline(&co_await current_context(), io::now() + limit);
  auto done = co_await exchange(origin, options, request, take).under(deadline.context());
  if (!done && deadline.expired() && is(done.error().error, CoreError::canceled)) {
    done.error().error = core_error(CoreError::timed_out);
  }
  co_return done;
}

}  // namespace

Task<std::expected<AutodiscoverSearch::Answer, Http1Failure>> AutodiscoverSearch::post(const proto::Url& url,
                                                                                       AutodiscoverForm form) {
  RequestText body;
  std::string target_url = url.to_string();
  Status written = proto::write_autodiscover_request(form, address_, target_url, body.text);
  if (!written) co_return std::unexpected(Http1Failure{written.error(), Http1Stage::waiting});
  crypto::Secret authorization =
      crypto::basic_authorization(std::get<crypto::BasicCredentials>(credentials_.logon));
  std::array<proto::HeaderField, 5> fields = {{
      {"content-type", proto::soap_content_type(proto::SoapVersion::soap11)},
      {"accept", "text/xml"},
      {"user-agent", tools_.ews.user_agent},
      {"authorization", authorization.reveal_text()},
      {"soapaction", proto::kGetUserSettingsAction},
  }};
  size_t count = form == AutodiscoverForm::soap ? fields.size() : fields.size() - 1;
  std::string authority = url.authority(), target = url.target();
  Http1Origin origin =
      tools_.routes.fill({.host = url.host, .port = url.port, .addresses = &tenant_.addresses});
  Http1Request request{.method = "POST",
                       .target = target,
                       .host = authority,
                       .headers = {fields.data(), count},
                       .body = body.text,
                       .close = true};
  Answer answer;
  auto take = [&answer](const Http1Response& response) {
    answer.status = response.status;
    answer.location = copy_of(*response.headers, "location");
    if (response.status != 200) return;
    proto::AutodiscoverReader reader(io::random_u64() | 1);
    Status fed = reader.feed(response.text());
    Result<const proto::AutodiscoverAnswer*> read = fail(fed ? Error() : fed.error());
    if (fed) read = reader.finish();
    if (!read) {
      answer.unreadable = read.error();
      return;
    }
    answer.kind = (*read)->kind;
    answer.external_url = (*read)->external_url;
    answer.internal_url = (*read)->internal_url;
    answer.redirect = (*read)->redirect;
    answer.error = (*read)->error;
  };
  auto done = co_await exchange_within(std::chrono::milliseconds(tools_.config.attempt_timeout_ms), origin, options_,
                                       request, take);
  if (!done) co_return std::unexpected(done.error());
  co_return std::move(answer);
}

Task<std::expected<AutodiscoverSearch::Answer, Http1Failure>> AutodiscoverSearch::get_plain(const std::string& host) {
  const std::array<proto::HeaderField, 1> fields = {{{"user-agent", tools_.ews.user_agent}}};
  auto port = static_cast<uint16_t>(tools_.config.http_port);
  Http1Origin origin{.host = host, .port = port, .addresses = &tenant_.addresses};
  origin.proxy = tools_.routes.to(host).proxy;
  std::string authority = port == 80 ? host : host + ":" + std::to_string(port);
  Http1Request request{.target = autodiscover_path(AutodiscoverForm::pox),
                       .host = authority,
                       .headers = fields,
                       .close = true};
  Answer answer;
  auto take = [&answer](const Http1Response& response) {
    answer.status = response.status;
    answer.location = copy_of(*response.headers, "location");
  };
  auto done = co_await exchange_within(std::chrono::milliseconds(tools_.config.attempt_timeout_ms), origin, options_,
                                       request, take);
  if (!done) co_return std::unexpected(done.error());
  co_return std::move(answer);
}

}  // namespace bellhop::service
