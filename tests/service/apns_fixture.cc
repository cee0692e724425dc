// SPDX-License-Identifier: Apache-2.0
#include "tests/service/apns_fixture.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "core/base/bytes.h"
#include "core/tls/identity.h"
#include "crypto/es256.h"

namespace bellhop::service::apns_test {
namespace {

struct Environment : ::testing::Environment {
  void SetUp() override { set_tls_clock(&io::wall_now); }
};
[[maybe_unused]] const auto* const environment = ::testing::AddGlobalTestEnvironment(new Environment);

struct Collect final : BodySink {
  std::string text;
  Status on_body(Bytes piece) override {
    text += as_text(piece);
    return {};
  }
};

std::string field_of(HttpExchange& exchange, std::string_view name) {
  return std::string(exchange.headers().find(name).value_or(std::string_view()));
}

Task<Status> wait_set(Event& event) {
  co_return co_await event.wait();
}

}  // namespace

Identity::Identity() {
  std::vector<std::string> names, addresses = {"127.0.0.1"};
  WallTime now = io::wall_now();
  auto made = make_self_signed(names, addresses, {now - 1h, now + 24h});
  BH_CHECK(made);
  certificate = *std::move(made);
}

std::shared_ptr<TlsContext> Identity::server(std::vector<std::string> alpn) const {
  std::string complaint;
  auto context = TlsContext::server(
      {.chain = {"chain.pem", certificate.chain_pem}, .key = {"key.pem", certificate.key_pem}, .alpn = std::move(alpn)},
      complaint);
  EXPECT_TRUE(context) << complaint;
  return *context;
}

std::shared_ptr<TlsContext> Identity::client() const {
  std::string complaint;
  TlsFile file{"ca.pem", certificate.chain_pem};
  auto authorities = TlsAuthorities::parse({&file, 1}, complaint);
  EXPECT_TRUE(authorities) << complaint;
  auto context = TlsContext::client({.authorities = *authorities, .alpn = {"h2"}}, complaint);
  EXPECT_TRUE(context) << complaint;
  return *context;
}

bool ApnsPeer::start(TaskScope& scope) {
  io::Endpoint bound = test::loopback();
  Result<io::Handle> handle = io::open_listener(bound);
  EXPECT_TRUE(handle);
  if (!handle) return false;
  port_ = test::endpoint_of(*handle, bound).tcp.port;
  listener_ = std::make_unique<Listener>(*handle);
  scope.spawn(accept_all(scope));
  return true;
}

Task<void> ApnsPeer::stop() {
  co_await listener_->close();
}

Task<void> ApnsPeer::accept_all(TaskScope& scope) {
  for (;;) {
    Result<Socket> socket = co_await listener_->accept();
    if (!socket) co_return;
    size_t number = connected_at.size();
    connected_at.push_back(io::now());
    scope.spawn(serve(*std::move(socket), number));
  }
}

Task<void> ApnsPeer::serve(Socket socket, size_t number) {
  Stream stream(std::move(socket), std::make_unique<TlsEngine>(tls_));
  Status shaken = co_await within(10s, stream.handshake());
  if (shaken && !drop_connections) {
    Http2ServerConnection connection(stream, *this, {.http2 = limits, .idle_timeout = 60min});
    open_[number] = &connection;
    number_of_[&connection] = number;
    (void)co_await connection.run();  // many tests end connections in bad order on purpose
    open_.erase(number);
    number_of_.erase(&connection);
  }
  co_await stream.close();
}

Task<void> ApnsPeer::handle(HttpExchange& exchange) {
  Collect body;
  EXPECT_TRUE(co_await exchange.read_body(8192, body));
  EXPECT_EQ(exchange.method(), proto::HttpMethod::post);
  std::string target(exchange.target());
  constexpr std::string_view kPrefix = "/3/device/";
  EXPECT_TRUE(target.starts_with(kPrefix)) << target;
  Seen seen{.device_token = target.substr(std::min(target.size(), kPrefix.size())),
            .topic = field_of(exchange, "apns-topic"),
            .collapse_id = field_of(exchange, "apns-collapse-id"),
            .push_type = field_of(exchange, "apns-push-type"),
            .priority = field_of(exchange, "apns-priority"),
            .expiration = field_of(exchange, "apns-expiration"),
            .authorization = field_of(exchange, "authorization"),
            .payload = body.text,
            .account = certificate_account(exchange.peer_certificate()),
            .connection = number_of_[&exchange.http2()->connection()]};
  requests.push_back(seen);
  in_work_max = std::max(in_work_max, ++in_work);
  changed.set();
  co_await answer(exchange, seen, decide(seen));
  --in_work;
  changed.set();
}

Task<void> ApnsPeer::answer(HttpExchange& exchange, const Seen& seen, Reply reply) {
  switch (reply.kind) {
    case Reply::Kind::refuse:
      EXPECT_TRUE(exchange.http2()->reset(proto::Http2Code::refused_stream));
      co_return;
    case Reply::Kind::kill:
      exchange.http2()->connection().abort();
      co_return;
    case Reply::Kind::fall_silent: {
      Event never;
      EXPECT_FALSE(co_await never.wait());
      ++stopped;
      co_return;
    }
    case Reply::Kind::hold:
      if (!co_await release.wait()) {
        ++stopped;
        co_return;
      }
      break;
    case Reply::Kind::answer:
      break;
  }
  std::string body = reply.body;
  if (reply.status != 200 && body.empty()) body = proto::write_apns_answer(reply.reason, reply.timestamp);
  if (!co_await exchange.respond({.status = reply.status, .body = body})) {
    ++stopped;
  } else if (reply.status == 200) {
    ++accepted[seen.device_token];
  }
}

Task<Status> ApnsPeer::wait_for_requests(size_t count) {
  while (requests.size() < count) {
    changed.reset();
    BH_CO_CHECKED(co_await within(20s, wait_set(changed)));
  }
  co_return Status();
}

Task<Status> ApnsPeer::wait_for_stopped(size_t count) {
  while (stopped < count) {
    changed.reset();
    BH_CO_CHECKED(co_await within(20s, wait_set(changed)));
  }
  co_return Status();
}

Task<void> Provider::start(HostPort address) {
  config.apns.production = config.apns.sandbox = address;
  config.apns.connect_timeout_ms = 10'000;
  folder = fmt::format("/tmp/bellhop-test-{:016x}", io::random_u64());
  std::string key_file = folder + "/AuthKey.p8";
  crypto::Secret pem = crypto::Es256PrivateKey::generate().to_pem();
  BH_CHECK(io::make_folder(folder, 0700));
  BH_CHECK(io::write_file(key_file, pem.reveal(), 0600));
  config.tenants.emplace_back();
  for (size_t i = 0; i < kApps; ++i) {
    size_t key = std::min(i, kApps - 2);
    config.tenants[0].apps.push_back({.topic = fmt::format("com.example.app{:02}", i),
                                      .team_id = fmt::format("TEAM0000{:02}", key),
                                      .key_id = fmt::format("KEY00000{:02}", key),
                                      .key_file = key_file});
  }
  auto keyring = crypto::Keyring::parse(crypto::make_keyring());
  BH_CHECK(keyring);
  Result<Vault> opened = co_await Vault::open(*keyring, *store);
  BH_CHECK(opened);
  vault.emplace(*std::move(opened));
  restart_tokens();
}

void Provider::restart_tokens() {
  std::string complaint;
  auto made = ApnsProviderTokens::make(config, *store, *vault, complaint);
  EXPECT_TRUE(made) << complaint;
  BH_CHECK(made);
  tokens = *std::move(made);
}

Provider::~Provider() {
  std::error_code ignored;  // the simulator's files are not on the disk
  if (!folder.empty()) std::filesystem::remove_all(folder, ignored);
}

Sender::Sender(Provider& provider, const Identity& identity) {
  LogOptions options;
  options.sink.context = &lines;
  options.sink.write = [](void* context, std::string_view line) {
    static_cast<std::vector<std::string>*>(context)->emplace_back(line);
  };
  options.wall_now = &io::wall_now;
  options.metrics = &metrics;
  log = std::make_unique<Log>(options);
  apns = std::make_unique<ApnsSender>(provider.config.apns, *provider.tokens, identity.client(), metrics, *log);
}

bool Sender::logged(std::string_view event) const {
  std::string wanted = fmt::format("\"event\":\"{}\"", event);
  return std::ranges::any_of(lines, [&](const std::string& line) { return line.find(wanted) != std::string::npos; });
}

Bench::Bench() : peer(identity.server()) {}

Task<bool> Bench::start(void (*change)(ApnsConfig&)) {
  peer_scope.emplace(nullptr);
  if (!peer.start(*peer_scope)) co_return false;
  co_await provider.start(peer.address());
  if (change) change(provider.config.apns);
  sender.emplace(provider, identity);
  co_return true;
}

Task<void> Bench::stop() {
  co_await sender->apns->close();
  EXPECT_EQ(streams(), 0u);
  EXPECT_EQ(sender->metrics.value(metric::connections, ConnectionKind::apns), 0u);
  co_await peer.stop();
  peer_scope->request_stop();
  co_await peer_scope->join();
  EXPECT_TRUE(co_await provider.store->leave_core());
}

std::string Bench::device_token(size_t number) {
  return fmt::format("{:064x}", number + 1);
}

size_t Bench::delivered() const {
  return static_cast<size_t>(std::ranges::count_if(
      results, [](const auto& entry) { return entry.second.verdict == proto::ApnsVerdict::delivered; }));
}

bool Bench::each_accepted_once(size_t count) const {
  if (peer.accepted.size() != count) return false;
  return std::ranges::all_of(peer.accepted, [](const auto& entry) { return entry.second == 1; });
}

void Bench::push(TaskScope& scope, size_t number, Duration patience, bool proven, size_t app) {
  scope.spawn(push_one(number, patience, proven, app));
}

Task<void> Bench::push_one(size_t number, Duration patience, bool proven, size_t app) {
  ApnsResult result = co_await push_now(number, patience, proven, app);
  results[number] = result;
  results_changed.set();
}

Task<ApnsResult> Bench::push_now(size_t number, Duration patience, bool proven, size_t app) {
  std::string token = device_token(number), payload = fmt::format("{{\"aps\":{{}},\"n\":{}}}", number);
  std::string collapse_id = fmt::format("{:032x}", number);
  ApnsPush push{.app = &provider.app(app),
                .device_token = token,
                .payload = payload,
                .collapse_id = collapse_id,
                .expiration_unix_s = to_unix_seconds(io::wall_now()) + 3600,
                .proven = proven,
                .registered_at = io::wall_now() - 24h};
  co_return co_await sender->apns->push(push, io::now() + patience);
}

}  // namespace bellhop::service::apns_test
