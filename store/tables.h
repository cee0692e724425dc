// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string_view>
#include <type_traits>

#include "core/base/bytes.h"
#include "core/base/error.h"

namespace bellhop::store {

// 2: subscription records of version 2. 3: of version 3, and user records of version 2. 4: device records of version 2,
// and what is known of devices. A store of an earlier version is taken over when it is opened, while nobody else has it: its records are read as they are, and a program that knows
// earlier versions only refuses the store from then on.
inline constexpr uint32_t kSchemaVersion = 4;
inline constexpr uint32_t kSchemaVersionOldest = 1;
// Of LMDB 0.9.24. Our longest key has 48 bytes, but names in `meta` are the caller's.
inline constexpr size_t kKeySizeMax = 511;

// Ordered tables of byte strings. The order of the values is the files' business: only append.
enum class Table : uint8_t {
  meta,              // name -> value
  api_tokens,        // TokenHash -> TokenRecord
  token_ids,         // TokenId -> TokenHash
  users,             // StoredUserId -> UserRecord
  unused_users,      // since (ms, be64), StoredUserId -> nothing: users without a device
  keys,              // key number (be64, rising) -> KeyRecord. A dense order of insertion fills the pages: two a page
  key_numbers,       // KeyId -> key number (be64)
  key_pool,          // key number (be64) -> nothing
  devices,           // StoredUserId, DeviceKey -> DeviceRecord
  device_owners,     // DeviceKey -> StoredUserId
  subscriptions,     // CapabilityHash -> SubscriptionRecord
  hot,               // MailboxNumber (be32) -> HotRecord
  free_mailboxes,    // MailboxNumber (be32) -> nothing: below the counter and not in use
  tombstones,        // CapabilityHash -> TombstoneRecord
  tombstone_expiry,  // expires (ms, be64), CapabilityHash -> nothing
  compliance,        // set (be32), ComplianceKey -> ComplianceRecord
  ews_url_cache,     // EwsUrlKey -> EwsUrlRecord
  journal,           // MailboxNumber (be32), DeviceKey, item hash (be64) -> JournalRecord
  compliance_sets,   // tenant -> ComplianceSet: which set of `compliance` is the tenant's
  compliance_holds,  // ComplianceKey, tenant -> HoldRecord
  device_names,      // ComplianceKey, StoredUserId, DeviceKey -> nothing: devices by what they are called
};
inline constexpr size_t kTableCount = size_t(Table::device_names) + 1;
inline constexpr std::array<const char*, kTableCount> kTableNames = {
    "meta",           "api_tokens", "token_ids",        "users",         "unused_users",  "keys",
    "key_numbers",    "key_pool",   "devices",          "device_owners", "subscriptions", "hot",
    "free_mailboxes", "tombstones", "tombstone_expiry", "compliance",    "ews_url_cache", "journal",
    "compliance_sets", "compliance_holds", "device_names"};

inline std::string_view table_name(Table table) {
  return kTableNames[size_t(table)];
}
inline std::string_view table_name_or_unknown(uint32_t table) {
  return table < kTableCount ? kTableNames[table] : "?";
}

// A function that is called before the call returns; owns nothing.
template <class Signature>
class FunctionRef;
template <class R, class... A>
class FunctionRef<R(A...)> {
 public:
  template <class F>
    requires(!std::is_same_v<std::remove_cvref_t<F>, FunctionRef>)
  FunctionRef(F&& f)
      : object_(const_cast<void*>(static_cast<const void*>(std::addressof(f)))), call_([](void* object, A... a) -> R {
          return (*static_cast<std::remove_reference_t<F>*>(object))(static_cast<A>(a)...);
        }) {}
  R operator()(A... a) const { return call_(object_, static_cast<A>(a)...); }

 private:
  void* object_;
  R (*call_)(void*, A...);
};

struct Entry {
  Bytes key;
  Bytes value;
};

// The tables as one transaction sees them. Bytes that it returns are valid until the transaction's end or its next
// write, whichever is first. Errors: corrupt, input_output.
class ReadView {
 public:
  virtual ~ReadView() = default;
  virtual Result<std::optional<Bytes>> get(Table table, Bytes key) = 0;
  // The first entry whose key is not below `from`.
  virtual Result<std::optional<Entry>> seek(Table table, Bytes from) = 0;
  // The entry with the greatest key.
  virtual Result<std::optional<Entry>> last(Table table) = 0;
  virtual Result<uint64_t> count(Table table) = 0;  // O(1)
};

// The same with changes. Errors of put: full. After an error of put or erase the transaction can only be given up.
class WriteView : public ReadView {
 public:
  virtual Status put(Table table, Bytes key, Bytes value) = 0;  // inserts or replaces
  virtual Status erase(Table table, Bytes key) = 0;             // fine where there is none
  uint64_t changes() const { return changes_; }                 // calls of put and erase so far

 protected:
  uint64_t changes_ = 0;
};

// What the tables take of the room that there is.
struct FileUse {
  uint64_t file_bytes = 0;   // up to the last page that was ever used
  uint64_t table_bytes = 0;  // pages that hold data now
  uint64_t map_bytes = 0;    // the most that the file may become
};

// An ordered, transactional store of byte strings: LMDB or memory.
class Engine {
 public:
  virtual ~Engine() = default;
  // Runs `f` in a read transaction on the calling thread. `f` neither blocks nor reads the engine again.
  virtual Status read(FunctionRef<Status(ReadView&)> f) = 0;
  // Runs `f` in a write transaction and makes it durable; blocking, one caller at a time. An error, of `f` or of the
  // commit, means that nothing has changed. A failed sync ends the process.
  virtual Status write(FunctionRef<Status(WriteView&)> f) = 0;
  // Cheap: no row is read. Errors: input_output.
  virtual Result<FileUse> file_use() = 0;
};

}  // namespace bellhop::store
