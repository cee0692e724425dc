// SPDX-License-Identifier: Apache-2.0
#include "core/sim/world.h"

#include "core/base/bytes.h"
#include "core/sim/chance.h"
#include "core/sim/simulator.h"

namespace bellhop::sim {
namespace {

std::string parent_folder(const std::string& path) {
  size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace

Faults Faults::none() {
  Faults faults;
  faults.short_read = faults.late_send = faults.accept_end = faults.no_buffers = faults.late_completion = 0;
  return faults;
}

Faults Faults::draw(uint64_t seed) {
  Chance chance(seed ^ 0x5eedfa017);
  Faults faults = none();
  auto maybe = [&](double& probability, double most) {
    if (chance.below(2) == 0) probability = most * static_cast<double>(chance.below(1000)) / 1000;
  };
  maybe(faults.short_read, 0.9);
  maybe(faults.late_send, 0.5);
  maybe(faults.accept_end, 0.9);
  maybe(faults.no_buffers, 0.3);
  maybe(faults.late_completion, 0.3);
  faults.latency_max = Duration(50us) * static_cast<int64_t>(uint64_t{1} << chance.below(12));  // 50 us to 100 ms
  return faults;
}

World::World() { clear_files(); }
World::~World() = default;

World& world() {
  static World the_world;
  return the_world;
}

void World::reset_settings() {
  faults = Faults();
  receive_max = io::kReceiveBufferSize;
  socket_buffer = 0;
  client_address.reset();
  rules_.clear();
  hosts_.clear();
  write_error = 0;
  notify_error = 0;
  errand_time = {};
  inherited_.clear();
  time_max = std::chrono::hours(24 * 30);
  signals_.clear();
  wall_shift_ = {};
  log_file_.clear();
}

void World::set_rule(const io::Endpoint& endpoint, const AddressRule& rule) { rules_[endpoint.to_string()] = rule; }
void World::clear_rule(const io::Endpoint& endpoint) { rules_.erase(endpoint.to_string()); }
const AddressRule* World::rule(const io::Endpoint& endpoint) const {
  auto found = rules_.find(endpoint.to_string());
  return found == rules_.end() ? nullptr : &found->second;
}

void World::set_host(std::string_view name, std::vector<IpAddress> addresses) {
  uint16_t error = addresses.empty() ? kLookupNoData : uint16_t{0};
  hosts_[ascii_lower(name)] = Host{std::move(addresses), {}, error, false};
}
void World::set_host_error(std::string_view name, uint16_t code) { hosts_[ascii_lower(name)] = Host{{}, {}, code, false}; }
void World::set_host_silent(std::string_view name) { hosts_[ascii_lower(name)] = Host{{}, {}, 0, true}; }
void World::set_service(std::string_view name, std::vector<io::ServiceRecord> records) {
  hosts_[ascii_lower(name)].services = std::move(records);
}
void World::clear_host(std::string_view name) { hosts_.erase(ascii_lower(name)); }

void World::set_file(const std::string& path, std::string content, unsigned mode, bool owned_by_us) {
  for (std::string folder = parent_folder(path); folders_.insert(folder).second;) folder = parent_folder(folder);
  files_[path] = File{std::move(content), mode, owned_by_us, ++file_versions_};
}
const World::File* World::file(const std::string& path) const {
  auto found = files_.find(path);
  return found == files_.end() ? nullptr : &found->second;
}
void World::remove_file(const std::string& path) { files_.erase(path); }
void World::clear_files() {
  files_.clear();
  folders_ = {"/", ".", "/tmp"};
}

void World::raise_signal(int number) {
  if (Simulator* simulator = Simulator::current_or_null()) {
    simulator->take_signal(number);
  } else {
    signals_.push_back(number);
  }
}

void World::shift_wall_clock(Duration by) { wall_shift_ += by; }

}  // namespace bellhop::sim
