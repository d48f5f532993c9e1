#include "netbuf/simulated_plug.h"

#include <cstdint>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace romulus {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// The kernel's plug in raw form, without the rule that PlugEgressBuffer keeps.
class SimulatedPlugTest : public ::testing::Test {
 protected:
  std::vector<uint64_t> left_;
  SimulatedPlug plug_{1000, [this](const SimulatedPacket& packet) { left_.push_back(packet.id); }};
};

TEST_F(SimulatedPlugTest, StartsPlugged) {
  plug_.Enqueue({1, 100});
  EXPECT_THAT(left_, IsEmpty());
  plug_.Command(PlugCommand::kReleaseIndefinite);
  plug_.Enqueue({2, 100});
  EXPECT_THAT(left_, ElementsAre(1, 2));
}

TEST_F(SimulatedPlugTest, ReleasesTheEpochBeforeTheLastBuffer) {
  plug_.Enqueue({1, 100});
  plug_.Command(PlugCommand::kBuffer);
  plug_.Enqueue({2, 100});
  plug_.Command(PlugCommand::kReleaseOne);
  EXPECT_THAT(left_, ElementsAre(1));
  plug_.Command(PlugCommand::kReleaseOne);
  EXPECT_THAT(left_, ElementsAre(1)) << "a second release has nothing to release";
}

TEST_F(SimulatedPlugTest, TwoBuffersInARowLetAReleaseCountTheWrongPackets) {
  plug_.Enqueue({1, 100});
  plug_.Command(PlugCommand::kBuffer);
  plug_.Enqueue({2, 100});
  plug_.Enqueue({3, 100});
  plug_.Command(PlugCommand::kBuffer);
  plug_.Command(PlugCommand::kReleaseOne);  // Of the first epoch, as its owner believes: one packet.
  EXPECT_THAT(left_, ElementsAre(1, 2)) << "2 belongs to the second epoch";
}

TEST_F(SimulatedPlugTest, PacketsQueuedUncountedMakeLaterReleasesFallShort) {
  plug_.Command(PlugCommand::kReleaseIndefinite);
  plug_.SetTransmitStopped(true);
  plug_.Enqueue({1, 100});
  plug_.Command(PlugCommand::kBuffer);
  plug_.SetTransmitStopped(false);
  plug_.Enqueue({2, 100});
  plug_.Command(PlugCommand::kBuffer);
  plug_.Command(PlugCommand::kReleaseOne);
  EXPECT_THAT(left_, ElementsAre(1));
  EXPECT_EQ(plug_.statistics().held_packets, 1);
}

TEST_F(SimulatedPlugTest, ALinkThatGoesDownKeepsCountersOfPacketsThatAreLost) {
  plug_.Enqueue({1, 100});
  plug_.Command(PlugCommand::kBuffer);
  plug_.LinkDownAndUp();
  plug_.Enqueue({2, 100});
  plug_.Command(PlugCommand::kReleaseOne);
  EXPECT_THAT(left_, ElementsAre(2)) << "released in place of 1: nobody may take an ifb down";
}

TEST_F(SimulatedPlugTest, DropsPastItsLimit) {
  plug_.Enqueue({1, 600});
  plug_.Enqueue({2, 500});
  plug_.Enqueue({3, 400});
  EXPECT_EQ(plug_.statistics().dropped_packets, 1);
  EXPECT_EQ(plug_.statistics().held_bytes, 1000);
  plug_.Command(PlugCommand::kBuffer);
  plug_.Command(PlugCommand::kReleaseOne);
  EXPECT_THAT(left_, ElementsAre(1, 3));
}

}  // namespace
}  // namespace romulus
