// SPDX-License-Identifier: Apache-2.0
#include "service/autodiscover.h"

#include <algorithm>

#include "core/io.h"
#include "core/sleep.h"
#include "service/autodiscover_search.h"

namespace bellhop::service {
namespace {

// Failures that the next mailbox of the domain would meet as well.
bool is_of_domain(AutodiscoverResult result) {
  switch (result) {
    case AutodiscoverResult::no_permitted_host:
    case AutodiscoverResult::not_found:
    case AutodiscoverResult::unavailable:
    case AutodiscoverResult::timed_out:
    case AutodiscoverResult::garbage:
    case AutodiscoverResult::insecure_redirect:
    case AutodiscoverResult::foreign_host:
    case AutodiscoverResult::redirect_loop:
    case AutodiscoverResult::too_many_redirects:
      return true;
    default:
      return false;
  }
}

}  // namespace

std::optional<std::string> domain_of_address(std::string_view address) {
  size_t at = address.rfind('@');
  if (at == address.npos || at == 0) return std::nullopt;
  std::optional<IpAddress> ip;
  Result<std::string> host = proto::parse_host(address.substr(at + 1), ip);
  if (!host || ip) return std::nullopt;
  return *std::move(host);
}

Autodiscover::Autodiscover(const AutodiscoverConfig& config, const EwsConfig& ews, UpstreamRoutes routes,
                           const Vault& vault, store::Store& store, MetricsShard& metrics, Log& log)
    : config_(config),
      ews_(ews),
      routes_(std::move(routes)),
      vault_(vault),
      store_(store),
      metrics_(metrics),
      log_(log) {}

Autodiscover::~Autodiscover() { BH_CHECK(searches_ == 0); }

Task<Autodiscover::Reply> Autodiscover::find(const Tenant& tenant, const crypto::CredentialRecord& credentials,
                                             bool cache_allowed) {
  Instant begin = io::now();
  std::optional<std::string> domain = domain_of_address(credentials.address.reveal_text());
  if (!domain || !tenant.autodiscover_domains.matches(*domain)) {
    count(tenant, AutodiscoverResult::off, {});
    co_return std::unexpected(AutodiscoverResult::off);
  }
  store::EwsUrlKey key = vault_.ews_url_key(tenant.config.id, *domain);
  if (cache_allowed) {
    if (std::string url = co_await cached_url(tenant, key); !url.empty()) {
      count(tenant, AutodiscoverResult::cached, io::now() - begin);
      co_return Found{.url = std::move(url), .cached = true};
    }
    if (const Failure* failure = known_failure(key)) {
      metrics_.add(metric::autodiscovers, AutodiscoverResult::failed_before);
      co_return std::unexpected(failure->result);
    }
  }
  // A refresh token may be good for one grant, which a search that leads nowhere would waste; and a certificate's server
  // is known to whoever issued it.
  if (!std::holds_alternative<crypto::BasicCredentials>(credentials.logon)) {
    count(tenant, AutodiscoverResult::off, {});
    co_return std::unexpected(AutodiscoverResult::off);
  }
  if (searches_ >= config_.searches_in_flight_max) {
    count(tenant, AutodiscoverResult::overload, {});
    co_return std::unexpected(AutodiscoverResult::overload);
  }
  ++searches_;
  Reply reply = co_await search(tenant, credentials, key, *domain);
  --searches_;
  count(tenant, reply ? AutodiscoverResult::found : reply.error(), io::now() - begin);
  co_return std::move(reply);
}

Task<Autodiscover::Reply> Autodiscover::search(const Tenant& tenant, const crypto::CredentialRecord& credentials,
                                               const store::EwsUrlKey& key, std::string_view domain) {
  Context& caller = co_await current_context();
  DeadlineContext deadline(&caller, io::now() + std::chrono::milliseconds(config_.timeout_ms));
  AutodiscoverSearch flow({config_, ews_, routes_, metrics_, log_}, tenant, credentials, domain);
  AutodiscoverResult result = co_await flow.run().under(deadline.context());
  if (result != AutodiscoverResult::found) {
    // A caller who was stopped says nothing of the domain.
    if (is_of_domain(result) && !caller.stop_requested()) note_failure(key, result);
    co_return std::unexpected(result);
  }
  failures_.erase(key);
  if (!flow.moved_domain()) {
    store::EwsUrlRecord record{.url = flow.url(), .expires = io::wall_now() + std::chrono::hours(config_.cache_hours)};
    Status kept = co_await store_.put_ews_url(key, record);
    if (!kept) log_line(log_, LogLevel::warning, "autodiscover_url_not_kept", field("error", kept.error()));
  }
  co_return Found{.url = flow.url()};
}

// Empty where there is none, or where it has become old or is no longer permitted.
Task<std::string> Autodiscover::cached_url(const Tenant& tenant, const store::EwsUrlKey& key) {
  Result<store::EwsUrlRecord> record = co_await store_.read_ews_url(key);
  if (!record || record->expires <= io::wall_now() || !tenant.ews_url(record->url)) co_return std::string();
  co_return std::move(record->url);
}

Task<void> Autodiscover::forget(const Tenant& tenant, const crypto::CredentialRecord& credentials,
                                std::string_view url) {
  std::optional<std::string> domain = domain_of_address(credentials.address.reveal_text());
  if (!domain) co_return;
  store::EwsUrlKey key = vault_.ews_url_key(tenant.config.id, *domain);
  Result<store::EwsUrlRecord> record = co_await store_.read_ews_url(key);
  if (!record || record->url != url) co_return;
  Status erased = co_await store_.erase_ews_url(key);
  if (!erased) log_line(log_, LogLevel::warning, "autodiscover_url_not_forgotten", field("error", erased.error()));
}

const Autodiscover::Failure* Autodiscover::known_failure(const store::EwsUrlKey& key) {
  auto place = failures_.find(key);
  if (place == failures_.end()) return nullptr;
  if (io::now() < place->second.until) return &place->second;
  failures_.erase(place);
  return nullptr;
}

// Where there is no room, the one that would end first makes it.
void Autodiscover::note_failure(const store::EwsUrlKey& key, AutodiscoverResult result) {
  bool full = failures_.size() >= config_.failures_kept_max && !failures_.contains(key);
  if (full) {
    failures_.erase(std::ranges::min_element(
        failures_, {}, [](const auto& entry) { return entry.second.until; }));
  }
  failures_[key] = {result, io::now() + std::chrono::seconds(config_.failure_seconds)};
}

void Autodiscover::count(const Tenant& tenant, AutodiscoverResult result, Duration took) {
  metrics_.add(metric::autodiscovers, result);
  bool good = result == AutodiscoverResult::found || result == AutodiscoverResult::cached;
  log_line(log_, good ? LogLevel::info : LogLevel::warning, "autodiscover",
           field("tenant", not_personal(tenant.config.id)),
           field("result", not_personal(LabelSet<AutodiscoverResult>::values[static_cast<size_t>(result)])),
           field("took_ms", took));
}

}  // namespace bellhop::service
