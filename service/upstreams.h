// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/tls/context.h"
#include "crypto/secret.h"
#include "proto/url.h"
#include "service/config.h"
#include "service/outbound.h"

namespace bellhop::service {

// What a host is to us. Autodiscover's hosts are Exchange's.
enum class UpstreamKind : uint8_t { ews, token, apns, uem };

// Who vouches for the hosts of a kind that no [[upstream]] says more of: [ews] ca_file and its kin.
struct UpstreamAuthorities {
  std::shared_ptr<const TlsAuthorities> ews, token, apns, uem;
};

// [[upstream]] and [[proxy]] with the files that they name: whom we trust under which name, and which way leads there. The
// first entry with a matching pattern says all of a host; one that no entry matches is trusted as its kind is, and reached
// directly. In an entry,
//   ca_file         is the only authority, in place of those of the kind;
//   spki_pins       with ca_file are asked for besides; without, they stand alone: the issuer does not matter then, key,
//                   name and dates do;
//   neither         leaves the kind's authorities.
// Made once for each configuration, shared by all cores, immutable. Passwords are wiped with it.
class Upstreams {
 public:
  // Reads the files. On failure `complaint` says which and what to do. Errors: os, tls, config.
  static Result<std::shared_ptr<const Upstreams>> make(const Config& config, UpstreamAuthorities authorities,
                                                       std::string& complaint);
  Upstreams(const Upstreams&) = delete;
  Upstreams& operator=(const Upstreams&) = delete;

  // A proxy, without what belongs to one core.
  struct Proxy {
    HostPort address;
    std::shared_ptr<const TlsAuthorities> authorities;    // of TLS with the proxy itself; null: plain
    std::shared_ptr<const crypto::Secret> authorization;  // null: none
    bool resolve_locally = false;
  };

  static constexpr size_t kNoRule = SIZE_MAX;
  // The place of the entry for this host in the configuration, or kNoRule. `host` as in proto::Url::host.
  size_t rule_of(std::string_view host) const;
  // What a connection to hosts of this rule trusts, and the protocol that it offers. Whoever adds a certificate of our own
  // begins with these options as well.
  TlsClientOptions tls_options(UpstreamKind kind, size_t rule) const;
  // Null: directly.
  const Proxy* proxy(size_t rule) const;

 private:
  struct Rule {
    proto::HostAllowList hosts;
    bool any_host = false;  // "*"
    std::shared_ptr<const TlsAuthorities> authorities;
    std::vector<SpkiPin> pins;
    const Proxy* proxy = nullptr;
  };
  Upstreams() = default;
  Result<std::unique_ptr<Proxy>> make_proxy(const ProxyConfig& config, std::string& complaint);
  Status add_rule(const UpstreamConfig& config, std::string& complaint);
  Result<const Proxy*> find_proxy(const std::string& reference, std::string& complaint);

  UpstreamAuthorities authorities_;
  std::map<std::string, std::unique_ptr<Proxy>, std::less<>> proxies_;  // by name, or by URL
  std::vector<Rule> rules_;
};

// The way to one host.
struct UpstreamRoute {
  std::shared_ptr<TlsContext> tls;
  std::shared_ptr<const OutboundProxy> proxy;  // null: directly
};

// One core's way to the hosts of one kind: the place where EwsClient, TokenClient, Autodiscover and ApnsSender ask. A TLS
// context is made for each rule when a host of it is first asked for, and then shared by its hosts.
class UpstreamRoutes {
 public:
  // All hosts with this context, directly: for tests and stand-ins, which know their one peer.
  UpstreamRoutes(std::shared_ptr<TlsContext> tls) : only_(std::move(tls)) {}  // NOLINT(google-explicit-constructor)
  UpstreamRoutes(std::shared_ptr<const Upstreams> upstreams, UpstreamKind kind)
      : upstreams_(std::move(upstreams)), kind_(kind) {}

  UpstreamRoute to(std::string_view host);
  // The same with the way filled in; `host` is set.
  OutboundOrigin fill(OutboundOrigin origin);

 private:
  std::shared_ptr<const OutboundProxy> proxy_of(size_t rule);

  std::shared_ptr<TlsContext> only_;
  std::shared_ptr<const Upstreams> upstreams_;
  UpstreamKind kind_ = UpstreamKind::ews;
  std::map<size_t, UpstreamRoute> routes_;  // by rule
  std::map<const Upstreams::Proxy*, std::shared_ptr<const OutboundProxy>> proxies_;
};

// "sha256/" and the base64 of 32 bytes (RFC 7469 section 2.4); nothing on any other form.
std::optional<SpkiPin> parse_spki_pin(std::string_view text);

}  // namespace bellhop::service
