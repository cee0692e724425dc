// SPDX-License-Identifier: Apache-2.0
#include "service/http1_client.h"

#include <algorithm>
#include <array>

#include "core/sleep.h"
#include "core/tls/error.h"
#include "service/error_texts.h"

namespace bellhop::service {
namespace {

using proto::Http1Event;
using proto::Http1Step;

bool has_body(const Http1Request& request) {
  return !request.body.empty() || request.method == "POST" || request.method == "PUT" || request.method == "PATCH";
}

}  // namespace

Http1Client::Http1Client(std::unique_ptr<Stream> stream, const Http1ClientOptions& options)
    : options_(options),
      stream_(std::move(stream)),
      parser_(options.header),
      reader_(*stream_, parser_),
      idle_since_(io::now()) {
  if (options_.metrics) options_.metrics->raise(metric::connections, options_.kind);
}

Http1Client::~Http1Client() {
  wipe(outgoing_);
  if (options_.metrics) options_.metrics->lower(metric::connections, options_.kind);
}

Task<Result<std::unique_ptr<Http1Client>>> Http1Client::open(const Http1Origin& origin,
                                                             const Http1ClientOptions& options,
                                                             const TlsIdentity* identity) {
  Result<std::unique_ptr<Stream>> stream = co_await open_outbound(
      origin, {.connect = options.connect_timeout, .handshake = options.handshake_timeout}, identity);
  if (!stream) {
    count_connect_failure(options.metrics, stream.error());
    co_return fail(stream.error());
  }
  co_return std::unique_ptr<Http1Client>(new Http1Client(*std::move(stream), options));
}

Task<Result<Http1Response>> Http1Client::exchange(const Http1Request& request) {
  BH_CHECK(good_);
  good_ = false;
  body_.clear();
  gzip_.reset();
  bytes_before_ = reader_.bytes_read();
  refused_early_ = false;
  parser_.start(request.method == "HEAD", options_.body_bytes_max);
  Status sent = co_await send(request);
  if (!sent && sent.error().domain == Domain::os && stream_->tls()) {
    // A server that does not take our certificate says so and hangs up, perhaps while we still send.
    Result<Http1Response> last = co_await receive();
    if (!last && is_certificate_refusal(last.error())) sent = fail(last.error());
  }
  BH_CO_CHECKED(sent);
  BH_CO_TRY(Http1Response response, co_await receive());
  good_ = parser_.keep_alive() && !request.close && !refused_early_ && !reader_.has_input();
  idle_since_ = io::now();
  co_return response;
}

Status Http1Client::write_head(const Http1Request& request) {
  BH_CHECK(request.headers.size() <= kRequestHeadersMax);
  std::array<proto::HeaderField, kRequestHeadersMax + 2> fields;
  size_t count = 0;
  for (const proto::HeaderField& field : request.headers) fields[count++] = field;
  fields[count++] = {"accept-encoding", options_.gzip ? "gzip" : "identity"};
  if (request.expect_continue) fields[count++] = {"expect", "100-continue"};
  return proto::write_request_head(outgoing_, {.method = request.method,
                                               .target = request.target,
                                               .host = request.host,
                                               .headers = {fields.data(), count},
                                               .framing = has_body(request)
                                                              ? proto::Http1Framing::sized(request.body.size())
                                                              : proto::Http1Framing::none(),
                                               .close = request.close});
}

Task<Status> Http1Client::send(const Http1Request& request) {
  Status sent = write_head(request);
  if (sent) sent = co_await send_written(request);
  wipe(outgoing_);
  co_return sent;
}

Task<Status> Http1Client::send_written(const Http1Request& request) {
  bool in_one = !request.expect_continue && outgoing_.size() + request.body.size() <= kOneWriteBytesMax;
  if (in_one) {
    proto::grow_wiped(outgoing_, request.body.size());
    outgoing_.append(request.body);
  }
  BH_CO_CHECKED(co_await stream_->write(as_bytes(outgoing_)));
  if (in_one || request.body.empty()) co_return Status();
  if (request.expect_continue) {
    Status invited = co_await within(kContinueWait, wait_for_continue());
    // A server that says nothing gets the body all the same (RFC 9110 section 10.1.1).
    if (!invited && !is(invited.error(), CoreError::timed_out)) co_return invited;
    if (refused_early_) co_return Status();
  }
  co_return co_await stream_->write(as_bytes(request.body));
}

Task<Status> Http1Client::wait_for_continue() {
  for (;;) {
    BH_CO_TRY(Http1Step step, reader_.feed());
    if (step.event == Http1Event::head) {
      refused_early_ = true;
      co_return check_head();
    }
    if (parser_.interim_count() > 0) co_return Status();
    BH_CO_TRY(bool more, co_await reader_.fill());
    if (!more) co_return fail(proto::http_error(proto::HttpError::truncated));
  }
}

Status Http1Client::check_head() {
  const proto::HeaderBlock& headers = parser_.headers();
  if (headers.count("content-encoding") == 0) return {};
  auto encoding = headers.find("content-encoding");
  if (encoding && ascii_equal_ignoring_case(*encoding, "identity")) return {};
  bool gzip = encoding && (ascii_equal_ignoring_case(*encoding, "gzip") || ascii_equal_ignoring_case(*encoding, "x-gzip"));
  if (gzip && options_.gzip) {
    gzip_.emplace(options_.body_bytes_max);
    return {};
  }
  return fail(proto::http_error(proto::HttpError::content_encoded));
}

Status Http1Client::take_body(Bytes piece) {
  if (gzip_) return gzip_->feed(piece, body_);
  body_.append(piece);
  return {};
}

Task<Result<Http1Response>> Http1Client::receive() {
  for (;;) {
    BH_CO_TRY(Http1Step step, co_await reader_.next());
    if (step.event == Http1Event::head) BH_CO_CHECKED(check_head());
    if (step.event == Http1Event::body) BH_CO_CHECKED(take_body(step.body));
    if (step.event == Http1Event::complete) {
      if (gzip_) BH_CO_CHECKED(gzip_->finish());
      gzip_.reset();
      co_return Http1Response{.status = parser_.status(), .headers = &parser_.headers(), .body = body_.bytes()};
    }
  }
}

bool Http1Client::reusable() const {
  TlsEngine* tls = stream_->tls();
  return good_ && (!tls || (tls->state() == TlsState::open && !tls->may_read()));
}

void Http1Client::rest() {
  if (body_.capacity() > kIdleBodyBytesMax) {
    body_.release();
  } else {
    body_.clear();
  }
  if (outgoing_.capacity() > kIdleBodyBytesMax) outgoing_ = std::string();
  reader_.rest();
}

Task<void> Http1Client::close() {
  good_ = false;
  co_await stream_->close(kLinger);
}

Http1Lease::~Http1Lease() {
  if (client_ && !discarded_) pool_->give_back(std::move(client_), made_under_);
}

Http1Pool::Http1Pool(Http1Origin origin, const Http1ClientOptions& options)
    : origin_(std::move(origin)), options_(options), slots_(options.connections_max) {}

Http1Pool::~Http1Pool() { BH_CHECK(idle_.empty() && in_use() == 0); }

std::unique_ptr<Http1Client> Http1Pool::take_idle() {
  while (!idle_.empty()) {
    std::unique_ptr<Http1Client> client = std::move(idle_.back());
    idle_.pop_back();
    if (client->reusable() && io::now() - client->idle_since() < options_.idle_timeout) return client;
  }
  return nullptr;
}

Task<std::expected<Http1Lease, Http1Failure>> Http1Pool::send(const Http1Request& request) {
  Result<Semaphore::Permit> slot = co_await slots_.acquire();
  if (!slot) co_return std::unexpected(Http1Failure{slot.error(), Http1Stage::waiting});
  Http1Lease lease(*this, *std::move(slot));
  lease.client_ = take_idle();
  lease.made_under_ = rules_;
  if (lease.client_) {
    Result<Http1Response> response = co_await lease.client_->exchange(request);
    if (response) {
      lease.response_ = *response;
      lease.reused_ = true;
      co_return std::move(lease);
    }
    bool stale = !lease.client_->answer_begun() && !is(response.error(), CoreError::canceled) &&
                 !is(response.error(), proto::HttpError::unwritable);
    if (!stale) co_return std::unexpected(Http1Failure{response.error(), Http1Stage::exchanging});
    lease.client_.reset();
  }
  Result<std::unique_ptr<Http1Client>> opened = nullptr;
  do {
    opened = nullptr;
    lease.made_under_ = rules_;
    const Http1Origin origin = origin_;  // renew() may replace the pool's meanwhile; then nothing is said this way
    opened = co_await Http1Client::open(origin, options_, request.identity);
  } while (lease.made_under_ != rules_ && (opened || !is(opened.error(), CoreError::canceled)));
  if (!opened) co_return std::unexpected(Http1Failure{opened.error(), Http1Stage::connecting});
  lease.client_ = *std::move(opened);
  Result<Http1Response> response = co_await lease.client_->exchange(request);
  if (!response) co_return std::unexpected(Http1Failure{response.error(), Http1Stage::exchanging});
  lease.response_ = *response;
  co_return std::move(lease);
}

void Http1Pool::renew(Http1Origin origin) {
  ++rules_;
  origin_ = std::move(origin);
  idle_.clear();
}

void Http1Pool::give_back(std::unique_ptr<Http1Client> client, uint64_t made_under) {
  if (closed_ || made_under != rules_ || !client->reusable()) return;  // closes it
  client->rest();
  idle_.push_back(std::move(client));
  if (sweeping_.live() == 0) sweeping_.spawn(sweep());
}

bool Http1Pool::drop_idle() {
  if (idle_.empty()) return false;
  idle_.erase(idle_.begin());
  return true;
}

Task<void> Http1Pool::sweep() {
  while (!idle_.empty()) {
    Instant due = idle_.front()->idle_since() + options_.idle_timeout;
    if (io::now() < due) {
      if (!co_await sleep_until(due)) co_return;
      continue;  // it may be in use again
    }
    std::unique_ptr<Http1Client> client = std::move(idle_.front());
    idle_.erase(idle_.begin());
    co_await client->close();
  }
}

Task<void> Http1Pool::close() {
  closed_ = true;
  sweeping_.request_stop();
  co_await sweeping_.join();
  TaskScope closing(&co_await current_context());
  struct Closing {
    static Task<void> run(std::unique_ptr<Http1Client> client) { co_await client->close(); }
  };
  for (std::unique_ptr<Http1Client>& client : idle_) closing.spawn(Closing::run(std::move(client)));
  idle_.clear();
  co_await closing.join();
}

}  // namespace bellhop::service
