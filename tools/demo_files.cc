// SPDX-License-Identifier: Apache-2.0
#include "tools/demo_files.h"

#include <fmt/format.h>
#include <stdlib.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>
#include <utility>

#include "core/io.h"
#include "crypto/sealing.h"

namespace bellhop::tools {
namespace {

// The demo goes the way of every installation: a file that is parsed and checked as any other. The bound on callbacks is
// raised because one mailbox gets mail as fast as it is acknowledged.
std::string config_text(const standin::WorldTexts& world, uint16_t port) {
  return fmt::format(R"(public_url = "https://127.0.0.1:{port}"
data_dir = "data"
keyring_file = "keyring"

[listen.public]
addresses = ["127.0.0.1:{port}"]
certificate_file = "server.pem"
private_key_file = "server.key"

[listen.admin]
address = "127.0.0.1:0"
unix_socket = "admin.sock"

[store]
map_size_bytes = 268435456

[notification]
callbacks_per_mailbox_per_minute_max = 100000

[ews]
ca_file = "ca.pem"

[oauth]
ca_file = "ca.pem"

[apns]
production = "{apns_host}:{apns_port}"
sandbox = "{apns_host}:{apns_port}"
ca_file = "ca.pem"

[keys]
pool_target = 3

[log]
output = "server.log"

[[tenant]]
id = "{tenant}"
name = "Demo"
ews_hosts = ["localhost"]
ews_ports = [{ews_port}]
ews_private_cidrs = ["127.0.0.0/8", "::1/128"]
oauth_token_hosts = ["localhost"]
oauth_token_ports = [{token_port}]
oauth_reuse_grace_seconds = 0

[[tenant.app]]
topic = "{topic}"
team_id = "{team_id}"
key_id = "{key_id}"
key_file = "apns.p8"
)",
                     fmt::arg("port", port), fmt::arg("apns_host", world.apns_host), fmt::arg("apns_port", world.apns_port),
                     fmt::arg("tenant", kDemoTenant), fmt::arg("ews_port", world.ews_port), fmt::arg("token_port", world.token_port), fmt::arg("topic", world.topic),
                     fmt::arg("team_id", world.team_id), fmt::arg("key_id", world.key_id));
}

}  // namespace

Result<DemoFolder> DemoFolder::make() {
  const char* parent = getenv("TMPDIR");
  std::string path = std::string(parent && *parent ? parent : "/tmp") + "/bellhop-demo-XXXXXX";
  if (!mkdtemp(path.data())) return fail(os_error(errno));  // mode 0700
  return DemoFolder(std::move(path));
}

DemoFolder::DemoFolder(DemoFolder&& other) noexcept : path_(std::exchange(other.path_, {})) {}

DemoFolder::~DemoFolder() {
  if (path_.empty()) return;
  std::error_code failed;
  std::filesystem::remove_all(path_, failed);
  if (failed) fmt::print(stderr, "{}: could not be removed: {}\n", path_, failed.message());
}

Status write_demo_files(const DemoFolder& folder, const standin::WorldTexts& world, uint16_t port) {
  crypto::Secret keyring = crypto::make_keyring();
  BH_CHECKED(io::write_file(folder.file("keyring"), keyring.reveal(), 0400));
  BH_CHECKED(io::write_file(folder.file("ca.pem"), as_bytes(world.ca_pem), 0600));
  BH_CHECKED(io::write_file(folder.file("server.pem"), as_bytes(world.server_chain_pem), 0600));
  BH_CHECKED(io::write_file(folder.file("server.key"), as_bytes(world.server_key_pem), 0600));
  BH_CHECKED(io::write_file(folder.file("apns.p8"), as_bytes(world.p8_pem), 0600));
  return io::write_file(folder.file("bellhop.toml"), as_bytes(config_text(world, port)), 0600);
}

}  // namespace bellhop::tools
