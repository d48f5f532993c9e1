#include "common/base/recent_spread.h"

#include <gtest/gtest.h>

namespace romulus {
namespace {

TEST(RecentSpread, NothingIsZero) {
  const RecentSpread::Spread spread = RecentSpread().spread();
  EXPECT_EQ(spread.p50, 0);
  EXPECT_EQ(spread.p99, 0);
  EXPECT_EQ(spread.max, 0);
}

TEST(RecentSpread, IsByNearestRankInWhateverOrder) {
  RecentSpread one;
  one.Add(-7);
  EXPECT_EQ(one.spread().p50, -7);
  EXPECT_EQ(one.spread().p99, -7);
  EXPECT_EQ(one.spread().max, -7);

  RecentSpread hundred;
  for (int i = 0; i < 100; ++i) hundred.Add((i * 37) % 100 + 1);  // 1 to 100, shuffled.
  EXPECT_EQ(hundred.spread().p50, 50);
  EXPECT_EQ(hundred.spread().p99, 99);
  EXPECT_EQ(hundred.spread().max, 100);
  hundred.Add(101);
  EXPECT_EQ(hundred.spread().max, 101) << "asked for again, it is of what there is now";
}

TEST(RecentSpread, ForgetsWhatIsOlderThanItsCapacity) {
  RecentSpread spread;
  spread.Add(1'000'000);
  for (size_t i = 0; i < RecentSpread::kCapacity; ++i) spread.Add(static_cast<int64_t>(i % 2));
  EXPECT_EQ(spread.spread().max, 1);
  EXPECT_EQ(spread.spread().p50, 0);
}

}  // namespace
}  // namespace romulus
