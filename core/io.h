// SPDX-License-Identifier: Apache-2.0
#pragma once

// The seam: all that bellhop asks of an operating system. Two libraries implement it, core/uring (io_uring, threads)
// and core/sim (virtual clock, in-memory sockets, seeded order, one thread). A program links exactly one of them; all
// other object files are the same. Nothing above the seam touches a socket, clock, file, thread or random source.
// Most callers want the layer above: core/socket.h, core/sleep.h, core/cross_core.h.

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/bytes.h"
#include "core/base/error.h"
#include "core/base/intrusive_list.h"
#include "core/base/ip.h"
#include "core/base/time.h"
#include "core/task.h"

namespace bellhop {
struct Message;
}

namespace bellhop::io {

// ---- Clocks and chance. Any core; cheap. ----

Instant now();
WallTime wall_now();
uint64_t thread_cpu_ns();         // CPU time of the calling thread; 0 in the simulator
void random(MutableBytes out);    // from the kernel; seeded in the simulator
uint64_t random_u64();

// ---- Sockets ----

// A socket. What the number means is the back end's affair (a descriptor, a slot of the ring's file table, an index).
struct Handle {
  int32_t value = -1;
  explicit operator bool() const { return value >= 0; }
  friend bool operator==(const Handle&, const Handle&) = default;
};

// Where to listen or connect: TCP, or a unix stream socket where unix_path is not empty.
struct Endpoint {
  SocketAddress tcp;
  std::string unix_path;
  std::string to_string() const { return unix_path.empty() ? tcp.to_string() : "unix:" + unix_path; }
};

// Binds and listens (SO_REUSEPORT where shared, so that each core has a listener of its own on the same address; TCP_NODELAY is
// inherited by what it accepts). Port 0 picks a free one: see local_address. A socket at a unix path is replaced, mode 0660;
// any other file there stays (os: ENOTSOCK). The core that first accepts on it, or closes it, is the one that it belongs to.
Result<Handle> open_listener(const Endpoint& endpoint, bool shared = false, int backlog = 4096);
// Whether nobody listens there, of this process or another: open_listener joins those who share a port, and replaces a unix
// socket that is in use. Errors: os (EADDRINUSE where somebody does).
Status check_vacant(const Endpoint& endpoint);
// A listening socket that was opened for us before the process began (systemd's socket activation), as a listener of its
// own for each call: several cores may accept on one such socket. The descriptor itself stays open. Errors: os (EINVAL
// where it is no listening stream socket).
Result<Handle> adopt_listener(int descriptor);
Result<Endpoint> inherited_endpoint(int descriptor);   // where it listens; errors as adopt_listener
Result<Handle> open_socket(const Endpoint& endpoint);  // unconnected, for Operation::connect
Result<SocketAddress> local_address(Handle handle);    // of a listener
// Ends both directions and gives the handle back. No operation may be in flight on it.
void close(Handle handle);

enum class OperationKind : uint8_t {
  accept,   // handle = listener; completes many times (more = true); result = new handle's value or -errno
  receive,  // handle; the back end picks a buffer of its pool; result = bytes, 0 at the end, or -errno;
            // -ENOBUFS where the pool is empty: to be started again a little later
  send,     // handle, data, size; result = bytes sent (short only when cut off by an error) or -errno
  connect,  // handle, endpoint; result = 0 or -errno
  shutdown, // handle; ends our direction (FIN); result = 0 or -errno
  peer,     // handle; writes the peer's address to *peer; result = 0 or -errno
  signal,   // result = number of the next SIGTERM, SIGINT or SIGHUP of the process; core 0 only
};

struct Completion {
  int32_t result = 0;
  bool more = false;    // further completions follow (accept)
  int32_t buffer = -1;  // receive: id for buffer() and release_buffer()
};

// One pending request to the kernel, embedded in whoever waits for it. Between start() and the completion that is not
// followed by more, the back end (and the kernel) owns it and the memory that it names: it must not move or die.
// completed() runs while completions are gathered: it may record, arm, cancel and make_ready, never resume.
struct Operation : ListLink {
  explicit Operation(OperationKind k) : kind(k) {}
  ~Operation() { BH_CHECK(!in_flight); }
  Operation(const Operation&) = delete;
  Operation& operator=(const Operation&) = delete;

  OperationKind kind;
  bool in_flight = false;
  bool cancel_requested = false;
  Handle handle;
  const uint8_t* data = nullptr;
  uint32_t size = 0;
  const Endpoint* endpoint = nullptr;
  SocketAddress* peer = nullptr;
  void (*completed)(Operation& operation, const Completion& completion) = nullptr;
  uint64_t backend[20] = {};  // the back end's own state (a socket address among it)
};

void start(Operation& operation);
// Asks for an early end; the final completion still comes (-ECANCELED, or what happened first). Idempotent.
void cancel(Operation& operation);

// The pool of receive buffers of the calling core. A buffer is held for the length of one turn of its reader at most.
inline constexpr size_t kReceiveBufferSize = 8 * 1024;
MutableBytes buffer(int32_t id);
void release_buffer(int32_t id);

// ---- Names ----

// A place that a name's SRV record points to (RFC 2782). No host: the service is said not to exist.
struct ServiceRecord {
  std::string host;  // as DNS gave it, without the root's dot
  uint16_t port = 0;
  uint16_t priority = 0;  // the lowest is asked first
  uint16_t weight = 0;    // among equal priorities, the share of those who ask

