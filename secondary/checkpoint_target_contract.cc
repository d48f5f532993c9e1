#include "secondary/checkpoint_target_contract.h"

#include <stdexcept>
#include <utility>

#include "absl/strings/match.h"
#include "common/loop/call_scope.h"
#include "common/stream/stream_format.h"
#include "common/stream/synthetic_stream.h"
#include "gmock/gmock.h"

namespace romulus {
namespace {

SyntheticStream::Page PageOf(int number, uint64_t value) {
  return {static_cast<uint64_t>(number), 0, std::string(reinterpret_cast<const char*>(&value), sizeof value)};
}

// Page n holds 100 + n.
std::string FirstCheckpoint() {
  SyntheticStream stream;
  stream.Preamble();
  for (int number = 0; number < CheckpointTargetHarness::kPages; ++number) {
    stream.PageData({PageOf(number, 100 + static_cast<uint64_t>(number))});
  }
  return stream.State("vcpu").EndCheckpoint().bytes();
}

std::string Tail() {
  const std::string first = FirstCheckpoint();
  return first.substr(first.size() - stream_format::kRecordHeaderBytes);
}

}  // namespace

// ---- observer ----

void CheckpointTargetContract::OnCallback() {
  EXPECT_EQ(std::this_thread::get_id(), thread_) << "not on the scheduler's thread";
  EXPECT_EQ(calls_, 0) << "a callback from within a call";
  EXPECT_FALSE(discarded_) << "a callback after OnDiscarded";
  EXPECT_NE(target_, nullptr) << "a callback after the target's destruction";
  ++callbacks_;
}

void CheckpointTargetContract::OnPrepared(absl::Status status, std::shared_ptr<CheckpointSink> seed_sink,
                                          uint32_t domid) {
  OnCallback();
  EXPECT_FALSE(discarding_) << "after Discard";
  EXPECT_FALSE(prepared_.has_value()) << "twice";
  EXPECT_EQ(status.ok(), seed_sink != nullptr);
  EXPECT_EQ(status.ok(), domid != 0);
  EXPECT_EQ(status.ok(), harness_->exists());
  EXPECT_FALSE(harness_->runs());
  prepared_ = std::move(status);
  sink_ = std::move(seed_sink);
}

void CheckpointTargetContract::OnApplied(uint64_t epoch) {
  OnCallback();
  EXPECT_FALSE(discarding_) << "after Discard";
  EXPECT_FALSE(broken_.has_value()) << "after OnBroken";
  EXPECT_FALSE(activated_.has_value()) << "after OnActivated";
  EXPECT_EQ(epoch, applied_ + 1) << "a gap";
  applied_ = epoch;
}

void CheckpointTargetContract::OnRunning(uint64_t epoch, const StandbyGap*) {
  OnCallback();
  EXPECT_FALSE(discarding_) << "after Discard";
  EXPECT_FALSE(frozen_) << "after Freeze";
  EXPECT_EQ(epoch, asked_to_run_) << "it was not asked to run along";
  EXPECT_EQ(applied_, epoch) << "before OnApplied";
  EXPECT_TRUE(harness_->goes());
  EXPECT_FALSE(harness_->runs()) << "it is not the guest";
  running_ = epoch;
}

void CheckpointTargetContract::OnSuspended(uint64_t epoch, PageRuns dirty) {
  OnCallback();
  EXPECT_FALSE(discarding_) << "after Discard";
  EXPECT_EQ(epoch, running_ + 1);
  EXPECT_FALSE(harness_->goes());
  suspended_ = epoch;
  dirty_ = std::move(dirty);
}

void CheckpointTargetContract::OnLockstepRefused(uint64_t epoch, absl::Status why) {
  OnCallback();
  EXPECT_FALSE(discarding_) << "after Discard";
  EXPECT_FALSE(frozen_) << "after Freeze";
  EXPECT_EQ(epoch, asked_to_run_) << "it was not asked to run along";
  EXPECT_EQ(applied_, epoch) << "before OnApplied";
  EXPECT_FALSE(why.ok());
  EXPECT_FALSE(harness_->goes());
  refused_ = epoch;
}

void CheckpointTargetContract::OnBroken(absl::Status status) {
  OnCallback();
  EXPECT_FALSE(status.ok());
  EXPECT_FALSE(discarding_) << "after Discard";
  EXPECT_FALSE(activating_) << "after Activate: OnActivated says it";
  EXPECT_FALSE(broken_.has_value()) << "twice";
  broken_ = std::move(status);
}

void CheckpointTargetContract::OnActivated(absl::Status status, CheckpointTarget::ActivationTimes) {
  OnCallback();
  EXPECT_FALSE(discarding_) << "after Discard";
  EXPECT_TRUE(activating_);
  EXPECT_FALSE(activated_.has_value()) << "twice";
  EXPECT_EQ(status.ok(), harness_->runs());
  activated_ = std::move(status);
}

void CheckpointTargetContract::OnDiscarded() {
  OnCallback();
  EXPECT_TRUE(discarding_);
  discarded_ = true;
}

// ---- fixture ----

const std::vector<CheckpointTargetContract::Place>& CheckpointTargetContract::PlacesBeforeActivation() {
  static const auto& places =
      *new std::vector<Place>{Place::kPrepared, Place::kSeedingHalf, Place::kSeeded, Place::kApplied};
  return places;
}

void CheckpointTargetContract::TearDown() {
  harness_->Settle();  // What comes after the end is noticed.
  sink_.reset();
  target_.reset();
}

void CheckpointTargetContract::Reset() {
  sink_.reset();
  target_.reset();
  harness_ = GetParam()();
  prepared_.reset();
  broken_.reset();
  activated_.reset();
  applied_ = running_ = suspended_ = refused_ = asked_to_run_ = 0;
  dirty_.clear();
  discarded_ = activating_ = discarding_ = lockstep_ = frozen_ = false;
}

void CheckpointTargetContract::Prepare(bool lockstep) {
  lockstep_ = lockstep;
  target_ = harness_->NewTarget();
  replication::v1::DomainDescription domain;
  domain.set_name("guest");
  domain.set_gpfn_count(CheckpointTargetHarness::kPages);
  const CallScope call(&calls_);
  target_->Prepare(domain, lockstep, this);
}

void CheckpointTargetContract::FinishSeeding(AfterCheckpoint after) {
  if (after == AfterCheckpoint::kRun) asked_to_run_ = 1;
  const CallScope call(&calls_);
  target_->FinishSeeding(Tail(), after);
}

void CheckpointTargetContract::Suspend(uint64_t epoch) {
  const CallScope call(&calls_);
  target_->Suspend(epoch);
}

void CheckpointTargetContract::Freeze() {
  frozen_ = true;
  const CallScope call(&calls_);
  target_->Freeze();
}

void CheckpointTargetContract::RunAlong() {
  Prepare(/*lockstep=*/true);
  RunUntil([&] { return prepared_.has_value(); });
  ASSERT_TRUE(prepared_->ok()) << *prepared_;
  const std::string first = FirstCheckpoint();
  ASSERT_TRUE(sink_->Write(absl::MakeConstSpan(first.data(), first.size() - Tail().size())).ok());
  FinishSeeding(AfterCheckpoint::kRun);
  RunUntilRunning(1);
}

void CheckpointTargetContract::RunUntilRunning(uint64_t epoch) {
  RunUntil([&] { return running_ == epoch || refused_ == epoch || broken_.has_value(); });
  ASSERT_EQ(running_, epoch) << broken_.value_or(absl::OkStatus());
}

void CheckpointTargetContract::SuspendAndWait(uint64_t epoch) {
  Suspend(epoch);
  RunUntil([&] { return suspended_ == epoch; });
}

void CheckpointTargetContract::Apply(uint64_t epoch, int page, uint64_t value, AfterCheckpoint after) {
  if (after == AfterCheckpoint::kRun) asked_to_run_ = epoch;
  const CallScope call(&calls_);
  // In lockstep a checkpoint begins with what the guest has beside its memory.
  SyntheticStream stream;
  if (lockstep_) stream.Record(stream_format::kAttachments, "grants and ports");
  target_->Apply(epoch, stream.PageData({PageOf(page, value)}).State("vcpu").EndCheckpoint().bytes(), after);
}

void CheckpointTargetContract::Activate() {
  activating_ = true;
  const CallScope call(&calls_);
  target_->Activate();
}

void CheckpointTargetContract::Discard() {
  discarding_ = true;
  const CallScope call(&calls_);
  target_->Discard();
}

void CheckpointTargetContract::RunTo(Place place) {
  Prepare();
  if (place == Place::kPreparing) return;
  RunUntil([&] { return prepared_.has_value(); });
  ASSERT_TRUE(prepared_->ok()) << *prepared_;
  if (place == Place::kPrepared) return;
  const std::string first = FirstCheckpoint();
  const size_t body = first.size() - Tail().size();
  const size_t half = body / 2;
  ASSERT_TRUE(sink_->Write(absl::MakeConstSpan(first.data(), half)).ok());
  if (place == Place::kSeedingHalf) return;
  ASSERT_TRUE(sink_->Write(absl::MakeConstSpan(first.data() + half, body - half)).ok());
  FinishSeeding();
  RunUntil([&] { return applied_ == 1; });
  if (place == Place::kSeeded) return;
  Apply(2, 1, 201);
  Apply(3, 2, 302);
  RunUntil([&] { return applied_ == 3; });
  if (place == Place::kApplied) return;
  Activate();
  if (place == Place::kActivating) return;
  RunUntil([&] { return activated_.has_value(); });
}

void CheckpointTargetContract::RunUntil(const std::function<bool()>& condition) {
  // Ends the test: what follows relies on the condition.
  if (!harness_->RunUntil(condition)) throw std::runtime_error("hangs: what was waited for never came");
}

// ---- activation ----

TEST_P(CheckpointTargetContract, TheGuestRunsFromTheLastCheckpointAndFromNothingBefore) {
  RunTo(Place::kApplied);
  EXPECT_FALSE(harness_->runs());
  // Queued, not applied yet: it counts.
  Apply(4, 3, 403);
  Activate();
  RunUntil([&] { return activated_.has_value(); });
  ASSERT_TRUE(activated_->ok()) << *activated_;
  EXPECT_TRUE(harness_->runs());
  EXPECT_EQ(harness_->page(0), 100);
  EXPECT_EQ(harness_->page(1), 201);
  EXPECT_EQ(harness_->page(2), 302);
  EXPECT_EQ(harness_->page(3), 403);
  RunUntil([&] { return !harness_->helper_runs(); });
  target_.reset();
  harness_->Settle();
  EXPECT_TRUE(harness_->runs()) << "a guest that runs stays";
}

TEST_P(CheckpointTargetContract, AnActivationWithoutAWholeFirstCopyFailsAndNothingRuns) {
  for (const Place place : {Place::kPrepared, Place::kSeedingHalf}) {
    RunTo(place);
    Activate();
    RunUntil([&] { return activated_.has_value(); });
    EXPECT_FALSE(activated_->ok());
    EXPECT_FALSE(harness_->runs());
    Discard();
    RunUntil([&] { return discarded_; });
    EXPECT_FALSE(harness_->exists());
    Reset();
  }
}

TEST_P(CheckpointTargetContract, AGuestThatCantBeRunIsNotAndCanBeDiscarded) {
  harness_->FailToRun();
  RunTo(Place::kActivated);
  EXPECT_FALSE(activated_->ok());
  EXPECT_FALSE(harness_->runs());
  Discard();
  RunUntil([&] { return discarded_; });
  EXPECT_FALSE(harness_->exists());
}

// ---- what fails ----

TEST_P(CheckpointTargetContract, APreparationThatFailsLeavesNothing) {
  harness_->FailToCreate();
  RunTo(Place::kPreparing);
  RunUntil([&] { return prepared_.has_value(); });
  EXPECT_FALSE(prepared_->ok());
  EXPECT_FALSE(harness_->exists());
  Discard();
  RunUntil([&] { return discarded_; });
}

TEST_P(CheckpointTargetContract, AHelperThatDiesBreaksTheStandbyOnceAndItCantBeActivated) {
  for (const Place place : PlacesBeforeActivation()) {
    RunTo(place);
    harness_->KillHelper();
    RunUntil([&] { return broken_.has_value(); });
    EXPECT_EQ(broken_->code(), absl::StatusCode::kUnavailable) << *broken_;
    EXPECT_EQ(sink_->Write("more").code(), absl::StatusCode::kUnavailable);
    if (applied_ > 0) Apply(applied_ + 1, 1, 999);
    Activate();
    RunUntil([&] { return activated_.has_value(); });
    EXPECT_FALSE(activated_->ok());
    EXPECT_FALSE(harness_->runs());
    Discard();
    RunUntil([&] { return discarded_; });
    EXPECT_FALSE(harness_->exists());
    Reset();
  }
}

TEST_P(CheckpointTargetContract, AfterDiscardOnlyOnDiscardedComes) {
  harness_->FailToCreate();
  RunTo(Place::kPreparing);
  Discard();
  RunUntil([&] { return discarded_; });
  Reset();
  RunTo(Place::kSeeded);
  harness_->KillHelper();
  RunUntil([&] { return broken_.has_value(); });
  Activate();
  Discard();
  RunUntil([&] { return discarded_; });
  EXPECT_FALSE(activated_.has_value());
}

TEST_P(CheckpointTargetContract, AHelperThatDiesUnnoticedFailsTheActivation) {
  RunTo(Place::kApplied);
  harness_->KillHelper();
  Activate();
  RunUntil([&] { return activated_.has_value(); });
  EXPECT_FALSE(activated_->ok());
  EXPECT_FALSE(harness_->runs());
}

TEST_P(CheckpointTargetContract, AHelperThatDiesInAnActivationFailsItOrComesTooLate) {
  RunTo(Place::kActivating);
  harness_->KillHelper();
  RunUntil([&] { return activated_.has_value(); });
  EXPECT_EQ(activated_->ok(), harness_->runs());
}

// ---- lockstep ----

TEST_P(CheckpointTargetContract, AGuestThatRunsAlongIsSuspendedSaysWhatItWroteToAndGoesOnFromTheNextCheckpoint) {
  if (!harness_->knows_lockstep()) GTEST_SKIP() << "not this one";
  RunAlong();
  for (uint64_t epoch = 2; epoch <= 5; ++epoch) {
    harness_->WriteAlong(1, 1000 + epoch);
    if (epoch % 2 == 0) harness_->WriteAlong(2, 2000 + epoch);
    SuspendAndWait(epoch);
    EXPECT_EQ(dirty_, (epoch % 2 == 0 ? PageRuns{{1, 2}} : PageRuns{{1, 1}}));
    EXPECT_EQ(harness_->page(1), 1000 + epoch) << "its own state";
    Apply(epoch, 1, 100 * epoch, AfterCheckpoint::kRun);
    RunUntilRunning(epoch);
    EXPECT_EQ(harness_->page(1), 100 * epoch);
  }
  Discard();
  RunUntil([&] { return discarded_; });
  EXPECT_FALSE(harness_->exists());
  EXPECT_FALSE(harness_->goes());
}

TEST_P(CheckpointTargetContract, AGuestThatRunsAlongCanWaitAndRunAlongAgain) {
  if (!harness_->knows_lockstep()) GTEST_SKIP() << "not this one";
  RunAlong();
  SuspendAndWait(2);
  EXPECT_EQ(dirty_, PageRuns());
  Apply(2, 1, 201);
  Apply(3, 1, 301);
  RunUntil([&] { return applied_ == 3; });
  harness_->Settle();
  EXPECT_FALSE(harness_->goes());
  EXPECT_EQ(running_, 1);
  Apply(4, 1, 401, AfterCheckpoint::kRun);
  RunUntilRunning(4);
  EXPECT_EQ(harness_->page(1), 401);
}

TEST_P(CheckpointTargetContract, ATakeoverGoesOnFromTheGuestsOwnStateWhereItHasOne) {
  if (!harness_->knows_lockstep()) GTEST_SKIP() << "not this one";
  for (const char* from : {"running", "frozen", "suspended", "suspended, then frozen"}) {
    SCOPED_TRACE(from);
    RunAlong();
    harness_->WriteAlong(1, 777);
    if (absl::string_view(from).substr(0, 9) == "suspended") SuspendAndWait(2);
    if (absl::EndsWith(from, "frozen")) {
      Freeze();
      Freeze();
      RunUntil([&] { return !harness_->goes(); });
    }
    Activate();
    RunUntil([&] { return activated_.has_value(); });
    ASSERT_TRUE(activated_->ok()) << *activated_;
    EXPECT_TRUE(harness_->goes());
    EXPECT_EQ(harness_->page(1), 777);
    RunUntil([&] { return !harness_->helper_runs(); });
    EXPECT_TRUE(harness_->goes()) << "it does not need its helper";
    EXPECT_EQ(harness_->page(1), 777);
    Discard();
    RunUntil([&] { return discarded_; });
    EXPECT_TRUE(harness_->runs());
    Reset();
  }
}

TEST_P(CheckpointTargetContract, ATakeoverGoesOnFromACheckpointThatCameSince) {
  if (!harness_->knows_lockstep()) GTEST_SKIP() << "not this one";
  for (const AfterCheckpoint after : {AfterCheckpoint::kWait, AfterCheckpoint::kRun}) {
    for (const bool freeze : {false, true}) {
      SCOPED_TRACE(freeze);
      RunAlong();
      harness_->WriteAlong(1, 777);
      SuspendAndWait(2);
      Apply(2, 1, 201, after);
      if (freeze) Freeze();
      Activate();
      RunUntil([&] { return activated_.has_value(); });
      ASSERT_TRUE(activated_->ok()) << *activated_;
      EXPECT_TRUE(harness_->goes());
      EXPECT_EQ(harness_->page(1), 201);
      RunUntil([&] { return !harness_->helper_runs(); });
      Reset();
    }
  }
}

TEST_P(CheckpointTargetContract, AFrozenGuestDoesNotRunBeforeItsActivation) {
  if (!harness_->knows_lockstep()) GTEST_SKIP() << "not this one";
  RunAlong();
  SuspendAndWait(2);
  Apply(2, 1, 201, AfterCheckpoint::kRun);
  Freeze();  // It was about to.
  harness_->Settle();
  RunUntil([&] { return !harness_->goes(); });
  Activate();
  RunUntil([&] { return activated_.has_value(); });
  EXPECT_TRUE(activated_->ok()) << *activated_;
  EXPECT_EQ(harness_->page(1), 201);
}

TEST_P(CheckpointTargetContract, AGuestThatCantRunAlongWaitsAndCanBeActivated) {
  if (!harness_->knows_lockstep()) GTEST_SKIP() << "not this one";
  RunAlong();
  SuspendAndWait(2);
  harness_->RefuseLockstep();
  Apply(2, 1, 201, AfterCheckpoint::kRun);
  RunUntil([&] { return refused_ == 2; });
  EXPECT_FALSE(harness_->goes());
  Apply(3, 2, 302);
  Activate();
  RunUntil([&] { return activated_.has_value(); });
  ASSERT_TRUE(activated_->ok()) << *activated_;
  EXPECT_EQ(harness_->page(1), 201);
  EXPECT_EQ(harness_->page(2), 302);
}

TEST_P(CheckpointTargetContract, AHelperThatDiesStopsAGuestThatRunsAlong) {
  if (!harness_->knows_lockstep()) GTEST_SKIP() << "not this one";
  RunAlong();
  harness_->KillHelper();
  RunUntil([&] { return broken_.has_value(); });
  RunUntil([&] { return !harness_->goes(); });
  Activate();
  RunUntil([&] { return activated_.has_value(); });
  EXPECT_FALSE(activated_->ok());
  Discard();
  RunUntil([&] { return discarded_; });
  EXPECT_FALSE(harness_->exists());
}

TEST_P(CheckpointTargetContract, AnAgentThatDiesStopsAGuestThatRunsAlong) {
  if (!harness_->knows_lockstep()) GTEST_SKIP() << "not this one";
  RunAlong();
  sink_.reset();
  target_.reset();
  RunUntil([&] { return !harness_->helper_runs(); });
  harness_->Settle();
  EXPECT_FALSE(harness_->goes());
  EXPECT_FALSE(harness_->runs());
}

TEST_P(CheckpointTargetContract, DiscardOfAGuestThatRunsAlongLeavesNothing) {
  if (!harness_->knows_lockstep()) GTEST_SKIP() << "not this one";
  for (const bool suspend : {false, true}) {
    RunAlong();
    if (suspend) Suspend(2);
    Discard();
    RunUntil([&] { return discarded_; });
    EXPECT_FALSE(harness_->exists());
    EXPECT_FALSE(harness_->helper_runs());
    Reset();
  }
}

// ---- the end ----

TEST_P(CheckpointTargetContract, DiscardAnywhereLeavesNothing) {
  for (const Place place :
       {Place::kPreparing, Place::kPrepared, Place::kSeedingHalf, Place::kSeeded, Place::kApplied}) {
    RunTo(place);
    Discard();
    RunUntil([&] { return discarded_; });
    EXPECT_FALSE(harness_->exists());
    EXPECT_FALSE(harness_->helper_runs());
    if (sink_ != nullptr) {
      EXPECT_EQ(sink_->Write("more").code(), absl::StatusCode::kCancelled);
    }
    harness_->Settle();
    EXPECT_FALSE(harness_->runs());
    Reset();
  }
}

TEST_P(CheckpointTargetContract, DiscardInAnActivationLeavesNothingButAGuestThatRuns) {
  RunTo(Place::kActivating);
  Discard();
  RunUntil([&] { return discarded_; });
  EXPECT_EQ(harness_->exists(), harness_->runs());
  Reset();
  RunTo(Place::kActivated);
  Discard();
  RunUntil([&] { return discarded_; });
  EXPECT_TRUE(harness_->runs());
}

TEST_P(CheckpointTargetContract, DiscardAfterTheHelpersDeathLeavesNothing) {
  for (const Place place : PlacesBeforeActivation()) {
    RunTo(place);
    harness_->KillHelper();
    Discard();
    RunUntil([&] { return discarded_; });
    EXPECT_FALSE(harness_->exists());
    Reset();
  }
}

TEST_P(CheckpointTargetContract, AnAgentThatDiesBeforeActivateStartsNothingAndLeavesNoHelper) {
  for (const Place place :
       {Place::kPreparing, Place::kPrepared, Place::kSeedingHalf, Place::kSeeded, Place::kApplied}) {
    RunTo(place);
    sink_.reset();
    target_.reset();
    const int before = callbacks_;
    RunUntil([&] { return !harness_->helper_runs(); });
    harness_->Settle();
    EXPECT_EQ(callbacks_, before);
    EXPECT_FALSE(harness_->runs());
    Reset();
  }
}

}  // namespace romulus
