#include "common/stream/page_runs.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace romulus {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(PageRuns, AreAsFewAsCanBe) {
  EXPECT_THAT(PageRunsOf(std::vector<uint64_t>{}), IsEmpty());
  const PageRuns runs = PageRunsOf(std::vector<uint64_t>{3, 4, 5, 7, 100, 101});
  EXPECT_THAT(runs, ElementsAre(PageRun{3, 3}, PageRun{7, 1}, PageRun{100, 2}));
  EXPECT_EQ(CountPages(runs), 6);
  EXPECT_TRUE(ValidPageRuns(runs, 102));
}

TEST(PageRuns, FromElsewhereAreChecked) {
  EXPECT_TRUE(ValidPageRuns({}, 0));
  EXPECT_TRUE(ValidPageRuns({{0, 10}}, 10));
  EXPECT_FALSE(ValidPageRuns({{0, 10}}, 9)) << "out of range";
  EXPECT_FALSE(ValidPageRuns({{10, 1}}, 10)) << "out of range";
  EXPECT_FALSE(ValidPageRuns({{1, UINT64_MAX}}, 10)) << "wraps around";
  EXPECT_FALSE(ValidPageRuns({{5, 0}}, 10)) << "empty";
  EXPECT_FALSE(ValidPageRuns({{5, 1}, {3, 1}}, 10)) << "not ascending";
  EXPECT_FALSE(ValidPageRuns({{3, 2}, {4, 1}}, 10)) << "not disjoint";
  EXPECT_FALSE(ValidPageRuns({{3, 2}, {5, 1}}, 10)) << "adjacent";
  EXPECT_TRUE(ValidPageRuns({{3, 2}, {6, 1}}, 10));
}

}  // namespace
}  // namespace romulus
