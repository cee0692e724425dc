// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "core/tls/context.h"

namespace bellhop::standin {

// What a client of HTTP/1.1, or of HTTP/2, needs: trusts the authorities of `ca_file`, or the system's where it is empty.
// Errors: os, tls; `complaint` names the file.
Result<std::shared_ptr<TlsContext>> make_client_tls(const std::string& ca_file, bool http2, std::string& complaint);

}  // namespace bellhop::standin
