#include "primary/lockstep/lockstep_egress_buffer.h"

#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/packet/frame_builder.h"
#include "gmock/gmock.h"
#include "netbuf/egress_buffer_contract.h"
#include "primary/lockstep/simulated_guest_traffic.h"

namespace romulus::lockstep {
namespace {

using packet::EthernetFrame;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class IgnoringObserver : public LockstepEgressBuffer::Observer {
 public:
  void SendSequenceOffset(uint64_t, const packet::SequenceOffset&) override {}
  void OnDifference(const comparison::Difference&) override {}
};

const packet::Address kGuest = packet::ParseAddress("10.0.0.2");
const packet::Address kPeer = packet::ParseAddress("10.0.0.9");
const packet::Address kGuest6 = packet::ParseAddress("fd00::2");
const packet::Address kPeer6 = packet::ParseAddress("fd00::9");

std::string IdBytes(uint64_t id) { return {reinterpret_cast<const char*>(&id), sizeof(id)}; }

class LockstepHarness : public EgressBufferHarness {
 public:
  LockstepHarness() {
    for (const Vif& vif : vifs()) host_->AddVif(vif.name);
  }

  std::shared_ptr<PlugKernel> kernel() override { return nullptr; }
  bool held_outlives_owner() const override { return false; }
  std::unique_ptr<EgressBuffer> NewBufferOf(std::vector<Vif> vifs, const std::string& protection,
                                            uint32_t limit_bytes) override {
    return std::make_unique<LockstepEgressBuffer>(
        std::make_shared<SimulatedGuestTraffic>(host_), &observer_,
        LockstepEgressBuffer::Options{.protection = protection, .vifs = vifs, .limit_bytes = limit_bytes, .now = [] {
                                        return absl::ZeroDuration();
                                      }});
  }
  // The id is in the last bytes.
  void Send(int vif, uint64_t id, uint32_t bytes, FrameKind kind) override {
    GuestFrame frame{.contents = Contents(kind, bytes)};
    ASSERT_EQ(frame.contents.size(), bytes);
    frame.contents.replace(bytes - 8, 8, IdBytes(id));
    if (kind == FrameKind::kGso) frame.segment_bytes = kGsoSegmentBytes;
    host_->Enqueue(Name(vif), std::move(frame));
  }
  std::vector<uint64_t> TakeReceived(int vif) override { return std::exchange(received_[Name(vif)], {}); }
  void AddVif(int vif) override { host_->AddVif(Name(vif)); }
  void RemoveVif(int vif) override { host_->RemoveVif(Name(vif)); }
  void TakeLinkDownAndUp(int) override { FAIL() << "nothing is held by a link"; }
  std::vector<std::string> LeftBehind() override { return host_->installed(); }

 private:
  std::string Name(int vif) { return vif == kEmulated ? emulated().name : vifs()[vif].name; }

  static std::string Contents(FrameKind kind, uint32_t bytes) {
    const auto fill = [&](uint32_t headers) { return std::string(bytes - headers, '.'); };
    switch (kind) {
      case FrameKind::kExperimental:
        return EthernetFrame(0x88b5, fill(14));
      case FrameKind::kIpv4:
        return packet::UdpFrame(kGuest, 1, kPeer, 2, fill(42));
      case FrameKind::kIpv6:
        return packet::UdpFrame(kGuest6, 1, kPeer6, 2, fill(62));
      case FrameKind::kArp:
        return packet::ArpRequest(kGuest, kPeer) + fill(42);
      case FrameKind::kVlan:
        return EthernetFrame(0x8100, std::string("\0\5\x08\0", 4) + fill(18));
      case FrameKind::kDoubleVlan:
        return EthernetFrame(0x88a8, std::string("\0\5\x81\0\0\6\x08\6", 8) + fill(22));
      case FrameKind::kLlc:
        return EthernetFrame(static_cast<uint16_t>(bytes - 14), fill(14));
      case FrameKind::kLldp:
        return EthernetFrame(0x88cc, fill(14));
      case FrameKind::kGso:
        return packet::TcpFrame({.source = kGuest, .destination = kPeer, .payload = fill(54)});
    }
    return "";
  }

