#include "secondary/restore_helper/dirty_list.h"

#include <unistd.h>

#include <cstring>
#include <string>
#include <vector>

#include "common/base/unique_fd.h"
#include "common/stream/stream_format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace romulus {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::string ListOf(const std::vector<uint64_t>& frames, uint32_t type = stream_format::kDirtyPfnList) {
  const uint32_t header[2] = {type, static_cast<uint32_t>(frames.size() * 8)};
  std::string bytes(reinterpret_cast<const char*>(header), sizeof(header));
  bytes.append(reinterpret_cast<const char*>(frames.data()), frames.size() * 8);
  return bytes;
}

absl::StatusOr<PageRuns> Read(const std::string& bytes, uint64_t gfn_count = 1000) {
  int ends[2];
  EXPECT_EQ(pipe(ends), 0);
  const UniqueFd reader(ends[0]);
  {
    const UniqueFd writer(ends[1]);
    EXPECT_EQ(write(writer.get(), bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  }
  return ReadDirtyList(reader.get(), gfn_count);
}

TEST(DirtyList, BecomesRuns) {
  EXPECT_THAT(*Read(ListOf({})), IsEmpty());
  EXPECT_THAT(*Read(ListOf({0, 1, 2, 7, 998, 999})), ElementsAre(PageRun{0, 3}, PageRun{7, 1}, PageRun{998, 2}));
}

TEST(DirtyList, ThatIsNoneIsRefused) {
  using absl::StatusCode;
  EXPECT_EQ(Read("").status().code(), StatusCode::kUnavailable);
  EXPECT_EQ(Read(ListOf({1, 2}).substr(0, 23)).status().code(), StatusCode::kUnavailable) << "cut off";
  EXPECT_EQ(Read(ListOf({1}, stream_format::kPageData)).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(Read(ListOf({1000})).status().code(), StatusCode::kInvalidArgument) << "out of range";
  EXPECT_EQ(Read(ListOf({5, 4})).status().code(), StatusCode::kInvalidArgument) << "not ascending";
  EXPECT_EQ(Read(ListOf({5, 5})).status().code(), StatusCode::kInvalidArgument) << "twice";
  EXPECT_EQ(Read(ListOf({0, 1, 2}), 2).status().code(), StatusCode::kInvalidArgument) << "more than there are";
}

}  // namespace
}  // namespace romulus
