// SPDX-License-Identifier: Apache-2.0
// Subscriptions: a page of them, one, and its end. An id is what `subscribe` answers its device.
#include <algorithm>

#include "core/cross_core.h"
#include "core/io.h"
#include "service/admin_listing.h"
#include "service/registration.h"
#include "store/error.h"

namespace bellhop::service::admin {
namespace {

using proto::JsonWriter;
using proto::ProblemCode;

constexpr size_t kIdBytes = 16;  // of the capability hash; see subscription_id()
constexpr std::string_view kRefused = "refused";
constexpr std::string_view kStates[] = {"pending", "active", "late", "lost", kRefused};

struct Page {
  std::vector<store::SubscriptionEntry> rows;
  std::vector<Contact> contacts;  // of the rows
  std::optional<store::CapabilityHash> next;
};

bool matches(const ListQuery& query, const store::SubscriptionRecord& record) {
  if (query.tenant && record.tenant != query.tenant->config.id) return false;
  if (query.user && record.user != *query.user) return false;
  if (!query.host.empty() && ews_host(record) != query.host) return false;
  return query.state != kRefused || credentials_refused(record);
}

// What only the mailbox's home core can tell; `next` has to go back where rows beyond the limit are dropped.
Task<void> add_matches(Core& core, const ListQuery& query, std::vector<store::SubscriptionEntry>& found, Page& page) {
  std::vector<Contact> contacts;
  for (const store::SubscriptionEntry& entry : found) contacts.push_back({entry.record.mailbox, entry.record.user});
  co_await read_contacts(core, contacts);
  for (size_t i = 0; i < found.size(); ++i) {
    bool any = query.state.empty() || query.state == kRefused;
    if (!any && name_of(health_of(found[i].record, contacts[i].supervised.stage)) != query.state) continue;
    if (page.rows.size() == query.limit) {
      page.next = page.rows.back().capability;
      co_return;
    }
    page.rows.push_back(std::move(found[i]));
    page.contacts.push_back(contacts[i]);
  }
}

// A user has a few at most, and they are named in its record.
Task<Result<Page>> find_of_user(Core& core, const ListQuery& query) {
  Page page;
  auto user = co_await core.node.store.read_user(*query.user);
  if (!user && is(user.error(), store::StoreError::not_found)) co_return page;
  if (!user) co_return fail(user.error());
  std::vector<store::SubscriptionEntry> found;
  store::Route route;
  for (const store::CapabilityHash& capability : user->subscriptions) {
    BH_CO_CHECKED(co_await core.node.store.read_route(capability, route));
    if (route.kind != store::RouteKind::subscription || !matches(query, route.subscription)) continue;
    found.push_back({capability, route.subscription});
  }
  co_await add_matches(core, query, found, page);
  co_return page;
}

Task<Result<Page>> find_page(Core& core, const ListQuery& query) {
  Page page;
  std::optional<store::CapabilityHash> after;
  if (!query.after.empty()) {  // the last one whose hash begins like this
    after.emplace();
    after->bytes.fill(0xff);
    std::ranges::copy(as_bytes(query.after), after->bytes.begin());
  }
  for (size_t reads = 0; reads < kReadsMax; ++reads) {
    BH_CO_TRY(auto entries, co_await core.node.store.list_subscriptions(after, kRowsPerRead));
    bool end = entries.size() < kRowsPerRead;
    if (!entries.empty()) after = entries.back().capability;
    std::erase_if(entries, [&](const store::SubscriptionEntry& entry) { return !matches(query, entry.record); });
    co_await add_matches(core, query, entries, page);
    if (page.next || end) co_return page;
    co_await yield_now();
  }
  page.next = after;
  co_return page;
}

Task<Result<store::SubscriptionEntry>> find_subscription(Core& core, std::string_view id_text) {
  auto id = from_hex(id_text);
  if (!id || id->size() != kIdBytes) co_return fail(store::store_error(store::StoreError::not_found));
  co_return co_await core.node.store.find_subscription(*id);
}

Task<void> refuse(Call& call, Error error) {
  if (is(error, store::StoreError::not_found)) {
    co_await respond_problem(call.exchange, 404, ProblemCode::unknown,
                             "no live subscription has this id; an id is 32 hex digits");
  } else {
    co_await respond_store_failure(call.exchange, error);
  }
}

}  // namespace

Task<void> list_subscriptions(Call& call) {
  std::string complaint;
  auto query = read_query(call, {"tenant", "user", "userId", "state", "host", "after", "limit"}, kIdBytes, kStates,
                          complaint);
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
  json.begin_object().name("subscriptions").begin_array();
  for (size_t i = 0; i < page->rows.size(); ++i) {
    json.begin_object();
    append_subscription(json, call.core, page->rows[i], page->contacts[i], io::wall_now());
    json.end_object();
  }
  json.end_array();
  if (page->next) json.member("next", subscription_id(*page->next));
  json.end_object();
  co_await respond_json(call.exchange, body);
}

Task<void> show_subscription(Call& call) {
  auto found = co_await find_subscription(call.core, call.argument);
  if (!found) {
    co_await refuse(call, found.error());
    co_return;
  }
  std::vector<Contact> contacts{{found->record.mailbox, found->record.user}};
  co_await read_contacts(call.core, contacts);
  std::string body;
  JsonWriter json(body);
  json.begin_object();
  append_subscription(json, call.core, *found, contacts[0], io::wall_now());
  json.end_object();
  co_await respond_json(call.exchange, body);
}

// Exchange's next callback is answered Unsubscribe; the user's devices are told to subscribe again at their check-in.
Task<void> end_subscription(Call& call) {
  auto found = co_await find_subscription(call.core, call.argument);
  if (!found) {
    co_await refuse(call, found.error());
    co_return;
  }
  store::StoredUserId user = found->record.user;
  store::CapabilityHash capability = found->capability;
  unsigned home = call.core.node.home_core(user);
  Registrar* registrar = call.core.node.cores[home]->registrar;
  Status ended = co_await on_core(
      home, [registrar, user, capability] { return registrar->end_subscription(user, capability); });
  if (!ended) {
    co_await refuse(call, ended.error());
    co_return;
  }
  log_line(call.core.log, LogLevel::info, "admin_subscription_ended", field("user", call.core.fingerprint(user)),
           field("tenant", not_personal(found->record.tenant)));
  (void)co_await call.exchange.respond({.status = 204});
}

}  // namespace bellhop::service::admin