  IgnoringObserver observer_;
  std::map<std::string, std::vector<uint64_t>> received_;
  const std::shared_ptr<SimulatedDiversions> host_ = std::make_shared<SimulatedDiversions>(
      [] { return absl::ZeroDuration(); },
      [this](const std::string& vif, const GuestFrame& frame) {
        uint64_t id = 0;
        std::memcpy(&id, frame.contents.data() + frame.contents.size() - sizeof(id), sizeof(id));
        received_[vif].push_back(id);
      });
};

INSTANTIATE_TEST_SUITE_P(Lockstep, EgressBufferContract,
                         ::testing::Values([]() { return std::make_unique<LockstepHarness>(); }));

class LockstepEgressBufferTest : public ::testing::Test, protected LockstepEgressBuffer::Observer {
 protected:
  LockstepEgressBufferTest() {
    host_->AddVif("vif7.0");
    host_->AddVif("vif7.1");
    EXPECT_TRUE(buffer_.Attach().ok());
  }

  void SendSequenceOffset(uint64_t epoch, const packet::SequenceOffset& offset) override {
    log_.push_back(absl::StrCat("offset of epoch ", epoch, ": ", offset.primary_initial, " ", offset.standby_initial));
  }
  void OnDifference(const comparison::Difference& difference) override {
    log_.push_back(absl::StrCat("difference: ", ToString(difference.reason)));
  }

  // A checkpoint, committed, after which the standby runs along.
  void Checkpoint(uint64_t epoch) {
    ASSERT_TRUE(buffer_.OpenEpoch().ok());
    ASSERT_TRUE(buffer_.ReleaseEpoch().ok());
    buffer_.OnStandbyRunning(epoch);
  }
  static std::string Udp(const std::string& payload, uint16_t port = 1) {
    return packet::UdpFrame(kGuest, 53, kPeer, port, payload);
  }
  void Primary(const std::string& frame, const std::string& vif = "vif7.0") {
    host_->Enqueue(vif, {.contents = frame, .offload = "vnet"});
  }
  void Standby(const std::string& frame, uint64_t epoch, uint32_t device = 0) {
    buffer_.OnStandbyFrame(epoch, device, frame);
  }
  // Payloads and what the observer was told, in order.
  std::vector<std::string> Log() { return std::exchange(log_, {}); }

