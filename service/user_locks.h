// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <unordered_map>
#include <utility>

#include "core/sync.h"
#include "store/ids.h"

namespace bellhop::service {

// One flow at a time for each user. Kept on the user's home core. Flows wait in the order of arrival, at most
// kWaitingMax for one user.
class UserLocks {
  struct Entry {
    Semaphore gate{1};
    size_t flows = 0;  // that hold it or wait for it
  };

 public:
  static constexpr size_t kWaitingMax = 4;

  // The lock: given back when it dies. The UserLocks outlive it.
  class [[nodiscard]] Held {
   public:
    Held(Held&& other) noexcept
        : locks_(std::exchange(other.locks_, nullptr)), user_(other.user_), permit_(std::move(other.permit_)) {}
    Held& operator=(Held&&) = delete;
    ~Held() {
      if (!locks_) return;
      permit_.release();
      locks_->leave(user_);
    }

   private:
    friend UserLocks;
    Held(UserLocks* locks, const store::StoredUserId& user, Semaphore::Permit permit)
        : locks_(locks), user_(user), permit_(std::move(permit)) {}
    UserLocks* locks_;
    store::StoredUserId user_;
    Semaphore::Permit permit_;
  };

  UserLocks() = default;
  ~UserLocks() { BH_CHECK(entries_.empty()); }
  UserLocks(const UserLocks&) = delete;
  UserLocks& operator=(const UserLocks&) = delete;

  // Errors: CoreError::limit (too many wait), canceled.
  Task<Result<Held>> acquire(store::StoredUserId user) {
    Entry& entry = entries_[user];
    if (entry.flows > kWaitingMax) co_return fail(core_error(CoreError::limit));
    ++entry.flows;
    Result<Semaphore::Permit> permit = co_await entry.gate.acquire();
    if (!permit) {
      leave(user);
      co_return fail(permit.error());
    }
    co_return Held(this, user, *std::move(permit));
  }
  // True where nobody holds the user's lock or waits for it: acquire() would not wait.
  bool free(const store::StoredUserId& user) const { return !entries_.contains(user); }
  size_t users() const { return entries_.size(); }

 private:
  void leave(const store::StoredUserId& user) {
    auto entry = entries_.find(user);
    BH_CHECK(entry != entries_.end() && entry->second.flows > 0);
    if (--entry->second.flows == 0) entries_.erase(entry);
  }
  std::unordered_map<store::StoredUserId, Entry> entries_;
};

}  // namespace bellhop::service
