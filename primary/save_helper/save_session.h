#ifndef ROMULUS_PRIMARY_SAVE_HELPER_SAVE_SESSION_H_
#define ROMULUS_PRIMARY_SAVE_HELPER_SAVE_SESSION_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/process/helper_channel.h"
#include "common/stream/page_runs.h"
#include "primary/save_helper/stop_signal.h"
#include "primary/save_helper/suspendable_guest.h"
#include "proto/helper/v1/helper.pb.h"

namespace romulus {

// The save helper's side of proto/helper/v1, as SaveLoop needs it. Knows nothing of what is copied, or how. One thread;
// order of calls:
//   Progress*, then per checkpoint  Suspend, (the copy is made,) Resume or ResumeAfterFailure, Deliver, NextEpoch
// Each returns whether to go on; after one that did not, failure() says why, or that the end was asked for. The guest
// never stays suspended for long: every wait while it is has a deadline, after which it is resumed and the session
// fails. Whether the guest runs in the end is for GuestRecovery to see to.
class SaveSession {
 public:
  struct Options {
    absl::Duration suspend_timeout;
    absl::Duration resume_timeout;
  };
  // A copy of the suspended guest: whole, in the staging file of its epoch.
  struct Copied {
    uint64_t length = 0;
    // That the guest has written to, and those of them that the copy does without (CapturedPages).
    uint64_t dirty_pages = 0;
    uint64_t unchanged_pages = 0;
    // In the copy beside those, because the standby has written to them.
    uint64_t standby_pages = 0;
    // In use for that.
    uint64_t captured_pages_bytes = 0;
    // Copies so far that were larger than the staging files are to be.
    uint64_t oversized = 0;
    absl::Duration dirty_bitmap;
    absl::Duration page_copy;
    absl::Duration vcpu_state;
    absl::Duration standby_wait;
  };

  // Checkpoints are staged in two files in turn.
  static size_t StagingIndex(uint64_t epoch) { return (epoch + 1) % 2; }

  // All outlive the session. `now` is monotonic time.
  SaveSession(HelperEnd& agent, SuspendableGuest& guest, StopSignal& stop, std::function<absl::Duration()> now,
              Options options);

  // Of the first copy, round 0 is the one under way.
  bool Progress(uint32_t round, uint64_t pages_written, uint64_t pages_left);
  bool Suspend();
  // Between Suspend and Resume: the pages that the standby has written to, waited for as long as for the permit; none
  // where the standby does not run along. CANCELLED: the session ends, failure() says why.
  absl::StatusOr<PageRuns> StandbyPages();
  // Waits for the agent's permit first.
  bool Resume(const Copied& copied);
  // The copy failed.
  void ResumeAfterFailure();
  // The copy is the agent's.
  bool Deliver();
  // Waits until the next one is wanted.
  bool NextEpoch();

  // Something outside of this failed; the first failure counts. OK and CANCELLED are none.
  void Fail(const absl::Status& status);

  // Whether the end was asked for: by Stop, by a signal, or by the agent's death. Looks at the socket once more, since
  // a broken pipe may be how the wish was noticed first.
  bool StopRequested();
  // What went wrong first, if anything did.
  const std::optional<helper::v1::Failed>& failure() const { return failure_; }
  // The latest that was begun.
  uint64_t epoch() const { return epoch_; }

 private:
  void Fail(helper::v1::Failed::Kind kind, const std::string& reason);
  bool WaitForPermit();
  // Takes what the agent says about the checkpoint under way until `enough`. False: the session ends.
  bool TakeUntil(const std::function<bool()>& enough, const char* missing);
  bool TakeStandbyPages(const helper::v1::StandbyPages& message, const std::vector<UniqueFd>& descriptors);
  enum class Event { kAgentOrSignal, kGuest };
  // Waits for the agent, a signal, or (if `watch_guest`) the guest, until `deadline`. None: deadline passed, and
  // nothing is there.
  std::optional<Event> WaitForEvent(absl::Duration deadline, bool watch_guest);
  // Takes one message if there is one; Stop and the end of file set stop_.
  std::optional<HelperEnd::Received> TakeMessage();

  HelperEnd& agent_;
  SuspendableGuest& guest_;
  StopSignal& signal_;
  const std::function<absl::Duration()> now_;
  const Options options_;

  uint64_t epoch_ = 0;
  bool stop_ = false;
  std::optional<helper::v1::Failed> failure_;
  // Of the current epoch.
  absl::Duration requested_at_;
  absl::Duration suspended_at_;
  absl::Duration acknowledge_;
  bool with_standby_pages_ = false;
  std::optional<PageRuns> standby_pages_;
  bool permitted_ = false;
  helper::v1::HelperToAgent captured_;
  absl::Duration finish_resume_;  // Of the one before.
};

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_SAVE_HELPER_SAVE_SESSION_H_
