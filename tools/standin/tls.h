// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "core/base/error.h"
#include "core/base/ip.h"
#include "core/io.h"
#include "core/tls/context.h"

// What both stand-ins need to listen.
namespace bellhop::standin {

Result<std::shared_ptr<TicketKeys>> make_ticket_keys();
// Errors: tls; `complaint` names what is wrong.
Result<std::shared_ptr<TlsContext>> make_server_context(const std::string& chain_pem, const std::string& key_pem,
                                                        const char* alpn, std::shared_ptr<TicketKeys> ticket_keys,
                                                        std::string& complaint,
                                                        TlsClientAuth client_auth = TlsClientAuth::none,
                                                        std::shared_ptr<const TlsAuthorities> client_authorities = {});
// A listener of the calling core; port 0 becomes the one that was picked. `shared`: other cores open theirs on the same
// address. Errors: os.
Result<io::Handle> open_listener(SocketAddress& address, bool shared, std::string& complaint);

}  // namespace bellhop::standin
