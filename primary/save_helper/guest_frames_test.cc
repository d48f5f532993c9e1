// What SaveLoop knows of a guest's frame numbers: which have memory, where it is mapped, which are dirty.

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>
#include <vector>

#include "common/stream/stream_format.h"
#include "primary/save_helper/checkpoint_writer.h"
#include "primary/save_helper/dirty_frames.h"
#include "primary/save_helper/frame_map.h"
#include "primary/save_helper/populated_frames.h"
#include "primary/save_helper/seeding_rounds.h"
#include "primary/save_helper/tracking_resets.h"

namespace romulus {
namespace {

std::vector<uint64_t> AllOf(absl::Span<const uint64_t> bitmap, size_t batch) {
  DirtyFrames dirty(bitmap);
  std::vector<uint64_t> found, some(batch);
  while (const size_t count = dirty.Next(absl::MakeSpan(some)))
    found.insert(found.end(), some.begin(), some.begin() + count);
  return found;
}

TEST(DirtyFramesTest, FindsEveryBitOnce) {
  std::mt19937_64 random(7);
  for (int round = 0; round < 100; ++round) {
    std::vector<uint64_t> bitmap(random() % 20);
    std::vector<uint64_t> expected;
    for (size_t i = 0; i < bitmap.size() * 64; ++i) {
      if (random() % 9 != 0) continue;
      bitmap[i / 64] |= uint64_t{1} << i % 64;
      expected.push_back(i);
    }
    EXPECT_EQ(AllOf(bitmap, 1 + random() % 10), expected);
  }
  EXPECT_EQ(AllOf(std::vector<uint64_t>{~uint64_t{0}, 0, uint64_t{1} << 63}, 64).size(), 65);
}

TEST(FrameMapTest, FindsWhatWasAddedAndNothingElse) {
  constexpr size_t kPage = stream_format::kPageBytes;
  const char* const memory = nullptr;
  FrameMap map;
  EXPECT_EQ(map.Find(0), nullptr);
  map.Add(3, 2, memory + 10 * kPage);
  map.Add(5, 1, memory + 12 * kPage);  // Goes on where the one before ends.
  map.Add(6, 1, memory + 20 * kPage);
  map.Add(9, 4, memory + 30 * kPage);
  EXPECT_EQ(map.runs().size(), 3);
  EXPECT_EQ(map.size(), 8);
  for (const bool ascending : {true, false}) {
    for (int i = 0; i < 20; ++i) {
      const uint64_t frame = ascending ? i : 19 - i;
      const char* const expected = frame >= 3 && frame <= 5    ? memory + (frame + 7) * kPage
                                   : frame == 6                ? memory + 20 * kPage
                                   : frame >= 9 && frame <= 12 ? memory + (frame + 21) * kPage
                                                               : nullptr;
      EXPECT_EQ(map.Find(frame), expected) << frame;
    }
  }
}

class PopulatedFramesTest : public testing::Test {
 protected:
  absl::StatusOr<std::vector<uint64_t>> Find(uint64_t numbers, uint64_t expected) {
    return FindPopulatedFrames(numbers, expected, 1024, [this](absl::Span<uint64_t> batch) {
      ++calls_;
      for (uint64_t& entry : batch) {
        EXPECT_TRUE(asked_.insert(entry).second) << entry << " was asked for twice";
        if (populated_.count(entry) == 0) entry |= uint64_t{stream_format::kFrameTypeXtab} << 60;
      }
      return status_;
    });
  }
  void Populate(uint64_t first, uint64_t end) {
    for (uint64_t frame = first; frame < end; ++frame) populated_.insert(frame);
  }

  std::set<uint64_t> populated_, asked_;
  int calls_ = 0;
  absl::Status status_;
};

TEST_F(PopulatedFramesTest, APvhGuestOf128MegabytesIsFoundInAFewCalls) {
  Populate(0, 0x8000);
  Populate(0xfeff0, 0xff000);
  const auto found = Find(0xff000, populated_.size());
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(*found, std::vector<uint64_t>(populated_.begin(), populated_.end()));
  EXPECT_LE(calls_, 70) << "of a thousand";
}

TEST_F(PopulatedFramesTest, WhereTheNumberDoesNotComeTogetherEverythingIsAskedFor) {
  std::mt19937_64 random(3);
  for (int i = 0; i < 500; ++i) populated_.insert(random() % 10000);
  const auto found = Find(10000, populated_.size() + 1);
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(*found, std::vector<uint64_t>(populated_.begin(), populated_.end()));
  EXPECT_EQ(asked_.size(), 10000);
}

TEST_F(PopulatedFramesTest, ErrorsEndIt) {
  status_ = absl::NotFoundError("gone");
  EXPECT_TRUE(absl::IsNotFound(Find(10000, 5).status()));
  EXPECT_EQ(calls_, 1);
}

TEST(SeedingRoundsTest, EndsWhenItConvergesOrWillNot) {
  SeedingRounds converging;
  EXPECT_TRUE(converging.AnotherRound(1, 3000));
  EXPECT_TRUE(converging.AnotherRound(2, 50));
  EXPECT_FALSE(converging.AnotherRound(3, 49));
  SeedingRounds slow;
  for (uint32_t round = 1; round < 5; ++round) EXPECT_TRUE(slow.AnotherRound(round, 3000 - round));
  EXPECT_FALSE(slow.AnotherRound(5, 2000));
  SeedingRounds busy;
  EXPECT_TRUE(busy.AnotherRound(1, 3000));
  EXPECT_FALSE(busy.AnotherRound(2, 3000)) << "no progress";
}

// What each of `count` checkpoints does: R, a reset, or "-". `dirtied(n)`: pages that epoch n writes; `others`: others
// each time, else the same.
std::string Resets(TrackingResets resets, int count, uint64_t dirtied, bool others) {
  std::string story;
  uint64_t since_reset = 0;
  for (int n = 0; n < count; ++n) {
    since_reset = others ? since_reset + dirtied : dirtied;
    const bool reset = resets.ResetNext(since_reset);
    resets.OnTaken(reset, since_reset);
    if (reset) since_reset = 0;
    story += reset ? 'R' : '-';
  }
  return story;
}

TEST(TrackingResetsTest, AGuestThatWritesTheSamePagesIsHardlyEverTrackedAnew) {
  constexpr int kMost = TrackingResets::kMostCheckpoints;
  EXPECT_EQ(Resets(TrackingResets(), kMost + 2, 470, false), "R" + std::string(kMost - 1, '-') + "R-");
}

TEST(TrackingResetsTest, AGuestThatWritesOtherPagesIsTrackedAnewAndTriedLessAndLessOften) {
  EXPECT_EQ(Resets(TrackingResets(), 30, 5000, true),
            "R-R"
            "R"
            "-R"
            "RR"
            "-R"
            "RRRR"
            "-R"
            "RRRRRRRR"
            "-R"
            "RRRR");
}

TEST(TrackingResetsTest, AFewPagesMoreAreNoReason) {
  TrackingResets resets;
  resets.OnTaken(true, 9000);
  EXPECT_FALSE(resets.ResetNext(470)) << "nothing is known yet";
  resets.OnTaken(false, 470);
  EXPECT_FALSE(resets.ResetNext(TrackingResets::Allowed(470)));
  EXPECT_TRUE(resets.ResetNext(TrackingResets::Allowed(470) + 1));
}

}  // namespace
}  // namespace romulus
