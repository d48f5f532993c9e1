#include "gtest/gtest.h"
#include "tests/simulation/world.h"

// The product's driver and core with a pacing goal: what epochs take finds its way into the pacer and into the status.
namespace romulus::simulation {
namespace {

TEST(Pacing, APauseShareIsKeptAndTheStatusSaysWhereThePausesWent) {
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    SCOPED_TRACE(seed);
    World world(seed, Mutant::kNone, /*trace=*/false);
    world.config.pacing.goal = protection::PacingGoal{std::nullopt, 0.05};
    world.network.latency = absl::Milliseconds(1);
    world.CreateProtection();
    while (world.now() < absl::Seconds(60)) ASSERT_TRUE(world.Step()) << world.violations.first();

    const ProtectionDriver::Status status = world.primary->driver->status();
    // Suspending and copying takes 1.1 to 13 ms: a twentieth of 141 ms on average.
    EXPECT_EQ(status.core.pacing.bound, protection::PacingBound::kPauseShare);
    EXPECT_GT(status.core.pacing.interval, absl::Milliseconds(110));
    EXPECT_LT(status.core.pacing.interval, absl::Milliseconds(170));
    EXPECT_LE(status.core.pacing.pause_share, 0.052);
    EXPECT_GE(status.core.pacing.pause_share, 0.035);
    EXPECT_NEAR(status.checkpoints_per_second, 7, 2);

    EXPECT_GT(status.pause_parts.suspend.p50, 0);
    EXPECT_GT(status.pause_parts.page_copy.p50, 0);
    EXPECT_LE(status.pause_parts.suspend.max, status.pause_ns.max);
    EXPECT_GT(status.commit_ns.p50, absl::ToInt64Nanoseconds(2 * absl::Milliseconds(1))) << "a round trip";
    EXPECT_LT(status.commit_ns.p50, status.output_delay_ns.p50);
    EXPECT_GT(status.checkpoint_bytes.p50, 0);
    EXPECT_EQ(status.checkpoint_wire_bytes.p50, status.checkpoint_bytes.p50) << "nothing is encoded here";
    EXPECT_EQ(status.checkpoint_wire_bytes.max, status.checkpoint_bytes.max);
  }
}

}  // namespace
}  // namespace romulus::simulation
