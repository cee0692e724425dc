// SPDX-License-Identifier: Apache-2.0
// Failures of test programs with the whole service name errors by their texts, as the real programs do.
#include "core/tls/error.h"
#include "crypto/error.h"
#include "proto/error_texts.h"
#include "service/error_texts.h"
#include "store/error.h"

namespace bellhop {
namespace {

[[maybe_unused]] const bool registered = [] {
  register_tls_error_texts();
  proto::register_error_texts();
  crypto::register_error_texts();
  store::register_error_texts();
  service::register_error_texts();
  return true;
}();

}  // namespace
}  // namespace bellhop
