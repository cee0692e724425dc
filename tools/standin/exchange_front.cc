// SPDX-License-Identifier: Apache-2.0

// The front of the stand-in: requests come, are told apart, and are asked for credentials.

#include "core/sleep.h"
#include "core/tls/identity.h"
#include "crypto/hash.h"
#include "proto/gzip.h"
#include "proto/http_error.h"
#include "proto/json_writer.h"
#include "proto/target.h"
#include "tools/standin/body.h"
#include "tools/standin/exchange_part.h"

namespace bellhop::standin {
namespace {

constexpr uint64_t kRequestBytesMax = 64 << 20;  // as Exchange takes them
constexpr Duration kHelperPatience = 10s;
constexpr size_t kFieldsOfWholeAnswer = 12;  // HttpExchange::respond() takes no more than a few
constexpr std::string_view kPath = "/ews/exchange.asmx";
constexpr std::string_view kActiveSyncPath = "/microsoft-server-activesync";
constexpr std::string_view kMailboxCookie = "X-BackEndCookie", kServerCookie = "X-BackEndOverrideCookie";
constexpr std::string_view kServerName = "exchange1.internal.example.com~1942062522";

// What IIS and Exchange say of themselves, and of other ways to them.
constexpr std::pair<std::string_view, std::string_view> kTalk[] = {
    {"server", "Microsoft-IIS/10.0"},
    {"x-powered-by", "ASP.NET"},
    {"x-aspnet-version", "4.0.30319"},
    {"x-feserver", "EXCHANGE1"},
    {"x-beserver", "EXCHANGE1"},
    {"x-calculatedbetarget", "exchange1.internal.example.com"},
    {"x-diaginfo", "EXCHANGE1"},
    {"x-backendhttpstatus", "200"},
    {"alt-svc", "h3=\"exchange1.internal.example.com:443\"; ma=86400"},
    {"persistent-auth", "true"}};

// Calls `found(name, value)` for each cookie of a Cookie field.
template <class F>
void for_each_cookie(std::string_view field, F&& found) {
  while (!field.empty()) {
    std::string_view cookie = field.substr(0, field.find(';'));
    field.remove_prefix(std::min(field.size(), cookie.size() + 1));
    cookie = ascii_trim(cookie);
    size_t equals = cookie.find('=');
    if (equals != cookie.npos) found(cookie.substr(0, equals), cookie.substr(equals + 1));
  }
}

constexpr std::string_view kBearer = "bearer ", kNegotiate = "negotiate ";

// What a tenant with conditional access may ask for (base64 of the claims parameter's JSON).
constexpr std::string_view kClaims = R"({"access_token":{"nbf":{"essential":true,"value":"1700000000"}}})";

}  // namespace

std::optional<BasicCredentials> parse_basic(std::string_view authorization) {
  if (authorization.size() < 6 || !ascii_equal_ignoring_case(authorization.substr(0, 6), "basic ")) return std::nullopt;
  auto bytes = from_base64(ascii_trim(authorization.substr(6)));
  if (!bytes) return std::nullopt;
  std::string_view text = as_text(*bytes);
  size_t colon = text.find(':');
  if (colon == text.npos) return std::nullopt;
  BasicCredentials credentials{std::string(text.substr(0, colon)), std::string(text.substr(colon + 1))};
  wipe(*bytes);
  return credentials;
}

std::optional<std::string_view> parse_scheme(std::string_view authorization, std::string_view scheme) {
  if (authorization.size() < scheme.size() || !ascii_equal_ignoring_case(authorization.substr(0, scheme.size()), scheme)) {
    return std::nullopt;
  }
  return ascii_trim(authorization.substr(scheme.size()));
}

Task<void> Exchange::Part::handle(service::HttpExchange& request) {
  uint64_t id = co_await enter_request(request);
  std::string_view path = proto::split_target(request.target()).path;
  for (auto form : {proto::AutodiscoverForm::soap, proto::AutodiscoverForm::pox}) {
    if (!ascii_equal_ignoring_case(path, proto::autodiscover_path(form))) continue;
    co_await handle_autodiscover(request, form);
    co_return;
  }
  if (ascii_equal_ignoring_case(path, kActiveSyncPath)) {
    co_await handle_activesync(request, id);
  } else if (!ascii_equal_ignoring_case(path, kPath)) {
    co_await respond(request, id, {.status = 404});
  } else if (request.method() != proto::HttpMethod::post) {
    co_await respond(request, id, {.status = 405});
  } else {
    co_await handle_ews(request, id);
  }
}

Task<void> Exchange::Part::respond(service::HttpExchange& request, uint64_t id, service::HttpResponse response) {
  if (ExchangeRequest* entry = find_request(id)) {
    entry->status = response.status;
    entry->answered = io::now();
  }
  if (response.headers.size() <= kFieldsOfWholeAnswer) {
    (void)co_await request.respond(response);
    co_return;
  }
  std::vector<proto::HeaderField> fields(response.headers.begin(), response.headers.end());
  if (!response.content_type.empty()) fields.push_back({"content-type", response.content_type});
  service::HttpResponseHead head{.status = response.status, .headers = fields, .content_length = response.body.size(), .close = response.close};
  bool begun = (co_await request.begin_response(head, !response.body.empty())).has_value();
  if (begun && !response.body.empty()) begun = (co_await request.write_some(as_bytes(response.body))).has_value();
  if (begun) (void)co_await request.end_response();
}

// Nothing where the body did not come; it is then answered already.
Task<std::optional<std::string>> Exchange::Part::read_request_body(service::HttpExchange& request, uint64_t id) {
  BodyText body(kRequestBytesMax);
  Status read = co_await request.read_body(kRequestBytesMax, body);
  if (ExchangeRequest* entry = find_request(id)) {
    entry->body_bytes = body.text.size();
    if (read && !body.text.empty()) entry->body_sha256 = to_hex(crypto::sha256(body.text));
  }
  if (!read) {
    if (read.error().domain == Domain::http) {
      co_await respond(request, id, {.status = proto::http_error_status(read.error()), .close = true});
    }
    co_return std::nullopt;
  }
  co_return std::move(body.text);
}

// `account`: whom the request says it comes from; its mailbox's home core decides whether that is true.
Task<Logon> Exchange::Part::read_logon(service::HttpExchange& request, uint64_t id, std::string& account) {
  Logon logon;
  logon.authorization = request.headers().find("authorization").value_or(std::string_view());
  if (auto credentials = parse_basic(logon.authorization)) {
    account = credentials->username;
    wipe(credentials->password);
  }
  if (auto token = parse_scheme(logon.authorization, kBearer); token && exchange.shared_->options.token_key) {
    if (auto said = exchange.shared_->options.token_key->read(*token)) account = said->user;
  }
  if (negotiate_helper && parse_scheme(logon.authorization, kNegotiate)) {
    co_await ask_negotiate_helper(logon, request.headers().find("host").value_or(std::string_view()));
    account = logon.principal;
  }
  if (shared.options.logon != ExchangeLogon::password) logon.certified = certificate_account(request.peer_certificate());
  if (shared.options.logon == ExchangeLogon::certificate) account = logon.certified;
  if (ExchangeRequest* entry = find_request(id)) {
    entry->scheme = ascii_lower(std::string_view(logon.authorization).substr(0, logon.authorization.find(' ')));
    entry->user = account;
  }
  co_return logon;
}

// Where it cannot be asked, or does not take the token, there is no principal.
Task<void> Exchange::Part::ask_negotiate_helper(Logon& logon, std::string_view host) {
  std::string body;
  proto::JsonWriter(body)
      .begin_object()
      .member("token", parse_scheme(logon.authorization, kNegotiate).value_or(std::string_view()))
      .member("host", host)
      .end_object();
  auto answer = co_await within(kHelperPatience, negotiate_helper->call("POST", "/", std::move(body)));
  if (!answer) co_return;
  proto::JsonObject root = answer->root();
  auto user = root.required_string("user");
  if (!user) co_return;
  logon.principal = *user;
  if (auto token = root.string("token"); token && *token) logon.negotiate_reply = **token;
}

// What a 401 offers. `bearer`: its value for bearer tokens; empty: none.
void Exchange::Part::add_challenges(std::string_view bearer, AnswerHeaders& headers) const {
  if (!bearer.empty()) headers.add("www-authenticate", std::string(bearer));
  if (shared.options.offers_negotiate) headers.add("www-authenticate", "Negotiate");
  if (shared.options.offers_ntlm) headers.add("www-authenticate", "NTLM");
  if (shared.options.offers_basic) headers.add("www-authenticate", "Basic realm=\"mail.example.com\"");
}

// What every answer to a known user tells. `opened`: address of the mailbox; empty: none.
void Exchange::Part::add_server_fields(service::HttpExchange& request, std::string_view opened, AnswerHeaders& headers) {
  std::array<uint8_t, 8> id;
  io::random(id);
  headers.add("request-id", to_hex(id));
  if (shared.options.talkative) {
    for (auto [name, value] : kTalk) headers.add(name, std::string(value));
  }
  if (!shared.options.affinity || opened.empty()) return;
  std::string own = to_base64(crypto::sha256(ascii_lower(opened)));
  bool has_own = false, has_server = false;
  for (size_t i = 0; i < request.headers().size(); ++i) {
    proto::HeaderField field = request.headers().at(i);
    if (field.name != "cookie") continue;
    for_each_cookie(field.value, [&](std::string_view name, std::string_view value) {
      bool mailbox_cookie = name == kMailboxCookie;
      if (!mailbox_cookie && name != kServerCookie) return;
      bool good = value == (mailbox_cookie ? std::string_view(own) : kServerName);
      ++(good ? counts.cookies_returned : counts.cookies_foreign);
      (mailbox_cookie ? has_own : has_server) |= good;
    });
  }
  std::string tail = "; path=" + std::string(proto::split_target(request.target()).path) + "; secure; HttpOnly";
  if (!has_own) headers.add("set-cookie", std::string(kMailboxCookie) + "=" + own + tail);
  if (!has_server) headers.add("set-cookie", std::string(kServerCookie) + "=" + std::string(kServerName) + tail);
}

Task<void> Exchange::Part::handle_ews(service::HttpExchange& request, uint64_t id) {
  auto text = co_await read_request_body(request, id);
  if (!text) co_return;
  std::string account;
  Logon logon = co_await read_logon(request, id, account);
  std::string negotiate_reply = logon.negotiate_reply;
  Part& home = exchange.home(account);
  EwsReply reply = co_await on_core(home.core, [&home, &logon, &text] { return home.answer(&logon, &*text); });
  if (ExchangeRequest* entry = find_request(id)) {
    entry->operation = reply.operation;
    entry->mailbox = reply.opened;
  }
  if (reply.delay > Duration(0) && !co_await sleep_for(reply.delay)) co_return;
  if (reply.fault == EwsFaultKind::drop) co_return;  // unanswered: the server ends the connection
  if (!reply.streams.empty()) {
    co_await stream_events(request, id, &home, &reply);
    co_return;
  }
  AnswerHeaders headers;
  if (reply.status == 401) add_challenges(reply.challenge, headers);
  if (reply.status == 200 && !negotiate_reply.empty()) headers.add("www-authenticate", "Negotiate " + negotiate_reply);
  if (reply.retry_after_s > 0) headers.add("retry-after", std::to_string(reply.retry_after_s));
  if (reply.status == 302) headers.add("location", "https://elsewhere.example.com/EWS/Exchange.asmx");
  add_server_fields(request, reply.opened, headers);
  std::string_view takes = request.headers().find("accept-encoding").value_or(std::string_view());
  if (shared.options.gzip && takes.find("gzip") != takes.npos && !reply.body.empty()) {
    reply.body = proto::gzip(reply.body);
    headers.add("content-encoding", "gzip");
  }
  std::string_view type = reply.body.empty() ? std::string_view() : proto::soap_content_type(reply.soap_version);
  co_await respond(request, id,
                   {.status = reply.status, .content_type = type, .body = reply.body, .headers = headers.fields()});
  if (!reply.subscription_id.empty()) {
    co_await on_part(home, [&reply](Part& part) { return part.start_subscription(reply.mailbox, reply.subscription_id); });
  }
}

// The mailbox of good credentials; null where they are not. Wipes them. `bearer`: a token was shown.
Mailbox* Exchange::Part::authenticate(Logon& logon, bool& bearer) {
  Mailbox* mailbox = nullptr;
  if (shared.options.logon == ExchangeLogon::certificate) {
    wipe(logon.authorization);
    mailbox = find_by_address(logon.certified);
    if (mailbox) ++counts.certified;
    return mailbox;
  }
  auto token = parse_scheme(logon.authorization, kBearer);
  bearer = token.has_value();
  if (auto credentials = parse_basic(logon.authorization); credentials && shared.options.offers_basic) {
    mailbox = find_by_username(credentials->username);
    bool known = mailbox && equal_constant_time(as_bytes(mailbox->password), as_bytes(credentials->password));
    if (!known) mailbox = nullptr;
    wipe(credentials->password);
  } else if (token && shared.options.token_key) {
    auto said = shared.options.token_key->read(*token);
    if (said && token_valid(*said, io::wall_now())) mailbox = find_by_address(said->user);
    if (mailbox) ++counts.bearer;
  } else if (!logon.principal.empty()) {
    mailbox = find_by_username(logon.principal);
    if (!mailbox) mailbox = find_by_username(account_name(logon.principal));
    if (mailbox) ++counts.negotiated;
  }
  wipe(logon.authorization);
  if (shared.options.logon == ExchangeLogon::dual) {
    if (mailbox != find_by_address(logon.certified)) mailbox = nullptr;
    if (mailbox) ++counts.certified;
  }
  return mailbox;
}

// Of a 401; empty where tokens are not taken. `error` of RFC 6750; empty: the client only learns what is offered.
std::string Exchange::Part::bearer_challenge(std::string_view error) {
  ++counts.unauthorized;
  if (!shared.options.token_key) return {};
  std::string challenge = "Bearer client_id=\"00000002-0000-0ff1-ce00-000000000000\", trusted_issuers=\"" +
                          std::string(TokenKey::kIssuer) + "\", token_types=\"app_asserted_user_v1\"";
  if (!error.empty()) challenge += ", error=\"" + std::string(error) + "\"";
  if (error == "insufficient_claims") challenge += ", claims=\"" + to_base64(as_bytes(kClaims)) + "\"";
  return challenge;
}

void Exchange::Part::refuse_logon(std::string_view error, EwsReply& reply) {
  reply.status = 401;
  reply.challenge = bearer_challenge(error);
}

}  // namespace bellhop::standin
