// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "proto/ews_request.h"
#include "service/envelopes.h"
#include "service/mailbox_cache.h"
#include "service/notification.h"

namespace bellhop::service {

// One new mail of a mailbox, from an event or from a catch-up. Holds mail text once it was fetched.
struct Arrival {
  std::string id;
  uint64_t hash = 0;
  std::optional<WallTime> at;    // received; the event's time where the mail was not fetched
  std::optional<MailItem> mail;  // nothing: content-free
  bool gone = false;             // the item does not exist any more
};

// More arrivals than this at once become one push, which shows none of them: they are not fetched.
inline uint32_t arrivals_shown_max(const NotificationConfig& config) {
  return std::min(config.merge_above, proto::kGetItemIdsMax);
}

// What is to be asked of Exchange.
struct FetchPlan {
  bool list = false;  // events were missed: list what came since `since`
  WallTime since{};
  bool unread = false;   // besides, ask for the unread count, which the missed events would have told
  bool content = false;  // some device shows content
  bool preview = false;  // some device shows the preview text
};

// Why no content is there, or none at all.
enum class FetchEnd : uint8_t {
  done,
  overload,     // the decryption queue is full: nothing was done
  unopened,     // the envelope does not open though its digest matched: our own fault
  no_logon,     // Exchange or the token endpoint refused the credentials, now or before: the logon rule forbids another try
  token_lost,   // the OAuth refresh token may be spent, and must not be presented again
  moved,        // the mailbox is not where the subscription says
  no_exchange,  // Exchange is not there, is busy, or says something else
};

// Only a new subscribe of a device helps.
constexpr bool credentials_useless(FetchEnd end) {
  return end == FetchEnd::unopened || end == FetchEnd::no_logon || end == FetchEnd::token_lost;
}

struct FetchResult {
  FetchEnd end = FetchEnd::done;
  bool listed = false;     // the list was asked for, and was got
  bool more = false;       // there are further mails that the list did not hold
  uint32_t caught_up = 0;  // arrivals that the list has added
  std::optional<uint32_t> unread;  // of the Inbox, where it was asked for and got
  Duration decrypt{}, fetch{};
};

// Steps 4 and 5 of a notification: opens the envelope, renews OAuth tokens where they are at their end, asks Exchange
// for the mails, forgets the credentials. One per core.
class MailFetch {
 public:
  explicit MailFetch(Core& core) : core_(core) {}

  // Puts what the list holds and the mailbox has not seen in front of `arrivals`, then fills in the content of all,
  // unless they are more than arrivals_shown_max. The caller holds the mailbox's turn.
  Task<FetchResult> run(const Callback& callback, const Tenant& tenant, Mailbox& mailbox, FetchPlan plan,
                        std::vector<Arrival>& arrivals);

 private:
  struct Asked {
    FetchEnd end = FetchEnd::done;
    std::optional<proto::BearerChallenge> challenge;  // that came with a 401
  };
  Task<FetchEnd> use(const Callback& callback, const Tenant& tenant, Mailbox& mailbox,
                     store::SubscriptionRecord& subscription, OpenEnvelope& opened, FetchPlan plan,
                     std::vector<Arrival>& arrivals, FetchResult& result);
  Task<FetchEnd> renew(const Callback& callback, const Tenant& tenant, Mailbox& mailbox,
                       store::SubscriptionRecord& subscription, OpenEnvelope& opened, std::string_view claims);
  Task<Asked> ask_in_time(const Callback& callback, const Tenant& tenant, Mailbox& mailbox, const OpenEnvelope& opened,
                          FetchPlan plan, std::vector<Arrival>& arrivals, FetchResult& result);
  Task<Asked> ask(const EwsTarget& target, Mailbox& mailbox, FetchPlan plan, std::vector<Arrival>& arrivals,
                  FetchResult& result);
  Task<void> ask_unread(const EwsTarget& target, FetchResult& result);
  Task<void> note_lost_token(const Callback& callback, Mailbox& mailbox);
  Asked end_of(EwsFailure failure, const Mailbox& mailbox);

  Core& core_;
};

}  // namespace bellhop::service
