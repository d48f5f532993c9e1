#ifndef ROMULUS_PRIMARY_LOCKSTEP_LOCKSTEP_POLICY_H_
#define ROMULUS_PRIMARY_LOCKSTEP_LOCKSTEP_POLICY_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "primary/comparison/comparison_types.h"

namespace romulus::lockstep {

struct LockstepSettings {
  // The longest run without a checkpoint. Protection does not need one: the standby's own state is as new as the
  // primary's. But what both dirty adds up, and has to be copied, with all output held, when they differ at last; and
  // TCP's numbers stay translated until the next checkpoint. 10 s: what a guest writes in that time comes near to its
  // working set, so that longer runs cost hardly more per checkpoint, and hardly gain: their share of time without
  // waiting output is 99 % already, where a checkpoint takes 100 ms.
  absl::Duration run_max = absl::Seconds(10);
  // A checkpoint of a running standby shall take no longer than that, from asking for it until the standby runs again:
  // where one did, later runs are made shorter in proportion, and longer again by a quarter each. But never so short
  // that checkpoints would take more than a fifth of the time: where they are slow however short the run was, shorter
  // runs only make more of them.
  absl::Duration checkpoint_goal = absl::Seconds(1);
  double run_per_checkpoint_min = 4;
  // A run is short if a difference ended it before it had lasted this many times what its checkpoint cost. During a
  // checkpoint output waits, as it does in interval mode: with 1 the output of half of the time would wait for the
  // checkpoint, which is where interval mode, with cheaper checkpoints, is as good.
  double worth = 1.0;
  // Interval mode starts when this many of the last `judged` runs were short, or the first `trial_runs` of a trial
  // were. The protection's first runs are a trial.
  size_t judged = 8;
  size_t short_runs = 6;
  size_t trial_runs = 2;
  // How long interval mode lasts before the next trial: doubled with every trial that failed, back to the least once a
  // trial has lasted for `judged` runs or for run_max.
  absl::Duration wait_min = absl::Seconds(2);
  absl::Duration wait_max = absl::Minutes(2);
};

// Why a run of the standby ended.
enum class RunEnd {
  kDifference,  // Of the two guests' output.
  kLength,      // RunDeadline.
  kOther,       // A checkpoint was asked for, or refused to run: says nothing about the guests.
};

enum class AfterCheckpoint { kWaits, kRuns };

// Whether the standby runs along after a checkpoint (lockstep) or waits (interval mode), by measurement. Pure: times
// are passed in, of one monotonic clock. It moves nothing that protection rests on: both modes keep output commit, and
// the mode changes only with a checkpoint, which is committed whole in either mode; so there is no gap in either
// direction.
//
// Calls, in lockstep:
//   Decide            when a checkpoint's trailer is made: what follows it. At any time, and as often as is liked
//   OnRunning         the standby runs (StandbyRunning)
//   OnRunEnded        once per run: a checkpoint of the running standby is asked for, or the session ends
//   OnCheckpointDone  that checkpoint is committed, and, if the standby runs along again, it runs: just before the next
//                     OnRunning
//   OnRefused         the standby can't run along (LockstepRefused): counts as a trial that failed at once
class LockstepPolicy {
 public:
  explicit LockstepPolicy(const LockstepSettings& settings);

  AfterCheckpoint Decide(absl::Duration now);
  void OnRunning(absl::Duration now);
  // `reason` with kDifference only: of the first one found in the run.
  void OnRunEnded(absl::Duration now, RunEnd end, std::optional<comparison::DifferenceReason> reason = std::nullopt);
  void OnCheckpointDone(absl::Duration now);
  void OnRefused(absl::Duration now);
  // A new session: runs that were going are over. What was learned about the guest stays, of the link it is forgotten.
  void OnSessionEnded(absl::Duration now);

  // When the present run is to be ended by a checkpoint, if nothing else ends it. Nullopt: there is none.
  std::optional<absl::Duration> RunDeadline() const;
  // Interval mode: from when on Decide tries lockstep again. Nullopt: in lockstep.
  std::optional<absl::Duration> NextTrial() const;

  struct Snapshot {
    bool lockstep = false;      // What Decide would say, but for a trial that is due.
    bool running = false;       // A standby runs along.
    double lockstep_share = 0;  // Of the time since the policy was made: with a standby that ran along.
    uint64_t runs = 0;          // Ended.
    uint64_t short_runs = 0;
    uint64_t trials = 0;       // Begun, the first one included.
    absl::Duration run_limit;  // Of the next run.
    absl::Duration last_run;
    absl::Duration last_checkpoint;
    // Runs that ended by a difference, by the reason of the first.
    std::array<uint64_t, comparison::kDifferenceReasons> differences{};
  };
  Snapshot snapshot(absl::Duration now) const;

 private:
  struct Waiting {
    absl::Duration until;
  };

  void Judge(absl::Duration now, absl::Duration lasted);
  void GoToInterval(absl::Duration now);

  const LockstepSettings settings_;
  std::optional<absl::Duration> made_;  // Time of the first call.
  std::optional<Waiting> waiting_;      // Interval mode.
  std::optional<absl::Duration> running_since_;
  struct Ended {
    absl::Duration at;
    absl::Duration lasted;
    RunEnd end;
  };
  std::optional<Ended> ended_;  // A run whose checkpoint is under way.
  std::deque<bool> short_;      // Of the last runs that were judged, since the last trial began.
  bool trial_ = true;           // Nothing is known of runs as they are now.
  absl::Duration wait_;
  absl::Duration run_limit_;
  absl::Duration running_total_;
  Snapshot counts_;
};

}  // namespace romulus::lockstep

#endif  // ROMULUS_PRIMARY_LOCKSTEP_LOCKSTEP_POLICY_H_
