// SPDX-License-Identifier: Apache-2.0
#pragma once

// Exchange and APNs as the notification path sees them. This test program links these instead of the real clients, so
// that each answer, failure and delay is chosen by the test; the real ones are tested with the stand-ins.

#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "service/apns_sender.h"
#include "service/ews_client.h"
#include "service/token_client.h"

namespace bellhop::service {

struct FakeMail {
  std::string subject, sender, preview, conversation;
  WallTime received{};
  bool private_ = false;
  bool unreadable = false;
  proto::ItemKind kind = proto::ItemKind::mail;
};

struct FakeExchange {
  std::map<std::string, FakeMail> mails;            // the Inbox by item id; what is not here is gone
  std::optional<EwsFailureKind> failure;            // of every request
  std::optional<EwsFailureKind> get_items_failure;  // of GetItem alone
  bool moved = false;                               // what fails says that the mailbox is elsewhere
  Duration delay{};
  std::string password = "correct horse";  // any other one is refused
  int refuse_tokens = 0;                   // so many requests find their bearer token refused
  std::string claims;                      // that such a refusal asks for

  std::optional<EwsFailureKind> subscribe_failure;  // of Subscribe alone
  bool subscribe_lost = false;                      // it is made, and the answer gets lost
  std::function<Task<void>()> before_answer;        // what happens between a Subscribe and its answer
  bool open_to_requests = true;                     // else its breaker is open

  // What was asked.
  int subscribes = 0;
  std::vector<std::string> callback_urls;  // of Subscribes that it made a subscription for
  std::vector<std::string> subscribe_urls; // EWS URLs that it was asked at
  int gets = 0, finds = 0, inboxes = 0;
  std::optional<uint32_t> unread;  // what GetFolder says
  std::vector<std::string> ids;  // of the last GetItem
  bool preview = false;          // asked for in the last GetItem
  std::optional<WallTime> since;
  std::string url;
  int logons() const { return gets + finds + inboxes; }
};

// A token endpoint that gives a new refresh token each time and watches for the second use of an old one.
struct FakeTokens {
  std::string refresh_token = "refresh 1";  // the newest
  std::string previous;                     // the one before it
  WallTime rotated_at{};
  Duration grace{};              // for so long `previous` is taken again
  bool rotates = true;
  std::string access_token;      // that Exchange takes; empty: none
  WallTime expires{};            // of it
  Duration lifetime = 1h;
  std::deque<GrantFailure> failures;  // of the next grants; nothing is given
  int lose = 0;                       // so many answers get lost after the endpoint has done its part
  Duration delay{};

  // What was asked.
  int grants = 0;  // that were given
  int asked = 0;
  int reuses = 0;
  int asked_at_once = 0, asked_at_once_max = 0;
  std::string claims;  // of the last request
};

struct FakeApns {
  struct Sent {
    std::string token, payload, collapse_id, topic;
    proto::ApnsPushType type;
    proto::ApnsPriority priority;
    bool proven;
    Instant at;
  };
  std::map<std::string, std::deque<ApnsResult>> answers;  // by token; then, and else: delivered
  Duration delay{};
  bool dead = false;                                  // nobody gets an answer
  std::optional<ApnsEnvironment> dead_environment;    // nobody gets one there
  std::function<void(const Sent&)> begun;             // a push comes in
  std::function<void(const Sent&)> accepted;          // and was taken, before we hear of it

  std::vector<Sent> sent;  // that were delivered
  int attempts = 0;
  int at_once = 0, at_once_max = 0;
  // What a phone shows: one notice for each collapse id.
  size_t shown(const std::string& token) const;
};

FakeExchange& fake_exchange();
FakeTokens& fake_tokens();
FakeApns& fake_apns();
void reset_fakes();

const FakeApns::Sent& last_push();
// True where some push that was delivered has this in its payload.
bool shows(std::string_view text);

}  // namespace bellhop::service
