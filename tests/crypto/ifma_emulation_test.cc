// SPDX-License-Identifier: Apache-2.0
// The machine code of the IFMA kernel on a CPU that has AVX-512F but not IFMA: each vpmadd52 traps, and the handler does what
// it says. So the code that other CPUs run is tested here as it is, register by register.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstring>
#include <random>

#include <fmt/format.h>

#include "crypto/rsa_lanes.h"
#include "tests/crypto/crypto_fixture.h"
#include "tests/crypto/lanes_fixture.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <ucontext.h>

namespace bellhop::crypto {
namespace {

using lanes::kLanes;

// The vector registers of a signal frame: an XSAVE area in its standard form (Intel SDM volume 1, chapter 13).
class SavedRegisters {
 public:
  explicit SavedRegisters(void* area) : area_(static_cast<uint8_t*>(area)) {}

  static bool supported() { return offsets().ymm != 0 && offsets().zmm_high != 0 && offsets().zmm_16 != 0; }

  // A component that is in its initial state was not written by the processor: its registers are zero.
  void complete() {
    uint64_t present = 0;
    std::memcpy(&present, area_ + kHeaderAt, 8);
    if (!(present & kXmm)) std::memset(area_ + kXmmAt, 0, 256);
    if (!(present & kYmm)) std::memset(area_ + offsets().ymm, 0, 256);
    if (!(present & kZmmHigh)) std::memset(area_ + offsets().zmm_high, 0, 512);
    if (!(present & kZmm16)) std::memset(area_ + offsets().zmm_16, 0, 1024);
    present |= kXmm | kYmm | kZmmHigh | kZmm16;
    std::memcpy(area_ + kHeaderAt, &present, 8);
  }
  void read(unsigned number, uint64_t (&lanes)[kLanes]) const {
    if (number >= 16) {
      std::memcpy(lanes, area_ + offsets().zmm_16 + 64 * (number - 16), 64);
      return;
    }
    std::memcpy(lanes, area_ + kXmmAt + 16 * number, 16);
    std::memcpy(lanes + 2, area_ + offsets().ymm + 16 * number, 16);
    std::memcpy(lanes + 4, area_ + offsets().zmm_high + 32 * number, 32);
  }
  void write(unsigned number, const uint64_t (&lanes)[kLanes]) {
    if (number >= 16) {
      std::memcpy(area_ + offsets().zmm_16 + 64 * (number - 16), lanes, 64);
      return;
    }
    std::memcpy(area_ + kXmmAt + 16 * number, lanes, 16);
    std::memcpy(area_ + offsets().ymm + 16 * number, lanes + 2, 16);
    std::memcpy(area_ + offsets().zmm_high + 32 * number, lanes + 4, 32);
  }

 private:
  static constexpr size_t kXmmAt = 160, kHeaderAt = 512;
  static constexpr uint64_t kXmm = 1 << 1, kYmm = 1 << 2, kZmmHigh = 1 << 6, kZmm16 = 1 << 7;
  struct Offsets {
    size_t ymm = at(2), zmm_high = at(6), zmm_16 = at(7);
    static size_t at(unsigned component) {
      unsigned size = 0, offset = 0, c = 0, d = 0;
      return __get_cpuid_count(0xd, component, &size, &offset, &c, &d) && size != 0 ? offset : 0;
    }
  };
  static const Offsets& offsets() {
    static const Offsets offsets;
    return offsets;
  }

