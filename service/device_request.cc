// SPDX-License-Identifier: Apache-2.0
#include "service/device_request.h"

#include <algorithm>
#include <array>

#include "proto/apns.h"
#include "service/error_texts.h"

namespace bellhop::service {
namespace {

constexpr size_t kDeviceIdBytesMax = 128;
constexpr size_t kDeviceSecretBytesMax = 128;

std::unexpected<ApiProblem> not_json(const proto::JsonDocument& document, const Error& error) {
  return refuse_malformed(document.explain(error));
}

ApiResult<std::string_view> required(const proto::JsonDocument& document, std::string_view name) {
  auto value = document.root().required_string(name);
  if (!value) return not_json(document, value.error());
  return *value;
}

// Empty where it is absent.
ApiResult<std::string_view> optional_text(const proto::JsonDocument& document, std::string_view name) {
  auto value = document.root().string(name);
  if (!value) return not_json(document, value.error());
  return value->value_or(std::string_view());
}

bool plain_ascii(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c > ' ' && c < 0x7f; });
}

bool locale_valid(std::string_view text) {
  return text.size() <= store::kLocaleSizeMax && std::ranges::all_of(text, [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
         });
}

ApiStatus read_push_app(const proto::JsonDocument& document, SubscribeRequest& request) {
  ApiResult<std::string_view> platform = required(document, "platform");
  if (!platform) return std::unexpected(std::move(platform.error()));
  if (*platform == "fcm" || *platform == "sns")
    return refuse_malformed("this platform is not available on this server");
  if (*platform != "apns") return refuse_malformed("platform is none of apns, fcm, sns");
  ApiResult<std::string_view> token = required(document, "pushToken");
  if (!token) return std::unexpected(std::move(token.error()));
  if (!proto::apns_token_valid(*token)) return refuse_malformed("pushToken is no APNs device token");
  request.push_token = *token;
  ApiResult<std::string_view> topic = optional_text(document, "topic");
  if (!topic) return std::unexpected(std::move(topic.error()));
  ApiResult<std::string_view> environment = optional_text(document, "environment");
  if (!environment) return std::unexpected(std::move(environment.error()));
  std::optional<ApnsEnvironment> wanted;
  if (*environment == "production") wanted = ApnsEnvironment::production;
  if (*environment == "sandbox") wanted = ApnsEnvironment::sandbox;
  if (!environment->empty() && !wanted) return refuse_malformed("environment is neither production nor sandbox");
  request.app = request.who.tenant->app(*topic, wanted);
  if (!request.app)
    return refuse_forbidden("there is no such topic and environment, or there are several to choose from");
  return {};
}

ApiStatus read_preferences(const proto::JsonDocument& document, SubscribeRequest& request) {
  constexpr std::array<std::string_view, 4> kPreviews = {"none", "sender", "subject", "full"};
  ApiResult<std::string_view> preview = optional_text(document, "preview");
  if (!preview) return std::unexpected(std::move(preview.error()));
  if (!preview->empty()) {
    auto found = std::ranges::find(kPreviews, *preview);
    if (found == kPreviews.end()) return refuse_malformed("preview is none of none, sender, subject, full");
    request.preview = static_cast<store::Preview>(found - kPreviews.begin());
  }
  auto badge = document.root().boolean("badge");
  if (!badge) return not_json(document, badge.error());
  request.badge = badge->value_or(true);
  ApiResult<std::string_view> locale = optional_text(document, "locale");
  if (!locale) return std::unexpected(std::move(locale.error()));
  if (!locale_valid(*locale)) return refuse_malformed("locale is no language tag");
  request.locale = *locale;
  return {};
}

}  // namespace

ApiResult<crypto::Digest> read_user_id(const proto::JsonDocument& document) {
  ApiResult<std::string_view> text = required(document, "userId");
  if (!text) return std::unexpected(std::move(text.error()));
  crypto::Digest digest{};
  auto bytes = from_hex(*text);
  if (!bytes || bytes->size() != digest.size()) {
    return refuse_malformed("userId is not the SHA-256 of an address in hex");
  }
  std::ranges::copy(*bytes, digest.begin());
  return digest;
}

ApiResult<DeviceIdentity> read_identity(const proto::JsonDocument& document, const Tenant& tenant, const Vault& vault,
                                        bool secret_needed) {
  DeviceIdentity who{.tenant = &tenant};
  ApiResult<crypto::Digest> address_hash = read_user_id(document);
  if (!address_hash) return std::unexpected(std::move(address_hash.error()));
  who.address_hash = *address_hash;
  ApiResult<std::string_view> device = required(document, "deviceId");
  if (!device) return std::unexpected(std::move(device.error()));
  if (device->empty() || device->size() > kDeviceIdBytesMax || !plain_ascii(*device)) {
    return refuse_malformed("deviceId is not 1 to 128 visible ASCII characters");
  }
  ApiResult<std::string_view> secret =
      secret_needed ? required(document, "deviceSecret") : optional_text(document, "deviceSecret");
  if (!secret) return std::unexpected(std::move(secret.error()));
  if (secret->size() > kDeviceSecretBytesMax) return refuse_malformed("deviceSecret is longer than any of ours");
  who.user = vault.user_id(tenant.config.id, who.address_hash);
  who.device_id = *device;
  who.device = vault.device_key(who.user, who.device_id);
  who.device_secret = *secret;
  return who;
}

ApiResult<std::string_view> read_push_token(const proto::JsonDocument& document) {
  return required(document, "pushToken");
}

ApiResult<SubscribeRequest> read_subscribe(const proto::JsonDocument& document, const Tenant& tenant,
                                           const Vault& vault) {
  SubscribeRequest request;
  ApiResult<DeviceIdentity> who = read_identity(document, tenant, vault, false);
  if (!who) return std::unexpected(std::move(who.error()));
  request.who = *who;
  if (ApiStatus app = read_push_app(document, request); !app) return std::unexpected(std::move(app.error()));
  if (ApiStatus wishes = read_preferences(document, request); !wishes)
    return std::unexpected(std::move(wishes.error()));
  ApiResult<std::string_view> key_id = required(document, "keyId");
  if (!key_id) return std::unexpected(std::move(key_id.error()));
  request.key_id = *key_id;
  ApiResult<std::string_view> credentials = required(document, "credentials");
  if (!credentials) return std::unexpected(std::move(credentials.error()));
  request.credentials = *credentials;
  ApiResult<std::string_view> ews_url = optional_text(document, "ewsUrl");
  if (!ews_url) return std::unexpected(std::move(ews_url.error()));
  if (ews_url->empty()) return request;
  Result<proto::Url> url = tenant.ews_url(*ews_url);
  if (!url) {
    if (is(url.error(), ServiceError::host_not_allowed)) return refuse_forbidden("the host of ewsUrl is not permitted");
    return refuse_malformed("ewsUrl is not an https URL");
  }
  request.ews_url = *std::move(url);
  return request;
}

}  // namespace bellhop::service
