#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "primary/protection/protection_story.h"

namespace romulus::protection {
namespace {

const absl::Status kSilent = absl::UnavailableError("silent");

TEST_F(Story, AGuestIsProtected) {
  Begin();
  EXPECT_EQ(On(event::Start{1, 1}), "record(1), attach => Attaching");
  EXPECT_EQ(On(event::EgressAttached{false}), "open-link(1) => Connecting");
  EXPECT_EQ(phase(), Protection::Phase::kConnecting);
  EXPECT_EQ(On(event::SessionAccepted{}), "start-source => Seeding");
  EXPECT_EQ(On(event::SeedingBegun{}), "send-checkpoint-1, reply-1 OK => Seeding");
  EXPECT_EQ(phase(), Protection::Phase::kSeeding);
  // Output is held from the first suspend on, before the guest runs again.
  EXPECT_EQ(On(event::Suspended{1, At(1000)}), "end-epoch-1, resume-1 => Capturing(1)");
  EXPECT_EQ(On(event::Captured{1}), "in 30s commit-overdue => Replicating(1)");
  // Released only now; the next checkpoint 100 ms after the start of epoch 2, which was at 1000.
  EXPECT_EQ(On(event::Commit{1, At(1010)}), "release-1, in 90ms epoch-over => Running(2)");
  EXPECT_EQ(phase(), Protection::Phase::kProtected);
  EXPECT_EQ(On(event::TimerFired{Timer::kEpoch}), "request-2 => Suspending(2)");
  EXPECT_EQ(On(event::Suspended{2, At(1100)}), "end-epoch-2, resume-2 => Capturing(2)");
  EXPECT_EQ(On(event::Captured{2}), "in 30s commit-overdue, send-checkpoint-2 => Replicating(2)");
  // The commit took longer than the interval: the next one at once.
  EXPECT_EQ(On(event::Commit{2, At(1300)}), "release-2, request-3 => Suspending(3)");
  EXPECT_EQ(core->snapshot().committed_epoch, 2);
}

// The next checkpoint is taken while the one before is on its way. Here a commit takes 200 ms, a suspend 60 and a copy
// 40, so the next suspend is due 200 - 60 - 20 = 120 ms after each capture.
class OverlappingStory : public Story {
 protected:
  static event::Captured CapturedAt(uint64_t epoch, int64_t milliseconds) {
    return {epoch, At(milliseconds), absl::Milliseconds(60), absl::Milliseconds(40)};
  }
  // Checkpoint 3 is on its way since 1500, and the next one is being taken.
  void Suspending4() {
    Running2();
    On(event::TimerFired{Timer::kEpoch});
    On(event::Suspended{2, At(1160)});
    On(CapturedAt(2, 1200));
    EXPECT_EQ(On(event::Commit{2, At(1400)}), "release-2, request-3 => Suspending(3)");
    On(event::Suspended{3, At(1460)});
    EXPECT_EQ(On(CapturedAt(3, 1500)),
              "in 30s commit-overdue, send-checkpoint-3, in 120ms epoch-over => Replicating(3)");
    On(event::CheckpointSent{3, At(1510)});
    EXPECT_EQ(On(event::TimerFired{Timer::kEpoch}), "request-4 => Replicating(3, suspending)");
  }
  // The same, suspended for checkpoint 4.
  void Copying4() {
    Suspending4();
    EXPECT_EQ(On(event::Suspended{4, At(1680)}), "in 40ms copied => Replicating(3, copying)");
  }
  // The same, resumed without a mark.
  void Unmarked4() {
    Copying4();
    EXPECT_EQ(On(event::TimerFired{Timer::kBoundary}), "resume-4 => Replicating(3, copied)");
  }
};

TEST_F(OverlappingStory, TheGuestIsNotSuspendedWhileACheckpointIsBeingSent) {
  Suspending4();
  On(event::Commit{3, At(1660)});
  On(event::Suspended{4, At(1680)});
  On(CapturedAt(4, 1720));
  EXPECT_EQ(On(event::TimerFired{Timer::kEpoch}), " => Replicating(4)");
  // News of another checkpoint: of one that was committed before.
  EXPECT_EQ(On(event::CheckpointSent{3, At(1730)}), " => Replicating(4)");
  EXPECT_EQ(On(event::CheckpointSent{4, At(1730)}), "request-5 => Replicating(4, suspending)");
  // Sent again, at the secondary's wish.
  EXPECT_EQ(On(event::CheckpointSent{4, At(1740)}), " => Replicating(4, suspending)");
}

// Commits come 50 ms after the sending, a pause takes 100 ms.
TEST_F(OverlappingStory, TheGuestIsNotSuspendedWhileAShortWaitForACommitIsAllThatIsLeft) {
  Running2();
  On(event::TimerFired{Timer::kEpoch});
  On(event::Suspended{2, At(1160)});
  On(CapturedAt(2, 1200));
  On(event::CheckpointSent{2, At(1350)});
  EXPECT_EQ(On(event::Commit{2, At(1400)}), "release-2, request-3 => Suspending(3)");
  On(event::Suspended{3, At(1460)});
  EXPECT_EQ(On(CapturedAt(3, 1500)), "in 30s commit-overdue, send-checkpoint-3 => Replicating(3)");
  EXPECT_EQ(On(event::CheckpointSent{3, At(1650)}), " => Replicating(3)");
  // Output that presses is worth it.
  EXPECT_EQ(On(event::OutputPressure{At(1660)}), "in 0 epoch-over => Replicating(3)");
  EXPECT_EQ(On(event::TimerFired{Timer::kEpoch}), "request-4 => Replicating(3, suspending)");
}

// Commits come 50 ms after the capture, a pause takes 100 ms.
TEST_F(OverlappingStory, NobodyIsToldOfASendingWhereNoCheckpointIsTakenDuringIt) {
  Running2();
  On(event::TimerFired{Timer::kEpoch});
  On(event::Suspended{2, At(1160)});
  On(CapturedAt(2, 1200));
  EXPECT_EQ(On(event::Commit{2, At(1250)}), "release-2, in 10ms epoch-over => Running(3)");
  On(event::TimerFired{Timer::kEpoch});
  On(event::Suspended{3, At(1360)});
  EXPECT_EQ(On(CapturedAt(3, 1400)), "in 30s commit-overdue, send-checkpoint-3-untold => Replicating(3)");
  // Output that presses then waits for the commit, which is near.
  On(event::OutputPressure{At(1410)});
  EXPECT_EQ(On(event::TimerFired{Timer::kEpoch}), " => Replicating(3)");
  EXPECT_EQ(On(event::Commit{3, At(1450)}), "release-3, request-4 => Suspending(4)");
  // While it presses, and when commits take longer, it is told again.
  On(event::Suspended{4, At(1510)});
  On(event::OutputPressure{At(1520)});
  EXPECT_EQ(On(CapturedAt(4, 1550)), "in 30s commit-overdue, send-checkpoint-4, in 0 epoch-over => Replicating(4)");
  On(event::CheckpointSent{4, At(1560)});
  EXPECT_EQ(On(event::TimerFired{Timer::kEpoch}), "request-5 => Replicating(4, suspending)");
}

TEST_F(OverlappingStory, ACommitThatOvertakesTheNewsOfItsSendingCountsAsThat) {
  Suspending4();
  On(event::Commit{3, At(1660)});
  On(event::Suspended{4, At(1680)});
  On(CapturedAt(4, 1720));
  On(event::TimerFired{Timer::kEpoch});
  EXPECT_EQ(On(event::Commit{4, At(1800)}), "release-4, request-5 => Suspending(5)");
  EXPECT_EQ(On(event::CheckpointSent{4, At(1800)}), " => Suspending(5)");
}

TEST_F(OverlappingStory, ACommitBeforeTheSuspendChangesNothing) {
  Suspending4();
  EXPECT_EQ(On(event::Commit{3, At(1660)}), "release-3 => Suspending(4)");
  EXPECT_EQ(On(event::Suspended{4, At(1680)}), "end-epoch-4, resume-4 => Capturing(4)");
}

TEST_F(OverlappingStory, ACommitDuringTheCopyMakesRoomForTheMark) {
  Copying4();
  EXPECT_EQ(core->snapshot().epoch, 5);
  EXPECT_EQ(On(event::Commit{3, At(1700)}), "release-3, end-epoch-4, resume-4 => Capturing(4)");
  EXPECT_EQ(On(CapturedAt(4, 1720)), "in 30s commit-overdue, send-checkpoint-4, in 120ms epoch-over => Replicating(4)");
  // What came too late does nothing.
  EXPECT_EQ(On(event::TimerFired{Timer::kBoundary}), " => Replicating(4)");
}

TEST_F(OverlappingStory, TheGuestNeverWaitsForACommitThatIsLate) {
  Unmarked4();
  // Its commit releases no more than epoch 3.
  EXPECT_EQ(On(event::Commit{3, At(1730)}), "release-3 => Capturing(4)");
  EXPECT_EQ(On(CapturedAt(4, 1740)),
            "in 30s commit-overdue, send-checkpoint-4, in 123.75ms epoch-over => Replicating(4)");
  // Nothing marks where epoch 4 ends, so its commit releases nothing; the next mark stands for both.
  EXPECT_EQ(On(event::Commit{4, At(1750)}), "in 30ms epoch-over => Running(5)");
  On(event::TimerFired{Timer::kEpoch});
  EXPECT_EQ(On(event::Suspended{5, At(1850)}), "end-epoch-5, resume-5 => Capturing(5)");
  On(CapturedAt(5, 1890));
  EXPECT_EQ(On(event::Commit{5, At(1900)}).substr(0, 10), "release-5,");
}

TEST_F(OverlappingStory, ACheckpointWaitsForItsTurnToBeSent) {
  Unmarked4();
  EXPECT_EQ(On(CapturedAt(4, 1720)), " => Replicating(3, captured)");
  // Nothing is taken on top of two.
  EXPECT_EQ(On(event::TimerFired{Timer::kEpoch}), " => Replicating(3, captured)");
  EXPECT_EQ(On(event::Commit{3, At(1900)}),
            "release-3, in 30s commit-overdue, send-checkpoint-4, in 145ms epoch-over => Replicating(4)");
}

TEST_F(OverlappingStory, AnEpochAfterAnUnmarkedOneIsMarkedAtOnce) {
  Unmarked4();
  On(CapturedAt(4, 1720));
  On(event::Commit{3, At(1900)});
  On(event::CheckpointSent{4, At(1910)});
  On(event::TimerFired{Timer::kEpoch});
  EXPECT_EQ(On(event::Suspended{5, At(2000)}), "end-epoch-5, resume-5 => Replicating(4, copied)");
  // The mark stands behind epoch 5, which is not committed.
  EXPECT_EQ(On(event::Commit{4, At(2100)}), " => Capturing(5)");
  On(CapturedAt(5, 2110));
  EXPECT_EQ(On(event::Commit{5, At(2200)}).substr(0, 10), "release-5,");
}

TEST_F(OverlappingStory, ALossWhileTheGuestWaitsStopsTheSourceWhichResumesIt) {
  Copying4();
  EXPECT_EQ(On(event::LinkClosed{kSilent}), "cancel-transfer, stop-source, pass-through => Unwinding(retry)");
  EXPECT_EQ(On(event::TimerFired{Timer::kBoundary}), " => Unwinding(retry)");
}

TEST_F(OverlappingStory, AMarkThatFailsEndsTheSession) {
  Copying4();
  On(event::Commit{3, At(1700)});
  EXPECT_EQ(On(event::EffectFailed{Effect::kOpenEpoch, absl::InternalError("no netlink")}),
            "cancel-transfer, resume-4, cancel-transfer, stop-source, send-StopSession, in 30s stop-overdue => "
            "StoppingSession(retry)");
  Unmarked4();
  On(CapturedAt(4, 1720));
  On(event::Commit{3, At(1900)});
  On(event::CheckpointSent{4, At(1910)});
  On(event::TimerFired{Timer::kEpoch});
  On(event::Suspended{5, At(2000)});
  EXPECT_EQ(On(event::EffectFailed{Effect::kOpenEpoch, absl::InternalError("no netlink")}),
            "cancel-transfer, resume-5, cancel-transfer, stop-source, send-StopSession, in 30s stop-overdue => "
            "StoppingSession(retry)");
}

TEST_F(OverlappingStory, ANewSessionBeginsWithoutAMarkOfTheLast) {
  Unmarked4();
  On(event::LinkClosed{kSilent});
  On(event::SourceEnded{});
  On(event::TimerFired{Timer::kReconnect});
  On(event::SessionAccepted{});
  On(event::SeedingBegun{});
  EXPECT_EQ(On(event::Suspended{1, At(9000)}), "end-epoch-1, resume-1 => Capturing(1)");
}

// The interval counts from the epoch's start, also while the checkpoint before is on its way: from 1680 here, though it
// is copied at 1720 and committed at 1740.
TEST_F(OverlappingStory, TheIntervalCountsFromTheStartOfTheEpoch) {
  Copying4();
  On(event::UpdateRequested{7, 0, Pacing{absl::Milliseconds(500), std::nullopt}});
  On(event::Continued{Milestone::kUpdate});
  On(event::Commit{3, At(1700)});
  EXPECT_EQ(On(CapturedAt(4, 1720)), "in 30s commit-overdue, send-checkpoint-4, in 460ms epoch-over => Replicating(4)");
  EXPECT_EQ(On(event::Commit{4, At(1740)}), "release-4, in 440ms epoch-over => Running(5)");
  // Nor does it start anew where the next checkpoint has been waiting for its turn to be sent.
  Unmarked4();
  On(event::UpdateRequested{7, 0, Pacing{absl::Milliseconds(500), std::nullopt}});
  On(event::Continued{Milestone::kUpdate});
  On(CapturedAt(4, 1720));
  EXPECT_EQ(On(event::Commit{3, At(1900)}),
            "release-3, in 30s commit-overdue, send-checkpoint-4, in 280ms epoch-over => Replicating(4)");
}

TEST_F(Story, AnUpdateOfThePacingCountsFromTheNextCheckpointThatIsScheduled) {
  Replicating2();
  PacingGoal goal{absl::Milliseconds(60), std::nullopt};
  goal.interval_max = absl::Milliseconds(40);
  EXPECT_EQ(On(event::UpdateRequested{7, 0, Pacing{absl::Milliseconds(100), goal}}),
            "record(1), continue => Replicating(2)");
  EXPECT_EQ(core->snapshot().pacing.interval, absl::Milliseconds(100)) << "it is not on record yet";
  EXPECT_EQ(On(event::Continued{Milestone::kUpdate}), "reply-7 OK => Replicating(2)");
  EXPECT_EQ(core->snapshot().pacing.interval, absl::Milliseconds(40));
  EXPECT_EQ(On(event::Commit{2, At(1110)}), "release-2, in 30ms epoch-over => Running(3)");
}

TEST_F(Story, WhatEpochsTakeSetsTheIntervalAndReleasesNothing) {
  Config config;
  config.pacing.goal = PacingGoal{std::nullopt, 0.5};
  core.emplace(config);
  On(event::Start{1, 1});
  On(event::EgressAttached{false});
  On(event::SessionAccepted{});
  On(event::SeedingBegun{});
  On(event::Suspended{1, At(1000)});
  On(event::Captured{1});
  const PacedEpoch paused_half{absl::Milliseconds(100), {}, {}, absl::Milliseconds(60), absl::Milliseconds(120)};
  // The first two say nothing of those to come.
  On(event::EpochMeasured{1, paused_half});
  On(event::EpochMeasured{2, paused_half});
  EXPECT_EQ(core->snapshot().pacing.interval, absl::Milliseconds(100));
  EXPECT_EQ(On(event::EpochMeasured{3, paused_half}), " => Replicating(1)");
  EXPECT_GT(core->snapshot().pacing.interval, absl::Milliseconds(110));
  EXPECT_EQ(core->snapshot().pacing.bound, PacingBound::kPauseShare);
  EXPECT_EQ(On(event::Commit{1, At(1012)}), "release-1, in 100.5ms epoch-over => Running(2)");
  // A goal that is taken back leaves the interval that was set.
  On(event::UpdateRequested{7, 0, Pacing{}});
  On(event::Continued{Milestone::kUpdate});
  EXPECT_EQ(core->snapshot().pacing.interval, absl::Milliseconds(100));
  EXPECT_EQ(core->snapshot().pacing.bound, PacingBound::kFixed);
}

TEST_F(Story, OutputPressureAsksForTheNextCheckpointAtOnce) {
  Running2();
  EXPECT_EQ(On(event::OutputPressure{At(1020)}), "request-2 => Suspending(2)");
  EXPECT_EQ(core->snapshot().early_checkpoints, 1);
  // Nothing leaves for it: the mark is set and released as ever.
  EXPECT_EQ(On(event::OutputPressure{At(1022)}), " => Suspending(2)");
  EXPECT_EQ(On(event::Suspended{2, At(1060)}), "end-epoch-2, resume-2 => Capturing(2)");
  EXPECT_EQ(On(event::Captured{2}), "in 30s commit-overdue, send-checkpoint-2 => Replicating(2)");
  // The mark has answered it: the next one comes an interval after the start of its epoch, at 1060.
  EXPECT_EQ(On(event::Commit{2, At(1080)}), "release-2, in 80ms epoch-over => Running(3)");
  // A timer that fires late does nothing more.
  EXPECT_EQ(On(event::OutputPressure{At(1090)}), "request-3 => Suspending(3)");
  EXPECT_EQ(On(event::TimerFired{Timer::kEpoch}), " => Suspending(3)");
  EXPECT_EQ(core->snapshot().early_checkpoints, 2);
}

TEST_F(Story, OutputPressureIsRememberedUntilACheckpointCanBeAskedFor) {
  Running2();
  On(event::TimerFired{Timer::kEpoch});
  On(event::Suspended{2, At(1100)});
  EXPECT_EQ(On(event::OutputPressure{At(1110)}), " => Capturing(2)");
  EXPECT_EQ(On(event::Captured{2}), "in 30s commit-overdue, send-checkpoint-2 => Replicating(2)");
  // How long commits take is not known yet, so the next one is not begun before this commit.
  EXPECT_EQ(On(event::OutputPressure{At(1115)}), " => Replicating(2)");
  EXPECT_EQ(On(event::Commit{2, At(1120)}), "release-2, request-3 => Suspending(3)");
  EXPECT_EQ(core->snapshot().early_checkpoints, 1);
}

TEST_F(Story, OutputPressureWithoutASessionThatHoldsOutputIsNothing) {
  Connecting();
  EXPECT_EQ(On(event::OutputPressure{At(1)}), " => Connecting");
  Seeding();
  EXPECT_EQ(On(event::OutputPressure{At(1)}), " => Seeding");
  Holding();
  EXPECT_EQ(On(event::OutputPressure{At(1)}), " => BackingOff");
  // Nor is it remembered by the next one.
  Running2();
  On(event::TimerFired{Timer::kEpoch});
  On(event::OutputPressure{At(1)});
  On(event::LinkClosed{kSilent});
  On(event::SourceEnded{});
  On(event::TimerFired{Timer::kReconnect});
  On(event::SessionAccepted{});
  On(event::SeedingBegun{});
  On(event::Suspended{1, At(9000)});
  On(event::Captured{1});
  EXPECT_EQ(On(event::Commit{1, At(9010)}), "release-1, in 90ms epoch-over => Running(2)");
}

// Commits take 20 ms, so a checkpoint that is asked for 10 ms after the capture before finds its mark free.
class OverlappingPressureStory : public OverlappingStory {
 protected:
  void Replicating3() {
    Running2();
    On(event::TimerFired{Timer::kEpoch});
    On(event::Suspended{2, At(1160)});
    On(event::Captured{2, At(1170), absl::Milliseconds(5), absl::Milliseconds(10)});
    On(event::Commit{2, At(1190)});
    On(event::TimerFired{Timer::kEpoch});
    On(event::Suspended{3, At(1260)});
    EXPECT_EQ(On(event::Captured{3, At(1270), absl::Milliseconds(5), absl::Milliseconds(10)}),
              "in 30s commit-overdue, send-checkpoint-3, in 90ms epoch-over => Replicating(3)");
    On(event::CheckpointSent{3, At(1271)});
  }
};

TEST_F(OverlappingPressureStory, TheNextCheckpointIsBegunAsSoonAsItsMarkWillFindItsPlace) {
  Replicating3();
  // Due 10 ms after the capture at 1270, not at 1360 when the interval is over; and not now, when it would end without
  // a mark.
  EXPECT_EQ(On(event::OutputPressure{At(1272)}), "in 8ms epoch-over => Replicating(3)");
  EXPECT_EQ(On(event::OutputPressure{At(1274)}), " => Replicating(3)");
  EXPECT_EQ(core->snapshot().early_checkpoints, 0);
  EXPECT_EQ(On(event::TimerFired{Timer::kEpoch}), "request-4 => Replicating(3, suspending)");
  EXPECT_EQ(core->snapshot().early_checkpoints, 1);
  EXPECT_EQ(On(event::Suspended{4, At(1285)}), "in 10ms copied => Replicating(3, copying)");
  EXPECT_EQ(On(event::Commit{3, At(1290)}), "release-3, end-epoch-4, resume-4 => Capturing(4)");
  EXPECT_EQ(On(event::Captured{4, At(1295), absl::Milliseconds(5), absl::Milliseconds(10)}),
            "in 30s commit-overdue, send-checkpoint-4, in 90ms epoch-over => Replicating(4)");
}

TEST_F(OverlappingPressureStory, LateInTheCommitItIsBegunAtOnce) {
  Replicating3();
  EXPECT_EQ(On(event::OutputPressure{At(1284)}), "in 0 epoch-over => Replicating(3)");
  // Here the commit comes first.
  EXPECT_EQ(On(event::Commit{3, At(1284)}), "release-3, request-4 => Suspending(4)");
  EXPECT_EQ(core->snapshot().early_checkpoints, 1);
}

TEST_F(OverlappingPressureStory, AnEpochWithoutAMarkDoesNotRelieve) {
  Replicating3();
  On(event::OutputPressure{At(1272)});
  On(event::TimerFired{Timer::kEpoch});
  On(event::Suspended{4, At(1285)});
  EXPECT_EQ(On(event::TimerFired{Timer::kBoundary}), "resume-4 => Replicating(3, copied)");
  On(event::Captured{4, At(1297), absl::Milliseconds(5), absl::Milliseconds(10)});
  // What epochs 4 and 5 send waits for the mark at the end of 5: that is hurried, too.
  EXPECT_EQ(On(event::Commit{3, At(1300)}),
            "release-3, in 30s commit-overdue, send-checkpoint-4, in 11.25ms epoch-over => Replicating(4)");
}

TEST_F(Story, CreationFailsAndLeavesEverythingAsItWas) {
  Connecting();
  EXPECT_EQ(On(event::LinkClosed{kSilent}), "detach, record(1 ended), reply-1 UNAVAILABLE => Failed");
  Connecting();
  EXPECT_EQ(On(event::LinkClosed{absl::ResourceExhaustedError("memory")}),
            "detach, record(1 ended), reply-1 RESOURCE_EXHAUSTED => Failed");
  // A stale generation pauses nobody who never was protected.
  Connecting();
  EXPECT_EQ(On(event::LinkClosed{absl::AbortedError("2")}), "detach, record(1 ended), reply-1 ABORTED => Failed");
  Begin();
  On(event::Start{1, 1});
  EXPECT_EQ(On(event::EffectFailed{Effect::kAttach, absl::InternalError("x")}),
            "detach, record(1 ended), reply-1 INTERNAL => Failed");
  Begin();
  On(event::Start{1, 1});
  EXPECT_EQ(On(event::EffectFailed{Effect::kWriteRecord, absl::InternalError("x")}),
            "record(1 ended), reply-1 INTERNAL => Failed");
  Begin();
  EXPECT_EQ(On(event::Start{1, 3, 5}), "reply-1 ABORTED => Failed");
  Begin();
  EXPECT_EQ(On(event::Start{1, 5, 5, true}), "reply-1 ABORTED => Failed");
}

TEST_F(Story, APvGuestCanNotBeProtected) {
  Connecting();
  On(event::SessionAccepted{});
  EXPECT_EQ(On(event::SourceEnded{absl::FailedPreconditionError("no shadow paging")}),
            "cancel-transfer, send-StopSession, in 30s stop-overdue => StoppingSession(fail)");
  EXPECT_EQ(On(event::SessionStopped{}), "close-link, detach, record(1 ended), reply-1 FAILED_PRECONDITION => Failed");
}

TEST_F(Story, TheSecondaryIsLostWhileSeedingAndOutputKeepsFlowing) {
  for (LossPolicy policy : {LossPolicy::kRunUnprotected, LossPolicy::kHoldOutput, LossPolicy::kPauseGuest}) {
    Seeding(policy);
    EXPECT_EQ(On(event::LinkClosed{kSilent}), "cancel-transfer, stop-source => Unwinding(retry)");
    EXPECT_EQ(phase(), Protection::Phase::kUnprotected);
    EXPECT_EQ(On(event::Suspended{1, At(1)}), "resume-1 => Unwinding(retry)");
    EXPECT_EQ(On(event::SourceEnded{}), "in 250ms reconnect => BackingOff");
  }
}

TEST_F(Story, TheSecondaryIsLostAndThePolicyDecides) {
  Replicating2(LossPolicy::kRunUnprotected);
  EXPECT_EQ(On(event::LinkClosed{kSilent}), "cancel-transfer, stop-source, pass-through => Unwinding(retry)");
  EXPECT_EQ(phase(), Protection::Phase::kUnprotected);

  Replicating2(LossPolicy::kHoldOutput);
  EXPECT_EQ(On(event::LinkClosed{kSilent}), "cancel-transfer, stop-source => Unwinding(retry)");
  EXPECT_EQ(phase(), Protection::Phase::kHolding);
  EXPECT_EQ(On(event::SourceEnded{}), "in 250ms reconnect => BackingOff");

  // Paused only when no suspend is under way any more.
  Replicating2(LossPolicy::kPauseGuest);
  EXPECT_EQ(On(event::LinkClosed{kSilent}), "cancel-transfer, stop-source => Unwinding(retry)");
  EXPECT_EQ(On(event::SourceEnded{}), "in 250ms reconnect, pause => BackingOff");
}

TEST_F(Story, ALateCommitReleasesNothing) {
  Holding();
  EXPECT_EQ(On(event::Commit{2, At(2000)}), " => BackingOff");
  Replicating2(LossPolicy::kHoldOutput);
  On(event::LinkClosed{kSilent});
  EXPECT_EQ(On(event::Commit{2, At(2000)}), " => Unwinding(retry)");
}

TEST_F(Story, ACommitOfTheWrongEpochIsAPeerThatLies) {
  Running2(LossPolicy::kHoldOutput);
  EXPECT_EQ(On(event::Commit{2, At(1011)}), "close-link, cancel-transfer, stop-source => Unwinding(retry)");
  Seeding(LossPolicy::kHoldOutput);
  EXPECT_EQ(On(event::Commit{1, At(1)}), "close-link, cancel-transfer, stop-source => Unwinding(retry)");
}

TEST_F(Story, TheSecondaryComesBackAndTheGuestIsProtectedAnew) {
  Holding(LossPolicy::kPauseGuest);
  EXPECT_EQ(On(event::TimerFired{Timer::kReconnect}), "open-link(1) => Connecting");
  EXPECT_EQ(On(event::LinkClosed{kSilent}), "in 500ms reconnect => BackingOff");
  On(event::TimerFired{Timer::kReconnect});
  // Acceptance says that no older standby is there: the output may flow again.
  EXPECT_EQ(On(event::SessionAccepted{}), "start-source, unpause, pass-through => Seeding");
  On(event::SeedingBegun{});
  EXPECT_EQ(On(event::Suspended{1, At(9)}), "end-epoch-1, resume-1 => Capturing(1)");
}

TEST_F(Story, TheOtherHostHasTakenOver) {
  Holding();
  On(event::TimerFired{Timer::kReconnect});
  EXPECT_EQ(On(event::LinkClosed{absl::AbortedError("generation 2")}),
            "pause, record(1 moved), continue, discard => Fenced(1, unconfirmed)");
  EXPECT_EQ(On(event::Continued{Milestone::kFence}), " => Fenced(1)");
  EXPECT_EQ(phase(), Protection::Phase::kFenced);
  EXPECT_EQ(On(event::DeleteRequested{7, 1, true}), "detach, record(1 moved ended), reply-7 OK => Ended");
}

TEST_F(Story, PausingAFencedGuestIsTriedUntilItIsPaused) {
  Holding();
  On(event::TimerFired{Timer::kReconnect});
  On(event::LinkClosed{absl::AbortedError("generation 2")});
  EXPECT_EQ(On(event::EffectFailed{Effect::kPause, absl::InternalError("EBUSY")}),
            "in 1s enforce, record(1 moved), discard => Fenced(1, unconfirmed)");
  EXPECT_EQ(On(event::FenceRequested{8, 1}), "reply-8 UNAVAILABLE => Fenced(1, unconfirmed)");
  // Without its buffer it would be heard.
  EXPECT_EQ(On(event::DeleteRequested{8, 1}), "reply-8 FAILED_PRECONDITION => Fenced(1, unconfirmed)");
  EXPECT_EQ(On(event::TimerFired{Timer::kEnforce}),
            "pause, record(1 moved), continue, discard => Fenced(1, unconfirmed)");
  On(event::Continued{Milestone::kFence});
  EXPECT_EQ(On(event::FenceRequested{9, 1}), "reply-9 OK => Fenced(1)");
}

TEST_F(Story, APlannedTakeover) {
  Replicating2();
  EXPECT_EQ(On(event::FenceReceived{2}), "pause, record(2 moved), continue => Replicating(2)");
  EXPECT_EQ(On(event::Continued{Milestone::kFence}),
            "send-Fenced(2), cancel-transfer, stop-source, discard => Fenced(2)");
  // Whatever still comes, nothing is released.
  EXPECT_EQ(On(event::Commit{2, At(2000)}), " => Fenced(2)");
  EXPECT_EQ(On(event::StandbyFailed{"late"}), " => Fenced(2)");
  EXPECT_EQ(On(event::SessionStopped{}), " => Fenced(2)");
  EXPECT_EQ(On(event::FenceReceived{2}), "send-Fenced(2) => Fenced(2)");
  EXPECT_EQ(On(event::SourceEnded{}), " => Fenced(2)");
  EXPECT_EQ(On(event::LinkClosed{kSilent}), " => Fenced(2)");
}

TEST_F(Story, AFenceThatCanNotBeKeptIsNotAnswered) {
  Replicating2();
  On(event::FenceReceived{2});
  EXPECT_EQ(On(event::EffectFailed{Effect::kWriteRecord, absl::InternalError("EIO")}), "unpause => Replicating(2)");
  EXPECT_EQ(On(event::FenceReceived{1}), " => Replicating(2)");  // Not higher than ours.
}

TEST_F(Story, FenceProtectionTakesAHigherGeneration) {
  Running2();
  EXPECT_EQ(On(event::FenceRequested{7, 0}), "reply-7 ABORTED => Running(2)");
  EXPECT_EQ(On(event::FenceRequested{7, 1}), "reply-7 INVALID_ARGUMENT => Running(2)");
  EXPECT_EQ(On(event::FenceRequested{7, 4}), "pause, record(4 moved), continue => Running(2)");
  EXPECT_EQ(On(event::Continued{Milestone::kFence}),
            "reply-7 OK, close-link, cancel-transfer, stop-source, discard => Fenced(4)");
}

TEST_F(Story, TheStandbyFailsAndTheOutputIsReleasedWhateverThePolicy) {
  Replicating2(LossPolicy::kPauseGuest);
  EXPECT_EQ(On(event::StandbyFailed{"restore helper killed"}),
            "close-link, cancel-transfer, stop-source, pass-through => Unwinding(retry)");
  EXPECT_EQ(On(event::SourceEnded{}), "in 250ms reconnect => BackingOff");
}

TEST_F(Story, TheSaveHelperDies) {
  Replicating2(LossPolicy::kHoldOutput);
  EXPECT_EQ(On(event::SourceEnded{absl::UnavailableError("signal 11")}),
            "cancel-transfer, send-StopSession, in 30s stop-overdue => StoppingSession(retry)");
  EXPECT_EQ(On(event::Commit{2, At(2000)}), " => StoppingSession(retry)");
  // Only now is it known that nothing can take over.
  EXPECT_EQ(On(event::SessionStopped{}), "close-link, in 250ms reconnect, pass-through => BackingOff");
}

TEST_F(Story, TheSecondaryDoesNotAnswerStopSession) {
  Replicating2(LossPolicy::kHoldOutput);
  On(event::SourceEnded{absl::UnavailableError("signal 11")});
  EXPECT_EQ(On(event::TimerFired{Timer::kStop}), "close-link, in 250ms reconnect => BackingOff");
  EXPECT_EQ(phase(), Protection::Phase::kHolding);
}

TEST_F(Story, TheGuestIsShutDownByItsOwner) {
  Replicating2(LossPolicy::kHoldOutput);
  On(event::SourceEnded{absl::NotFoundError("gone")});
  EXPECT_EQ(On(event::SessionStopped{}), "close-link, pass-through, detach, record(1 ended) => Failed");
  // And where the secondary can't be told: what is held might be contradicted by a takeover.
  Replicating2(LossPolicy::kHoldOutput);
  On(event::SourceEnded{absl::NotFoundError("gone")});
  EXPECT_EQ(On(event::LinkClosed{kSilent}), "detach, record(1 ended) => Failed");
}

TEST_F(Story, Unprotect) {
  Replicating2();
  EXPECT_EQ(On(event::DeleteRequested{7, 0}), "reply-7 ABORTED => Replicating(2)");
  EXPECT_EQ(On(event::DeleteRequested{7, 1}),
            "cancel-transfer, stop-source, send-StopSession, in 30s stop-overdue => StoppingSession(delete)");
  EXPECT_EQ(phase(), Protection::Phase::kDisengaging);
  EXPECT_EQ(On(event::SessionStopped{}), "close-link, pass-through => Unwinding(delete)");
  EXPECT_EQ(On(event::SourceEnded{}), "detach, record(1 ended), reply-7 OK => Ended");
}

TEST_F(Story, UnprotectWithoutTheSecondary) {
  Replicating2(LossPolicy::kHoldOutput);
  On(event::DeleteRequested{7, 1});
  On(event::SourceEnded{});
  EXPECT_EQ(On(event::LinkClosed{kSilent}), "reply-7 FAILED_PRECONDITION, in 250ms reconnect => BackingOff");
  // It is tried again before it is refused again.
  EXPECT_EQ(On(event::DeleteRequested{8, 1}), "open-link(1) => Connecting");
  EXPECT_EQ(On(event::LinkClosed{kSilent}), "reply-8 FAILED_PRECONDITION, in 500ms reconnect => BackingOff");
  EXPECT_EQ(On(event::DeleteRequested{9, 1, true}), "pass-through, detach, record(1 ended), reply-9 OK => Ended");
}

TEST_F(Story, ADeletionInTheOtherOwnersGenerationDoesNotMakeItOurs) {
  Replicating2(LossPolicy::kHoldOutput);
  On(event::DeleteRequested{7, 4});
  On(event::SourceEnded{});
  On(event::LinkClosed{kSilent});
  EXPECT_EQ(On(event::TimerFired{Timer::kReconnect}), "open-link(1) => Connecting");
  EXPECT_EQ(On(event::DeleteRequested{8, 4, true}),
            "close-link, pass-through, detach, record(4 ended), reply-8 OK => Ended");
}

TEST_F(Story, ADeletionReachesASecondaryThatWasLost) {
  Holding();
  On(event::DeleteRequested{7, 1});
  EXPECT_EQ(On(event::SessionAccepted{}),
            "send-StopSession, in 30s stop-overdue, pass-through => StoppingSession(delete)");
  EXPECT_EQ(On(event::SessionStopped{}), "close-link, detach, record(1 ended), reply-7 OK => Ended");
}

TEST_F(Story, ProtectionDoesNotEndWithAGuestThatItHasPaused) {
  Holding(LossPolicy::kPauseGuest);
  EXPECT_EQ(On(event::DeleteRequested{7, 1, true}),
            "unpause, pass-through, detach, record(1 ended), reply-7 OK => Ended");
  EXPECT_EQ(On(event::EffectFailed{Effect::kUnpause, absl::InternalError("EBUSY")}), "in 1s enforce => Ended");
  EXPECT_EQ(phase(), Protection::Phase::kDisengaging);
  EXPECT_EQ(On(event::TimerFired{Timer::kEnforce}),
            "unpause, pass-through, detach, record(1 ended), reply-7 OK => Ended");
  EXPECT_EQ(phase(), Protection::Phase::kEnded);
}

TEST_F(Story, TheEgressBufferCanNotOpenAnEpoch) {
  // The guest goes on, but the checkpoint is never committed.
  Running2(LossPolicy::kHoldOutput);
  On(event::TimerFired{Timer::kEpoch});
  On(event::Suspended{2, At(1100)});
  EXPECT_EQ(On(event::EffectFailed{Effect::kOpenEpoch, absl::InternalError("ENOBUFS")}),
            "cancel-transfer, resume-2, cancel-transfer, stop-source, send-StopSession, in 30s stop-overdue => "
            "StoppingSession(retry)");
  EXPECT_EQ(On(event::Captured{2}), " => StoppingSession(retry)");
  // Of epoch 1 nothing whole has left: its output may flow even if the link is lost now.
  Seeding(LossPolicy::kHoldOutput);
  On(event::Suspended{1, At(1000)});
  EXPECT_EQ(On(event::EffectFailed{Effect::kOpenEpoch, absl::InternalError("ENOBUFS")}),
            "cancel-transfer, resume-1, cancel-transfer, stop-source, send-StopSession, in 30s stop-overdue, "
            "pass-through => StoppingSession(retry)");
}

TEST_F(Story, TheEgressBufferCanNotRelease) {
  Replicating2(LossPolicy::kHoldOutput);
  On(event::Commit{2, At(1300)});
  EXPECT_EQ(On(event::EffectFailed{Effect::kRelease, absl::InternalError("ENOBUFS")}),
            "cancel-transfer, stop-source, send-StopSession, in 30s stop-overdue => StoppingSession(retry)");
}

TEST_F(Story, ASecondaryThatLivesButNeverCommits) {
  Replicating2();
  EXPECT_EQ(On(event::TimerFired{Timer::kCommit}),
            "cancel-transfer, stop-source, send-StopSession, in 30s stop-overdue => StoppingSession(retry)");
}

TEST_F(Story, AnAgentThatComesBackReleasesNothingBlindly) {
  Begin(LossPolicy::kHoldOutput);
  EXPECT_EQ(On(event::Start{1, 1, 3, false, true}), "reply-1 OK, attach => Attaching");
  EXPECT_EQ(On(event::EgressAttached{true}), "open-link(3), unpause => Connecting");
  EXPECT_EQ(phase(), Protection::Phase::kHolding);
  EXPECT_EQ(On(event::LinkClosed{kSilent}), "in 250ms reconnect => BackingOff");
  On(event::TimerFired{Timer::kReconnect});
  EXPECT_EQ(On(event::SessionAccepted{}), "start-source, pass-through => Seeding");

  Begin(LossPolicy::kHoldOutput);
  On(event::Start{1, 1, 3, false, true});
  On(event::EgressAttached{true});
  EXPECT_EQ(On(event::LinkClosed{absl::AbortedError("4")}),
            "pause, record(3 moved), continue, discard => Fenced(3, unconfirmed)");
}

TEST_F(Story, AnAgentThatComesBackToAFencedGuest) {
  Begin();
  EXPECT_EQ(On(event::Start{1, 1, 3, true, true}),
            "reply-1 OK, pause, record(3 moved), continue, attach => Fenced(3, unconfirmed)");
  On(event::Continued{Milestone::kFence});
  EXPECT_EQ(On(event::EgressAttached{true}), "discard => Fenced(3)");
}

TEST_F(Story, TheControlPlaneSaysThatThisHostOwnsTheGuest) {
  Holding(LossPolicy::kPauseGuest);
  EXPECT_EQ(On(event::UpdateRequested{7, 0, std::nullopt, LossPolicy::kHoldOutput}),
            "record(1), continue => BackingOff");
  EXPECT_EQ(On(event::Continued{Milestone::kUpdate}), "reply-7 OK, unpause => BackingOff");
  On(event::UpdateRequested{8, 0, std::nullopt, LossPolicy::kRunUnprotected});
  EXPECT_EQ(On(event::Continued{Milestone::kUpdate}), "reply-8 OK, pass-through => BackingOff");
  EXPECT_EQ(phase(), Protection::Phase::kUnprotected);
}

TEST_F(Story, AnUpdateOfTheGenerationIsOnRecordFirst) {
  Running2();
  EXPECT_EQ(On(event::UpdateRequested{7, 5}), "record(5), continue => Running(2)");
  EXPECT_EQ(On(event::EffectFailed{Effect::kWriteRecord, absl::InternalError("EIO")}),
            "reply-7 INTERNAL => Running(2)");
  EXPECT_EQ(core->snapshot().generation, 1);
  On(event::UpdateRequested{8, 5});
  EXPECT_EQ(On(event::Continued{Milestone::kUpdate}), "reply-8 OK => Running(2)");
  EXPECT_EQ(core->snapshot().generation, 5);
  EXPECT_EQ(On(event::UpdateRequested{9, 4}), "reply-9 ABORTED => Running(2)");
}

TEST_F(Story, RunUnprotectedIsRefusedWithOnLinkLoss) {
  Config config;
  config.failover_policy = FailoverPolicy::kOnLinkLoss;
  config.loss_policy = LossPolicy::kHoldOutput;
  core.emplace(config);
  On(event::Start{1, 1});
  On(event::EgressAttached{false});
  EXPECT_EQ(On(event::UpdateRequested{7, 0, std::nullopt, LossPolicy::kRunUnprotected}),
            "reply-7 INVALID_ARGUMENT => Connecting");
}

TEST_F(Story, ARefusalWithAStandbyThatMayExistDoesNotRelease) {
  Holding(LossPolicy::kHoldOutput);
  On(event::TimerFired{Timer::kReconnect});
  EXPECT_EQ(On(event::LinkClosed{absl::ResourceExhaustedError("memory")}), "in 500ms reconnect => BackingOff");
  Holding(LossPolicy::kRunUnprotected);
  On(event::TimerFired{Timer::kReconnect});
  EXPECT_EQ(On(event::LinkClosed{absl::ResourceExhaustedError("memory")}), "detach, record(1 ended) => Failed");
}

TEST_F(Story, BrokenPromisesEndTheProcess) {
  EXPECT_DEATH((Seeding(), On(event::Captured{1})), "capturing");
  EXPECT_DEATH((Running2(), On(event::Suspended{2, At(1)})), "capturing");
  EXPECT_DEATH((Connecting(), On(event::SourceEnded{})), "source_");
}

}  // namespace
}  // namespace romulus::protection
