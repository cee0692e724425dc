// SPDX-License-Identifier: Apache-2.0
#pragma once

// A server on loopback and clients that write bytes, in both versions of HTTP: one test body for both.

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/sleep.h"
#include "core/stream/stream.h"
#include "core/sync.h"
#include "service/http_server.h"
#include "tests/core/run.h"

struct nghttp2_hd_inflater;

namespace bellhop::service {

enum class Wire : uint8_t { http1, http1_tls, http2 };
std::string wire_name(Wire wire);

// Answers with method, target and body. "/wait" waits for `release` first; "/stubborn" does, too, and cannot be stopped;
// "/refuse" never reads the body; "/large" answers `large`; "/peer" the address that the request is taken to come from.
struct EchoHandler final : HttpHandler {
  Event release, waiting, stopped_one;
  Event changed;  // `running`
  uint64_t body_max = 1000;
  std::string large = std::string(100'000, 'l');
  int handled = 0, running = 0, running_max = 0, stopped = 0;

  Task<void> handle(HttpExchange& exchange) override;

 private:
  Task<void> serve(HttpExchange& exchange);
};

struct Fixture {
  explicit Fixture(Wire w) : wire(w) {}
  Wire wire;
  EchoHandler handler;
  HttpHandler* other = nullptr;  // in its place
  HttpServerLimits limits;
  std::shared_ptr<TlsContext> server_tls, client_tls, client_tls_http1;
  bool http2() const { return wire == Wire::http2; }
};

using Scenario = std::function<Task<void>(Fixture&, HttpServer&, io::Endpoint)>;
// Runs `scenario` against a server on core 0; then drains it, and expects that nothing of it is left.
void run_scenario(Fixture& fixture, const Scenario& scenario);

// One request. `last`: HTTP/1.1 asks for the end of the connection.
struct Ask {
  std::string_view method = "GET";
  std::string_view target = "/";
  std::string_view body = {};
  std::vector<std::pair<std::string_view, std::string_view>> fields = {};
  bool last = false;
};

class Peer {
 public:
  struct Answer {
    uint16_t status = 0;
    std::string body;
    uint32_t stream_id = 0;
    std::string fields = {};  // "name: value\n" each, in lower case
  };

  Peer(Socket socket, Wire wire, std::shared_ptr<TlsContext> tls);
  ~Peer();
  // Connects; over TLS shakes hands; over HTTP/2 sends preface and SETTINGS (with `settings` in it).
  static Task<std::unique_ptr<Peer>> open(Fixture& fixture, io::Endpoint endpoint, std::string settings = {});

  // The bytes of one request; over HTTP/2 on the next stream.
  std::string bytes_of(const Ask& ask);
  uint32_t last_stream() const { return next_stream_ - 2; }
  Task<Status> send(std::string bytes);
  // Reads until `done`, or to the end of the connection, whatever kind. Fails after 20 s.
  Task<Status> read_until(std::function<bool(const Peer&)> done);
  Task<Status> read_answers(size_t count);
  // HTTP/2: until the server's SETTINGS came and were acknowledged; what is sent then may be a part of a frame.
  Task<Status> settle();
  Task<Status> read_to_end();
  Task<void> close();

  // What came of an answer that is not whole; HTTP/1.1: the one under way, without what frames it.
  Answer unfinished(uint32_t stream_id = 1) const;

  std::vector<Answer> answers;  // whole ones
  bool until_close = false;     // HTTP/1.1: the answer ends with the connection
  size_t continues = 0;         // "100 Continue"
  std::string received;         // all bytes
  std::vector<std::pair<uint8_t, uint32_t>> frames;  // HTTP/2: type, and the code of RST_STREAM and GOAWAY
  bool ended = false;
  bool acknowledges = true;  // HTTP/2: the server's SETTINGS
  bool opens_windows = false;    // HTTP/2: for what it read
  size_t stream_increments = 0;  // HTTP/2: by which the server opened the windows of streams
  Stream stream;

 private:
  size_t take_http1(std::string_view bytes);
  size_t read_http1(std::string_view bytes, Answer& answer) const;
  void take_frame(uint8_t type, uint8_t flags, uint32_t stream_id, std::string_view payload);
  void take_fields(uint32_t stream_id, std::string_view payload);

  Wire wire_;
  size_t taken_ = 0;  // of `received`
  uint32_t next_stream_ = 1;
  bool settings_came_ = false;
  bool settled_ = false;
  size_t window_due_ = 0;
  bool table_size_due_ = false;  // the next header block says that our compression keeps to the server's settings
  std::map<uint32_t, Answer> open_answers_;
  nghttp2_hd_inflater* inflater_ = nullptr;
};

// One request on a connection of its own, to its end: the answer's status and body, or what went wrong.
Task<Peer::Answer> ask_alone(Fixture& fixture, io::Endpoint endpoint, Ask ask);

}  // namespace bellhop::service
