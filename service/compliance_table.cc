// SPDX-License-Identifier: Apache-2.0
#include "service/compliance_table.h"

#include <algorithm>

#include "core/base/bytes.h"
#include "core/base/check.h"

namespace bellhop::service {
namespace {

constexpr size_t kWords = 6;
constexpr unsigned kTextBits = 20;
constexpr uint64_t kTextMask = (uint64_t{1} << kTextBits) - 1;
static_assert(TextPool::kTextsMax == kTextMask + 1);

// Of the last word, above two numbers of texts.
constexpr unsigned kFlagsAt = 2 * kTextBits;
constexpr uint64_t kOtherName = uint64_t{1} << 62;
constexpr uint64_t kErased = uint64_t{1} << 63;

uint64_t two_bits(uint64_t value, unsigned place) { return value << (kFlagsAt + 2 * place); }
template <class E>
E two_bits_of(uint64_t word, unsigned place) {
  return static_cast<E>(word >> (kFlagsAt + 2 * place) & 3);
}

// Seconds since the epoch in 32 bits: until 2106, and nothing before 1970.
uint64_t seconds_of(WallTime time) {
  int64_t seconds = std::chrono::floor<std::chrono::seconds>(time).time_since_epoch().count();
  return static_cast<uint64_t>(std::clamp<int64_t>(seconds, 0, UINT32_MAX));
}
WallTime time_of(uint64_t seconds) { return WallTime(std::chrono::seconds(static_cast<int64_t>(seconds & UINT32_MAX))); }

// A name that led to a first name leads on where that one has become another name of a third. More such steps are not taken:
// while it is written the way may seem endless.
constexpr unsigned kStepsMax = 8;

size_t slots_for(size_t entries) { return entries + entries / 2 + 1; }

}  // namespace

// ---- Texts ----

TextPool::~TextPool() {
  for (auto& block : blocks_) delete block.load(std::memory_order_relaxed);
}

uint32_t TextPool::add(std::string_view text) {
  if (text.empty()) return 0;
  if (auto found = numbers_.find(text); found != numbers_.end()) return found->second;
  if (next_ == kTextsMax) {
    ++refused_;
    return 0;
  }
  std::atomic<Block*>& place = blocks_[next_ / kTextsPerBlock];
  Block* block = place.load(std::memory_order_relaxed);
  if (!block) {
    block = new Block;
    place.store(block, std::memory_order_release);
  }
  std::string& kept = block->texts[next_ % kTextsPerBlock];
  kept.assign(text);
  numbers_.emplace(kept, next_);
  return next_++;
}

std::string_view TextPool::text(uint32_t number) const {
  if (number == 0) return {};
  const Block* block = blocks_[number / kTextsPerBlock].load(std::memory_order_acquire);
  return block ? std::string_view(block->texts[number % kTextsPerBlock]) : std::string_view();
}

// ---- The table ----

// An entry as it is read: key (2), account, times, model/os/version, type/client/flags. Of another name: key (2), key of
// the first name (2).
struct ComplianceTable::Words {
  uint64_t word[kWords] = {};

  store::ComplianceKey key_at(size_t first) const {
    store::ComplianceKey key;
    store_be64(key.bytes.data(), word[first]);
    store_be64(key.bytes.data() + 8, word[first + 1]);
    return key;
  }
  void set_key(size_t first, const store::ComplianceKey& key) {
    word[first] = load_be64(key.bytes.data());
    word[first + 1] = load_be64(key.bytes.data() + 8);
  }
  uint64_t flags() const { return word[kWords - 1]; }
  bool other_name() const { return (flags() & kOtherName) != 0; }
  bool erased() const { return (flags() & kErased) != 0; }
};

struct ComplianceTable::Segment {
  struct Entry {
    std::atomic<uint64_t> word[kWords];
  };
  explicit Segment(size_t entries)
      : entries_max(entries),
        slots_max(slots_for(entries)),
        all(std::make_unique<Entry[]>(entries)),
        slots(std::make_unique<std::atomic<uint32_t>[]>(slots_max)) {}

