// SPDX-License-Identifier: Apache-2.0
#include "service/handover.h"

#include <cerrno>

#include "core/io.h"
#include "core/sleep.h"

namespace bellhop::service {
namespace {

// What is said, in this order: hello, sockets (several), all, ready, released. The number is of this list.
constexpr std::string_view kHello = "bellhop hand-over 1";
constexpr std::string_view kSockets = "sockets";  // and a line for the name of each descriptor
constexpr std::string_view kAll = "all";
constexpr std::string_view kReady = "ready";
constexpr std::string_view kReleased = "released";

constexpr Duration kAnswerPatience = 10s;     // for a word that the other side can say at once
constexpr Duration kReadyPatience = 120s;     // a successor may read a large store before it is ready
constexpr Duration kLockPatience = 2s;        // a process that was killed may take a moment to end
constexpr Duration kLockPatienceAfter = 60s;  // the predecessor drains by itself and did not answer us
constexpr Duration kLockInterval = 2ms;
constexpr Duration kAcceptRetry = 1s;

Error not_understood() { return core_error(CoreError::unsupported); }

// Ends the wind-down where the successor goes away, or says what it should not.
Task<void> watch(Channel* successor, Context* work, bool* gone) {
  Result<io::ChannelMessage> said = co_await successor->receive();
  if (!said && is(said.error(), CoreError::canceled)) co_return;
  *gone = true;
  work->request_stop();
}

Task<void> run_under(const std::function<Task<void>()>* step, Context* work) { co_await (*step)().under(*work); }

}  // namespace

// ---- The successor ----

Task<Result<bool>> Handover::ask(std::vector<NamedDescriptor>& given) {
  if (!options_.take_over) co_return false;
  Result<io::Descriptor> connected = io::connect_channel(options_.socket_path);
  if (!connected) {
    bool nobody = connected.error() == os_error(ENOENT) || connected.error() == os_error(ECONNREFUSED);
    if (nobody) co_return false;
    co_return fail(connected.error());
  }
  Channel channel(*std::move(connected));
  BH_CO_CHECKED(channel.send(kHello));
  for (;;) {
    BH_CO_TRY(io::ChannelMessage message, co_await within(kAnswerPatience, channel.receive()));
    if (message.text == kAll) break;
    std::string_view lines = message.text;
    if (!lines.starts_with(kSockets)) co_return fail(not_understood());
    lines.remove_prefix(kSockets.size());
    for (io::Descriptor& descriptor : message.descriptors) {
      if (!lines.starts_with('\n')) co_return fail(not_understood());
      lines.remove_prefix(1);
      size_t end = std::min(lines.find('\n'), lines.size());
      given.push_back({std::move(descriptor), std::string(lines.substr(0, end))});
      lines.remove_prefix(end);
    }
    if (!lines.empty()) co_return fail(not_understood());
  }
  predecessor_ = std::move(channel);
  co_return true;
}

Task<Status> Handover::own() {
  if (options_.lock_path.empty() || lock_) co_return Status();
  Duration patience = options_.take_over ? kLockPatienceAfter : kLockPatience;
  if (predecessor_) {
    (void)predecessor_.send(kReady);  // where it is gone, so is its lock
    Result<io::ChannelMessage> said = co_await predecessor_.receive();
    if (!said && is(said.error(), CoreError::canceled)) co_return fail(said.error());
    predecessor_.close();
  }
  BH_CO_TRY(io::Descriptor lock, io::open_lock_file(options_.lock_path));
  for (Instant give_up = io::now() + patience;;) {
    BH_CO_TRY(bool ours, io::try_lock(lock));
    if (ours) break;
    if (io::now() >= give_up) co_return fail(core_error(CoreError::limit));
    BH_CO_CHECKED(co_await sleep_for(kLockInterval));
  }
  lock_ = std::move(lock);
  co_return Status();
}

// ---- The one who runs ----

Task<void> Handover::offer(Place place, Log& log) {
  Result<ChannelListener> door = ChannelListener::open(options_.socket_path);
  if (!door) {
    log_line(log, LogLevel::warning, "handover_not_offered", field("error", door.error()),
             field("advice", "a restart will be a stop and a start; is the path of data_dir too long for a socket?"));
    co_return;
  }
  for (;;) {
    Result<Channel> successor = co_await door->accept();
    if (!successor) {
      if (is(successor.error(), CoreError::canceled)) co_return;
      log_line(log, LogLevel::warning, "handover_not_offered", field("error", successor.error()));
      if (!co_await sleep_for(kAcceptRetry)) co_return;  // no descriptor was free
      continue;
    }
    if (!co_await serve(*successor, place, log)) continue;
    successor_ = *std::move(successor);
    co_await place.leave();
    co_return;
  }
}

// True where the successor is to have the place.
Task<bool> Handover::serve(Channel& successor, const Place& place, Log& log) {
  Result<io::ChannelMessage> hello = co_await within(kAnswerPatience, successor.receive());
  if (!hello || hello->text != kHello) {
    Error error = hello ? not_understood() : hello.error();
    log_line(log, LogLevel::warning, "handover_refused", field("error", error));
    co_return false;
  }
  Status given = give(successor, place);
  log_line(log, LogLevel::info, "handover_asked");
  Result<io::ChannelMessage> ready = fail(given ? Error() : given.error());
  if (given) ready = co_await within(kReadyPatience, successor.receive());
  if (!ready || ready->text != kReady) {
    Error error = ready ? not_understood() : ready.error();
    log_line(log, LogLevel::warning, "handover_abandoned", field("error", error));
    co_return false;
  }
  log_line(log, LogLevel::info, "handover_begun");
  if (co_await wind_down_beside(successor, place)) co_return true;
  co_await place.take_back();
  log_line(log, LogLevel::warning, "handover_abandoned", field("error", core_error(CoreError::closed)));
  co_return false;
}

Status Handover::give(Channel& successor, const Place& place) {
  std::vector<NamedDescriptor> shared = place.share();
  for (size_t at = 0; at < shared.size();) {
    std::string text(kSockets);
    std::vector<int> numbers;
    for (; at < shared.size() && numbers.size() < io::kChannelDescriptorsMax; ++at) {
      if (text.size() + 1 + shared[at].name.size() > io::kChannelTextMax) break;
      text += "\n" + shared[at].name;
      numbers.push_back(shared[at].descriptor.get());
    }
    BH_CHECK(!numbers.empty());
    BH_CHECKED(successor.send(text, numbers));
  }
  return successor.send(kAll);
}

// False where the successor went away meanwhile.
Task<bool> Handover::wind_down_beside(Channel& successor, const Place& place) {
  Context& own = co_await current_context();
  Context work(&own);
  bool gone = false;
  TaskScope watching(&own);
  watching.spawn(watch(&successor, &work, &gone));
  co_await run_under(&place.wind_down, &work);
  watching.request_stop();
  co_await watching.join();
  co_return !gone && !own.stop_requested();
}

void Handover::let_go() {
  lock_.close();
  if (successor_) (void)successor_.send(kReleased);
  successor_.close();
}

}  // namespace bellhop::service
