// SPDX-License-Identifier: Apache-2.0
#include "service/ews_client.h"

#include <algorithm>
#include <array>
#include <utility>

#include "core/io.h"
#include "core/sleep.h"
#include "core/sync.h"
#include "proto/ews_request.h"
#include "service/client_certificate.h"
#include "service/error_texts.h"
#include "service/ews_answer.h"
#include "service/ews_contexts.h"
#include "service/ews_hosts.h"
#include "service/http1_client.h"

namespace bellhop::service {
namespace {

using proto::EwsAnswer;
using proto::ItemField;

// Before the one repetition of a request: long enough for a balancer to choose another server. The upper half is chance.
constexpr Duration kRetryWaitMax = 200ms;
// A request that was stopped (mostly by its caller's deadline) after so long without an answer counts against the host.
constexpr Duration kSlowAnswer = 1s;
// Between pieces of this size of an answer others get their turn.
constexpr size_t kParsePieceBytes = 32 * 1024;
constexpr size_t kReadersKept = 8;
// Longest id of Exchange's in the log.
constexpr size_t kIdBytesMax = 64;
// Told to callers that find the queue of a host full.
constexpr Duration kQueueFullRetry = 1s;

constexpr std::array kPreviewFields = {
    ItemField::subject,    ItemField::from,       ItemField::sender,      ItemField::date_time_received,
    ItemField::item_class, ItemField::importance, ItemField::sensitivity, ItemField::conversation_id,
    ItemField::is_read,    ItemField::preview};
// Of an item that is no message: a task has no sender, and Exchange refuses all of it when asked for one.
constexpr std::array kPlainFields = {ItemField::subject,     ItemField::date_time_received, ItemField::item_class,
                                     ItemField::sensitivity, ItemField::importance,         ItemField::conversation_id};
constexpr std::array kListedFields = {ItemField::item_class, ItemField::is_read};

std::string_view action_of(EwsOperation operation) {
  switch (operation) {
    case EwsOperation::subscribe: return proto::kSubscribeAction;
    case EwsOperation::get_item: return proto::kGetItemAction;
    case EwsOperation::find_item: return proto::kFindItemAction;
    case EwsOperation::get_folder: return proto::kGetFolderAction;
  }
  return "";
}

// A random UUID (RFC 9562 section 5.4) as text.
std::string make_request_id() {
  std::array<uint8_t, 16> bytes;
  io::random(bytes);
  bytes[6] = static_cast<uint8_t>((bytes[6] & 0x0f) | 0x40);
  bytes[8] = static_cast<uint8_t>((bytes[8] & 0x3f) | 0x80);
  std::string id = to_hex(bytes);
  for (size_t at : {8u, 13u, 18u, 23u}) id.insert(at, "-");
  return id;
}

// A document that we send. It may hold sealed credentials or an address.
struct RequestText {
  std::string text;
  RequestText() = default;
  RequestText(const RequestText&) = delete;
  RequestText& operator=(const RequestText&) = delete;
  ~RequestText() { wipe(text); }
};

EwsFailure unwritable(const Error& error) {
  EwsFailure failure;
  failure.kind = EwsFailureKind::garbage;
  failure.error = error;
  return failure;
}

// The server does not know the version that was named, or what that version has.
bool is_of_version(proto::EwsResponseCode code) {
  using enum proto::EwsResponseCode;
  return code == invalid_server_version || code == incorrect_schema_version || code == schema_validation ||
         code == invalid_schema_version_for_mailbox_version || code == invalid_property_request;
}

// An id or a host name of a header field, for the log: what else a server may have put there is left out.
std::string clean_id(std::string_view text) {
  std::string clean;
  for (char c : text.substr(0, kIdBytesMax)) {
    bool fine = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
    if (fine) clean += c;
  }
  return clean;
}

std::string_view address_of(const EwsTarget& target) { return target.credentials->address.reveal_text(); }

MailItem to_mail_item(const proto::EwsItem& from) {
  MailItem item;
  // Who a mail is from is From; Sender (who sent it in that name) stands in where From is absent.
  const proto::EwsMailbox& author = from.from.empty() ? from.sender : from.from;
  item.id = from.id;
  item.subject = from.subject;
  item.sender_name = author.name;
  item.sender_address = author.address;
  item.conversation_id = from.conversation_id;
  item.preview = from.preview;
  item.item_class = from.item_class;
  item.kind = proto::item_kind(from.element, from.item_class);
  item.received = from.received;
  item.is_read = from.is_read;
  item.private_ =
      from.sensitivity == proto::Sensitivity::private_ || from.sensitivity == proto::Sensitivity::confidential;
  return item;
}

}  // namespace

MailItem::~MailItem() {
  for (std::string* text : {&subject, &sender_name, &sender_address, &conversation_id, &preview}) wipe(*text);
}

struct EwsClient::Impl {
  Impl(const EwsConfig& c, UpstreamRoutes routes, MetricsShard& m, Log& l)
      : config(c),
        options{.connections_max = c.connections_per_host_max,
                .connect_timeout = std::chrono::milliseconds(c.connect_timeout_ms),
                .handshake_timeout = std::chrono::milliseconds(c.handshake_timeout_ms),
                .idle_timeout = std::chrono::milliseconds(c.idle_timeout_ms),
                .body_bytes_max = c.answer_bytes_max,
                .gzip = c.gzip,
                .metrics = &m,
                .kind = ConnectionKind::ews},
        metrics(m),
        log(l),
        version(proto::parse_exchange_version(c.server_version).value()),
        hosts(config, options, std::move(routes)),
        mailboxes(c.requests_per_mailbox_max) {}

