// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "core/io.h"
#include "core/tls/context.h"
#include "crypto/hash.h"
#include "crypto/sealing.h"
#include "service/client_certificates.h"
#include "service/config.h"
#include "service/gateway_keys.h"
#include "service/gateway_routes.h"
#include "service/upstreams.h"

namespace bellhop::service {

// What a named file was like. Two that are equal held the same.
struct FileSeen {
  io::FileInfo info;
  crypto::Digest digest{};  // of the content; zero where it cannot be read
  bool there = false;
  friend bool operator==(const FileSeen&, const FileSeen&) = default;
};
// By path: each file that the configuration names, and the system's roots.
using FilesSeen = std::map<std::string, FileSeen>;
// Reads them; blocking.
FilesSeen look_at_files(const Config& config);
// The same without reading: `digest` stays zero.
FilesSeen stat_files(const Config& config);

// Everything that the configuration names by file, read and found good. Made before the cores start.
struct StartFiles {
  FilesSeen seen;                           // before any of them was read
  // Of one listener; empty without its role.
  struct Listener {
    std::string certificate_chain;  // PEM
    std::string private_key;        // PEM; wiped when this dies
    ~Listener() { wipe(private_key); }
    Listener() = default;
    Listener(Listener&&) = default;
    Listener& operator=(Listener&&) = default;
  };
  Listener public_listener, gateway_listener;
  std::optional<crypto::Keyring> keyring;
  std::shared_ptr<const Upstreams> upstreams;  // whom we trust at the other end, and through which proxies
  std::shared_ptr<const GatewayRoutes> gateway_routes;  // null without the role
  std::shared_ptr<const GatewayKeys> gateway_keys;  // null without the role and ews.via, or where the keyring was not read
  std::shared_ptr<const ClientCertificates> certificates;  // of the gateway's users; null where none are asked for

  void wipe_private_keys();
};

// On failure `complaint` says for the operator which file, what is wrong with it, and what to do; it begins with its path.
// Blocking. Errors: os, crypto (keyring), tls.
enum class ReadKeyring : uint8_t { yes, no };
Result<StartFiles> read_start_files(const Config& config, std::string& complaint, ReadKeyring keyring = ReadKeyring::yes);

// TLS of the public or the gateway's listener, for one core. `certificates`: of clients; null: none are asked for. Any thread.
// Errors and `complaint`: TlsContext::server.
Result<std::shared_ptr<TlsContext>> listener_context(const PublicListenerConfig& config, const StartFiles::Listener& files,
                                                     std::shared_ptr<TicketKeys> ticket_keys, std::string& complaint,
                                                     const ClientCertificates* certificates = nullptr);

}  // namespace bellhop::service
