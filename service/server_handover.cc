// SPDX-License-Identifier: Apache-2.0
// Server: how it takes the place of the process before it, and how it ends: by a signal, by POST /v1/drain, or because
// a successor takes its place. What the two processes say to each other is handover.cc.
#include <fmt/format.h>
#include <signal.h>

#include <algorithm>

#include "core/cross_core.h"
#include "core/sleep.h"
#include "core/socket.h"
#include "core/stop_link.h"
#include "service/key_maker.h"
#include "service/server_parts.h"

namespace bellhop::service {
namespace {

constexpr std::string_view kTickets = "tickets";  // of NamedDescriptor
// While a drain waits for connections to end, it looks this often.
constexpr Duration kDrainLook = 2ms;
// So long a new connection may take to bring its first request; Exchange and phones send it with the end of the handshake.
constexpr Duration kFirstRequest = 500ms;
// From the end of a drain's patience, when 503s are sent, to the end of the connections.
constexpr Duration kHandBackTime = 1s;

}  // namespace

// ---- Taking a place, on core 0 ----

// The successor's first step: what the running process shares with us.
Task<bool> Server::ask_predecessor() {
  auto asked = co_await handover_.ask(given_);
  if (!asked) {
    fail_start(fmt::format("the bellhopd that runs does not hand over ({}); it serves on. Stop it, or look at its log",
                           error_text(asked.error())));
    co_return false;
  }
  co_return true;
}

// The store is ours alone from here on.
Task<bool> Server::own() {
  Status owned = co_await handover_.own();
  if (owned) co_return true;
  if (is(owned.error(), CoreError::canceled)) {
    fail_start("ended by a signal before its turn came; the bellhopd that ran serves on");
  } else if (is(owned.error(), CoreError::limit)) {
    fail_start(fmt::format("{}: another bellhopd serves with this store; stop it, or start with --take-over",
                           handover_options_.lock_path));
  } else {
    fail_start(fmt::format("{}: cannot be locked: {}", handover_options_.lock_path, error_text(owned.error())));
  }
  co_return false;
}

// SIGTERM and SIGINT end a successor that still waits; the one who runs then serves on.
Task<void> Server::own_unless_stopped() {
  struct Waiting {
    static Task<void> watch(Context* waiting, bool* end) {
      for (;;) {
        auto number = co_await next_signal();
        if (!number) co_return;
        if (*number == SIGHUP) continue;  // nothing serves by what was read
        *end = true;
        waiting->request_stop();
      }
    }
  };
  bool end = false;
  Context& own_context = co_await current_context();
  Context waiting(&own_context);
  TaskScope signals(&own_context);
  if (handle_signals_) signals.spawn(Waiting::watch(&waiting, &end));
  co_await own().under(waiting);
  signals.request_stop();
  co_await signals.join();
  if (end && !failed_) co_await drain();  // it came when the place was ours already
}

// More cores than the process before had: where it accepts no more. Without them the others accept for all.
void Server::open_more_listeners(Log& log) {
  Status opened = listeners_.open_beside();
  if (!opened) log_line(log, LogLevel::warning, "listener_missing", field("error", opened.error()));
}

// ---- The keys of TLS session tickets ----

// Those of the process before, where it left them, so that phones and Exchange resume their sessions.
void Server::make_ticket_keys() {
  for (NamedDescriptor& left : given_) {  // whoever runs gives later than a service manager, and knows better
    if (left.name == kTickets) ticket_file_ = std::move(left.descriptor);
  }
  std::erase_if(given_, [](const NamedDescriptor& left) { return left.name == kTickets; });
  if (ticket_file_) {
    if (auto saved = io::read_memory_file(ticket_file_.get())) {
      ticket_keys_ = TicketKeys::restore(*saved);
      wipe(*saved);
    }
  }
  if (ticket_keys_) return;
  std::array<uint8_t, TicketKeys::kFreshBytes> fresh;
  io::random(fresh);
  ticket_keys_ = std::make_shared<TicketKeys>(io::wall_now(), fresh);
  wipe(fresh);
}

void Server::keep_ticket_keys(Log& log) {
  TicketKeys::Saved saved = ticket_keys_->save();
  Status kept;
  if (ticket_file_) {
    kept = io::write_memory_file(ticket_file_.get(), saved);
  } else if (auto file = io::make_memory_file("bellhop-tickets", saved); file) {
    ticket_file_ = *std::move(file);
  } else {
    kept = fail(file.error());
  }
  wipe(saved);
  // Without it the next process makes keys of its own, and sessions begin anew.
  if (!kept) log_line(log, LogLevel::warning, "ticket_keys_not_kept", field("error", kept.error()));
}

void Server::rotate_ticket_keys(Log& log) {
  if (!ticket_keys_->rotation_due(io::wall_now())) return;
  std::array<uint8_t, TicketKeys::kFreshBytes> fresh;
  io::random(fresh);
  ticket_keys_->rotate(io::wall_now(), fresh);
  wipe(fresh);
  keep_ticket_keys(log);
}

// ---- Handing the place over, on core 0 ----

Task<void> Server::offer_place() {
  return handover_.offer({.share =
                              [this] {
                                std::vector<NamedDescriptor> shared = listeners_.share(/*own_only=*/false);
                                if (!ticket_file_) return shared;
                                auto tickets = io::share_memory_file(ticket_file_.get());
                                if (tickets) shared.push_back({*std::move(tickets), std::string(kTickets)});
                                return shared;
                              },
                          .wind_down = [this] { return wind_down_all(); },
                          .take_back = [this] { return take_back(); },
                          .leave = [this] { return begin_end(/*cut=*/false); }},
                         parts_[0]->log);
}

Task<void> Server::wind_down_all() {
  struct There {
    static Task<bool> wind_down(Server* server, unsigned core) {
      if (CoreParts* parts = server->parts_[core]) {
        co_await server->wind_down(*parts);
        parts->wound_down = !(co_await current_context()).stop_requested();
      }
      co_return true;
    }
    static Task<void> go(Server* server, unsigned core) {
      co_await on_core_stoppable(core, [server, core] { return wind_down(server, core); });
    }
  };
  TaskScope cores(&co_await current_context());
  for (unsigned core = 0; core < io::cores(); ++core) cores.spawn(There::go(this, core));
  co_await cores.join();
}

Task<void> Server::take_back() {
  if (drain_begun_) co_return;  // the successor went away, and so do we
  struct There {
    static Task<bool> stay(Server* server, unsigned core) {
      if (CoreParts* parts = server->parts_[core]) {
        parts->wound_down = false;
        parts->for_each_http([](HttpServer& one) { one.stay(); });
        if (core == 0) server->key_maker_->rest(false);
      }
      co_return true;
    }
  };
  for (unsigned core = 0; core < io::cores(); ++core) {
    co_await on_core(core, [this, core] { return There::stay(this, core); });
  }
}

// Our own sockets and the ticket keys, for the process that the service manager starts after this one.
void Server::give_to_manager(Log& log) {
  for (const std::string& name : listeners_.unclaimed()) supervisor_->forget(log, name);
  for (const NamedDescriptor& one : listeners_.share(/*own_only=*/true)) {
    supervisor_->keep(log, one.name, one.descriptor.get());
  }
  if (ticket_file_) supervisor_->keep(log, kTickets, ticket_file_.get());
}

// ---- The end ----

// A second call cuts short what is left; but what a successor has begun is no call of anybody.
Task<void> Server::drain() {
  bool again = std::exchange(drain_asked_, true);
  co_await begin_end(/*cut=*/again);
}

// The end, begun once; with `cut`, what is still under way is stopped.
Task<void> Server::begin_end(bool cut) {
  bool begun = std::exchange(drain_begun_, true);
  if (begun && !cut) co_return;
  node_->leaving = true;
  for (unsigned core = 0; core < io::cores(); ++core) {
    struct There {
      static Task<bool> end(Server* server, unsigned index, bool cut) {
        if (cut) {
          co_await server->cut_short(index);
        } else {
          co_await server->begin_drain(index);
        }
        co_return true;
      }
    };
    co_await on_core(core, [this, core, cut] { return There::end(this, core, cut); });
  }
}

Task<void> Server::begin_drain(unsigned core) {
  CoreParts* parts = parts_[core];
  if (!parts) co_return;
  if (core == 0) supervisor_->stopping(parts->log);
  parts->drain_begun.set();
  co_return;
}

Task<void> Server::cut_short(unsigned core) {
  CoreParts* parts = parts_[core];
  if (!parts) co_return;
  parts->cut = true;
  if (parts->serving) parts->serving->request_stop();
}

// The first two steps of an orderly end, on one core: connections end with their next answer, then nothing new is taken
// and what is in work ends. Callbacks are served all the while. Can be taken back.
Task<void> Server::wind_down(CoreParts& parts) {
  const PublicListenerConfig& limits = config_.is_public() ? config_.listen_public : config_.listen_gateway;
  parts.note_begin();
  parts.for_each_http([](HttpServer& one) { one.leave(); });
  if (parts.core.index == 0) key_maker_->rest(true);  // a pair takes a while, and the end would wait for it
  Instant pause_at = io::now() + std::chrono::milliseconds(limits.http2_goaway_grace_ms);
  while (io::now() < pause_at && parts.http_stats().connections > 0) {
    if (!co_await sleep_for(kDrainLook)) co_return;
  }
  parts.for_each_http([](HttpServer& one) { one.pause(); });
  parts.patience_ends = io::now() + std::chrono::milliseconds(limits.drain_timeout_ms);
  while (io::now() < parts.patience_ends && !parts.quiet(kFirstRequest)) {
    if (!co_await sleep_for(kDrainLook)) co_return;
  }
}

// The last step. What is in work when the patience is over is handed back by 503; connections that even then do not end
// are cut, their callbacks are answered by nobody, and Exchange repeats them.
Task<void> Server::end_listeners(CoreParts& parts, TaskScope& listeners) {
  struct StopAt {
    StopAt(Instant at, Context& target) : deadline(nullptr, at), link(deadline.context(), target) {}
    DeadlineContext deadline;
    StopLink link;
  };
  parts.for_each_http([](HttpServer& one) { one.drain(); });
  StopAt hand_back(parts.patience_ends, parts.core.work);
  StopAt cut(parts.patience_ends + kHandBackTime, *parts.serving);
  if (parts.cut) parts.serving->request_stop();
  co_await listeners.join();
}

void Server::note_drained(CoreParts& parts) {
  HttpServerStats stats = parts.http_stats();
  uint64_t handed_back = parts.handed_back() - parts.handed_back_before;
  uint64_t ended = stats.requests - parts.requests_ended_before - stats.requests_in_work;
  requests_ += stats.requests;
  requests_of_core_[parts.core.index] = stats.requests;
  requests_handed_back_ += handed_back;
  requests_finished_ += ended - std::min(ended, handed_back);
  connections_left_ += stats.connections;
}

}  // namespace bellhop::service
