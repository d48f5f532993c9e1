#include "primary/save_helper/checkpoint_writer.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "common/stream/record_scanner.h"
#include "common/stream/synthetic_stream.h"

namespace romulus {
namespace {

using stream_format::kPageBytes;

class StringSink final : public StreamSink {
 public:
  absl::Status Append(absl::Span<const char> piece) override {
    ++pieces;
    bytes.append(piece.data(), piece.size());
    return status;
  }
  std::string bytes;
  int pieces = 0;
  absl::Status status;
};

// Frame i's page is full of letter 'a' + i.
class CheckpointWriterTest : public testing::Test {
 protected:
  CheckpointWriterTest() : memory_(8 * kPageBytes, '?') {
    for (int page = 0; page < 8; ++page) memory_.replace(page * kPageBytes, kPageBytes, kPageBytes, 'a' + page);
    frames_.Add(0, 4, memory_.data());
    frames_.Add(100, 2, memory_.data() + 4 * kPageBytes);
    frames_.Add(200, 1, memory_.data() + 7 * kPageBytes);
  }
  static uint64_t Entry(uint64_t frame, uint64_t type) { return type << stream_format::kFrameTypeShift | frame; }
  std::string PageOf(char letter) { return std::string(kPageBytes, letter); }

  std::string memory_;
  FrameMap frames_;
  StringSink sink_;
  CheckpointWriter writer_{sink_};
};

TEST_F(CheckpointWriterTest, PagesAreALibxcRecordAndWhatLiesTogetherGoesTogether) {
  const std::vector<uint64_t> entries = {
      1, 2, Entry(50, stream_format::kFrameTypeXtab), 100, Entry(101, stream_format::kFrameTypeBroken), 200};
  ASSERT_TRUE(writer_.Pages(entries, frames_).ok());
  SyntheticStream expected;
  expected.PageData({{1, 0, PageOf('b')},
                     {2, 0, PageOf('c')},
                     {50, stream_format::kFrameTypeXtab, ""},
                     {100, 0, PageOf('e')},
                     {101, stream_format::kFrameTypeBroken, ""},
                     {200, 0, PageOf('h')}});
  EXPECT_EQ(sink_.bytes, expected.bytes());
  EXPECT_EQ(sink_.pieces, 4) << "head, 1 and 2, 100, 200";
  EXPECT_EQ(writer_.page_count(), 4);
  EXPECT_EQ(writer_.length(), sink_.bytes.size());
  writer_.Restart();
  EXPECT_EQ(writer_.page_count(), 0);
}

TEST_F(CheckpointWriterTest, WholeCheckpointsAreWhatRestoreTakes) {
  ASSERT_TRUE(writer_.Headers(4, 17).ok());
  ASSERT_TRUE(writer_.Record(stream_format::kCpuidPolicy, std::string(24, 'x')).ok());
  ASSERT_TRUE(writer_.Record(stream_format::kStaticDataEnd, {}).ok());
  for (const auto checkpoint : {RecordScanner::Checkpoint::kFirst, RecordScanner::Checkpoint::kLater}) {
    ASSERT_TRUE(writer_.Pages(std::vector<uint64_t>{0, 1, 100}, frames_).ok());
    ASSERT_TRUE(writer_.Tsc({2, 2400000, 77, 1}).ok());
    ASSERT_TRUE(writer_.Record(stream_format::kHvmContext, std::string(13, 'v')).ok());
    ASSERT_TRUE(writer_.HvmParams(std::vector<CheckpointWriter::HvmParam>{{1, 7}, {2, 0}, {17, 9}}).ok());
    EXPECT_EQ(sink_.bytes.size() % stream_format::kRecordAlignment, 0);
    RecordScanner early(checkpoint);
    ASSERT_TRUE(early.Feed(sink_.bytes).ok());
    EXPECT_FALSE(early.complete());
    ASSERT_TRUE(writer_.EndCheckpoint().ok());
    RecordScanner scanner(checkpoint);
    ASSERT_TRUE(scanner.Feed(sink_.bytes).ok());
    EXPECT_TRUE(scanner.complete());
    EXPECT_EQ(scanner.page_count(), 3);
    sink_.bytes.clear();
  }
}

TEST_F(CheckpointWriterTest, WrittenPagesAreReadBackFromBetweenOtherRecords) {
  constexpr uint64_t kGone = uint64_t{stream_format::kFrameTypeXtab} << stream_format::kFrameTypeShift | 7;
  ASSERT_TRUE(writer_.Pages(std::vector<uint64_t>{0, kGone, 100}, frames_).ok());
  ASSERT_TRUE(writer_.Record(stream_format::kHvmContext, std::string(13, 'v')).ok());
  ASSERT_TRUE(writer_.Pages(std::vector<uint64_t>{1}, frames_).ok());
  ASSERT_TRUE(writer_.EndCheckpoint().ok());
  std::vector<uint64_t> entries;
  ForEachWrittenPage(sink_.bytes, [&](uint64_t entry, const char* page) {
    entries.push_back(entry);
    ASSERT_EQ(page == nullptr, entry == kGone);
    if (page == nullptr) return;
    EXPECT_EQ(memcmp(page, frames_.Find(entry), stream_format::kPageBytes), 0) << entry;
  });
  EXPECT_EQ(entries, (std::vector<uint64_t>{0, kGone, 100, 1}));
}

TEST_F(CheckpointWriterTest, ParametersWithoutValueAreLeftOut) {
  ASSERT_TRUE(writer_.HvmParams(std::vector<CheckpointWriter::HvmParam>{{1, 0}, {2, 0}}).ok());
  EXPECT_EQ(sink_.bytes, "");
  ASSERT_TRUE(writer_.HvmParams(std::vector<CheckpointWriter::HvmParam>{{1, 0}, {2, 5}}).ok());
  const uint64_t expected[] = {uint64_t{24} << 32 | stream_format::kHvmParams, 1, 2, 5};
  EXPECT_EQ(sink_.bytes, std::string(reinterpret_cast<const char*>(expected), sizeof(expected)));
}

TEST_F(CheckpointWriterTest, ASinksErrorIsReturned) {
  sink_.status = absl::ResourceExhaustedError("full");
  EXPECT_TRUE(absl::IsResourceExhausted(writer_.Pages(std::vector<uint64_t>{0}, frames_)));
  EXPECT_TRUE(absl::IsResourceExhausted(writer_.EndCheckpoint()));
}

TEST_F(CheckpointWriterTest, AFrameThatIsNotMappedIsABug) {
  EXPECT_DEATH((void)writer_.Pages(std::vector<uint64_t>{5}, frames_), "page");
}

}  // namespace
}  // namespace romulus
