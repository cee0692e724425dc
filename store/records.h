// SPDX-License-Identifier: Apache-2.0
#pragma once

// What the tables hold, and how each record is written: one version byte, little-endian fields in the order given here,
// strings and byte strings with a 16-bit length, and a 32-bit checksum over all of it. Decoding checks every bound:
// bytes that we did not write are StoreError::corrupt. "sealed" fields are opaque here (AES-256-GCM by the service,
// associated data = table and record key). No record ever holds an e-mail address, password, subject or sender.

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/error.h"
#include "core/base/time.h"
#include "store/ids.h"

namespace bellhop::store {

// Bounds of variable fields, in bytes. A longer field is StoreError::limit when written.
inline constexpr size_t kTenantSizeMax = 64;
inline constexpr size_t kPublicKeySizeMax = 1024;
inline constexpr size_t kSealedKeySizeMax = 4096;
inline constexpr size_t kSealedSecretSizeMax = 256;
inline constexpr size_t kSealedPushTokenSizeMax = 4352;  // FCM tokens have no published bound; 4 KB is ours
inline constexpr size_t kTopicSizeMax = 256;
inline constexpr size_t kLocaleSizeMax = 35;  // BCP 47, section 4.4.1
inline constexpr size_t kUrlSizeMax = 2083;
inline constexpr size_t kExchangeIdSizeMax = 512;
inline constexpr size_t kSplitSizeMax = 32 * 1024;
inline constexpr size_t kMetaValueSizeMax = 16 * 1024;
inline constexpr size_t kSubscriptionsPerUserMax = 4;  // one, and those of hand-overs under way
inline constexpr uint32_t kDevicesPerUserMax = 64;
inline constexpr size_t kMetaNameSizeMax = 64;
inline constexpr size_t kComplianceTextSizeMax = 128;
inline constexpr size_t kRecordSizeMax = 40 * 1024;

enum class TokenState : uint8_t { active = 0, revoked = 1 };
enum class TokenScope : uint8_t { device = 0, compliance = 1, admin = 2 };

// Table api_tokens, key TokenHash.
struct TokenRecord {
  TokenId id;
  std::string tenant;
  TokenScope scope = TokenScope::device;
  TokenState state = TokenState::active;
  WallTime created{};
  WallTime revoked{};  // epoch while active

  friend bool operator==(const TokenRecord&, const TokenRecord&) = default;
};

// Table users, key StoredUserId.
struct UserRecord {
  std::string tenant;
  MailboxNumber mailbox = 0;
  KeyId key;
  WallTime created{};
  WallTime last_used{};                       // of the last registration; without a device: since when
  uint32_t devices = 0;                       // kept equal to the number of device records
  std::vector<CapabilityHash> subscriptions;  // oldest first; see kSubscriptionsPerUserMax
  // The pair before `key`: kept while a live subscription names it, and erased with the last one. Zero: there is none.
  KeyId old_key;
  WallTime rekey_wished{};  // a pair made after this moment is wanted; the epoch: no wish is open

  friend bool operator==(const UserRecord&, const UserRecord&) = default;
};

enum class KeyState : uint8_t { pool = 0, used = 1 };

// Table keys. A pair made ahead lies in the pool until a user gets it; a used one dies with its user.
struct KeyRecord {
  KeyId id;
  KeyState state = KeyState::pool;
  StoredUserId user;  // zero while in the pool
  WallTime created{};
  std::vector<uint8_t> public_key;          // the form is the service's choice
  std::vector<uint8_t> sealed_private_key;  // CRT parts

  friend bool operator==(const KeyRecord&, const KeyRecord&) = default;
};

enum class Platform : uint8_t { apns = 0, fcm = 1, sns = 2 };
enum class PushEnvironment : uint8_t { production = 0, sandbox = 1 };
enum class Preview : uint8_t { none = 0, sender = 1, subject = 2, full = 3 };
enum class DeviceState : uint8_t { active = 0, blocked = 1 };

// Table devices, key user and device.
struct DeviceRecord {
  std::vector<uint8_t> sealed_secret_hash;
  std::vector<uint8_t> sealed_push_token;
  std::string topic;
  std::string locale;
  Platform platform = Platform::apns;
  PushEnvironment environment = PushEnvironment::production;
  Preview preview = Preview::full;
  DeviceState state = DeviceState::active;
  bool badge = true;
  bool proven = false;       // the provider has accepted a push to this token
  bool token_gone = false;   // the provider said that this token is dead
  WallTime registered_at{};  // when the push token was last given
  WallTime created{};
  // The hash of its id that compliance data names it by. Zero: it has not told its id since that is kept.
  ComplianceKey name;

