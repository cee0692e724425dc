// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <map>
#include <optional>
#include <string>

#include "service/apns_rules.h"
#include "service/apns_sender.h"

namespace bellhop::service {

// What APNs refuses for good, and keeps refusing until an operator acts: a key (403), or a topic of a key. Pushes that
// it concerns end at once with what APNs said, but for one trial now and then; all others go on. A fault is forgotten
// when a push is accepted. No more entries than keys and topics in the configuration. One core.
class ApnsFaults {
 public:
  // What a push of this app would be told; nothing where it may be sent. A push that may be sent although there is a
  // fault is the trial.
  std::optional<ApnsResult> held_back(const AppConfig& app, Instant now);
  // APNs said `result`, with ApnsVerdict::route_broken. True where that is news.
  bool note_broken(const AppConfig& app, const ApnsResult& result, Instant now);
  // APNs accepted the key and the topic. True where one of them had a fault.
  bool note_working(const AppConfig& app);

  // 403 speaks of who we are; the other answers of what this topic may do.
  static bool of_key(const ApnsResult& result) { return result.status == 403; }

 private:
  struct Name {
    std::string team_id;
    std::string key_id;
    std::string certificate;  // file; empty with a key
    ApnsEnvironment environment;
    std::string topic;  // empty: the key itself
    friend auto operator<=>(const Name&, const Name&) = default;
  };
  struct Fault {
    ApnsBreaker breaker;
    ApnsResult result;
  };
  static Name name_of_topic(const AppConfig& app) {
    return {app.team_id, app.key_id, app.certificate_file, app.environment, app.topic};
  }
  static Name name_of_key(const AppConfig& app) {
    return {app.team_id, app.key_id, app.certificate_file, app.environment, {}};
  }

  std::map<Name, Fault> faults_;
};

}  // namespace bellhop::service
