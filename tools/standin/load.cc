// SPDX-License-Identifier: Apache-2.0
// `bellhop load`: mailboxes, mails, and whether each mail was pushed exactly once.

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <vector>

#include "core/io.h"
#include "core/sleep.h"
#include "proto/json.h"
#include "proto/json_writer.h"
#include "proto/url.h"
#include "service/http1_client.h"
#include "tools/standin/client_bundle.h"
#include "tools/standin/client_tls.h"
#include "tools/standin/commands.h"
#include "tools/standin/control_client.h"

namespace bellhop::standin {
namespace {

constexpr uint32_t kBatchMax = 256;       // mails in one request to the Exchange stand-in
constexpr Duration kLook = 2ms;           // between two looks at the APNs stand-in
constexpr uint32_t kPushesPerLook = 1'000;

struct Run {
  const LoadCommand& command;
  std::unique_ptr<ControlClient> exchange, apns, tokens;
  std::unique_ptr<DeviceClient> device;
  std::vector<DeviceAccount> accounts;
  uint32_t registered = 0, refused = 0;
  std::string first_refusal;

  std::string prefix;                 // of this run's subjects
  std::vector<uint32_t> under_way;    // by mailbox: mails sent, not yet arrived
  size_t turn = 0;                    // the mailbox whose turn it is
  std::vector<uint32_t> mailbox_of;   // by mail
  std::vector<uint8_t> arrivals;      // by mail
  std::vector<int64_t> sent_at_ns, latency_ns;
  uint32_t sent = 0, arrived = 0, duplicates = 0;
  uint64_t last_push = 0;
};

void print_problem(std::string_view what) { fmt::print(stderr, "bellhop load: {}\n", what); }

Task<void> register_some(Run* run, size_t* next) {
  while (*next < run->accounts.size()) {
    DeviceAccount& account = run->accounts[(*next)++];
    for (int attempt = 0;; ++attempt) {
      if (account.auth == DeviceAuth::oauth && !co_await take_refresh_token(*run->tokens, account)) {
        if (run->refused++ == 0) run->first_refusal = "the token stand-in gives no refresh token";
        break;
      }
      auto subscribed = co_await run->device->enroll(account);
      if (subscribed) {
        ++run->registered;
        break;
      }
      // The pool of keys, or a limit: the server says when to come again.
      if (subscribed.error().retry_after_s > 0 && attempt < 60) {
        if (!co_await sleep_for(std::chrono::seconds(subscribed.error().retry_after_s))) co_return;
        continue;
      }
      if (run->refused++ == 0) run->first_refusal = subscribed.error().to_string();
      break;
    }
  }
}

// The same certificate authority that the Exchange stand-in trusts.
Result<CertificateAndKey> read_authority(const std::string& folder) {
  CertificateAndKey authority;
  BH_TRY(authority.chain_pem, io::read_file(folder + "/ca.pem"));
  BH_TRY(authority.key_pem, io::read_file(folder + "/ca-key.pem"));
  return authority;
}

Task<bool> register_all(Run& run) {
  bool certificates = run.command.auth == DeviceAuth::certificate || run.command.auth == DeviceAuth::dual;
  Result<CertificateAndKey> authority = CertificateAndKey();
  if (certificates) authority = read_authority(run.command.folder);
  if (!authority) {
    print_problem(run.command.folder + ": no certificate authority: " + error_text(authority.error()));
    co_return false;
  }
  for (uint32_t i = 1; i <= run.command.mailboxes; ++i) {
    DeviceAccount account;
    account.address = fmt::format("user{}@{}", i, run.command.domain);
    account.auth = run.command.auth;
    account.password = run.command.password;
    account.ews_url = run.command.ews_url;
    account.device_id = fmt::format("load-{}", i);  // the same at the next run, which then takes over
    account.push_token = fmt::format("{:064x}", i);
    account.topic = run.command.topic;
    if (certificates) {
      account.pkcs12_password = run.command.password;
      auto bundle = make_client_bundle(*authority, account.address, account.pkcs12_password, io::wall_now());
      if (!bundle) {
        print_problem("no certificate can be made: " + error_text(bundle.error()));
        co_return false;
      }
      account.pkcs12 = bundle->reveal_text();
    }
    run.accounts.push_back(std::move(account));
  }
  Instant begun = io::now();
  size_t next = 0;
  TaskScope scope(&co_await current_context());
  for (uint32_t i = 0; i < std::max(1u, run.command.registrations_at_once); ++i) scope.spawn(register_some(&run, &next));
  co_await scope.join();
  fmt::print("registered {} of {} mailboxes in {} ms\n", run.registered, run.command.mailboxes,
             to_milliseconds(io::now() - begun));
  if (run.refused > 0) print_problem(fmt::format("{} registrations refused; the first: {}", run.refused, run.first_refusal));
  co_return run.refused == 0;
}

// The mailbox for the next mail: each in turn, but none that has as many under way as one push per mail allows. A slow
// mailbox would else collect what the server then merges, and merged mails look lost.
std::optional<uint32_t> next_mailbox(Run& run) {
  for (size_t tried = 0; tried < run.under_way.size(); ++tried) {
    size_t mailbox = run.turn;
    run.turn = (run.turn + 1) % run.under_way.size();
    if (run.under_way[mailbox] < run.command.mailbox_concurrency) return static_cast<uint32_t>(mailbox);
  }
  return std::nullopt;
}

// Lets up to `limit` mails arrive, and tells how many: fewer where the mailboxes are full. Nothing: no answer.
Task<std::optional<uint32_t>> send_mails(Run& run, uint32_t limit) {
  std::string body;
  proto::JsonWriter json(body);
  json.begin_object().name("mails").begin_array();
  uint32_t count = 0;
  for (; count < limit; ++count) {
    auto mailbox = next_mailbox(run);
    if (!mailbox) break;
    uint32_t mail = run.sent + count;
    run.mailbox_of[mail] = *mailbox;
    ++run.under_way[*mailbox];
    json.begin_object()
        .member("address", run.accounts[*mailbox].address)
        .member("subject", fmt::format("{} {}", run.prefix, mail))
        .end_object();
  }
  if (count == 0) co_return 0;
  json.end_array().end_object();
  int64_t before = io::now().time_since_epoch().count();
  auto answer = co_await run.exchange->call("POST", "/deliver", std::move(body));
  if (!answer) {
    print_problem("the Exchange stand-in does not deliver: " + error_text(answer.error()));
    co_return std::nullopt;
  }
  for (uint32_t i = 0; i < count; ++i) run.sent_at_ns[run.sent + i] = before;
  run.sent += count;
  co_return count;
}

// Notes what APNs accepted since the last look.
Task<bool> look(Run& run) {
  for (;;) {
    auto answer = co_await run.apns->call(
        "GET", fmt::format("/pushes?after={}&limit={}", run.last_push, kPushesPerLook), {});
    if (!answer) {
      print_problem("the APNs stand-in does not answer: " + error_text(answer.error()));
      co_return false;
    }
    auto pushes = answer->root().required_array("pushes");
    if (!pushes) co_return false;
    size_t count = pushes->size();
    for (size_t i = 0; i < count; ++i) {
      auto push = pushes->at(i).object();
      if (!push) co_return false;
      auto number = push->required_integer("number");
      auto at = push->required_integer("atNs");
      auto text = push->string("body");
      if (!number || !at || !text) co_return false;
      run.last_push = std::max(run.last_push, static_cast<uint64_t>(*number));
      std::string_view subject = text->value_or("");
      if (!subject.starts_with(run.prefix) || subject.size() <= run.prefix.size() + 1) continue;
      auto mail = parse_decimal(subject.substr(run.prefix.size() + 1));
      if (!mail || *mail >= run.arrivals.size()) continue;
      if (run.arrivals[*mail]++ > 0) {
        ++run.duplicates;
        continue;
      }
      ++run.arrived;
      --run.under_way[run.mailbox_of[*mail]];
      run.latency_ns.push_back(*at - run.sent_at_ns[*mail]);
    }
    if (count < kPushesPerLook) co_return true;
  }
}

Task<bool> deliver_all(Run& run) {
  if (!co_await look(run)) co_return false;  // skips what is there from before
  Instant progress = io::now();
  Duration patience = std::chrono::milliseconds(run.command.timeout_ms);
  while (run.arrived < run.command.mails) {
    uint32_t under_way = run.sent - run.arrived;
    uint32_t room = run.command.concurrency > under_way ? run.command.concurrency - under_way : 0;
    auto batch = co_await send_mails(run, std::min({room, run.command.mails - run.sent, kBatchMax}));
    if (!batch) co_return false;
    uint32_t before = run.arrived;
    if (!co_await look(run)) co_return false;
    if (run.arrived > before || *batch > 0) progress = io::now();
    if (io::now() - progress > patience) break;
    if (run.arrived == before && !co_await sleep_for(kLook)) co_return false;
  }
  // One more look after a rest: what comes twice comes late.
  if (!co_await sleep_for(100ms)) co_return false;
  co_return co_await look(run);
}

double percentile_ms(std::vector<int64_t>& sorted, double share) {
  if (sorted.empty()) return 0;
  size_t at = std::min(sorted.size() - 1, static_cast<size_t>(share * static_cast<double>(sorted.size())));
  return static_cast<double>(sorted[at]) / 1e6;
}

bool report(Run& run, Duration took) {
  std::ranges::sort(run.latency_ns);
  double seconds = std::max(1e-9, std::chrono::duration<double>(took).count());
  fmt::print("mails {}, arrived {}, missing {}, arrived again {}; {:.2f} s, {:.0f} mails/s\n", run.command.mails,
             run.arrived, run.command.mails - run.arrived, run.duplicates, seconds, run.arrived / seconds);
  fmt::print("from arrival to APNs in ms: median {:.2f}, 90 % {:.2f}, 99 % {:.2f}, longest {:.2f}\n",
             percentile_ms(run.latency_ns, 0.5), percentile_ms(run.latency_ns, 0.9), percentile_ms(run.latency_ns, 0.99),
             percentile_ms(run.latency_ns, 1.0));
  return run.arrived == run.command.mails && run.duplicates == 0;
}

Task<bool> wait_for_server(Run& run) {
  Instant end = io::now() + std::chrono::milliseconds(run.command.wait_for_server_ms);
  for (;;) {
    auto alive = co_await run.device->alive();
    if (alive) co_return true;
    if (io::now() >= end) {
      print_problem("the server does not answer: " + alive.error().to_string());
      co_return false;
    }
    if (!co_await sleep_for(50ms)) co_return false;
  }
}

Task<bool> run_all(Run& run) {
  if (!co_await wait_for_server(run)) co_return false;
  if (!co_await register_all(run)) co_return false;
  run.under_way.resize(run.command.mailboxes);
  run.mailbox_of.resize(run.command.mails);
  run.arrivals.resize(run.command.mails);
  run.sent_at_ns.resize(run.command.mails);
  Instant begun = io::now();
  bool worked = co_await deliver_all(run);
  bool complete = report(run, io::now() - begun - 100ms);
  if (!run.command.keep_registered) {
    for (const DeviceAccount& account : run.accounts) (void)co_await run.device->unsubscribe(account);
  }
  co_return worked && complete;
}

Task<void> load_flow(const LoadCommand* command, bool* passed) {
  Run run{.command = *command};
  run.prefix = fmt::format("load-{:08x}", static_cast<uint32_t>(io::random_u64()));
  run.exchange = ControlClient::make(command->exchange_control);
  run.apns = ControlClient::make(command->apns_control);
  run.tokens = ControlClient::make(command->token_control);
  if (!run.exchange || !run.apns || !run.tokens) {
    print_problem("a control address is not of the form 127.0.0.1:8444");
    co_return;
  }
  std::string complaint;
  auto tls = make_client_tls(command->ca_file, command->server.http2, complaint);
  if (!tls) {
    print_problem(complaint);
    co_return;
  }
  DeviceServer server = command->server;
  server.connections_max = std::max(server.connections_max, command->registrations_at_once);
  auto device = DeviceClient::make(server, *std::move(tls));
  if (!device) {
    print_problem(fmt::format("{}: {}", command->server.url, error_text(device.error())));
    co_return;
  }
  run.device = *std::move(device);
  *passed = co_await run_all(run);
  co_await run.device->close();
  co_await run.exchange->close();
  co_await run.apns->close();
  co_await run.tokens->close();
}

}  // namespace

int run_load(const LoadCommand& command) {
  if (command.mailboxes == 0 || command.mails == 0 || command.concurrency == 0 ||
      command.mailbox_concurrency == 0) {
    print_problem("mailboxes, mails, concurrency and mailbox-concurrency must be at least 1");
    return 1;
  }
  bool passed = false;
  Status ran = io::run_cluster({.cores = 1}, [&](unsigned) { return load_flow(&command, &passed); });
  if (!ran) {
    print_problem(io::explain_start_failure(ran.error()));
    return 1;
  }
  return passed ? 0 : 1;
}

}  // namespace bellhop::standin
