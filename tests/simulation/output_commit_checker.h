#ifndef ROMULUS_TESTS_SIMULATION_OUTPUT_COMMIT_CHECKER_H_
#define ROMULUS_TESTS_SIMULATION_OUTPUT_COMMIT_CHECKER_H_

#include <cstdint>
#include <optional>

#include "absl/strings/str_cat.h"
#include "tests/simulation/violations.h"

namespace romulus::simulation {

// I1: what leaves the primary's guest is covered by what a takeover at this moment would resume.
class OutputCommitChecker {
 public:
  explicit OutputCommitChecker(Violations* violations) : violations_(violations) {}

  // A packet of the state `counter` has left. takeover_counter: of the state that the standby would go on from; none:
  // there is nothing that could be activated.
  void OnPacket(uint64_t counter, std::optional<uint64_t> takeover_counter) {
    if (!takeover_counter.has_value() || counter <= *takeover_counter) return;
    violations_->Report("I1 output commit",
                        absl::StrCat("answer ", counter, " has left, a takeover would be at ", *takeover_counter));
  }

 private:
  Violations* const violations_;
};

}  // namespace romulus::simulation

#endif  // ROMULUS_TESTS_SIMULATION_OUTPUT_COMMIT_CHECKER_H_
