#include "primary/comparison/output_comparison.h"

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/packet/frame_builder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace romulus::comparison {
namespace {

using packet::kTcpAck;
using packet::kTcpFin;
using packet::kTcpPsh;
using packet::kTcpRst;
using packet::kTcpSyn;
using packet::kTcpUrg;
using packet::TcpSegment;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const packet::Address kGuest = packet::ParseAddress("10.0.0.2");
const packet::Address kPeer = packet::ParseAddress("10.0.0.9");
const packet::Address kGuest6 = packet::ParseAddress("fd00::2");
const packet::Address kPeer6 = packet::ParseAddress("fd00::9");

// A guest's server on port 80 and one client.
struct Server {
  uint16_t client_port = 51000;
  bool v6 = false;

  std::string Segment(uint32_t sequence, uint32_t acknowledgement, absl::string_view payload, uint8_t flags = kTcpAck,
                      std::string options = "") const {
    return packet::TcpFrame({.source = v6 ? kGuest6 : kGuest,
                             .destination = v6 ? kPeer6 : kPeer,
                             .source_port = 80,
                             .destination_port = client_port,
                             .sequence = sequence,
                             .acknowledgement = acknowledgement,
                             .flags = flags,
                             .options = std::move(options),
                             .payload = std::string(payload)});
  }
  std::string SynAck(uint32_t sequence, uint32_t acknowledgement, uint8_t window_scale = 7) const {
    return Segment(sequence, acknowledgement, "", kTcpSyn | kTcpAck, packet::SynOptions(1460, window_scale));
  }
};

class OutputComparisonTest : public ::testing::Test {
 protected:
  explicit OutputComparisonTest(Settings settings = Settings()) : comparison_(settings) {}

  void Apply(Actions actions) {
    for (const auto& offset : actions.offsets) offsets_.push_back(offset);
    for (const FrameId id : actions.release) released_.push_back(id);
    for (const auto& difference : actions.differences) differences_.push_back(difference);
  }
  void Primary(const std::string& frame, uint32_t device = 0) {
    Apply(comparison_.OnPrimaryFrame(now_, ++id_, device, std::make_shared<std::string>(frame)));
  }
  void Standby(const std::string& frame, uint32_t device = 0) {
    Apply(comparison_.OnStandbyFrame(now_, device, frame));
  }
  void Run() { Apply(comparison_.OnStandbyRunning(now_)); }
  // A checkpoint with its commit, and the standby runs again.
  void Checkpoint() {
    comparison_.OnEpochEnd(now_);
    comparison_.OnCommit();
    Run();
  }
  // In steps, as a timer would.
  void Pass(absl::Duration time) {
    const absl::Duration end = now_ + time;
    while (comparison_.NextDeadline().has_value() && *comparison_.NextDeadline() <= end) {
      now_ = *comparison_.NextDeadline();
      Apply(comparison_.OnTime(now_));
    }
    now_ = end;
    Apply(comparison_.OnTime(now_));
  }
  std::vector<FrameId> Released() { return std::exchange(released_, {}); }
  // The reasons found since the last call.
  std::vector<DifferenceReason> Differences() {
    std::vector<DifferenceReason> reasons;
    for (const Difference& difference : std::exchange(differences_, {})) reasons.push_back(difference.reason);
    return reasons;
  }

  absl::Duration now_ = absl::Seconds(100);
  OutputComparison comparison_;
  FrameId id_ = 0;
  std::vector<FrameId> released_;
  std::vector<packet::SequenceOffset> offsets_;
  std::vector<Difference> differences_;
  const Server server_;
};

using TcpTest = OutputComparisonTest;

TEST_F(TcpTest, LeavesOnceTheStandbyHasSentTheSameHoweverItIsCut) {
  Run();
  Primary(server_.Segment(1000, 5, "hello "));
  Primary(server_.Segment(1006, 5, "world", kTcpAck | kTcpPsh));
  EXPECT_THAT(Released(), IsEmpty());
  Standby(server_.Segment(1000, 5, "hel"));
  EXPECT_THAT(Released(), IsEmpty());
  Standby(server_.Segment(1003, 5, "lo wor"));
  EXPECT_THAT(Released(), ElementsAre(1));
  Standby(server_.Segment(1009, 5, "ld and more"));
  EXPECT_THAT(Released(), ElementsAre(2));
  Primary(server_.Segment(1011, 5, " and mo"));
  EXPECT_THAT(Released(), ElementsAre(3)) << "the standby was ahead";
  EXPECT_THAT(Differences(), IsEmpty());
}

TEST_F(TcpTest, OverlapsAndRepeatsOfEitherAreNoDifference) {
  Run();
  Standby(server_.Segment(1000, 5, "abcdef"));
  Standby(server_.Segment(1003, 5, "defghi"));
  Primary(server_.Segment(1000, 5, "abcd"));
  Primary(server_.Segment(1002, 5, "cdefgh"));
  Primary(server_.Segment(1000, 5, "abcdefghi"));
  EXPECT_THAT(Released(), ElementsAre(1, 2, 3));
  Primary(server_.Segment(1001, 5, "bcd"));
  EXPECT_THAT(Released(), ElementsAre(4)) << "has left before";
  Standby(server_.Segment(1000, 5, "abc"));
  Pass(absl::Seconds(1));
  EXPECT_THAT(Differences(), IsEmpty());
}

TEST_F(TcpTest, OtherBytesAreADifferenceAtOnceAndHeld) {
  Run();
  Standby(server_.Segment(1000, 5, "abXd"));
  Primary(server_.Segment(1000, 5, "ab"));
  Primary(server_.Segment(1002, 5, "cd"));
  EXPECT_THAT(Released(), ElementsAre(1));
  ASSERT_THAT(differences_, SizeIs(1));
  EXPECT_THAT(differences_[0].text, HasSubstr("10.0.0.2:80 and 10.0.0.9:51000"));
  EXPECT_THAT(Differences(), ElementsAre(DifferenceReason::kContent));
  Standby(server_.Segment(1002, 5, "cd"));
  Primary(server_.Segment(1000, 5, "ab"));
  Pass(absl::Seconds(1));
  EXPECT_THAT(Released(), IsEmpty()) << "nothing more of a flow that differs";
  EXPECT_THAT(Differences(), IsEmpty()) << "said once";
}

TEST_F(TcpTest, ARetransmissionThatIsNotWhatLeftIsADifference) {
  Run();
  Standby(server_.Segment(1000, 5, "abcd"));
  Primary(server_.Segment(1000, 5, "abcd"));
  Primary(server_.Segment(1000, 5, "abXd"));
  EXPECT_THAT(Released(), ElementsAre(1));
  EXPECT_THAT(Differences(), ElementsAre(DifferenceReason::kContent));
}

TEST_F(TcpTest, TheStandbyContradictingItselfIsADifference) {
  Run();
  Standby(server_.Segment(1000, 5, "abcd"));
  Standby(server_.Segment(1002, 5, "Xd"));
  EXPECT_THAT(Differences(), ElementsAre(DifferenceReason::kContent));
  Primary(server_.Segment(1000, 5, "abcd"));
  EXPECT_THAT(Released(), IsEmpty());
}

TEST_F(TcpTest, WaitsUntilTheStandbyHasAcknowledgedAsMuch) {
  Run();
  Primary(server_.Segment(1000, 600, "reply"));
  Standby(server_.Segment(1000, 599, "reply"));
  EXPECT_THAT(Released(), IsEmpty());
  Standby(server_.Segment(1005, 700, ""));
  EXPECT_THAT(Released(), ElementsAre(1)) << "more is fine";
  Primary(server_.Segment(1005, 701, ""));
  EXPECT_THAT(Released(), IsEmpty());
  Standby(server_.Segment(1005, 701, ""));
  EXPECT_THAT(Released(), ElementsAre(2));
  // A late copy does not take it back.
  Standby(server_.Segment(1005, 600, ""));
  Primary(server_.Segment(1005, 701, ""));
  EXPECT_THAT(Released(), ElementsAre(3));
}

TEST_F(TcpTest, AcknowledgementsWrapAround) {
  Run();
  Standby(server_.Segment(1000, 0xfffffff0, ""));
  Primary(server_.Segment(1000, 0x10, ""));
  EXPECT_THAT(Released(), IsEmpty());
  Standby(server_.Segment(1000, 0x10, ""));
  EXPECT_THAT(Released(), ElementsAre(1));
  Primary(server_.Segment(1000, 0xfffffff8, ""));
  EXPECT_THAT(Released(), ElementsAre(2));
}

TEST_F(TcpTest, SequenceNumbersWrapAround) {
  Run();
  Standby(server_.Segment(0xfffffffe, 5, "abcdef"));
  Primary(server_.Segment(0xfffffffe, 5, "abc"));
  Primary(server_.Segment(1, 5, "def"));
  EXPECT_THAT(Released(), ElementsAre(1, 2));
}

TEST_F(TcpTest, WhatWasAcknowledgedBeforeTheCheckpointIsCovered) {
  Primary(server_.Segment(1000, 600, "x"));
  Checkpoint();
  Primary(server_.Segment(1001, 600, ""));
  EXPECT_THAT(Released(), ElementsAre(2)) << "a window update: the standby need not send one";
  Primary(server_.Segment(1001, 601, ""));
  EXPECT_THAT(Released(), IsEmpty());
}

TEST_F(TcpTest, WhatLeftBeforeTheCheckpointMayBeRepeated) {
  Primary(server_.Segment(1000, 600, "before"));
  Checkpoint();
  Primary(server_.Segment(1000, 600, "before"));
  EXPECT_THAT(Released(), ElementsAre(2));
  Standby(server_.Segment(1000, 600, "before"));
  Pass(absl::Seconds(1));
  EXPECT_THAT(Differences(), IsEmpty()) << "nor is it a difference if only the standby repeats it";
}

TEST_F(TcpTest, AFinNeedsTheStandbysAtTheSamePlace) {
  Run();
  Standby(server_.Segment(1000, 5, "bye"));
  Primary(server_.Segment(1000, 5, "bye", kTcpAck | kTcpFin));
  EXPECT_THAT(Released(), IsEmpty());
  Standby(server_.Segment(1003, 5, "", kTcpAck | kTcpFin));
  EXPECT_THAT(Released(), ElementsAre(1));
  Primary(server_.Segment(1003, 5, "", kTcpAck | kTcpFin));
  EXPECT_THAT(Released(), ElementsAre(2)) << "repeated";
  Pass(absl::Seconds(1));
  EXPECT_THAT(Differences(), IsEmpty());
}

TEST_F(TcpTest, StreamsThatEndAtDifferentPlacesDiffer) {
  for (const bool standby_is_longer : {false, true}) {
    Checkpoint();
    const std::string shorter = server_.Segment(1000, 5, "bye", kTcpAck | kTcpFin);
    const std::string longer = server_.Segment(1000, 5, "bye bye", kTcpAck | kTcpFin);
    Standby(standby_is_longer ? longer : shorter);
    Primary(standby_is_longer ? shorter : longer);
    EXPECT_THAT(Released(), IsEmpty());
    EXPECT_THAT(Differences(), ElementsAre(DifferenceReason::kFlags));
  }
}

TEST_F(TcpTest, TheStandbyGoingOnBehindThePrimarysFinIsADifference) {
  Run();
  Standby(server_.Segment(1000, 5, "bye bye"));
  Primary(server_.Segment(1000, 5, "bye", kTcpAck | kTcpFin));
  EXPECT_THAT(Differences(), ElementsAre(DifferenceReason::kFlags));
  EXPECT_THAT(Released(), IsEmpty());
}

TEST_F(TcpTest, ThePrimaryGoingOnBehindTheStandbysFinIsADifferenceAtOnce) {
  Run();
  Standby(server_.Segment(1000, 5, "bye", kTcpAck | kTcpFin));
  Primary(server_.Segment(1000, 5, "bye"));
  EXPECT_THAT(Released(), ElementsAre(1));
  Primary(server_.Segment(1003, 5, " bye"));
  EXPECT_THAT(Differences(), ElementsAre(DifferenceReason::kFlags));
}

TEST_F(TcpTest, ARstNeedsTheStandbysAtTheSamePlace) {
  Run();
  Primary(server_.Segment(1000, 5, "", kTcpAck | kTcpRst));
  Standby(server_.Segment(1003, 5, "", kTcpAck | kTcpRst));
  EXPECT_THAT(Released(), IsEmpty());
  Standby(server_.Segment(1000, 5, "", kTcpAck | kTcpRst));
  EXPECT_THAT(Released(), ElementsAre(1));
  Primary(server_.Segment(1000, 5, "", kTcpAck | kTcpRst));
  EXPECT_THAT(Released(), ElementsAre(2));
}

TEST_F(TcpTest, AResetOfOneAloneIsADifference) {
  Run();
  Standby(server_.Segment(1000, 5, "", kTcpAck | kTcpRst));
  Primary(server_.Segment(1000, 5, "data"));
  EXPECT_THAT(Differences(), ElementsAre(DifferenceReason::kFlags));
  EXPECT_THAT(Released(), IsEmpty());

  Checkpoint();
  Standby(server_.Segment(2000, 5, "", kTcpAck | kTcpRst));
  Pass(absl::Seconds(1));
  EXPECT_THAT(Differences(), ElementsAre(DifferenceReason::kStandbyOnly));
}

TEST_F(TcpTest, AClosedPortsResetLeaves) {
  Run();
  Primary(server_.Segment(0, 78, "", kTcpAck | kTcpRst));
  Standby(server_.Segment(0, 78, "", kTcpAck | kTcpRst));
  EXPECT_THAT(Released(), ElementsAre(1));
  Pass(absl::Seconds(1));
  EXPECT_THAT(Differences(), IsEmpty());
}

TEST_F(TcpTest, ANewConnectionIsCountedFromEachGuestsOwnNumber) {
  Run();
  Primary(server_.SynAck(5000, 78));
  EXPECT_THAT(Released(), IsEmpty());
  EXPECT_THAT(offsets_, IsEmpty());
  Standby(server_.SynAck(0xfffffff0, 78));
  EXPECT_THAT(Released(), ElementsAre(1));
  const packet::Connection connection{0, kGuest, kPeer, 80, 51000};
  EXPECT_THAT(offsets_, ElementsAre(packet::SequenceOffset{connection, 5000, 0xfffffff0}));
  Standby(server_.Segment(0xfffffff1, 100, "a page that wraps around"));
  Primary(server_.Segment(5001, 100, "a page that"));
  Primary(server_.Segment(5012, 100, " wraps around"));
  EXPECT_THAT(Released(), ElementsAre(2, 3));
  Standby(server_.Segment(0xfffffff1 + 24, 100, "", kTcpAck | kTcpFin));
  Primary(server_.Segment(5001 + 24, 100, "", kTcpAck | kTcpFin));
  EXPECT_THAT(Released(), ElementsAre(4));
  EXPECT_THAT(offsets_, SizeIs(1));
  EXPECT_THAT(Differences(), IsEmpty());
}

TEST_F(TcpTest, TheStandbyMayBeFarAheadOnANewConnection) {
  Run();
  Standby(server_.SynAck(9000, 78));
  Standby(server_.Segment(9001, 100, "banner"));
  Standby(server_.SynAck(9000, 78));
  Primary(server_.SynAck(5000, 78));
  Primary(server_.Segment(5001, 100, "banner"));
  EXPECT_THAT(Released(), ElementsAre(1, 2));
  EXPECT_THAT(offsets_, SizeIs(1));
}

TEST_F(TcpTest, AConnectionThatTheGuestOpens) {
  Run();
  Primary(server_.Segment(5000, 0, "", kTcpSyn, packet::SynOptions()));
  Standby(server_.Segment(7000, 0, "", kTcpSyn, packet::SynOptions()));
  EXPECT_THAT(Released(), ElementsAre(1));
  EXPECT_THAT(offsets_, SizeIs(1));
  Primary(server_.Segment(5001, 300, "GET"));
  Standby(server_.Segment(7001, 300, "GET"));
  EXPECT_THAT(Released(), ElementsAre(2));
}

TEST_F(TcpTest, ARepeatedSynLeavesAtOnceAndNeedsNoOffset) {
  Run();
  Primary(server_.SynAck(5000, 78));
  Standby(server_.SynAck(9000, 78));
  Primary(server_.SynAck(5000, 78));
  EXPECT_THAT(Released(), ElementsAre(1, 2));
  Checkpoint();
  Primary(server_.SynAck(5000, 78));
  EXPECT_THAT(Released(), ElementsAre(3)) << "of a connection that the checkpoint has";
  EXPECT_THAT(offsets_, SizeIs(1));
  Standby(server_.SynAck(5000, 78));
  Standby(server_.Segment(5001, 100, "data"));
  Primary(server_.Segment(5001, 100, "data"));
  EXPECT_THAT(Released(), ElementsAre(4)) << "behind a checkpoint both count alike";
  Pass(absl::Seconds(1));
  EXPECT_THAT(Differences(), IsEmpty());
}

TEST_F(TcpTest, SynsThatNegotiateDifferentThingsDiffer) {
  Run();
  Primary(server_.SynAck(5000, 78, 7));
  Standby(server_.SynAck(9000, 78, 8));
  EXPECT_THAT(Differences(), ElementsAre(DifferenceReason::kOptions));
  Checkpoint();
  Primary(server_.SynAck(6000, 79));
  Standby(server_.Segment(9000, 0, "", kTcpSyn, packet::SynOptions()));
  EXPECT_THAT(Differences(), ElementsAre(DifferenceReason::kFlags));
  Checkpoint();
  Primary(server_.SynAck(7000, 0));
  Standby(server_.Segment(9000, 0, "", kTcpSyn, packet::SynOptions()));
  EXPECT_THAT(Differences(), ElementsAre(DifferenceReason::kFlags)) << "which acknowledges nothing, and 0";
  EXPECT_THAT(Released(), IsEmpty());
  EXPECT_THAT(offsets_, IsEmpty());
}

TEST_F(TcpTest, TheNextConnectionOfTheSameAddressesHasNumbersOfItsOwn) {
  Run();
  Primary(server_.SynAck(5000, 78));
  Primary(server_.Segment(5001, 78, "", kTcpAck | kTcpRst));
  Primary(server_.SynAck(100000, 990));
  Primary(server_.Segment(100001, 990, "again"));
  Standby(server_.SynAck(9000, 78));
  Standby(server_.Segment(9001, 78, "", kTcpAck | kTcpRst));
  EXPECT_THAT(Released(), ElementsAre(1, 2));
  Standby(server_.SynAck(3000, 990));
  EXPECT_THAT(Released(), ElementsAre(3));
  Standby(server_.Segment(3001, 990, "again"));
  EXPECT_THAT(Released(), ElementsAre(4));
  ASSERT_THAT(offsets_, SizeIs(2));
  EXPECT_EQ(offsets_[1].primary_initial, 100000);
  EXPECT_EQ(offsets_[1].standby_initial, 3000);
  Pass(absl::Seconds(1));
  EXPECT_THAT(Differences(), IsEmpty());
}

TEST_F(TcpTest, TheStandbyMayBeAConnectionAhead) {
  Run();
  for (const uint32_t initial : {9000, 3000}) {
    Standby(server_.SynAck(initial, initial + 1));
    Standby(server_.Segment(initial + 1, initial + 1, absl::StrCat("data of ", initial), kTcpAck | kTcpFin));
  }
  Primary(server_.SynAck(5000, 9001));
  Primary(server_.Segment(5001, 9001, "data of 9000", kTcpAck | kTcpFin));
  EXPECT_THAT(Released(), ElementsAre(1, 2));
  Primary(server_.SynAck(500000, 3001));
  Primary(server_.Segment(500001, 3001, "data of 3000", kTcpAck | kTcpFin));
  EXPECT_THAT(Released(), ElementsAre(3, 4));
  EXPECT_THAT(Differences(), IsEmpty());
}

TEST_F(TcpTest, WhatTheStandbyAloneSentOnTheConnectionBeforeIsFound) {
  Run();
  Primary(server_.SynAck(5000, 78));
  Standby(server_.SynAck(9000, 78));
  Standby(server_.Segment(9001, 78, "alone"));
  Standby(server_.SynAck(3000, 990));
  Primary(server_.SynAck(100000, 990));
  EXPECT_THAT(Released(), ElementsAre(1));
  EXPECT_THAT(Differences(), ElementsAre(DifferenceReason::kFlags));
}

TEST_F(TcpTest, NumbersThatHaveNothingToDoWithEachOtherDiffer) {
  Run();
  Standby(server_.Segment(1000, 5, "abc"));
  Primary(server_.Segment(0x80000000, 5, "abc"));
  EXPECT_THAT(Differences(), ElementsAre(DifferenceReason::kSequence));
  Checkpoint();
  EXPECT_THAT(Released(), IsEmpty());
  Primary(server_.Segment(0x80000003, 5, "def"));
  Standby(server_.Segment(0x80000003, 5, "def"));
  EXPECT_THAT(Released(), ElementsAre(2)) << "the commit has said where the stream is";
}

TEST_F(TcpTest, UrgentDataIsNotCompared) {
  Run();
  Primary(server_.Segment(1000, 5, "!", kTcpAck | kTcpUrg));
  Standby(server_.Segment(1000, 5, "!", kTcpAck | kTcpUrg));
  EXPECT_THAT(Differences(), ElementsAre(DifferenceReason::kUrgent));
  EXPECT_THAT(Released(), IsEmpty());
}

TEST_F(TcpTest, ARstWithTextIsNotCompared) {
  Run();
  Standby(server_.Segment(1000, 5, "why", kTcpAck | kTcpRst));
  Primary(server_.Segment(1000, 5, "not", kTcpAck | kTcpRst));
  EXPECT_THAT(Differences(), ElementsAre(DifferenceReason::kFlags));
  EXPECT_THAT(Released(), IsEmpty());
}

TEST_F(TcpTest, OutputOfOnlyOneGuestIsADifferenceInTime) {
  Run();
  Primary(server_.Segment(1000, 5, "alone"));
  EXPECT_EQ(comparison_.NextDeadline(), now_ + Settings().timeout);
  Pass(Settings().timeout - absl::Milliseconds(1));
  EXPECT_THAT(Differences(), IsEmpty());
  Pass(absl::Milliseconds(1));
  EXPECT_THAT(Differences(), ElementsAre(DifferenceReason::kPrimaryOnly));
  EXPECT_FALSE(comparison_.NextDeadline().has_value());

  Checkpoint();
  Standby(server_.Segment(1005, 5, "alone"));
  Pass(Settings().timeout);
  EXPECT_THAT(Differences(), ElementsAre(DifferenceReason::kStandbyOnly));
}

TEST_F(TcpTest, AStandbyThatIsAlwaysALittleAheadIsNoDifference) {
  Run();
  for (uint32_t i = 0; i < 1000; ++i) {
    Standby(server_.Segment(1000 + 4 * i, 5, "data"));
    if (i > 3) Primary(server_.Segment(1000 + 4 * (i - 4), 5, "data"));
    Pass(absl::Milliseconds(20));
  }
  EXPECT_THAT(Differences(), IsEmpty());
  EXPECT_THAT(Released(), SizeIs(996));
}

TEST_F(TcpTest, ThePrimarysTimeoutCountsFromTheStandbysRunning) {
  Primary(server_.Segment(1000, 5, "long before"));
  Pass(absl::Seconds(1));
  EXPECT_THAT(Differences(), IsEmpty());
  Run();
  EXPECT_EQ(comparison_.NextDeadline(), now_ + Settings().timeout);
}

// The standby has gone on from the checkpoint later than the primary, and what its timers make it send stays as much
// later.
TEST_F(TcpTest, ThePrimarysTimeoutAllowsForTheStandbysLag) {
  comparison_.OnEpochEnd(now_);
  comparison_.OnCommit();
  now_ += absl::Seconds(5);
  Run();
  Primary(server_.Segment(1000, 0, "p"));
  Pass(absl::Seconds(5) + Settings().timeout - absl::Milliseconds(1));
  EXPECT_THAT(Differences(), IsEmpty());
  Pass(absl::Milliseconds(1));
  EXPECT_THAT(Differences(), ElementsAre(DifferenceReason::kPrimaryOnly));
}

TEST_F(TcpTest, OneConnectionDoesNotHoldAnother) {
  const Server other{.client_port = 52000};
  Run();
  Primary(server_.Segment(1000, 5, "held"));
  Primary(other.Segment(1000, 5, "leaves"));
  Standby(other.Segment(1000, 5, "leaves"));
  EXPECT_THAT(Released(), ElementsAre(2));
  // Nor another card of the guest.
  Standby(server_.Segment(1000, 5, "held"), 1);
  EXPECT_THAT(Released(), IsEmpty());
  const Server v6{.client_port = 51000, .v6 = true};
  Primary(v6.Segment(1, 5, "v6"));
  Standby(v6.Segment(1, 5, "v6"));
  EXPECT_THAT(Released(), ElementsAre(3));
}

class EpochTest : public OutputComparisonTest {};

TEST_F(EpochTest, NothingLeavesBeforeTheStandbyRuns) {
  Standby(server_.Segment(1000, 5, "early"));
  Primary(server_.Segment(1000, 5, "early"));
  EXPECT_THAT(Released(), IsEmpty());
  Run();
  EXPECT_THAT(Released(), IsEmpty()) << "what it sent before counts for nothing";
  Standby(server_.Segment(1000, 5, "early"));
  EXPECT_THAT(Released(), ElementsAre(1));
}

TEST_F(EpochTest, NothingLeavesAfterTheStandbyStopped) {
  Run();
  Standby(server_.Segment(1000, 5, "abc"));
  comparison_.OnStandbyStopped();
  Primary(server_.Segment(1000, 5, "abc"));
  Standby(server_.Segment(1003, 5, "def"));
  EXPECT_THAT(Released(), IsEmpty());
  EXPECT_FALSE(comparison_.NextDeadline().has_value());
}

TEST_F(EpochTest, WhatTheStandbySentIsVoidAtTheEpochsEnd) {
  Run();
  Standby(server_.Segment(1000, 5, "abc"));
  Checkpoint();
  Primary(server_.Segment(1000, 5, "abc"));
  EXPECT_THAT(Released(), IsEmpty());
}

TEST_F(EpochTest, AnEndedEpochsFramesLeaveByCommitOnlyAndNothingOfTheirFlowBefore) {
  const Server other{.client_port = 52000};
  Primary(server_.Segment(1000, 5, "old"));
  comparison_.OnEpochEnd(now_);
  Primary(server_.Segment(1003, 5, "new"));
  Primary(other.Segment(1, 5, "other"));
  Run();
  Standby(server_.Segment(1000, 5, "oldnew"));
  Standby(other.Segment(1, 5, "other"));
  EXPECT_THAT(Released(), ElementsAre(3));
  EXPECT_EQ(comparison_.statistics().held, 2);
  comparison_.OnCommit();
  EXPECT_EQ(comparison_.statistics().held, 1);
  EXPECT_EQ(comparison_.statistics().committed, 1);
}

TEST_F(EpochTest, HeldFramesOfManyFlowsAreComparedWhenTheStandbyRuns) {
  for (uint16_t port = 1; port < 40; ++port) Primary(Server{.client_port = port}.Segment(1000, 600, "x"));
  comparison_.OnEpochEnd(now_);
  for (uint16_t port = 39; port > 0; --port) Primary(Server{.client_port = port}.Segment(1001, 600, ""));
  comparison_.OnCommit();
  Run();
  const std::vector<FrameId> released = Released();
  EXPECT_THAT(released, SizeIs(39));
  EXPECT_TRUE(std::is_sorted(released.begin(), released.end())) << "as the guest sent them";
}

TEST_F(EpochTest, WhatLeftOtherwiseIsForgotten) {
  Primary(server_.Segment(1000, 600, "x"));
  comparison_.OnAllLeft();
  EXPECT_EQ(comparison_.statistics().held, 0);
  EXPECT_EQ(comparison_.statistics().flows, 0);
  Checkpoint();
  Primary(server_.Segment(1001, 600, ""));
  EXPECT_THAT(Released(), IsEmpty()) << "no checkpoint covers what was acknowledged then";
}

class DatagramTest : public OutputComparisonTest {
 protected:
  static std::string Udp(absl::string_view payload, uint16_t port = 999) {
    return packet::UdpFrame(kGuest, 53, kPeer, port, payload);
  }
};

TEST_F(DatagramTest, UdpByPacketInOrderPerFlow) {
  Run();
  Primary(Udp("a"));
  Primary(Udp("b"));
  Primary(Udp("c", 1000));
  Standby(Udp("c", 1000));
  EXPECT_THAT(Released(), ElementsAre(3));
  Standby(Udp("a"));
  EXPECT_THAT(Released(), ElementsAre(1));
  Standby(Udp("b"));
  Standby(Udp("d"));
  EXPECT_THAT(Released(), ElementsAre(2));
  Primary(Udp("d"));
  EXPECT_THAT(Released(), ElementsAre(4));
  EXPECT_THAT(Differences(), IsEmpty());
}

TEST_F(DatagramTest, OneStandbysPacketLetsOneLeave) {
  Run();
  Standby(Udp("a"));
  Primary(Udp("a"));
  Primary(Udp("a"));
  EXPECT_THAT(Released(), ElementsAre(1));
}

TEST_F(DatagramTest, OtherContentsOrAnotherOrderIsADifference) {
  Run();
  Primary(Udp("a"));
  Standby(Udp("b"));
  EXPECT_THAT(Differences(), ElementsAre(DifferenceReason::kPacket));
  EXPECT_THAT(Released(), IsEmpty());
}

TEST_F(DatagramTest, IpIdTtlChecksumsAndPaddingDoNotMatter) {
  Run();
  std::string standby = Udp("data");
  standby[19] ^= 7;  // IP id.
  standby[22] ^= 1;  // TTL.
  standby[25] ^= 1;  // IP checksum.
  standby[41] ^= 1;  // UDP checksum.
  standby += "padding";
  Primary(Udp("data"));
  Standby(standby);
  EXPECT_THAT(Released(), ElementsAre(1));
  std::string echo = packet::EchoFrame(kGuest, kPeer, true, 7, "ping");
  Primary(echo);
  echo[37] ^= 1;
  Standby(echo);
  EXPECT_THAT(Released(), ElementsAre(2));
}

TEST_F(DatagramTest, EchoRepliesOfTwoPingsAreTwoFlows) {
  Run();
  Primary(packet::EchoFrame(kGuest, kPeer, true, 7, "ping"));
  Primary(packet::EchoFrame(kGuest, kPeer, true, 8, "ping"));
  Standby(packet::EchoFrame(kGuest, kPeer, true, 8, "ping"));
  EXPECT_THAT(Released(), ElementsAre(2));
}

TEST_F(DatagramTest, FragmentsByPlaceAndBytes) {
  Run();
  Primary(packet::FragmentFrame(kGuest, kPeer, 17, 1, 0, true, "12345678"));
  Primary(packet::FragmentFrame(kGuest, kPeer, 17, 1, 1, false, "tail"));
  Standby(packet::FragmentFrame(kGuest, kPeer, 17, 99, 0, true, "12345678"));
  EXPECT_THAT(Released(), ElementsAre(1)) << "each guest has IP ids of its own";
  Standby(packet::FragmentFrame(kGuest, kPeer, 17, 99, 2, false, "tail"));
  EXPECT_THAT(Differences(), ElementsAre(DifferenceReason::kPacket));
}

// Its network card takes again what the primary's had not acknowledged to the guest at the checkpoint.
TEST_F(DatagramTest, TheStandbyMayBeginWithPacketsThatHaveLeft) {
  Run();
  for (const char* text : {"a", "b"}) {
    Primary(Udp(text));
    Standby(Udp(text));
  }
  Primary(Udp("c"));
  EXPECT_THAT(Released(), ElementsAre(1, 2));
  Checkpoint();
  Standby(Udp("b"));
  Standby(Udp("c"));
  Pass(absl::Seconds(10));
  EXPECT_THAT(Differences(), IsEmpty()) << "nor has it sent them alone";
  Primary(Udp("d"));
  EXPECT_THAT(Released(), IsEmpty());
  Standby(Udp("d"));
  EXPECT_THAT(Released(), ElementsAre(4));
  Standby(Udp("d"));
  Primary(Udp("e"));
  EXPECT_THAT(Differences(), ElementsAre(DifferenceReason::kPacket)) << "not in the middle of a run";
}

TEST_F(DatagramTest, RepeatsAreInOrderAndOnlyOfWhatLeftLast) {
  Run();
  for (int i = 0; i < 40; ++i) {
    Primary(Udp(absl::StrCat(i)));
    Standby(Udp(absl::StrCat(i)));
  }
  Released();
  Checkpoint();
  Standby(Udp("39"));
  Standby(Udp("38"));
  Primary(Udp("new"));
  EXPECT_THAT(Differences(), ElementsAre(DifferenceReason::kPacket));
  Checkpoint();
  Standby(Udp("1"));
  Primary(Udp("newer"));
  EXPECT_THAT(Differences(), ElementsAre(DifferenceReason::kPacket));
}

TEST_F(DatagramTest, APacketThatIsSentAgainAndAgainIsNoRepeatWhereThePrimarySendsIt) {
  Run();
  for (int epoch = 0; epoch < 3; ++epoch) {
    for (int i = 0; i < 3; ++i) {
      Primary(Udp("beat"));
      Standby(Udp("beat"));
      EXPECT_THAT(Released(), SizeIs(1));
    }
    Checkpoint();
  }
}

TEST_F(DatagramTest, OfOnlyOneGuestIsADifferenceInTime) {
  Run();
  Standby(Udp("a"));
  Pass(Settings().timeout);
  EXPECT_THAT(Differences(), ElementsAre(DifferenceReason::kStandbyOnly));
  Checkpoint();
  Primary(Udp("a"));
  Pass(Settings().timeout);
  EXPECT_THAT(Differences(), ElementsAre(DifferenceReason::kPrimaryOnly));
}

class NeighbourTest : public OutputComparisonTest {
 protected:
  const packet::Address other_ = packet::ParseAddress("10.0.0.7");
};

TEST_F(NeighbourTest, EqualFramesLeaveAndSoDoTheirRepeats) {
  Run();
  Primary(packet::ArpRequest(kGuest, kPeer));
  EXPECT_THAT(Released(), IsEmpty());
  Standby(packet::ArpRequest(kGuest, kPeer));
  Primary(packet::ArpRequest(kGuest, kPeer) + "padding");
  EXPECT_THAT(Released(), ElementsAre(1, 2));
  Primary(packet::ArpRequest(kGuest, other_));
  Primary(packet::ArpRequest(kGuest, kPeer));
  EXPECT_THAT(Released(), ElementsAre(4)) << "another address is another flow";
  Checkpoint();
  Primary(packet::ArpRequest(kGuest, kPeer));
  EXPECT_THAT(Released(), IsEmpty());
}

TEST_F(NeighbourTest, OfTheStandbyAloneIsNoDifferenceOfThePrimaryAloneIs) {
  Run();
  const std::string solicitation =
      packet::IpFrame(kGuest6, kPeer6, 58, absl::StrCat(std::string("\x87\0\0\0\0\0\0\0", 8), BytesOf(kPeer6)));
  Standby(packet::ArpRequest(kGuest, kPeer));
  Standby(solicitation);
  Standby(packet::EthernetFrame(0x88cc, "lldp"));
  Standby("cut short");
  Pass(absl::Seconds(10));
  EXPECT_THAT(Differences(), IsEmpty());
  Primary(solicitation);
  Primary(packet::EthernetFrame(0x88cc, "lldp"));
  Primary("cut short");
  EXPECT_THAT(Released(), ElementsAre(1, 2, 3));
  Primary(packet::EthernetFrame(0x88cc, "LLDP"));
  Pass(absl::Seconds(10));
  EXPECT_THAT(Differences(), ElementsAre(DifferenceReason::kPrimaryOnly));
}

class BoundTest : public OutputComparisonTest {
 protected:
  BoundTest()
      : OutputComparisonTest(Settings{.flows_max = 4,
                                      .standby_bytes_per_flow_max = 4000,
                                      .standby_bytes_max = 10000,
                                      .history_bytes_per_flow_max = 100,
                                      .history_bytes_max = 500,
                                      .offsets_per_epoch_max = 2}) {}
};

TEST_F(BoundTest, AStandbyThatIsTooFarAheadIsADifference) {
  Run();
  for (uint32_t i = 0; i < 5; ++i) Standby(server_.Segment(1000 + 1000 * i, 5, std::string(1000, 'x')));
  EXPECT_THAT(Differences(), ElementsAre(DifferenceReason::kBound));
  Primary(server_.Segment(1000, 5, "x"));
  EXPECT_THAT(Released(), IsEmpty());
  EXPECT_LE(comparison_.statistics().standby_bytes, 6000);
}

TEST_F(BoundTest, NorMayAllFlowsTogetherBe) {
  Run();
  for (uint16_t port = 1; port <= 4; ++port) {
    for (uint32_t i = 0; i < 3; ++i) Standby(Server{.client_port = port}.Segment(1000 * i, 5, std::string(1000, 'x')));
  }
  EXPECT_THAT(Differences(), ElementsAre(DifferenceReason::kBound));
  EXPECT_LE(comparison_.statistics().standby_bytes, 10000);
  Checkpoint();
  EXPECT_EQ(comparison_.statistics().standby_bytes, 0);
}

TEST_F(BoundTest, SynsOfTheStandbyAloneAreBounded) {
  Run();
  for (uint32_t i = 0; i < 100; ++i) Standby(server_.SynAck(1000 * i, i));
  EXPECT_THAT(Differences(), ElementsAre(DifferenceReason::kBound));
  EXPECT_LE(comparison_.statistics().standby_bytes, 5000);
}

TEST_F(BoundTest, MoreOffsetsThanTheStandbyKeepsAreNotAskedFor) {
  Run();
  for (uint16_t port = 1; port <= 3; ++port) {
    Primary(Server{.client_port = port}.SynAck(5000, 78));
    Standby(Server{.client_port = port}.SynAck(9000, 78));
  }
  EXPECT_THAT(Released(), ElementsAre(1, 2));
  EXPECT_THAT(offsets_, SizeIs(2));
  EXPECT_THAT(Differences(), ElementsAre(DifferenceReason::kBound));
  Checkpoint();
  Primary(server_.SynAck(5000, 78));
  Standby(server_.SynAck(9000, 78));
  EXPECT_THAT(Released(), ElementsAre(4));
}

TEST_F(BoundTest, AFlowThatFindsNoRoomIsHeldAndNothingOvertakesIt) {
  Run();
  for (uint16_t port = 1; port <= 4; ++port) Primary(Server{.client_port = port}.Segment(1, 5, "held"));
  const Server fifth{.client_port = 5};
  Primary(fifth.Segment(1, 5, "fifth"));
  EXPECT_THAT(Differences(), ElementsAre(DifferenceReason::kBound));
  // There is room again, but the fifth's first frame is not known.
  Standby(Server{.client_port = 1}.Segment(1, 5, "held"));
  EXPECT_THAT(Released(), ElementsAre(1));
  Primary(fifth.Segment(6, 5, "second"));
  Standby(fifth.Segment(1, 5, "fifthsecond"));
  EXPECT_THAT(Released(), IsEmpty());
  EXPECT_EQ(comparison_.statistics().held, 5);
  EXPECT_THAT(Differences(), IsEmpty()) << "said once";
  Checkpoint();
  EXPECT_EQ(comparison_.statistics().held, 0);
  Primary(fifth.Segment(12, 5, "third"));
  Standby(fifth.Segment(12, 5, "third"));
  EXPECT_THAT(Released(), ElementsAre(7));
}

TEST_F(BoundTest, IdleFlowsMakeRoom) {
  Run();
  for (uint16_t port = 1; port <= 100; ++port) {
    Primary(Server{.client_port = port}.Segment(1, 5, "data"));
    Standby(Server{.client_port = port}.Segment(1, 5, "data"));
  }
  EXPECT_THAT(Released(), SizeIs(100));
  EXPECT_EQ(comparison_.statistics().flows, 4);
  EXPECT_THAT(Differences(), IsEmpty());
}

TEST_F(BoundTest, HistoryIsBoundedAndARetransmissionOfWhatIsForgottenWaits) {
  Run();
  for (uint32_t i = 0; i < 50; ++i) {
    const std::string segment = server_.Segment(1000 + 50 * i, 5, std::string(50, 'x'));
    Primary(segment);
    Standby(segment);
  }
  EXPECT_THAT(Released(), SizeIs(50));
  EXPECT_LE(comparison_.statistics().history_bytes, 500);
  Checkpoint();
  Standby(server_.Segment(1000, 5, std::string(50, 'x')));
  Pass(absl::Seconds(1));
  EXPECT_THAT(Differences(), IsEmpty()) << "the standby repeats what is not known any more";
  Checkpoint();
  Primary(server_.Segment(1000, 5, std::string(50, 'x')));
  EXPECT_THAT(Released(), IsEmpty());
  Standby(server_.Segment(1000, 5, std::string(50, 'x')));
  EXPECT_THAT(Released(), ElementsAre(51));
}

}  // namespace
}  // namespace romulus::comparison
