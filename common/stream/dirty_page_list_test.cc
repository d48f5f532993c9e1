#include "common/stream/dirty_page_list.h"

#include <set>
#include <string>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace romulus {
namespace {

using replication::v1::DirtyPageList;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr uint64_t kBound = 1000;

DirtyPageList List(uint64_t epoch, std::initializer_list<std::pair<uint64_t, uint32_t>> runs, bool more = false) {
  DirtyPageList list;
  list.set_epoch(epoch);
  for (const auto& [first, count] : runs) {
    list.add_runs()->set_first_gfn(first);
    list.mutable_runs(list.runs_size() - 1)->set_count(count);
  }
  list.set_more(more);
  return list;
}

PageRuns ReadBack(const std::vector<DirtyPageList>& lists, uint64_t epoch, uint64_t bound) {
  DirtyPageListReader reader(epoch, bound);
  for (const DirtyPageList& list : lists) {
    EXPECT_FALSE(reader.complete());
    const absl::Status status = reader.Add(list);
    EXPECT_TRUE(status.ok()) << status;
  }
  EXPECT_TRUE(reader.complete());
  return reader.Take();
}

TEST(DirtyPageList, WhatIsWrittenIsReadBack) {
  for (const PageRuns& runs : {PageRuns{}, PageRuns{{0, 1}}, PageRuns{{3, 2}, {7, 1}, {900, 100}}}) {
    const std::vector<DirtyPageList> lists = DirtyPageListsOf(4, runs);
    EXPECT_THAT(lists, SizeIs(1));
    EXPECT_EQ(ReadBack(lists, 4, kBound), runs);
  }
}

TEST(DirtyPageList, AnEmptyListIsALastOne) {
  DirtyPageListReader reader(2, kBound);
  EXPECT_TRUE(reader.Add(List(2, {})).ok());
  EXPECT_TRUE(reader.complete());
  EXPECT_THAT(reader.Take(), IsEmpty());
}

TEST(DirtyPageList, ManyRunsAreSeveralMessagesOfBoundedSize) {
  PageRuns runs;
  for (uint64_t i = 0; i < 3 * kDirtyRunsPerListMax + 5; ++i) runs.push_back({(uint64_t{1} << 40) + i * 3, 2});
  const std::vector<DirtyPageList> lists = DirtyPageListsOf(9, runs);
  ASSERT_THAT(lists, SizeIs(4));
  for (const DirtyPageList& list : lists) {
    EXPECT_LE(list.ByteSizeLong(), 512 << 10);
    EXPECT_EQ(list.epoch(), 9);
    EXPECT_EQ(list.more(), &list != &lists.back());
  }
  EXPECT_EQ(ReadBack(lists, 9, uint64_t{1} << 41), runs);
}

TEST(DirtyPageList, TooManyRunsAreJoinedAndNoPageIsLost) {
  PageRuns runs;
  // Pairs with one page between them, and ten between the pairs.
  for (uint64_t i = 0; i < kDirtyRunsMax; ++i) {
    runs.push_back({i * 20, 5});
    runs.push_back({i * 20 + 6, 4});
  }
  const PageRuns joined = ReadBack(DirtyPageListsOf(2, runs), 2, uint64_t{1} << 40);
  ASSERT_THAT(joined, SizeIs(kDirtyRunsMax));
  for (uint64_t i = 0; i < kDirtyRunsMax; ++i) ASSERT_TRUE((joined[i] == PageRun{i * 20, 10})) << i;
}

TEST(DirtyPageList, ARunLongerThanAMessageCanSayIsSplitAndPutTogetherAgain) {
  const PageRuns runs = {{5, uint64_t{5} << 32}};
  const std::vector<DirtyPageList> lists = DirtyPageListsOf(2, runs);
  EXPECT_GT(lists[0].runs_size(), 1);
  EXPECT_EQ(ReadBack(lists, 2, uint64_t{1} << 40), runs);
}

TEST(DirtyPageList, TheBoundIsBeyondAllFramesOfAGuest) {
  // A PVH guest of 128 MiB has its special pages right below 4 GiB.
  EXPECT_GT(GuestFrameBound(128 << 10), 0xfefff);
  // One of 8 GiB has memory up to 8 GiB and what the hole below 4 GiB has displaced.
  EXPECT_GE(GuestFrameBound(8 << 20), (uint64_t{8} << 18) + (uint64_t{4} << 18));
}

struct Bad {
  std::string name;
  std::vector<DirtyPageList> lists;  // All but the last are good.
  std::string why;
};

TEST(DirtyPageList, WhatIsWrongWithAListIsSaid) {
  const std::vector<Bad> cases = {
      {"stale", {List(3, {{1, 1}})}, "one of checkpoint 3 came"},
      {"of the future", {List(5, {{1, 1}})}, "one of checkpoint 5 came"},
      {"after the last", {List(4, {{1, 1}}), List(4, {{5, 1}})}, "after the last"},
      {"empty, with more to come", {List(4, {}, true)}, "not the last"},
      {"an empty run", {List(4, {{1, 0}})}, "an empty run"},
      {"beyond the guest", {List(4, {{kBound, 1}})}, "has none from 1000"},
      {"reaching beyond the guest", {List(4, {{kBound - 1, 2}})}, "has none from 1000"},
      {"wrapping around", {List(4, {{~uint64_t{0}, 1}})}, "has none from 1000"},
      {"descending", {List(4, {{10, 1}, {8, 1}})}, "frame 8 after frame 10"},
      {"twice", {List(4, {{10, 1}, {10, 1}})}, "frame 10 after frame 10"},
      {"overlapping", {List(4, {{10, 5}, {14, 5}})}, "frame 14 after frame 14"},
      {"descending over two lists", {List(4, {{10, 1}}, true), List(4, {{9, 1}})}, "frame 9 after frame 10"},
  };
  for (const Bad& bad : cases) {
    SCOPED_TRACE(bad.name);
    DirtyPageListReader reader(4, kBound);
    for (size_t i = 0; i + 1 < bad.lists.size(); ++i) EXPECT_TRUE(reader.Add(bad.lists[i]).ok());
    const absl::Status status = reader.Add(bad.lists.back());
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(bad.why));
    EXPECT_THAT(std::string(status.message()), HasSubstr("checkpoint 4"));
  }
}

