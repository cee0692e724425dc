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
                                                        std::string& complaint) {
  return TlsContext::server({.chain = {"the stand-in's certificate", chain_pem},
                             .key = {"the stand-in's key", key_pem},
                             .alpn = {alpn},
                             .alpn_required = true,
                             .ticket_keys = std::move(ticket_keys)},
                            complaint);
}

Result<std::vector<io::Handle>> open_listeners(SocketAddress& address, unsigned cores, std::string& complaint) {
  std::vector<io::Handle> handles;
  for (unsigned core = 0; core < cores; ++core) {
    io::Endpoint endpoint{address, {}};
    auto handle = io::open_listener(endpoint, cores > 1);
    Result<SocketAddress> bound = handle ? io::local_address(*handle) : fail(handle.error());
    if (handle) handles.push_back(*handle);
    if (!bound) {
      complaint = "cannot listen on " + address.to_string() + ": " + error_text(bound.error());
      for (io::Handle open : handles) io::close(open);
      return fail(bound.error());
    }
    address = *bound;
  }
  return handles;
}

}  // namespace bellhop::standin
