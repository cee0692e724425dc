// SPDX-License-Identifier: Apache-2.0
#include "core/uring/errands.h"

#include <pthread.h>
#include <sched.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "core/reactor.h"

namespace bellhop::uring {
namespace {

// Errand::backend, under the lane's lock: done() is on its way.
constexpr uint64_t kPosted = 1;

// Carries an errand home.
struct ErrandMessage : Message {
  explicit ErrandMessage(io::Errand* e) : errand(e) {
    run = [](Message& message) {
      auto* self = static_cast<ErrandMessage*>(&message);
      io::Errand* finished = self->errand;
      delete self;
      finished->done(*finished);
    };
  }
  io::Errand* errand;
};

}  // namespace

struct ErrandThreads::Lane {
  std::mutex mutex;
  std::condition_variable changed;
  IntrusiveList<io::Errand> waiting;
  io::Errand* running = nullptr;
  bool running_abandoned = false;
  bool stopping = false;
  bool ended = false;
  cpu_set_t cpus;  // of the process: a thread begins on those of the core that starts it
  std::thread thread;

  static void work(std::shared_ptr<Lane> lane, unsigned number);
  io::Errand* next();
  void finish(io::Errand& errand);
};

io::Errand* ErrandThreads::Lane::next() {
  std::unique_lock lock(mutex);
  changed.wait(lock, [&] { return stopping || !waiting.empty(); });
  running = waiting.pop_front();
  if (!running) {
    ended = true;
    changed.notify_all();
  }
  return running;
}

void ErrandThreads::Lane::finish(io::Errand& errand) {
  bool abandoned;
  {
    std::lock_guard lock(mutex);
    abandoned = running_abandoned;
    running = nullptr;
    running_abandoned = false;
    if (!abandoned) errand.backend |= kPosted;
  }
  if (abandoned) return errand.dropped(errand);
  auto* message = new ErrandMessage(&errand);
  io::post(errand.home_core, *message);  // the core is there: a flow on it waits for this
}

void ErrandThreads::Lane::work(std::shared_ptr<Lane> lane, unsigned number) {
  std::string name = "bellhop-errand" + std::to_string(number);
  pthread_setname_np(pthread_self(), name.c_str());
  pthread_setaffinity_np(pthread_self(), sizeof lane->cpus, &lane->cpus);
  while (io::Errand* errand = lane->next()) {
    errand->run(*errand);
    lane->finish(*errand);
  }
}

ErrandThreads::ErrandThreads() {
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  pthread_getaffinity_np(pthread_self(), sizeof cpus, &cpus);
  for (auto& lane : lanes_) {
    lane = std::make_shared<Lane>();
    lane->cpus = cpus;
  }
}

void ErrandThreads::start(io::Errand& errand, unsigned number) {
  BH_CHECK(number < io::kErrandLanes);
  errand.home_core = io::core();
  errand.lane = number;
  errand.backend = 0;
  const std::shared_ptr<Lane>& lane = lanes_[number];
  {
    std::lock_guard lock(lane->mutex);
    BH_CHECK(!lane->stopping);
    lane->waiting.push_back(&errand);
    if (!lane->thread.joinable()) lane->thread = std::thread(&Lane::work, lane, number);
  }
  lane->changed.notify_one();
}

bool ErrandThreads::abandon(io::Errand& errand) {
  Lane& lane = *lanes_[errand.lane];
  {
    std::lock_guard lock(lane.mutex);
    if (errand.backend & kPosted) return false;
    if (lane.running == &errand) {
      lane.running_abandoned = true;
      return true;
    }
    errand.unlink();
  }
  errand.dropped(errand);
  return true;
}

void ErrandThreads::stop() {
  for (auto& lane : lanes_) {
    std::lock_guard lock(lane->mutex);
    lane->stopping = true;
    lane->changed.notify_all();
  }
  auto until = std::chrono::steady_clock::now() + kPatience;
  for (auto& lane : lanes_) {
    if (!lane->thread.joinable()) continue;
    std::unique_lock lock(lane->mutex);
    bool ended = lane->changed.wait_until(lock, until, [&] { return lane->ended; });
    lock.unlock();
    if (ended) {
      lane->thread.join();
    } else {
      lane->thread.detach();
    }
  }
}

}  // namespace bellhop::uring
