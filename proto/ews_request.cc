// SPDX-License-Identifier: Apache-2.0
#include "proto/ews_request.h"

#include <algorithm>

#include "core/base/bytes.h"
#include "core/base/check.h"
#include "proto/xml_writer.h"

namespace bellhop::proto {
namespace {

constexpr std::string_view kEnvelopeStart =
    R"(<?xml version="1.0" encoding="utf-8"?>)"
    R"(<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/")"
    R"( xmlns:m="http://schemas.microsoft.com/exchange/services/2006/messages")"
    R"( xmlns:t="http://schemas.microsoft.com/exchange/services/2006/types"><s:Header>)";
constexpr std::string_view kHeaderEnd = "</s:Header><s:Body>";
constexpr std::string_view kEnvelopeEnd = "</s:Body></s:Envelope>";
// More than all our own markup in a request, lists not counted.
constexpr size_t kMarkupBytes = 2048;
constexpr size_t kListEntryBytes = 64;

Status check_text(std::string_view text, size_t bytes_max) {
  if (text.size() > bytes_max) return fail(ews_error(EwsError::bad_value));
  if (!xml_can_express(text)) return fail(ews_error(EwsError::forbidden_text));
  return {};
}

// Empties `out` and makes room once: growing would leave copies of the text in freed memory.
void prepare(std::string& out, size_t bytes) {
  wipe(out);
  out.reserve(bytes);
}

void begin(XmlWriter& xml, ExchangeVersion version) {
  xml.raw(kEnvelopeStart)
      .empty_element("t:RequestServerVersion", "Version", exchange_version_text(version))
      .raw(kHeaderEnd);
}

void write_inbox(XmlWriter& xml, std::string_view mailbox) {
  if (mailbox.empty()) {
    xml.raw(R"(<t:DistinguishedFolderId Id="inbox"/>)");
    return;
  }
  xml.raw(R"(<t:DistinguishedFolderId Id="inbox"><t:Mailbox>)").element("t:EmailAddress", mailbox);
  xml.raw("</t:Mailbox></t:DistinguishedFolderId>");
}

void write_shape(XmlWriter& xml, std::span<const ItemField> fields) {
  xml.raw("<m:ItemShape><t:BaseShape>IdOnly</t:BaseShape>");
  if (!fields.empty()) {
    xml.raw("<t:AdditionalProperties>");
    for (ItemField field : fields) xml.empty_element("t:FieldURI", "FieldURI", item_field_text(field));
    xml.raw("</t:AdditionalProperties>");
  }
  xml.raw("</m:ItemShape>");
}

// item:Preview came with Exchange 2013; an older version in the header makes Exchange refuse the field.
ExchangeVersion version_for(ExchangeVersion version, std::span<const ItemField> fields) {
  if (std::ranges::find(fields, ItemField::preview) == fields.end()) return version;
  return std::max(version, ExchangeVersion::exchange2013);
}

}  // namespace

Status write_subscribe(const SubscribeRequest& request, std::string& out) {
  wipe(out);
  if (request.url.empty() || request.events.empty()) return fail(ews_error(EwsError::missing_part));
  BH_CHECKED(check_text(request.url, kCallbackUrlBytesMax));
  BH_CHECKED(check_text(request.mailbox, kMailboxBytesMax));
  BH_CHECKED(check_text(request.watermark, kEwsIdBytesMax));
  bool frequency_fits =
      request.status_frequency_minutes >= 1 && request.status_frequency_minutes <= kStatusFrequencyMinutesMax;
  bool events_fit = std::ranges::find(request.events, EventKind::status) == request.events.end();
  if (!frequency_fits || !events_fit) return fail(ews_error(EwsError::bad_value));

  size_t bytes = kMarkupBytes + request.events.size() * kListEntryBytes +
                 xml_escaped_bytes_max(request.url.size() + request.mailbox.size() + request.watermark.size());
  prepare(out, bytes);
  XmlWriter xml(out);
  begin(xml, request.version);
  xml.raw("<m:Subscribe><m:PushSubscriptionRequest><t:FolderIds>");
  write_inbox(xml, request.mailbox);
  xml.raw("</t:FolderIds><t:EventTypes>");
  for (EventKind kind : request.events) xml.element("t:EventType", event_kind_text(kind));
  xml.raw("</t:EventTypes>").optional_element("t:Watermark", request.watermark);
  xml.element("t:StatusFrequency", std::to_string(request.status_frequency_minutes)).element("t:URL", request.url);
  xml.raw("</m:PushSubscriptionRequest></m:Subscribe>").raw(kEnvelopeEnd);
  BH_CHECK(out.size() <= bytes);
  return {};
}

