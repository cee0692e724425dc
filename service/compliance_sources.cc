// SPDX-License-Identifier: Apache-2.0
// Compliance: how its sources are, and from when on their data is too old to decide by.
#include <algorithm>

#include "core/base/bytes.h"
#include "core/io.h"
#include "crypto/hash.h"
#include "service/compliance_part.h"
#include "store/error.h"

namespace bellhop::service {
namespace {

// Of when a source was last read, the disk hears so often.
constexpr Duration kHeardKept = std::chrono::hours(1);

std::string heard_name(std::string_view tenant) {
  return "compliance_heard." + to_hex(Bytes(crypto::sha256(tenant)).first(16));
}

}  // namespace

std::string_view name_of(SourceKind kind) {
  switch (kind) {
    case SourceKind::api:
      return "api";
    case SourceKind::file:
      return "file";
    case SourceKind::uem:
      return "uem";
  }
  check_failed("a source of the list", __FILE__, __LINE__);
}

std::string_view name_of(SourceState state) {
  switch (state) {
    case SourceState::fresh:
      return "fresh";
    case SourceState::waiting:
      return "waiting";
    case SourceState::unreachable:
      return "unreachable";
    case SourceState::broken:
      return "broken";
    case SourceState::stale:
      return "stale";
  }
  check_failed("a state of the list", __FILE__, __LINE__);
}

void Compliance::note_success(std::string_view tenant, SourceKind kind, Duration stale_after) {
  Part& here = certain_part(tenant);
  WallTime now = io::wall_now();
  bool decided = here.stale_at_ms.load(std::memory_order_relaxed) != Part::kNoData && !here.stale_noted;
  here.source = {.kind = kind, .state = SourceState::fresh, .last_success = now, .last_attempt = now, .complaint = {}};
  int64_t at = 0;
  if (stale_after > Duration::zero()) {
    at = (now + std::chrono::duration_cast<std::chrono::milliseconds>(stale_after)).time_since_epoch().count();
  }
  here.stale_after = stale_after;
  here.stale_at_ms.store(at, std::memory_order_release);
  here.stale_noted = false;
  if (!decided) note_change();
}

// From the last success, also one before the start, or from when all was last replaced.
int64_t Compliance::stale_from_start(const Part& here, WallTime now, Duration stale_after) {
  WallTime heard = std::max(here.source.last_success, std::max(here.heard, here.replaced));
  if (heard == WallTime()) return Part::kNoData;
  if (stale_after == Duration::zero()) return 0;
  WallTime at = std::min(heard, now) + std::chrono::duration_cast<std::chrono::milliseconds>(stale_after);
  return std::max<int64_t>(1, at.time_since_epoch().count());
}

void Compliance::note_failure(std::string_view tenant, SourceKind kind, SourceState state, std::string complaint,
                              Duration stale_after) {
  Part& here = certain_part(tenant);
  WallTime now = io::wall_now();
  here.source.kind = kind;
  here.source.state = state;
  here.source.last_attempt = now;
  here.source.complaint = std::move(complaint);
  int64_t before = here.stale_at_ms.load(std::memory_order_relaxed), at = before;
  // A reload may have set another time while it fails.
  bool other_time = std::exchange(here.stale_after, stale_after) != stale_after;
  if (other_time || before == 0 || before == Part::kNoData) at = stale_from_start(here, now, stale_after);
  if (at == before) return;
  here.stale_at_ms.store(at, std::memory_order_release);
  if (at == Part::kNoData || before == Part::kNoData) note_change();
}

// Now and then: what a restart needs to know of a source that cannot be read just then.
Task<void> Compliance::keep_heard() {
  for (size_t i = 0; i < parts_.size(); ++i) {  // more may come meanwhile
    Part& here = *parts_[i];
    WallTime heard = here.source.last_success;
    if (heard == WallTime() || (heard >= here.heard && heard - here.heard < kHeardKept)) continue;
    uint8_t value[8];
    store_be64(value, static_cast<uint64_t>(heard.time_since_epoch().count()));
    if (!co_await store_.put_meta(heard_name(here.tenant), value)) co_return;  // with the next look
    here.heard = heard;
  }
}

Task<Status> Compliance::load_heard(Part& part) {
  Result<std::vector<uint8_t>> value = co_await store_.get_meta(heard_name(part.tenant));
  if (!value && is(value.error(), store::StoreError::not_found)) co_return Status();
  if (!value) co_return fail(value.error());
  if (value->size() != 8) co_return fail(store::store_error(store::StoreError::corrupt));
  part.heard = WallTime(std::chrono::milliseconds(static_cast<int64_t>(load_be64(value->data()))));
  co_return Status();
}

void Compliance::forget_source(std::string_view tenant) {
  Part& here = certain_part(tenant);
  here.source = {};
  here.stale_at_ms.store(0, std::memory_order_release);
  here.stale_noted = false;
  note_change();
}

SourceReport Compliance::source(std::string_view tenant) const {
  const Part* here = part(tenant);
  if (!here) return {};
  SourceReport report = here->source;
  report.state = source_state(tenant);
  return report;
}

SourceState Compliance::source_state(std::string_view tenant) const {
  std::optional<WallTime> stale = stale_at(tenant);
  if (stale && *stale != WallTime() && io::wall_now() >= *stale) return SourceState::stale;
  const Part* here = part(tenant);
  return here ? here->source.state : SourceState::fresh;
}

std::optional<WallTime> Compliance::stale_at(std::string_view tenant) const {
  const Part* here = part(tenant);
  int64_t at = here ? here->stale_at_ms.load(std::memory_order_acquire) : 0;
  if (at == Part::kNoData) return WallTime();
  return at == 0 ? std::nullopt : std::optional(WallTime(std::chrono::milliseconds(at)));
}

void Compliance::look_at_sources() {
  WallTime now = io::wall_now();
  for (const auto& here : parts_) {
    int64_t at = here->stale_at_ms.load(std::memory_order_relaxed);
    WallTime latest = now + std::chrono::duration_cast<std::chrono::milliseconds>(here->stale_after);
    if (at > latest.time_since_epoch().count()) {  // the clock was set back: the time counts from now, and does not grow
      at = latest.time_since_epoch().count();
      here->stale_at_ms.store(at, std::memory_order_release);
    }
    bool stale = at != 0 && now.time_since_epoch().count() >= at;
    if (stale == here->stale_noted) continue;
    here->stale_noted = stale;
    note_change();
  }
}

}  // namespace bellhop::service
