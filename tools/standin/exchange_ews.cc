// SPDX-License-Identifier: Apache-2.0

// What Exchange's /EWS/Exchange.asmx does with a request, on the home core of its mailbox.

#include "core/sleep.h"
#include "tools/standin/exchange_part.h"

namespace bellhop::standin {
namespace {

constexpr uint64_t kReadBytesMax = 256 * 1024;  // longer requests are told by their first bytes
const proto::EwsRequest kNothingRead{};

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

uint32_t milliseconds(Duration duration) {
  return static_cast<uint32_t>(to_milliseconds(duration));
}

}  // namespace

// The request, in the reader. Of other operations than bellhop's there is more in `client`, and of long ones nothing
// but the name. `element`: the operation's.
Result<const proto::EwsRequest*> Exchange::Part::read_ews_request(std::string_view body, ClientRequest& client,
                                                                  std::string& element) {
  reader.reset();
  if (body.size() > kReadBytesMax) {
    element = operation_in(body.substr(0, kReadBytesMax));
    if (element == "CreateItem") client.operation = ClientOperation::create_item;
    if (element == "CreateAttachment") client.operation = ClientOperation::create_attachment;
    if (element.empty()) return fail(proto::ews_error(proto::EwsError::not_soap));
    return &kNothingRead;
  }
  BH_CHECKED(reader.feed(body));
  BH_TRY(const proto::EwsRequest* request, reader.finish());
  element = request->element;
  if (operation_of(*request) == EwsOperation::other) client = client_reader.read(body).value_or(ClientRequest());
  return request;
}

Task<EwsReply> Exchange::Part::answer(Logon* logon, std::string* body) {
  EwsReply reply;
  (void)co_await running.wait();  // another core may take a request before this one has begun
  if (!flows) {                   // about to end
    reply.status = 503;
    co_return reply;
  }
  bool bearer = false;
  Mailbox* mailbox = authenticate(*logon, bearer);
  if (mailbox) reply.opened = mailbox->address;

  ClientRequest client;
  auto parsed = read_ews_request(*body, client, reply.operation);
  wipe(*body);  // a Subscribe's URL holds credentials
  const proto::EwsRequest& request = parsed ? **parsed : kNothingRead;
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
  std::string opened = std::move(reply.opened), element = std::move(reply.operation);
  reply = operation == EwsOperation::other ? answer_other(*mailbox, element, client)
                                           : answer_operation(*mailbox, request, operation);
  reply.opened = std::move(opened);
  reply.operation = std::move(element);
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
      answer_fault(reply.soap_version, "ErrorInvalidOperation", "The stand-in does not know this operation.", {},
                   reply.body);
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
  if (!request.mailbox.empty() && !ascii_equal_ignoring_case(request.mailbox, mailbox.address)) {
    return refuse("ErrorSubscriptionDelegateAccessNotSupported",
                  "Subscriptions are not supported for delegate user access.");
  }
  if (!asks_inbox(mailbox, request))
    return refuse("ErrorFolderNotFound", "The specified folder could not be found in the store.");
  if (!request.is_push) return answer_readable(mailbox, request);
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
      answer_fault(reply.soap_version, "ErrorInternalServerError", "An internal server error occurred.", {},
                   reply.body);
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
