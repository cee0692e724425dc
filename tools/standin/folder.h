// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "core/base/bytes.h"
#include "core/base/error.h"
#include "core/tls/certificate.h"
#include "tools/standin/access_token.h"
#include "tools/standin/commands.h"

namespace bellhop::standin {

// The texts of a StandinFolder's files.
struct FolderTexts {
  CertificateAndKey authority;  // whose chain is ca.pem
  std::string standin_chain_pem, standin_key_pem;
  std::vector<uint8_t> provider_public_key;  // SubjectPublicKeyInfo, DER
  std::shared_ptr<const TokenKey> token_key;
  FolderTexts() = default;
  FolderTexts(FolderTexts&&) = default;
  FolderTexts& operator=(FolderTexts&&) = delete;  // would leave a key unwiped
  ~FolderTexts() { wipe(standin_key_pem); }
};

// Reads the folder's files; makes all of them where there is none. Errors: os, tls, crypto; `complaint` names the file
// and what to do.
Result<FolderTexts> open_folder(const StandinFolder& folder, std::string& complaint);

}  // namespace bellhop::standin
