// SPDX-License-Identifier: Apache-2.0
#include "tools/standin/folder.h"

#include <cerrno>

#include "core/io.h"
#include "tools/standin/identity.h"

namespace bellhop::standin {
namespace {

constexpr unsigned kPublicMode = 0644;
constexpr unsigned kKeyMode = 0600;

Status write_named(const StandinFolder& folder, const char* name, std::string_view text, unsigned mode,
                   std::string& complaint) {
  std::string path = folder.path + "/" + name;
  Status written = io::write_file(path, as_bytes(text), mode);
  if (!written) complaint = path + ": cannot be written: " + error_text(written.error());
  return written;
}

Result<std::string> read_named(const StandinFolder& folder, const char* name, std::string& complaint) {
  std::string path = folder.path + "/" + name;
  auto text = io::read_file(path);
  if (!text) {
    complaint = path + ": cannot be read: " + error_text(text.error()) +
                "; the folder is incomplete: remove it, and it is made anew";
  }
  return text;
}

Status make_folder(const StandinFolder& folder, std::string& complaint) {
  if (Status made = io::make_folder(folder.path, 0700); !made) {
    complaint = folder.path + ": the folder cannot be made: " + error_text(made.error());
    return made;
  }
  std::vector<std::string> addresses = folder.addresses;
  addresses.insert(addresses.end(), {"127.0.0.1", "::1"});
  auto identity = make_identity(folder.names, addresses, io::wall_now());
  if (!identity) {
    complaint = "certificates cannot be made: " + error_text(identity.error());
    return fail(identity.error());
  }
  crypto::Secret p8 = identity->provider_key.to_pem();
  std::string public_key = to_base64(identity->provider_key.public_key().spki());
  BH_CHECKED(write_named(folder, "ca-key.pem", identity->authority.key_pem, kKeyMode, complaint));
  BH_CHECKED(write_named(folder, "standin.pem", identity->standin.chain_pem, kPublicMode, complaint));
  BH_CHECKED(write_named(folder, "standin-key.pem", identity->standin.key_pem, kKeyMode, complaint));
  BH_CHECKED(write_named(folder, "server.pem", identity->server.chain_pem, kPublicMode, complaint));
  BH_CHECKED(write_named(folder, "server-key.pem", identity->server.key_pem, kKeyMode, complaint));
  BH_CHECKED(write_named(folder, "app.pem", identity->app.chain_pem, kPublicMode, complaint));
  BH_CHECKED(write_named(folder, "app-key.pem", identity->app.key_pem, kKeyMode, complaint));
  BH_CHECKED(write_named(folder, "apns.p8", p8.reveal_text(), kKeyMode, complaint));
  BH_CHECKED(write_named(folder, "apns-key.pub", public_key, kPublicMode, complaint));
  BH_CHECKED(write_named(folder, "token.key", TokenKey::random()->text(), kKeyMode, complaint));
  return write_named(folder, "ca.pem", identity->authority.chain_pem, kPublicMode, complaint);  // last: "complete"
}

}  // namespace

Result<FolderTexts> open_folder(const StandinFolder& folder, std::string& complaint) {
  if (!io::file_info(folder.path + "/ca.pem")) BH_CHECKED(make_folder(folder, complaint));
  FolderTexts texts;
  BH_TRY(texts.authority.chain_pem, read_named(folder, "ca.pem", complaint));
  BH_TRY(texts.authority.key_pem, read_named(folder, "ca-key.pem", complaint));
  BH_TRY(texts.standin_chain_pem, read_named(folder, "standin.pem", complaint));
  BH_TRY(texts.standin_key_pem, read_named(folder, "standin-key.pem", complaint));
  BH_TRY(std::string public_key, read_named(folder, "apns-key.pub", complaint));
  auto der = from_base64(public_key);
  if (!der) {
    complaint = folder.path + "/apns-key.pub: not base64; remove the folder, and it is made anew";
    return fail(os_error(EINVAL));
  }
  texts.provider_public_key = *std::move(der);
  BH_TRY(std::string token_key, read_named(folder, "token.key", complaint));
  texts.token_key = TokenKey::from_text(token_key);
  wipe(token_key);
  if (!texts.token_key) {
    complaint = folder.path + "/token.key: not base64 of 32 bytes; remove the folder, and it is made anew";
    return fail(os_error(EINVAL));
  }
  return texts;
}

}  // namespace bellhop::standin
