#include "secondary/traffic/tap_standby_traffic.h"

#include <memory>
#include <string>
#include <vector>

#include "common/loop/manual_scheduler.h"
#include "common/packet/checksum.h"
#include "common/packet/frame.h"
#include "common/packet/frame_builder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "netbuf/simulated_vif_frames.h"

namespace romulus {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr uint32_t kPrimaryInitial = 5000;
constexpr uint32_t kStandbyInitial = 900;

class TapStandbyTrafficTest : public ::testing::Test, protected StandbyTraffic::Observer {
 protected:
  TapStandbyTrafficTest() {
    session_.set_protection("protections/p");
    session_.mutable_domain()->set_name("web");
    session_.mutable_domain()->set_domid(3);
    session_.mutable_domain()->add_vifs();
    session_.mutable_domain()->add_vifs()->set_device_id(1);
    for (const Vif& vif : vifs_) host_.AddVif(vif.name);
  }

  absl::StatusOr<std::unique_ptr<TapStandbyTraffic>> New() {
    return TapStandbyTraffic::New(
        &scheduler_,
        [this](VifFrames::OnFrames on_frames, VifFrames::OnError on_error) {
          return std::make_unique<SimulatedVifFrames>(&host_, std::move(on_frames), std::move(on_error));
        },
        session_, 7);
  }
  std::unique_ptr<TapStandbyTraffic> Started() {
    absl::StatusOr<std::unique_ptr<TapStandbyTraffic>> traffic = New();
    EXPECT_TRUE(traffic.ok()) << traffic.status();
    (*traffic)->Start(this);
    return *std::move(traffic);
  }
  void OnOutput(std::vector<TrafficFrame> frames) override {
    for (TrafficFrame& frame : frames) output_.push_back(std::move(frame));
  }

  packet::SequenceOffset Offset() const {
    return {.connection = {.device_id = 0, .guest = guest_, .peer = peer_, .guest_port = 80, .peer_port = 4000},
            .primary_initial = kPrimaryInitial,
            .standby_initial = kStandbyInitial};
  }
  std::string FromPeer(uint32_t acknowledgement, uint8_t flags = packet::kTcpAck) const {
    return packet::TcpFrame({.source = peer_,
                             .destination = guest_,
                             .source_port = 4000,
                             .destination_port = 80,
                             .sequence = 1,
                             .acknowledgement = acknowledgement,
                             .flags = flags});
  }
  std::string FromGuest(uint32_t sequence) const {
    return packet::TcpFrame({.source = guest_,
                             .destination = peer_,
                             .source_port = 80,
                             .destination_port = 4000,
                             .sequence = sequence,
                             .acknowledgement = 1,
                             .payload = "answer"});
  }
  static GuestFrame Whole(std::string contents) { return {.offload = {}, .contents = std::move(contents)}; }
  // As a guest hands it over, its checksum still to be made.
  static GuestFrame Partial(std::string contents) {
    const packet::Frame parsed = packet::Parse(contents);
    const uint16_t sum = packet::PseudoHeaderSum(contents, parsed);
    contents[parsed.transport_at + 16] = static_cast<char>(sum >> 8);
    contents[parsed.transport_at + 17] = static_cast<char>(sum);
    const OffloadHeader offload{.flags = OffloadHeader::kNeedsChecksum,
                                .checksum_start = static_cast<uint16_t>(parsed.transport_at),
                                .checksum_offset = 16};
    return {.offload = offload, .contents = std::move(contents)};
  }
  static std::string Contents(GuestFrame frame) { return *ToContents(std::move(frame)); }

