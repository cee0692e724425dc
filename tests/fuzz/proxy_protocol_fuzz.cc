// SPDX-License-Identifier: Apache-2.0
// The header of a load balancer: the same however it is cut, never more bytes taken than wanted, and what it names can be
// written and read again.
#include "proto/proxy_protocol.h"
#include "tests/fuzz/fuzz.h"

using namespace bellhop;
using namespace bellhop::proto;

BELLHOP_FUZZ_TARGET(input) {
  fuzz::same_however_cut(input, [](auto drive) {
    ProxyHeaderParser parser;
    std::string transcript;
    size_t taken = 0;
    drive([&](Bytes piece) {
      size_t wanted = parser.wanted();
      auto step = parser.feed(piece);
      if (!step) {
        transcript += fuzz::text_of(step.error());
        return false;
      }
      taken += step->consumed;
      BH_CHECK(step->consumed <= piece.size() && taken <= ProxyHeaderParser::kBytesMax);
      BH_CHECK(step->complete || step->consumed == piece.size() || wanted < piece.size());
      if (!step->complete) return true;
      BH_CHECK(parser.wanted() == 0);
      const ProxyHeader& header = parser.header();
      transcript += fmt::format("{} {} {} after {}\n", header.proxied, header.source.to_string(),
                                header.destination.to_string(), taken);
      if (header.source.ip.v6 == header.destination.ip.v6) {
        ProxyHeaderParser again;
        auto reread = again.feed(write_proxy_header(header, true));
        BH_CHECK(reread && reread->complete && again.header().source == header.source);
      }
      return false;
    });
    return transcript;
  });
}
