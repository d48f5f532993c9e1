#include "common/link/bandwidth_share.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace romulus {
namespace {

constexpr uint64_t kMib = 1 << 20;

TEST(BandwidthShare, ChunksAreSmallerUnderALimit) {
  BandwidthShare share;
  const auto flow = share.NewFlow();
  EXPECT_EQ(flow->ChunkBytes(kMib), kMib);
  flow->SetLimit(10 * kMib);
  EXPECT_EQ(flow->ChunkBytes(kMib), 10 * kMib / 100);
  share.SetLimit(5 * kMib);
  EXPECT_EQ(flow->ChunkBytes(kMib), 5 * kMib / 100);
  flow->SetLimit(1);
  EXPECT_EQ(flow->ChunkBytes(kMib), 16 << 10);
  EXPECT_EQ(flow->ChunkBytes(1000), 1000);
}

TEST(BandwidthShare, WithoutALimitNobodyWaits) {
  BandwidthShare share;
  const auto flow = share.NewFlow();
  const std::atomic<bool> stopped{false};
  for (int i = 0; i < 10'000; ++i) EXPECT_TRUE(flow->Await(kMib, stopped));
}

TEST(BandwidthShare, AWaitEndsWhenItIsStoppedOrTheLimitLifted) {
  BandwidthShare share(1);
  const auto flow = share.NewFlow();
  std::atomic<bool> stopped{false};
  // The next one is due in days.
  ASSERT_TRUE(flow->Await(kMib, stopped));
  std::thread stopping([&] {
    stopped = true;
    flow->Wake();
  });
  EXPECT_FALSE(flow->Await(kMib, stopped));
  stopping.join();
  stopped = false;
  std::thread lifting([&] { share.SetLimit(0); });
  EXPECT_TRUE(flow->Await(kMib, stopped));
  lifting.join();
}

TEST(BandwidthShare, ManyFlowsAllGetThrough) {
  BandwidthShare share(400 * kMib);
  const std::atomic<bool> stopped{false};
  std::vector<std::thread> senders;
  std::atomic<int> sent{0};
  for (int i = 0; i < 8; ++i) {
    senders.emplace_back([&, flow = share.NewFlow(i % 2 == 0 ? 0 : 100 * kMib)] {
      for (int chunk = 0; chunk < 50; ++chunk) sent += flow->Await(64 << 10, stopped) ? 1 : 0;
    });
  }
  for (std::thread& sender : senders) sender.join();
  EXPECT_EQ(sent, 8 * 50);
}

TEST(BandwidthShare, ANewLinkOfAProtectionWaitsForTheOldOnesEnd) {
  BandwidthShare share(1);
  const auto flow = share.NewFlow();
  std::atomic<bool> old_stopped{false};
  std::atomic<bool> new_stopped{false};
  ASSERT_TRUE(flow->Await(kMib, new_stopped));
  std::thread old_link([&] { EXPECT_FALSE(flow->Await(kMib, old_stopped)); });
  std::thread new_link([&] { EXPECT_TRUE(flow->Await(kMib, new_stopped)); });
  old_stopped = true;
  flow->Wake();
  old_link.join();
  share.SetLimit(0);
  new_link.join();
}

}  // namespace
}  // namespace romulus
