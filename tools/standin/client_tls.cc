// SPDX-License-Identifier: Apache-2.0
#include "tools/standin/client_tls.h"

#include "core/io.h"

namespace bellhop::standin {

Result<std::shared_ptr<TlsContext>> make_client_tls(const std::string& ca_file, bool http2, std::string& complaint) {
  std::string path = ca_file.empty() ? kSystemRootsFile : ca_file;
  auto content = io::read_file(path);
  if (!content) {
    complaint = path + ": certificate authorities cannot be read: " + error_text(content.error());
    return fail(content.error());
  }
  TlsFile file{path, *content};
  BH_TRY(auto authorities, TlsAuthorities::parse(std::span(&file, 1), complaint));
  return TlsContext::client({.authorities = std::move(authorities), .alpn = {http2 ? "h2" : "http/1.1"}}, complaint);
}

}  // namespace bellhop::standin
