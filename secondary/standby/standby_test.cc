#include "secondary/standby/standby.h"

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gtest/gtest.h"

namespace romulus::standby {
namespace {

// An action in one word or two, for stories.
struct Teller {
  static std::string Code(const absl::Status& status) { return absl::StatusCodeToString(status.code()); }
  std::string operator()(const action::WriteRecord& a) {
    return absl::StrCat("record(", a.generation, a.ownership_moved ? " moved" : "", a.forgotten ? " forgotten)" : ")");
  }
  std::string operator()(const action::TakeLink& a) { return absl::StrCat("take-link-", a.session); }
  std::string operator()(const action::RefuseLink& a) {
    return absl::StrCat("refuse-", a.session, " ", Code(a.status));
  }
  std::string operator()(const action::CloseLink& a) { return absl::StrCat("close-link ", Code(a.status)); }
  std::string operator()(const action::SendAccepted&) { return "accepted"; }
  std::string operator()(const action::SendCommit& a) { return absl::StrCat("commit-", a.epoch); }
  std::string operator()(const action::SendFence& a) { return absl::StrCat("fence(", a.next_generation, ")"); }
  std::string operator()(const action::SendStandbyFailed&) { return "standby-failed"; }
  std::string operator()(const action::SendSessionStopped&) { return "session-stopped"; }
  std::string operator()(const action::PrepareTarget&) { return "prepare"; }
  std::string operator()(const action::Apply& a) { return absl::StrCat("apply-", a.epoch, a.run ? "-run" : ""); }
  std::string operator()(const action::SuspendTarget& a) { return absl::StrCat("suspend-", a.epoch); }
  std::string operator()(const action::FreezeTarget&) { return "freeze"; }
  std::string operator()(const action::SendDirtyPages& a) { return absl::StrCat("pages-", a.epoch); }
  std::string operator()(const action::SendStandbyRunning& a) { return absl::StrCat("running-", a.epoch); }
  std::string operator()(const action::SendLockstepRefused& a) { return absl::StrCat("refused-", a.epoch); }
  std::string operator()(const action::DropArrived&) { return "drop"; }
  std::string operator()(const action::ActivateTarget&) { return "activate"; }
  std::string operator()(const action::DiscardTarget&) { return "discard"; }
  std::string operator()(const action::ReleaseTarget&) { return "let-go"; }
  std::string operator()(const action::ArmTimer& a) { return absl::StrCat("in ", absl::FormatDuration(a.delay)); }
  std::string operator()(const action::CancelTimer&) { return ""; }
  std::string operator()(const action::Reply& a) { return absl::StrCat("reply-", a.request, " ", Code(a.status)); }
  std::string operator()(const action::Continue&) { return "continue"; }
};

const absl::Status kSilent = absl::UnavailableError("silent");

class Story : public testing::Test {
 protected:
  std::string On(const event::Event& event) {
    std::vector<std::string> told;
    for (const action::Action& action : core->Step(event)) {
      std::string word = std::visit(Teller{}, action);
      if (!word.empty()) told.push_back(word);
    }
    return absl::StrCat(absl::StrJoin(told, ", "), " => ", core->state_name());
  }
  static event::SessionOffered Offered(SessionId session, uint64_t generation,
                                       FailoverPolicy policy = FailoverPolicy::kByRequest) {
    Offer offer;
    offer.session = session;
    offer.generation = generation;
    offer.failover_policy = policy;
    return {offer};
  }
  void Idle() {
    core.emplace();
    On(event::Start{});
  }
  void Seeding(FailoverPolicy policy = FailoverPolicy::kByRequest) {
    Idle();
    On(Offered(1, 1, policy));
    On(event::Continued{Milestone::kAccept});
    On(event::Prepared{});
  }
  void Ready(FailoverPolicy policy = FailoverPolicy::kByRequest) {
    Seeding(policy);
    On(event::Seeded{});
    On(event::CheckpointArrived{2});
  }
  void LinkDead() {
    Ready();
    On(event::LinkClosed{1, kSilent});
  }
  void Activating() {
    LinkDead();
    On(event::ActivateRequested{7, 2, true});
    On(event::Continued{Milestone::kActivate});
  }
  void Active() {
    Activating();
    On(event::Activated{});
  }

