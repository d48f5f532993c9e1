#include "netbuf/egress_buffer_contract.h"

#include <set>
#include <string>

#include "absl/status/status.h"
#include "gmock/gmock.h"

namespace romulus {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr uint32_t kFrameBytes = 100;

#define ASSERT_OK(expression)               \
  do {                                      \
    const absl::Status status = expression; \
    ASSERT_TRUE(status.ok()) << status;     \
  } while (false)

std::unique_ptr<EgressBuffer> EgressBufferContract::Attached(uint32_t limit_bytes) {
  std::unique_ptr<EgressBuffer> buffer = harness_->NewBuffer("contract", limit_bytes);
  const absl::Status status = buffer->Attach();
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_FALSE(buffer->adopted());
  return buffer;
}

void EgressBufferContract::Send(std::vector<uint64_t> ids, int vif) {
  for (const uint64_t id : ids) harness_->Send(vif, id, kFrameBytes);
}

TEST_P(EgressBufferContract, PassesThroughBeforeTheFirstEpoch) {
  Send({1});
  std::unique_ptr<EgressBuffer> buffer = Attached();
  Send({2, 3});
  EXPECT_THAT(harness_->TakeReceived(0), ElementsAre(1, 2, 3));
  ASSERT_OK(buffer->Detach());
}

TEST_P(EgressBufferContract, ReleasesAnEpochWholeInOrderAndNoMore) {
  std::unique_ptr<EgressBuffer> buffer = Attached();
  ASSERT_OK(buffer->OpenEpoch());
  Send({1, 2, 3});
  ASSERT_OK(buffer->ReleaseEpoch());
  EXPECT_THAT(harness_->TakeReceived(0), IsEmpty()) << "what OpenEpoch ended was passing: nothing was held";
  ASSERT_OK(buffer->OpenEpoch());
  Send({4, 5});
  EXPECT_THAT(harness_->TakeReceived(0), IsEmpty());
  ASSERT_OK(buffer->ReleaseEpoch());
  EXPECT_THAT(harness_->TakeReceived(0), ElementsAre(1, 2, 3));
  Send({6});
  ASSERT_OK(buffer->OpenEpoch());
  EXPECT_THAT(harness_->TakeReceived(0), IsEmpty());
  ASSERT_OK(buffer->ReleaseEpoch());
  EXPECT_THAT(harness_->TakeReceived(0), ElementsAre(4, 5, 6));
  ASSERT_OK(buffer->Detach());
}

TEST_P(EgressBufferContract, AnEpochWithoutPacketsReleasesNothing) {
  std::unique_ptr<EgressBuffer> buffer = Attached();
  for (int epoch = 0; epoch < 3; ++epoch) {
    ASSERT_OK(buffer->OpenEpoch());
    ASSERT_OK(buffer->ReleaseEpoch());
  }
  Send({1});
  EXPECT_THAT(harness_->TakeReceived(0), IsEmpty());
  ASSERT_OK(buffer->Detach());
}

TEST_P(EgressBufferContract, AllVifsAreOneBuffer) {
  std::unique_ptr<EgressBuffer> buffer = Attached();
  ASSERT_OK(buffer->OpenEpoch());
  ASSERT_OK(buffer->ReleaseEpoch());
  Send({1}, 0);
  Send({2}, 1);
  ASSERT_OK(buffer->OpenEpoch());
  Send({3}, 0);
  Send({4}, 1);
  ASSERT_OK(buffer->ReleaseEpoch());
  EXPECT_THAT(harness_->TakeReceived(0), ElementsAre(1));
  EXPECT_THAT(harness_->TakeReceived(1), ElementsAre(2));
  EgressBuffer::Statistics statistics;
  ASSERT_OK(buffer->ReadStatistics(statistics));
  EXPECT_EQ(statistics.held_packets, 2);
  EXPECT_EQ(statistics.held_bytes, 2 * kFrameBytes);
  EXPECT_THAT(buffer->devices(), SizeIs(2));
  ASSERT_OK(buffer->Detach());
}

TEST_P(EgressBufferContract, StatisticsTellPerVifWhatIsHeldAndWhatHasLeft) {
  std::unique_ptr<EgressBuffer> buffer = Attached();
  ASSERT_OK(buffer->OpenEpoch());
  ASSERT_OK(buffer->ReleaseEpoch());
  Send({1, 2, 3});
  Send({4}, 1);
  ASSERT_OK(buffer->OpenEpoch());
  EgressBuffer::Statistics statistics;
  ASSERT_OK(buffer->ReadStatistics(statistics));
  ASSERT_THAT(statistics.vifs, SizeIs(2));
  for (int vif = 0; vif < 2; ++vif) {
    EXPECT_EQ(statistics.vifs[vif].vif, harness_->vifs()[vif].name);
    EXPECT_EQ(statistics.vifs[vif].device, buffer->devices()[vif]);
    EXPECT_EQ(statistics.vifs[vif].limit_bytes, kLimit);
    EXPECT_EQ(statistics.vifs[vif].epochs, 2);
  }
  EXPECT_EQ(statistics.vifs[0].held_packets, 3);
  EXPECT_EQ(statistics.vifs[1].held_packets, 1);
  EXPECT_EQ(statistics.vifs[1].held_bytes, kFrameBytes);
  EXPECT_EQ(statistics.vifs[0].sent_packets, 0);
  Send({5});
  ASSERT_OK(buffer->ReleaseEpoch());
  EXPECT_THAT(harness_->TakeReceived(0), ElementsAre(1, 2, 3));
  ASSERT_OK(buffer->ReadStatistics(statistics));
  EXPECT_EQ(statistics.vifs[0].held_packets, 1);
  EXPECT_EQ(statistics.vifs[0].sent_packets, 3);
  EXPECT_EQ(statistics.vifs[0].sent_bytes, 3 * kFrameBytes);
  EXPECT_EQ(statistics.vifs[1].sent_packets, 1);
  ASSERT_OK(buffer->Detach());
}

TEST_P(EgressBufferContract, CountersOutliveThePlugThatCounted) {
  std::unique_ptr<EgressBuffer> buffer = Attached(3 * kFrameBytes);
  ASSERT_OK(buffer->OpenEpoch());
  Send({1, 2, 3, 4, 5});
  ASSERT_OK(buffer->ReleaseEpoch());
  ASSERT_OK(buffer->OpenEpoch());
  ASSERT_OK(buffer->ReleaseEpoch());
  EXPECT_THAT(harness_->TakeReceived(0), ElementsAre(1, 2, 3));
  Send({6, 7, 8, 9});
  ASSERT_OK(buffer->Discard());
  EgressBuffer::Statistics statistics;
  ASSERT_OK(buffer->ReadStatistics(statistics));
  EXPECT_EQ(statistics.dropped_packets, 3) << "by the kernel; three more were discarded";
  EXPECT_EQ(statistics.vifs[0].sent_packets, 3);
  EXPECT_EQ(statistics.held_packets, 0);
  Send({10, 11, 12, 13});
  ASSERT_OK(buffer->ReadStatistics(statistics));
  EXPECT_EQ(statistics.dropped_packets, 4);
  ASSERT_OK(buffer->Detach());
  ASSERT_OK(buffer->ReadStatistics(statistics));
  EXPECT_EQ(statistics.dropped_packets, 4);
  EXPECT_EQ(statistics.held_packets, 0);
  ASSERT_OK(buffer->Attach());
  ASSERT_OK(buffer->ReadStatistics(statistics));
  EXPECT_EQ(statistics.dropped_packets, 4);
  EXPECT_EQ(statistics.vifs[0].sent_packets, 3);
  ASSERT_OK(buffer->Detach());
}

TEST_P(EgressBufferContract, ASecondOpenEpochWithoutReleaseIsABrokenInvariant) {
  std::unique_ptr<EgressBuffer> buffer = Attached();
  ASSERT_OK(buffer->OpenEpoch());
  EXPECT_DEATH(buffer->OpenEpoch().IgnoreError(), "unreleased");
  ASSERT_OK(buffer->Detach());
}

TEST_P(EgressBufferContract, RefusesToReleaseWhatWasNotEnded) {
  std::unique_ptr<EgressBuffer> buffer = harness_->NewBuffer("contract", kLimit);
  EXPECT_EQ(buffer->ReleaseEpoch().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(buffer->OpenEpoch().code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_OK(buffer->Attach());
  EXPECT_EQ(buffer->ReleaseEpoch().code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_OK(buffer->OpenEpoch());
  ASSERT_OK(buffer->ReleaseEpoch());
  EXPECT_EQ(buffer->ReleaseEpoch().code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_OK(buffer->Detach());
}

TEST_P(EgressBufferContract, PastItsLimitItDropsAndCounts) {
  std::unique_ptr<EgressBuffer> buffer = Attached(3 * kFrameBytes);
  ASSERT_OK(buffer->OpenEpoch());
  ASSERT_OK(buffer->ReleaseEpoch());
  Send({1, 2, 3, 4, 5});
  EgressBuffer::Statistics statistics;
  ASSERT_OK(buffer->ReadStatistics(statistics));
  EXPECT_EQ(statistics.held_packets, 3);
  EXPECT_EQ(statistics.held_bytes, 3 * kFrameBytes);
  EXPECT_EQ(statistics.dropped_packets, 2);
  ASSERT_OK(buffer->OpenEpoch());
  ASSERT_OK(buffer->ReleaseEpoch());
  EXPECT_THAT(harness_->TakeReceived(0), ElementsAre(1, 2, 3));
  ASSERT_OK(buffer->Detach());
}

TEST_P(EgressBufferContract, HoldsFramesOfEveryKind) {
  std::unique_ptr<EgressBuffer> buffer = Attached();
  const auto send_all = [this] {
    std::vector<uint64_t> ids;
    for (const FrameKind kind : kEveryFrameKind) {
      ids.push_back(ids.size());
      harness_->Send(0, ids.back(), kind == FrameKind::kGso ? 40'000 : kFrameBytes, kind);
    }
    return ids;
  };
  const std::vector<uint64_t> all = send_all();
  EXPECT_EQ(harness_->TakeReceived(0), all) << "pass-through";
  ASSERT_OK(buffer->OpenEpoch());
  ASSERT_OK(buffer->ReleaseEpoch());
  send_all();
  EXPECT_THAT(harness_->TakeReceived(0), IsEmpty());
  EgressBuffer::Statistics statistics;
  ASSERT_OK(buffer->ReadStatistics(statistics));
  EXPECT_EQ(statistics.held_packets, all.size());
  ASSERT_OK(buffer->OpenEpoch());
  ASSERT_OK(buffer->ReleaseEpoch());
  EXPECT_EQ(harness_->TakeReceived(0), all);
  ASSERT_OK(buffer->Detach());
}

TEST_P(EgressBufferContract, HoldsJumboFrames) {
  std::unique_ptr<EgressBuffer> buffer = Attached();
  ASSERT_OK(buffer->OpenEpoch());
  harness_->Send(0, 1, 9014);
  EXPECT_THAT(harness_->TakeReceived(0), IsEmpty());
  ASSERT_OK(buffer->ReleaseEpoch());
  ASSERT_OK(buffer->OpenEpoch());
  ASSERT_OK(buffer->ReleaseEpoch());
  EXPECT_THAT(harness_->TakeReceived(0), ElementsAre(1));
  ASSERT_OK(buffer->Detach());
}

// The kernel counts what a GSO packet will be on the wire, and compares with the limit what it is now.
TEST_P(EgressBufferContract, AGsoPacketIsHeldAsOneAndCountedWithTheHeadersOfItsSegments) {
  constexpr uint32_t kBytes = 40'000;
  constexpr uint32_t kSegments = (kBytes - kGsoHeaderBytes + kGsoSegmentBytes - 1) / kGsoSegmentBytes;
  constexpr uint32_t kWireBytes = kBytes + (kSegments - 1) * kGsoHeaderBytes;
  std::unique_ptr<EgressBuffer> buffer = Attached(kWireBytes + kBytes);
  ASSERT_OK(buffer->OpenEpoch());
  harness_->Send(0, 1, kBytes, FrameKind::kGso);
  harness_->Send(0, 2, kBytes, FrameKind::kGso);
  harness_->Send(0, 3, 64, FrameKind::kIpv4);
  EgressBuffer::Statistics statistics;
  ASSERT_OK(buffer->ReadStatistics(statistics));
  EXPECT_EQ(statistics.held_packets, 2);
  EXPECT_EQ(statistics.held_bytes, 2 * kWireBytes);
  EXPECT_EQ(statistics.dropped_packets, 1);
  ASSERT_OK(buffer->ReleaseEpoch());
  ASSERT_OK(buffer->OpenEpoch());
  ASSERT_OK(buffer->ReleaseEpoch());
  EXPECT_THAT(harness_->TakeReceived(0), ElementsAre(1, 2));
  ASSERT_OK(buffer->ReadStatistics(statistics));
  EXPECT_EQ(statistics.vifs[0].sent_packets, 0) << "how many they are, nobody has counted yet (SKB_GSO_DODGY)";
  EXPECT_EQ(statistics.vifs[0].sent_bytes, 2 * kWireBytes);
  ASSERT_OK(buffer->Detach());
}

// Of an HVM guest: the device model's tap and the vif are one card, and one buffer.
TEST_P(EgressBufferContract, AnEmulatedCardIsHeldWithItsVif) {
  if (!harness_->takes_emulated_cards()) GTEST_SKIP() << "refused";
  harness_->AddVif(EgressBufferHarness::kEmulated);
  std::unique_ptr<EgressBuffer> buffer =
      harness_->NewBufferOf({harness_->vifs()[0], harness_->emulated()}, "contract", kLimit);
  ASSERT_OK(buffer->Attach());
  ASSERT_OK(buffer->OpenEpoch());
  Send({1}, 0);
  Send({2}, EgressBufferHarness::kEmulated);
  EXPECT_THAT(harness_->TakeReceived(0), IsEmpty());
  EXPECT_THAT(harness_->TakeReceived(EgressBufferHarness::kEmulated), IsEmpty());
  EXPECT_EQ(std::set<std::string>({buffer->devices()[0], buffer->devices()[1]}).size(), 2);
  ASSERT_OK(buffer->ReleaseEpoch());
  ASSERT_OK(buffer->OpenEpoch());
  ASSERT_OK(buffer->ReleaseEpoch());
  EXPECT_THAT(harness_->TakeReceived(0), ElementsAre(1));
  EXPECT_THAT(harness_->TakeReceived(EgressBufferHarness::kEmulated), ElementsAre(2));
  ASSERT_OK(buffer->PassThrough());
  ASSERT_OK(buffer->Detach());
  harness_->RemoveVif(EgressBufferHarness::kEmulated);
  EXPECT_THAT(harness_->LeftBehind(), IsEmpty());
}

TEST_P(EgressBufferContract, AnEmulatedCardThatTheGuestUnpluggedIsNothingToBuffer) {
  const Vif vif = harness_->vifs()[0];
  std::unique_ptr<EgressBuffer> buffer = harness_->NewBufferOf({vif, harness_->emulated()}, "contract", kLimit);
  ASSERT_OK(buffer->Attach());
  EXPECT_FALSE(buffer->adopted());
  ASSERT_OK(buffer->OpenEpoch());
  Send({1});
  ASSERT_OK(buffer->ReleaseEpoch());
  ASSERT_OK(buffer->OpenEpoch());
  ASSERT_OK(buffer->ReleaseEpoch());
  EXPECT_THAT(harness_->TakeReceived(0), ElementsAre(1));
  ASSERT_OK(buffer->Discard());
  ASSERT_OK(buffer->PassThrough());
  ASSERT_OK(buffer->Detach());
  EXPECT_THAT(harness_->LeftBehind(), IsEmpty());
}

TEST_P(EgressBufferContract, AnEmulatedCardMayGoWhileItIsBuffered) {
  if (!harness_->takes_emulated_cards()) GTEST_SKIP() << "refused";
  harness_->AddVif(EgressBufferHarness::kEmulated);
  std::unique_ptr<EgressBuffer> buffer =
      harness_->NewBufferOf({harness_->vifs()[0], harness_->emulated()}, "contract", kLimit);
  ASSERT_OK(buffer->Attach());
  ASSERT_OK(buffer->OpenEpoch());
  Send({1}, EgressBufferHarness::kEmulated);
  harness_->RemoveVif(EgressBufferHarness::kEmulated);
  Send({2});
  ASSERT_OK(buffer->ReleaseEpoch());
  ASSERT_OK(buffer->OpenEpoch());
  ASSERT_OK(buffer->ReleaseEpoch());
  EXPECT_THAT(harness_->TakeReceived(0), ElementsAre(2));
  ASSERT_OK(buffer->PassThrough());
  ASSERT_OK(buffer->Detach());
  EXPECT_THAT(harness_->LeftBehind(), IsEmpty());
}

// It would leave unbuffered.
TEST_P(EgressBufferContract, AnEmulatedCardThatComesLaterEndsBufferingWithoutARelease) {
  std::unique_ptr<EgressBuffer> buffer =
      harness_->NewBufferOf({harness_->vifs()[0], harness_->emulated()}, "contract", kLimit);
  ASSERT_OK(buffer->Attach());
  ASSERT_OK(buffer->OpenEpoch());
  Send({1});
  ASSERT_OK(buffer->ReleaseEpoch());
  harness_->AddVif(EgressBufferHarness::kEmulated);
  EXPECT_EQ(buffer->OpenEpoch().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(buffer->ReleaseEpoch().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(harness_->TakeReceived(0), IsEmpty());
  ASSERT_OK(buffer->Detach());
  harness_->RemoveVif(EgressBufferHarness::kEmulated);
  EXPECT_THAT(harness_->LeftBehind(), IsEmpty());
}

TEST_P(EgressBufferContract, PassThroughLetsAllOutInOrderAndAnEpochStartsAnew) {
  std::unique_ptr<EgressBuffer> buffer = Attached();
  ASSERT_OK(buffer->OpenEpoch());
  Send({1});
  ASSERT_OK(buffer->ReleaseEpoch());
  ASSERT_OK(buffer->OpenEpoch());
  Send({2});
  ASSERT_OK(buffer->PassThrough());
  Send({3});
  EXPECT_THAT(harness_->TakeReceived(0), ElementsAre(1, 2, 3));
  ASSERT_OK(buffer->OpenEpoch());
  Send({4});
  ASSERT_OK(buffer->ReleaseEpoch());
  EXPECT_THAT(harness_->TakeReceived(0), IsEmpty());
  ASSERT_OK(buffer->OpenEpoch());
  ASSERT_OK(buffer->ReleaseEpoch());
  EXPECT_THAT(harness_->TakeReceived(0), ElementsAre(4));
  ASSERT_OK(buffer->Detach());
}

TEST_P(EgressBufferContract, DiscardDropsWhatIsHeldAndHoldsWhatComes) {
  std::unique_ptr<EgressBuffer> buffer = Attached();
  ASSERT_OK(buffer->OpenEpoch());
  Send({1});
  ASSERT_OK(buffer->ReleaseEpoch());
  ASSERT_OK(buffer->OpenEpoch());
  Send({2, 3});
  ASSERT_OK(buffer->Discard());
  Send({4});
  EXPECT_THAT(harness_->TakeReceived(0), IsEmpty());
  EgressBuffer::Statistics statistics;
  ASSERT_OK(buffer->ReadStatistics(statistics));
  EXPECT_EQ(statistics.held_packets, 1);
  ASSERT_OK(buffer->OpenEpoch());
  Send({5});
  ASSERT_OK(buffer->ReleaseEpoch());
  EXPECT_THAT(harness_->TakeReceived(0), ElementsAre(4));
  ASSERT_OK(buffer->Detach());
}

TEST_P(EgressBufferContract, DiscardWhilePassingThroughHolds) {
  std::unique_ptr<EgressBuffer> buffer = Attached();
  ASSERT_OK(buffer->Discard());
  Send({1});
  EXPECT_THAT(harness_->TakeReceived(0), IsEmpty());
  ASSERT_OK(buffer->Detach());
}

TEST_P(EgressBufferContract, DetachAfterPassThroughLosesNothingAndLeavesNothing) {
  std::unique_ptr<EgressBuffer> buffer = Attached();
  ASSERT_OK(buffer->OpenEpoch());
  // More than the kernel sends before it returns from PassThrough.
  constexpr uint64_t kPackets = 10000;
  for (uint64_t id = 1; id <= kPackets; ++id) Send({id});
  ASSERT_OK(buffer->PassThrough());
  ASSERT_OK(buffer->Detach());
  Send({kPackets + 1});
  std::vector<uint64_t> all;
  for (uint64_t id = 1; id <= kPackets + 1; ++id) all.push_back(id);
  EXPECT_EQ(harness_->TakeReceived(0), all);
  EXPECT_THAT(harness_->LeftBehind(), IsEmpty());
  ASSERT_OK(buffer->Detach());
  ASSERT_OK(buffer->Attach());
  ASSERT_OK(buffer->Detach());
  EXPECT_THAT(harness_->LeftBehind(), IsEmpty());
}

TEST_P(EgressBufferContract, DetachDropsWhatIsHeld) {
  std::unique_ptr<EgressBuffer> buffer = Attached();
  ASSERT_OK(buffer->OpenEpoch());
  Send({1});
  ASSERT_OK(buffer->Detach());
  Send({2});
  EXPECT_THAT(harness_->TakeReceived(0), ElementsAre(2));
  EXPECT_THAT(harness_->LeftBehind(), IsEmpty());
}

TEST_P(EgressBufferContract, ASecondDetachTouchesNothingThatHasComeSince) {
  std::unique_ptr<EgressBuffer> buffer = Attached();
  ASSERT_OK(buffer->Detach());
  std::unique_ptr<EgressBuffer> next = harness_->NewBuffer("next", kLimit);
  ASSERT_OK(next->Attach());
  ASSERT_OK(next->OpenEpoch());
  Send({1});
  ASSERT_OK(buffer->Detach());
  ASSERT_OK(buffer->Detach());
  EXPECT_THAT(harness_->TakeReceived(0), IsEmpty());
  ASSERT_OK(next->ReleaseEpoch());
  ASSERT_OK(next->OpenEpoch());
  ASSERT_OK(next->ReleaseEpoch());
  EXPECT_THAT(harness_->TakeReceived(0), ElementsAre(1));
  ASSERT_OK(next->Detach());
  EXPECT_THAT(harness_->LeftBehind(), IsEmpty());
}

TEST_P(EgressBufferContract, DetachAfterAllVifsWentLeavesNothing) {
  std::unique_ptr<EgressBuffer> buffer = Attached();
  ASSERT_OK(buffer->OpenEpoch());
  Send({1});
  harness_->RemoveVif(0);
  harness_->RemoveVif(1);
  buffer.reset();
  ASSERT_OK(harness_->NewBuffer("contract", kLimit)->Detach());
  EXPECT_THAT(harness_->LeftBehind(), IsEmpty());
}

TEST_P(EgressBufferContract, DetachAfterAVifWentLeavesNothing) {
  std::unique_ptr<EgressBuffer> buffer = Attached();
  ASSERT_OK(buffer->OpenEpoch());
  Send({1});
  harness_->RemoveVif(0);
  ASSERT_OK(buffer->Detach());
  EXPECT_THAT(harness_->LeftBehind(), IsEmpty());
}

TEST_P(EgressBufferContract, DetachAfterPassThroughOfAVifThatWentLeavesNothing) {
  std::unique_ptr<EgressBuffer> buffer = Attached();
  ASSERT_OK(buffer->OpenEpoch());
  Send({1});
  harness_->RemoveVif(0);
  ASSERT_OK(buffer->PassThrough());
  ASSERT_OK(buffer->Detach());
  EXPECT_THAT(harness_->LeftBehind(), IsEmpty());
}

TEST_P(EgressBufferContract, AVifThatWentEndsBufferingWithoutARelease) {
  std::unique_ptr<EgressBuffer> buffer = Attached();
  ASSERT_OK(buffer->OpenEpoch());
  ASSERT_OK(buffer->ReleaseEpoch());
  Send({1}, 1);
  harness_->RemoveVif(0);
  EXPECT_EQ(buffer->OpenEpoch().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(buffer->ReleaseEpoch().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(buffer->OpenEpoch().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(harness_->TakeReceived(1), IsEmpty());
  ASSERT_OK(buffer->PassThrough());
  EXPECT_THAT(harness_->TakeReceived(1), ElementsAre(1));
  ASSERT_OK(buffer->Detach());
}

TEST_P(EgressBufferContract, AttachThatFailsLeavesTheOtherVifsAsTheyWere) {
  harness_->RemoveVif(1);
  std::unique_ptr<EgressBuffer> buffer = harness_->NewBuffer("contract", kLimit);
  EXPECT_EQ(buffer->Attach().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(harness_->LeftBehind(), IsEmpty());
  Send({1});
  EXPECT_THAT(harness_->TakeReceived(0), ElementsAre(1));
  ASSERT_OK(buffer->Detach());
}

TEST_P(EgressBufferContract, DetachWithoutAttachIsFine) {
  ASSERT_OK(harness_->NewBuffer("contract", kLimit)->Detach());
  EXPECT_THAT(harness_->LeftBehind(), IsEmpty());
}

TEST_P(EgressBufferContract, ASuccessorAdoptsWhatADeadOwnerHeldAndReleasesNothing) {
  std::unique_ptr<EgressBuffer> buffer = Attached();
  ASSERT_OK(buffer->OpenEpoch());
  Send({1});
  ASSERT_OK(buffer->ReleaseEpoch());
  ASSERT_OK(buffer->OpenEpoch());
  Send({2});
  buffer.reset();

  std::unique_ptr<EgressBuffer> successor = harness_->NewBuffer("contract", kLimit);
  ASSERT_OK(successor->Attach());
  EXPECT_TRUE(successor->adopted());
  Send({3});
  EXPECT_EQ(successor->OpenEpoch().code(), absl::StatusCode::kFailedPrecondition) << "its counters are unknown";
  EXPECT_EQ(successor->ReleaseEpoch().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(harness_->TakeReceived(0), IsEmpty());
  ASSERT_OK(successor->PassThrough());
  if (harness_->held_outlives_owner()) {
    EXPECT_THAT(harness_->TakeReceived(0), ElementsAre(1, 2, 3));
  } else {
    EXPECT_THAT(harness_->TakeReceived(0), ElementsAre(3));
  }
  ASSERT_OK(successor->OpenEpoch());
  Send({4});
  ASSERT_OK(successor->ReleaseEpoch());
  EXPECT_THAT(harness_->TakeReceived(0), IsEmpty());
  ASSERT_OK(successor->Detach());
  EXPECT_THAT(harness_->LeftBehind(), IsEmpty());
}

TEST_P(EgressBufferContract, ASuccessorsLimitHolds) {
  std::unique_ptr<EgressBuffer> buffer = Attached();
  ASSERT_OK(buffer->OpenEpoch());
  Send({1});
  buffer.reset();
  std::unique_ptr<EgressBuffer> successor = harness_->NewBuffer("contract", 3 * kFrameBytes);
  ASSERT_OK(successor->Attach());
  if (!harness_->held_outlives_owner()) Send({1});
  Send({2, 3, 4});
  EgressBuffer::Statistics statistics;
  ASSERT_OK(successor->ReadStatistics(statistics));
  EXPECT_EQ(statistics.vifs[0].held_packets, 3);
  EXPECT_EQ(statistics.dropped_packets, 1);
  ASSERT_OK(successor->PassThrough());
  EXPECT_THAT(harness_->TakeReceived(0), ElementsAre(1, 2, 3));
  ASSERT_OK(successor->Detach());
}

TEST_P(EgressBufferContract, ASuccessorCanDiscardWhatADeadOwnerHeld) {
  std::unique_ptr<EgressBuffer> buffer = Attached();
  ASSERT_OK(buffer->OpenEpoch());
  Send({1});
  buffer.reset();
  std::unique_ptr<EgressBuffer> successor = harness_->NewBuffer("contract", kLimit);
  ASSERT_OK(successor->Attach());
  ASSERT_OK(successor->Discard());
  ASSERT_OK(successor->PassThrough());
  Send({2});
  EXPECT_THAT(harness_->TakeReceived(0), ElementsAre(2));
  ASSERT_OK(successor->Detach());
}

TEST_P(EgressBufferContract, TouchesNoOtherProtectionsBuffer) {
  std::unique_ptr<EgressBuffer> buffer = Attached();
  ASSERT_OK(buffer->OpenEpoch());
  Send({1});
  std::unique_ptr<EgressBuffer> other = harness_->NewBuffer("other", kLimit);
  EXPECT_EQ(other->Attach().code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_OK(other->Detach());
  Send({2});
  EXPECT_THAT(harness_->TakeReceived(0), IsEmpty());
  ASSERT_OK(buffer->PassThrough());
  EXPECT_THAT(harness_->TakeReceived(0), ElementsAre(1, 2));
  ASSERT_OK(buffer->Detach());
}

TEST_P(EgressBufferContract, LeftoversAreThoseOfProtectionsThatDoNotLive) {
  if (harness_->kernel() == nullptr) GTEST_SKIP() << "held by no kernel";
  std::unique_ptr<EgressBuffer> buffer = Attached();
  absl::StatusOr<std::vector<PlugKernel::Leftover>> leftovers = harness_->kernel()->FindLeftovers({"contract"});
  ASSERT_TRUE(leftovers.ok()) << leftovers.status();
  EXPECT_THAT(*leftovers, IsEmpty());
  leftovers = harness_->kernel()->FindLeftovers({"other"});
  ASSERT_TRUE(leftovers.ok()) << leftovers.status();
  ASSERT_THAT(*leftovers, SizeIs(2));
  EXPECT_EQ(leftovers->front().protection, "contract");
  EXPECT_EQ(leftovers->front().vif.name, harness_->vifs().front().name);
  EXPECT_EQ(leftovers->front().vif.domid, harness_->vifs().front().domid);
  EXPECT_EQ(leftovers->front().device, buffer->devices().front());
  ASSERT_OK(buffer->Detach());
}

// The raw kernel: why PlugEgressBuffer keeps the rule of one unreleased epoch.
TEST_P(EgressBufferContract, KernelTwoBuffersInARowLetTheFirstsReleaseCountTheSecondsPackets) {
  if (harness_->kernel() == nullptr) GTEST_SKIP() << "held by no kernel";
  std::unique_ptr<EgressBuffer> buffer = Attached();
  PlugKernel& kernel = *harness_->kernel();
  const std::vector<Vif> vifs = harness_->vifs();
  ASSERT_OK(kernel.Command(vifs, PlugCommand::kBuffer));
  Send({1});
  ASSERT_OK(kernel.Command(vifs, PlugCommand::kBuffer));
  Send({2, 3});
  ASSERT_OK(kernel.Command(vifs, PlugCommand::kBuffer));
  Send({4});
  ASSERT_OK(kernel.Command(vifs, PlugCommand::kReleaseOne));
  EXPECT_THAT(harness_->TakeReceived(0), ElementsAre(1, 2)) << "its owner meant 1 alone";
  ASSERT_OK(kernel.Command(vifs, PlugCommand::kReleaseOne));
  EXPECT_THAT(harness_->TakeReceived(0), IsEmpty());
  ASSERT_OK(buffer->PassThrough());
  ASSERT_OK(buffer->Detach());
}

TEST_P(EgressBufferContract, KernelKeepsItsCountersWhenALinkThatGoesDownDropsTheQueue) {
  if (harness_->kernel() == nullptr) GTEST_SKIP() << "held by no kernel";
  std::unique_ptr<EgressBuffer> buffer = Attached();
  PlugKernel& kernel = *harness_->kernel();
  const std::vector<Vif> vifs = harness_->vifs();
  ASSERT_OK(kernel.Command(vifs, PlugCommand::kBuffer));
  Send({1});
  ASSERT_OK(kernel.Command(vifs, PlugCommand::kBuffer));
  harness_->TakeLinkDownAndUp(0);
  Send({2, 3});
  ASSERT_OK(kernel.Command(vifs, PlugCommand::kReleaseOne));
  EXPECT_THAT(harness_->TakeReceived(0), ElementsAre(2)) << "in place of 1";
  ASSERT_OK(buffer->PassThrough());
  ASSERT_OK(buffer->Detach());
}

}  // namespace romulus
