#include "common/attachments/attachments_record.h"

#include <cstring>

#include "common/stream/stream_format.h"
#include "gtest/gtest.h"

namespace romulus {
namespace {

std::string Record(uint32_t type, uint32_t length, const std::string& body) {
  std::string bytes(8, '\0');
  memcpy(bytes.data(), &type, 4);
  memcpy(bytes.data() + 4, &length, 4);
  return bytes + body;
}

std::string Joined(const std::vector<absl::Span<const char>>& pieces) {
  std::string all;
  for (const absl::Span<const char> piece : pieces) all.append(piece.data(), piece.size());
  return all;
}

TEST(AttachmentsRecord, IsTakenOutWhereverThePiecesEnd) {
  const std::string all = Record(stream_format::kAttachments, 5, std::string("hello\0\0\0", 8)) + "the rest";
  const CheckpointBytes whole{all};
  const auto found = FindAttachments(whole);
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(found->body, "hello");
  EXPECT_EQ(found->length, 16);
  for (size_t first = 0; first <= all.size(); ++first) {
    const absl::Span<const char> pieces[] = {absl::MakeConstSpan(all.data(), first),
                                             absl::MakeConstSpan(all.data() + first, all.size() - first)};
    EXPECT_EQ(Joined(WithoutPrefix(pieces, found->length)), "the rest") << first;
    EXPECT_EQ(Joined(WithoutPrefix(pieces, 0)), all) << first;
  }
}

TEST(AttachmentsRecord, IsNotInEveryCheckpoint) {
  for (const std::string& bytes :
       {std::string(), std::string("short"), Record(stream_format::kPageData, 8, "12345678")}) {
    const auto found = FindAttachments(CheckpointBytes(bytes));
    ASSERT_TRUE(found.ok()) << found.status();
    EXPECT_EQ(found->body, "");
    EXPECT_EQ(found->length, 0);
  }
}

TEST(AttachmentsRecord, ThatIsTooLongIsRefused) {
  EXPECT_EQ(FindAttachments(CheckpointBytes(Record(stream_format::kAttachments, 9, "12345678"))).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(
      FindAttachments(CheckpointBytes(Record(stream_format::kAttachments, 0xffffffff, "12345678"))).status().code(),
      absl::StatusCode::kInvalidArgument);
  // Also where all of it is there.
  const uint32_t longer = stream_format::kAttachmentsBytesMax + 8;
  EXPECT_EQ(FindAttachments(CheckpointBytes(Record(stream_format::kAttachments, longer, std::string(longer, 'g'))))
                .status()
                .code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace romulus
