// SPDX-License-Identifier: Apache-2.0
#include "service/gateway_logons.h"

#include <algorithm>

namespace bellhop::service {
namespace {

std::string_view cut(std::string_view text) { return text.substr(0, GatewayLogons::kTextBytesMax); }

}  // namespace

GatewayLogons::Subject::Subject(const PolicyQuestion& question)
    : tenant(question.tenant),
      point(question.point),
      account(question.account),
      user_name(question.user_name),
      device(question.device),
      device_type(cut(question.device_type)),
      mail_client(cut(question.mail_client)) {}

PolicyQuestion GatewayLogons::Subject::question(WallTime now) const {
  return {.tenant = tenant,
          .point = point,
          .account = account,
          .user_name = user_name,
          .device = device,
          .device_type = device_type,
          .mail_client = mail_client,
          .now = now};
}

void GatewayLogons::renew(size_t users_max, Duration kept_for) {
  users_max_ = users_max;
  kept_for_ = kept_for;
  while (users_.size() > users_max_) remove(users_.find(*order_.front()));
}

void GatewayLogons::note(std::string_view user, const PolicyQuestion& question, Instant now) {
  auto found = users_.find(user);
  if (found == users_.end()) {
    found = users_.try_emplace(std::string(user)).first;
    found->second.place = order_.insert(order_.end(), &found->first);
    while (users_.size() > users_max_) remove(users_.find(*order_.front()));
  } else {
    order_.splice(order_.end(), order_, found->second.place);
  }
  found->second.last = now;
  std::vector<Subject>& subjects = found->second.subjects;
  Subject subject(question);
  auto same = std::ranges::find(subjects, subject);
  if (same != subjects.end()) {
    std::rotate(same, same + 1, subjects.end());
    return;
  }
  if (subjects.size() == kSubjectsMax) subjects.erase(subjects.begin());
  subjects.push_back(std::move(subject));
}

GatewayLogons::Users::iterator GatewayLogons::remove(Users::iterator at) {
  order_.erase(at->second.place);
  return users_.erase(at);
}

}  // namespace bellhop::service