  uint8_t* area_;
};

// One vpmadd52luq or vpmadd52huq of 512 bits without a mask, in EVEX encoding (Intel SDM volume 2, 2.7).
struct Instruction {
  bool high = false;
  unsigned sum = 0, a = 0;        // vector registers
  bool in_memory = false;         // the last factor
  unsigned b = 0;                 // its register, or
  uint64_t address = 0;           // its address,
  bool broadcast = false;         // where one integer is for all lanes
  unsigned size = 0;              // bytes of code
};

constexpr int kGeneral[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                              REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

// The address that ModRM, SIB and displacement give; `at` is behind ModRM, and is moved on.
__attribute__((no_sanitize("address", "undefined", "thread"))) uint64_t decode_address(
    const uint8_t*& at, uint8_t mod_rm, bool high_base, bool high_index, unsigned displacement_unit,
    const greg_t* general) {
  const unsigned mod = mod_rm >> 6, rm = mod_rm & 7;
  uint64_t address = 0;
  bool displacement_32 = mod == 2, rip_relative = false;
  if (rm == 4) {
    const uint8_t sib = *at++;
    const unsigned index = (sib >> 3 & 7) | high_index << 3, base = sib & 7;
    if (index != 4) address += static_cast<uint64_t>(general[kGeneral[index]]) << (sib >> 6);
    if (mod == 0 && base == 5) {
      displacement_32 = true;
    } else {
      address += static_cast<uint64_t>(general[kGeneral[base | high_base << 3]]);
    }
  } else if (mod == 0 && rm == 5) {
    displacement_32 = rip_relative = true;
  } else {
    address = static_cast<uint64_t>(general[kGeneral[rm | high_base << 3]]);
  }
  if (displacement_32) {
    int32_t displacement = 0;
    std::memcpy(&displacement, at, 4);
    at += 4;
    address += static_cast<uint64_t>(int64_t{displacement});
    if (rip_relative) address += reinterpret_cast<uint64_t>(at);
  } else if (mod == 1) {
    address += static_cast<uint64_t>(int64_t{static_cast<int8_t>(*at++)} * displacement_unit);
  }
  return address;
}

__attribute__((no_sanitize("address", "undefined", "thread"))) bool decode(const uint8_t* code, const greg_t* general,
                                                                            Instruction& out) {
  const uint8_t* at = code;
  if (*at++ != 0x62) return false;
  const uint8_t p0 = *at++, p1 = *at++, p2 = *at++, opcode = *at++;
  const bool is_ours = (p0 & 0x0f) == 2 && (p1 & 0x87) == 0x85 && (opcode == 0xb4 || opcode == 0xb5);
  const bool is_plain = (p2 & 0xe7) == 0x40;  // 512 bits, no mask
  if (!is_ours || !is_plain) return false;
  const bool high_reg = !(p0 & 0x80), high_x = !(p0 & 0x40), high_b = !(p0 & 0x20);
  const uint8_t mod_rm = *at++;
  out.high = opcode == 0xb5;
  out.sum = (mod_rm >> 3 & 7) | high_reg << 3 | unsigned{!(p0 & 0x10)} << 4;
  out.a = (~p1 >> 3 & 15) | unsigned{!(p2 & 0x08)} << 4;
  out.broadcast = p2 & 0x10;
  out.in_memory = mod_rm >> 6 != 3;
  if (out.in_memory) {
    out.address = decode_address(at, mod_rm, high_b, high_x, out.broadcast ? 8 : 64, general);
  } else {
    if (out.broadcast) return false;
    out.b = (mod_rm & 7) | high_b << 3 | high_x << 4;
  }
  out.size = static_cast<unsigned>(at - code);
  return true;
}

std::atomic<uint64_t> traps, emulated;

__attribute__((no_sanitize("address", "undefined", "thread"))) void execute(const Instruction& instruction,
                                                                             SavedRegisters& registers) {
  uint64_t sum[kLanes], a[kLanes], b[kLanes];
  registers.read(instruction.sum, sum);
  registers.read(instruction.a, a);
  if (!instruction.in_memory) {
    registers.read(instruction.b, b);
  } else {
    const auto* from = reinterpret_cast<const volatile uint64_t*>(instruction.address);
    for (size_t i = 0; i < kLanes; ++i) b[i] = from[instruction.broadcast ? 0 : i];
  }
  constexpr uint64_t kMask = (uint64_t{1} << 52) - 1;
  for (size_t i = 0; i < kLanes; ++i) {
    const unsigned __int128 product = static_cast<unsigned __int128>(a[i] & kMask) * (b[i] & kMask);
    sum[i] += instruction.high ? static_cast<uint64_t>(product >> 52) : static_cast<uint64_t>(product) & kMask;
  }
  registers.write(instruction.sum, sum);
}

// Goes on for as long as the same instructions follow: fewer traps.
void on_illegal_instruction(int signal, siginfo_t*, void* context) {
  auto& machine = static_cast<ucontext_t*>(context)->uc_mcontext;
  SavedRegisters registers(machine.fpregs);
  registers.complete();
  const greg_t at_first = machine.gregs[REG_RIP];
  for (Instruction instruction;
       decode(reinterpret_cast<const uint8_t*>(machine.gregs[REG_RIP]), machine.gregs, instruction);) {
    execute(instruction, registers);
    machine.gregs[REG_RIP] += instruction.size;
    emulated.fetch_add(1, std::memory_order_relaxed);
  }
  traps.fetch_add(1, std::memory_order_relaxed);
  if (machine.gregs[REG_RIP] == at_first) (void)std::signal(signal, SIG_DFL);  // not ours: it crashes, as it must
}

class IfmaEmulation : public testing::Test {
 protected:
  void SetUp() override {
    if (lanes::ifma_kernel()) GTEST_SKIP() << "this CPU has IFMA: the kernel is tested as it is";
    if (!lanes::fma_kernel()) GTEST_SKIP() << "this CPU lacks AVX-512F, which the emulation does not do";
    if (!SavedRegisters::supported()) GTEST_SKIP() << "no AVX-512 state in CPUID leaf 13";
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
    GTEST_SKIP() << "the sanitizer puts a handler of its own between";
#elif __has_feature(address_sanitizer)
    GTEST_SKIP() << "three million traps, and the machine code is another; the release build has it";
#endif
#endif
    struct sigaction action {};
    action.sa_sigaction = &on_illegal_instruction;
    action.sa_flags = SA_SIGINFO;
    ASSERT_EQ(sigaction(SIGILL, &action, &before_), 0);
    installed_ = true;
    traps = emulated = 0;
  }
  void TearDown() override {
    if (installed_) sigaction(SIGILL, &before_, nullptr);
  }

  struct sigaction before_ {};
  bool installed_ = false;
};

struct alignas(64) Vector {
  uint64_t lane[kLanes];
};

Vector random_vector(std::mt19937_64& random) {
  Vector vector;
  for (uint64_t& lane : vector.lane) lane = random();  // above 52 bits, too: these do not count
  return vector;
}
Vector expected_sum(const Vector& sum, const Vector& a, const Vector& b, bool high, bool broadcast = false) {
  Vector out;
  for (size_t i = 0; i < kLanes; ++i) {
    constexpr uint64_t kMask = (uint64_t{1} << 52) - 1;
    const unsigned __int128 product =
        static_cast<unsigned __int128>(a.lane[i] & kMask) * (b.lane[broadcast ? 0 : i] & kMask);
    out.lane[i] = sum.lane[i] + (static_cast<uint64_t>(high ? product >> 52 : product) & kMask);
  }
  return out;
}

// `instruction` has %zmm(SUM) for the sum and zmm(A) for a factor, whose values are loaded before; b is loaded into zmm(B),
// and is in memory at rbx = b - 64, with rcx = 16.
#define BELLHOP_CHECK_FORM(SUM, A, B, high, broadcast, instruction)                                              \
  do {                                                                                                           \
    const Vector sum = random_vector(random), a = random_vector(random);                                         \
    const Vector memory[2] = {random_vector(random), random_vector(random)};                                     \
    Vector out{};                                                                                                \
    asm volatile("vmovdqu64 (%1), %%zmm" #SUM "\n\tvmovdqu64 (%2), %%zmm" #A "\n\tvmovdqu64 64(%%rbx), %%zmm" #B \
                 "\n\t" instruction "\n\tvmovdqu64 %%zmm" #SUM ", (%0)"                                          \
                 :                                                                                               \
                 : "r"(&out), "r"(&sum), "r"(&a), "b"(&memory[0]), "c"(uint64_t{16})                             \
                 : "memory", "r12", "r13", "xmm" #SUM, "xmm" #A, "xmm" #B);                                      \
    const Vector expected = expected_sum(sum, a, memory[1], high, broadcast);                                    \
    EXPECT_EQ(std::memcmp(&out, &expected, sizeof out), 0) << instruction;                                       \
  } while (false)

__attribute__((target("avx512f"), noinline)) void check_forms() {
  std::mt19937_64 random(5);
  for (int round = 0; round < 20; ++round) {
    BELLHOP_CHECK_FORM(1, 2, 3, false, false, "vpmadd52luq %%zmm3, %%zmm2, %%zmm1");
    BELLHOP_CHECK_FORM(1, 2, 3, true, false, "vpmadd52huq %%zmm3, %%zmm2, %%zmm1");
    BELLHOP_CHECK_FORM(9, 10, 14, false, false, "vpmadd52luq %%zmm14, %%zmm10, %%zmm9");
    BELLHOP_CHECK_FORM(16, 31, 24, true, false, "vpmadd52huq %%zmm24, %%zmm31, %%zmm16");
    BELLHOP_CHECK_FORM(27, 4, 18, false, false, "vpmadd52luq %%zmm18, %%zmm4, %%zmm27");
    BELLHOP_CHECK_FORM(5, 20, 8, true, false, "vpmadd52huq %%zmm8, %%zmm20, %%zmm5");
    BELLHOP_CHECK_FORM(1, 2, 3, true, false, "vpmadd52huq 64(%%rbx), %%zmm2, %%zmm1");  // one byte, times 64
    BELLHOP_CHECK_FORM(1, 2, 3, false, false,
                       "lea 128(%%rbx), %%r12\n\tvpmadd52luq -64(%%r12), %%zmm2, %%zmm1");
    BELLHOP_CHECK_FORM(30, 29, 3, false, false,
                       "lea -65(%%rbx), %%r13\n\tvpmadd52luq 129(%%r13), %%zmm29, %%zmm30");  // four bytes
    BELLHOP_CHECK_FORM(1, 2, 3, true, false, "lea 64(%%rbx), %%r13\n\tvpmadd52huq (%%r13), %%zmm2, %%zmm1");
    BELLHOP_CHECK_FORM(1, 2, 3, false, false, "vpmadd52luq (%%rbx,%%rcx,4), %%zmm2, %%zmm1");
    BELLHOP_CHECK_FORM(1, 2, 3, true, false,
                       "lea -64(%%rbx), %%r12\n\tlea (%%rcx), %%r13\n\t"
                       "vpmadd52huq 64(%%r12,%%r13,4), %%zmm2, %%zmm1");
    BELLHOP_CHECK_FORM(1, 2, 3, false, false,
                       "lea 32(%%rbx), %%r12\n\tvpmadd52luq 0(,%%r12,1), %%zmm2, %%zmm1\n\t"
                       "vmovdqu64 (%1), %%zmm1\n\tvpmadd52luq 32(,%%r12,1), %%zmm2, %%zmm1");  // no base
    BELLHOP_CHECK_FORM(17, 2, 3, true, true, "vpmadd52huq 64(%%rbx)%{1to8%}, %%zmm2, %%zmm17");  // one byte, times 8
    BELLHOP_CHECK_FORM(7, 2, 3, false, true, "vpmadd52luq 32(%%rbx,%%rcx,2)%{1to8%}, %%zmm2, %%zmm7");
    BELLHOP_CHECK_FORM(1, 2, 3, true, false,  // several in one trap, the second of them from the first
                       "vpxorq %%zmm1, %%zmm1, %%zmm1\n\tvpmadd52luq %%zmm3, %%zmm2, %%zmm1\n\t"
                       "vmovdqu64 (%1), %%zmm1\n\tvpmadd52huq %%zmm3, %%zmm2, %%zmm1");
  }
}

TEST_F(IfmaEmulation, DoesWhatTheInstructionsSayInEachForm) {
  check_forms();
  EXPECT_GE(traps, 16u * 20);
}

// Relative to the instruction's own address.
alignas(64) constinit Vector in_the_image = {{1, 2, 3, 4, 5, 6, 7, 8}};

TEST_F(IfmaEmulation, FindsAFactorRelativeToTheCode) {
  const Vector sum{}, a = {{10, 20, 30, 40, 50, 60, 70, 80}};
  Vector out{};
  asm volatile(
      "vmovdqu64 (%1), %%zmm1\n\tvmovdqu64 (%2), %%zmm2\n\tvpmadd52luq %3, %%zmm2, %%zmm1\n\tvmovdqu64 %%zmm1, (%0)"
      :
      : "r"(&out), "r"(&sum), "r"(&a), "m"(in_the_image)
      : "memory", "xmm1", "xmm2");
  for (size_t i = 0; i < kLanes; ++i) EXPECT_EQ(out.lane[i], 10 * (i + 1) * (i + 1));
}

template <size_t Half>
void check_kernel(unsigned bits) {
  const auto keys = converted_keys(bits);
  LaneRequests requests;
  for (size_t i = 0; i < kLanes; ++i) {
    const ConvertedKey& key = keys[i % keys.size()];
    requests.push_back({&key, random_below_modulus(key)});
  }
  auto space = make_space<Half>();
  fill(*space, requests);
  space->checkp[3].lane[2] ^= 8;  // the verification can fail, too
  const auto before = std::chrono::steady_clock::now();
  const uint8_t good = run_kernel(*lanes::unchecked_ifma_kernel(), *space);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - before;
  EXPECT_EQ(good, 0b11111011);
  for (size_t lane = 0; lane < kLanes; ++lane) {
    EXPECT_EQ(result_of(*space, lane), boringssl_result(*requests[lane].key, requests[lane].ciphertext)) << lane;
  }
  fmt::print("RSA-{}: {} instructions in {} traps, {:.1f} s\n", bits, emulated.load(), traps.load(), took.count());
}

TEST_F(IfmaEmulation, TheKernelOfEightKeysAgreesWithBoringSsl) { check_kernel<lanes::kHalf2048>(2048); }

}  // namespace
}  // namespace bellhop::crypto
#endif
