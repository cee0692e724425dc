// SPDX-License-Identifier: Apache-2.0
#pragma once

// A token client whose endpoint is played by the scene's peer.

#include <fmt/format.h>

#include "service/token_client.h"
#include "tests/ews/ews_fixture.h"

namespace bellhop::service::ews_test {

inline constexpr std::string_view kRefreshToken = "0.the-refresh-token";

inline std::string json_answer(uint16_t status, std::string_view body, std::string_view more_fields = "") {
  return http_answer(status, body, more_fields, "application/json");
}
inline std::string granted(std::string_view more = R"(,"refresh_token":"the-next")") {
  return json_answer(
      200, fmt::format(R"({{"token_type":"Bearer","expires_in":3600,"access_token":"an-access-token"{}}})", more));
}

struct TokenScene {
  explicit TokenScene(Scene& s, OauthConfig config = {.grant_timeout_ms = 400}) : scene(s) {
    scene.tenant->config.oauth_token_ports = {scene.peer.port()};
    for (const char* host : {"127.0.0.1", "127.0.0.2", "*.example.test", "10.1.2.3"}) {
      BH_CHECK(scene.tenant->token_hosts.add(host));
    }
    url = fmt::format("https://127.0.0.1:{}/tenant/token?x=1", scene.peer.port());
    TlsFile file{"ca", scene.authority.chain_pem};
    std::string complaint;
    auto authorities = TlsAuthorities::parse({&file, 1}, complaint);
    BH_CHECK(authorities);
    auto tls = TlsContext::client({.authorities = *authorities, .pins = {}, .alpn = {"http/1.1"}}, complaint);
    BH_CHECK(tls);
    client = std::make_unique<TokenClient>(config, scene.config, *tls, scene.metrics, *scene.log);
  }
  GrantRequest request(std::string_view endpoint = {}) const {
    return {.tenant = scene.tenant.get(),
            .endpoint = endpoint.empty() ? std::string_view(url) : endpoint,
            .client_id = "mail-app",
            .scope = "a b",
            .claims = {},
            .refresh_token = &refresh_token};
  }
  uint64_t counted(GrantResult result) const { return scene.metrics.value(metric::oauth_grants, result); }

  Scene& scene;
  std::string url;
  crypto::Secret refresh_token = crypto::Secret::copy_of(kRefreshToken);
  std::unique_ptr<TokenClient> client;
};

}  // namespace bellhop::service::ews_test