  size_t bytes() const { return sizeof *this + entries_max * sizeof(Entry) + slots_max * sizeof(uint32_t); }

  // Where a key's search begins. The first byte has chosen the segment; keys of a segment lie in its order.
  size_t slot_of(uint64_t first_word) const {
    return static_cast<size_t>((static_cast<unsigned __int128>(first_word << 8) * slots_max) >> 64);
  }
  // The entry of the key; nothing where there is none.
  std::optional<uint32_t> find(uint64_t first, uint64_t second) const {
    for (size_t slot = slot_of(first);; slot = slot + 1 == slots_max ? 0 : slot + 1) {
      uint32_t number = slots[slot].load(std::memory_order_acquire);
      if (number == 0) return std::nullopt;
      const Entry& entry = all[number - 1];
      bool same = entry.word[0].load(std::memory_order_relaxed) == first &&
                  entry.word[1].load(std::memory_order_relaxed) == second;
      if (same) return number - 1;
    }
  }
  Words read(uint32_t index) const {
    Words words;
    for (;;) {
      uint32_t before = sequence.load(std::memory_order_acquire);
      for (size_t i = 0; i < kWords; ++i) words.word[i] = all[index].word[i].load(std::memory_order_relaxed);
      std::atomic_thread_fence(std::memory_order_acquire);
      if ((before & 1) == 0 && sequence.load(std::memory_order_relaxed) == before) return words;
    }
  }
  void write(uint32_t index, const Words& words) {
    uint32_t before = sequence.load(std::memory_order_relaxed);
    sequence.store(before + 1, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_release);
    for (size_t i = 0; i < kWords; ++i) all[index].word[i].store(words.word[i], std::memory_order_relaxed);
    sequence.store(before + 2, std::memory_order_release);
  }
  // The key is not here, and there is room.
  void insert(const Words& words) {
    BH_CHECK(size < entries_max);
    write(size, words);
    size_t slot = slot_of(words.word[0]);
    while (slots[slot].load(std::memory_order_relaxed) != 0) slot = slot + 1 == slots_max ? 0 : slot + 1;
    slots[slot].store(++size, std::memory_order_release);
  }

