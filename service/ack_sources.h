// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "service/core.h"

namespace bellhop::service {

// When Exchange hears OK for new mail: notification.ack, and with `auto` by source, that is a tenant's Exchange host. A
// source with auto_journal_above callbacks in work becomes after-journal, so that Exchange's few connections are not
// held while a slow Exchange or APNs is waited for; with auto_push_below of them it is after-push again. In work is a
// callback with new mail until its pushes are made, answered or not: the answers alone would say nothing about the
// load. Only sources with work are known here, so their number is bounded by the callbacks. One per core.
class AckSources {
  struct Source {
    size_t in_work = 0;
    bool after_journal = false;
  };
  using Sources = std::map<std::pair<std::string, std::string>, Source, std::less<>>;

 public:
  // One callback's work. The AckSources outlive it.
  class Work {
   public:
    Work() = default;
    Work(Work&& other) noexcept
        : sources_(std::exchange(other.sources_, nullptr)), place_(other.place_), after_journal_(other.after_journal_) {}
    Work& operator=(Work&&) = delete;
    ~Work() {
      if (sources_) sources_->leave(place_);
    }
    // Exchange hears OK when the journal has the pushes. Decided when the work began.
    bool after_journal() const { return after_journal_; }

   private:
    friend class AckSources;
    AckSources* sources_ = nullptr;
    Sources::iterator place_;
    bool after_journal_ = false;
  };

  explicit AckSources(Core& core) : core_(core) {}
  AckSources(const AckSources&) = delete;
  AckSources& operator=(const AckSources&) = delete;

  // `origin`: of the subscription's EWS URL.
  Work enter(std::string_view tenant, std::string_view origin);
  size_t size() const { return sources_.size(); }

 private:
  void leave(Sources::iterator place);
  void note(const Sources::value_type& entry);

  Core& core_;
  Sources sources_;
};

}  // namespace bellhop::service
