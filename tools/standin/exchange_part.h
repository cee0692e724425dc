// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/sync.h"
#include "core/task.h"
#include "core/tls/context.h"
#include "core/tls/ticket_keys.h"
#include "proto/autodiscover_server.h"
#include "proto/ews_server.h"
#include "service/http_server.h"
#include "tools/standin/activesync.h"
#include "tools/standin/activesync_query.h"
#include "tools/standin/control_client.h"
#include "tools/standin/exchange.h"
#include "tools/standin/exchange_clients.h"
#include "tools/standin/exchange_model.h"
#include "tools/standin/http_origin.h"
#include "tools/standin/rules.h"

namespace bellhop::standin {

// A host that callbacks go to: keep-alive connections, at most callback_connections_max. .NET's ServicePoint. Over
// HTTP/2 as many requests at the same time.
struct CallbackHost {
  CallbackHost(service::Http1Origin to, const service::Http1ClientOptions& options, bool http2)
      : origin(std::move(to), options, http2), slots(options.connections_max) {}
  HttpOrigin origin;
  Semaphore slots;  // waiting for a connection does not count against the callback's time
  std::string authority;
};

struct BasicCredentials {
  std::string username, password;
};
// RFC 7617. Nothing where it is something else.
std::optional<BasicCredentials> parse_basic(std::string_view authorization);
// The token of a scheme, given in lower case with a space behind it. Nothing where it is another scheme.
std::optional<std::string_view> parse_scheme(std::string_view authorization, std::string_view scheme);

// How a request proves who sends it. Wiped when it was looked at.
struct Logon {
  std::string authorization;
  std::string certified;        // whom the client's certificate names
  std::string principal;        // whom the Kerberos token names, as its reader says
  std::string negotiate_reply;  // what goes back for it, base64
};

// Fields of an answer, with the texts that they point to.
class AnswerHeaders {
 public:
  void add(std::string_view name, std::string value) { fields_.push_back({name, texts_.emplace_back(std::move(value))}); }
  std::span<const proto::HeaderField> fields() const { return fields_; }

 private:
  std::deque<std::string> texts_;
  std::vector<proto::HeaderField> fields_;
};

// What the parts share; constant while they run, but for the atomics of the rules.
struct Exchange::Shared {
  ExchangeOptions options;
  SocketAddress address, control_address, autodiscover_http_address;
  io::Handle listener;  // of the first part; the others open theirs on the same address
  io::Handle control_listener;
  io::Handle autodiscover_http_listener;
  std::shared_ptr<const TlsAuthorities> callback_authorities, client_authorities;
  std::shared_ptr<TicketKeys> ticket_keys;
  ExchangeObserver* observer = nullptr;
  std::atomic<uint64_t> next_entry{1};  // of the ledger
  std::atomic<uint64_t> next_request{1};
};

// The answer to one EWS request, on its way from the mailbox's home core to the core that accepted the request.
struct EwsReply {
  uint16_t status = 200;
  std::string body;
  proto::SoapVersion soap_version = proto::SoapVersion::soap11;
  EwsFaultKind fault = EwsFaultKind::none;
  Duration delay{};
  uint32_t retry_after_s = 0;
  std::string challenge;  // Bearer, with a 401
  std::string opened;     // address of the mailbox that the credentials opened
  std::string operation;  // the element in Body
  std::vector<std::string> streams;  // GetStreamingEvents: what to tell of, instead of a body
  uint32_t stream_minutes = 0;
  Mailbox* mailbox = nullptr;   // home core's
  std::string subscription_id;  // whose first status event is to be sent after the answer
};

// A request of ActiveSync, on its way to the mailbox's home core, and the answer.
struct ActiveSyncCall {
  Logon logon;
  ActiveSyncRequestQuery query;  // `command` is "OPTIONS" for that method
  std::string version;           // of the protocol; empty: not said
  std::optional<uint32_t> policy_key;
  std::string user_agent;
  std::string body;
};
struct ActiveSyncReply {
  uint16_t status = 200;
  std::string_view type;  // empty: no body
  std::string body;
  std::vector<std::pair<std::string_view, std::string>> headers;
  std::string challenge;  // Bearer, with a 401
  std::string opened;     // as in EwsReply
  Duration delay{};
  bool drop = false;
};

// The EWS listener's context. Errors: tls.
Result<std::shared_ptr<TlsContext>> make_ews_context(const ExchangeOptions& options,
                                                     std::shared_ptr<const TlsAuthorities> client_authorities,
                                                     std::shared_ptr<TicketKeys> ticket_keys, std::string& complaint);

// The plain listener of Autodiscover: a redirect, and a count of what should not come.
class AutodiscoverHttp final : public service::HttpHandler {
 public:
  explicit AutodiscoverHttp(Exchange::Part& part) : part_(part) {}
  Task<void> handle(service::HttpExchange& exchange) override;

