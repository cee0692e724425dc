// SPDX-License-Identifier: Apache-2.0
#include "core/channel.h"

#include <cerrno>

#include "core/context.h"
#include "core/reactor.h"

namespace bellhop {
namespace {

// Awaits that something can be received. A stop of the flow abandons the wait.
class Ready {
 public:
  explicit Ready(int descriptor) : hook_(this) {
    readiness_.owner = this;
    readiness_.descriptor = descriptor;
    readiness_.done = [](io::Readiness& readiness) {
      Ready* self = static_cast<OwnReadiness&>(readiness).owner;
      self->hook_.unlink();
      make_ready(self->waiter_);
    };
  }
  bool await_ready() const noexcept { return false; }
  template <class P>
  bool await_suspend(std::coroutine_handle<P> h) noexcept {
    Context& context = *h.promise().context;
    if (context.stop_requested()) {
      canceled_ = true;
      return false;
    }
    waiter_ = &h.promise();
    context.add(&hook_);
    io::start(readiness_);
    return true;
  }
  Status await_resume() noexcept {
    if (canceled_) return fail(core_error(CoreError::canceled));
    return {};
  }

 private:
  struct OwnReadiness : io::Readiness {
    Ready* owner = nullptr;
  };
  struct OwnHook : StopHook {
    explicit OwnHook(Ready* r)
        : StopHook([](StopHook& hook) {
            Ready* self = static_cast<OwnHook&>(hook).owner;
            io::abandon(self->readiness_);
            self->canceled_ = true;
            make_ready(self->waiter_);
          }),
          owner(r) {}
    Ready* owner;
  };
  OwnReadiness readiness_;
  OwnHook hook_;
  Runnable* waiter_ = nullptr;
  bool canceled_ = false;
};

Error told(const Error& error) { return error == os_error(EPIPE) ? core_error(CoreError::closed) : error; }

}  // namespace

Task<Result<io::ChannelMessage>> Channel::receive() {
  for (;;) {
    Result<io::ChannelMessage> message = io::receive_message(descriptor_);
    if (message) co_return std::move(message);
    if (message.error() != os_error(EAGAIN)) co_return fail(told(message.error()));
    Ready ready(descriptor_.get());
    BH_CO_CHECKED(co_await ready);
  }
}

Status Channel::send(std::string_view text, std::span<const int> descriptors) {
  Status sent = io::send_message(descriptor_, text, descriptors);
  if (!sent) return fail(told(sent.error()));
  return sent;
}

Result<ChannelListener> ChannelListener::open(const std::string& path) {
  BH_TRY(io::Descriptor descriptor, io::listen_channel(path));
  return ChannelListener(std::move(descriptor));
}

Task<Result<Channel>> ChannelListener::accept() {
  for (;;) {
    Result<io::Descriptor> descriptor = io::accept_channel(descriptor_);
    if (descriptor) co_return Channel(*std::move(descriptor));
    if (descriptor.error() != os_error(EAGAIN)) co_return fail(descriptor.error());
    Ready ready(descriptor_.get());
    BH_CO_CHECKED(co_await ready);
  }
}

}  // namespace bellhop
