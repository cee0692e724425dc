// SPDX-License-Identifier: Apache-2.0
#include "service/oauth_tokens.h"

#include <algorithm>

#include "core/io.h"
#include "service/error_texts.h"

namespace bellhop::service {
namespace {

void log_not_stored(Core& core, const Mailbox& mailbox, const Error& error) {
  core.metrics.add(metric::oauth_grants, GrantResult::not_stored);
  log_line(core.log, LogLevel::error, "tokens_not_stored", field("user", core.fingerprint(mailbox.user)),
           field("error", error));
}

// Steps 1 and its counterpart: sets or takes back the mark.
Task<Status> write_mark(Core& core, const store::CapabilityHash& capability, store::SubscriptionRecord& subscription,
                        WallTime mark) {
  store::SubscriptionPatch patch;
  patch.grant_begun = mark;
  BH_CO_CHECKED(co_await core.node.store.update_subscription(capability, patch));
  subscription.grant_begun = mark;
  co_return Status();
}

// Step 3.
Task<Status> write_tokens(Core& core, const store::CapabilityHash& capability, store::SubscriptionRecord& subscription,
                          const std::vector<uint8_t>& box) {
  store::SubscriptionPatch patch;
  patch.split_ciphertext = box;
  patch.grant_begun = WallTime();
  BH_CO_CHECKED(co_await core.node.store.update_subscription(capability, patch));
  subscription.split_ciphertext = box;
  subscription.grant_begun = {};
  co_return Status();
}

RenewalEnd end_of(GrantFailureKind kind) {
  return kind == GrantFailureKind::refused ? RenewalEnd::refused : RenewalEnd::unavailable;
}

}  // namespace

bool access_token_usable(const crypto::OauthCredentials& oauth, WallTime now) {
  return !oauth.access_token.empty() && now < oauth.expires;
}

void take_grant(crypto::OauthCredentials& oauth, Granted granted, WallTime now, const OauthConfig& config) {
  Duration early = std::min<Duration>(std::chrono::seconds(config.renew_before_expiry_seconds), granted.lifetime / 4);
  oauth.access_token = std::move(granted.access_token);
  if (!granted.refresh_token.empty()) oauth.refresh_token = std::move(granted.refresh_token);
  oauth.expires = now + std::chrono::duration_cast<std::chrono::milliseconds>(granted.lifetime - early);
}

GrantRequest grant_request(const Tenant& tenant, const crypto::OauthCredentials& oauth, std::string_view claims) {
  return {.tenant = &tenant,
          .endpoint = oauth.token_endpoint.reveal_text(),
          .client_id = oauth.client_id.reveal_text(),
          .scope = oauth.scope.reveal_text(),
          .claims = claims,
          .refresh_token = &oauth.refresh_token};
}

bool refresh_token_lost(const store::SubscriptionRecord& subscription, const Tenant& tenant, WallTime now) {
  if (subscription.grant_begun == WallTime()) return false;
  // A clock that was set back tells nothing about the issuer's.
  if (now < subscription.grant_begun) return true;
  return now - subscription.grant_begun >= std::chrono::seconds(tenant.config.oauth_reuse_grace_seconds);
}

Task<RenewalEnd> renew_tokens(Core& core, OpenSplit split, std::string_view claims) {
  WallTime now = io::wall_now();
  if (refresh_token_lost(split.subscription, split.tenant, now)) {
    core.metrics.add(metric::oauth_grants, GrantResult::spent);
    co_return RenewalEnd::lost;
  }
  // An older mark stays: the issuer's grace runs from the first request.
  bool marked = split.subscription.grant_begun != WallTime();
  if (!marked) {
    Status written = co_await write_mark(core, split.capability, split.subscription, now);
    if (!written) {
      log_not_stored(core, split.mailbox, written.error());
      co_return RenewalEnd::unavailable;
    }
  }
  GrantReply granted = co_await core.tokens.refresh(grant_request(split.tenant, split.oauth, claims));
  if (!granted) {
    // This request did not spend it; whether an earlier one did is as unknown as before.
    bool unspent = !granted.error().maybe_spent && !marked;
    if (unspent) (void)co_await write_mark(core, split.capability, split.subscription, WallTime());
    co_return end_of(granted.error().kind);
  }
  take_grant(split.oauth, *std::move(granted), io::wall_now(), core.config().oauth);
  auto ciphertext = crypto::split_seal(split.key, split.record, split.binding);
  BH_CHECK(ciphertext);  // every token was found to be within its bounds
  std::vector<uint8_t> box = core.node.vault.seal_split(split.capability, *ciphertext);
  Status written = co_await write_tokens(core, split.capability, split.subscription, box);
  if (written) co_return RenewalEnd::renewed;
  log_not_stored(core, split.mailbox, written.error());
  if (!is(written.error(), store::StoreError::not_found)) {
    split.mailbox.tokens_unwritten = std::move(box);
    split.mailbox.tokens_of = split.capability;
  }
  co_return RenewalEnd::unavailable;
}

Task<bool> write_waiting_tokens(Core& core, const store::CapabilityHash& capability, Mailbox& mailbox,
                                store::SubscriptionRecord& subscription) {
  if (mailbox.tokens_unwritten.empty() || mailbox.tokens_of != capability) co_return true;
  Status written = co_await write_tokens(core, capability, subscription, mailbox.tokens_unwritten);
  if (!written) log_not_stored(core, mailbox, written.error());
  if (written) mailbox.tokens_unwritten.clear();
  co_return written.has_value();
}

}  // namespace bellhop::service
