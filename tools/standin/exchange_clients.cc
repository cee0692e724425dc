// SPDX-License-Identifier: Apache-2.0
#include "tools/standin/exchange_clients.h"

#include <algorithm>
#include <array>

#include "core/base/bytes.h"
#include "proto/ews_text.h"
#include "proto/xml_writer.h"

namespace bellhop::standin {
namespace {

enum Part : uint8_t {
  kDocument,
  kEnvelope,
  kBody,
  kResolveNames,
  kEntry,
  kGetEvents,
  kGetStreamingEvents,
  kUnsubscribe,
  kSubscriptionIds,
  kSubscriptionId,
  kWatermark,
  kTimeout,
  kCreateItem,
  kCreateAttachment,
  kGetAttachment,
  kAttachmentIds,
  kAttachmentId,
};

constexpr uint32_t kDocumentBytesMax = 256 * 1024;
constexpr size_t kIdsMax = 200;
constexpr uint64_t kInboxNumber = 0x0c, kRootNumber = 0x08;
constexpr std::array<std::string_view, 2> kSoap = {proto::kSoap11Space, proto::kSoap12Space};
constexpr std::array<std::string_view, 1> kMessages = {proto::kEwsMessagesSpace};
constexpr std::array<std::string_view, 1> kTypes = {proto::kEwsTypesSpace};
constexpr std::array<std::string_view, 2> kEither = {proto::kEwsMessagesSpace, proto::kEwsTypesSpace};

struct Shape {
  uint8_t parent;
  std::span<const std::string_view> spaces;
  std::string_view local;
  uint8_t part;
};
constexpr std::array kShapes = {
    Shape{kDocument, kSoap, "Envelope", kEnvelope},
    Shape{kEnvelope, kSoap, "Body", kBody},
    Shape{kBody, kMessages, "ResolveNames", kResolveNames},
    Shape{kResolveNames, kMessages, "UnresolvedEntry", kEntry},
    Shape{kBody, kMessages, "GetEvents", kGetEvents},
    Shape{kGetEvents, kEither, "SubscriptionId", kSubscriptionId},
    Shape{kGetEvents, kEither, "Watermark", kWatermark},
    Shape{kBody, kMessages, "GetStreamingEvents", kGetStreamingEvents},
    Shape{kGetStreamingEvents, kMessages, "SubscriptionIds", kSubscriptionIds},
    Shape{kSubscriptionIds, kTypes, "SubscriptionId", kSubscriptionId},
    Shape{kGetStreamingEvents, kMessages, "ConnectionTimeout", kTimeout},
    Shape{kBody, kMessages, "Unsubscribe", kUnsubscribe},
    Shape{kUnsubscribe, kEither, "SubscriptionId", kSubscriptionId},
    Shape{kBody, kMessages, "CreateItem", kCreateItem},
    Shape{kBody, kMessages, "CreateAttachment", kCreateAttachment},
    Shape{kBody, kMessages, "GetAttachment", kGetAttachment},
    Shape{kGetAttachment, kMessages, "AttachmentIds", kAttachmentIds},
    Shape{kAttachmentIds, kTypes, "AttachmentId", kAttachmentId},
};

// Elements in the order of t:BaseObjectChangedEventType and t:ModifiedEventType.
void write_event(const Mailbox& mailbox, const PendingEvent& event, std::string& out) {
  proto::XmlWriter xml(out);
  std::string name = "t:" + std::string(proto::event_kind_text(event.kind));
  xml.raw("<").raw(name).raw(">").element("t:Watermark", watermark_text(mailbox.mark(event.number)));
  if (event.kind != proto::EventKind::status) {
    xml.element("t:TimeStamp", proto::format_ews_time(event.at));
    std::string inbox = folder_id_text(mailbox.mark(kInboxNumber));
    if (event.item != 0) {
      xml.empty_element("t:ItemId", "Id", item_id_text(mailbox.mark(event.item)))
          .empty_element("t:ParentFolderId", "Id", inbox);
    } else {
      xml.empty_element("t:FolderId", "Id", inbox)
          .empty_element("t:ParentFolderId", "Id", folder_id_text(mailbox.mark(kRootNumber)));
      xml.element("t:UnreadCount", std::to_string(event.unread));
    }
  }
  xml.raw("</").raw(name).raw(">");
}

// m:Notification of the first `count` pending events; a streaming one has no watermarks around them.
void write_notification_of(Mailbox& mailbox, Readable& readable, size_t count, WallTime now, std::string& out) {
  proto::XmlWriter xml(out);
  xml.raw("<m:Notification>").element("t:SubscriptionId", readable.id);
  if (!readable.streaming) {
    xml.element("t:PreviousWatermark", watermark_text(mailbox.mark(readable.last)));
    xml.element("t:MoreEvents", readable.pending.size() > count ? "true" : "false");
  }
  if (count == 0) {
    PendingEvent status = make_status(mailbox, now);
    readable.last = status.number;
    write_event(mailbox, status, out);
  }
  for (; count > 0; --count) {
    readable.last = readable.pending.front().number;
    write_event(mailbox, readable.pending.front(), out);
    readable.pending.pop_front();
  }
  xml.raw("</m:Notification>");
}

// `prefix` of SOAP's namespace, with its colon; empty: it is the default one.
void begin_answer(std::string_view operation, const proto::ServerVersion& server, std::string_view response_class,
                  std::string& out, std::string_view prefix = "s:") {
  proto::XmlWriter xml(out);
  xml.raw(R"(<?xml version="1.0" encoding="utf-8"?><)")
      .raw(prefix)
      .raw("Envelope xmlns")
      .raw(prefix.empty() ? "" : ":s");
  xml.raw("=\"").raw(proto::kSoap11Space);
  xml.raw(R"(" xmlns:m=")").raw(proto::kEwsMessagesSpace).raw(R"(" xmlns:t=")").raw(proto::kEwsTypesSpace).raw("\">");
  xml.raw("<").raw(prefix).raw(R"(Header><t:ServerVersionInfo MajorVersion=")").raw(std::to_string(server.major));
  xml.raw(R"(" MinorVersion=")")
      .raw(std::to_string(server.minor))
      .raw(R"(" MajorBuildNumber=")")
      .raw(std::to_string(server.build));
  xml.raw(R"(" MinorBuildNumber=")").raw(std::to_string(server.revision)).raw("\"/></").raw(prefix);
  xml.raw("Header><").raw(prefix).raw("Body>");
  xml.raw("<m:").raw(operation).raw("Response><m:ResponseMessages><m:").raw(operation);
  xml.raw(R"(ResponseMessage ResponseClass=")").raw(response_class).raw("\">");
}

void end_answer(std::string_view operation, std::string& out, std::string_view prefix = "s:") {
  proto::XmlWriter xml(out);
  xml.raw("</m:").raw(operation).raw("ResponseMessage></m:ResponseMessages></m:").raw(operation).raw("Response></");
  xml.raw(prefix).raw("Body></").raw(prefix).raw("Envelope>");
}

bool same_start(std::string_view text, std::string_view start) {
  return text.size() >= start.size() && ascii_equal_ignoring_case(text.substr(0, start.size()), start);
}

}  // namespace

