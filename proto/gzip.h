// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "core/base/bytes.h"
#include "core/base/error.h"
#include "proto/wiping_buffer.h"

// The gzip content coding (RFC 1952, RFC 9110 section 8.4.1.3), on zlib.
namespace bellhop::proto {

// What inflated text may be of its gzip: a bomb makes a thousand of one. EWS answers stay below 20, but for the sameness
// of long lists, so the first bytes are free.
inline constexpr uint64_t kGzipRatioMax = 20;
inline constexpr uint64_t kGzipFreeBytes = 64 * 1024;

// Inflates the body of one message, which may hold mail text: what zlib used is wiped when the reader dies.
class GzipReader {
 public:
  // `bytes_max`: most bytes of inflated text.
  explicit GzipReader(uint64_t bytes_max);
  GzipReader(const GzipReader&) = delete;
  GzipReader& operator=(const GzipReader&) = delete;
  ~GzipReader();

  // Appends what `input` inflates to. Any split gives the same text, but at the edge of the ratio, which is judged piece
  // by piece. Errors: HttpError::bad_coding (not gzip, a wrong
  // check sum, bytes after the end), body_too_large (bytes_max, or the ratio). After one, no further call.
  Status feed(Bytes input, WipingBuffer& out);
  // The end of the body. HttpError::bad_coding where the gzip is not complete; a body without a byte is empty.
  Status finish() const;

 private:
  struct Stream;
  std::unique_ptr<Stream> stream_;
  const uint64_t bytes_max_;
  uint64_t bytes_out_ = 0;
  bool ended_ = false;
};

// `text` as one gzip member. For stand-ins and tests.
std::string gzip(std::string_view text);

}  // namespace bellhop::proto
