// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/base/intrusive_list.h"

namespace bellhop {

// What a suspended operation hangs into its flow's Context to hear of a stop. The hook is unlinked before it is called.
struct StopHook : ListLink {
  explicit StopHook(void (*function)(StopHook&)) : on_stop(function) {}
  void (*on_stop)(StopHook&);
};

// The stop state of a flow: a tree along the flow's structure. Stopping one stops all below it. A stop is a request:
// each pending operation is canceled and its flow goes on with CoreError::canceled; whoever asked then awaits the end.
// Lives in the frame of the flow that owns it; used on one core only. A child must not outlive its parent.
class Context : public ListLink {
 public:
  Context() = default;
  explicit Context(Context* parent);
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  // Idempotent. Runs the hooks of this context, then those of its children. Hooks must not resume a coroutine.
  void request_stop();
  bool stop_requested() const { return stopped_; }

  void add(StopHook* hook) { hooks_.push_back(hook); }

 private:
  bool stopped_ = false;
  IntrusiveList<StopHook> hooks_;
  IntrusiveList<Context> children_;
};

}  // namespace bellhop
