// SPDX-License-Identifier: Apache-2.0
#include "proto/credentials.h"

#include <algorithm>

#include "core/base/bytes.h"
#include "proto/gateway_error.h"

namespace bellhop::proto {
namespace {

std::unexpected<Error> refuse(GatewayError code) { return fail(gateway_error(code)); }

bool is_token68(std::string_view text) {
  const size_t end = text.find_first_not_of(
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/");
  return end != 0 && !text.empty() && (end == text.npos || text.find_first_not_of('=', end) == text.npos);
}

// Decodes padded base64 into memory that is wiped: the text is a password.
bool decode(std::string_view text, WipingBuffer& out) {
  const size_t padding = text.size() - std::min(text.find_last_not_of('=') + 1, text.size());
  if (text.size() % 4 != 0 || padding > 2) return false;
  text.remove_suffix(padding);
  if (text.find_first_of("-_") != text.npos) return false;
  WipingBuffer url_alphabet;
  url_alphabet.append(text);
  for (uint8_t& c : url_alphabet.mutable_bytes()) c = c == '+' ? '-' : c == '/' ? '_' : c;
  out.clear();
  out.append_zeros(text.size());
  const auto size = from_base64url(url_alphabet.text(), out.mutable_bytes());
  if (!size) return false;
  out.truncate(*size);
  return true;
}

}  // namespace

Result<ClientCredentials> read_client_credentials(std::string_view authorization) {
  const size_t space = std::min(authorization.find(' '), authorization.size());
  const std::string_view scheme = authorization.substr(0, space);
  if (ascii_equal_ignoring_case(scheme, "ntlm") || ascii_equal_ignoring_case(scheme, "negotiate"))
    return refuse(GatewayError::negotiate_refused);
  if (space == authorization.size()) return refuse(GatewayError::credentials);
  const std::string_view token = authorization.substr(space + 1);
  if (!is_token68(token)) return refuse(GatewayError::credentials);
  ClientCredentials credentials;
  if (ascii_equal_ignoring_case(scheme, "bearer")) {
    credentials.scheme = ClientCredentials::Scheme::bearer;
    credentials.token = token;
    return credentials;
  }
  WipingBuffer decoded;
  if (!ascii_equal_ignoring_case(scheme, "basic") || !decode(token, decoded)) return refuse(GatewayError::credentials);
  const size_t colon = decoded.text().find(':');
  if (colon == 0 || colon == std::string_view::npos) return refuse(GatewayError::credentials);
  credentials.user.append(decoded.text().substr(0, colon));
  return credentials;
}

}  // namespace bellhop::proto
