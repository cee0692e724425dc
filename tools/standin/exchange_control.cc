// SPDX-License-Identifier: Apache-2.0
#include "tools/standin/exchange_control.h"

#include <algorithm>

#include "core/io.h"
#include "proto/json_writer.h"

namespace bellhop::standin {
namespace {

using proto::HttpMethod;

constexpr std::string_view kNoMailbox = "no such mailbox";
constexpr uint64_t kEntriesMax = 5'000;  // of one answer

void write_mailbox_books(proto::JsonWriter& json, const MailboxBooks& books) {
  json.member("mails", books.mails)
      .member("notifications", books.notifications)
      .member("eventsSent", books.events_sent)
      .member("eventsAcknowledged", books.events_acknowledged)
      .member("newMailsAcknowledged", books.new_mails_acknowledged)
      .member("heartbeatsAcknowledged", books.heartbeats_acknowledged)
      .member("retries", books.retries)
      .member("failures", books.failures)
      .member("subscribed", books.subscribed)
      .member("unsubscribed", books.unsubscribed)
      .member("dead", books.dead)
      .member("forgotten", books.forgotten)
      .member("eventsLost", books.events_lost);
}

Duration milliseconds(uint64_t count) { return std::chrono::milliseconds(count); }

int64_t nanoseconds(Instant instant) { return instant.time_since_epoch().count(); }

void write_attempt(proto::JsonWriter& json, const ExchangeEntry& entry) {
  using Outcome = NotificationAttempt::Outcome;
  constexpr std::string_view kAnswers[] = {"ok", "unsubscribe", "failed", "died"};
  json.member("kind", "attempt")
      .member("begunNs", nanoseconds(entry.begun))
      .member("subscription", entry.subscription)
      .member("attempt", entry.attempt)
      .member("events", entry.events)
      .member("heartbeat", entry.heartbeat)
      .member("answer", kAnswers[static_cast<size_t>(entry.outcome)])
      .member("status", unsigned{entry.status});
  bool silent = entry.outcome != Outcome::ok && entry.outcome != Outcome::unsubscribe && entry.status == 0;
  if (silent) json.member("error", error_text(entry.error));
}

void write_entry(proto::JsonWriter& json, const ExchangeEntry& entry) {
  json.begin_object().member("number", entry.number).member("atNs", nanoseconds(entry.at)).member("mailbox", entry.mailbox);
  switch (entry.kind) {
    case ExchangeEntry::Kind::mail:
      json.member("kind", "mail").member("subject", entry.subject).name("told").begin_array();
      for (const std::string& id : entry.told) json.value(id);
      json.end_array();
      break;
    case ExchangeEntry::Kind::attempt:
      write_attempt(json, entry);
      break;
    case ExchangeEntry::Kind::ended:
      json.member("kind", "ended").member("subscription", entry.subscription).member("how", entry.how);
      break;
  }
  json.name("items").begin_array();
  for (uint64_t item : entry.items) json.value(item);
  json.end_array().end_object();
}

void write_request(proto::JsonWriter& json, const ExchangeRequest& entry) {
  json.begin_object()
      .member("number", entry.number)
      .member("atNs", nanoseconds(entry.at))
      .member("answeredNs", nanoseconds(entry.answered))
      .member("peer", entry.peer)
      .member("method", entry.method)
      .member("target", entry.target)
      .member("scheme", entry.scheme)
      .member("user", entry.user)
      .member("mailbox", entry.mailbox)
      .member("operation", entry.operation)
      .member("queryUser", entry.query_user)
      .member("deviceId", entry.device_id)
      .member("deviceType", entry.device_type)
      .member("bodyBytes", entry.body_bytes)
      .member("bodySha256", entry.body_sha256)
      .member("status", unsigned{entry.status});
  json.name("headers").begin_array();
  for (const auto& [name, value] : entry.headers) json.begin_array().value(name).value(value).end_array();
  json.end_array().end_object();
}

std::string string_of(const proto::JsonObject& object, std::string_view name) {
  auto text = object.string(name);
  return text && *text ? std::string(**text) : std::string();
}

}  // namespace

Task<ControlAnswer> ExchangeControl::answer(const ControlRequest& request) {
  std::string address = request.text("address");
  uint32_t count = static_cast<uint32_t>(request.number("count", 1));
  if (request.is(HttpMethod::post, "/mailboxes")) co_return co_await add_mailboxes(request);
  if (request.is(HttpMethod::post, "/deliver")) co_return co_await deliver(request);
  if (request.is(HttpMethod::post, "/faults")) co_return co_await add_fault(request);
  if (request.is(HttpMethod::post, "/activesync-faults")) co_return co_await add_activesync_fault(request);
  if (request.is(HttpMethod::get, "/requests")) co_return co_await requests(request);
  if (request.is(HttpMethod::get, "/devices")) co_return co_await devices(request);
  if (request.is(HttpMethod::post, "/wipe")) {
    co_return ControlAnswer::done(co_await exchange_.wipe_device(address, request.text("deviceId")), "no such mailbox or device");
  }
  if (request.is(HttpMethod::post, "/callback-faults")) co_return co_await add_callback_fault(request);
  if (request.is(HttpMethod::get, "/books")) co_return co_await books(request);
  if (request.is(HttpMethod::get, "/ledger")) co_return co_await ledger(request);
  if (request.is(HttpMethod::get, "/subscriptions")) co_return co_await subscriptions(request);
  if (request.is(HttpMethod::post, "/read")) {
    co_return ControlAnswer::done(co_await exchange_.mark_read(address, count), kNoMailbox);
  }
  if (request.is(HttpMethod::post, "/delete")) {
    co_return ControlAnswer::done(co_await exchange_.delete_items(address, count), kNoMailbox);
  }
  if (request.is(HttpMethod::delete_, "/faults")) {
    co_await exchange_.clear_faults();
    co_return ControlAnswer::ok();
  }
  if (request.is(HttpMethod::post, "/notification-error")) {
    co_return ControlAnswer::done(co_await exchange_.report_error(address, request.text("code")), kNoMailbox);
  }
  if (request.is(HttpMethod::post, "/autodiscover")) co_return co_await set_autodiscover(request);
  if (request.is(HttpMethod::post, "/restart")) {
    co_await exchange_.restart();
    co_return ControlAnswer::ok();
  }
  co_return ControlAnswer::problem(404, "no such control");
}

Task<ControlAnswer> ExchangeControl::add_mailboxes(const ControlRequest& request) {
  uint64_t made = 0;
  uint64_t count = request.number("count", 0);
  if (count == 0) {
    bool added = co_await exchange_.add_mailbox(
        {request.text("address"), request.text("username"), request.text("password")});
    if (!added) co_return ControlAnswer::problem(409, "the mailbox exists, or address or password are missing, or there are too many");
    made = 1;
  }
  std::string prefix = request.text("prefix"), domain = request.text("domain"), password = request.text("password");
  for (uint64_t i = 1; i <= count; ++i) {
    std::string address = prefix + std::to_string(i) + "@" + domain;
    if (co_await exchange_.add_mailbox({std::move(address), {}, password})) ++made;
    if (i % 1024 == 0) co_await yield_now();
  }
  ControlAnswer reply;
  proto::JsonWriter(reply.body).begin_object().member("made", made).end_object();
  co_return reply;
}

Task<ControlAnswer> ExchangeControl::deliver(const ControlRequest& request) {
  if (auto mails = request.json.array("mails"); mails && *mails) co_return co_await deliver_list(**mails);
  std::string address = request.text("address");
  uint64_t count = request.number("count", 1);
  if (address.empty()) {
    co_return ControlAnswer::done(co_await exchange_.deliver_many(count, request.real("rate", 0)), "there is no mailbox");
  }
  Instant at = io::now();
  for (uint64_t i = 0; i < count; ++i) {
    Mail mail;
    mail.subject = request.text("subject");
    mail.sender_name = request.text("senderName");
    mail.sender_address = request.text("senderAddress");
    mail.conversation = request.text("conversation");
    mail.preview = request.text("preview");
    mail.gone = request.flag("gone");
    if (std::string text = request.text("element"); !text.empty()) mail.element = std::move(text);
    if (std::string text = request.text("itemClass"); !text.empty()) mail.item_class = std::move(text);
    if (request.flag("private")) mail.sensitivity = proto::Sensitivity::private_;
    if (!co_await exchange_.deliver(address, std::move(mail))) co_return ControlAnswer::problem(404, kNoMailbox);
  }
  ControlAnswer reply;
  proto::JsonWriter(reply.body)
      .begin_object()
      .member("delivered", count)
      .member("atNs", static_cast<int64_t>(at.time_since_epoch().count()))
      .end_object();
  co_return reply;
}

Task<ControlAnswer> ExchangeControl::deliver_list(proto::JsonArray mails) {
  uint64_t delivered = 0;
  Instant at = io::now();
  for (size_t i = 0; i < mails.size(); ++i) {
    auto object = mails.at(i).object();
    if (!object) co_return ControlAnswer::problem(400, error_text(object.error()));
    Mail mail;
    mail.subject = string_of(*object, "subject");
    mail.sender_name = "Stand-in";
    mail.sender_address = "stand-in@example.com";
    if (co_await exchange_.deliver(string_of(*object, "address"), std::move(mail))) ++delivered;
  }
  ControlAnswer reply;
  proto::JsonWriter(reply.body)
      .begin_object()
      .member("delivered", delivered)
      .member("atNs", static_cast<int64_t>(at.time_since_epoch().count()))
      .end_object();
  co_return reply;
}

Task<ControlAnswer> ExchangeControl::add_fault(const ControlRequest& request) {
  auto kind = parse_ews_fault(request.text("kind"));
  if (!kind) co_return ControlAnswer::problem(400, "unknown kind of fault");
  EwsFault fault;
  fault.kind = *kind;
  if (std::string operation = request.text("operation"); !operation.empty()) {
    fault.operation = parse_ews_operation(operation);
    if (!fault.operation) co_return ControlAnswer::problem(400, "unknown operation");
  }
  fault.mailbox = request.text("mailbox");
  fault.count = request.number("count", 0);
  fault.delay = milliseconds(request.number("delayMs", 0));
  fault.back_off = milliseconds(request.number("backOffMs", 0));
  fault.code = request.text("code");
  fault.lasting = std::chrono::minutes(request.number("minutes", 0));
  if (*kind == EwsFaultKind::response_code && fault.code.empty()) {
    co_return ControlAnswer::problem(400, "response_code needs a code");
  }
  if (!co_await exchange_.add_fault(std::move(fault))) co_return ControlAnswer::problem(409, "too many faults");
  co_return ControlAnswer::ok();
}

Task<ControlAnswer> ExchangeControl::add_callback_fault(const ControlRequest& request) {
  auto kind = parse_callback_fault(request.text("kind"));
  if (!kind) co_return ControlAnswer::problem(400, "unknown kind of callback fault");
  CallbackFault fault{.kind = *kind, .mailbox = request.text("mailbox"), .count = request.number("count", 0)};
  if (!co_await exchange_.add_callback_fault(std::move(fault))) co_return ControlAnswer::problem(409, "too many faults");
  co_return ControlAnswer::ok();
}

Task<ControlAnswer> ExchangeControl::ledger(const ControlRequest& request) {
  uint64_t last = request.query_number("after", 0);
  auto page = co_await exchange_.ledger_after(last, std::min(kEntriesMax, request.query_number("limit", 1'000)));
  ControlAnswer reply;
  proto::JsonWriter json(reply.body);
  json.begin_object().name("entries").begin_array();
  for (const ExchangeEntry& entry : page.entries) {
    write_entry(json, entry);
    last = entry.number;
  }
  json.end_array().member("last", last).member("forgotten", page.forgotten).end_object();
  co_return reply;
}

Task<ControlAnswer> ExchangeControl::add_activesync_fault(const ControlRequest& request) {
  auto kind = parse_activesync_fault(request.text("kind"));
  if (!kind) co_return ControlAnswer::problem(400, "unknown kind of fault");
  ActiveSyncFault fault{.kind = *kind, .command = request.text("command"), .mailbox = request.text("mailbox"),
                        .count = request.number("count", 0)};
  fault.delay = milliseconds(request.number("delayMs", 0));
  fault.back_off = milliseconds(request.number("backOffMs", 0));
  fault.status = static_cast<uint16_t>(request.number("status", fault.status));
  fault.target = request.text("target");
  bool redirects = *kind == ActiveSyncFaultKind::moved || *kind == ActiveSyncFaultKind::found;
  if (redirects && fault.target.empty()) co_return ControlAnswer::problem(400, "moved and found need a target");
  if (!co_await exchange_.add_activesync_fault(std::move(fault))) co_return ControlAnswer::problem(409, "too many faults");
  co_return ControlAnswer::ok();
}

Task<ControlAnswer> ExchangeControl::requests(const ControlRequest& request) {
  uint64_t last = request.query_number("after", 0);
  auto page = co_await exchange_.requests_after(last, std::min(kEntriesMax, request.query_number("limit", 1'000)));
  ControlAnswer reply;
  proto::JsonWriter json(reply.body);
  json.begin_object().name("requests").begin_array();
  for (const ExchangeRequest& entry : page.requests) {
    write_request(json, entry);
    last = entry.number;
  }
  json.end_array().member("last", last).member("forgotten", page.forgotten).end_object();
  co_return reply;
}

Task<ControlAnswer> ExchangeControl::devices(const ControlRequest& request) {
  auto views = co_await exchange_.devices(request.query_text("address"));
  if (!views) co_return ControlAnswer::problem(404, kNoMailbox);
  ControlAnswer reply;
  proto::JsonWriter json(reply.body);
  json.begin_object().name("devices").begin_array();
  for (const ActiveSyncDeviceView& view : *views) {
    json.begin_object()
        .member("id", view.id)
        .member("type", view.type)
        .member("userAgent", view.user_agent)
        .member("model", view.model)
        .member("os", view.os)
        .member("wipe", view.wipe)
        .member("policyKey", view.policy_key)
        .member("commands", view.commands)
        .end_object();
  }
  json.end_array().end_object();
  co_return reply;
}

// {"soap": MODE, "pox": MODE, "target": …, "httpLocation": …}; what is left out is as at the start.
Task<ControlAnswer> ExchangeControl::set_autodiscover(const ControlRequest& request) {
  AutodiscoverScript script;
  for (auto [name, mode] : {std::pair("soap", &script.soap), std::pair("pox", &script.pox)}) {
    std::string text = request.text(name);
    if (text.empty()) continue;
    auto parsed = parse_autodiscover_mode(text);
    if (!parsed) co_return ControlAnswer::problem(400, "unknown mode of Autodiscover");
    *mode = *parsed;
  }
  script.target = request.text("target");
  script.http_location = request.text("httpLocation");
  co_await exchange_.set_autodiscover(std::move(script));
  co_return ControlAnswer::ok();
}

Task<ControlAnswer> ExchangeControl::books(const ControlRequest& request) {
  ControlAnswer reply;
  proto::JsonWriter json(reply.body);
  if (std::string address = request.query_text("address"); !address.empty()) {
    auto books = co_await exchange_.mailbox_books(address);
    if (!books) co_return ControlAnswer::problem(404, kNoMailbox);
    json.begin_object();
    write_mailbox_books(json, *books);
    json.end_object();
    co_return reply;
  }
  ExchangeBooks books = co_await exchange_.books();
  json.begin_object()
      .member("mailboxes", books.mailboxes)
      .member("subscriptions", books.subscriptions)
      .member("eventsPending", books.events_pending);
  write_mailbox_books(json, books.all);
  json.name("requests").begin_object();
  for (size_t i = 0; i < std::size(books.requests); ++i) {
    json.member(ews_operation_name(static_cast<EwsOperation>(i)), books.requests[i]);
  }
  json.end_object()
      .member("unauthorized", books.unauthorized)
      .member("bearer", books.bearer)
      .member("certified", books.certified)
      .member("faulted", books.faulted)
      .member("refused", books.refused)
      .member("connections", books.connections)
      .member("autodiscoverSoap", books.autodiscovers[0])
      .member("autodiscoverPox", books.autodiscovers[1])
      .member("autodiscoverHttp", books.autodiscover_probes)
      .member("credentialsOverHttp", books.credentials_over_http)
      .member("activesync", books.activesync)
      .member("activesyncWaiting", books.activesync_waiting)
      .member("negotiated", books.negotiated)
      .member("cookiesReturned", books.cookies_returned)
      .member("cookiesForeign", books.cookies_foreign)
      .end_object();
  co_return reply;
}

Task<ControlAnswer> ExchangeControl::subscriptions(const ControlRequest& request) {
  auto views = co_await exchange_.subscriptions(request.query_text("address"));
  if (!views) co_return ControlAnswer::problem(404, kNoMailbox);
  ControlAnswer reply;
  proto::JsonWriter json(reply.body);
  json.begin_object().name("subscriptions").begin_array();
  for (const Exchange::SubscriptionView& view : *views) {
    json.begin_object().member("id", view.id).member("url", view.url).member("watermark", view.watermark).end_object();
  }
  json.end_array().end_object();
  co_return reply;
}

}  // namespace bellhop::standin
