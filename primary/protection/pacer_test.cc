#include "primary/protection/pacer.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace romulus::protection {
namespace {

using absl::Duration;
using absl::Milliseconds;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;

// A guest that is checkpointed at the intervals of a pacer, as the core does it: a checkpoint is asked for when the
// interval is over and the commit before is half done. Deterministic.
struct SyntheticGuest {
  explicit SyntheticGuest(const Pacing& pacing) : pacer(pacing) {}

  // What it dirties: at first sight all that it writes, at last its working set.
  double bytes_written_per_second = 20e6;
  double working_set_bytes = 8e6;
  // Every so many epochs (0: never) it writes so many times as much.
  int burst_period = 0;
  double burst_factor = 10;
  Duration suspend = Milliseconds(4);
  Duration resume = Milliseconds(1);
  double copy_bytes_per_second = 2e9;
  double link_bytes_per_second = 200e6;
  Duration round_trip = Milliseconds(1);

  Pacer pacer;
  std::vector<PacedEpoch> epochs;
  std::vector<Duration> intervals;

  void Run(int count) {
    for (int i = 0; i < count; ++i) Epoch();
  }

  void Epoch() {
    intervals.push_back(pacer.interval());
    PacedEpoch epoch;
    epoch.ran = std::max(pacer.interval(), may_ask - started);
    epoch.suspend = suspend * Noise();
    const Duration ended = started + epoch.ran + epoch.suspend;
    const double burst = burst_period > 0 && epochs.size() % burst_period == 0 ? burst_factor : 1;
    const double written = bytes_written_per_second * burst * absl::ToDoubleSeconds(ended - started) * Noise();
    const double dirty = working_set_bytes * burst * (1 - std::exp(-written / (working_set_bytes * burst)));
    epoch.copy = absl::Seconds(dirty / copy_bytes_per_second);
    epoch.pause = epoch.suspend + epoch.copy + resume * Noise();
    const Duration captured = ended + epoch.copy;
    const Duration sent = std::max(captured, committed);
    committed = sent + round_trip * Noise() + absl::Seconds(dirty / link_bytes_per_second);
    epoch.output_delay = committed - started;
    may_ask = captured + (committed - captured) / 2;
    started = ended;
    epochs.push_back(epoch);
    pacer.OnEpoch(epoch);
  }

  double Noise() {
    random = random * 6364136223846793005u + 1442695040888963407u;
    return 0.95 + 0.1 * static_cast<double>(random >> 40) / (1 << 24);
  }

  // Of the last `count` epochs.
  Duration DelayP99(int count) const {
    std::vector<Duration> delays;
    for (size_t i = epochs.size() - count; i < epochs.size(); ++i) delays.push_back(epochs[i].output_delay);
    std::sort(delays.begin(), delays.end());
    return delays[(delays.size() * 99 + 99) / 100 - 1];
  }
  double PauseShare(int count) const {
    Duration paused, all;
    for (size_t i = epochs.size() - count; i < epochs.size(); ++i) {
      paused += epochs[i].pause;
      all += epochs[i].ran + epochs[i].suspend;
    }
    return absl::FDivDuration(paused, all);
  }
  // By how much the interval has varied over the last `count` epochs: largest by least.
  double Swing(int count) const {
    const auto [least, largest] = std::minmax_element(intervals.end() - count, intervals.end());
    return absl::FDivDuration(*largest, *least);
  }

