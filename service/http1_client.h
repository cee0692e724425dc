// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <expected>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/bytes.h"
#include "core/base/error.h"
#include "core/stream/stream.h"
#include "core/sync.h"
#include "core/task.h"
#include "core/tls/context.h"
#include "proto/address_policy.h"
#include "proto/gzip.h"
#include "proto/http1.h"
#include "proto/wiping_buffer.h"
#include "service/http1_connection.h"
#include "service/metrics.h"
#include "service/outbound.h"

namespace bellhop::service {

// Bounds of our connections to a server; the defaults are those for a hostile one.
struct Http1ClientOptions {
  size_t connections_max = 16;        // of a pool; it may hold as many again for the moment of closing idle ones
  Duration connect_timeout = 5s;      // of the name's look-up, and of the connect to each address, proxies included
  Duration handshake_timeout = 5s;
  Duration idle_timeout = 60s;        // of an unused connection in a pool
  uint64_t body_bytes_max = 1024 * 1024;
  proto::HeaderBlock::Limits header;
  bool gzip = false;                  // takes gzip bodies; body_bytes_max then bounds both the gzip and its text
  MetricsShard* metrics = nullptr;    // counts open connections as `kind`, and those that could not be made; may be null
  ConnectionKind kind = ConnectionKind::ews;
};

// Where connections go.
using Http1Origin = OutboundOrigin;

struct Http1Request {
  std::string_view method = "GET";
  std::string_view target = "/";
  std::string_view host;  // Host field: see Url::authority()
  // May hold credentials: what is written of them is wiped. `accept-encoding` is added; not host, framing.
  std::span<const proto::HeaderField> headers;
  std::string_view body;          // framed by its length, also where it is empty and the method has a body
  bool expect_continue = false;   // sends Expect, and the body after 100 or kContinueWait (as .NET does)
  bool close = false;             // ask the server to close afterwards
  const TlsIdentity* identity = nullptr;  // who we are, where a connection has to be made; one for all of a pool
};

// Views into the connection: valid until its next exchange, rest() or end.
struct Http1Response {
  uint16_t status = 0;
  const proto::HeaderBlock* headers = nullptr;
  Bytes body;
  std::string_view text() const { return as_text(body); }
};

// One connection to an HTTP/1.1 server, for one request after the other. One flow at a time, on one core. What it read
// is wiped with the next request, with rest() and at the end. Destroying it closes at once; no operation may be pending.
class Http1Client {
 public:
  static constexpr Duration kContinueWait = 350ms;
  static constexpr size_t kRequestHeadersMax = 16;
  static constexpr size_t kOneWriteBytesMax = 16 * 1024;  // head and body leave in one piece up to this size
  static constexpr size_t kIdleBodyBytesMax = 16 * 1024;  // memory that an idle connection keeps
  static constexpr Duration kLinger = 50ms;               // a server's time to take note of close()

  // Resolves the name, checks every address, connects to the first that answers, and shakes hands; through the origin's
  // proxy where it has one. Errors: those of open_outbound(). Origin and options: until the end.
  // `identity`: used until the end of the task; see TlsEngine.
  static Task<Result<std::unique_ptr<Http1Client>>> open(const Http1Origin& origin, const Http1ClientOptions& options,
                                                         const TlsIdentity* identity = nullptr);
  Http1Client(const Http1Client&) = delete;
  Http1Client& operator=(const Http1Client&) = delete;
  ~Http1Client();

  // Sends, and reads the whole answer; the deadline is the caller's. Errors: http (content_encoded, bad_coding, body_too_large,
  // truncated, …), tls, os, canceled; after one the connection is of no more use.
  Task<Result<Http1Response>> exchange(const Http1Request& request);
  // Some of the answer to the last request came.
  bool answer_begun() const { return reader_.bytes_read() != bytes_before_; }
  // Another request may follow.
  bool reusable() const;
  // Wipes the last answer, and gives memory back.
  void rest();
  // Says goodbye and closes.
  Task<void> close();

  Instant idle_since() const { return idle_since_; }
  Stream& stream() { return *stream_; }