 private:
  Exchange::Part& part_;
};

// One core's share: its listener, the mailboxes whose home it is, their callbacks.
class Exchange::Part final : public service::HttpHandler {
 public:
  Part(Exchange& exchange, unsigned number);
  ~Part();

  Task<void> run();
  Result<io::Handle> take_listener();

  // ---- what both protocols share (exchange_front.cc) ----
  Task<void> handle(service::HttpExchange& exchange) override;
  Task<std::optional<std::string>> read_request_body(service::HttpExchange& exchange, uint64_t id);
  Task<Logon> read_logon(service::HttpExchange& exchange, uint64_t id, std::string& account);
  Task<void> ask_negotiate_helper(Logon& logon, std::string_view host);
  Task<void> respond(service::HttpExchange& exchange, uint64_t id, service::HttpResponse response);
  void add_challenges(std::string_view bearer, AnswerHeaders& headers) const;
  void add_server_fields(service::HttpExchange& exchange, std::string_view opened, AnswerHeaders& headers);

  // ---- requests as they came (exchange_requests.cc) ----
  Task<uint64_t> enter_request(service::HttpExchange& exchange);
  ExchangeRequest* find_request(uint64_t id);  // null where it is not kept (any more)

  // ---- ActiveSync (exchange_activesync.cc) ----
  Task<void> handle_activesync(service::HttpExchange& exchange, uint64_t id);
  Task<ActiveSyncReply> answer_activesync(ActiveSyncCall* call);
  Task<void> answer_command(Mailbox& mailbox, ActiveSyncDevice& device, ActiveSyncCall& call, ActiveSyncReply& reply);
  Task<void> answer_waiting(Mailbox& mailbox, ActiveSyncDevice& device, const ActiveSyncCall& call, WbxmlElement request,
                            ActiveSyncReply& reply);
  Task<bool> wait_for_mail(Mailbox& mailbox, Instant deadline);
  ActiveSyncDevice* device_of(Mailbox& mailbox, const ActiveSyncCall& call);
  void apply_activesync_fault(const ActiveSyncFault& fault, const ActiveSyncCall& call, ActiveSyncReply& reply);

  // ---- EWS (exchange_ews.cc, exchange_streams.cc) ----
  Task<void> handle_ews(service::HttpExchange& exchange, uint64_t id);
  Result<const proto::EwsRequest*> read_ews_request(std::string_view body, ClientRequest& client, std::string& element);
  Task<EwsReply> answer(Logon* logon, std::string* body);
  Mailbox* authenticate(Logon& logon, bool& bearer);
  void refuse_logon(std::string_view error, EwsReply& reply);
  std::string bearer_challenge(std::string_view error);
  EwsReply answer_operation(Mailbox& mailbox, const proto::EwsRequest& request, EwsOperation operation);
  EwsReply answer_subscribe(Mailbox& mailbox, const proto::EwsRequest& request);
  EwsReply answer_readable(Mailbox& mailbox, const proto::EwsRequest& request);
  EwsReply answer_other(Mailbox& mailbox, std::string_view element, ClientRequest& asked);
  Task<void> stream_events(service::HttpExchange& exchange, uint64_t id, Part* home, EwsReply* reply);
  Task<std::string> next_stream_document(Mailbox* mailbox, const std::vector<std::string>* ids, Instant until, bool closing);
  void apply_fault(const EwsFault& fault, const proto::EwsRequest& request, EwsReply& reply);

