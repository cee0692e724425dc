// SPDX-License-Identifier: Apache-2.0
// Frames of a hostile push service. Each request must end exactly once, whatever comes.
#include <set>

#include "proto/http2_client.h"
#include "tests/fuzz/fuzz.h"

using namespace bellhop;
using namespace bellhop::proto;

namespace {

struct Peer {
  Http2Client client{{.streams_max = 8, .streams_before_settings = 4, .resets_max = 10, .control_frames_max = 50}};
  std::set<int32_t> open;

  void submit() {
    Http2Request request{.authority = "push.example.com", .path = "/3/device/00", .headers = {}, .body = {}};
    while (client.can_submit() && open.size() < 8) {
      Result<int32_t> id = client.submit(request);
      if (!id) return;
      BH_CHECK(open.insert(*id).second);
    }
  }
  void drain_output() {
    uint8_t room[512];
    for (int i = 0; i < 1000 && client.take_output(room) > 0; ++i) {
    }
  }
  void take_events() {
    while (std::optional<Http2ClientEvent> event = client.next_event()) {
      if (auto* response = std::get_if<Http2Response>(&*event)) {
        BH_CHECK(open.erase(response->stream_id) == 1 && response->status >= 200);
      } else if (auto* failed = std::get_if<Http2StreamFailed>(&*event)) {
        BH_CHECK(open.erase(failed->stream_id) == 1);
      }
    }
  }
};

}  // namespace

BELLHOP_FUZZ_TARGET(input) {
  Peer peer;
  peer.submit();
  peer.drain_output();
  fuzz::in_pieces(input, [&](Bytes piece) {
    bool alive = peer.client.feed(piece).has_value();
    peer.drain_output();
    peer.take_events();
    if (alive) peer.submit();
    return alive && !peer.client.finished();
  });
  peer.client.connection_lost();
  peer.take_events();
  BH_CHECK(peer.open.empty());
}