  // A parsed answer and the reader that owns its texts, which goes back for the next answer.
  class Answer {
   public:
    Answer(Impl& home, std::unique_ptr<proto::EwsAnswerReader> reader) : home_(&home), reader_(std::move(reader)) {}
    Answer(Answer&&) = default;
    Answer& operator=(Answer&&) = delete;
    ~Answer() {
      if (!reader_) return;
      reader_->reset();
      if (home_->readers.size() < kReadersKept) home_->readers.push_back(std::move(reader_));
    }
    proto::EwsAnswerReader& reader() { return *reader_; }
    const EwsAnswer* operator->() const { return answer; }
    const EwsAnswer* answer = nullptr;

   private:
    Impl* home_;
    std::unique_ptr<proto::EwsAnswerReader> reader_;
  };
  template <class T>
  using Outcome = std::expected<T, EwsTrouble>;

  // One request through all its attempts.
  struct Call {
    const EwsTarget& target;
    EwsOperation operation;
    std::string_view body;
    proto::Url url;
    std::string request_id = make_request_id();
    uint32_t attempts = 0;
    // Of the last answer: Exchange's id of the request, the server at its front, the number of x-ms-diagnostics.
    std::string server_request_id, front_end, diagnostics;
  };

  // Counts the requests under way, for close().
  struct Presence {
    explicit Presence(Impl& i) : impl(i) { ++impl.requests; }
    Presence(const Presence&) = delete;
    Presence& operator=(const Presence&) = delete;
    ~Presence() {
      if (--impl.requests == 0) impl.no_requests.set();
    }
    Impl& impl;
  };

