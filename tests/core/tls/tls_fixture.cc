// SPDX-License-Identifier: Apache-2.0
#include "tests/core/tls/tls_fixture.h"

#include <openssl/ssl.h>

#include <atomic>

#include "core/tls/boringssl.h"

namespace bellhop::tls_test {
namespace {

std::atomic<int64_t> milliseconds{kNoon.time_since_epoch().count()};

struct Environment : ::testing::Environment {
  void SetUp() override {
    set_tls_clock(time_now);
    register_tls_error_texts();
  }
};
[[maybe_unused]] const auto* const environment = ::testing::AddGlobalTestEnvironment(new Environment);

}  // namespace

void set_time(WallTime now) {
  milliseconds = now.time_since_epoch().count();
}
WallTime time_now() {
  return WallTime(std::chrono::milliseconds(milliseconds.load()));
}

const CertificateAndKey& authority() {
  static const CertificateAndKey made = *make_authority("bellhop test authority", kGood);
  return made;
}

const CertificateAndKey& server_certificate() {
  static const CertificateAndKey made = [] {
    std::vector<std::string> names = {kHost, "*.wild.example.test"}, addresses = {"192.0.2.7", "2001:db8::7"};
    return *issue_certificate(authority(), names, addresses, kGood);
  }();
  return made;
}

std::shared_ptr<const TlsAuthorities> trusting(const CertificateAndKey& root) {
  TlsFile file{"ca.pem", root.chain_pem};
  std::string complaint;
  auto made = TlsAuthorities::parse({&file, 1}, complaint);
  EXPECT_TRUE(made) << complaint;
  return *made;
}

std::vector<uint8_t> fresh_bytes(uint8_t seed) {
  return std::vector<uint8_t>(TicketKeys::kFreshBytes, seed);
}
std::shared_ptr<TicketKeys> ticket_keys(uint8_t seed) {
  return std::make_shared<TicketKeys>(time_now(), fresh_bytes(seed));
}

TlsServerOptions server_options(const CertificateAndKey& identity) {
  TlsServerOptions options;
  options.chain = {"chain.pem", identity.chain_pem};
  options.key = {"key.pem", identity.key_pem};
  return options;
}

std::shared_ptr<TlsContext> make_server(const TlsServerOptions& options) {
  std::string complaint;
  auto context = TlsContext::server(options, complaint);
  EXPECT_TRUE(context) << complaint;
  return *context;
}
std::shared_ptr<TlsContext> make_server() {
  return make_server(server_options(server_certificate()));
}

std::shared_ptr<TlsContext> make_client(const TlsClientOptions& options) {
  std::string complaint;
  auto context = TlsContext::client(options, complaint);
  EXPECT_TRUE(context) << complaint;
  return *context;
}
std::shared_ptr<TlsContext> make_client() {
  TlsClientOptions options;
  options.authorities = trusting(authority());
  return make_client(options);
}

void only(TlsContext& context, TlsVersion version) {
  uint16_t number = version == TlsVersion::v1_3 ? TLS1_3_VERSION : TLS1_2_VERSION;
  SSL_CTX_set_min_proto_version(context.native(), number);
  SSL_CTX_set_max_proto_version(context.native(), number);
}

size_t carry(TlsEngine& from, TlsEngine& to, size_t piece) {
  size_t moved = 0;
  while (!from.output().empty()) {
    Bytes next = from.output().first(std::min(piece, from.output().size()));
    size_t taken = to.feed(next);
    to.advance();
    if (taken == 0) break;
    from.consume_output(taken);
    moved += taken;
  }
  return moved;
}

void shake(TlsEngine& client, TlsEngine& server, size_t piece) {
  client.advance();
  for (int round = 0; round < 100; ++round) {
    if (carry(client, server, piece) + carry(server, client, piece) == 0) return;
  }
  ADD_FAILURE() << "the engines do not come to rest";
}

std::string read_all(TlsEngine& engine) {
  std::string text;
  uint8_t room[4096];
  while (size_t count = engine.read(room)) text.append(as_text({room, count}));
  return text;
}

void say(TlsEngine& engine, std::string_view text) {
  EXPECT_EQ(engine.write(as_bytes(text)), text.size());
}

}  // namespace bellhop::tls_test
