// SPDX-License-Identifier: Apache-2.0
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <mutex>
#include <thread>

#include "core/cross_core.h"
#include "core/io.h"
#include "core/sleep.h"
#include "core/socket.h"
#include "core/uring/resolver.h"

namespace bellhop {
namespace {

Task<Status> echo_one(Socket socket) {
  for (;;) {
    BH_CO_TRY(Chunk chunk, co_await socket.receive());
    if (chunk.empty()) co_return Status();
    BH_CO_CHECKED(co_await socket.send(chunk.bytes()));
  }
}

Task<void> serve(Listener* listener, TaskScope* scope) {
  for (;;) {
    auto socket = co_await listener->accept();
    if (!socket) co_return;
    struct Run {
      static Task<void> one(Socket s) { (void)co_await echo_one(std::move(s)); }
    };
    scope->spawn(Run::one(*std::move(socket)));
  }
}

Task<Status> ping(SocketAddress address, std::string text, std::string* answer) {
  BH_CO_TRY(Socket socket, co_await within(5s, connect({address, {}})));
  BH_CO_CHECKED(co_await socket.send(as_bytes(text)));
  while (answer->size() < text.size()) {
    BH_CO_TRY(Chunk chunk, co_await within(5s, socket.receive()));
    if (chunk.empty()) co_return fail(core_error(CoreError::closed));
    answer->append(as_text(chunk.bytes()));
  }
  co_return Status();
}

TEST(Ring, AServerThatWentWithoutAWordIsNoticed) {
  auto handle = io::open_socket({{*IpAddress::parse("127.0.0.1"), 1}, {}});
  ASSERT_TRUE(handle);
  auto option = [&](int level, int name) {
    int value = 0;
    socklen_t size = sizeof value;
    EXPECT_EQ(getsockopt(handle->value, level, name, &value, &size), 0);
    return value;
  };
  EXPECT_EQ(option(SOL_SOCKET, SO_KEEPALIVE), 1);
  int seconds = option(IPPROTO_TCP, TCP_KEEPIDLE) + option(IPPROTO_TCP, TCP_KEEPINTVL) * option(IPPROTO_TCP, TCP_KEEPCNT);
  EXPECT_LE(seconds, 120);
  ::close(handle->value);
}

Task<void> echo_flow(unsigned, size_t size, bool* passed) {
  auto handle = io::open_listener({{*IpAddress::parse("127.0.0.1"), 0}, {}});
  EXPECT_TRUE(handle);
  auto address = io::local_address(*handle);
  Listener listener(*handle);
  {
    TaskScope scope(&co_await current_context());
    scope.spawn(serve(&listener, &scope));
    std::string text(size, 'x'), answer;
    for (size_t i = 0; i < size; ++i) text[i] = static_cast<char>(i * 31);
    auto sent = co_await ping(*address, text, &answer);
    EXPECT_TRUE(sent) << error_text(sent.error());
    *passed = answer == text;
    co_await listener.close();
    scope.request_stop();
    co_await scope.join();
  }
}

TEST(Ring, EchoesOverLoopback) {
  bool passed = false;
  auto status = io::run_cluster({.cores = 1}, [&](unsigned core) { return echo_flow(core, 1000, &passed); });
  ASSERT_TRUE(status) << io::explain_start_failure(status.error());
  EXPECT_TRUE(passed);
}

TEST(Ring, SurvivesAnExhaustedReceivePool) {
  bool passed = false;
  auto status = io::run_cluster({.cores = 1, .receive_buffers = 16}, [&](unsigned core) { return echo_flow(core, 3000, &passed); });
  ASSERT_TRUE(status);
  EXPECT_TRUE(passed);
}

// A listening socket that was opened for us, as a service manager does it.
struct GivenSocket {
  GivenSocket(int family, const char* ip) {
    descriptor = ::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    sockaddr_in6 six{};
    sockaddr_in four{};
    six.sin6_family = AF_INET6, four.sin_family = AF_INET;
    bool v6 = family == AF_INET6;
    inet_pton(family, ip, v6 ? static_cast<void*>(&six.sin6_addr) : &four.sin_addr);
    int off = 0;
    if (v6) setsockopt(descriptor, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    auto* address = v6 ? reinterpret_cast<sockaddr*>(&six) : reinterpret_cast<sockaddr*>(&four);
    socklen_t size = v6 ? sizeof six : sizeof four;
    good = descriptor >= 0 && bind(descriptor, address, size) == 0 && listen(descriptor, 128) == 0 &&
           getsockname(descriptor, address, &size) == 0;
    port = ntohs(v6 ? six.sin6_port : four.sin_port);
  }
  GivenSocket(const GivenSocket&) = delete;
  GivenSocket& operator=(const GivenSocket&) = delete;
  ~GivenSocket() { ::close(descriptor); }
  SocketAddress at_loopback() const { return {*IpAddress::parse("127.0.0.1"), port}; }

  int descriptor = -1;
  uint16_t port = 0;
  bool good = false;
};

Task<void> accept_from_ipv4(const GivenSocket* given, std::string* peer) {
  auto handle = io::adopt_listener(given->descriptor);
  EXPECT_TRUE(handle);
  Listener listener(*handle);
  auto client = co_await within(5s, connect({given->at_loopback(), {}}));
  auto accepted = co_await within(5s, listener.accept());
  EXPECT_TRUE(client && accepted);
  auto address = co_await accepted->peer_address();
  EXPECT_TRUE(address);
  if (address) *peer = address->ip.to_string();
  co_await listener.close();
}

// A socket of both families names its IPv4 clients in IPv6; limits by address and lists of networks must see through it.
TEST(GivenListener, AClientOfIpv4IsKnownByItsOwnAddress) {
  GivenSocket given(AF_INET6, "::");
  if (!given.good) GTEST_SKIP() << "no sockets of both families here";
  std::string peer;
  ASSERT_TRUE(io::run_cluster({.cores = 1}, [&](unsigned) { return accept_from_ipv4(&given, &peer); }));
  EXPECT_EQ(peer, "127.0.0.1");
}

struct SharedAccepting {
  static constexpr unsigned kCores = 2;
  static constexpr int kConnections = 40;
  GivenSocket given{AF_INET, "127.0.0.1"};
  std::array<std::atomic<int>, kCores> accepted{};
  std::atomic<unsigned> armed{0};
  int all() const { return accepted[0] + accepted[1]; }

