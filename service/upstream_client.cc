// SPDX-License-Identifier: Apache-2.0
#include "service/upstream_client.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "core/sleep.h"
#include "proto/http_error.h"
#include "proto/wiping_buffer.h"

namespace bellhop::service {

using proto::Http1Event;
using proto::Http1Framing;
using proto::Http1Step;

// One connection; in the pool's list while it is idle.
class UpstreamConnection final : public ListLink {
 public:
  static constexpr Duration kLinger = 50ms;  // the upstream's time to take note of close()

  UpstreamConnection(std::unique_ptr<Stream> carried, const UpstreamOptions& given, std::string_view user)
      : options(given),
        owner(user),
        stream(std::move(carried)),
        parser(given.header),
        reader(*stream, parser),
        writer(*stream, given.write_stall_timeout) {
    if (options.metrics) options.metrics->raise(metric::connections, options.kind);
  }
  ~UpstreamConnection() {
    if (options.metrics) options.metrics->lower(metric::connections, options.kind);
  }

  bool answer_begun() const { return reader.bytes_read() != bytes_before; }
  bool usable() const {
    TlsEngine* tls = stream->tls();
    return !reader.has_input() && (!tls || (tls->state() == TlsState::open && !tls->may_read()));
  }
  // Looks whether the upstream has closed it, without waiting for that.
  Task<bool> alive() {
    Result<bool> more = co_await within(Duration::zero(), reader.fill());
    co_return !more && is(more.error(), CoreError::timed_out);
  }
  Task<void> close() { co_await stream->close(kLinger); }

