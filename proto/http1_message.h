// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <llhttp.h>

#include <cstdint>
#include <optional>
#include <string_view>

#include "core/base/bytes.h"
#include "core/base/error.h"
#include "proto/http.h"
#include "proto/http_error.h"
#include "proto/wiping_buffer.h"

namespace bellhop::proto {

enum class Http1Event : uint8_t {
  need_more,  // all input was consumed; nothing to report
  head,       // start line and header fields are complete and were found good
  body,       // Http1Step::body holds the next piece of the body, never empty
  complete,   // the message ended; bytes after `consumed` belong to the next one
};

// What one call of feed() did. The caller drops `consumed` bytes and calls again with the rest until need_more.
struct Http1Step {
  size_t consumed = 0;
  Http1Event event = Http1Event::need_more;
  Bytes body;  // a view into the caller's input
};

// What requests and responses have in common: header fields, body framing, limits. Use Http1RequestParser and
// Http1ResponseParser. llhttp reads heads and the chunked coding; bodies with a length or up to the end of the stream
// are cut here. Nothing is done in llhttp's callbacks but to record.
//
// Invariants:
//   1. Events and errors depend on the bytes only, never on how they were cut into calls.
//   2. Input is looked at no further than the end of the current message.
//   3. Between head and reset() nothing is allocated for a body.
//   4. After an error every feed() gives the same error.
class Http1Message {
 public:
  // Memory for target and fields that an idle parser keeps for the next message.
  static constexpr size_t kIdleBytesMax = 4096;
  // Bytes of chunked coding between two bytes of body: line ends, size, leading zeros.
  static constexpr uint32_t kChunkFramingMax = 64;

  Http1Message(const Http1Message&) = delete;
  Http1Message& operator=(const Http1Message&) = delete;

  // Valid from head to reset().
  const HeaderBlock& headers() const { return headers_; }
  bool http_1_0() const { return minor_version_ == 0; }
  // The body's length where it is known from the head; 0 where there is no body. Nothing if chunked or up to the end.
  std::optional<uint64_t> content_length() const;
  bool has_body() const { return body_kind_ != BodyKind::none; }
  // Whether the peer keeps the connection open after this message (RFC 9112 section 9.3).
  bool keep_alive() const { return keep_alive_; }
  // True between the first byte of a message and its end.
  bool in_message() const { return state_ == State::start_line || state_ == State::head || state_ == State::body; }
  bool complete() const { return state_ == State::complete; }
  // Limit for the body of the current message, in bytes. Call between head and the next feed(). A longer body is
  // body_too_large, as soon as its length is announced or passed.
  void set_body_max(uint64_t bytes) { body_max_ = bytes; }

 protected:
  enum class State : uint8_t { start, start_line, head, body, complete, failed, closed };
  enum class BodyKind : uint8_t { none, length, chunked, until_close };

  Http1Message(llhttp_type_t type, const llhttp_settings_t* settings, HeaderBlock::Limits limits);
  ~Http1Message() = default;

  void begin_message();
  // Feeds at most to the end of the header section, which headers_complete_ then tells. Returns the bytes consumed.
  Result<size_t> feed_header_section(Bytes input);
  // Feeds llhttp until a callback sets `reached`, but head_bytes_ never passes `bytes_max`: error `too_long`.
  Result<size_t> feed_until(const bool& reached, Bytes input, uint32_t bytes_max, HttpError too_long);
  Result<Http1Step> feed_body(Bytes input);
  std::unexpected<Error> fail_with(HttpError code, uint32_t detail = 0);
  std::unexpected<Error> fail_again() const { return fail(error_); }
  std::unexpected<Error> fail_from_llhttp();
  // Runs llhttp over `piece`, which is not empty, to its end or to a pause. Returns the bytes consumed.
  Result<size_t> execute(Bytes piece);
  // Reads Content-Length and Transfer-Encoding into body_kind_ and body_left_ (RFC 9112 section 6.3). False:
  // bad_framing.
  bool read_framing();
  // What version and Connection field say (RFC 9112 section 9.3).
  bool connection_persists() const;
  void forget_head();

  static void fill_common_settings(llhttp_settings_t& settings);
  static Http1Message& self(llhttp_t* parser) { return *static_cast<Http1Message*>(parser->data); }
  // For callbacks: remembers the first error and makes llhttp stop.
  int refuse(HttpError code);

  llhttp_t llhttp_;
  const llhttp_settings_t* settings_;
  llhttp_type_t type_;
  HeaderBlock::Limits limits_;
  HeaderBlock headers_;
  State state_ = State::start;
  BodyKind body_kind_ = BodyKind::none;
  bool keep_alive_ = false;
  bool paused_ = false;            // a callback reached one of our stops
  bool headers_complete_ = false;  // recorded by the callback
  bool chunks_complete_ = false;
  uint8_t minor_version_ = 1;
  uint32_t head_bytes_ = 0;     // of the current start line or header section
  uint32_t framing_bytes_ = 0;  // of chunked coding since the last byte of body
  uint64_t body_left_ = 0;      // of the length, or of the current chunk
  uint64_t body_bytes_ = 0;     // read so far
  uint64_t body_max_ = 0;
  Bytes body_piece_;                  // recorded by the callback
  std::optional<HttpError> refused_;  // recorded by a callback
  Error error_;

 private:
  static int on_header_field(llhttp_t* parser, const char* at, size_t size);
  static int on_header_value(llhttp_t* parser, const char* at, size_t size);
  static int on_header_value_complete(llhttp_t* parser);
  static int on_headers_complete(llhttp_t* parser);
  static int on_chunk_extension(llhttp_t* parser, const char* at, size_t size);
  static int on_chunk_header(llhttp_t* parser);
  static int on_body(llhttp_t* parser, const char* at, size_t size);
  static int on_message_complete(llhttp_t* parser);

  Result<Http1Step> feed_sized_body(Bytes input);
  Result<Http1Step> feed_chunked_body(Bytes input);

  WipingBuffer name_;  // the field line at hand
  WipingBuffer value_;
};

}  // namespace bellhop::proto
