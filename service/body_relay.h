// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "core/base/bytes.h"
#include "core/base/error.h"
#include "core/base/time.h"
#include "core/task.h"
#include "service/http_exchange.h"
#include "service/upstream_client.h"

namespace bellhop::service {

// Who ended a relay before its time.
enum class RelayFault : uint8_t { none, client, upstream, inspector };

// Carries the bodies of one exchange between a client and an upstream, both ways at once and a block at a time: a slow
// end slows the other, and nothing is held whole. An answer may come before the request is whole; the request then goes
// on for as long as the upstream takes it. Lives in the handler's frame; finish() comes before its end.
//
//   BodyRelay relay(exchange, upstream, co_await current_context());
//   …upstream.connect(), send_head(…, true)…
//   Result<UpstreamAnswerHead> head = co_await relay.ask(already_read, &inspector, answer_timeout);
//   if (head) (void)co_await relay.answer({…}, idle_timeout);
//   co_await relay.finish();
class BodyRelay {
 public:
  // Of a request that the upstream did not want to the end: so much is taken from the client and dropped, within
  // kDropTime, so that it comes to read the answer (RFC 9112 section 9.6).
  static constexpr uint64_t kDropBytesMax = 4 << 20;
  static constexpr Duration kDropTime = 5s;

  BodyRelay(HttpExchange& client, UpstreamExchange& upstream, Context& parent)
      : client_(client), upstream_(upstream), reading_(&parent), sending_(&parent) {}
  BodyRelay(const BodyRelay&) = delete;
  BodyRelay& operator=(const BodyRelay&) = delete;

  // After upstream.send_head(): sends `first` (read from the client before; valid until ask() returns), then what follows
  // of the client's body, and waits for the head of the answer: `answer_timeout` from the end of the body, or for each
  // piece; the client's pauses are its own affair. `inspector` (may be null; outlives finish()) sees each further piece before it is
  // sent; its error ends the relay, and is the result. With an upstream that was asked to invite the body, that is
  // awaited first. Errors: of the side that fault() names; timed_out with fault() upstream: no answer in time;
  // canceled with fault() none: the flow was stopped.
  Task<Result<UpstreamAnswerHead>> ask(Bytes first, BodySink* inspector, Duration answer_timeout);
  // Gives the client `head` and the answer's body, each piece at most `idle_timeout` after the one before. What is here
  // already leaves together. The body's length is that of the upstream's answer, whatever `head` says of it. After an
  // error the client's exchange is aborted. Errors: of the side that fault() names.
  Task<Status> answer(HttpResponseHead head, Duration idle_timeout);
  // Ends the sending; where the client still sends, takes the rest. Always, before the end of this.
  Task<void> finish();

  RelayFault fault() const { return fault_; }
  // After ask(), before finish(): the client had not sent on, so that the upstream could not but wait.
  bool waits_for_client() const { return asking_; }
  // Of the bodies, so far.
  uint64_t bytes_up() const { return bytes_up_; }
  uint64_t bytes_down() const { return bytes_down_; }

 private:
  Task<void> send_rest(BodySink* inspector);
  Task<void> hand_on(Bytes piece);
  Task<void> send_end();
  Task<void> end_sending();
  Task<void> watch_progress(Duration answer_timeout);
  void note_failed_send(const Error& error);
  void give_up(RelayFault side, const Error& error);
  std::unexpected<Error> failure(const Error& error);

  HttpExchange& client_;
  UpstreamExchange& upstream_;
  Context reading_;    // of the answer
  TaskScope sending_;  // the rest of the request
  Instant progress_at_{};       // of the request: the upstream took something, or there is something to take
  std::optional<Error> error_;  // of the side that fault_ names
  RelayFault fault_ = RelayFault::none;
  std::optional<uint64_t> answer_length_;
  uint64_t bytes_up_ = 0;
  uint64_t bytes_down_ = 0;
  bool dropping_ = false;  // what the client still sends goes nowhere
  bool asking_ = false;    // the client is waited for, and the upstream waits, too
  bool head_came_ = false;
  bool answered_ = false;  // whole
};

}  // namespace bellhop::service
