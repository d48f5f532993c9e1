#ifndef ROMULUS_PRIMARY_PROTECTION_PACER_H_
#define ROMULUS_PRIMARY_PROTECTION_PACER_H_

#include <cstddef>
#include <deque>
#include <optional>
#include <vector>

#include "absl/time/time.h"

namespace romulus::protection {

// What the pacer shall keep, as settings.pacing_goal of control/v1/protection_service.proto. At least one of the two.
struct PacingGoal {
  // Of 100 epochs, the first packet of 99 waits no longer than this.
  std::optional<absl::Duration> output_delay_p99;
  // Of the guest's time, in (0, 1).
  std::optional<double> pause_share;
  absl::Duration interval_min = absl::Milliseconds(10);
  absl::Duration interval_max = absl::Seconds(1);
};

struct Pacing {
  // Of checkpoints, from the start of an epoch until the checkpoint that ends it is asked for. With a goal: what the
  // pacer begins with, before it knows anything.
  absl::Duration interval = absl::Milliseconds(100);
  std::optional<PacingGoal> goal;
};

enum class Goal { kOutputDelay, kPauseShare };

// What decides the present interval.
enum class PacingBound {
  kFixed,        // There is no goal.
  kNeither,      // One end of the range: both goals would also be kept further out.
  kPauseShare,   // Shorter, and the guest would be paused too much.
  kOutputDelay,  // Longer, and output would wait too long.
  kFloor,  // Output waits too long even with the least interval: what remains is the guest's own suspend, the copy
           // and the link.
};

// One epoch whose output has been released.
struct PacedEpoch {
  absl::Duration ran;           // From its start until its checkpoint was asked for: its interval, or more, or less.
  absl::Duration suspend;       // From there until the guest was suspended: the end of the epoch.
  absl::Duration copy;          // From there until the checkpoint was whole.
  absl::Duration pause;         // From asked for until the guest ran again.
  absl::Duration output_delay;  // From the epoch's start to the release of its output.
};

// Chooses the interval of checkpoints: measurements in, interval out. Pure. It decides only when a checkpoint is asked
// for, never when output leaves.
//
// With a longer interval the guest is paused less often, and its output waits longer. So the pause share sets a least
// interval and the output delay a largest one; the pacer takes
//   - with a pause share alone: the least interval that keeps it, so that output waits no longer than it must;
//   - with an output delay alone: the largest that keeps it, so that the guest is paused no more than it must;
//   - with both: the least that keeps the pause share, if that keeps the output delay, too. If no interval keeps both,
//     THE OUTPUT DELAY WINS: it is a promise to others, whose timers run out and whose queues fill when it is broken,
//     while a guest that is paused more is just slower, and, dirtying less per epoch, has shorter pauses. What it may
//     lose so is bounded by interval_min. The snapshot then says that the pause share is missed.
//
// From what an epoch took follows how it would have fared with another interval. Copy and commit grow with what the
// guest dirties, which grows with the interval, but how, nobody knows: between not at all (a small working set, written
// all the time) and in proportion. The delay is reckoned in proportion, the pause as if it stayed. Each is the
// assumption under which a next guess lies between the present interval and the right one, whatever the truth between
// the two is: that is what keeps the pacer from swinging (pacer_test.cc has guests of both kinds). Delays are judged by
// their worst in a hundred recent epochs, so one that bursts now and then is paced for its bursts, not to and fro; a
// pause share is a mean.
class Pacer {
 public:
  // Recent: the epochs that the pacer reckons with.
  static constexpr size_t kRecent = 128;

  explicit Pacer(const Pacing& pacing);

  // In force at once. What was measured stays valid.
  void Change(const Pacing& pacing);
  // A new session: link and secondary may be others. The interval stays until something is measured.
  void Forget();
  void OnEpoch(const PacedEpoch& epoch);

  absl::Duration interval() const { return interval_; }

  struct Snapshot {
    absl::Duration interval;
    PacingBound bound = PacingBound::kFixed;
    // Goals that the recent epochs did not keep. Empty while there are fewer than kJudged.
    std::vector<Goal> missed;
    double pause_share = 0;  // Of the recent epochs; 0 while there are none.
  };
  Snapshot snapshot() const;

 private:
  static constexpr size_t kJudged = 16;

  double RecentPauseShare() const;
  // Nullopt: nothing is known, or there is no such goal.
  std::optional<absl::Duration> LargestForDelay() const;
  std::optional<absl::Duration> LeastForPauseShare() const;
  void Pace();

  Pacing pacing_;
  absl::Duration interval_;
  PacingBound bound_ = PacingBound::kFixed;
  std::deque<PacedEpoch> recent_;
};

}  // namespace romulus::protection

#endif  // ROMULUS_PRIMARY_PROTECTION_PACER_H_
