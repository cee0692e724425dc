// SPDX-License-Identifier: Apache-2.0
#include "service/kerberos_desk.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/io.h"
#include "proto/spnego.h"

namespace bellhop::service {
namespace {

constexpr size_t kUserBytesMax = 256;
constexpr Duration kEarlyMost = 5min;     // a ticket is not used in its last minutes: clocks differ
constexpr Duration kAccountAgain = 30s;   // after a renewal that failed, while the old ticket is good
constexpr std::string_view kScheme = "Negotiate ";

// How much of a ticket's life is used.
Duration usable(Duration lifetime) { return lifetime - std::min(kEarlyMost, lifetime / 4); }

std::string upper(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  return out;
}

// "example.com=CORP.EXAMPLE.COM" by its left side; nothing where none names it.
std::optional<std::string_view> mapped(const std::vector<std::string>& pairs, std::string_view name) {
  for (std::string_view pair : pairs) {
    size_t sign = pair.find('=');
    if (ascii_equal_ignoring_case(pair.substr(0, sign), name)) return pair.substr(sign + 1);
  }
  return {};
}

bool is_user(std::string_view user) {
  auto harmless = [](char c) { return static_cast<uint8_t>(c) > 0x20 && c != 0x7f && c != '/' && c != '\\'; };
  size_t at = user.find('@');
  return at != 0 && at != std::string_view::npos && at + 1 < user.size() && user.find('@', at + 1) == std::string_view::npos &&
         user.size() <= kUserBytesMax && std::ranges::all_of(user, harmless);
}

}  // namespace

crypto::Secret negotiate_header(std::vector<uint8_t>& kerberos_token) {
  std::vector<uint8_t> token = proto::spnego_kerberos_token(kerberos_token);
  std::string text = to_base64(token);
  crypto::Secret out = crypto::Secret::of_size(kScheme.size() + text.size());
  auto end = std::ranges::copy(kScheme, out.reveal_mutable().begin()).out;
  std::ranges::copy(text, end);
  wipe(text);
  wipe(token);
  wipe(kerberos_token);
  return out;
}

Result<KerberosQuestion> kerberos_question(const KerberosConfig& config, std::string_view user, std::string_view service,
                                           std::string_view principal) {
  if (!is_user(user)) return fail(kerberos_error(KerberosError::name_malformed));
  KerberosQuestion out;
  out.key = {std::string(user), std::string(principal.empty() ? config.principal : principal)};
  out.service = service;
  std::string_view domain = user.substr(user.find('@') + 1);
  out.domain = upper(domain);
  if (config.user_names == KerberosNames::enterprise) {
    out.name = user;
    out.kind = GssNameKind::enterprise;
    out.realm = out.key.principal.substr(out.key.principal.rfind('@') + 1);
    return out;
  }
  auto realm = mapped(config.realms, domain);
  out.realm = realm ? std::string(*realm) : out.domain;
  out.name = std::string(user.substr(0, user.find('@') + 1)) + out.realm;
  out.kind = GssNameKind::principal;
  return out;
}

Result<std::optional<crypto::Secret>> KerberosDesk::hand_out(const KerberosQuestion& question, Instant now) {
  KerberosTickets::Found found = tickets_.find(question.key, question.service, now);
  if (found.refusal) return fail(*found.refusal);
  if (!found.warm) return std::optional<crypto::Secret>();
  Result<crypto::Secret> made = token(question, *found.credential, now);
  if (made) {
    from_cache.fetch_add(1, std::memory_order_relaxed);
    return std::optional<crypto::Secret>(*std::move(made));
  }
  if (!is(made.error(), KerberosError::ticket_expired)) return fail(made.error());
  tickets_.forget(question.key.user);
  return std::optional<crypto::Secret>();
}

Result<crypto::Secret> KerberosDesk::ask(unsigned lane, const KerberosQuestion& question, Instant now) {
  Result<crypto::Secret> made = ask_once(lane, question, now);
  if (!made && is(made.error(), KerberosError::ticket_expired)) {
    // What was kept is older than its dates said (a clock that was set): from the beginning, once.
    tickets_.forget(question.key.user);
    accounts_[lane].erase(question.key.principal);
    made = ask_once(lane, question, now);
  }
  return made;
}

Result<crypto::Secret> KerberosDesk::ask_once(unsigned lane, const KerberosQuestion& question, Instant now) {
  KerberosTickets::Found found = tickets_.find(question.key, question.service, now);  // somebody may have asked meanwhile
  if (found.refusal) return fail(*found.refusal);
  if (!found.warm && tickets_.rests(question.domain, now)) return fail(kerberos_error(KerberosError::unreachable));
  auto note = [&](const Error& error, std::string_view service) {
    Instant at = io::now();  // the KDC may have taken long
    health_.asked(question.realm, error, io::wall_now());
    if (is(error, KerberosError::unreachable)) {
      tickets_.let_rest(question.domain, at + std::chrono::seconds(config_.unreachable_seconds), at);
    } else if (blame_of(error) == KerberosBlame::user || is(error, KerberosError::service_unknown) ||
               is(error, KerberosError::delegation_refused)) {
      tickets_.refuse(question.key, service, error, at + std::chrono::seconds(config_.refusals_kept_seconds));
    }
    return fail(error);
  };
  if (!found.credential) {
    auto credential = ask_for_user(lane, question, now);
    if (!credential) return note(credential.error(), "");
    found.credential = *std::move(credential);
  }
  Result<crypto::Secret> made = token(question, *found.credential, now);
  if (!made) return note(made.error(), question.service);
  if (!found.warm) health_.asked(question.realm, {}, io::wall_now());
  return made;
}

Result<std::shared_ptr<GssCredential>> KerberosDesk::account(unsigned lane, const std::string& principal, Instant now) {
  Account& account = accounts_[lane][principal];
  uint64_t generation = generation_.load(std::memory_order_relaxed);
  bool good = account.credential && account.generation == generation && now < account.ends;
  if (good && now < account.renew_at) return account.credential;
  // Each its own cache: the library would take what an older one left.
  std::string cache = fmt::format("bellhop-{}-{:016x}", lane, io::random_u64());
  auto made = GssCredential::of_account(api_, config_.keytab_file, principal, cache);
  if (!made) {
    if (!good) return fail(made.error());
    account.renew_at = now + kAccountAgain;
    return account.credential;
  }
  account.credential = *made;
  account.generation = generation;
  account.renew_at = now + (*made)->lifetime() / 2;
  account.ends = now + usable((*made)->lifetime());
  return made;
}

Result<std::shared_ptr<GssCredential>> KerberosDesk::ask_for_user(unsigned lane, const KerberosQuestion& question,
                                                                  Instant now) {
  KerberosTickets::Asking asking(tickets_, question.key);
  BH_TRY(auto account_tickets, account(lane, question.key.principal, now));
  BH_TRY(auto made, GssCredential::of_user(api_, *account_tickets, question.name, question.kind));
  Duration use = std::min<Duration>(usable(made->lifetime()), std::chrono::minutes(config_.tickets_kept_minutes));
  tickets_.keep(asking, made, now + use);
  return made;
}

Result<crypto::Secret> KerberosDesk::token(const KerberosQuestion& question, const GssCredential& credential, Instant now) {
  BH_TRY(GssCredential::Token made, credential.token_for(question.service, question.endpoint_hash));
  tickets_.note_warm(question.key, credential, question.service, now + usable(made.lifetime));
  tokens.fetch_add(1, std::memory_order_relaxed);
  return negotiate_header(made.bytes);
}

}  // namespace bellhop::service
