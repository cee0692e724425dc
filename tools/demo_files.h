// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "core/base/error.h"
#include "tools/standin/world.h"

namespace bellhop::tools {

inline constexpr const char* kDemoTenant = "demo";

// A folder of our own, mode 0700, with everything that a server of the demo reads and writes; removed with all that is
// in it when this dies.
class DemoFolder {
 public:
  // Below TMPDIR or /tmp. Errors: os.
  static Result<DemoFolder> make();
  DemoFolder(DemoFolder&& other) noexcept;
  DemoFolder& operator=(DemoFolder&&) = delete;
  ~DemoFolder();
  const std::string& path() const { return path_; }
  std::string file(const char* name) const { return path_ + "/" + name; }

 private:
  explicit DemoFolder(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

// Writes certificates, keys, keyring and bellhop.toml for a server that listens on 127.0.0.1:`port` and works with the
// stand-ins of `world`. Errors: os.
Status write_demo_files(const DemoFolder& folder, const standin::WorldTexts& world, uint16_t port);

}  // namespace bellhop::tools
