// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/base/error.h"

namespace bellhop::store {

// Codes of Domain::store.
enum class StoreError : uint16_t {
  not_found = 1,       // no such record
  conflict = 2,        // the record exists, or changed since the caller read it
  full = 3,            // the map or the disk is full: refuse registrations with 503, serve on. detail = errno or 0
  corrupt = 4,         // a record cannot be decoded, or contradicts another. detail = table (see Table)
  schema_unknown = 5,  // written by another version. detail = the version found
  queue_full = 6,      // too many writes wait: overload
  pool_empty = 7,      // no key pair made ahead is left: 503 with Retry-After
  limit = 8,           // a field or a list is longer than its bound (see records.h)
  closed = 9,          // the store was closed, or lost its power (memory store), before the write was made
  input_output = 10,   // the file could not be opened or read. detail = errno
};

inline Error store_error(StoreError code, uint32_t detail = 0) {
  return {Domain::store, 0, static_cast<uint16_t>(code), detail};
}
inline bool is(const Error& error, StoreError code) {
  return error.domain == Domain::store && error.code == static_cast<uint16_t>(code);
}

// Registers the texts of Domain::store; once, at start.
void register_error_texts();

}  // namespace bellhop::store
