#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/loop/manual_scheduler.h"
#include "common/ownership/memory_generation_store.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "secondary/played_seams.h"
#include "secondary/standby/standby_driver.h"

// A session in lockstep, between a link, a target and the standby's vifs that the test plays: what goes where. What the
// driver does otherwise is the simulation's to show (//tests/simulation).
namespace romulus {
namespace {

using replication::v1::PrimaryMessage;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class LockstepDriver : public testing::Test, public StandbyDriver::Observer {
 protected:
  static constexpr uint32_t kDomid = 3;

  void Begin(replication::v1::StreamMode mode = replication::v1::COLO) {
    StandbyDriver::Seams seams;
    seams.scheduler = &scheduler_;
    seams.store = &store_;
    seams.new_target = [this] { return std::make_unique<PlayedTarget>(&standby_); };
    seams.new_traffic = [this](const replication::v1::OpenSession& session,
                               uint32_t domid) -> absl::StatusOr<std::unique_ptr<StandbyTraffic>> {
      EXPECT_EQ(session.protection(), "protections/test");
      EXPECT_EQ(domid, kDomid);
      if (!no_traffic_.ok()) return no_traffic_;
      return std::make_unique<PlayedTraffic>(&standby_);
    };
    driver_ = std::make_unique<StandbyDriver>("protections/test", std::move(seams), this);
    PrimaryMessage open;
    open.set_generation(1);
    open.mutable_open_session()->set_protection("protections/test");
    open.mutable_open_session()->set_stream_mode(mode);
    driver_->OfferSession(open, absl::OkStatus(), std::make_unique<PlayedPrimary>(&standby_));
    standby_.target->OnPrepared(absl::OkStatus(), nullptr, kDomid);
  }
  void Runs1() {
    Begin();
    standby_.link->OnSeeded("", replication::v1::STANDBY_RUNS);
    standby_.target->OnApplied(1);
    standby_.target->OnRunning(1, nullptr);
    standby_.told.clear();
  }
  void OnChanged(bool) override {}

  void Input(uint64_t epoch, const std::string& contents, uint64_t generation = 1) {
    PrimaryMessage message;
    message.set_generation(generation);
    message.mutable_standby_input()->set_epoch(epoch);
    message.mutable_standby_input()->add_frames()->set_contents(contents);
    standby_.link->OnMessage(message);
  }
  void Offset(uint64_t epoch, uint32_t primary_initial, const std::string& address = "1234") {
    PrimaryMessage message;
    message.set_generation(1);
    message.mutable_sequence_offset()->set_epoch(epoch);
    message.mutable_sequence_offset()->set_primary_initial(primary_initial);
    message.mutable_sequence_offset()->mutable_connection()->set_guest_address(address);
    message.mutable_sequence_offset()->mutable_connection()->set_peer_address(address);
    standby_.link->OnMessage(message);
  }
  void Suspend(uint64_t epoch) {
    PrimaryMessage message;
    message.set_generation(1);
    message.mutable_suspend_standby()->set_epoch(epoch);
    standby_.link->OnMessage(message);
  }
  std::vector<std::string> Told() { return std::exchange(standby_.told, {}); }

  ManualScheduler scheduler_;
  MemoryGenerationStore store_;
  PlayedStandby standby_;
  absl::Status no_traffic_;  // What keeps the guest's frames from being in hand.
  std::unique_ptr<StandbyDriver> driver_;
};

TEST_F(LockstepDriver, AGuestWhoseFramesAreNotInHandIsNotKept) {
  no_traffic_ = absl::FailedPreconditionError("modprobe tun");
  Begin();
  EXPECT_THAT(standby_.told, ElementsAre("prepare for lockstep", "close modprobe tun", "discard"));
}

TEST_F(LockstepDriver, TrafficFlowsOnceTheGuestRuns) {
  Begin();
  EXPECT_THAT(Told(), ElementsAre("prepare for lockstep"));
  Input(1, "a");
  standby_.link->OnSeeded("", replication::v1::STANDBY_RUNS);
  EXPECT_THAT(Told(), ElementsAre("forget offsets", "apply 1, run"));
  standby_.target->OnApplied(1);
  Offset(1, 7);
  Input(1, "b");
  // The guest may speak before its target does.
  standby_.traffic->OnOutput({{0, "early"}});
  EXPECT_THAT(Told(), IsEmpty());
  standby_.target->OnRunning(1, nullptr);
  EXPECT_THAT(Told(), ElementsAre("running", "out-1 early", "in a", "offset 7", "in b"));
  Input(1, "c");
  standby_.traffic->OnOutput({{0, "d"}});
  EXPECT_THAT(Told(), ElementsAre("in c", "out-1 d"));
}

TEST_F(LockstepDriver, ACheckpointOfARunningGuest) {
  Runs1();
  Suspend(2);
  EXPECT_THAT(Told(), ElementsAre("suspend 2"));
  Input(1, "in the checkpoint");
  Input(2, "after it");
  standby_.traffic->OnOutput({{0, "last"}});
  standby_.target->OnSuspended(2, {{4, 2}, {9, 1}});
  standby_.traffic->OnOutput({{0, "too late"}});
  EXPECT_THAT(Told(), ElementsAre("out-1 last", "pages 4+2 9+1"));
  standby_.link->OnCheckpoint(2, CheckpointBytes(), replication::v1::STANDBY_RUNS);
  EXPECT_THAT(Told(), ElementsAre("forget offsets", "apply 2, run"));
  standby_.target->OnApplied(2);
  const StandbyGap gap = {.stop = absl::Milliseconds(5), .connect = absl::Milliseconds(30)};
  standby_.target->OnRunning(2, &gap);
  EXPECT_EQ(driver_->status().gaps.count, 1) << "the first time it ran, it had not run before";
  EXPECT_EQ(driver_->status().gaps.last.total(), absl::Milliseconds(35));
  EXPECT_EQ(driver_->status().gaps.sum.connect, absl::Milliseconds(30));
  EXPECT_THAT(Told(), ElementsAre("running", "in after it"));
  EXPECT_EQ(driver_->status().input_frames_dropped, 1);
  EXPECT_EQ(driver_->status().output_frames_dropped, 1);
}

TEST_F(LockstepDriver, OneThatCanNotRunWaits) {
  Begin();
  standby_.link->OnSeeded("", replication::v1::STANDBY_RUNS);
  standby_.target->OnApplied(1);
  Told();
  standby_.target->OnLockstepRefused(1, absl::UnavailableError("ports differ"));
  EXPECT_THAT(Told(), ElementsAre("refused: ports differ"));
  Input(1, "a");
  standby_.traffic->OnOutput({{0, "b"}});
  standby_.link->OnCheckpoint(2, CheckpointBytes(), replication::v1::STANDBY_WAITS);
  EXPECT_THAT(Told(), ElementsAre("forget offsets", "apply 2"));
}

TEST_F(LockstepDriver, WithoutItsPrimaryItIsFrozenAndOpensWhenActivated) {
  Runs1();
  standby_.link->OnClosed(absl::UnavailableError("silent"));
  standby_.traffic->OnOutput({{0, "nobody's"}});
  EXPECT_THAT(Told(), ElementsAre("freeze"));
  driver_->Activate(2, /*primary_fenced=*/true, [](absl::Status) {});
  EXPECT_THAT(Told(), ElementsAre("open", "activate"));
}

TEST_F(LockstepDriver, WhatBreaksTheProtocolFreezesIt) {
  const auto ends_with = [this](const char* why) {
    const std::vector<std::string> told = Told();
    ASSERT_THAT(told, ElementsAre(HasSubstr(why), "freeze"));
  };
  Runs1();
  Suspend(3);
  ends_with("SuspendStandby for checkpoint 3");
  Runs1();
  Input(1, "");
  ends_with("a frame of 0 bytes");
  Runs1();
  Offset(1, 7, "123");
  ends_with("addresses of 3 and 3 bytes");
  Runs1();
  Input(1, "a", /*generation=*/0);
  ends_with("generation 0");
  Runs1();
  standby_.link->OnCheckpoint(2, CheckpointBytes(), replication::v1::STANDBY_RUNS);
  ends_with("not suspended");
}

TEST_F(LockstepDriver, ASessionOfAnotherModeHasNoTraffic) {
  Begin(replication::v1::REMUS);
  EXPECT_EQ(standby_.traffic, nullptr);
  standby_.link->OnSeeded("", replication::v1::STANDBY_WAITS);
  EXPECT_THAT(Told(), ElementsAre("prepare", "apply 1"));
  Input(1, "a");
  EXPECT_THAT(Told(), ElementsAre(HasSubstr("not COLO")));
}

}  // namespace
}  // namespace romulus
