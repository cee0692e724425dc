// SPDX-License-Identifier: Apache-2.0
#include "proto/http1_writer.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

#include "proto/http_error.h"
#include "proto/target.h"
#include "proto/wiping_buffer.h"

namespace bellhop::proto {
namespace {

constexpr std::string_view kLineEnd = "\r\n";
constexpr std::string_view kContentLength = "Content-Length: ";
constexpr std::string_view kChunkedField = "Transfer-Encoding: chunked\r\n";
constexpr std::string_view kCloseField = "Connection: close\r\n";
constexpr size_t kFramingBytesMax = 80;  // of the two fields above with a 20-digit length

bool is_token_character(char c) {
  if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')) return true;
  return std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos && c != '\0';
}

bool is_written_by_the_head(std::string_view name) {
  constexpr std::array<std::string_view, 4> kNames = {"content-length", "transfer-encoding", "connection", "host"};
  return std::any_of(kNames.begin(), kNames.end(),
                     [name](std::string_view own) { return ascii_equal_ignoring_case(own, name); });
}

// The size of all field lines; nothing where one of them must not be written.
std::optional<size_t> fields_size(std::span<const HeaderField> headers) {
  size_t size = 0;
  for (const HeaderField& field : headers) {
    if (!is_token(field.name) || !is_field_value(field.value) || is_written_by_the_head(field.name))
      return std::nullopt;
    size += field.name.size() + field.value.size() + 4;
  }
  return size;
}

void append_fields(std::string& out, std::span<const HeaderField> headers, const Http1Framing& framing, bool close) {
  for (const HeaderField& field : headers) {
    out.append(field.name).append(": ").append(field.value).append(kLineEnd);
  }
  if (framing.kind == Http1Framing::Kind::length) {
    char digits[20];
    char* end = std::to_chars(digits, digits + sizeof digits, framing.length).ptr;
    out.append(kContentLength).append(digits, end).append(kLineEnd);
  }
  if (framing.kind == Http1Framing::Kind::chunked) out.append(kChunkedField);
  if (close) out.append(kCloseField);
  out.append(kLineEnd);
}

}  // namespace

bool is_token(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), is_token_character);
}

bool is_field_value(std::string_view text) {
  if (ascii_trim(text).size() != text.size()) return false;
  return std::none_of(text.begin(), text.end(),
                      [](char c) { return (static_cast<uint8_t>(c) < 0x20 && c != '\t') || c == 0x7f; });
}

Status write_request_head(std::string& out, const Http1RequestHead& head) {
  auto size = fields_size(head.headers);
  bool good_target = is_origin_form(head.target);
  bool good_host = !head.host.empty() && is_field_value(head.host) && head.host.find(' ') == std::string_view::npos;
  if (!size || !is_token(head.method) || !good_target || !good_host) return fail(http_error(HttpError::unwritable));
  grow_wiped(out, head.method.size() + head.target.size() + head.host.size() + *size + kFramingBytesMax + 32);
  out.append(head.method).append(" ").append(head.target).append(" HTTP/1.1\r\n");
  out.append("Host: ").append(head.host).append(kLineEnd);
  append_fields(out, head.headers, head.framing, head.close);
  return {};
}

Status write_connect_head(std::string& out, std::string_view authority, std::span<const HeaderField> headers) {
  auto size = fields_size(headers);
  bool good = !authority.empty() && is_field_value(authority) && authority.find_first_of(" \t/?#@") == std::string_view::npos;
  if (!size || !good) return fail(http_error(HttpError::unwritable));
  grow_wiped(out, 2 * authority.size() + *size + kFramingBytesMax + 32);
  out.append("CONNECT ").append(authority).append(" HTTP/1.1\r\n");
  out.append("Host: ").append(authority).append(kLineEnd);
  append_fields(out, headers, Http1Framing::none(), false);
  return {};
}

Status write_response_head(std::string& out, const Http1ResponseHead& head) {
  const HeaderField type{"content-type", head.content_type};
  std::span<const HeaderField> before(&type, head.content_type.empty() ? 0 : 1);
  auto size = fields_size(head.headers), size_before = fields_size(before);
  // A 1xx, 204 has no framing field (RFC 9110 section 8.6).
  bool bare = head.status < 200 || head.status == 204;
  bool good_framing = !bare || head.framing.kind == Http1Framing::Kind::none;
  if (!size || !size_before || head.status < 100 || head.status > 599 || !good_framing) return fail(http_error(HttpError::unwritable));
  std::string_view phrase = reason_phrase(head.status);
  grow_wiped(out, phrase.size() + *size_before + *size + kFramingBytesMax + 32);
  out.append("HTTP/1.1 ");
  for (int divisor : {100, 10, 1}) out.push_back(static_cast<char>('0' + head.status / divisor % 10));
  out.append(" ").append(phrase).append(kLineEnd);
  if (!before.empty()) out.append(type.name).append(": ").append(type.value).append(kLineEnd);
  append_fields(out, head.headers, head.framing, head.close);
  return {};
}

std::string_view continue_response() {
  return "HTTP/1.1 100 Continue\r\n\r\n";
}

void append_chunk(std::string& out, Bytes data) {
  if (data.empty()) return;
  char digits[16];
  char* end = std::to_chars(digits, digits + sizeof digits, data.size(), 16).ptr;
  grow_wiped(out, data.size() + sizeof digits + 2 * kLineEnd.size());
  out.append(digits, end).append(kLineEnd).append(as_text(data)).append(kLineEnd);
}

void append_last_chunk(std::string& out) {
  out.append("0\r\n\r\n");
}

std::string_view reason_phrase(uint16_t status) {
  struct Phrase {
    uint16_t status;
    std::string_view text;
  };
  static constexpr Phrase kPhrases[] = {
      {100, "Continue"},
      {200, "OK"},
      {201, "Created"},
      {202, "Accepted"},
      {204, "No Content"},
      {206, "Partial Content"},
      {301, "Moved Permanently"},
      {302, "Found"},
      {303, "See Other"},
      {304, "Not Modified"},
      {307, "Temporary Redirect"},
      {308, "Permanent Redirect"},
      {400, "Bad Request"},
      {401, "Unauthorized"},
      {403, "Forbidden"},
      {404, "Not Found"},
      {405, "Method Not Allowed"},
      {406, "Not Acceptable"},
      {408, "Request Timeout"},
      {409, "Conflict"},
      {410, "Gone"},
      {411, "Length Required"},
      {413, "Content Too Large"},
      {414, "URI Too Long"},
      {415, "Unsupported Media Type"},
      {417, "Expectation Failed"},
      {421, "Misdirected Request"},
      {422, "Unprocessable Content"},
      {429, "Too Many Requests"},
      {431, "Request Header Fields Too Large"},
      {449, "Retry With"},
      {451, "Unavailable For Legal Reasons"},
      {500, "Internal Server Error"},
      {501, "Not Implemented"},
      {502, "Bad Gateway"},
      {503, "Service Unavailable"},
      {504, "Gateway Timeout"},
      {505, "HTTP Version Not Supported"},
      {507, "Insufficient Storage"},
  };
  static_assert(std::ranges::is_sorted(kPhrases, {}, &Phrase::status));
  const Phrase* found = std::ranges::lower_bound(kPhrases, status, {}, &Phrase::status);
  return found != std::end(kPhrases) && found->status == status ? found->text : "Unknown";
}

}  // namespace bellhop::proto
