// SPDX-License-Identifier: Apache-2.0
#include "core/socket.h"

#include <algorithm>
#include <cerrno>

#include "core/abandonable.h"
#include "core/sleep.h"

namespace bellhop {
namespace {

// Awaits one operation of the seam. A stop of the flow cancels the operation; the flow goes on after its completion.
class Perform {
 public:
  explicit Perform(io::OperationKind kind) : operation(kind, this), hook_(this) {}

  struct OwnOperation : io::Operation {
    OwnOperation(io::OperationKind kind, Perform* p) : Operation(kind), owner(p) {}
    Perform* owner;
  };
  OwnOperation operation;

  bool await_ready() const noexcept { return false; }
  template <class P>
  bool await_suspend(std::coroutine_handle<P> h) noexcept {
    Context& context = *h.promise().context;
    if (context.stop_requested()) {
      completion_.result = -ECANCELED;
      stopped_ = true;
      return false;
    }
    waiter_ = &h.promise();
    context.add(&hook_);
    operation.completed = &Perform::completed;
    io::start(operation);
    return true;
  }
  // The completion; an error where the result is negative. A result that came before the cancellation is kept.
  Result<io::Completion> await_resume() noexcept {
    if (completion_.result >= 0) return completion_;
    if (stopped_) return fail(core_error(CoreError::canceled));
    return fail(os_error(-completion_.result));
  }

 private:
  struct OwnHook : StopHook {
    explicit OwnHook(Perform* p)
        : StopHook([](StopHook& hook) {
            Perform* self = static_cast<OwnHook&>(hook).owner;
            self->stopped_ = true;
            io::cancel(self->operation);
          }),
          owner(p) {}
    Perform* owner;
  };
  static void completed(io::Operation& operation, const io::Completion& completion) {
    Perform* self = static_cast<OwnOperation&>(operation).owner;
    self->completion_ = completion;
    self->hook_.unlink();
    make_ready(self->waiter_);
  }

