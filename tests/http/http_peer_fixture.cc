// SPDX-License-Identifier: Apache-2.0
#include <nghttp2/nghttp2.h>

#include "core/stream/block_pool.h"
#include "core/tls/certificate.h"
#include "tests/http/http_peer.h"
#include "tests/proto/http2_pair.h"

namespace bellhop::service {
namespace {

struct Collected final : BodySink {
  std::string text;
  Status on_body(Bytes piece) override {
    text += as_text(piece);
    return {};
  }
};

Task<Status> wait_set(Event& event) { co_return co_await event.wait(); }

void use_tls(Fixture& fixture) {
  set_tls_clock(&io::wall_now);
  WallTime now = io::wall_now();
  CertificateValidity validity{now - std::chrono::hours(1), now + std::chrono::hours(24)};
  auto authority = make_authority("test authority", validity);
  std::string name = "server.example.test";
  auto certificate = issue_certificate(*authority, std::span(&name, 1), {}, validity);
  std::string complaint;
  fixture.server_tls = *TlsContext::server({.chain = {"chain", certificate->chain_pem},
                                            .key = {"key", certificate->key_pem},
                                            .alpn = {"h2", "http/1.1"}},
                                           complaint);
  TlsFile file{"authority", authority->chain_pem};
  auto authorities = TlsAuthorities::parse(std::span(&file, 1), complaint);
  fixture.client_tls_http1 = *TlsContext::client({.authorities = *authorities, .alpn = {"http/1.1"}}, complaint);
  fixture.client_tls = fixture.client_tls_http1;
  if (fixture.http2()) {
    fixture.client_tls = *TlsContext::client({.authorities = *authorities, .alpn = {"h2", "http/1.1"}}, complaint);
  }
}

Task<void> serve_scenario(Fixture& fixture, const Scenario& scenario) {
  if (fixture.wire != Wire::http1) use_tls(fixture);
  auto handle = io::open_listener(test::loopback());
  CO_ASSERT(handle);
  io::Endpoint endpoint = test::endpoint_of(*handle, test::loopback());
  HttpServer server(fixture.other ? *fixture.other : fixture.handler, fixture.limits, fixture.server_tls);
  TaskScope scope(&co_await current_context());
  scope.spawn(server.run(*handle));
  co_await scenario(fixture, server, endpoint);
  fixture.handler.release.set();
  server.drain();
  co_await scope.join();
  EXPECT_EQ(server.stats().connections, 0u);
  EXPECT_EQ(server.stats().http2_connections, 0u);
  EXPECT_EQ(fixture.handler.running, 0);
}

}  // namespace

std::string wire_name(Wire wire) {
  return wire == Wire::http1 ? "Http1" : wire == Wire::http1_tls ? "Http1OverTls" : "Http2";
}

void run_scenario(Fixture& fixture, const Scenario& scenario) {
  test::run_on_cores(1, [&](unsigned) { return serve_scenario(fixture, scenario); });
}

Task<void> EchoHandler::handle(HttpExchange& exchange) {
  ++handled;
  running_max = std::max(running_max, ++running);
  changed.set();
  co_await serve(exchange);
  --running;
  changed.set();
}

Task<void> EchoHandler::serve(HttpExchange& exchange) {
  std::string target(exchange.target());
  if (target == "/refuse") {
    (void)co_await exchange.respond({.status = 403, .body = "no"});
    co_return;
  }
  if (target == "/peer") {
    auto peer = co_await exchange.peer_address();
    std::string text = peer ? peer->to_string() : "nobody";
    (void)co_await exchange.respond({.content_type = "text/plain", .body = text});
    co_return;
  }
  Collected body;
  Status read = co_await exchange.read_body(body_max, body);
  if (!read) {
    bool stop = is(read.error(), CoreError::canceled) || is(read.error(), CoreError::closed);
    stopped += stop;
    if (stop) stopped_one.set();
    if (stop) co_return;
    (void)co_await exchange.respond(
        {.status = read.error().domain == Domain::http ? proto::http_error_status(read.error()) : uint16_t{408},
         .close = true});
    co_return;
  }
  if (target == "/wait" || target == "/stubborn") {
    waiting.set();
    Context unstoppable;
    Context& own = co_await current_context();
    Status released = co_await wait_set(release).under(target == "/stubborn" ? unstoppable : own);
    if (!released) {
      ++stopped;
      stopped_one.set();
      co_return;
    }
  }
  if (target == "/fields") {
    std::vector<proto::HeaderField> fields(60, {"x-one", "of many"});
    (void)co_await exchange.respond({.content_type = "text/plain", .body = "many", .headers = fields});
    co_return;
  }
  if (target == "/large") {
    (void)co_await exchange.respond({.content_type = "text/plain", .body = large});
    co_return;
  }
  std::string answer(proto::method_name(exchange.method()));
  answer += " " + target + " " + body.text;
  (void)co_await exchange.respond({.content_type = "text/plain", .body = answer});
}

Peer::Peer(Socket socket, Wire wire, std::shared_ptr<TlsContext> tls)
    : stream(std::move(socket), tls ? std::make_unique<TlsEngine>(tls, "server.example.test") : nullptr), wire_(wire) {
  BH_CHECK(nghttp2_hd_inflate_new(&inflater_) == 0);
}
Peer::~Peer() { nghttp2_hd_inflate_del(inflater_); }

Task<std::unique_ptr<Peer>> Peer::open(Fixture& fixture, io::Endpoint endpoint, std::string settings) {
  auto socket = co_await within(20s, connect(endpoint));
  if (!socket) co_return nullptr;
  auto peer = std::make_unique<Peer>(*std::move(socket), fixture.wire, fixture.client_tls);
  Status shaken = co_await within(20s, peer->stream.handshake());
  if (!shaken) co_return nullptr;
  if (fixture.http2()) {
    EXPECT_EQ(peer->stream.tls()->alpn(), "h2");
    (void)co_await peer->send(std::string(proto::kPreface) + proto::frame(proto::kSettings, 0, 0, settings));
  }
  co_return peer;
}

std::string Peer::bytes_of(const Ask& ask) {
  std::string out;
  if (wire_ == Wire::http2) {
    std::string head = std::exchange(table_size_due_, false) ? "\x20" : "";  // RFC 7541 section 6.3
    head += proto::request_head(ask.method, ask.target, "x.example.com");
    for (auto& [name, value] : ask.fields) head += proto::literal(ascii_lower(name), value);
    uint32_t id = std::exchange(next_stream_, next_stream_ + 2);
    bool expects = !ask.fields.empty() && ask.fields[0].first == "Expect";
    bool has_body = !ask.body.empty() || expects;
    out = proto::frame(proto::kHeaders, proto::kEndHeaders | (has_body ? 0 : proto::kEndStream), id, head);
    if (!ask.body.empty()) out += proto::frame(proto::kData, proto::kEndStream, id, ask.body);
    return out;
  }
  out.append(ask.method).append(" ").append(ask.target).append(" HTTP/1.1\r\nHost: x.example.com\r\n");
  for (auto& [name, value] : ask.fields) out.append(name).append(": ").append(value).append("\r\n");
  if (!ask.body.empty()) out += "Content-Length: " + std::to_string(ask.body.size()) + "\r\n";
  if (ask.last) out += "Connection: close\r\n";
  return out.append("\r\n").append(ask.body);
}

Task<Status> Peer::send(std::string bytes) { co_return co_await within(20s, stream.write(as_bytes(bytes))); }

Task<Status> Peer::read_until(std::function<bool(const Peer&)> done) {
  while (!ended && !done(*this)) {
    {
      Block block;
      size_t n = stream.read(block.all());
      block.used(n);
      received += as_text(block.all().first(n));
      if (wire_ == Wire::http2) {
        for (;;) {
          std::string_view left = std::string_view(received).substr(taken_);
          if (left.size() < 9) break;
          auto* head = reinterpret_cast<const uint8_t*>(left.data());
          size_t size = load_be32(head) >> 8;
          if (left.size() < 9 + size) break;
          take_frame(head[3], head[4], load_be32(head + 5) & 0x7fffffff, left.substr(9, size));
          taken_ += 9 + size;
        }
      } else {
        while (size_t size = take_http1(std::string_view(received).substr(taken_))) taken_ += size;
      }
      if (std::exchange(settings_came_, false) && acknowledges) {
        table_size_due_ = settled_ = true;
        (void)co_await send(proto::frame(proto::kSettings, proto::kAck, 0, ""));
      }
      if (size_t size = std::exchange(window_due_, 0); size > 0 && opens_windows) {
        std::string increment(4, '\0');
        store_be32(reinterpret_cast<uint8_t*>(increment.data()), static_cast<uint32_t>(size));
        (void)co_await send(proto::frame(proto::kWindowUpdate, 0, 0, increment) +
                            proto::frame(proto::kWindowUpdate, 0, 1, increment));
      }
      if (n > 0) continue;
    }
    auto more = co_await within(20s, stream.wait_input());
    if (!more && is(more.error(), CoreError::timed_out)) co_return fail(more.error());
    ended = !more || !*more;
    if (ended && until_close) (void)take_http1(std::string_view(received).substr(taken_));
  }
  co_return Status();
}

namespace {
bool never(const Peer&) { return false; }
}  // namespace

Task<Status> Peer::read_answers(size_t count) {
  struct Enough {
    size_t count;
    bool operator()(const Peer& peer) const { return peer.answers.size() >= count; }
  };
  co_return co_await read_until(Enough{count});
}
Task<Status> Peer::settle() {
  struct Settled {
    bool operator()(const Peer& peer) const { return peer.settled_ || peer.wire_ != Wire::http2; }
  };
  co_return co_await read_until(Settled());
}
Task<Status> Peer::read_to_end() { co_return co_await read_until(never); }
Task<void> Peer::close() { co_await stream.close(Duration::zero()); }

// One whole answer from the start of `bytes`: how long it is; 0 where it is not whole.
size_t Peer::take_http1(std::string_view bytes) {
  size_t head = bytes.find("\r\n\r\n");
  if (head == std::string_view::npos || bytes.size() < 12) return 0;
  head += 4;
  uint16_t status = static_cast<uint16_t>(parse_decimal(bytes.substr(9, 3)).value_or(0));
  if (status == 100) {
    ++continues;
    return head;
  }
  Answer answer;
  size_t size = read_http1(bytes, answer);
  if (size > 0) answers.push_back(std::move(answer));
  return size;
}

// Puts into `answer` what is there of it; how long it is, 0 where it is not whole.
size_t Peer::read_http1(std::string_view bytes, Answer& answer) const {
  size_t head = bytes.find("\r\n\r\n");
  if (head == std::string_view::npos) return 0;
  answer.status = static_cast<uint16_t>(parse_decimal(bytes.substr(9, 3)).value_or(0));
  std::string lower = ascii_lower(bytes.substr(0, head + 2));
  std::erase(lower, '\r');
  answer.fields = lower.substr(lower.find('\n') + 1);
  std::string_view body = bytes.substr(head + 4);
  if (until_close) {
    answer.body = body;
    return ended ? bytes.size() : 0;
  }
  if (answer.fields.find("transfer-encoding: chunked") == std::string::npos) {
    size_t at = answer.fields.find("content-length: "), size = 0;
    if (at != std::string::npos) {
      std::string_view text = std::string_view(answer.fields).substr(at + 16);
      size = parse_decimal(text.substr(0, text.find('\n'))).value_or(0);
    }
    answer.body = body.substr(0, size);
    return body.size() < size ? 0 : head + 4 + size;
  }
  for (size_t at = 0;;) {
    size_t line = body.find("\r\n", at);
    if (line == std::string_view::npos) return 0;
    size_t size = std::strtoul(std::string(body.substr(at, line - at)).c_str(), nullptr, 16);
    answer.body += body.substr(line + 2, size);
    at = line + 2 + size + 2;
    if (at > body.size()) return 0;
    if (size == 0) return head + 4 + at;
  }
}

Peer::Answer Peer::unfinished(uint32_t stream_id) const {
  Answer answer;
  if (wire_ == Wire::http2) {
    auto open = open_answers_.find(stream_id);
    if (open != open_answers_.end()) answer = open->second;
  } else {
    (void)read_http1(std::string_view(received).substr(taken_), answer);
  }
  return answer;
}

void Peer::take_fields(uint32_t stream_id, std::string_view payload) {
  Answer& answer = open_answers_[stream_id];
  Bytes left = as_bytes(payload);
  for (;;) {
    nghttp2_nv field;
    int state = 0;
    ssize_t used = nghttp2_hd_inflate_hd2(inflater_, &field, &state, left.data(), left.size(), 1);
    BH_CHECK(used >= 0);
    left = left.subspan(static_cast<size_t>(used));
    if (state & NGHTTP2_HD_INFLATE_EMIT) {
      std::string_view name(reinterpret_cast<const char*>(field.name), field.namelen);
      std::string_view value(reinterpret_cast<const char*>(field.value), field.valuelen);
      if (name == ":status") answer.status = static_cast<uint16_t>(parse_decimal(value).value_or(0));
      answer.fields.append(name).append(": ").append(value).append("\n");
    }
    if (state & NGHTTP2_HD_INFLATE_FINAL) break;
  }
  nghttp2_hd_inflate_end_headers(inflater_);
  if (answer.status == 100) ++continues;
}

void Peer::take_frame(uint8_t type, uint8_t flags, uint32_t stream_id, std::string_view payload) {
  auto* bytes = reinterpret_cast<const uint8_t*>(payload.data());
  uint32_t code = 0;
  if (type == proto::kRstStream) code = load_be32(bytes);
  if (type == proto::kGoaway) code = load_be32(bytes + 4);
  frames.emplace_back(type, code);
  if (type == proto::kSettings && !(flags & proto::kAck)) settings_came_ = true;
  if (type == proto::kWindowUpdate && stream_id != 0) stream_increments += load_be32(bytes);
  if (type == proto::kHeaders) take_fields(stream_id, payload);
  if (type == proto::kData) open_answers_[stream_id].body += payload;
  if (type == proto::kData) window_due_ += payload.size();
  bool whole = (type == proto::kHeaders || type == proto::kData) && (flags & proto::kEndStream);
  if (!whole) return;
  open_answers_[stream_id].stream_id = stream_id;
  answers.push_back(std::move(open_answers_[stream_id]));
  open_answers_.erase(stream_id);
}

Task<Peer::Answer> ask_alone(Fixture& fixture, io::Endpoint endpoint, Ask ask) {
  auto peer = co_await Peer::open(fixture, endpoint);
  if (!peer) co_return Peer::Answer{.body = "no connection"};
  ask.last = true;
  (void)co_await peer->send(peer->bytes_of(ask));
  Status read = co_await peer->read_answers(1);
  co_await peer->close();
  if (!read) co_return Peer::Answer{.body = "timeout"};
  if (peer->answers.empty()) co_return Peer::Answer{.body = "ended without an answer"};
  co_return peer->answers[0];
}

}  // namespace bellhop::service
