// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "proto/http2_client.h"
#include "proto/http2_server.h"

namespace bellhop::proto {

// A request with its body.
struct WholeRequest {
  int32_t stream_id = 0;
  HttpMethod method = HttpMethod::get;
  std::string path, authority, body;
  HeaderBlock headers;
};

// Takes the events of a server, and bodies as they come.
struct ServerEvents {
  void take(Http2Server& server) {
    while (auto event = server.next_event()) {
      if (auto* request = std::get_if<Http2ServerRequest>(&*event)) {
        WholeRequest& open = open_requests[request->stream_id];
        open = {request->stream_id, request->method, request->path, request->authority, {}, std::move(request->headers)};
        read_body(server, request->stream_id);
      } else if (auto* arrived = std::get_if<Http2BodyArrived>(&*event)) {
        read_body(server, arrived->stream_id);
      } else if (auto* lost_stream = std::get_if<Http2StreamLost>(&*event)) {
        lost.emplace(lost_stream->stream_id, lost_stream->code);
        open_requests.erase(lost_stream->stream_id);
      } else {
        peer_goaways.push_back(std::get<Http2PeerGoAway>(*event).code);
      }
    }
  }
  void read_body(Http2Server& server, int32_t stream_id) {
    auto it = open_requests.find(stream_id);
    if (it == open_requests.end()) return;
    auto body = server.unread_body(stream_id);
    if (!body) return;
    bool ended = body->ended;
    it->second.body += as_text(body->bytes);
    server.consume_body(stream_id);
    if (ended) {
      requests.push_back(std::move(it->second));
      open_requests.erase(it);
    } else {
      server.watch_body(stream_id);
    }
  }

  std::map<int32_t, WholeRequest> open_requests;  // whose bodies are coming
  std::vector<WholeRequest> requests;
  std::map<int32_t, Http2Code> lost;
  std::vector<Http2Code> peer_goaways;
};

// A client and a server back to back in memory. `step` is how many bytes go over at a time.
struct Http2Pair : ServerEvents {
  explicit Http2Pair(const Http2ClientLimits& client_limits = {}, const Http2ServerLimits& server_limits = {},
                     size_t step_size = 64 * 1024)
      : client(client_limits), server(server_limits), step(step_size) {}

  // One direction, all that there is. True where something moved.
  template <class From, class To>
  bool move(From& from, To& to, Status& status) {
    std::vector<uint8_t> room(step);
    bool moved = false;
    while (size_t size = from.take_output(room)) {
      moved = true;
      if (status) status = to.feed(Bytes(room).first(size));
    }
    return moved;
  }
  bool to_server() { return move(client, server, server_status); }
  bool to_client() { return move(server, client, client_status); }

  void collect() {
    while (auto event = client.next_event()) {
      if (auto* response = std::get_if<Http2Response>(&*event)) {
        int32_t id = response->stream_id;
        EXPECT_TRUE(responses.emplace(id, std::move(*response)).second) << "stream " << id << " answered twice";
      } else if (auto* failed = std::get_if<Http2StreamFailed>(&*event)) {
        EXPECT_TRUE(failures.emplace(failed->stream_id, *failed).second)
            << "stream " << failed->stream_id << " failed twice";
      } else if (auto* goaway = std::get_if<Http2GoAway>(&*event)) {
        goaways.push_back(std::move(*goaway));
      } else if (auto* settings = std::get_if<Http2SettingsReceived>(&*event)) {
        streams_max.push_back(settings->streams_max);
      } else if (auto* ack = std::get_if<Http2PingAck>(&*event)) {
        ping_acks.push_back(ack->opaque);
      }
    }
    take(server);
  }

  // Until nothing moves.
  void run() {
    bool moved = true;
    while (moved) {
      moved = to_server();
      moved |= to_client();
      collect();  // reading bodies opens windows
      moved |= server.wants_output();
    }
  }

  int32_t submit(std::string_view body = "{}", std::span<const Http2Header> headers = {}) {
    auto stream_id = client.submit(
        {.authority = "push.example.com", .path = "/3/device/00", .headers = headers, .body = as_bytes(body)});
    EXPECT_TRUE(stream_id) << "submit failed with code " << stream_id.error().code;
    return stream_id.value_or(0);
  }
  void answer_all(uint16_t status = 200, std::string_view body = {}) {
    for (WholeRequest& request : requests) {
      EXPECT_TRUE(server.respond(request.stream_id, status, {}, as_bytes(body)));
    }
    requests.clear();
    run();
  }