ClientRequestReader::ClientRequestReader(uint64_t hash_salt)
    : XmlPathReader(
          [] {
            static const std::array<Rule, kShapes.size()> rules = [] {
              std::array<Rule, kShapes.size()> made{};
              for (size_t i = 0; i < made.size(); ++i) {
                made[i] = {kShapes[i].parent, kShapes[i].spaces, kShapes[i].local, kShapes[i].part};
              }
              return made;
            }();
            return std::span<const Rule>(rules);
          }(),
          kDocumentBytesMax, hash_salt) {}

std::optional<ClientRequest> ClientRequestReader::read(std::string_view document) {
  request_ = {};
  reset_document();
  bool good = feed(document) && finish_document();
  reset_document();
  if (!good) return std::nullopt;
  return std::move(request_);
}

Status ClientRequestReader::part_started(uint8_t part, const proto::XmlAttributes& attributes) {
  constexpr std::array kOperations = {std::pair(kResolveNames, ClientOperation::resolve_names),
                                      std::pair(kGetEvents, ClientOperation::get_events),
                                      std::pair(kGetStreamingEvents, ClientOperation::get_streaming_events),
                                      std::pair(kUnsubscribe, ClientOperation::unsubscribe),
                                      std::pair(kCreateItem, ClientOperation::create_item),
                                      std::pair(kCreateAttachment, ClientOperation::create_attachment),
                                      std::pair(kGetAttachment, ClientOperation::get_attachment)};
  for (auto [operation, value] : kOperations) {
    if (part == operation) request_.operation = value;
  }
  if (part == kAttachmentId && request_.attachments.size() < kIdsMax) {
    request_.attachments.emplace_back(attributes.find("Id").value_or(std::string_view()));
  }
  return {};
}

