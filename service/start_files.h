// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "crypto/sealing.h"
#include "service/config.h"
#include "service/upstreams.h"

namespace bellhop::service {

// Everything that the configuration names by file, read and found good. Made before the cores start.
struct StartFiles {
  std::string certificate_chain;            // PEM of [listen.public]
  std::string private_key;                  // PEM; wiped when this dies
  std::optional<crypto::Keyring> keyring;
  std::shared_ptr<const Upstreams> upstreams;  // whom we trust at the other end, and through which proxies

  StartFiles() = default;
  StartFiles(StartFiles&&) = default;
  ~StartFiles();
};

// On failure `complaint` says for the operator which file, what is wrong with it, and what to do.
// Errors: os, crypto (keyring), tls.
Result<StartFiles> read_start_files(const Config& config, std::string& complaint);

}  // namespace bellhop::service
