#include "primary/lockstep/lockstep_policy.h"

#include <random>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace romulus::lockstep {
namespace {

using absl::Duration;
using comparison::DifferenceReason;

class LockstepPolicyTest : public ::testing::Test {
 protected:
  // As the protection does it: a run ends after `would_last`, unless its deadline comes first, and its checkpoint takes
  // `cost`, and `per_run` of the run's length; while the standby waits, a checkpoint each 100 ms.
  void Step(Duration would_last, Duration cost, double per_run = 0) {
    if (policy_.Decide(now_) == AfterCheckpoint::kWaits) {
      now_ += absl::Milliseconds(100);
      return;
    }
    policy_.OnCheckpointDone(now_);
    policy_.OnRunning(now_);
    const Duration started = now_;
    const Duration deadline = *policy_.RunDeadline();
    const bool differs = started + would_last < deadline;
    now_ = differs ? started + would_last : deadline;
    policy_.OnRunEnded(now_, differs ? RunEnd::kDifference : RunEnd::kLength,
                       differs ? std::optional(DifferenceReason::kContent) : std::nullopt);
    now_ += cost + (now_ - started) * per_run;
  }
  void StepFor(Duration time, Duration would_last, Duration cost) {
    for (const Duration end = now_ + time; now_ < end;) Step(would_last, cost);
  }

