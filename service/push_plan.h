// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "service/delivery.h"
#include "service/mail_fetch.h"

namespace bellhop::service {

// A push for each mail that still exists, or one for all where they are too many; and, with `more`, a notice of those
// that are not even listed. They point into `arrivals`.
std::vector<Push> plan_pushes(const Vault& vault, const store::StoredUserId& user, const std::vector<Arrival>& arrivals,
                              bool more, const NotificationConfig& limits);

}  // namespace bellhop::service
