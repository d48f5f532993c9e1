#include "common/attachments/grant_writers.h"

#include <cstring>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace romulus {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

grant_entry_v1_t Entry(uint16_t flags, uint32_t frame) { return {.flags = flags, .domid = 0, .frame = frame}; }

TEST(GrantWriters, AreTakenBackUnlessTheyAreInUse) {
  grant_entry_v1_t entries[] = {
      Entry(GTF_invalid, 1),
      Entry(GTF_permit_access, 2),                 // A receive buffer.
      Entry(GTF_permit_access | GTF_readonly, 3),  // A packet to be sent.
      Entry(GTF_permit_access | GTF_reading | GTF_writing, 9),
      Entry(GTF_permit_access | GTF_reading, 5),  // Read only so far.
      Entry(GTF_permit_access | GTF_readonly | GTF_reading, 6),
      Entry(GTF_accept_transfer, 7),
      Entry(GTF_permit_access | GTF_writing, 5),
      Entry(GTF_invalid | GTF_readonly, 8),
  };
  grant_entry_v1_t before[std::size(entries)];
  memcpy(before, entries, sizeof(entries));

  const GrantWriters writers = TakeBackWriters(absl::MakeSpan(entries));
  EXPECT_THAT(writers.in_use, ElementsAre(5, 9));
  EXPECT_THAT(writers.taken_back,
              ElementsAre(std::pair(size_t{1}, GTF_permit_access), std::pair(size_t{6}, GTF_accept_transfer)));
  for (const size_t i : {1, 6}) {
    EXPECT_EQ(entries[i].flags, 0) << i;
    EXPECT_EQ(entries[i].frame, before[i].frame) << "only the flags decide";
    entries[i].flags = before[i].flags;
  }
  EXPECT_EQ(memcmp(entries, before, sizeof(entries)), 0) << "all others stay";
}

TEST(GrantWriters, AreGivenBackAsTheyWere) {
  grant_entry_v1_t entries[] = {Entry(GTF_permit_access, 2), Entry(GTF_permit_access | GTF_PWT, 3)};
  grant_entry_v1_t before[std::size(entries)];
  memcpy(before, entries, sizeof(entries));
  const GrantWriters writers = TakeBackWriters(absl::MakeSpan(entries));
  EXPECT_THAT(TakeBackWriters(absl::MakeSpan(entries)).taken_back, IsEmpty()) << "nothing is left to take";
  GiveBackWriters(absl::MakeSpan(entries), writers);
  EXPECT_EQ(memcmp(entries, before, sizeof(entries)), 0);
}

}  // namespace
}  // namespace romulus
