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
#include "tools/standin/token_families.h"

namespace bellhop::standin {

// What a token request meets instead of its ordinary answer. Those marked * come after the grant was made: the refresh
// token is spent, and its successor never arrives.
enum class TokenFaultKind : uint8_t {
  none,           // only the delay
  invalid_grant,  // 400
  interaction,    // 400 interaction_required
  throttled,      // 429 with Retry-After: 1
  server_error,   // 500
  unavailable,    // 503
  redirect,       // 302 to another host
  html,           // 200 with HTML
  oversized,      // 200 with more than anybody reads
  stall,          // no answer
  hold,           // * no answer
  drop,           // * the connection ends
  truncated,      // * 200 with half of the JSON
};
std::optional<TokenFaultKind> parse_token_fault(std::string_view name);

// A fault on demand.
struct TokenFault {
  TokenFaultKind kind = TokenFaultKind::none;
  uint64_t count = 0;  // requests that meet it; 0: all until the faults are cleared
  Duration delay{};    // before the answer
};

struct TokenEndpointOptions {
  SocketAddress listen;                  // TLS; port 0 picks one
  std::optional<SocketAddress> control;  // plain HTTP with JSON, loopback only
  std::string certificate_pem, key_pem;
  std::string name = "localhost";  // that the endpoint's URL names
  std::shared_ptr<const TokenKey> key;
  TokenRules rules;
  std::string client_id = "mail-app";
  std::string scope = "https://outlook.example.com/EWS.AccessAsUser.All offline_access";
};

// A stand-in for an OAuth token endpoint: POST /token with the refresh grant of RFC 6749, rotation, and detection of
// reuse. On the core that made it; everything is in memory. Destroyed after run() has returned.
//
// The control API; all bodies are JSON objects:
//   POST   /tokens    {"user"} → {"refreshToken","tokenEndpoint","clientId","scope"}: as after a logon at the phone
//   POST   /revoke    {"user"} → all refresh tokens of the user are revoked
//   POST   /rules     {"lifetimeSeconds"?,"graceSeconds"?,"rotate"?}
//   POST   /faults    {"kind","count"?,"delayMs"?}
//   DELETE /faults
//   GET    /books
class TokenEndpoint final : public service::HttpHandler {
 public:
  static constexpr size_t kFaultsMax = 64;

  // Opens the listeners. Errors: os, tls; `complaint` is a line for the operator.
  static Result<std::unique_ptr<TokenEndpoint>> make(TokenEndpointOptions options, std::string& complaint);
  ~TokenEndpoint();
  Task<void> run();   // until stop()
  Task<bool> stop();  // any core of the cluster

  SocketAddress address() const { return address_; }
  SocketAddress control_address() const { return control_address_; }  // port 0 without control
  std::string url() const;                                            // "https://NAME:PORT/token"
  const TokenEndpointOptions& options() const { return options_; }
  // On the endpoint's core.
  TokenFamilies& families() { return families_; }
  bool add_fault(TokenFault fault);

  Task<void> handle(service::HttpExchange& exchange) override;

 private:
  class Control;
  explicit TokenEndpoint(TokenEndpointOptions options);
  Task<void> answer(service::HttpExchange& exchange, std::string_view form);
  Task<void> follow(service::HttpExchange& exchange, TokenFaultKind kind, std::string body);

  TokenEndpointOptions options_;
  TokenFamilies families_;
  RuleList<TokenFault> faults_;
  unsigned core_;
  SocketAddress address_, control_address_;
  io::Handle listener_, control_listener_;
  std::shared_ptr<TicketKeys> ticket_keys_;
  Event stop_asked_;
};

}  // namespace bellhop::standin
