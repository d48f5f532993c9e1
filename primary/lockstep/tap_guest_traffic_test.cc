#include "primary/lockstep/tap_guest_traffic.h"

#include <memory>
#include <string>
#include <vector>

#include "common/loop/manual_scheduler.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "netbuf/simulated_vif_frames.h"

namespace romulus::lockstep {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr char kProtection[] = "protections/p";

// With room for a checksum, by its header whole or partial.
romulus::GuestFrame Frame(const std::string& text, bool partial = false) {
  romulus::GuestFrame frame{.offload = {}, .contents = std::string(14, '\0') + std::string(2, '\0') + text};
  if (partial) {
    frame.offload.flags = OffloadHeader::kNeedsChecksum;
    frame.offload.gso_type = OffloadHeader::kGsoTcp4;
    frame.offload.gso_bytes = 1448;
    frame.offload.checksum_start = 14;
  }
  return frame;
}

std::vector<std::string> Texts(const std::vector<romulus::GuestFrame>& frames) {
  std::vector<std::string> texts;
  for (const romulus::GuestFrame& frame : frames) texts.push_back(frame.contents.substr(16));
  return texts;
}

class TapGuestTrafficTest : public ::testing::Test, protected GuestTraffic::Observer {
 protected:
  TapGuestTrafficTest() {
    for (const Vif& vif : {vif0_, vif1_}) host_.AddVif(vif.name);
    traffic_ = NewTraffic();
    traffic_->SetObserver(this);
  }

  std::unique_ptr<TapGuestTraffic> NewTraffic() {
    return std::make_unique<TapGuestTraffic>(
        &scheduler_,
        [this](VifFrames::OnFrames on_frames, VifFrames::OnError on_error) {
          return std::make_unique<SimulatedVifFrames>(&host_, std::move(on_frames), std::move(on_error));
        },
        [this](std::vector<TrafficFrame> frames) {
          for (TrafficFrame& frame : frames) input_.push_back(std::move(frame));
        });
  }
  void OnGuestFrame(absl::Duration now, const std::string& vif, GuestFrame frame) override {
    EXPECT_EQ(now, scheduler_.Now());
    texts_.push_back(vif + ":" + frame.contents.substr(16));
    if (write_out_) traffic_->WriteOut(vif == vif0_.name ? vif0_ : vif1_, frame);
    output_.push_back(std::move(frame));
  }

