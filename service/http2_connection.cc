// SPDX-License-Identifier: Apache-2.0
#include "service/http2_connection.h"

#include <utility>

#include "core/sleep.h"

namespace bellhop::service {
namespace {

Task<Status> wait_set(Event& event) {
  co_return co_await event.wait();
}

}  // namespace

Http2Connection::Http2Connection(Stream& stream, Observer& observer, const Http2ConnectionLimits& limits)
    : observer_(observer),
      limits_(limits),
      machine_(limits.http2),
      driver_(stream, machine_, *this, limits.write_stall_timeout) {}

Task<Status> Http2Connection::run() {
  TaskScope watching(&co_await current_context());
  watching.spawn(watch());
  Status ended = co_await driver_.run();
  watching.request_stop();
  co_await watching.join();
  BH_CHECK(pending_.empty());
  co_return ended;
}

Task<Result<Http2Answer>> Http2Connection::send(const proto::Http2Request& request) {
  BH_CO_TRY(int32_t stream_id, machine_.submit(request));
  Instant sent_at = io::now();
  Pending pending;
  pending_.emplace(stream_id, &pending);
  driver_.wake_writer();
  Status waited = co_await pending.ended.wait();
  if (pending.answer) co_return *std::move(pending.answer);
  pending_.erase(stream_id);
  (void)machine_.cancel(stream_id);  // what is known of the request does not matter to a flow that gave up
  if (driver_.last_input() < sent_at) probe_asked_.set();
  driver_.wake_writer();
  co_return fail(waited.error());
}

void Http2Connection::end(int32_t stream_id, Http2Answer answer) {
  auto it = pending_.find(stream_id);
  BH_CHECK(it != pending_.end());
  it->second->answer = std::move(answer);
  it->second->ended.set();
  pending_.erase(it);
}

void Http2Connection::take_events() {
  while (auto event = machine_.next_event()) {
    if (auto* response = std::get_if<proto::Http2Response>(&*event)) {
      int32_t stream_id = response->stream_id;
      end(stream_id, std::move(*response));
    } else if (auto* failed = std::get_if<proto::Http2StreamFailed>(&*event)) {
      end(failed->stream_id, *failed);
    } else if (auto* goaway = std::get_if<proto::Http2GoAway>(&*event)) {
      observer_.on_goaway(*goaway);
    }
    // An acknowledged ping is a sign of life like any other input; a changed limit shows in streams_available().
  }
  observer_.on_streams_changed();
}

// A connection that lost its peer without a word would swallow pushes until TCP gives up: ask for a sign of life.
Task<void> Http2Connection::watch() {
  for (;;) {
    Status asked = co_await within_until(driver_.last_input() + limits_.ping_interval, wait_set(probe_asked_));
    if (!asked && !is(asked.error(), CoreError::timed_out)) co_return;
    probe_asked_.reset();
    if (!asked && io::now() < driver_.last_input() + limits_.ping_interval) continue;
    Instant asked_at = io::now();
    if (!machine_.ping(++pings_)) co_return;  // the connection is over
    driver_.wake_writer();
    if (!co_await sleep_until(asked_at + limits_.ping_timeout)) co_return;
    if (driver_.last_input() < asked_at) {
      driver_.stop(fail(core_error(CoreError::timed_out)));
      co_return;
    }
  }
}

void Http2Connection::drain() {
  machine_.drain();
  driver_.wake_writer();
}

void Http2Connection::abort() {
  driver_.stop(Status());
}

}  // namespace bellhop::service
