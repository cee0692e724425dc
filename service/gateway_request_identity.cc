// SPDX-License-Identifier: Apache-2.0
// GatewayRequest: who asks. Everything that names a user or device must name the same.
#include <algorithm>

#include "core/io.h"
#include "crypto/record.h"
#include "proto/bearer_claims.h"
#include "proto/credentials.h"
#include "proto/gateway_error.h"
#include "service/ews_contexts.h"
#include "service/gateway_request.h"

namespace bellhop::service {
namespace {

// May both be one account? A name without a domain, where the route has no default one, is that of a user in any.
bool agree(const proto::Account& a, const proto::Account& b) {
  return a == b || ((!a.whole() || !b.whole()) && a.user() == b.user());
}

}  // namespace

Refused GatewayRequest::identify() {
  const proto::HeaderBlock& headers = exchange_.headers();
  size_t fields = headers.count("authorization");
  if (fields > 1) return refusal(GatewayOutcome::refused_identity);
  std::string_view authorization = headers.find("authorization").value_or(std::string_view());
  Bytes certificate = exchange_.peer_certificate();
  bool by_certificate = endpoint_->config.logon == GatewayLogon::kerberos;
  if (by_certificate && certificate.empty()) return refusal(GatewayOutcome::refused_certificate);
  if (by_certificate && fields > 0) return refusal(GatewayOutcome::refused_identity);
  if (fields > 0) {
    if (Refused refused = read_authorization(authorization)) return refused;
  }
  if (!certificate.empty()) {
    if (Refused refused = read_certificate(certificate)) return refused;
  }
  if (headers.count(crypto::kGatewayContextField) > 0) {
    if (Refused refused = read_context(authorization)) return refused;
  }
  if (identity_.kind != GatewayLogonKind::none) {
    crypto::Digest key = crypto::sha256_of_parts({as_bytes(authorization), certificate});
    identity_.connection_key = as_text(Bytes(key));
  }
  if (identity_.account) {
    account_id_ = core_.node.vault.user_id(route_->tenant, crypto::user_id_of_address(identity_.account->text));
    const proto::Account& account = *identity_.account;
    bool certain = route_->accounts.is_certain(account);
    auto plain = proto::plain_letters(account.user());
    if (!plain) {
      user_name_id_ = store::StoredUserId();
    } else if (!certain || *plain != account.user()) {
      user_name_id_ = core_.node.vault.user_id(route_->tenant, user_name_hash(*plain, certain ? account.domain() : std::string_view()));
    }
  }
  if (query_ && query_->has_device()) device_ = compliance_key(query_->device);
  return {};
}

Refused GatewayRequest::read_authorization(std::string_view authorization) {
  auto credentials = proto::read_client_credentials(authorization);
  if (!credentials) return refusal_of(credentials.error());
  if (credentials->scheme == proto::ClientCredentials::Scheme::basic) {
    identity_.kind = GatewayLogonKind::basic;
    identity_.account = route_->accounts.parse_latin1_or_utf8(credentials->user.text());
    if (!identity_.account) return refusal_of(proto::gateway_error(proto::GatewayError::account));
    return {};
  }
  auto claims = proto::read_bearer_claims(credentials->token);
  if (!claims) return refusal_of(claims.error());
  identity_.kind = GatewayLogonKind::bearer;
  // An application's own token names nobody. ActiveSync is for users alone: whose the device is must be known.
  if (claims->user().empty() && !is_ews()) return refusal_of(proto::gateway_error(proto::GatewayError::token));
  if (!claims->user().empty()) {
    identity_.account = route_->accounts.parse(claims->user());
    if (!identity_.account) return refusal_of(proto::gateway_error(proto::GatewayError::account));
  }
  return {};
}

Refused GatewayRequest::read_certificate(Bytes certificate) {
  const CertificateUsers* users = gateway_.parts_.certificates;
  if (!users) return refusal(GatewayOutcome::refused_certificate);
  auto user = users->user(certificate, io::wall_now());
  if (!user) {
    GatewayRefusal refused = refusal(GatewayOutcome::refused_certificate, user.error());
    // Nobody can say whether it was revoked: not the user's fault.
    if (users->cannot_tell(user.error())) refused.status = 503;
    return refused;
  }
  auto account = route_->accounts.parse(*user);
  if (!account) return refusal_of(proto::gateway_error(proto::GatewayError::account));
  bool other = identity_.account && !agree(*identity_.account, *account);
  if (other) return refusal_of(proto::gateway_error(proto::GatewayError::contradiction));
  if (identity_.kind == GatewayLogonKind::none && endpoint_->config.logon == GatewayLogon::kerberos) {
    identity_.kind = GatewayLogonKind::certificate;
  }
  if (identity_.kind != GatewayLogonKind::none) identity_.account = *std::move(account);
  identity_.proven = true;
  identity_.user = *std::move(user);
  return {};
}

// bellhop's own requests: for whom, and from which of the user's devices the credentials are.
Refused GatewayRequest::read_context(std::string_view authorization) {
  const proto::HeaderBlock& headers = exchange_.headers();
  auto field = headers.find(crypto::kGatewayContextField);
  bool possible = field && is_ews() && keys_ && identity_.kind != GatewayLogonKind::none;
  if (!possible) return refusal(GatewayOutcome::refused_context);
  std::string target = target_->rebuilt();
  auto context = keys_->contexts.open(*field,
                                      {.method = proto::method_name(exchange_.method()), .target = target, .authorization = authorization},
                                      io::wall_now());
  if (!context) return refusal(GatewayOutcome::refused_context, context.error());
  if (context->tenant != route_->tenant) return refusal(GatewayOutcome::refused_context);
  auto account = route_->accounts.parse(context->user);
  if (!account) return refusal(GatewayOutcome::refused_context);
  // A service account may log on for the mailbox's owner; who logs on as itself must be the owner.
  GatewayContextFacts facts{.body_hash = context->body_hash};
  for (const std::string& device : context->devices) facts.devices.push_back(context_device_key(device));
  if (!context->source_device.empty()) facts.source_device = context_device_key(context->source_device);
  identity_.context = std::move(facts);
  identity_.account = *std::move(account);
  identity_.proven = true;
  return {};
}

// The user of an ActiveSync query decides nothing at Exchange, which goes by the credentials; one that names another
// account is an attempt at something, and so is one that names none: some server may read it.
Refused GatewayRequest::check_agreement() {
  if (!query_ || query_->user.empty() || !identity_.account) return {};
  auto named = route_->accounts.parse_latin1_or_utf8(query_->user);
  if (!named) return refusal_of(proto::gateway_error(proto::GatewayError::account));
  if (agree(*named, *identity_.account)) return {};
  return refusal_of(proto::gateway_error(proto::GatewayError::contradiction));
}

}  // namespace bellhop::service