  friend bool operator==(const ServiceRecord&, const ServiceRecord&) = default;
};

// One look-up of a name, embedded in the waiter. done() may make_ready, never resume. Not canceled: abandon() instead
// makes the back end forget it, and done() does not come.
struct Resolution {
  enum class Kind : uint8_t { addresses, services };
  Kind kind = Kind::addresses;  // IPv4 and IPv6 addresses, or SRV records
  std::string host;
  std::vector<IpAddress> addresses;
  std::vector<ServiceRecord> services;  // in the order of the answer
  Status status;
  void (*done)(Resolution& resolution) = nullptr;
  void* backend = nullptr;
};
void start(Resolution& resolution);
void abandon(Resolution& resolution);

// ---- Other cores and threads ----

unsigned core();   // of the caller: 0 .. cores() - 1
unsigned cores();

// Hands the message to a core (the caller's own included) and wakes it where it sleeps. From any thread. See Inbox.
void post(unsigned core, Message& message);

// A blocking piece of work for a helper thread. run() may use no reactor; done() then runs on the core that submitted
// and may make_ready. Both kinds run their jobs one after the other, in the order given.
enum class Worker : uint8_t { general, store };
struct Job : ListLink {
  void (*run)(Job& job) = nullptr;
  void (*done)(Job& job) = nullptr;
  unsigned home_core = 0;  // set by submit()
};
void submit(Worker worker, Job& job);

// A call of a library that waits for servers by itself (Kerberos), for seconds where they are away: on one of a few threads
// that are there for nothing else and begin with the first errand. Those of one lane run one after the other, in the
// order given, so that what a lane alone uses needs no lock. Not canceled: abandon() makes the back end forget it.
// Between start() and done() or dropped() the back end owns it; the caller makes it on the heap.
inline constexpr unsigned kErrandLanes = 8;
struct Errand : ListLink {
  void (*run)(Errand& errand) = nullptr;      // on the lane's thread; may use no reactor
  void (*done)(Errand& errand) = nullptr;     // on the core that started it; may make_ready
  void (*dropped)(Errand& errand) = nullptr;  // in place of done(), on any thread; its run() is over, or never comes
  unsigned home_core = 0;                     // set by start(), like the rest
  unsigned lane = 0;
  uint64_t backend = 0;
};
void start(Errand& errand, unsigned lane);
// On its core. False: its run() is over, and done() comes next.
bool abandon(Errand& errand);

// ---- Files: whole and blocking, for start-up and rare events only ----

Result<std::string> read_file(const std::string& path);
// Written beside, synced, renamed, folder synced: after success the content survives a power cut. Mode as given.
Status write_file(const std::string& path, Bytes content, unsigned mode);
Status make_folder(const std::string& path, unsigned mode);  // with parents; fine where it exists
struct FileInfo {
  uint64_t size = 0;
  unsigned mode = 0;       // permission bits
  bool owned_by_us = false;
  uint64_t inode = 0;            // with `changed_ns`: another file, or another content, shows here
  int64_t changed_ns = 0;        // of the last change of content or of the entry itself; only to be compared
  friend bool operator==(const FileInfo&, const FileInfo&) = default;
};
Result<FileInfo> file_info(const std::string& path);
// One whole line (or several) to the log: standard error, or what set_log_file named: a file, or "stdout".
void write_log(std::string_view lines);
Status set_log_file(const std::string& path);

// One datagram to a unix socket ("@…": in the abstract name space), for a service manager. Never blocks. Errors: os.
Status notify(const std::string& socket_path, std::string_view message);

// ---- Running ----

struct ClusterOptions {
  unsigned cores = 1;
  bool pin_threads = false;           // core n to CPU n
  unsigned connections_max = 65536;   // per core: size of the ring's file table
  unsigned receive_buffers = 1024;    // per core, of kReceiveBufferSize
  uint64_t seed = 1;                  // simulator: order, latencies, chance
};

// Runs `flow(core)` as the root flow of each core, and returns when all of them have ended. The flow is made and
// started on its core's thread. Fails before running anything where the system refuses what is needed; explain_start_failure
// then gives the whole message for the operator.
Status run_cluster(const ClusterOptions& options, const std::function<Task<void>(unsigned core)>& flow);
std::string explain_start_failure(const Error& error);

// Counters of the calling core's back end, for metrics.
struct BackendStats {
  uint64_t enter_calls = 0;     // io_uring_enter
  uint64_t operations = 0;      // started
  uint64_t completions = 0;
};
BackendStats backend_stats();
// One line for the log: the kernel's features in use, and by name those that are missing. After run_cluster started.
std::string backend_description();

}  // namespace bellhop::io
