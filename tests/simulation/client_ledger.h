#ifndef ROMULUS_TESTS_SIMULATION_CLIENT_LEDGER_H_
#define ROMULUS_TESTS_SIMULATION_CLIENT_LEDGER_H_

#include <cstdint>
#include <map>
#include <unordered_map>

#include "absl/strings/str_cat.h"
#include "tests/simulation/guest.h"
#include "tests/simulation/violations.h"

namespace romulus::simulation {

// The client: no answer that it ever got may be forgotten or contradicted by a later one, or by the state that a
// takeover resumes. Answers that a protection released knowing that they are unprotected are not given to it.
class ClientLedger {
 public:
  explicit ClientLedger(Violations* violations) : violations_(violations) {}

  // The guest has gone from one state to the next: what is an ancestor of what.
  void OnAnswered(uint64_t chain_before, const GuestMemory& after) {
    before_[after.chain()] = {chain_before, after.counter()};
  }

  void OnReceived(uint64_t counter, uint64_t chain) {
    auto known = received_.find(counter);
    if (known != received_.end() && known->second != chain) {
      violations_->Report("client", absl::StrCat("answer ", counter, " contradicts the one received before"));
    }
    received_[counter] = chain;
    // Its predecessor among what was received must be among its ancestors, and it among its successor's.
    auto here = received_.find(counter);
    if (here != received_.begin()) CheckAncestor(*std::prev(here), *here);
    if (std::next(here) != received_.end()) CheckAncestor(*here, *std::next(here));
  }

  // The guest goes on from `memory` on the other host.
  void OnTakeover(const GuestMemory& memory) {
    if (received_.empty()) return;
    if (received_.rbegin()->first > memory.counter()) {
      violations_->Report("client", absl::StrCat("answer ", received_.rbegin()->first,
                                                 " is forgotten: the takeover is at ", memory.counter()));
      return;
    }
    CheckAncestor(*received_.rbegin(), {memory.counter(), memory.chain()});
  }

  // Whether the state `counter`, `chain` is one that `later` has come from, or is itself.
  bool Has(const GuestMemory& later, uint64_t counter, uint64_t chain) const {
    uint64_t at = later.counter(), its_chain = later.chain();
    for (; at > counter; --at) its_chain = before_.at(its_chain).chain_before;
    return at == counter && its_chain == chain;
  }

  size_t received() const { return received_.size(); }

 private:
  struct Step {
    uint64_t chain_before;
    uint64_t counter;
  };
  using Answer = std::pair<const uint64_t, uint64_t>;

  void CheckAncestor(const Answer& earlier, const Answer& later) {
    uint64_t counter = later.first, chain = later.second;
    while (counter > earlier.first) {
      chain = before_.at(chain).chain_before;
      --counter;
    }
    if (chain != earlier.second) {
      violations_->Report("client", absl::StrCat("answer ", later.first, " forgets answer ", earlier.first));
    }
  }

  Violations* const violations_;
  std::unordered_map<uint64_t, Step> before_;
  std::map<uint64_t, uint64_t> received_;
};

}  // namespace romulus::simulation

#endif  // ROMULUS_TESTS_SIMULATION_CLIENT_LEDGER_H_
