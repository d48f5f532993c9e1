#ifndef ROMULUS_TESTS_SIMULATION_TAKEOVER_CHECKER_H_
#define ROMULUS_TESTS_SIMULATION_TAKEOVER_CHECKER_H_

#include <cstdint>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/simulation/guest.h"
#include "tests/simulation/violations.h"

namespace romulus::simulation {

// I3: a takeover resumes exactly the memory that was captured for the last committed epoch.
class TakeoverChecker {
 public:
  explicit TakeoverChecker(Violations* violations) : violations_(violations) {}

  void OnCapture(uint64_t session, uint64_t epoch, const GuestMemory& memory) {
    if (session != session_) captured_.clear();
    session_ = session;
    captured_[epoch] = memory;
  }
  // Null if nothing such was captured (or a later session has begun since).
  const GuestMemory* captured(uint64_t session, uint64_t epoch) const {
    auto found = captured_.find(epoch);
    return session == session_ && found != captured_.end() ? &found->second : nullptr;
  }
  void OnTakeover(uint64_t session, uint64_t committed_epoch, const GuestMemory& memory) {
    const GuestMemory* expected = captured(session, committed_epoch);
    if (expected == nullptr && session < session_) return;  // Checked by the client's ledger alone.
    if (expected == nullptr || !(*expected == memory)) {
      violations_->Report("I3 takeover state", absl::StrCat("the guest resumes at answer ", memory.counter(),
                                                            ", not as captured for epoch ", committed_epoch));
    }
  }

 private:
  Violations* const violations_;
  uint64_t session_ = 0;
  std::map<uint64_t, GuestMemory> captured_;
};

}  // namespace romulus::simulation

#endif  // ROMULUS_TESTS_SIMULATION_TAKEOVER_CHECKER_H_
