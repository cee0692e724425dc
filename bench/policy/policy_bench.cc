// SPDX-License-Identifier: Apache-2.0
// What a policy over many devices costs: reading the lines of a bulk, writing it to an LMDB store, finding it there at the
// start, memory of a device, one decision.
//
//   policy_bench [devices] [folder]      1,000,000 devices in a fresh store in /tmp; the folder is left behind
//
// Decisions are of random devices, so that each is in no cache, with the ten rules of the MEM set; the median of rounds.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "core/io.h"
#include "core/reactor.h"
#include "crypto/sealing.h"
#include "service/compliance.h"
#include "service/compliance_lines.h"
#include "service/policy.h"
#include "store/lmdb/lmdb_store.h"

namespace bellhop::service {
namespace {

constexpr std::string_view kRules =
    "roles = [\"gateway\"]\nkeyring_file = \"/k\"\n[listen.gateway]\ncertificate_file = \"/c\"\nprivate_key_file = \"/p\"\n"
    "[[gateway.route]]\nhosts = [\"mail.example.com\"]\ntenant = \"acme\"\n"
    "[gateway.route.ews]\nupstream = \"https://exchange.example.com\"\n"
    "[[tenant]]\nid = \"acme\"\nname = \"Acme\"\news_hosts = [\"mail.example.com\"]\n"
    "[policy]\nenabled = true\n"
    "[[policy.rule]]\nname = \"managed\"\nmanaged = \"no\"\n"
    "[[policy.rule]]\nname = \"compromised\"\ncompromised = \"yes\"\non_unknown = \"allow\"\n"
    "[[policy.rule]]\nname = \"encryption\"\nencrypted = \"no\"\non_unknown = \"allow\"\n"
    "[[policy.rule]]\nname = \"client\"\nmail_clients = [\"!Boxer*\", \"!*iPhone*\"]\non_unknown = \"allow\"\n"
    "[[policy.rule]]\nname = \"user\"\nusers = [\"nobody@example.com\"]\non_unknown = \"allow\"\n"
    "[[policy.rule]]\nname = \"type\"\ndevice_types = [\"WindowsMail\", \"Outlook*\"]\non_unknown = \"allow\"\n"
    "[[policy.rule]]\nname = \"model\"\nmodels = [\"SM-G9*\"]\non_unknown = \"allow\"\n"
    "[[policy.rule]]\nname = \"old\"\nos = [\"iOS\"]\nos_version_below = \"15.2\"\non_unknown = \"allow\"\n"
    "[[policy.rule]]\nname = \"inactive\"\ninactive_days_over = 90\non_unknown = \"allow\"\n"
    "[[policy.rule]]\nname = \"profile\"\nactivesync_profile = \"no\"\non_unknown = \"allow\"\n";

std::string line_of(uint64_t i) {
  return fmt::format(
      "{{\"deviceId\":\"Appl{:016X}\",\"account\":\"user{}@example.com\",\"managed\":true,\"compromised\":false,"
      "\"encrypted\":true,\"activeSyncProfile\":true,\"model\":\"Phone {}\",\"os\":\"iOS\",\"osVersion\":\"17.{}.{}\","
      "\"deviceType\":\"iPhone\",\"mailClient\":\"Boxer/23.{}\",\"lastContact\":{}}}\n",
      i * 0x9e3779b97f4a7c15u, i, i % 40, i % 9, i % 4, i % 30, 1'750'000'000 + i % 1'000'000);
}

// Wall-clock time, and CPU time of this thread: on a busy machine the two differ, and the second compares.
struct Stopwatch {
  Instant begin = io::now();
  uint64_t cpu = io::thread_cpu_ns();
  double wall_ms() const { return std::chrono::duration<double, std::milli>(io::now() - begin).count(); }
  double cpu_ms() const { return static_cast<double>(io::thread_cpu_ns() - cpu) / 1e6; }
};

void tell(std::string_view what, double value, std::string_view unit) {
  fmt::print("{:<34} {:>12.3f} {}\n", what, value, unit);
  std::fflush(stdout);
}
void tell(std::string_view what, const Stopwatch& watch) {
  fmt::print("{:<34} {:>12.3f} ms, {:.3f} ms CPU\n", what, watch.wall_ms(), watch.cpu_ms());
  std::fflush(stdout);
}

double ns_of(const Policy& policy, std::vector<PolicyQuestion>& questions, uint64_t* blocked) {
  uint64_t cpu = io::thread_cpu_ns();
  for (const PolicyQuestion& question : questions) *blocked += !policy.decide(question).allowed();
  return static_cast<double>(io::thread_cpu_ns() - cpu) / static_cast<double>(questions.size());
}

Task<void> decide(const Compliance* compliance, const Vault* vault, uint64_t devices) {
  ConfigOutcome outcome = parse_config(kRules, "bench.toml");
  for (const ConfigProblem& problem : outcome.problems) fmt::print("{}\n", to_text(problem));
  Policy policy(*compliance, PolicyRules::make(outcome.config, *vault));
  std::vector<std::string> ids;
  std::vector<PolicyQuestion> questions;
  uint64_t seed = 88172645463325252u;
  Stopwatch watch;
  for (size_t i = 0; i < 100'000; ++i) {
    seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
    uint64_t device = seed % devices;
    questions.push_back({.tenant = "acme",
                         .point = DecisionPoint::activesync,
                         .account = compliance->account("acme", fmt::format("user{}@example.com", device)),
                         .device = compliance_key(fmt::format("Appl{:016X}", device * 0x9e3779b97f4a7c15u)),
                         .device_type = "iPhone",
                         .mail_client = "Boxer/23.12 (iPhone; iOS 17.2)",
                         .now = WallTime(std::chrono::seconds(1'751'000'000))});
  }
  tell("names hashed, device and account", watch.cpu_ms() * 1e6 / static_cast<double>(questions.size()), "ns CPU");
  std::vector<double> rounds;
  uint64_t blocked = 0;
  for (int round = 0; round < 9; ++round) rounds.push_back(ns_of(policy, questions, &blocked));
  std::ranges::sort(rounds);
  tell("decision, ten rules, median", rounds[rounds.size() / 2], "ns CPU");
  tell("decision, ten rules, slowest round", rounds.back(), "ns CPU");
  if (blocked != 0) fmt::print("{} of the devices were blocked: the bench is wrong\n", blocked);
  co_return;
}

Task<void> run(uint64_t devices, store::Store* store, const crypto::Keyring* keyring) {
  auto vault = co_await Vault::open(*keyring, *store);
  BH_CHECK(vault.has_value());
  {
    Compliance compliance(*store, *vault);
    compliance.set_tenants({"acme"});
    compliance.set_names_max(devices);
    ComplianceBulk bulk = compliance.begin("acme");
    ComplianceReader reader(false, [&](const ComplianceLine& line) { return compliance.add(bulk, line); });
    constexpr uint64_t kTogether = 10'000;
    double wall_ms = 0, cpu_ms = 0;
    for (uint64_t i = 0; i < devices;) {
      std::string lines;
      for (uint64_t end = std::min(devices, i + kTogether); i < end; ++i) lines += line_of(i);
      Stopwatch reading;
      BH_CHECK(reader.feed(lines).has_value());
      wall_ms += reading.wall_ms();
      cpu_ms += reading.cpu_ms();
    }
    BH_CHECK(reader.finish().has_value());
    tell("lines read and taken", wall_ms, fmt::format("ms, {:.3f} ms CPU", cpu_ms));
    Stopwatch replacing;
    auto change = co_await compliance.replace(std::move(bulk));
    BH_CHECK(change.has_value());
    tell("written to the store and in force", replacing);
    tell("memory", static_cast<double>(compliance.counts("acme").bytes) / static_cast<double>(devices), "bytes a device");
    std::vector<ComplianceLine> delta;
    for (uint64_t i = 0; i < std::min<uint64_t>(devices, 1'000); ++i) {
      delta.push_back({.device_id = fmt::format("Appl{:016X}", i * 0x9e3779b97f4a7c15u), .compromised = Known::no});
    }
    Stopwatch updating;
    auto updated = co_await compliance.update("acme", std::move(delta));
    BH_CHECK(updated.has_value());
    tell("delta of 1,000 devices", updating);
    Stopwatch holding;
    auto held = co_await compliance.set_hold("acme", compliance_key("Appl0000000000000000"), ComplianceHold::blocked);
    BH_CHECK(held.has_value());
    tell("one device blocked by name", holding);
    held = co_await compliance.set_hold("acme", compliance_key("Appl0000000000000000"), ComplianceHold::none);
    BH_CHECK(held.has_value());
  }
  Compliance compliance(*store, *vault);
  compliance.set_tenants({"acme"});
  Stopwatch loading;
  Status loaded = co_await compliance.load();
  BH_CHECK(loaded.has_value());
  tell("loaded at the start", loading);
  BH_CHECK(compliance.counts("acme").names == devices);
  co_await decide(&compliance, &*vault, devices);
  Status left = co_await store->leave_core();
  BH_CHECK(left.has_value());
}

}  // namespace
}  // namespace bellhop::service

int main(int argc, char** argv) {
  using namespace bellhop;
  uint64_t devices = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1'000'000;
  std::string folder = argc > 2 ? argv[2] : fmt::format("/tmp/bellhop-policy-bench-{}", io::random_u64());
  if (devices == 0 || !io::make_folder(folder, 0700)) {
    fmt::print(stderr, "policy_bench [devices] [folder]: the folder cannot be made, or there are no devices\n");
    return 2;
  }
  auto store = store::LmdbStore::open({.path = folder + "/store"});
  if (!store) {
    fmt::print(stderr, "{}\n", store.error().text);
    return 1;
  }
  crypto::Secret text = crypto::make_keyring();
  auto keyring = crypto::Keyring::parse(text);
  BH_CHECK(keyring.has_value());
  io::ClusterOptions options{.cores = 1, .connections_max = 16, .receive_buffers = 16};
  Status ran = io::run_cluster(options, [&](unsigned) { return service::run(devices, store->get(), &*keyring); });
  if (!ran) fmt::print(stderr, "{}\n", io::explain_start_failure(ran.error()));
  return ran ? 0 : 1;
}
