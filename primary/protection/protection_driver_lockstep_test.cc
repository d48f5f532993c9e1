#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/loop/manual_scheduler.h"
#include "common/ownership/memory_generation_store.h"
#include "common/packet/frame_builder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "primary/lockstep/lockstep_egress_buffer.h"
#include "primary/lockstep/simulated_guest_traffic.h"
#include "primary/played_seams.h"
#include "primary/protection/protection_driver.h"
#include "primary/quiet_seams.h"

// A session in lockstep, between a link and a source that the test plays: what goes where.
namespace romulus {
namespace {

using absl::Milliseconds;
using replication::v1::PrimaryMessage;
using replication::v1::SecondaryMessage;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class LockstepDriver : public testing::Test, public ProtectionDriver::Observer {
 protected:
  static constexpr uint64_t kGfnCount = 0xff000;

  LockstepDriver() {
    network_ = std::make_shared<lockstep::SimulatedDiversions>(
        [this] { return scheduler_.Now(); },
        [this](const std::string&, const lockstep::GuestFrame& frame) { left_.push_back(frame.contents); });
    network_->AddVif("vif3.0");
    protection::Config config;
    config.pacing.interval = Milliseconds(100);
    config.loss_policy = protection::LossPolicy::kHoldOutput;
    config.lockstep.emplace();
    ProtectionDriver::Seams seams;
    seams.scheduler = &scheduler_;
    seams.store = &store_;
    seams.new_link = [this] { return std::make_unique<PlayedLink>(&session_); };
    seams.new_source = [this] { return std::make_unique<PlayedSource>(&session_); };
    seams.guest = std::make_unique<QuietGuestControl>();
    seams.lockstep = std::make_unique<GuestLockstep>(&scheduler_);
    lockstep_ = seams.lockstep.get();
    lockstep::LockstepEgressBuffer::Options options;
    options.protection = "protections/test";
    options.vifs = {Vif{"vif3.0", 3, 0}};
    options.now = [this] { return scheduler_.Now(); };
    auto buffer = std::make_unique<lockstep::LockstepEgressBuffer>(
        std::make_shared<lockstep::SimulatedGuestTraffic>(network_), lockstep_, options);
    lockstep_->SetBuffer(buffer.get());
    seams.egress = std::move(buffer);
    replication::v1::OpenSession open;
    open.mutable_domain()->set_memory_max_kib(128 << 10);
    open.mutable_domain()->set_gpfn_count(kGfnCount);
    driver_ = std::make_unique<ProtectionDriver>("protections/test", config, open, "detail", std::move(seams), this);
    driver_->Start(1, /*recovered=*/false, [](absl::Status) {});
    session_.Accept();
    session_.source->OnSeeding(nullptr);
  }
  void OnChanged(bool) override {}
  void OnCheckpoint(const EpochTrace&) override {}

  void TakeCheckpoint(uint64_t epoch) {
    session_.source->OnSuspended(epoch);
    CheckpointSource::Captured captured;
    captured.epoch = epoch;
    session_.source->OnCaptured(std::move(captured));
    session_.Commit(epoch);
  }
  void RunFrom(uint64_t epoch) {
    SecondaryMessage running;
    running.mutable_standby_running()->set_epoch(epoch);
    session_.link->OnMessage(running);
  }
  // Checkpoint 2 is asked for, because of a difference.
  void Suspending2() {
    TakeCheckpoint(1);
    RunFrom(1);
    PrimarySends("one thing");
    StandbySends(1, "another");
    scheduler_.Pass(Milliseconds(0));
    ASSERT_EQ(session_.requested, 2);
  }
  static std::string Udp(const std::string& payload) {
    return packet::UdpFrame(packet::ParseAddress("10.0.0.2"), 7, packet::ParseAddress("10.0.0.9"), 1000, payload);
  }
  void PrimarySends(const std::string& payload) { network_->Enqueue("vif3.0", {.contents = Udp(payload)}); }
  void StandbySends(uint64_t epoch, const std::string& payload) {
    SecondaryMessage output;
    output.mutable_standby_output()->set_epoch(epoch);
    output.mutable_standby_output()->add_frames()->set_contents(Udp(payload));
    session_.link->OnMessage(output);
  }
  void Says(uint64_t epoch, std::initializer_list<std::pair<uint64_t, uint32_t>> runs, bool more = false) {
    SecondaryMessage message;
    replication::v1::DirtyPageList& list = *message.mutable_dirty_page_list();
    list.set_epoch(epoch);
    list.set_more(more);
    for (const auto& [first, count] : runs) {
      list.add_runs()->set_first_gfn(first);
      list.mutable_runs(list.runs_size() - 1)->set_count(count);
    }
    session_.link->OnMessage(message);
  }
  // Takes what was sent to the standby, which is this.
  void ExpectCopied(uint64_t epoch, const std::vector<std::string>& contents) {
    std::vector<std::string> copied;
    for (const PrimaryMessage& message : std::exchange(session_.traffic, {})) {
      EXPECT_EQ(message.standby_input().epoch(), epoch);
      for (const replication::v1::Frame& frame : message.standby_input().frames()) copied.push_back(frame.contents());
    }
    EXPECT_EQ(copied, contents);
  }
  std::string state() const { return driver_->core().state_name(); }
  std::string error() const { return std::string(driver_->core().last_error().message()); }

  ManualScheduler scheduler_;
  MemoryGenerationStore store_;
  PlayedSession session_;
  std::shared_ptr<lockstep::SimulatedDiversions> network_;
  std::vector<std::string> left_;
  GuestLockstep* lockstep_ = nullptr;
  std::unique_ptr<ProtectionDriver> driver_;
};

TEST_F(LockstepDriver, OutputLeavesAsSoonAsBothHaveSentIt) {
  EXPECT_EQ(session_.opened.stream_mode(), replication::v1::COLO);
  EXPECT_EQ(session_.checkpoints[1], replication::v1::STANDBY_RUNS);
  TakeCheckpoint(1);
  PrimarySends("a");
  EXPECT_THAT(left_, IsEmpty());
  StandbySends(1, "a");
  EXPECT_THAT(left_, IsEmpty()) << "before StandbyRunning nothing counts";
  RunFrom(1);
  EXPECT_THAT(left_, IsEmpty());
  StandbySends(1, "a");
  EXPECT_THAT(left_, ElementsAre(Udp("a")));
  StandbySends(1, "b");
  PrimarySends("b");
  EXPECT_THAT(left_, ElementsAre(Udp("a"), Udp("b")));
  PrimarySends("c");
  StandbySends(2, "c");
  StandbySends(0, "c");
  EXPECT_THAT(left_, SizeIs(2)) << "of other epochs";
}

TEST_F(LockstepDriver, WhatDiffersWaitsForACheckpointWithTheStandbysPages) {
  Suspending2();
  EXPECT_TRUE(session_.with_standby_pages);
  ASSERT_THAT(session_.sent, SizeIs(1));
  EXPECT_EQ(session_.sent[0].suspend_standby().epoch(), 2);
  Says(2, {{5, 2}, {100, 1}}, /*more=*/true);
  EXPECT_THAT(session_.standby_pages, IsEmpty());
  Says(2, {{101, 4}});
  ASSERT_THAT(session_.standby_pages, SizeIs(1));
  EXPECT_EQ(session_.standby_pages[0].first, 2);
  EXPECT_THAT(session_.standby_pages[0].second, ElementsAre(PageRun{5, 2}, PageRun{100, 5}));
  EXPECT_THAT(left_, IsEmpty());
  TakeCheckpoint(2);
  EXPECT_EQ(session_.checkpoints[2], replication::v1::STANDBY_RUNS);
  EXPECT_THAT(left_, ElementsAre(Udp("one thing")));
}

TEST_F(LockstepDriver, OutputOfOneGuestAloneIsADifference) {
  TakeCheckpoint(1);
  RunFrom(1);
  PrimarySends("a");
  const absl::Duration timeout = comparison::Settings().timeout;
  scheduler_.Pass(timeout - Milliseconds(50));
  EXPECT_EQ(session_.requested, 0);
  scheduler_.Pass(Milliseconds(100));
  EXPECT_EQ(session_.requested, 2);
  EXPECT_EQ(driver_->status().core.differences, 1);
}

TEST_F(LockstepDriver, WhatEntersTheGuestIsCopiedToTheStandbyThatRunsFromTheSameCheckpoint) {
  lockstep_->OnInput({{0, "too early"}});
  session_.source->OnSuspended(1);
  lockstep_->OnInput({{0, "a"}, {1, "b"}});
  ExpectCopied(1, {"a", "b"});
  CheckpointSource::Captured captured;
  captured.epoch = 1;
  session_.source->OnCaptured(std::move(captured));
  lockstep_->OnInput({{0, "c"}});
  ExpectCopied(1, {"c"});
  session_.Commit(1);
  RunFrom(1);
  scheduler_.Pass(absl::Seconds(10));
  ASSERT_EQ(session_.requested, 2);
  lockstep_->OnInput({{0, "d"}});
  ExpectCopied(1, {"d"});
  session_.source->OnSuspended(2);
  lockstep_->OnInput({{0, "e"}});
  ExpectCopied(2, {"e"});
  EXPECT_EQ(driver_->status().standby_input_frames, 5);
}

TEST_F(LockstepDriver, InputIsHeldFromTheRequestUntilTheGuestRunsAgain) {
  TakeCheckpoint(1);
  RunFrom(1);
  EXPECT_FALSE(network_->holds_input());
  scheduler_.Pass(absl::Seconds(10));
  ASSERT_EQ(session_.requested, 2);
  EXPECT_TRUE(network_->holds_input());
  session_.source->OnSuspended(2);
  Says(2, {});
  EXPECT_TRUE(network_->holds_input());
  CheckpointSource::Captured captured;
  captured.epoch = 2;
  session_.source->OnCaptured(std::move(captured));
  EXPECT_FALSE(network_->holds_input());
}

TEST_F(LockstepDriver, InputIsReleasedWhereTheSourceEndsInTheMiddle) {
  Suspending2();
  EXPECT_TRUE(network_->holds_input());
  session_.source->OnEnded(absl::UnavailableError("the helper died"));
  EXPECT_FALSE(network_->holds_input());
}

TEST_F(LockstepDriver, ACopyThatFindsNoRoomIsADifference) {
  TakeCheckpoint(1);
  RunFrom(1);
  session_.traffic_full = true;
  lockstep_->OnInput({{0, "a"}, {0, "b"}});
  EXPECT_EQ(session_.requested, 2);
  EXPECT_EQ(driver_->status().standby_input_dropped, 2);
  EXPECT_THAT(driver_->status().core.last_difference, HasSubstr("no room"));
}

TEST_F(LockstepDriver, AnOffsetGoesBeforeTheFrameThatItIsFor) {
  TakeCheckpoint(1);
  RunFrom(1);
  packet::TcpSegment syn_ack;
  syn_ack.source = packet::ParseAddress("10.0.0.2");
  syn_ack.destination = packet::ParseAddress("10.0.0.9");
  syn_ack.source_port = 80;
  syn_ack.destination_port = 5000;
  syn_ack.flags = packet::kTcpSyn | packet::kTcpAck;
  syn_ack.acknowledgement = 1;
  syn_ack.options = packet::SynOptions();
  syn_ack.sequence = 1000;
  network_->Enqueue("vif3.0", {.contents = packet::TcpFrame(syn_ack)});
  EXPECT_THAT(left_, IsEmpty());
  syn_ack.sequence = 7000;
  SecondaryMessage output;
  output.mutable_standby_output()->set_epoch(1);
  output.mutable_standby_output()->add_frames()->set_contents(packet::TcpFrame(syn_ack));
  session_.traffic_full = true;  // Offsets are not dropped.
  session_.link->OnMessage(output);
  EXPECT_THAT(left_, SizeIs(1));
  ASSERT_THAT(session_.traffic, SizeIs(1));
  const absl::StatusOr<packet::SequenceOffset> offset = FromMessage(session_.traffic[0].sequence_offset());
  ASSERT_TRUE(offset.ok()) << offset.status();
  EXPECT_EQ(session_.traffic[0].sequence_offset().epoch(), 1);
  EXPECT_EQ(offset->primary_initial, 1000);
  EXPECT_EQ(offset->standby_initial, 7000);
}

TEST_F(LockstepDriver, AfterTheSessionNothingLeavesAndNothingIsCopied) {
  TakeCheckpoint(1);
  RunFrom(1);
  StandbySends(1, "a");
  session_.link->OnClosed(absl::UnavailableError("silent"));
  PrimarySends("a");
  lockstep_->OnInput({{0, "b"}});
  EXPECT_THAT(left_, IsEmpty());
  EXPECT_THAT(session_.traffic, IsEmpty());
}

// A list that is wrong ends the session; the guest, and what it has sent, stay as they are.
class BadList : public LockstepDriver {
 protected:
  BadList() { Suspending2(); }
  void ExpectTheEnd(const char* why) {
    EXPECT_EQ(state(), "Unwinding(retry)");
    EXPECT_THAT(error(), HasSubstr(why));
    EXPECT_THAT(left_, IsEmpty());
    EXPECT_THAT(session_.standby_pages, IsEmpty());
  }
};

TEST_F(BadList, Stale) {
  Says(1, {{1, 1}});
  ExpectTheEnd("one of checkpoint 1 came");
}
TEST_F(BadList, OutOfRange) {
  Says(2, {{1, 1}, {uint64_t{1} << 30, 1}});
  ExpectTheEnd("the guest has none from");
}
// As far as the hypervisor has said.
TEST_F(BadList, BeyondTheGuestsFrames) {
  Says(2, {{kGfnCount - 1, 1}});
  EXPECT_EQ(state(), "Suspending(2, pages listed)");
  TakeCheckpoint(2);
  RunFrom(2);
  scheduler_.Pass(absl::Seconds(10));
  left_.clear();
  session_.standby_pages.clear();
  Says(3, {{kGfnCount, 1}});
  ExpectTheEnd("the guest has none from");
}
TEST_F(BadList, Unordered) {
  Says(2, {{9, 1}}, /*more=*/true);
  Says(2, {{3, 1}});
  ExpectTheEnd("frame 3 after frame 9");
}
TEST_F(BadList, TruncatedOrLate) {
  Says(2, {{9, 1}}, /*more=*/true);
  scheduler_.Pass(absl::Seconds(3));
  EXPECT_EQ(state(), "StoppingSession(retry)");
  EXPECT_THAT(error(), HasSubstr("within 3s"));
  EXPECT_THAT(session_.standby_pages, IsEmpty());
  ASSERT_THAT(session_.sent, SizeIs(2));
  EXPECT_TRUE(session_.sent[1].has_stop_session());
}
TEST_F(BadList, AfterTheLast) {
  Says(2, {{1, 1}});
  EXPECT_EQ(state(), "Suspending(2, pages listed)");
  Says(2, {{2, 1}});
  EXPECT_EQ(state(), "Unwinding(retry)");
  EXPECT_THAT(error(), HasSubstr("not asked for"));
}

TEST_F(LockstepDriver, AListThatNobodyAskedForEndsTheSession) {
  TakeCheckpoint(1);
  RunFrom(1);
  Says(2, {{1, 1}});
  EXPECT_EQ(state(), "Unwinding(retry)");
  EXPECT_THAT(error(), HasSubstr("not asked for"));
}

TEST_F(LockstepDriver, TrafficOutOfBoundsEndsTheSession) {
  TakeCheckpoint(1);
  RunFrom(1);
  SecondaryMessage output;
  output.mutable_standby_output()->set_epoch(1);
  session_.link->OnMessage(output);
  EXPECT_EQ(state(), "Unwinding(retry)");
  EXPECT_THAT(error(), HasSubstr("0 frames"));
}

}  // namespace
}  // namespace romulus
