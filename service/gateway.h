// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "core/base/intrusive_list.h"
#include "core/context.h"
#include "core/task.h"
#include "proto/ews_peek.h"
#include "service/compliance.h"
#include "service/core.h"
#include "service/gateway_authenticator.h"
#include "service/gateway_keys.h"
#include "service/gateway_logons.h"
#include "service/gateway_redirects.h"
#include "service/gateway_routes.h"
#include "service/gateway_settings.h"
#include "service/gateway_trail.h"
#include "service/gateway_upstreams.h"
#include "service/http_exchange.h"
#include "service/policy.h"

namespace bellhop::service {

class GatewayRequest;

// The gateway of one core: what the listener of [listen.gateway] serves. Each request is a GatewayRequest, which reads as
// its story; here is what requests share. Owned by Server::CoreParts; all that is given outlives it.
class Gateway final : public HttpHandler {
 public:
  struct Parts {
    Core& core;
    // Who may come in. Both or none; without them everybody does, for tests of what comes before and after.
    const Policy* policy = nullptr;
    const Compliance* compliance = nullptr;
    UpstreamAuthenticator* authenticator = nullptr;    // null: an endpoint with logon = "kerberos" answers 503
    const CertificateUsers* certificates = nullptr;    // null: no certificate names anybody
  };
  Gateway(Parts parts, GatewaySettings settings);
  ~Gateway();
  Gateway(const Gateway&) = delete;
  Gateway& operator=(const Gateway&) = delete;

  Task<void> handle(HttpExchange& exchange) override;

  // Ends requests of devices that are blocked meanwhile, and closes what a reload has put out of use; until it is stopped.
  // Beside the listener.
  Task<void> watch();
  // What a reload made; requests under way keep what they have. Null members: as before.
  void take(GatewaySettings settings);
  // Awaits the end of upstream connections. After the last request.
  Task<void> close();

  // For operators; on this core.
  std::vector<GatewayUpstreamState> upstreams() const { return upstreams_->states(io::now()); }
  GatewayRedirectCache& redirects() { return redirects_; }
  const GatewayTrail& trail() const { return trail_; }
  const GatewayRoutes& routes() const { return *settings_.routes; }
  size_t requests_in_work() const { return in_work_; }
  // Compliance::changes() that watch() has acted on.
  uint64_t acted_on() const { return acted_on_; }

 private:
  friend class GatewayRequest;
  // A look at what changed takes no longer than this many decisions before others run.
  static constexpr size_t kDecisionsPerTurn = 256;
  static constexpr size_t kCertificatesPerTurn = 8;  // likewise, where each is verified again
  static constexpr Duration kLook = 250ms;
  static constexpr size_t kPeeksKept = 16;
  static constexpr size_t kPeeksMax = 4'096;  // under way; each takes about 34 KB

  // A look into a SOAP body: its parser takes memory that is used again. Null: kPeeksMax of them are under way.
  std::unique_ptr<proto::EwsPeek> take_peek();
  void give_back(std::unique_ptr<proto::EwsPeek> peek);
  Task<void> reconsider_all(bool reloaded);
  Task<void> reconsider_logons();
  Task<void> close_retired();
  Task<void> watch_retired();
  Task<void> watch_blocks();

  Parts parts_;
  GatewaySettings settings_;
  std::shared_ptr<GatewayUpstreams> upstreams_;
  std::vector<std::shared_ptr<GatewayUpstreams>> retired_;  // of before a reload, until their last request
  GatewayRedirectCache redirects_;
  GatewayTrail trail_;
  GatewayLogons logons_;  // that the gateway made itself
  Context work_;  // what requests hang on, beside their connection: stopped with Core::work, when a drain's patience is over
  IntrusiveList<GatewayRequest> requests_;  // that were let in, and have not ended
  // How many of them have the same credentials, or, of bellhop's own, are for the same account.
  std::map<store::StoredUserId, size_t> places_;
  std::vector<std::unique_ptr<proto::EwsPeek>> peeks_;
  size_t peeks_out_ = 0;
  size_t in_work_ = 0;
  uint64_t decided_at_ = 0;     // Compliance::changes() of the last look
  uint64_t acted_on_ = 0;       // and of the last that has ended
  uint64_t decided_under_ = 0;  // and the generation of the configuration
};

}  // namespace bellhop::service