  Task<EwsReply<Answer>> run(const EwsTarget& target, EwsOperation operation, std::string_view body);
  Task<Outcome<Answer>> run_on_host(Call& call);
  Task<Outcome<Answer>> run_admitted(EwsHost& host, Call& call);
  Task<Outcome<Answer>> attempt(EwsHost& host, Call& call);
  Task<std::expected<Http1Lease, Http1Failure>> send(Http1Pool& pool, Call& call, const TlsIdentity* identity);
  Task<Result<std::string>> context_of(const Call& call, std::string_view authorization);
  Task<EwsReply<std::vector<MailItem>>> fetch(const EwsTarget& target, std::span<const std::string_view> ids,
                                              std::span<const ItemField> fields, std::vector<size_t>* without_fields);
  bool may_preview(const EwsTarget& target) const;
  void note_no_previews(const EwsTarget& target);
  static Task<Result<const EwsAnswer*>> parse(proto::EwsAnswerReader& reader, std::string_view text);
  Answer make_answer();
  void settle(EwsHost& host, const Call& call, const Outcome<Answer>& outcome, Duration took);
  void note_breaker(const Call& call, CircuitBreaker::Change change);
  void note_server(EwsHost& host, const Call& call, const EwsAnswer& answer);
  void note_success(const Call& call, Duration took);
  void note_failure(const Call& call, const EwsTrouble& trouble, Duration took);

