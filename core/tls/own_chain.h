// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/base/error.h"
#include "core/tls/authorities.h"
#include "core/tls/identity.h"
#include "core/tls/pem.h"

namespace bellhop {

// For the sources of core/tls only.

// A chain of ours with its key, found to belong together.
struct OwnChain {
  std::vector<bssl::UniquePtr<CRYPTO_BUFFER>> certificates;  // the owner's first
  bssl::UniquePtr<EVP_PKEY> key;
  int64_t valid_from = INT64_MIN, expires = INT64_MAX;  // Unix seconds; latest and earliest of all
};

enum class OwnDates : uint8_t { must_be_good, may_be_past };

// From PEM. Errors: as TlsContext::server; `complaint` names the file.
Result<OwnChain> read_own_chain(const TlsFile& chain, const TlsFile& key, OwnDates dates, CRYPTO_BUFFER_POOL* pool,
                                std::string& complaint);
// From DER, for one connection. Errors: invalid_chain, invalid_key, key_mismatch.
Status set_identity(SSL* ssl, const TlsIdentity& identity, CRYPTO_BUFFER_POOL* pool);

}  // namespace bellhop
