// SPDX-License-Identifier: Apache-2.0
#include "tools/demo.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "core/cross_core.h"
#include "core/io.h"
#include "core/reactor.h"
#include "core/sleep.h"
#include "core/sync.h"
#include "core/tls/context.h"
#include "proto/json.h"
#include "service/server.h"
#include "store/lmdb/lmdb_store.h"
#include "tools/commands/admin_exchange.h"
#include "tools/demo_files.h"
#include "tools/server_main.h"
#include "tools/standin/client_bundle.h"
#include "tools/standin/device.h"
#include "tools/standin/world.h"

namespace bellhop::tools {
namespace {

constexpr unsigned kCoresMax = 2;
constexpr Duration kPause = 1s;              // between mails, where they are not counted
constexpr Duration kMailPatience = 40s;      // one repetition of Exchange fits
constexpr Duration kKeyPatience = 60s;       // three key pairs are made meanwhile, on a busy machine slowly
constexpr Duration kKeyPauseMin = 100ms;     // doubled each time: the server limits how often an address may ask
constexpr Duration kKeyPauseMax = 2s;
constexpr Duration kRequestPatience = 10s;
constexpr Duration kTokenLifetime = 5s;      // so that some renewals are seen
constexpr size_t kLogShownMax = 4096;        // bytes of the server's log, after a failure

constexpr std::string_view kAddresses[] = {"sales@example.com", "support@example.com", "press@example.com"};
struct DemoMail {
  std::string_view sender, subject;
};
constexpr DemoMail kMails[] = {{"Reports", "Figures of the week"},     {"Calendar", "Meeting moved to 15:00"},
                               {"Front desk", "A parcel is waiting"},  {"Build server", "Build is green"},
                               {"Travel", "Your booking is confirmed"}};

double ms(Duration duration) { return std::chrono::duration<double, std::milli>(duration).count(); }

// A port that is free at the moment: callback URLs name the port, so it must be known before the server listens.
Result<uint16_t> free_port() {
  BH_TRY(io::Handle handle, io::open_listener({{*IpAddress::parse("127.0.0.1"), 0}, {}}));
  auto address = io::local_address(handle);
  io::close(handle);
  if (!address) return fail(address.error());
  return address->port;
}

// Everything happens on core 0, but for what the server does on the others. Lives from before the cluster's start to
// after its end.
class Demo final : public service::NotificationObserver, public standin::ApnsObserver {
 public:
  Demo(const DemoOptions& options, const DemoFolder& folder)
      : count_(options.count), auth_(options.auth), http2_(options.http2), folder_(folder) {}

  Task<void> run(unsigned core);
  void complain_of(std::string_view what, std::string_view why) {
    complain(fmt::format("{}: {}", what, why));
    failed_ = true;
  }
  bool failed() const { return failed_; }

  void notified(const service::NotificationTrace& trace) override;  // on any core
  void on_push(const standin::AcceptedPush& push) override;         // on core 0

 private:
  struct TraceMessage : Message {
    Demo* demo = nullptr;
    service::NotificationTrace trace;
  };

  Task<bool> prepare();
  Task<bool> wait_prepared();
  Task<void> run_first_core();
  Task<void> watch_signals(Context* playing);
  Task<void> play();
  Task<bool> register_mailboxes();
  Task<Result<std::string>> make_token();
  Task<bool> enroll(standin::DeviceClient* client, std::string address);
  Task<bool> play_mail(uint64_t number);
  Task<Status> arrival(uint64_t number);
  void print_line(uint64_t number, std::string_view address);
  void print_summary(const standin::ApnsBooks& books);
  void print_server_log();

  const uint64_t count_;
  const standin::DeviceAuth auth_;
  const bool http2_;
  const DemoFolder& folder_;
  bool failed_ = false;
  bool interrupted_ = false;

  std::unique_ptr<standin::World> world_;
  std::unique_ptr<store::LmdbStore> store_;  // outlives the server
  std::optional<service::Server> server_;
  Event prepared_;
  bool prepared_well_ = false;

