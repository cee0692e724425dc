// SPDX-License-Identifier: Apache-2.0
// Requests of a connection, one after the other.
#include "proto/http1.h"
#include "tests/fuzz/fuzz.h"

using namespace bellhop;
using namespace bellhop::proto;

static std::string read_requests(auto feeder) {
  Http1RequestParser parser({.bytes_max = 4096, .fields_max = 20});
  std::string out;
  bool alive = true;
  feeder([&](Bytes piece) {
    while (alive) {
      Result<Http1Step> step = parser.feed(piece);
      if (!step) {
        out += fuzz::text_of(step.error());
        alive = false;
        break;
      }
      BH_CHECK(step->consumed <= piece.size());
      piece = piece.subspan(step->consumed);
      if (step->event == Http1Event::need_more) {
        BH_CHECK(piece.empty());
        break;
      }
      if (step->event == Http1Event::head) {
        parser.set_body_max(2048);
        out += fmt::format("\n{} {} keep {} body {}\n", method_name(parser.method()), parser.target(),
                           parser.keep_alive(), parser.has_body());
        for (size_t i = 0; i < parser.headers().size(); ++i) {
          HeaderField field = parser.headers().at(i);
          out += fmt::format("{}={}\n", field.name, field.value);
          // What could be read as two fields, or as the end of the head, has no place in a value.
          BH_CHECK(field.value.find_first_of(std::string_view("\r\n\0", 3)) == std::string_view::npos);
        }
      } else if (step->event == Http1Event::body) {
        BH_CHECK(!step->body.empty());
        out += as_text(step->body);
      } else {
        out += "\ncomplete\n";
        parser.reset();
      }
    }
    return alive;
  });
  return out;
}

BELLHOP_FUZZ_TARGET(input) {
  fuzz::same_however_cut(input, [](auto feeder) { return read_requests(feeder); });
}
