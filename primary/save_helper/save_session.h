#ifndef ROMULUS_PRIMARY_SAVE_HELPER_SAVE_SESSION_H_
#define ROMULUS_PRIMARY_SAVE_HELPER_SAVE_SESSION_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/process/helper_channel.h"
#include "primary/save_helper/staging_files.h"
#include "primary/save_helper/stop_signal.h"
#include "primary/save_helper/suspendable_guest.h"
#include "proto/helper/v1/helper.pb.h"

namespace romulus {

// What the callbacks of xc_domain_save (XC_STREAM_REMUS) do: the save helper's side of proto/helper/v1. Knows nothing
// of libxenguest. One thread; the order of calls is libxc's:
//   Precopy*, then per checkpoint  Suspend, (pages and vCPUs are written to the staging file,) PostCopy, Checkpoint
// Each returns whether to go on. The guest never stays suspended for long: every wait while it is has a deadline, after
// which it is resumed and the session fails. After the loop, Finish says how it ended; whether the guest runs is then
// for GuestRecovery to see to.
class SaveSession {
 public:
  struct Options {
    absl::Duration suspend_timeout;
    absl::Duration resume_timeout;
    // The guest's memory: libxc's first round counts every frame number up to the highest one, also where nothing is.
    uint64_t memory_pages = 0;
  };
  enum class PrecopyDecision { kAbort, kContinue, kStopAndCopy };

  // All outlive the session. `now` is monotonic time.
  SaveSession(HelperEnd& agent, SuspendableGuest& guest, StagingFiles& staging, StopSignal& stop,
              std::function<absl::Duration()> now, Options options);

  // `dirty_pages` is negative in the middle of a round, when it is unknown.
  PrecopyDecision Precopy(uint32_t round, uint64_t total_written, int64_t dirty_pages);
  bool Suspend();
  bool PostCopy();
  bool Checkpoint();

  // Whether the end was asked for: by Stop, by a signal, or by the agent's death. Looks at the socket once more, since
  // a broken pipe may be how the wish was noticed first.
  bool StopRequested();
  // As known so far.
  bool ending() const { return stop_ || signal_.requested(); }
  // What went wrong first in a callback, if anything did.
  const std::optional<helper::v1::Failed>& failure() const { return failure_; }
  uint64_t epoch() const { return epoch_; }

 private:
  void Fail(helper::v1::Failed::Kind kind, const std::string& reason);
  void Fail(helper::v1::Failed::Kind kind, const absl::Status& status);
  bool WaitForPermit();
  bool WaitForNextEpoch();
  // Waits for the agent, a signal, or (if `watch_guest`) the guest, until `deadline`. False: deadline passed.
  bool WaitForEvent(absl::Duration deadline, bool watch_guest);
  // Takes one message if there is one; Stop and the end of file set stop_.
  std::optional<helper::v1::AgentToHelper> TakeMessage();

  HelperEnd& agent_;
  SuspendableGuest& guest_;
  StagingFiles& staging_;
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
  helper::v1::HelperToAgent captured_;
  absl::Duration finish_resume_;  // Of the one before.
};

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_SAVE_HELPER_SAVE_SESSION_H_
