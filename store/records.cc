// SPDX-License-Identifier: Apache-2.0
#include "store/records.h"

#include <concepts>

#include "store/codec.h"
#include "store/error.h"

namespace bellhop::store {
namespace {

constexpr size_t kChecksumSize = 4;

// The version byte of each kind of record. What a later version adds stands at the end of its fields, so that a record
// of an earlier one is read with those fields at their defaults, and is written back as the latest.
template <class R>
constexpr uint8_t kRecordVersion = 1;
template <>
constexpr uint8_t kRecordVersion<SubscriptionRecord> = 3;
template <>
constexpr uint8_t kRecordVersion<UserRecord> = 2;
template <>
constexpr uint8_t kRecordVersion<DeviceRecord> = 2;

template <class R, class T>
concept RecordOf = std::same_as<std::remove_const_t<R>, T>;

template <class C, RecordOf<TokenRecord> R>
void fields(C& c, R& r) {
  c.fixed(r.id.bytes);
  c.string(r.tenant, kTenantSizeMax);
  c.choice(r.scope, TokenScope::admin);
  c.choice(r.state, TokenState::revoked);
  c.time(r.created);
  c.time(r.revoked);
}

template <class C, RecordOf<UserRecord> R>
void fields(C& c, R& r, uint8_t version) {
  c.string(r.tenant, kTenantSizeMax);
  c.number(r.mailbox);
  c.fixed(r.key.bytes);
  c.time(r.created);
  c.time(r.last_used);
  c.number(r.devices);
  c.ids(r.subscriptions, kSubscriptionsPerUserMax);
  if (version >= 2) {
    c.fixed(r.old_key.bytes);
    c.time(r.rekey_wished);
  } else if constexpr (!std::is_const_v<R>) {
    r.old_key = {};
    r.rekey_wished = {};
  }
}

template <class C, RecordOf<KeyRecord> R>
void fields(C& c, R& r) {
  c.fixed(r.id.bytes);
  c.choice(r.state, KeyState::used);
  c.fixed(r.user.bytes);
  c.time(r.created);
  c.string(r.public_key, kPublicKeySizeMax);
  c.string(r.sealed_private_key, kSealedKeySizeMax);
}

template <class C, RecordOf<DeviceRecord> R>
void fields(C& c, R& r, uint8_t version) {
  c.string(r.sealed_secret_hash, kSealedSecretSizeMax);
  c.string(r.sealed_push_token, kSealedPushTokenSizeMax);
  c.string(r.topic, kTopicSizeMax);
  c.string(r.locale, kLocaleSizeMax);
  c.choice(r.platform, Platform::sns);
  c.choice(r.environment, PushEnvironment::sandbox);
  c.choice(r.preview, Preview::full);
  c.choice(r.state, DeviceState::blocked);
  c.flag(r.badge);
  c.flag(r.proven);
  c.flag(r.token_gone);
  c.time(r.registered_at);
  c.time(r.created);
  if (version >= 2) {
    c.fixed(r.name.bytes);
  } else if constexpr (!std::is_const_v<R>) {
    r.name = {};
  }
}

template <class C, RecordOf<SubscriptionRecord> R>
void fields(C& c, R& r, uint8_t version) {
  c.fixed(r.user.bytes);
  c.number(r.mailbox);
  c.string(r.tenant, kTenantSizeMax);
  c.string(r.ews_url, kUrlSizeMax);
  c.string(r.exchange_id, kExchangeIdSizeMax);
  c.fixed(r.digest.bytes);
  c.choice(r.envelope, EnvelopeKind::split);
  c.choice(r.state, SubscriptionState::active);
  c.fixed(r.source_device.bytes);
  c.fixed(r.key.bytes);
  c.number(r.status_frequency_minutes);
  c.time(r.created);
  c.number(r.logon.failed);
  c.time(r.logon.next_allowed);
  c.string(r.split_ciphertext, kSplitSizeMax);
  if (version >= 2) {
    c.number(r.kek);
    c.time(r.grant_begun);
  } else if constexpr (!std::is_const_v<R>) {
    r.kek = 0;
    r.grant_begun = {};
  }
  if (version >= 3) {
    c.flag(r.takes_over);
    c.flag(r.rekey_wished);
    c.flag(r.source_left);
  } else if constexpr (!std::is_const_v<R>) {
    r.takes_over = r.rekey_wished = r.source_left = false;
  }
}

template <class C, RecordOf<HotRecord> R>
void fields(C& c, R& r) {
  c.number(r.owner);
  c.number(r.watermark_hash);
  for (auto& item : r.ring) c.number(item);
  c.below(r.ring_next, HotRecord::kRingSize);
  c.time(r.last_seen);
  c.time(r.newest_received);
  c.number(r.unread);
}

template <class C, RecordOf<TombstoneRecord> R>
void fields(C& c, R& r) {
  c.choice(r.reason, TombstoneReason::handed_over);
  c.number(r.status_frequency_minutes);
  c.time(r.expires);
  c.fixed(r.digest.bytes);
}

template <class C, RecordOf<ComplianceRecord> R>
void fields(C& c, R& r) {
  c.number(r.account);
  c.fixed(r.first_name.bytes);
  c.choice(r.managed, Known::yes);
  c.choice(r.compromised, Known::yes);
  c.choice(r.encrypted, Known::yes);
  c.choice(r.activesync_profile, Known::yes);
  c.choice(r.override_to, ComplianceOverride::block);
  for (auto* text : {&r.model, &r.os, &r.os_version, &r.device_type, &r.mail_client}) {
    c.string(*text, kComplianceTextSizeMax);
  }
  c.time(r.last_contact);
  c.time(r.updated);
}

template <class C, RecordOf<ComplianceSet> R>
void fields(C& c, R& r) {
  c.number(r.number);
  c.time(r.replaced);
}

template <class C, RecordOf<HoldRecord> R>
void fields(C& c, R& r) {
  c.choice(r.hold, ComplianceHold::wiped);
  c.time(r.since);
}

template <class C, RecordOf<EwsUrlRecord> R>
void fields(C& c, R& r) {
  c.string(r.url, kUrlSizeMax);
  c.time(r.expires);
}

template <class C, RecordOf<JournalRecord> R>
void fields(C& c, R& r) {
  c.fixed(r.user.bytes);
  c.fixed(r.collapse);
  c.time(r.first_seen);
  c.time(r.next_attempt);
  c.number(r.attempts);
}

template <class C, class R>
void fields_of_version(C& c, R& record, uint8_t version) {
  if constexpr (requires { fields(c, record, version); }) {
    fields(c, record, version);
  } else {
    fields(c, record);
  }
}

template <class R>
Status encode_record(const R& record, std::vector<uint8_t>& out) {
  Encoder encoder(out);
  encoder.number(kRecordVersion<R>);
  fields_of_version(encoder, record, kRecordVersion<R>);
  if (!encoder.within_limits()) return fail(store_error(StoreError::limit));
  encoder.number(checksum(out));
  BH_CHECK(out.size() <= kRecordSizeMax);
  return {};
}

template <class R>
bool decode_record(Bytes bytes, R& record) {
  if (bytes.size() < 1 + kChecksumSize || bytes.size() > kRecordSizeMax) return false;
  Bytes body = bytes.first(bytes.size() - kChecksumSize);
  uint32_t stored = 0;
  Decoder(bytes.last(kChecksumSize)).number(stored);
  if (stored != checksum(body)) return false;
  Decoder decoder(body);
  uint8_t version = 0;
  decoder.number(version);
  if (version == 0 || version > kRecordVersion<R>) return false;
  fields_of_version(decoder, record, version);
  return decoder.at_end();
}

uint64_t nonzero(uint64_t item_hash) {
  return item_hash == 0 ? 1 : item_hash;
}

}  // namespace

Status encode(const TokenRecord& record, std::vector<uint8_t>& out) {
  return encode_record(record, out);
}
Status encode(const UserRecord& record, std::vector<uint8_t>& out) {
  return encode_record(record, out);
}
Status encode(const KeyRecord& record, std::vector<uint8_t>& out) {
  return encode_record(record, out);
}
Status encode(const DeviceRecord& record, std::vector<uint8_t>& out) {
  return encode_record(record, out);
}
Status encode(const SubscriptionRecord& record, std::vector<uint8_t>& out) {
  return encode_record(record, out);
}
Status encode(const HotRecord& record, std::vector<uint8_t>& out) {
  return encode_record(record, out);
}
Status encode(const TombstoneRecord& record, std::vector<uint8_t>& out) {
  return encode_record(record, out);
}
Status encode(const ComplianceRecord& record, std::vector<uint8_t>& out) {
  return encode_record(record, out);
}
Status encode(const ComplianceSet& record, std::vector<uint8_t>& out) {
  return encode_record(record, out);
}
Status encode(const HoldRecord& record, std::vector<uint8_t>& out) {
  return encode_record(record, out);
}
Status encode(const EwsUrlRecord& record, std::vector<uint8_t>& out) {
  return encode_record(record, out);
}
Status encode(const JournalRecord& record, std::vector<uint8_t>& out) {
  return encode_record(record, out);
}

bool decode(Bytes bytes, TokenRecord& record) {
  return decode_record(bytes, record);
}
bool decode(Bytes bytes, UserRecord& record) {
  return decode_record(bytes, record);
}
bool decode(Bytes bytes, KeyRecord& record) {
  return decode_record(bytes, record);
}
bool decode(Bytes bytes, DeviceRecord& record) {
  return decode_record(bytes, record);
}
bool decode(Bytes bytes, SubscriptionRecord& record) {
  return decode_record(bytes, record);
}
bool decode(Bytes bytes, HotRecord& record) {
  return decode_record(bytes, record);
}
bool decode(Bytes bytes, TombstoneRecord& record) {
  return decode_record(bytes, record);
}
bool decode(Bytes bytes, ComplianceRecord& record) {
  return decode_record(bytes, record);
}
bool decode(Bytes bytes, ComplianceSet& record) {
  return decode_record(bytes, record);
}
bool decode(Bytes bytes, HoldRecord& record) {
  return decode_record(bytes, record);
}
bool decode(Bytes bytes, EwsUrlRecord& record) {
  return decode_record(bytes, record);
}
bool decode(Bytes bytes, JournalRecord& record) {
  return decode_record(bytes, record);
}

std::string_view SubscriptionRecord::ews_origin() const {
  std::string_view url = ews_url;
  size_t host = url.find("://");
  if (host == url.npos) return {};
  return url.substr(0, url.find_first_of("/?#", host + 3));
}

bool HotRecord::seen(uint64_t item_hash) const {
  return std::find(ring.begin(), ring.end(), nonzero(item_hash)) != ring.end();
}

void HotRecord::add(uint64_t item_hash) {
  ring[ring_next] = nonzero(item_hash);
  ring_next = uint8_t((ring_next + 1) % kRingSize);
}

bool last_seen_due(WallTime stored, WallTime now, uint16_t status_frequency_minutes) {
  std::chrono::milliseconds quarter = std::chrono::minutes(status_frequency_minutes);
  quarter /= 4;
  return stored > now || now - stored >= quarter;
}

}  // namespace bellhop::store
