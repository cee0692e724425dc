// SPDX-License-Identifier: Apache-2.0
#include "service/kek_keeper.h"

#include <algorithm>

#include "core/cross_core.h"
#include "core/io.h"
#include "core/sleep.h"

namespace bellhop::service {
namespace {

uint64_t sum_of(const std::map<uint32_t, uint64_t>& counts) {
  uint64_t sum = 0;
  for (const auto& [kek, count] : counts) sum += count;
  return sum;
}

}  // namespace

// A walk when the keyring changed, and every hour while it holds a key beside the current one. With one key there is
// nothing to do.
Task<void> KekKeeper::run() {
  std::vector<uint32_t> seen;
  uint32_t current = 0;
  Instant due{};
  for (;;) {
    const VaultKeys& keys = vault_.keys();
    bool changed = keys.ids != seen || keys.sealer.current() != current;
    if (changed) {
      seen = keys.ids;
      current = keys.sealer.current();
      std::erase_if(free_, [&](uint32_t id) { return id == current || std::ranges::find(seen, id) == seen.end(); });
    }
    if (seen.size() > 1 && (changed || io::now() >= due)) {
      Result<Walk> walked = co_await walk();
      if (!walked && is(walked.error(), CoreError::canceled)) co_return;
      if (walked) {
        report(*walked);
        // What was sealed under the old key while it was the current one may have been written after the walk.
        due = io::now() + (walked->resealed > 0 ? Duration(std::chrono::minutes(1)) : kKekWalk);
      } else {
        log_line(log_, LogLevel::error, "reseal_failed", field("error", walked.error()));
        due = io::now() + Duration(std::chrono::minutes(1));
      }
    }
    if (!co_await sleep_for(kKekLook)) co_return;
  }
}

Task<Result<KekKeeper::Walk>> KekKeeper::walk() {
  Context& context = co_await current_context();
  Walk walk;
  std::optional<store::SealedPlace> place;
  for (;;) {
    if (context.stop_requested()) co_return fail(core_error(CoreError::canceled));
    BH_CO_TRY(store::SealedPage page, co_await store_.list_sealed(place, kResealPage));
    BH_CO_CHECKED(co_await reseal(page, walk));
    uint32_t current = vault_.keys().sealer.current();
    for (uint32_t kek : page.url_keks) {
      if (kek != current) ++walk.urls[kek];
    }
    if (!page.next) co_return walk;
    place = std::move(page.next);
    co_await yield_now();
  }
}

Task<Status> KekKeeper::reseal(const store::SealedPage& page, Walk& walk) {
  std::vector<store::ResealedField> changed;
  for (const store::SealedField& field : page.fields) {
    auto box = vault_.reseal(field);
    if (!box) {
      ++walk.unopened;
      ++walk.fields[crypto::Sealer::kek_of(field.box).value_or(0)];
    } else if (*box) {
      changed.push_back({field, **std::move(box)});
    }
  }
  if (changed.empty()) co_return Status();
  BH_CO_TRY(size_t replaced, co_await store_.replace_sealed(changed));
  walk.resealed += replaced;
  metrics_.add(metric::fields_resealed, replaced);
  co_return Status();
}

void KekKeeper::report(const Walk& walk) {
  metrics_.set(metric::old_kek_fields, sum_of(walk.fields));
  metrics_.set(metric::old_kek_urls, sum_of(walk.urls));
  const VaultKeys& keys = vault_.keys();
  if (walk.resealed > 0 || walk.unopened > 0) {
    log_line(log_, walk.unopened > 0 ? LogLevel::error : LogLevel::info, "resealed", field("fields", walk.resealed),
             field("current_key", keys.sealer.current()), field("unopened", walk.unopened),
             field("urls_of_old_keys", sum_of(walk.urls)));
  }
  if (walk.resealed > 0) return;  // the walk after this one sees whether something came in between
  for (uint32_t id : keys.ids) {
    bool named = id == keys.sealer.current() || walk.fields.contains(id) || walk.urls.contains(id);
    if (named || std::ranges::find(free_, id) != free_.end()) continue;
    free_.push_back(id);
    log_line(log_, LogLevel::info, "keyring_key_may_retire", field("key", id),
             field("advice", "take it out of the keyring and reload; shred copies of it and backups made under it"));
  }
}

}  // namespace bellhop::service
