// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "core/task.h"
#include "service/apns_sender.h"
#include "service/generation.h"

namespace bellhop::service {

struct ReloadReport;

// The APNs keys of a reload, made and not yet used.
struct ApnsReload {
  ApnsProviderTokens::Prepared prepared;
};

// Reads and checks the keys of all apps of the new generation, on the helper thread; a fault becomes a problem of the
// report, and nothing has changed.
Task<ApnsReload> prepare_apns(ApnsProviderTokens& tokens, std::shared_ptr<const Generation> next, ReloadReport& report);
// Cannot fail. Before any core switches, so that no push meets an app whose key is not there.
void commit_apns(ApnsProviderTokens& tokens, ApnsReload reload);

}  // namespace bellhop::service
