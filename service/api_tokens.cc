// SPDX-License-Identifier: Apache-2.0
#include "service/api_tokens.h"

#include "core/io.h"
#include "service/error_texts.h"

namespace bellhop::service {

Task<Result<const Tenant*>> ApiTokens::check(std::string_view text) {
  store::TokenHash hash = vault_.token_hash(text);
  Instant now = io::now();
  forget_old_tenants();
  if (auto known = known_.find(hash); known != known_.end()) {
    if (now - known->second.read_at < kFreshness) co_return known->second.tenant;
    known_.erase(known);
  }
  Result<store::TokenRecord> record = co_await store_.find_token(hash);
  if (!record) {
    if (is(record.error(), store::StoreError::not_found)) co_return fail(service_error(ServiceError::unauthorized));
    co_return fail(record.error());
  }
  forget_old_tenants();  // a reload may have come while the store was read
  const Tenant* tenant = generations_.now().tenants.find(record->tenant);
  bool good = record->state == store::TokenState::active && record->scope == store::TokenScope::device && tenant;
  if (!good) co_return fail(service_error(ServiceError::unauthorized));
  if (known_.size() >= kRememberedMax) known_.clear();
  // From the time before the read: a revocation that overtook it is not remembered away.
  known_.insert_or_assign(hash, Known{tenant, now});
  co_return tenant;
}

void ApiTokens::forget_old_tenants() {
  if (generation_ == generations_.now().number) return;
  known_.clear();
  generation_ = generations_.now().number;
}

}  // namespace bellhop::service
