// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace bellhop::tools {

// `bellhop keyring make FILE`: writes a new keyring with one random key, mode 0400. Never overwrites: a store whose
// keyring is lost cannot be opened again. Returns an exit code.
int make_keyring_file(const std::string& path);

}  // namespace bellhop::tools
