// SPDX-License-Identifier: Apache-2.0
#include "service/gateway.h"

#include <utility>

#include "core/io.h"
#include "core/sleep.h"
#include "service/gateway_request.h"

namespace bellhop::service {
namespace {

Duration kept_for(const GatewayConfig& config) { return std::chrono::hours(config.redirects_kept_hours); }
Duration tickets_kept_for(const GatewayConfig& config) { return std::chrono::minutes(config.kerberos.tickets_kept_minutes); }

}  // namespace

Gateway::Gateway(Parts parts, GatewaySettings settings)
    : parts_(parts),
      settings_(std::move(settings)),
      upstreams_(std::make_shared<GatewayUpstreams>(settings_.routes, parts.core)),
      redirects_(settings_.routes->config().redirects_kept_max, kept_for(settings_.routes->config())),
      logons_(settings_.routes->config().kerberos.users_kept_max, tickets_kept_for(settings_.routes->config())),
      work_(&parts.core.work) {}

Gateway::~Gateway() = default;

Task<void> Gateway::handle(HttpExchange& exchange) {
  ++in_work_;
  {
    GatewayRequest request(*this, exchange);
    co_await request.run();
  }
  --in_work_;
}

void Gateway::take(GatewaySettings settings) {
  if (settings.keys) settings_.keys = std::move(settings.keys);
  if (!settings.routes) return;
  settings_.routes = std::move(settings.routes);
  retired_.push_back(std::move(upstreams_));
  upstreams_ = std::make_shared<GatewayUpstreams>(settings_.routes, parts_.core);
  const GatewayConfig& config = settings_.routes->config();
  redirects_.renew(config.redirects_kept_max, kept_for(config));
  logons_.renew(config.kerberos.users_kept_max, tickets_kept_for(config));
}

std::unique_ptr<proto::EwsPeek> Gateway::take_peek() {
  if (peeks_out_ >= kPeeksMax) return nullptr;
  ++peeks_out_;
  if (peeks_.empty()) return std::make_unique<proto::EwsPeek>(io::random_u64());
  auto peek = std::move(peeks_.back());
  peeks_.pop_back();
  return peek;
}

void Gateway::give_back(std::unique_ptr<proto::EwsPeek> peek) {
  --peeks_out_;
  if (peeks_.size() >= kPeeksKept) return;
  peek->reset();
  peeks_.push_back(std::move(peek));
}

Task<void> Gateway::watch() {
  // Connections end when their servers let them; a block does not wait for that.
  TaskScope beside(&co_await current_context());
  beside.spawn(watch_retired());
  co_await watch_blocks();
  beside.request_stop();
  co_await beside.join();
}

Task<void> Gateway::watch_retired() {
  while (co_await sleep_for(kLook)) co_await close_retired();
}

Task<void> Gateway::watch_blocks() {
  for (;;) {
    if (!co_await sleep_for(kLook)) co_return;
    parts_.core.metrics.set(metric::gateway_redirects_kept, redirects_.size());
    if (!parts_.policy) continue;
    uint64_t changes = parts_.compliance->changes();
    uint64_t generation = parts_.core.generations.now().number;
    if (changes == decided_at_ && generation == decided_under_) continue;
    decided_at_ = changes;
    co_await reconsider_all(std::exchange(decided_under_, generation) != generation);
    co_await reconsider_logons();
    acted_on_ = changes;
  }
}

// Those that come meanwhile were decided by the new data, and stand behind.
Task<void> Gateway::reconsider_all(bool reloaded) {
  WallTime now = io::wall_now();
  size_t left = requests_.size_slow();
  for (size_t i = 1; left > 0 && !requests_.empty(); ++i, --left) {
    GatewayRequest* request = requests_.pop_front();
    requests_.push_back(request);
    request->reconsider(now, reloaded);
    if (i % (reloaded ? kCertificatesPerTurn : kDecisionsPerTurn) == 0) co_await yield_now();
  }
}

// Users of whom something is kept for their next request. A device that is blocked takes away what is kept of its user: another
// device of this user has new tickets made for it.
Task<void> Gateway::reconsider_logons() {
  if (!parts_.authenticator) co_return;
  WallTime now = io::wall_now();
  auto blocked = [&](const GatewayLogons::Subject& subject) {
    return parts_.policy->decide(subject.question(now)).verdict == Verdict::block;
  };
  std::string after;
  do {
    for (const std::string& user : logons_.take_blocked(after, kDecisionsPerTurn / GatewayLogons::kSubjectsMax, io::now(), blocked)) {
      parts_.authenticator->forget(user);
    }
    co_await yield_now();
  } while (!after.empty());
}

Task<void> Gateway::close_retired() {
  std::vector<std::shared_ptr<GatewayUpstreams>> unused;
  std::erase_if(retired_, [&](std::shared_ptr<GatewayUpstreams>& one) {
    if (one.use_count() > 1) return false;
    unused.push_back(std::move(one));
    return true;
  });
  for (const auto& one : unused) co_await one->close();
}

Task<void> Gateway::close() {
  for (const auto& one : retired_) co_await one->close();
  retired_.clear();
  co_await upstreams_->close();
}

}  // namespace bellhop::service