  const LockstepSettings settings_;
  LockstepPolicy policy_{settings_};
  Duration now_ = absl::Seconds(1000);
};

TEST_F(LockstepPolicyTest, GuestsThatAgreeStayInLockstep) {
  StepFor(absl::Minutes(10), absl::InfiniteDuration(), absl::Milliseconds(100));
  const LockstepPolicy::Snapshot snapshot = policy_.snapshot(now_);
  EXPECT_TRUE(snapshot.lockstep);
  EXPECT_GT(snapshot.lockstep_share, 0.98);
  EXPECT_EQ(snapshot.short_runs, 0);
  EXPECT_EQ(snapshot.last_run, settings_.run_max);
  EXPECT_EQ(snapshot.trials, 1);
}

TEST_F(LockstepPolicyTest, GuestsThatDifferAtOnceGoToIntervalModeAndTrialsBecomeRare) {
  StepFor(absl::Seconds(2), absl::Milliseconds(5), absl::Milliseconds(100));
  EXPECT_FALSE(policy_.snapshot(now_).lockstep);
  StepFor(absl::Minutes(20), absl::Milliseconds(5), absl::Milliseconds(100));
  const LockstepPolicy::Snapshot snapshot = policy_.snapshot(now_);
  EXPECT_LT(snapshot.lockstep_share, 0.01);
  EXPECT_LT(snapshot.trials, 20) << "2, 4, 8 s... to two minutes";
  EXPECT_GT(snapshot.trials, 10);
  EXPECT_EQ(snapshot.differences[static_cast<size_t>(DifferenceReason::kContent)], snapshot.runs);
  ASSERT_TRUE(policy_.NextTrial().has_value());
  EXPECT_LE(*policy_.NextTrial() - now_, settings_.wait_max);
}

TEST_F(LockstepPolicyTest, AGuestThatCalmsDownComesBackAndTheNextWaitIsTheLeastAgain) {
  StepFor(absl::Minutes(20), absl::Milliseconds(5), absl::Milliseconds(100));
  StepFor(settings_.wait_max + absl::Minutes(2), absl::Seconds(3), absl::Milliseconds(100));
  EXPECT_TRUE(policy_.snapshot(now_).lockstep);
  const uint64_t trials = policy_.snapshot(now_).trials;
  StepFor(absl::Seconds(1), absl::Milliseconds(5), absl::Milliseconds(100));
  ASSERT_TRUE(policy_.NextTrial().has_value());
  EXPECT_LE(*policy_.NextTrial() - now_, settings_.wait_min);
  EXPECT_EQ(policy_.snapshot(now_).trials, trials);
}

TEST_F(LockstepPolicyTest, AFewShortRunsAmongLongOnesAreBorne) {
  for (int i = 0; i < 200; ++i) {
    Step(i % 2 == 0 ? absl::Milliseconds(5) : absl::Seconds(5), absl::Milliseconds(100));
  }
  EXPECT_TRUE(policy_.snapshot(now_).lockstep);
  EXPECT_EQ(policy_.snapshot(now_).trials, 1);
  EXPECT_EQ(policy_.snapshot(now_).short_runs, 100);
}

TEST_F(LockstepPolicyTest, WhatIsShortDependsOnWhatACheckpointCosts) {
  for (int i = 0; i < 20; ++i) Step(absl::Milliseconds(50), absl::Milliseconds(20));
  EXPECT_TRUE(policy_.snapshot(now_).lockstep);
  for (int i = 0; i < 20; ++i) Step(absl::Milliseconds(50), absl::Milliseconds(300));
  EXPECT_FALSE(policy_.snapshot(now_).lockstep);
}

TEST_F(LockstepPolicyTest, RunsAreMadeShorterWhereTheirCheckpointTakesTooLong) {
  // 0.2 s for each second that both have dirtied memory.
  std::vector<Duration> costs;
  for (int i = 0; i < 50; ++i) {
    Step(absl::InfiniteDuration(), absl::ZeroDuration(), 0.2);
    costs.push_back(policy_.snapshot(now_).last_checkpoint);
  }
  EXPECT_LT(policy_.snapshot(now_).run_limit, absl::Seconds(7));
  EXPECT_GT(policy_.snapshot(now_).run_limit, absl::Seconds(3));
  for (size_t i = 5; i < costs.size(); ++i) EXPECT_LE(costs[i], settings_.checkpoint_goal * 1.26);
  for (int i = 0; i < 50; ++i) Step(absl::InfiniteDuration(), absl::Milliseconds(10));
  EXPECT_EQ(policy_.snapshot(now_).run_limit, settings_.run_max);
}

TEST_F(LockstepPolicyTest, WhereEveryCheckpointIsSlowRunsAreNotMadeShortForIt) {
  for (int i = 0; i < 50; ++i) {
    Step(absl::InfiniteDuration(), absl::Seconds(2));
    ASSERT_GE(policy_.snapshot(now_).run_limit, absl::Seconds(8)) << i;
  }
  for (int i = 0; i < 50; ++i) Step(absl::InfiniteDuration(), absl::Minutes(5));
  EXPECT_EQ(policy_.snapshot(now_).run_limit, settings_.run_max);
}

TEST_F(LockstepPolicyTest, RunsThatDifferencesEndSayNothingOfHowLongOnesMayBe) {
  Step(absl::InfiniteDuration(), absl::Milliseconds(1250));
  Step(absl::Seconds(1), absl::Milliseconds(10));
  const Duration limit = policy_.snapshot(now_).run_limit;
  EXPECT_EQ(limit, absl::Seconds(8));
  for (int i = 0; i < 20; ++i) Step(absl::Seconds(1), absl::Milliseconds(10));
  EXPECT_EQ(policy_.snapshot(now_).run_limit, limit);
  Step(absl::InfiniteDuration(), absl::Milliseconds(10));
  policy_.OnCheckpointDone(now_);
  EXPECT_EQ(policy_.snapshot(now_).run_limit, settings_.run_max) << "a quarter more";
}

TEST_F(LockstepPolicyTest, ARefusalIsWaitedOutLikeAFailedTrial) {
  ASSERT_EQ(policy_.Decide(now_), AfterCheckpoint::kRuns);
  Duration wait = settings_.wait_min;
  for (int i = 0; i < 10; ++i) {
    policy_.OnRefused(now_);
    EXPECT_EQ(policy_.NextTrial(), now_ + wait);
    EXPECT_EQ(policy_.Decide(now_ + wait - absl::Milliseconds(1)), AfterCheckpoint::kWaits);
    now_ += wait;
    ASSERT_EQ(policy_.Decide(now_), AfterCheckpoint::kRuns);
    wait = std::min(2 * wait, settings_.wait_max);
  }
  EXPECT_EQ(wait, settings_.wait_max);
}

TEST_F(LockstepPolicyTest, ARunBeforeARefusalIsNotJudgedByTheTimeUntilTheNext) {
  policy_.OnRunning(now_);
  now_ += absl::Seconds(5);
  policy_.OnRunEnded(now_, RunEnd::kDifference, DifferenceReason::kContent);
  policy_.OnRefused(now_);
  now_ = *policy_.NextTrial() + absl::Minutes(1);
  ASSERT_EQ(policy_.Decide(now_), AfterCheckpoint::kRuns);
  policy_.OnCheckpointDone(now_);
  EXPECT_EQ(policy_.snapshot(now_).last_checkpoint, absl::ZeroDuration());
  EXPECT_EQ(policy_.snapshot(now_).short_runs, 0);
}

TEST_F(LockstepPolicyTest, OtherCheckpointsSayNothingAboutTheGuests) {
  for (int i = 0; i < 50; ++i) {
    ASSERT_EQ(policy_.Decide(now_), AfterCheckpoint::kRuns);
    policy_.OnRunning(now_);
    policy_.OnRunEnded(now_ + absl::Milliseconds(1), RunEnd::kOther);
    now_ += absl::Seconds(1);
    policy_.OnCheckpointDone(now_);
  }
  EXPECT_EQ(policy_.snapshot(now_).short_runs, 0);
  EXPECT_EQ(policy_.snapshot(now_).runs, 50);
}

TEST_F(LockstepPolicyTest, EveryTrialFailsWithItsFirstTwoRuns) {
  for (uint64_t trial = 1; trial <= 3; ++trial) {
    Step(absl::Milliseconds(5), absl::Milliseconds(100));
    Step(absl::Milliseconds(5), absl::Milliseconds(100));
    policy_.OnCheckpointDone(now_);
    EXPECT_EQ(policy_.snapshot(now_).trials, trial);
    EXPECT_EQ(policy_.Decide(now_), AfterCheckpoint::kWaits) << trial;
    now_ = *policy_.NextTrial();
  }
}

TEST_F(LockstepPolicyTest, ARunIsShortIfADifferenceEndedItBeforeItLastedAsLongAsItsCheckpoint) {
  Step(absl::Milliseconds(110), absl::Milliseconds(100));
  Step(absl::Milliseconds(90), absl::Milliseconds(100));
  policy_.OnCheckpointDone(now_);
  EXPECT_EQ(policy_.snapshot(now_).short_runs, 1);
  // As long as it was let, however dear its checkpoint.
  for (int i = 0; i < 20; ++i) Step(absl::InfiniteDuration(), 2 * settings_.run_max);
  policy_.OnCheckpointDone(now_);
  EXPECT_EQ(policy_.snapshot(now_).short_runs, 1);
  EXPECT_EQ(policy_.Decide(now_), AfterCheckpoint::kRuns);
}

TEST_F(LockstepPolicyTest, OneRunThatLastedAsLongAsItMayEndsATrialWell) {
  for (int i = 0; i < 5; ++i) {
    policy_.OnRefused(now_);
    now_ = *policy_.NextTrial();
  }
  Step(absl::InfiniteDuration(), absl::Milliseconds(100));
  for (size_t i = 0; i < settings_.short_runs; ++i) {
    ASSERT_EQ(policy_.Decide(now_), AfterCheckpoint::kRuns);
    Step(absl::Milliseconds(5), absl::Milliseconds(100));
  }
  policy_.OnCheckpointDone(now_);
  EXPECT_EQ(policy_.NextTrial(), now_ + settings_.wait_min);
}

TEST_F(LockstepPolicyTest, OtherCheckpointsInBetweenDoNotMakeShortRunsLong) {
  for (int i = 0; i < 2; ++i) {
    Step(absl::Milliseconds(5), absl::Milliseconds(100));
    policy_.OnCheckpointDone(now_);
    policy_.OnRunning(now_);
    policy_.OnRunEnded(now_ + absl::Seconds(1), RunEnd::kOther);
    now_ += absl::Seconds(1);
  }
  policy_.OnCheckpointDone(now_);
  EXPECT_EQ(policy_.Decide(now_), AfterCheckpoint::kWaits);
}

TEST_F(LockstepPolicyTest, ASessionsEndEndsTheRun) {
  policy_.OnRunning(now_);
  ASSERT_TRUE(policy_.RunDeadline().has_value());
  EXPECT_DOUBLE_EQ(policy_.snapshot(now_ + absl::Seconds(1)).lockstep_share, 1) << "the present run counts";
  policy_.OnSessionEnded(now_ + absl::Seconds(2));
  EXPECT_FALSE(policy_.RunDeadline().has_value());
  EXPECT_FALSE(policy_.snapshot(now_).running);
  EXPECT_DOUBLE_EQ(policy_.snapshot(now_ + absl::Seconds(4)).lockstep_share, 0.5);
  // A checkpoint that was under way says nothing about the next session.
  policy_.OnCheckpointDone(now_ + absl::Hours(1));
  EXPECT_EQ(policy_.snapshot(now_).last_checkpoint, absl::ZeroDuration());
}

TEST_F(LockstepPolicyTest, TheNextSessionKnowsTheGuestAndNotTheLink) {
  Step(absl::InfiniteDuration(), absl::Milliseconds(1250));
  policy_.OnCheckpointDone(now_);
  ASSERT_LT(policy_.snapshot(now_).run_limit, settings_.run_max);
  policy_.OnRefused(now_);
  const Duration trial = *policy_.NextTrial();
  policy_.OnSessionEnded(now_);
  EXPECT_EQ(policy_.snapshot(now_).run_limit, settings_.run_max);
  EXPECT_EQ(policy_.NextTrial(), trial);
  EXPECT_EQ(policy_.Decide(now_), AfterCheckpoint::kWaits);
  policy_.OnRefused(trial);
  EXPECT_EQ(policy_.NextTrial(), trial + 2 * settings_.wait_min);
}

TEST_F(LockstepPolicyTest, WhateverTheGuestsDoWaitsAndRunsStayBounded) {
  std::mt19937_64 random(9);
  for (int i = 0; i < 20000; ++i) {
    Step(absl::Milliseconds(static_cast<int64_t>(random() % 3000)),
         absl::Milliseconds(static_cast<int64_t>(random() % 2000)));
    if (random() % 100 == 0) policy_.OnRefused(now_);
    if (random() % 100 == 0) policy_.OnSessionEnded(now_);
    const LockstepPolicy::Snapshot snapshot = policy_.snapshot(now_);
    ASSERT_GE(snapshot.lockstep_share, 0);
    ASSERT_LE(snapshot.lockstep_share, 1);
    ASSERT_GT(snapshot.run_limit, absl::ZeroDuration());
    ASSERT_LE(snapshot.run_limit, settings_.run_max);
    ASSERT_LE(policy_.NextTrial().value_or(now_) - now_, settings_.wait_max);
  }
}

}  // namespace
}  // namespace romulus::lockstep
