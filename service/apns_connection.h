// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "core/stream/stream.h"
#include "core/task.h"
#include "core/tls/context.h"
#include "proto/apns_answer.h"
#include "service/config.h"
#include "service/http2_connection.h"

namespace bellhop::service {

// One connection to APNs and what may be sent over it. Shared by its route and the pushes that use it; all of them on
// one core. With a provider token there is one stream at a time until an answer shows that APNs accepts it.
//
// Invariant: reserved + open streams never pass what HTTP/2 allows, unless the peer lowers its limit meanwhile.
class ApnsConnection final : public Http2Connection::Observer {
 public:
  class Owner {
   public:
    // free_streams() may have changed.
    virtual void on_connection_changed() = 0;
    // The first answer of this connection that shows our provider token to be good.
    virtual void on_token_accepted() = 0;
    virtual void on_goaway(const proto::Http2GoAway& goaway, const proto::ApnsAnswer& why) = 0;

   protected:
    ~Owner() = default;
  };

  // `by_certificate`: the handshake said who we are, so that all streams may be used from the start.
  ApnsConnection(std::unique_ptr<Stream> stream, Owner& owner, const ApnsConfig& config, bool by_certificate);

  // To its end; then the stream is closed. See Http2Connection::run.
  Task<Status> run();

  // Streams that a push may take now. 0 once no new pushes are welcome.
  uint32_t free_streams() const;
  // New pushes are still welcome, now or when a stream ends.
  bool usable() const { return !retired_ && !ended_ && !http2_.draining(); }
  void reserve() { ++reserved_; }
  void give_back();
  // A reserved stream becomes a request. See Http2Connection::send.
  Task<Result<Http2Answer>> send(const proto::Http2Request& request);

  // APNs took our provider token: all streams may be used from now on.
  void note_token_accepted();
  bool token_accepted() const { return token_accepted_; }
  // No new pushes; ends when the open ones have their answers.
  void retire();
  void abort() { http2_.abort(); }

 private:
  void on_streams_changed() override { owner_.on_connection_changed(); }
  void on_goaway(const proto::Http2GoAway& goaway) override;

  std::unique_ptr<Stream> stream_;
  Owner& owner_;
  Http2Connection http2_;
  const bool by_certificate_;
  uint32_t reserved_ = 0;
  bool token_accepted_ = false;
  bool retired_ = false;
  bool ended_ = false;
};

}  // namespace bellhop::service
