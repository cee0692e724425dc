// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "core/sleep.h"
#include "core/stream/block_pool.h"
#include "core/stream/stream.h"
#include "core/sync.h"
#include "core/task.h"

namespace bellhop::service {

// Moves bytes between a stream and an HTTP/2 machine (proto::Http2Client or Http2Server): what both sides share. A
// reader and a writer run beside each other; the writer waits for the end of the turn, so that all frames of the turn
// leave in as few writes as blocks are needed. No block is held while nothing is on the way. One core.
template <class Machine>
class Http2Driver {
 public:
  // Whose connection it is. Calls must not wait; they may use the machine.
  class Owner {
   public:
    virtual void take_events() = 0;     // after input and after output: take them until there are none
    virtual void on_input_ended() = 0;  // nothing more is read; what is queued still goes out

   protected:
    ~Owner() = default;
  };

  Http2Driver(Stream& stream, Machine& machine, Owner& owner, Duration write_stall_timeout)
      : stream_(stream), machine_(machine), owner_(owner), write_stall_timeout_(write_stall_timeout) {
    last_input_ = seconds_from_ = io::now();
  }
  Http2Driver(const Http2Driver&) = delete;
  Http2Driver& operator=(const Http2Driver&) = delete;

  // Until the peer leaves, the machine is finished, stop() is called or the flow is stopped. Then the machine knows
  // that its connection is lost, and the last events were taken. Once. Errors: http2 (the peer's fault), what stop()
  // was given, timed_out (the peer does not read), tls, os, canceled.
  Task<Status> run() {
    Context& own = co_await current_context();
    TaskScope writing(&own);
    Status ended;
    {
      Context reading(&own);
      reading_ = &reading;
      if (end_) reading.request_stop();
      writing.spawn(write_output());
      ended = co_await read_input().under(reading);
      reading_ = nullptr;
    }
    owner_.on_input_ended();
    input_ended_ = true;
    output_wanted_.set();
    co_await writing.join();
    machine_.connection_lost();
    owner_.take_events();
    if (machine_.failure()) co_return fail(*machine_.failure());
    co_return end_ ? *end_ : ended;
  }

  // After each use of the machine that may have made output.
  void wake_writer() {
    if (machine_.wants_output() || machine_.finished()) output_wanted_.set();
  }
  // run() returns soon, with this. What is queued still goes out, unless the flow is stopped.
  void stop(Status why) {
    if (!end_) end_ = why;
    if (reading_) reading_->request_stop();
  }
  Instant last_input() const { return last_input_; }

 private:
  Task<Status> read_input() {
    for (;;) {
      {
        Block block;
        while (size_t size = stream_.read(block.all())) {
          block.used(size);
          note_time();
          Status fed = machine_.feed(block.all().first(size));
          owner_.take_events();
          wake_writer();
          if (!fed) co_return fed;
        }
      }
      BH_CO_TRY(bool more, co_await stream_.wait_input());
      if (!more) co_return Status();
    }
  }

  Task<void> write_output() {
    for (;;) {
      co_await yield_now();
      {
        Block block;
        size_t size = machine_.take_output(block.all());
        block.used(size);
        owner_.take_events();
        if (size > 0) {
          Status sent = co_await within(write_stall_timeout_, stream_.write(block.all().first(size)));
          if (sent) continue;
          stop(sent);
          co_return;
        }
      }
      if (machine_.finished()) stop(Status());
      if (machine_.finished() || input_ended_) co_return;
      output_wanted_.reset();
      if (!co_await output_wanted_.wait()) co_return;
    }
  }

  // The machine counts floods per time, and has no clock.
  void note_time() {
    last_input_ = io::now();
    auto seconds = std::chrono::duration_cast<std::chrono::seconds>(last_input_ - seconds_from_);
    if (seconds.count() <= 0) return;
    seconds_from_ += seconds;
    machine_.seconds_passed(static_cast<uint32_t>(seconds.count()));
  }

  Stream& stream_;
  Machine& machine_;
  Owner& owner_;
  const Duration write_stall_timeout_;
  Context* reading_ = nullptr;  // while run() reads
  Event output_wanted_;
  std::optional<Status> end_;  // why reading was stopped
  bool input_ended_ = false;
  Instant last_input_{};
  Instant seconds_from_{};  // up to here the machine knows that time passed
};

}  // namespace bellhop::service
