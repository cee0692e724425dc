// SPDX-License-Identifier: Apache-2.0
#include "crypto/secret.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "core/base/check.h"

namespace bellhop::crypto {
namespace {

// Counters by thread, each on its own cache line, so that cores do not fight for one. A secret may be made on one
// thread and die on another: single counters may be negative, the sum is right.
constexpr size_t kCounters = 16;
struct alignas(64) Counter {
  std::atomic<int64_t> value{0};
};
Counter g_live[kCounters];

void count_live(int64_t change) {
  static std::atomic<uint32_t> next{0};
  thread_local const uint32_t mine = next.fetch_add(1, std::memory_order_relaxed) % kCounters;
  g_live[mine].value.fetch_add(change, std::memory_order_relaxed);
}

}  // namespace

Secret::Secret(size_t capacity) : size_(capacity), capacity_(capacity) {
  if (capacity == 0) return;
  data_ = static_cast<uint8_t*>(secret_allocate(capacity));
  count_live(1);
}

Secret Secret::copy_of(Bytes bytes) {
  Secret secret(bytes.size());
  std::copy(bytes.begin(), bytes.end(), secret.data_);
  return secret;
}

Secret Secret::of_size(size_t size) {
  return Secret(size);
}

Secret::Secret(Secret&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      capacity_(std::exchange(other.capacity_, 0)) {}

Secret& Secret::operator=(Secret&& other) noexcept {
  if (this == &other) return *this;
  clear();
  data_ = std::exchange(other.data_, nullptr);
  size_ = std::exchange(other.size_, 0);
  capacity_ = std::exchange(other.capacity_, 0);
  return *this;
}

void Secret::clear() {
  if (!data_) return;
  secret_deallocate(data_, capacity_);  // wipes
  count_live(-1);
  data_ = nullptr;
  size_ = capacity_ = 0;
}

void Secret::truncate(size_t size) {
  BH_CHECK(size <= size_);
  wipe(data_ + size, size_ - size);
  size_ = size;
}

int64_t Secret::live_count() {
  int64_t sum = 0;
  for (const Counter& counter : g_live) sum += counter.value.load(std::memory_order_relaxed);
  return sum;
}

bool SecretBuffer::append(Bytes bytes) {
  if (bytes.size() > size_max_ - bytes_.size()) return false;
  bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  return true;
}

Secret SecretBuffer::finish() {
  Secret secret = Secret::copy_of(Bytes(bytes_));
  clear();
  return secret;
}

namespace {

constexpr char kBase64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

}  // namespace

Secret base64_of(const Secret& secret) {
  const Bytes in = secret.reveal();
  Secret text = Secret::of_size((in.size() + 2) / 3 * 4);
  uint8_t* out = text.reveal_mutable().data();
  for (size_t i = 0; i < in.size(); i += 3) {
    const size_t rest = in.size() - i;
    const uint32_t group =
        uint32_t(in[i]) << 16 | (rest > 1 ? uint32_t(in[i + 1]) << 8 : 0) | (rest > 2 ? in[i + 2] : 0u);
    *out++ = static_cast<uint8_t>(kBase64[group >> 18]);
    *out++ = static_cast<uint8_t>(kBase64[group >> 12 & 63]);
    *out++ = rest > 1 ? static_cast<uint8_t>(kBase64[group >> 6 & 63]) : '=';
    *out++ = rest > 2 ? static_cast<uint8_t>(kBase64[group & 63]) : '=';
  }
  return text;
}

std::optional<Secret> secret_from_base64url(std::string_view text) {
  Secret secret = Secret::of_size(text.size() / 4 * 3 + 3);
  const auto size = from_base64url(text, secret.reveal_mutable());
  if (!size) return std::nullopt;
  secret.truncate(*size);
  return secret;
}

std::optional<Secret> secret_from_base64(std::string_view text) {
  if (text.size() % 4 != 0) return std::nullopt;
  size_t padding = 0;
  while (padding < 2 && padding < text.size() && text[text.size() - 1 - padding] == '=') ++padding;
  text.remove_suffix(padding);
  // The decoder of the other alphabet does the work, on a wiped copy.
  WipingBytes translated(text.begin(), text.end());
  for (uint8_t& c : translated) {
    if (c == '-' || c == '_') return std::nullopt;
    if (c == '+') c = '-';
    if (c == '/') c = '_';
  }
  return secret_from_base64url(as_text(translated));
}

}  // namespace bellhop::crypto
