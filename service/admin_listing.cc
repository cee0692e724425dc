// SPDX-License-Identifier: Apache-2.0
#include "service/admin_listing.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/cross_core.h"
#include "proto/target.h"
#include "service/notification.h"
#include "service/tenants.h"
#include "service/vault.h"

namespace bellhop::service::admin {
namespace {

constexpr size_t kParametersMax = 16;

std::string names_text(std::span<const std::string_view> names) {
  std::string text;
  for (std::string_view name : names) text += fmt::format("{}{}", text.empty() ? "" : ", ", name);
  return text;
}

}  // namespace

std::optional<std::string_view> Parameters::find(std::string_view name) const {
  auto found = std::ranges::find(all, name, [](const auto& pair) { return pair.first; });
  return found == all.end() ? std::nullopt : std::optional<std::string_view>(found->second);
}

// What the operator's own command sent is shown back, cut; it is never logged.
bool read_parameters(std::string_view query, std::span<const std::string_view> names, Parameters& parameters,
                     std::string& complaint) {
  while (!query.empty()) {
    size_t end = std::min(query.find('&'), query.size());
    std::string_view pair = query.substr(0, end);
    query.remove_prefix(std::min(end + 1, query.size()));
    size_t equals = std::min(pair.find('='), pair.size());
    std::string_view name = pair.substr(0, equals);
    auto value = proto::percent_decode(pair.substr(std::min(equals + 1, pair.size())));
    if (std::ranges::find(names, name) == names.end() || parameters.all.size() >= kParametersMax) {
      complaint = fmt::format("unknown parameter \"{}\"; there are: {}", utf8_prefix(name, 32), names_text(names));
      return false;
    }
    if (!value || value->empty() || parameters.find(name)) {
      complaint = fmt::format("parameter \"{}\" is empty, comes twice or is not escaped well", name);
      return false;
    }
    parameters.all.emplace_back(name, *std::move(value));
  }
  return true;
}

namespace {

bool read_user(const Call& call, const Parameters& parameters, ListQuery& query, std::string& complaint) {
  auto stored = parameters.find("user"), user_id = parameters.find("userId");
  if (stored && user_id) {
    complaint = "either user or userId";
    return false;
  }
  if (stored) {
    query.user = read_id<store::StoredUserId>(*stored);
    if (!query.user) complaint = "user is not an id as the listing of users shows it: 64 hex digits";
    return query.user.has_value();
  }
  if (!user_id) return true;
  auto hash = from_hex(*user_id);
  if (!hash || hash->size() != crypto::Digest().size() || !query.tenant) {
    complaint = query.tenant ? "userId is not the SHA-256 of an address in hex" : "userId needs tenant";
    return false;
  }
  crypto::Digest digest;
  std::ranges::copy(*hash, digest.begin());
  query.user = call.core.node.vault.user_id(query.tenant->config.id, digest);
  return true;
}

// Runs on the home core of the contacts that it fills in.
Task<bool> read_contacts_here(const ::bellhop::service::Core* core, std::vector<Contact>* contacts) {
  size_t read = 0;
  for (Contact& contact : *contacts) {
    if (core->node.home_core(contact.user) != core->index) continue;
    contact.last_seen = co_await core->mailboxes->last_seen(contact.mailbox, contact.user);
    contact.supervised = core->supervision->state(contact.user);
    if (++read % kRowsPerRead == 0) co_await yield_now();
  }
  co_return true;
}

void append_time(proto::JsonWriter& json, std::string_view name, WallTime time) {
  if (time != WallTime()) json.member(name, timestamp(time));
}

}  // namespace

std::optional<ListQuery> read_query(const Call& call, std::initializer_list<std::string_view> names, size_t cursor_bytes,
                                    std::span<const std::string_view> states, std::string& complaint) {
  Parameters parameters;
  if (!read_parameters(call.query, std::span(names.begin(), names.size()), parameters, complaint)) return std::nullopt;
  ListQuery query;
  if (auto tenant = parameters.find("tenant")) {
    query.tenant = call.core.tenants().find(*tenant);
    if (!query.tenant) {
      complaint = fmt::format("the configuration has no tenant \"{}\"", utf8_prefix(*tenant, 64));
      return std::nullopt;
    }
  }
  if (!read_user(call, parameters, query, complaint)) return std::nullopt;
  if (auto all = parameters.find("all")) {
    query.all = *all == "true";
    if (!query.all) {
      complaint = "all is true, or left out";
      return std::nullopt;
    }
  }
  if (auto device = parameters.find("deviceId")) {
    query.device_id = *device;
    if (!query.user) {
      complaint = "deviceId needs user, or tenant and userId: devices are known by a hash of both";
      return std::nullopt;
    }
  }
  if (auto state = parameters.find("state")) {
    auto known = std::ranges::find(states, *state);
    if (known == states.end()) {
      complaint = fmt::format("state is one of {}", names_text(states));
      return std::nullopt;
    }
    query.state = *known;
  }
  if (auto host = parameters.find("host")) query.host = *host;
  if (auto after = parameters.find("after")) {
    auto bytes = from_hex(*after);
    if (!bytes || bytes->size() != cursor_bytes) {
      complaint = "after is not what `next` of the page before was";
      return std::nullopt;
    }
    query.after.assign(as_text(*bytes));
  }
  if (auto limit = parameters.find("limit")) {
    auto number = parse_decimal(*limit);
    if (!number || *number == 0 || *number > kPageMax) {
      complaint = fmt::format("limit is a number from 1 to {}", kPageMax);
      return std::nullopt;
    }
    query.limit = *number;
  }
  return query;
}

Task<void> read_contacts(Core& core, std::vector<Contact>& contacts) {
  for (unsigned home = 0; home < core.node.cores.size(); ++home) {
    bool any = std::ranges::any_of(
        contacts, [&](const Contact& contact) { return core.node.home_core(contact.user) == home; });
    if (!any) continue;
    const ::bellhop::service::Core* there = core.node.cores[home];
    std::vector<Contact>* all = &contacts;
    co_await on_core(home, [=] { return read_contacts_here(there, all); });
  }
}

Task<Result<WholeUser>> read_whole_user(Core& core, store::StoredUserId id) {
  WholeUser whole;
  BH_CO_TRY(whole.user, co_await core.node.store.read_user(id));
  BH_CO_TRY(whole.devices, co_await core.node.store.read_devices(id));
  store::Route route;
  for (const store::CapabilityHash& capability : whole.user.subscriptions) {
    BH_CO_CHECKED(co_await core.node.store.read_route(capability, route));
    if (route.kind == store::RouteKind::subscription) whole.subscriptions.push_back({capability, route.subscription});
  }
  co_return whole;
}

std::string_view ews_host(const store::SubscriptionRecord& record) {
  std::string_view origin = record.ews_origin();
  size_t slashes = origin.find("//");
  return slashes == std::string_view::npos ? origin : origin.substr(slashes + 2);
}

void append_user(proto::JsonWriter& json, const Core& core, const store::StoredUserId& id, const store::UserRecord& user) {
  json.member("id", to_hex(id))
      .member("tenant", user.tenant)
      .member("logName", core.fingerprint(id).text())
      .member("created", timestamp(user.created))
      .member("lastRegistration", timestamp(user.last_used))
      .member("deviceCount", user.devices)
      .member("subscriptionCount", user.subscriptions.size());
}

void append_device(proto::JsonWriter& json, const Core& core, const store::DevicePlace& place, std::string_view tenant,
                   const store::DeviceRecord& device) {
  constexpr std::string_view kPlatforms[] = {"apns", "fcm", "sns"};
  constexpr std::string_view kEnvironments[] = {"production", "sandbox"};
  constexpr std::string_view kPreviews[] = {"none", "sender", "subject", "full"};
  json.member("id", to_hex(place.device))
      .member("user", to_hex(place.user))
      .member("tenant", tenant)
      .member("logName", core.log.fingerprint("device", place.device).text())
      .member("state", device.state == store::DeviceState::blocked ? "blocked" : "active")
      .member("pushToken", device.token_gone ? "gone" : device.proven ? "proven" : "unproven")
      .member("platform", kPlatforms[size_t(device.platform)])
      .member("environment", kEnvironments[size_t(device.environment)])
      .member("topic", device.topic)
      .member("preview", kPreviews[size_t(device.preview)])
      .member("badge", device.badge)
      .member("locale", device.locale)
      .member("created", timestamp(device.created))
      .member("tokenGiven", timestamp(device.registered_at));
}

void append_subscription(proto::JsonWriter& json, const Core& core, const store::SubscriptionEntry& subscription,
                         const Contact& contact, WallTime now) {
  const store::SubscriptionRecord& record = subscription.record;
  json.member("id", subscription_id(subscription.capability))
      .member("user", to_hex(record.user))
      .member("tenant", record.tenant)
      .member("userLogName", core.fingerprint(record.user).text())
      .member("state", name_of(health_of(record, contact.supervised.stage)))
      .member("ewsHost", ews_host(record))
      .member("envelope", record.envelope == store::EnvelopeKind::split ? "split" : "rsa")
      .member("heartbeatMinutes", record.status_frequency_minutes)
      .member("sourceDevice", to_hex(record.source_device))
      .member("created", timestamp(record.created))
      .member("ageSeconds", std::max<int64_t>(0, to_unix_seconds(now) - to_unix_seconds(record.created)));
  append_time(json, "lastSeen", contact.last_seen);
  const Supervised& supervised = contact.supervised;
  json.name("supervision").begin_object().member("asks", supervised.asks);
  if (supervised.next_ask_in_s) append_time(json, "nextAsk", now + std::chrono::seconds(*supervised.next_ask_in_s));
  json.member("hostSilent", supervised.host_silent).end_object();
  json.name("logon").begin_object().member("refusals", record.logon.failed);
  if (record.logon.failed > 0) append_time(json, "nextAttempt", record.logon.next_allowed);
  json.end_object();
}

}  // namespace bellhop::service::admin
