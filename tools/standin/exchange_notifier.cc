// SPDX-License-Identifier: Apache-2.0

// How the stand-in sends push notifications. Exchange's rules: one notification of a subscription under way at a time;
// what is not answered is repeated after 30 s, then after twice the time, and so on, until the next wait would be
// longer than StatusFrequency; then the subscription is dropped. Without events, a status event each StatusFrequency.

#include <algorithm>

#include "core/reactor.h"
#include "core/sleep.h"
#include "proto/http_error.h"
#include "proto/xml.h"
#include "tools/standin/exchange_part.h"

namespace bellhop::standin {
namespace {

using Outcome = NotificationAttempt::Outcome;
using State = Subscription::State;

constexpr Duration kFirstRetry = 30s;
constexpr Duration kHandshakeTimeout = 10s;
constexpr uint32_t kResultBytesMax = 64 * 1024;

// m:SendNotificationResult/m:SubscriptionStatus in a SOAP envelope.
class ResultReader final : public proto::XmlConsumer {
 public:
  static std::optional<proto::SubscriptionStatus> read(std::string_view document) {
    ResultReader result;
    proto::XmlReader reader(result, kResultBytesMax, io::random_u64() | 1);
    if (!reader.feed(document) || !reader.finish()) return std::nullopt;
    return result.status_;
  }

 private:
  Status element_started(proto::XmlName name, const proto::XmlAttributes&) override {
    ++depth_;
    if (depth_ == 3) in_result_ = name.space == proto::kEwsMessagesSpace && name.local == "SendNotificationResult";
    in_status_ = depth_ == 4 && in_result_ && name.space == proto::kEwsMessagesSpace && name.local == "SubscriptionStatus";
    return {};
  }
  Status element_ended(std::string_view text) override {
    if (in_status_ && text == "OK") status_ = proto::SubscriptionStatus::ok;
    if (in_status_ && text == "Unsubscribe") status_ = proto::SubscriptionStatus::unsubscribe;
    in_status_ = false;
    --depth_;
    return {};
  }

