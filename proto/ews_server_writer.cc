// SPDX-License-Identifier: Apache-2.0
#include <array>

#include "core/base/bytes.h"
#include "core/base/check.h"
#include "proto/ews_server.h"
#include "proto/xml_writer.h"

namespace bellhop::proto {
namespace {

constexpr std::string_view kBodyEnd = "</s:Body></s:Envelope>";

void begin(XmlWriter& xml, SoapVersion soap_version) {
  xml.raw(R"(<?xml version="1.0" encoding="utf-8"?><s:Envelope xmlns:s=")");
  xml.raw(soap_version == SoapVersion::soap11 ? kSoap11Space : kSoap12Space);
  xml.raw(R"(" xmlns:m=")").raw(kEwsMessagesSpace).raw(R"(" xmlns:t=")").raw(kEwsTypesSpace).raw(R"(">)");
}

void write_id(XmlWriter& xml, std::string_view name, std::string_view id) {
  if (!id.empty()) xml.empty_element(name, "Id", id);
}

std::string_view boolean_text(bool value) {
  return value ? "true" : "false";
}

// Elements in the order of t:BaseObjectChangedEventType, t:ModifiedEventType and t:MovedCopiedEventType.
void write_event(XmlWriter& xml, const NotificationEvent& event) {
  std::string name = "t:" + std::string(event_kind_text(event.kind));
  xml.raw("<").raw(name).raw(">").optional_element("t:Watermark", event.watermark);
  if (event.timestamp) xml.element("t:TimeStamp", format_ews_time(*event.timestamp));
  write_id(xml, "t:FolderId", event.folder_id);
  write_id(xml, "t:ItemId", event.item_id);
  write_id(xml, "t:ParentFolderId", event.parent_folder_id);
  if (event.unread_count) xml.element("t:UnreadCount", std::to_string(*event.unread_count));
  write_id(xml, "t:OldFolderId", event.old_folder_id);
  write_id(xml, "t:OldItemId", event.old_item_id);
  write_id(xml, "t:OldParentFolderId", event.old_parent_folder_id);
  xml.raw("</").raw(name).raw(">");
}

void write_notification(XmlWriter& xml, const Notification& notification) {
  std::string_view code = response_code_text(notification.response_code);
  xml.raw(R"(<m:SendNotificationResponseMessage ResponseClass=")")
      .raw(response_class_text(notification.response_class))
      .raw(R"(">)");
  xml.element("m:ResponseCode", code.empty() ? notification.response_code_text : code);
  xml.raw("<m:Notification>").optional_element("t:SubscriptionId", notification.subscription_id);
  xml.optional_element("t:PreviousWatermark", notification.previous_watermark);
  xml.element("t:MoreEvents", boolean_text(notification.more_events));
  for (const NotificationEvent& event : notification.events) write_event(xml, event);
  xml.raw("</m:Notification></m:SendNotificationResponseMessage>");
}

void write_mailbox(XmlWriter& xml, std::string_view name, const EwsMailbox& mailbox) {
  if (mailbox.empty()) return;
  xml.raw("<").raw(name).raw("><t:Mailbox>");
  xml.optional_element("t:Name", mailbox.name).optional_element("t:EmailAddress", mailbox.address);
  xml.raw("</t:Mailbox></").raw(name).raw(">");
}

// Elements in the order of t:ItemType and t:MessageType.
void write_item(XmlWriter& xml, const EwsItem& item) {
  constexpr std::array<std::string_view, 3> kImportance = {"Low", "Normal", "High"};
  constexpr std::array<std::string_view, 4> kSensitivity = {"Normal", "Personal", "Private", "Confidential"};
  xml.raw("<t:").raw(item.element).raw(">");
  write_id(xml, "t:ItemId", item.id);
  xml.optional_element("t:ItemClass", item.item_class).optional_element("t:Subject", item.subject);
  if (item.sensitivity) xml.element("t:Sensitivity", kSensitivity[size_t(*item.sensitivity)]);
  if (item.received) xml.element("t:DateTimeReceived", format_ews_time(*item.received));
  if (item.importance) xml.element("t:Importance", kImportance[size_t(*item.importance)]);
  if (item.has_attachments) xml.element("t:HasAttachments", boolean_text(*item.has_attachments));
  write_id(xml, "t:ConversationId", item.conversation_id);
  xml.optional_element("t:Preview", item.preview);
  write_mailbox(xml, "t:Sender", item.sender);
  write_mailbox(xml, "t:From", item.from);
  xml.optional_element("t:InternetMessageId", item.internet_message_id);
  if (item.is_read) xml.element("t:IsRead", boolean_text(*item.is_read));
  xml.raw("</t:").raw(item.element).raw(">");
}

void write_back_off(XmlWriter& xml, std::string_view element, uint32_t back_off_ms) {
  xml.raw("<").raw(element).raw(R"(><t:Value Name="BackOffMilliseconds">)").raw(std::to_string(back_off_ms));
  xml.raw("</t:Value></").raw(element).raw(">");
}

void write_items(XmlWriter& xml, std::string_view name, std::span<const EwsItem> items) {
  xml.raw("<").raw(name).raw(">");
  for (const EwsItem& item : items) write_item(xml, item);
  xml.raw("</").raw(name).raw(">");
}

// Elements in the order of t:BaseFolderType and t:FolderType.
void write_folders(XmlWriter& xml, std::span<const EwsFolder> folders) {
  xml.raw("<m:Folders>");
  for (const EwsFolder& folder : folders) {
    xml.raw("<t:").raw(folder.element).raw(">");
    write_id(xml, "t:FolderId", folder.id);
    xml.optional_element("t:DisplayName", folder.display_name);
    if (folder.total) xml.element("t:TotalCount", std::to_string(*folder.total));
    if (folder.unread) xml.element("t:UnreadCount", std::to_string(*folder.unread));
    xml.raw("</t:").raw(folder.element).raw(">");
  }
  xml.raw("</m:Folders>");
}

void write_change(XmlWriter& xml, const EwsItem& item) {
  switch (item.change) {
    case EwsChange::none:
    case EwsChange::created:
      xml.raw("<t:Create>");
      write_item(xml, item);
      xml.raw("</t:Create>");
      return;
    case EwsChange::updated:
      xml.raw("<t:Update>");
      write_item(xml, item);
      xml.raw("</t:Update>");
      return;
    case EwsChange::deleted:
      xml.raw("<t:Delete>");
      write_id(xml, "t:ItemId", item.id);
      xml.raw("</t:Delete>");
      return;
    case EwsChange::read_flag:
      xml.raw("<t:ReadFlagChange>");
      write_id(xml, "t:ItemId", item.id);
      xml.element("t:IsRead", boolean_text(item.is_read.value_or(false))).raw("</t:ReadFlagChange>");
      return;
  }
}

void write_sync(XmlWriter& xml, const EwsResponseMessage& message) {
  xml.optional_element("m:SyncState", message.sync_state);
  if (message.includes_last) xml.element("m:IncludesLastItemInRange", boolean_text(*message.includes_last));
  xml.raw("<m:Changes>");
  for (const EwsItem& item : message.items) write_change(xml, item);
  xml.raw("</m:Changes>");
}

void write_message(XmlWriter& xml, EwsAnswerKind kind, std::string_view name, const EwsResponseMessage& message) {
  std::string_view code = response_code_text(message.code);
  xml.raw("<").raw(name).raw(R"( ResponseClass=")").raw(response_class_text(message.response_class)).raw(R"(">)");
  xml.optional_element("m:MessageText", message.message_text)
      .element("m:ResponseCode", code.empty() ? message.code_text : code);
  if (message.back_off_ms) write_back_off(xml, "m:MessageXml", *message.back_off_ms);
  switch (kind) {
    case EwsAnswerKind::subscribe:
      xml.optional_element("m:SubscriptionId", message.subscription_id)
          .optional_element("m:Watermark", message.watermark);
      break;
    case EwsAnswerKind::get_item:
      write_items(xml, "m:Items", message.items);
      break;
    case EwsAnswerKind::get_folder:
      write_folders(xml, message.folders);
      break;
    case EwsAnswerKind::sync_folder_items:
      write_sync(xml, message);
      break;
    default:
      if (message.response_class == ResponseClass::error) break;
      xml.raw("<m:RootFolder");
      if (message.next_offset) xml.raw(R"( IndexedPagingOffset=")").raw(std::to_string(*message.next_offset)).raw("\"");
      if (message.total_items) xml.raw(R"( TotalItemsInView=")").raw(std::to_string(*message.total_items)).raw("\"");
      if (message.includes_last)
        xml.raw(R"( IncludesLastItemInRange=")").raw(boolean_text(*message.includes_last)).raw("\"");
      xml.raw(">");
      write_items(xml, "t:Items", message.items);
      xml.raw("</m:RootFolder>");
  }
  xml.raw("</").raw(name).raw(">");
}

