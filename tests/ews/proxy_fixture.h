// SPDX-License-Identifier: Apache-2.0
#pragma once

// A scene whose way to Exchange leads through the stand-in proxy.

#include <fmt/format.h>

#include "service/token_client.h"
#include "service/upstreams.h"
#include "tests/ews/ews_fixture.h"
#include "tools/standin/proxy.h"

namespace bellhop::service::ews_test {

std::shared_ptr<const TlsAuthorities> authorities_of(std::string_view pem);
// A file for a configuration to name, with a name of its own. Removed at the end where it is on a disk.
struct TestFile {
  explicit TestFile(std::string_view content, unsigned mode = 0600);
  TestFile(const TestFile&) = delete;
  TestFile& operator=(const TestFile&) = delete;
  ~TestFile();
  std::string path;
};

class Way {
 public:
  // The proxy's certificate is of the scene's authority, for 127.0.0.1.
  Way(Scene& scene, standin::ProxyOptions options = {});
  // The scene's client goes through the proxy from now on. Change `config` before, its proxies[0] above all.
  Task<void> use();
  UpstreamRoutes routes(UpstreamKind kind) const;
  Task<void> stop();

  Scene& scene;
  Config config;
  std::unique_ptr<standin::Proxy> proxy;

 private:
  TaskScope flows_;
};

}  // namespace bellhop::service::ews_test
