// SPDX-License-Identifier: Apache-2.0
#include "service/reload_apns.h"

#include <utility>

#include "core/cross_core.h"
#include "service/reload.h"

namespace bellhop::service {

Task<ApnsReload> prepare_apns(ApnsProviderTokens&, std::shared_ptr<const Generation> next, ReloadReport& report) {
  std::string complaint;
  auto prepared = co_await offload(io::Worker::general, [&next, &complaint] {
    return ApnsProviderTokens::prepare(next->config, complaint);
  });
  if (prepared) co_return ApnsReload{*std::move(prepared)};
  report.problems.push_back(std::move(complaint));
  co_return ApnsReload();
}

void commit_apns(ApnsProviderTokens& tokens, ApnsReload reload) { tokens.commit(std::move(reload.prepared)); }

}  // namespace bellhop::service
