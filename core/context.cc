// SPDX-License-Identifier: Apache-2.0
#include "core/context.h"

namespace bellhop {

Context::Context(Context* parent) {
  if (!parent) return;
  parent->children_.push_back(this);
  stopped_ = parent->stopped_;
}

Context::~Context() {
  BH_CHECK(hooks_.empty());
  BH_CHECK(children_.empty());
}

void Context::request_stop() {
  if (stopped_) return;
  stopped_ = true;
  while (StopHook* hook = hooks_.pop_front()) hook->on_stop(*hook);
  children_.for_each([](Context* child) { child->request_stop(); });
}

}  // namespace bellhop
