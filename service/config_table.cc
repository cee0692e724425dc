// SPDX-License-Identifier: Apache-2.0
// Every key: range, unit, meaning. Defaults are in config.h.
#include "service/config_table.h"

#include <fmt/format.h>

#include <array>
#include <type_traits>

#include "core/base/check.h"
#include "service/config_rows.h"
#include "service/gateway_config_rows.h"
#include "service/logon_config_rows.h"
#include "service/policy_config_rows.h"

namespace bellhop::service {
namespace {

using namespace config_rows;  // NOLINT(google-build-using-namespace)

constexpr std::string_view kRsaEngines[] = {"auto", "boringssl", "avx512f", "avx512ifma"};
constexpr std::string_view kAckModes[] = {"after-push", "after-journal", "auto"};
constexpr std::string_view kLogLevels[] = {"debug", "info", "warning", "error"};
constexpr std::string_view kPreviews[] = {"none", "sender", "subject", "full"};
constexpr std::string_view kEnvironments[] = {"production", "sandbox"};
constexpr std::string_view kResolves[] = {"proxy", "local"};
constexpr uint32_t kRsaBits[] = {2048, 3072};

constexpr uint64_t kMany = 100'000'000;

constexpr KeyRow kTopKeys[] = {
    list<&Config::roles>("roles", refuse_role, "[\"public\", \"gateway\"]",
        "What this process does. `public`: it serves devices and Exchange's callbacks. `gateway`: it stands in front of "
        "Exchange, see [gateway](gateway.md)."),
    with_role(kRolePublic, required(text<&Config::public_url>("public_url", refuse_public_url, "\"https://push.example.com\"",
        "What callback URLs begin with: how Exchange reaches [listen.public]. Scheme, host and optional port."))),
    number<&Config::cores>("cores", 0, 1024, "",
        "Threads that serve, each with its own event loop. 0: one for each CPU that the process may use."),
    path<&Config::data_dir>("data_dir", KeyKind::path, "\"/var/lib/bellhop\"",
        "Folder of everything that bellhop writes but the log."),
    at_reload(required(path<&Config::keyring_file>("keyring_file", KeyKind::file, "\"/etc/bellhop/keyring\"",
        "The keys that seal the store, made by `bellhop keyring make`. Mode 0400; the same file on all nodes. Keep a "
        "copy away from the data."))),
};

constexpr KeyRow kPublicKeys[] = {
    list<&PublicListenerConfig::addresses>("addresses", nullptr, "[\"0.0.0.0:443\", \"[::]:443\"]",
        "Addresses to listen on."),
    at_reload(required(path<&PublicListenerConfig::certificate_file>("certificate_file", KeyKind::file,
        "\"/etc/bellhop/tls/server.pem\"",
        "Certificate chain of the server in PEM, its own certificate first."))),
    at_reload(required(path<&PublicListenerConfig::private_key_file>("private_key_file", KeyKind::file,
        "\"/etc/bellhop/tls/server.key\"",
        "Private key of the certificate in PEM; ECDSA P-256 is the fastest."))),
    number<&PublicListenerConfig::listen_backlog>("listen_backlog", 16, 65'535, "",
        "Connections that the kernel holds until they are accepted, for each core."),
    number<&PublicListenerConfig::connections_max>("connections_max", 16, 10'000'000, "",
        "Open connections, all cores together."),
    number<&PublicListenerConfig::connections_per_address_max>("connections_per_address_max", 1, 10'000'000, "",
        "Open connections of one client address on one core. Exchange servers behind one address share it."),
    number<&PublicListenerConfig::connections_per_address_per_second>("connections_per_address_per_second", 0, kMany, "",
        "New connections of one client address (IPv6: of one /64) on one core, before any TLS; ten seconds' worth may come at "
        "once. More are closed. 0: not limited."),
    boolean<&PublicListenerConfig::proxy_protocol>("proxy_protocol",
        "Load balancers in trusted_cidrs begin each connection with a PROXY protocol header, version 2; its client address then "
        "counts for every limit. A connection of theirs without one is closed; nobody else's header is read."),
    list<&PublicListenerConfig::trusted_cidrs>("trusted_cidrs", nullptr, "[\"10.30.0.0/24\", \"fd00:30::/64\"]",
        "Networks of these load balancers."),
    number<&PublicListenerConfig::handshakes_in_flight_max>("handshakes_in_flight_max", 16, 1'000'000, "",
        "TLS handshakes at the same time on one core; further connections are closed at once."),
    number<&PublicListenerConfig::handshake_timeout_ms>("handshake_timeout_ms", 100, 60'000, "ms",
        "From accepting a connection to the end of the TLS handshake."),
    number<&PublicListenerConfig::header_timeout_ms>("header_timeout_ms", 100, 120'000, "ms",
        "From the first byte of a request to the end of its header."),
    number<&PublicListenerConfig::header_bytes_max>("header_bytes_max", 4'096, 65'536, "bytes",
        "Request line and header. Callback URLs take up to 2,083 of it."),
    number<&PublicListenerConfig::header_fields_max>("header_fields_max", 16, 1'000, "",
        "Header fields of one request."),
    number<&PublicListenerConfig::body_rate_min_bytes_per_s>("body_rate_min_bytes_per_s", 1, 10'000'000, "bytes/s",
        "A body that arrives more slowly ends the connection."),
    number<&PublicListenerConfig::body_bytes_max>("body_bytes_max", 16'384, 1'048'576, "bytes",
        "Body of one request; a larger one is answered 413."),
    number<&PublicListenerConfig::write_stall_timeout_ms>("write_stall_timeout_ms", 100, 120'000, "ms",
        "How long a client may take no byte of an answer."),
    number<&PublicListenerConfig::idle_timeout_ms>("idle_timeout_ms", 1'000, 3'600'000, "ms",
        "How long a connection may rest between requests."),
    number<&PublicListenerConfig::requests_per_connection_max>("requests_per_connection_max", 1, kMany, "",
        "Requests on one connection, then it is closed after the answer."),
    number<&PublicListenerConfig::drain_timeout_ms>("drain_timeout_ms", 0, 120'000, "ms",
        "At SIGTERM, and when a successor takes over: how long requests in flight may take to end; then they are answered 503."),
    boolean<&PublicListenerConfig::http2>("http2",
        "Offers HTTP/2 beside HTTP/1.1 in the TLS handshake (ALPN); the client chooses. The limits above hold for both."),
    number<&PublicListenerConfig::http2_streams_max>("http2_streams_max", 1, 1'000, "",
        "Requests at the same time on one HTTP/2 connection. A canceled request counts until its work has ended."),
    number<&PublicListenerConfig::http2_requests_in_work_max>("http2_requests_in_work_max", 1, 1'000'000, "",
        "HTTP/2 requests at the same time on one core; further streams are refused, which clients may repeat."),
    number<&PublicListenerConfig::http2_header_bytes_max>("http2_header_bytes_max", 4'096, 65'536, "bytes",
        "Header of one HTTP/2 request, in place of header_bytes_max. A larger one is answered 431; twice as much ends "
        "the connection."),
    number<&PublicListenerConfig::http2_stream_window_bytes>("http2_stream_window_bytes", 16'384, 1'048'576, "bytes",
        "How much of one body a client may send before it is read."),
    number<&PublicListenerConfig::http2_connection_window_bytes>("http2_connection_window_bytes", 65'535, 16'777'216,
        "bytes", "The same, for all bodies of one connection."),
    number<&PublicListenerConfig::http2_body_bytes_max>("http2_body_bytes_max", 1'048'576, 4'294'967'295, "bytes",
        "The same, for all connections of one core; a stream that would pass it is reset."),
    number<&PublicListenerConfig::http2_resets_max>("http2_resets_max", 10, 100'000, "",
        "Streams that one HTTP/2 connection may lose by resets, those included that the client's faults force upon us. An "
        "answered request and a second each give one back; over it, the connection ends with ENHANCE_YOUR_CALM."),
    number<&PublicListenerConfig::http2_control_frames_max>("http2_control_frames_max", 100, 100'000, "",
        "Frames without progress (PING, SETTINGS, WINDOW_UPDATE, PRIORITY, empty or tiny DATA, headers that become no "
        "request) of one HTTP/2 connection. An answered request gives back 20, a second 10; over it, the connection "
        "ends."),
    number<&PublicListenerConfig::http2_goaway_grace_ms>("http2_goaway_grace_ms", 0, 60'000, "ms",
        "Between the two steps of an orderly end, of a connection or, in both versions of HTTP, of the server: requests that "
        "were on their way at the first are still taken."),
};

// The size of a body is the endpoint's to say.
constexpr auto kGatewayListenerKeys = without(kPublicKeys, "body_bytes_max");

constexpr KeyRow kAdminKeys[] = {
    address<&AdminListenerConfig::address>("address", "\"127.0.0.1:9443\"",
        "Where metrics, health and the control API are served. A loopback address."),
    path<&AdminListenerConfig::unix_socket>("unix_socket", KeyKind::path, "\"/run/bellhop/admin.sock\"",
        "The same as a unix socket, at most 107 bytes; used by the `bellhop` command."),
    number<&AdminListenerConfig::connections_max>("connections_max", 1, 10'000, "", "Open connections."),
    number<&AdminListenerConfig::request_timeout_ms>("request_timeout_ms", 100, 120'000, "ms",
        "From the first byte of a request to the last of its answer."),
};

constexpr KeyRow kStoreKeys[] = {
    path<&StoreConfig::path>("path", KeyKind::path, "\"store\"",
        "File of the store; a relative one is taken from data_dir."),
    number<&StoreConfig::map_size_bytes>("map_size_bytes", uint64_t{16} << 20, uint64_t{16} << 40, "bytes",
        "Address space of the store, and so its largest size. The file is sparse: it takes only what is stored."),
    number<&StoreConfig::mailboxes_max>("mailboxes_max", 1, kMany, "",
        "Mailboxes with a subscription; further ones are refused."),
};

constexpr KeyRow kNotificationKeys[] = {
    choice<&NotificationConfig::ack>("ack", kAckModes,
        "When Exchange hears OK for new mail. after-push: when every device's push was accepted or refused for good, or, "
        "past its time, written into the journal. after-journal: when all are in the journal, before anything is fetched "
        "or pushed; that frees Exchange's connections at the price of two writes for each push. auto: after-push, and "
        "after-journal for a source (a tenant's Exchange host) while too many of its callbacks are in work."),
    number<&NotificationConfig::auto_journal_above>("auto_journal_above", 1, 1'000'000, "",
        "With ack = \"auto\": callbacks with new mail of one source in work on one core that make it after-journal."),
    number<&NotificationConfig::auto_push_below>("auto_push_below", 0, 1'000'000, "",
        "Callbacks of such a source in work at which it is after-push again."),
    number<&NotificationConfig::pushes_behind_max>("pushes_behind_max", 1, 1'000'000, "",
        "Callbacks whose pushes are made after the answer, on one core. Further ones are pushed from the journal, "
        "content-free."),
    number<&NotificationConfig::fetch_timeout_ms>("fetch_timeout_ms", 100, 20'000, "ms",
        "For subject and sender from Exchange; past it the push goes out without content."),
    number<&NotificationConfig::push_timeout_ms>("push_timeout_ms", 100, 20'000, "ms",
        "For all pushes of one event, attempts included."),
    number<&NotificationConfig::total_timeout_ms>("total_timeout_ms", 500, 25'000, "ms",
        "From the callback to the answer. Exchange gives up after 30 s."),
    number<&NotificationConfig::in_flight_max>("in_flight_max", 1, 1'000'000, "",
        "Notifications at the same time on one core; further callbacks get 503, and Exchange repeats them. From half of it on, "
        "a tenant gets no more than an equal part."),
    number<&NotificationConfig::overload_delay_ms>("overload_delay_ms", 10, 10'000, "ms",
        "A core whose work waits longer than this refuses callbacks with 503, first those of tenants that have more under way "
        "than others; four times as long: all of them, and registrations."),
    number<&NotificationConfig::overload_after_ms>("overload_after_ms", 0, 10'000, "ms",
        "How long that must last."),
    number<&NotificationConfig::overload_refusal_percent_max>("overload_refusal_percent_max", 1, 100, "%",
        "For how much of ews.status_frequency_minutes one subscription may be refused for overload; then it is served, and its "
        "mails are pushed out of the journal, without content."),
    number<&NotificationConfig::in_flight_per_mailbox_max>("in_flight_per_mailbox_max", 1, 64, "",
        "Callbacks of one mailbox at the same time."),
    number<&NotificationConfig::callbacks_per_mailbox_per_minute_max>(
        "callbacks_per_mailbox_per_minute_max", 1, 100'000, "",
        "Callbacks of one mailbox; more are answered 503."),
    number<&NotificationConfig::events_per_callback_max>("events_per_callback_max", 1, 10'000, "",
        "Events that one callback may carry."),
    number<&NotificationConfig::decrypt_queue_max>("decrypt_queue_max", 8, 1'000'000, "",
        "Decryptions that wait on one core."),
    number<&NotificationConfig::decrypt_queue_per_tenant_max>("decrypt_queue_per_tenant_max", 8, 1'000'000, "",
        "Of these, how many one tenant may hold."),
    number<&NotificationConfig::badge_interval_ms>("badge_interval_ms", 1'000, 3'600'000, "ms",
        "At most one badge update for each mailbox in this time; the last count wins."),
    number<&NotificationConfig::merge_above>("merge_above", 1, 1'000, "",
        "More new items than this at once become one push."),
    number<&NotificationConfig::catch_up_items_max>("catch_up_items_max", 1, 1'000, "",
        "Items that are listed after missed events; more are told by one push."),
};

constexpr KeyRow kJournalKeys[] = {
    number<&JournalConfig::records_max>("records_max", 1, 10'000'000, "",
        "Pushes in the journal of one core; about 300 bytes of memory each. When it is full, Exchange is answered 503."),
    number<&JournalConfig::retry_first_ms>("retry_first_ms", 10, 3'600'000, "ms",
        "Longest wait before the first new try of a push. The wait itself is drawn between 0 and this (full jitter)."),
    number<&JournalConfig::retry_max_ms>("retry_max_ms", 10, 86'400'000, "ms",
        "What that longest wait doubles to with each try."),
    number<&JournalConfig::keep_hours>("keep_hours", 1, 720, "hours",
        "Age at which a push that could not be made is dropped (dropped.expired)."),
    number<&JournalConfig::pushes_in_flight_max>("pushes_in_flight_max", 2, 100'000, "",
        "Pushes out of the journal at the same time on one core; at most half of them take the same way to APNs."),
};

constexpr KeyRow kSupervisionKeys[] = {
    number<&SupervisionConfig::resubscribes_per_second_max>("resubscribes_per_second_max", 1, 100'000, "",
        "Devices that one core asks in a second, by a silent push, to subscribe again because their subscription is lost; "
        "further ones wait."),
    number<&SupervisionConfig::outage_share_percent>("outage_share_percent", 1, 100, "%",
        "An EWS host is taken to be silent as a whole where this share of its mailboxes is late and nobody else of it "
        "speaks. Then no device is asked until it speaks again, but for one now and then."),
    number<&SupervisionConfig::outage_mailboxes_min>("outage_mailboxes_min", 1, 1'000'000, "",
        "Fewer late mailboxes than this are never an outage of their host."),
    number<&SupervisionConfig::outage_probe_seconds>("outage_probe_seconds", 1, 86'400, "seconds",
        "While a host is silent, one of its devices is asked to subscribe in this time: a host that has restarted has "
        "forgotten its subscriptions and would be silent for ever."),
};

constexpr KeyRow kEwsKeys[] = {
    text<&EwsConfig::user_agent>("user_agent", refuse_header_value,
        "\"MailNotificationService/v2 (ExchangeServicesClient/15.00.0913.015)\"",
        "User-Agent of every request to Exchange. Exchange allow-lists match it."),
    text<&EwsConfig::server_version>("server_version", refuse_server_version, "\"Exchange2010_SP2\"",
        "RequestServerVersion of requests. One that asks for what came later (a preview text: Exchange2013) names the "
        "version that has it, and goes without where the server is older."),
    text<&EwsConfig::via>("via", refuse_gateway_upstream, "\"https://gateway.example.com:8443\"",
        "A gateway that all requests to Exchange go through, this process's own or another's: see [operating](operating.md#bellhops-own-ews-through-a-gateway). They keep the "
        "host of their EWS URL, by which it finds its route, and say in a signed header for which user and devices they are, so "
        "that it can apply the policy; that takes the same keyring there. Autodiscover does not go through it."),
    boolean<&EwsConfig::anchor_mailbox>("anchor_mailbox",
        "Send X-AnchorMailbox, which leads a request to the mailbox's own server, with the address of the credential "
        "record. Without it Exchange Online may answer slowly or not at all."),
    boolean<&EwsConfig::gzip>("gzip", "Take gzip answers."),
    at_reload(path<&EwsConfig::ca_file>("ca_file", KeyKind::file, "\"/etc/bellhop/tls/exchange-ca.pem\"",
        "Certificate authorities in PEM that Exchange's certificate may come from, besides the system's. Verification "
        "is never off.")),
    number<&EwsConfig::status_frequency_minutes>("status_frequency_minutes", 1, 1'440, "minutes",
        "How often Exchange calls without events, and for how long it repeats an unanswered callback."),
    number<&EwsConfig::connections_per_host_max>("connections_per_host_max", 1, 1'000, "",
        "Connections to one Exchange host from one core."),
    number<&EwsConfig::requests_per_host_in_flight_max>("requests_per_host_in_flight_max", 1, 1'000, "",
        "Requests at the same time to one host from one core."),
    number<&EwsConfig::requests_per_host_waiting_max>("requests_per_host_waiting_max", 1, 1'000'000, "",
        "Requests that wait for one host on one core; more fail at once."),
    number<&EwsConfig::requests_per_mailbox_max>("requests_per_mailbox_max", 1, 27, "",
        "Requests at the same time for one mailbox. Exchange's throttling policy allows 27 by default."),
    number<&EwsConfig::connect_timeout_ms>("connect_timeout_ms", 100, 30'000, "ms",
        "For resolving the name and connecting."),
    number<&EwsConfig::handshake_timeout_ms>("handshake_timeout_ms", 100, 30'000, "ms", "For the TLS handshake."),
    number<&EwsConfig::subscribe_timeout_ms>("subscribe_timeout_ms", 500, 60'000, "ms",
        "For the whole of a Subscribe request, which a device waits for."),
    number<&EwsConfig::idle_timeout_ms>("idle_timeout_ms", 1'000, 600'000, "ms",
        "How long a connection is kept for the next request."),
    number<&EwsConfig::certificate_idle_timeout_ms>("certificate_idle_timeout_ms", 100, 600'000, "ms",
        "The same for a connection that a user's certificate logged on. It serves nobody else, so it is kept shortly."),
    number<&EwsConfig::answer_bytes_max>("answer_bytes_max", 65'536, 16'777'216, "bytes",
        "Body of one answer of Exchange."),
    number<&EwsConfig::breaker_failure_percent>("breaker_failure_percent", 1, 100, "%",
        "Share of failed requests after which a host is left alone for a while."),
    number<&EwsConfig::breaker_window_requests>("breaker_window_requests", 5, 10'000, "",
        "Latest requests that the share is counted over."),
    number<&EwsConfig::breaker_open_ms>("breaker_open_ms", 100, 600'000, "ms",
        "How long a failing host is left alone."),
    number<&EwsConfig::retry_share_percent_max>("retry_share_percent_max", 0, 100, "%",
        "Retries of connections that failed and of 503 answers, as a share of the requests to a host over two minutes; "
        "128 of them are free."),
    number<&EwsConfig::back_off_ms_max>("back_off_ms_max", 1'000, 3'600'000, "ms",
        "Longest wait that we accept when Exchange asks for one (BackOffMilliseconds)."),
    number<&EwsConfig::logons_after_refusal_per_hour_max>("logons_after_refusal_per_hour_max", 0, 10, "",
        "After a 401: further logons with the same credentials in an hour. More may lock the account."),
    number<&EwsConfig::logons_after_refusal_max>("logons_after_refusal_max", 0, 10, "", "The same, in all."),
};

constexpr KeyRow kOauthKeys[] = {
    at_reload(path<&OauthConfig::ca_file>("ca_file", KeyKind::file, "\"/etc/bellhop/tls/token-ca.pem\"",
        "Certificate authorities in PEM that a token endpoint's certificate may come from, besides the system's.")),
    number<&OauthConfig::grant_timeout_ms>("grant_timeout_ms", 100, 20'000, "ms",
        "For one grant, from resolving the name to the end of the answer."),
    number<&OauthConfig::renew_before_expiry_seconds>("renew_before_expiry_seconds", 0, 3'600, "seconds",
        "How long before its end an access token is renewed, but at most a quarter of its lifetime."),
    number<&OauthConfig::requests_per_host_in_flight_max>("requests_per_host_in_flight_max", 1, 1'000, "",
        "Grants at the same time at one token host from one core."),
    number<&OauthConfig::requests_per_host_waiting_max>("requests_per_host_waiting_max", 1, 1'000'000, "",
        "Grants that wait for one token host on one core; more fail at once."),
    number<&OauthConfig::answer_bytes_max>("answer_bytes_max", 4'096, 65'536, "bytes",
        "Body of one answer of a token endpoint."),
};

constexpr KeyRow kAutodiscoverKeys[] = {
    number<&AutodiscoverConfig::timeout_ms>("timeout_ms", 500, 60'000, "ms",
        "For one search, all hosts and redirects together; a device waits for it."),
    number<&AutodiscoverConfig::attempt_timeout_ms>("attempt_timeout_ms", 100, 30'000, "ms",
        "For one request of it, connecting included."),
    number<&AutodiscoverConfig::cache_hours>("cache_hours", 1, 8'760, "hours",
        "How long the URL that was found serves all mailboxes of the domain. A mailbox that is not there is searched "
        "anew before."),
    number<&AutodiscoverConfig::failure_seconds>("failure_seconds", 1, 86'400, "seconds",
        "How long a domain that led nowhere is not asked again."),
    number<&AutodiscoverConfig::failures_kept_max>("failures_kept_max", 1, 1'000'000, "",
        "Such domains that one core remembers."),
    number<&AutodiscoverConfig::searches_in_flight_max>("searches_in_flight_max", 1, 10'000, "",
        "Searches at the same time on one core; more are refused for the moment."),
    number<&AutodiscoverConfig::https_port>("https_port", 1, 65'535, "",
        "Port of Autodiscover. Another one than 443 is for a stand-in."),
    number<&AutodiscoverConfig::http_port>("http_port", 1, 65'535, "",
        "Port of the request without credentials whose redirect is followed. Another one than 80 is for a stand-in."),
};

constexpr KeyRow kApnsKeys[] = {
    address<&ApnsConfig::production>("production", "\"api.push.apple.com:443\"", "Apple's production host."),
    address<&ApnsConfig::sandbox>("sandbox", "\"api.sandbox.push.apple.com:443\"", "Apple's sandbox host."),
    at_reload(path<&ApnsConfig::ca_file>("ca_file", KeyKind::file, "\"stand-in-ca.pem\"",
        "Certificate authorities in PEM instead of the system's, for a stand-in.")),
    number<&ApnsConfig::connections_per_core>("connections_per_core", 1, 64, "",
        "Connections of one core for each team and environment."),
    number<&ApnsConfig::streams_in_flight_max>("streams_in_flight_max", 1, 10'000, "",
        "Pushes at the same time on one connection. Apple's own limit applies too."),
    number<&ApnsConfig::requests_waiting_max>("requests_waiting_max", 1, 1'000'000, "",
        "Pushes that wait for a connection on one core."),
    number<&ApnsConfig::connect_timeout_ms>("connect_timeout_ms", 100, 30'000, "ms",
        "For resolving, connecting and the TLS handshake."),
    number<&ApnsConfig::reconnect_first_ms>("reconnect_first_ms", 1'000, 60'000, "ms",
        "Wait before a lost connection is made again; it doubles. Apple takes quick reconnects for an attack."),
    number<&ApnsConfig::reconnect_max_ms>("reconnect_max_ms", 1'000, 3'600'000, "ms", "Longest such wait."),
    number<&ApnsConfig::ping_interval_ms>("ping_interval_ms", 1'000, 3'600'000, "ms",
        "How often a resting connection is tested."),
    number<&ApnsConfig::attempts_max>("attempts_max", 1, 10, "", "Attempts of one push before the answer to Exchange."),
    number<&ApnsConfig::retry_wait_first_ms>("retry_wait_first_ms", 10, 10'000, "ms",
        "Mean of the wait before the second attempt; it doubles, with jitter."),
    number<&ApnsConfig::retry_wait_max_ms>("retry_wait_max_ms", 10, 20'000, "ms", "Longest such wait."),
    number<&ApnsConfig::retry_share_percent_max>("retry_share_percent_max", 0, 100, "%",
        "Share of requests of the last two minutes that may be repetitions."),
    number<&ApnsConfig::token_refresh_minutes>("token_refresh_minutes", 20, 59, "minutes",
        "Age at which the provider token is signed anew. Apple accepts 20 to 60."),
    number<&ApnsConfig::expiration_hours>("expiration_hours", 0, 720, "hours",
        "How long Apple keeps a push for a phone that is off. 0: it tries once."),
    number<&ApnsConfig::payload_bytes_max>("payload_bytes_max", 512, 4'096, "bytes",
        "Payload of one push; longer text is cut."),
};

constexpr KeyRow kKeysKeys[] = {
    one_of_numbers<&KeysConfig::rsa_bits>("rsa_bits", kRsaBits, "bits",
        "Size of the key pair that is made for each user."),
    number<&KeysConfig::pool_target>("pool_target", 1, 1'000'000, "",
        "Pairs kept ready. One costs about 250 ms of one CPU."),
    number<&KeysConfig::unused_expiry_hours>("unused_expiry_hours", 1, 8'760, "hours",
        "A user who asked for a key and never subscribed is removed after this time."),
    number<&KeysConfig::cache_mib>("cache_mib", 1, 1'024, "MiB",
        "Private keys held ready for use on one core: about 4 KiB each, 9 KiB where one core opens few credentials at a "
        "time."),
    choice<&KeysConfig::rsa_engine>("rsa_engine", kRsaEngines,
        "What does the private-key operations. auto: the vector engine of this CPU where it is faster, as measured at the "
        "start; BoringSSL else. avx512ifma and avx512f: that one, or no start. boringssl: one operation at a "
        "time."),
};

constexpr KeyRow kLimitsKeys[] = {
    number<&LimitsConfig::getpublickey_per_address_per_minute>("getpublickey_per_address_per_minute", 1, kMany, "",
        "getpublickey requests of one client address."),
    number<&LimitsConfig::getpublickey_per_tenant_per_minute>("getpublickey_per_tenant_per_minute", 1, kMany, "",
        "getpublickey requests of one tenant."),
    number<&LimitsConfig::subscribe_per_address_per_minute>("subscribe_per_address_per_minute", 1, kMany, "",
        "subscribe requests of one client address."),
    number<&LimitsConfig::subscribe_per_tenant_per_minute>("subscribe_per_tenant_per_minute", 1, kMany, "",
        "subscribe requests of one tenant."),
    number<&LimitsConfig::unauthorized_per_address_per_minute>("unauthorized_per_address_per_minute", 1, kMany, "",
        "Requests of one client address with a wrong API token; more are answered 429 unread."),
    at_restart(number<&LimitsConfig::callbacks_per_address_per_minute>("callbacks_per_address_per_minute", 0, kMany, "",
        "Callbacks of one address on one core; more are answered 429. All of an Exchange organisation may come from one "
        "address, so that this is for those who know theirs. 0: not limited.")),
    at_restart(number<&LimitsConfig::unknown_callbacks_per_address_per_minute>("unknown_callbacks_per_address_per_minute", 0, kMany, "",
        "Callbacks of one address on one core that belong to no subscription, and so are not Exchange's; more are answered 429. "
        "Good ones are never counted. 0: not limited.")),
    at_restart(list<&LimitsConfig::exempt_cidrs>("exempt_cidrs", nullptr, "[\"10.20.0.0/16\"]",
        "Networks whose addresses no limit per address counts, those of [listen.public] included: Exchange's, or a load "
        "balancer's that does not speak the PROXY protocol.")),
    number<&LimitsConfig::subscribe_handovers_per_hour>("subscribe_handovers_per_hour", 1, 1'000, "",
        "Times that one mailbox's subscription may be replaced."),
    number<&LimitsConfig::subscribes_in_flight_max>("subscribes_in_flight_max", 1, 100'000, "",
        "subscribe requests at the same time on one core."),
    at_restart(number<&LimitsConfig::certificates_opening_max>("certificates_opening_max", 1, 1'000, "",
        "PKCS#12 files of devices that are being opened at once, shared out evenly among the cores, at least one for each; "
        "each may take a second of CPU on the one worker thread. More are refused for the moment.")),
    number<&LimitsConfig::devices_per_user_max>("devices_per_user_max", 1, 100, "", "Devices of one user."),
    number<&LimitsConfig::credential_age_minutes_max>("credential_age_minutes_max", 1, 60, "minutes",
        "How old the credentials in a subscribe request may be (iat)."),
    number<&LimitsConfig::addresses_tracked_max>("addresses_tracked_max", 1'024, 10'000'000, "",
        "Client addresses that one core counts; the longest unseen is forgotten."),
};

constexpr KeyRow kProxyKeys[] = {
    required(text<&ProxyConfig::name>("name", refuse_proxy_name, "\"outside\"", "What upstream.proxy calls it.")),
    required(address<&ProxyConfig::address>("address", "\"proxy.example.com:3128\"", "Where the proxy is.")),
    boolean<&ProxyConfig::tls>("tls", "Speak TLS with the proxy itself. Without it the password crosses the network in clear."),
    path<&ProxyConfig::ca_file>("ca_file", KeyKind::file, "\"/etc/bellhop/tls/proxy-ca.pem\"",
        "With tls: certificate authorities in PEM that the proxy's certificate must come from, instead of the system's."),
    text<&ProxyConfig::username>("username", refuse_username, "\"bellhop\"", "For the proxy (Basic)."),
    path<&ProxyConfig::password_file>("password_file", KeyKind::file, "\"/etc/bellhop/proxy-password\"",
        "File with the password, in one line; not open to all users."),
    choice<&ProxyConfig::resolve>("resolve", kResolves,
        "Who looks destinations up. `proxy`: it gets the name, and the tenant's private networks cannot be checked, only the "
        "list of hosts. `local`: we do, check every address, and name the checked one to the proxy."),
};

constexpr KeyRow kUpstreamKeys[] = {
    required(list<&UpstreamConfig::hosts>("hosts", refuse_upstream_host, "[\"mail.example.com\", \"*.example.com\"]",
        "The hosts: names, `*.` for all below a name, `*` for all.")),
    path<&UpstreamConfig::ca_file>("ca_file", KeyKind::file, "\"/etc/bellhop/tls/exchange-ca.pem\"",
        "Certificate authorities in PEM that these hosts' certificates must come from, instead of all others."),
    list<&UpstreamConfig::spki_pins>("spki_pins", refuse_spki_pin,
        "[\"sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"]",
        "SHA-256 of the public keys (SubjectPublicKeyInfo) that these hosts' certificates may have. Without ca_file the issuer "
        "does not matter, so that a self-signed certificate is fine; name and dates are checked always."),
    text<&UpstreamConfig::proxy>("proxy", refuse_proxy_reference, "\"outside\"",
        "Name of the [[proxy]] that leads to these hosts, or `http://host:port`. None: directly."),
};

constexpr KeyRow kLogKeys[] = {
    choice<&LogConfig::level>("level", kLogLevels, "The least important lines that are written."),
    at_restart(path<&LogConfig::output>("output", KeyKind::log_output, "\"stdout\"",
        "`stdout`, or a file to append to.")),
    number<&LogConfig::lines_per_event_per_second_max>("lines_per_event_per_second_max", 1, 1'000'000, "",
        "Lines of one event in a second on one core; the rest is counted."),
};

constexpr KeyRow kReloadKeys[] = {
    number<&ReloadConfig::watch_interval_seconds>("watch_interval_seconds", 0, 86'400, "seconds",
        "How often the files of certificates, private keys, authorities and APNs keys are looked at; new content is taken "
        "without asking. 0: at a reload only."),
};

constexpr KeyRow kRenewalKeys[] = {
    boolean<&RenewalConfig::enabled>("enabled",
        "Renew subscriptions at a heartbeat, without their device: for their age, after `bellhop keys rotate`, after another "
        "keyring key became current, where the EWS URL is not permitted any more, and where Exchange says that the subscription "
        "is lost or the mailbox elsewhere. Off: a device has to be asked."),
    number<&RenewalConfig::age_max_hours>("age_max_hours", 0, 87'600, "hours",
        "A subscription older than this is renewed, so that no callback URL is good for longer. They come due spread over the "
        "last eighth of this time. 0: age alone is no reason."),
    number<&RenewalConfig::in_flight_max>("in_flight_max", 1, 1'000, "",
        "Renewals at the same time on one core; others wait for another heartbeat."),
    number<&RenewalConfig::per_host_per_second_max>("per_host_per_second_max", 1, 10'000, "",
        "Renewals that one core begins in a second at one Exchange host; others wait for another heartbeat."),
};

constexpr KeyRow kTenantKeys[] = {
    required(text<&TenantConfig::id>("id", refuse_tenant_id, "\"example\"",
        "Short name in commands and the store. It must not change: stored records are bound to it.")),
    required(text<&TenantConfig::name>("name", refuse_tenant_name, "\"Example Ltd\"", "Name for people.")),
    required(list<&TenantConfig::ews_hosts>("ews_hosts", refuse_ews_host,
        "[\"mail.example.com\", \"*.mail.example.com\"]",
        "Exchange hosts that may get credentials. `*.` stands for exactly one label.")),
    list<&TenantConfig::ews_ports>("ews_ports", nullptr, "[443]", "Ports of these hosts."),
    list<&TenantConfig::ews_private_cidrs>("ews_private_cidrs", nullptr, "[\"10.20.0.0/16\", \"fd00:20::/32\"]",
        "Private networks in which these hosts, and those of oauth_token_hosts, may be. Addresses of any other private, "
        "loopback or link-local network are refused."),
    list<&TenantConfig::oauth_token_hosts>("oauth_token_hosts", refuse_ews_host,
        "[\"login.example.com\"]",
        "Hosts of token endpoints that may get refresh tokens. None: devices cannot subscribe with OAuth."),
    list<&TenantConfig::oauth_token_ports>("oauth_token_ports", nullptr, "[443]", "Ports of these hosts."),
    number<&TenantConfig::oauth_reuse_grace_seconds>("oauth_reuse_grace_seconds", 0, 7'776'000, "seconds",
        "For how long the issuer takes a refresh token again after it gave a new one for it. A grant whose answer was "
        "lost is tried again within this time; past it, the device is asked to subscribe again. 0: never."),
    list<&TenantConfig::autodiscover_domains>("autodiscover_domains", refuse_ews_host, "[\"example.com\"]",
        "Mail domains whose EWS is looked for where a device names no ewsUrl. `*.` as in ews_hosts. None: a device must name it."),
    list<&TenantConfig::autodiscover_hosts>("autodiscover_hosts", refuse_ews_host, "[\"autodiscover.example.com\"]",
        "Hosts, besides ews_hosts, that Autodiscover may ask with a device's credentials."),
    choice<&TenantConfig::preview_max>("preview_max", kPreviews,
        "The most that a push may show of a mail; a device may ask for less."),
    boolean<&TenantConfig::ens2_credentials>("ens2_credentials",
        "Accept the credential form of ENS2, which is not bound to device or time."),
};

constexpr KeyRow kAppKeys[] = {
    required(text<&AppConfig::topic>("topic", refuse_topic, "\"com.example.mail\"", "Bundle id of the app.")),
    text<&AppConfig::team_id>("team_id", refuse_apple_id, "\"A1B2C3D4E5\"",
        "Apple's id of the team. Required with a key."),
    text<&AppConfig::key_id>("key_id", refuse_apple_id, "\"F6G7H8I9J0\"", "Apple's id of the key. Required with a key."),
    path<&AppConfig::key_file>("key_file", KeyKind::file, "\"/etc/bellhop/apns/AuthKey_F6G7H8I9J0.p8\"",
        "The key, as Apple gives it (.p8). An app has either a key or a certificate."),
    path<&AppConfig::certificate_file>("certificate_file", KeyKind::file, "\"/etc/bellhop/apns/mail.pem\"",
        "The app's provider certificate in PEM, instead of team_id, key_id and key_file."),
    path<&AppConfig::private_key_file>("private_key_file", KeyKind::file, "\"/etc/bellhop/apns/mail.key\"",
        "Private key of the certificate in PEM. Required with a certificate."),
    choice<&AppConfig::environment>("environment", kEnvironments,
        "Which of Apple's two services the app's tokens belong to."),
};

void* enter_top(void* config) { return config; }

constexpr SectionRow kSections[] = {
    {"", false, 0, enter_top, kTopKeys, "At the top of the file, before the first table."},
    {"listen.public", false, 0, enter<&Config::listen_public>, kPublicKeys, "Devices and Exchange; TLS. With the role `public`.",
     WhenChanged::restart, kRolePublic},
    {"listen.gateway", false, 0, enter<&Config::listen_gateway>, kGatewayListenerKeys,
     "Clients of EWS and ActiveSync; TLS. With the role `gateway`.", WhenChanged::restart, kRoleGateway},
    {"listen.admin", false, 0, enter<&Config::listen_admin>, kAdminKeys, "Operators on this host."},
    {"store", false, 0, enter<&Config::store>, kStoreKeys, "The embedded store."},
    {"notification", false, 0, enter<&Config::notification>, kNotificationKeys,
     "From a callback of Exchange to its answer.", WhenChanged::reload},
    {"journal", false, 0, enter<&Config::journal>, kJournalKeys,
     "Pushes that still have to be made although Exchange has heard OK.", WhenChanged::reload},
    {"supervision", false, 0, enter<&Config::supervision>, kSupervisionKeys,
     "Mailboxes that Exchange is silent about; see [operating](operating.md#silence).", WhenChanged::reload},
    {"ews", false, 0, enter<&Config::ews>, kEwsKeys, "Requests to Exchange."},
    {"oauth", false, 0, enter<&Config::oauth>, kOauthKeys, "Grants at OAuth token endpoints."},
    {"autodiscover", false, 0, enter<&Config::autodiscover>, kAutodiscoverKeys,
     "Where the EWS of a mailbox is, for devices that do not say. It is off until a tenant names its domains."},
    {"apns", false, 0, enter<&Config::apns>, kApnsKeys, "Pushes through Apple."},
    {"keys", false, 0, enter<&Config::keys>, kKeysKeys, "Key pairs of users."},
    {"limits", false, 0, enter<&Config::limits>, kLimitsKeys, "Limits of the device API and of callbacks.",
     WhenChanged::reload},
    {"proxy", true, kProxiesMax, append<&Config::proxies>, kProxyKeys,
     "HTTP proxies that lead outside by CONNECT; used by the hosts that an `[[upstream]]` sends there.",
     WhenChanged::reload},
    {"upstream", true, kUpstreamsMax, append<&Config::upstreams>, kUpstreamKeys,
     "Whom to trust, and which way to take, for single hosts: of Exchange, Autodiscover, token endpoints and Apple alike. The "
     "first entry that names a host counts; for all others the sections above do.",
     WhenChanged::reload},
    {"log", false, 0, enter<&Config::log>, kLogKeys, "The log: JSON lines without personal data.",
     WhenChanged::reload},
    {"reload", false, 0, enter<&Config::reload>, kReloadKeys, "Reloads; see [operating](operating.md#reload).",
     WhenChanged::reload},
    {"renewal", false, 0, enter<&Config::renewal>, kRenewalKeys,
     "How subscriptions are kept alive without their devices; see [operating](operating.md#renewal-of-subscriptions-and-keys).",
     WhenChanged::reload},
    {"gateway", false, 0, enter<&Config::gateway>, kGatewayKeys,
     "What stands in front of Exchange, with the role `gateway`; see [gateway](gateway.md).", WhenChanged::reload},
    {"gateway.certificates", false, 0, enter<&GatewayConfig::certificates>, kCertificatesKeys,
     "Users who log on at the gateway by certificate; see [kerberos](kerberos.md).", WhenChanged::reload},
    {"gateway.kerberos", false, 0, enter<&GatewayConfig::kerberos>, kKerberosKeys,
     "How the gateway logs users on at Exchange without their passwords; see [kerberos](kerberos.md). What the keytab holds is read "
     "again by a reload.", WhenChanged::restart},
    {"gateway.domain", true, kGatewayDomainsMax, append<&GatewayConfig::domains>, kGatewayDomainKeys,
     "Names of one domain: an account is known under all of them.", WhenChanged::reload},
    {"gateway.client", true, kGatewayClientsMax, append<&GatewayConfig::clients>, kGatewayClientKeys,
     "What classes of EWS clients may do. The first class that fits counts; who fits in none may do what gateway.operations says.",
     WhenChanged::reload},
    {"gateway.route", true, kGatewayRoutesMax, append<&GatewayConfig::routes>, kGatewayRouteKeys,
     "Hosts that clients name, and what stands behind them.", WhenChanged::reload},
    {"gateway.route.ews", false, 0, enter<&GatewayRouteConfig::ews>, kGatewayEndpointKeys,
     "Where EWS of the route above it is. Without it these hosts have none.", WhenChanged::reload},
    {"gateway.route.activesync", false, 0, enter<&GatewayRouteConfig::activesync>, kGatewayEndpointKeys,
     "Where ActiveSync of the route above it is. Without it these hosts have none.", WhenChanged::reload},
    {"policy", false, 0, enter<&Config::policy>, kPolicyKeys,
     "Which devices are let in; see [policy](policy.md).", WhenChanged::reload},
    {"policy.rule", true, kPolicyRulesMax, append<&PolicyConfig::rules>, kPolicyRuleKeys,
     "One rule; in the order of the file the first decides whose conditions all match. A rule without conditions matches every "
     "device.",
     WhenChanged::reload},
    {"policy.source", true, kPolicySourcesMax, append<&PolicyConfig::sources>, kPolicySourceKeys,
     "Where what is known of a tenant's devices is taken from, beside the admin interface.", WhenChanged::reload},
    {"tenant", true, kTenantsMax, append<&Config::tenants>, kTenantKeys, "One for each customer; with the role `public` at least one.",
     WhenChanged::reload},
    {"tenant.app", true, kAppsPerTenantMax, append<&TenantConfig::apps>, kAppKeys,
     "One for each push app of the tenant above it.", WhenChanged::reload},
};

template <class T>
std::string joined(const std::vector<T>& items, bool quoted) {
  std::string text = "[";
  for (const T& item : items) {
    if (text.size() > 1) text += ", ";
    if (quoted) text += '"';
    if constexpr (std::is_same_v<T, uint16_t>) {
      text += std::to_string(item);
    } else if constexpr (std::is_same_v<T, std::string>) {
      text += item;
    } else {
      text += to_text(item);
    }
    if (quoted) text += '"';
  }
  return text + "]";
}

std::string quoted(std::string_view text) { return fmt::format("\"{}\"", text); }

}  // namespace

std::span<const SectionRow> config_sections() { return kSections; }

const SectionRow* find_config_section(std::string_view path) {
  for (const SectionRow& section : kSections) {
    if (section.path == path) return &section;
  }
  return nullptr;
}

const SectionRow* parent_of(const SectionRow& section) {
  std::string_view path = section.path;
  while (!path.empty()) {
    size_t dot = path.rfind('.');
    path = path.substr(0, dot == std::string_view::npos ? 0 : dot);
    if (const SectionRow* parent = find_config_section(path)) return parent;
  }
  return nullptr;
}

bool inside_repeated(const SectionRow& section) {
  for (const SectionRow* one = &section; one; one = parent_of(*one)) {
    if (one->repeated) return true;
  }
  return false;
}

void* enter_section(const SectionRow& section, Config& config) {
  const SectionRow* parent = parent_of(section);
  return section.enter(parent ? enter_section(*parent, config) : &config);
}

bool is_required(const SectionRow& section, const KeyRow& key, const Config& config) {
  std::string_view role = key.role.empty() ? section.role : key.role;
  return key.required && (role.empty() || config.has_role(role));
}

const KeyRow* find_config_key(const SectionRow& section, std::string_view name) {
  for (const KeyRow& key : section.keys) {
    if (key.name == name) return &key;
  }
  return nullptr;
}

bool takes_reload(const SectionRow& section, const KeyRow& key) {
  WhenChanged when = key.when_changed == WhenChanged::as_section ? section.when_changed : key.when_changed;
  return when == WhenChanged::reload;
}

std::string full_key(const SectionRow& section, std::string_view name) {
  return section.path.empty() ? std::string(name) : fmt::format("{}.{}", section.path, name);
}

std::string section_text(const SectionRow& section) {
  if (section.path.empty()) return "the top of the file";
  return section.repeated ? fmt::format("[[{}]]", section.path) : fmt::format("[{}]", section.path);
}

std::string accepted_text(const KeyRow& key) {
  std::string text;
  switch (key.kind) {
    case KeyKind::boolean: return "true or false";
    case KeyKind::number32:
    case KeyKind::number64:
      for (uint32_t number : key.numbers) text += fmt::format("{}{}", text.empty() ? "" : " or ", number);
      if (key.numbers.empty()) text = fmt::format("{} to {}", key.min, key.max);
      return key.unit.empty() ? text : fmt::format("{} {}", text, key.unit);
    case KeyKind::choice:
      for (std::string_view choice : key.choices) text += (text.empty() ? "" : ", ") + quoted(choice);
      return text;
    case KeyKind::text:
    case KeyKind::path:
    case KeyKind::file:
    case KeyKind::log_output:
    case KeyKind::address:
    case KeyKind::address_list:
    case KeyKind::text_list:
    case KeyKind::port_list:
    case KeyKind::cidr_list: return fmt::format("for example {}", key.example);
  }
  check_failed("a key kind of the list", __FILE__, __LINE__);
}

std::string value_text(const KeyRow& key, const void* member) {
  switch (key.kind) {
    case KeyKind::boolean: return *static_cast<const bool*>(member) ? "true" : "false";
    case KeyKind::number32: return std::to_string(*static_cast<const uint32_t*>(member));
    case KeyKind::number64: return std::to_string(*static_cast<const uint64_t*>(member));
    case KeyKind::choice: return quoted(key.choices[*static_cast<const uint8_t*>(member)]);
    case KeyKind::text:
    case KeyKind::path:
    case KeyKind::file:
    case KeyKind::log_output: {
      const auto& value = *static_cast<const std::string*>(member);
      return value.empty() ? "" : quoted(value);
    }
    case KeyKind::address: return quoted(to_text(*static_cast<const HostPort*>(member)));
    case KeyKind::address_list: return joined(*static_cast<const std::vector<HostPort>*>(member), true);
    case KeyKind::text_list: {
      const auto& items = *static_cast<const std::vector<std::string>*>(member);
      return items.empty() ? "" : joined(items, true);  // an empty one cannot be written
    }
    case KeyKind::port_list: return joined(*static_cast<const std::vector<uint16_t>*>(member), false);
    case KeyKind::cidr_list: return joined(*static_cast<const std::vector<Cidr>*>(member), true);
  }
  check_failed("a key kind of the list", __FILE__, __LINE__);
}

}  // namespace bellhop::service
