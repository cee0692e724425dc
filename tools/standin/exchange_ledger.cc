// SPDX-License-Identifier: Apache-2.0

// Exchange's own ledger: what the stand-in saw happen, in order. Nothing in it comes from the server's word but the
// answers that it gave.

#include <algorithm>

#include "tools/standin/exchange_part.h"

namespace bellhop::standin {
namespace {

std::vector<uint64_t> new_mails(std::span<const PendingEvent> events) {
  std::vector<uint64_t> items;
  for (const PendingEvent& event : events) {
    if (event.kind == proto::EventKind::new_mail) items.push_back(event.item);
  }
  return items;
}

}  // namespace

void Exchange::Part::enter(ExchangeEntry entry) {
  entry.number = shared.next_entry.fetch_add(1, std::memory_order_relaxed);
  if (ledger.size() >= shared.options.ledger_kept) {
    ledger_forgotten = ledger.front().number;
    ledger.pop_front();
  }
  ledger.push_back(std::move(entry));
}

// The newest item of the mailbox has just arrived.
void Exchange::Part::enter_mail(const Mailbox& mailbox, uint64_t item, std::string_view subject) {
  if (shared.options.ledger_kept == 0) return;
  ExchangeEntry entry{.kind = ExchangeEntry::Kind::mail, .begun = io::now(), .mailbox = mailbox.address};
  entry.at = entry.begun;
  entry.subject = subject;
  entry.items = {item};
  for (const auto& subscription : mailbox.subscriptions) {
    if (subscription->wants(proto::EventKind::new_mail)) entry.told.push_back(subscription->id);
  }
  enter(std::move(entry));
}

void Exchange::Part::enter_attempt(const NotificationAttempt& attempt, std::span<const PendingEvent> sent) {
  if (shared.options.ledger_kept == 0) return;
  enter({.kind = ExchangeEntry::Kind::attempt,
         .begun = attempt.begun,
         .at = attempt.ended,
         .mailbox = std::string(attempt.mailbox),
         .subscription = std::string(attempt.subscription_id),
         .items = new_mails(sent),
         .attempt = attempt.attempt,
         .events = attempt.events,
         .heartbeat = attempt.heartbeat,
         .outcome = attempt.outcome,
         .status = attempt.status,
         .error = attempt.error});
}

void Exchange::Part::enter_end(const Subscription& subscription, std::string_view how) {
  if (shared.options.ledger_kept == 0) return;
  Instant now = io::now();
  enter({.kind = ExchangeEntry::Kind::ended,
         .begun = now,
         .at = now,
         .mailbox = subscription.mailbox->address,
         .subscription = subscription.id,
         .items = new_mails(subscription.pending),
         .how = how});
}

Task<Exchange::LedgerPage> Exchange::ledger_after(uint64_t number, size_t count) {
  // An entry with a lower number was entered before the cores are asked, or is on its way into the ledger of the core that
  // took the number, which enters it in the same turn: no later page misses one that this page jumped over.
  uint64_t end = shared_->next_entry.load();
  LedgerPage page;
  for (auto& part : parts_) {
    LedgerPage some = co_await on_part(*part, [=](Part& p) {
      auto at = std::ranges::upper_bound(p.ledger, number, {}, &ExchangeEntry::number);
      LedgerPage out;
      out.forgotten = p.ledger_forgotten;
      for (; at != p.ledger.end() && out.entries.size() < count && at->number < end; ++at) out.entries.push_back(*at);
      return out;
    });
    page.forgotten = std::max(page.forgotten, some.forgotten);
    std::ranges::move(some.entries, std::back_inserter(page.entries));
  }
  std::ranges::sort(page.entries, {}, &ExchangeEntry::number);
  if (page.entries.size() > count) page.entries.resize(count);
  co_return page;
}

// ---- Faults of callbacks ----

Task<bool> Exchange::add_callback_fault(CallbackFault fault) {
  auto rule = RuleList<CallbackFault>::make(std::move(fault));
  for (auto& part : parts_) {
    bool added = co_await on_part(*part, [&rule](Part& p) {
      if (p.callback_faults.size() >= p.shared.options.faults_max) return false;
      p.callback_faults.add(rule);
      return true;
    });
    if (!added) co_return false;
  }
  co_return true;
}

// The fault that what is sent now meets; null: none.
const CallbackFault* Exchange::Part::callback_fault(const Subscription& subscription) {
  auto sent = std::span(subscription.pending).first(subscription.sent);
  bool mail = std::ranges::any_of(sent, [](const PendingEvent& event) { return event.kind == proto::EventKind::new_mail; });
  if (!mail) return nullptr;
  return callback_faults.take([&](const CallbackFault& one) {
    return one.mailbox.empty() || ascii_equal_ignoring_case(one.mailbox, subscription.mailbox->address);
  });
}

// What counts as answered is sent all the same.
Task<void> Exchange::Part::send_anyway(CallbackHost* host, std::string target, std::string body) {
  (void)co_await post(*host, target, body);
}

}  // namespace bellhop::standin
