// SPDX-License-Identifier: Apache-2.0
#pragma once

// A whole server and a client of its admin listener.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/sync.h"
#include "core/task.h"
#include "service/server.h"
#include "store/memory/memory_store.h"
#include "tests/core/run.h"

namespace bellhop::service::admin_test {

inline constexpr unsigned kCores = 2;

struct Answer {
  uint16_t status = 0;
  std::string content_type, allow, body;
};

enum class Way { unix_socket, tcp };

// A server with two tenants, "example" and "other", and a client of its admin listener. A scenario runs on core 0 while
// the server is ready.
class AdminWorld {
 public:
  using Scenario = Task<void> (*)(AdminWorld&);

  // With `hands_over` a successor may ask: see successor_options().
  static void run(Scenario scenario, bool hands_over = false);

  Task<Answer> ask(Way way, std::string method, std::string target, std::string body = {});
  Task<Answer> ask(std::string method, std::string target, std::string body = {}) {
    return ask(Way::unix_socket, std::move(method), std::move(target), std::move(body));
  }

  store::Store& store() { return *store_; }
  Server& server() { return *server_; }
  bool drain_asked = false;  // by the scenario itself
  HandoverOptions successor_options() const {
    return {.lock_path = handover_.lock_path, .socket_path = handover_.socket_path, .take_over = true};
  }

 private:
  explicit AdminWorld(Scenario scenario) : scenario_(scenario) {}

  Task<bool> wait_made() { co_return (co_await made_.wait()).has_value(); }
  Task<bool> count_end() {
    ++ended_;
    co_return true;
  }
  Task<void> run_core(unsigned core);

  const Scenario scenario_;
  bool hands_over_ = false;
  HandoverOptions handover_;
  std::unique_ptr<store::MemoryStore> store_ = store::MemoryStore::create();
  std::optional<Server> server_;
  Event made_;
  unsigned ended_ = 0;
};

// A string member of a JSON object; empty where there is none.
std::string text_member(const std::string& body, std::string_view name);

// Users 0, 1, 2 … of a tenant, each with `devices` devices and, where `subscribed`, a subscription from the first one.
// Ids are spread like hashes and tell their numbers.
struct Mailbox {
  store::StoredUserId user;
  std::vector<store::DeviceKey> devices;
  store::CapabilityHash capability;
};
Task<Mailbox> add_mailbox(store::Store& store, uint64_t number, std::string tenant, unsigned devices = 1,
                          bool subscribed = true);

}  // namespace bellhop::service::admin_test
