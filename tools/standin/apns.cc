// SPDX-License-Identifier: Apache-2.0
#include "tools/standin/apns.h"

#include <algorithm>
#include <array>

#include "core/sleep.h"
#include "core/stream/stream.h"
#include "core/tls/identity.h"
#include "proto/json_writer.h"
#include "tools/standin/apns_control.h"
#include "tools/standin/apns_part.h"
#include "tools/standin/tls.h"

namespace bellhop::standin {
namespace {

using proto::ApnsReason;

constexpr std::array<std::string_view, 7> kActionNames = {"answer", "refuse", "lose", "kill", "goaway", "stall", "swallow"};
constexpr std::array<std::string_view, 4> kOutageNames = {"none", "refuse", "silent", "unavailable"};
constexpr Duration kHandshakeTimeout = 10s;
constexpr Duration kAcceptPause = 50ms;

Task<Status> await_event(Event* event) { co_return co_await event->wait(); }

}  // namespace

std::string_view apns_action_name(ApnsAction action) { return kActionNames[static_cast<size_t>(action)]; }
std::optional<ApnsAction> parse_apns_action(std::string_view name) {
  auto at = std::ranges::find(kActionNames, name);
  if (at == kActionNames.end()) return std::nullopt;
  return static_cast<ApnsAction>(at - kActionNames.begin());
}

std::string_view apns_outage_name(ApnsOutage outage) { return kOutageNames[static_cast<size_t>(outage)]; }
std::optional<ApnsOutage> parse_apns_outage(std::string_view name) {
  auto at = std::ranges::find(kOutageNames, name);
  if (at == kOutageNames.end()) return std::nullopt;
  return static_cast<ApnsOutage>(at - kOutageNames.begin());
}

ApnsBooks& ApnsBooks::operator+=(const ApnsBooks& other) {
  for (auto member : {&ApnsBooks::requests, &ApnsBooks::accepted, &ApnsBooks::alerts, &ApnsBooks::duplicates,
                      &ApnsBooks::unseen, &ApnsBooks::badges, &ApnsBooks::silent, &ApnsBooks::ruled, &ApnsBooks::outage, &ApnsBooks::bytes,
                      &ApnsBooks::connections, &ApnsBooks::connections_opened, &ApnsBooks::certified}) {
    this->*member += other.*member;
  }
  tokens_seen = std::max(tokens_seen, other.tokens_seen);
  for (const auto& [reason, count] : other.refused) refused[reason] += count;
  return *this;
}

Apns::Part::Part(Apns& owner, unsigned n, ProviderGate provider_gate)
    : apns(owner),
      shared(*owner.shared_),
      number(n),
      core(shared.options.first_core + n),
      gate(std::move(provider_gate)),
      streams_max(shared.options.streams_max) {}

Apns::Apns() = default;
Apns::~Apns() {
  if (!shared_) return;
  // Where run() never came to take them.
  if (shared_->listener) io::close(shared_->listener);
  if (shared_->control_listener) io::close(shared_->control_listener);
}

Result<std::shared_ptr<TlsContext>> Apns::make_context(const Shared& shared, std::string& complaint) {
  return make_server_context(shared.options.certificate_pem, shared.options.key_pem, "h2", shared.ticket_keys, complaint,
                             shared.client_authorities ? TlsClientAuth::optional : TlsClientAuth::none,
                             shared.client_authorities);
}

Result<std::unique_ptr<Apns>> Apns::make(ApnsOptions options, std::string& complaint) {
  std::unique_ptr<Apns> apns(new Apns);
  apns->shared_ = std::make_unique<Shared>();
  Shared& shared = *apns->shared_;
  shared.options = std::move(options);
  BH_TRY(shared.ticket_keys, make_ticket_keys());
  if (!shared.options.client_ca_pem.empty()) {
    TlsFile clients{"the authority of app certificates", shared.options.client_ca_pem};
    BH_TRY(shared.client_authorities, TlsAuthorities::parse({&clients, 1}, complaint));
  }
  BH_CHECKED(make_context(shared, complaint));
  for (unsigned n = 0; n < shared.options.cores; ++n) {
    auto gate = ProviderGate::make(shared.options.keys);
    if (!gate) {
      complaint = "the provider's public key is not usable: " + error_text(gate.error());
      return fail(gate.error());
    }
    apns->parts_.push_back(std::make_unique<Part>(*apns, n, *std::move(gate)));
  }
  shared.address = shared.options.listen;
  BH_TRY(shared.listener, open_listener(shared.address, shared.options.cores > 1, complaint));
  if (shared.options.control) {
    shared.control_address = *shared.options.control;
    BH_TRY(shared.control_listener, open_listener(shared.control_address, false, complaint));
  }
  return apns;
}

SocketAddress Apns::address() const { return shared_->address; }
SocketAddress Apns::control_address() const { return shared_->control_address; }
void Apns::set_observer(ApnsObserver* observer) { shared_->observer = observer; }

Task<void> Apns::run() {
  unsigned number = io::core() - shared_->options.first_core;
  if (number >= parts_.size()) co_return;
  co_await parts_[number]->run();
}

// The seam gives a listener to the core that opens it.
Result<io::Handle> Apns::Part::take_listener() {
  if (number == 0) return std::exchange(shared.listener, {});
  std::string complaint;
  SocketAddress address = shared.address;
  auto listener = open_listener(address, true, complaint);
  if (!listener) io::write_log(complaint + "\n");
  return listener;
}

Task<void> Apns::Part::run() {
  Context& own = co_await current_context();
  auto handle = take_listener();
  if (!handle) co_return;
  std::string complaint;
  auto context = make_context(shared, complaint);
  BH_CHECK(context);  // make() tried it
  tls = *context;
  std::optional<ApnsControl> control;
  std::optional<service::HttpServer> control_http;
  Listener listener(*handle);
  TaskScope servers(&own);
  servers.spawn(accept_all(listener, servers));
  if (number == 0 && shared.control_listener) {
    control.emplace(apns);
    control_http.emplace(*control, service::HttpServerLimits{.connections_max = 64}, nullptr);
    servers.spawn(control_http->run(std::exchange(shared.control_listener, {})));
  }
  (void)co_await stop_asked.wait();
  servers.request_stop();
  co_await servers.join();
  co_await listener.close();
}

Task<bool> Apns::stop() {
  for (auto& part : parts_) {
    co_await on_part(*part, [](Part& p) {
      p.stop_asked.set();
      return true;
    });
  }
  co_return true;
}

Task<void> Apns::Part::accept_all(Listener& listener, TaskScope& scope) {
  for (;;) {
    Result<Socket> socket = co_await listener.accept();
    if (!socket) {
      if (socket.error().domain != Domain::os || !co_await sleep_for(kAcceptPause)) co_return;
      continue;
    }
    if (counts.connections >= shared.options.connections_max) continue;  // closes it
    if (outage() == ApnsOutage::refuse) {
      ++counts.outage;
      continue;
    }
    scope.spawn(serve(*std::move(socket)));
  }
}

Task<void> Apns::Part::serve(Socket socket) {
  ++counts.connections;
  ++counts.connections_opened;
  if (outage() == ApnsOutage::silent) {
    ++counts.outage;
    co_await outlast_silence();  // then the socket closes
  } else {
    Stream stream(std::move(socket), std::make_unique<TlsEngine>(tls));
    Status shaken = co_await within(kHandshakeTimeout, stream.handshake());
    if (shaken && stream.tls()->alpn() == "h2") {
      service::Http2ServerConnectionLimits limits;
      limits.http2.streams_max = 1;
      limits.http2.connection_window_bytes = 16 * 1024 * 1024;  // a thousand pushes at once never wait for it
      limits.idle_timeout = shared.options.idle_timeout;
      std::string topic = certificate_account(stream.tls()->peer_certificate());
      if (!topic.empty()) limits.http2.streams_max = streams_max;
      Connection connection(*this, stream, limits);
      if (!topic.empty()) connection.certified_for.push_back(std::move(topic));
      connection.proven = !connection.certified_for.empty();
      connections.push_back(&connection);
      (void)co_await connection.http2.run();
    }
    co_await stream.close();
  }
  --counts.connections;
}

void Apns::Part::accept_push(const PushRequest& push, std::string_view payload) {
  uint64_t push_number = shared.next_number.fetch_add(1, std::memory_order_relaxed);
  ++counts.accepted;
  counts.bytes += payload.size();
  if (push.has_alert && !push.collapse_id.empty()) {
    ++counts.alerts;
    size_t mine_max = shared.options.counted_max;
    if (fresh.size() < mine_max) {
      uint64_t hash = 0xcbf29ce484222325u;
      for (std::string_view text : {push.device_token, std::string_view("|"), push.collapse_id}) {
        for (char c : text) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3u;
      }
      fresh.push_back(hash);
    } else {
      ++unseen;
    }
  } else if (push.push_type == "background") {
    ++counts.silent;
  } else if (push.has_badge && !push.has_alert) {
    ++counts.badges;
  }
  if (!shared.observer && shared.options.pushes_kept == 0) return;
  AcceptedPush accepted{.number = push_number,
                        .at = io::now(),
                        .wall_at = io::wall_now(),
                        .device_token = std::string(push.device_token),
                        .topic = std::string(push.topic),
                        .collapse_id = std::string(push.collapse_id),
                        .push_type = std::string(push.push_type),
                        .priority = push.priority,
                        .title = push.title,
                        .body = push.body,
                        .payload = shared.options.keep_payloads ? std::string(payload) : std::string()};
  if (shared.observer) shared.observer->on_push(accepted);
  if (shared.options.pushes_kept == 0) return;
  if (kept.size() >= shared.options.pushes_kept) kept.pop_front();
  kept.push_back(std::move(accepted));
}

ApnsBooks Apns::Part::part_books() const {
  ApnsBooks books = counts;
  books.tokens_seen = gate.tokens_seen();
  books.unseen = unseen;
  books.duplicates = duplicates;
  return books;
}

void Apns::Part::merge(std::vector<uint64_t> hashes) {
  size_t room = shared.options.counted_max - std::min<size_t>(shared.options.counted_max, all.size());
  if (hashes.size() > room) {
    unseen += hashes.size() - room;
    hashes.resize(room);
  }
  std::ranges::sort(hashes);
  std::vector<uint64_t> merged;
  merged.reserve(all.size() + hashes.size());
  std::ranges::merge(all, hashes, std::back_inserter(merged));
  all = std::move(merged);
  size_t with_repeats = all.size();
  all.erase(std::unique(all.begin(), all.end()), all.end());
  duplicates += with_repeats - all.size();
}

Task<bool> Apns::add_rule(ApnsRule rule) {
  auto shared_rule = RuleList<ApnsRule>::make(std::move(rule));
  for (auto& part : parts_) {
    bool added = co_await on_part(*part, [&shared_rule](Part& p) {
      if (p.rules.size() >= p.shared.options.rules_max) return false;
      p.rules.add(shared_rule);
      return true;
    });
    if (!added) co_return false;
  }
  co_return true;
}

Task<bool> Apns::clear_rules() {
  for (auto& part : parts_) {
    co_await on_part(*part, [](Part& p) {
      p.rules.clear();
      return true;
    });
  }
  co_return true;
}

Task<bool> Apns::goaway(ApnsReason reason) {
  std::string debug = proto::write_apns_answer(reason, io::wall_now());
  for (auto& part : parts_) {
    co_await on_part(*part, [&debug](Part& p) {
      p.connections.for_each([&](Part::Connection* connection) {
        connection->http2.goaway(connection->http2.last_stream_id(), proto::Http2Code::no_error, debug);
      });
      return true;
    });
  }
  co_return true;
}

Task<bool> Apns::set_streams_max(uint32_t streams_max) {
  for (auto& part : parts_) {
    co_await on_part(*part, [streams_max](Part& p) {
      p.streams_max = streams_max;
      p.connections.for_each([&](Part::Connection* connection) {
        if (connection->proven) connection->http2.set_streams_max(streams_max);
      });
      return true;
    });
  }
  co_return true;
}

Task<bool> Apns::kill_connections() {
  for (auto& part : parts_) {
    co_await on_part(*part, [](Part& p) {
      p.connections.for_each([](Part::Connection* connection) { connection->http2.abort(); });
      return true;
    });
  }
  co_return true;
}

// Returns when the service is not silent any more.
Task<void> Apns::Part::outlast_silence() {
  while (outage() == ApnsOutage::silent) {
    outage_changed.reset();
    Status changed = co_await within(outage_until - io::now(), await_event(&outage_changed));
    if (!changed && !is(changed.error(), CoreError::timed_out)) co_return;
  }
}

Task<bool> Apns::set_outage(ApnsOutage outage, Duration lasting) {
  auto scaled = Duration(static_cast<int64_t>(static_cast<double>(lasting.count()) * shared_->options.time_scale));
  Instant until = outage == ApnsOutage::none ? Instant() : io::now() + scaled;
  for (auto& part : parts_) {
    co_await on_part(*part, [=](Part& p) {
      p.outage_kind = outage;
      p.outage_until = until;
      p.outage_changed.set();
      if (outage != ApnsOutage::refuse) return true;
      p.connections.for_each([](Part::Connection* connection) { connection->http2.abort(); });
      return true;
    });
  }
  co_return true;
}

Task<ApnsBooks> Apns::books() {
  for (auto& part : parts_) {
    auto hashes = co_await on_part(*part, [](Part& p) { return std::exchange(p.fresh, {}); });
    co_await on_part(*parts_[0], [&hashes](Part& p) {
      p.merge(std::move(hashes));
      return true;
    });
  }
  ApnsBooks sum;
  for (auto& part : parts_) sum += co_await on_part(*part, [](Part& p) { return p.part_books(); });
  co_return sum;
}

Task<std::vector<AcceptedPush>> Apns::pushes_after(uint64_t number, size_t count) {
  // A number below this one was given before the cores are asked, so its push is there: no later answer will be missing
  // one that this answer jumped over.
  uint64_t end = shared_->next_number.load();
  std::vector<AcceptedPush> found;
  for (auto& part : parts_) {
    auto some = co_await on_part(*part, [=](Part& p) {
      auto at = std::ranges::upper_bound(p.kept, number, {}, &AcceptedPush::number);
      std::vector<AcceptedPush> out;
      for (; at != p.kept.end() && out.size() < count && at->number < end; ++at) out.push_back(*at);
      return out;
    });
    std::ranges::move(some, std::back_inserter(found));
  }
  std::ranges::sort(found, {}, &AcceptedPush::number);
  if (found.size() > count) found.resize(count);
  co_return found;
}

}  // namespace bellhop::standin
