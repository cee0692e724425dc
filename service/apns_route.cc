// SPDX-License-Identifier: Apache-2.0
#include "service/apns_route.h"

#include <algorithm>
#include <utility>

#include "core/sleep.h"
#include "core/tls/error.h"
#include "service/http2_open.h"

namespace bellhop::service {
namespace {

constexpr uint16_t kHttpsPort = 443;

Duration milliseconds(uint32_t count) {
  return std::chrono::milliseconds(count);
}

// Up to a quarter more, so that the cores and nodes that lost APNs together do not come back together.
Duration with_jitter(Duration wait) {
  auto quarter = static_cast<uint64_t>(wait.count() / 4);
  return wait + Duration(static_cast<int64_t>(io::random_u64() % (quarter + 1)));
}

LogLiteral text_of(ApnsEnvironment environment) {
  return environment == ApnsEnvironment::production ? LogLiteral("production") : LogLiteral("sandbox");
}

}  // namespace

ApnsRoute::Slot::Slot(ApnsRoute* route, std::shared_ptr<ApnsConnection> connection)
    : route_(route), connection_(std::move(connection)) {
  connection_->reserve();
}

ApnsRoute::Slot::~Slot() {
  if (!connection_) return;
  connection_->give_back();
  route_->grant();
}

ApnsRoute::ApnsRoute(ApnsRouteName name, ApnsRouteParts& parts)
    : retries(parts.config.retry_share_percent_max),
      name_(std::move(name)),
      parts_(parts),
      reconnect_wait_(milliseconds(parts.config.reconnect_first_ms)) {
  authority_ = host().port == kHttpsPort ? host().host : to_text(host());
}

uint32_t ApnsRoute::free_streams() const {
  uint32_t free = 0;
  for (const auto& connection : connections_) free += connection->free_streams();
  return free;
}

const HostPort& ApnsRoute::host() const {
  return name_.environment == ApnsEnvironment::production ? parts_.config.production : parts_.config.sandbox;
}

Task<Result<ApnsRoute::Slot>> ApnsRoute::acquire() {
  if (closed_) co_return fail(core_error(CoreError::closed));
  BH_CO_CHECKED(check_certificate());
  if (waiting_.empty()) {
    if (auto connection = connection_with_free_stream()) co_return Slot(this, std::move(connection));
  }
  size_t most = parts_.config.requests_waiting_max;
  if (parts_.waiting >= most || waiting_count_ >= std::max<size_t>(1, most / 2)) {
    co_return fail(core_error(CoreError::limit));
  }
  Waiting waiting;
  waiting_.push_back(&waiting);
  ++waiting_count_;
  ++parts_.waiting;
  grant();
  Status decided = co_await waiting.decided.wait();
  --waiting_count_;
  --parts_.waiting;
  if (!decided) co_return fail(decided.error());
  if (waiting.failed) co_return fail(*waiting.failed);
  co_return std::move(waiting.slot);
}

void ApnsRoute::close() {
  closed_ = true;
  fail_waiting(core_error(CoreError::closed));
  retire_connections();
}

void ApnsRoute::fail_waiting(const Error& error) {
  while (Waiting* waiting = waiting_.pop_front()) {
    waiting->failed = error;
    waiting->decided.set();
  }
}

Status ApnsRoute::take_up_certificate() {
  if (name_.certificate.empty()) return {};
  const ApnsCertificates& all = parts_.tokens.certificates();
  if (uint64_t version = all.version(); version != certificate_version_) {
    certificate_version_ = version;
    std::shared_ptr<const ApnsCertificate> current = all.find(name_.certificate);
    if (current != certificate_) {
      bool replaced = certificate_ != nullptr;
      certificate_ = std::move(current);
      tls_.reset();  // no session of the old one
      refused_.reset();
      if (!certificate_) fail_waiting(core_error(CoreError::closed));
      if (replaced) retire_connections();
    }
  }
  if (!certificate_) return fail(core_error(CoreError::closed));
  return {};
}

// The certificate as it is now, and its dates.
Status ApnsRoute::check_certificate() {
  if (name_.certificate.empty()) return {};
  BH_CHECKED(take_up_certificate());
  WallTime now = io::wall_now();
  if (now > certificate_->identity.expires()) return fail(tls_error(TlsError::own_certificate_expired));
  if (now < certificate_->identity.valid_from()) return fail(tls_error(TlsError::own_certificate_not_yet_valid));
  if (refused_ && io::now() < refused_until_) return fail(*refused_);
  return {};
}

// Who waits would be refused too.
void ApnsRoute::note_refusal(const Error& error) {
  if (name_.certificate.empty() || !is_certificate_refusal(error)) return;
  refused_ = error;
  refused_until_ = io::now() + reconnect_wait_;
  fail_waiting(error);
}

void ApnsRoute::renew_ways() {
  tls_.reset();
  retire_connections();
}

void ApnsRoute::retire_connections() {
  for (const auto& connection : std::vector(connections_)) connection->retire();
}

std::shared_ptr<ApnsConnection> ApnsRoute::connection_with_free_stream() const {
  std::shared_ptr<ApnsConnection> best;
  for (const auto& connection : connections_) {
    if (connection->free_streams() > (best ? best->free_streams() : 0)) best = connection;
  }
  return best;
}

bool ApnsRoute::wants_connection() const {
  if (closed_ || connecting_ || waiting_.empty()) return false;
  auto usable = std::ranges::count_if(connections_, [](const auto& connection) { return connection->usable(); });
  return static_cast<uint32_t>(usable) < std::max(1u, parts_.config.connections_per_core);
}

// Gives free streams to those who wait longest, and sees to a connection where they still wait.
void ApnsRoute::grant() {
  while (Waiting* first = waiting_.front()) {
    auto connection = connection_with_free_stream();
    if (!connection) break;
    first->unlink();
    first->slot = Slot(this, std::move(connection));
    first->decided.set();
  }
  if (!wants_connection()) return;
  connecting_ = true;
  parts_.scope.spawn(connect_and_serve());
}

void ApnsRoute::on_connection_changed() {
  grant();
}

void ApnsRoute::on_token_accepted() {
  reconnect_wait_ = milliseconds(parts_.config.reconnect_first_ms);
  grant();
}

void ApnsRoute::on_goaway(const proto::Http2GoAway& goaway, const proto::ApnsAnswer& why) {
  parts_.metrics.add(metric::apns_goaways);
  std::string_view reason = why.reason == proto::ApnsReason::unknown ? std::string_view(why.unknown_name)
                                                                     : proto::apns_reason_info(why.reason).name;
  log_line(parts_.log, LogLevel::info, "apns_goaway", field("environment", text_of(name_.environment)),
           field("team", not_personal(name_.team_id)), field("certificate", not_personal(name_.certificate)),
           field("proven", name_.proven),
           field("code", not_personal(proto::http2_code_name(goaway.code))), field("reason", not_personal(reason)));
}

Task<void> ApnsRoute::connect_and_serve() {
  std::shared_ptr<ApnsConnection> connection = co_await connect_when_due();
  connecting_ = false;
  if (!connection) co_return;
  connections_.push_back(connection);
  parts_.metrics.raise(metric::connections, ConnectionKind::apns);
  if (closed_) connection->retire();
  grant();
  co_await serve(connection);
  parts_.metrics.lower(metric::connections, ConnectionKind::apns);
  grant();
}

// Null where nobody waits any more, or the flow is stopped.
Task<std::shared_ptr<ApnsConnection>> ApnsRoute::connect_when_due() {
  for (;;) {
    if (io::now() < connect_not_before_ && !co_await sleep_until(connect_not_before_)) co_return nullptr;
    if (waiting_.empty() || closed_) co_return nullptr;
    connect_not_before_ = io::now() + with_jitter(reconnect_wait_);
    reconnect_wait_ = std::min(reconnect_wait_ * 2, milliseconds(parts_.config.reconnect_max_ms));
    std::shared_ptr<const ApnsCertificate> certificate = certificate_;
    TlsIdentity identity;
    if (certificate) identity = certificate->identity.view();
    uint64_t ways = parts_.ways;
    OutboundOrigin origin = parts_.routes.fill({.host = host().host, .port = host().port});
    if (certificate) {  // its sessions are not for other apps
      if (!tls_) tls_ = origin.tls->sibling();
      origin.tls = tls_;
    }
    auto stream = co_await open_http2_stream(std::move(origin), milliseconds(parts_.config.connect_timeout_ms),
                                             certificate ? &identity : nullptr);
    if (stream && certificate == certificate_ && ways == parts_.ways) {
      co_return std::make_shared<ApnsConnection>(*std::move(stream), *this, parts_.config, certificate != nullptr);
    }
    if (stream) {  // the certificate or the way was replaced meanwhile
      co_await (*stream)->close();
      continue;
    }
    count_connect_failure(&parts_.metrics, stream.error());
    if (is(stream.error(), CoreError::canceled)) co_return nullptr;
    note_refusal(stream.error());
    log_line(parts_.log, LogLevel::warning, "apns_connect_failed", field("host", not_personal(host().host)),
             field("team", not_personal(name_.team_id)), field("certificate", not_personal(name_.certificate)),
             field("error", stream.error()),
             field("next_ms", std::max(Duration(0), connect_not_before_ - io::now())));
  }
}

Task<void> ApnsRoute::serve(std::shared_ptr<ApnsConnection> connection) {
  Status ended = co_await connection->run();
  std::erase(connections_, connection);
  if (ended) co_return;
  note_refusal(ended.error());  // with TLS 1.3, that comes after the handshake
  log_line(parts_.log, LogLevel::warning, "apns_connection_lost", field("host", not_personal(host().host)),
           field("team", not_personal(name_.team_id)), field("certificate", not_personal(name_.certificate)),
           field("error", ended.error()));
}

}  // namespace bellhop::service