  friend bool operator==(const DeviceRecord&, const DeviceRecord&) = default;
};

enum class EnvelopeKind : uint8_t { rsa = 0, split = 1 };
enum class SubscriptionState : uint8_t { pending = 0, active = 1 };

// After a 401: how many logons failed with this envelope digest, and when the next may be tried.
struct LogonRule {
  uint8_t failed = 0;
  WallTime next_allowed{};
  friend bool operator==(const LogonRule&, const LogonRule&) = default;
};

// Table subscriptions, key CapabilityHash.
struct SubscriptionRecord {
  StoredUserId user;
  MailboxNumber mailbox = 0;  // the user's; saves the notification path a read
  std::string tenant;         // the user's
  std::string ews_url;
  std::string exchange_id;  // Exchange's SubscriptionId; empty until known
  Digest digest;
  EnvelopeKind envelope = EnvelopeKind::rsa;
  SubscriptionState state = SubscriptionState::pending;
  DeviceKey source_device;  // whose credentials it carries
  KeyId key;
  uint16_t status_frequency_minutes = 30;
  WallTime created{};
  LogonRule logon;
  std::vector<uint8_t> split_ciphertext;  // sealed; empty with envelope rsa
  uint32_t kek = 0;                       // that the callback URL names: it must stay in the keyring; 0 with envelope rsa
  // Since when it is unknown whether the OAuth refresh token is spent: a request with it went out, and what came of it
  // is not on record. The epoch: it is not spent.
  WallTime grant_begun{};
  // It was made with the credentials of an older one, which lives on until a callback of this one leaves no gap.
  bool takes_over = false;
  bool rekey_wished = false;  // its user is to have a new pair, and so this one a successor
  bool source_left = false;   // the device whose credentials it carries is gone: another one has to subscribe

  friend bool operator==(const SubscriptionRecord&, const SubscriptionRecord&) = default;
  // The scheme, host and port of ews_url: a view into it. The EWS origin to which the envelope is bound.
  std::string_view ews_origin() const;
};

// Table hot, key MailboxNumber: fixed size. Owned by the mailbox's home core, which alone reads and writes it.
struct HotRecord {
  static constexpr size_t kRingSize = 64;

  uint64_t owner = 0;                      // start of the stored user id; set by the store, see Store::read_hot
  uint64_t watermark_hash = 0;             // 0: none yet
  std::array<uint64_t, kRingSize> ring{};  // hashes of the last items; 0 is an empty place
  uint8_t ring_next = 0;                   // the place that is overwritten next, < kRingSize
  WallTime last_seen{};
  WallTime newest_received{};
  uint32_t unread = 0;

  friend bool operator==(const HotRecord&, const HotRecord&) = default;
  bool seen(uint64_t item_hash) const;
  void add(uint64_t item_hash);  // forgets the oldest; 0 is stored as 1, and so in seen()
};

enum class TombstoneReason : uint8_t { removed = 0, blocked = 1, handed_over = 2 };

// Table tombstones, key CapabilityHash: a subscription whose next callback is answered `Unsubscribe`.
struct TombstoneRecord {
  TombstoneReason reason = TombstoneReason::removed;
  uint16_t status_frequency_minutes = 30;
  WallTime expires{};
  Digest digest;  // a callback with other `creds` is refused as if the capability were unknown

  friend bool operator==(const TombstoneRecord&, const TombstoneRecord&) = default;
};

// A statement about a device, which its source may not have made.
enum class Known : uint8_t { unknown = 0, no = 1, yes = 2 };
// What a source says of a device beside all rules.
enum class ComplianceOverride : uint8_t { none = 0, allow = 1, block = 2 };
// What an operator has said of a device by name.
enum class ComplianceHold : uint8_t { none = 0, blocked = 1, wiped = 2 };

// Table compliance, key set and ComplianceKey: what a source says of a device.
struct ComplianceRecord {
  uint64_t account = 0;     // start of the owner's StoredUserId; 0: not known
  ComplianceKey first_name;  // zero: this is it. Else all of the following stands in the record of that name
  Known managed = Known::unknown;
  Known compromised = Known::unknown;
  Known encrypted = Known::unknown;
  Known activesync_profile = Known::unknown;
  ComplianceOverride override_to = ComplianceOverride::none;
  std::string model;  // empty texts: not known
  std::string os;
  std::string os_version;
  std::string device_type;
  std::string mail_client;
  WallTime last_contact{};  // the epoch: not known
  WallTime updated{};