  unsigned depth_ = 0;
  bool in_result_ = false;
  bool in_status_ = false;
  std::optional<proto::SubscriptionStatus> status_;
};

}  // namespace

CallbackHost* Exchange::Part::callback_host(const CallbackUrl& url) {
  std::string key = (url.tls ? "https://" : "http://") + ascii_lower(url.authority);
  auto& host = hosts[key];
  if (host) return host.get();
  if (hosts.size() > shared.options.callback_hosts_max) {
    hosts.erase(key);
    return nullptr;
  }
  service::Http1ClientOptions options;
  options.connections_max = shared.options.callback_connections_max;
  options.connect_timeout = shared.options.callback_timeout;
  options.handshake_timeout = kHandshakeTimeout;
  options.body_bytes_max = kResultBytesMax;
  service::Http1Origin origin;
  origin.host = url.host;
  origin.port = url.port;
  if (url.tls) origin.tls = client_tls;
  host = std::make_unique<CallbackHost>(std::move(origin), options, shared.options.callback_http2);
  host->authority = url.authority;
  return host.get();
}

void Exchange::Part::timer_expired(Timer& timer) {
  Subscription* subscription = static_cast<Subscription::OwnTimer&>(timer).subscription;
  Part* part = static_cast<Part*>(subscription->part);
  part->due.push_back(subscription);
  part->due_changed.set();
}

void Exchange::Part::arm(Subscription& subscription, Duration unscaled) {
  auto scaled = Duration(static_cast<int64_t>(static_cast<double>(unscaled.count()) * shared.options.time_scale));
  Reactor::current().timers().arm(subscription.timer, io::now() + scaled);
}

// Starts what the timers say is due: heartbeats and repeats.
Task<void> Exchange::Part::schedule() {
  for (;;) {
    due_changed.reset();
    while (Subscription* subscription = due.pop_front()) {
      if (subscription->state == State::idle) {
        subscription->pending.push_back(make_status(*subscription->mailbox, io::wall_now()));
      }
      flows->spawn(notify(subscription));
    }
    if (!co_await due_changed.wait()) co_return;
  }
}

// After events were appended: idle subscriptions send them now; the others when their turn comes.
void Exchange::Part::poke(Mailbox& mailbox) {
  mailbox.changed.set();
  mailbox.changed.reset();
  for (size_t i = mailbox.subscriptions.size(); i-- > 0;) {  // ending one takes it out
    Subscription& subscription = *mailbox.subscriptions[i];
    if (subscription.pending.size() > shared.options.pending_events_max) {
      if (subscription.state == State::sending) {
        subscription.doom = Subscription::Doom::overflow;
      } else {
        end(subscription, &MailboxBooks::dead);
      }
    } else if (subscription.state == State::idle && !subscription.pending.empty() && flows) {
      subscription.timer.disarm();
      subscription.unlink();
      flows->spawn(notify(&subscription));
    }
  }
}

bool Exchange::Part::start_subscription(Mailbox* mailbox, std::string_view id) {
  for (auto& subscription : mailbox->subscriptions) {
    if (subscription->id != id || subscription->state != State::fresh || !flows) continue;
    flows->spawn(notify(subscription.get()));
    return true;
  }
  return false;
}

// Sends what is pending until nothing is left, the subscription ends, or the peer fails to answer.
Task<void> Exchange::Part::notify(Subscription* subscription) {
  Context& context = co_await current_context();
  subscription->state = State::sending;
  for (;;) {
    MailboxBooks& books = subscription->mailbox->books;
    if (subscription->sent == 0) {
      subscription->sent = static_cast<uint32_t>(
          std::min<size_t>(subscription->pending.size(), shared.options.events_per_notification_max));
      books.events_sent += subscription->sent;
    } else {
      ++books.retries;
    }
    ++books.notifications;
    NotificationAttempt attempt;
    attempt.begun = io::now();
    attempt.attempt = subscription->failures + 1;
    write_notification(*subscription, shared.options.version, notification);
    std::string body = notification;
    const CallbackFault* fault = callback_fault(*subscription);
    bool deaf = fault && fault->kind == CallbackFaultKind::ignore_answer;
    Posted posted{.outcome = Outcome::ok, .status = 200, .error = {}};
    if (fault && fault->kind == CallbackFaultKind::count_as_ok) {
      flows->spawn(send_anyway(subscription->host, subscription->target, std::move(body)));
    } else {
      posted = co_await post(*subscription->host, subscription->target, body);
    }
    if (deaf) posted = {.outcome = Outcome::failed, .status = 0, .error = core_error(CoreError::timed_out)};
    attempt.ended = io::now();
    if (context.stop_requested()) {
      subscription->state = State::waiting;
      co_return;
    }
    if (!settle(*subscription, posted, attempt)) co_return;
  }
}

Task<void> Exchange::Part::notify_first(Subscription* subscription, Event* over) {
  co_await notify(subscription);
  over->set();
}

// Notes what an attempt brought. True where the next notification follows at once.
bool Exchange::Part::settle(Subscription& subscription, const Posted& posted, NotificationAttempt& attempt) {
  Mailbox& mailbox = *subscription.mailbox;
  auto sent = std::span(subscription.pending).first(subscription.sent);
  std::string id = subscription.id;
  std::string previous = watermark_text(mailbox.mark(subscription.last));
  std::string watermark = watermark_text(mailbox.mark(sent.back().number));
  attempt.mailbox = mailbox.address;
  attempt.subscription_id = id;
  attempt.previous_watermark = previous;
  attempt.watermark = watermark;
  attempt.events = subscription.sent;
  attempt.new_mails =
      static_cast<uint32_t>(std::ranges::count(sent, proto::EventKind::new_mail, &PendingEvent::kind));
  attempt.heartbeat = sent.size() == 1 && sent[0].kind == proto::EventKind::status;
  attempt.outcome = posted.outcome;
  attempt.status = posted.status;
  attempt.error = posted.error;
  enter_attempt(attempt, sent);

  bool more = false;
  switch (posted.outcome) {
    case Outcome::ok:
      acknowledged(subscription, attempt);
      break;
    case Outcome::unsubscribe:
      end(subscription, &MailboxBooks::unsubscribed);
      break;
    case Outcome::failed:
    case Outcome::died: {
      ++mailbox.books.failures;
      Duration wait = kFirstRetry * (1u << subscription.failures);
      if (wait > std::chrono::minutes(subscription.frequency_minutes)) {
        attempt.outcome = Outcome::died;
        end(subscription, &MailboxBooks::dead);
      } else if (subscription.doom == Subscription::Doom::none) {
        ++subscription.failures;
        subscription.state = State::waiting;
        arm(subscription, wait);
      }
      break;
    }
  }
  bool ended = attempt.outcome == Outcome::unsubscribe || attempt.outcome == Outcome::died;
  if (!ended && subscription.doom != Subscription::Doom::none) {
    bool forgotten = subscription.doom == Subscription::Doom::forgotten;
    end(subscription, forgotten ? &MailboxBooks::forgotten : &MailboxBooks::dead);
    ended = true;
  }
  if (!ended && attempt.outcome == Outcome::ok) {
    more = !subscription.pending.empty();
    if (!more) {
      subscription.state = State::idle;
      if (shared.options.heartbeats) arm(subscription, std::chrono::minutes(subscription.frequency_minutes));
    }
  }
  if (shared.observer) shared.observer->on_attempt(attempt);
  return more;
}

void Exchange::Part::acknowledged(Subscription& subscription, NotificationAttempt& attempt) {
  MailboxBooks& books = subscription.mailbox->books;
  books.events_acknowledged += subscription.sent;
  books.new_mails_acknowledged += attempt.new_mails;
  if (attempt.heartbeat) ++books.heartbeats_acknowledged;
  subscription.last = subscription.pending[subscription.sent - 1].number;
  subscription.pending.erase(subscription.pending.begin(), subscription.pending.begin() + subscription.sent);
  subscription.sent = 0;
  subscription.failures = 0;
}

// Destroys the subscription. `how` is the book that counts it.
void Exchange::Part::end(Subscription& subscription, uint64_t MailboxBooks::*how) {
  Mailbox& mailbox = *subscription.mailbox;
  ++(mailbox.books.*how);
  enter_end(subscription, how == &MailboxBooks::dead           ? "dead"
                          : how == &MailboxBooks::unsubscribed ? "unsubscribed"
                                                               : "forgotten");
  mailbox.books.events_lost += subscription.pending.size();
  std::erase_if(mailbox.subscriptions, [&](const auto& one) { return one.get() == &subscription; });
}

// A notification without events, beside those that the subscription has to tell of.
Task<void> Exchange::Part::post_error(std::string address, std::string id, std::string code) {
  auto find = [&]() -> Subscription* {
    Mailbox* mailbox = find_by_address(address);
    if (!mailbox) return nullptr;
    auto at = std::ranges::find(mailbox->subscriptions, id, [](const auto& one) { return one->id; });
    return at == mailbox->subscriptions.end() ? nullptr : at->get();
  };
  Subscription* subscription = find();
  if (!subscription) co_return;
  proto::Notification error{.response_class = proto::ResponseClass::error,
                            .response_code = proto::parse_response_code(code),
                            .response_code_text = code,
                            .subscription_id = id};
  std::string body;
  proto::write_send_notification({.notifications = {&error, 1}}, shared.options.version, body);
  std::string target = subscription->target;
  Posted posted = co_await post(*subscription->host, target, body);
  subscription = find();
  if (!subscription || posted.outcome != Outcome::unsubscribe) co_return;
  if (subscription->state == State::sending) {
    subscription->doom = Subscription::Doom::forgotten;
  } else {
    end(*subscription, &MailboxBooks::unsubscribed);
  }
}

Task<Exchange::Part::Posted> Exchange::Part::post(CallbackHost& host, const std::string& target,
                                                  const std::string& body) {
  auto slot = co_await host.slots.acquire();
  if (!slot) co_return Posted{.error = slot.error()};
  const proto::HeaderField headers[] = {{"content-type", proto::soap_content_type(proto::SoapVersion::soap11)},
                                        {"soapaction", proto::kSendNotificationAction},
                                        {"user-agent", "ExchangeWebServicesProxy/CrossSite/EXCH/15.01 (stand-in)"}};
  service::Http1Request request;
  request.method = "POST";
  request.target = target;
  request.host = host.authority;
  request.headers = headers;
  request.body = body;
  request.expect_continue = shared.options.expect_continue;
  auto posted = co_await within(shared.options.callback_timeout, exchange_once(&host, &request));
  if (!posted) co_return Posted{.error = posted.error()};
  co_return *posted;
}

Task<Result<Exchange::Part::Posted>> Exchange::Part::exchange_once(CallbackHost* host,
                                                                   const service::Http1Request* request) {
  auto reply = co_await host->origin.send(*request);
  if (!reply) co_return fail(reply.error());
  Posted posted{.status = reply->status()};
  if (posted.status == 200 || posted.status == 201) {
    auto status = ResultReader::read(reply->text());
    if (status == proto::SubscriptionStatus::ok) posted.outcome = Outcome::ok;
    if (status == proto::SubscriptionStatus::unsubscribe) posted.outcome = Outcome::unsubscribe;
  }
  co_return posted;
}

}  // namespace bellhop::standin