  const EwsConfig config;
  const Http1ClientOptions options;
  MetricsShard& metrics;
  Log& log;
  EwsContexts* contexts = nullptr;
  const proto::ExchangeVersion version;
  EwsHosts hosts;
  EwsMailboxes mailboxes;
  std::vector<std::unique_ptr<proto::EwsAnswerReader>> readers;
  size_t requests = 0;
  Event no_requests;
  bool closing = false;
};

EwsClient::EwsClient(const EwsConfig& config, UpstreamRoutes routes, MetricsShard& metrics, Log& log)
    : impl_(std::make_unique<Impl>(config, std::move(routes), metrics, log)) {}

void EwsClient::set_contexts(EwsContexts& contexts) { impl_->contexts = &contexts; }

void EwsClient::renew(UpstreamRoutes routes, const Tenants& tenants) {
  impl_->hosts.renew(std::move(routes), tenants);
}

EwsClient::~EwsClient() { BH_CHECK(impl_->requests == 0); }

EwsClient::Impl::Answer EwsClient::Impl::make_answer() {
  if (readers.empty()) {
    return {*this, std::make_unique<proto::EwsAnswerReader>(io::random_u64(), config.answer_bytes_max)};
  }
  Answer answer(*this, std::move(readers.back()));
  readers.pop_back();
  return answer;
}

Task<EwsReply<EwsClient::Impl::Answer>> EwsClient::Impl::run(const EwsTarget& target, EwsOperation operation,
                                                             std::string_view body) {
  Presence presence(*this);
  Instant start = io::now();
  Call call{.target = target, .operation = operation, .body = body, .url = {}};
  EwsTrouble trouble;
  Result<proto::Url> url = target.tenant->ews_url(target.url);
  if (closing) {
    trouble.failure.error = service_error(ServiceError::draining);
  } else if (!url) {
    trouble.failure.kind = EwsFailureKind::refused;
    trouble.failure.error = url.error();
    trouble.result = EwsResult::connect_failed;
  } else {
    call.url = *std::move(url);
    DeadlineContext deadline(&co_await current_context(),
                             start + std::chrono::milliseconds(config.subscribe_timeout_ms));
    Outcome<Answer> outcome = co_await run_on_host(call).under(deadline.context());
    if (outcome) {
      bool gone = std::ranges::any_of(outcome->answer->messages, [](const proto::EwsResponseMessage& message) {
        return classify(message.code) == proto::EwsVerdict::gone;
      });
      metrics.add(metric::ews_requests, gone ? EwsResult::item_gone : EwsResult::ok);
      note_success(call, io::now() - start);
      co_return *std::move(outcome);
    }
    trouble = std::move(outcome.error());
    if (deadline.expired() && is(trouble.failure.error, CoreError::canceled)) {
      trouble.failure.error = core_error(CoreError::timed_out);
    }
  }
  metrics.add(metric::ews_requests, trouble.result);
  note_failure(call, trouble, io::now() - start);
  co_return std::unexpected(std::move(trouble.failure));
}

// Finds the host, waits for the mailbox's and the host's turn. What the host asked for meanwhile holds for the waiting.
Task<EwsClient::Impl::Outcome<EwsClient::Impl::Answer>> EwsClient::Impl::run_on_host(Call& call) {
  EwsTrouble full;
  full.failure.kind = EwsFailureKind::throttled;
  full.failure.error = service_error(ServiceError::overload);
  full.failure.retry_after = kQueueFullRetry;
  full.result = EwsResult::waiting_limit;
  std::optional<EwsHostUse> use = co_await hosts.use(*call.target.tenant, call.url);
  if (!use) co_return std::unexpected(std::move(full));
  EwsHost& host = **use;
  if (auto refusal = host.refusal(io::now())) co_return std::unexpected(*std::move(refusal));
  EwsMailboxes::Use mailbox(mailboxes, call.target.tenant->number, call.target.mailbox);
  bool must_wait = mailbox.requests().available() == 0 || host.in_flight.available() == 0;
  if (must_wait && host.waiting >= config.requests_per_host_waiting_max) co_return std::unexpected(std::move(full));

  ++host.waiting;
  Result<Semaphore::Permit> mailbox_permit = co_await mailbox.requests().acquire();
  Result<Semaphore::Permit> host_permit;
  if (mailbox_permit) host_permit = co_await host.in_flight.acquire();
  --host.waiting;
  if (!mailbox_permit) co_return std::unexpected(judge_http_failure({mailbox_permit.error(), Http1Stage::waiting}));
  if (!host_permit) co_return std::unexpected(judge_http_failure({host_permit.error(), Http1Stage::waiting}));

  Instant start = io::now();
  if (auto refusal = host.refusal(start)) co_return std::unexpected(*std::move(refusal));
  BH_CHECK(host.breaker.admit(start));
  Outcome<Answer> outcome = co_await run_admitted(host, call);
  settle(host, call, outcome, io::now() - start);
  co_return std::move(outcome);
}

Task<EwsClient::Impl::Outcome<EwsClient::Impl::Answer>> EwsClient::Impl::run_admitted(EwsHost& host, Call& call) {
  {
    host.retries.count_request(io::now());
    Outcome<Answer> first = co_await attempt(host, call);
    if (first || !first.error().may_retry || !host.retries.take_retry(io::now())) co_return std::move(first);
    auto half = static_cast<uint64_t>(kRetryWaitMax.count() / 2);
    Duration wait(static_cast<int64_t>(half + io::random_u64() % half));
    bool stopped = !co_await sleep_for(wait);
    if (stopped || io::now() < host.back_off_until) co_return std::move(first);
  }
  co_return co_await attempt(host, call);
}

Task<std::expected<Http1Lease, Http1Failure>> EwsClient::Impl::send(Http1Pool& pool, Call& call,
                                                                    const TlsIdentity* identity) {
  ++call.attempts;
  crypto::Secret authorization = crypto::authorization_of(*call.target.credentials);
  Result<std::string> context = co_await context_of(call, authorization.reveal_text());
  if (!context) co_return std::unexpected(Http1Failure{context.error(), Http1Stage::waiting});
  std::array<proto::HeaderField, 9> fields = {{
      {"content-type", proto::soap_content_type(proto::SoapVersion::soap11)},
      {"accept", "text/xml"},
      {"user-agent", config.user_agent},
      {"soapaction", action_of(call.operation)},
      {"client-request-id", call.request_id},
      {"return-client-request-id", "true"},
  }};
  size_t count = 6;
  if (!authorization.empty()) fields[count++] = {"authorization", authorization.reveal_text()};
  bool anchored = config.anchor_mailbox && !address_of(call.target).empty();
  if (anchored) fields[count++] = {"x-anchormailbox", address_of(call.target)};
  if (!context->empty()) fields[count++] = {crypto::kGatewayContextField, *context};
  std::string authority = call.url.authority(), path = call.url.target();
  co_return co_await pool.send({.method = "POST",
                                .target = path,
                                .host = authority,
                                .headers = {fields.data(), count},
                                .body = call.body,
                                .identity = identity});
}

// Through a gateway, who asks; else nothing.
Task<Result<std::string>> EwsClient::Impl::context_of(const Call& call, std::string_view authorization) {
  if (config.via.empty()) co_return std::string();
  BH_CHECK(contexts != nullptr);
  co_return co_await contexts->field(call.target, authorization, call.body);
}

Task<Result<const EwsAnswer*>> EwsClient::Impl::parse(proto::EwsAnswerReader& reader, std::string_view text) {
  while (!text.empty()) {
    std::string_view piece = text.substr(0, kParsePieceBytes);
    BH_CO_CHECKED(reader.feed(piece));
    text.remove_prefix(piece.size());
    if (!text.empty()) co_await yield_now();
  }
  co_return reader.finish();
}

Task<EwsClient::Impl::Outcome<EwsClient::Impl::Answer>> EwsClient::Impl::attempt(EwsHost& host, Call& call) {
  std::optional<TlsIdentity> identity = identity_of(*call.target.credentials);
  std::optional<EwsIdentityName> name;
  if (identity) name = identity_name(call.target.mailbox, *identity);
  EwsPoolUse use = co_await host.use(name ? &*name : nullptr);
  std::expected<Http1Lease, Http1Failure> lease = co_await send(use.pool(), call, identity ? &*identity : nullptr);
  if (!lease) co_return std::unexpected(judge_http_failure(lease.error(), identity.has_value()));
  const Http1Response& response = lease->response();
  EwsReceived received;
  received.status = response.status;
  received.retry_after = response.headers->find("retry-after").value_or(std::string_view());
  if (!config.via.empty() && is_gateway_denial(response.status, response.text())) co_return std::unexpected(denied_by_gateway());
  call.server_request_id = clean_id(response.headers->find("request-id").value_or(std::string_view()));
  call.front_end = clean_id(response.headers->find("x-feserver").value_or(std::string_view()));
  // `2000001;reason="…"`: the number alone, for the reason may name the user.
  std::string_view diagnostics = response.headers->find("x-ms-diagnostics").value_or(std::string_view());
  call.diagnostics = clean_id(diagnostics.substr(0, diagnostics.find(';')));
  Answer answer = make_answer();
  // Exchange repeats our id. Another one means that this is the answer to another request.
  auto echoed = response.headers->find("client-request-id");
  if (echoed && !ascii_equal_ignoring_case(*echoed, call.request_id)) {
    received.status = 200;
    received.parse_error = proto::http_error(proto::HttpError::unexpected_bytes);
  } else if (may_be_ews_answer(response.status) && !response.body.empty()) {
    Result<const EwsAnswer*> parsed = co_await parse(answer.reader(), response.text());
    if (parsed) received.answer = answer.answer = *parsed;
    if (!parsed) received.parse_error = parsed.error();
    if (parsed) note_server(host, call, **parsed);
  } else {
    received.parse_error = service_error(ServiceError::exchange_failed, response.status);
  }
  std::optional<EwsTrouble> trouble =
      judge_ews_answer(call.operation, received, std::chrono::milliseconds(config.back_off_ms_max));
  if (!trouble) co_return std::move(answer);
  if (trouble->failure.kind == EwsFailureKind::garbage) lease->discard();
  const TlsEngine* tls = lease->tls();
  bool not_asked = identity && tls && !tls->certificate_asked() && !tls->resumed();
  if (not_asked && trouble->failure.kind == EwsFailureKind::unauthorized) {
    trouble->failure.error = service_error(ServiceError::certificate_not_asked, response.status);
  }
  if (response.status == 401) trouble->failure.challenge = proto::find_bearer_challenge(*response.headers);
  co_return std::unexpected(*std::move(trouble));
}

// What the outcome means for the host.
void EwsClient::Impl::settle(EwsHost& host, const Call& call, const Outcome<Answer>& outcome, Duration took) {
  Instant now = io::now();
  if (outcome) return note_breaker(call, host.breaker.succeeded());
  const EwsTrouble& trouble = outcome.error();
  if (trouble.back_off) {
    host.back_off(now, trouble.failure.retry_after);
    log_line(log, LogLevel::warning, "ews_back_off", field("host", not_personal(call.url.host)),
             field("tenant", not_personal(call.target.tenant->config.id)),
             field("wait_ms", trouble.failure.retry_after));
  }
  bool stopped = is(trouble.failure.error, CoreError::canceled);
  if (trouble.host_failed || (stopped && took >= kSlowAnswer)) {
    Duration quarter = std::chrono::milliseconds(config.breaker_open_ms) / 4;
    Duration jitter(static_cast<int64_t>(io::random_u64() % static_cast<uint64_t>(quarter.count() + 1)));
    note_breaker(call, host.breaker.failed(now, jitter));
  } else if (stopped || trouble.failure.kind == EwsFailureKind::throttled ||
             trouble.failure.kind == EwsFailureKind::refused) {
    host.breaker.undecided();
  } else {
    note_breaker(call, host.breaker.succeeded());  // it refused this request, and is well
  }
}

void EwsClient::Impl::note_breaker(const Call& call, CircuitBreaker::Change change) {
  if (change == CircuitBreaker::Change::none) return;
  NotPersonal host = not_personal(call.url.host), tenant = not_personal(call.target.tenant->config.id);
  if (change == CircuitBreaker::Change::opened) {
    log_line(log, LogLevel::error, "ews_breaker_opened", field("host", host), field("tenant", tenant));
  } else {
    log_line(log, LogLevel::info, "ews_breaker_closed", field("host", host), field("tenant", tenant));
  }
}

// Servers behind one name may differ while they are being renewed: a line for each change of the product.
void EwsClient::Impl::note_server(EwsHost& host, const Call& call, const EwsAnswer& answer) {
  proto::ExchangeProduct product = exchange_product(answer.server);
  metrics.add(metric::ews_answers, product);
  if (!answer.server.known() || product == host.product) return;
  host.product = product;
  host.no_previews = product != proto::ExchangeProduct::unknown && product < proto::ExchangeProduct::exchange2013;
  log_line(log, LogLevel::info, "ews_server", field("host", not_personal(call.url.host)),
           field("tenant", not_personal(call.target.tenant->config.id)),
           field("product", not_personal(LabelSet<ExchangeProduct>::values[static_cast<size_t>(product)])),
           field("version", not_personal(answer.server.text())), field("schema", not_personal(clean_id(answer.server_schema))));
}

void EwsClient::Impl::note_success(const Call& call, Duration took) {
  log_line(log, LogLevel::debug, "ews_request", field("operation", not_personal(ews_operation_name(call.operation))),
           field("host", not_personal(call.url.host)), field("tenant", not_personal(call.target.tenant->config.id)),
           field("client_request_id", not_personal(call.request_id)),
           field("request_id", not_personal(call.server_request_id)), field("front_end", not_personal(call.front_end)),
           field("attempts", call.attempts), field("took_ms", took));
}

void EwsClient::Impl::note_failure(const Call& call, const EwsTrouble& trouble, Duration took) {
  log_line(log, LogLevel::warning, "ews_request_failed",
           field("operation", not_personal(ews_operation_name(call.operation))),
           field("host", not_personal(call.url.host)), field("tenant", not_personal(call.target.tenant->config.id)),
           field("result", not_personal(LabelSet<EwsResult>::values[static_cast<size_t>(trouble.result)])),
           field("status", trouble.status), field("code", not_personal(trouble.failure.code_text)),
           field("error", trouble.failure.error), field("client_request_id", not_personal(call.request_id)),
           field("request_id", not_personal(call.server_request_id)), field("front_end", not_personal(call.front_end)),
           field("diagnostics", not_personal(call.diagnostics)), field("attempts", call.attempts),
           field("took_ms", took));
}

Task<EwsReply<EwsSubscribed>> EwsClient::subscribe(const EwsTarget& target, std::string_view callback_url) {
  RequestText body;
  Status written = proto::write_subscribe({.version = impl_->version,
                                           .mailbox = address_of(target),
                                           .status_frequency_minutes = impl_->config.status_frequency_minutes,
                                           .url = callback_url},
                                          body.text);
  if (!written) co_return std::unexpected(unwritable(written.error()));
  EwsReply<Impl::Answer> answer = co_await impl_->run(target, EwsOperation::subscribe, body.text);
  if (!answer) co_return std::unexpected(std::move(answer.error()));
  const proto::EwsResponseMessage& message = (*answer)->messages.front();
  co_return EwsSubscribed{std::string(message.subscription_id), std::string(message.watermark)};
}

Task<EwsReply<std::monostate>> EwsClient::verify(const EwsTarget& target) {
  RequestText body;
  Status written = proto::write_find_item(
      {.version = impl_->version, .mailbox = address_of(target), .received_since = {}, .entries_max = 1}, body.text);
  if (!written) co_return std::unexpected(unwritable(written.error()));
  EwsReply<Impl::Answer> answer = co_await impl_->run(target, EwsOperation::find_item, body.text);
  if (!answer) co_return std::unexpected(std::move(answer.error()));
  co_return std::monostate();
}

// One MailItem per id. `without_fields`: places of those that Exchange did not show because of a field.
Task<EwsReply<std::vector<MailItem>>> EwsClient::Impl::fetch(const EwsTarget& target,
                                                             std::span<const std::string_view> ids,
                                                             std::span<const ItemField> fields,
                                                             std::vector<size_t>* without_fields) {
  RequestText body;
  Status written = proto::write_get_item({.version = version, .item_ids = ids, .fields = fields}, body.text);
  if (!written) co_return std::unexpected(unwritable(written.error()));
  EwsReply<Answer> answer = co_await run(target, EwsOperation::get_item, body.text);
  if (!answer) co_return std::unexpected(std::move(answer.error()));
  std::span<const proto::EwsResponseMessage> messages = (*answer)->messages;
  if (messages.size() != ids.size()) {
    co_return std::unexpected(unwritable(proto::ews_error(proto::EwsError::missing_part)));
  }
  std::vector<MailItem> items;
  items.reserve(ids.size());
  for (size_t i = 0; i < ids.size(); ++i) {
    bool here = !messages[i].items.empty();
    items.push_back(here ? to_mail_item(messages[i].items.front()) : MailItem());
    items.back().gone = !here && classify(messages[i].code) == proto::EwsVerdict::gone;
    items.back().unreadable = !here && !items.back().gone;
    items.back().id = ids[i];
    bool field_refused = !here && messages[i].code == proto::EwsResponseCode::invalid_property_request;
    if (field_refused && without_fields) without_fields->push_back(i);
  }
  co_return std::move(items);
}

// What is known of the host that a target leads to.
bool EwsClient::Impl::may_preview(const EwsTarget& target) const {
  Result<proto::Url> url = target.tenant->ews_url(target.url);
  const EwsHost* host = url ? hosts.find(*target.tenant, *url) : nullptr;
  return !host || !host->no_previews;
}

void EwsClient::Impl::note_no_previews(const EwsTarget& target) {
  Result<proto::Url> url = target.tenant->ews_url(target.url);
  if (EwsHost* host = url ? hosts.find(*target.tenant, *url) : nullptr) host->no_previews = true;
}

Task<EwsReply<std::vector<MailItem>>> EwsClient::get_items(const EwsTarget& target,
                                                           std::span<const std::string_view> ids, bool with_preview) {
  std::vector<size_t> left;
  with_preview = with_preview && impl_->may_preview(target);
  std::span<const ItemField> fields = proto::kNotifiedFields;
  if (with_preview) fields = kPreviewFields;
  EwsReply<std::vector<MailItem>> items = co_await impl_->fetch(target, ids, fields, &left);
  if (!items && with_preview && is_of_version(items.error().code)) {
    items = co_await impl_->fetch(target, ids, proto::kNotifiedFields, &left);
    // Without the preview it works: so the server does not know it.
    if (items) impl_->note_no_previews(target);
  }
  if (!items && items.error().code == proto::EwsResponseCode::invalid_property_request) {
    co_return co_await impl_->fetch(target, ids, kPlainFields, nullptr);
  }
  if (!items || left.empty()) co_return std::move(items);
  std::vector<std::string_view> left_ids;
  for (size_t place : left) left_ids.push_back(ids[place]);
  EwsReply<std::vector<MailItem>> plain = co_await impl_->fetch(target, left_ids, kPlainFields, nullptr);
  if (plain) {  // else they stay unreadable; the others are good
    for (size_t i = 0; i < left.size(); ++i) (*items)[left[i]] = std::move((*plain)[i]);
  }
  co_return std::move(items);
}

Task<EwsReply<EwsClient::Found>> EwsClient::find_items(const EwsTarget& target, WallTime received_since,
                                                       uint32_t entries_max) {
  RequestText body;
  Status written = proto::write_find_item({.version = impl_->version,
                                           .mailbox = address_of(target),
                                           .received_since = received_since,
                                           .entries_max = entries_max,
                                           .fields = kListedFields},
                                          body.text);
  if (!written) co_return std::unexpected(unwritable(written.error()));
  EwsReply<Impl::Answer> answer = co_await impl_->run(target, EwsOperation::find_item, body.text);
  if (!answer) co_return std::unexpected(std::move(answer.error()));
  Found found;
  const proto::EwsResponseMessage& message = (*answer)->messages.front();
  size_t count = std::min<size_t>(message.items.size(), entries_max);
  found.items.reserve(count);
  for (const proto::EwsItem& item : message.items.first(count)) found.items.push_back(to_mail_item(item));
  found.more = count < message.items.size() || message.includes_last == false;
  co_return std::move(found);
}

Task<EwsReply<InboxCounts>> EwsClient::inbox(const EwsTarget& target) {
  RequestText body;
  Status written =
      proto::write_get_folder({.version = impl_->version, .mailbox = address_of(target)}, body.text);
  if (!written) co_return std::unexpected(unwritable(written.error()));
  EwsReply<Impl::Answer> answer = co_await impl_->run(target, EwsOperation::get_folder, body.text);
  if (!answer) co_return std::unexpected(std::move(answer.error()));
  std::span<const proto::EwsFolder> folders = (*answer)->messages.front().folders;
  if (folders.empty()) co_return std::unexpected(unwritable(proto::ews_error(proto::EwsError::missing_part)));
  auto count = [](std::optional<int32_t> number) {
    return number && *number >= 0 ? std::optional(static_cast<uint32_t>(*number)) : std::nullopt;
  };
  co_return InboxCounts{.total = count(folders.front().total), .unread = count(folders.front().unread)};
}

bool EwsClient::takes_requests(const Tenant& tenant, std::string_view url) const {
  Result<proto::Url> parsed = tenant.ews_url(url);
  const EwsHost* host = parsed ? impl_->hosts.find(tenant, *parsed) : nullptr;
  return !host || !host->refusal(io::now());
}

std::vector<EwsHostState> EwsClient::hosts() const {
  return impl_->hosts.states(io::now());
}

Task<void> EwsClient::close() {
  impl_->closing = true;
  Context unstoppable;
  while (impl_->requests > 0) {
    impl_->no_requests.reset();
    struct Waiting {
      static Task<Status> run(Event& event) { co_return co_await event.wait(); }
    };
    (void)co_await Waiting::run(impl_->no_requests).under(unstoppable);
  }
  co_await impl_->hosts.close();
}

}  // namespace bellhop::service
