// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proto/ews.h"
#include "proto/ews_notification.h"
#include "proto/ews_request.h"
#include "proto/ews_response.h"
#include "proto/ews_soap.h"
#include "proto/text_arena.h"

// The other side of the wire: what Exchange reads and writes. Used by the stand-in Exchange and by tests.
namespace bellhop::proto {

enum class EwsRequestKind : uint8_t { subscribe, get_item, find_item, get_folder, sync_folder_items, other };

// A request as received. Views into the reader.
struct EwsRequest {
  EwsRequestKind kind = EwsRequestKind::other;
  SoapVersion soap_version = SoapVersion::soap11;
  std::string_view element;         // local name of the element in Body
  std::string_view server_version;  // t:RequestServerVersion/@Version; empty = absent
  bool is_push = false;             // Subscribe: PushSubscriptionRequest. Its url and status frequency are then set
  bool is_streaming = false;        // Subscribe: StreamingSubscriptionRequest; neither: PullSubscriptionRequest
  std::string_view folder;          // DistinguishedFolderId/@Id ("inbox")
  std::string_view folder_id;       // FolderId/@Id; a folder is named by one of the two
  std::string_view mailbox;         // t:Mailbox/t:EmailAddress of the folder; empty = the caller's
  std::vector<EventKind> events;
  std::string_view watermark;
  uint32_t status_frequency_minutes = 0;
  std::string_view url;
  std::vector<std::string_view> item_ids;
  std::vector<ItemField> fields;  // unknown ones are left out
  bool whole_items = false;       // ItemShape/BaseShape is not IdOnly
  bool restricted = false;        // FindItem: by something else than received_since
  std::optional<WallTime> received_since;
  std::optional<uint32_t> entries_max;  // FindItem; SyncFolderItems: MaxChangesReturned
  uint32_t offset = 0;                  // FindItem
  std::string_view sync_state;
};

// Reads Subscribe, GetItem, FindItem, GetFolder, SyncFolderItems; any other message gives kind other with its element name.
// Reusable: feed()* finish(), reset().
class EwsRequestReader : public SoapReader {
 public:
  explicit EwsRequestReader(uint64_t hash_salt, uint32_t document_bytes_max = kXmlCallbackBytesMax);

  // The request, owned by the reader and valid until reset(). Errors of Domain::xml and Domain::ews.
  Result<const EwsRequest*> finish();
  void reset();

 private:
  Status part_started(EwsTag parent, EwsTag tag, const XmlAttributes& attributes) override;
  Status part_ended(EwsTag parent, EwsTag tag, std::string_view text) override;
  Status other_message(EwsSpace space, XmlName name) override;
  EwsTag resolve(EwsTag parent, EwsSpace space, XmlName name) override;
  Status page_started(const XmlAttributes& attributes);
  Status set_attribute(std::string_view& field, const XmlAttributes& attributes, std::string_view name);
  void set_kind(EwsRequestKind kind, std::string_view element);
  Status field_started(EwsTag parent, const XmlAttributes& attributes);
  Status check() const;

  TextArena texts_;
  EwsRequest request_;
  bool restricts_received_ = false;  // the restriction being read is on item:DateTimeReceived
};

// Writers. Each replaces `out`. Text that XML cannot express is replaced (append_xml_escaped), so that the result is
// always well-formed; the rest is the caller's: a notification without events is written as such.

// m:SendNotification. `server_version` is the header's RequestServerVersion.
void write_send_notification(const NotificationMessage& message, ExchangeVersion server_version, std::string& out);
// m:SubscribeResponse, m:GetItemResponse, m:FindItemResponse, m:GetFolderResponse, m:SyncFolderItemsResponse or a SOAP
// fault, by answer.kind (which is not other), with a t:ServerVersionInfo where answer.server is known.
// A response code `other` is written with code_text.
void write_answer(const EwsAnswer& answer, std::string& out);

}  // namespace bellhop::proto
