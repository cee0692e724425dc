// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "core/channel.h"
#include "core/descriptors.h"
#include "core/task.h"
#include "service/log.h"

namespace bellhop::service {

struct HandoverOptions {
  std::string lock_path;    // whoever holds its lock owns the store; empty: nobody else could (tests, demo)
  std::string socket_path;  // where a successor asks
  bool take_over = false;   // from the process that runs, where one does
};

// A descriptor that goes to a successor, or came from a predecessor or the service manager, and what it is: "public",
// "admin" (sockets of the service manager's), "own@ENDPOINT" (ours), "tickets" (the keys of TLS session tickets).
struct NamedDescriptor {
  io::Descriptor descriptor;
  std::string name;
};

// How one process takes another's place: docs/decisions/0018-restart.md. Two things change hands. The listening sockets
// are shared at once, so that no connection that waits in one is lost, whichever process dies. What only one process may
// do, everything that writes, belongs to the holder of a lock; the successor accepts nothing before it has it, and so
// whoever accepts a callback is also who may handle it. On core 0.
//
// Invariants:
//  1. until the place is left, everything can be taken back: a successor that dies or gives up before leaves no trace;
//  2. the lock is let go after the last write, and by the kernel where the process dies;
//  3. one successor at a time; others wait, and give up after a while.
class Handover {
 public:
  explicit Handover(HandoverOptions options) : options_(std::move(options)) {}

  // ---- The successor ----

  // Asks the process that runs for its sockets, where we are to take over. False where nobody runs. Errors: closed,
  // timed_out (it does not answer), unsupported (it speaks otherwise), os.
  Task<Result<bool>> ask(std::vector<NamedDescriptor>& given);
  // True from then on.
  bool asked() const { return static_cast<bool>(predecessor_); }
  // Everything is made: waits until the predecessor has left its place, in whatever way, and takes the lock. Errors:
  // limit (somebody else holds it), canceled, os.
  Task<Status> own();

  // ---- The one who runs ----

  struct Place {
    std::function<std::vector<NamedDescriptor>()> share;  // what a successor gets
    // Takes no more connections and ends the requests under way. Stopped where the successor goes away meanwhile.
    std::function<Task<void>()> wind_down;
    std::function<Task<void>()> take_back;  // serves on, after wind_down
    std::function<Task<void>()> leave;      // for good: drains
  };
  // Lets successors ask, until one has the place or the flow is stopped.
  Task<void> offer(Place place, Log& log);
  // The last write is done. Idempotent.
  void let_go();
  // A successor waits for let_go().
  bool handing_over() const { return static_cast<bool>(successor_); }

 private:
  Task<bool> serve(Channel& successor, const Place& place, Log& log);
  Status give(Channel& successor, const Place& place);
  Task<bool> wind_down_beside(Channel& successor, const Place& place);

  HandoverOptions options_;
  io::Descriptor lock_;
  Channel predecessor_;
  Channel successor_;
};

}  // namespace bellhop::service