  friend bool operator==(const ComplianceRecord&, const ComplianceRecord&) = default;
};

// Table compliance_sets, key tenant. A bulk writes a set of its own, which counts from when this record names it.
struct ComplianceSet {
  uint32_t number = 0;
  WallTime replaced{};

  friend bool operator==(const ComplianceSet&, const ComplianceSet&) = default;
};

// Table compliance_holds, key ComplianceKey and tenant.
struct HoldRecord {
  ComplianceHold hold = ComplianceHold::none;
  WallTime since{};

  friend bool operator==(const HoldRecord&, const HoldRecord&) = default;
};

// Table ews_url_cache, key EwsUrlKey.
struct EwsUrlRecord {
  std::string url;
  WallTime expires{};
  friend bool operator==(const EwsUrlRecord&, const EwsUrlRecord&) = default;
};

// What a journal entry is about: one item for one device of one mailbox. In key order all entries of a mailbox, and in
// it of a device, lie together, so that they can be removed with it.
struct JournalKey {
  MailboxNumber mailbox = 0;
  DeviceKey device;
  uint64_t item_hash = 0;
  friend auto operator<=>(const JournalKey&, const JournalKey&) = default;
};

// Table journal: a push that still has to be made. Content-free.
struct JournalRecord {
  StoredUserId user;
  std::array<uint8_t, 16> collapse{};  // truncated HMAC of the item id
  WallTime first_seen{};
  WallTime next_attempt{};
  uint16_t attempts = 0;
  friend bool operator==(const JournalRecord&, const JournalRecord&) = default;
};

// Appends the record's bytes to `out` (cleared first). Errors: limit.
Status encode(const TokenRecord& record, std::vector<uint8_t>& out);
Status encode(const UserRecord& record, std::vector<uint8_t>& out);
Status encode(const KeyRecord& record, std::vector<uint8_t>& out);
Status encode(const DeviceRecord& record, std::vector<uint8_t>& out);
Status encode(const SubscriptionRecord& record, std::vector<uint8_t>& out);
Status encode(const HotRecord& record, std::vector<uint8_t>& out);
Status encode(const TombstoneRecord& record, std::vector<uint8_t>& out);
Status encode(const ComplianceRecord& record, std::vector<uint8_t>& out);
Status encode(const ComplianceSet& record, std::vector<uint8_t>& out);
Status encode(const HoldRecord& record, std::vector<uint8_t>& out);
Status encode(const EwsUrlRecord& record, std::vector<uint8_t>& out);
Status encode(const JournalRecord& record, std::vector<uint8_t>& out);

// Reads a record into `record`, whose strings keep their memory: nothing is allocated when it is used again. False
// where the bytes are not exactly one record; `record` then holds anything.
bool decode(Bytes bytes, TokenRecord& record);
bool decode(Bytes bytes, UserRecord& record);
bool decode(Bytes bytes, KeyRecord& record);
bool decode(Bytes bytes, DeviceRecord& record);
bool decode(Bytes bytes, SubscriptionRecord& record);
bool decode(Bytes bytes, HotRecord& record);
bool decode(Bytes bytes, TombstoneRecord& record);
bool decode(Bytes bytes, ComplianceRecord& record);
bool decode(Bytes bytes, ComplianceSet& record);
bool decode(Bytes bytes, HoldRecord& record);
bool decode(Bytes bytes, EwsUrlRecord& record);
bool decode(Bytes bytes, JournalRecord& record);

// The rule of heartbeats: the last-seen time is written only when the stored one is at least a quarter of the
// subscription's StatusFrequency old, or lies in the future (the clock was set back).
bool last_seen_due(WallTime stored, WallTime now, uint16_t status_frequency_minutes);

}  // namespace bellhop::store
