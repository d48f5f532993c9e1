#ifndef ROMULUS_TESTS_SIMULATION_ONE_OWNER_CHECKER_H_
#define ROMULUS_TESTS_SIMULATION_ONE_OWNER_CHECKER_H_

#include "tests/simulation/host.h"
#include "tests/simulation/violations.h"

namespace romulus::simulation {

// I2: at most one host runs the guest. A stalled host's guest counts: it goes on when the host does. A standby that
// runs along does not: nothing of what it does is heard (what would be is I1's and the client's business).
class OneOwnerChecker {
 public:
  explicit OneOwnerChecker(Violations* violations) : violations_(violations) {}

  void AfterStep(const Host& a, const Host& b) {
    if (Running(a) + Running(b) > 1) violations_->Report("I2 one owner", "two copies of the guest run");
  }

 private:
  static int Running(const Host& host) {
    int running = 0;
    for (const auto& [domid, domain] : host.domains) running += domain->Runs() && !domain->along ? 1 : 0;
    return running;
  }
  Violations* const violations_;
};

}  // namespace romulus::simulation

#endif  // ROMULUS_TESTS_SIMULATION_ONE_OWNER_CHECKER_H_