void write_fault_detail(XmlWriter& xml, const EwsFault& fault) {
  std::string_view code = response_code_text(fault.code);
  if (code.empty()) code = fault.code_text;
  if (!code.empty()) {
    xml.raw(R"(<e:ResponseCode xmlns:e=")").raw(kEwsErrorsSpace).raw(R"(">)").text(code).raw("</e:ResponseCode>");
    xml.raw(R"(<e:Message xmlns:e=")").raw(kEwsErrorsSpace).raw(R"(">)").text(fault.fault_text).raw("</e:Message>");
  }
  if (fault.back_off_ms) write_back_off(xml, "t:MessageXml", *fault.back_off_ms);
}

// SOAP 1.1 section 4.4, SOAP 1.2 part 1 section 5.4; the fault code of EWS is a name of the types namespace.
void write_fault(XmlWriter& xml, SoapVersion soap_version, const EwsFault& fault) {
  if (soap_version == SoapVersion::soap11) {
    xml.raw("<s:Fault><faultcode>t:").text(fault.fault_code).raw(R"(</faultcode><faultstring xml:lang="en-US">)");
    xml.text(fault.fault_text).raw("</faultstring><detail>");
    write_fault_detail(xml, fault);
    xml.raw("</detail></s:Fault>");
    return;
  }
  xml.raw("<s:Fault><s:Code><s:Value>s:Receiver</s:Value><s:Subcode><s:Value>t:").text(fault.fault_code);
  xml.raw(R"(</s:Value></s:Subcode></s:Code><s:Reason><s:Text xml:lang="en-US">)").text(fault.fault_text);
  xml.raw("</s:Text></s:Reason><s:Detail>");
  write_fault_detail(xml, fault);
  xml.raw("</s:Detail></s:Fault>");
}

