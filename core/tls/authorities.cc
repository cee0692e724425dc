// SPDX-License-Identifier: Apache-2.0
#include "core/tls/authorities.h"

#include <openssl/err.h>

#include "core/tls/error.h"
#include "core/tls/pem.h"

namespace bellhop {

Result<std::shared_ptr<const TlsAuthorities>> TlsAuthorities::parse(std::span<const TlsFile> files,
                                                                    std::string& complaint) {
  auto refuse = [&](std::string_view file, std::string_view why) {
    complaint = std::string(file) + ": " + std::string(why);
    return fail(tls_error(TlsError::invalid_authorities));
  };
  if (files.empty()) return refuse("trusted certificates", "no file is named");
  std::shared_ptr<TlsAuthorities> authorities(new TlsAuthorities);
  authorities->store_ = X509_STORE_new();
  for (const TlsFile& file : files) {
    std::vector<bssl::UniquePtr<CRYPTO_BUFFER>> buffers;
    size_t room = kCertificatesMax - authorities->size_;
    if (!read_pem_certificates(file.content, room, nullptr, buffers)) {
      return refuse(file.name, buffers.size() == room ? "too many trusted certificates (more than 1000 in all)"
                                                      : "the PEM text is damaged");
    }
    if (buffers.empty()) return refuse(file.name, "holds no PEM block of type CERTIFICATE");
    for (size_t i = 0; i < buffers.size(); ++i) {
      bssl::UniquePtr<X509> certificate(X509_parse_from_buffer(buffers[i].get()));
      bool added = certificate && X509_STORE_add_cert(authorities->store_, certificate.get()) == 1;
      ERR_clear_error();
      if (!added) return refuse(file.name, "certificate " + std::to_string(i + 1) + " does not parse");
      ++authorities->size_;
    }
  }
  return authorities;
}

TlsAuthorities::~TlsAuthorities() {
  X509_STORE_free(store_);
}

}  // namespace bellhop
