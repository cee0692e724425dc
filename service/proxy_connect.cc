// SPDX-License-Identifier: Apache-2.0
#include "service/proxy_connect.h"

#include "proto/http1.h"
#include "proto/http1_writer.h"
#include "proto/http_error.h"
#include "service/error_texts.h"
#include "service/http1_connection.h"

namespace bellhop::service {
namespace {

constexpr uint16_t kProxyAuthenticationRequired = 407;

// The head on its way out. It may hold the proxy's password.
struct HeadText {
  std::string text;
  HeadText() = default;
  HeadText(const HeadText&) = delete;
  HeadText& operator=(const HeadText&) = delete;
  ~HeadText() { wipe(text); }
};

Task<Status> ask(Stream& stream, const std::string& authority, const crypto::Secret* authorization) {
  HeadText head;
  proto::HeaderField field = {"proxy-authorization", authorization ? authorization->reveal_text() : std::string_view()};
  BH_CO_CHECKED(proto::write_connect_head(head.text, authority, {&field, authorization ? 1u : 0u}));
  co_return co_await stream.write(as_bytes(head.text));
}

Error malformed(const Error& why) {
  if (is(why, proto::HttpError::truncated)) return service_error(ServiceError::proxy_closed);
  return service_error(ServiceError::proxy_malformed, why.code);
}

}  // namespace

Task<Status> connect_through(Stream& stream, const std::string& authority, const crypto::Secret* authorization) {
  BH_CO_CHECKED(co_await ask(stream, authority, authorization));
  proto::Http1ResponseParser parser({.bytes_max = kConnectHeaderBytesMax, .fields_max = kConnectHeaderFieldsMax});
  // Framing fields of a 2xx to CONNECT mean nothing, as with HEAD.
  parser.start(/*head_request=*/true, /*body_max=*/0);
  Http1Reader<proto::Http1ResponseParser> reader(stream, parser);
  Result<proto::Http1Step> step = co_await reader.next();
  if (!step) {
    if (step.error().domain == Domain::http) co_return fail(malformed(step.error()));
    if (is(step.error(), CoreError::closed)) co_return fail(service_error(ServiceError::proxy_closed));
    co_return fail(step.error());
  }
  BH_CHECK(step->event == proto::Http1Event::head);
  uint16_t status = parser.status();
  if (status == kProxyAuthenticationRequired) co_return fail(service_error(ServiceError::proxy_authentication));
  if (status >= 300) co_return fail(service_error(ServiceError::proxy_refused, status));
  if (reader.has_input()) {
    co_return fail(service_error(ServiceError::proxy_malformed,
                                 static_cast<uint32_t>(proto::HttpError::unexpected_bytes)));
  }
  co_return Status();
}

}  // namespace bellhop::service
