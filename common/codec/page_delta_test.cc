#include "common/codec/page_delta.h"

#include <gtest/gtest.h>

#include <bit>
#include <random>
#include <string>

namespace romulus {
namespace {

constexpr size_t kPage = 4096;

std::string RandomPage(std::mt19937_64* random) {
  std::string page(kPage, '\0');
  for (char& byte : page) byte = static_cast<char>((*random)());
  return page;
}

// As the definition says, byte by byte.
void ExpectDifference(const std::string& before, const std::string& after, const PageDifference& difference) {
  uint32_t changed = 0;
  uint32_t runs = 0;
  for (size_t i = 0; i < kPage; ++i) {
    const bool differs = before[i] != after[i];
    ASSERT_EQ(difference.words[i / 64] >> (i % 64) & 1, differs) << i;
    changed += differs;
    runs += differs && (i == 0 || before[i - 1] == after[i - 1]);
  }
  EXPECT_EQ(difference.changed_bytes, changed);
  EXPECT_EQ(difference.runs, runs);
}

void ExpectPatches(const std::string& before, const std::string& after) {
  const PageDifference difference = Compare(before.data(), after.data());
  ExpectDifference(before, after, difference);
  GrowableBytes control;
  GrowableBytes bytes;
  AppendPatch(difference, after.data(), &control, &bytes);
  absl::Span<const char> control_left = control.span();
  absl::Span<const char> bytes_left = bytes.span();
  std::string page = before;
  ASSERT_TRUE(ApplyPatch(&control_left, &bytes_left, page.data()));
  EXPECT_TRUE(page == after);
  EXPECT_TRUE(control_left.empty());
  EXPECT_TRUE(bytes_left.empty());
}

TEST(PageDelta, TheSamePageHasNoOtherByte) {
  std::mt19937_64 random(3);
  const std::string page = RandomPage(&random);
  std::string other = page;
  EXPECT_TRUE(SamePage(page.data(), other.data()));
  for (size_t at = 0; at < kPage; ++at) {
    other[at] = static_cast<char>(page[at] ^ (1 << at % 8));
    ASSERT_FALSE(SamePage(page.data(), other.data())) << at;
    other[at] = page[at];
  }
}

TEST(PageDelta, PatchesWhateverHasChanged) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 300; ++i) {
    const std::string before = RandomPage(&random);
    std::string after = before;
    for (uint64_t changes = random() % (i + 1); changes > 0; --changes) {
      const size_t at = random() % kPage;
      const size_t length = std::min<size_t>(1 + random() % 20, kPage - at);
      for (size_t k = at; k < at + length; ++k) after[k] = static_cast<char>(random());
    }
    ExpectPatches(before, after);
    ExpectPatches(before, RandomPage(&random));
  }
}

TEST(PageDelta, PatchesTheEdgesAndThePatternsWithMostRuns) {
  const std::string zero(kPage, '\0');
  ExpectPatches(zero, zero);
  ExpectPatches(zero, std::string(kPage, 'x'));
  for (const size_t at : {size_t{0}, size_t{1}, size_t{63}, size_t{64}, size_t{4094}, size_t{4095}}) {
    std::string after = zero;
    after[at] = 'x';
    ExpectPatches(zero, after);
  }
  for (size_t period = 2; period < 70; ++period) {
    std::string after = zero;
    for (size_t at = period - 1; at < kPage; at += period) after[at] = 'x';
    ExpectPatches(zero, after);
  }
}

TEST(PageDelta, JoinsRunsThatAreNearerThanTwoVarints) {
  const std::string before(kPage, '\0');
  std::string after = before;
  after[100] = after[104] = 'x';  // 3 unchanged bytes between them: one run of 5.
  after[200] = after[205] = 'y';  // 4: two of 1.
  GrowableBytes control;
  GrowableBytes bytes;
  AppendPatch(Compare(before.data(), after.data()), after.data(), &control, &bytes);
  EXPECT_EQ(control.span()[0], 3);
  EXPECT_EQ(bytes.size(), 5 + 1 + 1);
}

TEST(PageDelta, RefusesPatchesThatLeaveThePage) {
  const auto Apply = [](const std::string& control, const std::string& bytes) {
    std::string page(kPage, '\0');
    absl::Span<const char> control_left(control.data(), control.size());
    absl::Span<const char> bytes_left(bytes.data(), bytes.size());
    return ApplyPatch(&control_left, &bytes_left, page.data());
  };
  const std::string page(kPage, 'x');
  const std::string length_4096 = "\x80\x20";
  EXPECT_TRUE(Apply(std::string("\1\0", 2) + length_4096, page));
  EXPECT_FALSE(Apply(std::string("\1\1", 2) + length_4096, page));                           // One too far.
  EXPECT_FALSE(Apply(std::string("\1\0", 2) + length_4096, page.substr(1)));                 // Too few bytes.
  EXPECT_FALSE(Apply(std::string("\1\xff\xff\xff\xff\xff\xff\xff\xff\xff\1\1", 12), page));  // Wraps around.
  EXPECT_FALSE(Apply(std::string("\1\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\1", 12), page));  // As above.
  EXPECT_FALSE(Apply(std::string("\1\0", 2), page));                                         // Cut off.
  EXPECT_FALSE(Apply("", page));                                                             // Nothing.
  EXPECT_FALSE(Apply(std::string("\x81\x20") + std::string(20000, '\0'), page));             // 4097 runs.
  EXPECT_FALSE(Apply(std::string("\1\xff\xff\xff\xff\xff\xff\xff\xff\xff\2\1", 12), page));  // Over 64 bits.
}

TEST(PageDelta, KnowsZeroPages) {
  std::string page(kPage, '\0');
  EXPECT_TRUE(IsZeroPage(page.data()));
  for (size_t at = 0; at < kPage; ++at) {
    page[at] = 1;
    EXPECT_FALSE(IsZeroPage(page.data())) << at;
    page[at] = 0;
  }
}

TEST(PageDelta, ComparesWithZeros) {
  std::mt19937_64 random(2);
  const std::string zero(kPage, '\0');
  std::string page = zero;
  for (int i = 0; i < 100; ++i) page[random() % kPage] = static_cast<char>(random());
  ExpectDifference(zero, page, CompareWithZero(page.data()));
}

TEST(PageDelta, TakesAPageForSparseOnlyIfItsBeginningIs) {
  EXPECT_TRUE(LooksSparse(std::string(kPage, '\0').data()));
  EXPECT_FALSE(LooksSparse(std::string(kPage, 'x').data()));
  EXPECT_TRUE(LooksSparse((std::string(448, 'x') + std::string(kPage - 448, '\0')).data()));
  EXPECT_FALSE(LooksSparse((std::string(449, 'x') + std::string(kPage - 449, '\0')).data()));
}

TEST(PageDelta, TellsRandomBytesFromOthersBySamples) {
  std::mt19937_64 random(3);
  for (int i = 0; i < 200; ++i) EXPECT_GE(SampledByteValues(RandomPage(&random).data()), 135);
  EXPECT_EQ(SampledByteValues(std::string(kPage, 'x').data()), 1);
}

}  // namespace
}  // namespace romulus
