// SPDX-License-Identifier: Apache-2.0
// Compliance: how its sources are, and from when on their data is too old to decide by.
#include <algorithm>

#include "core/io.h"
#include "service/compliance_part.h"

namespace bellhop::service {

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
  bool was_stale = here.stale_noted;
  here.source = {.kind = kind, .state = SourceState::fresh, .last_success = now, .last_attempt = now, .complaint = {}};
  int64_t at = 0;
  if (stale_after > Duration::zero()) {
    at = (now + std::chrono::duration_cast<std::chrono::milliseconds>(stale_after)).time_since_epoch().count();
  }
  here.stale_at_ms.store(at, std::memory_order_release);
  here.stale_noted = false;
  if (was_stale) note_change();
}

void Compliance::note_failure(std::string_view tenant, SourceKind kind, SourceState state, std::string complaint,
                              Duration stale_after) {
  Part& here = certain_part(tenant);
  WallTime now = io::wall_now();
  here.source.kind = kind;
  here.source.state = state;
  here.source.last_attempt = now;
  here.source.complaint = std::move(complaint);
  if (stale_after == Duration::zero()) {
    here.stale_at_ms.store(0, std::memory_order_release);
  } else if (here.stale_at_ms.load(std::memory_order_relaxed) == 0) {
    // Never reached since the start: the time counts from when the data was last replaced, or from now.
    WallTime from = here.replaced == WallTime() ? now : std::min(here.replaced, now);
    if (here.source.last_success != WallTime()) from = here.source.last_success;
    WallTime at = from + std::chrono::duration_cast<std::chrono::milliseconds>(stale_after);
    here.stale_at_ms.store(std::max<int64_t>(1, at.time_since_epoch().count()), std::memory_order_release);
  }
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
  if (stale && io::wall_now() >= *stale) return SourceState::stale;
  const Part* here = part(tenant);
  return here ? here->source.state : SourceState::fresh;
}

void Compliance::look_at_sources() {
  WallTime now = io::wall_now();
  for (const auto& here : parts_) {
    int64_t at = here->stale_at_ms.load(std::memory_order_relaxed);
    bool stale = at != 0 && now.time_since_epoch().count() >= at;
    if (stale == here->stale_noted) continue;
    here->stale_noted = stale;
    note_change();
  }
}

}  // namespace bellhop::service
