// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proto/ews.h"
#include "proto/xml_path.h"
#include "tools/standin/exchange_model.h"

// What mail clients ask of EWS besides what bellhop asks, for tests with real ones: ResolveNames, pull and streaming
// subscriptions with GetEvents and GetStreamingEvents, Unsubscribe, CreateItem, CreateAttachment and GetAttachment. No
// I/O, no clock.
namespace bellhop::standin {

enum class ClientOperation : uint8_t {
  other,
  resolve_names,
  get_events,
  get_streaming_events,
  unsubscribe,
  create_item,
  create_attachment,
  get_attachment,
};

struct ClientRequest {
  ClientOperation operation = ClientOperation::other;
  std::string entry;                       // ResolveNames
  std::vector<std::string> subscriptions;  // their ids
  std::string watermark;                   // GetEvents
  uint32_t timeout_minutes = 0;            // GetStreamingEvents
  std::vector<std::string> attachments;    // GetAttachment: their ids
};

// Reads one document; anything that it does not know is `other`.
class ClientRequestReader final : private proto::XmlPathReader {
 public:
  explicit ClientRequestReader(uint64_t hash_salt);
  std::optional<ClientRequest> read(std::string_view document);

 private:
  Status part_started(uint8_t part, const proto::XmlAttributes& attributes) override;
  Status part_ended(uint8_t part, std::string_view text) override;
  ClientRequest request_;
};

// The operation of a body that is too long to be read whole, by its first bytes: the local name of the element in Body.
std::string_view operation_in(std::string_view body);

// An answer around `content`, which is what the operation adds to a successful message.
std::string client_answer(std::string_view operation, const proto::ServerVersion& server, std::string_view content);
std::string client_error(std::string_view operation, const proto::ServerVersion& server, std::string_view code,
                         std::string_view text);

// m:ResolutionSet with the mailbox, where the entry is its address or the first letters of it.
std::string resolution_content(std::string_view entry, const Mailbox& mailbox);
// m:Notification with up to `events_max` events, at least a status event; they count as read.
std::string notification_content(Mailbox& mailbox, Readable& readable, size_t events_max, WallTime now);
// One of GetStreamingEvents' documents: m:Notifications where events are pending, and m:ConnectionStatus.
std::string streaming_document(Mailbox& mailbox, const std::vector<Readable*>& readables,
                               const proto::ServerVersion& server, bool closed, WallTime now);
std::string attachment_answer_content(std::string_view id, std::string_view content);

// The subscription of that id; null where there is none.
Readable* find_readable(Mailbox& mailbox, std::string_view id);

}  // namespace bellhop::standin
