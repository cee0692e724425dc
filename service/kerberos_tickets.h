// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/error.h"
#include "core/base/time.h"
#include "service/gss_api.h"

namespace bellhop::service {

// What is kept of users: their tickets, and what the KDC refused. Shared by the errand threads; the lock is held for a
// look-up, never while a KDC is asked. No clock of its own.
//
// What forget() was told while a KDC is asked counts for its answer too: whoever asks is an Asking.
//
// Bounds: users_max users, the longest unused leaves first; kServicesPerUserMax services of one user that are known to be in its
// tickets; kRealmsMax realms at rest.
class KerberosTickets {
 public:
  static constexpr size_t kServicesPerUserMax = 8;
  static constexpr size_t kRealmsMax = 64;

  explicit KerberosTickets(size_t users_max) : users_max_(users_max) {}

  // Who asks: a user as one account of ours speaks for it.
  struct Key {
    std::string user;
    std::string principal;
  };
  struct Found {
    std::shared_ptr<GssCredential> credential;  // null: none that is still to be used
    bool warm = false;                          // the ticket for the service is in it: no KDC will be asked
    std::optional<Error> refusal;               // lately, and again without asking
  };
  Found find(const Key& key, std::string_view service, Instant now);

  // Somebody asks for tickets of a user, from its making to its end. Of one thread; `tickets` outlives it.
  class Asking {
   public:
    Asking(KerberosTickets& tickets, Key key);
    ~Asking();
    Asking(const Asking&) = delete;
    Asking& operator=(const Asking&) = delete;

   private:
    friend class KerberosTickets;
    KerberosTickets& tickets_;
    const Key key_;
    bool forgotten_ = false;  // under mutex_ of tickets_
  };
  // Not where forget() came meanwhile.
  void keep(const Asking& asking, std::shared_ptr<GssCredential> credential, Instant use_until);
  // The ticket for the service is in `credential`, where that is still the one that is kept.
  void note_warm(const Key& key, const GssCredential& credential, std::string_view service, Instant until);
  // `service` empty: at every service.
  void refuse(const Key& key, std::string_view service, Error error, Instant until);
  // Whatever the letter case: the tickets of this user are not used again.
  void forget(std::string_view user);
  void forget_all();

  // A realm, or domain of users, whose KDCs do not answer.
  bool rests(std::string_view realm, Instant now);
  void let_rest(std::string_view realm, Instant until, Instant now);

  size_t users() const;

 private:
  struct Warm {
    std::string service;
    Instant until;
  };
  struct Entry {
    std::shared_ptr<GssCredential> credential;
    Instant use_until{};
    std::vector<Warm> warm;
    std::string refused_service;
    Error refusal{};
    Instant refused_until{};
    std::list<std::string>::iterator place;  // in order_
  };

  static std::string text_of(const Key& key);
  Entry& entry(const std::string& text, std::vector<std::shared_ptr<GssCredential>>& dropped);

  const size_t users_max_;
  mutable std::mutex mutex_;
  std::map<std::string, Entry, std::less<>> entries_;
  std::list<std::string> order_;  // the longest unused first
  std::map<std::string, Instant, std::less<>> resting_;
  std::list<Asking*> asking_;
};

}  // namespace bellhop::service
