// SPDX-License-Identifier: Apache-2.0

// The functions of core/io.h, in the simulator.

#include "core/io.h"

#include <cerrno>

#include "core/sim/simulator.h"
#include "core/sim/world.h"

namespace bellhop::sim {
namespace {

constexpr WallTime kWallStart{std::chrono::milliseconds(1'800'000'000'000)};  // 2027-01-15T08:00:00Z

// What stays readable after a run.
struct LastRun {
  Instant now{std::chrono::hours(1000)};
  Instant start{std::chrono::hours(1000)};
  uint64_t trace_hash = 0;
  uint64_t events = 0;
} last_run;

Chance& application_chance() {
  static Chance outside(0);  // before the first run
  Simulator* simulator = Simulator::current_or_null();
  return simulator ? simulator->application_chance() : outside;
}

std::string dns_error_text(uint16_t code, uint32_t) {
  switch (code) {
    case kLookupNoData: return "the name has no address";
    case kLookupServerFailure: return "the name server failed";
    case kLookupNotFound: return "the name does not exist";
  }
  return "code " + std::to_string(code);
}

}  // namespace

Instant World::now() const {
  Simulator* simulator = Simulator::current_or_null();
  return simulator ? simulator->now() : last_run.now;
}
Duration World::elapsed() const { return now() - last_run.start; }
uint64_t World::events() const {
  Simulator* simulator = Simulator::current_or_null();
  return simulator ? simulator->events() : last_run.events;
}
std::vector<std::string> World::open_handles() const {
  Simulator* simulator = Simulator::current_or_null();
  if (!simulator) return {};
  std::vector<std::string> lines = simulator->network().open_handles();
  for (unsigned core = 0; core < simulator->options().cores; ++core) {
    for (size_t n = simulator->buffers(core).held(); n > 0; --n) {
      lines.push_back("receive buffer of core " + std::to_string(core));
    }
  }
  return lines;
}

uint64_t trace_hash() {
  Simulator* simulator = Simulator::current_or_null();
  return simulator ? simulator->trace_hash() : last_run.trace_hash;
}

// What the seam may do with the world's files and settings.
struct Access {
  static Result<std::string> read(const std::string& path) {
    if (const World::File* file = world().file(path)) return file->content;
    return fail(os_error(world().folders_.contains(path) ? EISDIR : ENOENT));
  }
  static Status write(const std::string& path, Bytes content, unsigned mode) {
    if (world().write_error != 0) return fail(os_error(world().write_error));
    if (world().folders_.contains(path)) return fail(os_error(EISDIR));
    size_t slash = path.rfind('/');
    std::string folder = slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
    if (!world().folders_.contains(folder)) return fail(os_error(ENOENT));
    world().files_[path] = {std::string(as_text(content)), mode, true, ++world().file_versions_};
    return {};
  }
  static Status make_folder(const std::string& path) {
    if (world().write_error != 0) return fail(os_error(world().write_error));
    for (size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
      std::string folder = path.substr(0, end);
      if (world().file(folder)) return fail(os_error(end == std::string::npos ? EEXIST : ENOTDIR));
      if (!folder.empty()) world().folders_.insert(folder);
      if (end == std::string::npos) return {};
    }
  }
  static Result<io::FileInfo> info(const std::string& path) {
    if (const World::File* file = world().file(path)) {
      return io::FileInfo{.size = file->content.size(),
                          .mode = file->mode,
                          .owned_by_us = file->owned_by_us,
                          .inode = 0,
                          .changed_ns = static_cast<int64_t>(file->version)};
    }
    if (world().folders_.contains(path)) return io::FileInfo{.mode = 0755, .owned_by_us = true};
    return fail(os_error(ENOENT));
  }
  static void log(std::string_view lines) {
    world().log_ += lines;
    if (!world().log_file_.empty()) world().files_[world().log_file_].content += lines;
  }
  static Status set_log_file(const std::string& path) {
    if (!world().file(path)) BH_CHECKED(write(path, {}, 0640));
    world().log_file_ = path;
    return {};
  }
  static Status notify(const std::string& socket_path, std::string_view message) {
    if (world().notify_error != 0) return fail(os_error(world().notify_error));
    world().notified_.push_back({socket_path, std::string(message), world().now()});
    return {};
  }
  static WallTime wall_now(Instant now) {
    return std::chrono::floor<std::chrono::milliseconds>(kWallStart + (now - last_run.start) + world().wall_shift_);
  }
  static void begin_run() {
    world().log_.clear();
    world().notified_.clear();
  }
  static void end_run(const Simulator& simulator) {
    last_run.now = simulator.now();
    last_run.trace_hash = simulator.trace_hash();
    last_run.events = simulator.events();
    world().reset_settings();
  }
};

}  // namespace bellhop::sim

