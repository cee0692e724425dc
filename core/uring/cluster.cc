// SPDX-License-Identifier: Apache-2.0
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <barrier>
#include <cerrno>
#include <memory>
#include <thread>
#include <vector>

#include "core/io.h"
#include "core/reactor.h"
#include "core/uring/errands.h"
#include "core/uring/resolver.h"
#include "core/uring/ring.h"
#include "core/uring/worker.h"

namespace bellhop::uring {
namespace {

// Ends the sleep of a core when a thread without a ring asks for it.
struct WakeDescriptor : InternalOperation {
  int fd = -1;
  uint64_t count = 0;
  bool stopping = false;
  Ring* ring = nullptr;

  void arm() { ring->read(fd, {reinterpret_cast<uint8_t*>(&count), sizeof count}, *this); }
  void completed(int32_t) override {
    if (!stopping) arm();
  }
};

struct Core {
  std::unique_ptr<Reactor> reactor;
  int ring_fd = -1;
  int event_fd = -1;
  Status opened;
};

// One run of run_cluster. The cores' entries are written before the barrier and read after it.
struct Cluster {
  std::vector<Core> cores;
  std::atomic<unsigned> flows_left;
  std::atomic<bool> failed = false;
  std::unique_ptr<WorkerThread> workers[2];
  ErrandThreads errands;
};

Cluster* cluster = nullptr;

void wake(unsigned core) {
  Core& target = cluster->cores[core];
  if (Ring* ring = Ring::current_or_null()) {
    ring->send_wake(target.ring_fd);
  } else {
    uint64_t one = 1;
    BH_CHECK(write(target.event_fd, &one, sizeof one) == sizeof one || errno == EAGAIN);
  }
}

Task<void> root_flow(const std::function<Task<void>(unsigned)>& flow, unsigned core) {
  co_await flow(core);
  if (cluster->flows_left.fetch_sub(1) != 1) co_return;
  for (unsigned other = 0; other < cluster->cores.size(); ++other) {
    uint64_t one = 1;
    BH_CHECK(write(cluster->cores[other].event_fd, &one, sizeof one) == sizeof one);
  }
}

void run_loop(Ring& ring, Reactor& reactor) {
  while (cluster->flows_left.load() > 0 || !reactor.idle()) {
    Instant now = io::now();
    std::optional<Instant> until = reactor.sleep_until(now);
    bool may_sleep = !(until && *until <= now) && reactor.inbox().prepare_sleep();
    ring.submit_and_reap(may_sleep ? until : std::optional<Instant>(now), now);
    reactor.inbox().end_sleep();
    reactor.turn();
  }
}

void run_core(const io::ClusterOptions& options, const std::function<Task<void>(unsigned)>& flow, unsigned index,
              std::barrier<>& opened, std::barrier<>& ended) {
  Core& core = cluster->cores[index];
  if (options.pin_threads) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(index % static_cast<unsigned>(sysconf(_SC_NPROCESSORS_ONLN)), &set);
    pthread_setaffinity_np(pthread_self(), sizeof set, &set);
  }
  Ring ring;
  core.opened = ring.open(options);
  if (core.opened) {
    core.ring_fd = ring.fd();
    core.reactor = std::make_unique<Reactor>(index, io::now());
    Reactor::set_current(core.reactor.get());
  } else {
    cluster->failed = true;
  }
  opened.arrive_and_wait();
  if (!cluster->failed) {
    WakeDescriptor waker;
    waker.ring = &ring;
    waker.fd = core.event_fd;
    waker.arm();
    Context context;
    TaskScope scope(&context);
    scope.spawn(root_flow(flow, index));
    run_loop(ring, *core.reactor);
    ended.arrive_and_wait();
    waker.stopping = true;
    uint64_t one = 1;
    BH_CHECK(write(core.event_fd, &one, sizeof one) == sizeof one);
    while (ring.operations_in_flight() > 0) ring.submit_and_reap(std::nullopt, io::now());
  }
  core.reactor.reset();
}

}  // namespace
}  // namespace bellhop::uring

namespace bellhop::io {

using uring::cluster;

unsigned core() { return Reactor::current().core(); }
unsigned cores() { return static_cast<unsigned>(cluster->cores.size()); }

void post(unsigned core, Message& message) {
  if (cluster->cores[core].reactor->inbox().push(message)) uring::wake(core);
}

void submit(Worker worker, Job& job) {
  job.home_core = core();
  cluster->workers[static_cast<size_t>(worker)]->submit(job);
}

void start(Errand& errand, unsigned lane) { cluster->errands.start(errand, lane); }
bool abandon(Errand& errand) { return cluster->errands.abandon(errand); }

Status run_cluster(const ClusterOptions& options, const std::function<Task<void>(unsigned core)>& flow) {
  BH_CHECK(options.cores > 0 && cluster == nullptr);
  sigset_t signals, before;
  sigemptyset(&signals);
  for (int number : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, number);
  pthread_sigmask(SIG_BLOCK, &signals, &before);

  uring::Resolver::register_texts();
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;  // select() is not used here, so nothing is harmed by large descriptors
  setrlimit(RLIMIT_NOFILE, &files);

  uring::Cluster run;
  run.cores.resize(options.cores);
  run.flows_left = options.cores;
  cluster = &run;
  for (uring::Core& core : run.cores) {
    core.event_fd = eventfd(0, EFD_CLOEXEC);
    BH_CHECK(core.event_fd >= 0);
  }
  run.workers[static_cast<size_t>(Worker::general)] = std::make_unique<uring::WorkerThread>("bellhop-work");
  run.workers[static_cast<size_t>(Worker::store)] = std::make_unique<uring::WorkerThread>("bellhop-store");
  std::barrier<> opened(options.cores), ended(options.cores);
  std::vector<std::thread> threads;
  for (unsigned index = 0; index < options.cores; ++index) {
    threads.emplace_back([&, index] {
      std::string name = "bellhop-core-" + std::to_string(index);
      pthread_setname_np(pthread_self(), name.c_str());
      uring::run_core(options, flow, index, opened, ended);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (auto& worker : run.workers) worker->stop();
  run.errands.stop();
  Status status;
  for (uring::Core& core : run.cores) {
    ::close(core.event_fd);
    if (!core.opened && status) status = core.opened;
  }
  cluster = nullptr;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return status;
}

}  // namespace bellhop::io
