// SPDX-License-Identifier: Apache-2.0
#include "tools/standin/proxy.h"

#include <algorithm>
#include <array>

#include "core/cross_core.h"
#include "core/sleep.h"
#include "core/stream/block_pool.h"
#include "proto/http1_writer.h"
#include "proto/json_writer.h"
#include "service/http_server.h"
#include "tools/standin/tls.h"

namespace bellhop::standin {
namespace {

using proto::HttpMethod;

constexpr Duration kHeadTimeout = 10s;
constexpr Duration kConnectTimeout = 5s;
constexpr Duration kStall = 60s;
constexpr Duration kBetweenBytes = 1ms;
constexpr size_t kOversizedBytes = 256 * 1024;
constexpr std::string_view kHeadEnd = "\r\n\r\n";
constexpr std::string_view kEstablished = "HTTP/1.1 200 Connection established\r\n\r\n";
constexpr std::array<std::string_view, 7> kFaultNames = {"status", "garbage", "oversized", "extra_bytes",
                                                         "slow",   "stall",   "close"};

std::string answer_text(uint16_t status) {
  std::string text = "HTTP/1.1 " + std::to_string(status) + " " + std::string(proto::reason_phrase(status)) + "\r\n";
  if (status == 407) text += "Proxy-Authenticate: Basic realm=\"stand-in\"\r\n";
  return text + "Content-Length: 0\r\nConnection: close\r\n\r\n";
}

Task<Status> say(Stream& stream, std::string text) { co_return co_await stream.write(as_bytes(text)); }

// A head, to its empty line. Errors: closed, limit; also where bytes follow, since a client waits for the answer.
Task<Result<std::string>> read_head(Stream& stream) {
  std::string head;
  for (;;) {
    {
      Block block;
      size_t size = stream.read(block.all());
      block.used(size);
      head += as_text(block.all().first(size));
    }
    size_t end = head.find(kHeadEnd);
    if (end != head.npos && end + kHeadEnd.size() == head.size()) co_return std::move(head);
    if (end != head.npos || head.size() > Proxy::kHeadBytesMax) co_return fail(core_error(CoreError::limit));
    BH_CO_TRY(bool more, co_await stream.wait_input());
    if (!more) co_return fail(core_error(CoreError::closed));
  }
}

// The value of the first field of this name; empty where there is none.
std::string_view field_of(std::string_view head, std::string_view name) {
  for (size_t at = head.find("\r\n"); at != head.npos; at = head.find("\r\n", at + 2)) {
    std::string_view line = head.substr(at + 2, head.find("\r\n", at + 2) - at - 2);
    size_t colon = line.find(':');
    if (colon == line.npos || !ascii_equal_ignoring_case(line.substr(0, colon), name)) continue;
    return ascii_trim(line.substr(colon + 1));
  }
  return {};
}

// "CONNECT host:port HTTP/1.1": what is between the spaces; empty where it is something else.
std::string_view connect_target(std::string_view head) {
  constexpr std::string_view kMethod = "CONNECT ", kVersion = " HTTP/1.1";
  std::string_view line = head.substr(0, head.find("\r\n"));
  if (!line.starts_with(kMethod) || !line.ends_with(kVersion)) return {};
  line.remove_prefix(kMethod.size());
  line.remove_suffix(std::min(line.size(), kVersion.size()));
  return line.find(' ') == line.npos ? line : std::string_view();
}

Task<Result<Socket>> connect_to(std::string authority) {
  size_t colon = authority.rfind(':');
  auto port = colon == authority.npos ? std::nullopt : parse_decimal(std::string_view(authority).substr(colon + 1));
  if (!port || *port == 0 || *port > 65535) co_return fail(os_error(EINVAL));
  std::string host = authority.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  BH_CO_TRY(std::vector<IpAddress> addresses, co_await resolve(host));
  Error last = os_error(EHOSTUNREACH);
  for (const IpAddress& address : addresses) {
    auto socket = co_await connect({.tcp = {address, static_cast<uint16_t>(*port)}, .unix_path = {}});
    if (socket) co_return std::move(socket);
    last = socket.error();
  }
  co_return fail(last);
}

Task<Status> copy(Stream& from, Stream& to, uint64_t& bytes) {
  for (;;) {
    {
      Block block;
      size_t size = from.read(block.all());
      block.used(size);
      if (size > 0) {
        bytes += size;
        BH_CO_CHECKED(co_await to.write(block.all().first(size)));
        continue;
      }
    }
    BH_CO_TRY(bool more, co_await from.wait_input());
    if (!more) co_return Status();
  }
}

// One direction. At an orderly end the other side hears of it, where TCP can say so, and the other direction goes on; any
// other end is the tunnel's.
Task<void> pump(Stream& from, Stream& to, uint64_t& bytes, TaskScope& both) {
  Status ended = co_await copy(from, to, bytes);
  if (ended && !to.tls() && co_await to.socket().shutdown_send()) co_return;
  both.request_stop();
}

}  // namespace

std::optional<ProxyFaultKind> parse_proxy_fault(std::string_view name) {
  auto at = std::ranges::find(kFaultNames, name);
  if (at == kFaultNames.end()) return std::nullopt;
  return static_cast<ProxyFaultKind>(at - kFaultNames.begin());
}

// An open tunnel, in the list that cut() goes through.
struct Proxy::Tunnel final : ListLink {
  Tunnel(Proxy& p, Context* parent) : proxy(p), flows(parent) {
    proxy.tunnels_.push_back(this);
    ++proxy.books_.open;
  }
  ~Tunnel() { --proxy.books_.open; }
  Proxy& proxy;
  TaskScope flows;
};

class Proxy::Control final : public ControlHandler {
 public:
  explicit Control(Proxy& owner) : owner_(owner) {}