  OwnHook hook_;
  Runnable* waiter_ = nullptr;
  io::Completion completion_;
  bool stopped_ = false;
};

// Awaits one name look-up, also for its own status.
class Lookup : public Abandonable<io::Resolution> {
 public:
  Lookup(std::string name, io::Resolution::Kind kind) {
    operation.kind = kind;
    operation.host = std::move(name);
  }
  Status await_resume() const noexcept {
    Status waited = Abandonable::await_resume();
    return waited ? operation.status : waited;
  }
};

Task<Status> wait_for(Event& event) { co_return co_await event.wait(); }

// A receive that finds the pool of buffers empty tries again: so many times after a turn, then after this delay.
constexpr unsigned kBufferYields = 4;
constexpr Duration kBufferRetryDelay = 1ms;

}  // namespace

Task<Result<Chunk>> Socket::receive() {
  for (unsigned attempt = 0;; ++attempt) {
    Perform receive(io::OperationKind::receive);
    receive.operation.handle = handle_;
    Result<io::Completion> completion = co_await receive;
    if (completion) co_return Chunk(completion->buffer, static_cast<size_t>(completion->result));
    if (completion.error() != os_error(ENOBUFS)) co_return fail(completion.error());
    // The pool is empty. Readers give their buffers back within a turn or two; where they do not, this one waits.
    if (attempt < kBufferYields) {
      co_await yield_now();
    } else {
      BH_CO_CHECKED(co_await sleep_for(kBufferRetryDelay));
    }
  }
}

Task<Status> Socket::send(Bytes data) {
  while (!data.empty()) {
    Perform send(io::OperationKind::send);
    send.operation.handle = handle_;
    send.operation.data = data.data();
    send.operation.size = static_cast<uint32_t>(std::min<size_t>(data.size(), 1u << 30));
    BH_CO_TRY(io::Completion completion, co_await send);
    data = data.subspan(static_cast<size_t>(completion.result));
  }
  co_return Status();
}

Task<Status> Socket::shutdown_send() {
  Perform shutdown(io::OperationKind::shutdown);
  shutdown.operation.handle = handle_;
  BH_CO_CHECKED(co_await shutdown);
  co_return Status();
}

Task<Result<SocketAddress>> Socket::peer_address() {
  SocketAddress address;
  Perform peer(io::OperationKind::peer);
  peer.operation.handle = handle_;
  peer.operation.peer = &address;
  BH_CO_CHECKED(co_await peer);
  co_return address;
}

Task<Result<Socket>> connect(io::Endpoint endpoint) {
  BH_CO_TRY(io::Handle handle, io::open_socket(endpoint));
  Socket socket(handle);
  Perform connect(io::OperationKind::connect);
  connect.operation.handle = handle;
  connect.operation.endpoint = &endpoint;
  BH_CO_CHECKED(co_await connect);
  co_return std::move(socket);
}

Listener::Listener(io::Handle handle, size_t backlog_max) : handle_(handle), backlog_max_(backlog_max), operation_(this) {
  operation_.completed = &Listener::accepted;
  arm();
}

Listener::~Listener() { BH_CHECK(!operation_.in_flight); }

void Listener::arm() {
  operation_.handle = handle_;
  operation_.cancel_requested = false;
  io::start(operation_);
}

void Listener::accepted(io::Operation& operation, const io::Completion& completion) {
  Listener& self = *static_cast<AcceptOperation&>(operation).listener;
  if (completion.result >= 0) {
    self.waiting_.emplace_back(io::Handle{completion.result});
    if (self.waiting_.size() >= self.backlog_max_ && completion.more) io::cancel(operation);
  } else if (completion.result == -EMFILE || completion.result == -ENFILE || completion.result == -EINVAL ||
             completion.result == -EBADF) {
    self.error_ = -completion.result;
  }
  if (!completion.more && self.closing_) self.ended_.set();
  self.changed_.set();
}

Task<Result<Socket>> Listener::accept() {
  for (;;) {
    if (!waiting_.empty()) {
      Socket socket = std::move(waiting_.front());
      waiting_.pop_front();
      co_return std::move(socket);
    }
    // While the operation is being canceled, connections may still come out of it.
    if (closing_ || (stopped_ && !operation_.in_flight)) co_return fail(core_error(CoreError::closed));
    if (error_ != 0) co_return fail(os_error(std::exchange(error_, 0)));
    if (!operation_.in_flight && accepting_ && !stopped_) arm();
    changed_.reset();
    BH_CO_CHECKED(co_await changed_.wait());
  }
}

void Listener::set_accepting(bool on) {
  accepting_ = on;
  if (!on && operation_.in_flight) io::cancel(operation_);
  changed_.set();
}

void Listener::stop() {
  stopped_ = true;
  if (operation_.in_flight) io::cancel(operation_);
  changed_.set();
}

Task<void> Listener::close() {
  closing_ = true;
  changed_.set();
  if (operation_.in_flight) {
    io::cancel(operation_);
    // Not to be cut short: the kernel still owns the operation.
    Context unstoppable;
    (void)co_await wait_for(ended_).under(unstoppable);
  }
  waiting_.clear();
  if (handle_) io::close(std::exchange(handle_, {}));
}

Task<Result<std::vector<IpAddress>>> resolve(std::string host) {
  if (auto literal = IpAddress::parse(host)) co_return std::vector<IpAddress>{*literal};
  Lookup lookup(std::move(host), io::Resolution::Kind::addresses);
  BH_CO_CHECKED(co_await lookup);
  co_return std::move(lookup.operation.addresses);
}

Task<Result<std::vector<io::ServiceRecord>>> resolve_service(std::string name) {
  Lookup lookup(std::move(name), io::Resolution::Kind::services);
  BH_CO_CHECKED(co_await lookup);
  std::vector<io::ServiceRecord> left = std::move(lookup.operation.services), ordered;
  std::sort(left.begin(), left.end(), [](const io::ServiceRecord& a, const io::ServiceRecord& b) {
    return std::pair(a.priority, a.weight) < std::pair(b.priority, b.weight);  // RFC 2782: weight 0 in front
  });
  ordered.reserve(left.size());
  while (!left.empty()) {
    auto equals_end = std::find_if(left.begin(), left.end(), [&](const io::ServiceRecord& record) {
      return record.priority != left.front().priority;
    });
    uint64_t sum = 0;
    for (auto at = left.begin(); at != equals_end; ++at) sum += at->weight;
    uint64_t lot = io::random_u64() % (sum + 1), passed = 0;
    auto drawn = std::find_if(left.begin(), equals_end, [&](const io::ServiceRecord& record) {
      passed += record.weight;
      return passed >= lot;
    });
    ordered.push_back(std::move(*drawn));
    left.erase(drawn);
  }
  co_return ordered;
}

Task<Result<int>> next_signal() {
  Perform signal(io::OperationKind::signal);
  BH_CO_TRY(io::Completion completion, co_await signal);
  co_return completion.result;
}

}  // namespace bellhop
