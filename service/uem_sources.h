// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "core/sync.h"
#include "core/task.h"
#include "service/config.h"
#include "service/uem_source.h"

namespace bellhop::service {

// The [[policy.source]]s of kind uem, each a UemSource of its own. What a reload leaves as it is goes on; what it changes is
// stopped, awaited, and begun anew with everything. On core 0; all that is given outlives it.
class UemSources {
 public:
  UemSources(Compliance& compliance, MetricsShard& metrics, Log& log);
  UemSources(const UemSources&) = delete;
  UemSources& operator=(const UemSources&) = delete;
  ~UemSources();

  // At the start and at a reload. `upstreams`: the way to their hosts; a source whose way is another begins anew.
  void take(const Config& config, std::shared_ptr<const Upstreams> upstreams);
  // Until stopped.
  Task<void> run();
  // Asks the tenant's source now, or, where it is empty, all of them; says how many were asked.
  size_t nudge(std::string_view tenant, bool bulk);

 private:
  struct Slot;
  Task<void> serve(Slot& slot);

  Compliance& compliance_;
  MetricsShard& metrics_;
  Log& log_;
  std::shared_ptr<const Upstreams> upstreams_;
  std::map<std::string, std::unique_ptr<Slot>, std::less<>> slots_;  // by tenant
  Event changed_;
};

// What a source's configuration says, ready to be used.
UemSourceOptions uem_options(const PolicySourceConfig& config, std::string tenant);

}  // namespace bellhop::service