  const UpstreamOptions& options;
  const std::string owner;
  std::unique_ptr<Stream> stream;
  proto::Http1ResponseParser parser;
  Http1Reader<proto::Http1ResponseParser> reader;
  Http1BodyWriter writer;
  uint64_t bytes_before = 0;  // that were read before the exchange under way
  Instant idle_since{};
  uint32_t note = 0;
};

// ---- One exchange ----

UpstreamExchange::UpstreamExchange(UpstreamPool& pool, const UpstreamKey& key)
    : pool_(pool), owner_(key.owner), identity_(key.identity), fresh_(key.fresh) {}

UpstreamExchange::~UpstreamExchange() {
  wipe(head_);
  if (!connection_) return;
  bool keeps = answer_whole() && request_ended_ && !failed_ && !discarded_ && !close_ &&
               connection_->parser.keep_alive() && connection_->usable();
  if (keeps) pool_.give_back(std::move(connection_), made_under_);
}

Task<Status> UpstreamExchange::connect() {
  BH_CHECK(stage_ == UpstreamStage::waiting && !connection_);
  return take_warm() ? Task<Status>::of() : find_connection();
}

// The common case, in which nothing has to be awaited: a connection that was in use just now.
bool UpstreamExchange::take_warm() {
  auto slot = fresh_ || pool_.closed_ ? std::nullopt : pool_.slots_.try_acquire();
  if (!slot) return false;
  connection_ = pool_.take_warm(owner_);
  if (!connection_) return false;
  slot_ = *std::move(slot);
  made_under_ = pool_.rules_;
  reused_ = true;
  stage_ = UpstreamStage::connecting;
  return true;
}

Task<Status> UpstreamExchange::find_connection() {
  BH_CO_TRY(slot_, co_await pool_.take_slot());
  stage_ = UpstreamStage::connecting;
  while (!fresh_) {
    made_under_ = pool_.rules_;
    std::unique_ptr<UpstreamConnection> idle = pool_.take_idle(owner_);
    if (!idle) break;
    bool good = io::now() - idle->idle_since < kProbeAfter || co_await idle->alive();
    if (!good || made_under_ != pool_.rules_) continue;
    connection_ = std::move(idle);
    reused_ = true;
    co_return Status();
  }
  co_return co_await open();
}

Task<Status> UpstreamExchange::open() {
  Result<std::unique_ptr<Stream>> opened = nullptr;
  do {
    opened = nullptr;
    pool_.make_room();
    made_under_ = pool_.rules_;
    const OutboundOrigin origin = pool_.origin_;  // renew() may replace the pool's meanwhile; then nothing is said this way
    OutboundTimes times{.connect = pool_.options_.connect_timeout, .handshake = pool_.options_.handshake_timeout};
    opened = co_await open_outbound(origin, times, identity_);
  } while (made_under_ != pool_.rules_ && (opened || !is(opened.error(), CoreError::canceled)));
  if (!opened) {
    count_connect_failure(pool_.options_.metrics, opened.error());
    co_return fail(opened.error());
  }
  connection_ = std::make_unique<UpstreamConnection>(*std::move(opened), pool_.options_, owner_);
  reused_ = false;
  co_return Status();
}

Task<Status> UpstreamExchange::send_head(const UpstreamRequestHead& head, bool more) {
  BH_CHECK(connection_ && stage_ == UpstreamStage::connecting);
  bool says_length = head.has_body || head.method == "POST" || head.method == "PUT" || head.method == "PATCH";
  if (head.has_body && !head.content_length) {
    framing_ = Http1Framing::chunked();
  } else if (says_length) {
    framing_ = Http1Framing::sized(head.has_body ? *head.content_length : 0);
  }
  head_request_ = head.method == "HEAD";
  close_ = head.close;
  expects_ = head.expect_continue && head.has_body;
  std::vector<proto::HeaderField> longer;
  if (expects_) {
    longer.assign(head.headers.begin(), head.headers.end());
    longer.push_back({"expect", "100-continue"});
  }
  Status fine = proto::write_request_head(head_, {.method = head.method,
                                                  .target = head.target,
                                                  .host = head.host,
                                                  .headers = expects_ ? std::span(std::as_const(longer)) : head.headers,
                                                  .framing = framing_,
                                                  .close = head.close});
  if (!fine) return Task<Status>::of(fine);
  stage_ = UpstreamStage::sending;
  return transmit_head(more && !expects_);
}

Task<Status> UpstreamExchange::transmit_head(bool more) {
  UpstreamConnection& connection = *connection_;
  connection.parser.start(head_request_, UINT64_MAX);
  connection.bytes_before = connection.reader.bytes_read();
  Task<Status> sending = connection.writer.begin(as_bytes(head_), framing_, false, more);
  bool kept_back = sending.value() && *sending.value() && !request_ended_;
  if (!kept_back) return await_head(std::move(sending));
  if (!reused_) forget_head();
  return sending;
}

Task<Status> UpstreamExchange::await_head(Task<Status> sending) {
  UpstreamConnection& connection = *connection_;
  Status sent = co_await std::move(sending);
  if (sent && request_ended_) sent = co_await connection.writer.end();
  if (!sent) co_return co_await replace_dead(sent.error());
  if (!reused_) forget_head();
  co_return Status();
}

void UpstreamExchange::forget_head() {
  wipe(head_);
  head_ = std::string();
}

bool UpstreamExchange::has_no_body() const {
  return framing_.kind == Http1Framing::Kind::none ||
         (framing_.kind == Http1Framing::Kind::length && framing_.length == 0);
}

bool UpstreamExchange::may_replace(const Error& error) const {
  bool ours = is(error, CoreError::canceled) || is(error, CoreError::timed_out) ||
              is(error, proto::HttpError::unwritable);
  return reused_ && !ours && !body_begun_ && stage_ == UpstreamStage::sending && !connection_->answer_begun();
}

// A connection that was closed while it was idle says so only when it is used. What it did not answer at all was not
// served (RFC 9112 section 9.3.1), and of a body nothing was sent.
Task<Status> UpstreamExchange::replace_dead(Error error) {
  if (!may_replace(error)) {
    failed_ = true;
    co_return fail(error);
  }
  connection_.reset();
  Status opened = co_await open();
  if (!opened) stage_ = UpstreamStage::connecting;
  if (opened) opened = co_await transmit_head(false);
  failed_ |= !opened;
  co_return opened;
}

Task<Result<bool>> UpstreamExchange::invited() {
  return expects_ ? wait_for_invitation() : Task<Result<bool>>::of(true);
}

Task<Result<bool>> UpstreamExchange::wait_for_invitation() {
  while (expects_) {
    Result<bool> invited = co_await within(kContinueWait, wait_for_continue());
    if (invited) co_return *invited;
    if (is(invited.error(), CoreError::timed_out)) break;
    BH_CO_CHECKED(co_await replace_dead(invited.error()));
  }
  co_return true;
}

Task<Result<bool>> UpstreamExchange::wait_for_continue() {
  UpstreamConnection& connection = *connection_;
  for (;;) {
    BH_CO_TRY(Http1Step step, connection.reader.feed());
    head_came_ = step.event == Http1Event::head;
    if (head_came_) co_return false;
    if (connection.parser.interim_count() > 0) co_return true;
    BH_CO_TRY(bool more, co_await connection.reader.fill());
    if (!more) co_return fail(proto::http_error(proto::HttpError::truncated));
  }
}

Task<Status> UpstreamExchange::write_some(Bytes piece, bool more) {
  BH_CHECK(connection_ && !request_ended_);
  if (!piece.empty()) {
    body_begun_ = true;
    forget_head();
  }
  Task<Status> sending = connection_->writer.write(piece, more);
  bool kept_back = sending.value() && *sending.value();
  return kept_back ? std::move(sending) : await_piece(std::move(sending));
}

Task<Status> UpstreamExchange::await_piece(Task<Status> sending) {
  Status sent = co_await std::move(sending);
  failed_ |= !sent;
  co_return sent;
}

Task<Status> UpstreamExchange::end_body() {
  BH_CHECK(connection_ && !request_ended_);
  Status sent = co_await connection_->writer.end();
  request_ended_ = sent || has_no_body();
  if (!sent && has_no_body()) co_return co_await replace_dead(sent.error());
  failed_ |= !sent;
  co_return sent;
}

Task<Result<UpstreamAnswerHead>> UpstreamExchange::read_head() {
  BH_CHECK(stage_ == UpstreamStage::sending);
  while (!head_came_) {
    Result<Http1Step> step = co_await connection_->reader.next();
    if (step) {
      BH_CHECK(step->event == Http1Event::head);
      break;
    }
    // While a body is on its way its sender has the connection.
    if (!request_ended_) {
      failed_ = true;
      co_return fail(step.error());
    }
    BH_CO_CHECKED(co_await replace_dead(step.error()));
  }
  forget_head();
  stage_ = UpstreamStage::answering;
  const proto::Http1ResponseParser& parser = connection_->parser;
  UpstreamAnswerHead head{.status = parser.status(),
                          .headers = &parser.headers(),
                          .content_length = parser.content_length(),
                          .has_body = parser.has_body()};
  if (!head.has_body) {
    BH_CO_TRY(Http1Step step, connection_->reader.feed());
    BH_CHECK(step.event == Http1Event::complete);
    stage_ = UpstreamStage::done;
  }
  co_return head;
}

Bytes UpstreamExchange::take_step(const Http1Step& step) {
  if (step.event == Http1Event::complete) stage_ = UpstreamStage::done;
  return step.body;
}

Task<Result<Bytes>> UpstreamExchange::read_some() {
  if (stage_ == UpstreamStage::done) co_return Bytes();
  BH_CHECK(stage_ == UpstreamStage::answering);
  Result<Http1Step> step = co_await connection_->reader.next();
  if (step) co_return take_step(*step);
  failed_ = true;
  co_return fail(step.error());
}

std::optional<Result<Bytes>> UpstreamExchange::try_read_some() {
  if (stage_ == UpstreamStage::done) return Bytes();
  BH_CHECK(stage_ == UpstreamStage::answering);
  do {
    Result<Http1Step> step = connection_->reader.feed();
    failed_ |= !step;
    if (!step) return fail(step.error());
    if (step->event != Http1Event::need_more) return take_step(*step);
  } while (connection_->reader.try_fill());
  return std::nullopt;
}

UpstreamStage UpstreamExchange::stage() const {
  bool begun = stage_ == UpstreamStage::sending && connection_ && connection_->answer_begun();
  return begun ? UpstreamStage::answering : stage_;
}

uint32_t UpstreamExchange::note() const { return connection_ ? connection_->note : 0; }
void UpstreamExchange::set_note(uint32_t note) {
  if (connection_) connection_->note = note;
}
const TlsEngine* UpstreamExchange::tls() const { return connection_ ? connection_->stream->tls() : nullptr; }

// ---- The pool ----

UpstreamPool::UpstreamPool(OutboundOrigin origin, const UpstreamOptions& options)
    : origin_(std::move(origin)), options_(options), slots_(options.connections_max) {}

UpstreamPool::~UpstreamPool() { BH_CHECK(idle_count_ == 0 && in_use() == 0); }

Task<Result<Semaphore::Permit>> UpstreamPool::take_slot() {
  if (closed_) co_return fail(core_error(CoreError::closed));
  if (auto free = slots_.try_acquire()) co_return *std::move(free);
  if (waiting_ >= options_.waiting_max) co_return fail(core_error(CoreError::limit));
  ++waiting_;
  Result<Semaphore::Permit> slot = co_await slots_.acquire();
  --waiting_;
  if (slot && closed_) co_return fail(core_error(CoreError::closed));
  co_return slot;
}

std::unique_ptr<UpstreamConnection> UpstreamPool::take_warm(std::string_view owner) {
  auto own = by_owner_.find(owner);
  if (own == by_owner_.end()) return nullptr;
  UpstreamConnection& last = *own->second.back();
  bool warm = last.usable() && io::now() - last.idle_since < std::min(UpstreamExchange::kProbeAfter, options_.idle_timeout);
  return warm ? remove(last) : nullptr;
}

// The one used last: the others may then grow old.
std::unique_ptr<UpstreamConnection> UpstreamPool::take_idle(std::string_view owner) {
  for (auto own = by_owner_.find(owner); own != by_owner_.end(); own = by_owner_.find(owner)) {
    std::unique_ptr<UpstreamConnection> connection = remove(*own->second.back());
    if (connection->usable() && io::now() - connection->idle_since < options_.idle_timeout) return connection;
  }
  return nullptr;
}

std::unique_ptr<UpstreamConnection> UpstreamPool::remove(UpstreamConnection& connection) {
  auto own = by_owner_.find(connection.owner);
  BH_CHECK(own != by_owner_.end());
  auto place = std::ranges::find(own->second, &connection, &std::unique_ptr<UpstreamConnection>::get);
  BH_CHECK(place != own->second.end());
  std::unique_ptr<UpstreamConnection> removed = std::move(*place);
  own->second.erase(place);
  if (own->second.empty()) by_owner_.erase(own);
  removed->unlink();
  --idle_count_;
  return removed;
}

void UpstreamPool::give_back(std::unique_ptr<UpstreamConnection> connection, uint64_t made_under) {
  if (closed_ || made_under != rules_) return;  // closes it
  connection->reader.rest();
  connection->idle_since = io::now();
  idle_.push_back(connection.get());
  ++idle_count_;
  by_owner_[connection->owner].push_back(std::move(connection));
  if (sweeping_.live() == 0) sweeping_.spawn(sweep());
}

void UpstreamPool::make_room() {
  while (idle_count_ > 0 && in_use() + idle_count_ > options_.connections_max) (void)remove(*idle_.front());
}

bool UpstreamPool::drop_idle(std::string_view owner) {
  bool any = false;
  for (auto own = by_owner_.find(owner); own != by_owner_.end(); own = by_owner_.find(owner)) {
    (void)remove(*own->second.back());
    any = true;
  }
  return any;
}

void UpstreamPool::renew(OutboundOrigin origin) {
  ++rules_;
  origin_ = std::move(origin);
  while (UpstreamConnection* connection = idle_.front()) (void)remove(*connection);
}

Task<void> UpstreamPool::sweep() {
  while (UpstreamConnection* oldest = idle_.front()) {
    Instant due = oldest->idle_since + options_.idle_timeout;
    if (io::now() < due) {
      if (!co_await sleep_until(due)) co_return;
      continue;  // it may be in use again
    }
    std::unique_ptr<UpstreamConnection> connection = remove(*oldest);
    co_await connection->close();
  }
}

Task<void> UpstreamPool::close() {
  closed_ = true;
  sweeping_.request_stop();
  co_await sweeping_.join();
  struct Closing {
    static Task<void> run(std::unique_ptr<UpstreamConnection> connection) { co_await connection->close(); }
  };
  TaskScope closing(&co_await current_context());
  while (UpstreamConnection* connection = idle_.front()) closing.spawn(Closing::run(remove(*connection)));
  co_await closing.join();
}

}  // namespace bellhop::service
