// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/io.h"
#include "service/config.h"
#include "service/handover.h"

namespace bellhop::service {

// The sockets that the server listens on: its own, one a core for each public or gateway address (SO_REUSEPORT), or those that the
// service manager or a predecessor opened. A socket that was given must be one that the configuration asks for: nothing
// is served elsewhere unseen. Used on core 0; the handles then belong to the cores that accept on them.
class Listeners {
 public:
  // What a name of NamedDescriptor begins with where the socket is our own; its endpoint follows.
  static constexpr std::string_view kOwn = "own@";

  // Takes what was given, before open(). Our own sockets that nothing asks for any more are given up: unclaimed().
  // Errors: os (EINVAL); complaint() says more.
  Status take(std::vector<NamedDescriptor> given, const Config& config);
  // Opens what is missing; all at once, so that a busy port shows before anything is served. Errors: os; complaint().
  Status open(const Config& config, unsigned cores);
  // Where fewer of our own were given than there are cores: one more for each of those. When whoever had the others
  // accepts no more, because the kernel lets connections wait in a new one at once. Errors: os; then these cores accept
  // nothing.
  Status open_beside();
  // Where nothing will accept on them.
  void close_all();

  // Empty without the role.
  const std::vector<io::Handle>& public_handles(unsigned core) const { return public_.handles[core]; }
  const std::vector<io::Handle>& gateway_handles(unsigned core) const { return gateway_.handles[core]; }
  const std::vector<io::Handle>& admin_handles() const { return admin_handles_; }  // TCP, unix socket
  // In the order of the configuration; with port 0 the port that was picked.
  const std::vector<SocketAddress>& public_addresses() const { return public_.addresses; }
  const std::vector<SocketAddress>& gateway_addresses() const { return gateway_.addresses; }
  const SocketAddress& admin_address() const { return admin_address_; }

  // Every socket, for a successor; with `own_only`, without those of the service manager's. While they are open.
  std::vector<NamedDescriptor> share(bool own_only) const;
  const std::vector<std::string>& unclaimed() const { return unclaimed_; }
  const std::string& complaint() const { return complaint_; }

 private:
  struct Socket {
    io::Handle handle;
    std::string name;
  };
  Status refuse(const NamedDescriptor& given, const std::string& why);
  Status sort(NamedDescriptor given, const Config& config);
  // What all cores accept on, of one listener.
  struct Shared {
    std::string_view what;  // "[listen.public] addresses"
    int backlog = 0;
    std::vector<std::vector<io::Handle>> handles;  // by core
    std::vector<SocketAddress> addresses;
  };
  Status open_shared(Shared& listener, const PublicListenerConfig& config, unsigned cores);
  Status open_address(Shared& listener, const HostPort& address, unsigned cores);
  Result<io::Handle> open_admin(const io::Endpoint& endpoint, std::string_view what, int backlog);
  Result<io::Handle> open_own(const io::Endpoint& endpoint, bool shared, std::string_view what, int backlog);
  Status check_vacant(const io::Endpoint& endpoint, std::string_view what);
  Status cannot_listen(const io::Endpoint& endpoint, std::string_view what, const Error& why);
  Result<io::Handle> adopt(const NamedDescriptor& given, const std::string& place);

  std::map<std::string, std::vector<NamedDescriptor>> given_;  // by the text of their endpoints
  Shared public_{.what = "[listen.public] addresses"};
  Shared gateway_{.what = "[listen.gateway] addresses"};
  std::vector<io::Handle> admin_handles_;
  SocketAddress admin_address_;
  std::vector<Socket> sockets_;  // each once
  struct Beside {
    Shared* listener;
    io::Endpoint endpoint;
    unsigned core = 0;
  };
  std::vector<Beside> beside_;  // for open_beside()
  bool succeeds_ = false;  // a predecessor's sockets were given: where it listens is no reason to refuse
  std::vector<std::string> unclaimed_;
  std::string complaint_;
};

}  // namespace bellhop::service
