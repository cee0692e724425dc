// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include "core/base/check.h"

namespace bellhop {

// A link of a doubly linked list, embedded in the element. Unlinks itself when destroyed.
// Invariant: previous_ and next_ are both null (not linked) or both set.
struct ListLink {
  ListLink() = default;
  ListLink(const ListLink&) = delete;
  ListLink& operator=(const ListLink&) = delete;
  ~ListLink() { unlink(); }

  bool linked() const { return next_ != nullptr; }
  void unlink() {
    if (!linked()) return;
    previous_->next_ = next_;
    next_->previous_ = previous_;
    previous_ = next_ = nullptr;
  }

  ListLink* previous_ = nullptr;
  ListLink* next_ = nullptr;
};

// A list of T, which derives from ListLink. Owns nothing. One core. Every operation is O(1) but size_slow().
template <class T>
class IntrusiveList {
 public:
  IntrusiveList() { head_.previous_ = head_.next_ = &head_; }
  IntrusiveList(const IntrusiveList&) = delete;
  IntrusiveList& operator=(const IntrusiveList&) = delete;
  ~IntrusiveList() {
    while (!empty()) head_.next_->unlink();
    head_.previous_ = head_.next_ = nullptr;
  }

  bool empty() const { return head_.next_ == &head_; }
  T* front() { return empty() ? nullptr : static_cast<T*>(head_.next_); }
  T* back() { return empty() ? nullptr : static_cast<T*>(head_.previous_); }

  void push_back(T* element) { insert_before(&head_, element); }
  void push_front(T* element) { insert_before(head_.next_, element); }
  T* pop_front() {
    T* first = front();
    if (first) static_cast<ListLink*>(first)->unlink();
    return first;
  }
  // Moves all elements of `other` to the end of this list.
  void splice_back(IntrusiveList& other) {
    while (T* element = other.pop_front()) push_back(element);
  }
  // Calls f(T*) for each element; f may unlink the element that it is given, no other.
  template <class F>
  void for_each(F&& f) {
    for (ListLink* at = head_.next_; at != &head_;) {
      ListLink* next = at->next_;
      f(static_cast<T*>(at));
      at = next;
    }
  }
  size_t size_slow() const {
    size_t n = 0;
    for (ListLink* at = head_.next_; at != &head_; at = at->next_) ++n;
    return n;
  }

 private:
  static void insert_before(ListLink* place, T* element) {
    ListLink* link = element;
    BH_CHECK(!link->linked());
    link->previous_ = place->previous_;
    link->next_ = place;
    place->previous_->next_ = link;
    place->previous_ = link;
  }

  ListLink head_;
};

}  // namespace bellhop