void write_header(XmlWriter& xml, const EwsAnswer& answer) {
  if (!answer.server.known()) return;
  auto attribute = [&](std::string_view name, uint16_t value) {
    xml.raw(" ").raw(name).raw("=\"").raw(std::to_string(value)).raw("\"");
  };
  xml.raw("<s:Header><t:ServerVersionInfo");
  attribute("MajorVersion", answer.server.major);
  attribute("MinorVersion", answer.server.minor);
  attribute("MajorBuildNumber", answer.server.build);
  attribute("MinorBuildNumber", answer.server.revision);
  if (!answer.server_schema.empty()) xml.raw(" Version=\"").text(answer.server_schema).raw("\"");
  xml.raw("/></s:Header>");
}

std::string_view answer_element(EwsAnswerKind kind) {
  switch (kind) {
    case EwsAnswerKind::subscribe:
      return "m:SubscribeResponse";
    case EwsAnswerKind::get_item:
      return "m:GetItemResponse";
    case EwsAnswerKind::find_item:
      return "m:FindItemResponse";
    case EwsAnswerKind::get_folder:
      return "m:GetFolderResponse";
    case EwsAnswerKind::sync_folder_items:
      return "m:SyncFolderItemsResponse";
    case EwsAnswerKind::fault:
    case EwsAnswerKind::other:
      break;
  }
  BH_CHECK(false);
}

}  // namespace

void write_send_notification(const NotificationMessage& message, ExchangeVersion server_version, std::string& out) {
  out.clear();
  XmlWriter xml(out);
  begin(xml, message.soap_version);
  xml.raw("<s:Header>").empty_element("t:RequestServerVersion", "Version", exchange_version_text(server_version));
  xml.raw("</s:Header><s:Body><m:SendNotification><m:ResponseMessages>");
  for (const Notification& notification : message.notifications) write_notification(xml, notification);
  xml.raw("</m:ResponseMessages></m:SendNotification>").raw(kBodyEnd);
}

void write_answer(const EwsAnswer& answer, std::string& out) {
  BH_CHECK(answer.kind != EwsAnswerKind::other);
  out.clear();
  XmlWriter xml(out);
  begin(xml, answer.soap_version);
  write_header(xml, answer);
  xml.raw("<s:Body>");
  if (answer.kind == EwsAnswerKind::fault) {
    write_fault(xml, answer.soap_version, answer.fault);
  } else {
    std::string name(answer_element(answer.kind));
    xml.raw("<").raw(name).raw("><m:ResponseMessages>");
    for (const EwsResponseMessage& message : answer.messages)
      write_message(xml, answer.kind, name + "Message", message);
    xml.raw("</m:ResponseMessages></").raw(name).raw(">");
  }
  xml.raw(kBodyEnd);
}

}  // namespace bellhop::proto
