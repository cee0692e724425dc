// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <memory>

#include "core/io.h"

namespace bellhop::uring {

// The threads behind io::Errand, one a lane. Each begins with the first errand of its lane.
class ErrandThreads {
 public:
  // How long stop() waits for threads that wait for somebody else's server. Then they are let go: they end with the
  // process, and touch nothing but their errand until then.
  static constexpr std::chrono::milliseconds kPatience{500};

  ErrandThreads();
  ~ErrandThreads() { stop(); }
  ErrandThreads(const ErrandThreads&) = delete;
  ErrandThreads& operator=(const ErrandThreads&) = delete;

  void start(io::Errand& errand, unsigned lane);
  bool abandon(io::Errand& errand);
  // After the cores have ended: every errand is done, or abandoned.
  void stop();

 private:
  struct Lane;
  std::array<std::shared_ptr<Lane>, io::kErrandLanes> lanes_;  // shared with their threads
};

}  // namespace bellhop::uring
