// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/tls/identity.h"
#include "service/config.h"

namespace bellhop::service {

// A push app's certificate and key, as they were read. Immutable; any core.
struct ApnsCertificate {
  std::string file;  // certificate_file, by which apps share it
  TlsOwnIdentity identity;
};
using ApnsCertificateMap = std::map<std::string, std::shared_ptr<const ApnsCertificate>, std::less<>>;

// Reads the files of all apps that log on by certificate. Expired ones are read too: they fail their own pushes only.
// Errors: os, tls; `complaint` names the file and what to do.
Result<ApnsCertificateMap> read_apns_certificates(const Config& config, std::string& complaint);

// The certificates in use. Thread-safe. What the last replacement took away altogether is kept until the next one, for
// pushes that are on their way; what it put another in the place of is not.
class ApnsCertificates {
 public:
  // Grows with each replacement: who found a certificate looks again only then, so that no push takes the lock. Read
  // before find().
  uint64_t version() const { return version_.load(std::memory_order_acquire); }
  // Null where neither the configuration nor the one before it names the file.
  std::shared_ptr<const ApnsCertificate> find(std::string_view file) const;
  // What did not change stays the same object, and so keeps its connections.
  void replace(ApnsCertificateMap fresh);
  std::vector<std::shared_ptr<const ApnsCertificate>> all() const;

 private:
  std::atomic<uint64_t> version_{0};
  mutable std::mutex lock_;
  ApnsCertificateMap current_, previous_;
};

}  // namespace bellhop::service
