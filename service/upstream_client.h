// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/intrusive_list.h"
#include "core/stream/stream.h"
#include "core/sync.h"
#include "core/task.h"
#include "proto/http1.h"
#include "service/http1_body_writer.h"
#include "service/http1_connection.h"
#include "service/metrics.h"
#include "service/outbound.h"

namespace bellhop::service {

// Bounds of the connections to one upstream.
struct UpstreamOptions {
  size_t connections_max = 1024;       // in use and idle together
  size_t waiting_max = 1024;           // exchanges that wait for one of them; more fail with CoreError::limit
  Duration connect_timeout = 5s;       // of the name's look-up, and of the connect to each address
  Duration handshake_timeout = 5s;
  Duration idle_timeout = 60s;         // of an unused connection
  Duration write_stall_timeout = 10s;  // for each block that the upstream has to take
  proto::HeaderBlock::Limits header;   // of an answer
  MetricsShard* metrics = nullptr;     // counts open connections as `kind`, and those that could not be made; may be null
  ConnectionKind kind = ConnectionKind::ews;
};

// All views are needed for the length of send_head() only.
struct UpstreamRequestHead {
  std::string_view method = "GET";
  std::string_view target = "/";  // origin form
  std::string_view host;          // Host field: see Url::authority()
  // May hold credentials: what is written of them is wiped. None that frames a message or speaks of a connection.
  std::span<const proto::HeaderField> headers;
  bool has_body = false;
  std::optional<uint64_t> content_length;  // of the body; nothing: chunked
  bool expect_continue = false;            // see invited()
  bool close = false;                      // ask the upstream to close afterwards
};

// Valid until the exchange ends.
struct UpstreamAnswerHead {
  uint16_t status = 0;
  const proto::HeaderBlock* headers = nullptr;  // as they came, those of the connection included
  std::optional<uint64_t> content_length;       // of the body: 0 where there is none, nothing where its end will tell
  bool has_body = false;
};

// Whose connection an exchange may use.
struct UpstreamKey {
  // Empty: shared by all. Else connections of this key alone: authentication that is bound to the connection (Negotiate)
  // makes it one user's. Copied.
  std::string_view owner;
  const TlsIdentity* identity = nullptr;  // our certificate, where a connection has to be made; one for all of a pool
  bool fresh = false;                     // never an idle connection
};

// How far an exchange came.
enum class UpstreamStage : uint8_t {
  waiting,     // for a free connection
  connecting,
  sending,     // nothing of an answer came
  answering,   // some of an answer came
  done,
};

class UpstreamPool;
class UpstreamConnection;

// One request and its answer, in pieces, over a connection of its pool. Lives in the frame of the flow that makes it;
// the pool outlives it. One flow may send while another reads. While it waits it holds no block. Its end gives
// the connection back where both messages are whole and the upstream keeps it, else closes it at once.
//
//   UpstreamExchange exchange(pool, {.owner = account});
//   BH_CO_CHECKED(co_await exchange.connect());
//   BH_CO_CHECKED(co_await exchange.send_head({…}, true));
//   …write_some(piece)…; BH_CO_CHECKED(co_await exchange.end_body());
//   BH_CO_TRY(UpstreamAnswerHead head, co_await within(answer_timeout, exchange.read_head()));
//   for (;;) { BH_CO_TRY(Bytes piece, co_await within(idle_timeout, exchange.read_some())); if (piece.empty()) break; … }
//
// Deadlines of reads are the caller's (within); one that passed ends the exchange. Errors of all: http, tls, os, canceled,
// timed_out; after one the connection is of no more use, but what came of an answer may still be read after a failed write.
class UpstreamExchange {
 public:
  static constexpr Duration kContinueWait = 350ms;
  static constexpr Duration kProbeAfter = 1s;  // a connection idle for so long is looked at before it is used

  UpstreamExchange(UpstreamPool& pool, const UpstreamKey& key);
  UpstreamExchange(const UpstreamExchange&) = delete;
  UpstreamExchange& operator=(const UpstreamExchange&) = delete;
  ~UpstreamExchange();