TEST(DirtyPageList, MoreRunsThanEitherSideHoldsAreRefused) {
  DirtyPageListReader reader(2, uint64_t{1} << 40);
  uint64_t gfn = 0;
  absl::Status status;
  size_t lists = 0;
  while (status.ok()) {
    DirtyPageList list;
    list.set_epoch(2);
    list.set_more(true);
    for (size_t i = 0; i < kDirtyRunsPerListMax; ++i) {
      // Adjacent, so that what is held of them is one run: the bound is on what is read.
      list.add_runs()->set_first_gfn(gfn++);
      list.mutable_runs(static_cast<int>(i))->set_count(1);
    }
    status = reader.Add(list);
    ASSERT_LE(++lists, kDirtyRunsMax / kDirtyRunsPerListMax + 1);
  }
  EXPECT_EQ(lists, kDirtyRunsMax / kDirtyRunsPerListMax + 1);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
}

TEST(DirtyPageList, AdjacentRunsBecomeOne) {
  DirtyPageListReader reader(2, kBound);
  EXPECT_TRUE(reader.Add(List(2, {{1, 2}, {3, 1}}, true)).ok());
  EXPECT_TRUE(reader.Add(List(2, {{4, 1}, {6, 1}})).ok());
  EXPECT_THAT(reader.Take(), ElementsAre(PageRun{1, 4}, PageRun{6, 1}));
}

}  // namespace
}  // namespace romulus
