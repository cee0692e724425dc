// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "tools/commands/store.h"

namespace bellhop::tools {

// `bellhop keyring make FILE`: writes a new keyring with one random key, mode 0400. Never overwrites: a store whose
// keyring is lost cannot be opened again. Returns an exit code.
int make_keyring_file(const std::string& path);

// `bellhop keyring status`: which key-encryption keys the store needs, and which may retire. May run beside a server.
// Returns an exit code: 1 too where a key is needed that the keyring does not hold.
int show_keyring_status(const StoreTarget& target);

// One line for each key that the store or the keyring of target.config names. False, with the reason on standard error,
// where the store cannot be read, a sealed field names no key, or the keyring lacks a key that is needed.
bool print_kek_use(store::Engine& engine, const StoreTarget& target);

}  // namespace bellhop::tools
