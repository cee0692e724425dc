// SPDX-License-Identifier: Apache-2.0
// Keys, numbers that are no keys, and ciphertexts in the lanes of each kernel. Input: the size and what to compare with, then
// for each lane the key, what is spoiled in it or left out, the ciphertext's kind and its digits; what is missing is zero.
#include "crypto/boringssl.h"
#include "crypto/rsa_lanes.h"
#include "tests/crypto/lanes_fixture.h"
#include "tests/fuzz/fuzz.h"

#include <openssl/bn.h>

using namespace bellhop;
using namespace bellhop::crypto;
using lanes::kLanes;
using lanes::Workspace;

namespace {

using Number = bssl::UniquePtr<BIGNUM>;

class Reader {
 public:
  explicit Reader(Bytes input) : rest_(input) {}
  uint8_t byte() {
    if (rest_.empty()) return 0;
    const uint8_t byte = rest_.front();
    rest_ = rest_.subspan(1);
    return byte;
  }
  // A number of `size` bytes: some bytes of the input, repeated, so that a short input makes whole digits; or only once,
  // below zeros.
  std::vector<uint8_t> number(size_t size) {
    const uint8_t form = byte();
    const size_t period = form % 27;
    const bool repeats = form < 216 && period > 0;
    std::vector<uint8_t> bytes(size);
    for (size_t i = 0; i < size; ++i) {
      bytes[size - 1 - i] = i < period ? byte() : (repeats ? bytes[size - 1 - (i - period)] : 0);
    }
    return bytes;
  }

 private:
  Bytes rest_;
};

// Writes into the lane numbers that need not be a key; only what LaneKey's contract asks for holds.
template <size_t Half>
void write_garbage(Workspace<Half>& space, size_t lane, Reader& in) {
  const size_t size = lanes::prime_bits(Half) / 8;
  auto odd = [&](size_t bytes) {
    std::vector<uint8_t> number = in.number(bytes);
    number.front() |= 0x80;
    number.back() |= 1;
    return number;
  };
  const auto p = odd(size), q = odd(size), n = odd(2 * size);
  const auto dp = in.number(size), dq = in.number(size), qinv = in.number(size);
  LaneKey({n, p, q, dp, dq, qinv}).write_to(space, lane);
}

// A bit of one of the parts.
template <size_t Half>
void spoil(Workspace<Half>& space, size_t lane, uint8_t part, Reader& in) {
  lanes::Row* const parts[] = {space.p,      space.q,    space.r2p,  space.r2q, space.checkp,
                               space.checkq, space.qinv, &space.k0p, &space.k0q};
  part %= 12;
  if (part < std::size(parts)) {
    const size_t rows = part < 7 ? Half : 1;
    lanes::Row& row = parts[part][in.byte() % rows];
    row.lane[lane] ^= uint64_t{1} << in.byte() % lanes::kDigitBits;
  } else if (part < 11) {
    auto& exponent = part == 9 ? space.dp : space.dq;
    exponent[in.byte() % std::size(exponent)].lane[lane] ^= uint64_t{in.byte()} << in.byte() % 57;
  }
}

// One of the parts as a whole: a store that was left out.
template <size_t Half>
void clear(Workspace<Half>& space, size_t lane, uint8_t part) {
  const std::span<lanes::Row> parts[] = {space.p,    space.q, space.r2p,       space.r2q,       space.checkp, space.checkq,
                                         space.qinv, space.n, {&space.k0p, 1}, {&space.k0q, 1}, space.dp,     space.dq};
  for (lanes::Row& row : parts[part % std::size(parts)]) row.lane[lane] = 0;
}

Number number_of(std::span<const lanes::Row> rows, size_t lane) {
  std::vector<uint8_t> bytes(rows.size() * lanes::kDigitBits / 8);
  read_digits(rows, lane, bytes);
  return Number(BN_bin2bn(bytes.data(), bytes.size(), nullptr));
}

// Whether m^65537 is c modulo n, by BoringSSL. A kernel may leave its inputs in a form of its own.
template <size_t Half>
bool is_good(const Workspace<Half>& given, const Workspace<Half>& done, size_t lane) {
  static BN_CTX* const scratch = BN_CTX_new();
  const Number n = number_of(given.n, lane), c = number_of(given.c, lane), m = number_of(done.m, lane);
  Number e(BN_new()), reduced(BN_new()), again(BN_new());
  BH_CHECK(BN_set_word(e.get(), kRsaExponent) && BN_nnmod(reduced.get(), m.get(), n.get(), scratch));
  BH_CHECK(BN_mod_exp_mont(again.get(), reduced.get(), e.get(), n.get(), scratch, nullptr) == 1);
  return BN_cmp(again.get(), c.get()) == 0;
}

template <size_t Half>
void run(uint8_t control, Reader in) {
  const auto keys = converted_keys(static_cast<unsigned>(2 * lanes::prime_bits(Half)));
  static auto& space = *new Workspace<Half>();
  std::array<const ConvertedKey*, kLanes> healthy{};
  std::array<std::vector<uint8_t>, kLanes> ciphertexts;
  for (size_t lane = 0; lane < kLanes; ++lane) {
    const uint8_t choice = in.byte(), part = in.byte();
    const ConvertedKey& key = keys[choice % keys.size()];
    if (choice >= 0xe0) {
      write_garbage(space, lane, in);
    } else {
      key.lanes().write_to(space, lane);
      if (choice >= 0xd0) clear(space, lane, part & 0x7f);
      else if (choice >= 0xc0) spoil(space, lane, part, in);
      else healthy[lane] = &key;
    }
    std::vector<uint8_t>& c = ciphertexts[lane] = in.number(key.modulus_bytes());
    const Bytes modulus = key.key().public_key().modulus();
    if (!std::ranges::lexicographical_compare(c, modulus)) c.front() &= 0x7f;
    if (part & 0x80) c = boringssl_public(key, c);  // a chosen result
    write_digits(space.c, lane, c);
  }
  const auto before = std::make_unique<Workspace<Half>>(space);
  std::optional<uint8_t> expected;
  Workspace<Half> const* first = nullptr;
  std::unique_ptr<Workspace<Half>> kept;
  // The portable one takes a hundred times as long.
  const bool also_portable = (control & 0x70) == 0x70 || available_kernels().empty();
  for (const lanes::Kernel* kernel : all_kernels()) {
    if (!is_fast(*kernel) && !also_portable) continue;
    space = *before;
    const uint8_t good = run_kernel(*kernel, space);
    for (size_t lane = 0; lane < kLanes; ++lane) {
      // Where numbers are no key, or a constant is spoiled, a right result may be disproved as well.
      BH_CHECK(!(good >> lane & 1) || is_good(*before, space, lane));
      if (!healthy[lane]) continue;
      BH_CHECK(good >> lane & 1);
      BH_CHECK(result_of(space, lane) == boringssl_result(*healthy[lane], ciphertexts[lane]));
    }
    if (first) {
      BH_CHECK(good == expected && std::memcmp(space.m, first->m, sizeof space.m) == 0);
    } else {
      kept = std::make_unique<Workspace<Half>>(space);
      first = kept.get();
      expected = good;
    }
  }
}

}  // namespace

BELLHOP_FUZZ_TARGET(input) {
  Reader in(input);
  const uint8_t control = in.byte();
  if (control & 1) {
    run<lanes::kHalf3072>(control, in);
  } else {
    run<lanes::kHalf2048>(control, in);
  }
}
