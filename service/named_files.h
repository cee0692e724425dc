// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "core/base/error.h"
#include "core/tls/authorities.h"

// Files that the configuration names. On failure `complaint` says for the operator which file, what is wrong, what to do.
namespace bellhop::service {

// `what` is what the file should hold: "the keyring". Errors: os.
Result<std::string> read_named(const std::string& path, std::string_view what, std::string& complaint);

// The system's roots and what `ca_file` adds; `instead`: only what `ca_file` holds, where there is one. An empty ca_file
// means the system's alone. Errors: os, tls.
Result<std::shared_ptr<const TlsAuthorities>> read_authorities(const std::string& ca_file, bool instead,
                                                               std::string& complaint);

}  // namespace bellhop::service
