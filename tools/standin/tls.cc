// SPDX-License-Identifier: Apache-2.0
#include "tools/standin/tls.h"

#include <array>

namespace bellhop::standin {

Result<std::shared_ptr<TicketKeys>> make_ticket_keys() {
  std::array<uint8_t, TicketKeys::kFreshBytes> fresh;
  io::random(fresh);
  auto keys = std::make_shared<TicketKeys>(io::wall_now(), fresh);
  wipe(fresh);
  return keys;
}

Result<std::shared_ptr<TlsContext>> make_server_context(const std::string& chain_pem, const std::string& key_pem,
                                                        const char* alpn, std::shared_ptr<TicketKeys> ticket_keys,
                                                        std::string& complaint, TlsClientAuth client_auth,
                                                        std::shared_ptr<const TlsAuthorities> client_authorities) {
  return TlsContext::server({.chain = {"the stand-in's certificate", chain_pem},
                             .key = {"the stand-in's key", key_pem},
                             .alpn = {alpn},
                             .alpn_required = true,
                             .ticket_keys = std::move(ticket_keys),
                             .client_auth = client_auth,
                             .client_authorities = std::move(client_authorities)},
                            complaint);
}

Result<io::Handle> open_listener(SocketAddress& address, bool shared, std::string& complaint) {
  auto handle = io::open_listener({address, {}}, shared);
  Result<SocketAddress> bound = handle ? io::local_address(*handle) : fail(handle.error());
  if (bound) {
    address = *bound;
    return *handle;
  }
  complaint = "cannot listen on " + address.to_string() + ": " + error_text(bound.error());
  if (handle) io::close(*handle);
  return fail(bound.error());
}

}  // namespace bellhop::standin
