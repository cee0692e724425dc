// SPDX-License-Identifier: Apache-2.0
#pragma once

// Include this before any other <openssl/...> header: libpq's packages put OpenSSL 3 headers on the system path, and
// a target without BoringSSL's include path would compile against those and fail in strange ways.
#include <openssl/base.h>

#ifndef OPENSSL_IS_BORINGSSL
#error "these are not BoringSSL's headers; link deps::ssl"
#endif
