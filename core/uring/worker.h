// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <mutex>
#include <thread>

#include "core/io.h"

namespace bellhop::uring {

// A helper thread that runs jobs one after the other. stop() lets it finish what is queued. From any thread.
class WorkerThread {
 public:
  explicit WorkerThread(const char* name);
  ~WorkerThread() { stop(); }
  void submit(io::Job& job);
  void stop();

 private:
  void run(const char* name);

  std::mutex mutex_;
  std::condition_variable changed_;
  IntrusiveList<io::Job> jobs_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace bellhop::uring
