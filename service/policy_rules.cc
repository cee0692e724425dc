// SPDX-License-Identifier: Apache-2.0
#include "service/policy_rules.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/check.h"
#include "crypto/record.h"
#include "proto/account.h"
#include "service/policy.h"
#include "service/policy_config_rules.h"
#include "service/vault.h"

namespace bellhop::service {
namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

// `pattern` in lower case, with "*"; the last star is gone back to, so that the time is bounded by the product.
bool matches(std::string_view pattern, std::string_view text) {
  size_t p = 0, t = 0, star = pattern.npos, from = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      from = t;
    } else if (p < pattern.size() && pattern[p] == lower(text[t])) {
      ++p;
      ++t;
    } else if (star != pattern.npos) {
      p = star + 1;
      t = ++from;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

std::optional<Known> known_of(RuleFact fact) {
  switch (fact) {
    case RuleFact::any:
      return std::nullopt;
    case RuleFact::no:
      return Known::no;
    case RuleFact::yes:
      return Known::yes;
  }
  check_failed("a fact of the list", __FILE__, __LINE__);
}

RuleMatch match_fact(Known wanted, Known known) {
  if (known == Known::unknown) return RuleMatch::unknown;
  return known == wanted ? RuleMatch::yes : RuleMatch::no;
}

// What the request says counts, and else what is on record.
std::string_view first_of(std::string_view asked, std::string_view on_record) { return asked.empty() ? on_record : asked; }

std::optional<uint64_t> next_number(std::string_view& text) {
  size_t digits = 0;
  uint64_t number = 0;
  while (digits < text.size() && digits < 18 && text[digits] >= '0' && text[digits] <= '9') {
    number = number * 10 + static_cast<uint64_t>(text[digits++] - '0');
  }
  if (digits == 0) return std::nullopt;
  text.remove_prefix(digits);
  if (text.starts_with('.')) {
    text.remove_prefix(1);
  } else {
    text = {};  // "17.2 (21C62)": what follows is no part of it
  }
  return number;
}

PolicyRule make_rule(const PolicyRuleConfig& config, const std::vector<std::string>& all_tenants,
                     const proto::AccountNames& names, const Vault& vault) {
  PolicyRule rule{.name = config.name,
                  .blocks = config.verdict == RuleVerdict::block,
                  .unknown_counts = config.on_unknown == config.verdict,
                  .dry_run = config.dry_run,
                  .tenants = config.tenants,
                  .managed = known_of(config.managed),
                  .compromised = known_of(config.compromised),
                  .encrypted = known_of(config.encrypted),
                  .activesync_profile = known_of(config.activesync_profile),
                  .inactive_longer_than = std::chrono::hours(24 * config.inactive_days_over),
                  .mail_clients = TextMatch(config.mail_clients),
                  .device_types = TextMatch(config.device_types),
                  .models = TextMatch(config.models),
                  .os = TextMatch(config.os),
                  .os_version_below = config.os_version_below,
                  .users = {},
                  .users_excluded = {},
                  .user_names = {},
                  .user_names_excluded = {}};
  if (!config.points.empty()) {
    rule.points = 0;
    for (size_t i = 0; i < kDecisionPoints; ++i) {
      bool named = std::ranges::find(config.points, name_of(static_cast<DecisionPoint>(i))) != config.points.end();
      if (named) rule.points |= static_cast<uint8_t>(1u << i);
    }
  }
  for (const std::string& tenant : config.tenants.empty() ? all_tenants : config.tenants) {
    for (std::string_view user : config.users) {
      bool excludes = user.starts_with('!');
      if (excludes) user.remove_prefix(1);
      auto& users = excludes ? rule.users_excluded : rule.users;
      users.insert(vault.user_id(tenant, crypto::user_id_of_address(user)));
      auto account = names.parse(user);
      if (!account) continue;
      users.insert(vault.user_id(tenant, crypto::user_id_of_address(account->text)));
      std::string plain = proto::plain_letters(account->user()).value_or(std::string(account->user()));
      auto& plain_names = excludes ? rule.user_names_excluded : rule.user_names;
      for (std::string_view domain : {account->domain(), std::string_view()}) {
        plain_names.insert(vault.user_id(tenant, user_name_hash(plain, domain)));
      }
    }
  }
  return rule;
}

// The gateway's accounts have the domain that an alias stands for; elsewhere they are as bellhop was told.
proto::AccountNames account_names(const Config& config) {
  proto::AccountNames names;
  for (const GatewayDomainConfig& domain : config.gateway.domains) {
    if (!domain.netbios.empty()) (void)names.add_domain_alias(domain.netbios, domain.name);
    for (const std::string& alias : domain.aliases) (void)names.add_domain_alias(alias, domain.name);
  }
  return names;
}

}  // namespace

std::string_view name_of(RuleMatch match) {
  switch (match) {
    case RuleMatch::no:
      return "no";
    case RuleMatch::unknown:
      return "unknown";
    case RuleMatch::yes:
      return "yes";
  }
  check_failed("a match of the list", __FILE__, __LINE__);
}

TextMatch::TextMatch(const std::vector<std::string>& items) {
  for (std::string_view item : items) {
    Item made{.pattern = {}, .excludes = item.starts_with('!')};
    if (made.excludes) item.remove_prefix(1);
    for (char c : item) made.pattern.push_back(lower(c));
    includes_ |= !made.excludes;
    items_.push_back(std::move(made));
  }
}

RuleMatch TextMatch::match(std::string_view text) const {
  if (text.empty()) return RuleMatch::unknown;
  bool included = !includes_;
  for (const Item& item : items_) {
    if (item.excludes ? false : included) continue;
    if (!matches(item.pattern, text)) continue;
    if (item.excludes) return RuleMatch::no;
    included = true;
  }
  return included ? RuleMatch::yes : RuleMatch::no;
}

crypto::Digest user_name_hash(std::string_view name, std::string_view domain) {
  return crypto::user_id_of_address(fmt::format("{}@{}", name, domain));
}

RuleMatch version_below(std::string_view version, std::string_view bound) {
  std::optional<uint64_t> ours = next_number(version), theirs = next_number(bound);
  if (!ours || !theirs) return RuleMatch::unknown;
  for (;;) {
    if (ours.value_or(0) != theirs.value_or(0)) return ours.value_or(0) < theirs.value_or(0) ? RuleMatch::yes : RuleMatch::no;
    ours = next_number(version);
    theirs = next_number(bound);
    if (!ours && !theirs) return RuleMatch::no;
  }
}

bool PolicyRule::applies(const PolicyQuestion& question) const {
  if ((points >> static_cast<unsigned>(question.point) & 1) == 0) return false;
  return tenants.empty() || std::ranges::find(tenants, question.tenant) != tenants.end();
}

RuleMatch PolicyRule::match(const PolicyQuestion& question, const DeviceFacts* facts) const {
  static const DeviceFacts kNothing;
  const DeviceFacts& known = facts ? *facts : kNothing;
  RuleMatch all = RuleMatch::yes;
  auto also = [&all](RuleMatch one) { all = std::min(all, one); };
  if (managed) also(match_fact(*managed, known.managed));
  if (compromised) also(match_fact(*compromised, known.compromised));
  if (encrypted) also(match_fact(*encrypted, known.encrypted));
  if (activesync_profile) also(match_fact(*activesync_profile, known.activesync_profile));
  if (all == RuleMatch::no) return all;
  if (inactive_longer_than > Duration::zero()) {
    if (known.last_contact == WallTime()) {
      also(RuleMatch::unknown);
    } else {
      also(question.now - known.last_contact > inactive_longer_than ? RuleMatch::yes : RuleMatch::no);
    }
  }
  if (!users.empty() || !users_excluded.empty()) {
    also(match_user(question));
  }
  if (!mail_clients.empty()) also(mail_clients.match(first_of(question.mail_client, known.mail_client)));
  if (!device_types.empty()) also(device_types.match(first_of(question.device_type, known.device_type)));
  if (!models.empty()) also(models.match(known.model));
  if (!os.empty()) also(os.match(known.os));
  if (!os_version_below.empty()) also(version_below(known.os_version, os_version_below));
  return all;
}

RuleMatch PolicyRule::match_user(const PolicyQuestion& question) const {
  if (!question.account) return RuleMatch::unknown;
  auto named = [&](const auto& accounts, const auto& names) {
    if (accounts.contains(*question.account)) return RuleMatch::yes;
    if (accounts.empty()) return RuleMatch::no;
    bool may_be = names.contains(*question.account) ||
                  (question.user_name && (question.user_name->zero() || names.contains(*question.user_name)));
    return may_be ? RuleMatch::unknown : RuleMatch::no;
  };
  RuleMatch in = users.empty() ? RuleMatch::yes : named(users, user_names);
  RuleMatch out = named(users_excluded, user_names_excluded);
  if (out == RuleMatch::yes) return RuleMatch::no;
  return out == RuleMatch::unknown ? std::min(in, out) : in;
}

std::shared_ptr<const PolicyRules> PolicyRules::make(const Config& config, const Vault& vault) {
  const PolicyConfig& policy = config.policy;
  auto rules = std::make_shared<PolicyRules>();
  rules->enabled = policy.enabled;
  rules->dry_run = policy.dry_run;
  rules->bind_account = policy.bind_account;
  rules->unknown_devices_blocked = policy.unknown_devices == RuleVerdict::block;
  rules->default_blocks = policy.known_devices == RuleVerdict::block;
  std::vector<std::string> tenants = policy_tenants(config);
  const proto::AccountNames names = account_names(config);
  for (const PolicyRuleConfig& rule : policy.rules) rules->rules.push_back(make_rule(rule, tenants, names, vault));
  return rules;
}

std::string_view PolicyRules::name(RuleId rule) const {
  return rule < rules.size() ? std::string_view(rules[rule].name) : std::string_view();
}

}  // namespace bellhop::service
