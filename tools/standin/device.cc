// SPDX-License-Identifier: Apache-2.0
#include "tools/standin/device.h"

#include <fmt/format.h>

#include "core/sleep.h"
#include "crypto/jose.h"
#include "crypto/record.h"
#include "proto/json_writer.h"

namespace bellhop::standin {
namespace {

constexpr std::string_view kBase = "/MailNotifications/api/ens";
constexpr uint64_t kAnswerBytesMax = 256 * 1024;

service::Http1ClientOptions client_options(const DeviceServer& server) {
  service::Http1ClientOptions options;
  options.connections_max = server.connections_max;
  options.body_bytes_max = kAnswerBytesMax;
  return options;
}

service::Http1Origin origin_of(const proto::Url& url, std::shared_ptr<TlsContext> tls) {
  service::Http1Origin origin;
  origin.host = url.host;
  origin.port = url.port;
  origin.tls = std::move(tls);
  return origin;
}

std::string text_of(const proto::JsonObject& object, std::string_view name) {
  auto text = object.string(name);
  return text && *text ? std::string(**text) : std::string();
}

// The members that every request about a device has.
void write_identity(proto::JsonWriter& json, const DeviceAccount& account) {
  json.begin_object().member("userId", device_user_id(account.address)).member("deviceId", account.device_id);
  if (!account.device_secret.empty()) json.member("deviceSecret", account.device_secret);
}

void write_optional(proto::JsonWriter& json, std::string_view name, const std::string& text) {
  if (!text.empty()) json.member(name, text);
}

crypto::CredentialRecord record_of(const DeviceAccount& account) {
  using crypto::Secret;
  crypto::CredentialRecord record{.address = Secret::copy_of(account.address)};
  if (account.auth == DeviceAuth::oauth) {
    record.logon = crypto::OauthCredentials{.refresh_token = Secret::copy_of(account.refresh_token),
                                            .token_endpoint = Secret::copy_of(account.token_endpoint),
                                            .client_id = Secret::copy_of(account.client_id),
                                            .scope = Secret::copy_of(account.scope),
                                            .access_token = Secret()};
    return record;
  }
  crypto::BasicCredentials basic{Secret::copy_of(account.username.empty() ? account.address : account.username),
                                 Secret::copy_of(account.password)};
  crypto::CertificateCredentials certificate{.pkcs12 = Secret::copy_of(account.pkcs12),
                                             .password = Secret::copy_of(account.pkcs12_password),
                                             .opened = {}};
  switch (account.auth) {
    case DeviceAuth::certificate:
      record.logon = std::move(certificate);
      break;
    case DeviceAuth::dual:
      record.logon = crypto::DualCredentials{std::move(basic), std::move(certificate)};
      break;
    case DeviceAuth::basic:
    case DeviceAuth::oauth:
      record.logon = std::move(basic);
      break;
  }
  return record;
}

}  // namespace

std::optional<DeviceAuth> parse_device_auth(std::string_view name) {
  if (name == "basic") return DeviceAuth::basic;
  if (name == "oauth") return DeviceAuth::oauth;
  if (name == "certificate") return DeviceAuth::certificate;
  if (name == "dual") return DeviceAuth::dual;
  return std::nullopt;
}

DeviceAccount::~DeviceAccount() {
  wipe(password);
  wipe(refresh_token);
  wipe(pkcs12);
  wipe(pkcs12_password);
  wipe(device_secret);
}

std::string DeviceProblem::to_string() const {
  if (status == 0) return error_text(error);
  std::string out = fmt::format("HTTP {}", status);
  if (!code.empty()) out += ", " + code;
  if (!text.empty()) out += ": " + text;
  if (error != Error()) out += "; " + error_text(error);
  return out;
}

std::string device_user_id(std::string_view address) { return to_hex(crypto::user_id_of_address(address)); }

// A whole 2xx answer.
struct DeviceClient::Answer {
  uint16_t status = 0;
  uint32_t retry_after_s = 0;
  std::optional<proto::JsonDocument> json;
};

DeviceClient::DeviceClient(DeviceServer server, const proto::Url& url, std::shared_ptr<TlsContext> tls)
    : server_(std::move(server)),
      base_(url.path == "/" ? std::string(kBase) : url.path),
      host_(url.authority()),
      origin_(origin_of(url, std::move(tls)), client_options(server_), server_.http2) {
  while (base_.ends_with('/')) base_.pop_back();
}
DeviceClient::~DeviceClient() { wipe(server_.api_token); }

Result<std::unique_ptr<DeviceClient>> DeviceClient::make(DeviceServer server, std::shared_ptr<TlsContext> tls) {
  BH_TRY(proto::Url url, proto::Url::parse(server.url));
  return std::unique_ptr<DeviceClient>(new DeviceClient(std::move(server), url, std::move(tls)));
}

Task<void> DeviceClient::close() { co_await origin_.close(); }

Task<Result<DeviceClient::Answer>> DeviceClient::call_once(const service::Http1Request* request) {
  auto reply = co_await origin_.send(*request);
  if (!reply) co_return fail(reply.error());
  Answer answer{.status = reply->status()};
  auto seconds = parse_decimal(reply->headers().find("retry-after").value_or(std::string_view()));
  answer.retry_after_s = static_cast<uint32_t>(std::min<uint64_t>(seconds.value_or(0), UINT32_MAX));
  if (!reply->text().empty()) {
    auto document = proto::JsonDocument::parse(as_bytes(reply->text()));
    if (document) answer.json = *std::move(document);
  }
  co_return answer;
}

Task<DeviceReply<DeviceClient::Answer>> DeviceClient::call(std::string_view method, std::string_view route,
                                                           const std::string& body) {
  std::string target = base_ + std::string(route);
  proto::HeaderField headers[2] = {{"apitoken", server_.api_token}, {"content-type", "application/json"}};
  service::Http1Request request;
  request.method = method;
  request.target = target;
  request.host = host_;
  request.headers = std::span(headers).first(body.empty() ? 1 : 2);
  request.body = body;
  auto answer = co_await within(server_.timeout, call_once(&request));
  if (!answer) co_return std::unexpected(DeviceProblem{.error = answer.error()});
  if (answer->status >= 200 && answer->status < 300) co_return *std::move(answer);
  DeviceProblem problem{.status = answer->status, .retry_after_s = answer->retry_after_s};
  if (answer->json) {
    problem.code = text_of(answer->json->root(), "code");
    problem.text = text_of(answer->json->root(), "detail");
    if (problem.text.empty()) problem.text = text_of(answer->json->root(), "title");
    if (auto code = text_of(answer->json->root(), "responseCode"); !code.empty()) problem.text += " (" + code + ")";
  }
  co_return std::unexpected(std::move(problem));
}

Task<DeviceReply<bool>> DeviceClient::alive() {
  auto answer = co_await call("GET", "/alive", {});
  if (!answer) co_return std::unexpected(std::move(answer.error()));
  co_return true;
}

Task<DeviceReply<DeviceKey>> DeviceClient::get_public_key(std::string address) {
  std::string body;
  proto::JsonWriter(body).begin_object().member("userId", device_user_id(address)).end_object();
  auto answer = co_await call("POST", "/getpublickey", body);
  if (!answer) co_return std::unexpected(std::move(answer.error()));
  DeviceProblem problem{.error = proto::json_error(proto::JsonError::missing_member), .status = answer->status};
  if (!answer->json) co_return std::unexpected(std::move(problem));
  auto spki = from_base64(text_of(answer->json->root(), "publicKey"));
  std::string key_id = text_of(answer->json->root(), "keyId");
  if (!spki || key_id.empty()) co_return std::unexpected(std::move(problem));
  auto key = crypto::RsaPublicKey::from_spki(*spki);
  if (!key) {
    problem.error = key.error();
    co_return std::unexpected(std::move(problem));
  }
  co_return DeviceKey{std::move(key_id), *std::move(key)};
}

Task<DeviceReply<DeviceSubscribed>> DeviceClient::subscribe(const DeviceAccount& account, const DeviceKey& key) {
  crypto::CredentialRecord record = record_of(account);
  crypto::Secret plaintext = crypto::write_credential_record(record, account.device_id, io::wall_now());
  auto jwe = crypto::jwe_encrypt(key.key, plaintext.reveal());
  if (!jwe) co_return std::unexpected(DeviceProblem{.error = jwe.error()});
  std::string body;
  proto::JsonWriter json(body);
  write_identity(json, account);
  json.member("keyId", key.key_id).member("credentials", *jwe);
  json.member("platform", account.platform).member("pushToken", account.push_token);
  write_optional(json, "ewsUrl", account.ews_url);
  write_optional(json, "topic", account.topic);
  write_optional(json, "environment", account.environment);
  write_optional(json, "preview", account.preview);
  write_optional(json, "locale", account.locale);
  if (account.badge) json.member("badge", *account.badge);
  json.end_object();
  auto answer = co_await call("POST", "/subscribe", body);
  wipe(body);  // the device secret
  if (!answer) co_return std::unexpected(std::move(answer.error()));
  DeviceSubscribed subscribed;
  if (!answer->json) {
    co_return std::unexpected(
        DeviceProblem{.error = proto::json_error(proto::JsonError::malformed), .status = answer->status});
  }
  auto root = answer->json->root();
  subscribed.subscription_id = text_of(root, "subscriptionId");
  subscribed.status = text_of(root, "status");
  subscribed.device_secret = text_of(root, "deviceSecret");
  subscribed.envelope = text_of(root, "envelope");
  auto minutes = root.unsigned_integer("heartbeatMinutes");
  if (minutes && *minutes) subscribed.heartbeat_minutes = static_cast<uint32_t>(**minutes);
  co_return subscribed;
}

Task<DeviceReply<DeviceCheckin>> DeviceClient::checkin(const DeviceAccount& account) {
  std::string body;
  proto::JsonWriter json(body);
  write_identity(json, account);
  json.end_object();
  auto answer = co_await call("POST", "/checkin", body);
  wipe(body);
  if (!answer) co_return std::unexpected(std::move(answer.error()));
  if (!answer->json) {
    co_return std::unexpected(
        DeviceProblem{.error = proto::json_error(proto::JsonError::malformed), .status = answer->status});
  }
  auto root = answer->json->root();
  co_return DeviceCheckin{text_of(root, "status"), text_of(root, "lastSeen"), text_of(root, "action")};
}

Task<DeviceReply<bool>> DeviceClient::update_token(const DeviceAccount& account) {
  std::string body;
  proto::JsonWriter json(body);
  write_identity(json, account);
  json.member("pushToken", account.push_token).end_object();
  auto answer = co_await call("POST", "/updatetoken", body);
  wipe(body);
  if (!answer) co_return std::unexpected(std::move(answer.error()));
  co_return true;
}

Task<DeviceReply<bool>> DeviceClient::unsubscribe(const DeviceAccount& account) {
  std::string body;
  proto::JsonWriter json(body);
  write_identity(json, account);
  json.end_object();
  auto answer = co_await call("POST", "/unsubscribe", body);
  wipe(body);
  if (!answer) co_return std::unexpected(std::move(answer.error()));
  co_return true;
}

Task<DeviceReply<DeviceSubscribed>> DeviceClient::enroll(DeviceAccount& account) {
  auto key = co_await get_public_key(account.address);
  if (!key) co_return std::unexpected(std::move(key.error()));
  auto subscribed = co_await subscribe(account, *key);
  if (subscribed && !subscribed->device_secret.empty()) account.device_secret = subscribed->device_secret;
  co_return subscribed;
}

}  // namespace bellhop::standin
