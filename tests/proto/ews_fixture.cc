// SPDX-License-Identifier: Apache-2.0
#include "tests/proto/ews_fixture.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace bellhop::proto {
namespace {

void add(std::string& out, std::string_view name, std::string_view value) {
  if (!value.empty()) out += fmt::format(" {}={}", name, value);
}
void add(std::string& out, std::string_view name, const std::optional<WallTime>& value) {
  if (value) add(out, name, format_ews_time(*value));
}
template <class T>
  requires std::is_arithmetic_v<T>
void add(std::string& out, std::string_view name, const std::optional<T>& value) {
  if (value) out += fmt::format(" {}={}", name, *value);
}
template <class T>
  requires std::is_enum_v<T>
void add(std::string& out, std::string_view name, const std::optional<T>& value) {
  if (value) out += fmt::format(" {}={}", name, int(*value));
}

std::string_view soap_name(SoapVersion version) {
  return version == SoapVersion::soap11 ? "soap11" : "soap12";
}

// The code as read; it must agree with its text.
std::string code_name(EwsResponseCode code, std::string_view text) {
  if (code == EwsResponseCode::none) return "none";
  if (code == EwsResponseCode::other) return fmt::format("other:{}", text);
  return std::string(response_code_text(code));
}

std::string describe(const NotificationEvent& event) {
  std::string out(event_kind_text(event.kind));
  add(out, "watermark", event.watermark);
  add(out, "time", event.timestamp);
  add(out, "item", event.item_id);
  add(out, "folder", event.folder_id);
  add(out, "parent", event.parent_folder_id);
  add(out, "old_item", event.old_item_id);
  add(out, "old_folder", event.old_folder_id);
  add(out, "old_parent", event.old_parent_folder_id);
  add(out, "unread", event.unread_count);
  return out;
}

std::string describe(const EwsItem& item) {
  constexpr std::array<std::string_view, 5> kChanges = {"", "created ", "updated ", "deleted", "read_flag"};
  std::string out(kChanges[size_t(item.change)]);
  out += item.element;
  add(out, "id", item.id);
  add(out, "subject", item.subject);
  add(out, "from", item.from.name);
  add(out, "from_address", item.from.address);
  add(out, "sender", item.sender.name);
  add(out, "sender_address", item.sender.address);
  add(out, "received", item.received);
  add(out, "class", item.item_class);
  add(out, "importance", item.importance);
  add(out, "sensitivity", item.sensitivity);
  add(out, "conversation", item.conversation_id);
  add(out, "read", item.is_read);
  add(out, "preview", item.preview);
  add(out, "attachments", item.has_attachments);
  add(out, "message_id", item.internet_message_id);
  return out;
}

std::string describe(const EwsFolder& folder) {
  std::string out(folder.element);
  add(out, "id", folder.id);
  add(out, "name", folder.display_name);
  add(out, "total", folder.total);
  add(out, "unread", folder.unread);
  return out;
}

std::string describe(const EwsResponseMessage& message) {
  std::string out =
      fmt::format("{} {}", response_class_text(message.response_class), code_name(message.code, message.code_text));
  add(out, "text", message.message_text);
  add(out, "back_off", message.back_off_ms);
  add(out, "subscription", message.subscription_id);
  add(out, "watermark", message.watermark);
  add(out, "total", message.total_items);
  add(out, "last", message.includes_last);
  add(out, "state", message.sync_state);
  for (const EwsFolder& folder : message.folders) out += fmt::format(" ({})", describe(folder));
  for (const EwsItem& item : message.items) out += fmt::format(" ({})", describe(item));
  return out;
}

}  // namespace

std::string describe(const NotificationMessage& message) {
  std::string out = fmt::format("notification {}", soap_name(message.soap_version));
  for (const Notification& n : message.notifications) {
    out +=
        fmt::format(" [{} {}", response_class_text(n.response_class), code_name(n.response_code, n.response_code_text));
    add(out, "subscription", n.subscription_id);
    add(out, "previous", n.previous_watermark);
    out += fmt::format(" more={}", n.more_events);
    for (const NotificationEvent& event : n.events) out += fmt::format(" ({})", describe(event));
    out += "]";
  }
  return out;
}

std::string describe(const EwsAnswer& answer) {
  constexpr std::array kKinds = {"subscribe", "get_item", "find_item", "get_folder", "sync_folder_items", "fault", "other"};
  std::string out =
      fmt::format("answer {} {} {}", kKinds[size_t(answer.kind)], soap_name(answer.soap_version), answer.element);
  if (answer.kind == EwsAnswerKind::fault) {
    out += fmt::format(" {}", code_name(answer.fault.code, answer.fault.code_text));
    add(out, "fault_code", answer.fault.fault_code);
    add(out, "text", answer.fault.fault_text);
    add(out, "back_off", answer.fault.back_off_ms);
  }
  for (const EwsResponseMessage& message : answer.messages) out += fmt::format(" [{}]", describe(message));
  return out;
}

