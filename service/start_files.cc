// SPDX-License-Identifier: Apache-2.0
#include "service/start_files.h"

#include <fmt/format.h>

#include "core/io.h"
#include "service/named_files.h"

namespace bellhop::service {
namespace {

Result<crypto::Keyring> read_keyring(const std::string& path, std::string& complaint) {
  auto info = io::file_info(path);
  if (!info) {
    complaint = fmt::format("{}: cannot read the keyring: {}; make one with: bellhop keyring make {}", path,
                            error_text(info.error()), path);
    return fail(info.error());
  }
  if ((info->mode & 077) != 0 || !info->owned_by_us) {
    complaint = fmt::format("{}: the keyring may be readable by its owner only (mode {:04o} now); run: chmod 0400 {}",
                            path, info->mode, path);
    return fail(os_error(EACCES));
  }
  BH_TRY(std::string text, read_named(path, "the keyring", complaint));
  auto keyring = crypto::Keyring::parse(crypto::Secret::copy_of(text));
  wipe(text);
  if (!keyring) complaint = fmt::format("{}:{}: {}", path, keyring.error().detail, error_text(keyring.error()));
  return keyring;
}

}  // namespace

StartFiles::~StartFiles() { wipe(private_key); }

Result<StartFiles> read_start_files(const Config& config, std::string& complaint) {
  StartFiles files;
  BH_TRY(files.certificate_chain, read_named(config.listen_public.certificate_file, "the certificate", complaint));
  BH_TRY(files.private_key, read_named(config.listen_public.private_key_file, "the private key", complaint));
  BH_TRY(files.keyring, read_keyring(config.keyring_file, complaint));
  UpstreamAuthorities authorities;
  BH_TRY(authorities.ews, read_authorities(config.ews.ca_file, false, complaint));
  BH_TRY(authorities.token, read_authorities(config.oauth.ca_file, false, complaint));
  BH_TRY(authorities.apns, read_authorities(config.apns.ca_file, true, complaint));
  BH_TRY(files.upstreams, Upstreams::make(config, std::move(authorities), complaint));
  return files;
}

}  // namespace bellhop::service