  const packet::Address guest_ = packet::ParseAddress("10.0.0.2"), peer_ = packet::ParseAddress("10.0.0.9");
  const std::vector<Vif> vifs_ = {{"vif7.0", 7, 0}, {"vif7.1", 7, 1}};
  ManualScheduler scheduler_;
  SimulatedVifs host_;
  replication::v1::OpenSession session_;
  std::vector<TrafficFrame> output_;
};

TEST_F(TapStandbyTrafficTest, IsolatesEveryVifOrNone) {
  host_.FailAdd("vif7.1", absl::FailedPreconditionError("modprobe tun"));
  EXPECT_EQ(New().status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_FALSE(host_.installed("vif7.0"));
  const std::unique_ptr<TapStandbyTraffic> traffic = Started();
  EXPECT_EQ(host_.mode("vif7.0"), VifMode::kIsolate);
  EXPECT_EQ(host_.mode("vif7.1"), VifMode::kIsolate);
}

TEST_F(TapStandbyTrafficTest, TheVifsAreThoseOfTheStandbysDomainAndMarkedAsOfItsProtection) {
  host_.AddVif("web-lan");
  session_.mutable_domain()->mutable_vifs(1)->set_name("web-lan");
  const std::unique_ptr<TapStandbyTraffic> traffic = Started();
  EXPECT_EQ(host_.owner("vif7.0"), "protections/p");
  EXPECT_EQ(host_.owner("web-lan"), "protections/p");
  EXPECT_FALSE(host_.installed("vif7.1"));
}

TEST_F(TapStandbyTrafficTest, WhatTheStandbySendsIsGivenOutWithItsChecksumsAndReachesNoNetwork) {
  const std::unique_ptr<TapStandbyTraffic> traffic = Started();
  host_.GuestSends("vif7.0", Partial(FromGuest(kStandbyInitial)));
  host_.GuestSends("vif7.1", Whole(packet::ArpRequest(guest_, peer_)));
  host_.Deliver();
  ASSERT_THAT(output_, SizeIs(2));
  EXPECT_EQ(output_[0].device_id, 0u);
  EXPECT_EQ(output_[0].contents, FromGuest(kStandbyInitial)) << "not translated: the comparison counts for itself";
  EXPECT_EQ(output_[1].device_id, 1u);
  EXPECT_THAT(host_.TakeSentToNetwork("vif7.0"), IsEmpty());
}

TEST_F(TapStandbyTrafficTest, InputIsTranslatedAndNothingElseReachesTheStandby) {
  const std::unique_ptr<TapStandbyTraffic> traffic = Started();
  traffic->AddOffset(Offset());
  traffic->Input({{0, FromPeer(kPrimaryInitial + 7)}, {1, packet::ArpRequest(peer_, guest_)}, {9, "no such vif...."}});
  host_.NetworkSends("vif7.0", Whole(FromPeer(kPrimaryInitial + 8)));
  host_.Deliver();
  std::vector<GuestFrame> got = host_.TakeSentToGuest("vif7.0");
  ASSERT_THAT(got, SizeIs(1));
  EXPECT_EQ(got[0].contents, FromPeer(kStandbyInitial + 7));
  EXPECT_THAT(host_.TakeSentToGuest("vif7.1"), SizeIs(1));
  EXPECT_EQ(traffic->unwritten(), 1u);
}

TEST_F(TapStandbyTrafficTest, ACheckpointMakesOffsetsAndOutputOfTheRunBeforeVoid) {
  const std::unique_ptr<TapStandbyTraffic> traffic = Started();
  traffic->AddOffset(Offset());
  host_.GuestSends("vif7.0", Whole(FromGuest(kStandbyInitial)));
  traffic->OnCheckpoint();
  host_.Deliver();
  EXPECT_THAT(output_, IsEmpty());
  traffic->Input({{0, FromPeer(kPrimaryInitial + 7)}});
  EXPECT_EQ(host_.TakeSentToGuest("vif7.0").at(0).contents, FromPeer(kPrimaryInitial + 7));
  host_.GuestSends("vif7.0", Whole(FromGuest(1)));
  host_.Deliver();
  EXPECT_THAT(output_, SizeIs(1)) << "that of the next run comes";
}

TEST_F(TapStandbyTrafficTest, OpenedWithoutOffsetsItStepsAsideAtOnceAndLosesNothing) {
  const std::unique_ptr<TapStandbyTraffic> traffic = Started();
  host_.GuestSends("vif7.0", Whole(FromGuest(1)));
  traffic->Open();
  EXPECT_FALSE(traffic->in_the_way());
  for (const Vif& vif : vifs_) EXPECT_FALSE(host_.installed(vif.name));
  host_.GuestSends("vif7.0", Whole(FromGuest(7)));
  host_.NetworkSends("vif7.0", Whole(FromPeer(7)));
  std::vector<GuestFrame> left = host_.TakeSentToNetwork("vif7.0");
  ASSERT_THAT(left, SizeIs(2));
  EXPECT_EQ(left[0].contents, FromGuest(1));
  EXPECT_EQ(left[1].contents, FromGuest(7));
  EXPECT_THAT(host_.TakeSentToGuest("vif7.0"), SizeIs(1));
  EXPECT_THAT(output_, IsEmpty());
  EXPECT_EQ(scheduler_.timers(), 0u);
}

TEST_F(TapStandbyTrafficTest, OpenedWithOffsetsItTranslatesUntilTheConnectionsHaveEnded) {
  const std::unique_ptr<TapStandbyTraffic> traffic = Started();
  traffic->AddOffset(Offset());
  traffic->Open();
  EXPECT_EQ(host_.mode("vif7.0"), VifMode::kTranslate);
  host_.GuestSends("vif7.0", Partial(FromGuest(kStandbyInitial + 1)));
  host_.NetworkSends("vif7.0", Partial(FromPeer(kPrimaryInitial + 7)));
  host_.NetworkSends("vif7.0", Whole(FromPeer(kPrimaryInitial + 8)));
  host_.Deliver();
  std::vector<GuestFrame> out = host_.TakeSentToNetwork("vif7.0"), in = host_.TakeSentToGuest("vif7.0");
  ASSERT_THAT(out, SizeIs(1));
  EXPECT_TRUE(out[0].checksum_partial());
  EXPECT_EQ(Contents(out[0]), FromGuest(kPrimaryInitial + 1));
  ASSERT_THAT(in, SizeIs(2));
  EXPECT_EQ(Contents(in[0]), FromPeer(kStandbyInitial + 7));
  EXPECT_EQ(in[1].contents, FromPeer(kStandbyInitial + 8));
  EXPECT_THAT(output_, IsEmpty());

  host_.NetworkSends("vif7.0", Whole(FromPeer(kPrimaryInitial + 8, packet::kTcpRst | packet::kTcpAck)));
  host_.Deliver();
  scheduler_.Pass(absl::Seconds(30));
  EXPECT_TRUE(traffic->in_the_way()) << "the remote end may still repeat itself";
  scheduler_.Pass(absl::Minutes(2));
  // Any other frame.
  host_.NetworkSends("vif7.1", Whole(packet::TcpFrame({.source = peer_, .destination = guest_})));
  host_.Deliver();
  scheduler_.Pass(TapStandbyTraffic::kLookPeriod);
  EXPECT_FALSE(traffic->in_the_way());
  EXPECT_FALSE(host_.installed("vif7.0"));
  EXPECT_EQ(scheduler_.timers(), 0u);
}

TEST_F(TapStandbyTrafficTest, AnIsolatedStandbyStaysSoWhenThisGoes) {
  Started().reset();
  EXPECT_EQ(host_.mode("vif7.0"), VifMode::kIsolate);
}

TEST_F(TapStandbyTrafficTest, AnOpenGuestIsNeverLeftMute) {
  for (const std::string end : {"destroyed", "unreadable", "unreadable before", "not translatable"}) {
    std::unique_ptr<TapStandbyTraffic> traffic = Started();
    traffic->AddOffset(Offset());
    if (end == "unreadable before") host_.BreakReading("vif7.0", absl::InternalError("gone"));
    if (end == "not translatable") host_.FailSetMode(absl::InternalError("no"));
    traffic->Open();
    if (end == "destroyed") traffic.reset();
    if (end == "unreadable") {
      host_.BreakReading("vif7.0", absl::InternalError("gone"));
      scheduler_.Pass(absl::ZeroDuration());
    }
    EXPECT_FALSE(host_.installed("vif7.0")) << end;
    EXPECT_FALSE(host_.installed("vif7.1")) << end;
    traffic.reset();
    EXPECT_EQ(scheduler_.timers(), 0u) << end;
  }
}

}  // namespace
}  // namespace romulus