  Http2Client client;
  Http2Server server;
  size_t step;
  Status client_status, server_status;
  std::map<int32_t, Http2Response> responses;
  std::map<int32_t, Http2StreamFailed> failures;
  std::vector<Http2GoAway> goaways;
  std::vector<uint32_t> streams_max;
  std::vector<uint64_t> ping_acks;
};

inline void expect_failed(const Http2Pair& pair, int32_t stream_id, Http2StreamFailed::Cause cause, Http2Fate fate) {
  auto it = pair.failures.find(stream_id);
  ASSERT_NE(it, pair.failures.end()) << "stream " << stream_id << " did not fail";
  EXPECT_EQ(it->second.cause, cause) << "stream " << stream_id;
  EXPECT_EQ(it->second.fate, fate) << "stream " << stream_id;
}

// Frames by hand (RFC 9113 section 4.1).
inline std::string frame(uint8_t type, uint8_t flags, uint32_t stream_id, std::string_view payload) {
  std::string out(9, '\0');
  auto* bytes = reinterpret_cast<uint8_t*>(out.data());
  store_be32(bytes, static_cast<uint32_t>(payload.size()) << 8 | type);
  bytes[4] = flags;
  store_be32(bytes + 5, stream_id);
  return out.append(payload);
}
inline constexpr uint8_t kData = 0, kHeaders = 1, kPriority = 2, kRstStream = 3, kSettings = 4, kPing = 6, kGoaway = 7,
                         kWindowUpdate = 8, kContinuation = 9;
inline constexpr uint8_t kEndStream = 1, kAck = 1, kEndHeaders = 4, kPadded = 8;
inline constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// A literal field without indexing (RFC 7541 section 6.2.2); name and value under 127 bytes.
inline std::string literal(std::string_view name, std::string_view value) {
  std::string out(1, '\0');
  out.push_back(static_cast<char>(name.size()));
  out.append(name);
  out.push_back(static_cast<char>(value.size()));
  return out.append(value);
}
// The length of a string literal, from 127 bytes on (RFC 7541 section 5.1).
inline std::string hpack_size(size_t size) {
  std::string out(1, '\x7f');
  for (size -= 127; size >= 128; size /= 128) out.push_back(static_cast<char>(0x80 | (size % 128)));
  out.push_back(static_cast<char>(size));
  return out;
}
// As literal(), for a value of 127 bytes or more.
inline std::string long_literal(std::string_view name, std::string_view value) {
  std::string out(1, '\0');
  out.push_back(static_cast<char>(name.size()));
  out.append(name);
  return out.append(hpack_size(value.size())).append(value);
}
inline std::string request_head(std::string_view method = "POST", std::string_view path = "/x",
                                std::string_view authority = "a.example.com") {
  return literal(":method", method) + literal(":scheme", "https") + literal(":path", path) +
         literal(":authority", authority);
}
// All that a machine wants to send.
template <class Machine>
std::string output_of(Machine& machine) {
  std::string out;
  uint8_t room[1000];
  while (size_t size = machine.take_output(room)) out.append(as_text(Bytes(room).first(size)));
  return out;
}
// Types (and for RST_STREAM and GOAWAY the error code) of the frames in `bytes`.
inline std::vector<std::pair<uint8_t, uint32_t>> frames_in(std::string_view bytes) {
  std::vector<std::pair<uint8_t, uint32_t>> out;
  if (bytes.starts_with(kPreface)) bytes.remove_prefix(kPreface.size());
  while (bytes.size() >= 9) {
    auto* at = reinterpret_cast<const uint8_t*>(bytes.data());
    uint32_t size = load_be32(at) >> 8;
    uint32_t code = at[3] == kRstStream ? load_be32(at + 9) : at[3] == kGoaway ? load_be32(at + 13) : 0;
    out.emplace_back(at[3], code);
    bytes.remove_prefix(std::min<size_t>(bytes.size(), 9 + size));
  }
  return out;
}

}  // namespace bellhop::proto