  // ---- Autodiscover (exchange_autodiscover.cc) ----
  Task<void> handle_autodiscover(service::HttpExchange& exchange, proto::AutodiscoverForm form);
  bool opens_mailbox(std::string_view authorization);

  // ---- callbacks (exchange_notifier.cc) ----
  struct Posted {
    NotificationAttempt::Outcome outcome = NotificationAttempt::Outcome::failed;
    uint16_t status = 0;
    Error error;
  };
  Task<void> schedule();
  void poke(Mailbox& mailbox);
  Task<void> notify(Subscription* subscription);
  Task<void> notify_first(Subscription* subscription, Event* over);
  Task<Posted> post(CallbackHost& host, const std::string& target, const std::string& body);
  Task<void> post_error(std::string address, std::string id, std::string code);
  Task<Result<Posted>> exchange_once(CallbackHost* host, const service::Http1Request* request);
  bool settle(Subscription& subscription, const Posted& posted, NotificationAttempt& attempt);
  void acknowledged(Subscription& subscription, NotificationAttempt& attempt);
  void end(Subscription& subscription, uint64_t MailboxBooks::*how);  // unsubscribed, dead or forgotten
  void arm(Subscription& subscription, Duration unscaled);
  const CallbackFault* callback_fault(const Subscription& subscription);
  Task<void> send_anyway(CallbackHost* host, std::string target, std::string body);
  CallbackHost* callback_host(const CallbackUrl& url);
  bool start_subscription(Mailbox* mailbox, std::string_view id);
  static void timer_expired(Timer& timer);

  // ---- the ledger (exchange_ledger.cc) ----
  void enter_mail(const Mailbox& mailbox, uint64_t item, std::string_view subject);
  void enter_attempt(const NotificationAttempt& attempt, std::span<const PendingEvent> sent);
  void enter_end(const Subscription& subscription, std::string_view how);
  void enter(ExchangeEntry entry);

  // ---- mailboxes ----
  Mailbox* find_by_address(std::string_view address);
  Mailbox* find_by_username(std::string_view name);
  bool add(MailboxSpec spec);
  bool deliver(std::string_view address, Mail mail);
  void deliver_to(Mailbox& mailbox, Mail mail);
  Task<void> deliver_share(uint64_t first, uint64_t count, uint64_t step, double rate);
  bool forget_subscriptions();
  ExchangeBooks part_books() const;

  Exchange& exchange;
  Exchange::Shared& shared;
  const unsigned number;
  const unsigned core;
  RuleList<EwsFault> faults;
  RuleList<CallbackFault> callback_faults;
  RuleList<ActiveSyncFault> activesync_faults;
  std::deque<ExchangeRequest> requests;
  uint64_t requests_forgotten = 0;  // the largest number that left them
  std::unique_ptr<ControlClient> negotiate_helper;
  std::deque<ExchangeEntry> ledger;
  uint64_t ledger_forgotten = 0;  // the largest number that left it
  AutodiscoverScript autodiscover;
  Event running, stop_asked;
  TaskScope* flows = nullptr;  // while run() serves
  std::shared_ptr<TlsContext> server_tls, client_tls;

  std::vector<std::unique_ptr<Mailbox>> mailboxes;  // in the order of their making
  std::unordered_map<std::string, Mailbox*> by_address;
  std::unordered_map<std::string, Mailbox*> by_account;  // as the user name was spelt, lower case
  std::map<std::string, std::unique_ptr<CallbackHost>> hosts;
  proto::EwsRequestReader reader;
  ClientRequestReader client_reader;
  std::string notification;  // scratch
  IntrusiveList<Subscription> due;
  Event due_changed;
  ExchangeBooks counts;  // what no mailbox has: requests and the like
  std::unique_ptr<service::HttpServer> http;
};

}  // namespace bellhop::standin
