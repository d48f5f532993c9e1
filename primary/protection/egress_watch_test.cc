#include "primary/protection/egress_watch.h"

#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "netbuf/simulated_egress_buffer.h"

namespace romulus {
namespace {

using absl::Milliseconds;

constexpr uint32_t kLimit = 1000;

// A guest with two vifs, whose buffers hold ten packets of 100 bytes each.
class Watch : public testing::Test {
 protected:
  Watch() {
    kernel_->AddVif("vif1.0");
    kernel_->AddVif("vif1.1");
    EXPECT_TRUE(buffer_.Attach().ok());
  }
  void Send(int packets, const std::string& vif = "vif1.0") {
    for (int i = 0; i < packets; ++i) kernel_->Enqueue(vif, {0, 100});
  }
  void OpenEpoch(absl::Duration now) {
    EXPECT_TRUE(buffer_.OpenEpoch().ok());
    watch_.OnOpenEpoch(now);
  }
  void ReleaseEpoch(absl::Duration now) {
    EXPECT_TRUE(buffer_.ReleaseEpoch().ok());
    watch_.OnReleaseEpoch(now);
  }

  const std::shared_ptr<SimulatedPlugKernel> kernel_ =
      std::make_shared<SimulatedPlugKernel>([](const std::string&, const SimulatedPacket&) {});
  SimulatedEgressBuffer buffer_{kernel_, {"protections/test", {{"vif1.0", 1, 0}, {"vif1.1", 1, 1}}, kLimit}};
  EgressWatch watch_{&buffer_, {}};
};

TEST_F(Watch, OutputPressesFromHalfOfTheLimitOn) {
  OpenEpoch(Milliseconds(0));
  ReleaseEpoch(Milliseconds(1));
  Send(4);
  watch_.Look(Milliseconds(10));
  EXPECT_FALSE(watch_.pressed());
  Send(1);
  EXPECT_FALSE(watch_.pressed()) << "nobody has looked";
  watch_.Look(Milliseconds(20));
  EXPECT_TRUE(watch_.pressed());
}

TEST_F(Watch, AnyVifPresses) {
  OpenEpoch(Milliseconds(0));
  Send(5, "vif1.1");
  watch_.Look(Milliseconds(10));
  EXPECT_TRUE(watch_.pressed());
}

TEST_F(Watch, WhatACheckpointOnItsWayWillReleaseDoesNotPress) {
  OpenEpoch(Milliseconds(0));
  ReleaseEpoch(Milliseconds(1));
  Send(6);
  OpenEpoch(Milliseconds(100));
  EXPECT_FALSE(watch_.pressed());
  Send(4);
  watch_.Look(Milliseconds(110));
  EXPECT_EQ(watch_.statistics().vifs[0].held_bytes, kLimit);
  EXPECT_FALSE(watch_.pressed());
  ReleaseEpoch(Milliseconds(120));
  Send(1);
  watch_.Look(Milliseconds(121));
  EXPECT_TRUE(watch_.pressed()) << "these five no mark stands behind";
}

TEST_F(Watch, WhatPassesDoesNotPress) {
  Send(50);
  watch_.Look(Milliseconds(10));
  EXPECT_FALSE(watch_.pressed());
  OpenEpoch(Milliseconds(20));
  Send(5);
  EXPECT_TRUE(buffer_.PassThrough().ok());
  watch_.OnPassThrough(Milliseconds(30));
  Send(50);
  watch_.Look(Milliseconds(40));
  EXPECT_FALSE(watch_.pressed());
}

TEST_F(Watch, KnowsHowLongEachVifsPacketsWereHeld) {
  OpenEpoch(Milliseconds(0));
  watch_.Look(Milliseconds(10));
  Send(1);
  watch_.Look(Milliseconds(12));
  ReleaseEpoch(Milliseconds(20));
  OpenEpoch(Milliseconds(100));
  ReleaseEpoch(Milliseconds(130));
  EXPECT_EQ(watch_.times_held()[0].max, Milliseconds(120));
  EXPECT_EQ(watch_.times_held()[1].max, absl::ZeroDuration());
}

TEST_F(Watch, TellsEachDropOnce) {
  OpenEpoch(Milliseconds(0));
  Send(13);
  Send(12, "vif1.1");
  watch_.Look(Milliseconds(10));
  EXPECT_EQ(watch_.TakeNewDrops(), (std::vector<uint64_t>{3, 2}));
  EXPECT_EQ(watch_.TakeNewDrops(), (std::vector<uint64_t>{0, 0}));
  Send(1);
  watch_.Look(Milliseconds(20));
  EXPECT_EQ(watch_.TakeNewDrops(), (std::vector<uint64_t>{1, 0}));
}

TEST_F(Watch, LooksLessOftenWhereLookingIsDear) {
  EXPECT_EQ(watch_.NextPeriod(absl::Microseconds(10)), Milliseconds(10));
  EXPECT_EQ(watch_.NextPeriod(Milliseconds(3)), Milliseconds(10)) << "something came between";
  for (int i = 0; i < 1000; ++i) watch_.NextPeriod(Milliseconds(1));
  EXPECT_GT(watch_.NextPeriod(Milliseconds(1)), Milliseconds(98));
  EXPECT_LE(watch_.NextPeriod(Milliseconds(1)), Milliseconds(100));
}

TEST_F(Watch, ManyWatchesTakeNoMoreOfTheThreadThanATenth) {
  EgressWatch::Options options;
  options.watches = std::make_shared<int>(0);
  std::vector<std::unique_ptr<EgressWatch>> watches;
  while (watches.size() < 20) watches.push_back(std::make_unique<EgressWatch>(&buffer_, options));
  for (int i = 0; i < 1000; ++i) watches[0]->NextPeriod(Milliseconds(1));
  EXPECT_GT(watches[0]->NextPeriod(Milliseconds(1)), Milliseconds(199));
  watches.resize(2);
  EXPECT_LE(watches[0]->NextPeriod(Milliseconds(1)), Milliseconds(100));
}

}  // namespace
}  // namespace romulus
