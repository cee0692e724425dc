// SPDX-License-Identifier: Apache-2.0
// bellhop: the command line. Thin: each command fills an options struct and calls a plain function that does the work.
// Compiled with exceptions, as tools/cli is, because CLI11 reports by them; they end in main.

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <functional>
#include <memory>
#include <string>

#include "service/config.h"
#include "tools/cli/tree.h"
#include "tools/commands/check_online.h"
#include "tools/commands/healthcheck.h"
#include "tools/commands/import_seg.h"
#include "tools/commands/keyring.h"
#include "tools/commands/reload.h"
#include "tools/commands/store.h"
#include "tools/commands/tokens.h"
#include "tools/server_main.h"
#include "tools/standin/commands.h"

namespace bellhop::tools {
namespace {

void add_store_target(CLI::App* command, StoreTarget& target) {
  auto* where = command->add_option_group("store", "Which store");
  names_file(where->add_option("--config", target.config, "The configuration that names the store"));
  names_file(where->add_option("--store", target.file, "The store's file itself"));
  where->require_option(1);
}

int wrong_arguments(std::string_view what) {
  fmt::print(stderr, "bellhop: {}\n", what);
  return kExitUsage;
}

void add_configuration_commands(CLI::App& app, Action& chosen) {
  auto file = std::make_shared<std::string>();
  CLI::App* check = app.add_subcommand("check", "Check a configuration and every file that it names, without a server");
  names_file(check->add_option("file", *file, "The configuration"))->required();
  auto diff = std::make_shared<DiffOptions>();
  auto differ = std::make_shared<bool>(false);
  auto* with = check->add_option("--diff", diff->old_one,
                                 "Also print what differs from this configuration, or, without a value, from what the "
                                 "running server uses, and whether that takes a reload or a restart");
  with->expected(0, 1);
  check->add_flag("--running", *differ, "With --diff: compare with what the running server uses")->needs(with);
  check->add_option("--socket", diff->socket, "With --diff: its admin socket; as the file names it where absent")->needs(with);
  teach(check, "bellhop check /etc/bellhop/bellhop.toml\n  bellhop check /etc/bellhop/bellhop.toml --diff --running\n"
        "  bellhop check new.toml --diff /etc/bellhop/bellhop.toml\n"
        "  bellhop check /etc/bellhop/bellhop.toml --online --as anna@example.com",
        "Each mistake is printed as FILE:LINE:COLUMN: what is wrong; what to do.\n\n"
        "With --diff each key that differs is printed as KEY: OLD → NEW (reload) or (restart). Exit codes then: 0 a reload\n"
        "is enough, or nothing differs; 4 a restart is needed; 1 the file is no good, or the server does not answer.");
  auto online = std::make_shared<CheckOnlineOptions>();
  auto asked = std::make_shared<bool>(false);
  auto* ask = check->add_flag("--online", *asked, "Also connect to each upstream of the gateway, and log the service account on at its KDC");
  ask->excludes(with);
  check->add_option("--as", online->user, "With --online: a user principal name to log on for, where the logon is Kerberos")->needs(ask);
  choose(check, chosen, [file, diff, differ, with, online, asked] {
    diff->file = *file;
    online->file = *file;
    if (*asked) return check_online(*online);
    if (*differ && !diff->old_one.empty()) return wrong_arguments("--diff OLD and --running exclude each other");
    return with->count() > 0 ? diff_config(*diff) : check_config(*file);
  });

  CLI::App* reference = app.add_subcommand("config-reference", "Print every key of the configuration as Markdown");
  teach(reference, "bellhop config-reference > docs/configuration.md");
  choose(reference, chosen, [] {
    fmt::print("{}", service::config_reference_markdown());
    return kExitDone;
  });

  auto keyring = std::make_shared<std::string>();
  CLI::App* keyrings = group(app, "keyring", "The keys that seal the store");
  CLI::App* make = keyrings->add_subcommand("make", "Write a new keyring; an existing file is never touched");
  names_file(make->add_option("file", *keyring, "Where to write it, mode 0400"))->required();
  teach(make, "bellhop keyring make /etc/bellhop/keyring");
  choose(make, chosen, [keyring] { return make_keyring_file(*keyring); });
  auto target = std::make_shared<StoreTarget>();
  CLI::App* status = keyrings->add_subcommand("status", "Which keys the store needs, and which may retire; may run beside a server");
  add_store_target(status, *target);
  teach(status, "bellhop keyring status --config /etc/bellhop/bellhop.toml",
        "A key may retire, that is be taken out of the keyring, when no sealed field and no callback URL of a live\n"
        "subscription names it.");
  choose(status, chosen, [target] { return show_keyring_status(*target); });
}

void add_reload_command(CLI::App& app, Action& chosen) {
  auto target = std::make_shared<AdminTarget>();
  CLI::App* reload = app.add_subcommand("reload", "Let a running server read its configuration again, and print what changed");
  add_target(reload, *target);
  teach(reload, "bellhop reload --config /etc/bellhop/bellhop.toml",
        "All of it is taken, or nothing: a fault, or a key that needs a restart (docs/configuration.md), leaves everything\n"
        "as it was; each is then printed with file, line and column, and the exit code is 1.");
  choose(reload, chosen, [target] { return reload_server(*target); });

  auto options = std::make_shared<HealthcheckOptions>();
  CLI::App* health = app.add_subcommand("healthcheck", "Say in one line whether a server takes callbacks; for containers and balancers");
  auto* where = health->add_option_group("server", "Which server; the default socket where absent");
  where->add_option("--socket", options->socket, "The admin socket");
  where->add_option("--address", options->address, "The admin listener's host:port");
  where->add_option("--config", options->config, "The server's configuration, which names the admin socket");
  where->require_option(0, 1);
  health->add_option("--timeout-ms", options->timeout_ms, "How long the answer may take")->check(CLI::Range(1u, 600'000u));
  teach(health, "bellhop healthcheck --address 127.0.0.1:9443",
        "Exit codes: 0 ready, 1 not ready (starting, draining, or no answer in time), 2 wrong arguments.");
  choose(health, chosen, [options] { return check_health(*options); });
}

void add_import_commands(CLI::App& app, Action& chosen) {
  CLI::App* imports = group(app, "import", "Settings of other products, as configuration of ours");
  auto options = std::make_shared<ImportSegOptions>();
  CLI::App* seg = imports->add_subcommand("seg", "Print the tables of a gateway that does what the settings of a SEG V2 say");
  names_file(seg->add_option("file", options->file, "Its settings, a line NAME=VALUE each"))->required();
  seg->add_option("--host", options->hosts, "Host name that clients use; may be repeated. Besides the external URL of the settings");
  auto* ca = names_file(seg->add_option("--ca-file", options->ca_file,
                                        "Who vouches for Exchange's certificate, in place of ignoreSslErrorsWithExch"));
  seg->add_option("--spki-pin", options->spki_pins, "Or the key that it has, as sha256/BASE64; may be repeated")->excludes(ca);
  teach(seg, "bellhop import seg application.properties >> /etc/bellhop/bellhop.toml\n"
        "  bellhop import seg seg.properties --host mail.example.com --ca-file /etc/bellhop/tls/exchange-ca.pem",
        "Each setting that did not become configuration is a line FILE:LINE: on standard error: left out, with what takes its\n"
        "place; or refused, and then nothing is printed. Check the result with `bellhop check`.");
  choose(seg, chosen, [options] { return import_seg_settings(*options); });
}

void add_token_commands(CLI::App& app, Action& chosen) {
  CLI::App* tokens = group(app, "token", "API tokens of tenants, on a running server");
  struct Options {
    AdminTarget target;
    std::string tenant, id;
    bool plain = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* add = tokens->add_subcommand("add", "Make a token and print it, this once");
  add_target(add, options->target);
  add->add_option("--tenant", options->tenant, "The tenant's id in the configuration")->required();
  add->add_flag("--plain", options->plain, "Print the token alone");
  teach(add, "bellhop token add --tenant example --config /etc/bellhop/bellhop.toml",
        "The server keeps a hash: a lost token is revoked and replaced.");
  choose(add, chosen, [options] { return add_token(options->target, options->tenant, options->plain); });

  CLI::App* list = tokens->add_subcommand("list", "List tokens, revoked ones included; never the tokens themselves");
  add_target(list, options->target);
  teach(list, "bellhop token list --socket /run/bellhop/admin.sock");
  choose(list, chosen, [options] { return list_tokens(options->target); });

  CLI::App* revoke = tokens->add_subcommand("revoke", "Make a token invalid for good");
  add_target(revoke, options->target);
  revoke->add_option("id", options->id, "The token's id, as add and list print it")->required();
  teach(revoke, "bellhop token revoke 0123456789abcdef", "Phones that send it are refused from now on.");
  choose(revoke, chosen, [options] { return revoke_token(options->target, options->id); });
}

void add_store_commands(CLI::App& app, Action& chosen) {
  CLI::App* stores = group(app, "store", "The store's file");
  struct Options {
    StoreTarget target;
    bool redacted = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* check = stores->add_subcommand("check", "Read every row and prove that the tables agree; may run beside a server");
  add_store_target(check, options->target);
  teach(check, "bellhop store check --config /etc/bellhop/bellhop.toml");
  choose(check, chosen, [options] { return check_store(options->target); });

  CLI::App* dump = stores->add_subcommand("dump", "Print every row as a line of JSON; may run beside a server");
  add_store_target(dump, options->target);
  dump->add_flag("--redacted", options->redacted, "Without anything that may not leave the host; the only form there is")->required();
  teach(dump, "bellhop store dump --redacted --store /var/lib/bellhop/store");
  choose(dump, chosen, [options] { return dump_store(options->target); });

  auto seeding = std::make_shared<SeedOptions>();
  CLI::App* seed = stores->add_subcommand("seed", "Fill a store for tests of scale; no server may have it open");
  names_file(seed->add_option("--config", seeding->config, "Names store, keyring and tenants"))->required();
  seed->add_option("--mailboxes", seeding->mailboxes, "How many to add")->required()->check(CLI::Range(1u, 100'000'000u));
  seed->add_option("--tenant", seeding->tenant, "The tenant's id; the first one where absent");
  seed->add_option("--key-pairs", seeding->key_pairs, "Key pairs that are really made and shared by the mailboxes")
      ->check(CLI::Range(1u, kSeedKeyPairsMax));
  teach(seed, "bellhop store seed --mailboxes 1000000 --config seed.toml");
  choose(seed, chosen, [seeding] { return seed_store(*seeding); });
}

void add_folder(CLI::App* command, standin::StandinFolder& folder) {
  names_file(command->add_option("--folder", folder.path, "Folder of certificates and keys; what is missing is made"))->required();
}

void add_exchange_options(CLI::App* command, standin::StandinExchangeCommand& options) {
  names_file(command->add_option("--callback-ca", options.callback_ca_file, "Who signed the callback listener's certificate; ca.pem of the folder where absent"));
  command->add_option("--time-scale", options.time_scale, "Of heartbeats and retries; 0.01 makes them 100 times faster");
  command->add_option("--ledger", options.ledger_kept, "Entries of its ledger that are kept, the newest; 0: none");
  command->add_flag("--first-status-before-answer", options.first_status_before_answer, "Call back before Subscribe is answered");
  command->add_flag("!--no-expect-continue", options.expect_continue, "Callbacks do not wait for 100 Continue");
  command->add_flag("--http2", options.callback_http2, "Callbacks come over HTTP/2");
  command->add_option("--callback-connections", options.callback_connections_max, "Connections to one callback host");
  command->add_option("--callback-timeout-ms", options.callback_timeout_ms, "How long an answer may take");
  command->add_option("--exchange-version", options.version, "What it is: Exchange2010_SP2 … Exchange2016");
  command->add_flag("--gzip", options.gzip, "Answers are gzip where the client takes it");
  command->add_option("--logon", options.logon, "What clients of EWS must show: password, certificate, or dual (both)")
      ->check(CLI::IsMember({"password", "certificate", "dual"}));
  command->add_option("--autodiscover-http", options.autodiscover_http, "Plain listener whose redirect Autodiscover follows last");
  command->add_option("--requests", options.requests_kept, "Requests that are kept to be looked at, the newest; 0: none");
  command->add_option("--offers", options.offers, "What a 401 offers and who is taken, beside tokens: basic, negotiate, ntlm; with commas")
      ->delimiter(',')
      ->check(CLI::IsMember({"basic", "negotiate", "ntlm"}));
  command->add_option("--negotiate-helper", options.negotiate_helper, "Who reads Kerberos tokens: HTTP and JSON on loopback");
  command->add_flag("--affinity", options.affinity, "Answers set Exchange's routing cookies");
  command->add_flag("--talkative", options.talkative, "Answers tell of servers and of ways around a proxy, as IIS and Exchange do");
  command->add_flag("--provisioning", options.provisioning, "ActiveSync asks every device to be provisioned");
  command->add_option("--heartbeat-min", options.heartbeat_seconds_min, "Shortest heartbeat of Ping and Sync, in seconds");
}

void add_standin_commands(CLI::App& app, Action& chosen) {
  CLI::App* standins = group(app, "stand-in", "Our own Exchange, token endpoint, APNs, UEM and proxy, for tests and measurements");
  auto exchange = std::make_shared<standin::StandinExchangeCommand>();
  CLI::App* one = standins->add_subcommand("exchange", "EWS and its callbacks, until SIGTERM");
  add_folder(one, exchange->folder);
  add_exchange_options(one, *exchange);
  one->add_option("--listen", exchange->listen, "EWS over TLS");
  one->add_option("--control", exchange->control, "Control interface: HTTP and JSON, loopback only");
  one->add_option("--cores", exchange->cores, "Threads");
  one->add_option("--mailboxes", exchange->mailboxes, "Mailboxes user1@DOMAIN … to begin with");
  one->add_option("--domain", exchange->domain, "Their domain");
  one->add_option("--password", exchange->password, "Their password");
  teach(one, "bellhop stand-in exchange --folder /tmp/standin --mailboxes 100");
  choose(one, chosen, [exchange] { return standin::run_standin_exchange(*exchange); });

  auto apns = std::make_shared<standin::StandinApnsCommand>();
  CLI::App* other = standins->add_subcommand("apns", "Apple's push service, until SIGTERM");
  add_folder(other, apns->folder);
  other->add_option("--listen", apns->listen, "HTTP/2 over TLS");
  other->add_option("--control", apns->control, "Control interface: HTTP and JSON, loopback only");
  other->add_option("--cores", apns->cores, "Threads");
  other->add_option("--team-id", apns->team_id, "Of the provider's key");
  other->add_option("--key-id", apns->key_id, "Of the provider's key");
  other->add_option("--topic", apns->topics, "A topic that the key may push to; may be repeated");
  other->add_option("--streams", apns->streams_max, "Streams at the same time on one connection");
  other->add_flag("--keep-payloads", apns->keep_payloads, "Show whole payloads in the books");
  other->add_option("--pushes-kept", apns->pushes_kept, "Accepted pushes that the books still show, the newest");
  other->add_option("--time-scale", apns->time_scale, "Of outages: 0.01 makes ten minutes six seconds")->check(CLI::PositiveNumber);
  teach(other, "bellhop stand-in apns --folder /tmp/standin --topic com.example.mail");
  choose(other, chosen, [apns] { return standin::run_standin_apns(*apns); });

  auto token = std::make_shared<standin::StandinTokenCommand>();
  CLI::App* third = standins->add_subcommand("token", "An OAuth token endpoint for Exchange, until SIGTERM");
  add_folder(third, token->folder);
  third->add_option("--listen", token->listen, "The endpoint /token over TLS");
  third->add_option("--control", token->control, "Control interface: HTTP and JSON, loopback only");
  third->add_option("--lifetime", token->lifetime_s, "Of access tokens, in seconds")->check(CLI::PositiveNumber);
  third->add_option("--grace", token->grace_s, "For so many seconds a spent refresh token is taken once more; else its use revokes all");
  third->add_flag("!--no-rotation", token->rotate, "Refresh tokens stay the same");
  third->add_option("--client-id", token->client_id, "Of the app");
  teach(third, "bellhop stand-in token --folder /tmp/standin --lifetime 60");
  choose(third, chosen, [token] { return standin::run_standin_token(*token); });

  auto proxy = std::make_shared<standin::StandinProxyCommand>();
  CLI::App* fourth = standins->add_subcommand("proxy", "An HTTP proxy that makes tunnels (CONNECT), until SIGTERM");
  add_folder(fourth, proxy->folder);
  fourth->add_option("--listen", proxy->listen, "Where clients come");
  fourth->add_option("--control", proxy->control, "Control interface: HTTP and JSON, loopback only");
  fourth->add_flag("--tls", proxy->tls, "Speak TLS with clients, with the folder's certificate");
  fourth->add_option("--username", proxy->username, "Ask for this user; everybody may where absent");
  fourth->add_option("--password", proxy->password, "Of the user")->envname("BELLHOP_PASSWORD");
  teach(fourth, "bellhop stand-in proxy --folder /tmp/standin --username proxyuser");
  choose(fourth, chosen, [proxy] { return standin::run_standin_proxy(*proxy); });

  auto uem = std::make_shared<standin::StandinUemCommand>();
  CLI::App* uems = standins->add_subcommand("uem", "A UEM that tells which devices comply, until SIGTERM");
  add_folder(uems, uem->folder);
  uems->add_option("--listen", uem->listen, "Where /devices is, over TLS");
  uems->add_option("--control", uem->control, "Control interface: HTTP and JSON, loopback only");
  auto* token_option = uems->add_option("--token", uem->token, "Ask for this token (Bearer); everybody may where absent")
      ->envname("BELLHOP_UEM_TOKEN");
  uems->add_option("--username", uem->username, "Ask for this user (Basic) instead")->excludes(token_option);
  uems->add_option("--password", uem->password, "Of the user")->envname("BELLHOP_PASSWORD");
  uems->add_option("--devices", uem->devices, "Devices to begin with: UEM0000001 …, all of which comply")
      ->check(CLI::Range(0u, 10'000'000u));
  uems->add_option("--users", uem->users, "Their owners: user1@DOMAIN …, one after the other")->check(CLI::PositiveNumber);
  uems->add_option("--domain", uem->domain, "Of the owners");
  uems->add_option("--page-lines", uem->page_lines, "Devices in one answer, at most")->check(CLI::Range(1u, 50'000u));
  teach(uems, "bellhop stand-in uem --folder /tmp/standin --token secret --devices 1000");
  choose(uems, chosen, [uem] { return standin::run_standin_uem(*uem); });

  auto certificate = std::make_shared<standin::StandinCertificateCommand>();
  CLI::App* fifth = standins->add_subcommand("certificate", "Write a user's certificate and key as a PKCS#12");
  add_folder(fifth, certificate->folder);
  fifth->add_option("--address", certificate->address, "The mailbox that it opens")->required();
  fifth->add_option("--password", certificate->password, "Of the PKCS#12")->required();
  names_file(fifth->add_option("--out", certificate->file, "The file to write"))->required();
  teach(fifth, "bellhop stand-in certificate --folder /tmp/standin --address user1@example.com --password secret --out user1.p12");
  choose(fifth, chosen, [certificate] { return standin::run_standin_certificate(*certificate); });
}

void add_server_options(CLI::App* command, standin::DeviceServer& server, std::string& ca_file) {
  command->add_option("--server", server.url, "The server's public_url")->required();
  command->add_option("--api-token", server.api_token, "The tenant's token")->required()->envname("BELLHOP_API_TOKEN");
  names_file(command->add_option("--ca", ca_file, "Who signed the server's certificate; the system's authorities where absent"));
  command->add_flag("--http2", server.http2, "Speak HTTP/2 to the server");
}

void add_account_options(CLI::App* command, standin::DeviceCommand& options) {
  add_server_options(command, options.server, options.ca_file);
  command->add_option("--address", options.account.address, "The mailbox's address")->required();
}

void add_device_options(CLI::App* command, standin::DeviceAccount& account) {
  command->add_option("--device-id", account.device_id, "The device's id")->required();
  command->add_option("--device-secret", account.device_secret, "What the first subscribe printed")->envname("BELLHOP_DEVICE_SECRET");
}

void add_auth_option(CLI::App* command, standin::DeviceAuth& auth) {
  command->add_option_function<std::string>(
             "--auth", [&auth](const std::string& name) { auth = *standin::parse_device_auth(name); },
             "How Exchange is logged on to: basic (the default), oauth, certificate or dual")
      ->check(CLI::IsMember({"basic", "oauth", "certificate", "dual"}));
}

constexpr const char* kAsMailApp = "As a mail app, through the device API";
constexpr const char* kSecretsFromOutside =
    "Secrets may come from the environment: BELLHOP_API_TOKEN, BELLHOP_DEVICE_SECRET, BELLHOP_PASSWORD, "
    "BELLHOP_REFRESH_TOKEN, BELLHOP_PKCS12_PASSWORD.";

void add_device_commands(CLI::App& devices, Action& chosen) {
  auto options = std::make_shared<standin::DeviceCommand>();
  standin::DeviceAccount& account = options->account;

  CLI::App* key = devices.add_subcommand("getpublickey", "Ask for the key that credentials are encrypted to");
  add_account_options(key, *options);
  key->group(kAsMailApp);
  teach(key, "bellhop device getpublickey --server https://localhost:8441 --ca /tmp/standin/ca.pem --address user1@example.com", kSecretsFromOutside);
  choose(key, chosen, [options] { return standin::run_device_getpublickey(*options); });

  CLI::App* subscribe = devices.add_subcommand("subscribe", "Register the device; prints its secret the first time");
  add_account_options(subscribe, *options);
  add_device_options(subscribe, account);
  subscribe->add_option("--username", account.username, "For Exchange; the address where absent");
  add_auth_option(subscribe, account.auth);
  subscribe->add_option("--password", account.password, "For Exchange, with --auth=basic or dual")->envname("BELLHOP_PASSWORD");
  names_file(subscribe->add_option("--pkcs12", options->pkcs12_file, "File of certificate and key, with --auth=certificate or dual"));
  subscribe->add_option("--pkcs12-password", account.pkcs12_password, "Its password")->envname("BELLHOP_PKCS12_PASSWORD");
  subscribe->add_option("--refresh-token", account.refresh_token, "With --auth=oauth; good for one subscribe")
      ->envname("BELLHOP_REFRESH_TOKEN");
  subscribe->add_option("--token-endpoint", account.token_endpoint, "Where the refresh token is good");
  subscribe->add_option("--client-id", account.client_id, "Of the app, at the token endpoint");
  subscribe->add_option("--scope", account.scope, "That was granted");
  subscribe->add_option("--token-control", options->token_control, "Take a refresh token from the token stand-in instead");
  subscribe->add_option("--ews-url", account.ews_url, "Where Exchange is; the server asks Autodiscover where absent");
  subscribe->add_option("--push-token", account.push_token, "What the push service calls the device, in hex")->required();
  subscribe->add_option("--topic", account.topic, "The app's topic; the tenant's only one where absent");
  subscribe->add_option("--preview", account.preview, "What a push may show")
      ->check(CLI::IsMember({"none", "sender", "subject", "full"}));
  subscribe->group(kAsMailApp);
  teach(subscribe, "bellhop device subscribe --server https://localhost:8441 --ca /tmp/standin/ca.pem \\\n"
        "    --address user1@example.com --device-id phone1 --push-token 0011…ff \\\n"
        "    --ews-url https://127.0.0.1:8443/EWS/Exchange.asmx", kSecretsFromOutside);
  choose(subscribe, chosen, [options] {
    using enum standin::DeviceAuth;
    standin::DeviceAuth auth = options->account.auth;
    if ((auth == basic || auth == dual) && options->account.password.empty()) {
      return wrong_arguments("--password is required with --auth=basic and dual");
    }
    if ((auth == certificate || auth == dual) && options->pkcs12_file.empty()) {
      return wrong_arguments("--pkcs12 is required with --auth=certificate and dual");
    }
    return standin::run_device_subscribe(*options);
  });

  CLI::App* checkin = devices.add_subcommand("checkin", "Ask how the subscription is");
  add_account_options(checkin, *options);
  add_device_options(checkin, account);
  checkin->group(kAsMailApp);
  teach(checkin, "bellhop device checkin --server https://localhost:8441 --ca /tmp/standin/ca.pem \\\n"
        "    --address user1@example.com --device-id phone1", kSecretsFromOutside);
  choose(checkin, chosen, [options] { return standin::run_device_checkin(*options); });

  CLI::App* update = devices.add_subcommand("updatetoken", "Tell a new push token");
  add_account_options(update, *options);
  add_device_options(update, account);
  update->add_option("--push-token", account.push_token, "The new one, in hex")->required();
  update->group(kAsMailApp);
  teach(update, "bellhop device updatetoken --server https://localhost:8441 --ca /tmp/standin/ca.pem \\\n"
        "    --address user1@example.com --device-id phone1 --push-token 0011…ff", kSecretsFromOutside);
  choose(update, chosen, [options] { return standin::run_device_updatetoken(*options); });

  CLI::App* unsubscribe = devices.add_subcommand("unsubscribe", "Remove the device");
  add_account_options(unsubscribe, *options);
  add_device_options(unsubscribe, account);
  unsubscribe->group(kAsMailApp);
  teach(unsubscribe, "bellhop device unsubscribe --server https://localhost:8441 --ca /tmp/standin/ca.pem \\\n"
        "    --address user1@example.com --device-id phone1", kSecretsFromOutside);
  choose(unsubscribe, chosen, [options] { return standin::run_device_unsubscribe(*options); });
}

void add_load_command(CLI::App& app, Action& chosen) {
  auto options = std::make_shared<standin::LoadCommand>();
  CLI::App* load = app.add_subcommand("load", "Register mailboxes, let mail arrive, and count what reaches APNs");
  teach(load, "bellhop load --server https://localhost:8441 --ca /tmp/standin/ca.pem --mailboxes 100 --mails 10000",
        "Both stand-ins and a server have to run. Ends with 0 only if each mail was pushed exactly once.");
  add_server_options(load, options->server, options->ca_file);
  load->add_option("--mailboxes", options->mailboxes, "Mailboxes to register")->check(CLI::PositiveNumber);
  load->add_option("--mails", options->mails, "Mails to deliver")->check(CLI::PositiveNumber);
  load->add_option("--concurrency", options->concurrency, "Mails under way at the same time")->check(CLI::PositiveNumber);
  load->add_option("--mailbox-concurrency", options->mailbox_concurrency,
                   "Mails under way for one mailbox: at most the server's notification.merge_above, or merged mails count as missing")
      ->check(CLI::PositiveNumber);
  load->add_option("--registrations-at-once", options->registrations_at_once, "Registrations at the same time")
      ->check(CLI::PositiveNumber);
  load->add_option("--timeout-ms", options->timeout_ms, "Without any push for so long, what is missing counts as lost");
  load->add_option("--domain", options->domain, "Of the mailboxes");
  add_auth_option(load, options->auth);
  load->add_option("--password", options->password, "Of the mailboxes");
  load->add_option("--token-control", options->token_control, "Control address of the token stand-in, with --auth=oauth");
  names_file(load->add_option("--folder", options->folder, "The stand-ins' folder, with --auth=certificate or dual"));
  load->add_option("--topic", options->topic, "The app's topic; the tenant's only one where absent");
  load->add_flag("--keep-registered", options->keep_registered, "Leave the devices registered at the end");
  load->add_option("--ews-url", options->ews_url, "Where the Exchange stand-in's EWS is");
  load->add_option("--exchange-control", options->exchange_control, "Control address of the Exchange stand-in");
  load->add_option("--apns-control", options->apns_control, "Control address of the APNs stand-in");
  load->add_option("--wait-for-server-ms", options->wait_for_server_ms, "How long the server may take to start");
  choose(load, chosen, [options] {
    return standin::run_load(*options);
  });
}

int run(int argc, char** argv) {
  Action chosen;
  CLI::App app("bellhop: command line of the bellhop push server", "bellhop");
  app.option_defaults()->always_capture_default();  // for all that follow: help shows what holds without the option
  app.require_subcommand(1);
  app.footer("Exit codes: 0 done, 1 failed (the reason is on standard error), 2 wrong arguments.\n"
             "`bellhop COMMAND --help` explains a command. The server itself is bellhopd.");
  CLI::App* devices = group(app, "device", "Devices: list, show and remove them on a server; or do what a mail app does");
  add_operator_commands(app, *devices, chosen);
  add_gateway_commands(app, chosen);
  add_configuration_commands(app, chosen);
  add_reload_command(app, chosen);
  add_import_commands(app, chosen);
  add_token_commands(app, chosen);
  add_store_commands(app, chosen);
  add_device_commands(*devices, chosen);
  add_standin_commands(app, chosen);
  add_load_command(app, chosen);
  add_completion_commands(app, chosen);
  CLI::App* version = app.add_subcommand("version", "Print the version");
  teach(version, "bellhop version");
  choose(version, chosen, [] {
    fmt::print("bellhop {}\n", BELLHOP_VERSION);
    return kExitDone;
  });
  finish_help(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (app.exit(error) == 0) return kExitDone;
    if (std::string hint = suggestion_for(app, argc, argv); !hint.empty()) fmt::print(stderr, "{}\n", hint);
    return kExitUsage;
  }
  prepare_process();
  return chosen();
}

}  // namespace
}  // namespace bellhop::tools

int main(int argc, char** argv) { return bellhop::tools::run(argc, argv); }