  absl::Duration now_ = absl::Seconds(50);
  std::vector<std::string> log_;
  const std::shared_ptr<SimulatedDiversions> host_ = std::make_shared<SimulatedDiversions>(
      [this] { return now_; },
      [this](const std::string& vif, const GuestFrame& frame) {
        EXPECT_EQ(frame.offload, "vnet") << "goes back as it came";
        const packet::Frame parsed = packet::Parse(frame.contents);
        const absl::string_view payload = packet::PayloadOf(parsed, frame.contents);
        log_.push_back(absl::StrCat(vif == "vif7.0" ? "" : "1:", parsed.tcp.has(packet::kTcpSyn) ? "SYN" : payload));
      });
  LockstepEgressBuffer buffer_{
      std::make_shared<SimulatedGuestTraffic>(host_),
      this,
      {.protection = "p", .vifs = {{"vif7.0", 7, 0}, {"vif7.1", 7, 1}}, .now = [this] { return now_; }}};
};

TEST_F(LockstepEgressBufferTest, ReleasesByComparisonWhileTheStandbyRuns) {
  Checkpoint(1);
  Primary(Udp("a"));
  EXPECT_THAT(Log(), IsEmpty());
  Standby(Udp("a"), 1);
  EXPECT_THAT(Log(), ElementsAre("a"));
  EgressBuffer::Statistics statistics;
  ASSERT_TRUE(buffer_.ReadStatistics(statistics).ok());
  EXPECT_EQ(statistics.held_packets, 0);
  EXPECT_EQ(statistics.vifs[0].sent_packets, 1);
  EXPECT_EQ(buffer_.comparison_statistics().released, 1);
}

TEST_F(LockstepEgressBufferTest, TheStandbysFramesOfAnotherEpochCountForNothing) {
  Checkpoint(1);
  Primary(Udp("a"));
  Standby(Udp("a"), 0);
  Standby(Udp("a"), 2);
  EXPECT_THAT(Log(), IsEmpty());
  Checkpoint(2);
  EXPECT_THAT(Log(), ElementsAre("a"));
  Primary(Udp("b"));
  Standby(Udp("b"), 1);
  EXPECT_THAT(Log(), IsEmpty());
}

TEST_F(LockstepEgressBufferTest, NothingLeavesByComparisonFromTheStoppingToTheNextRunning) {
  Checkpoint(1);
  Primary(Udp("a"));
  buffer_.OnStandbyStopping();
  Standby(Udp("a"), 1);
  EXPECT_THAT(Log(), IsEmpty());
  ASSERT_TRUE(buffer_.OpenEpoch().ok());
  Primary(Udp("b", 2));
  Standby(Udp("b", 2), 1);
  EXPECT_THAT(Log(), IsEmpty());
  // Not even if it were said to run before the commit.
  buffer_.OnStandbyRunning(2);
  Standby(Udp("b", 2), 2);
  EXPECT_THAT(Log(), IsEmpty());
  ASSERT_TRUE(buffer_.ReleaseEpoch().ok());
  EXPECT_THAT(Log(), ElementsAre("a"));
  buffer_.OnStandbyRunning(2);
  Standby(Udp("b", 2), 2);
  EXPECT_THAT(Log(), ElementsAre("b"));
}

TEST_F(LockstepEgressBufferTest, OpenEpochStopsTheComparisonItself) {
  Checkpoint(1);
  Primary(Udp("a"));
  ASSERT_TRUE(buffer_.OpenEpoch().ok());
  Standby(Udp("a"), 1);
  EXPECT_THAT(Log(), IsEmpty());
  ASSERT_TRUE(buffer_.ReleaseEpoch().ok());
  EXPECT_THAT(Log(), ElementsAre("a"));
}

TEST_F(LockstepEgressBufferTest, NorIsWhatWasUnderWayAtTheSuspendReleasedByIt) {
  Checkpoint(1);
  Standby(Udp("a"), 1);
  host_->SetLag(true);
  Primary(Udp("a"));
  ASSERT_TRUE(buffer_.OpenEpoch().ok());
  EXPECT_THAT(Log(), IsEmpty());
  ASSERT_TRUE(buffer_.ReleaseEpoch().ok());
  EXPECT_THAT(Log(), ElementsAre("a"));
}

TEST_F(LockstepEgressBufferTest, OnlyOtherFlowsAreOvertaken) {
  Checkpoint(1);
  Primary(Udp("a1", 1));
  Primary(Udp("b1", 2));
  Primary(Udp("a2", 1));
  Primary(Udp("c1", 3), "vif7.1");
  Standby(Udp("c1", 3), 1, 1);
  Standby(Udp("b1", 2), 1);
  EXPECT_THAT(Log(), ElementsAre("1:c1", "b1"));
  Standby(Udp("a1", 1), 1);
  Standby(Udp("a2", 1), 1);
  EXPECT_THAT(Log(), ElementsAre("a1", "a2"));
}

TEST_F(LockstepEgressBufferTest, WhatDiffersLeavesWithTheCommitInTheGuestsOrder) {
  Checkpoint(1);
  Primary(Udp("a1", 1));
  Primary(Udp("b1", 2));
  Primary(Udp("a2", 1));
  Standby(Udp("aX", 1), 1);
  Standby(Udp("b1", 2), 1);
  EXPECT_THAT(Log(), ElementsAre("difference: packet", "b1"));
  ASSERT_TRUE(buffer_.OpenEpoch().ok());
  Primary(Udp("a3", 1));
  EXPECT_THAT(Log(), IsEmpty());
  ASSERT_TRUE(buffer_.ReleaseEpoch().ok());
  EXPECT_THAT(Log(), ElementsAre("a1", "a2"));
  buffer_.OnStandbyRunning(2);
  Standby(Udp("a3", 1), 2);
  EXPECT_THAT(Log(), ElementsAre("a3"));
}

TEST_F(LockstepEgressBufferTest, TheOffsetIsSentBeforeTheSynLeaves) {
  Checkpoint(6);
  packet::TcpSegment syn{.source = kGuest,
                         .destination = kPeer,
                         .source_port = 80,
                         .destination_port = 999,
                         .sequence = 100,
                         .acknowledgement = 5,
                         .flags = packet::kTcpSyn | packet::kTcpAck};
  Primary(packet::TcpFrame(syn));
  syn.sequence = 7000;
  Standby(packet::TcpFrame(syn), 6);
  EXPECT_THAT(Log(), ElementsAre("offset of epoch 6: 100 7000", "SYN"));
}

TEST_F(LockstepEgressBufferTest, OutputOfOneGuestAloneIsFoundInTime) {
  Checkpoint(1);
  EXPECT_FALSE(buffer_.NextDeadline().has_value());
  Primary(Udp("a"));
  ASSERT_TRUE(buffer_.NextDeadline().has_value());
  now_ = *buffer_.NextDeadline();
  buffer_.OnTime();
  EXPECT_THAT(Log(), ElementsAre("difference: primary_only"));
}

TEST_F(LockstepEgressBufferTest, KnowsHowLongEachFrameWasHeld) {
  Primary(Udp("not held"));
  Checkpoint(1);
  Primary(Udp("a"));
  now_ += absl::Milliseconds(3);
  Standby(Udp("a"), 1);
  Primary(Udp("b"));
  now_ += absl::Milliseconds(100);
  Checkpoint(2);
  EgressBuffer::Statistics statistics;
  ASSERT_TRUE(buffer_.ReadStatistics(statistics).ok());
  ASSERT_TRUE(statistics.vifs[0].time_held.has_value());
  EXPECT_EQ(statistics.vifs[0].time_held->p50, absl::Milliseconds(3)) << "by comparison";
  EXPECT_EQ(statistics.vifs[0].time_held->max, absl::Milliseconds(100)) << "by commit";
  EXPECT_EQ(statistics.vifs[1].time_held->max, absl::ZeroDuration());
}

TEST_F(LockstepEgressBufferTest, FramesThatAreUnderWayAtTheSuspendAreOfTheEpochThatEnds) {
  Checkpoint(1);
  host_->SetLag(true);
  Primary(Udp("a"));
  ASSERT_TRUE(buffer_.OpenEpoch().ok());
  Primary(Udp("b"));
  ASSERT_TRUE(buffer_.ReleaseEpoch().ok());
  EXPECT_THAT(Log(), ElementsAre("a"));
  host_->Deliver();
  EXPECT_THAT(Log(), IsEmpty());
}

TEST_F(LockstepEgressBufferTest, DetachAfterPassThroughLosesNothingThatIsUnderWay) {
  Checkpoint(1);
  Primary(Udp("a"));
  ASSERT_TRUE(buffer_.PassThrough().ok());
  host_->SetLag(true);
  Primary(Udp("b"));
  ASSERT_TRUE(buffer_.Detach().ok());
  Primary(Udp("c"));
  EXPECT_THAT(Log(), ElementsAre("a", "b", "c"));
}

TEST_F(LockstepEgressBufferTest, NothingIsComparedAfterPassThroughOrDiscard) {
  Checkpoint(1);
  Primary(Udp("a"));
  ASSERT_TRUE(buffer_.Discard().ok());
  Primary(Udp("b"));
  Standby(Udp("a"), 1);
  Standby(Udp("b"), 1);
  EXPECT_THAT(Log(), IsEmpty());
  ASSERT_TRUE(buffer_.PassThrough().ok());
  EXPECT_THAT(Log(), ElementsAre("b"));
  Checkpoint(2);
  Primary(Udp("c"));
  Standby(Udp("c"), 2);
  EXPECT_THAT(Log(), ElementsAre("c"));
}

TEST_F(LockstepEgressBufferTest, AFrameThatIsDroppedIsNeitherComparedNorReleased) {
  LockstepEgressBuffer::Options options{
      .protection = "q", .vifs = {{"vif8.0", 8, 0}}, .limit_bytes = 100, .now = [this] { return now_; }};
  host_->AddVif("vif8.0");
  LockstepEgressBuffer small(std::make_shared<SimulatedGuestTraffic>(host_), this, options);
  ASSERT_TRUE(small.Attach().ok());
  ASSERT_TRUE(small.OpenEpoch().ok());
  ASSERT_TRUE(small.ReleaseEpoch().ok());
  small.OnStandbyRunning(1);
  Primary(Udp("first, with some bytes"), "vif8.0");
  Primary(Udp("dropped, with more of them"), "vif8.0");
  small.OnStandbyFrame(1, 0, Udp("first, with some bytes"));
  small.OnStandbyFrame(1, 0, Udp("dropped, with more of them"));
  EXPECT_THAT(Log(), ElementsAre("1:first, with some bytes"));
  EgressBuffer::Statistics statistics;
  ASSERT_TRUE(small.ReadStatistics(statistics).ok());
  EXPECT_EQ(statistics.dropped_packets, 1);
}

}  // namespace
}  // namespace romulus::lockstep
