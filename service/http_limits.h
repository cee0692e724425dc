// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/base/time.h"
#include "core/task.h"
#include "proto/address_policy.h"
#include "proto/http.h"
#include "proto/http2_server.h"

namespace bellhop::service {

// Named in the configuration under [listen.*]; the defaults are those of a listener on the open Internet.
struct HttpServerLimits {
  size_t connections_max = 20'000;         // of this core; more are closed at once
  // Of this core and one client address (IPv6: one /64); 0: not counted. New ones: ten seconds' worth may come at once.
  size_t connections_per_address_max = 0;
  uint32_t connections_per_address_per_second = 0;
  size_t addresses_tracked_max = 65'536;   // for the line above
  proto::AddressBlocks exempt;             // from these two
  // Peers that begin with a PROXY protocol header (proto/proxy_protocol.h); its client is taken for the peer.
  proto::AddressBlocks proxy_protocol_from;
  size_t handshakes_in_flight_max = 2'048;
  uint64_t requests_per_connection_max = 100'000;
  Duration handshake_timeout = 5s;         // from accepting a connection, a PROXY protocol header included
  Duration header_timeout = 10s;           // from the first byte of a request to the end of its head
  Duration idle_timeout = 60s;             // between requests, and before the first
  Duration body_grace = 10s;               // a body may take this long, plus its size over the rate below
  uint64_t body_rate_min_bytes_per_s = 4096;
  Duration write_stall_timeout = 10s;
  proto::HeaderBlock::Limits header;       // of HTTP/1.1

  proto::Http2ServerLimits http2 = {.streams_max = 100, .header_table_bytes = 0};  // of one connection
  size_t http2_requests_in_work_max = 16'384;   // of this core; more streams are refused
  size_t http2_body_bytes_max = 64 << 20;       // of this core: bodies that came and were not read
  Duration http2_goaway_grace = 1s;             // between the two steps of an orderly end (RFC 9113 section 6.8)
};

struct HttpServerStats {
  uint64_t accepted = 0;
  uint64_t refused_full = 0;         // connections_max or handshakes_in_flight_max was reached
  uint64_t refused_address = 0;      // connections_per_address_max was reached
  uint64_t refused_rate = 0;         // connections_per_address_per_second was reached
  uint64_t proxy_headers_refused = 0;  // missing, malformed or late
  uint64_t handshakes_failed = 0;
  uint64_t timed_out = 0;            // handshake, head, body or answer too slow
  uint64_t malformed = 0;            // requests that the parser refused
  uint64_t requests = 0;             // of both versions
  uint64_t requests_in_work = 0;     // now, of both versions
  uint64_t requests_patient = 0;     // of them, those whose handler waits for long (HttpExchange::be_patient)
  uint64_t connections = 0;          // open now, of both versions
  uint64_t http2_requests = 0;
  uint64_t http2_connections = 0;    // open now
  uint64_t http2_streams_refused = 0;  // http2_requests_in_work_max was reached
  uint64_t http2_flooded = 0;        // connections ended for resets, control frames or CONTINUATION frames
  uint64_t http2_violations = 0;     // connections ended for another breach of the protocol
};

// One connection of a listener, in either version of HTTP. Made after the handshake; its stream is closed by its owner.
class HttpConnection {
 public:
  // Serves until the peer leaves, a limit ends it, or an orderly end is complete. Once.
  // Errors: http, http2 (the peer's fault), CoreError::timed_out, CoreError::closed (the peer left), tls, os, canceled.
  virtual Task<Status> run() = 0;
  // No request after those under way; a resting connection ends, and patient exchanges are stopped. Does not wait; run()
  // then returns.
  virtual void drain() = 0;
  // On: the next answer is the last one, and says so; a resting connection rests on. HTTP/2 says so at once, by the first
  // step of drain(), and cannot take it back.
  virtual void set_leaving(bool on) = 0;
  // Whether it ever brought a request.
  virtual bool asked() const = 0;

 protected:
  ~HttpConnection() = default;
};

}  // namespace bellhop::service
