#ifndef ROMULUS_TESTS_SIMULATION_OUTPUT_COMMIT_CHECKER_H_
#define ROMULUS_TESTS_SIMULATION_OUTPUT_COMMIT_CHECKER_H_

#include <cstdint>

#include "absl/strings/str_cat.h"
#include "tests/simulation/client_ledger.h"
#include "tests/simulation/violations.h"

namespace romulus::simulation {

// I1: what leaves the primary's guest is covered by what a takeover at this moment would resume.
class OutputCommitChecker {
 public:
  OutputCommitChecker(Violations* violations, const ClientLedger* ledger) : violations_(violations), ledger_(ledger) {}

  // A packet of the state `counter`, `chain` has left. takeover: the state that the standby would go on from; null:
  // there is nothing that could be activated.
  void OnPacket(uint64_t counter, uint64_t chain, const GuestMemory* takeover) {
    if (takeover == nullptr) return;
    if (counter > takeover->counter()) {
      violations_->Report("I1 output commit",
                          absl::StrCat("answer ", counter, " has left, a takeover would be at ", takeover->counter()));
    } else if (!ledger_->Has(*takeover, counter, chain)) {
      violations_->Report("I1 output commit", absl::StrCat("answer ", counter, " has left, and a takeover, at ",
                                                           takeover->counter(), ", would have given another one"));
    }
  }

 private:
  Violations* const violations_;
  const ClientLedger* const ledger_;
};

}  // namespace romulus::simulation

#endif  // ROMULUS_TESTS_SIMULATION_OUTPUT_COMMIT_CHECKER_H_
