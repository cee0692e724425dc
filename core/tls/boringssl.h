// SPDX-License-Identifier: Apache-2.0
#pragma once

// Included by every source here that uses the library; public headers name its types by forward declaration.
// A target without the include path of our own build would silently take a system OpenSSL instead.
#include <openssl/base.h>
#ifndef OPENSSL_IS_BORINGSSL
#error "core/tls needs the headers of BoringSSL that tools/bootstrap built, and found another library's"
#endif
