// SPDX-License-Identifier: Apache-2.0
// Frames of a hostile client on the public listener. Every request is answered, reset or released once; nothing of a body
// is held when the connection has ended.
#include <array>
#include <map>
#include <set>

#include "proto/http2_server.h"
#include "proto/wiping_buffer.h"
#include "tests/fuzz/fuzz.h"

using namespace bellhop;
using namespace bellhop::proto;

namespace {

constexpr uint32_t kStreamWindow = 65'535;
constexpr uint32_t kConnectionWindow = 131'072;
constexpr std::array<uint8_t, 3000> kPiece{};

struct Host {
  Http2BodyMemory memory{.bytes_max = 100'000};
  Http2Server server{{.streams_max = 4,
                      .header_bytes_max = 1024,
                      .header_fields_max = 20,
                      .stream_window_bytes = kStreamWindow,
                      .connection_window_bytes = kConnectionWindow,
                      .header_table_bytes = 0,
                      .resets_max = 10,
                      .control_frames_max = 50},
                     &memory};
  std::map<int32_t, bool> work;  // true: the stream is lost
  std::set<int32_t> in_pieces;   // of them, those whose answer has begun

  void drain_output() {
    uint8_t room[512];
    for (int i = 0; i < 1000 && server.take_output(room) > 0; ++i) {
    }
  }
  void take_events() {
    while (std::optional<Http2ServerEvent> event = server.next_event()) {
      if (auto* request = std::get_if<Http2ServerRequest>(&*event)) {
        BH_CHECK(work.emplace(request->stream_id, false).second);
        BH_CHECK(request->path == "*" || request->path.starts_with('/'));
        if (request->expects_continue) (void)server.invite_body(request->stream_id);
        server.watch_body(request->stream_id);
      } else if (auto* lost = std::get_if<Http2StreamLost>(&*event)) {
        auto found = work.find(lost->stream_id);
        BH_CHECK(found != work.end() && !found->second);
        found->second = true;
      }
    }
    BH_CHECK(server.requests_in_work() == work.size());
    BH_CHECK(memory.bytes <= memory.bytes_max);
  }
  // Reads and answers in pieces; at times the work ends with it.
  std::map<int32_t, bool>::iterator answer_in_pieces(std::map<int32_t, bool>::iterator it, uint64_t choice) {
    int32_t id = it->first;
    WipingBuffer piece;
    if (choice % 2 && server.take_body(id, piece)) {
      BH_CHECK(piece.size() <= kStreamWindow);
      if (choice % 4 == 1) server.return_taken(id);
    }
    if (!server.unread_body(id)) return ++it;  // the connection is over
    if (in_pieces.insert(id).second) BH_CHECK(server.begin_response(id, 200, {}).has_value());
    server.watch_answer(id);
    server.watch_body(id);
    if (server.unsent_answer(id) < Http2Server::kAnswerRoomBytes) {
      BH_CHECK(server.write_body(id, Bytes(kPiece).first(choice % kPiece.size())).has_value());
    }
    if (choice % 3 != 0) return ++it;
    BH_CHECK((choice % 9 == 0 ? server.reset(id, Http2Code::cancel) : server.end_response(id)).has_value());
    in_pieces.erase(id);
    return work.erase(it);
  }
  // What an application might do with each request now.
  void act(uint64_t choice) {
    for (auto it = work.begin(); it != work.end(); choice = choice * 7 + 1) {
      int32_t id = it->first;
      if (it->second) {
        BH_CHECK(server.release(id).has_value());
        in_pieces.erase(id);
        it = work.erase(it);
        continue;
      }
      if (choice % 11 < 3 || in_pieces.count(id) > 0) {
        it = answer_in_pieces(it, choice);
        continue;
      }
      if (Result<Http2UnreadBody> body = server.unread_body(id); body && choice % 2) {
        BH_CHECK(body->bytes.size() <= kStreamWindow);
        server.consume_body(id);
      }
      switch (choice % 5) {
        case 0: {
          Http2Header header{.name = "content-type", .value = "text/plain"};
          BH_CHECK(server.respond(id, 200, {&header, 1}, as_bytes("fine")).has_value());
          it = work.erase(it);
          break;
        }
        case 1:
          BH_CHECK(server.reset(id, Http2Code::cancel).has_value());
          it = work.erase(it);
          break;
        default:
          server.watch_body(id);
          ++it;
      }
    }
  }
};

}  // namespace

BELLHOP_FUZZ_TARGET(input) {
  Host host;
  uint64_t choice = fuzz::hash_of(input);
  fuzz::in_pieces(input, [&](Bytes piece) {
    bool alive = host.server.feed(piece).has_value();
    host.drain_output();
    host.take_events();
    host.act(choice = choice * 6364136223846793005u + 1442695040888963407u);
    host.drain_output();
    host.take_events();
    return alive && !host.server.finished();
  });
  host.server.connection_lost();
  host.take_events();
  for (auto& [id, lost] : host.work) BH_CHECK(lost && host.server.release(id).has_value());
  BH_CHECK(host.server.requests_in_work() == 0);
  BH_CHECK(host.memory.bytes == 0);
}
