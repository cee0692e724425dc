// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace bellhop {

// Prints "file:line: check failed: what" on standard error and aborts. For bugs of ours, never for input.
[[noreturn]] void check_failed(const char* what, const char* file, int line);

}  // namespace bellhop

// An invariant of the code; stays in release builds. Input from the network is never checked with it.
#define BH_CHECK(condition) \
  (__builtin_expect(!!(condition), 1) ? (void)0 : ::bellhop::check_failed(#condition, __FILE__, __LINE__))
