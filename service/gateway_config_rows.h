// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "service/config_rows.h"

// The gateway's rows of the configuration's table. Included by config_table.cc alone.
namespace bellhop::service::config_rows {

inline constexpr std::string_view kGatewayLogons[] = {"client", "kerberos"};
inline constexpr std::string_view kGatewayRedirectChoices[] = {"follow", "rewrite", "refuse"};
inline constexpr std::string_view kGatewayClientKinds[] = {"any", "bellhop"};

inline constexpr KeyRow kGatewayKeys[] = {
    list<&GatewayConfig::operations>("operations", refuse_ews_operation, "[\"notification\", \"read\", \"write\"]",
        "EWS operations, or groups of them, that clients may use whom no [[gateway.client]] fits. The groups are `notification`, "
        "`read`, `write`, `sensitive` (rules that forward mail, delegates, add-ins, tokens for others) and `bulk` (export, "
        "discovery, holds, telephony)."),
    number<&GatewayConfig::requests_in_work_max>("requests_in_work_max", 16, 10'000'000, "",
        "Requests at the same time on one core, long polls included; more are answered 503."),
    number<&GatewayConfig::requests_per_account_max>("requests_per_account_max", 1, 1'000'000, "",
        "Of these, requests with one set of credentials; more are answered 503. A bellhop's own are counted by the account for which "
        "they are."),
    number<&GatewayConfig::repeatable_bytes_max>("repeatable_bytes_max", 0, 1'048'576, "bytes",
        "A request body up to this size is kept until Exchange answers, so that the request can be sent again where Exchange "
        "redirects it. The client of a larger one is asked to repeat it."),
    number<&GatewayConfig::redirects_kept_max>("redirects_kept_max", 16, 10'000'000, "",
        "Accounts on one core for whom the gateway remembers where Exchange sent them."),
    number<&GatewayConfig::redirects_kept_hours>("redirects_kept_hours", 1, 8'760, "hours", "For how long."),
    number<&GatewayConfig::retry_after_seconds>("retry_after_seconds", 1, 3'600, "seconds",
        "What Retry-After says with each 503 of the gateway's own."),
};

inline constexpr KeyRow kGatewayDomainKeys[] = {
    required(text<&GatewayDomainConfig::name>("name", refuse_domain, "\"example.com\"",
        "The domain that accounts are known by: what compliance data and `bellhop explain` name.")),
    text<&GatewayDomainConfig::netbios>("netbios", refuse_netbios_name, "\"EXAMPLE\"",
        "Its NetBIOS name: `EXAMPLE\\anna` is then `anna@example.com`."),
    list<&GatewayDomainConfig::aliases>("aliases", refuse_domain, "[\"example.net\", \"corp.example.com\"]",
        "Further domains and UPN suffixes with the same user names."),
};

inline constexpr KeyRow kGatewayClientKeys[] = {
    required(text<&GatewayClientConfig::name>("name", refuse_proxy_name, "\"archive\"", "Name in log and messages.")),
    choice<&GatewayClientConfig::kind>("kind", kGatewayClientKinds,
        "`bellhop`: requests of a bellhop server, which prove it by a signed header. `any`: all clients."),
    list<&GatewayClientConfig::accounts>("accounts", refuse_account, "[\"archive@example.com\"]",
        "Accounts of the class. None: every account."),
    list<&GatewayClientConfig::user_agents>("user_agents", refuse_user_agent_pattern, "[\"ExchangeServicesClient/*\"]",
        "User-Agents of the class; a `*` at the end stands for any rest. A client chooses it freely: a filter, no proof. None: all."),
    required(list<&GatewayClientConfig::operations>("operations", refuse_ews_operation, "[\"read\", \"ExportItems\"]",
        "EWS operations, or groups of them, that the class may use; see gateway.operations.")),
    boolean<&GatewayClientConfig::impersonation>("impersonation",
        "The class may act for others (ExchangeImpersonation). Exchange decides for whom; name the accounts of the class."),
};

inline constexpr KeyRow kGatewayRouteKeys[] = {
    required(list<&GatewayRouteConfig::hosts>("hosts", refuse_ews_host, "[\"mail.example.com\", \"*.mail.example.com\"]",
        "Hosts that clients name. `*.` stands for exactly one label. Letter case, a dot at the end and the port do not matter.")),
    text<&GatewayRouteConfig::tenant>("tenant", refuse_tenant_id, "\"example\"",
        "Whose compliance data and rules count. None: the only [[tenant]], or, where there is none, `default`."),
    text<&GatewayRouteConfig::default_domain>("default_domain", refuse_domain, "\"example.com\"",
        "The domain of user names that have none."),
    choice<&GatewayRouteConfig::redirects>("redirects", kGatewayRedirectChoices,
        "What to do where Exchange sends a client to another server (451, 302). `follow`: ask that server, and remember it for the "
        "account. `rewrite`: where another route leads to that server, send the client to that route's first host without `*.`, else "
        "follow. `refuse`: "
        "answer 502. A server that no route names is never gone to, nor named to the client."),
};

inline constexpr KeyRow kGatewayEndpointKeys[] = {
    required(text<&GatewayEndpointConfig::upstream>("upstream", refuse_gateway_upstream, "\"https://exchange.example.com\"",
        "The server, always over TLS; the certificate must be good for this host.")),
    list<&GatewayEndpointConfig::redirect_to>("redirect_to", refuse_gateway_upstream, "[\"https://exchange2.example.com\"]",
        "Further servers that Exchange may send clients to; trusted as the upstream is."),
    path<&GatewayEndpointConfig::ca_file>("ca_file", KeyKind::file, "\"/etc/bellhop/exchange-ca.pem\"",
        "PEM with the only authorities that this upstream's certificate may come from. None: the system's roots."),
    list<&GatewayEndpointConfig::spki_pins>("spki_pins", refuse_spki_pin,
        "[\"sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"]",
        "SHA-256 of the public keys that the upstream's certificate may have, as in [[upstream]]. Without ca_file the issuer does not "
        "matter, so that a self-signed certificate is fine."),
    path<&GatewayEndpointConfig::client_certificate_file>("client_certificate_file", KeyKind::file,
        "\"/etc/bellhop/gateway-client.pem\"",
        "The gateway's own certificate in PEM, for an upstream that asks for one. With client_private_key_file."),
    path<&GatewayEndpointConfig::client_private_key_file>("client_private_key_file", KeyKind::file,
        "\"/etc/bellhop/gateway-client.key\"", "Its private key in PEM."),
    choice<&GatewayEndpointConfig::logon>("logon", kGatewayLogons,
        "Who logs on at Exchange. `client`: its Basic or Bearer credentials are passed through. `kerberos`: the client shows a "
        "certificate, and the gateway logs on for its user; see [kerberos](kerberos.md)."),
    text<&GatewayEndpointConfig::service_principal>("service_principal", refuse_service_principal, "\"HTTP/mail.example.com\"",
        "The name of the service that a Kerberos ticket is asked for, as Active Directory knows it. None: `HTTP/` and the upstream's host."),
    boolean<&GatewayEndpointConfig::share_connections>("share_connections",
        "Requests with different credentials may follow each other on one connection. Only for an Exchange that checks the credentials "
        "of each request, which is IIS's default for Basic and Bearer. Off: a connection serves the same credentials only."),
    number<&GatewayEndpointConfig::connections_max>("connections_max", 1, 1'000'000, "",
        "Connections to the upstream from one core. Long polls (ActiveSync's Ping and Sync, streaming notifications) may hold three "
        "quarters of them, and more of these are answered 503; other requests wait where none is free. The default is that of "
        "gateway.requests_in_work_max, so that no request has to wait."),
    number<&GatewayEndpointConfig::connect_timeout_ms>("connect_timeout_ms", 100, 60'000, "ms", "For the TCP connection."),
    number<&GatewayEndpointConfig::handshake_timeout_ms>("handshake_timeout_ms", 100, 60'000, "ms", "For the TLS handshake."),
    number<&GatewayEndpointConfig::answer_timeout_ms>("answer_timeout_ms", 1'000, 3'600'000, "ms",
        "From the end of a request to the head of its answer."),
    number<&GatewayEndpointConfig::parked_answer_timeout_ms>("parked_answer_timeout_ms", 60'000, 7'200'000, "ms",
        "The same for requests that Exchange answers when there is something new: ActiveSync's Ping and Sync, up to 59 minutes, and "
        "streaming notifications of EWS, up to 30; and between two pieces of these."),
    number<&GatewayEndpointConfig::stall_timeout_ms>("stall_timeout_ms", 1'000, 3'600'000, "ms",
        "How long the upstream may take no byte of a request, or send none of an answer that has begun."),
    number<&GatewayEndpointConfig::idle_timeout_ms>("idle_timeout_ms", 1'000, 3'600'000, "ms",
        "How long an unused connection to the upstream stays open."),
    number<&GatewayEndpointConfig::body_bytes_max>("body_bytes_max", 65'536, uint64_t{4} << 30, "bytes",
        "Body of one request; a larger one is answered 413."),
    number<&GatewayEndpointConfig::breaker_failure_percent>("breaker_failure_percent", 1, 100, "%",
        "Of the last breaker_window_requests requests, so many without an answer give the upstream a rest."),
    number<&GatewayEndpointConfig::breaker_window_requests>("breaker_window_requests", 1, 10'000, "", "See breaker_failure_percent."),
    number<&GatewayEndpointConfig::breaker_open_ms>("breaker_open_ms", 100, 600'000, "ms",
        "The length of the rest; requests are answered 503 meanwhile."),
};

}  // namespace bellhop::service::config_rows
