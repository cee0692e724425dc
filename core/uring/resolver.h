// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <unordered_map>

#include "core/io.h"
#include "core/timer_wheel.h"
#include "core/uring/ring.h"

struct ares_channeldata;

namespace bellhop::uring {

// Name look-ups by c-ares, driven by the ring: its sockets are polled one shot at a time, its timeouts sit in the timer
// wheel. One per core, owned by the ring; the channel is made at the first look-up.
class Resolver {
 public:
  explicit Resolver(Ring& ring);
  static void register_texts();  // of Domain::dns; once, before the cores' threads start
  // Name servers instead of the system's, as c-ares writes them ("127.0.0.1:5353,[::1]:53"); empty: the system's. For
  // tests. Before the cores' threads start.
  static void use_servers(std::string servers);
  ~Resolver();
  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;

  void start(io::Resolution& resolution);
  void abandon(io::Resolution& resolution);
  // Ends all look-ups; polls that are still with the kernel complete afterwards.
  void shut_down();

 private:
  struct Poll;
  struct Query;
  struct OwnTimer : Timer {
    explicit OwnTimer(Resolver* r) : Timer(&Resolver::timed_out), resolver(r) {}
    Resolver* resolver;
  };

  Status open();
  static void socket_state(void* self, int fd, int readable, int writable);
  static void timed_out(Timer& timer);
  void process(int read_fd, int write_fd);
  void arm_timer();

  Ring& ring_;
  ares_channeldata* channel_ = nullptr;
  std::unordered_map<int, Poll*> polls_;
  OwnTimer timer_;
};

}  // namespace bellhop::uring
