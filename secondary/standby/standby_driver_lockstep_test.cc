#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/loop/manual_scheduler.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "secondary/standby/standby_driver.h"

// A session in lockstep, between a link, a target and the standby's vifs that the test plays: what goes where. What the
// driver does otherwise is the simulation's to show (//tests/simulation).
namespace romulus {
namespace {

using replication::v1::PrimaryMessage;
using replication::v1::SecondaryMessage;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class NoStore final : public GenerationStore {
 public:
  absl::StatusOr<Record> Read(const std::string&) const override { return absl::NotFoundError(""); }
  absl::Status Write(const std::string&, const Record&) override { return absl::OkStatus(); }
  absl::Status Erase(const std::string&) override { return absl::OkStatus(); }
};

struct Outside {
  SecondaryLink::Observer* link = nullptr;
  CheckpointTarget::Observer* target = nullptr;
  StandbyTraffic::Observer* traffic = nullptr;
  absl::Status no_traffic;        // What keeps the guest's frames from being in hand.
  std::vector<std::string> told;  // Everything that is done, in order.
};

class FakeLink final : public SecondaryLink {
 public:
  explicit FakeLink(Outside* outside) : outside_(outside) {}
  void Start(Observer* observer) override { outside_->link = observer; }
  void SetSeedSink(std::shared_ptr<CheckpointSink>) override {}
  void Send(SecondaryMessage message) override {
    if (message.has_standby_running()) outside_->told.push_back("running");
    if (message.has_lockstep_refused()) outside_->told.push_back("refused: " + message.lockstep_refused().reason());
    if (message.has_dirty_page_list()) {
      std::string pages = "pages";
      for (const auto& run : message.dirty_page_list().runs()) {
        pages += " " + std::to_string(run.first_gfn()) + "+" + std::to_string(run.count());
      }
      outside_->told.push_back(pages);
    }
  }
  bool SendTraffic(SecondaryMessage message) override {
    const replication::v1::StandbyOutput& output = message.standby_output();
    for (const auto& frame : output.frames()) {
      outside_->told.push_back("out-" + std::to_string(output.epoch()) + " " + frame.contents());
    }
    return true;
  }
  void Close(absl::Status status) override { outside_->told.push_back("close " + std::string(status.message())); }
  absl::Duration silence() const override { return {}; }
  uint64_t received_bytes() const override { return 0; }

 private:
  Outside* const outside_;
};

class FakeTarget final : public CheckpointTarget {
 public:
  explicit FakeTarget(Outside* outside) : outside_(outside) {}
  void Prepare(const replication::v1::DomainDescription&, bool lockstep, Observer* observer) override {
    outside_->told.push_back(lockstep ? "prepare for lockstep" : "prepare");
    outside_->target = observer;
  }
  void FinishSeeding(std::string, AfterCheckpoint after) override { Tell("apply 1", after); }
  void Apply(uint64_t epoch, CheckpointBytes, AfterCheckpoint after) override {
    Tell("apply " + std::to_string(epoch), after);
  }
  void Suspend(uint64_t epoch) override { outside_->told.push_back("suspend " + std::to_string(epoch)); }
  void Freeze() override { outside_->told.push_back("freeze"); }
  void Activate() override { outside_->told.push_back("activate"); }
  void Discard() override { outside_->told.push_back("discard"); }

 private:
  void Tell(const std::string& what, AfterCheckpoint after) {
    outside_->told.push_back(what + (after == AfterCheckpoint::kRun ? ", run" : ""));
  }
  Outside* const outside_;
};

class FakeTraffic final : public StandbyTraffic {
 public:
  explicit FakeTraffic(Outside* outside) : outside_(outside) {}
  void Start(Observer* observer) override { outside_->traffic = observer; }
  void OnCheckpoint() override { outside_->told.push_back("forget offsets"); }
  void AddOffset(const packet::SequenceOffset& offset) override {
    outside_->told.push_back("offset " + std::to_string(offset.primary_initial));
  }
  void Input(std::vector<TrafficFrame> frames) override {
    for (const TrafficFrame& frame : frames) outside_->told.push_back("in " + frame.contents);
  }
  void Open() override { outside_->told.push_back("open"); }

 private:
  Outside* const outside_;
};

class LockstepDriver : public testing::Test, public StandbyDriver::Observer {
 protected:
  void Begin(replication::v1::StreamMode mode = replication::v1::COLO) {
    StandbyDriver::Seams seams;
    seams.scheduler = &scheduler_;
    seams.store = &store_;
    seams.new_target = [this] { return std::make_unique<FakeTarget>(&outside_); };
    seams.new_traffic = [this](const replication::v1::DomainDescription&,
                               uint32_t) -> absl::StatusOr<std::unique_ptr<StandbyTraffic>> {
      if (!outside_.no_traffic.ok()) return outside_.no_traffic;
      return std::make_unique<FakeTraffic>(&outside_);
    };
    driver_ = std::make_unique<StandbyDriver>("protections/test", std::move(seams), this);
    PrimaryMessage open;
    open.set_generation(1);
    open.mutable_open_session()->set_stream_mode(mode);
    driver_->OfferSession(open, absl::OkStatus(), std::make_unique<FakeLink>(&outside_));
    outside_.target->OnPrepared(absl::OkStatus(), nullptr, 3);
  }
  void Runs1() {
    Begin();
    outside_.link->OnSeeded("", replication::v1::STANDBY_RUNS);
    outside_.target->OnApplied(1);
    outside_.target->OnRunning(1);
    outside_.told.clear();
  }
  void OnChanged(bool) override {}

