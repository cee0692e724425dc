// SPDX-License-Identifier: Apache-2.0
#include "service/push_plan.h"

namespace bellhop::service {

std::vector<Push> plan_pushes(const Vault& vault, const store::StoredUserId& user, const std::vector<Arrival>& arrivals,
                              bool more, const NotificationConfig& limits) {
  std::vector<Push> pushes;
  if (arrivals.size() > arrivals_shown_max(limits)) {
    auto count = static_cast<uint32_t>(arrivals.size());
    pushes.push_back({.more_mail = count,
                      .hash = arrivals.back().hash,
                      .events = count,
                      .collapse_id = vault.collapse_id(user, arrivals.back().id),
                      .thread_id = {}});
    return pushes;
  }
  for (const Arrival& arrival : arrivals) {
    if (arrival.gone) continue;
    bool threaded = arrival.mail && !arrival.mail->conversation_id.empty();
    pushes.push_back({.mail = arrival.mail ? &*arrival.mail : nullptr,
                      .more_mail = {},
                      .hash = arrival.hash,
                      .collapse_id = vault.collapse_id(user, arrival.id),
                      .thread_id = threaded ? vault.thread_id(user, arrival.mail->conversation_id) : std::string()});
  }
  if (more && !arrivals.empty()) {
    // Named after the newest listed mail, so that a repeat replaces it on the phone.
    std::string name = "more " + arrivals.back().id;
    pushes.push_back({.more_mail = 1,
                      .hash = vault.item_hash(user, name),
                      .extra = true,
                      .collapse_id = vault.collapse_id(user, name),
                      .thread_id = {}});
  }
  return pushes;
}

}  // namespace bellhop::service
