// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "core/base/ip.h"
#include "core/io.h"
#include "core/sync.h"
#include "core/task.h"
#include "core/tls/ticket_keys.h"
#include "service/http_server.h"
#include "tools/standin/control.h"
#include "tools/standin/rules.h"
#include "tools/standin/uem_devices.h"

namespace bellhop::standin {

// What a request for devices meets instead of its ordinary answer.
enum class UemFaultKind : uint8_t {
  none,          // only the delay
  unauthorized,  // 401
  throttled,     // 429 with Retry-After: 1
  unavailable,   // 503
  gone,          // 410
  html,          // 200 with HTML
  garbage,       // 200 with a line that is no device
  truncated,     // 200 with half of the page: whole lines, but not the last one
  oversized,     // 200 with more than anybody reads
  redirect,      // 302 to another host
  stall,         // no answer
  drop,          // the connection ends
};
std::optional<UemFaultKind> parse_uem_fault(std::string_view name);

// A fault on demand.
struct UemFault {
  UemFaultKind kind = UemFaultKind::none;
  uint64_t count = 0;  // requests that meet it; 0: all until the faults are cleared
  Duration delay{};    // before the answer
};

struct UemOptions {
  SocketAddress listen;                  // TLS; port 0 picks one
  std::optional<SocketAddress> control;  // plain HTTP with JSON, loopback only
  std::string certificate_pem, key_pem;
  std::string name = "localhost";  // that its URL names
  std::string authorization;       // the value of Authorization that is asked for; empty: none
  uint32_t devices = 0;            // made up; see UemDevices
  uint32_t users = 1'000'000;      // that own them
  std::string domain = "example.com";
  uint32_t page_lines = 5'000;
};

// A stand-in for a UEM that tells which devices comply: GET /devices, in the form that a [policy.source] of kind "uem" reads
// (docs/uem.md). On the core that made it; everything is in memory. Destroyed after run() has returned.
//
// The control API; all bodies are JSON objects:
//   POST   /devices   {"lines": [LINE, …]}: each the JSON text of a device, which is added or changed
//   POST   /remove    {"deviceId"}
//   POST   /forget    no token is known any more
//   POST   /faults    {"kind","count"?,"delayMs"?}
//   DELETE /faults
//   GET    /books
class Uem final : public service::HttpHandler {
 public:
  static constexpr size_t kFaultsMax = 64;

  // Opens the listeners. Errors: os, tls; `complaint` is a line for the operator.
  static Result<std::unique_ptr<Uem>> make(UemOptions options, std::string& complaint);
  ~Uem();
  Task<void> run();   // until stop()
  Task<bool> stop();  // any core of the cluster

  SocketAddress address() const { return address_; }
  SocketAddress control_address() const { return control_address_; }  // port 0 without control
  std::string url() const;                                            // "https://NAME:PORT/devices"
  // On its core.
  UemDevices& devices() { return devices_; }
  bool add_fault(UemFault fault);
  void clear_faults() { faults_.clear(); }

  Task<void> handle(service::HttpExchange& exchange) override;

 private:
  class Control;
  explicit Uem(UemOptions options);
  Task<void> follow(service::HttpExchange& exchange, UemFaultKind kind);
  bool authorized(service::HttpExchange& exchange) const;

  UemOptions options_;
  UemDevices devices_;
  RuleList<UemFault> faults_;
  unsigned core_;
  SocketAddress address_, control_address_;
  io::Handle listener_, control_listener_;
  std::shared_ptr<TicketKeys> ticket_keys_;
  Event stop_asked_;
};

}  // namespace bellhop::standin
