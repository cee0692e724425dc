// SPDX-License-Identifier: Apache-2.0
#include "core/channel.h"

#include <cerrno>

#include "core/abandonable.h"

namespace bellhop {
namespace {

// Awaits that something can be received.
class Ready : public Abandonable<io::Readiness> {
 public:
  explicit Ready(int descriptor) { operation.descriptor = descriptor; }
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
