// SPDX-License-Identifier: Apache-2.0
#include "tools/standin/world.h"

#include "core/tls/certificate.h"
#include "crypto/es256.h"
#include "tools/standin/identity.h"

namespace bellhop::standin {

WorldTexts::~WorldTexts() {
  wipe(server_key_pem);
  wipe(p8_pem);
}

Result<std::unique_ptr<World>> World::make(WorldOptions options, std::string& complaint) {
  std::unique_ptr<World> world(new World);
  WorldTexts& texts = world->texts_;
  auto identity = make_identity({"localhost"}, {"127.0.0.1", "::1"}, io::wall_now());
  if (!identity) {
    complaint = "certificates for the stand-ins cannot be made: " + error_text(identity.error());
    return fail(identity.error());
  }
  const SocketAddress loopback{.ip = *IpAddress::parse("127.0.0.1"), .port = 0};
  texts.ca_pem = identity->authority.chain_pem;
  texts.server_chain_pem = identity->server.chain_pem;
  texts.server_key_pem = identity->server.key_pem;
  texts.p8_pem = std::string(identity->provider_key.to_pem().reveal_text());
  world->authority_ = std::move(identity->authority);
  texts.team_id = options.team_id;
  texts.key_id = options.key_id;
  texts.topic = options.topic;

  ExchangeOptions& exchange = options.exchange;
  if (exchange.listen.port == 0) exchange.listen = loopback;
  exchange.certificate_pem = identity->standin.chain_pem;
  exchange.key_pem = identity->standin.key_pem;
  exchange.callback_ca_pem = texts.ca_pem;
  exchange.client_ca_pem = texts.ca_pem;
  std::shared_ptr<const TokenKey> token_key = TokenKey::random();
  exchange.token_key = token_key;
  BH_TRY(world->exchange_, Exchange::make(std::move(exchange), complaint));

  ApnsOptions& apns = options.apns;
  if (apns.listen.port == 0) apns.listen = loopback;
  apns.certificate_pem = identity->standin.chain_pem;
  apns.key_pem = identity->standin.key_pem;
  apns.client_ca_pem = texts.ca_pem;
  apns.keys.push_back(
      {options.team_id, options.key_id, identity->provider_key.public_key().spki(), {options.topic}});
  BH_TRY(world->apns_, Apns::make(std::move(apns), complaint));

  TokenEndpointOptions tokens;
  tokens.listen = loopback;
  tokens.certificate_pem = identity->standin.chain_pem;
  tokens.key_pem = identity->standin.key_pem;
  tokens.key = token_key;
  tokens.rules = options.tokens;
  BH_TRY(world->tokens_, TokenEndpoint::make(std::move(tokens), complaint));
  texts.token_port = world->tokens_->address().port;

  texts.ews_host = world->exchange_->address().ip.to_string();
  texts.ews_port = world->exchange_->address().port;
  texts.ews_url = "https://" + world->exchange_->address().to_string() + "/EWS/Exchange.asmx";
  texts.apns_host = world->apns_->address().ip.to_string();
  texts.apns_port = world->apns_->address().port;
  return world;
}

Task<void> World::run() {
  TaskScope both(&co_await current_context());
  both.spawn(exchange_->run());
  both.spawn(apns_->run());
  both.spawn(tokens_->run());
  co_await both.join();
}

Task<bool> World::stop() {
  co_await exchange_->stop();
  co_await tokens_->stop();
  co_return co_await apns_->stop();
}

}  // namespace bellhop::standin
