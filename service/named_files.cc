// SPDX-License-Identifier: Apache-2.0
#include "service/named_files.h"

#include <fmt/format.h>

#include <vector>

#include "core/io.h"

namespace bellhop::service {

Result<std::string> read_named(const std::string& path, std::string_view what, std::string& complaint) {
  auto content = io::read_file(path);
  if (!content) complaint = fmt::format("{}: cannot read {}: {}", path, what, error_text(content.error()));
  return content;
}

Result<std::shared_ptr<const TlsAuthorities>> read_authorities(const std::string& ca_file, bool instead,
                                                               std::string& complaint) {
  std::string system, own;
  std::vector<TlsFile> files;
  if (!instead || ca_file.empty()) {
    // A machine without the package ca-certificates still reaches servers that ca_file vouches for.
    auto roots = io::read_file(kSystemRootsFile);
    if (roots) {
      system = *std::move(roots);
      files.push_back({kSystemRootsFile, system});
    } else if (ca_file.empty()) {
      complaint = fmt::format("{}: no certificate authorities: {}; run: apt install ca-certificates", kSystemRootsFile,
                              error_text(roots.error()));
      return fail(roots.error());
    }
  }
  if (!ca_file.empty()) {
    BH_TRY(own, read_named(ca_file, "certificate authorities", complaint));
    files.push_back({ca_file, own});
  }
  return TlsAuthorities::parse(files, complaint);
}

}  // namespace bellhop::service
