// SPDX-License-Identifier: Apache-2.0
#include "service/kerberos_tickets.h"

#include <algorithm>

namespace bellhop::service {
namespace {

// In the order of the users in lower case, so that forget() finds all spellings of one.
constexpr char kBetween = '\n';

}  // namespace

std::string KerberosTickets::text_of(const Key& key) {
  std::string text = ascii_lower(key.user);
  text += kBetween;
  text += key.user;
  text += kBetween;
  text += key.principal;
  return text;
}

KerberosTickets::Found KerberosTickets::find(const Key& key, std::string_view service, Instant now) {
  std::string text = text_of(key);
  std::shared_ptr<GssCredential> old;  // freed after the lock
  std::lock_guard lock(mutex_);
  Found out;
  auto found = entries_.find(text);
  if (found == entries_.end()) return out;
  Entry& entry = found->second;
  order_.splice(order_.end(), order_, entry.place);
  bool refused = now < entry.refused_until && (entry.refused_service.empty() || entry.refused_service == service);
  if (refused) {
    out.refusal = entry.refusal;
    return out;
  }
  if (now >= entry.use_until) {
    old = std::move(entry.credential);
    entry.credential = nullptr;
    entry.warm.clear();
  }
  out.credential = entry.credential;
  for (const Warm& warm : entry.warm) out.warm |= warm.service == service && now < warm.until;
  return out;
}

KerberosTickets::Entry& KerberosTickets::entry(const std::string& text,
                                               std::vector<std::shared_ptr<GssCredential>>& dropped) {
  auto [found, made] = entries_.try_emplace(text);
  Entry& entry = found->second;
  if (!made) {
    order_.splice(order_.end(), order_, entry.place);
    return entry;
  }
  entry.place = order_.insert(order_.end(), text);
  while (entries_.size() > users_max_) {
    auto oldest = entries_.find(order_.front());
    dropped.push_back(std::move(oldest->second.credential));
    entries_.erase(oldest);
    order_.pop_front();
  }
  return entry;
}

KerberosTickets::Asking::Asking(KerberosTickets& tickets, Key key) : tickets_(tickets), key_(std::move(key)) {
  std::lock_guard lock(tickets_.mutex_);
  tickets_.asking_.push_back(this);
}

KerberosTickets::Asking::~Asking() {
  std::lock_guard lock(tickets_.mutex_);
  tickets_.asking_.remove(this);
}

void KerberosTickets::keep(const Asking& asking, std::shared_ptr<GssCredential> credential, Instant use_until) {
  std::string text = text_of(asking.key_);
  std::vector<std::shared_ptr<GssCredential>> dropped;
  std::lock_guard lock(mutex_);
  if (asking.forgotten_) return;
  Entry& kept = entry(text, dropped);
  dropped.push_back(std::exchange(kept.credential, std::move(credential)));
  kept.use_until = use_until;
  kept.warm.clear();
  kept.refused_until = Instant();
}

void KerberosTickets::note_warm(const Key& key, const GssCredential& credential, std::string_view service, Instant until) {
  std::string text = text_of(key);
  std::lock_guard lock(mutex_);
  auto found = entries_.find(text);
  if (found == entries_.end() || found->second.credential.get() != &credential) return;
  std::vector<Warm>& warm = found->second.warm;
  auto same = std::ranges::find(warm, service, &Warm::service);
  if (same != warm.end()) {
    same->until = until;
    return;
  }
  if (warm.size() == kServicesPerUserMax) warm.erase(warm.begin());
  warm.push_back({std::string(service), until});
}

void KerberosTickets::refuse(const Key& key, std::string_view service, Error error, Instant until) {
  std::string text = text_of(key);
  std::vector<std::shared_ptr<GssCredential>> dropped;
  std::lock_guard lock(mutex_);
  Entry& refused = entry(text, dropped);
  if (service.empty()) {
    dropped.push_back(std::exchange(refused.credential, nullptr));
    refused.warm.clear();
  }
  refused.refused_service = service;
  refused.refusal = error;
  refused.refused_until = until;
}

void KerberosTickets::forget(std::string_view user) {
  std::string first = ascii_lower(user) + kBetween;
  std::vector<std::shared_ptr<GssCredential>> dropped;
  std::lock_guard lock(mutex_);
  auto at = entries_.lower_bound(first);
  while (at != entries_.end() && at->first.starts_with(first)) {
    dropped.push_back(std::move(at->second.credential));
    order_.erase(at->second.place);
    at = entries_.erase(at);
  }
  for (Asking* one : asking_) one->forgotten_ |= ascii_equal_ignoring_case(one->key_.user, user);
}

void KerberosTickets::forget_all() {
  std::map<std::string, Entry, std::less<>> dropped;
  std::lock_guard lock(mutex_);
  dropped.swap(entries_);
  order_.clear();
  resting_.clear();
  for (Asking* one : asking_) one->forgotten_ = true;
}

bool KerberosTickets::rests(std::string_view realm, Instant now) {
  std::lock_guard lock(mutex_);
  auto found = resting_.find(realm);
  return found != resting_.end() && now < found->second;
}

void KerberosTickets::let_rest(std::string_view realm, Instant until, Instant now) {
  std::lock_guard lock(mutex_);
  std::erase_if(resting_, [&](const auto& one) { return one.second <= now; });
  if (resting_.size() >= kRealmsMax && !resting_.contains(realm)) return;
  resting_.insert_or_assign(std::string(realm), until);
}

size_t KerberosTickets::users() const {
  std::lock_guard lock(mutex_);
  return static_cast<size_t>(std::ranges::count_if(entries_, [](const auto& one) { return one.second.credential != nullptr; }));
}

}  // namespace bellhop::service