namespace bellhop::io {

using sim::Access;
using sim::Simulator;

Instant now() {
  Simulator* simulator = Simulator::current_or_null();
  return simulator ? simulator->look_at_clock() : sim::world().now();
}
WallTime wall_now() { return Access::wall_now(now()); }
uint64_t thread_cpu_ns() { return 0; }
void random(MutableBytes out) { sim::application_chance().fill(out); }
uint64_t random_u64() { return sim::application_chance().next(); }

Result<Handle> open_listener(const Endpoint& endpoint, bool shared, int backlog) {
  return Simulator::current().network().open_listener(endpoint, shared, backlog);
}
Status check_vacant(const Endpoint& endpoint) { return Simulator::current().network().check_vacant(endpoint); }
Result<Endpoint> inherited_endpoint(int descriptor) {
  const Endpoint* endpoint = sim::world().inherited(descriptor);
  if (!endpoint) return fail(os_error(EBADF));
  return *endpoint;
}
Result<Handle> adopt_listener(int descriptor) {
  BH_TRY(Endpoint endpoint, inherited_endpoint(descriptor));
  return Simulator::current().network().adopt_listener(endpoint);
}
Result<Handle> open_socket(const Endpoint& endpoint) { return Simulator::current().network().open_socket(endpoint); }
Result<SocketAddress> local_address(Handle handle) { return Simulator::current().network().local_address(handle); }
void close(Handle handle) { Simulator::current().network().close(handle); }

void start(Operation& operation) { Simulator::current().start(operation); }
void cancel(Operation& operation) { Simulator::current().cancel(operation); }
MutableBytes buffer(int32_t id) { return Simulator::current().buffers(core()).bytes(id); }
void release_buffer(int32_t id) { Simulator::current().buffers(core()).release(id); }
void start(Resolution& resolution) { Simulator::current().start(resolution); }
void abandon(Resolution& resolution) { Simulator::current().abandon(resolution); }

unsigned core() { return Reactor::current().core(); }
unsigned cores() { return Simulator::current().options().cores; }
void post(unsigned core, Message& message) { Simulator::current().post(core, message); }
void submit(Worker worker, Job& job) { Simulator::current().submit(worker, job); }
void start(Errand& errand, unsigned lane) { Simulator::current().start(errand, lane); }
bool abandon(Errand& errand) { return Simulator::current().abandon(errand); }

Result<std::string> read_file(const std::string& path) { return Access::read(path); }
Status write_file(const std::string& path, Bytes content, unsigned mode) { return Access::write(path, content, mode); }
Status make_folder(const std::string& path, unsigned) { return Access::make_folder(path); }
Result<FileInfo> file_info(const std::string& path) { return Access::info(path); }
void write_log(std::string_view lines) { Access::log(lines); }
Status set_log_file(const std::string& path) { return Access::set_log_file(path); }

Status notify(const std::string& socket_path, std::string_view message) { return Access::notify(socket_path, message); }

Status run_cluster(const ClusterOptions& options, const std::function<Task<void>(unsigned core)>& flow) {
  register_error_text(Domain::dns, "dns", &sim::dns_error_text);
  Access::begin_run();
  Simulator simulator(options, flow);
  simulator.run();
  Access::end_run(simulator);
  return {};
}
std::string explain_start_failure(const Error& error) { return "the simulation cannot start: " + error_text(error); }

BackendStats backend_stats() { return Simulator::current().stats(core()); }
std::string backend_description() {
  return "simulator: seed " + std::to_string(Simulator::current().options().seed);
}

}  // namespace bellhop::io
