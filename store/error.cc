// SPDX-License-Identifier: Apache-2.0
#include "store/error.h"

#include <fmt/format.h>

#include <cstring>

#include "store/tables.h"

namespace bellhop::store {
namespace {

std::string with_errno(std::string_view text, uint32_t error_number) {
  if (error_number == 0) return std::string(text);
  return fmt::format("{}: {}", text,
                     strerrordesc_np(int(error_number)) ? strerrordesc_np(int(error_number)) : "unknown");
}

std::string store_error_text(uint16_t code, uint32_t detail) {
  switch (static_cast<StoreError>(code)) {
    case StoreError::not_found:
      return "no such record";
    case StoreError::conflict:
      return "the record exists or was changed meanwhile";
    case StoreError::full:
      return with_errno(detail ? "the disk of the store is full" : "the store's map is full; raise store.map_size_bytes",
                        detail);
    case StoreError::corrupt:
      return fmt::format("a record of table {} is damaged; run `bellhop store check`", table_name_or_unknown(detail));
    case StoreError::schema_unknown:
      return fmt::format("the store has schema version {}, this program knows version {}", detail, kSchemaVersion);
    case StoreError::queue_full:
      return "too many writes wait for the disk";
    case StoreError::pool_empty:
      return "no key pair made ahead is left";
    case StoreError::limit:
      return "a field or list is longer than the store allows";
    case StoreError::closed:
      return "the store was closed";
    case StoreError::input_output:
      return with_errno("the store's file cannot be used", detail);
  }
  return fmt::format("code {}", code);
}

}  // namespace

void register_error_texts() {
  register_error_text(Domain::store, "store", &store_error_text);
}

}  // namespace bellhop::store
