// SPDX-License-Identifier: Apache-2.0
// What RSA costs. tools/bench runs this and makes a table of it; names are TOPIC/HOW/REQUESTS:
//   rsa2048, rsa3072   private-key operations by BoringSSL ("boringssl"), through each kernel of this CPU, and as the
//                      plan that is measured at the start has it ("auto")
//   envelope2048       prepare, decrypt, decode, finish
//   key2048, key3072   a hit and a miss of the cache, what each form of a key costs when first needed
//   oaep2048           decoding alone
#include <array>
#include <functional>

#include <benchmark/benchmark.h>

#include "bench/crypto/bench_keys.h"
#include "core/base/check.h"
#include "crypto/envelope.h"
#include "crypto/key_cache.h"
#include "crypto/lane_key.h"
#include "crypto/rsa_lane_engine.h"

namespace bellhop::crypto {
namespace {

using benchmark::State;
using MakeEngine = std::function<std::unique_ptr<RsaEngine>()>;

// The eight keys of one size, as the cache has them.
std::vector<ConvertedKey> converted_keys(unsigned bits) {
  std::vector<ConvertedKey> keys;
  for (const RsaPrivateKey& key : bench_keys(bits)) keys.emplace_back(key.clone());
  return keys;
}

// Requests with different keys, ready for an engine.
class Requests {
 public:
  Requests(unsigned bits, size_t count) : keys_(converted_keys(bits)) {
    for (size_t i = 0; i < count; ++i) {
      ciphertexts_[i] = random_ciphertext(bits);
      requests_[i] = {.key = &keys_[i], .ciphertext = ciphertexts_[i], .encoded = {}};
      pointers_[i] = &requests_[i];
    }
    all_ = std::span(pointers_).first(count);
  }
  std::span<RsaEngine::Request* const> all() const { return all_; }

 private:
  std::vector<ConvertedKey> keys_;
  std::array<std::vector<uint8_t>, kBenchKeys> ciphertexts_;
  std::array<RsaEngine::Request, kBenchKeys> requests_;
  std::array<RsaEngine::Request*, kBenchKeys> pointers_{};
  std::span<RsaEngine::Request*> all_;
};

void run_rsa(State& state, unsigned bits, const MakeEngine& make_engine) {
  const size_t count = static_cast<size_t>(state.range(0));
  const Requests requests(bits, count);
  const std::unique_ptr<RsaEngine> engine = make_engine();
  engine->run(requests.all());  // forms of keys, blinding, memory
  for (auto _ : state) {
    engine->run(requests.all());
    BH_CHECK(!requests.all().back()->encoded.empty());
  }
  BH_CHECK(engine->stats().faults_total == 0);
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(count));
}

void run_envelopes(State& state, const MakeEngine& make_engine) {
  const size_t count = static_cast<size_t>(state.range(0));
  const std::vector<ConvertedKey> keys = converted_keys(2048);
  const CredentialRecord record{Secret::copy_of("anna@example.com"),
                                BasicCredentials{Secret::copy_of("EXAMPLE\\anna"), Secret::copy_of("correct horse")}};
  std::vector<EnvelopeBinding> bindings;
  std::vector<std::vector<uint8_t>> sealed;
  for (size_t i = 0; i < count; ++i) {
    const RsaPublicKey& key = keys[i].key().public_key();
    bindings.push_back({Capability::random(), key.id(), "https://mail.example.com:443"});
    auto creds = envelope_seal(key, record, bindings.back());
    BH_CHECK(creds);
    sealed.push_back(*std::move(creds));
  }
  const std::unique_ptr<RsaEngine> engine = make_engine();
  std::array<EnvelopePrepared, kBenchKeys> prepared;
  std::array<RsaEngine::Request, kBenchKeys> requests;
  std::array<RsaEngine::Request*, kBenchKeys> pointers{};
  auto open_all = [&] {
    for (size_t i = 0; i < count; ++i) {
      auto one = envelope_prepare(sealed[i], keys[i].key().public_key(), bindings[i]);
      BH_CHECK(one);
      prepared[i] = *one;
      requests[i] = {.key = &keys[i], .ciphertext = prepared[i].ciphertext, .encoded = {}};
      pointers[i] = &requests[i];
    }
    engine->run(std::span(pointers).first(count));
    for (size_t i = 0; i < count; ++i) {
      auto decrypted = oaep_decode(requests[i].encoded.reveal(), prepared[i].label);
      BH_CHECK(decrypted);
      auto opened = envelope_finish(prepared[i], *decrypted);
      BH_CHECK(opened && opened->type() == CredentialType::basic);
    }
  };
  open_all();
  for (auto _ : state) open_all();
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(count));
}

// What the cache finds, and gives back.
void cache_hit(State& state, unsigned bits) {
  KeyCache cache;
  for (const RsaPrivateKey& key : bench_keys(bits)) (void)cache.insert(key.clone())->get()->lanes();
  const KeyId id = bench_keys(bits).front().public_key().id();
  for (auto _ : state) benchmark::DoNotOptimize(cache.find(id)->lanes().half());
}