  void Input(uint64_t epoch, const std::string& contents, uint64_t generation = 1) {
    PrimaryMessage message;
    message.set_generation(generation);
    message.mutable_standby_input()->set_epoch(epoch);
    message.mutable_standby_input()->add_frames()->set_contents(contents);
    outside_.link->OnMessage(message);
  }
  void Offset(uint64_t epoch, uint32_t primary_initial, const std::string& address = "1234") {
    PrimaryMessage message;
    message.set_generation(1);
    message.mutable_sequence_offset()->set_epoch(epoch);
    message.mutable_sequence_offset()->set_primary_initial(primary_initial);
    message.mutable_sequence_offset()->mutable_connection()->set_guest_address(address);
    message.mutable_sequence_offset()->mutable_connection()->set_peer_address(address);
    outside_.link->OnMessage(message);
  }
  void Suspend(uint64_t epoch) {
    PrimaryMessage message;
    message.set_generation(1);
    message.mutable_suspend_standby()->set_epoch(epoch);
    outside_.link->OnMessage(message);
  }
  std::vector<std::string> Told() { return std::exchange(outside_.told, {}); }

  ManualScheduler scheduler_;
  NoStore store_;
  Outside outside_;
  std::unique_ptr<StandbyDriver> driver_;
};

TEST_F(LockstepDriver, AGuestWhoseFramesAreNotInHandIsNotKept) {
  outside_.no_traffic = absl::FailedPreconditionError("modprobe tun");
  Begin();
  EXPECT_THAT(outside_.told, ElementsAre("prepare for lockstep", "close modprobe tun", "discard"));
}

TEST_F(LockstepDriver, TrafficFlowsOnceTheGuestRuns) {
  Begin();
  EXPECT_THAT(Told(), ElementsAre("prepare for lockstep"));
  Input(1, "a");
  outside_.link->OnSeeded("", replication::v1::STANDBY_RUNS);
  EXPECT_THAT(Told(), ElementsAre("forget offsets", "apply 1, run"));
  outside_.target->OnApplied(1);
  Offset(1, 7);
  Input(1, "b");
  // The guest may speak before its target does.
  outside_.traffic->OnOutput({{0, "early"}});
  EXPECT_THAT(Told(), IsEmpty());
  outside_.target->OnRunning(1);
  EXPECT_THAT(Told(), ElementsAre("running", "out-1 early", "in a", "offset 7", "in b"));
  Input(1, "c");
  outside_.traffic->OnOutput({{0, "d"}});
  EXPECT_THAT(Told(), ElementsAre("in c", "out-1 d"));
}

TEST_F(LockstepDriver, ACheckpointOfARunningGuest) {
  Runs1();
  Suspend(2);
  EXPECT_THAT(Told(), ElementsAre("suspend 2"));
  Input(1, "in the checkpoint");
  Input(2, "after it");
  outside_.traffic->OnOutput({{0, "last"}});
  outside_.target->OnSuspended(2, {{4, 2}, {9, 1}});
  outside_.traffic->OnOutput({{0, "too late"}});
  EXPECT_THAT(Told(), ElementsAre("out-1 last", "pages 4+2 9+1"));
  outside_.link->OnCheckpoint(2, CheckpointBytes(), replication::v1::STANDBY_RUNS);
  EXPECT_THAT(Told(), ElementsAre("forget offsets", "apply 2, run"));
  outside_.target->OnApplied(2);
  outside_.target->OnRunning(2);
  EXPECT_THAT(Told(), ElementsAre("running", "in after it"));
  EXPECT_EQ(driver_->status().input_frames_dropped, 1);
  EXPECT_EQ(driver_->status().output_frames_dropped, 1);
}

TEST_F(LockstepDriver, OneThatCanNotRunWaits) {
  Begin();
  outside_.link->OnSeeded("", replication::v1::STANDBY_RUNS);
  outside_.target->OnApplied(1);
  Told();
  outside_.target->OnLockstepRefused(1, absl::UnavailableError("ports differ"));
  EXPECT_THAT(Told(), ElementsAre("refused: ports differ"));
  Input(1, "a");
  outside_.traffic->OnOutput({{0, "b"}});
  outside_.link->OnCheckpoint(2, CheckpointBytes(), replication::v1::STANDBY_WAITS);
  EXPECT_THAT(Told(), ElementsAre("forget offsets", "apply 2"));
}

TEST_F(LockstepDriver, WithoutItsPrimaryItIsFrozenAndOpensWhenActivated) {
  Runs1();
  outside_.link->OnClosed(absl::UnavailableError("silent"));
  outside_.traffic->OnOutput({{0, "nobody's"}});
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
  outside_.link->OnCheckpoint(2, CheckpointBytes(), replication::v1::STANDBY_RUNS);
  ends_with("not suspended");
}

TEST_F(LockstepDriver, ASessionOfAnotherModeHasNoTraffic) {
  Begin(replication::v1::REMUS);
  EXPECT_EQ(outside_.traffic, nullptr);
  outside_.link->OnSeeded("", replication::v1::STANDBY_WAITS);
  EXPECT_THAT(Told(), ElementsAre("prepare", "apply 1"));
  Input(1, "a");
  EXPECT_THAT(Told(), ElementsAre(HasSubstr("not COLO")));
}

}  // namespace
}  // namespace romulus
