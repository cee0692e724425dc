// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "core/base/bytes.h"
#include "core/base/error.h"
#include "core/base/ip.h"

namespace bellhop::proto {

// What a load balancer says of the connection that it passes on.
struct ProxyHeader {
  // False: it names nobody (command LOCAL, as of health checks, or a family that is not TCP over IP). The connection is
  // then the balancer's own.
  bool proxied = false;
  SocketAddress source;  // the client; an IPv4 address in an IPv6 one is taken out of it
  SocketAddress destination;
};

// Reads a header of the PROXY protocol, version 2 (the specification of HAProxy, section 2.2). Version 1 is refused: it is
// text, and nobody needs it. TLVs are checked for their form and skipped, but for the CRC-32C, which must fit where it is
// sent. Never takes a byte beyond the header, so that the caller reads just wanted() bytes and leaves TLS to TLS.
class ProxyHeaderParser {
 public:
  static constexpr size_t kFixedBytes = 16;  // signature, version and command, family, length
  static constexpr size_t kBytesMax = 4096;  // of the whole header; balancers send some hundred

  struct Step {
    size_t consumed = 0;
    bool complete = false;
  };
  // Takes at most wanted() bytes. The first wrong byte fails. After complete it takes nothing; an error stays.
  // Errors: HttpError::proxy_header_*.
  Result<Step> feed(Bytes input);
  // Bytes that surely belong to the header; 0 once it is complete.
  size_t wanted() const { return size_ - bytes_.size(); }
  const ProxyHeader& header() const { return header_; }  // once complete

 private:
  Status check_fixed();
  Status read_payload();
  Status read_tlvs(size_t at);

  std::vector<uint8_t> bytes_;
  size_t size_ = kFixedBytes;  // of the header, as far as it is known
  Error error_{};
  ProxyHeader header_;
};

// CRC-32C (Castagnoli; RFC 3720 appendix B.4).
uint32_t crc32c(Bytes bytes);

// A header, as a load balancer sends it. For stand-ins and tests. Both addresses are of one family.
std::vector<uint8_t> write_proxy_header(const ProxyHeader& header, bool with_checksum);

}  // namespace bellhop::proto
