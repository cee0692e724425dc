// SPDX-License-Identifier: Apache-2.0
// Answers of a hostile server to a few requests on one connection.
#include "proto/http1.h"
#include "tests/fuzz/fuzz.h"

using namespace bellhop;
using namespace bellhop::proto;

static std::string read_responses(bool head_request, auto feeder) {
  Http1ResponseParser parser({.bytes_max = 4096, .fields_max = 20});
  std::string out;
  int answers = 0;
  bool alive = true;
  auto take = [&](const Http1Step& step) {
    if (step.event == Http1Event::head) {
      out += fmt::format("\n{} keep {} body {}\n", parser.status(), parser.keep_alive(), parser.has_body());
      BH_CHECK(parser.status() >= 200 || parser.status() == 101);
      BH_CHECK(!head_request || !parser.has_body());
    } else if (step.event == Http1Event::body) {
      out += as_text(step.body);
    } else {
      out += "\ncomplete\n";
      alive = ++answers < 4 && parser.keep_alive();
      if (alive) parser.start(head_request, 2048);
    }
  };
  parser.start(head_request, 2048);
  feeder([&](Bytes piece) {
    while (alive) {
      Result<Http1Step> step = parser.feed(piece);
      if (!step) {
        out += fuzz::text_of(step.error());
        alive = false;
        break;
      }
      piece = piece.subspan(step->consumed);
      if (step->event == Http1Event::need_more) break;
      take(*step);
    }
    return alive;
  });
  if (!alive) return out;
  Result<Http1Step> end = parser.finish();
  return out + (end ? fmt::format("\nend {}", end->event == Http1Event::complete) : fuzz::text_of(end.error()));
}

BELLHOP_FUZZ_TARGET(input) {
  bool head_request = fuzz::hash_of(input) % 8 == 0;
  fuzz::same_however_cut(input, [&](auto feeder) { return read_responses(head_request, feeder); });
}
