// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "core/base/check.h"
#include "tests/proto/http1_trace.h"

namespace bellhop::proto {
namespace {

void add_fields(std::string& trace, const HeaderBlock& headers) {
  for (size_t i = 0; i < headers.size(); ++i) {
    trace.append(" [").append(headers.at(i).name).append(": ").append(headers.at(i).value).append("]");
  }
}

void add_framing(std::string& trace, const Http1Message& message) {
  auto length = message.content_length();
  trace.append(length ? " length=" + std::to_string(*length) : " length=?");
  trace.append(message.keep_alive() ? " keep" : " close").append(message.http_1_0() ? " 1.0" : "").append("\n");
}

void add_error(std::string& trace, const Error& error) {
  BH_CHECK(error.domain == Domain::http);
  trace.append("error ").append(http_error_text(error.code, error.detail)).append("\n");
}

// Adjacent body lines become one.
void add_body(std::string& trace, bool& in_body, Bytes body) {
  BH_CHECK(!body.empty());
  if (!in_body) trace.append("body ");
  in_body = true;
  trace.append(as_text(body));
}

// Calls feed(piece) and on_step(step) until the piece is used up; false after an error.
template <class Parser, class OnStep>
bool feed_piece(Parser& parser, std::string_view piece, std::string& trace, bool& in_body, OnStep&& on_step) {
  for (;;) {
    auto step = parser.feed(as_bytes(piece));
    if (in_body && (!step || (step->event != Http1Event::body && step->event != Http1Event::need_more))) {
      trace.append("\n");
      in_body = false;
    }
    if (!step) {
      add_error(trace, step.error());
      auto again = parser.feed(as_bytes(piece));
      BH_CHECK(!again && again.error() == step.error());
      return false;
    }
    BH_CHECK(step->consumed <= piece.size());
    piece.remove_prefix(step->consumed);
    if (step->event == Http1Event::body) add_body(trace, in_body, step->body);
    if (step->event == Http1Event::need_more) {
      BH_CHECK(piece.empty());
      return true;
    }
    on_step(step->event);
  }
}

template <class Parser, class OnStep>
bool feed_all(Parser& parser, std::string_view input, const Pieces& pieces, std::string& trace, OnStep&& on_step) {
  bool in_body = false;
  for (size_t i = 0; !input.empty(); ++i) {
    size_t size = std::min(pieces[std::min(i, pieces.size() - 1)], input.size());
    std::string piece(input.substr(0, size));  // its own memory, so that a sanitizer sees reads past its end
    input.remove_prefix(size);
    if (!feed_piece(parser, piece, trace, in_body, on_step)) return false;
  }
  if (in_body) trace.append("\n");
  return true;
}

}  // namespace

std::string trace_requests(std::string_view input, const Pieces& pieces, const TraceOptions& options) {
  Http1RequestParser parser(options.limits);
  std::string trace;
  bool good = feed_all(parser, input, pieces, trace, [&](Http1Event event) {
    if (event == Http1Event::head) {
      trace.append(method_name(parser.method())).append(" ").append(parser.target());
      if (parser.expects_continue()) trace.append(" expects-continue");
      add_fields(trace, parser.headers());
      add_framing(trace, parser);
      parser.set_body_max(options.body_max);
    }
    if (event == Http1Event::complete) {
      trace.append("complete\n");
      parser.reset();
    }
  });
  if (good) trace.append(parser.in_message() ? "more\n" : "idle\n");
  return trace;
}

std::string trace_responses(std::string_view input, const Pieces& pieces, const TraceOptions& options) {
  Http1ResponseParser parser(options.limits);
  std::string trace;
  parser.start(options.head_requests, options.body_max);
  bool good = feed_all(parser, input, pieces, trace, [&](Http1Event event) {
    if (event == Http1Event::head) {
      trace.append(std::to_string(parser.status()));
      trace.append(" interim=" + std::to_string(parser.interim_count()));
      add_fields(trace, parser.headers());
      add_framing(trace, parser);
    }
    if (event == Http1Event::complete) {
      trace.append("complete\n");
      if (parser.keep_alive()) parser.start(options.head_requests, options.body_max);
    }
  });
  if (!good || !options.end_of_stream) return trace;
  auto end = parser.finish();
  if (!end) {
    add_error(trace, end.error());
  } else {
    trace.append(end->event == Http1Event::complete ? "complete at end\n" : "end\n");
  }
  return trace;
}

}  // namespace bellhop::proto
