// SPDX-License-Identifier: Apache-2.0
#include "core/uring/ring.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>

#include "core/uring/address.h"
#include "core/uring/resolver.h"

namespace bellhop::uring {
namespace {

thread_local Ring* current_ring = nullptr;

// What the low bits of a completion's user data mean; the rest is a pointer.
enum Tag : uint64_t { kOperation = 0, kInternal = 1, kNothing = 2, kTagMask = 7 };
constexpr int32_t kDirect = 1 << 30;  // handle values from here on are slots of the ring's file table
constexpr uint16_t kBufferGroup = 0;

bool is_direct(io::Handle handle) { return handle.value >= kDirect; }
int descriptor(io::Handle handle) { return is_direct(handle) ? handle.value - kDirect : handle.value; }

// On a listener without SO_REUSEPORT other cores may accept, too: one that we were given. The kernel wakes the first of
// those who wait, and a multishot accept stays the first for ever: one core would get all connections. Who asks for one
// at a time joins the end of the queue each time, and does not while it is busy.
bool is_ours_alone(int listener) {
  int on = 0;
  socklen_t size = sizeof on;
  return getsockopt(listener, SOL_SOCKET, SO_REUSEPORT, &on, &size) == 0 && on != 0;
}

void prepare_accept(io_uring_sqe* sqe, int listener, bool direct) {
  if (is_ours_alone(listener)) {
    if (direct) return io_uring_prep_multishot_accept_direct(sqe, listener, nullptr, nullptr, 0);
    return io_uring_prep_multishot_accept(sqe, listener, nullptr, nullptr, SOCK_CLOEXEC);
  }
  if (direct) return io_uring_prep_accept_direct(sqe, listener, nullptr, nullptr, 0, IORING_FILE_INDEX_ALLOC);
  io_uring_prep_accept(sqe, listener, nullptr, nullptr, SOCK_CLOEXEC);
}

// A socket of both families (we are given such) shows its IPv4 clients as IPv6 ones, all in one /64.
SocketAddress unmapped(SocketAddress address) {
  constexpr std::array<uint8_t, 12> kMapped = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  if (!address.ip.v6 || !std::equal(kMapped.begin(), kMapped.end(), address.ip.bytes.begin())) return address;
  IpAddress v4;
  std::copy_n(address.ip.bytes.begin() + kMapped.size(), 4, v4.bytes.begin());
  return {v4, address.port};
}

}  // namespace

Ring& Ring::current() {
  BH_CHECK(current_ring != nullptr);
  return *current_ring;
}
Ring* Ring::current_or_null() { return current_ring; }

Ring::Ring() = default;

namespace {

// The kernel's answer to IORING_REGISTER_PROBE. Memory of liburing's own (it maps and unmaps by bare system calls) would
// be invisible to the thread sanitizer, which then takes its reuse by another thread for a race.
constexpr unsigned kProbeOperations = 256;
union Probe {
  Probe() : bytes{} {}
  uint8_t bytes[sizeof(io_uring_probe) + kProbeOperations * sizeof(io_uring_probe_op)];
  io_uring_probe head;
};

}  // namespace

Status Ring::open_ring() {
  io_uring_params params{};
  const unsigned base = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_COOP_TASKRUN |
                        IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP;
  params.flags = base | IORING_SETUP_NO_SQARRAY;
  params.cq_entries = kSubmissions * 4;
  int result = io_uring_queue_init_params(kSubmissions, &ring_, &params);
  features_.no_sqarray = result == 0;
  if (result == -EINVAL) {
    params = {};
    params.flags = base;
    params.cq_entries = kSubmissions * 4;
    result = io_uring_queue_init_params(kSubmissions, &ring_, &params);
  }
  if (result < 0) return fail(os_error(-result, 1));
  open_ = true;
  Probe probe;
  result = io_uring_register_probe(&ring_, &probe.head, kProbeOperations);
  if (result < 0) return fail(os_error(-result, 1));
  features_.fd_install = io_uring_opcode_supported(&probe.head, IORING_OP_FIXED_FD_INSTALL);
  // 6.0: the last opcode before the floor of 6.1.
  if (!io_uring_opcode_supported(&probe.head, IORING_OP_SEND_ZC)) return fail(os_error(EINVAL, 1));
  io_uring_register_ring_fd(&ring_);
  return {};
}

// The buffers, and behind them the ring in which they are offered to the kernel.
Status Ring::open_buffers(unsigned count) {
  buffer_count_ = std::bit_ceil(std::min(std::max(count, 16u), 32768u));
  void* memory = mmap(nullptr, buffer_bytes(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return fail(os_error(errno, 2));
  madvise(memory, buffer_bytes(), MADV_DONTDUMP);
  buffers_ = static_cast<uint8_t*>(memory);
  auto* ring = reinterpret_cast<io_uring_buf_ring*>(buffers_ + size_t{buffer_count_} * io::kReceiveBufferSize);
  io_uring_buf_reg registration{};
  registration.ring_addr = reinterpret_cast<uint64_t>(ring);
  registration.ring_entries = buffer_count_;
  registration.bgid = kBufferGroup;
  int result = io_uring_register_buf_ring(&ring_, &registration, 0);
  if (result < 0) return fail(os_error(-result, 2));
  buffer_ring_ = ring;
  io_uring_buf_ring_init(buffer_ring_);
  int mask = io_uring_buf_ring_mask(buffer_count_);
  for (unsigned i = 0; i < buffer_count_; ++i) {
    io_uring_buf_ring_add(buffer_ring_, buffers_ + size_t{i} * io::kReceiveBufferSize, io::kReceiveBufferSize,
                          static_cast<uint16_t>(i), mask, static_cast<int>(i));
  }
  io_uring_buf_ring_advance(buffer_ring_, static_cast<int>(buffer_count_));
  return {};
}

size_t Ring::buffer_bytes() const {
  return size_t{buffer_count_} * (io::kReceiveBufferSize + sizeof(io_uring_buf));
}

Status Ring::open(const io::ClusterOptions& options) {
  BH_CHECK(current_ring == nullptr);
  BH_CHECKED(open_ring());
  // The kernel allows a table of at most RLIMIT_NOFILE entries, and 2^20 (IORING_MAX_FIXED_FILES). A smaller table is a smaller
  // bound, not a failure.
  constexpr rlim_t kFileSlotsMax = 1 << 20;
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  features_.file_slots = static_cast<unsigned>(std::min<rlim_t>(options.connections_max, std::min(limit.rlim_cur, kFileSlotsMax)));
  features_.file_slots_cut = features_.file_slots < options.connections_max;
  int result = io_uring_register_files_sparse(&ring_, features_.file_slots);
  if (result < 0) return fail(os_error(-result, 3));
  BH_CHECKED(open_buffers(options.receive_buffers));
  current_ring = this;
  resolver_ = std::make_unique<Resolver>(*this);
  return {};
}

Ring::~Ring() {
  if (current_ring == this) {
    resolver_->shut_down();
    while (in_flight_ > 0) submit_and_reap(std::nullopt, io::now());
    resolver_.reset();
  }
  if (signal_fd_ >= 0) ::close(signal_fd_);
  if (open_) {
    io_uring_submit(&ring_);  // closes that are still queued
    if (buffer_ring_) io_uring_unregister_buf_ring(&ring_, kBufferGroup);
    io_uring_queue_exit(&ring_);
  }
  if (buffers_) munmap(buffers_, buffer_bytes());
  if (current_ring == this) current_ring = nullptr;
}

io_uring_sqe* Ring::next_sqe() {
  io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
  while (!sqe) {
    ++stats_.enter_calls;
    int result = io_uring_submit(&ring_);
    BH_CHECK(result >= 0 || result == -EBUSY || result == -EINTR || result == -EAGAIN);
    sqe = io_uring_get_sqe(&ring_);
  }
  return sqe;
}

void Ring::prepare(io_uring_sqe* sqe, io::Operation& operation) {
  int fd = descriptor(operation.handle);
  switch (operation.kind) {
    case io::OperationKind::accept:
      prepare_accept(sqe, fd, features_.fd_install);
      break;
    case io::OperationKind::receive:
      io_uring_prep_recv(sqe, fd, nullptr, io::kReceiveBufferSize, 0);
      sqe->flags |= IOSQE_BUFFER_SELECT;
      sqe->buf_group = kBufferGroup;
      break;
    case io::OperationKind::send:
      io_uring_prep_send(sqe, fd, operation.data, operation.size, MSG_NOSIGNAL | MSG_WAITALL);
      break;
    case io::OperationKind::connect: {
      auto* storage = reinterpret_cast<sockaddr_storage*>(operation.backend);
      static_assert(sizeof operation.backend >= sizeof(sockaddr_storage));
      io_uring_prep_connect(sqe, fd, reinterpret_cast<sockaddr*>(storage), to_sockaddr(*operation.endpoint, *storage));
      break;
    }
    case io::OperationKind::shutdown:
      io_uring_prep_shutdown(sqe, fd, SHUT_WR);
      break;
    case io::OperationKind::peer:
      if (is_direct(operation.handle)) {
        io_uring_prep_fixed_fd_install(sqe, fd, 0);
      } else {
        io_uring_prep_nop(sqe);
        operation.backend[0] = static_cast<uint64_t>(fd);
      }
      break;
    case io::OperationKind::signal: {
      if (signal_fd_ < 0) {
        sigset_t signals;
        sigemptyset(&signals);
        for (int number : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, number);
        signal_fd_ = signalfd(-1, &signals, SFD_CLOEXEC);
      }
      static_assert(sizeof operation.backend >= sizeof(signalfd_siginfo));
      io_uring_prep_read(sqe, signal_fd_, operation.backend, sizeof(signalfd_siginfo), 0);
      break;
    }
  }
  if (is_direct(operation.handle)) sqe->flags |= IOSQE_FIXED_FILE;
}

void Ring::start(io::Operation& operation) {
  BH_CHECK(!operation.in_flight && operation.completed);
  operation.in_flight = true;
  operation.cancel_requested = false;
  ++in_flight_;
  ++stats_.operations;
  io_uring_sqe* sqe = next_sqe();
  prepare(sqe, operation);
  io_uring_sqe_set_data64(sqe, reinterpret_cast<uint64_t>(&operation) | kOperation);
}

void Ring::cancel(io::Operation& operation) {
  if (!operation.in_flight || operation.cancel_requested) return;
  operation.cancel_requested = true;
  if (operation.linked()) {
    // Starved: not with the kernel. Its completion must come later all the same: a no-op carries it.
    operation.unlink();
    io_uring_sqe* nop = next_sqe();
    io_uring_prep_nop(nop);
    operation.kind = io::OperationKind::receive;
    operation.backend[0] = 1;
    io_uring_sqe_set_data64(nop, reinterpret_cast<uint64_t>(&operation) | kOperation);
    return;
  }
  io_uring_sqe* sqe = next_sqe();
  io_uring_prep_cancel64(sqe, reinterpret_cast<uint64_t>(&operation) | kOperation, 0);
  sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
  io_uring_sqe_set_data64(sqe, kNothing);
}

void Ring::close(io::Handle handle) {
  io_uring_sqe* sqe = next_sqe();
  if (is_direct(handle)) {
    io_uring_prep_close_direct(sqe, static_cast<unsigned>(descriptor(handle)));
  } else {
    io_uring_prep_close(sqe, handle.value);
  }
  sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
  io_uring_sqe_set_data64(sqe, kNothing);
}

MutableBytes Ring::buffer(int32_t id) {
  BH_CHECK(id >= 0 && static_cast<unsigned>(id) < buffer_count_);
  return {buffers_ + static_cast<size_t>(id) * io::kReceiveBufferSize, io::kReceiveBufferSize};
}

void Ring::release_buffer(int32_t id) {
  MutableBytes memory = buffer(id);
  io_uring_buf_ring_add(buffer_ring_, memory.data(), static_cast<unsigned>(memory.size()), static_cast<uint16_t>(id),
                        io_uring_buf_ring_mask(buffer_count_), 0);
  io_uring_buf_ring_advance(buffer_ring_, 1);
  if (io::Operation* operation = starved_.pop_front()) {
    io_uring_sqe* sqe = next_sqe();
    prepare(sqe, *operation);
    io_uring_sqe_set_data64(sqe, reinterpret_cast<uint64_t>(operation) | kOperation);
  }
}

void Ring::poll(int fd, unsigned events, InternalOperation& operation) {
  io_uring_sqe* sqe = next_sqe();
  io_uring_prep_poll_add(sqe, fd, events);
  io_uring_sqe_set_data64(sqe, reinterpret_cast<uint64_t>(&operation) | kInternal);
  ++in_flight_;
}

void Ring::read(int fd, MutableBytes out, InternalOperation& operation) {
  io_uring_sqe* sqe = next_sqe();
  io_uring_prep_read(sqe, fd, out.data(), static_cast<unsigned>(out.size()), 0);
  io_uring_sqe_set_data64(sqe, reinterpret_cast<uint64_t>(&operation) | kInternal);
  ++in_flight_;
}

void Ring::cancel(InternalOperation& operation) {
  io_uring_sqe* sqe = next_sqe();
  io_uring_prep_cancel64(sqe, reinterpret_cast<uint64_t>(&operation) | kInternal, 0);
  sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
  io_uring_sqe_set_data64(sqe, kNothing);
}

void Ring::send_wake(int ring_fd) {
  io_uring_sqe* sqe = next_sqe();
  io_uring_prep_msg_ring(sqe, ring_fd, 0, kNothing, 0);
  sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
  io_uring_sqe_set_data64(sqe, kNothing);
}

void Ring::submit_and_reap(std::optional<Instant> until, Instant now) {
  io_uring_cqe* cqe = nullptr;
  ++stats_.enter_calls;
  int result;
  if (until && *until <= now) {
    result = io_uring_submit_and_get_events(&ring_);
  } else if (until) {
    Duration wait = *until - now;
    __kernel_timespec timeout{.tv_sec = wait / 1s, .tv_nsec = (wait % 1s).count()};
    result = io_uring_submit_and_wait_timeout(&ring_, &cqe, 1, &timeout, nullptr);
  } else {
    result = io_uring_submit_and_wait(&ring_, 1);
  }
  // EBUSY and EAGAIN: the completion queue overflowed or memory is short; what was not submitted stays queued.
  BH_CHECK(result >= 0 || result == -ETIME || result == -EINTR || result == -EBUSY || result == -EAGAIN);
  unsigned head, count = 0;
  io_uring_for_each_cqe(&ring_, head, cqe) {
    complete(cqe);
    ++count;
  }
  io_uring_cq_advance(&ring_, count);
  stats_.completions += count;
}

void Ring::complete(io_uring_cqe* cqe) {
  uint64_t data = cqe->user_data;
  void* pointer = reinterpret_cast<void*>(data & ~kTagMask);
  switch (data & kTagMask) {
    case kOperation:
      complete(*static_cast<io::Operation*>(pointer), cqe->res, cqe->flags);
      break;
    case kInternal:
      --in_flight_;
      static_cast<InternalOperation*>(pointer)->completed(cqe->res);
      break;
    default:
      break;  // a wake-up, or a failed close or cancel: nobody waits
  }
}

void Ring::complete(io::Operation& operation, int32_t result, uint32_t flags) {
  io::Completion completion{.result = result, .more = (flags & IORING_CQE_F_MORE) != 0, .buffer = -1};
  switch (operation.kind) {
    case io::OperationKind::receive:
      if (flags & IORING_CQE_F_BUFFER) {
        completion.buffer = static_cast<int32_t>(flags >> IORING_CQE_BUFFER_SHIFT);
        if (result <= 0) {
          release_buffer(completion.buffer);
          completion.buffer = -1;
        }
      } else if (operation.cancel_requested && operation.backend[0] == 1) {
        completion.result = -ECANCELED;  // was starved
      } else if (result == -ENOBUFS && !operation.cancel_requested) {
        starved_.push_back(&operation);
        return;
      }
      operation.backend[0] = 0;
      break;
    case io::OperationKind::accept:
      if (result >= 0 && features_.fd_install) completion.result = result + kDirect;
      break;
    case io::OperationKind::peer: {
      if (result < 0) break;
      sockaddr_storage storage{};
      socklen_t size = sizeof storage;
      int fd = is_direct(operation.handle) ? result : static_cast<int>(operation.backend[0]);
      completion.result = getpeername(fd, reinterpret_cast<sockaddr*>(&storage), &size) == 0 ? 0 : -errno;
      if (is_direct(operation.handle)) ::close(fd);
      if (completion.result == 0) *operation.peer = unmapped(from_sockaddr(storage));
      break;
    }
    case io::OperationKind::signal:
      if (result == static_cast<int32_t>(sizeof(signalfd_siginfo))) {
        completion.result = static_cast<int32_t>(reinterpret_cast<signalfd_siginfo*>(operation.backend)->ssi_signo);
      }
      break;
    default:
      break;
  }
  if (!completion.more) {
    operation.in_flight = false;
    --in_flight_;
  }
  operation.completed(operation, completion);
}

}  // namespace bellhop::uring

namespace bellhop::io {

void start(Operation& operation) { uring::Ring::current().start(operation); }
void cancel(Operation& operation) { uring::Ring::current().cancel(operation); }
void close(Handle handle) { uring::Ring::current().close(handle); }
MutableBytes buffer(int32_t id) { return uring::Ring::current().buffer(id); }
void release_buffer(int32_t id) { uring::Ring::current().release_buffer(id); }
BackendStats backend_stats() { return uring::Ring::current().stats(); }

std::string backend_description() {
  const uring::Features& features = uring::Ring::current().features();
  std::string text = "io_uring: single issuer, deferred task run, multishot accept, provided buffers";
  if (features.no_sqarray) text += ", no sq array";
  if (features.fd_install) text += ", direct descriptors";
  if (!features.no_sqarray) text += "; missing: no sq array (kernel 6.6)";
  if (!features.fd_install) text += "; missing: fd install (kernel 6.8), so accepted sockets are plain descriptors";
  text += "; " + std::to_string(features.file_slots) + " connections a core";
  if (features.file_slots_cut) text += " (cut by the limit of open files, RLIMIT_NOFILE, or the kernel's, 1048576)";
  return text;
}

}  // namespace bellhop::io
