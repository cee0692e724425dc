// SPDX-License-Identifier: Apache-2.0
#include "tools/standin/uem.h"

#include <algorithm>
#include <array>

#include "core/cross_core.h"
#include "core/sleep.h"
#include "proto/json.h"
#include "proto/json_writer.h"
#include "proto/target.h"
#include "tools/standin/tls.h"

namespace bellhop::standin {
namespace {

using proto::HttpMethod;

constexpr size_t kOversizedBytes = 64u << 20;
constexpr Duration kStall = 60s;
constexpr std::string_view kPath = "/devices";
constexpr std::string_view kLines = "application/x-ndjson";
constexpr std::array<std::string_view, 12> kFaultNames = {"none",    "unauthorized", "throttled", "unavailable",
                                                          "gone",    "html",         "garbage",   "truncated",
                                                          "oversized", "redirect",   "stall",     "drop"};

Task<void> respond(service::HttpExchange& exchange, uint16_t status, std::string body = {}, std::string_view type = {},
                   proto::HeaderField more = {}) {
  proto::HeaderField headers[2] = {{"cache-control", "no-store"}, more};
  size_t count = more.name.empty() ? 1 : 2;
  (void)co_await exchange.respond({.status = status, .content_type = type, .body = body, .headers = {headers, count}});
}

// The raw text of ?page= or ?since=; nothing where the query is no good. Our tokens need no escapes.
std::optional<std::string_view> token_of(std::string_view query) {
  auto page = proto::query_parameter(query, "page"), since = proto::query_parameter(query, "since");
  if (!page || !since || (*page && *since)) return std::nullopt;
  return *page ? **page : *since ? **since : std::string_view();
}

// "deviceId" of a line; empty where the line is no device.
std::string id_of(std::string_view line) {
  auto document = proto::JsonDocument::parse(line);
  auto id = document ? document->root().string("deviceId") : fail(document.error());
  return id && *id && line.find('\n') == line.npos ? std::string(**id) : std::string();
}

}  // namespace

std::optional<UemFaultKind> parse_uem_fault(std::string_view name) {
  auto at = std::ranges::find(kFaultNames, name);
  if (at == kFaultNames.end()) return std::nullopt;
  return static_cast<UemFaultKind>(at - kFaultNames.begin());
}

class Uem::Control final : public ControlHandler {
 public:
  explicit Control(Uem& owner) : owner_(owner) {}

 private:
  Task<ControlAnswer> answer(const ControlRequest& request) override {
    if (request.is(HttpMethod::post, "/devices")) co_return put(request);
    if (request.is(HttpMethod::get, "/books")) co_return books();
    if (request.is(HttpMethod::post, "/faults")) co_return add_fault(request);
    if (request.is(HttpMethod::delete_, "/faults")) {
      owner_.clear_faults();
      co_return ControlAnswer::ok();
    }
    if (request.is(HttpMethod::post, "/forget")) {
      owner_.devices_.forget();
      co_return ControlAnswer::ok();
    }
    if (request.is(HttpMethod::post, "/remove")) {
      co_return ControlAnswer::done(owner_.devices_.remove(request.text("deviceId")), "there is no such device");
    }
    co_return ControlAnswer::problem(404, "no such control");
  }

  ControlAnswer put(const ControlRequest& request) {
    auto lines = request.json.array("lines");
    if (!lines || !*lines) return ControlAnswer::problem(400, "lines is missing");
    for (size_t i = 0; i < (*lines)->size(); ++i) {
      auto line = (*lines)->at(i).string();
      std::string id = line ? id_of(*line) : std::string();
      if (id.empty()) return ControlAnswer::problem(400, "a line is no JSON object with a deviceId");
      owner_.devices_.put(id, *line);
    }
    return ControlAnswer::ok();
  }
  ControlAnswer books() {
    const UemBooks& books = owner_.devices_.books;
    ControlAnswer reply;
    proto::JsonWriter(reply.body)
        .begin_object()
        .member("devices", owner_.devices_.size())
        .member("requests", books.requests)
        .member("bulks", books.bulks)
        .member("deltas", books.deltas)
        .member("lines", books.lines)
        .member("gone", books.gone)
        .member("refused", books.refused)
        .member("faulted", books.faulted)
        .end_object();
    return reply;
  }
  ControlAnswer add_fault(const ControlRequest& request) {
    auto kind = parse_uem_fault(request.text("kind"));
    if (!kind) return ControlAnswer::problem(400, "unknown kind");
    bool added = owner_.add_fault({.kind = *kind,
                                   .count = request.number("count", 0),
                                   .delay = std::chrono::milliseconds(request.number("delayMs", 0))});
    return added ? ControlAnswer::ok() : ControlAnswer::problem(409, "too many faults");
  }

