// SPDX-License-Identifier: Apache-2.0

// The functions of core/descriptors.h, in the simulator. There is one process, so what two processes would share is
// shared by whoever holds a descriptor of it.

#include "core/descriptors.h"

#include <cerrno>
#include <deque>
#include <map>
#include <memory>
#include <variant>

#include "core/sim/simulator.h"
#include "core/sim/world.h"

namespace bellhop::io {
namespace {

constexpr int kFirstNumber = 1000;  // below: what World::inherit names
constexpr size_t kChannelBacklog = 8;
constexpr size_t kMessagesMax = 64;  // that one side of a channel has not taken

struct Message {
  std::string text;
  std::vector<Descriptor> descriptors;
};
struct Side {
  std::deque<Message> arrived;
  uint64_t waiting = 0;  // number of a wait; 0: nobody waits
  bool closed = false;
};
struct Connection {
  Side side[2];
};

struct SharedListener {};
struct MemoryFile {
  std::shared_ptr<std::vector<uint8_t>> content;
};
struct LockFile {
  std::string path;
};
struct ChannelEnd {
  std::shared_ptr<Connection> connection;
  int side = 0;
};
struct ChannelDoor {
  std::string path;
  std::deque<Descriptor> knocking;  // the server's ends
  uint64_t waiting = 0;
};
using Thing = std::variant<SharedListener, MemoryFile, LockFile, ChannelEnd, ChannelDoor>;

struct Wait {
  Readiness* readiness = nullptr;
  unsigned core = 0;
};

struct Table {
  std::map<int, Thing> things;
  std::map<uint64_t, Wait> waits;     // not abandoned, and not told yet
  uint64_t next_wait = 1;
  std::map<std::string, int> doors;   // by path
  std::map<std::string, int> locked;  // by path: who has it
  int next = kFirstNumber;
};
Table& table() {
  static Table the_table;
  return the_table;
}

Descriptor add(Thing thing) {
  int number = table().next++;
  table().things.emplace(number, std::move(thing));
  return Descriptor(number);
}

template <class T>
T* find(int number) {
  auto found = table().things.find(number);
  return found == table().things.end() ? nullptr : std::get_if<T>(&found->second);
}

// Tells whoever waits, a little later and on its own core.
void wake(uint64_t& waiting) {
  uint64_t number = std::exchange(waiting, 0);
  if (number == 0) return;
  sim::Simulator& simulator = sim::Simulator::current();
  simulator.after(simulator.completion_delay(), [number] {
    auto found = table().waits.find(number);
    if (found == table().waits.end()) return;
    sim::Simulator::current().gather(found->second.core, [number] {
      auto node = table().waits.extract(number);
      if (!node.empty()) node.mapped().readiness->done(*node.mapped().readiness);
    });
  });
}

// Another name of the same thing, for whom it was sent to.
Descriptor duplicate(int number) {
  auto found = table().things.find(number);
  if (found != table().things.end()) {
    if (auto* file = std::get_if<MemoryFile>(&found->second)) return add(*file);
    BH_CHECK(std::holds_alternative<SharedListener>(found->second));  // nothing else is sent
  }
  const Endpoint* endpoint = sim::world().inherited(number);
  BH_CHECK(endpoint);
  Descriptor other = add(SharedListener());
  sim::world().inherit(other.get(), *endpoint);
  return other;
}

}  // namespace

void Descriptor::close() {
  if (value_ < 0) return;
  int number = std::exchange(value_, -1);
  auto found = table().things.find(number);
  if (found == table().things.end()) return;
  Thing thing = std::move(found->second);
  table().things.erase(found);
  if (auto* end = std::get_if<ChannelEnd>(&thing)) {
    end->connection->side[end->side].closed = true;
    wake(end->connection->side[1 - end->side].waiting);
  } else if (auto* lock = std::get_if<LockFile>(&thing)) {
    auto holder = table().locked.find(lock->path);
    if (holder != table().locked.end() && holder->second == number) table().locked.erase(holder);
  } else if (auto* door = std::get_if<ChannelDoor>(&thing)) {
    auto named = table().doors.find(door->path);
    if (named != table().doors.end() && named->second == number) named->second = -1;  // the path stays, and refuses
  }
}

Result<Descriptor> share_listener(Handle listener) {
  BH_TRY(Endpoint endpoint, sim::Simulator::current().network().endpoint(listener));
  Descriptor other = add(SharedListener());
  sim::world().inherit(other.get(), endpoint);
  return other;
}

Result<Descriptor> make_memory_file(const char*, Bytes content) {
  return add(MemoryFile{std::make_shared<std::vector<uint8_t>>(content.begin(), content.end())});
}
Status write_memory_file(int descriptor, Bytes content) {
  MemoryFile* file = find<MemoryFile>(descriptor);
  if (!file) return fail(os_error(EBADF));
  BH_CHECK(content.size() <= kMemoryFileMax);
  if (file->content->size() < content.size()) file->content->resize(content.size());
  std::copy(content.begin(), content.end(), file->content->begin());
  return {};
}
Result<std::vector<uint8_t>> read_memory_file(int descriptor) {
  MemoryFile* file = find<MemoryFile>(descriptor);
  if (!file) return fail(os_error(EBADF));
  return *file->content;
}

Result<Descriptor> share_memory_file(int descriptor) {
  MemoryFile* file = find<MemoryFile>(descriptor);
  if (!file) return fail(os_error(EBADF));
  return add(MemoryFile(*file));
}

Result<Descriptor> open_lock_file(const std::string& path) { return add(LockFile{path}); }
Result<bool> try_lock(const Descriptor& lock_file) {
  LockFile* file = find<LockFile>(lock_file.get());
  if (!file) return fail(os_error(EBADF));
  auto [holder, fresh] = table().locked.try_emplace(file->path, lock_file.get());
  return fresh || holder->second == lock_file.get();
}

Result<Descriptor> listen_channel(const std::string& path) {
  Descriptor door = add(ChannelDoor{path, {}, 0});
  table().doors[path] = door.get();
  return door;
}
Result<Descriptor> connect_channel(const std::string& path) {
  auto named = table().doors.find(path);
  if (named == table().doors.end()) return fail(os_error(ENOENT));
  ChannelDoor* door = find<ChannelDoor>(named->second);
  if (!door) return fail(os_error(ECONNREFUSED));
  if (door->knocking.size() >= kChannelBacklog) return fail(os_error(EAGAIN));
  auto connection = std::make_shared<Connection>();
  door->knocking.push_back(add(ChannelEnd{connection, 1}));
  wake(door->waiting);
  return add(ChannelEnd{std::move(connection), 0});
}
Result<Descriptor> accept_channel(const Descriptor& listener) {
  ChannelDoor* door = find<ChannelDoor>(listener.get());
  if (!door) return fail(os_error(EBADF));
  if (door->knocking.empty()) return fail(os_error(EAGAIN));
  Descriptor end = std::move(door->knocking.front());
  door->knocking.pop_front();
  return end;
}

Status send_message(const Descriptor& channel, std::string_view text, std::span<const int> descriptors) {
  BH_CHECK(!text.empty() && text.size() <= kChannelTextMax && descriptors.size() <= kChannelDescriptorsMax);
  ChannelEnd* end = find<ChannelEnd>(channel.get());
  if (!end) return fail(os_error(EBADF));
  Side& other = end->connection->side[1 - end->side];
  if (other.closed) return fail(os_error(EPIPE));
  if (other.arrived.size() >= kMessagesMax) return fail(os_error(EAGAIN));
  Message message{std::string(text), {}};
  for (int number : descriptors) message.descriptors.push_back(duplicate(number));
  other.arrived.push_back(std::move(message));
  wake(other.waiting);
  return {};
}
Result<ChannelMessage> receive_message(const Descriptor& channel) {
  ChannelEnd* end = find<ChannelEnd>(channel.get());
  if (!end) return fail(os_error(EBADF));
  Side& own = end->connection->side[end->side];
  if (own.arrived.empty()) return fail(os_error(end->connection->side[1 - end->side].closed ? EPIPE : EAGAIN));
  Message message = std::move(own.arrived.front());
  own.arrived.pop_front();
  return ChannelMessage{std::move(message.text), std::move(message.descriptors)};
}

void start(Readiness& readiness) {
  uint64_t number = table().next_wait++;
  table().waits[number] = {&readiness, core()};
  readiness.backend = reinterpret_cast<void*>(uintptr_t{number});
  if (ChannelDoor* door = find<ChannelDoor>(readiness.descriptor)) {
    door->waiting = number;
    if (!door->knocking.empty()) wake(door->waiting);
    return;
  }
  ChannelEnd* end = find<ChannelEnd>(readiness.descriptor);
  BH_CHECK(end);
  Side& own = end->connection->side[end->side];
  own.waiting = number;
  if (!own.arrived.empty() || end->connection->side[1 - end->side].closed) wake(own.waiting);
}

void abandon(Readiness& readiness) { table().waits.erase(reinterpret_cast<uintptr_t>(readiness.backend)); }

Status notify_with(const std::string& socket_path, std::string_view message, int descriptor) {
  (void)descriptor;
  return notify(socket_path, message);
}

}  // namespace bellhop::io
