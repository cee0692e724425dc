// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "core/task.h"
#include "crypto/record.h"
#include "crypto/split.h"
#include "service/core.h"
#include "service/mailbox_cache.h"

namespace bellhop::service {

// OAuth tokens of a mailbox, docs/decisions/0010-split-envelope-and-oauth.md. A refresh token may be good for one use
// only, and an issuer that sees it twice may revoke the whole grant. So the order of a renewal is:
//   1 the mark: "a request with this token goes out", synced;
//   2 the request;
//   3 the new tokens, sealed under the envelope's key, synced, and the mark taken back, in one write;
//   4 their use.
// After a crash, or an answer that was lost, between 1 and 3 nobody here knows whether the token is spent. It is
// presented again within the issuer's grace (tenant.oauth_reuse_grace_seconds), and never after that.

// The access token may be used now.
bool access_token_usable(const crypto::OauthCredentials& oauth, WallTime now);
// Puts what a grant brought into the record. `expires` becomes the moment for the next renewal: some time before the
// token's end, see oauth.renew_before_expiry_seconds.
void take_grant(crypto::OauthCredentials& oauth, Granted granted, WallTime now, const OauthConfig& config);
// What is to be asked of the token endpoint. Views into `oauth` and `claims`.
GrantRequest grant_request(const Tenant& tenant, const crypto::OauthCredentials& oauth, std::string_view claims);
// The refresh token may have been spent, and it is too late to present it again.
bool refresh_token_lost(const store::SubscriptionRecord& subscription, const Tenant& tenant, WallTime now);

enum class RenewalEnd : uint8_t {
  renewed,
  refused,      // by the token endpoint: the logon rule
  lost,         // refresh_token_lost()
  unavailable,  // another time, perhaps: endpoint or store
};

// A split envelope whose record is open, on the home core and in the mailbox's turn: that is what puts the grants of a
// mailbox one after the other. References outlive it.
struct OpenSplit {
  const store::CapabilityHash& capability;
  const Tenant& tenant;
  Mailbox& mailbox;
  store::SubscriptionRecord& subscription;  // as it is stored now; kept so
  const crypto::SplitBinding& binding;
  const crypto::Secret& key;  // K
  crypto::OauthCredentials& oauth;
  crypto::CredentialRecord& record;  // that holds `oauth`
};

// Renewal, steps 1 to 3. With `renewed`, the record in memory is the stored one.
Task<RenewalEnd> renew_tokens(Core& core, OpenSplit split, std::string_view claims);
// Tokens that an earlier renewal could not write are written now. False: they still wait.
Task<bool> write_waiting_tokens(Core& core, const store::CapabilityHash& capability, Mailbox& mailbox,
                                store::SubscriptionRecord& subscription);

}  // namespace bellhop::service
