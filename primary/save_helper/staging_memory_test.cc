#include "primary/save_helper/staging_memory.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

namespace romulus {
namespace {

constexpr size_t kMiB = size_t{1} << 20;

class StagingMemoryTest : public testing::Test {
 protected:
  size_t Stored() {
    struct stat status {};
    EXPECT_EQ(fstat(file_.get(), &status), 0);
    return static_cast<size_t>(status.st_blocks) * 512;
  }

  UniqueFd file_{memfd_create("staging", MFD_CLOEXEC)};
  StagingMemory memory_ = *StagingMemory::New(UniqueFd(dup(file_.get())), 4 * kMiB);
};

TEST_F(StagingMemoryTest, HoldsWhatWasAppendedSinceRewind) {
  ASSERT_TRUE(memory_.Append(std::string("old bytes")).ok());
  memory_.Rewind();
  ASSERT_TRUE(memory_.Append(std::string("new")).ok());
  ASSERT_TRUE(memory_.Append(std::string(2 * kMiB, 'x')).ok());
  EXPECT_EQ(memory_.length(), 2 * kMiB + 3);
  char start[5];
  EXPECT_EQ(pread(file_.get(), start, 5, 0), 5);
  EXPECT_EQ(std::string(start, 5), "newxx");
}

TEST_F(StagingMemoryTest, NothingIsTakenBeforeItIsNeededAndAllThatIsReservedIsThere) {
  EXPECT_EQ(Stored(), 0);
  ASSERT_TRUE(memory_.Reserve(kMiB + 1).ok());
  EXPECT_EQ(memory_.reserved(), 2 * kMiB);
  EXPECT_GE(Stored(), 2 * kMiB);
  ASSERT_TRUE(memory_.Reserve(1).ok());
  EXPECT_EQ(memory_.reserved(), 2 * kMiB);
}

TEST_F(StagingMemoryTest, WhatIsTrimmedIsGivenBackAndTheFileCanBeUsedAgain) {
  ASSERT_TRUE(memory_.Append(std::string(3 * kMiB, 'x')).ok());
  memory_.Trim(kMiB);
  EXPECT_LT(Stored(), 2 * kMiB);
  EXPECT_EQ(memory_.reserved(), kMiB);
  memory_.Rewind();
  ASSERT_TRUE(memory_.Append(std::string(3 * kMiB, 'y')).ok());
  char last;
  EXPECT_EQ(pread(file_.get(), &last, 1, 3 * kMiB - 1), 1);
  EXPECT_EQ(last, 'y');
}

TEST_F(StagingMemoryTest, BeyondItsLimitItRefuses) {
  ASSERT_TRUE(memory_.Append(std::string(4 * kMiB, 'x')).ok());
  EXPECT_TRUE(absl::IsResourceExhausted(memory_.Append(std::string("y"))));
  EXPECT_EQ(memory_.length(), 4 * kMiB);
}

TEST_F(StagingMemoryTest, MoreThanTheHostHasIsRefusedAndNotTaken) {
  constexpr size_t kMoreThanAnyHost = size_t{1} << 44;
  absl::StatusOr<StagingMemory> large = StagingMemory::New(UniqueFd(dup(file_.get())), kMoreThanAnyHost);
  ASSERT_TRUE(large.ok()) << large.status();
  const absl::Status refused = large->Reserve(kMoreThanAnyHost);
  EXPECT_TRUE(absl::IsResourceExhausted(refused)) << refused;
  EXPECT_EQ(Stored(), 0);
  EXPECT_TRUE(large->Reserve(kMiB).ok());
}

}  // namespace
}  // namespace romulus
