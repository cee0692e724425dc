// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "proto/ews.h"
#include "proto/ews_soap.h"
#include "proto/text_arena.h"

namespace bellhop::proto {

// Bounds of one answer.
inline constexpr uint32_t kEwsMessagesMax = 1000;
inline constexpr uint32_t kEwsItemsMax = 1000;
inline constexpr uint32_t kEwsFoldersMax = 100;

// t:Mailbox. FindItem gives the name only; an Exchange-internal sender may have an address that is not SMTP.
struct EwsMailbox {
  std::string_view name;
  std::string_view address;

  bool empty() const { return name.empty() && address.empty(); }
};

enum class Importance : uint8_t { low, normal, high };
enum class Sensitivity : uint8_t { normal, personal, private_, confidential };

// What t:SyncFolderItemsChangesType says of an item.
enum class EwsChange : uint8_t { none, created, updated, deleted, read_flag };

// An item of any class. Views; empty or nothing = absent in the answer.
struct EwsItem {
  EwsChange change = EwsChange::none;  // SyncFolderItems only. Of a deleted item there is the id, of a read_flag is_read too
  std::string_view element;  // "Message", "MeetingRequest", ...
  std::string_view id;
  std::string_view subject;
  EwsMailbox from;
  EwsMailbox sender;
  std::optional<WallTime> received;
  std::string_view item_class;  // "IPM.Note"
  std::optional<Importance> importance;
  std::optional<Sensitivity> sensitivity;
  std::string_view conversation_id;
  std::optional<bool> is_read;
  std::string_view preview;
  std::optional<bool> has_attachments;
  std::string_view internet_message_id;
};

// A folder of any class.
struct EwsFolder {
  std::string_view element;  // "Folder", "CalendarFolder", ...
  std::string_view id;
  std::string_view display_name;
  std::optional<int32_t> total;
  std::optional<int32_t> unread;
};

// One m:...ResponseMessage; each is judged alone.
struct EwsResponseMessage {
  ResponseClass response_class = ResponseClass::success;
  EwsResponseCode code = EwsResponseCode::no_error;
  std::string_view code_text;     // as sent
  std::string_view message_text;  // for logs of the operator's own server; may quote the request
  std::optional<uint32_t> back_off_ms;
  std::string_view subscription_id;  // Subscribe
  std::string_view watermark;
  // GetItem: one where it succeeded; FindItem and SyncFolderItems: any number.
  std::span<const EwsItem> items;
  std::span<const EwsFolder> folders;  // GetFolder: one where it succeeded
  std::string_view sync_state;         // SyncFolderItems: where the next one goes on
  std::optional<int32_t> total_items;  // FindItem: TotalItemsInView
  std::optional<bool> includes_last;   // FindItem, SyncFolderItems: IncludesLastItemInRange
  std::optional<uint32_t> next_offset;  // FindItem: IndexedPagingOffset; written, not read
};

// A SOAP fault; every part may be absent.
struct EwsFault {
  std::string_view fault_code;  // without prefix: "ErrorServerBusy", "Client"; SOAP 1.2: the innermost Subcode
  std::string_view fault_text;
  EwsResponseCode code = EwsResponseCode::none;  // e:ResponseCode, or else what fault_code says
  std::string_view code_text;
  std::optional<uint32_t> back_off_ms;  // t:MessageXml/t:Value[@Name="BackOffMilliseconds"]
};

enum class EwsAnswerKind : uint8_t {
  subscribe,  // m:SubscribeResponse
  get_item,   // m:GetItemResponse
  find_item,  // m:FindItemResponse
  get_folder,         // m:GetFolderResponse
  sync_folder_items,  // m:SyncFolderItemsResponse
  fault,
  other,  // any other m:...Response (class and code of its messages are read), or another element
};

struct EwsAnswer {
  EwsAnswerKind kind = EwsAnswerKind::other;
  SoapVersion soap_version = SoapVersion::soap11;
  std::string_view element;                      // local name of the element in Body
  ServerVersion server;                          // of the header; many faults have none
  std::string_view server_schema;                // ServerVersionInfo/@Version: "V2017_07_11"
  std::span<const EwsResponseMessage> messages;  // at least one where kind is neither fault nor other
  EwsFault fault;                                // where kind is fault
};

// Reads any EWS answer. Guarantees of a successful message: subscribe has a subscription_id, get_item has an item,
// every item has an id, find_item has a RootFolder, get_folder has a folder with an id, sync_folder_items
// has a sync_state. Reusable: feed()* finish(), reset(). Belongs to one core.
class EwsAnswerReader final : public SoapReader {
 public:
  // `hash_salt`: see XmlReader.
  explicit EwsAnswerReader(uint64_t hash_salt, uint32_t document_bytes_max = kXmlEwsAnswerBytesMax);

  // The whole answer, owned by the reader and valid until reset(). Errors of Domain::xml and Domain::ews.
  Result<const EwsAnswer*> finish();
  // Forgets the answer and wipes its texts.
  void reset();

 private:
  Status part_started(EwsTag parent, EwsTag tag, const XmlAttributes& attributes) override;
  Status part_ended(EwsTag parent, EwsTag tag, std::string_view text) override;
  EwsTag resolve(EwsTag parent, EwsSpace space, XmlName name) override;
  Status other_message(EwsSpace space, XmlName name) override;
  Status message_started(const XmlAttributes& attributes);
  Status message_part_ended(EwsTag tag, std::string_view text);
  Status message_ended();
  Status item_part_ended(EwsTag tag, std::string_view text);
  Status mailbox_part_ended(EwsTag tag, std::string_view text);
  Status fault_part_ended(EwsTag tag, std::string_view text);
  Status set_root_folder(const XmlAttributes& attributes);
  Status item_started();
  Status change_started(EwsTag tag);
  void set_server(const XmlAttributes& attributes);
  Status folder_part_ended(EwsTag tag, std::string_view text);
  Status set_id(std::string_view& field, const XmlAttributes& attributes);
  void set_back_off(std::optional<uint32_t>& field, std::string_view text);

  struct Range {
    uint32_t first, size;
  };
  TextArena texts_;
  std::vector<EwsResponseMessage> messages_;
  std::vector<Range> ranges_, folder_ranges_;
  std::vector<EwsItem> items_;
  std::vector<EwsFolder> folders_;
  EwsAnswer answer_;
  EwsMailbox mailbox_;  // of the From or Sender being read
  EwsChange change_ = EwsChange::none;  // of the Create or Update being read
  bool has_root_folder_ = false;
  bool value_is_back_off_ = false;
};

}  // namespace bellhop::proto