  Uem& owner_;
};

Uem::Uem(UemOptions options)
    : options_(std::move(options)),
      devices_(options_.devices, std::max(1u, options_.users), options_.domain, io::random_u64()),
      core_(io::core()) {}

Uem::~Uem() {
  // Where run() never came to take them.
  if (listener_) io::close(listener_);
  if (control_listener_) io::close(control_listener_);
  wipe(options_.authorization);
}

Result<std::unique_ptr<Uem>> Uem::make(UemOptions options, std::string& complaint) {
  std::unique_ptr<Uem> uem(new Uem(std::move(options)));
  const UemOptions& made = uem->options_;
  BH_TRY(uem->ticket_keys_, make_ticket_keys());
  BH_CHECKED(make_server_context(made.certificate_pem, made.key_pem, "http/1.1", uem->ticket_keys_, complaint));
  uem->address_ = made.listen;
  BH_TRY(uem->listener_, open_listener(uem->address_, false, complaint));
  if (made.control) {
    uem->control_address_ = *made.control;
    BH_TRY(uem->control_listener_, open_listener(uem->control_address_, false, complaint));
  }
  return uem;
}

std::string Uem::url() const {
  return "https://" + options_.name + ":" + std::to_string(address_.port) + std::string(kPath);
}

bool Uem::add_fault(UemFault fault) {
  if (faults_.size() >= kFaultsMax) return false;
  faults_.add(RuleList<UemFault>::make(fault));
  return true;
}

Task<void> Uem::run() {
  if (io::core() != core_) co_return;
  std::string complaint;
  auto tls = make_server_context(options_.certificate_pem, options_.key_pem, "http/1.1", ticket_keys_, complaint);
  BH_CHECK(tls);  // make() tried it
  service::HttpServer http(*this, {}, *tls);
  Control control(*this);
  service::HttpServer control_http(control, {.connections_max = 64}, nullptr);
  TaskScope servers(&co_await current_context());
  servers.spawn(http.run(std::exchange(listener_, {})));
  if (control_listener_) servers.spawn(control_http.run(std::exchange(control_listener_, {})));
  (void)co_await stop_asked_.wait();
  servers.request_stop();
  co_await servers.join();
}

Task<bool> Uem::stop() {
  struct Stop {
    static Task<bool> run(Event* event) {
      event->set();
      co_return true;
    }
  };
  co_return co_await on_core(core_, [this] { return Stop::run(&stop_asked_); });
}

bool Uem::authorized(service::HttpExchange& exchange) const {
  if (options_.authorization.empty()) return true;
  auto shown = exchange.headers().find("authorization");
  return shown && equal_constant_time(as_bytes(*shown), as_bytes(options_.authorization));
}

Task<void> Uem::handle(service::HttpExchange& exchange) {
  auto [path, query] = proto::split_target(exchange.target());
  if (path != kPath || exchange.method() != HttpMethod::get) {
    co_await respond(exchange, path == kPath ? 405 : 404);
    co_return;
  }
  std::string token(token_of(query.value_or(std::string_view())).value_or("?"));
  if (!authorized(exchange)) {
    ++devices_.books.refused;
    co_await respond(exchange, 401, {}, {}, {"www-authenticate", "Bearer, Basic realm=\"uem\""});
    co_return;
  }
  ++devices_.books.requests;
  UemFault fault;
  if (const UemFault* found = faults_.take([](const UemFault&) { return true; })) {
    fault = *found;
    ++devices_.books.faulted;
  }
  if (fault.delay > Duration(0) && !co_await sleep_for(fault.delay)) co_return;
  if (fault.kind != UemFaultKind::none && fault.kind != UemFaultKind::truncated) {
    co_await follow(exchange, fault.kind);
    co_return;
  }
  std::optional<std::string> page = devices_.page(token, options_.page_lines);
  if (!page) {
    co_await respond(exchange, 410);
    co_return;
  }
  if (fault.kind == UemFaultKind::truncated) {
    size_t end = page->rfind('\n', page->size() / 2);
    page->resize(end == page->npos ? 0 : end + 1);
  }
  co_await respond(exchange, 200, *std::move(page), kLines);
}

Task<void> Uem::follow(service::HttpExchange& exchange, UemFaultKind kind) {
  switch (kind) {
    case UemFaultKind::none:
    case UemFaultKind::truncated:
      break;  // handle() answers
    case UemFaultKind::unauthorized:
      co_await respond(exchange, 401, {}, {}, {"www-authenticate", "Bearer"});
      break;
    case UemFaultKind::throttled:
      co_await respond(exchange, 429, {}, {}, {"retry-after", "1"});
      break;
    case UemFaultKind::unavailable:
      co_await respond(exchange, 503, "<html>Service Unavailable</html>", "text/html");
      break;
    case UemFaultKind::gone:
      co_await respond(exchange, 410);
      break;
    case UemFaultKind::html:
      co_await respond(exchange, 200, "<html><body>Please sign in</body></html>", "text/html");
      break;
    case UemFaultKind::garbage:
      co_await respond(exchange, 200, "{\"deviceId\":7}\n{\"since\":\"x\"}\n", kLines);
      break;
    case UemFaultKind::oversized:
      co_await respond(exchange, 200, std::string(kOversizedBytes, ' '), kLines);
      break;
    case UemFaultKind::redirect:
      co_await respond(exchange, 302, {}, {}, {"location", "https://elsewhere.example.com/devices"});
      break;
    case UemFaultKind::stall:
      (void)co_await sleep_for(kStall);
      break;
    case UemFaultKind::drop:
      break;  // unanswered: the server ends the connection
  }
}

}  // namespace bellhop::standin
