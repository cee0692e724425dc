// SPDX-License-Identifier: Apache-2.0
#include "crypto/arena.h"

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cstring>

#include "core/base/bytes.h"
#include "core/base/check.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#include <sanitizer/asan_interface.h>
#define BH_POISON(address, size) ASAN_POISON_MEMORY_REGION(address, size)
#define BH_UNPOISON(address, size) ASAN_UNPOISON_MEMORY_REGION(address, size)
#endif
#endif
#ifndef BH_POISON
#define BH_POISON(address, size) ((void)0)
#define BH_UNPOISON(address, size) ((void)0)
#endif

namespace bellhop::crypto {
namespace {

constexpr size_t kPageBytes = 4096;
constexpr size_t kGroupBytes = Arena::kGuardedSlabs * Arena::kSlabBytes + kPageBytes;  // slabs and their guard page

size_t class_of(size_t size) {
  size_t rounded = std::bit_ceil(std::max(size, Arena::kBlockBytesMin));
  return static_cast<size_t>(std::countr_zero(rounded) - std::countr_zero(Arena::kBlockBytesMin));
}
size_t class_bytes(size_t size_class) {
  return Arena::kBlockBytesMin << size_class;
}
size_t blocks_per_slab(size_t size_class) {
  return Arena::kSlabBytes / class_bytes(size_class);
}

size_t page_rounded(size_t size) {
  return (size + kPageBytes - 1) / kPageBytes * kPageBytes;
}

uint8_t* reserve(size_t size) {
  void* memory = mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  BH_CHECK(memory != MAP_FAILED);
  // Only a kernel without the option refuses; harden_process() turns dumps off as a whole as well.
  (void)madvise(memory, size, MADV_DONTDUMP);
  return static_cast<uint8_t*>(memory);
}

}  // namespace

Arena::Arena(size_t slabs_max) : slabs_max_(slabs_max) {
  BH_CHECK(slabs_max > 0);
  BH_CHECK(sysconf(_SC_PAGESIZE) == static_cast<long>(kPageBytes));
  span_bytes_ = kPageBytes + (slabs_max + kGuardedSlabs - 1) / kGuardedSlabs * kGroupBytes;
  span_ = reserve(span_bytes_);
}

Arena::~Arena() {
  BH_CHECK(stats_.blocks_in_use == 0);
  BH_UNPOISON(span_, span_bytes_);
  munmap(span_, span_bytes_);
}

uint8_t* Arena::slab_start(size_t slab) const {
  return span_ + kPageBytes + slab / kGuardedSlabs * kGroupBytes + slab % kGuardedSlabs * kSlabBytes;
}

size_t Arena::slab_of(const void* block) const {
  const auto at = static_cast<size_t>(static_cast<const uint8_t*>(block) - span_ - kPageBytes);
  return at / kGroupBytes * kGuardedSlabs + at % kGroupBytes / kSlabBytes;
}

bool Arena::contains(const void* pointer) const {
  auto* at = static_cast<const uint8_t*>(pointer);
  return at >= span_ && at < span_ + span_bytes_;
}

ArenaStats Arena::stats() const {
  std::lock_guard lock(mutex_);
  return stats_;
}

void* Arena::allocate(size_t size) {
  BH_CHECK(size > 0);
  std::lock_guard lock(mutex_);
  void* block = size > kBlockBytesMax ? nullptr : allocate_block(class_of(size));
  if (block) return block;
  if (size <= kBlockBytesMax) ++stats_.spills_full_total;
  return spill(size);
}

void* Arena::allocate_block(size_t size_class) {
  auto& partial = partial_[size_class];
  if (partial.empty() && !open_slab(size_class)) return nullptr;
  const uint32_t index = partial.back();
  Slab& slab = slabs_[index];
  const size_t blocks = blocks_per_slab(size_class);
  BH_CHECK(slab.in_use < blocks);
  for (size_t word = 0; word * 64 < blocks; ++word) {
    const size_t block = word * 64 + static_cast<size_t>(std::countr_one(slab.used[word]));
    if (block == word * 64 + 64 || block >= blocks) continue;
    slab.used[word] |= uint64_t{1} << (block % 64);
    if (++slab.in_use == blocks) partial.pop_back();
    ++stats_.blocks_in_use;
    uint8_t* memory = slab_start(index) + block * class_bytes(size_class);
    BH_UNPOISON(memory, class_bytes(size_class));
    return memory;
  }
  check_failed("a slab with room has a free block", __FILE__, __LINE__);
}

// Gives the class a slab: an empty one, or a new one. False where the arena is full.
bool Arena::open_slab(size_t size_class) {
  if (empty_.empty() && !commit_slab()) return false;
  const uint32_t slab = empty_.back();
  empty_.pop_back();
  slabs_[slab].size_class = static_cast<uint8_t>(size_class);
  partial_[size_class].push_back(slab);
  return true;
}

bool Arena::commit_slab() {
  if (slabs_.size() == slabs_max_) return false;
  const auto index = static_cast<uint32_t>(slabs_.size());
  uint8_t* memory = slab_start(index);
  BH_CHECK(mprotect(memory, kSlabBytes, PROT_READ | PROT_WRITE) == 0);
  if (mlock(memory, kSlabBytes) == 0) {
    stats_.bytes_locked += kSlabBytes;
  } else if (stats_.lock_errno == 0) {
    stats_.lock_errno = errno;
  }
  stats_.bytes_committed += kSlabBytes;
  BH_POISON(memory, kSlabBytes);
  slabs_.emplace_back();
  empty_.push_back(index);
  return true;
}

// Another class may have the slab now. The last slab with room stays with its class: a block that comes and goes must
// not move a slab each time.
void Arena::close_slab(uint32_t slab) {
  auto& partial = partial_[slabs_[slab].size_class];
  if (partial.size() < 2) return;
  std::erase(partial, slab);
  empty_.push_back(slab);
}

void Arena::deallocate(void* block, size_t size) {
  BH_CHECK(block != nullptr && size > 0);
  std::lock_guard lock(mutex_);
  if (!contains(block)) return unspill(block, size);
  const auto index = static_cast<uint32_t>(slab_of(block));
  BH_CHECK(index < slabs_.size());
  Slab& slab = slabs_[index];
  const size_t bytes = class_bytes(slab.size_class);
  const auto offset = static_cast<size_t>(static_cast<uint8_t*>(block) - slab_start(index));
  BH_CHECK(class_of(size) == slab.size_class && offset % bytes == 0);
  const size_t number = offset / bytes;
  const uint64_t bit = uint64_t{1} << (number % 64);
  BH_CHECK(slab.used[number / 64] & bit);  // not freed twice
  wipe(block, bytes);
  BH_POISON(block, bytes);
  slab.used[number / 64] &= ~bit;
  --stats_.blocks_in_use;
  if (slab.in_use-- == blocks_per_slab(slab.size_class)) partial_[slab.size_class].push_back(index);
  if (slab.in_use == 0) close_slab(index);
}

// Outside the slabs: guard page, memory, guard page.
void* Arena::spill(size_t size) {
  uint8_t* memory = reserve(page_rounded(size) + 2 * kPageBytes);
  BH_CHECK(mprotect(memory + kPageBytes, page_rounded(size), PROT_READ | PROT_WRITE) == 0);
  ++stats_.spills_in_use;
  return memory + kPageBytes;
}

void Arena::unspill(void* block, size_t size) {
  wipe(block, size);
  BH_CHECK(munmap(static_cast<uint8_t*>(block) - kPageBytes, page_rounded(size) + 2 * kPageBytes) == 0);
  --stats_.spills_in_use;
}

namespace {

// Never destroyed: secrets of static objects may outlive any order of destruction.
std::array<Arena*, kProcessArenas>& arenas() {
  static auto& all = *[] {
    auto* made = new std::array<Arena*, kProcessArenas>();
    for (Arena*& arena : *made) arena = new Arena(kProcessArenaSlabs);
    return made;
  }();
  return all;
}

Arena& arena_of_this_thread() {
  static std::atomic<uint32_t> next{0};
  thread_local const uint32_t mine = next.fetch_add(1, std::memory_order_relaxed) % kProcessArenas;
  return *arenas()[mine];
}

}  // namespace

void* secret_allocate(size_t size) {
  return arena_of_this_thread().allocate(size);
}

void secret_deallocate(void* block, size_t size) {
  for (Arena* arena : arenas()) {
    if (arena->contains(block)) return arena->deallocate(block, size);
  }
  // A mapping of its own belongs to no arena; only the sum over all counts them right.
  arena_of_this_thread().deallocate(block, size);
}

ArenaStats arena_stats() {
  ArenaStats sum;
  for (const Arena* arena : arenas()) {
    const ArenaStats one = arena->stats();
    sum.blocks_in_use += one.blocks_in_use;
    sum.bytes_committed += one.bytes_committed;
    sum.bytes_locked += one.bytes_locked;
    if (sum.lock_errno == 0) sum.lock_errno = one.lock_errno;
    sum.spills_in_use += one.spills_in_use;
    sum.spills_full_total += one.spills_full_total;
  }
  return sum;
}

Status harden_process() {
  const rlimit none{0, 0};
  if (setrlimit(RLIMIT_CORE, &none) != 0) return fail(os_error(errno));
  if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return fail(os_error(errno));
  return {};
}

}  // namespace bellhop::crypto
