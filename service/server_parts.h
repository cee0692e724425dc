// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/sync.h"
#include "service/autodiscover.h"
#include "service/ews_contexts.h"
#include "service/gateway.h"
#include "service/gateway_logon.h"
#include "service/http_server.h"
#include "service/policy.h"
#include "service/public_handler.h"
#include "service/renewal.h"
#include "service/server.h"
#include "service/supervision.h"
#include "service/uem_sources.h"

namespace bellhop::service {

// The objects of one core, in the order in which they need each other. Lives in the frame of Server::run(core); used on
// that core only.
struct Server::CoreParts {
  CoreParts(Server& of, unsigned index);

  // Takes what a reload made; in one turn, and nothing here can fail.
  void take(const Switch& next);
  // How requests stand when a drain begins; what is in work then counts as still to end.
  void note_begin();
  // When the listeners' certificates expire, for the node; on core 0.
  void note_expiries();
  // Both listeners that serve clients.
  template <class F>
  void for_each_http(F&& f) {
    f(http);
    if (gateway_http) f(*gateway_http);
  }
  HttpServerStats http_stats();  // of both; the counts that a drain goes by
  bool quiet(Duration young);
  uint64_t handed_back() const {
    return metrics.value(metric::callbacks, CallbackOutcome::refused_draining) +
           metrics.value(metric::gateway_requests, GatewayOutcome::refused_stopping);
  }

  Server& server;
  MetricsShard& metrics;
  Ledger ledger;
  Log log;
  Decrypter decrypter;
  std::shared_ptr<const Upstreams> upstreams;
  EwsContexts ews_contexts;
  EwsClient ews;
  TokenClient tokens;
  Autodiscover autodiscover;
  ApnsSender apns;
  Policy policy;
  Core core;
  Mailboxes mailboxes;
  Supervision supervision;
  Renewal renewal;
  PublicHandler handler;
  HttpServer http;
  GatewayCertificates certificates;
  std::optional<KerberosAuthenticator> authenticator;  // where Kerberos is configured
  std::optional<Gateway> gateway;  // with the role, and its listener
  std::optional<HttpServer> gateway_http;
  std::optional<UemSources> uem_sources;  // on core 0

  Event drain_begun;
  Context* serving = nullptr;  // stops what is left when the patience is over
  bool cut = false;
  bool wound_down = false;  // for a successor; nothing new is taken, and nothing is in work
  Instant patience_ends{};  // of a drain
  uint64_t requests_ended_before = 0, handed_back_before = 0;
};

}  // namespace bellhop::service
