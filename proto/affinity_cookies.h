// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/error.h"
#include "core/base/time.h"
#include "proto/http.h"

namespace bellhop::proto {

// The cookies that Exchange, or a balancer in front of it, set for one client and wants back (X-BackEndOverrideCookie,
// exchangecookie, ...). The client never sees them: it carries them sealed, in one cookie of ours (crypto/cookie_jar.h).
class AffinityCookies {
 public:
  static constexpr size_t kCookiesMax = 16;
  static constexpr size_t kBytesMax = 2560;  // of the whole Cookie field; sealed it fits in the 4,096 bytes of a cookie

  // From what text() gave; anything else gives no cookies.
  static AffinityCookies of_text(std::string_view text);

  // Applies the Set-Cookie fields of an answer (RFC 6265 section 5.2): sets, replaces, and removes what is expired. Broken
  // ones, and those that no longer fit, are left out. True where something changed.
  bool apply(const HeaderBlock& answer, WallTime now);
  bool empty() const { return cookies_.empty(); }
  size_t size() const { return cookies_.size(); }
  // The value of the field Cookie: "a=1; b=2".
  std::string text() const;

 private:
  struct Cookie {
    std::string name, value;
  };
  bool set(std::string_view name, std::string_view value);
  bool remove(std::string_view name);

  std::vector<Cookie> cookies_;
};

// The value of the only cookie of that name in the Cookie fields; empty where it is absent or comes twice.
std::string_view find_cookie(const HeaderBlock& headers, std::string_view name);

}  // namespace bellhop::proto
