#include "netbuf/egress_sizing.h"

#include "gtest/gtest.h"

namespace romulus {
namespace {

constexpr uint64_t kGigabit = 125'000'000;
constexpr uint64_t kGiB = uint64_t{1} << 30;

TEST(EgressLimitBytes, IsWhatTheLinkSendsInTwoIntervalsAndACommit) {
  EXPECT_EQ(EgressLimitBytes({kGigabit, absl::Milliseconds(100), 8 * kGiB, 1}), 37'500'000);
  EXPECT_EQ(EgressLimitBytes({kGigabit, absl::Milliseconds(50), 8 * kGiB, 1}), 25'000'000);
  EXPECT_EQ(EgressLimitBytes({10 * kGigabit, absl::Milliseconds(100), 8 * kGiB, 1}), 375'000'000);
}

TEST(EgressLimitBytes, HasAFloorAndACeiling) {
  EXPECT_EQ(EgressLimitBytes({kGigabit / 1000, absl::Milliseconds(100), 8 * kGiB, 1}), kEgressLimitFloor);
  EXPECT_EQ(EgressLimitBytes({10 * kGigabit, absl::Seconds(60), 64 * kGiB, 1}), kEgressLimitCeiling);
}

TEST(EgressLimitBytes, LeavesTheHostMostOfItsMemory) {
  EXPECT_EQ(EgressLimitBytes({10 * kGigabit, absl::Milliseconds(100), kGiB, 1}), kGiB / 8);
  EXPECT_EQ(EgressLimitBytes({10 * kGigabit, absl::Milliseconds(100), kGiB, 4}), kGiB / 32);
  EXPECT_EQ(EgressLimitBytes({10 * kGigabit, absl::Milliseconds(100), 0, 4}), kEgressLimitFloor);
}

TEST(EgressSamplePeriod, FollowsHowFastTheBufferFills) {
  // An eighth of 4 MiB takes 4.2 ms at 1 Gb/s.
  const absl::Duration period = EgressSamplePeriod(4 << 20, kGigabit);
  EXPECT_GT(period, absl::Milliseconds(4));
  EXPECT_LT(period, absl::Milliseconds(5));
  EXPECT_EQ(EgressSamplePeriod(1 << 20, 10 * kGigabit), absl::Milliseconds(2));
  EXPECT_EQ(EgressSamplePeriod(64 << 20, kGigabit), absl::Milliseconds(10));
  EXPECT_EQ(EgressSamplePeriod(1 << 20, 0), absl::Milliseconds(10));
}

}  // namespace
}  // namespace romulus
