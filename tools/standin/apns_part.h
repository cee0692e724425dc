// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "core/sync.h"
#include "core/task.h"
#include "core/tls/context.h"
#include "core/tls/ticket_keys.h"
#include "service/http2_server_connection.h"
#include "service/http_server.h"
#include "tools/standin/apns.h"
#include "tools/standin/apns_check.h"
#include "tools/standin/rules.h"

namespace bellhop::standin {

struct Apns::Shared {
  ApnsOptions options;
  SocketAddress address, control_address;
  io::Handle listener;  // of the first part; the others open theirs on the same address
  io::Handle control_listener;
  std::shared_ptr<TicketKeys> ticket_keys;
  std::shared_ptr<const TlsAuthorities> client_authorities;
  ApnsObserver* observer = nullptr;
  std::atomic<uint64_t> next_number{1};  // of accepted pushes
};

// One core's share: its listener and its connections.
class Apns::Part {
 public:
  Part(Apns& apns, unsigned number, ProviderGate gate);

  // One connection, and the handler of its requests.
  struct Connection final : service::HttpHandler, ListLink {
    Connection(Part& part, Stream& stream, const service::Http2ServerConnectionLimits& limits)
        : part(part), http2(stream, *this, limits) {}
    Task<void> handle(service::HttpExchange& exchange) override;
    Task<void> answer(service::HttpExchange& exchange, const PushRequest& push, proto::ApnsReason reason,
                      WallTime timestamp);
    Task<void> follow_rule(service::HttpExchange& exchange, const PushRequest& push, std::string_view payload,
                           ApnsRule rule);
    Task<void> outlast(service::HttpExchange& exchange);
    Task<void> die();

    Part& part;
    service::Http2ServerConnection http2;
    ProviderSession session;
    bool proven = false;  // a valid token came, or a certificate was shown: more than one stream
    std::vector<std::string> certified_for;  // topic of the certificate
  };

  Task<void> run();
  Result<io::Handle> take_listener();
  Task<void> accept_all(Listener& listener, TaskScope& scope);
  Task<void> serve(Socket socket);
  void accept_push(const PushRequest& push, std::string_view payload);
  ApnsBooks part_books() const;

  Apns& apns;
  Shared& shared;
  const unsigned number;
  const unsigned core;
  ProviderGate gate;
  RuleList<ApnsRule> rules;
  Event stop_asked;
  uint32_t streams_max;
  // What is down now, and until when.
  ApnsOutage outage() const { return io::now() < outage_until ? outage_kind : ApnsOutage::none; }
  ApnsOutage outage_kind = ApnsOutage::none;
  Instant outage_until{};
  Event outage_changed;
  Task<void> outlast_silence();
  std::shared_ptr<TlsContext> tls;
  IntrusiveList<Connection> connections;
  ApnsBooks counts;
  std::deque<AcceptedPush> kept;
  std::vector<uint64_t> fresh;  // hashes of alerts since the last look for duplicates

  // On the first part: all alerts of all parts so far, sorted.
  void merge(std::vector<uint64_t> hashes);
  std::vector<uint64_t> all;
  uint64_t duplicates = 0, unseen = 0;
};

}  // namespace bellhop::standin
