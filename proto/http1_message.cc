// SPDX-License-Identifier: Apache-2.0
#include "proto/http1_message.h"

#include <algorithm>

#include "core/base/check.h"

namespace bellhop::proto {
namespace {

// Where llhttp's code alone does not say what was broken, the part that was being read does.
HttpError error_of_llhttp(llhttp_errno_t code, HttpError otherwise) {
  switch (code) {
    case HPE_INVALID_METHOD:
    case HPE_INVALID_CONSTANT:
      return HttpError::bad_start_line;
    case HPE_INVALID_URL:
      return HttpError::bad_target;
    case HPE_INVALID_VERSION:
    case HPE_PAUSED_H2_UPGRADE:
      return HttpError::bad_version;
    case HPE_INVALID_STATUS:
      return HttpError::bad_status;
    case HPE_INVALID_HEADER_TOKEN:
      return HttpError::bad_header;
    case HPE_UNEXPECTED_CONTENT_LENGTH:
    case HPE_INVALID_CONTENT_LENGTH:
    case HPE_INVALID_TRANSFER_ENCODING:
      return HttpError::bad_framing;
    case HPE_INVALID_CHUNK_SIZE:
      return HttpError::bad_chunk;
    default:
      return otherwise;  // line ends and spaces
  }
}

bool all_digits(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace

Http1Message::Http1Message(llhttp_type_t type, const llhttp_settings_t* settings, HeaderBlock::Limits limits)
    : settings_(settings), type_(type), limits_(limits), headers_(limits) {
  llhttp_init(&llhttp_, type_, settings_);
}

void Http1Message::fill_common_settings(llhttp_settings_t& settings) {
  llhttp_settings_init(&settings);
  settings.on_header_field = on_header_field;
  settings.on_header_value = on_header_value;
  settings.on_header_value_complete = on_header_value_complete;
  settings.on_headers_complete = on_headers_complete;
  settings.on_chunk_extension_name = on_chunk_extension;
  settings.on_chunk_extension_value = on_chunk_extension;
  settings.on_chunk_header = on_chunk_header;
  settings.on_body = on_body;
  settings.on_message_complete = on_message_complete;
}

void Http1Message::begin_message() {
  llhttp_init(&llhttp_, type_, settings_);
  llhttp_.data = this;
  paused_ = headers_complete_ = chunks_complete_ = false;
  keep_alive_ = false;
  body_kind_ = BodyKind::none;
  head_bytes_ = framing_bytes_ = 0;
  body_left_ = body_bytes_ = body_max_ = 0;
  body_piece_ = {};
}

// Wipes what was read. A large header block gives its memory back, so that an idle connection stays small.
void Http1Message::forget_head() {
  if (head_bytes_ > kIdleBytesMax / 2) {  // HeaderBlock doubles
    headers_ = HeaderBlock(limits_);
  } else {
    headers_.clear();
  }
  for (WipingBuffer* buffer : {&name_, &value_}) {
    if (buffer->capacity() > kIdleBytesMax) {
      buffer->release();
    } else {
      buffer->clear();
    }
  }
}

std::optional<uint64_t> Http1Message::content_length() const {
  switch (body_kind_) {
    case BodyKind::none:
      return 0;
    case BodyKind::length:
      return body_left_ + body_bytes_;
    case BodyKind::chunked:
    case BodyKind::until_close:
      break;
  }
  return std::nullopt;
}

std::unexpected<Error> Http1Message::fail_with(HttpError code, uint32_t detail) {
  state_ = State::failed;
  keep_alive_ = false;
  error_ = http_error(code, detail);
  return fail(error_);
}

// Inside the chunked coding and in HTTP/0.9 the code depends on how the input was cut (a callback may refuse first the
// part that llhttp refuses later), so it is not told.
std::unexpected<Error> Http1Message::fail_from_llhttp() {
  if (refused_) return fail_with(*refused_);
  if (state_ == State::body) return fail_with(HttpError::bad_chunk);
  bool known_version = llhttp_.http_major == 1 && llhttp_.http_minor <= 1;
  bool version_0_9 = llhttp_.http_major == 0 && llhttp_.http_minor == 9;
  if (state_ == State::start_line && version_0_9) return fail_with(HttpError::bad_version);
  HttpError otherwise = state_ == State::start_line ? HttpError::bad_start_line : HttpError::bad_header;
  llhttp_errno_t code = llhttp_get_errno(&llhttp_);
  HttpError error = error_of_llhttp(code, otherwise);
  if (error == HttpError::bad_version && known_version) error = otherwise;  // what follows the version is wrong
  return fail_with(error, static_cast<uint32_t>(code));
}

int Http1Message::refuse(HttpError code) {
  if (!refused_) refused_ = code;
  return -1;
}

Result<size_t> Http1Message::execute(Bytes piece) {
  BH_CHECK(!piece.empty());
  if (paused_) llhttp_resume(&llhttp_);
  paused_ = false;
  const char* data = as_text(piece).data();
  llhttp_errno_t code = llhttp_execute(&llhttp_, data, piece.size());
  if (code == HPE_OK) return piece.size();
  if (code != HPE_PAUSED) return fail_from_llhttp();
  paused_ = true;
  return static_cast<size_t>(llhttp_get_error_pos(&llhttp_) - data);
}

Result<size_t> Http1Message::feed_until(const bool& reached, Bytes input, uint32_t bytes_max, HttpError too_long) {
  if (input.empty()) return size_t{0};
  BH_CHECK(head_bytes_ <= bytes_max);
  Bytes piece = input.first(std::min<size_t>(input.size(), bytes_max - head_bytes_));
  if (piece.empty()) return fail_with(too_long);
  BH_TRY(size_t used, execute(piece));
  head_bytes_ += static_cast<uint32_t>(used);
  if (!reached && used < input.size()) return fail_with(too_long);
  return used;
}

Result<size_t> Http1Message::feed_header_section(Bytes input) {
  return feed_until(headers_complete_, input, limits_.bytes_max, HttpError::header_too_large);
}

bool Http1Message::read_framing() {
  size_t encodings = headers_.count("transfer-encoding");
  size_t lengths = headers_.count("content-length");
  if (encodings + lengths > 1) return false;
  if (encodings == 1) {
    if (http_1_0() || !(llhttp_.flags & F_CHUNKED)) return false;
    if (!ascii_equal_ignoring_case(*headers_.find("transfer-encoding"), "chunked")) return false;
    body_kind_ = BodyKind::chunked;
  }
  if (lengths == 1) {
    std::string_view text = *headers_.find("content-length");
    auto length = parse_decimal(text);
    if (!all_digits(text) || !length || *length != llhttp_.content_length) return false;
    body_left_ = *length;
    if (body_left_ > 0) body_kind_ = BodyKind::length;
  }
  return true;
}

bool Http1Message::connection_persists() const {
  if (llhttp_.flags & F_CONNECTION_CLOSE) return false;
  return !http_1_0() || (llhttp_.flags & F_CONNECTION_KEEP_ALIVE);
}

Result<Http1Step> Http1Message::feed_body(Bytes input) {
  BH_CHECK(state_ == State::body);
  switch (body_kind_) {
    case BodyKind::none:
      break;
    case BodyKind::chunked:
      return feed_chunked_body(input);
    case BodyKind::length:
    case BodyKind::until_close:
      return feed_sized_body(input);
  }
  state_ = State::complete;
  return Http1Step{.event = Http1Event::complete};
}

Result<Http1Step> Http1Message::feed_sized_body(Bytes input) {
  bool sized = body_kind_ == BodyKind::length;
  if (sized && body_left_ > body_max_ - std::min(body_max_, body_bytes_)) return fail_with(HttpError::body_too_large);
  if (sized && body_left_ == 0) {
    state_ = State::complete;
    return Http1Step{.event = Http1Event::complete};
  }
  if (input.empty()) return Http1Step{};
  uint64_t room = sized ? body_left_ : body_max_ - std::min(body_max_, body_bytes_);
  if (room == 0) return fail_with(HttpError::body_too_large);
  Bytes piece = input.first(std::min<uint64_t>(input.size(), room));
  body_bytes_ += piece.size();
  if (sized) body_left_ -= piece.size();
  return Http1Step{piece.size(), Http1Event::body, piece};
}

// llhttp pauses after each span of body and at the end, so one call sees at most one of them. A piece is never longer
// than the rest of the chunk and what the framing may still take: this is what makes the limits exact.
Result<Http1Step> Http1Message::feed_chunked_body(Bytes input) {
  size_t used = 0;
  while (used < input.size()) {
    BH_CHECK(framing_bytes_ <= kChunkFramingMax);
    uint64_t room = body_left_ + (kChunkFramingMax - framing_bytes_);
    if (room == 0) return fail_with(HttpError::bad_chunk);
    body_piece_ = {};
    BH_TRY(size_t n, execute(input.subspan(used, std::min<uint64_t>(input.size() - used, room))));
    used += n;
    if (!body_piece_.empty()) {
      BH_CHECK(body_piece_.size() <= body_left_);
      framing_bytes_ = 0;
      body_left_ -= body_piece_.size();
      body_bytes_ += body_piece_.size();
      return Http1Step{used, Http1Event::body, body_piece_};
    }
    framing_bytes_ += static_cast<uint32_t>(n);
    if (chunks_complete_) {
      state_ = State::complete;
      return Http1Step{used, Http1Event::complete, {}};
    }
  }
  return Http1Step{.consumed = used};
}

int Http1Message::on_header_field(llhttp_t* parser, const char* at, size_t size) {
  Http1Message& message = self(parser);
  if (message.state_ == State::start_line) return message.refuse(HttpError::bad_version);  // HTTP/0.9 has no fields
  if (message.state_ != State::head) return message.refuse(HttpError::bad_chunk);          // trailers
  message.name_.append(std::string_view(at, size));
  return 0;
}

int Http1Message::on_header_value(llhttp_t* parser, const char* at, size_t size) {
  self(parser).value_.append(std::string_view(at, size));
  return 0;
}

int Http1Message::on_header_value_complete(llhttp_t* parser) {
  Http1Message& message = self(parser);
  if (message.state_ != State::head) return message.refuse(HttpError::bad_chunk);
  bool added = message.headers_.add(message.name_.text(), ascii_trim(message.value_.text()));
  message.name_.clear();
  message.value_.clear();
  return added ? 0 : message.refuse(HttpError::header_too_large);
}

int Http1Message::on_headers_complete(llhttp_t* parser) {
  Http1Message& message = self(parser);
  if (message.state_ == State::start_line) return message.refuse(HttpError::bad_version);
  message.headers_complete_ = true;
  return HPE_PAUSED;
}

int Http1Message::on_chunk_extension(llhttp_t* parser, const char*, size_t) {
  return self(parser).refuse(HttpError::bad_chunk);
}

int Http1Message::on_chunk_header(llhttp_t* parser) {
  Http1Message& message = self(parser);
  BH_CHECK(message.body_left_ == 0);
  uint64_t room = message.body_max_ - std::min(message.body_max_, message.body_bytes_);
  if (parser->content_length > room) return message.refuse(HttpError::body_too_large);
  message.body_left_ = parser->content_length;
  return 0;
}

int Http1Message::on_body(llhttp_t* parser, const char* at, size_t size) {
  if (size == 0) return 0;
  self(parser).body_piece_ = as_bytes(std::string_view(at, size));
  return HPE_PAUSED;
}

int Http1Message::on_message_complete(llhttp_t* parser) {
  self(parser).chunks_complete_ = true;
  return HPE_PAUSED;
}

}  // namespace bellhop::proto
