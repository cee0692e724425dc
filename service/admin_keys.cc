// SPDX-License-Identifier: Apache-2.0
// Key pairs of users: the wish that they be replaced. A subscription is renewed, with the new pair, at its next heartbeat.
#include "core/io.h"
#include "service/admin_listing.h"
#include "service/key_maker.h"
#include "service/vault.h"
#include "store/error.h"

namespace bellhop::service::admin {

using proto::JsonWriter;
using proto::ProblemCode;

// One page: of a user, of a tenant's users, or of all. `next` is where the next request goes on.
Task<void> rotate_keys(Call& call) {
  std::string complaint;
  auto query = read_query(call, {"tenant", "user", "userId", "all", "after", "limit"}, store::StoredUserId::kBytes, {},
                          complaint);
  if (query && !query->user && query->all == (query->tenant != nullptr)) {
    complaint = "say whose: user, or userId with tenant; tenant alone; or all=true";
    query.reset();
  }
  if (!query) {
    co_await respond_problem(call.exchange, 422, ProblemCode::malformed, complaint);
    co_return;
  }
  store::RekeyWish wish{.user = query->user,
                        .tenant = query->tenant ? query->tenant->config.id : std::string(),
                        .after = {},
                        .users_max = query->limit,
                        .now = io::wall_now()};
  if (!query->after.empty()) wish.after = store::StoredUserId::from(as_bytes(query->after));
  Result<store::RekeyWished> wished = co_await call.core.node.store.wish_new_keys(wish);
  if (!wished && is(wished.error(), store::StoreError::not_found)) {
    co_await respond_problem(call.exchange, 404, ProblemCode::unknown, "there is no such user");
    co_return;
  }
  if (!wished) {
    co_await respond_store_failure(call.exchange, wished.error());
    co_return;
  }
  if (wished->pool_keys > 0 && call.core.key_maker) call.core.key_maker->nudge();
  log_line(call.core.log, LogLevel::info, "admin_keys_rotated", field("users", wished->users),
           field("subscriptions", wished->subscriptions), field("pool_keys_erased", wished->pool_keys));
  std::string body;
  JsonWriter json(body);
  json.begin_object()
      .member("users", wished->users)
      .member("subscriptions", wished->subscriptions)
      .member("poolKeysErased", wished->pool_keys);
  if (wished->next) json.member("next", to_hex(*wished->next));
  json.end_object();
  co_await respond_json(call.exchange, body);
}

}  // namespace bellhop::service::admin
