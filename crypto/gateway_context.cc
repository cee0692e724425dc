// SPDX-License-Identifier: Apache-2.0
#include "crypto/gateway_context.h"

#include <algorithm>

#include "core/base/bytes.h"
#include "core/base/check.h"
#include "crypto/error.h"

namespace bellhop::crypto {
namespace {

constexpr uint8_t kVersion = 1;
constexpr std::string_view kPurpose = "gateway context";

std::unexpected<Error> malformed() { return fail(crypto_error(CryptoError::malformed)); }

bool fits(const GatewayContext& context) {
  constexpr size_t kMax = GatewayContext::kTextBytesMax;
  const bool texts = !context.tenant.empty() && context.tenant.size() <= kMax && !context.user.empty() &&
                     context.user.size() <= kMax && context.source_device.size() <= kMax;
  return texts && context.devices.size() <= GatewayContext::kDevicesMax &&
         std::ranges::all_of(context.devices, [](const std::string& id) { return !id.empty() && id.size() <= kMax; });
}

void append_text(std::vector<uint8_t>& out, std::string_view text) {
  uint8_t length[2];
  store_be16(length, static_cast<uint16_t>(text.size()));
  out.insert(out.end(), length, length + sizeof length);
  out.insert(out.end(), text.begin(), text.end());
}

// version ‖ KEK id (32) ‖ issued at, in milliseconds (64) ‖ hash of the body (256) ‖ tenant ‖ user ‖ source device ‖
// number of devices (8) ‖ devices; a text has its length (16) in front.
constexpr size_t kHeadBytes = 1 + 4 + 8 + 32;

std::vector<uint8_t> write_payload(const GatewayContext& context, uint32_t kek) {
  std::vector<uint8_t> out(kHeadBytes);
  out[0] = kVersion;
  store_be32(out.data() + 1, kek);
  store_be64(out.data() + 5, static_cast<uint64_t>(context.issued_at.time_since_epoch().count()));
  std::ranges::copy(context.body_hash, out.begin() + 13);
  append_text(out, context.tenant);
  append_text(out, context.user);
  append_text(out, context.source_device);
  out.push_back(static_cast<uint8_t>(context.devices.size()));
  for (const std::string& device : context.devices) append_text(out, device);
  return out;
}

Result<std::string> read_text(Bytes& rest) {
  if (rest.size() < 2) return malformed();
  const size_t size = load_be16(rest.data());
  if (rest.size() < 2 + size) return malformed();
  std::string text(as_text(rest.subspan(2, size)));
  rest = rest.subspan(2 + size);
  return text;
}

// `payload` has kHeadBytes at least.
Result<GatewayContext> read_payload(Bytes payload) {
  GatewayContext context;
  const auto issued_ms = static_cast<int64_t>(load_be64(payload.data() + 5));
  context.issued_at = WallTime(std::chrono::milliseconds(issued_ms));
  std::ranges::copy(payload.subspan(13, context.body_hash.size()), context.body_hash.begin());
  Bytes rest = payload.subspan(kHeadBytes);
  BH_TRY(context.tenant, read_text(rest));
  BH_TRY(context.user, read_text(rest));
  BH_TRY(context.source_device, read_text(rest));
  if (rest.empty()) return malformed();
  const size_t devices = rest[0];
  rest = rest.subspan(1);
  for (size_t i = 0; i < devices; ++i) {
    BH_TRY(std::string device, read_text(rest));
    context.devices.push_back(std::move(device));
  }
  if (!rest.empty() || !fits(context)) return malformed();
  return context;
}

Status check_age(WallTime issued_at, WallTime now) {
  const auto seconds = [](auto span) {
    return static_cast<uint32_t>(std::min<int64_t>(std::chrono::floor<std::chrono::seconds>(span).count(), UINT32_MAX));
  };
  if (now - issued_at > GatewayContextSigner::kAgeMax)
    return fail(crypto_error(CryptoError::context_stale, seconds(now - issued_at)));
  if (issued_at - now > GatewayContextSigner::kEarlyMax)
    return fail(crypto_error(CryptoError::context_early, seconds(issued_at - now)));
  return {};
}

}  // namespace

GatewayContextSigner::GatewayContextSigner(const Keyring& keyring) : current_(keyring.current()) {
  for (uint32_t id : keyring.ids()) {
    auto key = keyring.derive(id, kPurpose);
    BH_CHECK(key.has_value());
    keys_.emplace(id, *std::move(key));
  }
  BH_CHECK(keys_.contains(current_));
}

Digest GatewayContextSigner::mac_of(const Secret& key, Bytes payload, const ContextRequest& request) {
  return hmac_sha256_of_parts(key.reveal(), {payload, as_bytes(request.method), as_bytes(request.target),
                                             as_bytes(request.authorization)});
}

Result<std::string> GatewayContextSigner::sign(const GatewayContext& context, const ContextRequest& request) const {
  if (!fits(context)) return malformed();
  const auto payload = write_payload(context, current_);
  std::string field = to_base64url(payload) + "." + to_base64url(mac_of(keys_.at(current_), payload, request));
  BH_CHECK(field.size() <= kFieldBytesMax);
  return field;
}

Result<GatewayContext> GatewayContextSigner::open(std::string_view field, const ContextRequest& request,
                                                  WallTime now) const {
  const size_t dot = field.find('.');
  if (field.size() > kFieldBytesMax || dot == field.npos) return malformed();
  const auto payload = from_base64url(field.substr(0, dot)), mac = from_base64url(field.substr(dot + 1));
  if (!payload || !mac || payload->size() < kHeadBytes || (*payload)[0] != kVersion) return malformed();
  const uint32_t kek = load_be32(payload->data() + 1);
  const auto key = keys_.find(kek);
  if (key == keys_.end()) return fail(crypto_error(CryptoError::key_unknown, kek));
  if (!equal_constant_time(mac_of(key->second, *payload, request), *mac))
    return fail(crypto_error(CryptoError::signature_invalid));
  BH_TRY(GatewayContext context, read_payload(*payload));
  BH_CHECKED(check_age(context.issued_at, now));
  return context;
}

}  // namespace bellhop::crypto
