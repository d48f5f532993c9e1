#ifndef ROMULUS_TESTS_SIMULATION_COMMIT_ORDER_CHECKER_H_
#define ROMULUS_TESTS_SIMULATION_COMMIT_ORDER_CHECKER_H_

#include <cstdint>

#include "absl/strings/str_cat.h"
#include "tests/simulation/violations.h"

namespace romulus::simulation {

// I4: the commits of a session are 1, 2, 3...
class CommitOrderChecker {
 public:
  explicit CommitOrderChecker(Violations* violations) : violations_(violations) {}

  void OnCommit(uint64_t session, uint64_t epoch) {
    if (session != session_) last_ = 0;
    session_ = session;
    if (epoch != last_ + 1) {
      violations_->Report("I4 commit order", absl::StrCat("commit ", epoch, " after ", last_));
    }
    last_ = epoch;
  }

 private:
  Violations* const violations_;
  uint64_t session_ = 0;
  uint64_t last_ = 0;
};

}  // namespace romulus::simulation

#endif  // ROMULUS_TESTS_SIMULATION_COMMIT_ORDER_CHECKER_H_
