// SPDX-License-Identifier: Apache-2.0
#include "service/body_relay.h"

#include "core/join.h"
#include "core/sleep.h"
#include "proto/http_error.h"

namespace bellhop::service {

Task<Result<UpstreamAnswerHead>> BodyRelay::ask(Bytes first, BodySink* inspector, Duration answer_timeout) {
  Result<bool> invited = co_await upstream_.invited();
  if (!invited) co_return failure(invited.error());
  progress_at_ = io::now();
  if (*invited) co_await hand_on(first);
  TaskScope watching(&reading_);
  if (*invited && !error_) {
    // The end of a body that is all here is taken at once; a longer one is sent beside the wait for the answer.
    if (upstream_.request_sent() && !client_.http2()) {
      co_await send_rest(nullptr);
    } else if (!upstream_.request_sent()) {
      sending_.spawn(send_rest(inspector));
    }
  }
  watching.spawn(watch_progress(answer_timeout));
  Result<UpstreamAnswerHead> head = co_await upstream_.read_head().under(reading_);
  watching.request_stop();
  co_await watching.join();
  if (!head) co_return failure(head.error());
  head_came_ = true;
  answer_length_ = head->content_length;
  co_return head;
}

// Stops the wait for an answer that does not come.
Task<void> BodyRelay::watch_progress(Duration answer_timeout) {
  auto due = [&] { return (asking_ ? io::now() : progress_at_) + answer_timeout; };
  for (Instant at = due(); io::now() < at; at = due()) {
    if (!co_await sleep_until(at)) co_return;
  }
  give_up(RelayFault::upstream, core_error(CoreError::timed_out));
}

// The rest of the client's body, or where the upstream wants no more, into nowhere: the client has to get as far as to read
// the answer.
Task<void> BodyRelay::send_rest(BodySink* inspector) {
  Context& own = co_await current_context();
  uint64_t dropped = 0;
  for (;;) {
    asking_ = !dropping_;
    Result<Bytes> piece = co_await client_.read_some();
    asking_ = false;
    progress_at_ = io::now();
    if (!piece) {
      if (!own.stop_requested()) give_up(RelayFault::client, piece.error());
      co_return;
    }
    if (piece->empty()) break;
    if (dropping_) {
      dropped += piece->size();
      if (dropped > kDropBytesMax) co_return;
      continue;
    }
    Status fine = inspector ? inspector->on_body(*piece) : Status();
    if (fine) {
      co_await hand_on(*piece);
    } else {
      give_up(RelayFault::inspector, fine.error());
    }
  }
  if (!dropping_ && !upstream_.request_sent()) co_await send_end();
}

// A piece whose end is the body's leaves with that.
Task<void> BodyRelay::hand_on(Bytes piece) {
  bytes_up_ += piece.size();
  bool whole = client_.content_length() == bytes_up_;
  Status sent = co_await upstream_.write_some(piece, whole);
  progress_at_ = io::now();
  if (!sent) {
    note_failed_send(sent.error());
  } else if (whole) {
    Status ended = co_await upstream_.end_body();
    progress_at_ = io::now();
    if (!ended) note_failed_send(ended.error());
  }
}

Task<void> BodyRelay::send_end() {
  Status sent = co_await upstream_.end_body();
  progress_at_ = io::now();
  if (!sent) note_failed_send(sent.error());
}

// An upstream that has hung up may have answered before; one that takes nothing has not.
void BodyRelay::note_failed_send(const Error& error) {
  dropping_ = true;
  bool hung_up = error.domain == Domain::os || error.domain == Domain::tls || is(error, CoreError::closed);
  if (!hung_up && !is(error, CoreError::canceled)) give_up(RelayFault::upstream, error);
}

void BodyRelay::give_up(RelayFault side, const Error& error) {
  dropping_ = true;
  // A client that does not send on may still read what the upstream has begun to answer.
  bool answer_goes_on = side == RelayFault::client && head_came_;
  if (answered_ || error_ || answer_goes_on) return;
  fault_ = side;
  error_ = error;
  reading_.request_stop();
}

// Of a read from the upstream that gave this.
std::unexpected<Error> BodyRelay::failure(const Error& error) {
  dropping_ = true;
  if (error_) return fail(*error_);
  if (!is(error, CoreError::canceled)) {
    fault_ = RelayFault::upstream;
    error_ = error;
  }
  return fail(error);
}

Task<Status> BodyRelay::answer(HttpResponseHead head, Duration idle_timeout) {
  head.content_length = answer_length_;
  std::optional<Result<Bytes>> here = upstream_.try_read_some();
  Status sent = co_await client_.begin_response(head, here.has_value());
  while (sent) {
    if (!here) here = co_await within(idle_timeout, upstream_.read_some()).under(reading_);
    if (!*here) {
      client_.abort();
      co_return failure(here->error());
    }
    Bytes piece = **here;
    if (piece.empty()) break;
    bytes_down_ += piece.size();
    sent = co_await client_.write_some(piece, true);
    if (!sent) break;
    here = upstream_.try_read_some();
    if (!here) sent = co_await client_.write_some({}, false);
  }
  if (sent) sent = co_await client_.end_response();
  if (!sent) {
    if (client_.responded()) client_.abort();
    dropping_ = true;
    if (!is(sent.error(), CoreError::canceled)) fault_ = RelayFault::client;
    co_return sent;
  }
  answered_ = true;
  co_return Status();
}

Task<void> BodyRelay::finish() {
  return sending_.live() == 0 ? Task<void>::of() : end_sending();
}

Task<void> BodyRelay::end_sending() {
  if (!answered_) dropping_ = true;
  co_await join_or_stop(sending_, io::now() + kDropTime);
}

}  // namespace bellhop::service
