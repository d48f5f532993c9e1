#ifndef ROMULUS_TESTS_SIMULATION_LEFTOVERS_CHECKER_H_
#define ROMULUS_TESTS_SIMULATION_LEFTOVERS_CHECKER_H_

#include "absl/strings/str_cat.h"
#include "tests/simulation/host.h"
#include "tests/simulation/violations.h"

namespace romulus::simulation {

// I6: a host on which protection has ended holds nothing of it: no buffer, no helper, no dirty tracking, no domain
// that never ran.
class LeftoversChecker {
 public:
  explicit LeftoversChecker(Violations* violations) : violations_(violations) {}

  void AtEnd(const Host& host) {
    auto found = [&](std::string what) {
      violations_->Report("I6 nothing left behind", absl::StrCat("on ", host.name, ": ", what));
    };
    if (!host.powered) return;
    if (!host.kernel->installed().empty()) found("an egress buffer");
    if (!host.diversions->installed().empty()) found("a diverted vif");
    if (host.helpers != 0) found(absl::StrCat(host.helpers, " helpers"));
    for (const auto& [domid, domain] : host.domains) {
      if (domain->log_dirty) found("dirty tracking");
      if (domain->suspended) found("a suspended guest");
      if (!domain->started) found("a standby's domain");
    }
  }

 private:
  Violations* const violations_;
};

}  // namespace romulus::simulation

#endif  // ROMULUS_TESTS_SIMULATION_LEFTOVERS_CHECKER_H_