  const Vif vif0_{"vif7.0", 7, 0}, vif1_{"vif7.1", 7, 1};
  ManualScheduler scheduler_;
  SimulatedVifs host_;
  std::vector<TrafficFrame> input_;
  std::vector<GuestFrame> output_;
  std::vector<std::string> texts_;
  bool write_out_ = false;
  std::unique_ptr<TapGuestTraffic> traffic_;
};

TEST_F(TapGuestTrafficTest, HandsOverWhatTheGuestSendsAndWritesItOutAsItWas) {
  for (const Vif& vif : {vif0_, vif1_}) EXPECT_EQ(*traffic_->Divert(vif, kProtection), GuestTraffic::Diverted::kFresh);
  host_.GuestSends("vif7.0", Frame("a", /*partial=*/true));
  host_.GuestSends("vif7.1", Frame("b"));
  host_.Deliver();
  EXPECT_THAT(texts_, ElementsAre("vif7.0:a", "vif7.1:b"));
  EXPECT_EQ(output_[0].segment_bytes, 1448);
  EXPECT_EQ(output_[1].segment_bytes, 0);
  EXPECT_THAT(host_.TakeSentToNetwork("vif7.0"), IsEmpty());
  traffic_->WriteOut(vif0_, output_[0]);
  traffic_->WriteOut(vif1_, GuestFrame{.contents = output_[1].contents, .segment_bytes = 0, .offload = ""});
  const std::vector<romulus::GuestFrame> left = host_.TakeSentToNetwork("vif7.0");
  ASSERT_THAT(Texts(left), ElementsAre("a"));
  EXPECT_EQ(left[0].offload.flags, OffloadHeader::kNeedsChecksum);
  EXPECT_EQ(left[0].offload.gso_bytes, 1448);
  EXPECT_EQ(left[0].offload.checksum_start, 14);
  EXPECT_THAT(Texts(host_.TakeSentToNetwork("vif7.1")), ElementsAre("b"));
}

// For the standby's host, which knows nothing of this one's cards.
TEST_F(TapGuestTrafficTest, CopiesOfWhatGoesToTheGuestHaveTheirChecksums) {
  ASSERT_TRUE(traffic_->Divert(vif1_, kProtection).ok());
  host_.NetworkSends("vif7.1", Frame("ab", /*partial=*/true));
  host_.NetworkSends("vif7.1", Frame("cd"));
  host_.Deliver();
  EXPECT_THAT(Texts(host_.TakeSentToGuest("vif7.1")), ElementsAre("ab", "cd")) << "and goes on to it";
  ASSERT_EQ(input_.size(), 2u);
  EXPECT_EQ(input_[0].device_id, 1u);
  EXPECT_EQ(input_[0].contents.substr(14), std::string("\x9e\x9d"
                                                       "ab"))
      << "~0x6162";
  EXPECT_EQ(input_[1].contents, Frame("cd").contents);
  EXPECT_THAT(texts_, IsEmpty());
}

TEST_F(TapGuestTrafficTest, InputWaitsWhileItIsHeldAndReachesBothGuestsAfterwardsInOrder) {
  ASSERT_TRUE(traffic_->Divert(vif0_, kProtection).ok());
  ASSERT_TRUE(traffic_->Divert(vif1_, kProtection).ok());
  host_.NetworkSends("vif7.0", Frame("before"));
  host_.Deliver();
  traffic_->HoldInput();
  host_.NetworkSends("vif7.0", Frame("a"));
  host_.NetworkSends("vif7.1", Frame("b"));
  host_.Deliver();
  host_.NetworkSends("vif7.0", Frame("c"));
  ASSERT_TRUE(traffic_->Collect(vif0_).ok());
  EXPECT_THAT(Texts(host_.TakeSentToGuest("vif7.0")), ElementsAre("before"));
  EXPECT_THAT(Texts(host_.TakeSentToGuest("vif7.1")), IsEmpty());
  EXPECT_EQ(input_.size(), 1u);
  traffic_->ReleaseInput();
  EXPECT_THAT(Texts(host_.TakeSentToGuest("vif7.0")), ElementsAre("a", "c"));
  EXPECT_THAT(Texts(host_.TakeSentToGuest("vif7.1")), ElementsAre("b"));
  ASSERT_EQ(input_.size(), 4u);
  EXPECT_EQ(input_[3].contents, Frame("c").contents);
  host_.NetworkSends("vif7.0", Frame("after"));
  host_.Deliver();
  EXPECT_THAT(Texts(host_.TakeSentToGuest("vif7.0")), ElementsAre("after"));
}

TEST_F(TapGuestTrafficTest, HeldInputIsBoundedAndWhatIsLostIsCounted) {
  ASSERT_TRUE(traffic_->Divert(vif0_, kProtection).ok());
  traffic_->HoldInput();
  for (size_t i = 0; i < TapGuestTraffic::kHeldInputFrames + 3; ++i) {
    host_.NetworkSends("vif7.0", Frame("x"));
    host_.Deliver();
  }
  EXPECT_EQ(traffic_->statistics().input_dropped, 3u);
  traffic_->ReleaseInput();
  EXPECT_EQ(input_.size(), TapGuestTraffic::kHeldInputFrames);
  traffic_->HoldInput();
  const std::string large(1 << 20, 'x');
  for (int i = 0; i < 17; ++i) {
    host_.NetworkSends("vif7.0", Frame(large));
    host_.Deliver();
  }
  EXPECT_EQ(traffic_->statistics().input_dropped, 5u) << "16 MiB with their headers";
}

TEST_F(TapGuestTrafficTest, RestoreReleasesHeldInput) {
  ASSERT_TRUE(traffic_->Divert(vif0_, kProtection).ok());
  traffic_->HoldInput();
  host_.NetworkSends("vif7.0", Frame("a"));
  host_.Deliver();
  host_.NetworkSends("vif7.0", Frame("b"));
  ASSERT_TRUE(traffic_->Restore(vif0_, kProtection).ok());
  host_.NetworkSends("vif7.0", Frame("c"));
  EXPECT_THAT(Texts(host_.TakeSentToGuest("vif7.0")), ElementsAre("a", "b", "c"));
}

TEST_F(TapGuestTrafficTest, CollectHandsOverBothDirections) {
  ASSERT_TRUE(traffic_->Divert(vif0_, kProtection).ok());
  host_.GuestSends("vif7.0", Frame("out"));
  host_.NetworkSends("vif7.0", Frame("in"));
  EXPECT_THAT(texts_, IsEmpty());
  ASSERT_TRUE(traffic_->Collect(vif0_).ok());
  EXPECT_THAT(texts_, ElementsAre("vif7.0:out"));
  EXPECT_EQ(input_.size(), 1u);
}

TEST_F(TapGuestTrafficTest, CollectFindsOutWhatIsWrong) {
  EXPECT_EQ(traffic_->Collect(vif0_).code(), absl::StatusCode::kUnavailable) << "never diverted";
  ASSERT_TRUE(traffic_->Divert(vif0_, kProtection).ok());
  ASSERT_TRUE(traffic_->Divert(vif1_, kProtection).ok());
  host_.BreakReading("vif7.0", absl::InternalError("the TAP is gone"));
  const absl::Status broken = traffic_->Collect(vif0_);
  EXPECT_EQ(broken.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(broken.message(), "the TAP is gone");
  host_.LoseFilters("vif7.1");
  EXPECT_EQ(traffic_->Collect(vif1_).code(), absl::StatusCode::kUnavailable);
  host_.RemoveVif("vif7.1");
  EXPECT_EQ(traffic_->Collect(vif1_).code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(traffic_->Restore(vif1_, kProtection).ok());
  ASSERT_TRUE(traffic_->Restore(vif0_, kProtection).ok());
  ASSERT_TRUE(traffic_->Divert(vif0_, kProtection).ok());
  EXPECT_TRUE(traffic_->Collect(vif0_).ok()) << "a new beginning";
}

TEST_F(TapGuestTrafficTest, WhatWasNotTakenInTimeIsCounted) {
  SimulatedVifs small(/*queue_frames=*/2);
  small.AddVif("vif7.0");
  TapGuestTraffic traffic(
      &scheduler_,
      [&](VifFrames::OnFrames on_frames, VifFrames::OnError on_error) {
        return std::make_unique<SimulatedVifFrames>(&small, std::move(on_frames), std::move(on_error));
      },
      [](std::vector<TrafficFrame>) {});
  ASSERT_TRUE(traffic.Divert(vif0_, kProtection).ok());
  for (int i = 0; i < 3; ++i) small.GuestSends("vif7.0", Frame("x"));
  for (int i = 0; i < 4; ++i) small.NetworkSends("vif7.0", Frame("y"));
  ASSERT_TRUE(traffic.Collect(vif0_).ok());
  EXPECT_EQ(traffic.statistics().output_dropped, 1u);
  EXPECT_EQ(traffic.statistics().input_dropped, 2u);
  traffic.WriteOut(vif1_, GuestFrame{.contents = std::string(14, 'x')});
  EXPECT_EQ(traffic.statistics().output_unwritten, 1u);
}

TEST_F(TapGuestTrafficTest, RestoreHandsOverWhatIsThereAndLetsTheGuestAlone) {
  ASSERT_TRUE(traffic_->Divert(vif0_, kProtection).ok());
  host_.GuestSends("vif7.0", Frame("last"));
  write_out_ = true;
  ASSERT_TRUE(traffic_->Restore(vif0_, kProtection).ok());
  EXPECT_THAT(texts_, ElementsAre("vif7.0:last"));
  host_.GuestSends("vif7.0", Frame("direct"));
  EXPECT_THAT(Texts(host_.TakeSentToNetwork("vif7.0")), ElementsAre("last", "direct"));
  EXPECT_FALSE(host_.installed("vif7.0"));
  EXPECT_TRUE(traffic_->Restore(vif0_, kProtection).ok()) << "nothing is there";
}

TEST_F(TapGuestTrafficTest, ADeadAgentsGuestIsMuteUntilASuccessorOrTheEnd) {
  ASSERT_TRUE(traffic_->Divert(vif0_, kProtection).ok());
  ASSERT_TRUE(traffic_->Divert(vif1_, kProtection).ok());
  host_.GuestSends("vif7.0", Frame("lost"));
  traffic_ = NewTraffic();
  traffic_->SetObserver(this);
  host_.GuestSends("vif7.0", Frame("lost"));
  EXPECT_EQ(*traffic_->Divert(vif0_, kProtection), GuestTraffic::Diverted::kAdopted);
  host_.GuestSends("vif7.0", Frame("kept"));
  host_.Deliver();
  EXPECT_THAT(texts_, ElementsAre("vif7.0:kept"));
  EXPECT_THAT(host_.TakeSentToNetwork("vif7.0"), IsEmpty());
  ASSERT_TRUE(traffic_->Restore(vif1_, "protections/another").ok());
  EXPECT_TRUE(host_.installed("vif7.1")) << "not theirs";
  ASSERT_TRUE(traffic_->Restore(vif1_, kProtection).ok());
  EXPECT_FALSE(host_.installed("vif7.1"));
}

TEST_F(TapGuestTrafficTest, SomebodyElsesVifIsRefused) {
  std::unique_ptr<TapGuestTraffic> other = NewTraffic();
  ASSERT_TRUE(other->Divert(vif0_, "protections/q").ok());
  EXPECT_EQ(traffic_->Divert(vif0_, kProtection).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(TapGuestTrafficTest, AnEmulatedCardThatIsNotThereIsNothingToDivertAndMustNotCome) {
  const Vif emulated{"vif7.0-emu", 7, 0, true};
  EXPECT_EQ(*traffic_->Divert(emulated, kProtection), GuestTraffic::Diverted::kFresh);
  EXPECT_EQ(traffic_->DeviceName(emulated), "");
  EXPECT_TRUE(traffic_->Collect(emulated).ok());
  host_.AddVif(emulated.name);
  EXPECT_EQ(traffic_->Collect(emulated).code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(traffic_->Restore(emulated, kProtection).ok());
  EXPECT_EQ(traffic_->Divert(emulated, kProtection).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(TapGuestTrafficTest, WithoutAnObserverFramesAreDropped) {
  ASSERT_TRUE(traffic_->Divert(vif0_, kProtection).ok());
  traffic_->SetObserver(nullptr);
  host_.GuestSends("vif7.0", Frame("x"));
  host_.Deliver();
  EXPECT_THAT(texts_, IsEmpty());
  EXPECT_THAT(host_.TakeSentToNetwork("vif7.0"), IsEmpty());
}

}  // namespace
}  // namespace romulus::lockstep