Status write_get_item(const GetItemRequest& request, std::string& out) {
  wipe(out);
  if (request.item_ids.empty()) return fail(ews_error(EwsError::missing_part));
  if (request.item_ids.size() > kGetItemIdsMax) return fail(ews_error(EwsError::too_many));
  size_t id_bytes = 0;
  for (std::string_view id : request.item_ids) {
    if (id.empty()) return fail(ews_error(EwsError::missing_part));
    BH_CHECKED(check_text(id, kEwsIdBytesMax));
    id_bytes += kListEntryBytes + xml_escaped_bytes_max(id.size());
  }
  prepare(out, kMarkupBytes + id_bytes + request.fields.size() * kListEntryBytes);
  XmlWriter xml(out);
  begin(xml, version_for(request.version, request.fields));
  xml.raw("<m:GetItem>");
  write_shape(xml, request.fields);
  xml.raw("<m:ItemIds>");
  for (std::string_view id : request.item_ids) xml.empty_element("t:ItemId", "Id", id);
  xml.raw("</m:ItemIds></m:GetItem>").raw(kEnvelopeEnd);
  return {};
}

Status write_find_item(const FindItemRequest& request, std::string& out) {
  wipe(out);
  BH_CHECKED(check_text(request.mailbox, kMailboxBytesMax));
  if (request.entries_max < 1 || request.entries_max > kFindItemEntriesMax) return fail(ews_error(EwsError::bad_value));
  prepare(out,
          kMarkupBytes + xml_escaped_bytes_max(request.mailbox.size()) + (request.fields.size() + 1) * kListEntryBytes);
  XmlWriter xml(out);
  begin(xml, version_for(request.version, request.fields));
  xml.raw(R"(<m:FindItem Traversal="Shallow"><m:ItemShape><t:BaseShape>IdOnly</t:BaseShape><t:AdditionalProperties>)");
  xml.raw(R"(<t:FieldURI FieldURI="item:DateTimeReceived"/>)");
  for (ItemField field : request.fields) {
    if (field != ItemField::date_time_received) xml.empty_element("t:FieldURI", "FieldURI", item_field_text(field));
  }
  xml.raw(R"(</t:AdditionalProperties></m:ItemShape><m:IndexedPageItemView MaxEntriesReturned=")");
  xml.raw(std::to_string(request.entries_max)).raw(R"(" Offset="0" BasePoint="Beginning"/>)");
  if (request.received_since) {
    xml.raw(R"(<m:Restriction><t:IsGreaterThanOrEqualTo><t:FieldURI FieldURI="item:DateTimeReceived"/>)");
    xml.raw("<t:FieldURIOrConstant>");
    xml.empty_element("t:Constant", "Value", format_ews_time(*request.received_since));
    xml.raw("</t:FieldURIOrConstant></t:IsGreaterThanOrEqualTo></m:Restriction>");
  }
  xml.raw(R"(<m:SortOrder><t:FieldOrder Order="Descending"><t:FieldURI FieldURI="item:DateTimeReceived"/>)");
  xml.raw("</t:FieldOrder></m:SortOrder><m:ParentFolderIds>");
  write_inbox(xml, request.mailbox);
  xml.raw("</m:ParentFolderIds></m:FindItem>").raw(kEnvelopeEnd);
  return {};
}

Status write_get_folder(const GetFolderRequest& request, std::string& out) {
  wipe(out);
  BH_CHECKED(check_text(request.mailbox, kMailboxBytesMax));
  prepare(out, kMarkupBytes + xml_escaped_bytes_max(request.mailbox.size()));
  XmlWriter xml(out);
  begin(xml, request.version);
  xml.raw("<m:GetFolder><m:FolderShape><t:BaseShape>IdOnly</t:BaseShape><t:AdditionalProperties>");
  xml.raw(R"(<t:FieldURI FieldURI="folder:TotalCount"/><t:FieldURI FieldURI="folder:UnreadCount"/>)");
  xml.raw("</t:AdditionalProperties></m:FolderShape><m:FolderIds>");
  write_inbox(xml, request.mailbox);
  xml.raw("</m:FolderIds></m:GetFolder>").raw(kEnvelopeEnd);
  return {};
}

Status write_sync_folder_items(const SyncFolderItemsRequest& request, std::string& out) {
  wipe(out);
  BH_CHECKED(check_text(request.mailbox, kMailboxBytesMax));
  BH_CHECKED(check_text(request.sync_state, kSyncStateBytesMax));
  if (request.changes_max < 1 || request.changes_max > kSyncChangesMax) return fail(ews_error(EwsError::bad_value));
  prepare(out, kMarkupBytes + xml_escaped_bytes_max(request.mailbox.size() + request.sync_state.size()) +
                   request.fields.size() * kListEntryBytes);
  XmlWriter xml(out);
  begin(xml, version_for(request.version, request.fields));
  xml.raw("<m:SyncFolderItems>");
  write_shape(xml, request.fields);
  xml.raw("<m:SyncFolderId>");
  write_inbox(xml, request.mailbox);
  xml.raw("</m:SyncFolderId>").optional_element("m:SyncState", request.sync_state);
  xml.element("m:MaxChangesReturned", std::to_string(request.changes_max));
  xml.raw("</m:SyncFolderItems>").raw(kEnvelopeEnd);
  return {};
}

}  // namespace bellhop::proto
