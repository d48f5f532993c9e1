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

TEST(PageRuns, WithFurtherPagesAreStillAsFewAsCanBe) {
  const PageRuns runs = {{3, 3}, {7, 1}, {100, 2}};
  const auto with = [&runs](const std::vector<uint64_t>& gfns) { return WithPages(runs, gfns); };
  EXPECT_EQ(with({}), runs);
  EXPECT_EQ(with({3, 5, 7, 101}), runs) << "that are there";
  EXPECT_THAT(with({2, 6, 102}), ElementsAre(PageRun{2, 6}, PageRun{100, 3}));
  EXPECT_THAT(with({0, 50, 51, 200}), ElementsAre(PageRun{0, 1}, PageRun{3, 3}, PageRun{7, 1}, PageRun{50, 2},
                                                  PageRun{100, 2}, PageRun{200, 1}));
  EXPECT_THAT(WithPages({}, std::vector<uint64_t>{4, 4}), ElementsAre(PageRun{4, 1}));
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
