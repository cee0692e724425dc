// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/sync.h"
#include "service/autodiscover.h"
#include "service/http_server.h"
#include "service/public_handler.h"
#include "service/renewal.h"
#include "service/server.h"
#include "service/supervision.h"

namespace bellhop::service {

// The objects of one core, in the order in which they need each other. Lives in the frame of Server::run(core); used on
// that core only.
struct Server::CoreParts {
  CoreParts(Server& server, unsigned index);

  // Takes what a reload made; in one turn, and nothing here can fail.
  void take(const Switch& next);
  // How requests stand when a drain begins; what is in work then counts as still to end.
  void note_begin();
  uint64_t handed_back() const { return metrics.value(metric::callbacks, CallbackOutcome::refused_draining); }

  MetricsShard& metrics;
  Ledger ledger;
  Log log;
  Decrypter decrypter;
  std::shared_ptr<const Upstreams> upstreams;
  EwsClient ews;
  TokenClient tokens;
  Autodiscover autodiscover;
  ApnsSender apns;
  Core core;
  Mailboxes mailboxes;
  Supervision supervision;
  Renewal renewal;
  PublicHandler handler;
  HttpServer http;

  Event drain_begun;
  Context* serving = nullptr;  // stops what is left when the patience is over
  bool cut = false;
  bool wound_down = false;  // for a successor; nothing new is taken, and nothing is in work
  Instant patience_ends{};  // of a drain
  uint64_t requests_ended_before = 0, handed_back_before = 0;
};

}  // namespace bellhop::service