  const size_t entries_max, slots_max;
  uint32_t size = 0;  // the writer's
  uint32_t erased = 0;
  std::atomic<uint32_t> sequence{0};
  const std::unique_ptr<Entry[]> all;
  const std::unique_ptr<std::atomic<uint32_t>[]> slots;
};

void ComplianceTable::FreeSegment::operator()(Segment* segment) const { delete segment; }

ComplianceTable::~ComplianceTable() {
  for (auto& segment : segments_) delete segment.load(std::memory_order_relaxed);
}

ComplianceTable::Segment* ComplianceTable::segment_of(const store::ComplianceKey& key) const {
  return segments_[key.bytes[0]].load(std::memory_order_acquire);
}

bool ComplianceTable::find_words(const store::ComplianceKey& key, Words& words) const {
  const Segment* segment = segment_of(key);
  if (!segment) return false;
  auto index = segment->find(load_be64(key.bytes.data()), load_be64(key.bytes.data() + 8));
  if (!index) return false;
  words = segment->read(*index);
  return !words.erased();
}

bool ComplianceTable::find(const store::ComplianceKey& key, DeviceFacts& facts) const {
  Words words;
  if (!find_words(key, words)) return false;
  for (unsigned steps = 0; words.other_name(); ++steps) {
    if (steps == kStepsMax || !find_words(words.key_at(2), words)) return false;
  }
  uint64_t texts = words.word[4], flags = words.flags();
  facts.key = words.key_at(0);
  facts.account = words.word[2];
  facts.last_contact = time_of(words.word[3] >> 32);
  facts.updated = time_of(words.word[3]);
  facts.model = texts_.text(static_cast<uint32_t>(texts & kTextMask));
  facts.os = texts_.text(static_cast<uint32_t>(texts >> kTextBits & kTextMask));
  facts.os_version = texts_.text(static_cast<uint32_t>(texts >> 2 * kTextBits & kTextMask));
  facts.device_type = texts_.text(static_cast<uint32_t>(flags & kTextMask));
  facts.mail_client = texts_.text(static_cast<uint32_t>(flags >> kTextBits & kTextMask));
  facts.managed = two_bits_of<Known>(flags, 0);
  facts.compromised = two_bits_of<Known>(flags, 1);
  facts.encrypted = two_bits_of<Known>(flags, 2);
  facts.activesync_profile = two_bits_of<Known>(flags, 3);
  facts.override_to = two_bits_of<ComplianceOverride>(flags, 4);
  facts.hold = two_bits_of<ComplianceHold>(flags, 5);
  return true;
}

ComplianceTable::Words ComplianceTable::pack(const store::ComplianceKey& key, const ComplianceRecord& record,
                                             ComplianceHold hold) {
  Words words;
  words.set_key(0, key);
  if (!record.first_name.zero()) {
    words.set_key(2, record.first_name);
    words.word[5] = kOtherName;
    return words;
  }
  auto text = [this](const std::string& t) { return uint64_t{texts_.add(t)}; };
  words.word[2] = record.account;
  words.word[3] = seconds_of(record.last_contact) << 32 | seconds_of(record.updated);
  words.word[4] = text(record.model) | text(record.os) << kTextBits | text(record.os_version) << 2 * kTextBits;
  words.word[5] = text(record.device_type) | text(record.mail_client) << kTextBits;
  const uint8_t pairs[] = {uint8_t(record.managed),     uint8_t(record.compromised), uint8_t(record.encrypted),
                           uint8_t(record.activesync_profile), uint8_t(record.override_to), uint8_t(hold)};
  for (unsigned place = 0; place < std::size(pairs); ++place) words.word[5] |= two_bits(pairs[place], place);
  return words;
}

void ComplianceTable::unpack(const Words& words, ComplianceRecord& record) const {
  record.first_name = {};
  if (words.other_name()) {
    record = {};
    record.first_name = words.key_at(2);
    return;
  }
  auto text = [this](uint64_t word, unsigned place) {
    return texts_.text(static_cast<uint32_t>(word >> place * kTextBits & kTextMask));
  };
  uint64_t flags = words.flags();
  record.account = words.word[2];
  record.last_contact = time_of(words.word[3] >> 32);
  record.updated = time_of(words.word[3]);
  record.model.assign(text(words.word[4], 0));
  record.os.assign(text(words.word[4], 1));
  record.os_version.assign(text(words.word[4], 2));
  record.device_type.assign(text(flags, 0));
  record.mail_client.assign(text(flags, 1));
  record.managed = two_bits_of<Known>(flags, 0);
  record.compromised = two_bits_of<Known>(flags, 1);
  record.encrypted = two_bits_of<Known>(flags, 2);
  record.activesync_profile = two_bits_of<Known>(flags, 3);
  record.override_to = two_bits_of<ComplianceOverride>(flags, 4);
}

// Another segment with the same entries, but for erased ones, and room for `entries_max`.
ComplianceTable::Segment* ComplianceTable::grow(size_t number, size_t entries_max, Retired* retired) {
  Segment* before = segments_[number].load(std::memory_order_relaxed);
  auto after = std::make_unique<Segment>(entries_max);
  if (before) {
    // In the order of the slots, and so nearly of the keys.
    for (size_t slot = 0; slot < before->slots_max; ++slot) {
      uint32_t place = before->slots[slot].load(std::memory_order_relaxed);
      if (place == 0) continue;
      Words words = before->read(place - 1);
      if (!words.erased()) after->insert(words);
    }
  }
  size_t bytes = bytes_.load(std::memory_order_relaxed) + after->bytes() - (before ? before->bytes() : 0);
  bytes_.store(bytes, std::memory_order_relaxed);
  Segment* made = after.release();
  segments_[number].store(made, std::memory_order_release);
  if (before && retired) {
    retired->emplace_back(before);
  } else {
    delete before;
  }
  return made;
}

void ComplianceTable::put(const store::ComplianceKey& key, const ComplianceRecord& record, ComplianceHold hold,
                          Retired* retired) {
  size_t number = key.bytes[0];
  Segment* segment = segments_[number].load(std::memory_order_relaxed);
  Words words = pack(key, record, hold);
  std::optional<uint32_t> there;
  if (segment) there = segment->find(words.word[0], words.word[1]);
  if (there) {
    bool erased = segment->read(*there).erased();
    segment->write(*there, words);
    if (!erased) return;
    --segment->erased;
  } else {
    if (!segment) segment = grow(number, 4, retired);
    if (segment->size == segment->entries_max) {
      size_t live = segment->size - segment->erased;
      segment = grow(number, live + live / 3 + 4, retired);
    }
    segment->insert(words);
  }
  size_.fetch_add(1, std::memory_order_relaxed);
}

void ComplianceTable::erase(const store::ComplianceKey& key) {
  Segment* segment = segment_of(key);
  if (!segment) return;
  auto there = segment->find(load_be64(key.bytes.data()), load_be64(key.bytes.data() + 8));
  if (!there) return;
  Words words = segment->read(*there);
  if (words.erased()) return;
  words.word[2] = words.word[3] = words.word[4] = 0;
  words.word[5] = kErased;
  segment->write(*there, words);
  ++segment->erased;
  size_.fetch_sub(1, std::memory_order_relaxed);
}

bool ComplianceTable::has(const store::ComplianceKey& key) const {
  Words words;
  return find_words(key, words);
}

bool ComplianceTable::read(const store::ComplianceKey& key, ComplianceRecord& record) const {
  Words words;
  if (!find_words(key, words)) return false;
  unpack(words, record);
  return true;
}

void ComplianceTable::trim(size_t number, Retired* retired) {
  Segment* segment = segments_[number].load(std::memory_order_relaxed);
  if (!segment) return;
  size_t live = segment->size - segment->erased;
  if (live < segment->entries_max) grow(number, std::max<size_t>(live, 1), retired);
}

void ComplianceTable::for_each(
    size_t number, store::FunctionRef<void(const store::ComplianceKey&, const ComplianceRecord&)> f) const {
  const Segment* segment = segments_[number].load(std::memory_order_acquire);
  if (!segment) return;
  ComplianceRecord record;
  for (size_t slot = 0; slot < segment->slots_max; ++slot) {
    uint32_t place = segment->slots[slot].load(std::memory_order_acquire);
    if (place == 0) continue;
    Words words = segment->read(place - 1);
    if (words.erased()) continue;
    unpack(words, record);
    f(words.key_at(0), record);
  }
}

void ComplianceTable::for_each_other_name(
    size_t number, store::FunctionRef<void(const store::ComplianceKey&, const store::ComplianceKey&)> f) const {
  const Segment* segment = segments_[number].load(std::memory_order_acquire);
  if (!segment) return;
  for (uint32_t index = 0; index < segment->size; ++index) {
    bool other = (segment->all[index].word[kWords - 1].load(std::memory_order_relaxed) & kOtherName) != 0;
    if (!other) continue;
    Words words = segment->read(index);
    if (!words.erased()) f(words.key_at(0), words.key_at(2));
  }
}

void ComplianceTable::keep_times(size_t number, const ComplianceTable& before) {
  constexpr uint64_t kUpdated = UINT32_MAX;
  Segment* segment = segments_[number].load(std::memory_order_relaxed);
  if (!segment) return;
  Words was;
  for (uint32_t index = 0; index < segment->size; ++index) {
    Words words = segment->read(index);
    if (words.other_name() || words.erased() || !before.find_words(words.key_at(0), was)) continue;
    bool same = was.word[2] == words.word[2] && was.word[4] == words.word[4] && was.word[5] == words.word[5];
    if (!same) continue;
    words.word[3] = (words.word[3] & ~kUpdated) | (was.word[3] & kUpdated);
    segment->write(index, words);
  }
}

}  // namespace bellhop::service
