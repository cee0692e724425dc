// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <unordered_map>
#include <variant>

#include "core/stream/stream.h"
#include "core/sync.h"
#include "core/task.h"
#include "proto/http2_client.h"
#include "service/http2_driver.h"

namespace bellhop::service {

struct Http2ConnectionLimits {
  proto::Http2ClientLimits http2;
  Duration write_stall_timeout = 10s;  // for one block of output
  Duration ping_interval = 60s;        // without input, before the peer is asked for a sign of life
  Duration ping_timeout = 5s;          // then it is taken as dead
};

// How a request ended that was put on the wire, or was about to be.
using Http2Answer = std::variant<proto::Http2Response, proto::Http2StreamFailed>;

// The client end of one HTTP/2 connection: drives proto::Http2Client over a stream that has done its handshake (ALPN
// h2). Requests of one turn leave in one write. The stream's owner closes it after run(); `stream` and `observer`
// outlive the connection, and the connection outlives its requests. One core.
class Http2Connection final : Http2Driver<proto::Http2Client>::Owner {
 public:
  class Observer {
   public:
    // More streams may be available, or none any more. Called often; must not wait.
    virtual void on_streams_changed() = 0;
    virtual void on_goaway(const proto::Http2GoAway& goaway) = 0;

   protected:
    ~Observer() = default;
  };

  Http2Connection(Stream& stream, Observer& observer, const Http2ConnectionLimits& limits);
  Http2Connection(const Http2Connection&) = delete;
  Http2Connection& operator=(const Http2Connection&) = delete;

  // Until the peer leaves, all streams ended after a GOAWAY of either side, or the flow is stopped. Requests that were
  // open then end with Http2StreamFailed. Once. Errors: http2, CoreError::timed_out (the peer is silent or does not
  // read), tls, os, canceled.
  Task<Status> run();

  // Sends a request and awaits its end. `request` and what it views need to live until the task first waits only. A
  // flow that is stopped resets its stream (CANCEL) and forgets it; where nothing had come since, the peer is asked for
  // a sign of life. Errors: those of Http2Client::submit (nothing was sent); canceled.
  Task<Result<Http2Answer>> send(const proto::Http2Request& request);

  uint32_t streams_available() const { return machine_.streams_available(); }
  uint32_t streams_open() const { return machine_.streams_open(); }
  // No new requests; run() returns when the open ones have ended.
  void drain();
  bool draining() const { return machine_.draining(); }
  // run() returns soon; open requests fail.
  void abort();

 private:
  struct Pending {
    std::optional<Http2Answer> answer;
    Event ended;
  };
  void take_events() override;
  void on_input_ended() override {}
  void end(int32_t stream_id, Http2Answer answer);
  Task<void> watch();

  Observer& observer_;
  const Http2ConnectionLimits limits_;
  proto::Http2Client machine_;
  Http2Driver<proto::Http2Client> driver_;
  std::unordered_map<int32_t, Pending*> pending_;  // in the frames of send()
  Event probe_asked_;
  uint64_t pings_ = 0;
};

}  // namespace bellhop::service
