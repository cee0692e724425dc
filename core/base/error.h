// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <utility>

namespace bellhop {

// Where an error's code comes from. One table per domain turns codes into text (error_text).
enum class Domain : uint8_t {
  none = 0,
  os,       // code = errno
  core,     // code = CoreError
  tls,      // code = TlsError
  dns,      // code = DnsError
  http,     // code = proto::HttpError
  xml,      // code = proto::XmlError
  ews,      // code = proto::EwsError
  json,     // code = proto::JsonError
  url,      // code = proto::UrlError
  crypto,   // code = crypto::CryptoError
  store,    // code = store::StoreError
  config,   // code = service::ConfigError
  service,  // code = service::ServiceError
  push,     // code = service::PushError
  http2,    // code = proto::Http2Error
  kerberos, // code = service::KerberosError
  gateway,  // code = proto::GatewayError
};

// What failed, in 8 bytes. `detail` is a number that the domain defines (a position, a status, a TLS alert).
// The text is made where the error is logged, not where it happens.
struct Error {
  Domain domain = Domain::none;
  uint8_t reserved = 0;
  uint16_t code = 0;
  uint32_t detail = 0;

  friend bool operator==(const Error&, const Error&) = default;
};
static_assert(sizeof(Error) == 8);

enum class CoreError : uint16_t {
  canceled = 1,    // the flow was asked to stop
  timed_out = 2,   // its deadline passed
  closed = 3,      // the peer, or we, closed the stream
  limit = 4,       // a named bound was reached
  unsupported = 5, // the platform lacks what is needed
};

inline Error core_error(CoreError code, uint32_t detail = 0) {
  return {Domain::core, 0, static_cast<uint16_t>(code), detail};
}
inline Error os_error(int error_number, uint32_t detail = 0) {
  return {Domain::os, 0, static_cast<uint16_t>(error_number), detail};
}
inline bool is(const Error& error, CoreError code) {
  return error.domain == Domain::core && error.code == static_cast<uint16_t>(code);
}

template <class T>
using Result = std::expected<T, Error>;
using Status = std::expected<void, Error>;

inline std::unexpected<Error> fail(Error error) { return std::unexpected<Error>(error); }

// A domain's text table: a function from (code, detail) to a short English phrase that starts in lower case.
// Each folder registers its domains once, at start (register_error_texts); an unregistered one prints as "domain N code M".
using ErrorTextFunction = std::string (*)(uint16_t code, uint32_t detail);
void register_error_text(Domain domain, std::string_view name, ErrorTextFunction function);
// "tls: certificate verify failed (detail 20)". Never holds personal data.
std::string error_text(const Error& error);

}  // namespace bellhop

#define BH_CONCAT_INNER(a, b) a##b
#define BH_CONCAT(a, b) BH_CONCAT_INNER(a, b)

// Statement forms of "return the error, else go on". BH_TRY(auto x, f()) declares x; BH_CHECKED(f()) drops the value.
// BH_CO_* are the same inside a coroutine; the expression may hold a co_await.
#define BH_TRY_IMPL(return_word, temporary, declaration, ...)             \
  auto temporary = (__VA_ARGS__);                                         \
  if (!temporary) [[unlikely]] return_word ::bellhop::fail(temporary.error()); \
  declaration = *std::move(temporary)
#define BH_TRY(declaration, ...) BH_TRY_IMPL(return, BH_CONCAT(bh_try_, __COUNTER__), declaration, __VA_ARGS__)
#define BH_CO_TRY(declaration, ...) BH_TRY_IMPL(co_return, BH_CONCAT(bh_try_, __COUNTER__), declaration, __VA_ARGS__)
#define BH_CHECKED_IMPL(return_word, temporary, ...) \
  if (auto temporary = (__VA_ARGS__); !temporary) [[unlikely]] return_word ::bellhop::fail(temporary.error())
#define BH_CHECKED(...) BH_CHECKED_IMPL(return, BH_CONCAT(bh_try_, __COUNTER__), __VA_ARGS__)
#define BH_CO_CHECKED(...) BH_CHECKED_IMPL(co_return, BH_CONCAT(bh_try_, __COUNTER__), __VA_ARGS__)
