// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "core/base/time.h"
#include "proto/device_key.h"
#include "service/metrics_table.h"
#include "service/outcome.h"
#include "service/policy.h"
#include "store/ids.h"

namespace bellhop::service {

// One request at the gateway, as it is remembered. Nothing of a mail and no address: the account is a hash.
struct GatewayTrailEntry {
  // Cut, and in lower case where it is to be compared.
  template <size_t N>
  struct Text {
    std::array<char, N> bytes{};
    uint8_t size = 0;
    Text() = default;
    explicit Text(std::string_view text) : size(uint8_t(text.size() < N ? text.size() : N)) {
      for (size_t i = 0; i < size; ++i) bytes[i] = text[i];
    }
    std::string_view view() const { return {bytes.data(), size}; }
  };

  WallTime at{};
  GatewayOutcome outcome = GatewayOutcome::passed_ok;
  GatewayEndpointLabel endpoint = GatewayEndpointLabel::none;
  uint16_t status = 0;                     // that the client got; 0: none
  Text<64> rule;                           // of the policy, where one was against it
  PolicyReason reason = PolicyReason::off;
  store::StoredUserId account;             // zeros: not known
  std::optional<proto::DeviceKey> device;  // of an ActiveSync query
  Text<32> device_type;
  Text<48> mail_client;
  Text<32> operation;  // ActiveSync's Cmd or the operation of EWS
  Text<64> route;      // its first host
  Duration took{};
};

// What happened lately at the gateway of one core: the last requests, and the last few of each outcome, so that a rare one
// is still there when many came since. All memory is taken at the start. One core.
class GatewayTrail {
 public:
  static constexpr size_t kRecentMax = 4'096;
  static constexpr size_t kExamplesMax = 8;  // of one outcome

  GatewayTrail();
  void note(const GatewayTrailEntry& entry);
  // The newest first, at most `entries_max`.
  std::vector<GatewayTrailEntry> of_device(const proto::DeviceKey& device, size_t entries_max) const;
  std::vector<GatewayTrailEntry> of_account(const store::StoredUserId& account, size_t entries_max) const;
  std::vector<GatewayTrailEntry> of_device_type(std::string_view type, size_t entries_max) const;
  std::vector<GatewayTrailEntry> of_mail_client(std::string_view client, size_t entries_max) const;
  std::vector<GatewayTrailEntry> of_outcome(GatewayOutcome outcome) const;

 private:
  template <class Wanted>
  std::vector<GatewayTrailEntry> find(Wanted wanted, size_t entries_max) const;

  std::vector<GatewayTrailEntry> recent_;
  uint64_t noted_ = 0;
  std::array<std::vector<GatewayTrailEntry>, kGatewayOutcomes> examples_;
  std::array<uint64_t, kGatewayOutcomes> examples_noted_{};
};

}  // namespace bellhop::service
