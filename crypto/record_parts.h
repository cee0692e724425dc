// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "core/base/bytes.h"

namespace bellhop::crypto {

// What each field of a credential record may hold, in either of its forms. Internal to record.cc and record_pack.cc.
bool is_address(std::string_view text);
bool is_username(std::string_view text);
bool is_password(std::string_view text);
bool is_endpoint(std::string_view text);
bool is_client_id(std::string_view text);
bool is_scope(std::string_view text);  // the empty one too
bool is_pkcs12(Bytes bytes);
bool is_pkcs12_password(std::string_view text);
bool is_certificate_part(Bytes bytes);  // key or chain

}  // namespace bellhop::crypto
