// A queue in which callers take turns, so that nobody waits behind all that another one has queued.
#pragma once

#include <algorithm>
#include <cstddef>
#include <deque>
#include <iterator>
#include <list>
#include <utility>
#include <vector>

namespace latent_diffusion {

// Not synchronised. A caller is known by an address, which is compared and never read.
template <typename Item>
class FairQueue {
 public:
  bool empty() const { return callers_.empty(); }

  bool Holds(const void* caller) const { return Find(callers_, caller) != callers_.end(); }

  // Items of one caller keep their order.
  void Push(const void* caller, Item item) {
    const auto found = Find(callers_, caller);
    if (found != callers_.end()) return found->items.push_back(std::move(item));
    Caller last{caller, {}};
    last.items.push_back(std::move(item));
    callers_.push_back(std::move(last));
  }

  // The queue must not be empty. Whoever had a turn waits for all others.
  Item Pop() {
    const auto first = callers_.begin();
    Item item = std::move(first->items.front());
    first->items.pop_front();
    if (first->items.empty()) {
      callers_.erase(first);
    } else {
      callers_.splice(callers_.end(), callers_, first);
    }
    return item;
  }

  // Takes out all items for which `chosen` holds.
  template <typename Predicate>
  std::vector<Item> Remove(const Predicate& chosen) {
    std::vector<Item> removed;
    for (Caller& caller : callers_) {
      const auto kept = std::stable_partition(caller.items.begin(), caller.items.end(),
                                              [&](const Item& item) { return !chosen(item); });
      std::move(kept, caller.items.end(), std::back_inserter(removed));
      caller.items.erase(kept, caller.items.end());
    }
    callers_.remove_if([](const Caller& caller) { return caller.items.empty(); });
    return removed;
  }

  void Clear() { callers_.clear(); }

 private:
  struct Caller {
    const void* address;
    std::deque<Item> items;
  };

  template <typename Callers>
  static auto Find(Callers& callers, const void* address) {
    return std::find_if(callers.begin(), callers.end(),
                        [address](const Caller& caller) { return caller.address == address; });
  }

  std::list<Caller> callers_;  // in the order of their turns; none is empty
};

}  // namespace latent_diffusion
