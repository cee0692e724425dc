// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <set>

#include "core/sleep.h"
#include "tests/notification/fakes.h"

namespace bellhop::service {
namespace {

FakeExchange exchange;
FakeTokens tokens;
FakeApns apns;

// Exchange and a bearer token.
std::optional<EwsFailure> meet_token(const crypto::OauthCredentials& oauth) {
  bool good = oauth.access_token.reveal_text() == tokens.access_token && io::wall_now() < tokens.expires;
  if (good && exchange.refuse_tokens == 0) return std::nullopt;
  if (good) --exchange.refuse_tokens;
  EwsFailure failure{.kind = EwsFailureKind::unauthorized};
  failure.challenge = proto::BearerChallenge{.token_refused = true, .claims = exchange.claims};
  return failure;
}

// What every request meets; nothing where it is served.
Task<std::optional<EwsFailure>> meet(const EwsTarget& target) {
  exchange.url = target.url;
  if (exchange.delay.count() > 0 && !co_await sleep_for(exchange.delay)) {
    co_return EwsFailure{.kind = EwsFailureKind::unavailable, .error = core_error(CoreError::canceled)};
  }
  if (exchange.failure) co_return EwsFailure{.kind = *exchange.failure, .error = os_error(1), .moved = exchange.moved};
  if (const auto* oauth = std::get_if<crypto::OauthCredentials>(&target.credentials->logon)) co_return meet_token(*oauth);
  const auto& basic = std::get<crypto::BasicCredentials>(target.credentials->logon);
  if (basic.password.reveal_text() != exchange.password) co_return EwsFailure{.kind = EwsFailureKind::unauthorized};
  co_return std::nullopt;
}

MailItem item_of(const std::string& id, const FakeMail& mail, bool with_preview) {
  MailItem item;
  item.id = id;
  item.subject = mail.subject;
  item.sender_name = mail.sender;
  item.conversation_id = mail.conversation;
  if (with_preview) item.preview = mail.preview;
  item.received = mail.received;
  item.private_ = mail.private_;
  item.kind = mail.kind;
  return item;
}

}  // namespace

FakeExchange& fake_exchange() {
  return exchange;
}
FakeTokens& fake_tokens() {
  return tokens;
}
FakeApns& fake_apns() {
  return apns;
}
void reset_fakes() {
  exchange = {};
  tokens = {};
  apns = {};
}

const FakeApns::Sent& last_push() {
  BH_CHECK(!apns.sent.empty());
  return apns.sent.back();
}
size_t FakeApns::shown(const std::string& device) const {
  std::set<std::string> notices;
  for (const Sent& push : sent) {
    if (push.token == device && push.type == proto::ApnsPushType::alert) notices.insert(push.collapse_id);
  }
  return notices.size();
}
bool shows(std::string_view text) {
  return std::ranges::any_of(
      apns.sent, [&](const FakeApns::Sent& sent) { return sent.payload.find(text) != std::string::npos; });
}

MailItem::~MailItem() = default;

struct EwsClient::Impl {};
EwsClient::EwsClient(const EwsConfig&, UpstreamRoutes, MetricsShard&, Log&) {}
EwsClient::~EwsClient() = default;

Task<EwsReply<std::vector<MailItem>>> EwsClient::get_items(const EwsTarget& target,
                                                           std::span<const std::string_view> ids, bool with_preview) {
  ++exchange.gets;
  std::vector<std::string> asked(ids.begin(), ids.end());  // others may ask meanwhile
  exchange.ids = asked;
  exchange.preview = with_preview;
  if (auto failure = co_await meet(target)) co_return std::unexpected(*std::move(failure));
  if (exchange.get_items_failure) co_return std::unexpected(EwsFailure{.kind = *exchange.get_items_failure});
  std::vector<MailItem> items;
  for (const std::string& id : asked) {
    auto mail = exchange.mails.find(id);
    MailItem item;
    if (mail == exchange.mails.end()) {
      item.id = id;
      item.gone = true;
    } else {
      item = item_of(id, mail->second, with_preview);
      if (mail->second.unreadable) {
        item = MailItem();
        item.id = id;
        item.unreadable = true;
      }
    }
    items.push_back(std::move(item));
  }
  co_return items;
}

Task<EwsReply<EwsClient::Found>> EwsClient::find_items(const EwsTarget& target, WallTime received_since,
                                                       uint32_t entries_max) {
  ++exchange.finds;
  exchange.since = received_since;
  if (auto failure = co_await meet(target)) co_return std::unexpected(*std::move(failure));
  std::vector<std::pair<std::string, FakeMail>> newest;
  for (const auto& [id, mail] : exchange.mails) {
    if (mail.received >= received_since) newest.emplace_back(id, mail);
  }
  std::ranges::sort(newest, std::ranges::greater(), [](const auto& entry) { return entry.second.received; });
  Found found;
  for (const auto& [id, mail] : newest) {
    if (found.items.size() == entries_max) {
      found.more = true;
      break;
    }
    found.items.push_back(item_of(id, mail, false));
  }
  co_return found;
}

bool EwsClient::takes_requests(const Tenant&, std::string_view) const { return exchange.open_to_requests; }

Task<EwsReply<std::monostate>> EwsClient::verify(const EwsTarget& target) {
  if (auto failure = co_await meet(target)) co_return std::unexpected(*std::move(failure));
  co_return std::monostate();
}

Task<EwsReply<EwsSubscribed>> EwsClient::subscribe(const EwsTarget& target, std::string_view callback_url) {
  int number = ++exchange.subscribes;
  exchange.subscribe_urls.emplace_back(target.url);
  std::string url(callback_url);
  if (auto failure = co_await meet(target)) co_return std::unexpected(*std::move(failure));
  if (exchange.subscribe_failure) {
    co_return std::unexpected(EwsFailure{.kind = *exchange.subscribe_failure, .error = os_error(1), .moved = exchange.moved});
  }
  exchange.callback_urls.push_back(url);
  if (exchange.before_answer) co_await exchange.before_answer();
  if ((co_await current_context()).stop_requested()) {
    co_return std::unexpected(EwsFailure{.kind = EwsFailureKind::unavailable, .error = core_error(CoreError::canceled)});
  }
  if (exchange.subscribe_lost) {
    co_return std::unexpected(EwsFailure{.kind = EwsFailureKind::unavailable, .error = core_error(CoreError::timed_out)});
  }
  co_return EwsSubscribed{.subscription_id = "successor " + std::to_string(number), .watermark = "w"};
}

struct TokenClient::Impl {};
TokenClient::TokenClient(const OauthConfig&, const EwsConfig&, UpstreamRoutes, MetricsShard&, Log&) {}
TokenClient::~TokenClient() = default;

Task<GrantReply> TokenClient::refresh(const GrantRequest& request) {
  ++tokens.asked;
  tokens.asked_at_once_max = std::max(tokens.asked_at_once_max, ++tokens.asked_at_once);
  tokens.claims = request.claims;
  std::string presented(request.refresh_token->reveal_text());
  if (tokens.delay.count() > 0) (void)co_await sleep_for(tokens.delay);
  --tokens.asked_at_once;
  if (!tokens.failures.empty()) {
    GrantFailure failure = tokens.failures.front();
    tokens.failures.pop_front();
    co_return std::unexpected(failure);
  }
  bool again = presented == tokens.previous && io::wall_now() - tokens.rotated_at < tokens.grace;
  if (presented != tokens.refresh_token && !again) {
    ++tokens.reuses;
    co_return std::unexpected(GrantFailure{.kind = GrantFailureKind::refused});
  }
  if (tokens.rotates && !again) {
    tokens.previous = tokens.refresh_token;
    tokens.refresh_token = "refresh " + std::to_string(tokens.grants + 2);
    tokens.rotated_at = io::wall_now();
  }
  tokens.access_token = "access-" + std::to_string(++tokens.grants);
  tokens.expires = io::wall_now() + std::chrono::duration_cast<std::chrono::milliseconds>(tokens.lifetime);
  if (tokens.lose > 0) {
    --tokens.lose;
    co_return std::unexpected(GrantFailure{.kind = GrantFailureKind::unavailable, .maybe_spent = true});
  }
  Granted granted{.access_token = crypto::Secret::copy_of(tokens.access_token),
                  .refresh_token = crypto::Secret(),
                  .lifetime = tokens.lifetime};
  if (tokens.rotates) granted.refresh_token = crypto::Secret::copy_of(tokens.refresh_token);
  co_return granted;
}

Task<EwsReply<InboxCounts>> EwsClient::inbox(const EwsTarget& target) {
  ++exchange.inboxes;
  if (auto failure = co_await meet(target)) co_return std::unexpected(*std::move(failure));
  co_return InboxCounts{.total = {}, .unread = exchange.unread};
}

struct ApnsProviderTokens::Impl {};
ApnsProviderTokens::ApnsProviderTokens(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ApnsProviderTokens::~ApnsProviderTokens() = default;
Result<std::unique_ptr<ApnsProviderTokens>> ApnsProviderTokens::make(const Config&, store::Store&, const Vault&,
                                                                     std::string&) {
  return std::unique_ptr<ApnsProviderTokens>(new ApnsProviderTokens(std::make_unique<Impl>()));
}

struct ApnsSender::Impl {};
ApnsSender::ApnsSender(const ApnsConfig&, ApnsProviderTokens&, UpstreamRoutes, MetricsShard&, Log&) {}
ApnsSender::~ApnsSender() = default;

Task<ApnsResult> ApnsSender::push(const ApnsPush& push, Instant deadline) {
  ++apns.attempts;
  FakeApns::Sent sent{.token = std::string(push.device_token),
                      .payload = std::string(push.payload),
                      .collapse_id = std::string(push.collapse_id),
                      .topic = push.app->topic,
                      .type = push.push_type,
                      .priority = push.priority,
                      .proven = push.proven,
                      .at = io::now()};
  if (apns.begun) apns.begun(sent);
  bool dead = apns.dead || apns.dead_environment == push.app->environment;
  Instant end = dead ? deadline : std::min(deadline, io::now() + apns.delay);
  apns.at_once_max = std::max(apns.at_once_max, ++apns.at_once);
  Status slept;
  if (end > io::now()) slept = co_await sleep_until(end);
  --apns.at_once;
  if (!slept || io::now() >= deadline) co_return ApnsResult{};
  std::deque<ApnsResult>& answers = apns.answers[sent.token];
  ApnsResult result{.verdict = proto::ApnsVerdict::delivered, .status = 200};
  if (!answers.empty()) {
    result = answers.front();
    answers.pop_front();
  }
  if (result.verdict != proto::ApnsVerdict::delivered) co_return result;
  if (apns.accepted) apns.accepted(sent);
  apns.sent.push_back(std::move(sent));
  co_return result;
}

}  // namespace bellhop::service