  std::optional<Standby> core;
};

TEST_F(Story, AStandbyIsKept) {
  Idle();
  EXPECT_EQ(On(Offered(1, 1)), "record(1), continue => Idle");
  EXPECT_EQ(On(event::Continued{Milestone::kAccept}), "take-link-1, prepare => Preparing");
  EXPECT_EQ(On(event::Prepared{}), "accepted => Seeding");
  EXPECT_EQ(On(event::Seeded{}), "apply-1, commit-1 => Standby(1)");
  EXPECT_EQ(On(event::CheckpointArrived{2}), "apply-2, commit-2 => Standby(2)");
  EXPECT_EQ(On(event::CheckpointArrived{3}), "apply-3, commit-3 => Standby(3)");
  // Two wait to be applied: the next is neither handed over nor acknowledged.
  EXPECT_EQ(On(event::CheckpointArrived{4}), " => Deferring(3)");
  EXPECT_EQ(On(event::Applied{1}), " => Deferring(3)");
  EXPECT_EQ(On(event::Applied{2}), "apply-4, commit-4 => Standby(4)");
}

TEST_F(Story, ATakeoverByRequest) {
  Ready();
  EXPECT_EQ(On(event::ActivateRequested{7, 2}), "fence(2), in 3s => AwaitingFence(2)");
  // What is whole before the primary has stopped still counts.
  EXPECT_EQ(On(event::CheckpointArrived{3}), "apply-3, commit-3 => AwaitingFence(3)");
  EXPECT_EQ(On(event::Fenced{1, 2}), "record(2 moved), continue => Standby(3)");
  EXPECT_EQ(On(event::Continued{Milestone::kActivate}), "drop, close-link ABORTED, activate => Activating(3)");
  EXPECT_EQ(On(event::ActivateRequested{8, 2}), " => Activating(3)");
  EXPECT_EQ(On(event::Activated{}), "reply-7 OK, reply-8 OK => Active(3)");
  EXPECT_EQ(On(event::ActivateRequested{9, 2}), "reply-9 OK => Active(3)");
  EXPECT_EQ(On(event::ActivateRequested{9, 3}), "reply-9 FAILED_PRECONDITION => Active(3)");
}

TEST_F(Story, WithADeadLinkTheCallerMustKnow) {
  LinkDead();
  EXPECT_EQ(On(event::ActivateRequested{7, 2}), "reply-7 FAILED_PRECONDITION => Standby(2)");
  EXPECT_EQ(On(event::ActivateRequested{7, 0}), "reply-7 ABORTED => Standby(2)");
  EXPECT_EQ(On(event::ActivateRequested{7, 1, true}), "reply-7 INVALID_ARGUMENT => Standby(2)");
  EXPECT_EQ(On(event::ActivateRequested{7, 2, true}), "record(2 moved), continue => Standby(2)");
}

TEST_F(Story, TheLinkDiesWhileThePrimaryIsAskedToStop) {
  Ready();
  On(event::ActivateRequested{7, 2});
  EXPECT_EQ(On(event::LinkClosed{1, kSilent}), "reply-7 FAILED_PRECONDITION => Standby(2)");
  Ready();
  EXPECT_EQ(On(event::ActivateRequested{7, 2, true}), "fence(2), in 1s => AwaitingFence(2)");
  EXPECT_EQ(On(event::LinkClosed{1, kSilent}), "record(2 moved), continue => Standby(2)");
}

TEST_F(Story, ThePrimaryDoesNotStop) {
  Ready();
  On(event::ActivateRequested{7, 2});
  EXPECT_EQ(On(event::TimerFired{Timer::kFence}), "reply-7 FAILED_PRECONDITION => Standby(2)");
  // Its word comes late, and still counts: now nobody runs the guest.
  EXPECT_EQ(On(event::Fenced{1, 2}), " => Standby(2)");
  EXPECT_EQ(On(event::ActivateRequested{8, 2}), "record(2 moved), continue => Standby(2)");
}

TEST_F(Story, TheRecordCanNotBeWritten) {
  LinkDead();
  On(event::ActivateRequested{7, 2, true});
  EXPECT_EQ(On(event::WriteFailed{absl::InternalError("EIO")}), "reply-7 INTERNAL => Standby(2)");
  Idle();
  On(Offered(1, 1));
  EXPECT_EQ(On(event::WriteFailed{absl::InternalError("EIO")}), "refuse-1 UNAVAILABLE => Idle");
}

TEST_F(Story, OnLinkLossItActivatesByItself) {
  Ready(FailoverPolicy::kOnLinkLoss);
  EXPECT_EQ(On(event::LinkClosed{1, kSilent}), "record(2 moved), continue => Standby(2)");
  EXPECT_EQ(On(event::WriteFailed{absl::InternalError("EIO")}), "in 1s => Standby(2)");
  EXPECT_EQ(On(event::TimerFired{Timer::kRetryActivate}), "record(2 moved), continue => Standby(2)");
  EXPECT_EQ(On(event::Continued{Milestone::kActivate}), "drop, activate => Activating(2)");
  // But not where the link was closed for a reason, and not before the first commit.
  Ready(FailoverPolicy::kOnLinkLoss);
  EXPECT_EQ(On(event::LinkClosed{1, absl::DataLossError("digest")}), " => Standby(2)");
  Seeding(FailoverPolicy::kOnLinkLoss);
  EXPECT_EQ(On(event::LinkClosed{1, kSilent}), "drop, discard => Discarding");
  EXPECT_EQ(On(event::Discarded{}), " => Failed");
}

TEST_F(Story, WhatIsPartialIsDropped) {
  Ready();
  On(event::CheckpointArrived{3});
  EXPECT_EQ(On(event::CheckpointArrived{4}), " => Deferring(3)");
  EXPECT_EQ(On(event::LinkClosed{1, kSilent}), "drop => Standby(3)");
  On(event::ActivateRequested{7, 2, true});
  EXPECT_EQ(On(event::Continued{Milestone::kActivate}), "drop, activate => Activating(3)");
}

TEST_F(Story, AnOldOwnerComesBack) {
  Active();
  EXPECT_EQ(On(Offered(5, 1)), "refuse-5 ABORTED => Active(2)");
  EXPECT_EQ(On(Offered(5, 2)), "refuse-5 ABORTED => Active(2)");
  EXPECT_EQ(On(Offered(5, 3)), "refuse-5 FAILED_PRECONDITION => Active(2)");
  EXPECT_EQ(On(event::DeleteRequested{8, 2}), "record(2 moved forgotten), continue => Active(2)");
  EXPECT_EQ(On(event::Continued{Milestone::kForget}), "let-go, reply-8 OK => Idle");
  EXPECT_EQ(On(Offered(5, 2)), "refuse-5 ABORTED => Idle");
  EXPECT_EQ(On(Offered(5, 3)), "record(3), continue => Idle");
}

TEST_F(Story, AnAgentThatComesBackRemembersWhatItActivated) {
  core.emplace();
  EXPECT_EQ(On(event::Start{2, true, false}), " => Active(0)");
  EXPECT_EQ(On(Offered(1, 2)), "refuse-1 ABORTED => Active(0)");
  core.emplace();
  EXPECT_EQ(On(event::Start{2, true, true}), " => Idle");
  EXPECT_EQ(On(Offered(1, 2)), "refuse-1 ABORTED => Idle");
  core.emplace();
  On(event::Start{2, false, true});
  EXPECT_EQ(On(Offered(1, 1)), "refuse-1 ABORTED => Idle");
  EXPECT_EQ(On(Offered(1, 2)), "continue => Idle");
}

TEST_F(Story, ANewSessionReplacesTheStandby) {
  Ready();
  EXPECT_EQ(On(Offered(2, 1)), "continue => Standby(2)");
  EXPECT_EQ(On(event::Continued{Milestone::kAccept}), "close-link UNAVAILABLE, drop, discard => Discarding");
  EXPECT_EQ(On(event::LinkClosed{1, absl::CancelledError("")}), " => Discarding");
  EXPECT_EQ(On(event::Prepared{}), " => Discarding");
  // Accepted only when nothing of the old one is left.
  EXPECT_EQ(On(event::Discarded{}), "take-link-2, prepare => Preparing");
}

TEST_F(Story, AQueuedSessionGivesUp) {
  Ready();
  On(Offered(2, 1));
  On(event::Continued{Milestone::kAccept});
  EXPECT_EQ(On(event::LinkClosed{2, kSilent}), " => Discarding");
  EXPECT_EQ(On(event::Discarded{}), " => Failed");
}

TEST_F(Story, TheHostsDoNotFit) {
  Ready();
  event::SessionOffered offered = Offered(2, 1);
  offered.offer.compatibility = absl::FailedPreconditionError("CPU");
  EXPECT_EQ(On(offered), "refuse-2 FAILED_PRECONDITION => Standby(2)");
}

TEST_F(Story, NotEnoughMemory) {
  Idle();
  On(Offered(1, 1));
  On(event::Continued{Milestone::kAccept});
  EXPECT_EQ(On(event::Prepared{absl::ResourceExhaustedError("memory")}),
            "close-link RESOURCE_EXHAUSTED, drop, discard => Discarding");
}

TEST_F(Story, ProtectionIsEnded) {
  Ready();
  EXPECT_EQ(On(event::StopSession{1}), "drop, discard => Discarding");
  EXPECT_EQ(On(event::ActivateRequested{7, 2, true}), "reply-7 FAILED_PRECONDITION => Discarding");
  EXPECT_EQ(On(event::Discarded{}), "session-stopped => Idle");
  // Crossed with Fence: who has sent StopSession does not stop the guest.
  Ready();
  On(event::ActivateRequested{7, 2});
  EXPECT_EQ(On(event::StopSession{1}), "reply-7 FAILED_PRECONDITION, drop, discard => Discarding");
}

TEST_F(Story, TheRestoreHelperDies) {
  Ready();
  EXPECT_EQ(On(event::Broken{kSilent}), "standby-failed, drop, discard => Discarding");
  EXPECT_EQ(On(event::Discarded{}), " => Failed");
  EXPECT_EQ(core->snapshot().phase, Standby::Phase::kFailed);
  EXPECT_EQ(On(Offered(2, 1)), "continue => Failed");
}

TEST_F(Story, TheActivationFailsAfterOwnershipHasMoved) {
  Activating();
  EXPECT_EQ(On(event::Activated{absl::InternalError("no backend")}), "reply-7 INTERNAL => ActivationFailed(2)");
  EXPECT_EQ(core->snapshot().phase, Standby::Phase::kFailed);
  EXPECT_EQ(On(Offered(5, 1)), "refuse-5 ABORTED => ActivationFailed(2)");
  EXPECT_EQ(On(event::DeleteRequested{8, 2}), "record(2 moved forgotten), continue => ActivationFailed(2)");
  EXPECT_EQ(On(event::Continued{Milestone::kForget}), "drop, discard => Discarding");
  EXPECT_EQ(On(event::Discarded{}), "reply-8 OK => Idle");
}

TEST_F(Story, AStandbyIsDeleted) {
  Ready();
  EXPECT_EQ(On(event::DeleteRequested{7, 1}), "reply-7 FAILED_PRECONDITION => Standby(2)");
  LinkDead();
  EXPECT_EQ(On(event::DeleteRequested{7, 0}), "reply-7 ABORTED => Standby(2)");
  EXPECT_EQ(On(event::DeleteRequested{7, 1}), "drop, discard => Discarding");
  EXPECT_EQ(On(event::DeleteRequested{8, 1}), " => Discarding");
  EXPECT_EQ(On(event::Discarded{}), "reply-7 OK, reply-8 OK => Idle");
  Activating();
  EXPECT_EQ(On(event::DeleteRequested{9, 2}), "reply-9 FAILED_PRECONDITION => Activating(2)");
}

TEST_F(Story, TheAgentShutsDown) {
  Ready();
  EXPECT_EQ(On(event::ShutdownRequested{7}), "standby-failed, drop, discard => Discarding");
  EXPECT_EQ(On(Offered(2, 1)), "refuse-2 UNAVAILABLE => Discarding");
  EXPECT_EQ(On(event::Discarded{}), "reply-7 OK => Failed");
  Ready();
  On(event::ActivateRequested{7, 2});
  EXPECT_EQ(On(event::ShutdownRequested{8}), "reply-8 FAILED_PRECONDITION => AwaitingFence(2)");
  Active();
  EXPECT_EQ(On(event::ShutdownRequested{8}), "reply-8 OK => Active(2)");
}

TEST_F(Story, APrimaryThatBreaksTheProtocol) {
  Ready();
  EXPECT_EQ(On(event::CheckpointArrived{4}), "close-link INVALID_ARGUMENT, drop => Standby(2)");
  Ready();
  EXPECT_EQ(On(event::Seeded{}), "close-link INVALID_ARGUMENT, drop => Standby(2)");
  Seeding();
  EXPECT_EQ(On(event::CheckpointArrived{2}), "close-link INVALID_ARGUMENT, drop, drop, discard => Discarding");
  Ready();
  EXPECT_EQ(On(event::StopSession{0}), "close-link ABORTED, drop => Standby(2)");
}

TEST_F(Story, BrokenPromisesEndTheProcess) {
  EXPECT_DEATH((Ready(), On(event::Discarded{})), "discarding");
  EXPECT_DEATH((Ready(), On(event::Prepared{})), "Preparing");
  EXPECT_DEATH((Ready(), On(event::Applied{9})), "committed");
}

// ---- lockstep ----

class LockstepStory : public Story {
 protected:
  void Seeding(FailoverPolicy policy = FailoverPolicy::kByRequest) {
    Idle();
    event::SessionOffered offered = Offered(1, 1, policy);
    offered.offer.lockstep = true;
    On(offered);
    On(event::Continued{Milestone::kAccept});
    On(event::Prepared{});
  }
  void Starts1(FailoverPolicy policy = FailoverPolicy::kByRequest) {
    Seeding(policy);
    EXPECT_EQ(On(event::Seeded{After::kRun}), "apply-1-run, commit-1 => Standby(1, starts)");
    EXPECT_EQ(On(event::Applied{1}), " => Standby(1, starts)");
  }
  void Runs1(FailoverPolicy policy = FailoverPolicy::kByRequest) {
    Starts1(policy);
    EXPECT_EQ(On(event::Running{1}), "running-1 => Standby(1, runs)");
  }
  void Suspending2(FailoverPolicy policy = FailoverPolicy::kByRequest) {
    Runs1(policy);
    EXPECT_EQ(On(event::SuspendStandby{2}), "suspend-2 => Standby(1, suspending)");
  }
  void Suspended2(FailoverPolicy policy = FailoverPolicy::kByRequest) {
    Suspending2(policy);
    EXPECT_EQ(On(event::Suspended{2}), "pages-2 => Standby(1, suspended)");
  }
  using Begin = void (LockstepStory::*)(FailoverPolicy);
  // All of them in which the guest does not just wait.
  static constexpr Begin kLockstep[] = {&LockstepStory::Starts1, &LockstepStory::Runs1, &LockstepStory::Suspending2,
                                        &LockstepStory::Suspended2};
};

TEST_F(LockstepStory, AStandbyRunsAlong) {
  Suspended2();
  EXPECT_FALSE(core->snapshot().runs_along);
  EXPECT_EQ(On(event::CheckpointArrived{2, After::kRun}), "apply-2-run, commit-2 => Standby(2, starts)");
  EXPECT_EQ(On(event::Applied{2}), " => Standby(2, starts)");
  EXPECT_EQ(On(event::Running{2}), "running-2 => Standby(2, runs)");
  EXPECT_TRUE(core->snapshot().runs_along);
}

TEST_F(LockstepStory, ItWaitsForAWhileAndRunsAgain) {
  Suspended2();
  EXPECT_EQ(On(event::CheckpointArrived{2, After::kWait}), "apply-2, commit-2 => Standby(2)");
  EXPECT_EQ(On(event::CheckpointArrived{3, After::kWait}), "apply-3, commit-3 => Standby(3)");
  // Two wait to be applied: what is deferred is run from when its turn comes.
  EXPECT_EQ(On(event::CheckpointArrived{4, After::kRun}), " => Deferring(3)");
  EXPECT_EQ(On(event::Applied{2}), "apply-4-run, commit-4 => Standby(4, starts)");
  EXPECT_EQ(On(event::Applied{3}), " => Standby(4, starts)");
  EXPECT_EQ(On(event::Applied{4}), " => Standby(4, starts)");
  EXPECT_EQ(On(event::Running{4}), "running-4 => Standby(4, runs)");
}

TEST_F(LockstepStory, ATargetThatCanNotRunItWaits) {
  Starts1();
  EXPECT_EQ(On(event::LockstepRefused{1, absl::UnavailableError("ports differ")}), "refused-1 => Standby(1)");
  EXPECT_EQ(core->snapshot().lockstep_refusal, "ports differ");
  EXPECT_EQ(On(event::CheckpointArrived{2, After::kWait}), "apply-2, commit-2 => Standby(2)");
}

TEST_F(LockstepStory, WithoutItsPrimaryItIsFrozenAndGoesOnOnlyWhenActivated) {
  for (const Begin begin : kLockstep) {
    (this->*begin)(FailoverPolicy::kByRequest);
    EXPECT_EQ(On(event::LinkClosed{1, kSilent}), "freeze => Standby(1, frozen)");
    EXPECT_FALSE(core->snapshot().runs_along);
    // What the target had under way.
    EXPECT_EQ(On(event::Running{1}), " => Standby(1, frozen)");
    EXPECT_EQ(On(event::Suspended{2}), " => Standby(1, frozen)");
    EXPECT_EQ(On(event::LockstepRefused{1, kSilent}), " => Standby(1, frozen)");
    EXPECT_EQ(On(event::ActivateRequested{7, 2}), "reply-7 FAILED_PRECONDITION => Standby(1, frozen)");
    EXPECT_EQ(On(event::ActivateRequested{8, 2, true}), "record(2 moved), continue => Standby(1, frozen)");
    EXPECT_EQ(On(event::Continued{Milestone::kActivate}), "drop, activate => Activating(1)");
    EXPECT_EQ(On(event::Activated{}), "reply-8 OK => Active(1)");
  }
}

TEST_F(LockstepStory, OnLinkLossItGoesOnAtOnce) {
  for (const Begin begin : kLockstep) {
    (this->*begin)(FailoverPolicy::kOnLinkLoss);
    EXPECT_EQ(On(event::LinkClosed{1, kSilent}), "freeze, record(2 moved), continue => Standby(1, frozen)");
    EXPECT_EQ(On(event::Continued{Milestone::kActivate}), "drop, activate => Activating(1)");
  }
}

TEST_F(LockstepStory, APlannedTakeoverFindsItInAnyState) {
  for (const Begin begin : kLockstep) {
    (this->*begin)(FailoverPolicy::kByRequest);
    On(event::ActivateRequested{7, 2});
    EXPECT_TRUE(std::holds_alternative<Standby::AwaitingFence>(core->state())) << core->state_name();
    On(event::Fenced{1, 2});
    EXPECT_EQ(On(event::Continued{Milestone::kActivate}), "drop, close-link ABORTED, activate => Activating(1)");
  }
}

TEST_F(LockstepStory, LockstepGoesOnWhileThePrimaryIsAskedToStop) {
  Runs1();
  EXPECT_EQ(On(event::ActivateRequested{7, 2}), "fence(2), in 3s => AwaitingFence(1, runs)");
  EXPECT_EQ(On(event::SuspendStandby{2}), "suspend-2 => AwaitingFence(1, suspending)");
  EXPECT_EQ(On(event::Suspended{2}), "pages-2 => AwaitingFence(1, suspended)");
  // Whole before the primary has stopped: it counts, and what the guest was before does not any more.
  EXPECT_EQ(On(event::CheckpointArrived{2, After::kRun}), "apply-2-run, commit-2 => AwaitingFence(2, starts)");
  EXPECT_EQ(On(event::Running{2}), "running-2 => AwaitingFence(2, runs)");
  EXPECT_EQ(On(event::TimerFired{Timer::kFence}), "reply-7 FAILED_PRECONDITION => Standby(2, runs)");
}

// Dropped with the link, so not committed: the takeover is the guest's own state.
TEST_F(LockstepStory, ACheckpointThatIsNotHandedOverHasNoPart) {
  Starts1();
  On(event::LockstepRefused{1, kSilent});
  On(event::CheckpointArrived{2});
  On(event::CheckpointArrived{3});
  EXPECT_EQ(On(event::CheckpointArrived{4, After::kRun}), " => Deferring(3)");
  EXPECT_EQ(On(event::LinkClosed{1, kSilent}), "drop => Standby(3)");
}

TEST_F(LockstepStory, ASessionThatEndsTakesItAlong) {
  for (const Begin begin : kLockstep) {
    (this->*begin)(FailoverPolicy::kByRequest);
    EXPECT_EQ(On(event::StopSession{1}), "drop, discard => Discarding");
    EXPECT_EQ(On(event::Running{1}), " => Discarding");
    EXPECT_EQ(On(event::Suspended{2}), " => Discarding");
    EXPECT_EQ(On(event::Discarded{}), "session-stopped => Idle");

    (this->*begin)(FailoverPolicy::kByRequest);
    EXPECT_EQ(On(event::Broken{absl::UnavailableError("crashed")}), "standby-failed, drop, discard => Discarding");

    (this->*begin)(FailoverPolicy::kByRequest);
    EXPECT_EQ(On(event::ShutdownRequested{9}), "standby-failed, drop, discard => Discarding");

    (this->*begin)(FailoverPolicy::kByRequest);
    On(event::LinkClosed{1, kSilent});
    EXPECT_EQ(On(event::DeleteRequested{9, 1}), "drop, discard => Discarding");

    // A new session: as in any other state, the older standby goes.
    (this->*begin)(FailoverPolicy::kByRequest);
    On(event::LinkClosed{1, kSilent});
    EXPECT_EQ(On(Offered(2, 1)), "continue => Standby(1, frozen)");
    EXPECT_EQ(On(event::Continued{Milestone::kAccept}), "drop, discard => Discarding");
  }
}

TEST_F(LockstepStory, AnAgentOfAnOlderGenerationFreezesIt) {
  Runs1();
  On(event::LinkClosed{1, kSilent});
  Runs1();
  // A message of a generation that is too low, on this session.
  EXPECT_EQ(On(event::StopSession{0}), "close-link ABORTED, drop, freeze => Standby(1, frozen)");
}

TEST_F(LockstepStory, WhatThePrimaryMayNotSay) {
  const auto broken = [&](const event::Event& e) { return On(e); };
  Seeding();
  EXPECT_EQ(broken(event::SuspendStandby{2}), "close-link INVALID_ARGUMENT, drop, drop, discard => Discarding");
  Seeding();
  EXPECT_EQ(broken(event::Seeded{After::kUnknown}), "close-link INVALID_ARGUMENT, drop, drop, discard => Discarding");
  Starts1();
  EXPECT_EQ(broken(event::SuspendStandby{2}), "close-link INVALID_ARGUMENT, drop, freeze => Standby(1, frozen)");
  Starts1();
  EXPECT_EQ(broken(event::CheckpointArrived{2}), "close-link INVALID_ARGUMENT, drop, freeze => Standby(1, frozen)");
  Runs1();
  EXPECT_EQ(broken(event::SuspendStandby{3}), "close-link INVALID_ARGUMENT, drop, freeze => Standby(1, frozen)");
  Runs1();
  EXPECT_EQ(broken(event::CheckpointArrived{2}), "close-link INVALID_ARGUMENT, drop, freeze => Standby(1, frozen)");
  Suspending2();
  EXPECT_EQ(broken(event::CheckpointArrived{2}), "close-link INVALID_ARGUMENT, drop, freeze => Standby(1, frozen)");
  Suspending2();
  EXPECT_EQ(broken(event::SuspendStandby{2}), "close-link INVALID_ARGUMENT, drop, freeze => Standby(1, frozen)");
  Suspended2();
  EXPECT_EQ(broken(event::SuspendStandby{2}), "close-link INVALID_ARGUMENT, drop, freeze => Standby(1, frozen)");
  Suspended2();
  EXPECT_EQ(broken(event::CheckpointArrived{2, After::kUnknown}),
            "close-link INVALID_ARGUMENT, drop, freeze => Standby(1, frozen)");
  // Of a session that is no such one.
  Ready();
  EXPECT_EQ(broken(event::CheckpointArrived{3, After::kRun}), "close-link INVALID_ARGUMENT, drop => Standby(2)");
  Ready();
  EXPECT_EQ(broken(event::SuspendStandby{3}), "close-link INVALID_ARGUMENT, drop => Standby(2)");
}

}  // namespace
}  // namespace romulus::standby
