// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "core/task.h"
#include "crypto/hash.h"
#include "service/api_problem.h"
#include "service/core.h"
#include "service/rate_limits.h"
#include "service/user_locks.h"

namespace bellhop::service {

// Who asks. Views into the request's body, which lives until the answer.
struct DeviceIdentity {
  const Tenant* tenant = nullptr;
  crypto::Digest address_hash{};  // `userId` as it was sent
  store::StoredUserId user;
  std::string_view device_id;
  store::DeviceKey device;
  std::string_view device_secret;  // empty: none was sent
};

// What `subscribe` asks for. What can be checked without the store has been checked.
struct SubscribeRequest {
  DeviceIdentity who;
  std::string_view key_id;
  std::string_view credentials;
  std::optional<proto::Url> ews_url;  // nothing: Autodiscover
  const AppConfig* app = nullptr;
  std::string_view push_token;
  store::Preview preview = store::Preview::full;
  bool badge = true;
  std::string_view locale;
};

struct Subscribed {
  bool device_created = false;
  std::string subscription_id;
  store::SubscriptionState state = store::SubscriptionState::pending;
  crypto::Secret device_secret;  // a new one; empty where the device keeps its own
  uint16_t heartbeat_minutes = 0;
  store::EnvelopeKind envelope = store::EnvelopeKind::rsa;  // of the mailbox's subscription
};

enum class DeviceStatus : uint8_t { active, pending, late, lost, blocked, unknown };
std::string_view name_of(DeviceStatus status);

struct CheckIn {
  DeviceStatus status = DeviceStatus::unknown;
  std::optional<WallTime> last_seen;  // of the subscription
  bool resubscribe = true;
};

// What devices ask for, on the home core of their user: the flows that read and change devices and subscriptions. One
// per core; all of one user's run on one core, those that change something one after the other. The HTTP side is
// DeviceApi, which also keeps the object.
class Registrar {
 public:
  explicit Registrar(Core& core);
  ~Registrar();
  Registrar(const Registrar&) = delete;
  Registrar& operator=(const Registrar&) = delete;

  // SubscribeFlow (subscribe_flow.h) tells the story.
  Task<ApiResult<Subscribed>> subscribe(const SubscribeRequest& request);
  // Problems: forbidden (wrong deviceSecret), unavailable.
  Task<ApiResult<CheckIn>> check_in(const DeviceIdentity& who);
  // Problems: forbidden (unknown device, wrong deviceSecret), blocked, malformed (no token of the device's platform).
  Task<ApiStatus> update_token(const DeviceIdentity& who, std::string_view push_token);
  // Fine where the device is gone already: its first answer may have been lost. Problems: forbidden, blocked.
  Task<ApiStatus> unsubscribe(const DeviceIdentity& who);

  // For operators: what unsubscribe does, whatever the device's secret or state. Errors: not_found; store;
  // CoreError::limit (others wait to change this user), canceled.
  Task<Result<store::RemovedDevice>> remove_device(store::StoredUserId user, store::DeviceKey device);
  // For operators: the device may not be used until it is unblocked, and a subscription with its credentials ends at
  // once; another device of the user is asked to subscribe. Waits for nobody: a subscribe or a renewal that is under way
  // finds that it has come too late. Errors: not_found; store.
  Task<Result<store::RemovedDevice>> block_device(store::StoredUserId user, store::DeviceKey device);
  // For operators: remove_device for a device that was lost or wiped. It is blocked at once, and a subscription with its
  // credentials ends; then it is removed. The user gets another key pair at the next heartbeat. Errors: as of
  // remove_device; the device is then blocked, but for not_found.
  Task<Result<store::RemovedDevice>> wipe_device(store::StoredUserId user, store::DeviceKey device);
  // For operators: the subscription becomes a tombstone, so that Exchange's next callback is answered Unsubscribe.
  // Devices and key stay; check-in tells every device to subscribe again. Errors: as of remove_device.
  Task<Status> end_subscription(store::StoredUserId user, store::CapabilityHash capability);

  RateLimits& limits() { return limits_; }
  // Who changes a user's devices or subscriptions holds the user's lock, but for block_device.
  UserLocks& locks() { return locks_; }

 private:
  Task<ApiResult<UserLocks::Held>> lock(const store::StoredUserId& user);
  // The device, once its secret was right and it is not blocked. Nothing where there is no such device.
  Task<ApiResult<std::optional<store::DeviceRecord>>> proven_device(const DeviceIdentity& who);
  Task<void> learn_name(const DeviceIdentity& who, store::DeviceRecord& device);
  Task<Result<store::RemovedDevice>> block(store::StoredUserId user, store::DeviceKey device,
                                           store::TombstoneReason reason);
  // The one way in which a device leaves. The user's lock is held.
  Task<Result<store::RemovedDevice>> remove(const store::StoredUserId& user, const store::DeviceKey& device,
                                            bool end_orphaned = false);
  std::unexpected<ApiProblem> store_failed(const DeviceIdentity& who, const Error& error);

  Core& core_;
  RateLimits limits_;
  UserLocks locks_;
  size_t subscribes_in_flight_ = 0;
  Semaphore openings_;  // of PKCS#12 files
};

}  // namespace bellhop::service
