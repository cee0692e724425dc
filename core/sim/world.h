// SPDX-License-Identifier: Apache-2.0
#pragma once

// What a test may do to the simulated world beyond the seam (core/io.h). Only programs that link core/sim can use it.
//
// The simulator runs all cores in one OS thread under one seeded scheduler. Time stands still but for what is modelled:
// each turn of a reactor and each look at the clock cost a little, and when nothing is ready, time jumps to the next
// event. The same program with the same seed does the same, down to the trace hash.
//
// What is set here before io::run_cluster holds for that run and goes back to its default when the run ends. Only the
// files stay (a restart finds them) until clear_files(); the log stays until the next run begins.

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "core/io.h"

namespace bellhop::sim {

// How often what a kernel or a network may do happens: chances from 0 to 1. The defaults are what code must live with
// on any machine; draw() gives each seed a mix of its own.
struct Faults {
  double short_read = 0.2;      // a receive gives only some of the bytes that are there
  double late_send = 0.1;       // the completion of a send comes milliseconds after its bytes have left
  double accept_end = 0.1;      // a multishot accept ends with this connection
  double no_buffers = 0.02;     // a receive completes with -ENOBUFS
  double late_completion = 0.05;  // any completion comes milliseconds late
  double refuse_connect = 0;    // a connect fails with -ECONNREFUSED
  double reset = 0;             // per segment: the connection is reset instead
  double lookup_failure = 0;    // a name look-up fails
  Duration latency_max = 500us;  // of the network, one way; the least is a fiftieth of it

  static Faults none();
  // The kinds of seeded behaviour that are legal without any fault of the network, each present or not.
  static Faults draw(uint64_t seed);
};

// What connections to one listening address meet.
struct AddressRule {
  enum class Cut : uint8_t {
    reset,  // both ends see -ECONNRESET
    stall,  // nothing arrives any more, in either direction, and nobody is told
  };
  bool refuse = false;     // -ECONNREFUSED
  bool blackhole = false;  // no answer: -ETIMEDOUT after kConnectTimeout
  // Ends a connection after so many bytes have arrived in one direction; 0 = before the first byte.
  std::optional<uint64_t> cut_after_to_server;
  std::optional<uint64_t> cut_after_to_client;
  Cut cut = Cut::reset;
  Duration delay{};  // added to each segment in both directions
};

inline constexpr Duration kConnectTimeout = std::chrono::seconds(127);
inline constexpr uint16_t kLookupNoData = 1;  // codes of Domain::dns, as c-ares numbers them
inline constexpr uint16_t kLookupNotFound = 4;
inline constexpr uint16_t kLookupServerFailure = 3;

class World {
 public:
  World();
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  // ---- Network ----
  Faults faults;
  // Largest size of a receive; 1 makes every reader see single bytes.
  size_t receive_max = io::kReceiveBufferSize;
  // Bytes that one direction of a connection holds between send and receive. Drawn per run where 0.
  size_t socket_buffer = 0;
  // What peer_address() of accepted TCP connections says; the loopback address of the family where unset.
  std::optional<IpAddress> client_address;

  // The endpoint is what a client connects to.
  void set_rule(const io::Endpoint& endpoint, const AddressRule& rule);
  void clear_rule(const io::Endpoint& endpoint);
  // What connections that exist already still obey is their old rule.
  const AddressRule* rule(const io::Endpoint& endpoint) const;

  // ---- Names: case does not matter; a name that is not in the table is kLookupNotFound. ----
  void set_host(std::string_view name, std::vector<IpAddress> addresses);
  void set_host_error(std::string_view name, uint16_t code);
  void set_host_silent(std::string_view name);  // never answered
  void clear_host(std::string_view name);
  // The SRV records of a name.
  void set_service(std::string_view name, std::vector<io::ServiceRecord> records);

  // ---- Files ----
  struct File {
    std::string content;
    unsigned mode = 0644;
    bool owned_by_us = true;
    uint64_t version = 0;  // another one after each write
  };
  void set_file(const std::string& path, std::string content, unsigned mode = 0644, bool owned_by_us = true);
  const File* file(const std::string& path) const;  // nothing where it does not exist
  void remove_file(const std::string& path);
  void clear_files();
  int write_error = 0;  // errno of every write_file; 0 = works

  // ---- Time ----
  Instant now() const;           // without the cost of a look at the clock
  Duration elapsed() const;      // virtual time since the run began
  // Moves the wall clock, forwards or backwards; the monotonic clock does not see it.
  void shift_wall_clock(Duration by);
  // The run is aborted with a message past this virtual time: a flow that never ends beside a timer that never stops.
  Duration time_max = std::chrono::hours(24 * 30);

  // ---- The service manager ----
  struct Notified {
    std::string socket_path, message;
    Instant at{};
  };
  const std::vector<Notified>& notified() const { return notified_; }  // of the present, or the last, run
  int notify_error = 0;                                                // errno of every notify; 0 = works
  Duration errand_time{};  // how long an errand takes, beside the usual
  // A listening socket that the process is born with.
  void inherit(int descriptor, const io::Endpoint& endpoint) { inherited_[descriptor] = endpoint; }
  const io::Endpoint* inherited(int descriptor) const {
    auto found = inherited_.find(descriptor);
    return found == inherited_.end() ? nullptr : &found->second;
  }

  // ---- The rest ----
  const std::string& log() const { return log_; }
  void raise_signal(int number);  // to whoever awaits next_signal(); kept until then
  // One line per open socket or held receive buffer of the present run.
  std::vector<std::string> open_handles() const;
  uint64_t events() const;  // that the present, or the last, run went through

 private:
  friend class Simulator;
  friend struct Access;  // the seam's functions

  struct Host {
    std::vector<IpAddress> addresses;
    std::vector<io::ServiceRecord> services;
    uint16_t error = 0;
    bool silent = false;
  };
  void reset_settings();

  std::map<std::string, AddressRule> rules_;
  std::map<std::string, Host> hosts_;
  std::map<std::string, File> files_;
  uint64_t file_versions_ = 0;
  std::set<std::string> folders_;
  std::string log_;
  std::string log_file_;
  Duration wall_shift_{};
  std::vector<int> signals_;
  std::vector<Notified> notified_;
  std::map<int, io::Endpoint> inherited_;
};

// The one world of the process.
World& world();

// Hash over all that happened in the present, or the last, run, in its order, with its times.
uint64_t trace_hash();

}  // namespace bellhop::sim
