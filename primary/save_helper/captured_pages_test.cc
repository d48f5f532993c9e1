#include "primary/save_helper/captured_pages.h"

#include <gtest/gtest.h>

#include <string>

#include "common/stream/stream_format.h"

namespace romulus {
namespace {

using stream_format::kPageBytes;

std::string Page(char fill) { return std::string(kPageBytes, fill); }

TEST(CapturedPagesTest, APageIsUnchangedUntilAByteOfItDiffers) {
  CapturedPages pages(4 * kPageBytes);
  std::string page = Page('a');
  EXPECT_FALSE(pages.Unchanged(7, page.data())) << "never captured";
  pages.Keep(7, page.data());
  EXPECT_TRUE(pages.Unchanged(7, page.data()));
  EXPECT_FALSE(pages.Unchanged(8, page.data())) << "another frame";
  for (const size_t at : {size_t{0}, kPageBytes / 2, kPageBytes - 1}) {
    std::string changed = page;
    changed[at] = 'b';
    EXPECT_FALSE(pages.Unchanged(7, changed.data())) << at;
  }
  page.back() = 'c';
  pages.Keep(7, page.data());
  EXPECT_TRUE(pages.Unchanged(7, page.data())) << "as captured last, not first";
  EXPECT_FALSE(pages.Unchanged(7, Page('a').data()));
}

TEST(CapturedPagesTest, WhatIsForgottenIsNotUnchanged) {
  CapturedPages pages(4 * kPageBytes);
  pages.Keep(7, Page('a').data());
  pages.Forget(7);
  pages.Forget(9);
  EXPECT_FALSE(pages.Unchanged(7, Page('a').data()));
  // Its place is another's.
  for (uint64_t frame = 10; frame < 14; ++frame) pages.Keep(frame, Page('b').data());
  for (uint64_t frame = 10; frame < 14; ++frame) EXPECT_TRUE(pages.Unchanged(frame, Page('b').data())) << frame;
}

TEST(CapturedPagesTest, WithinItsBoundItForgetsOnlyWhatIsNotAskedFor) {
  CapturedPages pages(4 * kPageBytes);
  const std::string page = Page('a');
  for (uint64_t frame = 0; frame < 4; ++frame) pages.Keep(frame, page.data());
  // A new one in each checkpoint: it finds no place but frame 2's.
  uint64_t newcomer = 100;
  for (bool kept = false; !kept; ++newcomer) {
    ASSERT_LT(newcomer, 200);
    pages.EndCheckpoint();
    for (const uint64_t frame : {0, 1, 3}) ASSERT_TRUE(pages.Unchanged(frame, page.data())) << frame;
    pages.Keep(newcomer, page.data());
    kept = pages.Unchanged(newcomer, page.data());
  }
  EXPECT_FALSE(pages.Unchanged(2, page.data()));
}

TEST(CapturedPagesTest, WhatIsNotAskedForIsForgottenInTimeAndItsMemoryUsedAgain) {
  CapturedPages pages(4096 * kPageBytes);
  const std::string page = Page('a');
  uint64_t frame = 1000;
  size_t memory = 0;
  for (uint32_t checkpoint = 0; checkpoint < 20 * CapturedPages::kKeptIdle; ++checkpoint) {
    EXPECT_EQ(pages.Unchanged(7, page.data()), checkpoint > 0) << checkpoint;
    pages.Keep(7, page.data());
    pages.Keep(frame++, page.data());  // Another one each time, never again.
    pages.EndCheckpoint();
    if (checkpoint == 3 * CapturedPages::kKeptIdle) memory = pages.memory_bytes();
  }
  EXPECT_EQ(pages.memory_bytes(), memory);
  EXPECT_TRUE(pages.Unchanged(frame - 1, page.data()));
  EXPECT_FALSE(pages.Unchanged(1000, page.data()));
}

TEST(CapturedPagesTest, MemoryIsTakenAsNeededAndBounded) {
  constexpr size_t kBound = 1000 * kPageBytes;
  CapturedPages pages(kBound);
  EXPECT_EQ(pages.memory_bytes(), 0);
  pages.Keep(1, Page('a').data());
  EXPECT_LT(pages.memory_bytes(), kBound / 2);
  for (uint64_t frame = 0; frame < 5000; ++frame) {
    pages.Keep(frame, Page('a').data());
    if (frame % 100 == 99) pages.EndCheckpoint();
  }
  EXPECT_GE(pages.memory_bytes(), kBound);
  EXPECT_LT(pages.memory_bytes(), kBound * 11 / 10);
  int known = 0;
  for (uint64_t frame = 0; frame < 5000; ++frame) known += pages.Unchanged(frame, Page('a').data());
  EXPECT_EQ(known, 1000);
}

TEST(CapturedPagesTest, WithoutMemoryEveryPageIsNew) {
  CapturedPages pages(kPageBytes - 1);
  pages.Keep(1, Page('a').data());
  EXPECT_FALSE(pages.Unchanged(1, Page('a').data()));
  EXPECT_EQ(pages.memory_bytes(), 0);
}

}  // namespace
}  // namespace romulus
