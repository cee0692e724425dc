// SPDX-License-Identifier: Apache-2.0
#include "core/tls/pem.h"

#include <fmt/chrono.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/mem.h>
#include <openssl/pem.h>

#include <ctime>

namespace bellhop {
namespace {

bssl::UniquePtr<BIO> reader(std::string_view text) {
  return bssl::UniquePtr<BIO>(BIO_new_mem_buf(text.data(), static_cast<ossl_ssize_t>(text.size())));
}

// An encrypted key must fail, not ask a terminal.
int no_password(char*, int, int, void*) {
  return -1;
}

}  // namespace

bool read_pem_certificates(std::string_view pem, size_t count_max, CRYPTO_BUFFER_POOL* pool,
                           std::vector<bssl::UniquePtr<CRYPTO_BUFFER>>& out) {
  auto bio = reader(pem);
  for (;;) {
    char* name = nullptr;
    char* header = nullptr;
    uint8_t* data = nullptr;
    long size = 0;
    if (!PEM_read_bio(bio.get(), &name, &header, &data, &size)) {
      uint32_t error = ERR_peek_last_error();
      bool at_end = ERR_GET_LIB(error) == ERR_LIB_PEM && ERR_GET_REASON(error) == PEM_R_NO_START_LINE;
      ERR_clear_error();
      return at_end;
    }
    bssl::UniquePtr<char> name_owner(name), header_owner(header);
    bssl::UniquePtr<uint8_t> data_owner(data);
    if (std::string_view(name) != "CERTIFICATE") continue;
    if (out.size() == count_max) return false;
    out.emplace_back(CRYPTO_BUFFER_new(data, static_cast<size_t>(size), pool));
  }
}

bssl::UniquePtr<EVP_PKEY> read_pem_key(std::string_view pem) {
  auto bio = reader(pem);
  bssl::UniquePtr<EVP_PKEY> key(PEM_read_bio_PrivateKey(bio.get(), nullptr, no_password, nullptr));
  ERR_clear_error();
  return key;
}

bool certificate_dates(const X509* certificate, CertificateDates& out) {
  return ASN1_TIME_to_posix(X509_get0_notBefore(certificate), &out.from) == 1 &&
         ASN1_TIME_to_posix(X509_get0_notAfter(certificate), &out.to) == 1;
}

std::string certificate_subject(const X509* certificate) {
  char text[256];
  X509_NAME_oneline(X509_get_subject_name(certificate), text, sizeof text);
  std::string_view subject(text);
  if (subject.starts_with('/')) subject.remove_prefix(1);
  return std::string(subject);
}

std::string date_text(int64_t unix_seconds) {
  time_t seconds = unix_seconds;
  struct tm parts{};
  if (!gmtime_r(&seconds, &parts)) return std::to_string(unix_seconds);
  return fmt::format("{:%Y-%m-%d %H:%M:%S} UTC", parts);
}

}  // namespace bellhop
