// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace bellhop::standin {

// What the UEM stand-in has counted.
struct UemBooks {
  uint64_t requests = 0;  // with good credentials
  uint64_t bulks = 0;     // lists of all devices that were begun
  uint64_t deltas = 0;    // questions for what has changed
  uint64_t lines = 0;     // given
  uint64_t gone = 0;      // tokens that were not known any more
  uint64_t refused = 0;   // credentials
  uint64_t faulted = 0;
};

// The devices of the UEM stand-in, and what changed when. A number of them are made up, UEM0000001 and so on, and take no
// memory before they change; others come by put(). Each has one line of JSON. Tokens say how far somebody has read; forget()
// makes all of them worthless. No I/O; one core.
class UemDevices {
 public:
  static constexpr uint32_t kMadeUpMax = 10'000'000;

  // `made_up` devices, each the only one of user1@domain, user2@domain … as far as there are `users`, then from the start again.
  UemDevices(uint32_t made_up, uint32_t users, std::string domain, uint64_t epoch)
      : made_up_(made_up), users_(users), domain_(std::move(domain)), epoch_(epoch) {}

  // A page of lines; the last one says how to go on: {"next":TOKEN} for the next page, {"since":TOKEN} for later changes.
  // An empty token begins at the first device. Nothing where the token is not known any more.
  std::optional<std::string> page(std::string_view token, uint32_t lines_max);

  // Adds a device or replaces its line.
  void put(std::string_view id, std::string_view line);
  // False where there is no such device.
  bool remove(std::string_view id);
  void forget() { ++epoch_; }

  uint64_t size() const { return made_up_ + added_.size() - removed_; }
  UemBooks books;

  static std::string made_up_id(uint64_t number);  // from 1
  std::string made_up_line(uint64_t number) const;

 private:
  struct Added {
    std::string id, line;  // no line: removed
  };
  std::optional<uint64_t> place_of(std::string_view id) const;
  std::string_view line_at(uint64_t place, std::string& scratch) const;
  std::string id_at(uint64_t place) const;
  std::string bulk_page(uint64_t version, uint64_t place, uint32_t lines_max);
  std::string delta_page(uint64_t version, uint32_t lines_max);
  std::string token(char kind, uint64_t version, uint64_t place = 0) const;
  void append(std::string& out, std::string_view line);

  // Places: the made-up devices, then those that were added. A made-up one that changed has its line in changed_.
  uint64_t made_up_;
  uint32_t users_;
  std::string domain_;
  uint64_t epoch_;
  uint64_t removed_ = 0;
  std::unordered_map<uint64_t, std::string> changed_;  // no line: removed
  std::vector<Added> added_;
  std::unordered_map<std::string, uint64_t> places_;   // of those that were added
  std::vector<uint64_t> changes_;                      // places in the order of their changes; its size is the version
};

}  // namespace bellhop::standin
