// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <openssl/pool.h>
#include <openssl/x509.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/time.h"
#include "core/tls/boringssl.h"

namespace bellhop {

// For the sources of core/tls only: brings BoringSSL's headers along.

// The DER of every CERTIFICATE block of a PEM text, in order; other blocks are skipped. False where a block is
// damaged or there are more than `count_max`.
bool read_pem_certificates(std::string_view pem, size_t count_max, CRYPTO_BUFFER_POOL* pool,
                           std::vector<bssl::UniquePtr<CRYPTO_BUFFER>>& out);
// Null where it is no unencrypted private key.
bssl::UniquePtr<EVP_PKEY> read_pem_key(std::string_view pem);

// notBefore and notAfter in Unix seconds. False where a date does not parse.
struct CertificateDates {
  int64_t from = 0;
  int64_t to = 0;
};
bool certificate_dates(const X509* certificate, CertificateDates& out);
// "CN=mail.example.com", for complaints.
std::string certificate_subject(const X509* certificate);
// "2026-01-31 12:00:00 UTC", for complaints.
std::string date_text(int64_t unix_seconds);

// The clock of set_tls_clock, in Unix seconds.
int64_t tls_clock_seconds();

}  // namespace bellhop
