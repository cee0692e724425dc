// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "core/tls/certificate.h"
#include "tools/standin/apns.h"
#include "tools/standin/exchange.h"
#include "tools/standin/token_endpoint.h"

namespace bellhop::standin {

struct WorldOptions {
  // Fields that make() fills in itself: listen (loopback, unless a port is given), certificates, keys.
  ExchangeOptions exchange;
  ApnsOptions apns;
  TokenRules tokens;  // of the token endpoint
  std::string team_id = "EXAMPLE123";
  std::string key_id = "KEYEXAMPLE";
  std::string topic = "com.example.mail";
};

// What a server needs to know to work with this world; for its configuration.
struct WorldTexts {
  std::string ca_pem;            // signed all certificates: [ews] ca_file, [apns] ca_file, and what devices trust
  std::string server_chain_pem;  // for the server's own listener on 127.0.0.1, [::1] or localhost
  std::string server_key_pem;
  std::string p8_pem;            // the provider's key
  std::string team_id, key_id, topic;
  std::string ews_url;           // "https://127.0.0.1:PORT/EWS/Exchange.asmx"
  std::string ews_host;          // "127.0.0.1": for ews_hosts; with ews_private_cidrs = ["127.0.0.0/8"]
  uint16_t ews_port = 0;
  uint16_t token_port = 0;       // of the token endpoint, on "localhost": for oauth_token_hosts and ports
  std::string apns_host;         // "127.0.0.1"
  uint16_t apns_port = 0;
  ~WorldTexts();  // wipes the keys
};

// The stand-ins for Exchange, its token endpoint and APNs on loopback with an authority, certificates and a provider key that were made just now. For
// the demo, tests and `bellhop load`. Made on a core of a running cluster (set_tls_clock was called); run() on each
// of the stand-ins' cores (the one that called make(), by default); destroyed after all run()s have returned.
//
//   auto world = World::make({}, complaint);      // on core 0
//   scope.spawn((*world)->run());                 // serves until stop()
//   …(*world)->texts() → Config; (*world)->exchange().deliver(…)
//   co_await (*world)->stop(); co_await scope.join();
class World {
 public:
  // Errors: os, tls, crypto; `complaint` is a line for the operator.
  static Result<std::unique_ptr<World>> make(WorldOptions options, std::string& complaint);

  // Serves on the calling core what lives on it, until stop().
  Task<void> run();
  Task<bool> stop();  // any core of the cluster

  Exchange& exchange() { return *exchange_; }
  Apns& apns() { return *apns_; }
  TokenEndpoint& tokens() { return *tokens_; }
  const WorldTexts& texts() const { return texts_; }
  // Signs users' certificates, see make_client_bundle(); the Exchange takes them where its options ask for some.
  const CertificateAndKey& authority() const { return authority_; }

 private:
  World() = default;
  WorldTexts texts_;
  CertificateAndKey authority_;
  std::unique_ptr<Exchange> exchange_;
  std::unique_ptr<Apns> apns_;
  std::unique_ptr<TokenEndpoint> tokens_;
};

}  // namespace bellhop::standin
