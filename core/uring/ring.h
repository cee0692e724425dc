// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <liburing.h>

#include <atomic>
#include <memory>
#include <optional>
#include <string>

#include "core/io.h"
#include "core/reactor.h"

namespace bellhop::uring {

class Resolver;

// What the kernel has, found out once per ring. A missing one costs speed, not function.
struct Features {
  bool no_sqarray = false;     // 6.6
  bool fd_install = false;     // 6.8: accepted sockets live in the ring's file table, and still tell their peer
  unsigned file_slots = 0;     // connections that the ring can hold
  bool file_slots_cut = false; // fewer than asked for
};

// A kernel request of the back end itself (not an io::Operation): name look-up polls, wake-ups.
struct InternalOperation {
  virtual ~InternalOperation() = default;
  virtual void completed(int32_t result) = 0;
};

// The ring of one core: made, used and freed on that core's thread. Turns io::Operations into submissions and
// completions back into calls. Limits: submission queue kSubmissions (flushed early when full), completion queue four
// times that, file table `connections_max`, receive pool `receive_buffers`.
class Ring {
 public:
  static constexpr unsigned kSubmissions = 2048;

  Ring();
  ~Ring();
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  Status open(const io::ClusterOptions& options);
  static Ring& current();
  static Ring* current_or_null();

  void start(io::Operation& operation);
  void cancel(io::Operation& operation);
  void close(io::Handle handle);
  MutableBytes buffer(int32_t id);
  void release_buffer(int32_t id);
  void poll(int fd, unsigned events, InternalOperation& operation);
  void cancel(InternalOperation& operation);
  void read(int fd, MutableBytes out, InternalOperation& operation);
  // Puts a completion into another ring, which ends its sleep.
  void send_wake(int ring_fd);

  // Submits what is queued, waits for a completion until `until` (not at all where it is in the past, for ever where it
  // is empty), and runs the completions. One io_uring_enter in all but rare cases.
  void submit_and_reap(std::optional<Instant> until, Instant now);

  int fd() const { return ring_.ring_fd; }
  const io::BackendStats& stats() const { return stats_; }
  const Features& features() const { return features_; }
  Resolver& resolver() { return *resolver_; }
  uint64_t operations_in_flight() const { return in_flight_; }

 private:
  io_uring_sqe* next_sqe();
  void prepare(io_uring_sqe* sqe, io::Operation& operation);
  void complete(io_uring_cqe* cqe);
  void complete(io::Operation& operation, int32_t result, uint32_t flags);
  size_t buffer_bytes() const;  // the buffers and their ring
  Status open_buffers(unsigned count);
  Status open_ring();

  io_uring ring_{};
  bool open_ = false;
  Features features_;
  io::BackendStats stats_;
  uint64_t in_flight_ = 0;

  io_uring_buf_ring* buffer_ring_ = nullptr;
  unsigned buffer_count_ = 0;
  uint8_t* buffers_ = nullptr;
  IntrusiveList<io::Operation> starved_;  // receives that found no buffer; started again when one is released

  int signal_fd_ = -1;
  std::unique_ptr<Resolver> resolver_;
};

}  // namespace bellhop::uring
