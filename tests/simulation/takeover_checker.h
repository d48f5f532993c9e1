#ifndef ROMULUS_TESTS_SIMULATION_TAKEOVER_CHECKER_H_
#define ROMULUS_TESTS_SIMULATION_TAKEOVER_CHECKER_H_

#include <cstdint>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/simulation/guest.h"
#include "tests/simulation/violations.h"

namespace romulus::simulation {

// I3: a takeover resumes exactly the memory that was captured for the last committed epoch, or, if the standby has run
// along from it, what became of that memory there. And whenever it begins to, it begins with what was captured.
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
  // The standby runs along from checkpoint `epoch`, with this memory.
  void OnRunsAlong(uint64_t session, uint64_t epoch, const GuestMemory& memory) {
    own_session_ = session;
    own_epoch_ = epoch;
    own_ = memory;
    const GuestMemory* expected = captured(session, epoch);
    if (expected == nullptr && session < session_) return;
    if (expected == nullptr || !(*expected == memory)) {
      violations_->Report("I3 standby's state", absl::StrCat("the standby runs along at answer ", memory.counter(),
                                                             ", not as captured for epoch ", epoch));
    }
  }
  // What the standby has made of it.
  void OnOwnState(const GuestMemory& memory) { own_ = memory; }
  // Null: it has not run along from there.
  const GuestMemory* own(uint64_t session, uint64_t epoch) const {
    return session == own_session_ && epoch == own_epoch_ ? &own_ : nullptr;
  }
  void OnTakeover(uint64_t session, uint64_t committed_epoch, const GuestMemory& memory) {
    if (const GuestMemory* state = own(session, committed_epoch); state != nullptr) {
      if (*state == memory) return;
      violations_->Report("I3 takeover state",
                          absl::StrCat("the guest resumes at answer ", memory.counter(), ", not with its own state at ",
                                       state->counter(), ", which it had reached from epoch ", committed_epoch));
      return;
    }
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
  uint64_t own_session_ = 0;
  uint64_t own_epoch_ = 0;
  GuestMemory own_;
};

}  // namespace romulus::simulation

#endif  // ROMULUS_TESTS_SIMULATION_TAKEOVER_CHECKER_H_
