// SPDX-License-Identifier: Apache-2.0

// The EWS front of the stand-in: what Exchange's /EWS/Exchange.asmx does with a request.

#include "core/sleep.h"
#include "core/tls/identity.h"
#include "proto/gzip.h"
#include "proto/http_error.h"
#include "proto/target.h"
#include "tools/standin/body.h"
#include "tools/standin/exchange_part.h"

namespace bellhop::standin {
namespace {

constexpr uint64_t kRequestBytesMax = 256 * 1024;
constexpr std::string_view kPath = "/ews/exchange.asmx";

EwsOperation operation_of(const proto::EwsRequest& request) {
  switch (request.kind) {
    case proto::EwsRequestKind::subscribe:
      return EwsOperation::subscribe;
    case proto::EwsRequestKind::get_item:
      return EwsOperation::get_item;
    case proto::EwsRequestKind::find_item:
      return EwsOperation::find_item;
    case proto::EwsRequestKind::get_folder:
      return EwsOperation::get_folder;
    case proto::EwsRequestKind::sync_folder_items:
    case proto::EwsRequestKind::other:
      return EwsOperation::other;
  }
  return EwsOperation::other;
}

constexpr std::string_view kBearer = "bearer ";

std::optional<std::string_view> parse_bearer(std::string_view authorization) {
  if (authorization.size() < kBearer.size() ||
      !ascii_equal_ignoring_case(authorization.substr(0, kBearer.size()), kBearer)) {
    return std::nullopt;
  }
  return ascii_trim(authorization.substr(kBearer.size()));
}

// What a tenant with conditional access may ask for (base64 of the claims parameter's JSON).
constexpr std::string_view kClaims = R"({"access_token":{"nbf":{"essential":true,"value":"1700000000"}}})";

uint32_t milliseconds(Duration duration) { return static_cast<uint32_t>(to_milliseconds(duration)); }

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

Task<void> Exchange::Part::handle(service::HttpExchange& request) {
  std::string_view path = proto::split_target(request.target()).path;
  for (auto form : {proto::AutodiscoverForm::soap, proto::AutodiscoverForm::pox}) {
    if (!ascii_equal_ignoring_case(path, proto::autodiscover_path(form))) continue;
    co_await handle_autodiscover(request, form);
    co_return;
  }
  if (!ascii_equal_ignoring_case(path, kPath)) {
    (void)co_await request.respond({.status = 404});
    co_return;
  }
  if (request.method() != proto::HttpMethod::post) {
    (void)co_await request.respond({.status = 405});
    co_return;
  }
  BodyText body(kRequestBytesMax);
  if (Status read = co_await request.read_body(kRequestBytesMax, body); !read) {
    if (read.error().domain == Domain::http) {
      (void)co_await request.respond({.status = proto::http_error_status(read.error()), .close = true});
    }
    co_return;
  }
  std::string authorization(request.headers().find("authorization").value_or(std::string_view()));
  std::string account;
  if (auto credentials = parse_basic(authorization)) account = credentials->username;
  if (auto token = parse_bearer(authorization); token && exchange.shared_->options.token_key) {
    if (auto said = exchange.shared_->options.token_key->read(*token)) account = said->user;
  }
  std::string certified;
  if (shared.options.logon != ExchangeLogon::password) certified = certificate_account(request.peer_certificate());
  if (shared.options.logon == ExchangeLogon::certificate) account = certified;
  Part& home = exchange.home(account);
  std::string text = std::move(body.text);
  EwsReply reply = co_await on_core(home.core, [&home, &authorization, &certified, &text] {
    return home.answer(std::move(authorization), std::move(certified), std::move(text));
  });
  if (reply.delay > Duration(0) && !co_await sleep_for(reply.delay)) co_return;
  if (reply.fault == EwsFaultKind::drop) co_return;  // unanswered: the server ends the connection
  proto::HeaderField headers[5];
  size_t count = 0;
  std::string retry_after = std::to_string(reply.retry_after_s);
  if (!reply.challenge.empty()) headers[count++] = {"www-authenticate", reply.challenge};
  if (reply.status == 401) headers[count++] = {"www-authenticate", "Basic realm=\"mail.example.com\""};
  if (reply.retry_after_s > 0) headers[count++] = {"retry-after", retry_after};
  if (reply.status == 302) headers[count++] = {"location", "https://elsewhere.example.com/EWS/Exchange.asmx"};
  std::array<uint8_t, 8> id;
  io::random(id);
  std::string request_id = to_hex(id);
  headers[count++] = {"request-id", request_id};
  std::string_view takes = request.headers().find("accept-encoding").value_or(std::string_view());
  if (shared.options.gzip && takes.find("gzip") != takes.npos && !reply.body.empty()) {
    reply.body = proto::gzip(reply.body);
    headers[count++] = {"content-encoding", "gzip"};
  }
  std::string_view type = reply.body.empty() ? std::string_view() : proto::soap_content_type(reply.soap_version);
  (void)co_await request.respond(
      {.status = reply.status, .content_type = type, .body = reply.body, .headers = {headers, count}});
  if (!reply.subscription_id.empty()) {
    co_await on_part(home, [&reply](Part& part) { return part.start_subscription(reply.mailbox, reply.subscription_id); });
  }
}

// The mailbox of good credentials; null where they are not. Wipes them. `certified`: whom the client's certificate names.
// `bearer`: a token was shown.
Mailbox* Exchange::Part::authenticate(std::string& authorization, std::string_view certified, bool& bearer) {
  Mailbox* mailbox = nullptr;
  if (shared.options.logon == ExchangeLogon::certificate) {
    wipe(authorization);
    mailbox = find_by_address(certified);
    if (mailbox) ++counts.certified;
    return mailbox;
  }
  auto token = parse_bearer(authorization);
  bearer = token.has_value();
  if (auto credentials = parse_basic(authorization)) {
    mailbox = find_by_username(credentials->username);
    bool known = mailbox && equal_constant_time(as_bytes(mailbox->password), as_bytes(credentials->password));
    if (!known) mailbox = nullptr;
    wipe(credentials->password);
  } else if (token && shared.options.token_key) {
    auto said = shared.options.token_key->read(*token);
    if (said && token_valid(*said, io::wall_now())) mailbox = find_by_address(said->user);
    if (mailbox) ++counts.bearer;
  }
  wipe(authorization);
  if (shared.options.logon == ExchangeLogon::dual) {
    if (mailbox != find_by_address(certified)) mailbox = nullptr;
    if (mailbox) ++counts.certified;
  }
  return mailbox;
}

// 401. `error` of RFC 6750; empty: the client only learns what is offered.
void Exchange::Part::refuse_logon(std::string_view error, EwsReply& reply) {
  ++counts.unauthorized;
  reply.status = 401;
  if (!shared.options.token_key) return;
  reply.challenge = "Bearer client_id=\"00000002-0000-0ff1-ce00-000000000000\", trusted_issuers=\"" +
                    std::string(TokenKey::kIssuer) + "\", token_types=\"app_asserted_user_v1\"";
  if (!error.empty()) reply.challenge += ", error=\"" + std::string(error) + "\"";
  if (error == "insufficient_claims") reply.challenge += ", claims=\"" + to_base64(as_bytes(kClaims)) + "\"";
}

// On the home core of the user.
Task<EwsReply> Exchange::Part::answer(std::string authorization, std::string certified, std::string body) {
  EwsReply reply;
  (void)co_await running.wait();  // another core may take a request before this one has begun
  if (!flows) {                   // about to end
    reply.status = 503;
    co_return reply;
  }
  bool bearer = false;
  Mailbox* mailbox = authenticate(authorization, certified, bearer);

  reader.reset();
  Result<const proto::EwsRequest*> parsed = fail(Error());
  if (Status fed = reader.feed(body); fed) {
    parsed = reader.finish();
  } else {
    parsed = fail(fed.error());
  }
  wipe(body);  // a Subscribe's URL holds credentials
  static const proto::EwsRequest kUnreadable{};
  const proto::EwsRequest& request = parsed ? **parsed : kUnreadable;
  reply.soap_version = request.soap_version;
  EwsOperation operation = operation_of(request);
  ++counts.requests[static_cast<size_t>(operation)];
  Instant now = io::now();
  const EwsFault* fault = faults.take([&](const EwsFault& one) {
    bool over = one.until != Instant() && now >= one.until;
    return !over && (!one.operation || *one.operation == operation) &&
           (one.mailbox.empty() || (mailbox && ascii_equal_ignoring_case(one.mailbox, mailbox->address)));
  });
  if (fault) ++counts.faulted;
  if (fault) reply.delay = fault->delay;
  bool instead = fault && fault->kind != EwsFaultKind::none && fault->kind != EwsFaultKind::truncated;
  if (!mailbox && !instead) {
    refuse_logon(bearer ? "invalid_token" : "", reply);
    co_return reply;
  }
  if (instead) {
    apply_fault(*fault, request, reply);
    co_return reply;
  }
  bool truncate = fault && fault->kind == EwsFaultKind::truncated;
  Duration delay = reply.delay;
  if (!parsed) {
    ++counts.refused;
    reply.status = 500;
    answer_fault(reply.soap_version, "ErrorSchemaValidation", "The request failed schema validation.", {}, reply.body);
    co_return reply;
  }
  // A version that this server does not have is none that its schema knows.
  auto asked = proto::parse_exchange_version(request.server_version);
  if (!request.server_version.empty() && (!asked || *asked > shared.options.version)) {
    ++counts.refused;
    reply.status = 500;
    answer_fault(reply.soap_version, "ErrorInvalidServerVersion", "The specified server version is invalid.", {},
                 reply.body);
    co_return reply;
  }
  reply = answer_operation(*mailbox, request, operation);
  reply.delay = delay;
  if (truncate) reply.body.resize(reply.body.size() / 2);
  if (!reply.subscription_id.empty() && shared.options.first_status == FirstStatus::before_answer) {
    // The callback is over before we answer: only its flow knows the subscription from here on.
    Event over;
    flows->spawn(notify_first(reply.mailbox->subscriptions.back().get(), &over));
    (void)co_await over.wait();
    reply.subscription_id.clear();
  }
  co_return reply;
}

// A request that was read, of a user who is known.
EwsReply Exchange::Part::answer_operation(Mailbox& mailbox, const proto::EwsRequest& request, EwsOperation operation) {
  if (operation == EwsOperation::subscribe) return answer_subscribe(mailbox, request);
  EwsReply reply;
  reply.soap_version = request.soap_version;
  bool refused = false;
  proto::ServerVersion server = server_version(shared.options.version);
  switch (operation) {
    case EwsOperation::get_item:
      answer_get_item(mailbox, request, server, reply.body, refused);
      break;
    case EwsOperation::find_item:
      answer_find_item(mailbox, request, server, reply.body, refused);
      break;
    case EwsOperation::get_folder:
      answer_get_folder(mailbox, request, server, reply.body, refused);
      break;
    case EwsOperation::subscribe:
    case EwsOperation::other:
      refused = true;
      reply.status = 500;
      answer_fault(reply.soap_version, "ErrorInvalidOperation", "The stand-in does not know this operation.", {}, reply.body);
      break;
  }
  if (refused) ++counts.refused;
  return reply;
}

EwsReply Exchange::Part::answer_subscribe(Mailbox& mailbox, const proto::EwsRequest& request) {
  EwsReply reply;
  reply.soap_version = request.soap_version;
  auto refuse = [&](std::string_view code, std::string_view text) {
    ++counts.refused;
    answer_error(request, code, text, {}, reply.body);
    return std::move(reply);
  };
  if (!request.is_push) return refuse("ErrorInvalidSubscriptionRequest", "The stand-in knows push subscriptions only.");
  if (!request.mailbox.empty() && !ascii_equal_ignoring_case(request.mailbox, mailbox.address)) {
    return refuse("ErrorSubscriptionDelegateAccessNotSupported", "Subscriptions are not supported for delegate user access.");
  }
  if (request.folder != "inbox") return refuse("ErrorFolderNotFound", "The specified folder could not be found in the store.");
  auto url = parse_callback_url(request.url);
  if (!url) return refuse("ErrorInvalidPushSubscriptionUrl", "The push notification URL is not valid.");
  std::optional<MailboxMark> from;
  if (!request.watermark.empty()) {
    from = parse_watermark(request.watermark);
    if (!from || from->tag != mailbox.tag || from->number > mailbox.number) {
      return refuse("ErrorInvalidWatermark", "The watermark used for creating this subscription was not found.");
    }
  }
  if (mailbox.subscriptions.size() >= shared.options.subscriptions_per_mailbox_max) {
    return refuse("ErrorExceededSubscriptionCount", "You have exceeded the available subscriptions for your account.");
  }
  CallbackHost* host = callback_host(*url);
  if (!host) return refuse("ErrorExceededConnectionCount", "The stand-in serves no further callback host.");

  auto subscription = std::make_unique<Subscription>(&Part::timer_expired);
  subscription->part = this;
  subscription->mailbox = &mailbox;
  subscription->host = host;
  std::array<uint8_t, 24> id;
  io::random(id);
  subscription->id = to_base64(id);
  subscription->target = url->target;
  subscription->frequency_minutes = request.status_frequency_minutes;
  for (proto::EventKind kind : request.events) subscription->kinds |= 1u << static_cast<unsigned>(kind);
  subscription->last = from ? from->number : mailbox.number;
  if (from) {
    // What arrived since; of changes there is no record.
    for (const StoredItem& item : mailbox.items) {
      if (item.number > from->number && subscription->wants(proto::EventKind::new_mail)) {
        subscription->pending.push_back({proto::EventKind::new_mail, item.number, item.number, 0, item.received});
      }
    }
  }
  std::string watermark = watermark_text(mailbox.mark(subscription->last));
  subscription->pending.push_back(make_status(mailbox, io::wall_now()));
  ++mailbox.books.subscribed;
  reply.mailbox = &mailbox;
  reply.subscription_id = subscription->id;
  mailbox.subscriptions.push_back(std::move(subscription));

  proto::EwsResponseMessage message;
  message.subscription_id = reply.subscription_id;
  message.watermark = watermark;
  proto::EwsAnswer answer;
  answer.kind = proto::EwsAnswerKind::subscribe;
  answer.server = server_version(shared.options.version);
  answer.soap_version = request.soap_version;
  answer.messages = {&message, 1};
  proto::write_answer(answer, reply.body);
  return reply;
}

void Exchange::Part::apply_fault(const EwsFault& fault, const proto::EwsRequest& request, EwsReply& reply) {
  std::optional<uint32_t> back_off;
  if (fault.back_off > Duration(0)) back_off = milliseconds(fault.back_off);
  constexpr std::string_view kBusy = "The server cannot service this request right now. Try again later.";
  reply.fault = fault.kind;
  switch (fault.kind) {
    case EwsFaultKind::none:
    case EwsFaultKind::truncated:
    case EwsFaultKind::drop:
      break;
    case EwsFaultKind::unauthorized:
      refuse_logon("", reply);
      break;
    case EwsFaultKind::invalid_token:
      refuse_logon("invalid_token", reply);
      break;
    case EwsFaultKind::claims:
      refuse_logon("insufficient_claims", reply);
      break;
    case EwsFaultKind::unavailable:
      reply.status = 503;
      reply.retry_after_s = (back_off.value_or(0) + 999) / 1000;
      break;
    case EwsFaultKind::server_busy:
      reply.status = 500;
      answer_fault(reply.soap_version, "ErrorServerBusy", kBusy, back_off, reply.body);
      break;
    case EwsFaultKind::server_error:
      reply.status = 500;
      answer_fault(reply.soap_version, "ErrorInternalServerError", "An internal server error occurred.", {}, reply.body);
      break;
    case EwsFaultKind::inner_busy:
      answer_error(request, "ErrorServerBusy", kBusy, back_off, reply.body);
      break;
    case EwsFaultKind::response_code:
      answer_error(request, fault.code, "As the stand-in was told.", back_off, reply.body);
      break;
    case EwsFaultKind::garbage:
      reply.body = "<html><body>An error occurred on the server.<br></body>";
      break;
    case EwsFaultKind::redirect:
      reply.status = 302;
      break;
  }
}

}  // namespace bellhop::standin
