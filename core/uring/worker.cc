// SPDX-License-Identifier: Apache-2.0
#include "core/uring/worker.h"

#include <pthread.h>

#include "core/reactor.h"

namespace bellhop::uring {
namespace {

// Carries a finished job home. Jobs are rare (a key pair, a group commit), so that one small allocation is fine.
struct JobMessage : Message {
  explicit JobMessage(io::Job* j) : job(j) {
    run = [](Message& message) {
      auto* self = static_cast<JobMessage*>(&message);
      io::Job* finished = self->job;
      delete self;
      finished->done(*finished);
    };
  }
  io::Job* job;
};

}  // namespace

WorkerThread::WorkerThread(const char* name) : thread_(&WorkerThread::run, this, name) {}

void WorkerThread::submit(io::Job& job) {
  {
    std::lock_guard lock(mutex_);
    BH_CHECK(!stopping_);
    jobs_.push_back(&job);
  }
  changed_.notify_one();
}

void WorkerThread::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void WorkerThread::run(const char* name) {
  pthread_setname_np(pthread_self(), name);
  for (;;) {
    io::Job* job;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return stopping_ || !jobs_.empty(); });
      job = jobs_.pop_front();
      if (!job) return;
    }
    unsigned home = job->home_core;
    auto message = std::make_unique<JobMessage>(job);
    job->run(*job);
    io::post(home, *message.release());
  }
}

}  // namespace bellhop::uring
