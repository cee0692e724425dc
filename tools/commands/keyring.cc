// SPDX-License-Identifier: Apache-2.0
#include "tools/commands/keyring.h"

#include <fmt/format.h>

#include <cerrno>

#include "core/io.h"
#include "crypto/sealing.h"
#include "tools/server_main.h"

namespace bellhop::tools {

int make_keyring_file(const std::string& path) {
  auto there = io::file_info(path);
  if (there) {
    complain(fmt::format("{}: exists already and was left as it is; a store can only be opened with the keyring that it "
                         "was made with, so move the file away yourself if you mean to replace it", path));
    return kExitFailed;
  }
  Status written;
  if (there.error() == os_error(ENOENT)) {
    crypto::Secret text = crypto::make_keyring();
    written = io::write_file(path, text.reveal(), 0400);
  } else {
    written = fail(there.error());
  }
  if (!written) {
    complain(fmt::format("{}: cannot write the keyring: {}; does its folder exist, and may you write there?", path,
                         error_text(written.error())));
    return kExitFailed;
  }
  fmt::print("{}: written, mode 0400. It seals what the store holds: give it to the user that runs bellhopd, copy it to "
             "every node, and keep a copy away from the data.\n", path);
  return kExitDone;
}

}  // namespace bellhop::tools
