// SPDX-License-Identifier: Apache-2.0
#include "service/kerberos.h"

#include <fmt/format.h>

#include <cstdlib>
#include <map>
#include <optional>

#include "core/errand.h"
#include "core/sleep.h"
#include "service/gss_api.h"
#include "service/kerberos_desk.h"

namespace bellhop::service {
namespace {

constexpr const char* kSystemConfig = "/etc/krb5.conf";

size_t hash_of(std::string_view user) { return std::hash<std::string>()(ascii_lower(user)); }

}  // namespace

Result<std::unique_ptr<Kerberos>> Kerberos::open(const KerberosConfig& config, std::string& complaint) {
  BH_TRY(const GssApi* api, load_gss_api(complaint));
  if (Result<std::string> keytab = io::read_file(config.keytab_file); !keytab) {
    complaint = config.keytab_file + ": " + error_text(keytab.error());
    return fail(kerberos_error(KerberosError::keytab));
  } else {
    wipe(*keytab);
  }
  if (Status set = use_krb5_settings(config); !set) {
    complaint = "the settings of Kerberos cannot be given to its library: " + error_text(set.error());
    return fail(set.error());
  }
  return std::make_unique<Kerberos>(config, *api);
}

Kerberos::Kerberos(const KerberosConfig& config, const GssApi& api)
    : config_(config), desk_(std::make_shared<KerberosDesk>(config, api)) {}
Kerberos::~Kerberos() = default;

Task<Result<crypto::Secret>> Kerberos::authorization(KerberosRequest request, bool* asked) {
  std::string service = request.service;
  Result<crypto::Secret> made = co_await make(std::move(request), asked);
  if (!made) failures_.fetch_add(1, std::memory_order_relaxed);
  // Who left says nothing of the service.
  std::optional<Error> error;
  if (!made) error = made.error();
  if (!error || !is(*error, CoreError::canceled)) desk_->health().count(service, error, io::wall_now());
  co_return made;
}

Task<Result<crypto::Secret>> Kerberos::make(KerberosRequest request, bool* asked) {
  auto question = std::make_shared<KerberosQuestion>();
  BH_CO_TRY(*question, kerberos_question(config_, request.user, request.service, request.principal));
  question->endpoint_hash = std::move(request.endpoint_hash);
  if (waiting_.fetch_add(1, std::memory_order_relaxed) >= config_.requests_waiting_max) {
    waiting_.fetch_sub(1, std::memory_order_relaxed);
    co_return fail(kerberos_error(KerberosError::busy));
  }
  auto begun = std::make_shared<std::atomic<bool>>(false);
  Result<crypto::Secret> made = co_await within(std::chrono::milliseconds(config_.timeout_ms), get(question, begun, asked));
  waiting_.fetch_sub(1, std::memory_order_relaxed);
  if (made || !is(made.error(), CoreError::timed_out)) co_return made;
  // It waited behind others all the time: that says nothing of its own KDC.
  if (!*begun) co_return fail(kerberos_error(KerberosError::busy));
  // The thread that asks may wait much longer; nobody else need wait behind it.
  Instant now = io::now();
  desk_->tickets().let_rest(question->domain, now + std::chrono::seconds(config_.unreachable_seconds), now);
  desk_->health().asked(question->realm, kerberos_error(KerberosError::unreachable), io::wall_now());
  co_return fail(kerberos_error(KerberosError::unreachable));
}

Task<Result<crypto::Secret>> Kerberos::get(std::shared_ptr<const KerberosQuestion> question, std::shared_ptr<std::atomic<bool>> begun,
                                           bool* asked) {
  size_t hash = hash_of(question->key.user);
  unsigned handing = static_cast<unsigned>(hash % KerberosDesk::kHandingLanes);
  auto hand_out = [desk = desk_, question] { return desk->hand_out(*question, io::now()); };
  BH_CO_TRY(auto kept, co_await run_errand(handing, std::move(hand_out)));
  if (!kept) co_return fail(kept.error());
  if (*kept) co_return std::move(**kept);
  // Not even a place in the queue where the answer is known.
  if (desk_->tickets().rests(question->domain, io::now())) co_return fail(kerberos_error(KerberosError::unreachable));
  if (asked) *asked = true;
  unsigned asking = static_cast<unsigned>(hash / KerberosDesk::kHandingLanes % KerberosDesk::kAskingLanes);
  auto ask = [desk = desk_, question, begun, asking] {
    *begun = true;
    return desk->ask(asking, *question, io::now());
  };
  BH_CO_TRY(auto made, co_await run_errand(KerberosDesk::kHandingLanes + asking, std::move(ask)));
  co_return made;
}

const KerberosHealth& Kerberos::health() const { return desk_->health(); }

void Kerberos::forget(std::string_view user) { desk_->tickets().forget(user); }

void Kerberos::forget_all() {
  desk_->renew_accounts();
  desk_->tickets().forget_all();
}

KerberosStats Kerberos::stats() const {
  return {.tokens = desk_->tokens.load(std::memory_order_relaxed),
          .from_cache = desk_->from_cache.load(std::memory_order_relaxed),
          .failures = failures_.load(std::memory_order_relaxed),
          .users = desk_->tickets().users(),
          .waiting = waiting_.load(std::memory_order_relaxed)};
}

std::string krb5_settings(const KerberosConfig& config) {
  std::string realm = config.principal.substr(config.principal.rfind('@') + 1);
  // Forwardable: else the KDC gives no ticket that S4U2Proxy takes. No reverse look-ups: DNS must not choose the SPN. TCP
  // first: tickets of Active Directory do not fit in a datagram.
  std::string settings = fmt::format(
      "[libdefaults]\n"
      "  default_realm = {}\n"
      "  forwardable = true\n"
      "  rdns = false\n"
      "  dns_canonicalize_hostname = false\n"
      "  qualify_shortname = \"\"\n"
      "  udp_preference_limit = 1\n",
      realm);
  if (config.kdcs.empty()) return settings;
  // Who names the KDCs wants no others. Without this the library asks DNS after every answer whether it came from the realm's
  // primary KDC, and waits for that.
  settings += "  dns_lookup_kdc = false\n[realms]\n";
  std::map<std::string_view, std::vector<std::string_view>> realms;
  for (std::string_view pair : config.kdcs) realms[pair.substr(0, pair.find('='))].push_back(pair.substr(pair.find('=') + 1));
  for (const auto& [name, servers] : realms) {
    settings += fmt::format("  {} = {{\n", name);
    for (std::string_view server : servers) settings += fmt::format("    kdc = {}\n", server);
    settings += "  }\n";
  }
  return settings;
}

Status use_krb5_settings(const KerberosConfig& config) {
  // Held to the end of the process, as long as the library may read it.
  static io::Descriptor& file = *new io::Descriptor;
  std::string settings = krb5_settings(config);
  if (file) return io::write_memory_file(file.get(), as_bytes(settings));
  BH_TRY(file, io::make_memory_file("krb5.conf", as_bytes(settings)));
  std::string path = fmt::format("/proc/self/fd/{}:{}", file.get(),
                                 config.config_file.empty() ? kSystemConfig : config.config_file.c_str());
  setenv("KRB5_CONFIG", path.c_str(), 1);
  if (!secure_getenv("KRB5_CONFIG")) return fail(core_error(CoreError::unsupported));
  return {};
}

Result<crypto::Secret> probe_kerberos(const KerberosConfig& config, const KerberosRequest& request, std::string& step) {
  step = "loading the library";
  std::string complaint;
  BH_TRY(const GssApi* api, load_gss_api(complaint));
  const std::string& principal = request.principal.empty() ? config.principal : request.principal;
  step = "logging on as " + principal;
  BH_TRY(auto account, GssCredential::of_account(*api, config.keytab_file, principal, "bellhop-probe"));
  if (request.user.empty()) return crypto::Secret();
  step = "asking for a ticket for the user (S4U2Self)";
  BH_TRY(KerberosQuestion question, kerberos_question(config, request.user, request.service, request.principal));
  BH_TRY(auto user, GssCredential::of_user(*api, *account, question.name, question.kind));
  step = "asking for the user's ticket for " + request.service + " (S4U2Proxy)";
  BH_TRY(GssCredential::Token token, user->token_for(request.service, request.endpoint_hash));
  step = "all steps";
  return negotiate_header(token.bytes);
}

}  // namespace bellhop::service
