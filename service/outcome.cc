// SPDX-License-Identifier: Apache-2.0
#include "service/outcome.h"

#include "core/base/check.h"
#include "service/metrics.h"

namespace bellhop::service {
namespace {

template <class E, size_t N>
std::optional<E> find(const std::array<std::string_view, N>& names, std::string_view name) {
  for (size_t i = 0; i < N; ++i) {
    if (names[i] == name) return static_cast<E>(i);
  }
  return std::nullopt;
}

}  // namespace

std::optional<DeviceOutcome> device_outcome(std::string_view name) {
  return find<DeviceOutcome>(kDeviceOutcomeNames, name);
}
std::optional<CallbackOutcome> callback_outcome(std::string_view name) {
  return find<CallbackOutcome>(kCallbackOutcomeNames, name);
}
std::optional<ApiOutcome> api_outcome(std::string_view name) { return find<ApiOutcome>(kApiOutcomeNames, name); }
std::optional<GatewayOutcome> gateway_outcome(std::string_view name) {
  return find<GatewayOutcome>(kGatewayOutcomeNames, name);
}

DeviceOutcomeClass class_of(DeviceOutcome outcome) {
  switch (outcome) {
    case DeviceOutcome::delivered_apns:
    case DeviceOutcome::delivered_fcm:
    case DeviceOutcome::delivered_sns:
    case DeviceOutcome::delivered_contentfree: return DeviceOutcomeClass::delivered;
    case DeviceOutcome::journaled: return DeviceOutcomeClass::journaled;
    case DeviceOutcome::skipped_duplicate:
    case DeviceOutcome::skipped_merged:
    case DeviceOutcome::skipped_gone:
    case DeviceOutcome::skipped_policy:
    case DeviceOutcome::skipped_muted:
    case DeviceOutcome::skipped_no_device: return DeviceOutcomeClass::skipped;
    case DeviceOutcome::dropped_expired:
    case DeviceOutcome::dropped_token_gone:
    case DeviceOutcome::dropped_payload: return DeviceOutcomeClass::dropped;
  }
  check_failed("a device outcome of the list", __FILE__, __LINE__);
}

uint64_t LedgerSnapshot::total(DeviceOutcomeClass outcome_class) const {
  uint64_t sum = 0;
  for (size_t i = 0; i < kDeviceOutcomes; ++i) {
    if (class_of(static_cast<DeviceOutcome>(i)) == outcome_class) sum += device[i];
  }
  return sum;
}

int64_t LedgerSnapshot::balance() const {
  uint64_t ended = total(DeviceOutcomeClass::delivered) + total(DeviceOutcomeClass::skipped) +
                   total(DeviceOutcomeClass::dropped);
  return static_cast<int64_t>(accepted - handed_back - ended - journaled - in_flight);
}

LedgerSnapshot& LedgerSnapshot::operator+=(const LedgerSnapshot& other) {
  accepted += other.accepted;
  handed_back += other.handed_back;
  in_flight += other.in_flight;
  journaled += other.journaled;
  for (size_t i = 0; i < kDeviceOutcomes; ++i) device[i] += other.device[i];
  for (size_t i = 0; i < kCallbackOutcomes; ++i) callback[i] += other.callback[i];
  for (size_t i = 0; i < kApiOutcomes; ++i) api[i] += other.api[i];
  for (size_t i = 0; i < kGatewayOutcomes; ++i) gateway[i] += other.gateway[i];
  return *this;
}

void Ledger::accept(uint64_t devices) {
  shard_.add(metric::events_accepted, devices);
  shard_.raise(metric::events_in_flight, devices);
}

void Ledger::settle(DeviceOutcome outcome, uint64_t devices) {
  BH_CHECK(shard_.value(metric::events_in_flight) >= devices);
  shard_.lower(metric::events_in_flight, devices);
  shard_.add(metric::device_outcomes, outcome, devices);
  if (outcome == DeviceOutcome::journaled) shard_.raise(metric::journal_records, devices);
}

void Ledger::hand_back(uint64_t devices) {
  BH_CHECK(shard_.value(metric::events_in_flight) >= devices);
  shard_.lower(metric::events_in_flight, devices);
  shard_.add(metric::events_handed_back, devices);
}

void Ledger::restore_journaled(uint64_t records) {
  shard_.add(metric::events_accepted, records);
  shard_.raise(metric::journal_records, records);
}

void Ledger::settle_journaled(DeviceOutcome outcome) {
  BH_CHECK(outcome != DeviceOutcome::journaled);
  BH_CHECK(shard_.value(metric::journal_records) >= 1);
  shard_.lower(metric::journal_records);
  shard_.add(metric::device_outcomes, outcome);
}

void Ledger::count(CallbackOutcome outcome) { shard_.add(metric::callbacks, outcome); }
void Ledger::count(ApiOutcome outcome) { shard_.add(metric::api_requests, outcome); }
void Ledger::count(GatewayOutcome outcome) { shard_.add(metric::gateway_requests, outcome); }

LedgerSnapshot Ledger::snapshot() const { return ledger_snapshot(shard_); }

LedgerSnapshot ledger_snapshot(const MetricsShard& shard) {
  LedgerSnapshot snapshot;
  snapshot.accepted = shard.value(metric::events_accepted);
  snapshot.handed_back = shard.value(metric::events_handed_back);
  snapshot.in_flight = shard.value(metric::events_in_flight);
  snapshot.journaled = shard.value(metric::journal_records);
  for (size_t i = 0; i < kDeviceOutcomes; ++i) {
    snapshot.device[i] = shard.value(metric::device_outcomes, static_cast<DeviceOutcome>(i));
  }
  for (size_t i = 0; i < kCallbackOutcomes; ++i) {
    snapshot.callback[i] = shard.value(metric::callbacks, static_cast<CallbackOutcome>(i));
  }
  for (size_t i = 0; i < kApiOutcomes; ++i) {
    snapshot.api[i] = shard.value(metric::api_requests, static_cast<ApiOutcome>(i));
  }
  for (size_t i = 0; i < kGatewayOutcomes; ++i) {
    snapshot.gateway[i] = shard.value(metric::gateway_requests, static_cast<GatewayOutcome>(i));
  }
  return snapshot;
}

}  // namespace bellhop::service
