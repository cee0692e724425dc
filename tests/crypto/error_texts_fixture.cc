// SPDX-License-Identifier: Apache-2.0
// Failures of this test program name errors by their texts, as the real programs do.
#include "crypto/error.h"

namespace bellhop::crypto {
namespace {

[[maybe_unused]] const bool registered = [] {
  register_error_texts();
  return true;
}();

}  // namespace
}  // namespace bellhop::crypto
