#include <cstdint>

#include "gtest/gtest.h"
#include "tests/simulation/world.h"

// A guest floods its network, and its buffer takes a third of what it sends in an interval.
namespace romulus::simulation {
namespace {

struct Result {
  uint64_t sent = 0;
  uint64_t dropped = 0;
  uint64_t early_checkpoints = 0;
  uint64_t checkpoints = 0;
};

Result Flood(uint64_t seed, uint32_t high_water_percent) {
  World world(seed, Mutant::kNone, /*trace=*/false);
  world.config.pacing = {absl::Milliseconds(300), std::nullopt};
  world.network.latency = absl::Milliseconds(1);
  world.egress_limit_bytes = 100 * 100;  // A packet of 100 bytes each millisecond or so.
  world.egress_watch = {absl::Milliseconds(5), high_water_percent};
  world.CreateProtection();
  world.FloodFor(absl::Seconds(20));
  while (world.now() < absl::Seconds(20)) {
    if (!world.Step()) ADD_FAILURE() << "seed " << seed << ": " << world.violations.first();
    if (world.violations.any()) break;
  }
  return {world.guest->memory.counter(), world.dropped, world.early_checkpoints(), world.checkpoints};
}

TEST(OutputPressure, EarlyCheckpointsSpareTheGuestMostDrops) {
  uint64_t dropped_without = 0, dropped_with = 0;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    const Result without = Flood(seed, 1000);
    const Result with = Flood(seed, 50);
    EXPECT_EQ(without.early_checkpoints, 0);
    EXPECT_GT(without.dropped, without.sent / 3) << "seed " << seed;
    EXPECT_GT(with.early_checkpoints, with.checkpoints / 2) << "seed " << seed;
    // One in twenty commits takes up to 800 ms, in which a buffer of 100 ms fills up whatever the primary does.
    EXPECT_LT(2 * with.dropped, without.dropped) << "seed " << seed;
    dropped_without += without.dropped;
    dropped_with += with.dropped;
  }
  EXPECT_LT(3 * dropped_with, dropped_without);
}

}  // namespace
}  // namespace romulus::simulation
