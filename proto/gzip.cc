// SPDX-License-Identifier: Apache-2.0
#include "proto/gzip.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdlib>

#include "core/base/check.h"
#include "proto/http_error.h"

namespace bellhop::proto {
namespace {

constexpr int kGzipOnly = 16 + MAX_WBITS;
constexpr size_t kPieceBytes = 8 * 1024;

// In front of each block, so that it can be wiped.
struct alignas(std::max_align_t) BlockSize {
  size_t bytes;
};

void* allocate(void*, unsigned count, unsigned size) {
  size_t bytes = size_t{count} * size;
  auto* block = static_cast<BlockSize*>(std::malloc(sizeof(BlockSize) + bytes));
  if (!block) return nullptr;
  block->bytes = bytes;
  return block + 1;
}

void release(void*, void* memory) {
  BlockSize* block = static_cast<BlockSize*>(memory) - 1;
  wipe(MutableBytes(static_cast<uint8_t*>(memory), block->bytes));
  std::free(block);
}

}  // namespace

struct GzipReader::Stream {
  Stream() {
    z.zalloc = allocate;
    z.zfree = release;
    BH_CHECK(inflateInit2(&z, kGzipOnly) == Z_OK);  // fails for want of memory only
  }
  ~Stream() { inflateEnd(&z); }
  z_stream z{};
};

GzipReader::GzipReader(uint64_t bytes_max) : stream_(std::make_unique<Stream>()), bytes_max_(bytes_max) {}
GzipReader::~GzipReader() = default;

Status GzipReader::feed(Bytes input, WipingBuffer& out) {
  if (input.empty()) return {};
  if (ended_) return fail(http_error(HttpError::bad_coding));
  z_stream& z = stream_->z;
  z.next_in = const_cast<Bytef*>(input.data());
  z.avail_in = static_cast<uInt>(input.size());
  std::array<uint8_t, kPieceBytes> piece;
  Status status;
  do {
    z.next_out = piece.data();
    z.avail_out = static_cast<uInt>(piece.size());
    int result = inflate(&z, Z_NO_FLUSH);
    size_t made = piece.size() - z.avail_out;
    bytes_out_ += made;
    if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR) {
      status = fail(http_error(HttpError::bad_coding));
    } else if (bytes_out_ > bytes_max_ || bytes_out_ > std::max<uint64_t>(kGzipFreeBytes, kGzipRatioMax * z.total_in)) {
      status = fail(http_error(HttpError::body_too_large));
    } else {
      out.append(Bytes(piece).first(made));
      ended_ = result == Z_STREAM_END;
      if (ended_ && z.avail_in > 0) status = fail(http_error(HttpError::bad_coding));
    }
  } while (status && !ended_ && z.avail_out == 0);
  wipe(piece);
  return status;
}

Status GzipReader::finish() const {
  if (ended_ || stream_->z.total_in == 0) return {};
  return fail(http_error(HttpError::bad_coding));
}

std::string gzip(std::string_view text) {
  z_stream z{};
  BH_CHECK(deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, kGzipOnly, MAX_MEM_LEVEL, Z_DEFAULT_STRATEGY) == Z_OK);
  std::string out(deflateBound(&z, text.size()), '\0');
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  z.avail_in = static_cast<uInt>(text.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  BH_CHECK(deflate(&z, Z_FINISH) == Z_STREAM_END);
  out.resize(z.total_out);
  deflateEnd(&z);
  return out;
}

}  // namespace bellhop::proto
