// SPDX-License-Identifier: Apache-2.0
#include "tools/commands/keyring.h"

#include <fmt/format.h>

#include <cerrno>

#include "core/io.h"
#include "crypto/sealing.h"
#include "store/keks.h"
#include "tools/server_main.h"

namespace bellhop::tools {
namespace {

// The keyring that the configuration names; nothing where the target is a store's file alone. False: it is unreadable.
bool read_keyring(const StoreTarget& target, std::optional<crypto::Keyring>& keyring) {
  if (target.config.empty()) return true;
  std::optional<service::Config> config = load_config(target.config, NamedFiles::leave);
  if (!config) return false;
  auto text = io::read_file(config->keyring_file);
  auto parsed = text ? crypto::Keyring::parse(crypto::Secret::copy_of(*text)) : fail(text.error());
  if (text) wipe(*text);
  if (!parsed) {
    complain(fmt::format("{}: cannot read the keyring: {}", config->keyring_file, error_text(parsed.error())));
    return false;
  }
  keyring = *std::move(parsed);
  return true;
}

const char* verdict(const store::KekUse& use, bool current, const std::optional<crypto::Keyring>& keyring, uint32_t id) {
  bool needed = use.records > 0 || use.urls > 0;
  if (keyring && !keyring->has(id)) return "MISSING from the keyring";
  if (current) return "current";
  return needed ? "in use: must stay" : "not in use: may retire";
}

}  // namespace

bool print_kek_use(store::Engine& engine, const StoreTarget& target) {
  std::optional<crypto::Keyring> keyring;
  if (!read_keyring(target, keyring)) return false;
  auto report = store::kek_use(engine, [](Bytes box) { return crypto::Sealer::kek_of(box); });
  if (!report) {
    complain(fmt::format("the store cannot be read: {}", error_text(report.error())));
    return false;
  }
  if (keyring) {
    for (uint32_t id : keyring->ids()) report->keks.try_emplace(id);
  }
  bool complete = true;
  for (const auto& [id, use] : report->keks) {
    bool current = keyring && keyring->current() == id;
    fmt::print("key {:<10} {} sealed fields, {} callback URLs: {}\n", id, use.records, use.urls,
               verdict(use, current, keyring, id));
    complete = complete && (!keyring || keyring->has(id));
  }
  if (!complete) complain("the keyring lacks a key that the store needs; put it back from the copy of the keyring");
  if (report->nameless > 0) complain(fmt::format("{} sealed fields of the store name no key: they are damaged", report->nameless));
  return complete && report->nameless == 0;
}

int show_keyring_status(const StoreTarget& target) {
  auto environment = open_existing_store(target);
  if (!environment) return kExitFailed;
  return print_kek_use(*environment, target) ? kExitDone : kExitFailed;
}

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
