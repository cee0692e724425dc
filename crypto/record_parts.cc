// SPDX-License-Identifier: Apache-2.0
#include "crypto/record_parts.h"

#include <algorithm>

#include "crypto/record.h"

namespace bellhop::crypto {
namespace {

// The Authorization line is base64, but user name and password also reach logs of other servers and, for NTLM-minded
// proxies, plain headers: control characters have no business in them (RFC 7617 section 2).
bool is_plain_text(std::string_view text) {
  return std::none_of(text.begin(), text.end(), [](char c) {
    const auto byte = static_cast<uint8_t>(c);
    return byte < 0x20 || byte == 0x7f;
  });
}

bool each_of(std::string_view text, bool (*allowed)(uint8_t)) {
  return std::all_of(text.begin(), text.end(), [allowed](char c) { return allowed(static_cast<uint8_t>(c)); });
}
bool is_within(std::string_view text, size_t size_max, bool (*allowed)(uint8_t)) {
  return !text.empty() && text.size() <= size_max && each_of(text, allowed);
}

// VSCHAR of RFC 6749 appendix A.
bool is_vschar(uint8_t c) {
  return c >= 0x20 && c <= 0x7e;
}
// Graphic ASCII without quotes and backslash, and the space between scopes (RFC 6749 section 3.3).
bool is_scope_char(uint8_t c) {
  return is_vschar(c) && c != '"' && c != '\\';
}
bool is_graphic(uint8_t c) {
  return c > 0x20 && c <= 0x7e;
}
// token68 of RFC 9110 without its padding.
bool is_bearer_char(uint8_t c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
         c == '_' || c == '~' || c == '+' || c == '/';
}

}  // namespace

bool is_username(std::string_view text) {
  return !text.empty() && text.size() <= kUsernameBytesMax && is_plain_text(text) &&
         text.find(':') == std::string_view::npos;
}
bool is_password(std::string_view text) {
  return text.size() <= kPasswordBytesMax && is_plain_text(text);
}

bool is_address(std::string_view text) {
  const size_t at = text.find('@');
  return text.size() <= kAddressBytesMax && is_plain_text(text) && at != 0 && at != std::string_view::npos &&
         at + 1 < text.size() && text.find('@', at + 1) == std::string_view::npos &&
         text.find(' ') == std::string_view::npos;
}

bool is_refresh_token(std::string_view text) {
  return is_within(text, kRefreshTokenBytesMax, is_vschar);
}
bool is_access_token(std::string_view text) {
  const size_t padding = text.size() - std::min(text.size(), text.find_last_not_of('=') + 1);
  return text.size() <= kAccessTokenBytesMax &&
         is_within(text.substr(0, text.size() - padding), kAccessTokenBytesMax, is_bearer_char);
}
bool is_endpoint(std::string_view text) {
  return is_within(text, kTokenEndpointBytesMax, is_graphic);
}
bool is_client_id(std::string_view text) {
  return is_within(text, kClientIdBytesMax, is_vschar);
}
bool is_scope(std::string_view text) {
  return text.empty() || is_within(text, kScopeBytesMax, is_scope_char);
}
bool is_pkcs12(Bytes bytes) {
  return !bytes.empty() && bytes.size() <= kPkcs12BytesMax;
}
bool is_certificate_part(Bytes bytes) {
  return !bytes.empty() && bytes.size() <= kPkcs12BytesMax;
}
// Any text: the password never stands in a header field, and only its PKCS#12 can judge it.
bool is_pkcs12_password(std::string_view text) {
  return text.size() <= kPasswordBytesMax;
}

}  // namespace bellhop::crypto