  Task<void> accept_all(Listener* listener, unsigned core) {
    while (co_await listener->accept()) ++accepted[core];
  }
  Task<void> run(unsigned core) {
    Listener listener(*io::adopt_listener(given.descriptor));
    TaskScope scope(&co_await current_context());
    scope.spawn(accept_all(&listener, core));
    (void)co_await sleep_for(20ms);
    ++armed;
    while (armed < kCores) (void)co_await sleep_for(1ms);
    for (int i = 0; core == 0 && i < kConnections; ++i) {
      auto client = co_await within(5s, connect({given.at_loopback(), {}}));
      EXPECT_TRUE(client);
      for (int wait = 0; all() <= i && wait < 5000; ++wait) (void)co_await sleep_for(1ms);
    }
    for (int wait = 0; all() < kConnections && wait < 5000; ++wait) (void)co_await sleep_for(1ms);
    co_await listener.close();
    co_await scope.join();
  }
};

TEST(GivenListener, CoresThatShareItTakeTurns) {
  SharedAccepting shared;
  ASSERT_TRUE(shared.given.good);
  ASSERT_TRUE(io::run_cluster({.cores = SharedAccepting::kCores}, [&](unsigned core) { return shared.run(core); }));
  EXPECT_EQ(shared.all(), SharedAccepting::kConnections);
  for (int accepted : shared.accepted) EXPECT_GE(accepted, SharedAccepting::kConnections / 4);
}

Task<int> add(int a, int b) { co_return a + b; }

Task<void> call_across(unsigned core, int* sum) {
  if (core != 0) co_return;
  for (int i = 0; i < 10000; ++i) *sum += co_await on_core(1, [i] { return add(i, 1); });
}

TEST(Cluster, CallsAnotherCoreAndBack) {
  int sum = 0;
  auto status = io::run_cluster({.cores = 2}, [&](unsigned core) { return call_across(core, &sum); });
  ASSERT_TRUE(status);
  EXPECT_EQ(sum, 10000 * 9999 / 2 + 10000);
}

Task<void> offload_flow(unsigned, int* value) {
  *value = co_await offload(io::Worker::general, [] { return 42; });
}

TEST(Cluster, RunsBlockingWorkOnAHelperThread) {
  int value = 0;
  ASSERT_TRUE(io::run_cluster({.cores = 1}, [&](unsigned core) { return offload_flow(core, &value); }));
  EXPECT_EQ(value, 42);
}

Task<void> resolve_flow(unsigned, Result<std::vector<IpAddress>>* answer) {
  *answer = co_await within(10s, resolve("localhost"));
}

TEST(Resolver, KnowsLocalhostFromTheHostsFile) {
  Result<std::vector<IpAddress>> answer;
  ASSERT_TRUE(io::run_cluster({.cores = 1}, [&](unsigned core) { (void)core; return resolve_flow(core, &answer); }));
  ASSERT_TRUE(answer) << error_text(answer.error());
  bool loopback = false;
  for (const IpAddress& ip : *answer) loopback |= ip.to_string() == "127.0.0.1" || ip.to_string() == "::1";
  EXPECT_TRUE(loopback);
}

// A name server on loopback that gives each question the same answer records. One thread; ends with the object.
class NameServer {
 public:
  explicit NameServer(std::string answers, uint16_t count) : answers_(std::move(answers)), count_(count) {
    socket_ = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    sockaddr_in own = address();
    socklen_t size = sizeof own;
    BH_CHECK(bind(socket_, reinterpret_cast<sockaddr*>(&own), size) == 0);
    BH_CHECK(getsockname(socket_, reinterpret_cast<sockaddr*>(&own), &size) == 0);
    port_ = ntohs(own.sin_port);
    thread_ = std::thread([this] { serve(); });
  }
  ~NameServer() {
    sockaddr_in own = address();
    sendto(socket_, "", 0, 0, reinterpret_cast<sockaddr*>(&own), sizeof own);  // too short for a question: the end
    thread_.join();
    close(socket_);
  }
  std::string place() const { return "127.0.0.1:" + std::to_string(port_); }
  std::string asked() const {  // the last question
    std::lock_guard lock(mutex_);
    return asked_;
  }

