// SPDX-License-Identifier: Apache-2.0
#include "service/uem_source.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/cross_core.h"
#include "core/io.h"
#include "core/sleep.h"
#include "crypto/record.h"
#include "service/error_texts.h"
#include "service/ews_answer.h"
#include "service/named_files.h"

namespace bellhop::service {
namespace {

constexpr size_t kFeedBytes = 32 * 1024;       // between two turns of others
constexpr size_t kLinesPerUpdate = 1'000;      // of a delta: one write
constexpr size_t kCredentialBytesMax = 8'192;  // of the file

Task<Status> wait_event(Event& event) { co_return co_await event.wait(); }

}  // namespace

Result<crypto::Secret> read_uem_credential(const std::string& path, std::string& complaint) {
  auto info = io::file_info(path);
  if (info && (info->mode & 07) != 0) {
    complaint = fmt::format("{}: the compliance source's credential may not be open to all users (mode {:04o} now); run: chmod o= {}",
                            path, info->mode, path);
    return fail(os_error(EACCES));
  }
  BH_TRY(std::string text, read_named(path, "the compliance source's credential", complaint));
  std::string_view line = text;
  if (line.ends_with('\n')) line.remove_suffix(1);
  if (line.ends_with('\r')) line.remove_suffix(1);
  bool good = !line.empty() && line.size() <= kCredentialBytesMax &&
              std::ranges::none_of(line, [](char c) { return static_cast<uint8_t>(c) <= 0x20 || static_cast<uint8_t>(c) >= 0x7f; });
  crypto::Secret secret = good ? crypto::Secret::copy_of(line) : crypto::Secret();
  wipe(text);
  if (good) return secret;
  complaint = fmt::format("{}: the compliance source's credential must be one line of 1 to {} printable ASCII characters", path,
                          kCredentialBytesMax);
  return fail(config_error(ConfigError::invalid, 1));
}

UemSource::UemSource(UemSourceOptions options, UpstreamRoutes routes, Compliance& compliance, MetricsShard& metrics,
                     Log& log)
    : options_(std::move(options)),
      routes_(std::move(routes)),
      compliance_(compliance),
      metrics_(metrics),
      log_(log),
      client_options_{.connections_max = 1,
                      .connect_timeout = options_.page_timeout,
                      .handshake_timeout = options_.page_timeout,
                      .idle_timeout = 10s,
                      .body_bytes_max = options_.page_bytes_max,
                      .metrics = &metrics,
                      .kind = ConnectionKind::uem},
      pool_(routes_.fill({.host = options_.url.host, .port = options_.url.port}), client_options_) {}

Task<void> UemSource::run() {
  compliance_.note_failure(options_.tenant, SourceKind::uem, SourceState::waiting, "", options_.stale_after);
  for (;;) {
    Instant began = io::now();
    bool bulk = since_.empty() || began >= bulk_due_;
    Outcome outcome = co_await pull(bulk);
    if (!outcome && outcome.error().gone) {
      since_.clear();
      bulk = true;
      outcome = co_await pull(bulk);
    }
    if (!outcome && outcome.error().stopped) break;
    Duration wait = note(outcome, bulk, io::now() - began);
    Status woken = co_await within(wait, wait_event(nudged_));
    if (!woken && is(woken.error(), CoreError::canceled)) break;
    nudged_.reset();
  }
  Context unstoppable;
  co_await pool_.close().under(unstoppable);
}

void UemSource::nudge(bool bulk) {
  if (bulk) bulk_due_ = Instant();
  nudged_.set();
}

// What the try came to, for operators; returns how long to wait.
Duration UemSource::note(const Outcome& outcome, bool bulk, Duration took) {
  NotPersonal tenant = not_personal(options_.tenant);
  if (outcome) {
    if (bulk) bulk_due_ = io::now() + options_.bulk_interval;
    retry_ = Duration(0);
    compliance_.note_success(options_.tenant, SourceKind::uem, options_.stale_after);
    metrics_.add(metric::uem_pulls, bulk ? UemPull::bulk : UemPull::delta);
    log_line(log_, bulk || lines_ > 0 ? LogLevel::info : LogLevel::debug, "uem_pulled", field("tenant", tenant), field("bulk", bulk),
             field("devices", lines_), field("took_ms", took));
    return options_.delta_interval;
  }
  const Trouble& why = outcome.error();
  compliance_.note_failure(options_.tenant, SourceKind::uem, why.state, why.complaint, options_.stale_after);
  metrics_.add(metric::uem_pulls, why.state == SourceState::broken ? UemPull::broken : UemPull::unreachable);
  retry_ = retry_ == Duration(0) ? options_.retry_first : std::min(retry_ * 2, options_.retry_max);
  Duration wait = std::min(std::max(retry_, why.retry_after), std::max(options_.retry_max, options_.retry_first));
  // A list of everything that fails holds up no change.
  if (bulk && !since_.empty()) bulk_due_ = io::now() + wait + options_.retry_max;
  log_line(log_, LogLevel::warning, "uem_pull_failed", field("tenant", tenant), field("bulk", bulk),
           field("why", not_personal(why.complaint)), field("again_in_ms", wait), field("took_ms", took));
  // Nodes that failed together do not come back together.
  auto quarter = static_cast<uint64_t>(wait.count() / 4);
  return wait - Duration(static_cast<int64_t>(io::random_u64() % (quarter + 1)));
}

// ---- One try ----

Task<UemSource::Outcome> UemSource::pull(bool bulk) {
  lines_ = 0;
  crypto::Secret authorization;
  if (!options_.token_file.empty() || !options_.password_file.empty()) {
    std::string complaint;
    auto read = co_await offload(io::Worker::general, [&] { return read_authorization(complaint); });
    if (!read) co_return std::unexpected(Trouble{.state = SourceState::broken, .complaint = std::move(complaint)});
    authorization = *std::move(read);
  }
  if (bulk) co_return co_await pull_all(authorization);
  co_return co_await pull_changes(authorization);
}

Result<crypto::Secret> UemSource::read_authorization(std::string& complaint) const {
  if (!options_.token_file.empty()) {
    BH_TRY(crypto::Secret token, read_uem_credential(options_.token_file, complaint));
    return crypto::bearer_authorization(token);
  }
  crypto::BasicCredentials credentials;
  credentials.username = crypto::Secret::copy_of(options_.username);
  BH_TRY(credentials.password, read_uem_credential(options_.password_file, complaint));
  return crypto::basic_authorization(credentials);
}

Task<UemSource::Outcome> UemSource::pull_all(const crypto::Secret& authorization) {
  ComplianceBulk bulk = compliance_.begin(options_.tenant, Repeats::later_counts);
  Take take = [&](const ComplianceLine& line) { return compliance_.add(bulk, line); };
  std::string query;
  for (uint64_t pages = 0; pages < kPagesMax; ++pages) {
    auto page = co_await read_page(query, authorization, /*delta=*/false, take);
    if (!page) co_return std::unexpected(std::move(page.error()));
    if (!page->next.empty()) {
      query = "page=" + page->next;
      continue;
    }
    if (bulk.names() == 0) {
      co_return std::unexpected(trouble(SourceState::broken, "gave a list of all devices that names none; the data before it counts until it does"));
    }
    Outcome settled = settle(co_await compliance_.replace(std::move(bulk)));
    if (settled) since_ = page->since;
    co_return settled;
  }
  co_return std::unexpected(trouble(SourceState::broken, fmt::format("gave {} pages and no end; its pages lead in circles", kPagesMax)));
}

Task<UemSource::Outcome> UemSource::pull_changes(const crypto::Secret& authorization) {
  std::string query = "since=" + since_;
  for (uint64_t pages = 0; pages < kPagesMax; ++pages) {
    std::vector<ComplianceLine> lines;
    Take take = [&](const ComplianceLine& line) {
      lines.push_back(line);
      return Status();
    };
    auto page = co_await read_page(query, authorization, /*delta=*/true, take);
    if (!page) co_return std::unexpected(std::move(page.error()));
    for (size_t at = 0; at < lines.size(); at += kLinesPerUpdate) {
      auto first = lines.begin() + static_cast<ptrdiff_t>(at);
      auto last = lines.begin() + static_cast<ptrdiff_t>(std::min(lines.size(), at + kLinesPerUpdate));
      std::vector<ComplianceLine> part(std::make_move_iterator(first), std::make_move_iterator(last));
      Outcome settled = settle(co_await compliance_.update(options_.tenant, std::move(part)));
      if (!settled) co_return settled;
    }
    if (page->next.empty()) {
      since_ = page->since;
      co_return Outcome();
    }
    query = "page=" + page->next;
  }
  co_return std::unexpected(trouble(SourceState::broken, fmt::format("gave {} pages and no end; its pages lead in circles", kPagesMax)));
}

UemSource::Outcome UemSource::settle(const Result<ComplianceChange>& change) const {
  if (change) return {};
  if (is(change.error(), CoreError::canceled)) return std::unexpected(Trouble{.stopped = true});
  SourceState state = is(change.error(), ServiceError::compliance_limit) ? SourceState::broken : SourceState::unreachable;
  return std::unexpected(trouble(state, fmt::format("gave data that could not be kept: {}", error_text(change.error()))));
}

// ---- One page ----

Task<std::expected<Http1Lease, Http1Failure>> UemSource::send(std::string_view query, const crypto::Secret& authorization) {
  std::string target = options_.url.path, host = options_.url.authority();
  if (!query.empty()) target += fmt::format("?{}", query);
  proto::HeaderField fields[2] = {{"accept", "application/x-ndjson"}, {"authorization", authorization.reveal_text()}};
  size_t count = authorization.empty() ? 1 : 2;
  co_return co_await pool_.send({.method = "GET", .target = target, .host = host, .headers = {fields, count}});
}

Task<std::expected<UemSource::Next, UemSource::Trouble>> UemSource::read_page(std::string_view query,
                                                                              const crypto::Secret& authorization, bool delta,
                                                                              const Take& take) {
  DeadlineContext deadline(&co_await current_context(), io::now() + options_.page_timeout);
  auto lease = co_await send(query, authorization).under(deadline.context());
  if (!lease) {
    Http1Failure failure = lease.error();
    bool late = deadline.expired() && is(failure.error, CoreError::canceled);
    if (late) failure.error = core_error(CoreError::timed_out);
    co_return std::unexpected(judge(failure));
  }
  const Http1Response& response = lease->response();
  if (response.status != 200) co_return std::unexpected(judge(response));
  auto page = read_uem_page(response.text());
  if (!page) {
    lease->discard();
    co_return std::unexpected(trouble(SourceState::broken, fmt::format("gave an answer that {}", page.error())));
  }
  ComplianceReader reader(delta, take);
  Outcome fed = co_await feed(reader, page->devices);
  lines_ += reader.lines();
  if (!fed) co_return std::unexpected(std::move(fed.error()));
  co_return Next{std::move(page->next), std::move(page->since)};
}

Task<UemSource::Outcome> UemSource::feed(ComplianceReader& reader, std::string_view devices) {
  Context& context = co_await current_context();
  Status good;
  while (good && !devices.empty()) {
    std::string_view piece = devices.substr(0, kFeedBytes);
    good = reader.feed(piece);
    devices.remove_prefix(piece.size());
    co_await yield_now();
    if (context.stop_requested()) co_return std::unexpected(Trouble{.stopped = true});
  }
  if (good) good = reader.finish();
  if (good) co_return Outcome();
  std::string why = reader.complaint().empty() ? error_text(good.error()) : reader.complaint();
  co_return std::unexpected(trouble(SourceState::broken, fmt::format("gave data that cannot be used: {}", why)));
}

// ---- What went wrong ----

UemSource::Trouble UemSource::trouble(SourceState state, std::string_view what) const {
  return {.state = state, .complaint = fmt::format("{}{} {}", options_.url.origin(), options_.url.path, what)};
}

UemSource::Trouble UemSource::judge(const Http1Response& response) const {
  uint16_t status = response.status;
  if (status == 410) {
    Trouble gone = trouble(SourceState::broken, "does not know a token any more that it gave in this list");
    gone.gone = true;
    return gone;
  }
  if (status == 401 || status == 403) {
    return trouble(SourceState::broken, fmt::format("answered {}: it does not take the credentials; put good ones into {}", status,
                                                    options_.token_file.empty() ? options_.password_file : options_.token_file));
  }
  if (status >= 300 && status < 400) {
    return trouble(SourceState::broken, fmt::format("answered {}; redirects are not followed: write the URL that it leads to", status));
  }
  if (status == 429 || status >= 500) {
    Trouble busy = trouble(SourceState::unreachable, fmt::format("answered {}", status));
    auto wait = parse_decimal(response.headers->find("retry-after").value_or(std::string_view()));
    if (wait && *wait <= 86'400) busy.retry_after = std::chrono::seconds(*wait);
    return busy;
  }
  return trouble(SourceState::broken, fmt::format("answered {}; is this the URL of its list of devices?", status));
}

UemSource::Trouble UemSource::judge(const Http1Failure& failure) const {
  if (is(failure.error, CoreError::canceled)) return {.stopped = true};
  if (is(failure.error, proto::HttpError::body_too_large)) {
    return trouble(SourceState::broken, fmt::format("gave a page of more than {} bytes; let it give smaller ones", options_.page_bytes_max));
  }
  bool broken = failure.error.domain == Domain::http && !is(failure.error, proto::HttpError::truncated);
  return trouble(broken ? SourceState::broken : SourceState::unreachable,
                 fmt::format("could not be asked: {}", error_text(failure.error)));
}

}  // namespace bellhop::service
