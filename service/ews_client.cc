// SPDX-License-Identifier: Apache-2.0
#include "service/ews_client.h"

#include <algorithm>
#include <array>
#include <utility>

#include "core/io.h"
#include "core/sleep.h"
#include "core/sync.h"
#include "proto/ews_request.h"
#include "service/error_texts.h"
#include "service/ews_answer.h"
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
// Told to callers that find the queue of a host full.
constexpr Duration kQueueFullRetry = 1s;

constexpr std::array kPreviewFields = {
    ItemField::subject,    ItemField::from,       ItemField::sender,      ItemField::date_time_received,
    ItemField::item_class, ItemField::importance, ItemField::sensitivity, ItemField::conversation_id,
    ItemField::is_read,    ItemField::preview};
constexpr std::array kListedFields = {ItemField::item_class, ItemField::is_read};

std::string_view action_of(EwsOperation operation) {
  switch (operation) {
    case EwsOperation::subscribe: return proto::kSubscribeAction;
    case EwsOperation::get_item: return proto::kGetItemAction;
    case EwsOperation::find_item: return proto::kFindItemAction;
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
  Impl(const EwsConfig& c, std::shared_ptr<TlsContext> tls, MetricsShard& m, Log& l)
      : config(c),
        options{.connections_max = c.connections_per_host_max,
                .connect_timeout = std::chrono::milliseconds(c.connect_timeout_ms),
                .handshake_timeout = std::chrono::milliseconds(c.handshake_timeout_ms),
                .idle_timeout = std::chrono::milliseconds(c.idle_timeout_ms),
                .body_bytes_max = c.answer_bytes_max,
                .metrics = &m,
                .kind = ConnectionKind::ews},
        metrics(m),
        log(l),
        version(proto::parse_exchange_version(c.server_version).value()),
        hosts(config, options, std::move(tls)),
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
  Task<std::expected<Http1Lease, Http1Failure>> send(EwsHost& host, Call& call);
  static Task<Result<const EwsAnswer*>> parse(proto::EwsAnswerReader& reader, std::string_view text);
  Answer make_answer();
  void settle(EwsHost& host, const Call& call, const Outcome<Answer>& outcome, Duration took);
  void note_breaker(const Call& call, CircuitBreaker::Change change);
  void note_failure(const Call& call, const EwsTrouble& trouble, Duration took);

  const EwsConfig config;
  const Http1ClientOptions options;
  MetricsShard& metrics;
  Log& log;
  const proto::ExchangeVersion version;
  EwsHosts hosts;
  EwsMailboxes mailboxes;
  std::vector<std::unique_ptr<proto::EwsAnswerReader>> readers;
  size_t requests = 0;
  Event no_requests;
  bool closing = false;
};

EwsClient::EwsClient(const EwsConfig& config, std::shared_ptr<TlsContext> tls, MetricsShard& metrics, Log& log)
    : impl_(std::make_unique<Impl>(config, std::move(tls), metrics, log)) {}

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
    Outcome<Answer> first = co_await attempt(host, call);
    if (first || !first.error().may_retry) co_return std::move(first);
    auto half = static_cast<uint64_t>(kRetryWaitMax.count() / 2);
    Duration wait(static_cast<int64_t>(half + io::random_u64() % half));
    bool stopped = !co_await sleep_for(wait);
    if (stopped || io::now() < host.back_off_until) co_return std::move(first);
  }
  co_return co_await attempt(host, call);
}

Task<std::expected<Http1Lease, Http1Failure>> EwsClient::Impl::send(EwsHost& host, Call& call) {
  ++call.attempts;
  crypto::Secret authorization = crypto::authorization_of(*call.target.credentials);
  std::array<proto::HeaderField, 8> fields = {{
      {"content-type", proto::soap_content_type(proto::SoapVersion::soap11)},
      {"accept", "text/xml"},
      {"user-agent", config.user_agent},
      {"soapaction", action_of(call.operation)},
      {"client-request-id", call.request_id},
      {"return-client-request-id", "true"},
  }};
  size_t count = 6;
  if (!authorization.empty()) fields[count++] = {"authorization", authorization.reveal_text()};
  if (!address_of(call.target).empty()) fields[count++] = {"x-anchormailbox", address_of(call.target)};
  std::string authority = call.url.authority(), path = call.url.target();
  co_return co_await host.pool.send({.method = "POST",
                                     .target = path,
                                     .host = authority,
                                     .headers = {fields.data(), count},
                                     .body = call.body});
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
  std::expected<Http1Lease, Http1Failure> lease = co_await send(host, call);
  if (!lease) co_return std::unexpected(judge_http_failure(lease.error()));
  const Http1Response& response = lease->response();
  EwsReceived received;
  received.status = response.status;
  received.retry_after = response.headers->find("retry-after").value_or(std::string_view());
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
  } else {
    received.parse_error = service_error(ServiceError::exchange_failed, response.status);
  }
  std::optional<EwsTrouble> trouble =
      judge_ews_answer(call.operation, received, std::chrono::milliseconds(config.back_off_ms_max));
  if (!trouble) co_return std::move(answer);
  if (trouble->failure.kind == EwsFailureKind::garbage) lease->discard();
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

void EwsClient::Impl::note_failure(const Call& call, const EwsTrouble& trouble, Duration took) {
  log_line(log, LogLevel::warning, "ews_request_failed",
           field("operation", not_personal(ews_operation_name(call.operation))),
           field("host", not_personal(call.url.host)), field("tenant", not_personal(call.target.tenant->config.id)),
           field("result", not_personal(LabelSet<EwsResult>::values[static_cast<size_t>(trouble.result)])),
           field("status", trouble.status), field("code", not_personal(trouble.failure.code_text)),
           field("error", trouble.failure.error), field("client_request_id", not_personal(call.request_id)),
           field("attempts", call.attempts), field("took_ms", took));
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

Task<EwsReply<std::vector<MailItem>>> EwsClient::get_items(const EwsTarget& target,
                                                           std::span<const std::string_view> ids, bool with_preview) {
  RequestText body;
  std::span<const ItemField> fields = proto::kNotifiedFields;
  if (with_preview) fields = kPreviewFields;
  Status written = proto::write_get_item({.version = impl_->version, .item_ids = ids, .fields = fields}, body.text);
  if (!written) co_return std::unexpected(unwritable(written.error()));
  EwsReply<Impl::Answer> answer = co_await impl_->run(target, EwsOperation::get_item, body.text);
  if (!answer) co_return std::unexpected(std::move(answer.error()));
  std::span<const proto::EwsResponseMessage> messages = (*answer)->messages;
  if (messages.size() != ids.size()) {
    co_return std::unexpected(unwritable(proto::ews_error(proto::EwsError::missing_part)));
  }
  std::vector<MailItem> items;
  items.reserve(ids.size());
  for (size_t i = 0; i < ids.size(); ++i) {
    bool gone = messages[i].items.empty();
    items.push_back(gone ? MailItem() : to_mail_item(messages[i].items.front()));
    items.back().gone = gone;
    items.back().id = ids[i];
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
