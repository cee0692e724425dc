// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "core/cross_core.h"

namespace bellhop::standin {

// Behaviour on demand, in the order in which it was asked for. Each core has a list of its own; the counts are shared by
// all, so that a rule for three requests meets three, on whichever core they come. T has `count`; 0 means no end.
template <class T>
class RuleList {
 public:
  struct Rule {
    T what;
    std::shared_ptr<std::atomic<int64_t>> left;
  };
  static Rule make(T what) {
    auto left = std::make_shared<std::atomic<int64_t>>(static_cast<int64_t>(what.count));
    return {std::move(what), std::move(left)};
  }

  void add(Rule rule) { rules_.push_back(std::move(rule)); }
  void clear() { rules_.clear(); }
  size_t size() {
    drop_used_up();
    return rules_.size();
  }

  // The first rule that fits, used once; null where there is none. Valid until the next call of a member.
  template <class F>
  const T* take(F&& fits) {
    for (Rule& rule : rules_) {
      if (!fits(rule.what)) continue;
      if (rule.what.count == 0 || rule.left->fetch_sub(1, std::memory_order_relaxed) > 0) return &rule.what;
    }
    return nullptr;
  }

 private:
  void drop_used_up() {
    std::erase_if(rules_, [](const Rule& rule) { return rule.what.count != 0 && rule.left->load() <= 0; });
  }
  std::vector<Rule> rules_;
};

namespace internal {
template <class Part, class F>
Task<std::invoke_result_t<F&, Part&>> run_on_part(Part* part, F function) {
  co_return function(*part);
}
}  // namespace internal

// Runs `function(part)`, which does not wait, on the part's own core and brings its value back.
template <class Part, class F>
auto on_part(Part& part, F function) -> Task<std::invoke_result_t<F&, Part&>> {
  co_return co_await on_core(part.core,
                             [&part, function] { return internal::run_on_part<Part, F>(&part, function); });
}

}  // namespace bellhop::standin
