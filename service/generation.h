// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "service/config.h"
#include "service/tenants.h"

namespace bellhop::service {

// What a reload replaces as a whole: the configuration, and the tenants that are made of it. Immutable; shared by all
// cores. Who holds a generation also holds those that came after it: a flow that was begun under one may look at the
// newest at any time and keep what it found to its own end, whatever is reloaded meanwhile.
class Generation {
 public:
  Generation(uint64_t n, Config c, Tenants t);
  Generation(const Generation&) = delete;
  Generation& operator=(const Generation&) = delete;
  ~Generation();

  const uint64_t number;  // from 1
  const Config config;
  const Tenants tenants;

  // Names the one that follows. Once, on core 0, before any core takes `next`.
  void set_next(std::shared_ptr<const Generation> next) const;
  // How many exist, in the whole process.
  static size_t alive();

 private:
  mutable std::shared_ptr<const Generation> next_;
};

// The generation that one core is at, and those that its flows still hold. Counts without atomics: a pin is taken and
// dropped on the slot's own core, and the shared count is touched only when a core comes to a generation or leaves it.
class GenerationSlot {
  struct Held {
    std::shared_ptr<const Generation> generation;
    size_t holders;
  };
  static void let_go(Held* held) {
    if (--held->holders == 0) delete held;
  }

 public:
  explicit GenerationSlot(std::shared_ptr<const Generation> first) : held_(new Held{std::move(first), 1}) {}
  GenerationSlot(const GenerationSlot&) = delete;
  GenerationSlot& operator=(const GenerationSlot&) = delete;
  ~GenerationSlot() { let_go(held_); }

  const Generation& now() const { return *held_->generation; }
  std::shared_ptr<const Generation> share() const { return held_->generation; }
  void become(std::shared_ptr<const Generation> next) {
    let_go(std::exchange(held_, new Held{std::move(next), 1}));
  }

  // Held by a flow for as long as it may use what it found in a generation: one for each request.
  class Pin {
   public:
    explicit Pin(const GenerationSlot& slot) : held_(slot.held_) { ++held_->holders; }
    Pin(const Pin&) = delete;
    Pin& operator=(const Pin&) = delete;
    ~Pin() { let_go(held_); }

   private:
    Held* held_;
  };

 private:
  Held* held_;
};

}  // namespace bellhop::service