  // Takes an idle connection of the key that is still alive, or makes one. Waits where connections_max are in use; an
  // idle one of another key is closed for it. Errors: those of open_outbound(); CoreError::limit (waiting_max),
  // CoreError::closed (the pool was closed).
  Task<Status> connect();
  // With `more` the head may be kept back for the first piece, which must follow without waiting for anything else.
  // A connection that was idle and turns out dead is replaced by a new one, once: here, in invited() and in read_head(),
  // as long as nothing of a body was given and nothing of an answer came.
  Task<Status> send_head(const UpstreamRequestHead& head, bool more = false);
  // After send_head() with expect_continue, before the body. False: the answer came instead, no body is to be sent. An
  // upstream that says nothing for kContinueWait gets the body (RFC 9110 section 10.1.1).
  Task<Result<bool>> invited();
  // As HttpExchange::write_some(): at most a block waits behind it.
  Task<Status> write_some(Bytes piece, bool more = false);
  // The request is whole; to be called without a body, too. HttpError::unwritable where the body is shorter than announced.
  Task<Status> end_body();
  // The answer's head, interim answers left out. It may come before the request is whole: the rest may then be sent on or
  // be left, in which case the connection ends with the exchange.
  Task<Result<UpstreamAnswerHead>> read_head();
  // The next piece of the answer's body, as it came (no coding but chunked is taken off), valid until the next call;
  // empty at the end.
  Task<Result<Bytes>> read_some();
  // As read_some(), of what is here already; nothing where that would have to wait.
  std::optional<Result<Bytes>> try_read_some();

  UpstreamStage stage() const;
  bool request_sent() const { return request_ended_; }  // whole
  bool answer_whole() const { return stage_ == UpstreamStage::done; }
  // After connect(): the connection served an exchange before.
  bool reused() const { return reused_; }
  // A note that stays with the connection: that its authentication is done, for instance. 0 on a new one.
  uint32_t note() const;
  void set_note(uint32_t note);
  const TlsEngine* tls() const;  // after connect(); null for a plain connection
  // The connection is closed at the end instead of kept.
  void discard() { discarded_ = true; }

 private:
  bool take_warm();
  Task<Status> find_connection();
  Task<Status> open();
  Task<Status> transmit_head(bool more);
  Task<Status> await_head(Task<Status> sending);
  Task<Status> await_piece(Task<Status> sending);
  Task<Result<bool>> wait_for_invitation();
  Task<Status> replace_dead(Error error);
  Task<Result<bool>> wait_for_continue();
  bool may_replace(const Error& error) const;
  bool has_no_body() const;
  void forget_head();
  Bytes take_step(const proto::Http1Step& step);

  UpstreamPool& pool_;
  const std::string owner_;
  const TlsIdentity* const identity_;
  const bool fresh_;
  Semaphore::Permit slot_;
  std::unique_ptr<UpstreamConnection> connection_;
  uint64_t made_under_ = 0;  // the pool's rules that the connection was made under
  std::string head_;         // what was written; wiped when no other connection may need it
  proto::Http1Framing framing_;
  bool head_request_ = false;
  bool close_ = false;
  bool expects_ = false;
  UpstreamStage stage_ = UpstreamStage::waiting;
  bool reused_ = false;
  bool body_begun_ = false;
  bool request_ended_ = false;
  bool head_came_ = false;
  bool failed_ = false;
  bool discarded_ = false;
};

// Keep-alive connections to one upstream. Unused ones are closed after idle_timeout, or to make room for another key, the
// longest unused first. One core; owned by the route.
class UpstreamPool {
 public:
  UpstreamPool(OutboundOrigin origin, const UpstreamOptions& options);
  UpstreamPool(const UpstreamPool&) = delete;
  UpstreamPool& operator=(const UpstreamPool&) = delete;
  ~UpstreamPool();  // after close() and the end of all exchanges

  // At a reload: the way from now on. Connections of before are closed: idle and half-made ones, others once unused.
  void renew(OutboundOrigin origin);
  // Closes the idle connections of one key (its user was blocked); false where it had none.
  bool drop_idle(std::string_view owner);
  // Closes idle connections, and from now on those that come back; who waits for one fails. Awaits the closing, not the
  // exchanges.
  Task<void> close();

  const OutboundOrigin& origin() const { return origin_; }
  const UpstreamOptions& options() const { return options_; }
  size_t idle() const { return idle_count_; }
  size_t in_use() const { return options_.connections_max - slots_.available(); }
  size_t waiting() const { return waiting_; }

 private:
  friend UpstreamExchange;
  Task<Result<Semaphore::Permit>> take_slot();
  std::unique_ptr<UpstreamConnection> take_warm(std::string_view owner);
  std::unique_ptr<UpstreamConnection> take_idle(std::string_view owner);
  void give_back(std::unique_ptr<UpstreamConnection> connection, uint64_t made_under);
  std::unique_ptr<UpstreamConnection> remove(UpstreamConnection& connection);
  void make_room();
  Task<void> sweep();

  OutboundOrigin origin_;
  UpstreamOptions options_;
  Semaphore slots_;
  size_t waiting_ = 0;
  IntrusiveList<UpstreamConnection> idle_;  // longest unused first
  size_t idle_count_ = 0;
  std::map<std::string, std::vector<std::unique_ptr<UpstreamConnection>>, std::less<>> by_owner_;  // the idle ones
  TaskScope sweeping_{nullptr};
  uint64_t rules_ = 0;  // counts renew()
  bool closed_ = false;
};

}  // namespace bellhop::service
