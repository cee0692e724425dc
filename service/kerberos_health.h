// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/error.h"
#include "core/base/time.h"

namespace bellhop::service {

// How Kerberos has been, for operators: each service that tickets were asked for, and each realm with trouble. Users do not
// occur. Shared by cores and errand threads.
//
// Bounds: kServicesMax services and kRealmsMax realms; of more nothing is remembered.
class KerberosHealth {
 public:
  static constexpr size_t kServicesMax = 64;
  static constexpr size_t kRealmsMax = 64;

  struct Service {
    std::string name;  // the SPN
    uint64_t tokens = 0, failures = 0;
    WallTime last_token{}, last_failure{};  // the epoch: never
    Error last_error{};                     // of last_failure
    bool failing = false;                   // the last one got no token
  };
  // What keeps everybody out, whoever the user is: no KDC answers, or none lets the service account log on.
  struct Trouble {
    std::string realm;
    WallTime since{}, last{};  // the first and the last failure of them
    Error error{};             // the last
  };

  // How a request for a token ended, whoever answered it; nothing: well.
  void count(std::string_view service, const std::optional<Error>& error, WallTime now);
  // What came of asking the KDC; nothing: a ticket. An answer about a user or a service ends a trouble.
  void asked(std::string_view realm, const std::optional<Error>& error, WallTime now);

  std::vector<Service> services() const;  // in the order of their names
  std::vector<Trouble> troubles() const;  // likewise
  size_t realms_in_trouble() const;

 private:
  mutable std::mutex mutex_;
  std::map<std::string, Service, std::less<>> services_;
  std::map<std::string, Trouble, std::less<>> troubles_;
};

}  // namespace bellhop::service
