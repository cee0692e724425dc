// SPDX-License-Identifier: Apache-2.0
#include "tests/ews/proxy_fixture.h"

#include <unistd.h>

namespace bellhop::service::ews_test {

std::shared_ptr<const TlsAuthorities> authorities_of(std::string_view pem) {
  TlsFile file{"ca", pem};
  std::string complaint;
  auto authorities = TlsAuthorities::parse({&file, 1}, complaint);
  BH_CHECK(authorities);
  return *authorities;
}

TestFile::TestFile(std::string_view content, unsigned mode)
    : path(fmt::format("/tmp/bellhop-test-{:016x}", io::random_u64())) {
  BH_CHECK(io::write_file(path, as_bytes(content), mode));
}
TestFile::~TestFile() { ::unlink(path.c_str()); }  // the simulator's files are not on the disk

Way::Way(Scene& s, standin::ProxyOptions options) : scene(s), flows_(s.parent) {
  options.listen = *SocketAddress::parse("127.0.0.1:0");
  std::vector<std::string> names, addresses = {"127.0.0.1"};
  auto identity =
      issue_certificate(s.authority, names, addresses, {io::wall_now() - 1h, io::wall_now() + std::chrono::hours(24)});
  BH_CHECK(identity);
  options.certificate_pem = identity->chain_pem;
  options.key_pem = identity->key_pem;
  std::string complaint;
  auto made = standin::Proxy::make(std::move(options), complaint);
  BH_CHECK(made);
  proxy = *std::move(made);
  flows_.spawn(proxy->run());
  config.proxies.push_back({.name = "outside", .address = {"127.0.0.1", proxy->address().port}});
  config.upstreams.push_back({.hosts = {"*"}, .proxy = "outside"});
}

UpstreamRoutes Way::routes(UpstreamKind kind) const {
  auto all = authorities_of(scene.authority.chain_pem);
  std::string complaint;
  auto upstreams = Upstreams::make(config, {all, all, all}, complaint);
  EXPECT_TRUE(upstreams) << complaint;
  BH_CHECK(upstreams);
  return {*upstreams, kind};
}

Task<void> Way::use() {
  co_await scene.client->close();
  scene.client = std::make_unique<EwsClient>(scene.config, routes(UpstreamKind::ews), scene.metrics, *scene.log);
}

// The client's tunnels end with the proxy: its connections must not outlive the scene's books.
Task<void> Way::stop() {
  co_await proxy->stop();
  co_await flows_.join();
}

}  // namespace bellhop::service::ews_test