 private:
  Http1Client(std::unique_ptr<Stream> stream, const Http1ClientOptions& options);
  Status write_head(const Http1Request& request);
  Task<Status> send(const Http1Request& request);
  Task<Status> send_written(const Http1Request& request);
  Task<Status> wait_for_continue();
  Status check_head();
  Status take_body(Bytes piece);
  Task<Result<Http1Response>> receive();

  const Http1ClientOptions& options_;
  std::unique_ptr<Stream> stream_;
  proto::Http1ResponseParser parser_;
  Http1Reader<proto::Http1ResponseParser> reader_;
  proto::WipingBuffer body_;
  std::optional<proto::GzipReader> gzip_;  // while a gzip body comes
  uint64_t bytes_before_ = 0;
  Instant idle_since_{};
  std::string outgoing_;        // wiped as soon as it was sent
  bool refused_early_ = false;  // the answer came instead of 100 Continue, so the body was not sent
  bool good_ = true;            // the last exchange left the connection between messages
};

// Where a request failed.
enum class Http1Stage : uint8_t { waiting, connecting, exchanging };
struct Http1Failure {
  Error error;
  Http1Stage stage = Http1Stage::exchanging;
};

class Http1Pool;

// An answered request and its connection, which goes back to the pool when the lease dies. The pool outlives it.
class Http1Lease {
 public:
  Http1Lease(Http1Lease&& other) noexcept = default;
  Http1Lease& operator=(Http1Lease&&) = delete;
  ~Http1Lease();
  const Http1Response& response() const { return response_; }
  bool reused() const { return reused_; }  // the connection was not new
  const TlsEngine* tls() const { return client_->stream().tls(); }
  // The answer makes no sense: the connection is closed instead of kept.
  void discard() { discarded_ = true; }

 private:
  friend Http1Pool;
  Http1Lease(Http1Pool& pool, Semaphore::Permit slot) : pool_(&pool), slot_(std::move(slot)) {}

  Http1Pool* pool_;
  Semaphore::Permit slot_;
  uint64_t made_under_ = 0;  // the pool's rules that the connection was made under
  std::unique_ptr<Http1Client> client_;
  Http1Response response_;
  bool reused_ = false;
  bool discarded_ = false;
};

// Keep-alive connections to one origin, at most connections_max; further requests wait for one in the order of their
// arrival (how many may wait is the caller's to bound). Unused connections are closed after idle_timeout. One core.
class Http1Pool {
 public:
  Http1Pool(Http1Origin origin, const Http1ClientOptions& options);
  Http1Pool(const Http1Pool&) = delete;
  Http1Pool& operator=(const Http1Pool&) = delete;
  ~Http1Pool();  // after close()

  // Sends over an idle connection or a new one. An idle one that turns out dead before any byte of the answer came is
  // replaced, once, by a new one. The deadline is the caller's. A stopped request closes its connection.
  Task<std::expected<Http1Lease, Http1Failure>> send(const Http1Request& request);
  // Closes the connection that was unused for the longest, at once; false where none is unused.
  bool drop_idle();
  // At a reload: the way from now on. Connections of before are closed: idle and half-made ones, others once unused.
  void renew(Http1Origin origin);
  // Closes idle connections, and from now on those that come back. Awaits the closing, not the requests.
  Task<void> close();

  const Http1Origin& origin() const { return origin_; }
  size_t idle() const { return idle_.size(); }
  size_t open() const { return idle() + in_use(); }
  size_t in_use() const { return options_.connections_max - slots_.available(); }

 private:
  friend Http1Lease;
  void give_back(std::unique_ptr<Http1Client> client, uint64_t made_under);
  std::unique_ptr<Http1Client> take_idle();
  Task<void> sweep();

  Http1Origin origin_;
  Http1ClientOptions options_;
  Semaphore slots_;
  std::vector<std::unique_ptr<Http1Client>> idle_;  // longest unused first
  TaskScope sweeping_{nullptr};
  uint64_t rules_ = 0;  // counts renew()
  bool closed_ = false;
};

}  // namespace bellhop::service