  uint64_t random = 1;
  Duration started, committed, may_ask;
};

Pacing DelayGoal(Duration delay) {
  Pacing pacing;
  pacing.goal = PacingGoal{delay, std::nullopt};
  return pacing;
}

Pacing ShareGoal(double share) {
  Pacing pacing;
  pacing.goal = PacingGoal{std::nullopt, share};
  return pacing;
}

// Guests whose checkpoints grow with the interval, hardly grow, and grow until they have their working set.
struct Load {
  const char* name;
  double bytes_written_per_second;
  double working_set_bytes;
};
constexpr Load kLoads[] = {
    {"idle", 1e5, 1e6}, {"in proportion", 50e6, 1e9}, {"small working set", 500e6, 4e6}, {"between", 100e6, 8e6}};

TEST(Pacer, WithoutAGoalTheIntervalIsTheOneThatWasSet) {
  Pacing pacing;
  pacing.interval = Milliseconds(40);
  SyntheticGuest guest(pacing);
  guest.Run(300);
  EXPECT_EQ(guest.pacer.interval(), Milliseconds(40));
  EXPECT_EQ(guest.pacer.snapshot().bound, PacingBound::kFixed);
  EXPECT_THAT(guest.pacer.snapshot().missed, IsEmpty());
  EXPECT_NEAR(guest.pacer.snapshot().pause_share, guest.PauseShare(128), 1e-6);
}

TEST(Pacer, KeepsTheDelayOfSteadyGuestsAndDoesNotSwing) {
  for (const Load& load : kLoads) {
    SCOPED_TRACE(load.name);
    SyntheticGuest guest(DelayGoal(Milliseconds(150)));
    guest.bytes_written_per_second = load.bytes_written_per_second;
    guest.working_set_bytes = load.working_set_bytes;
    guest.Run(1000);
    EXPECT_LE(guest.DelayP99(500), Milliseconds(150));
    // And pauses the guest no more than it must.
    EXPECT_GE(guest.DelayP99(500), Milliseconds(125));
    EXPECT_LT(guest.Swing(500), 1.1);
    EXPECT_EQ(guest.pacer.snapshot().bound, PacingBound::kOutputDelay);
    EXPECT_THAT(guest.pacer.snapshot().missed, IsEmpty());
  }
}

TEST(Pacer, KeepsThePauseShareOfSteadyGuestsAndDoesNotSwing) {
  for (const Load& load : kLoads) {
    SCOPED_TRACE(load.name);
    SyntheticGuest guest(ShareGoal(0.1));
    guest.bytes_written_per_second = load.bytes_written_per_second;
    guest.working_set_bytes = load.working_set_bytes;
    guest.Run(1000);
    EXPECT_LE(guest.PauseShare(500), 0.1);
    // And lets output wait no longer than it must.
    EXPECT_GE(guest.PauseShare(500), 0.085);
    EXPECT_LT(guest.Swing(500), 1.1);
    EXPECT_EQ(guest.pacer.snapshot().bound, PacingBound::kPauseShare);
    EXPECT_THAT(guest.pacer.snapshot().missed, IsEmpty());
  }
}

TEST(Pacer, ABurstyGuestIsPacedForItsBursts) {
  for (int period : {7, 20, 60}) {
    SCOPED_TRACE(period);
    SyntheticGuest guest(DelayGoal(Milliseconds(200)));
    guest.burst_period = period;
    guest.Run(1500);
    EXPECT_LE(guest.DelayP99(1000), Milliseconds(200));
    EXPECT_LT(guest.Swing(1000), 1.15);

    SyntheticGuest shared(ShareGoal(0.1));
    shared.burst_period = period;
    shared.Run(1500);
    EXPECT_LE(shared.PauseShare(1000), 0.1);
    EXPECT_LT(shared.Swing(1000), 1.15);
  }
}

TEST(Pacer, ALinkThatTurnsSlowIsAnsweredWithinSomeEpochsAndOneThatRecoversInTheEnd) {
  SyntheticGuest guest(DelayGoal(Milliseconds(150)));
  guest.Run(500);
  const Duration before = guest.pacer.interval();
  guest.link_bytes_per_second /= 5;
  guest.Run(15);
  EXPECT_THAT(guest.pacer.snapshot().missed, ElementsAre(Goal::kOutputDelay)) << "what was late was late";
  EXPECT_LT(guest.pacer.interval(), before * 0.9);
  guest.Run(200);
  EXPECT_LE(guest.DelayP99(200), Milliseconds(150));
  EXPECT_LT(guest.Swing(200), 1.1);
  EXPECT_THAT(guest.pacer.snapshot().missed, IsEmpty());

  guest.link_bytes_per_second *= 5;
  guest.Run(300);
  EXPECT_LE(guest.DelayP99(300), Milliseconds(150)) << "on its way back it does not overshoot";
  EXPECT_GT(guest.pacer.interval(), before * 0.9);
}

TEST(Pacer, SaysWhenTheGuestsOwnSuspendIsAllThatIsLeft) {
  SyntheticGuest guest(DelayGoal(Milliseconds(80)));
  guest.suspend = Milliseconds(100);
  guest.Run(300);
  EXPECT_EQ(guest.pacer.interval(), Milliseconds(10));
  EXPECT_EQ(guest.pacer.snapshot().bound, PacingBound::kFloor);
  EXPECT_THAT(guest.pacer.snapshot().missed, ElementsAre(Goal::kOutputDelay));
}

TEST(Pacer, StaysInItsRangeWhateverTheGoalsWouldTake) {
  Pacing lax = DelayGoal(absl::Seconds(10));
  lax.goal->interval_max = Milliseconds(400);
  SyntheticGuest guest(lax);
  guest.Run(300);
  EXPECT_EQ(guest.pacer.interval(), Milliseconds(400));
  EXPECT_EQ(guest.pacer.snapshot().bound, PacingBound::kNeither);

  Pacing generous = ShareGoal(0.9);
  generous.goal->interval_min = Milliseconds(20);
  SyntheticGuest quick(generous);
  quick.Run(300);
  EXPECT_EQ(quick.pacer.interval(), Milliseconds(20));
  EXPECT_EQ(quick.pacer.snapshot().bound, PacingBound::kNeither);

  // It dirties so fast that the copy alone takes more than its share.
  SyntheticGuest wild(ShareGoal(0.05));
  wild.bytes_written_per_second = 300e6;
  wild.working_set_bytes = 1e12;
  wild.Run(300);
  EXPECT_EQ(wild.pacer.interval(), absl::Seconds(1));
  EXPECT_EQ(wild.pacer.snapshot().bound, PacingBound::kPauseShare);
  EXPECT_THAT(wild.pacer.snapshot().missed, ElementsAre(Goal::kPauseShare));
}

TEST(Pacer, KeepsBothGoalsWhereItCanAndTheOutputDelayWhereItCanNot) {
  Pacing both;
  both.goal = PacingGoal{Milliseconds(150), 0.1};
  SyntheticGuest guest(both);
  guest.Run(1000);
  EXPECT_LE(guest.DelayP99(500), Milliseconds(150));
  EXPECT_LE(guest.PauseShare(500), 0.1);
  EXPECT_EQ(guest.pacer.snapshot().bound, PacingBound::kPauseShare);
  EXPECT_THAT(guest.pacer.snapshot().missed, IsEmpty());

  both.goal->pause_share = 0.03;
  guest.pacer.Change(both);
  guest.Run(1000);
  EXPECT_LE(guest.DelayP99(500), Milliseconds(150));
  EXPECT_GT(guest.PauseShare(500), 0.03);
  EXPECT_EQ(guest.pacer.snapshot().bound, PacingBound::kOutputDelay);
  EXPECT_THAT(guest.pacer.snapshot().missed, ElementsAre(Goal::kPauseShare));
  EXPECT_LT(guest.Swing(500), 1.1);
}

TEST(Pacer, AChangeIsInForceAtOnceAndBeginsWhereItStood) {
  Pacing pacing;
  pacing.interval = Milliseconds(500);
  Pacer pacer(pacing);
  pacing.interval = Milliseconds(300);
  pacer.Change(pacing);
  EXPECT_EQ(pacer.interval(), Milliseconds(300));
  pacing.goal = PacingGoal{std::nullopt, 0.1, Milliseconds(10), Milliseconds(200)};
  pacer.Change(pacing);
  EXPECT_EQ(pacer.interval(), Milliseconds(200)) << "into its range";
  pacing.goal.reset();
  pacer.Change(pacing);
  EXPECT_EQ(pacer.interval(), Milliseconds(300));
  EXPECT_EQ(Pacer(DelayGoal(Milliseconds(60))).interval(), Milliseconds(30)) << "a delay of 60 ms takes less than 100";
}

TEST(Pacer, ANewSessionIsJudgedByItsOwnEpochs) {
  SyntheticGuest guest(DelayGoal(Milliseconds(80)));
  guest.suspend = Milliseconds(100);
  guest.Run(100);
  guest.pacer.Forget();
  EXPECT_THAT(guest.pacer.snapshot().missed, IsEmpty());
  guest.suspend = Milliseconds(4);
  guest.committed = guest.may_ask = guest.started;
  guest.Run(30);
  EXPECT_EQ(guest.pacer.snapshot().bound, PacingBound::kOutputDelay);
  EXPECT_THAT(guest.pacer.snapshot().missed, Not(Contains(Goal::kOutputDelay)));
}

TEST(Pacer, NonsenseInIsNoNonsenseOut) {
  for (const PacedEpoch& epoch : {PacedEpoch{}, PacedEpoch{-Milliseconds(5), Milliseconds(1), -Milliseconds(3)},
                                  PacedEpoch{Milliseconds(1), {}, absl::Hours(1), Milliseconds(1), Milliseconds(1)}}) {
    Pacing pacing;
    pacing.goal = PacingGoal{Milliseconds(100), 0.1};
    Pacer pacer(pacing);
    for (int i = 0; i < 200; ++i) {
      pacer.OnEpoch(epoch);
      EXPECT_GE(pacer.interval(), Milliseconds(10));
      EXPECT_LE(pacer.interval(), absl::Seconds(1));
    }
  }
}

}  // namespace
}  // namespace romulus::protection
