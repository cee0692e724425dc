// SPDX-License-Identifier: Apache-2.0
#include "tools/standin/exchange_model.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "core/base/bytes.h"
#include "proto/url.h"
#include "tools/standin/activesync.h"

namespace bellhop::standin {
namespace {

using proto::EventKind;
using proto::EwsAnswerKind;
using proto::EwsItem;
using proto::EwsResponseCode;
using proto::EwsResponseMessage;
using proto::ItemField;
using proto::ResponseClass;

// The first bytes make the texts begin as Exchange's do: "AAMk" and "AQAA".
constexpr std::array<uint8_t, 3> kIdHead = {0x00, 0x03, 0x24};
constexpr std::array<uint8_t, 3> kWatermarkHead = {0x01, 0x00, 0x00};
constexpr size_t kIdBytes = 48;
constexpr size_t kWatermarkBytes = 40;
constexpr uint8_t kItem = 0x46;
constexpr uint8_t kFolder = 0x01;
constexpr uint64_t kInboxNumber = 0x0c;
constexpr uint64_t kRootNumber = 0x08;
constexpr size_t kFindItemTextMax = 255;
constexpr size_t kCallbackUrlBytesMax = 2082;

// The rest of an id is filler that depends on mark and kind, so that no two ids share it.
template <size_t kSize>
std::array<uint8_t, kSize> mark_bytes(const std::array<uint8_t, 3>& head, uint8_t kind, MailboxMark mark) {
  std::array<uint8_t, kSize> bytes{};
  std::copy(head.begin(), head.end(), bytes.begin());
  bytes[3] = kind;
  store_be64(&bytes[4], mark.tag);
  store_be64(&bytes[12], mark.number);
  uint64_t filler = (mark.tag ^ mark.number ^ kind) * 0x9e3779b97f4a7c15u;
  for (size_t i = 20; i < kSize; ++i) {
    filler = filler * 6364136223846793005u + 1442695040888963407u;
    bytes[i] = static_cast<uint8_t>(filler >> 56);
  }
  return bytes;
}

template <size_t kSize>
std::optional<MailboxMark> parse_mark(std::string_view text, const std::array<uint8_t, 3>& head, uint8_t kind) {
  auto bytes = from_base64(text);
  if (!bytes || bytes->size() != kSize) return std::nullopt;
  MailboxMark mark{load_be64(&(*bytes)[4]), load_be64(&(*bytes)[12])};
  auto expected = mark_bytes<kSize>(head, kind, mark);
  if (std::memcmp(expected.data(), bytes->data(), kSize) != 0) return std::nullopt;
  return mark;
}

void publish(Mailbox& mailbox, EventKind kind, uint64_t item, WallTime now) {
  PendingEvent event{kind, ++mailbox.number, item, mailbox.unread, now};
  for (auto& subscription : mailbox.subscriptions) {
    if (subscription->wants(kind)) subscription->pending.push_back(event);
  }
  for (auto& readable : mailbox.readables) {
    if ((readable->kinds >> static_cast<unsigned>(kind) & 1) == 0) continue;
    if (readable->pending.size() == kReadableEventsMax) readable->pending.pop_front();
    readable->pending.push_back(event);
  }
}

// The folders that there are: the Inbox, and those above it.
struct KnownFolder {
  std::string_view name, display_name;
  uint64_t number;
};
constexpr std::array kFolders = {KnownFolder{"root", "Root", kRootNumber - 1},
                                 KnownFolder{"msgfolderroot", "Top of Information Store", kRootNumber},
                                 KnownFolder{"inbox", "Inbox", kInboxNumber}};

// Nothing where the request names another one.
std::optional<uint64_t> asked_folder(const Mailbox& mailbox, const proto::EwsRequest& request) {
  for (const KnownFolder& folder : kFolders) {
    if (request.folder == folder.name) return folder.number;
    if (!request.folder_id.empty() && request.folder_id == folder_id_text(mailbox.mark(folder.number))) return folder.number;
  }
  return std::nullopt;
}

constexpr uint32_t kAllFields = (uint32_t{1} << proto::kItemFieldCount) - 1;

uint32_t mask_of(std::span<const ItemField> fields) {
  uint32_t mask = 0;
  for (ItemField field : fields) mask |= 1u << static_cast<unsigned>(field);
  return mask;
}

// The item as the answer shows it; `texts` keeps what the views point to and does not move.
EwsItem present(const Mailbox& mailbox, const StoredItem& item, uint32_t fields, bool names_only,
                std::vector<std::string>& texts) {
  auto asked = [&](ItemField field) { return (fields >> static_cast<unsigned>(field) & 1) != 0; };
  auto keep = [&](std::string text) -> std::string_view { return texts.emplace_back(std::move(text)); };
  auto cut = [&](std::string_view text) { return names_only ? utf8_prefix(text, kFindItemTextMax) : text; };
  EwsItem out;
  out.element = item.element;
  out.id = keep(item_id_text(mailbox.mark(item.number)));
  if (asked(ItemField::subject)) out.subject = cut(item.subject);
  proto::EwsMailbox sender{cut(item.sender_name), names_only ? std::string_view() : item.sender_address};
  if (asked(ItemField::from)) out.from = sender;
  if (asked(ItemField::sender)) out.sender = sender;
  if (asked(ItemField::date_time_received)) out.received = item.received;
  if (asked(ItemField::item_class)) out.item_class = item.item_class;
  if (asked(ItemField::importance)) out.importance = proto::Importance::normal;
  if (asked(ItemField::sensitivity)) out.sensitivity = item.sensitivity;
  if (asked(ItemField::conversation_id)) out.conversation_id = item.conversation;
  if (asked(ItemField::is_read)) out.is_read = item.read;
  if (asked(ItemField::preview)) out.preview = item.preview;
  if (asked(ItemField::has_attachments)) out.has_attachments = false;
  return out;
}

EwsAnswerKind answer_kind(const proto::EwsRequest& request) {
  switch (request.kind) {
    case proto::EwsRequestKind::subscribe:
      return EwsAnswerKind::subscribe;
    case proto::EwsRequestKind::get_item:
      return EwsAnswerKind::get_item;
    case proto::EwsRequestKind::find_item:
      return EwsAnswerKind::find_item;
    case proto::EwsRequestKind::get_folder:
      return EwsAnswerKind::get_folder;
    case proto::EwsRequestKind::sync_folder_items:
    case proto::EwsRequestKind::other:
      return EwsAnswerKind::fault;
  }
  return EwsAnswerKind::fault;
}

// True for classes of items that have a sender: t:MessageType and what is made of it, and posts.
bool has_sender(std::string_view element) {
  return element == "Message" || element == "PostItem" || element == "SharingMessage" || element.starts_with("Meeting");
}

EwsResponseMessage error_message(EwsResponseCode code, std::string_view text) {
  EwsResponseMessage message;
  message.response_class = ResponseClass::error;
  message.code = code;
  message.message_text = text;
  return message;
}

}  // namespace

proto::ServerVersion server_version(proto::ExchangeVersion version) {
  using enum proto::ExchangeVersion;
  switch (version) {
    case exchange2007:
    case exchange2007_sp1:
      return {8, 3, 485, 1};
    case exchange2010:
    case exchange2010_sp1:
    case exchange2010_sp2:
      return {14, 3, 513, 0};
    case exchange2013:
    case exchange2013_sp1:
      return {15, 0, 1497, 48};
    case exchange2016:
      return {15, 1, 2507, 39};
  }
  return {};
}

Mailbox::Mailbox() = default;
Mailbox::~Mailbox() = default;

bool asks_inbox(const Mailbox& mailbox, const proto::EwsRequest& request) { return asked_folder(mailbox, request) == kInboxNumber; }

std::string item_id_text(MailboxMark mark) { return to_base64(mark_bytes<kIdBytes>(kIdHead, kItem, mark)); }
std::string folder_id_text(MailboxMark mark) { return to_base64(mark_bytes<kIdBytes>(kIdHead, kFolder, mark)); }
std::string watermark_text(MailboxMark mark) { return to_base64(mark_bytes<kWatermarkBytes>(kWatermarkHead, 0, mark)); }
std::optional<MailboxMark> parse_item_id(std::string_view text) { return parse_mark<kIdBytes>(text, kIdHead, kItem); }
std::optional<MailboxMark> parse_watermark(std::string_view text) {
  return parse_mark<kWatermarkBytes>(text, kWatermarkHead, 0);
}

std::string account_name(std::string_view name) {
  if (size_t at = name.find('\\'); at != name.npos) name.remove_prefix(at + 1);
  name = name.substr(0, name.find('@'));
  return ascii_lower(name);
}

std::optional<CallbackUrl> parse_callback_url(std::string_view text) {
  if (text.empty() || text.size() > kCallbackUrlBytesMax) return std::nullopt;
  CallbackUrl url;
  if (text.starts_with("https://")) {
    text.remove_prefix(8);
  } else if (text.starts_with("http://")) {
    text.remove_prefix(7);
    url.tls = false;
    url.port = 80;
  } else {
    return std::nullopt;
  }
  std::string_view authority = text.substr(0, text.find_first_of("/?#"));
  url.target = text.substr(authority.size());
  if (!url.target.starts_with('/') || url.target.contains('#')) return std::nullopt;
  for (char c : text) {
    if (c <= ' ' || c > '~') return std::nullopt;
  }
  url.authority = authority;
  std::string_view host = authority;
  size_t colon = authority.rfind(':');
  if (colon != authority.npos && authority.find(']', colon) == authority.npos) {
    auto port = parse_decimal(authority.substr(colon + 1));
    if (!port || *port == 0 || *port > 65535) return std::nullopt;
    url.port = static_cast<uint16_t>(*port);
    host = authority.substr(0, colon);
  }
  std::optional<IpAddress> ip;
  auto parsed = proto::parse_host(host, ip);
  if (!parsed) return std::nullopt;
  url.host = *std::move(parsed);
  return url;
}

StoredItem* Mailbox::find(uint64_t item_number) {
  auto at = std::ranges::lower_bound(items, item_number, {}, &StoredItem::number);
  return at != items.end() && at->number == item_number ? &*at : nullptr;
}

void arrive(Mailbox& mailbox, Mail mail, WallTime now, uint32_t items_max) {
  uint64_t number = ++mailbox.number;
  if (mail.conversation.empty()) mail.conversation = folder_id_text(mailbox.mark(number));
  if (!mail.gone) {
    // A quarter at a time, so that moving the rest costs little per mail.
    if (mailbox.items.size() >= items_max + items_max / 4) {
      mailbox.items.erase(mailbox.items.begin(), mailbox.items.end() - items_max);
    }
    mailbox.items.push_back({number, now, std::move(mail.subject), std::move(mail.sender_name),
                             std::move(mail.sender_address), std::move(mail.conversation), std::move(mail.preview),
                             mail.sensitivity, false, std::move(mail.element), std::move(mail.item_class)});
  }
  ++mailbox.unread;
  ++mailbox.books.mails;
  publish(mailbox, EventKind::new_mail, number, now);
  publish(mailbox, EventKind::modified, number, now);
  publish(mailbox, EventKind::modified, 0, now);
}

void read_elsewhere(Mailbox& mailbox, uint32_t count, WallTime now) {
  for (auto item = mailbox.items.rbegin(); item != mailbox.items.rend() && count > 0; ++item) {
    if (item->read) continue;
    item->read = true;
    --count;
    --mailbox.unread;
    publish(mailbox, EventKind::modified, item->number, now);
    publish(mailbox, EventKind::modified, 0, now);
  }
}

void delete_newest(Mailbox& mailbox, uint32_t count) {
  size_t left = mailbox.items.size() - std::min<size_t>(count, mailbox.items.size());
  while (mailbox.items.size() > left) {
    if (!mailbox.items.back().read) --mailbox.unread;
    mailbox.items.pop_back();
  }
}

PendingEvent make_status(Mailbox& mailbox, WallTime now) {
  return {EventKind::status, ++mailbox.number, 0, 0, now};
}

void write_notification(const Subscription& subscription, proto::ExchangeVersion version, std::string& out) {
  const Mailbox& mailbox = *subscription.mailbox;
  std::vector<std::string> texts;
  texts.reserve(2 * subscription.sent);
  std::vector<proto::NotificationEvent> events;
  events.reserve(subscription.sent);
  std::string inbox = folder_id_text(mailbox.mark(kInboxNumber)), root = folder_id_text(mailbox.mark(kRootNumber));
  for (const PendingEvent& pending : std::span(subscription.pending).first(subscription.sent)) {
    proto::NotificationEvent event;
    event.kind = pending.kind;
    event.watermark = texts.emplace_back(watermark_text(mailbox.mark(pending.number)));
    if (pending.kind != EventKind::status) {
      event.timestamp = pending.at;
      if (pending.item != 0) {
        event.item_id = texts.emplace_back(item_id_text(mailbox.mark(pending.item)));
        event.parent_folder_id = inbox;
      } else {
        event.folder_id = inbox;
        event.parent_folder_id = root;
        event.unread_count = pending.unread;
      }
    }
    events.push_back(event);
  }
  std::string previous = watermark_text(mailbox.mark(subscription.last));
  proto::Notification notification;
  notification.response_code = EwsResponseCode::no_error;
  notification.subscription_id = subscription.id;
  notification.previous_watermark = previous;
  notification.more_events = subscription.pending.size() > subscription.sent;
  notification.events = events;
  proto::NotificationMessage message;
  message.notifications = {&notification, 1};
  proto::write_send_notification(message, version, out);
}

void answer_get_item(Mailbox& mailbox, const proto::EwsRequest& request, const proto::ServerVersion& server,
                     std::string& out, bool& refused) {
  std::vector<std::string> texts;
  texts.reserve(request.item_ids.size());
  std::vector<EwsItem> items;
  items.reserve(request.item_ids.size());
  std::vector<EwsResponseMessage> messages;
  uint32_t fields = request.whole_items ? kAllFields : mask_of(request.fields);
  constexpr std::array kSender = {ItemField::from, ItemField::sender};
  bool asks_sender = (mask_of(request.fields) & mask_of(kSender)) != 0;
  for (std::string_view id : request.item_ids) {
    auto mark = parse_item_id(id);
    const StoredItem* item = mark && mark->tag == mailbox.tag ? mailbox.find(mark->number) : nullptr;
    if (!mark) {
      messages.push_back(error_message(EwsResponseCode::invalid_id_malformed, "Id is malformed."));
    } else if (!item) {
      messages.push_back(
          error_message(EwsResponseCode::item_not_found, "The specified object was not found in the store."));
    } else if (asks_sender && !has_sender(item->element)) {
      messages.push_back(
          error_message(EwsResponseCode::invalid_property_request, "Property is not valid for this object type."));
    } else {
      uint32_t shown = has_sender(item->element) ? fields : fields & ~mask_of(kSender);
      items.push_back(present(mailbox, *item, shown, false, texts));
      messages.emplace_back().items = {&items.back(), 1};
      continue;
    }
    refused = true;
  }
  proto::EwsAnswer answer;
  answer.kind = EwsAnswerKind::get_item;
  answer.server = server;
  answer.soap_version = request.soap_version;
  answer.messages = messages;
  proto::write_answer(answer, out);
}

void answer_find_item(Mailbox& mailbox, const proto::EwsRequest& request, const proto::ServerVersion& server,
                      std::string& out, bool& refused) {
  if (!request.mailbox.empty() && !ascii_equal_ignoring_case(request.mailbox, mailbox.address)) {
    refused = true;
    return answer_error(request, "ErrorAccessDenied", "Access is denied. Check credentials and try again.", {}, out);
  }
  if (!asks_inbox(mailbox, request)) {
    refused = true;
    return answer_error(request, "ErrorFolderNotFound", "The specified folder could not be found in the store.", {},
                        out);
  }
  if (request.restricted) {
    refused = true;
    return answer_error(request, "ErrorUnsupportedPathForQuery", "The stand-in restricts by DateTimeReceived only.", {}, out);
  }
  size_t entries_max = std::min<size_t>(request.entries_max.value_or(proto::kFindItemEntriesMax),
                                        proto::kFindItemEntriesMax);
  std::vector<std::string> texts;
  texts.reserve(std::min(entries_max, mailbox.items.size()));
  std::vector<EwsItem> items;
  uint32_t fields = request.whole_items ? kAllFields : mask_of(request.fields);
  uint32_t total = 0;
  for (auto item = mailbox.items.rbegin(); item != mailbox.items.rend(); ++item) {
    if (request.received_since && item->received < *request.received_since) break;  // they arrived in this order
    if (++total > request.offset && items.size() < entries_max) items.push_back(present(mailbox, *item, fields, true, texts));
  }
  size_t next = std::min<size_t>(request.offset, total) + items.size();
  EwsResponseMessage message;
  message.items = items;
  message.total_items = static_cast<int32_t>(total);
  message.includes_last = next == total;
  if (next != total) message.next_offset = static_cast<uint32_t>(next);
  proto::EwsAnswer answer;
  answer.kind = EwsAnswerKind::find_item;
  answer.server = server;
  answer.soap_version = request.soap_version;
  answer.messages = {&message, 1};
  proto::write_answer(answer, out);
}

void answer_get_folder(Mailbox& mailbox, const proto::EwsRequest& request, const proto::ServerVersion& server,
                       std::string& out, bool& refused) {
  bool own = request.mailbox.empty() || ascii_equal_ignoring_case(request.mailbox, mailbox.address);
  auto number = asked_folder(mailbox, request);
  if (!own || !number) {
    refused = true;
    return answer_error(request, own ? "ErrorFolderNotFound" : "ErrorAccessDenied",
                        "The specified folder could not be found in the store.", {}, out);
  }
  std::string id = folder_id_text(mailbox.mark(*number));
  bool inbox = *number == kInboxNumber;
  proto::EwsFolder folder{.element = "Folder",
                          .id = id,
                          .display_name = std::ranges::find(kFolders, *number, &KnownFolder::number)->display_name,
                          .total = inbox ? static_cast<int32_t>(mailbox.items.size()) : 0,
                          .unread = inbox ? mailbox.unread : 0};
  EwsResponseMessage message;
  message.folders = {&folder, 1};
  proto::EwsAnswer answer;
  answer.kind = EwsAnswerKind::get_folder;
  answer.server = server;
  answer.soap_version = request.soap_version;
  answer.messages = {&message, 1};
  proto::write_answer(answer, out);
}

void answer_error(const proto::EwsRequest& request, std::string_view code, std::string_view text,
                  std::optional<uint32_t> back_off_ms, std::string& out) {
  EwsAnswerKind kind = answer_kind(request);
  if (kind == EwsAnswerKind::fault) return answer_fault(request.soap_version, code, text, back_off_ms, out);
  EwsResponseMessage message = error_message(proto::parse_response_code(code), text);
  message.code_text = code;
  message.back_off_ms = back_off_ms;
  // Exchange gives one message for each item that was asked for.
  std::vector<EwsResponseMessage> messages(std::max<size_t>(1, request.item_ids.size()), message);
  proto::EwsAnswer answer;
  answer.kind = kind;
  answer.soap_version = request.soap_version;
  answer.messages = messages;
  proto::write_answer(answer, out);
}

void answer_fault(proto::SoapVersion version, std::string_view code, std::string_view text,
                  std::optional<uint32_t> back_off_ms, std::string& out) {
  proto::EwsAnswer answer;
  answer.kind = EwsAnswerKind::fault;
  answer.soap_version = version;
  answer.fault.fault_code = code;
  answer.fault.fault_text = text;
  answer.fault.code = proto::parse_response_code(code);
  answer.fault.code_text = code;
  answer.fault.back_off_ms = back_off_ms;
  proto::write_answer(answer, out);
}

}  // namespace bellhop::standin