  std::vector<uint32_t> arrivals_;  // by mail
  std::vector<Duration> totals_;
  uint64_t without_content_ = 0;
  std::string title_, body_;  // of the last push
  std::optional<service::NotificationTrace> trace_;
  Event progress_;
};

Task<void> Demo::run(unsigned core) {
  if (core == 0) {
    prepared_well_ = co_await prepare();
    prepared_.set();
    if (prepared_well_) co_await run_first_core();
    world_.reset();
  } else if (co_await on_core(0, [this] { return wait_prepared(); })) {
    co_await server_->run(core);
  }
}

Task<bool> Demo::wait_prepared() {
  (void)co_await prepared_.wait();
  co_return prepared_well_;
}

// Stand-ins first: the server's configuration names their ports.
Task<bool> Demo::prepare() {
  std::string complaint;
  standin::WorldOptions options;
  options.tokens.lifetime = kTokenLifetime;
  options.exchange.callback_http2 = http2_;
  if (auth_ == standin::DeviceAuth::certificate) options.exchange.logon = standin::ExchangeLogon::certificate;
  if (auth_ == standin::DeviceAuth::dual) options.exchange.logon = standin::ExchangeLogon::dual;
  auto world = standin::World::make(std::move(options), complaint);
  if (!world) {
    complain_of("the stand-ins could not start", complaint);
    co_return false;
  }
  world_ = *std::move(world);
  world_->apns().set_observer(this);
  auto port = free_port();
  Status written = port ? write_demo_files(folder_, world_->texts(), *port) : fail(port.error());
  if (!written) {
    complain_of(folder_.path(), "the server's files could not be written: " + error_text(written.error()));
    co_return false;
  }
  auto config = load_config(folder_.file("bellhop.toml"));
  std::optional<Result<service::StartFiles>> files;
  if (config) files.emplace(service::read_start_files(*config, complaint));
  if (config && *files) store_ = open_store(*config);
  if (!store_) {
    complain_of("the server could not be prepared", complaint.empty() ? "see above" : complaint);
    co_return false;
  }
  if (Status logging = io::set_log_file(config->log.output); !logging) {
    complain_of(config->log.output, error_text(logging.error()));
    co_return false;
  }
  server_.emplace(*std::move(config), **std::move(files), *store_);
  server_->handle_signals(false);
  server_->set_observer(this);
  co_return true;
}

Task<void> Demo::run_first_core() {
  Context& context = co_await current_context();
  TaskScope standins(&context), serving(&context), watching(&context);
  Context playing(&context);
  watching.spawn(watch_signals(&playing));
  standins.spawn(world_->run());
  serving.spawn(server_->run(0));
  if (co_await server_->wait_ready()) {
    co_await play().under(playing);
    co_await server_->drain();
  } else {
    complain_of("the server could not start", server_->complaint());
  }
  co_await serving.join();
  watching.request_stop();
  co_await watching.join();
  standin::ApnsBooks books = co_await world_->apns().books();
  co_await world_->stop();
  co_await standins.join();
  print_summary(books);
  if (failed_) print_server_log();
}

Task<void> Demo::watch_signals(Context* playing) {
  if (!co_await next_signal()) co_return;
  interrupted_ = true;
  playing->request_stop();
}

Task<void> Demo::play() {
  Instant begun = io::now();
  if (!co_await register_mailboxes()) co_return;
  fmt::print("Server at {}, stand-ins for Exchange and APNs beside it, three mailboxes registered in {:.0f} ms.\n",
             server_->config().public_url, ms(io::now() - begun));
  fmt::print("Each line is a push as the phone shows it, and what its notification took in ms.{}\n\n",
             count_ == 0 ? " Ctrl-C ends." : "");
  fmt::print("{:>6}  {:<20} {:<44} {:>7} {:>7} {:>7} {:>7} {:>7} {:>8}\n", "mail", "mailbox", "sender → subject", "route",
             "parse", "decrypt", "fetch", "push", "total");
  std::fflush(stdout);
  for (uint64_t number = 1; count_ == 0 || number <= count_; ++number) {
    Instant next = io::now() + kPause;
    if (!co_await play_mail(number)) co_return;
    if (count_ == 0 && !co_await sleep_until(next)) co_return;
  }
}

// Through the API as a phone does it: a token of the tenant, then key, credentials and subscription for each mailbox.
Task<bool> Demo::register_mailboxes() {
  auto token = co_await within(kRequestPatience, make_token());
  if (!token) {
    complain_of("the server made no API token", error_text(token.error()));
    co_return false;
  }
  std::string complaint;
  const TlsFile authority{"ca.pem", world_->texts().ca_pem};
  auto authorities = TlsAuthorities::parse(std::span(&authority, 1), complaint);
  const char* protocol = http2_ ? "h2" : "http/1.1";
  auto tls = authorities ? TlsContext::client({.authorities = *authorities, .pins = {}, .alpn = {protocol}}, complaint)
                         : fail(authorities.error());
  standin::DeviceServer server{.url = server_->config().public_url, .api_token = *token, .http2 = http2_};
  auto client = tls ? standin::DeviceClient::make(std::move(server), *tls) : fail(tls.error());
  wipe(*token);
  if (!client) {
    complain_of("the devices could not be made", error_text(client.error()));
    co_return false;
  }
  bool enrolled = true;
  for (std::string_view address : kAddresses) {
    enrolled = co_await enroll(client->get(), std::string(address));
    if (!enrolled) break;
  }
  co_await (*client)->close();
  co_return enrolled;
}

Task<Result<std::string>> Demo::make_token() {
  std::string socket = server_->config().listen_admin.unix_socket;
  AdminRequest request{"POST", "/v1/tokens", fmt::format(R"({{"tenant":"{}"}})", kDemoTenant)};
  BH_CO_TRY(AdminAnswer answer, co_await exchange_admin(&socket, &request));
  BH_CO_TRY(auto document, proto::JsonDocument::parse(answer.body));
  wipe(answer.body);
  BH_CO_TRY(std::string_view token, document.root().required_string("token"));
  co_return std::string(token);
}

Task<bool> Demo::enroll(standin::DeviceClient* client, std::string address) {
  uint8_t random[32];
  io::random(random);
  standin::DeviceAccount account;
  account.address = address;
  account.auth = auth_;
  account.password = to_base64url(Bytes(random).first(12));
  account.ews_url = fmt::format("https://localhost:{}/EWS/Exchange.asmx", world_->texts().ews_port);
  account.device_id = "phone-of-" + address.substr(0, address.find('@'));
  account.push_token = to_hex(random);
  if (!co_await world_->exchange().add_mailbox({.address = address, .username = {}, .password = account.password})) {
    complain_of(address, "the Exchange stand-in did not take the mailbox");
    co_return false;
  }
  if (auth_ == standin::DeviceAuth::oauth) {
    standin::TokenEndpoint& tokens = world_->tokens();
    account.refresh_token = tokens.families().begin(address);
    account.token_endpoint = tokens.url();
    account.client_id = tokens.options().client_id;
    account.scope = tokens.options().scope;
  }
  if (auth_ == standin::DeviceAuth::certificate || auth_ == standin::DeviceAuth::dual) {
    account.pkcs12_password = to_base64url(Bytes(random).last(12));
    auto bundle =
        standin::make_client_bundle(world_->authority(), address, account.pkcs12_password, io::wall_now());
    if (!bundle) {
      complain_of(address, "no certificate could be made: " + error_text(bundle.error()));
      co_return false;
    }
    account.pkcs12 = bundle->reveal_text();
  }
  // The server has just begun to make key pairs; until the first is ready it asks to come again.
  Duration pause = kKeyPauseMin;
  for (Instant end = io::now() + kKeyPatience;; pause = std::min(pause * 2, kKeyPauseMax)) {
    auto reply = co_await client->enroll(account);
    if (reply) co_return true;
    bool again = reply.error().code == "unavailable" && io::now() < end;
    if (again && co_await sleep_for(pause)) continue;
    if (!interrupted_) complain_of(address + " could not be registered", reply.error().to_string());
    co_return false;
  }
}

Task<bool> Demo::play_mail(uint64_t number) {
  std::string address(kAddresses[(number - 1) % std::size(kAddresses)]);
  const DemoMail& mail = kMails[(number - 1) % std::size(kMails)];
  trace_.reset();
  arrivals_.push_back(0);
  standin::Mail delivery;
  delivery.subject = fmt::format("{} #{}", mail.subject, number);
  delivery.sender_name = mail.sender;
  delivery.sender_address = "noreply@example.com";
  if (!co_await world_->exchange().deliver(address, delivery)) {
    complain_of(address, "the Exchange stand-in did not take the mail");
    co_return false;
  }
  Status arrived = co_await within(kMailPatience, arrival(number));
  if (arrived) {
    print_line(number, address);
    co_return true;
  }
  if (!interrupted_) {
    complain_of(fmt::format("mail {} to {}", number, address),
                fmt::format("not pushed and acknowledged within {} s", kMailPatience / 1s));
  }
  co_return false;
}

// Until the push arrived at APNs and Exchange has its answer.
Task<Status> Demo::arrival(uint64_t number) {
  while (arrivals_[number - 1] == 0 || !trace_) {
    progress_.reset();
    BH_CO_CHECKED(co_await progress_.wait());
  }
  co_return Status();
}

void Demo::notified(const service::NotificationTrace& trace) {
  if (trace.items == 0 || trace.outcome != service::CallbackOutcome::ok) return;  // a refused one comes again
  auto* message = new TraceMessage;
  message->demo = this;
  message->trace = trace;
  message->run = [](Message& arrived) {
    std::unique_ptr<TraceMessage> own(static_cast<TraceMessage*>(&arrived));
    own->demo->trace_ = own->trace;
    own->demo->progress_.set();
  };
  io::post(0, *message);
}

void Demo::on_push(const standin::AcceptedPush& push) {
  if (push.title.empty() && push.body.empty()) return;  // a badge
  size_t mark = push.body.rfind('#');
  auto number = mark == std::string::npos ? std::nullopt : parse_decimal(push.body.substr(mark + 1));
  bool known = number && *number >= 1 && *number <= arrivals_.size();
  if (!known) ++without_content_;
  if (!arrivals_.empty()) ++(known ? arrivals_[*number - 1] : arrivals_.back());
  title_ = push.title;
  body_ = push.body;
  progress_.set();
}

void Demo::print_line(uint64_t number, std::string_view address) {
  const service::NotificationTrace& t = *trace_;
  totals_.push_back(t.total);
  fmt::print("{:>6}  {:<20} {:<44} {:>7.2f} {:>7.2f} {:>7.2f} {:>7.2f} {:>7.2f} {:>8.2f}\n", number, address,
             title_ + " → " + body_, ms(t.route), ms(t.parse), ms(t.decrypt), ms(t.fetch), ms(t.push),
             ms(t.total));
  std::fflush(stdout);
}

void Demo::print_summary(const standin::ApnsBooks& books) {
  uint64_t once = static_cast<uint64_t>(std::count(arrivals_.begin(), arrivals_.end(), 1u));
  uint64_t never = static_cast<uint64_t>(std::count(arrivals_.begin(), arrivals_.end(), 0u));
  if (interrupted_ && never > 0 && arrivals_.back() == 0) {
    arrivals_.pop_back();  // Ctrl-C cut it off
    --never;
  }
  fmt::print("\n{} of {} mails arrived exactly once, {} more than once, {} never; {} without content.\n", once,
             arrivals_.size(), arrivals_.size() - once - never, never, without_content_);
  if (!totals_.empty()) {
    std::sort(totals_.begin(), totals_.end());
    fmt::print("From callback to answer: median {:.2f} ms, slowest {:.2f} ms.\n", ms(totals_[totals_.size() / 2]),
               ms(totals_.back()));
  }
  const standin::TokenBooks& tokens = world_->tokens().families().books;
  if (auth_ == standin::DeviceAuth::oauth) {
    fmt::print("Token endpoint: {} grants, {} with a new refresh token, {} spent tokens presented again.\n",
               tokens.grants, tokens.rotations, tokens.reuses);
    if (tokens.reuses > 0) failed_ = true;
  }
  int64_t balance = server_->ledger().balance();
  if (balance != 0) complain_of("the ledger does not balance", fmt::format("{} events are unaccounted for", balance));
  bool complete = once == arrivals_.size() && (count_ == 0 || once == count_) && without_content_ == 0;
  if (!complete || books.duplicates != 0) failed_ = true;
}

void Demo::print_server_log() {
  auto log = io::read_file(server_->config().log.output);
  if (!log || log->empty()) return;
  std::string_view text = *log;
  if (text.size() > kLogShownMax) text = text.substr(text.find('\n', text.size() - kLogShownMax) + 1);
  fmt::print(stderr, "\nThe last lines of the server's log:\n{}", text);
}

}  // namespace

int run_demo(const DemoOptions& options) {
  auto folder = DemoFolder::make();
  if (!folder) {
    complain(fmt::format("no temporary folder: {}; set TMPDIR to one that can be written", error_text(folder.error())));
    return kExitFailed;
  }
  Demo demo(options, *folder);
  io::ClusterOptions cluster;
  cluster.cores = std::clamp(std::thread::hardware_concurrency(), 1u, kCoresMax);
  cluster.connections_max = 1024;
  Status ran = io::run_cluster(cluster, [&](unsigned core) { return demo.run(core); });
  if (!ran) {
    complain(io::explain_start_failure(ran.error()));
    return kExitFailed;
  }
  return demo.failed() ? kExitFailed : kExitDone;
}

}  // namespace bellhop::tools
