// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <list>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/time.h"
#include "service/policy.h"

namespace bellhop::service {

// For whom the gateway of one core has logged on lately in place of the user, and as what the policy knew each request, so
// that a new block can take away at once what is kept of the user. Bounds: users_max users, the longest unused leaves first, each with
// kSubjectsMax subjects, the latest.
class GatewayLogons {
 public:
  static constexpr size_t kSubjectsMax = 8;
  static constexpr size_t kTextBytesMax = 256;  // of a device type or mail client; what is longer is cut

  // What a policy decides about; PolicyQuestion of an ordinary request.
  struct Subject {
    Subject() = default;
    explicit Subject(const PolicyQuestion& question);
    PolicyQuestion question(WallTime now) const;
    bool operator==(const Subject&) const = default;

    std::string tenant;
    DecisionPoint point = DecisionPoint::activesync;
    std::optional<store::StoredUserId> account, user_name;
    std::optional<store::ComplianceKey> device;
    std::string device_type, mail_client;
  };

  // `kept_for`: nothing is kept of a user who has not been here for so long.
  GatewayLogons(size_t users_max, Duration kept_for) { renew(users_max, kept_for); }
  void renew(size_t users_max, Duration kept_for);

  // `user` as the authenticator is given it.
  void note(std::string_view user, const PolicyQuestion& question, Instant now);

  // Looks at up to `users_max` users that stand behind `after` (empty: from the first), and gives those whom blocked(subject)
  // says of for any of their subjects; they are here no more. `after` is then where to go on, empty at the end.
  template <class Blocked>
  std::vector<std::string> take_blocked(std::string& after, size_t users_max, Instant now, Blocked blocked) {
    std::vector<std::string> taken;
    auto at = after.empty() ? users_.begin() : users_.upper_bound(after);
    for (after.clear(); at != users_.end() && users_max > 0; --users_max) {
      after = at->first;
      const User& user = at->second;
      bool old = now - user.last > kept_for_, held = false;
      for (const Subject& subject : user.subjects) held |= !old && blocked(subject);
      if (held) taken.push_back(at->first);
      at = old || held ? remove(at) : std::next(at);
    }
    if (at == users_.end()) after.clear();
    return taken;
  }

  size_t size() const { return users_.size(); }

 private:
  struct User {
    std::vector<Subject> subjects;  // the latest last
    Instant last{};
    std::list<const std::string*>::iterator place;  // in order_
  };
  using Users = std::map<std::string, User, std::less<>>;
  Users::iterator remove(Users::iterator at);

  size_t users_max_ = 0;
  Duration kept_for_{};
  Users users_;
  std::list<const std::string*> order_;  // their keys, the longest unused first
};

}  // namespace bellhop::service
