// SPDX-License-Identifier: Apache-2.0
#include "service/server_parts.h"

#include <algorithm>

#include "core/base/time.h"
#include "service/cidrs.h"
#include "service/policy_config_rules.h"
#include "service/registration.h"
#include "service/rsa_engines.h"

namespace bellhop::service {
namespace {

HttpServerLimits listener_limits(const Config& all, const PublicListenerConfig& config, unsigned cores) {
  auto ms = [](uint32_t value) { return Duration(std::chrono::milliseconds(value)); };
  return {.connections_max = std::max<size_t>(1, config.connections_max / cores),
          .connections_per_address_max = config.connections_per_address_max,
          .connections_per_address_per_second = config.connections_per_address_per_second,
          .addresses_tracked_max = all.limits.addresses_tracked_max,
          .exempt = to_blocks(all.limits.exempt_cidrs),
          .proxy_protocol_from = config.proxy_protocol ? to_blocks(config.trusted_cidrs) : proto::AddressBlocks(),
          .handshakes_in_flight_max = config.handshakes_in_flight_max,
          .requests_per_connection_max = config.requests_per_connection_max,
          .handshake_timeout = ms(config.handshake_timeout_ms),
          .header_timeout = ms(config.header_timeout_ms),
          .idle_timeout = ms(config.idle_timeout_ms),
          .body_rate_min_bytes_per_s = config.body_rate_min_bytes_per_s,
          .write_stall_timeout = ms(config.write_stall_timeout_ms),
          .header = {.bytes_max = config.header_bytes_max, .fields_max = config.header_fields_max},
          .http2 = {.streams_max = config.http2_streams_max,
                    .header_bytes_max = config.http2_header_bytes_max,
                    .header_fields_max = config.header_fields_max,
                    .stream_window_bytes = config.http2_stream_window_bytes,
                    .connection_window_bytes = config.http2_connection_window_bytes,
                    .header_table_bytes = 0,  // no callback's address is kept to be referred to
                    .resets_max = config.http2_resets_max,
                    .control_frames_max = config.http2_control_frames_max},
          .http2_requests_in_work_max = config.http2_requests_in_work_max,
          .http2_body_bytes_max = config.http2_body_bytes_max,
          .http2_goaway_grace = ms(config.http2_goaway_grace_ms)};
}

LogOptions log_options(const Config& config, MetricsShard& shard, unsigned core,
                       const std::array<uint8_t, kLogSaltBytes>& salt) {
  LogOptions options;
  options.sink.write = [](void*, std::string_view line) { io::write_log(line); };
  options.wall_now = &io::wall_now;
  options.metrics = &shard;
  options.level = config.log.level;
  options.core = core;
  options.lines_per_event_per_second_max = config.log.lines_per_event_per_second_max;
  options.salt = salt;
  return options;
}

}  // namespace

Server::CoreParts::CoreParts(Server& of, unsigned index)
    : server(of),
      metrics(*server.shards_[index]),
      ledger(metrics),
      log(log_options(server.config_, metrics, index, server.log_salt_)),
      decrypter(server.store_, *server.vault_, make_rsa_engine(*server.rsa_plan_), server.config_.notification,
                server.config_.keys, metrics),
      upstreams(server.files_.upstreams),
      ews_contexts(server.store_, server.files_.gateway_keys),
      ews(server.config_.ews, {upstreams, UpstreamKind::ews}, metrics, log),
      tokens(server.config_.oauth, server.config_.ews, {upstreams, UpstreamKind::token}, metrics, log),
      autodiscover(server.config_.autodiscover, server.config_.ews, {upstreams, UpstreamKind::ews},
                   *server.vault_, server.store_, metrics, log),
      apns(server.config_.apns, *server.apns_tokens_, {upstreams, UpstreamKind::apns}, metrics, log),
      policy(*server.compliance_, server.policy_rules_),
      core{*server.node_, index, metrics, ledger, log, decrypter, ews, tokens, apns},
      mailboxes(core),
      supervision(core),
      renewal(core),
      handler(core),
      http(handler, listener_limits(server.config_, server.config_.listen_public, io::cores()), std::move(server.listener_[index])),
      certificates(server.files_.certificates) {
  if (server.config_.is_gateway()) {
    if (server.kerberos_) authenticator.emplace(*server.kerberos_, metrics);
    gateway.emplace(Gateway::Parts{.core = core,
                                   .policy = &policy,
                                   .compliance = core.node.compliance,
                                   .authenticator = authenticator ? &*authenticator : nullptr,
                                   .certificates = &certificates},
                    GatewaySettings{server.files_.gateway_routes, server.files_.gateway_keys});
    gateway_http.emplace(*gateway, listener_limits(server.config_, server.config_.listen_gateway, io::cores()),
                         std::move(server.gateway_listener_[index]));
  }
  if (index == 0) uem_sources.emplace(*server.compliance_, metrics, log);
  ews.set_contexts(ews_contexts);
  core.mailboxes = &mailboxes;
  core.supervision = &supervision;
  core.autodiscover = &autodiscover;
  core.renewal = &renewal;
  core.observer = server.observer_;
  core.policy = &policy;
  if (gateway) core.gateway = &*gateway;
  core.key_maker = server.key_maker_.get();
}

HttpServerStats Server::CoreParts::http_stats() {
  HttpServerStats sum;
  for_each_http([&](HttpServer& one) {
    HttpServerStats stats = one.stats();
    sum.requests += stats.requests;
    sum.requests_in_work += stats.requests_in_work;
    sum.connections += stats.connections;
  });
  return sum;
}

bool Server::CoreParts::quiet(Duration young) {
  bool all = true;
  for_each_http([&](HttpServer& one) { all &= one.quiet(io::now(), young); });
  return all;
}

void Server::CoreParts::note_expiries() {
  // A listener without its role has no certificate.
  auto expiry = [](const HttpServer& one) { return to_unix_seconds(one.certificate_expires()); };
  core.node.listener_certificate_expires_s = server.config_.is_public() ? expiry(http) : 0;
  core.node.gateway_certificate_expires_s = gateway_http ? expiry(*gateway_http) : 0;
}

void Server::CoreParts::note_begin() {
  HttpServerStats stats = http_stats();
  requests_ended_before = stats.requests - stats.requests_in_work;
  handed_back_before = handed_back();
}

void Server::CoreParts::take(const Switch& next) {
  core.generations.become(next.generation);
  const Config& config = core.config();
  log.renew(config.log);
  decrypter.renew(config.notification);
  core.registrar->limits().renew(config.limits);
  if (next.policy) policy.renew(next.policy);
  if (core.index == 0) {
    core.node.compliance->set_tenants(policy_tenants(config));
    core.node.compliance->set_names_max(config.policy.devices_max);
  }
  if (!next.listener.empty()) http.set_tls(next.listener[core.index]);
  if (!next.gateway_listener.empty() && gateway_http) gateway_http->set_tls(next.gateway_listener[core.index]);
  if (gateway) gateway->take(next.gateway);
  if (next.gateway.keys) ews_contexts.renew(next.gateway.keys);
  if (uem_sources) uem_sources->take(config, next.upstreams);
  if (next.certificates_changed) certificates.take(next.certificates);
  if (next.keytab_changed && server.kerberos_ && core.index == 0) server.kerberos_->forget_all();
  note_expiries();
  if (next.upstreams) {
    upstreams = next.upstreams;
    autodiscover.renew({upstreams, UpstreamKind::ews});
    tokens.renew({upstreams, UpstreamKind::token});
    apns.renew({upstreams, UpstreamKind::apns});
  }
  apns.take_up(config);
  if (next.upstreams || next.networks_changed) ews.renew({upstreams, UpstreamKind::ews}, core.tenants());
}

}  // namespace bellhop::service