// After the seal was opened: checks of the stored numbers, a place in the cache (another key leaves it and is wiped), and
// the lanes' form.
void cache_miss(State& state, unsigned bits) {
  KeyCache cache({.bytes_max = 4 * (LaneKey::memory_bytes(bits == 2048 ? lanes::kHalf2048 : lanes::kHalf3072) + bits)});
  const std::vector<RsaPrivateKey>& keys = bench_keys(bits);
  size_t next = 0;
  auto miss = [&] {
    const RsaPrivateKey& stored = keys[next++ % keys.size()];
    BH_CHECK(!cache.find(stored.public_key().id()));
    auto key = RsaPrivateKey::from_stored(stored.stored().clone());
    BH_CHECK(key);
    auto pin = cache.insert(*std::move(key));
    BH_CHECK(pin);
    benchmark::DoNotOptimize((*pin)->lanes().half());
  };
  for (size_t i = 0; i < keys.size(); ++i) miss();
  BH_CHECK(cache.stats().evictions_total > 0);
  for (auto _ : state) miss();
}

void stored_key(State& state, unsigned bits) {
  const RsaPrivateKey& stored = bench_keys(bits).front();
  for (auto _ : state) benchmark::DoNotOptimize(RsaPrivateKey::from_stored(stored.stored().clone()).has_value());
}

void lanes_form(State& state, unsigned bits) {
  const RsaPrivateKey& key = bench_keys(bits).front();
  for (auto _ : state) benchmark::DoNotOptimize(ConvertedKey(key.clone()).lanes().half());
}

// Less one "rsa2048/boringssl/1" it is what BoringSSL sets up for a key.
void boringssl_first_operation(State& state, unsigned bits) {
  const std::vector<uint8_t> ciphertext = random_ciphertext(bits);
  const RsaPrivateKey& key = bench_keys(bits).front();
  const std::unique_ptr<RsaEngine> engine = make_scalar_engine();
  for (auto _ : state) {
    const ConvertedKey fresh(key.clone());
    RsaEngine::Request request{.key = &fresh, .ciphertext = ciphertext, .encoded = {}};
    RsaEngine::Request* const pointer = &request;
    engine->run({&pointer, 1});
    BH_CHECK(!request.encoded.empty());
  }
}

void decode_oaep(State& state) {
  const Digest label{};
  const auto encoded = oaep_encode(Bytes(label).first(30), label, 256);
  BH_CHECK(encoded);
  for (auto _ : state) BH_CHECK(oaep_decode(encoded->reveal(), label));
}

void register_engine(const std::string& name, const MakeEngine& make_engine, std::span<const int64_t> counts) {
  for (const unsigned bits : {2048u, 3072u}) {
    auto* rsa = benchmark::RegisterBenchmark(("rsa" + std::to_string(bits) + "/" + name).c_str(),
                                             [=](State& state) { run_rsa(state, bits, make_engine); });
    for (const int64_t count : counts) rsa->Arg(count);
  }
  auto* envelopes = benchmark::RegisterBenchmark(("envelope2048/" + name).c_str(),
                                                 [=](State& state) { run_envelopes(state, make_engine); });
  envelopes->Arg(1);
  if (counts.size() > 1) envelopes->Arg(8);
}

void register_all() {
  static constexpr int64_t kCounts[] = {1, 2, 4, 8};
  register_engine("boringssl", &make_scalar_engine, std::span(kCounts).first(1));
  const std::vector<const lanes::Kernel*> kernels = available_kernels();
  for (const lanes::Kernel* kernel : kernels) {
    register_engine(std::string(kernel->name),
                    [kernel] { return make_lane_engine({.kernel = kernel, .from_2048 = 1, .from_3072 = 1}); }, kCounts);
  }
  if (!kernels.empty()) {
    const LanePlan plan = measure_lanes(*kernels.front(), &thread_cpu_now, LanePlan::kBatchMax);
    register_engine("auto", [plan] { return make_lane_engine(plan); }, kCounts);
    benchmark::AddCustomContext("lanes_from_2048", std::to_string(plan.from_2048));
    benchmark::AddCustomContext("lanes_from_3072", std::to_string(plan.from_3072));
  }
  using KeyBench = void (*)(State&, unsigned);
  static constexpr std::pair<const char*, KeyBench> kKeyBenches[] = {
      {"cache_hit", &cache_hit},
      {"cache_miss", &cache_miss},
      {"stored", &stored_key},
      {"lanes_form", &lanes_form},
      {"boringssl_first_operation", &boringssl_first_operation}};
  for (const unsigned bits : {2048u, 3072u}) {
    for (const auto& [name, bench] : kKeyBenches) {
      benchmark::RegisterBenchmark(("key" + std::to_string(bits) + "/" + name).c_str(),
                                   [=](State& state) { bench(state, bits); });
    }
  }
  benchmark::RegisterBenchmark("oaep2048/decode", &decode_oaep);
}

}  // namespace
}  // namespace bellhop::crypto

int main(int argc, char** argv) {
  bellhop::crypto::register_all();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
