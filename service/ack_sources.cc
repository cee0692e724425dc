// SPDX-License-Identifier: Apache-2.0
#include "service/ack_sources.h"

#include "core/base/check.h"

namespace bellhop::service {

AckSources::Work AckSources::enter(std::string_view tenant, std::string_view origin) {
  const NotificationConfig& limits = core_.config().notification;
  auto place = sources_.try_emplace({std::string(tenant), std::string(origin)}).first;
  Source& source = place->second;
  ++source.in_work;
  // What the mode was switched to holds for the source while it has work, whatever a reload says meanwhile of `ack`.
  bool turns = limits.ack == AckMode::automatic && !source.after_journal && source.in_work >= limits.auto_journal_above;
  if (turns) {
    source.after_journal = true;
    core_.metrics.raise(metric::sources_after_journal);
    note(*place);
  }
  Work work;
  work.sources_ = this;
  work.place_ = place;
  work.after_journal_ = limits.ack == AckMode::after_journal || source.after_journal;
  return work;
}

void AckSources::leave(Sources::iterator place) {
  Source& source = place->second;
  BH_CHECK(source.in_work > 0);
  --source.in_work;
  bool calm = source.in_work == 0 || source.in_work <= core_.config().notification.auto_push_below;
  if (source.after_journal && calm) {
    source.after_journal = false;
    core_.metrics.lower(metric::sources_after_journal);
    note(*place);
  }
  if (source.in_work == 0) sources_.erase(place);
}

void AckSources::note(const Sources::value_type& entry) {
  log_line(core_.log, LogLevel::info, "ack_mode", field("tenant", not_personal(entry.first.first)),
           field("source", not_personal(entry.first.second)),
           field("after_journal", entry.second.after_journal), field("in_work", entry.second.in_work));
}

}  // namespace bellhop::service
