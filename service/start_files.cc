// SPDX-License-Identifier: Apache-2.0
#include "service/start_files.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/io.h"
#include "service/named_files.h"
#include "service/config_diff.h"
#include "service/uem_source.h"

namespace bellhop::service {
namespace {

// A credential is guarded by the service manager, with modes and access lists of its own.
bool is_credential(const std::string& path, const Config& config) {
  return !config.credentials_directory.empty() && path.starts_with(config.credentials_directory + "/");
}

Result<crypto::Keyring> read_keyring(const Config& config, std::string& complaint) {
  const std::string& path = config.keyring_file;
  auto info = io::file_info(path);
  if (!info) {
    complaint = fmt::format("{}: cannot read the keyring: {}; make one with: bellhop keyring make {}", path,
                            error_text(info.error()), path);
    return fail(info.error());
  }
  bool guarded = is_credential(path, config) || ((info->mode & 077) == 0 && info->owned_by_us);
  if (!guarded) {
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

Status read_listener(const PublicListenerConfig& config, StartFiles::Listener& files, std::string& complaint) {
  BH_TRY(files.certificate_chain, read_named(config.certificate_file, "the certificate", complaint));
  BH_TRY(files.private_key, read_named(config.private_key_file, "the private key", complaint));
  return {};
}

}  // namespace

FilesSeen stat_files(const Config& config) {
  FilesSeen seen;
  std::vector<ConfigFileReference> files = config_files(config);
  files.push_back({"", kSystemRootsFile, {}});
  for (const ConfigFileReference& file : files) {
    auto info = io::file_info(file.path);
    seen[file.path] = info ? FileSeen{.info = *info, .there = true} : FileSeen{};
  }
  return seen;
}

FilesSeen look_at_files(const Config& config) {
  FilesSeen seen = stat_files(config);
  for (auto& [path, file] : seen) {
    auto content = io::read_file(path);
    if (!content) continue;
    file.digest = crypto::sha256(*content);
    wipe(*content);
  }
  return seen;
}

void StartFiles::wipe_private_keys() {
  for (Listener* listener : {&public_listener, &gateway_listener}) {
    wipe(listener->private_key);
    listener->private_key.clear();
  }
}

Result<StartFiles> read_start_files(const Config& config, std::string& complaint, ReadKeyring keyring) {
  StartFiles files;
  files.seen = look_at_files(config);
  if (config.is_public()) BH_CHECKED(read_listener(config.listen_public, files.public_listener, complaint));
  if (config.is_gateway()) BH_CHECKED(read_listener(config.listen_gateway, files.gateway_listener, complaint));
  if (keyring == ReadKeyring::yes) {
    BH_TRY(files.keyring, read_keyring(config, complaint));
  }
  UpstreamAuthorities authorities;
  BH_TRY(authorities.ews, read_authorities(config.ews.ca_file, false, complaint));
  BH_TRY(authorities.token, read_authorities(config.oauth.ca_file, false, complaint));
  BH_TRY(authorities.apns, read_authorities(config.apns.ca_file, true, complaint));
  for (const PolicySourceConfig& source : config.policy.sources) {
    for (const std::string* path : {&source.token_file, &source.password_file}) {
      if (!path->empty()) BH_CHECKED(read_uem_credential(*path, complaint));  // read again at each pull: it may be renewed
    }
  }
  // Only where one is asked: a machine without the system's roots may do without them otherwise.
  if (std::ranges::any_of(config.policy.sources, [](const PolicySourceConfig& source) { return source.kind == PolicySourceKind::uem; })) {
    BH_TRY(authorities.uem, read_authorities("", false, complaint));
  }
  BH_TRY(files.upstreams, Upstreams::make(config, std::move(authorities), complaint));
  if (config.is_gateway()) {
    BH_TRY(files.gateway_routes, GatewayRoutes::make(config, complaint));
    const CertificatesConfig& users = config.gateway.certificates;
    if (users.on()) {
      BH_TRY(files.certificates, ClientCertificates::read(users, complaint));
    }
  }
  bool keys_needed = config.is_gateway() || !config.ews.via.empty();
  if (keys_needed && files.keyring) files.gateway_keys = std::make_shared<const GatewayKeys>(*files.keyring);
  return files;
}

Result<std::shared_ptr<TlsContext>> listener_context(const PublicListenerConfig& config, const StartFiles::Listener& files,
                                                     std::shared_ptr<TicketKeys> ticket_keys, std::string& complaint,
                                                     const ClientCertificates* certificates) {
  TlsServerOptions options{.chain = {config.certificate_file, files.certificate_chain},
                           .key = {config.private_key_file, files.private_key},
                           .alpn = config.http2 ? std::vector<std::string>{"h2", "http/1.1"}
                                                : std::vector<std::string>{"http/1.1"},
                           .ticket_keys = std::move(ticket_keys)};
  if (certificates) certificates->apply_to(options);
  return TlsContext::server(options, complaint);
}

}  // namespace bellhop::service