Status ClientRequestReader::part_ended(uint8_t part, std::string_view text) {
  text = proto::xml_trim(text);
  if (part == kEntry) request_.entry = text;
  if (part == kWatermark) request_.watermark = text;
  if (part == kSubscriptionId && request_.subscriptions.size() < kIdsMax) request_.subscriptions.emplace_back(text);
  if (part == kTimeout)
    request_.timeout_minutes = static_cast<uint32_t>(std::min<uint64_t>(30, parse_decimal(text).value_or(0)));
  return {};
}

std::string_view operation_in(std::string_view body) {
  size_t at = body.find(":Body");
  if (at == body.npos) return {};
  at = body.find('<', body.find('>', at));
  if (at == body.npos) return {};
  std::string_view name = body.substr(at + 1);
  name = name.substr(0, name.find_first_of(" \t\r\n/>"));
  size_t colon = name.find(':');
  return colon == name.npos ? name : name.substr(colon + 1);
}

std::string client_answer(std::string_view operation, const proto::ServerVersion& server, std::string_view content) {
  std::string out;
  out.reserve(content.size() + 1024);
  begin_answer(operation, server, "Success", out);
  proto::XmlWriter(out).element("m:ResponseCode", "NoError").raw(content);
  end_answer(operation, out);
  return out;
}

std::string client_error(std::string_view operation, const proto::ServerVersion& server, std::string_view code,
                         std::string_view text) {
  std::string out;
  begin_answer(operation, server, "Error", out);
  proto::XmlWriter(out).element("m:MessageText", text).element("m:ResponseCode", code);
  end_answer(operation, out);
  return out;
}

std::string resolution_content(std::string_view entry, const Mailbox& mailbox) {
  std::string out;
  proto::XmlWriter xml(out);
  bool found = !entry.empty() && same_start(mailbox.address, entry);
  xml.raw(R"(<m:ResolutionSet TotalItemsInView=")").raw(found ? "1" : "0").raw(R"(" IncludesLastItemInRange="true">)");
  if (found) {
    xml.raw("<t:Resolution><t:Mailbox>").element("t:Name", mailbox.address.substr(0, mailbox.address.find('@')));
    xml.element("t:EmailAddress", mailbox.address).element("t:RoutingType", "SMTP").element("t:MailboxType", "Mailbox");
    xml.raw("</t:Mailbox></t:Resolution>");
  }
  xml.raw("</m:ResolutionSet>");
  return out;
}

std::string notification_content(Mailbox& mailbox, Readable& readable, size_t events_max, WallTime now) {
  std::string out;
  write_notification_of(mailbox, readable, std::min(readable.pending.size(), events_max), now, out);
  return out;
}

std::string streaming_document(Mailbox& mailbox, const std::vector<Readable*>& readables,
                               const proto::ServerVersion& server, bool closed, WallTime now) {
  std::string content;
  for (Readable* readable : readables) {
    if (!readable->pending.empty()) write_notification_of(mailbox, *readable, readable->pending.size(), now, content);
  }
  std::string out;
  // Clients look for "<Envelope" in the stream to find where a document begins.
  begin_answer("GetStreamingEvents", server, "Success", out, "");
  proto::XmlWriter xml(out);
  xml.element("m:ResponseCode", "NoError");
  if (!content.empty()) xml.raw("<m:Notifications>").raw(content).raw("</m:Notifications>");
  xml.element("m:ConnectionStatus", closed ? "Closed" : "OK");
  end_answer("GetStreamingEvents", out, "");
  return out;
}

std::string attachment_answer_content(std::string_view id, std::string_view content) {
  std::string out;
  out.reserve(content.size() / 3 * 4 + 512);
  proto::XmlWriter xml(out);
  xml.raw("<m:Attachments><t:FileAttachment>").empty_element("t:AttachmentId", "Id", id);
  xml.element("t:Name", "content.bin").element("t:ContentType", "application/octet-stream");
  xml.raw("<t:Content>").raw(to_base64(as_bytes(content))).raw("</t:Content></t:FileAttachment></m:Attachments>");
  return out;
}

Readable* find_readable(Mailbox& mailbox, std::string_view id) {
  auto at = std::ranges::find_if(mailbox.readables, [&](const auto& one) { return one->id == id; });
  return at == mailbox.readables.end() ? nullptr : at->get();
}

}  // namespace bellhop::standin
