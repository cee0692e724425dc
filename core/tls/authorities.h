// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <span>
#include <string>

#include "core/base/error.h"

struct x509_store_st;

namespace bellhop {

// A text file's content and the name that complaints call it by.
struct TlsFile {
  std::string_view name;
  std::string_view content;
};

// Where Debian keeps the system's roots in one file; the caller reads it through the seam.
inline constexpr const char* kSystemRootsFile = "/etc/ssl/certs/ca-certificates.crt";

// Certificates that we trust to vouch for servers. Parsed once at start, shared by contexts and threads, immutable.
// Every certificate given is an anchor, be it a root, an intermediate or a server's own self-signed one.
class TlsAuthorities {
 public:
  static constexpr size_t kCertificatesMax = 1000;

  // All PEM certificates of all files. On failure `complaint` says what is wrong in which file.
  // Errors: invalid_authorities (nothing readable, an unreadable certificate, or more than kCertificatesMax).
  static Result<std::shared_ptr<const TlsAuthorities>> parse(std::span<const TlsFile> files, std::string& complaint);

  TlsAuthorities(const TlsAuthorities&) = delete;
  TlsAuthorities& operator=(const TlsAuthorities&) = delete;
  ~TlsAuthorities();

  size_t size() const { return size_; }
  x509_store_st* store() const { return store_; }  // owned; thread-safe in BoringSSL

 private:
  TlsAuthorities() = default;
  x509_store_st* store_ = nullptr;
  size_t size_ = 0;
};

}  // namespace bellhop
