// SPDX-License-Identifier: Apache-2.0

// What mail clients ask of EWS besides (exchange_clients.h), and streams of events.

#include <algorithm>
#include <array>

#include "core/sleep.h"
#include "tools/standin/exchange_part.h"

namespace bellhop::standin {
namespace {

constexpr size_t kEventsPerAnswerMax = 100;
constexpr Duration kStreamSilenceMax = 30s;  // clients give up after 90 s without a document

Task<Status> wait_event(Event* event) {
  co_return co_await event->wait();
}

}  // namespace

// A pull or streaming subscription to the Inbox.
EwsReply Exchange::Part::answer_readable(Mailbox& mailbox, const proto::EwsRequest& request) {
  EwsReply reply;
  reply.soap_version = request.soap_version;
  if (mailbox.readables.size() >= shared.options.subscriptions_per_mailbox_max) {
    ++counts.refused;
    answer_error(request, "ErrorExceededSubscriptionCount",
                 "You have exceeded the available subscriptions for your account.", {}, reply.body);
    return reply;
  }
  auto readable = std::make_unique<Readable>();
  std::array<uint8_t, 24> id;
  io::random(id);
  readable->id = to_base64(id);
  readable->streaming = request.is_streaming;
  for (proto::EventKind kind : request.events) readable->kinds |= 1u << static_cast<unsigned>(kind);
  readable->last = mailbox.number;
  std::string watermark = watermark_text(mailbox.mark(readable->last));
  proto::EwsResponseMessage message;
  message.subscription_id = readable->id;
  if (!readable->streaming) message.watermark = watermark;
  proto::EwsAnswer answer;
  answer.kind = proto::EwsAnswerKind::subscribe;
  answer.server = server_version(shared.options.version);
  answer.soap_version = request.soap_version;
  answer.messages = {&message, 1};
  proto::write_answer(answer, reply.body);
  mailbox.readables.push_back(std::move(readable));
  return reply;
}

EwsReply Exchange::Part::answer_other(Mailbox& mailbox, std::string_view element, ClientRequest& asked) {
  EwsReply reply;
  proto::ServerVersion server = server_version(shared.options.version);
  auto refuse = [&](std::string_view code, std::string_view text) {
    ++counts.refused;
    reply.body = client_error(element, server, code, text);
  };
  auto answer = [&](std::string_view content) { reply.body = client_answer(element, server, content); };
  Readable* readable = asked.subscriptions.empty() ? nullptr : find_readable(mailbox, asked.subscriptions.front());
  switch (asked.operation) {
    case ClientOperation::resolve_names: {
      Mailbox* named = find_by_address(asked.entry);
      answer(resolution_content(asked.entry, named ? *named : mailbox));
      break;
    }
    case ClientOperation::get_events:
      if (!readable || readable->streaming) {
        refuse("ErrorSubscriptionNotFound", "The specified subscription was not found.");
      } else {
        answer(notification_content(mailbox, *readable, kEventsPerAnswerMax, io::wall_now()));
      }
      break;
    case ClientOperation::get_streaming_events:
      if (!std::ranges::all_of(asked.subscriptions,
                               [&](const std::string& id) { return find_readable(mailbox, id) != nullptr; })) {
        readable = nullptr;
      }
      if (!readable || !readable->streaming || asked.timeout_minutes == 0) {
        refuse("ErrorSubscriptionNotFound", "The specified subscription was not found.");
      } else {
        reply.streams = std::move(asked.subscriptions);
        reply.stream_minutes = asked.timeout_minutes;
        reply.mailbox = &mailbox;
      }
      break;
    case ClientOperation::unsubscribe:
      if (!readable) {
        refuse("ErrorSubscriptionNotFound", "The specified subscription was not found.");
      } else {
        std::erase_if(mailbox.readables, [&](const auto& one) { return one.get() == readable; });
        answer({});
      }
      break;
    case ClientOperation::create_item:
      answer("<m:Items/>");
      break;
    case ClientOperation::create_attachment:
      answer(R"(<m:Attachments><t:FileAttachment><t:AttachmentId Id="size:0"/></t:FileAttachment></m:Attachments>)");
      break;
    case ClientOperation::get_attachment: {
      std::string id = asked.attachments.empty() ? std::string() : asked.attachments.front();
      if (auto content = attachment_content(id)) {
        answer(attachment_answer_content(id, *content));
      } else {
        refuse("ErrorItemNotFound", "The specified object was not found in the store.");
      }
      break;
    }
    case ClientOperation::other:
      ++counts.refused;
      reply.status = 500;
      answer_fault(reply.soap_version, "ErrorInvalidOperation", "The stand-in does not know this operation.", {},
                   reply.body);
      break;
  }
  return reply;
}

// On the core that has the connection. A document at once, one for each piece of news, and one when nothing else was
// said for a while.
Task<void> Exchange::Part::stream_events(service::HttpExchange& request, uint64_t id, Part* home, EwsReply* reply) {
  request.be_patient(true);
  auto lasting =
      std::chrono::duration_cast<Duration>(std::chrono::minutes(reply->stream_minutes) * shared.options.time_scale);
  Instant end = io::now() + lasting;
  if (ExchangeRequest* entry = find_request(id)) entry->status = 200;
  AnswerHeaders headers;
  headers.add("content-type", std::string(proto::soap_content_type(proto::SoapVersion::soap11)));
  add_server_fields(request, reply->opened, headers);
  if (!co_await request.begin_response({.status = 200, .headers = headers.fields()})) co_return;
  for (Instant until = io::now(); until <= end;) {
    bool closing = until == end;
    std::string document = co_await on_core_stoppable(
        home->core, [&] { return home->next_stream_document(reply->mailbox, &reply->streams, until, closing); });
    if (document.empty()) co_return;  // stopped, or the subscription is gone: cut off
    if (!co_await request.write_some(as_bytes(document))) co_return;
    Instant now = io::now();
    if (closing && now >= end) break;
    until = std::min(end, now + kStreamSilenceMax);
  }
  if (ExchangeRequest* entry = find_request(id)) entry->answered = io::now();
  (void)co_await request.end_response();
}

// On the mailbox's home core: waits for events until `until`. `closing`: the stream is over then.
Task<std::string> Exchange::Part::next_stream_document(Mailbox* mailbox, const std::vector<std::string>* ids,
                                                       Instant until, bool closing) {
  for (;;) {
    std::vector<Readable*> readables;
    bool news = false;
    for (const std::string& id : *ids) {
      Readable* readable = find_readable(*mailbox, id);
      if (!readable) co_return std::string();
      readables.push_back(readable);
      news |= !readable->pending.empty();
    }
    bool over = io::now() >= until;
    if (news || over) {
      co_return streaming_document(*mailbox, readables, server_version(shared.options.version), over && closing,
                                   io::wall_now());
    }
    auto waited = co_await within_until(until, wait_event(&mailbox->changed));
    if (!waited && !is(waited.error(), CoreError::timed_out)) co_return std::string();
  }
}

}  // namespace bellhop::standin
