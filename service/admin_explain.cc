// SPDX-License-Identifier: Apache-2.0
// GET /v1/explain/{thing}: what happened to a user, device or subscription, when, and what comes next; or what an outcome
// means, and where it was met last. It is put together from the store, from the journal and from what the cores remember.
#include <fmt/format.h>

#include <algorithm>

#include "core/cross_core.h"
#include "core/io.h"
#include "service/admin_listing.h"
#include "service/ews_hosts.h"
#include "service/gateway.h"
#include "service/outcome_texts.h"
#include "service/policy_points.h"
#include "service/push.h"
#include "service/server.h"
#include "service/trail.h"
#include "store/error.h"

namespace bellhop::service::admin {
namespace {

using proto::JsonWriter;
using proto::ProblemCode;

constexpr size_t kTrailShownMax = 64;
constexpr size_t kPendingShownMax = 32;
constexpr size_t kPendingReadMax = 1'024;

// ---- What is known ----

struct Facts {
  std::string_view kind;
  store::StoredUserId id;
  std::optional<store::DeviceKey> device;               // the one that was asked for
  std::optional<store::CapabilityHash> subscription;  // likewise
  WholeUser whole;
  WallTime last_seen{};
  Supervised supervised{};
  std::vector<TrailEntry> trail;
  std::vector<store::JournalEntry> pending;  // of the device, or of all
  std::vector<EwsHostState> hosts;           // as the home core knows them
};

Task<std::vector<TrailEntry>> trail_here(const Core* core, store::StoredUserId user) {
  co_return core->trail.of_user(user, kTrailShownMax);
}
Task<std::vector<EwsHostState>> hosts_here(Core* core) { co_return core->ews.hosts(); }

// A mailbox's records lie together.
Task<Status> read_pending(Core& core, Facts& facts) {
  store::MailboxNumber mailbox = facts.whole.user.mailbox;
  std::optional<store::JournalKey> after(store::JournalKey{.mailbox = mailbox, .device = {}, .item_hash = 0});
  for (size_t read = 0; read < kPendingReadMax;) {
    BH_CO_TRY(auto entries, co_await core.node.store.list_journal(after));
    bool more = entries.size() == store::kListMax;
    for (store::JournalEntry& entry : entries) {
      if (entry.key.mailbox != mailbox) co_return Status();
      ++read;
      after = entry.key;
      bool wanted = entry.record.user == facts.id && (!facts.device || entry.key.device == *facts.device);
      if (wanted) facts.pending.push_back(std::move(entry));
    }
    if (!more) break;
    co_await yield_now();
  }
  co_return Status();
}

Task<Result<Facts>> gather(Core& core, Facts facts) {
  BH_CO_TRY(facts.whole, co_await read_whole_user(core, facts.id));
  std::vector<Contact> contacts{{.mailbox = facts.whole.user.mailbox, .user = facts.id}};
  co_await read_contacts(core, contacts);
  facts.last_seen = contacts[0].last_seen;
  facts.supervised = contacts[0].supervised;
  BH_CO_CHECKED(co_await read_pending(core, facts));
  const Node& node = core.node;
  for (unsigned i = 0; i < node.cores.size(); ++i) {
    Core* other = node.cores[i];
    store::StoredUserId user = facts.id;
    std::vector<TrailEntry> some = co_await on_core(i, [other, user] { return trail_here(other, user); });
    std::ranges::move(some, std::back_inserter(facts.trail));
  }
  unsigned home = node.home_core(facts.id);
  Core* owner = node.cores[home];
  facts.hosts = co_await on_core(home, [owner] { return hosts_here(owner); });
  std::erase_if(facts.trail, [&](const TrailEntry& entry) {
    bool callback = std::holds_alternative<CallbackOutcome>(entry.outcome);
    if (callback) return facts.subscription && entry.subscription != *facts.subscription;
    return facts.device && entry.device != *facts.device;
  });
  std::ranges::sort(facts.trail, {}, &TrailEntry::at);
  if (facts.trail.size() > kTrailShownMax) {
    facts.trail.erase(facts.trail.begin(), facts.trail.end() - kTrailShownMax);
  }
  co_return facts;
}

// What the text names. Errors: not_found, store.
Task<Result<Facts>> find_thing(Core& core, std::string_view text) {
  if (auto user = read_id<store::StoredUserId>(text)) co_return co_await gather(core, {.kind = "user", .id = *user});
  auto device = read_id<store::DeviceKey>(text);
  if (!device) co_return fail(store::store_error(store::StoreError::not_found));
  auto owner = co_await core.node.store.find_device_owner(*device);
  if (owner) co_return co_await gather(core, {.kind = "device", .id = *owner, .device = *device});
  if (!is(owner.error(), store::StoreError::not_found)) co_return fail(owner.error());
  // A subscription's id has the same size: the beginning of its capability's hash.
  BH_CO_TRY(auto found, co_await core.node.store.find_subscription(*device));
  co_return co_await gather(core,
                            {.kind = "subscription", .id = found.record.user, .subscription = found.capability});
}

// ---- How it is told ----

struct Step {
  WallTime at{};
  std::string_view what;
  std::string text;
  std::string_view outcome;
  std::optional<store::DeviceKey> device;
  std::optional<store::CapabilityHash> subscription;
  uint64_t item = 0;
};

Step step_of(const TrailEntry& entry) {
  Step step{.at = entry.at};
  if (const auto* callback = std::get_if<CallbackOutcome>(&entry.outcome)) {
    step.what = "callback";
    step.outcome = name_of(*callback);
    step.subscription = entry.subscription;
    step.text = fmt::format("Exchange told of {} new mails, {} of them known{}; after {} ms {}", entry.events,
                            entry.duplicates, entry.caught_up ? ", and the mailbox was listed because events were missed" : "",
                            to_milliseconds(entry.took), explain(*callback).meaning);
    return step;
  }
  DeviceOutcome outcome = std::get<DeviceOutcome>(entry.outcome);
  step.what = "push";
  step.outcome = name_of(outcome);
  step.device = entry.device;
  step.item = entry.item;
  step.text = explain(outcome).meaning;
  if (entry.events > 1) step.text += fmt::format("; it stands for {} mails", entry.events);
  return step;
}

// What happened first, of steps within one millisecond.
size_t rank(const Step& step) {
  constexpr std::string_view kOrder[] = {"user", "device", "token", "subscription", "journal", "push", "callback", "contact"};
  return size_t(std::ranges::find(kOrder, step.what) - std::begin(kOrder));
}

std::vector<Step> chain_of(const Facts& facts) {
  std::vector<Step> chain;
  chain.push_back({.at = facts.whole.user.created, .what = "user", .text = "the user's first device asked for a key pair"});
  for (const store::DeviceEntry& device : facts.whole.devices) {
    if (facts.device && device.key != *facts.device) continue;
    chain.push_back({.at = device.record.created, .what = "device", .text = "the device registered", .device = device.key});
    if (device.record.registered_at != device.record.created) {
      chain.push_back({.at = device.record.registered_at, .what = "token", .text = "the device told its push token again",
                       .device = device.key});
    }
  }
  for (const store::SubscriptionEntry& subscription : facts.whole.subscriptions) {
    if (facts.subscription && subscription.capability != *facts.subscription) continue;
    chain.push_back({.at = subscription.record.created,
                     .what = "subscription",
                     .text = fmt::format("a subscription was made at {}; it is {} now", ews_host(subscription.record),
                                         name_of(health_of(subscription.record, facts.supervised.stage))),
                     .device = subscription.record.source_device,
                     .subscription = subscription.capability});
  }
  if (facts.last_seen != WallTime()) {
    chain.push_back({.at = facts.last_seen, .what = "contact", .text = "Exchange called for the last time"});
  }
  for (const store::JournalEntry& entry : facts.pending) {
    if (chain.size() > kTrailShownMax) break;
    chain.push_back({.at = entry.record.first_seen,
                     .what = "journal",
                     .text = fmt::format("a push went into the journal; {} attempts since", entry.record.attempts),
                     .outcome = name_of(DeviceOutcome::journaled),
                     .device = entry.key.device,
                     .item = entry.key.item_hash});
  }
  for (const TrailEntry& entry : facts.trail) chain.push_back(step_of(entry));
  std::ranges::sort(chain, [](const Step& a, const Step& b) { return std::pair(a.at, rank(a)) < std::pair(b.at, rank(b)); });
  return chain;
}

void add_host(const Facts& facts, const store::SubscriptionRecord& record, WallTime now, std::vector<Step>& next) {
  for (const EwsHostState& host : facts.hosts) {
    std::string name = host.port == 443 ? host.host : fmt::format("{}:{}", host.host, host.port);
    if (name != ews_host(record)) continue;
    Duration wait = std::max(host.open_for, host.back_off_for);
    if (wait == Duration::zero() && host.breaker == CircuitBreaker::State::closed) continue;
    next.push_back({.at = now + std::chrono::duration_cast<std::chrono::milliseconds>(wait),
                    .what = "ews_host",
                    .text = fmt::format("{} is given a rest because requests failed, or asked for one; until then pushes go out "
                                        "without content", name)});
    return;
  }
}

void add_subscription(const Facts& facts, const store::SubscriptionEntry& entry, WallTime now, std::vector<Step>& next) {
  const store::SubscriptionRecord& record = entry.record;
  std::chrono::milliseconds frequency = std::chrono::minutes(record.status_frequency_minutes);
  next.push_back({.at = std::max(facts.last_seen, record.created) + frequency,
                  .what = "heartbeat",
                  .text = "by then Exchange calls, with mail or without, or something is wrong",
                  .subscription = entry.capability});
  if (record.logon.failed > 0) {
    next.push_back({.at = record.logon.next_allowed,
                    .what = "logon",
                    .text = fmt::format("Exchange refused the credentials {} times: not before then they are tried again; a "
                                        "device is asked to subscribe anew", record.logon.failed),
                    .subscription = entry.capability});
  }
  add_host(facts, record, now, next);
}

bool refused(const TrailEntry& entry) {
  const auto* callback = std::get_if<CallbackOutcome>(&entry.outcome);
  return callback && *callback >= CallbackOutcome::refused_limit;
}

void add_silence(const Facts& facts, WallTime now, std::vector<Step>& next) {
  if (facts.supervised.next_ask_in_s) {
    next.push_back({.at = now + std::chrono::seconds(*facts.supervised.next_ask_in_s),
                    .what = "resubscribe",
                    .text = fmt::format("Exchange is silent: a device is asked to subscribe again; it was asked {} times",
                                        facts.supervised.asks)});
  } else if (facts.supervised.host_silent) {
    next.push_back({.at = now,
                    .what = "ews_host",
                    .text = "the whole EWS host is silent: no device is asked to subscribe again until it speaks"});
  }
}

std::vector<Step> next_of(const Facts& facts, WallTime now) {
  std::vector<Step> next;
  auto soonest = std::ranges::min_element(facts.pending, {}, [](const auto& entry) { return entry.record.next_attempt; });
  if (soonest != facts.pending.end()) {
    next.push_back({.at = soonest->record.next_attempt,
                    .what = "journal",
                    .text = fmt::format("the first of {} pushes in the journal is tried again", facts.pending.size()),
                    .device = soonest->key.device,
                    .item = soonest->key.item_hash});
  }
  for (const store::SubscriptionEntry& entry : facts.whole.subscriptions) {
    if (!facts.subscription || entry.capability == *facts.subscription) add_subscription(facts, entry, now, next);
  }
  add_silence(facts, now, next);
  auto callback = std::ranges::find_if(facts.trail.rbegin(), facts.trail.rend(), [](const TrailEntry& entry) {
    return std::holds_alternative<CallbackOutcome>(entry.outcome);
  });
  if (callback != facts.trail.rend() && refused(*callback)) {
    next.push_back({.at = callback->at + std::chrono::seconds(30),
                    .what = "exchange_repeat",
                    .text = "not before then Exchange repeats the callback that was refused",
                    .subscription = callback->subscription});
  }
  std::ranges::sort(next, {}, &Step::at);
  return next;
}

// What the policy has against a device; empty: nothing.
std::string policy_text(const Core& core, const Facts& facts, const store::DeviceEntry& device) {
  PolicyDecision decision = decide_device(core, facts.whole.user.tenant, facts.id, device.record.name, DecisionPoint::push);
  if (decision.allowed()) return "";
  std::string why(service::name_of(decision.reason));
  if (decision.rule != kNoRule) why += fmt::format(" \"{}\"", core.policy->rules().name(decision.rule));
  if (decision.since != WallTime()) why += fmt::format(", since {}", timestamp(decision.since));
  return fmt::format("Device {} is kept out by the policy ({}): {}. ", to_hex(device.key), why,
                     core.policy->how_to_lift(decision, to_hex(device.key)));
}

std::string summary_of(const Core& core, const Facts& facts) {
  std::string text;
  for (const store::DeviceEntry& device : facts.whole.devices) {
    if (facts.device && device.key != *facts.device) continue;
    if (auto refusal = device_refusal(device.record)) {
      text += fmt::format("Device {} gets no pushes: {}. ", to_hex(device.key), explain(*refusal).meaning);
    }
    text += policy_text(core, facts, device);
  }
  if (facts.whole.devices.empty()) text += "The user has no device. ";
  for (const store::SubscriptionEntry& entry : facts.whole.subscriptions) {
    if (facts.subscription && entry.capability != *facts.subscription) continue;
    text += fmt::format("Subscription {} is {}{}. ", subscription_id(entry.capability),
                        name_of(health_of(entry.record, facts.supervised.stage)),
                        credentials_refused(entry.record) ? ", and Exchange refuses its credentials" : "");
  }
  if (facts.whole.subscriptions.empty()) {
    text += "There is no subscription: no mail is heard of until a device subscribes. ";
  }
  text += facts.pending.empty() ? "No push waits in the journal."
                                : fmt::format("{} pushes wait in the journal.", facts.pending.size());
  return text;
}

void append_steps(JsonWriter& json, std::string_view name, const std::vector<Step>& steps) {
  json.name(name).begin_array();
  for (const Step& step : steps) {
    json.begin_object().member("at", timestamp_ms(step.at)).member("what", step.what).member("text", step.text);
    if (!step.outcome.empty()) json.member("outcome", step.outcome);
    if (step.device) json.member("device", to_hex(*step.device));
    if (step.subscription) json.member("subscription", subscription_id(*step.subscription));
    if (step.item != 0) json.member("item", fmt::format("{:016x}", step.item));
    json.end_object();
  }
  json.end_array();
}

void append_pending(JsonWriter& json, const Facts& facts) {
  json.member("pendingCount", facts.pending.size()).name("pending").begin_array();
  for (size_t i = 0; i < std::min(facts.pending.size(), kPendingShownMax); ++i) {
    const store::JournalEntry& entry = facts.pending[i];
    json.begin_object()
        .member("device", to_hex(entry.key.device))
        .member("item", fmt::format("{:016x}", entry.key.item_hash))
        .member("firstSeen", timestamp_ms(entry.record.first_seen))
        .member("attempts", unsigned{entry.record.attempts})
        .member("nextAttempt", timestamp_ms(entry.record.next_attempt))
        .end_object();
  }
  json.end_array();
}

// ---- Outcomes ----

template <class Outcome>
Task<std::vector<TrailEntry>> examples_here(const Core* core, Outcome outcome) {
  co_return core->trail.of_outcome(outcome);
}

template <class Outcome>
Task<std::vector<Step>> examples_of(Core& core, Outcome outcome) {
  std::vector<TrailEntry> met;
  for (unsigned i = 0; i < core.node.cores.size(); ++i) {
    const Core* other = core.node.cores[i];
    auto some = co_await on_core(i, [other, outcome] { return examples_here(other, outcome); });
    std::ranges::move(some, std::back_inserter(met));
  }
  std::ranges::sort(met, {}, &TrailEntry::at);
  std::vector<Step> steps;
  for (const TrailEntry& entry : met) {
    steps.push_back(step_of(entry));
    steps.back().text = "user " + to_hex(entry.user);
  }
  co_return steps;
}

Task<std::vector<GatewayTrailEntry>> gateway_examples_here(const Core* core, GatewayOutcome outcome) {
  if (!core->gateway) co_return std::vector<GatewayTrailEntry>();
  co_return core->gateway->trail().of_outcome(outcome);
}

// Whoever asked has no name here: `bellhop gateway` looks it up by device or account.
Step step_of(const GatewayTrailEntry& entry) {
  Step step{.at = entry.at, .what = "request", .outcome = name_of(entry.outcome)};
  step.text = fmt::format("{} at {}: {}, after {} ms", entry.operation.view().empty() ? "a request" : entry.operation.view(),
                          entry.route.view().empty() ? "no route" : entry.route.view(), entry.status, to_milliseconds(entry.took));
  return step;
}

Task<std::vector<Step>> examples_of(Core& core, GatewayOutcome outcome) {
  std::vector<Step> steps;
  for (unsigned i = 0; i < core.node.cores.size(); ++i) {
    const Core* other = core.node.cores[i];
    auto some = co_await on_core(i, [other, outcome] { return gateway_examples_here(other, outcome); });
    for (const GatewayTrailEntry& entry : some) steps.push_back(step_of(entry));
  }
  std::ranges::sort(steps, {}, &Step::at);
  co_return steps;
}

void append_outcome(JsonWriter& json, std::string_view list, OutcomeText text, uint64_t count) {
  json.member("kind", "outcome").member("list", list).member("summary", text.meaning);
  if (!text.todo.empty()) json.member("todo", text.todo);
  json.member("count", count);
}

// False where `name` is no outcome.
Task<bool> explain_outcome(Call& call, std::string_view name, std::string& body) {
  LedgerSnapshot ledger = call.server.ledger();
  JsonWriter json(body);
  json.begin_object().member("thing", name);
  std::vector<Step> steps;
  if (auto device = device_outcome(name)) {
    append_outcome(json, "device", explain(*device), ledger.device[size_t(*device)]);
    steps = co_await examples_of(call.core, *device);
  } else if (auto callback = callback_outcome(name); callback && name != "ok") {
    append_outcome(json, "callback", explain(*callback), ledger.callback[size_t(*callback)]);
    steps = co_await examples_of(call.core, *callback);
  } else if (auto api = api_outcome(name)) {
    append_outcome(json, "api", explain(*api), ledger.api[size_t(*api)]);
  } else if (auto gateway = gateway_outcome(name)) {
    append_outcome(json, "gateway", explain(*gateway), ledger.gateway[size_t(*gateway)]);
    steps = co_await examples_of(call.core, *gateway);
  } else {
    co_return false;
  }
  append_steps(json, "chain", steps);
  json.end_object();
  co_return true;
}

}  // namespace

Task<void> explain(Call& call) {
  std::string body;
  if (co_await explain_outcome(call, call.argument, body)) {
    co_await respond_json(call.exchange, body);
    co_return;
  }
  auto facts = co_await find_thing(call.core, call.argument);
  if (!facts && is(facts.error(), store::StoreError::not_found)) {
    co_await respond_problem(call.exchange, 404, ProblemCode::unknown,
                             "no user (64 hex digits), device or living subscription (32 hex digits) has this id, and no "
                             "outcome this name; GET /v1/outcomes lists outcomes");
    co_return;
  }
  if (!facts) {
    co_await respond_store_failure(call.exchange, facts.error());
    co_return;
  }
  WallTime now = io::wall_now();
  body.clear();
  JsonWriter json(body);
  json.begin_object()
      .member("thing", call.argument)
      .member("kind", facts->kind)
      .member("user", to_hex(facts->id))
      .member("userLogName", call.core.fingerprint(facts->id).text())
      .member("tenant", facts->whole.user.tenant)
      .member("summary", summary_of(call.core, *facts));
  append_steps(json, "chain", chain_of(*facts));
  append_pending(json, *facts);
  append_steps(json, "next", next_of(*facts, now));
  json.end_object();
  co_await respond_json(call.exchange, body);
}

}  // namespace bellhop::service::admin
