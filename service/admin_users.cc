// SPDX-License-Identifier: Apache-2.0
// Users: a page of them, and one with its devices and subscriptions. The store knows no address: a user is found by its
// stored id, or by tenant and user id, the hash that devices send.
#include "core/io.h"
#include "service/admin_listing.h"
#include "store/error.h"

namespace bellhop::service::admin {
namespace {

using proto::JsonWriter;
using proto::ProblemCode;

struct Row {
  store::UserEntry user;
  std::optional<store::SubscriptionEntry> subscription;  // the newest
};

struct Page {
  std::vector<Row> rows;
  std::optional<store::StoredUserId> next;
};

// The newest that is not a tombstone by now.
Task<Result<std::optional<store::SubscriptionEntry>>> newest_subscription(Core& core, const store::UserRecord& user) {
  store::Route route;
  for (auto capability = user.subscriptions.rbegin(); capability != user.subscriptions.rend(); ++capability) {
    BH_CO_CHECKED(co_await core.node.store.read_route(*capability, route));
    if (route.kind != store::RouteKind::subscription) continue;
    co_return std::optional(store::SubscriptionEntry{*capability, route.subscription});
  }
  co_return std::nullopt;
}

Task<Status> add_row(Core& core, store::UserEntry user, Page& page) {
  BH_CO_TRY(auto subscription, co_await newest_subscription(core, user.record));
  page.rows.push_back({std::move(user), std::move(subscription)});
  co_return Status();
}

Task<Result<Page>> find_page(Core& core, const ListQuery& query) {
  Page page;
  if (query.user) {
    auto user = co_await core.node.store.read_user(*query.user);
    if (!user && is(user.error(), store::StoreError::not_found)) co_return page;
    if (!user) co_return fail(user.error());
    if (query.tenant && user->tenant != query.tenant->config.id) co_return page;
    BH_CO_CHECKED(co_await add_row(core, {*query.user, *std::move(user)}, page));
    co_return page;
  }
  std::optional<store::StoredUserId> after;
  if (!query.after.empty()) after = store::StoredUserId::from(as_bytes(query.after));
  for (size_t reads = 0; reads < kReadsMax; ++reads) {
    BH_CO_TRY(auto entries, co_await core.node.store.list_users(after, kRowsPerRead));
    bool end = entries.size() < kRowsPerRead;
    for (size_t i = 0; i < entries.size(); ++i) {
      after = entries[i].id;
      if (query.tenant && entries[i].record.tenant != query.tenant->config.id) continue;
      BH_CO_CHECKED(co_await add_row(core, std::move(entries[i]), page));
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

Task<void> read_last_contacts(Core& core, const Page& page, std::vector<Contact>& contacts) {
  for (const Row& row : page.rows) contacts.push_back({row.user.record.mailbox, row.user.id});
  co_await read_contacts(core, contacts);
}

}  // namespace

Task<void> list_users(Call& call) {
  std::string complaint;
  auto query = read_query(call, {"tenant", "user", "userId", "after", "limit"}, store::StoredUserId::kBytes, {}, complaint);
  if (!query) {
    co_await respond_problem(call.exchange, 422, ProblemCode::malformed, complaint);
    co_return;
  }
  auto page = co_await find_page(call.core, *query);
  if (!page) {
    co_await respond_store_failure(call.exchange, page.error());
    co_return;
  }
  std::vector<Contact> contacts;
  co_await read_last_contacts(call.core, *page, contacts);
  std::string body;
  JsonWriter json(body);
  json.begin_object().name("users").begin_array();
  for (size_t i = 0; i < page->rows.size(); ++i) {
    const Row& row = page->rows[i];
    json.begin_object();
    append_user(json, call.core, row.user.id, row.user.record);
    if (row.subscription) {
      json.name("subscription").begin_object();
      append_subscription(json, call.core, *row.subscription, contacts[i], io::wall_now());
      json.end_object();
    }
    json.end_object();
  }
  json.end_array();
  if (page->next) json.member("next", to_hex(*page->next));
  json.end_object();
  co_await respond_json(call.exchange, body);
}

Task<void> show_user(Call& call) {
  auto id = read_id<store::StoredUserId>(call.argument);
  Result<WholeUser> whole = fail(store::store_error(store::StoreError::not_found));
  if (id) whole = co_await read_whole_user(call.core, *id);
  if (!whole && is(whole.error(), store::StoreError::not_found)) {
    co_await respond_problem(call.exchange, 404, ProblemCode::unknown, "no user has this id; an id is 64 hex digits");
    co_return;
  }
  if (!whole) {
    co_await respond_store_failure(call.exchange, whole.error());
    co_return;
  }
  std::vector<Contact> contacts{{whole->user.mailbox, *id}};
  co_await read_contacts(call.core, contacts);
  std::string body;
  JsonWriter json(body);
  json.begin_object();
  append_user(json, call.core, *id, whole->user);
  json.name("devices").begin_array();
  for (const store::DeviceEntry& device : whole->devices) {
    json.begin_object();
    append_device(json, call.core, {*id, device.key}, whole->user.tenant, device.record);
    json.end_object();
  }
  json.end_array().name("subscriptions").begin_array();
  for (const store::SubscriptionEntry& subscription : whole->subscriptions) {
    json.begin_object();
    append_subscription(json, call.core, subscription, contacts[0], io::wall_now());
    json.end_object();
  }
  json.end_array().end_object();
  co_await respond_json(call.exchange, body);
}

}  // namespace bellhop::service::admin
