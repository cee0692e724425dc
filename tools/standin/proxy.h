// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "core/base/intrusive_list.h"
#include "core/io.h"
#include "core/socket.h"
#include "core/stream/stream.h"
#include "core/sync.h"
#include "core/task.h"
#include "core/tls/context.h"
#include "tools/standin/control.h"
#include "tools/standin/rules.h"

namespace bellhop::standin {

// What the proxy does with a CONNECT instead of making a tunnel; nothing: as it should.
enum class ProxyFaultKind : uint8_t {
  status,       // answers with `status`
  garbage,      // an answer that is no HTTP
  oversized,    // 200 with more header than anybody reads
  extra_bytes,  // 200, and bytes behind its head that nobody asked for
  slow,         // the tunnel, but its answer comes byte by byte
  stall,        // no answer
  close,        // the connection ends without an answer
};
std::optional<ProxyFaultKind> parse_proxy_fault(std::string_view name);

struct ProxyFault {
  ProxyFaultKind kind = ProxyFaultKind::status;
  uint64_t count = 0;  // requests that meet it; 0: all until the faults are cleared
  uint16_t status = 502;
};

struct ProxyBooks {
  uint64_t connections = 0, tunnels = 0, open = 0;
  uint64_t unauthorized = 0;  // answered 407
  uint64_t failed = 0;        // the destination could not be reached
  uint64_t malformed = 0;     // no CONNECT
  uint64_t faulted = 0;
  uint64_t bytes_up = 0, bytes_down = 0;
  std::map<std::string, uint64_t> targets;  // tunnels by "host:port", as CONNECT named it
};

struct ProxyOptions {
  SocketAddress listen;                  // port 0 picks one
  std::optional<SocketAddress> control;  // plain HTTP with JSON, loopback only
  bool tls = false;                      // spoken with the proxy itself
  std::string certificate_pem, key_pem;  // with tls
  std::string username, password;        // empty: everybody may
};

// A stand-in for an HTTP proxy: makes tunnels (CONNECT, RFC 9110 section 9.3.6), asks for a password where it has one, and
// misbehaves on demand. On the core that made it. Destroyed after run() has returned.
//
// The control API; all bodies are JSON objects:
//   GET    /books
//   POST   /faults  {"kind","count"?,"status"?}
//   DELETE /faults
//   POST   /cut     ends all tunnels
class Proxy {
 public:
  static constexpr size_t kHeadBytesMax = 16 * 1024;
  static constexpr size_t kTargetsMax = 1'000;  // in the books
  static constexpr size_t kFaultsMax = 64;

  // Opens the listeners. Errors: os, tls; `complaint` is a line for the operator.
  static Result<std::unique_ptr<Proxy>> make(ProxyOptions options, std::string& complaint);
  ~Proxy();
  Task<void> run();   // until stop()
  Task<bool> stop();  // any core of the cluster

  SocketAddress address() const { return address_; }
  SocketAddress control_address() const { return control_address_; }  // port 0 without control
  // On the proxy's core.
  const ProxyBooks& books() const { return books_; }
  bool add_fault(ProxyFault fault);
  void clear_faults() { faults_.clear(); }
  void cut();

 private:
  class Control;
  struct Tunnel;

  explicit Proxy(ProxyOptions options);
  Task<void> accept_all(Listener& listener, TaskScope& flows);
  Task<void> serve(Socket socket);
  Task<Status> serve_connect(Stream& client);
  Task<Status> follow(Stream& client, const ProxyFault& fault);
  Task<Status> tunnel(Stream& client, std::string authority, bool slowly);
  bool authorized(std::string_view head) const;

  ProxyOptions options_;
  std::string wanted_authorization_;  // empty: none
  RuleList<ProxyFault> faults_;
  ProxyBooks books_;
  IntrusiveList<Tunnel> tunnels_;
  unsigned core_;
  SocketAddress address_, control_address_;
  io::Handle listener_, control_listener_;
  std::shared_ptr<TicketKeys> ticket_keys_;
  std::shared_ptr<TlsContext> tls_;
  Event stop_asked_;
};

}  // namespace bellhop::standin
