// SPDX-License-Identifier: Apache-2.0
#include "tools/standin/exchange.h"

#include <algorithm>
#include <array>

#include "core/sleep.h"
#include "tools/standin/exchange_control.h"
#include "tools/standin/exchange_part.h"
#include "tools/standin/tls.h"

namespace bellhop::standin {
namespace {

constexpr std::array<std::string_view, 13> kFaultNames = {"none",        "unauthorized", "invalid_token", "claims",
                                                          "unavailable", "server_busy",
                                                          "server_error", "inner_busy",   "response_code", "garbage",
                                                          "truncated",   "redirect",     "drop"};
constexpr std::array<std::string_view, kEwsOperationCount> kOperationNames = {"subscribe", "get_item", "find_item",
                                                                               "get_folder", "other"};
constexpr std::array<std::string_view, 10> kAutodiscoverModes = {"settings",         "redirect_http", "redirect_url",
                                                                "redirect_address", "loop",          "html",
                                                                "not_found",        "unauthorized",  "stall",
                                                                "huge"};
constexpr std::array<std::string_view, 2> kCallbackFaultNames = {"ignore_answer", "count_as_ok"};
constexpr Duration kDeliveryTick = 2ms;
constexpr uint64_t kDeliveriesPerTurn = 64;

template <class Enum, size_t kSize>
std::optional<Enum> find_name(const std::array<std::string_view, kSize>& names, std::string_view name) {
  auto at = std::ranges::find(names, name);
  if (at == names.end()) return std::nullopt;
  return static_cast<Enum>(at - names.begin());
}

// FNV-1a: the same on every run and machine.
size_t hash_of(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (char c : text) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3u;
  return hash ^ hash >> 32;
}

Task<bool> await_running(Event* running) { co_return (co_await running->wait()).has_value(); }

}  // namespace

std::string_view ews_fault_name(EwsFaultKind kind) { return kFaultNames[static_cast<size_t>(kind)]; }
std::optional<EwsFaultKind> parse_ews_fault(std::string_view name) { return find_name<EwsFaultKind>(kFaultNames, name); }
std::string_view ews_operation_name(EwsOperation operation) { return kOperationNames[static_cast<size_t>(operation)]; }
std::optional<EwsOperation> parse_ews_operation(std::string_view name) {
  return find_name<EwsOperation>(kOperationNames, name);
}

std::string_view callback_fault_name(CallbackFaultKind kind) { return kCallbackFaultNames[static_cast<size_t>(kind)]; }
std::optional<CallbackFaultKind> parse_callback_fault(std::string_view name) {
  return find_name<CallbackFaultKind>(kCallbackFaultNames, name);
}

std::string_view autodiscover_mode_name(AutodiscoverMode mode) {
  return kAutodiscoverModes[static_cast<size_t>(mode)];
}
std::optional<AutodiscoverMode> parse_autodiscover_mode(std::string_view name) {
  return find_name<AutodiscoverMode>(kAutodiscoverModes, name);
}

MailboxBooks& MailboxBooks::operator+=(const MailboxBooks& other) {
  for (auto member : {&MailboxBooks::mails, &MailboxBooks::notifications, &MailboxBooks::events_sent,
                      &MailboxBooks::events_acknowledged, &MailboxBooks::new_mails_acknowledged,
                      &MailboxBooks::heartbeats_acknowledged, &MailboxBooks::retries, &MailboxBooks::failures,
                      &MailboxBooks::subscribed, &MailboxBooks::unsubscribed, &MailboxBooks::dead,
                      &MailboxBooks::forgotten, &MailboxBooks::events_lost}) {
    this->*member += other.*member;
  }
  return *this;
}

Exchange::Part::Part(Exchange& owner, unsigned n)
    : exchange(owner),
      shared(*owner.shared_),
      number(n),
      core(shared.options.first_core + n),
      reader(io::random_u64() | 1),
      client_reader(io::random_u64() | 1) {}
Exchange::Part::~Part() = default;

Exchange::Exchange() = default;
Exchange::~Exchange() {
  if (!shared_) return;
  // Where run() never came to take them.
  if (shared_->listener) io::close(shared_->listener);
  if (shared_->control_listener) io::close(shared_->control_listener);
  if (shared_->autodiscover_http_listener) io::close(shared_->autodiscover_http_listener);
}

Result<std::shared_ptr<TlsContext>> make_ews_context(const ExchangeOptions& options,
                                                     std::shared_ptr<const TlsAuthorities> client_authorities,
                                                     std::shared_ptr<TicketKeys> ticket_keys, std::string& complaint) {
  bool certificates = options.logon != ExchangeLogon::password;
  return make_server_context(options.certificate_pem, options.key_pem, "http/1.1", std::move(ticket_keys), complaint,
                             certificates ? TlsClientAuth::required : TlsClientAuth::none,
                             std::move(client_authorities));
}

Result<std::unique_ptr<Exchange>> Exchange::make(ExchangeOptions options, std::string& complaint) {
  std::unique_ptr<Exchange> exchange(new Exchange);
  exchange->shared_ = std::make_unique<Shared>();
  Shared& shared = *exchange->shared_;
  shared.options = std::move(options);
  BH_TRY(shared.ticket_keys, make_ticket_keys());
  if (shared.options.logon != ExchangeLogon::password) {
    TlsFile clients{"the authority of clients", shared.options.client_ca_pem};
    BH_TRY(shared.client_authorities, TlsAuthorities::parse({&clients, 1}, complaint));
  }
  BH_CHECKED(make_ews_context(shared.options, shared.client_authorities, shared.ticket_keys, complaint));
  TlsFile ca{"the authority of callbacks", shared.options.callback_ca_pem};
  BH_TRY(shared.callback_authorities, TlsAuthorities::parse({&ca, 1}, complaint));
  shared.address = shared.options.listen;
  BH_TRY(shared.listener, open_listener(shared.address, shared.options.cores > 1, complaint));
  if (shared.options.control) {
    shared.control_address = *shared.options.control;
    BH_TRY(shared.control_listener, open_listener(shared.control_address, false, complaint));
  }
  if (shared.options.autodiscover_http) {
    shared.autodiscover_http_address = *shared.options.autodiscover_http;
    BH_TRY(shared.autodiscover_http_listener, open_listener(shared.autodiscover_http_address, false, complaint));
  }
  for (unsigned n = 0; n < shared.options.cores; ++n) {
    exchange->parts_.push_back(std::make_unique<Part>(*exchange, n));
  }
  return exchange;
}

SocketAddress Exchange::address() const { return shared_->address; }
SocketAddress Exchange::control_address() const { return shared_->control_address; }
SocketAddress Exchange::autodiscover_http_address() const { return shared_->autodiscover_http_address; }
void Exchange::set_observer(ExchangeObserver* observer) { shared_->observer = observer; }

Exchange::Part& Exchange::home(std::string_view name) const {
  return *parts_[hash_of(account_name(name)) % parts_.size()];
}

Task<void> Exchange::run() {
  unsigned number = io::core() - shared_->options.first_core;
  if (number >= parts_.size()) co_return;
  co_await parts_[number]->run();
}

// The seam gives a listener to the core that opens it.
Result<io::Handle> Exchange::Part::take_listener() {
  if (number == 0) return std::exchange(shared.listener, {});
  std::string complaint;
  SocketAddress address = shared.address;
  auto listener = open_listener(address, true, complaint);
  if (!listener) io::write_log(complaint + "\n");
  return listener;
}

Task<void> Exchange::Part::run() {
  Context& own = co_await current_context();
  auto listener = take_listener();
  if (!listener) co_return;
  std::string complaint;
  auto server = make_ews_context(shared.options, shared.client_authorities, shared.ticket_keys, complaint);
  const char* callback_protocol = shared.options.callback_http2 ? "h2" : "http/1.1";
  auto client = TlsContext::client({.authorities = shared.callback_authorities, .alpn = {callback_protocol}}, complaint);
  BH_CHECK(server && client);  // make() tried both
  server_tls = *server;
  client_tls = *client;
  http = std::make_unique<service::HttpServer>(
      *this, service::HttpServerLimits{.connections_max = shared.options.connections_max}, server_tls);
  std::optional<ExchangeControl> control;
  std::optional<service::HttpServer> control_http;
  AutodiscoverHttp autodiscover_handler(*this);
  std::optional<service::HttpServer> autodiscover_http;
  if (shared.options.negotiate_helper) negotiate_helper = ControlClient::make(shared.options.negotiate_helper->to_string());
  TaskScope servers(&own), scope(&own);
  flows = &scope;
  scope.spawn(schedule());
  servers.spawn(http->run(*listener));
  if (number == 0 && shared.control_listener) {
    control.emplace(exchange);
    control_http.emplace(*control, service::HttpServerLimits{.connections_max = 64}, nullptr);
    servers.spawn(control_http->run(std::exchange(shared.control_listener, {})));
  }
  if (number == 0 && shared.autodiscover_http_listener) {
    autodiscover_http.emplace(autodiscover_handler, service::HttpServerLimits{.connections_max = 64}, nullptr);
    servers.spawn(autodiscover_http->run(std::exchange(shared.autodiscover_http_listener, {})));
  }
  running.set();
  (void)co_await stop_asked.wait();
  scope.request_stop();
  co_await scope.join();
  flows = nullptr;
  for (auto& [key, host] : hosts) co_await host->origin.close();
  servers.request_stop();
  co_await servers.join();
  if (negotiate_helper) co_await negotiate_helper->close();
  // The wheel that the timers hang in dies with the reactor.
  for (auto& mailbox : mailboxes) {
    for (auto& subscription : mailbox->subscriptions) {
      subscription->timer.disarm();
      subscription->unlink();
    }
  }
}

Task<bool> Exchange::stop() {
  for (auto& part : parts_) {
    co_await on_part(*part, [](Part& p) {
      p.stop_asked.set();
      return true;
    });
  }
  co_return true;
}

// ---- mailboxes ----

Mailbox* Exchange::Part::find_by_address(std::string_view address) {
  auto at = by_address.find(ascii_lower(address));
  return at == by_address.end() ? nullptr : at->second;
}

// "DOMAIN\name" and "name" mean the mailbox whose local part is the name, where there is one with that name only.
Mailbox* Exchange::Part::find_by_username(std::string_view name) {
  if (auto at = by_account.find(ascii_lower(name)); at != by_account.end()) return at->second;
  if (name.contains('@')) return nullptr;
  auto at = by_account.find(account_name(name));
  return at == by_account.end() ? nullptr : at->second;
}

bool Exchange::Part::add(MailboxSpec spec) {
  if (spec.username.empty()) spec.username = spec.address;
  std::string key = ascii_lower(spec.address);
  if (spec.password.empty() || !spec.address.contains('@') || mailboxes.size() >= shared.options.mailboxes_max ||
      by_address.contains(key)) {
    return false;
  }
  auto mailbox = std::make_unique<Mailbox>();
  mailbox->address = std::move(spec.address);
  mailbox->username = std::move(spec.username);
  mailbox->password = std::move(spec.password);
  mailbox->tag = hash_of(key) * 0x9e3779b97f4a7c15u + mailboxes.size();
  by_account.emplace(ascii_lower(mailbox->username), mailbox.get());
  // The bare name is the first mailbox's that has it.
  by_account.try_emplace(account_name(mailbox->username), mailbox.get());
  by_address.emplace(std::move(key), mailbox.get());
  mailboxes.push_back(std::move(mailbox));
  return true;
}

void Exchange::Part::deliver_to(Mailbox& mailbox, Mail mail) {
  enter_mail(mailbox, mailbox.number + 1, mail.subject);  // the number that arrive() gives it
  arrive(mailbox, std::move(mail), io::wall_now(), shared.options.items_per_mailbox_max);
  poke(mailbox);
}

bool Exchange::Part::deliver(std::string_view address, Mail mail) {
  Mailbox* mailbox = find_by_address(address);
  if (mailbox) deliver_to(*mailbox, std::move(mail));
  return mailbox != nullptr;
}

// Every `step`-th mail from `first` on, `count` in all, to this part's mailboxes in turn.
Task<void> Exchange::Part::deliver_share(uint64_t first, uint64_t count, uint64_t step, double rate) {
  Instant start = io::now();
  for (uint64_t done = 0; done < count;) {
    uint64_t due_now = std::min(count, done + kDeliveriesPerTurn);
    if (rate > 0) {
      double elapsed_s = std::chrono::duration<double>(io::now() - start).count();
      due_now = std::min(due_now, static_cast<uint64_t>(elapsed_s * rate) + 1);
    }
    for (; done < due_now; ++done) {
      std::string name = "mail " + std::to_string(first + done * step);
      deliver_to(*mailboxes[done % mailboxes.size()],
                 {.subject = std::move(name), .sender_name = "Stand-in", .sender_address = "stand-in@example.com"});
    }
    bool ahead = rate > 0 && due_now < std::min(count, done + kDeliveriesPerTurn);
    if (ahead) {
      if (!co_await sleep_for(kDeliveryTick)) co_return;
    } else {
      co_await yield_now();
      if ((co_await current_context()).stop_requested()) co_return;
    }
  }
}

bool Exchange::Part::forget_subscriptions() {
  for (auto& mailbox : mailboxes) {
    mailbox->readables.clear();
    mailbox->changed.set();  // streams end
    mailbox->changed.reset();
    for (size_t i = mailbox->subscriptions.size(); i-- > 0;) {
      Subscription& subscription = *mailbox->subscriptions[i];
      if (subscription.state == Subscription::State::sending) {
        subscription.doom = Subscription::Doom::forgotten;
      } else {
        end(subscription, &MailboxBooks::forgotten);
      }
    }
  }
  return true;
}

ExchangeBooks Exchange::Part::part_books() const {
  ExchangeBooks books = counts;
  books.mailboxes = mailboxes.size();
  books.connections = http ? http->stats().connections : 0;
  for (const auto& mailbox : mailboxes) {
    books.all += mailbox->books;
    books.subscriptions += mailbox->subscriptions.size();
    for (const auto& subscription : mailbox->subscriptions) books.events_pending += subscription->pending.size();
  }
  return books;
}

Task<bool> Exchange::add_mailbox(MailboxSpec spec) {
  Part& part = home(spec.username.empty() ? spec.address : spec.username);
  // Looked up by address too: both must lead to one core.
  if (&home(spec.address) != &part) co_return false;
  co_return co_await on_part(part, [&spec](Part& p) { return p.add(std::move(spec)); });
}

Task<bool> Exchange::deliver(std::string address, Mail mail) {
  Part& part = home(address);
  co_await on_core(part.core, [&part] { return await_running(&part.running); });
  co_return co_await on_part(part, [&](Part& p) { return p.deliver(address, std::move(mail)); });
}

Task<bool> Exchange::deliver_many(uint64_t count, double rate) {
  std::vector<Part*> able;
  for (auto& part : parts_) {
    co_await on_core(part->core, [&part] { return await_running(&part->running); });
    if (co_await on_part(*part, [](Part& p) { return !p.mailboxes.empty(); })) able.push_back(part.get());
  }
  uint64_t step = able.size();
  for (uint64_t i = 0; i < step; ++i) {
    uint64_t share = count / step + (i < count % step ? 1 : 0);
    co_await on_part(*able[i], [=](Part& p) {
      if (p.flows) p.flows->spawn(p.deliver_share(i, share, step, rate / static_cast<double>(step)));
      return true;
    });
  }
  co_return !able.empty();
}

Task<bool> Exchange::mark_read(std::string address, uint32_t count) {
  co_return co_await on_part(home(address), [&](Part& p) {
    Mailbox* mailbox = p.find_by_address(address);
    if (!mailbox) return false;
    read_elsewhere(*mailbox, count, io::wall_now());
    p.poke(*mailbox);
    return true;
  });
}

Task<bool> Exchange::delete_items(std::string address, uint32_t count) {
  co_return co_await on_part(home(address), [&](Part& p) {
    Mailbox* mailbox = p.find_by_address(address);
    if (mailbox) delete_newest(*mailbox, count);
    return mailbox != nullptr;
  });
}

Task<bool> Exchange::report_error(std::string address, std::string code) {
  co_return co_await on_part(home(address), [&](Part& p) {
    Mailbox* mailbox = p.find_by_address(address);
    if (!mailbox || !p.flows) return false;
    for (auto& subscription : mailbox->subscriptions) p.flows->spawn(p.post_error(address, subscription->id, code));
    return true;
  });
}

Task<bool> Exchange::set_autodiscover(AutodiscoverScript script) {
  for (auto& part : parts_) {
    co_await on_part(*part, [&script](Part& p) {
      p.autodiscover = script;
      return true;
    });
  }
  co_return true;
}

Task<bool> Exchange::add_fault(EwsFault fault) {
  if (fault.lasting > Duration(0)) {
    auto scaled = static_cast<double>(fault.lasting.count()) * shared_->options.time_scale;
    fault.until = io::now() + Duration(static_cast<int64_t>(scaled));
  }
  auto rule = RuleList<EwsFault>::make(std::move(fault));
  for (auto& part : parts_) {
    bool added = co_await on_part(*part, [&rule](Part& p) {
      if (p.faults.size() >= p.shared.options.faults_max) return false;
      p.faults.add(rule);
      return true;
    });
    if (!added) co_return false;
  }
  co_return true;
}

Task<bool> Exchange::clear_faults() {
  for (auto& part : parts_) {
    co_await on_part(*part, [](Part& p) {
      p.faults.clear();
      p.callback_faults.clear();
      p.activesync_faults.clear();
      return true;
    });
  }
  co_return true;
}

Task<bool> Exchange::restart() {
  for (auto& part : parts_) co_await on_part(*part, [](Part& p) { return p.forget_subscriptions(); });
  co_return true;
}

Task<ExchangeBooks> Exchange::books() {
  ExchangeBooks sum;
  for (auto& part : parts_) {
    ExchangeBooks one = co_await on_part(*part, [](Part& p) { return p.part_books(); });
    sum.all += one.all;
    sum.mailboxes += one.mailboxes;
    sum.subscriptions += one.subscriptions;
    sum.events_pending += one.events_pending;
    for (size_t i = 0; i < std::size(sum.requests); ++i) sum.requests[i] += one.requests[i];
    sum.unauthorized += one.unauthorized;
    sum.bearer += one.bearer;
    sum.certified += one.certified;
    sum.faulted += one.faulted;
    sum.refused += one.refused;
    sum.connections += one.connections;
    for (size_t i = 0; i < std::size(sum.autodiscovers); ++i) sum.autodiscovers[i] += one.autodiscovers[i];
    sum.autodiscover_probes += one.autodiscover_probes;
    sum.credentials_over_http += one.credentials_over_http;
    sum.activesync += one.activesync;
    sum.activesync_waiting += one.activesync_waiting;
    sum.negotiated += one.negotiated;
    sum.cookies_returned += one.cookies_returned;
    sum.cookies_foreign += one.cookies_foreign;
  }
  co_return sum;
}

Task<std::optional<MailboxBooks>> Exchange::mailbox_books(std::string address) {
  co_return co_await on_part(home(address), [&](Part& p) {
    Mailbox* mailbox = p.find_by_address(address);
    return mailbox ? std::optional(mailbox->books) : std::nullopt;
  });
}

Task<std::optional<std::vector<Exchange::SubscriptionView>>> Exchange::subscriptions(std::string address) {
  co_return co_await on_part(home(address), [&](Part& p) -> std::optional<std::vector<SubscriptionView>> {
    Mailbox* mailbox = p.find_by_address(address);
    if (!mailbox) return std::nullopt;
    std::vector<SubscriptionView> views;
    for (const auto& subscription : mailbox->subscriptions) {
      views.push_back({subscription->id, "https://" + subscription->host->authority + subscription->target,
                       watermark_text(mailbox->mark(subscription->last))});
    }
    return views;
  });
}

}  // namespace bellhop::standin
