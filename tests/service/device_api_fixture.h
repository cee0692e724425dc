// SPDX-License-Identifier: Apache-2.0
#pragma once

// A server's parts around DeviceApi, without its listeners: memory store, keys, and an Exchange that is one HttpServer
// on loopback. Requests are handed to DeviceApi as a connection would.

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/sync.h"
#include "core/tls/certificate.h"
#include "crypto/jose.h"
#include "crypto/record.h"
#include "proto/ews_server.h"
#include "proto/json.h"
#include "service/autodiscover.h"
#include "service/device_api.h"
#include "service/http_server.h"
#include "service/key_maker.h"
#include "service/notification.h"
#include "service/registration.h"
#include "service/supervision.h"
#include "store/memory/memory_store.h"
#include "tests/core/run.h"
#include "tools/standin/token_endpoint.h"

namespace bellhop::service::device_api_test {

inline constexpr std::string_view kTenant = "acme";
inline constexpr std::string_view kToken = "token-of-acme-that-every-phone-of-it-holds";
inline constexpr std::string_view kAddress = "ann@example.test";
inline constexpr std::string_view kUsername = "EXAMPLE\\ann";
inline constexpr std::string_view kPassword = "right-password";
inline const std::string kPushToken(64, 'a');
inline const std::string kOtherPushToken(64, 'b');

// The other side of EWS. Takes kPassword with any user name, or the certificate of kAddress; where certificate_required,
// both.
class FakeExchangeServer final : public HttpHandler {
 public:
  enum class Mood : uint8_t { well, busy, broken, garbage, refusing };
  Mood mood = Mood::well;
  int requests = 0, subscribes = 0, verifies = 0, unauthorized = 0;
  int certified = 0;  // requests with the certificate
  bool certificate_required = false;
  int claims_asked = 0;  // so many bearer tokens are refused for want of claims
  std::vector<std::string> callback_urls;
  std::vector<std::string> mailboxes;                        // that requests named
  Event* hold = nullptr;                                     // answers to Subscribe wait for it
  Event* hold_verifies = nullptr;                            // those to other requests
  Event arrived;                                             // a Subscribe came
  std::shared_ptr<const standin::TokenKey> token_key;        // bearer tokens signed with it are taken
  std::function<Task<void>(std::string url)> before_answer;  // what happens before a Subscribe is answered

  Task<void> handle(HttpExchange& exchange) override;

 private:
  Task<void> answer(HttpExchange& exchange, const proto::EwsRequest& request);
};

// One request and what it was answered.
struct Asked {
  std::string method = "POST";
  std::string path;
  std::string body;
  std::optional<std::string> token = std::string(kToken);
  std::string address = "198.51.100.7";
};
struct Answered {
  uint16_t status = 0;
  std::string content_type, body;
  std::map<std::string, std::string> headers;
  bool close = false;

  // A string member of the body; empty where there is none.
  std::string text(std::string_view name) const;
  std::string code() const { return text("code"); }
};

// A body of flat JSON, made of raw values.
struct Fields {
  std::map<std::string, std::string> raw;
  Fields& set(const std::string& name, std::string_view text);
  Fields& set_raw(const std::string& name, std::string json) {
    raw[name] = std::move(json);
    return *this;
  }
  Fields& drop(const std::string& name) {
    raw.erase(name);
    return *this;
  }
  std::string json() const;
};

struct BedOptions {
  std::function<void(Config&)> configure;
  size_t pool_keys = 2;
  size_t store_bytes_max = SIZE_MAX;
  bool ens2_credentials = false;
  bool oauth = false;  // a token endpoint is there, and the tenant may use it
};

// What all cores of a test share. Made on core 0.
struct Bed {
  explicit Bed(BedOptions options);
  ~Bed();
  Task<bool> start();  // false: the test has failed already
  void start_tokens(TenantConfig& tenant);
  Task<void> add_token(std::string_view text, std::string_view tenant, store::TokenScope scope, uint8_t id);
  Task<store::Counts> counts();

  BedOptions options;
  Config config;
  Config config_without_apps;
  std::unique_ptr<store::MemoryStore> store;
  std::optional<Tenants> tenants;
  std::optional<crypto::Keyring> keyring;
  std::optional<Vault> vault;
  std::unique_ptr<ApnsProviderTokens> apns_tokens;
  std::optional<Node> node;
  std::vector<std::unique_ptr<MetricsShard>> shards;
  CertificateAndKey certificate;
  CertificateAndKey client_authority;  // of users' certificates
  io::Handle ews_listener;
  std::string ews_url;
  FakeExchangeServer exchange;
  std::unique_ptr<standin::TokenEndpoint> tokens;
  std::vector<struct BedCore*> parts;  // by core; set before the test's flow runs
};

// One core's parts.
struct BedCore {
  BedCore(Bed& bed, unsigned index);
  Task<void> close();

  // ---- requests ----
  Task<Answered> ask(Asked asked);
  Task<Answered> post(std::string route, std::string body) {
    return ask({.path = "/api/ens/" + route, .body = std::move(body)});
  }

  Bed& bed;
  MetricsShard& metrics;
  Ledger ledger;
  std::string lines;  // of the log
  Log log;
  Decrypter decrypter;
  EwsClient ews;
  TokenClient tokens;
  Autodiscover autodiscover;
  ApnsSender apns;
  Core core;
  std::optional<Mailboxes> mailboxes;
  std::optional<Supervision> supervision;
  std::optional<DeviceApi> api;
};

// A mail app: fetches the key, encrypts, and writes the bodies of its requests.
struct Phone {
  BedCore& core;
  std::string address = std::string(kAddress);
  std::string device_id = "phone-1";
  std::string secret;
  std::string key_id;
  std::optional<crypto::RsaPublicKey> key;

  std::string user_id() const { return to_hex(crypto::user_id_of_address(address)); }
  store::StoredUserId stored_user() const;
  store::DeviceKey device_key() const { return core.bed.vault->device_key(stored_user(), device_id); }
  Task<bool> fetch_key();
  std::string credentials(std::string_view password = kPassword, std::string_view username = kUsername) const;
  Fields subscribe_fields(std::string_view password = kPassword) const;
  // With OAuth: a refresh token that the endpoint has just given to this user.
  std::string fresh_refresh_token() const { return core.bed.tokens->families().begin(address); }
  Fields oauth_fields(std::string_view refresh_token, std::string_view endpoint = {}) const;
  // With a certificate (and kPassword, where `dual`).
  Fields certificate_fields(Bytes pkcs12, std::string_view password, bool dual = false) const;
  // One of this user's.
  crypto::Secret pkcs12(std::string_view password, unsigned iterations = 2048) const;
  // Remembers the secret that it is given.
  Task<Answered> subscribe(std::string_view password = kPassword);
  Task<Answered> send(Fields fields);
  Fields identity() const;
  Task<store::UserRecord> stored();
};

// What Exchange was told to call.
struct CallbackUrl {
  std::optional<crypto::Capability> capability;
  std::vector<uint8_t> creds;
};
CallbackUrl parse_callback(const std::string& url);
store::CapabilityHash capability_of(const std::string& url);
Task<store::Route> route_of(Bed& bed, std::string url);
// What a first callback does.
Task<void> call_back(Bed& bed, std::string url, std::string exchange_id);

// Runs `flow` on core 0 of a cluster; the other cores have their parts and do what core 0 asks.
void run_bed(BedOptions options, const std::function<Task<void>(BedCore&)>& flow, unsigned cores = 1);

}  // namespace bellhop::service::device_api_test
