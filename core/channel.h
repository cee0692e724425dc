// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "core/descriptors.h"
#include "core/task.h"

namespace bellhop {

// Messages, with descriptors, from one process of this host to another. Used on one core; one receive at a time. The
// other side hears of its end, also where our process dies.
class Channel {
 public:
  Channel() = default;
  explicit Channel(io::Descriptor descriptor) : descriptor_(std::move(descriptor)) {}

  explicit operator bool() const { return static_cast<bool>(descriptor_); }
  // Waits for a message. Errors: CoreError::closed (the other side is gone), canceled, os.
  Task<Result<io::ChannelMessage>> receive();
  // Does not wait. Errors: CoreError::closed, os.
  Status send(std::string_view text, std::span<const int> descriptors = {});
  void close() { descriptor_.close(); }

 private:
  io::Descriptor descriptor_;
};

// Where other processes reach us.
class ChannelListener {
 public:
  // Errors: os.
  static Result<ChannelListener> open(const std::string& path);
  // Errors: canceled, os.
  Task<Result<Channel>> accept();

 private:
  explicit ChannelListener(io::Descriptor descriptor) : descriptor_(std::move(descriptor)) {}
  io::Descriptor descriptor_;
};

}  // namespace bellhop
