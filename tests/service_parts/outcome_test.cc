// SPDX-License-Identifier: Apache-2.0
#include "service/outcome.h"

#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <set>

#include "service/metrics.h"

namespace bellhop::service {
namespace {

// Shards are large; they live on the heap.
struct Core {
  std::unique_ptr<MetricsShard> shard = std::make_unique<MetricsShard>();
  Ledger ledger{*shard};
};

TEST(Outcome, NamesAreReadBackAndDiffer) {
  std::set<std::string_view> seen;
  for (size_t i = 0; i < kDeviceOutcomes; ++i) {
    auto outcome = static_cast<DeviceOutcome>(i);
    EXPECT_EQ(device_outcome(name_of(outcome)), outcome);
    EXPECT_TRUE(seen.insert(name_of(outcome)).second);
  }
  seen.clear();
  for (size_t i = 0; i < kCallbackOutcomes; ++i) {
    auto outcome = static_cast<CallbackOutcome>(i);
    EXPECT_EQ(callback_outcome(name_of(outcome)), outcome);
    EXPECT_TRUE(seen.insert(name_of(outcome)).second);
  }
  seen.clear();
  for (size_t i = 0; i < kApiOutcomes; ++i) {
    auto outcome = static_cast<ApiOutcome>(i);
    EXPECT_EQ(api_outcome(name_of(outcome)), outcome);
    EXPECT_TRUE(seen.insert(name_of(outcome)).second);
  }
  // Explained by name alone: one that another list has, too, would never be found.
  for (std::string_view name : kDeviceOutcomeNames) seen.insert(name);
  for (std::string_view name : kCallbackOutcomeNames) seen.insert(name);
  for (size_t i = 0; i < kGatewayOutcomes; ++i) {
    auto outcome = static_cast<GatewayOutcome>(i);
    EXPECT_EQ(gateway_outcome(name_of(outcome)), outcome);
    EXPECT_TRUE(seen.insert(name_of(outcome)).second) << name_of(outcome);
  }
}

TEST(Outcome, NamesStandAtTheirEnumerators) {
  EXPECT_EQ(name_of(DeviceOutcome::delivered_contentfree), "delivered.contentfree");
  EXPECT_EQ(name_of(DeviceOutcome::journaled), "journaled");
  EXPECT_EQ(name_of(DeviceOutcome::skipped_no_device), "skipped.no_device");
  EXPECT_EQ(name_of(DeviceOutcome::dropped_payload), "dropped.payload");
  EXPECT_EQ(name_of(CallbackOutcome::unsubscribe_removed), "unsubscribe.removed");
  EXPECT_EQ(name_of(CallbackOutcome::refused_not_ready), "refused.not_ready");
  EXPECT_EQ(name_of(ApiOutcome::unavailable), "unavailable");
  EXPECT_EQ(name_of(GatewayOutcome::blocked_parked), "blocked.parked");
  EXPECT_EQ(name_of(GatewayOutcome::refused_stopping), "refused.stopping");
  EXPECT_EQ(name_of(GatewayOutcome::client_left), "client_left");
}

TEST(Outcome, OtherTextsAreNoOutcome) {
  for (std::string_view text : {"", "delivered", "delivered.", "Delivered.apns", "delivered.apns ", "ok.", "in_flight"}) {
    EXPECT_EQ(device_outcome(text), std::nullopt) << text;
    EXPECT_EQ(callback_outcome(text), std::nullopt) << text;
    EXPECT_EQ(api_outcome(text), std::nullopt) << text;
  }
}

TEST(Outcome, TheClassIsTheFirstWordOfTheName) {
  constexpr std::string_view words[] = {"delivered", "journaled", "skipped", "dropped"};
  for (size_t i = 0; i < kDeviceOutcomes; ++i) {
    std::string_view name = kDeviceOutcomeNames[i];
    EXPECT_EQ(name.substr(0, name.find('.')), words[static_cast<size_t>(class_of(static_cast<DeviceOutcome>(i)))]);
  }
}

TEST(Ledger, AnEventIsInFlightUntilEachDeviceHasItsOutcome) {
  Core core;
  core.ledger.accept(3);
  EXPECT_EQ(core.ledger.snapshot().in_flight, 3u);
  core.ledger.settle(DeviceOutcome::delivered_apns);
  core.ledger.settle(DeviceOutcome::skipped_muted);
  core.ledger.settle(DeviceOutcome::dropped_token_gone);
  LedgerSnapshot end = core.ledger.snapshot();
  EXPECT_EQ(end.in_flight, 0u);
  EXPECT_EQ(end.accepted, 3u);
  EXPECT_EQ(end.total(DeviceOutcomeClass::delivered), 1u);
  EXPECT_EQ(end.total(DeviceOutcomeClass::skipped), 1u);
  EXPECT_EQ(end.total(DeviceOutcomeClass::dropped), 1u);
  EXPECT_EQ(end.balance(), 0);
}

TEST(Ledger, AJournaledPushBecomesAnotherOutcome) {
  Core core;
  core.ledger.accept(2);
  core.ledger.settle(DeviceOutcome::journaled, 2);
  EXPECT_EQ(core.ledger.snapshot().journaled, 2u);
  EXPECT_EQ(core.ledger.snapshot().balance(), 0);
  core.ledger.settle_journaled(DeviceOutcome::delivered_contentfree);
  core.ledger.settle_journaled(DeviceOutcome::dropped_expired);
  LedgerSnapshot end = core.ledger.snapshot();
  EXPECT_EQ(end.journaled, 0u);
  EXPECT_EQ(end.device[static_cast<size_t>(DeviceOutcome::journaled)], 2u);
  EXPECT_EQ(end.balance(), 0);
}

TEST(Ledger, RecordsOfAnEarlierProcessCountAsAccepted) {
  Core core;
  core.ledger.restore_journaled(5);
  EXPECT_EQ(core.ledger.snapshot().accepted, 5u);
  EXPECT_EQ(core.ledger.snapshot().journaled, 5u);
  core.ledger.settle_journaled(DeviceOutcome::delivered_apns);
  EXPECT_EQ(core.ledger.snapshot().balance(), 0);
}

TEST(Ledger, WhatIsHandedBackToExchangeIsNotLost) {
  Core core;
  core.ledger.accept(2);
  core.ledger.settle(DeviceOutcome::delivered_apns);
  core.ledger.hand_back(1);
  core.ledger.count(CallbackOutcome::refused_overload);
  EXPECT_EQ(core.ledger.snapshot().handed_back, 1u);
  EXPECT_EQ(core.ledger.snapshot().in_flight, 0u);
  EXPECT_EQ(core.ledger.snapshot().balance(), 0);
}

TEST(Ledger, ALostEventShowsInTheBalance) {
  LedgerSnapshot snapshot;
  snapshot.accepted = 3;
  snapshot.device[static_cast<size_t>(DeviceOutcome::delivered_apns)] = 1;
  snapshot.in_flight = 1;
  EXPECT_EQ(snapshot.balance(), 1);
  snapshot.device[static_cast<size_t>(DeviceOutcome::skipped_gone)] = 2;
  EXPECT_EQ(snapshot.balance(), -1);
}

TEST(Ledger, CoresAddUpAndStayBalancedUnderAnyOrder) {
  Core cores[3];
  std::mt19937 random(11);
  for (int step = 0; step < 20'000; ++step) {
    Ledger& ledger = cores[random() % 3].ledger;
    LedgerSnapshot now = ledger.snapshot();
    switch (random() % 5) {
      case 0: ledger.accept(random() % 4); break;
      case 1:
      case 2:
        if (now.in_flight > 0) ledger.settle(static_cast<DeviceOutcome>(random() % kDeviceOutcomes));
        break;
      case 3:
        if (now.in_flight > 0) ledger.hand_back(1);
        break;
      case 4:
        if (now.journaled > 0) ledger.settle_journaled(DeviceOutcome::delivered_apns);
        break;
    }
    ASSERT_EQ(ledger.snapshot().balance(), 0);
  }
  LedgerSnapshot sum;
  for (Core& core : cores) sum += core.ledger.snapshot();
  EXPECT_EQ(sum.balance(), 0);
  EXPECT_GT(sum.accepted, 1'000u);
  EXPECT_GT(sum.total(DeviceOutcomeClass::delivered), 0u);
}

TEST(Ledger, CallbacksAndDeviceRequestsAreCountedByOutcome) {
  Core core;
  core.ledger.count(CallbackOutcome::heartbeat);
  core.ledger.count(CallbackOutcome::heartbeat);
  core.ledger.count(ApiOutcome::throttled);
  core.ledger.count(GatewayOutcome::passed_cut);
  LedgerSnapshot snapshot = core.ledger.snapshot();
  EXPECT_EQ(snapshot.callback[static_cast<size_t>(CallbackOutcome::heartbeat)], 2u);
  EXPECT_EQ(snapshot.api[static_cast<size_t>(ApiOutcome::throttled)], 1u);
  EXPECT_EQ(snapshot.gateway[static_cast<size_t>(GatewayOutcome::passed_cut)], 1u);
}

TEST(LedgerDeath, SettlingMoreThanIsInFlightIsABug) {
  Core core;
  core.ledger.accept(1);
  core.ledger.settle(DeviceOutcome::delivered_apns);
  EXPECT_DEATH(core.ledger.settle(DeviceOutcome::delivered_apns), "check failed");
  EXPECT_DEATH(core.ledger.hand_back(1), "check failed");
  EXPECT_DEATH(core.ledger.settle_journaled(DeviceOutcome::delivered_apns), "check failed");
  core.ledger.restore_journaled(1);
  EXPECT_DEATH(core.ledger.settle_journaled(DeviceOutcome::journaled), "check failed");
}

}  // namespace
}  // namespace bellhop::service