std::string describe(const EwsRequest& request) {
  constexpr std::array kKinds = {"subscribe", "get_item", "find_item", "get_folder", "sync_folder_items", "other"};
  std::string out =
      fmt::format("request {} {} {}", kKinds[size_t(request.kind)], soap_name(request.soap_version), request.element);
  add(out, "version", request.server_version);
  if (request.is_push) out += " push";
  add(out, "folder", request.folder);
  add(out, "mailbox", request.mailbox);
  std::vector<std::string_view> events, fields;
  for (EventKind kind : request.events) events.push_back(event_kind_text(kind));
  for (ItemField field : request.fields) fields.push_back(item_field_text(field));
  add(out, "events", fmt::format("{}", fmt::join(events, ",")));
  add(out, "watermark", request.watermark);
  if (request.status_frequency_minutes) out += fmt::format(" frequency={}", request.status_frequency_minutes);
  add(out, "url", request.url);
  add(out, "ids", fmt::format("{}", fmt::join(request.item_ids, ",")));
  add(out, "fields", fmt::format("{}", fmt::join(fields, ",")));
  add(out, "since", request.received_since);
  add(out, "max", request.entries_max);
  add(out, "state", request.sync_state);
  return out;
}

std::string describe(const Error& error) {
  constexpr std::array kXml = {"",         "malformed", "truncated",  "doctype", "processing_instruction",
                               "encoding", "depth",     "attributes", "name",    "text",
                               "document", "memory"};
  constexpr std::array kEws = {
      "",          "not_soap", "envelope",      "unexpected_message", "missing_part", "repeated_part",
      "bad_value", "too_many", "forbidden_text"};
  if (error.domain == Domain::xml) return fmt::format("xml {}", kXml.at(error.code));
  if (error.domain == Domain::ews) return fmt::format("ews {}", kEws.at(error.code));
  return error_text(error);
}

std::vector<std::string_view> random_pieces(std::string_view document, std::mt19937& random) {
  std::vector<std::string_view> pieces;
  while (!document.empty()) {
    size_t size = 1 + random() % std::min<size_t>(document.size(), 200);
    pieces.push_back(document.substr(0, size));
    document.remove_prefix(size);
  }
  return pieces;
}

std::vector<std::string_view> single_bytes(std::string_view document) {
  std::vector<std::string_view> pieces;
  for (size_t i = 0; i < document.size(); ++i) pieces.push_back(document.substr(i, 1));
  return pieces;
}

std::string mutated(std::string_view document, std::mt19937& random) {
  constexpr std::array<std::string_view, 14> kSpices = {
      "<",     ">",    "&",   "\"",   "/>",   "</",         "<!DOCTYPE x>",
      "<?p?>", "<!--", "]]>", "&#0;", "\xff", "xmlns=\"\"", "<![CDATA["};
  std::string mutant(document);
  for (size_t edits = 1 + random() % 3; edits > 0; --edits) {
    size_t at = random() % mutant.size();
    size_t size = std::min<size_t>(1 + random() % 40, mutant.size() - at);
    switch (random() % 4) {
      case 0:
        mutant[at] = char(random());
        break;
      case 1:
        if (mutant.size() > size) mutant.erase(at, size);
        break;
      case 2:
        mutant.insert(at, mutant.substr(at, size));
        break;
      case 3:
        mutant.insert(at, kSpices[random() % kSpices.size()]);
        break;
    }
  }
  return mutant;
}

std::optional<std::string> test_data_folder() {
  const char* folder = std::getenv("BELLHOP_TEST_DATA");
  if (!folder || !*folder) return std::nullopt;
  return folder;
}

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

bool schema_is_available() {
  auto folder = test_data_folder();
  return folder && std::filesystem::exists(*folder + "/ews-schema/messages.xsd") &&
         std::system("xmllint --version >/dev/null 2>&1") == 0;
}

std::string schema_errors(const std::vector<std::string>& documents) {
  std::string folder = testing::TempDir() + "bellhop-schema-XXXXXX";
  if (!mkdtemp(folder.data())) return "no temporary folder";
  // The EWS schemas use xml:lang without saying where it is declared; this one does, and imports them.
  std::ofstream(folder + "/xml.xsd") << R"(<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" )"
                                        R"(targetNamespace="http://www.w3.org/XML/1998/namespace">)"
                                        R"(<xs:attribute name="lang" type="xs:language"/></xs:schema>)";
  std::ofstream(folder + "/all.xsd")
      << R"(<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" targetNamespace="urn:all">)"
         R"(<xs:import namespace="http://www.w3.org/XML/1998/namespace" schemaLocation="xml.xsd"/>)"
      << "<xs:import namespace=\"" << kEwsMessagesSpace << "\" schemaLocation=\"" << *test_data_folder()
      << "/ews-schema/messages.xsd\"/></xs:schema>";
  std::string command = "cd '" + folder + "' && xmllint --noout --nonet --schema all.xsd";
  for (size_t i = 0; i < documents.size(); ++i) {
    const std::string& document = documents[i];
    size_t body = document.find("<s:Body>") + 8;
    std::string message = document.substr(body, document.find("</s:Body>") - body);
    if (message.find("xmlns") > message.find('>')) {
      message.insert(message.find_first_of(" >"),
                     fmt::format(" xmlns:m=\"{}\" xmlns:t=\"{}\"", kEwsMessagesSpace, kEwsTypesSpace));
    }
    std::string name = fmt::format("{}.xml", i);
    std::ofstream(folder + "/" + name) << message;
    command += " " + name;
  }
  int status = std::system((command + " >out 2>&1").c_str());
  std::string errors = status == 0 ? "" : read_file(folder + "/out");
  std::filesystem::remove_all(folder);
  return errors;
}

}  // namespace bellhop::proto
