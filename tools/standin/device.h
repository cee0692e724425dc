// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <expected>
#include <memory>
#include <optional>
#include <string>

#include "core/base/error.h"
#include "core/task.h"
#include "core/tls/context.h"
#include "crypto/rsa.h"
#include "proto/json.h"
#include "proto/url.h"
#include "tools/standin/http_origin.h"

namespace bellhop::standin {

// A server's device API as an app is told of it.
struct DeviceServer {
  std::string url;        // "https://push.example.com" or with a base: ".../MailNotifications/api/ens"
  std::string api_token;  // of the tenant
  uint32_t connections_max = 4;
  bool http2 = false;     // the TLS context then offers h2
  Duration timeout = 30s;  // of one request
};

// How the app logs on to Exchange.
enum class DeviceAuth : uint8_t { basic, oauth, certificate, dual };
std::optional<DeviceAuth> parse_device_auth(std::string_view name);

// One mail app on one phone.
struct DeviceAccount {
  std::string address;
  DeviceAuth auth = DeviceAuth::basic;
  std::string username;  // empty: the address
  std::string password;
  std::string refresh_token, token_endpoint, client_id, scope;  // with OAuth; good for one subscribe
  std::string pkcs12, pkcs12_password;  // with certificate and dual; the first is the file's bytes
  std::string ews_url;
  std::string device_id;
  std::string device_secret;  // what the first subscribe returned; empty before
  std::string push_token;     // hex
  std::string platform = "apns";
  std::string topic;          // empty: the tenant's only one
  std::string environment;    // empty, "production" or "sandbox"
  std::string preview;        // empty: the server's choice
  std::optional<bool> badge;
  std::string locale;
  ~DeviceAccount();  // wipes passwords, refresh token, PKCS#12 and secret
  DeviceAccount() = default;
  DeviceAccount(const DeviceAccount&) = default;
  DeviceAccount(DeviceAccount&&) = default;
  DeviceAccount& operator=(const DeviceAccount&) = default;
  DeviceAccount& operator=(DeviceAccount&&) = default;
};

// Why a request did not do what it should.
struct DeviceProblem {
  Error error;            // where no whole answer came, or one that is not understood
  uint16_t status = 0;    // of HTTP
  std::string code;       // of the problem document
  std::string text;       // its title or detail
  uint32_t retry_after_s = 0;
  std::string to_string() const;
};
template <class T>
using DeviceReply = std::expected<T, DeviceProblem>;

struct DeviceKey {
  std::string key_id;
  crypto::RsaPublicKey key;
};
struct DeviceSubscribed {
  std::string subscription_id;
  std::string status;         // "pending" or "active"
  std::string device_secret;  // only the first time
  uint32_t heartbeat_minutes = 0;
  std::string envelope;  // "rsa" or "split"
};
struct DeviceCheckin {
  std::string status;
  std::string last_seen;
  std::string action;
};

// The user id that devices send: hex of SHA-256 of the lower-cased address.
std::string device_user_id(std::string_view address);

// The device's side of the device API (docs/api.md). One core; any number of requests at once share the connections.
class DeviceClient {
 public:
  // Errors: url.
  static Result<std::unique_ptr<DeviceClient>> make(DeviceServer server, std::shared_ptr<TlsContext> tls);
  ~DeviceClient();

  Task<DeviceReply<bool>> alive();
  Task<DeviceReply<DeviceKey>> get_public_key(std::string address);
  // Encrypts the credential record to `key` as a JWE and subscribes.
  Task<DeviceReply<DeviceSubscribed>> subscribe(const DeviceAccount& account, const DeviceKey& key);
  Task<DeviceReply<DeviceCheckin>> checkin(const DeviceAccount& account);
  // Tells the server account.push_token.
  Task<DeviceReply<bool>> update_token(const DeviceAccount& account);
  Task<DeviceReply<bool>> unsubscribe(const DeviceAccount& account);
  // get_public_key and subscribe; keeps the device secret in `account`.
  Task<DeviceReply<DeviceSubscribed>> enroll(DeviceAccount& account);

  Task<void> close();

 private:
  struct Answer;
  DeviceClient(DeviceServer server, const proto::Url& url, std::shared_ptr<TlsContext> tls);
  Task<DeviceReply<Answer>> call(std::string_view method, std::string_view route, const std::string& body);
  Task<Result<Answer>> call_once(const service::Http1Request* request);

  DeviceServer server_;
  std::string base_;  // path
  std::string host_;  // Host field
  HttpOrigin origin_;
};

}  // namespace bellhop::standin