 private:
  Task<ControlAnswer> answer(const ControlRequest& request) override {
    if (request.is(HttpMethod::get, "/books")) co_return books();
    if (request.is(HttpMethod::post, "/faults")) co_return add_fault(request);
    if (request.is(HttpMethod::delete_, "/faults")) {
      owner_.clear_faults();
      co_return ControlAnswer::ok();
    }
    if (request.is(HttpMethod::post, "/cut")) {
      owner_.cut();
      co_return ControlAnswer::ok();
    }
    co_return ControlAnswer::problem(404, "no such control");
  }

  ControlAnswer books() {
    const ProxyBooks& books = owner_.books_;
    ControlAnswer reply;
    proto::JsonWriter json(reply.body);
    json.begin_object()
        .member("connections", books.connections)
        .member("tunnels", books.tunnels)
        .member("open", books.open)
        .member("unauthorized", books.unauthorized)
        .member("failed", books.failed)
        .member("malformed", books.malformed)
        .member("faulted", books.faulted)
        .member("bytesUp", books.bytes_up)
        .member("bytesDown", books.bytes_down);
    json.name("targets").begin_object();
    for (const auto& [target, count] : books.targets) json.member(target, count);
    json.end_object();
    json.end_object();
    return reply;
  }
  ControlAnswer add_fault(const ControlRequest& request) {
    auto kind = parse_proxy_fault(request.text("kind"));
    if (!kind) return ControlAnswer::problem(400, "unknown kind");
    uint64_t status = request.number("status", 502);
    if (status < 300 || status > 599) return ControlAnswer::problem(400, "status is no refusal");
    bool added = owner_.add_fault(
        {.kind = *kind, .count = request.number("count", 0), .status = static_cast<uint16_t>(status)});
    return added ? ControlAnswer::ok() : ControlAnswer::problem(409, "too many faults");
  }

