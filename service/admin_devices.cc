// SPDX-License-Identifier: Apache-2.0
// Devices: a page of them, one, and its removal. A device's id here is the store's: a hash of its user and of what the
// device calls itself.
#include <algorithm>

#include "core/cross_core.h"
#include "core/io.h"
#include "proto/target.h"
#include "service/admin_listing.h"
#include "service/device_holds.h"
#include "service/registration.h"
#include "service/vault.h"
#include "store/error.h"

namespace bellhop::service::admin {
namespace {

using proto::JsonWriter;
using proto::ProblemCode;

struct Row {
  store::PlacedDevice device;
  std::string tenant;
};
struct Page {
  std::vector<Row> rows;
  std::optional<store::DevicePlace> next;
};

// The devices of one user; none where there is no such user.
Task<Result<Page>> find_of_user(Core& core, const ListQuery& query) {
  Page page;
  auto user = co_await core.node.store.read_user(*query.user);
  if (!user && is(user.error(), store::StoreError::not_found)) co_return page;
  if (!user) co_return fail(user.error());
  if (query.tenant && user->tenant != query.tenant->config.id) co_return page;
  BH_CO_TRY(auto devices, co_await core.node.store.read_devices(*query.user));
  store::DeviceKey wanted;
  if (!query.device_id.empty()) wanted = core.node.vault.device_key(*query.user, query.device_id);
  for (store::DeviceEntry& entry : devices) {
    if (!query.device_id.empty() && entry.key != wanted) continue;
    page.rows.push_back({{{*query.user, entry.key}, std::move(entry.record)}, user->tenant});
  }
  co_return page;
}

Task<Result<Page>> find_page(Core& core, const ListQuery& query) {
  Page page;
  std::optional<store::DevicePlace> after;
  if (!query.after.empty()) {
    Bytes cursor = as_bytes(query.after);
    after = store::DevicePlace{store::StoredUserId::from(cursor),
                               store::DeviceKey::from(cursor.subspan(store::StoredUserId::kBytes))};
  }
  store::StoredUserId owner;  // of the row before: devices of one user lie together
  std::string tenant;
  for (size_t reads = 0; reads < kReadsMax; ++reads) {
    BH_CO_TRY(auto entries, co_await core.node.store.list_devices(after, kRowsPerRead));
    bool end = entries.size() < kRowsPerRead;
    for (size_t i = 0; i < entries.size(); ++i) {
      after = entries[i].place;
      if (owner != after->user || tenant.empty()) {
        auto user = co_await core.node.store.read_user(after->user);
        if (!user && !is(user.error(), store::StoreError::not_found)) co_return fail(user.error());
        owner = after->user;
        tenant = user ? user->tenant : "";  // left between the two reads
      }
      bool wanted = !tenant.empty() && (!query.tenant || tenant == query.tenant->config.id);
      if (!wanted) continue;
      page.rows.push_back({std::move(entries[i]), tenant});
      if (page.rows.size() < query.limit) continue;
      if (!end || i + 1 < entries.size()) page.next = after;
      co_return page;
    }
    if (end) co_return page;
    co_await yield_now();
  }
  page.next = after;
  co_return page;
}

Task<Result<Row>> find_device(Core& core, std::string_view id_text) {
  auto id = read_id<store::DeviceKey>(id_text);
  if (!id) co_return fail(store::store_error(store::StoreError::not_found));
  BH_CO_TRY(store::StoredUserId user, co_await core.node.store.find_device_owner(*id));
  BH_CO_TRY(store::UserRecord record, co_await core.node.store.read_user(user));
  BH_CO_TRY(store::DeviceRecord device, co_await core.node.store.read_device(user, *id));
  co_return Row{{{user, *id}, std::move(device)}, std::move(record.tenant)};
}

Task<void> refuse(Call& call, Error error) {
  if (is(error, store::StoreError::not_found)) {
    co_await respond_problem(call.exchange, 404, ProblemCode::unknown, "no device has this id; an id is 32 hex digits");
  } else {
    co_await respond_store_failure(call.exchange, error);
  }
}

}  // namespace

Task<void> list_devices(Call& call) {
  std::string complaint;
  auto query = read_query(call, {"tenant", "user", "userId", "deviceId", "after", "limit"},
                          store::StoredUserId::kBytes + store::DeviceKey::kBytes, {}, complaint);
  if (!query) {
    co_await respond_problem(call.exchange, 422, ProblemCode::malformed, complaint);
    co_return;
  }
  Result<Page> page = query->user ? co_await find_of_user(call.core, *query) : co_await find_page(call.core, *query);
  if (!page) {
    co_await respond_store_failure(call.exchange, page.error());
    co_return;
  }
  std::string body;
  JsonWriter json(body);
  json.begin_object().name("devices").begin_array();
  for (const Row& row : page->rows) {
    json.begin_object();
    append_device(json, call.core, row.device.place, row.tenant, row.device.record);
    json.end_object();
  }
  json.end_array();
  if (page->next) json.member("next", to_hex(page->next->user) + to_hex(page->next->device));
  json.end_object();
  co_await respond_json(call.exchange, body);
}

Task<void> show_device(Call& call) {
  auto row = co_await find_device(call.core, call.argument);
  if (!row) {
    co_await refuse(call, row.error());
    co_return;
  }
  std::string body;
  JsonWriter json(body);
  json.begin_object();
  append_device(json, call.core, row->device.place, row->tenant, row->device.record);
  json.end_object();
  co_await respond_json(call.exchange, body);
}

namespace {

using Leaving = Task<Result<store::RemovedDevice>> (Registrar::*)(store::StoredUserId user, store::DeviceKey device);

// As an operator removes a device.
Task<void> take_out(Call& call, Leaving leaving, LogEvent event) {
  auto row = co_await find_device(call.core, call.argument);
  if (!row) {
    co_await refuse(call, row.error());
    co_return;
  }
  store::DevicePlace place = row->device.place;
  unsigned home = call.core.node.home_core(place.user);
  Registrar* registrar = call.core.node.cores[home]->registrar;
  Result<store::RemovedDevice> removed =
      co_await on_core(home, [registrar, place, leaving] { return (registrar->*leaving)(place.user, place.device); });
  if (!removed) {
    co_await refuse(call, removed.error());
    co_return;
  }
  log_line(call.core.log, LogLevel::info, event, field("user", call.core.fingerprint(place.user)),
           field("device", call.core.log.fingerprint("device", place.device)), field("tenant", not_personal(row->tenant)),
           field("last_device", removed->last), field("subscriptions_ended", removed->tombstoned.size()));
  std::string body;
  JsonWriter json(body);
  bool others = !removed->last && (!removed->orphaned.empty() || !removed->tombstoned.empty());
  json.begin_object()
      .member("lastDevice", removed->last)
      .member("subscriptionsEnded", removed->tombstoned.size())
      .member("resubscribeNeeded", others)
      .end_object();
  co_await respond_json(call.exchange, body);
}

// By the name that compliance data and ActiveSync know it by, which need not be one of bellhop's devices. The device of
// bellhop that `row` holds is one of them, or has not told its name yet.
Task<void> hold(Call& call, std::string tenant, std::optional<store::ComplianceKey> name, const Row* row,
                ComplianceHold hold, LogEvent event) {
  Core& core = call.core;
  Result<HeldDevices> held = HeldDevices();
  if (name) {
    held = co_await hold_device(core, tenant, *name, hold);
  } else {
    held = co_await hold_place(core, row->device.place, hold);
  }
  if (!held) {
    co_await refuse(call, held.error());
    co_return;
  }
  log_line(core.log, LogLevel::info, event, field("tenant", not_personal(tenant)), field("devices", held->devices),
           field("last_device", held->last_device), field("subscriptions_ended", held->subscriptions_ended));
  if (hold == ComplianceHold::none) {
    (void)co_await call.exchange.respond({.status = 204});
    co_return;
  }
  std::string body;
  JsonWriter json(body);
  json.begin_object()
      .member("devices", held->devices)
      .member("lastDevice", held->last_device)
      .member("subscriptionsEnded", held->subscriptions_ended)
      .member("resubscribeNeeded", held->resubscribe_needed)
      .end_object();
  co_await respond_json(call.exchange, body);
}

// {id} is one of bellhop's ids, or, beside ?tenant= and where it has not their form, what the device is called.
Task<void> hold_by_id(Call& call, ComplianceHold wanted, LogEvent event) {
  bool by_name = !call.query.empty() || !read_id<store::DeviceKey>(call.argument);
  if (!by_name) {
    auto row = co_await find_device(call.core, call.argument);
    if (!row) {
      co_await refuse(call, row.error());
      co_return;
    }
    std::optional<store::ComplianceKey> name;
    if (!row->device.record.name.zero()) name = row->device.record.name;
    co_await hold(call, row->tenant, name, &*row, wanted, event);
    co_return;
  }
  std::string complaint, tenant = hold_tenant(call, complaint);
  auto called = proto::percent_decode(call.argument);
  if (!tenant.empty() && (!called || called->size() > kDeviceIdSizeMax)) complaint = "the device's id is too long, or not escaped well";
  if (tenant.empty() || !complaint.empty()) {
    co_await respond_problem(call.exchange, 422, ProblemCode::malformed, complaint);
    co_return;
  }
  co_await hold(call, std::move(tenant), compliance_key(*called), nullptr, wanted, event);
}

}  // namespace

// As the device's own unsubscribe, whatever its secret or state.
Task<void> remove_device(Call& call) { return take_out(call, &Registrar::remove_device, "admin_device_removed"); }
Task<void> wipe_device(Call& call) { return hold_by_id(call, ComplianceHold::wiped, "admin_device_wiped"); }
Task<void> block_device(Call& call) { return hold_by_id(call, ComplianceHold::blocked, "admin_device_blocked"); }
// It may be used again; where its subscription was ended, it is told so at its next check-in.
Task<void> unblock_device(Call& call) { return hold_by_id(call, ComplianceHold::none, "admin_device_unblocked"); }

}  // namespace bellhop::service::admin
