// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "service/config.h"

namespace bellhop::store {
class LmdbStore;
}

namespace bellhop::tools {

// Exit codes of all programs: 0 done, 1 it failed (the reason is on standard error), 2 wrong arguments. 3: the disk failed
// under the store (store::kExitDiskFailed).
inline constexpr int kExitDone = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;

// Once, first thing in main: texts of all error domains, the clock of TLS.
void prepare_process();

// One line "error: …" on standard error. `text` says what failed, why, and after "; " what to do.
void complain(std::string_view text);

// Reads and checks a configuration and, with `named_files`, that every file that it names can be read. Prints each
// problem as file:line:column: message on standard error; nothing where there is one.
enum class NamedFiles : uint8_t { read, leave };
std::optional<service::Config> load_config(const std::string& path, NamedFiles named_files = NamedFiles::read,
                                           service::ConfigPositions* positions = nullptr);

// The same, and whether what the named files hold is good: certificate and key, authorities, keyring, APNs keys.
// Prints "PATH: fine", or the problems on standard error. Returns an exit code.
int check_config(const std::string& path);

// Where the store's file is.
std::string store_path(const service::Config& config);
// Whose lock its owner holds.
std::string owner_path(const std::string& store_path);
// Another process is the store's owner at this moment.
bool somebody_serves(const std::string& store_path);
// Opens it, and makes it and its folder where they are missing. On failure the reason stands on standard error.
std::unique_ptr<store::LmdbStore> open_store(const service::Config& config);

// Runs the server until it is drained, or a successor has its place. `take_over`: in the place of the one that runs with the
// same store, where one does. Returns an exit code.
int run_server(const std::string& config_path, bool take_over);

}  // namespace bellhop::tools
