#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "primary/protection/protection_story.h"

namespace romulus::protection {
namespace {

const absl::Status kSilent = absl::UnavailableError("silent");

class LockstepStory : public Story {
 public:
  // The standby runs along from the first checkpoint on, and for at most 10 s.
  void Seeding(LossPolicy policy) {
    Config config;
    config.loss_policy = policy;
    config.lockstep.emplace();
    core.emplace(config);
    On(event::Start{1, 1});
    On(event::EgressAttached{false});
    On(event::SessionAccepted{});
    EXPECT_EQ(On(event::SeedingBegun{At(900)}), "send-checkpoint-1-run, reply-1 OK => Seeding");
  }
  void Starts1(LossPolicy policy) {
    Seeding(policy);
    EXPECT_EQ(On(event::Suspended{1, At(1000)}), "end-epoch-1, copy-input-1, resume-1 => Capturing(1)");
    EXPECT_EQ(On(event::Captured{1, At(1005)}), "in 30s commit-overdue => Replicating(1)");
    EXPECT_EQ(On(event::Commit{1, At(1010)}), "release-1, in 30s standby-overdue => Running(2, standby starts)");
  }
  void Runs1(LossPolicy policy) {
    Starts1(policy);
    EXPECT_EQ(On(event::StandbyRunning{1, At(1020)}), "compare-1, in 10s epoch-over => Running(2, standby runs)");
    EXPECT_TRUE(core->snapshot().lockstep);
  }
  void Suspending2(LossPolicy policy) {
    Runs1(policy);
    EXPECT_EQ(On(Differs(5000)), "in 3s standby-overdue, request-2-and-suspend-standby => Suspending(2, both)");
  }
  void Listed2(LossPolicy policy) {
    Suspending2(policy);
    EXPECT_EQ(On(event::StandbyPagesListed{2}), "standby-pages-2 => Suspending(2, pages listed)");
  }
  void Unlisted2(LossPolicy policy) {
    Suspending2(policy);
    EXPECT_EQ(On(event::Suspended{2, At(5010)}), "end-epoch-2, copy-input-2, resume-2 => Capturing(2, both)");
  }
  void Capturing2(LossPolicy policy) {
    Listed2(policy);
    EXPECT_EQ(On(event::Suspended{2, At(5010)}), "end-epoch-2, copy-input-2, resume-2 => Capturing(2, pages listed)");
  }
  void Replicating2(LossPolicy policy) {
    Capturing2(policy);
    EXPECT_EQ(On(event::Captured{2, At(5020)}),
              "in 30s commit-overdue, send-checkpoint-2-run-untold => Replicating(2)");
  }
  static event::Difference Differs(int64_t milliseconds) {
    return {{comparison::DifferenceReason::kContent, "other bytes"}, At(milliseconds)};
  }
  using Begin = void (LockstepStory::*)(LossPolicy);
  static constexpr Begin kAll[] = {&LockstepStory::Starts1,     &LockstepStory::Runs1,     &LockstepStory::Suspending2,
                                   &LockstepStory::Listed2,     &LockstepStory::Unlisted2, &LockstepStory::Capturing2,
                                   &LockstepStory::Replicating2};
  // How often the comparison has begun and ended in `told`.
  static bool StopsComparing(const std::string& told) { return told.find("stop-comparing") != std::string::npos; }
};

TEST_F(LockstepStory, BothGuestsRun) {
  Replicating2(LossPolicy::kRunUnprotected);
  EXPECT_FALSE(core->snapshot().lockstep);
  EXPECT_EQ(On(event::Commit{2, At(5100)}), "release-2, in 30s standby-overdue => Running(3, standby starts)");
  EXPECT_EQ(On(event::StandbyRunning{2, At(5200)}), "compare-2, in 10s epoch-over => Running(3, standby runs)");
  // Nothing differs: it is taken because it was long ago.
  EXPECT_EQ(On(event::TimerFired{Timer::kEpoch, At(15200)}),
            "in 3s standby-overdue, request-3-and-suspend-standby => Suspending(3, both)");
  EXPECT_EQ(core->snapshot().lockstep_runs, 2);
  EXPECT_EQ(core->snapshot().differences, 1);
  EXPECT_EQ(core->snapshot().last_difference, "other bytes");
}

TEST_F(LockstepStory, TheListMayComeBeforeOrAfterTheGuestIsSuspended) {
  Unlisted2(LossPolicy::kRunUnprotected);
  EXPECT_EQ(On(event::StandbyPagesListed{2}), "standby-pages-2 => Capturing(2, pages listed)");
  EXPECT_EQ(On(event::Captured{2, At(5020)}), "in 30s commit-overdue, send-checkpoint-2-run-untold => Replicating(2)");
}

TEST_F(LockstepStory, OutputPressureAsksForACheckpointOnceTheStandbyRuns) {
  Runs1(LossPolicy::kRunUnprotected);
  EXPECT_EQ(On(event::OutputPressure{At(1100)}),
            "in 3s standby-overdue, request-2-and-suspend-standby => Suspending(2, both)");
  Starts1(LossPolicy::kRunUnprotected);
  EXPECT_EQ(On(event::OutputPressure{At(1015)}), " => Running(2, standby starts)");
  EXPECT_EQ(On(event::StandbyRunning{1, At(1020)}),
            "compare-1, in 3s standby-overdue, request-2-and-suspend-standby => Suspending(2, both)");
  EXPECT_EQ(core->snapshot().early_checkpoints, 1);
}

TEST_F(LockstepStory, ADifferenceThatACheckpointSettlesAnywayIsNoNews) {
  for (const Begin begin : kAll) {
    if (begin == &LockstepStory::Runs1) continue;
    (this->*begin)(LossPolicy::kRunUnprotected);
    const std::string before = core->state_name();
    EXPECT_EQ(On(Differs(5015)), absl::StrCat(" => ", before));
  }
}

TEST_F(LockstepStory, NoCheckpointOverlapsOneToRunFrom) {
  Replicating2(LossPolicy::kRunUnprotected);
  On(event::Commit{2, At(9000)});  // Commits take long.
  On(event::StandbyRunning{2, At(9100)});
  On(Differs(9200));
  On(event::StandbyPagesListed{3});
  On(event::Suspended{3, At(9210)});
  EXPECT_EQ(On(event::Captured{3, At(9220)}), "in 30s commit-overdue, send-checkpoint-3-run-untold => Replicating(3)");
  EXPECT_EQ(On(event::OutputPressure{At(9300)}), " => Replicating(3)");
  EXPECT_EQ(On(event::TimerFired{Timer::kEpoch}), " => Replicating(3)");
}

// The guests differ again and again, sooner than a checkpoint takes.
TEST_F(LockstepStory, WhereLockstepDoesNotPayCheckpointsComeAtTheIntervalForAWhile) {
  Runs1(LossPolicy::kRunUnprotected);
  uint64_t epoch = 2;
  int64_t now = 1020;
  // A run of 1 ms, and a checkpoint of 100.
  while (std::holds_alternative<Protection::Running>(core->state())) {
    ASSERT_LT(epoch, 20);
    On(Differs(now += 1));
    On(event::StandbyPagesListed{epoch});
    On(event::Suspended{epoch, At(now += 50)});
    const std::string sent = On(event::Captured{epoch, At(now)});
    const std::string committed = On(event::Commit{epoch, At(now += 50)});
    ++epoch;
    if (sent.find("-run") == std::string::npos) {
      EXPECT_EQ(committed, absl::StrCat("release-", epoch - 1, ", in 50ms epoch-over => Running(", epoch, ")"));
      break;
    }
    On(event::StandbyRunning{epoch - 1, At(now)});
  }
  // As in Remus mode: nobody is suspended, and differences mean nothing.
  EXPECT_EQ(On(Differs(now)), absl::StrCat(" => Running(", epoch, ")"));
  EXPECT_EQ(On(event::TimerFired{Timer::kEpoch, At(now += 50)}),
            absl::StrCat("request-", epoch, " => Suspending(", epoch, ")"));
  EXPECT_EQ(On(event::Suspended{epoch, At(now)}),
            absl::StrCat("end-epoch-", epoch, ", resume-", epoch, " => Capturing(", epoch, ")"));
  On(event::Captured{epoch, At(now)});
  On(event::Commit{epoch, At(now += 10)});
  // And back, with a checkpoint as any other: nothing is ever unprotected.
  ++epoch;
  now += 600'000;
  On(event::TimerFired{Timer::kEpoch, At(now)});
  EXPECT_EQ(On(event::Suspended{epoch, At(now)}), absl::StrCat("end-epoch-", epoch, ", copy-input-", epoch, ", resume-",
                                                               epoch, " => Capturing(", epoch, ")"));
  On(event::Captured{epoch, At(now)});
  On(event::Commit{epoch, At(now += 10)});
  EXPECT_EQ(On(event::StandbyRunning{epoch, At(now)}),
            absl::StrCat("compare-", epoch, ", in 10s epoch-over => Running(", epoch + 1, ", standby runs)"));
}

TEST_F(LockstepStory, AStandbyThatCanNotRunWaits) {
  Starts1(LossPolicy::kRunUnprotected);
  // The next checkpoint 100 ms after the start of the epoch, as if nobody had asked.
  EXPECT_EQ(On(event::LockstepRefused{1, "ports differ", At(1030)}), "in 70ms epoch-over => Running(2)");
  EXPECT_EQ(core->snapshot().lockstep_refusal, "ports differ");
  EXPECT_EQ(On(event::TimerFired{Timer::kEpoch, At(1100)}), "request-2 => Suspending(2)");
  EXPECT_EQ(On(event::Suspended{2, At(1110)}), "end-epoch-2, resume-2 => Capturing(2)");
}

TEST_F(LockstepStory, ASecondaryThatDoesNotSayWhatItsStandbyDoesIsGivenUp) {
  Suspending2(LossPolicy::kRunUnprotected);
  EXPECT_EQ(On(event::TimerFired{Timer::kStandby}),
            "stop-comparing, cancel-transfer, stop-source, send-StopSession, in 30s stop-overdue => "
            "StoppingSession(retry)");
  EXPECT_EQ(core->last_error().code(), absl::StatusCode::kUnavailable);
  // Its guest is let go, whatever it waited for.
  EXPECT_EQ(On(event::Suspended{2, At(9000)}), "resume-2 => StoppingSession(retry)");
  EXPECT_EQ(On(event::StandbyPagesListed{2}), " => StoppingSession(retry)");
  EXPECT_EQ(On(event::SessionStopped{}), "close-link, pass-through => Unwinding(retry)");

  Unlisted2(LossPolicy::kRunUnprotected);
  EXPECT_EQ(On(event::TimerFired{Timer::kStandby}),
            "stop-comparing, cancel-transfer, stop-source, send-StopSession, in 30s stop-overdue => "
            "StoppingSession(retry)");

  Starts1(LossPolicy::kRunUnprotected);
  EXPECT_EQ(On(event::TimerFired{Timer::kStandby}),
            "cancel-transfer, stop-source, send-StopSession, in 30s stop-overdue => StoppingSession(retry)");
  EXPECT_EQ(On(event::StandbyRunning{1, At(9000)}), " => StoppingSession(retry)") << "too late";
  EXPECT_EQ(On(event::LockstepRefused{1, "", At(9000)}), " => StoppingSession(retry)");
}

// What the standby says has its place.
TEST_F(LockstepStory, WhatTheSecondaryMayNotSay) {
  const std::string broken = "close-link, ";
  const std::vector<std::pair<Begin, event::Event>> cases = {
      {&LockstepStory::Seeding, event::StandbyRunning{1, At(1)}},
      {&LockstepStory::Starts1, event::StandbyRunning{2, At(1)}},
      {&LockstepStory::Starts1, event::LockstepRefused{0, "", At(1)}},
      {&LockstepStory::Runs1, event::StandbyRunning{1, At(1)}},
      {&LockstepStory::Runs1, event::LockstepRefused{1, "", At(1)}},
      {&LockstepStory::Suspending2, event::StandbyRunning{2, At(1)}},
      {&LockstepStory::Capturing2, event::StandbyRunning{2, At(1)}},
      {&LockstepStory::Replicating2, event::StandbyRunning{2, At(1)}},
      {&LockstepStory::Replicating2, event::LockstepRefused{2, "", At(1)}},
  };
  for (const auto& [begin, said] : cases) {
    (this->*begin)(LossPolicy::kHoldOutput);
    const std::string before = core->state_name();
    const std::string told = On(said);
    EXPECT_EQ(told.substr(0, broken.size()), broken) << before << ": " << told;
    EXPECT_EQ(core->last_error().code(), absl::StatusCode::kInternal) << before;
  }
  // Of a standby that was never to run.
  Running2();
  EXPECT_EQ(On(event::StandbyRunning{1, At(1)}).substr(0, broken.size()), broken);
}

// However a session ends, from that moment nothing leaves by comparison.
TEST_F(LockstepStory, TheEndOfASessionIsTheEndOfTheComparison) {
  struct End {
    const char* name;
    event::Event event;
  };
  const End ends[] = {
      {"link", event::LinkClosed{kSilent}},
      {"stopped", event::SessionStopped{}},
      {"standby failed", event::StandbyFailed{"crash"}},
      {"misbehaved", event::PeerMisbehaved{"a bad list"}},
      {"source", event::SourceEnded{kSilent}},
      {"delete", event::DeleteRequested{9, 1}},
      {"commit overdue or none", event::Commit{7, At(9000)}},
  };
  for (const Begin begin : kAll) {
    for (const End& end : ends) {
      (this->*begin)(LossPolicy::kHoldOutput);
      const bool compared = begin != &LockstepStory::Starts1;
      SCOPED_TRACE(absl::StrCat(core->state_name(), ", ", end.name));
      const std::string told = On(end.event);
      EXPECT_EQ(StopsComparing(told), compared) << told;
      EXPECT_FALSE(core->snapshot().lockstep);
      // And no list, no news of the standby, no difference moves anything.
      for (const event::Event& late : {event::Event(event::StandbyPagesListed{2}), event::Event(Differs(9000))}) {
        const std::string before = core->state_name();
        EXPECT_EQ(On(late), absl::StrCat(" => ", before));
      }
    }
  }
}

TEST_F(LockstepStory, APrimaryThatIsFencedStopsComparingBeforeItSaysSo) {
  for (const Begin begin : kAll) {
    (this->*begin)(LossPolicy::kHoldOutput);
    SCOPED_TRACE(core->state_name());
    const std::string asked = On(event::FenceReceived{2});
    EXPECT_EQ(asked.substr(0, asked.find(" =>")), "pause, record(2 moved), continue");
    const std::string told = On(event::Continued{Milestone::kFence});
    const size_t fenced = told.find("send-Fenced(2)");
    ASSERT_NE(fenced, std::string::npos) << told;
    if (begin != &LockstepStory::Starts1) EXPECT_LT(told.find("stop-comparing"), fenced) << told;
    EXPECT_NE(told.find("discard"), std::string::npos) << told;
  }
}

TEST_F(LockstepStory, AFailedMarkEndsTheSession) {
  Listed2(LossPolicy::kHoldOutput);
  On(event::Suspended{2, At(5010)});
  EXPECT_EQ(On(event::EffectFailed{Effect::kOpenEpoch, kSilent}),
            "cancel-transfer, resume-2, stop-comparing, cancel-transfer, stop-source, send-StopSession, "
            "in 30s stop-overdue => StoppingSession(retry)");
}

TEST_F(LockstepStory, ANewSessionBeginsAnew) {
  Runs1(LossPolicy::kRunUnprotected);
  On(event::LinkClosed{kSilent});
  On(event::SourceEnded{});
  On(event::TimerFired{Timer::kReconnect});
  On(event::SessionAccepted{});
  EXPECT_EQ(On(event::SeedingBegun{At(9000)}), "send-checkpoint-1-run => Seeding");
  On(event::Suspended{1, At(9100)});
  On(event::Captured{1, At(9100)});
  EXPECT_EQ(On(event::Commit{1, At(9110)}), "release-1, in 30s standby-overdue => Running(2, standby starts)");
}

}  // namespace
}  // namespace romulus::protection