 private:
  sockaddr_in address() const {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port_);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
  }
  void serve() {
    for (;;) {
      char packet[512];
      sockaddr_in from{};
      socklen_t size = sizeof from;
      ssize_t got = recvfrom(socket_, packet, sizeof packet, 0, reinterpret_cast<sockaddr*>(&from), &size);
      if (got < 16) return;
      size_t end = std::string_view(packet + 12, static_cast<size_t>(got) - 12).find('\0') + 12 + 5;
      {
        std::lock_guard lock(mutex_);
        asked_ = std::string(packet + 12, end - 12);
      }
      std::string reply(packet, end);
      reply[2] = '\x81', reply[3] = '\x80';  // an answer, recursion was available
      reply[6] = static_cast<char>(count_ >> 8), reply[7] = static_cast<char>(count_);
      reply[8] = reply[9] = reply[10] = reply[11] = 0;  // no further sections
      reply += answers_;
      sendto(socket_, reply.data(), reply.size(), 0, reinterpret_cast<sockaddr*>(&from), size);
    }
  }
  const std::string answers_;
  const uint16_t count_;
  mutable std::mutex mutex_;
  std::string asked_;
  int socket_ = -1;
  uint16_t port_ = 0;
  std::thread thread_;
};

// An SRV record of the name that was asked (RFC 2782).
std::string srv(uint16_t priority, uint16_t weight, uint16_t port, std::string_view host) {
  std::string target;
  for (size_t at = 0; at < host.size();) {
    size_t dot = std::min(host.find('.', at), host.size());
    target += static_cast<char>(dot - at);
    target += host.substr(at, dot - at);
    at = dot + 1;
  }
  target += '\0';
  auto put = [](std::string& text, uint16_t value) {
    text += static_cast<char>(value >> 8);
    text += static_cast<char>(value);
  };
  std::string record("\xc0\x0c\0\x21\0\x01\0\0\0\x3c", 10);  // name of the question, SRV, IN, a minute
  put(record, static_cast<uint16_t>(6 + target.size()));
  for (uint16_t value : {priority, weight, port}) put(record, value);
  return record + target;
}

using Services = Result<std::vector<io::ServiceRecord>>;
Task<void> ask_service(Services* answer) {
  *answer = co_await within(10s, resolve_service("_autodiscover._tcp.example.test"));
}
Services services_from(NameServer& server) {
  uring::Resolver::use_servers(server.place());
  Services answer;
  BH_CHECK(io::run_cluster({.cores = 1}, [&](unsigned core) { (void)core; return ask_service(&answer); }));
  uring::Resolver::use_servers("");
  return answer;
}

TEST(Resolver, ReadsServiceRecords) {
  NameServer server(srv(20, 0, 8443, "two.example.test") + srv(10, 5, 443, "one.example.test") + srv(30, 0, 1, ""), 3);
  Services found = services_from(server);
  ASSERT_TRUE(found) << error_text(found.error());
  ASSERT_EQ(found->size(), 3u);
  EXPECT_EQ((*found)[0], (io::ServiceRecord{"one.example.test", 443, 10, 5}));
  EXPECT_EQ((*found)[1], (io::ServiceRecord{"two.example.test", 8443, 20, 0}));
  EXPECT_EQ((*found)[2].host, "") << "the root: no such service";
  EXPECT_NE(server.asked().find("_autodiscover"), std::string::npos);
  EXPECT_EQ(server.asked().substr(server.asked().size() - 4), std::string("\0\x21\0\x01", 4)) << "type SRV, class IN";
}

TEST(Resolver, NoServiceRecordsAreAnError) {
  NameServer server("", 0);
  Services found = services_from(server);
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().domain, Domain::dns);
}

TEST(Resolver, ABrokenServiceRecordIsAnError) {
  NameServer server(srv(1, 1, 1, "one.example.test").substr(0, 20), 1);
  Services found = services_from(server);
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().domain, Domain::dns);
}

TEST(StartFailure, NamesCauseAndRemedy) {
  std::string refused = io::explain_start_failure(os_error(EPERM, 1));
  EXPECT_NE(refused.find("sysctl -w kernel.io_uring_disabled=0"), std::string::npos) << refused;
  EXPECT_NE(refused.find("seccomp"), std::string::npos);
  EXPECT_NE(io::explain_start_failure(os_error(EINVAL, 1)).find("6.1"), std::string::npos);
  EXPECT_NE(io::explain_start_failure(os_error(ENOMEM, 2)).find("LimitMEMLOCK"), std::string::npos);
}

}  // namespace
}  // namespace bellhop