  Proxy& owner_;
};

Proxy::Proxy(ProxyOptions options) : options_(std::move(options)), core_(io::core()) {
  if (!options_.username.empty()) {
    wanted_authorization_ = "Basic " + to_base64(as_bytes(options_.username + ":" + options_.password));
  }
}

Proxy::~Proxy() {
  wipe(wanted_authorization_);
  // Where run() never came to take them.
  if (listener_) io::close(listener_);
  if (control_listener_) io::close(control_listener_);
}

Result<std::unique_ptr<Proxy>> Proxy::make(ProxyOptions options, std::string& complaint) {
  std::unique_ptr<Proxy> proxy(new Proxy(std::move(options)));
  const ProxyOptions& made = proxy->options_;
  if (made.tls) {
    BH_TRY(proxy->ticket_keys_, make_ticket_keys());
    BH_TRY(proxy->tls_, make_server_context(made.certificate_pem, made.key_pem, "http/1.1", proxy->ticket_keys_, complaint));
  }
  proxy->address_ = made.listen;
  BH_TRY(proxy->listener_, open_listener(proxy->address_, false, complaint));
  if (made.control) {
    proxy->control_address_ = *made.control;
    BH_TRY(proxy->control_listener_, open_listener(proxy->control_address_, false, complaint));
  }
  return proxy;
}

bool Proxy::add_fault(ProxyFault fault) {
  if (faults_.size() >= kFaultsMax) return false;
  faults_.add(RuleList<ProxyFault>::make(fault));
  return true;
}

void Proxy::cut() {
  tunnels_.for_each([](Tunnel* tunnel) { tunnel->flows.request_stop(); });
}

Task<void> Proxy::run() {
  if (io::core() != core_) co_return;
  Control control(*this);
  service::HttpServer control_http(control, {.connections_max = 64}, nullptr);
  Listener listener(std::exchange(listener_, {}));
  TaskScope flows(&co_await current_context());
  flows.spawn(accept_all(listener, flows));
  if (control_listener_) flows.spawn(control_http.run(std::exchange(control_listener_, {})));
  (void)co_await stop_asked_.wait();
  flows.request_stop();
  co_await flows.join();
  co_await listener.close();
}

Task<bool> Proxy::stop() {
  struct Stop {
    static Task<bool> run(Event* event) {
      event->set();
      co_return true;
    }
  };
  co_return co_await on_core(core_, [this] { return Stop::run(&stop_asked_); });
}

Task<void> Proxy::accept_all(Listener& listener, TaskScope& flows) {
  for (;;) {
    Result<Socket> socket = co_await listener.accept();
    if (!socket) co_return;
    ++books_.connections;
    flows.spawn(serve(*std::move(socket)));
  }
}

Task<void> Proxy::serve(Socket socket) {
  Stream client(std::move(socket));
  if (tls_) client.start_tls(std::make_unique<TlsEngine>(tls_));
  Status served = co_await within(kHeadTimeout, client.handshake());
  if (served) served = co_await serve_connect(client);
  if (served) co_await client.close();  // else its end is sudden
}

Task<Status> Proxy::serve_connect(Stream& client) {
  BH_CO_TRY(std::string head, co_await within(kHeadTimeout, read_head(client)));
  std::string authority(connect_target(head));
  bool may = authorized(head);
  wipe(head);
  if (authority.empty()) {
    ++books_.malformed;
    co_return co_await say(client, answer_text(400));
  }
  if (!may) {
    ++books_.unauthorized;
    co_return co_await say(client, answer_text(407));
  }
  bool slowly = false;
  if (const ProxyFault* found = faults_.take([](const ProxyFault&) { return true; })) {
    ++books_.faulted;
    ProxyFault fault = *found;
    slowly = fault.kind == ProxyFaultKind::slow;
    if (!slowly) co_return co_await follow(client, fault);
  }
  co_return co_await tunnel(client, std::move(authority), slowly);
}

Task<Status> Proxy::follow(Stream& client, const ProxyFault& fault) {
  switch (fault.kind) {
    case ProxyFaultKind::status:
      co_return co_await say(client, answer_text(fault.status));
    case ProxyFaultKind::garbage:
      co_return co_await say(client, "SSH-2.0-nobody\r\n\r\n");
    case ProxyFaultKind::oversized:
      co_return co_await say(client, "HTTP/1.1 200 OK\r\nx: " + std::string(kOversizedBytes, 'x') + std::string(kHeadEnd));
    case ProxyFaultKind::extra_bytes:
      co_return co_await say(client, std::string(kEstablished) + "hello");
    case ProxyFaultKind::stall:
      (void)co_await sleep_for(kStall);
      break;
    case ProxyFaultKind::close:
    case ProxyFaultKind::slow:
      break;
  }
  co_return fail(core_error(CoreError::closed));
}

bool Proxy::authorized(std::string_view head) const {
  return wanted_authorization_.empty() || field_of(head, "proxy-authorization") == wanted_authorization_;
}

Task<Status> Proxy::tunnel(Stream& client, std::string authority, bool slowly) {
  auto socket = co_await within(kConnectTimeout, connect_to(authority));
  if (!socket) {
    ++books_.failed;
    co_return co_await say(client, answer_text(is(socket.error(), CoreError::timed_out) ? 504 : 502));
  }
  Stream server(*std::move(socket));
  for (size_t at = 0, piece = slowly ? 1 : kEstablished.size(); at < kEstablished.size(); at += piece) {
    BH_CO_CHECKED(co_await client.write(as_bytes(kEstablished.substr(at, piece))));
    if (slowly) BH_CO_CHECKED(co_await sleep_for(kBetweenBytes));
  }
  ++books_.tunnels;
  if (books_.targets.size() < kTargetsMax || books_.targets.contains(authority)) ++books_.targets[authority];
  Tunnel open(*this, &co_await current_context());
  open.flows.spawn(pump(client, server, books_.bytes_up, open.flows));
  open.flows.spawn(pump(server, client, books_.bytes_down, open.flows));
  co_await open.flows.join();
  co_return Status();
}

}  // namespace bellhop::standin
