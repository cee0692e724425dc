// SPDX-License-Identifier: Apache-2.0
#include "service/upstreams.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/bytes.h"
#include "core/io.h"
#include "crypto/record.h"
#include "service/config_table.h"
#include "service/error_texts.h"
#include "service/named_files.h"

namespace bellhop::service {
namespace {

using crypto::kPasswordBytesMax;

// The one line of a password file. Errors: os, config.
Result<crypto::Secret> read_password(const std::string& path, std::string& complaint) {
  auto info = io::file_info(path);
  if (info && (info->mode & 07) != 0) {
    complaint = fmt::format("{}: the proxy's password may not be open to all users (mode {:04o} now); run: chmod o= {}",
                            path, info->mode, path);
    return fail(os_error(EACCES));
  }
  BH_TRY(std::string text, read_named(path, "the proxy's password", complaint));
  std::string_view line = text;
  if (line.ends_with('\n')) line.remove_suffix(1);
  if (line.ends_with('\r')) line.remove_suffix(1);
  bool good = !line.empty() && line.size() <= kPasswordBytesMax && std::ranges::none_of(line, [](char c) {
    return static_cast<uint8_t>(c) < 0x20 || c == 0x7f;
  });
  crypto::Secret password = good ? crypto::Secret::copy_of(line) : crypto::Secret();
  wipe(text);
  if (good) return password;
  complaint = fmt::format("{}: the proxy's password must be one line of 1 to {} bytes", path, kPasswordBytesMax);
  return fail(config_error(ConfigError::invalid, 1));
}

std::shared_ptr<TlsContext> make_context(const TlsClientOptions& options) {
  std::string complaint;
  auto context = TlsContext::client(options, complaint);
  BH_CHECK(context);  // authorities were parsed before, pins have one length, and the protocol's name is ours
  return *std::move(context);
}

}  // namespace

std::optional<SpkiPin> parse_spki_pin(std::string_view text) {
  constexpr std::string_view kPrefix = "sha256/";
  if (!text.starts_with(kPrefix)) return std::nullopt;
  auto bytes = from_base64(text.substr(kPrefix.size()));
  SpkiPin pin;
  if (!bytes || bytes->size() != pin.size()) return std::nullopt;
  std::ranges::copy(*bytes, pin.begin());
  return pin;
}

Result<std::shared_ptr<const Upstreams>> Upstreams::make(const Config& config, UpstreamAuthorities authorities,
                                                         std::string& complaint) {
  std::shared_ptr<Upstreams> made(new Upstreams);
  made->authorities_ = std::move(authorities);
  for (const ProxyConfig& proxy : config.proxies) {
    BH_TRY(made->proxies_[proxy.name], made->make_proxy(proxy, complaint));
  }
  for (const UpstreamConfig& upstream : config.upstreams) BH_CHECKED(made->add_rule(upstream, complaint));
  return std::shared_ptr<const Upstreams>(std::move(made));
}

Result<std::unique_ptr<Upstreams::Proxy>> Upstreams::make_proxy(const ProxyConfig& config, std::string& complaint) {
  auto proxy = std::make_unique<Proxy>();
  proxy->address = config.address;
  proxy->resolve_locally = config.resolve == ProxyResolve::local;
  if (config.tls) {
    BH_TRY(proxy->authorities, read_authorities(config.ca_file, /*instead=*/true, complaint));
  }
  if (!config.password_file.empty()) {
    crypto::BasicCredentials credentials;
    credentials.username = crypto::Secret::copy_of(config.username);
    BH_TRY(credentials.password, read_password(config.password_file, complaint));
    proxy->authorization = std::make_shared<const crypto::Secret>(crypto::basic_authorization(credentials));
  }
  return proxy;
}

// By name; or "http://host:port" and "https://host:port", which need no entry of their own.
Result<const Upstreams::Proxy*> Upstreams::find_proxy(const std::string& reference, std::string& complaint) {
  auto found = proxies_.find(reference);
  if (found == proxies_.end()) {
    auto url = parse_proxy_url(reference);
    if (!url) {
      complaint = fmt::format("upstream.proxy \"{}\" names no [[proxy]]", reference);
      return fail(config_error(ConfigError::invalid, 1));
    }
    BH_TRY(std::unique_ptr<Proxy> made, make_proxy(*url, complaint));
    found = proxies_.emplace(reference, std::move(made)).first;
  }
  return found->second.get();
}

Status Upstreams::add_rule(const UpstreamConfig& config, std::string& complaint) {
  Rule rule;
  for (const std::string& host : config.hosts) {
    if (host == "*") {
      rule.any_host = true;
    } else if (Status added = rule.hosts.add(host); !added) {
      complaint = fmt::format("upstream.hosts: \"{}\": {}", host, error_text(added.error()));
      return added;
    }
  }
  if (!config.ca_file.empty()) {
    BH_TRY(rule.authorities, read_authorities(config.ca_file, /*instead=*/true, complaint));
  }
  for (const std::string& text : config.spki_pins) {
    auto pin = parse_spki_pin(text);
    BH_CHECK(pin.has_value());  // the parser of the configuration has refused it before
    rule.pins.push_back(*pin);
  }
  if (!config.proxy.empty()) {
    BH_TRY(rule.proxy, find_proxy(config.proxy, complaint));
  }
  rules_.push_back(std::move(rule));
  return {};
}

size_t Upstreams::rule_of(std::string_view host) const {
  for (size_t i = 0; i < rules_.size(); ++i) {
    if (rules_[i].any_host || rules_[i].hosts.matches(host)) return i;
  }
  return kNoRule;
}

TlsClientOptions Upstreams::tls_options(UpstreamKind kind, size_t rule) const {
  TlsClientOptions options;
  options.alpn = {kind == UpstreamKind::apns ? "h2" : "http/1.1"};
  if (rule != kNoRule) {
    options.authorities = rules_[rule].authorities;
    options.pins = rules_[rule].pins;
  }
  if (options.authorities || !options.pins.empty()) return options;
  switch (kind) {
    case UpstreamKind::ews: options.authorities = authorities_.ews; break;
    case UpstreamKind::token: options.authorities = authorities_.token; break;
    case UpstreamKind::apns: options.authorities = authorities_.apns; break;
    case UpstreamKind::uem: options.authorities = authorities_.uem; break;
  }
  return options;
}

const Upstreams::Proxy* Upstreams::proxy(size_t rule) const { return rule == kNoRule ? nullptr : rules_[rule].proxy; }

UpstreamRoute UpstreamRoutes::to(std::string_view host) {
  if (!upstreams_) return {.tls = only_, .proxy = nullptr};
  size_t rule = upstreams_->rule_of(host);
  auto place = routes_.find(rule);
  if (place == routes_.end()) {
    UpstreamRoute route{.tls = make_context(upstreams_->tls_options(kind_, rule)), .proxy = proxy_of(rule)};
    place = routes_.emplace(rule, std::move(route)).first;
  }
  return place->second;
}

OutboundOrigin UpstreamRoutes::fill(OutboundOrigin origin) {
  UpstreamRoute route = to(origin.host);
  origin.tls = std::move(route.tls);
  origin.proxy = std::move(route.proxy);
  return origin;
}

std::shared_ptr<const OutboundProxy> UpstreamRoutes::proxy_of(size_t rule) {
  const Upstreams::Proxy* proxy = upstreams_->proxy(rule);
  if (!proxy) return nullptr;
  std::shared_ptr<const OutboundProxy>& known = proxies_[proxy];
  if (!known) {
    auto made = std::make_shared<OutboundProxy>();
    made->host = proxy->address.host;
    made->port = proxy->address.port;
    if (proxy->authorities) made->tls = make_context({.authorities = proxy->authorities, .pins = {}, .alpn = {"http/1.1"}});
    made->authorization = proxy->authorization;
    made->resolve_locally = proxy->resolve_locally;
    known = std::move(made);
  }
  return known;
}

}  // namespace bellhop::service
