#include "common/stream/record_scanner.h"

#include <gtest/gtest.h>

#include <string>

#include "common/stream/stream_format.h"
#include "common/stream/synthetic_stream.h"

namespace romulus {
namespace {

using namespace stream_format;  // NOLINT: tests of that format.
using Checkpoint = RecordScanner::Checkpoint;

SyntheticStream FirstCheckpoint() {
  SyntheticStream stream;
  stream.Preamble()
      .PageData({{1, 0, "one"}, {2, kFrameTypeXtab, ""}, {3, 12, "page table"}})
      .PageData({{4, kFrameTypeXalloc, ""}, {5, kFrameTypeBroken, ""}})
      .State("seven b")
      .EndCheckpoint();
  return stream;
}

SyntheticStream LaterCheckpoint() {
  SyntheticStream stream;
  stream.PageData({{1, 0, "one"}}).State("vcpu").EndCheckpoint();
  return stream;
}

std::string ErrorOf(Checkpoint checkpoint, const SyntheticStream& stream) {
  RecordScanner scanner(checkpoint);
  const absl::Status status = scanner.Feed(stream.bytes());
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  return std::string(status.message());
}

void ExpectError(Checkpoint checkpoint, const SyntheticStream& stream, const std::string& words) {
  EXPECT_NE(ErrorOf(checkpoint, stream).find(words), std::string::npos) << ErrorOf(checkpoint, stream);
}

TEST(RecordScanner, FollowsAStreamInPiecesOfAnySize) {
  const SyntheticStream stream = FirstCheckpoint();
  for (const size_t piece : {size_t{1}, size_t{3}, size_t{8}, size_t{4095}, size_t{1} << 20}) {
    RecordScanner scanner(Checkpoint::kFirst);
    for (size_t at = 0; at < stream.bytes().size(); at += piece) {
      EXPECT_FALSE(scanner.complete());
      const size_t size = std::min(piece, stream.bytes().size() - at);
      ASSERT_TRUE(scanner.Feed(absl::MakeConstSpan(stream.bytes().data() + at, size)).ok());
    }
    EXPECT_TRUE(scanner.complete());
    EXPECT_EQ(scanner.offset(), stream.bytes().size());
    EXPECT_EQ(scanner.page_count(), 2);
  }
}

TEST(RecordScanner, IsCompleteOnlyAtTheEnd) {
  const SyntheticStream stream = FirstCheckpoint();
  const size_t checkpoint_record = stream.bytes().size() - kRecordHeaderBytes;
  for (size_t cut = 0; cut < stream.bytes().size(); ++cut) {
    RecordScanner scanner(Checkpoint::kFirst);
    ASSERT_TRUE(scanner.Feed(absl::MakeConstSpan(stream.bytes().data(), cut)).ok());
    EXPECT_FALSE(scanner.complete()) << cut;
    EXPECT_LE(scanner.offset_before_checkpoint_record(), checkpoint_record);
    EXPECT_GT(scanner.offset_before_checkpoint_record() + kRecordHeaderBytes, cut);
  }
}

TEST(RecordScanner, KnowsWhereTheCheckpointRecordBegins) {
  const SyntheticStream stream = LaterCheckpoint();
  RecordScanner scanner(Checkpoint::kLater);
  ASSERT_TRUE(scanner.Feed(stream.bytes()).ok());
  EXPECT_EQ(scanner.offset_before_checkpoint_record(), stream.bytes().size() - kRecordHeaderBytes);
}

TEST(RecordScanner, RefusesBytesAfterTheCheckpointRecord) {
  SyntheticStream stream = LaterCheckpoint();
  stream.EndCheckpoint();
  ExpectError(Checkpoint::kLater, stream, "bytes follow");
}

TEST(RecordScanner, RefusesHeadersThatAreNotThere) {
  ExpectError(Checkpoint::kFirst, LaterCheckpoint(), "no image header");
  // The header's marker read as a record: an unknown type.
  ExpectError(Checkpoint::kLater, FirstCheckpoint(), "type 0xffffffff");
}

TEST(RecordScanner, RefusesHeadersOfAnotherKind) {
  const struct {
    size_t offset;
    char value;
    const char* words;
  } cases[] = {{0, 0, "no image header"},   {8, 0, "no image header"},        {15, 2, "image version 2"},
               {17, 1, "big-endian image"}, {24, 3, "unknown domain type 3"}, {28, 13, "page shift 13"}};
  for (const auto& c : cases) {
    std::string bytes = FirstCheckpoint().bytes();
    bytes[c.offset] = c.value;
    RecordScanner scanner(Checkpoint::kFirst);
    const absl::Status status = scanner.Feed(bytes);
    EXPECT_NE(status.message().find(c.words), std::string::npos) << status;
  }
}

TEST(RecordScanner, RefusesRecordsThatWouldEndOrUpsetARestore) {
  for (const uint32_t type : {kEnd, kToolstack, kVerify, kDirtyPfnList}) {
    SyntheticStream stream;
    ExpectError(Checkpoint::kLater, stream.Record(type, ""), "no place in a checkpoint");
  }
  SyntheticStream unknown;
  ExpectError(Checkpoint::kLater, unknown.Record(0x13, ""), "type 0x13");
  SyntheticStream optional;
  ExpectError(Checkpoint::kLater, optional.Record(0x80000001, ""), "type 0x80000001");
  SyntheticStream end;
  ExpectError(Checkpoint::kFirst, end.Preamble().Record(kEnd, ""), "END (length 0) at byte");
}

TEST(RecordScanner, TakesAttachmentsAtTheBeginningOfLaterCheckpointsOnly) {
  SyntheticStream stream;
  stream.Record(kAttachments, "grants and ports").PageData({{1, 0, "one"}}).State("vcpu").EndCheckpoint();
  RecordScanner scanner(Checkpoint::kLater);
  EXPECT_TRUE(scanner.Feed(stream.bytes()).ok());
  EXPECT_TRUE(scanner.complete());
  EXPECT_EQ(scanner.page_count(), 1);
  ExpectError(Checkpoint::kLater, SyntheticStream().PageData({{1, 0, "one"}}).Record(kAttachments, "late"),
              "begins a later checkpoint only");
  ExpectError(Checkpoint::kFirst, SyntheticStream().Preamble().Record(kAttachments, "early"),
              "begins a later checkpoint only");
  SyntheticStream longer;
  longer.Record(kAttachments, std::string(kAttachmentsBytesMax + 1, 'g'));
  ExpectError(Checkpoint::kLater, longer, "longer than 1 MiB");
}

TEST(RecordScanner, RefusesDomainDescriptionsOutOfPlace) {
  for (const uint32_t type : {kPvInfo, kPvP2mFrames, kStaticDataEnd, kCpuidPolicy, kMsrPolicy}) {
    SyntheticStream stream;
    ExpectError(Checkpoint::kLater, stream.Record(type, ""), "first checkpoint only");
  }
  SyntheticStream twice;
  ExpectError(Checkpoint::kFirst, twice.Preamble().Record(kStaticDataEnd, ""), "after STATIC_DATA_END");
  SyntheticStream never;
  ExpectError(Checkpoint::kFirst, never.Headers(kDomainHvm).PageData({{1, 0, ""}}), "before STATIC_DATA_END");
}

TEST(RecordScanner, RefusesPageDataThatDoesNotAddUp) {
  const auto Body = [](uint32_t count, size_t rest) {
    std::string body(8 + rest, '\0');
    body[0] = static_cast<char>(count);
    return body;
  };
  const struct {
    std::string body;
    const char* words;
  } cases[] = {
      {"", "too short for its page count"},
      {Body(0, 8), "lists no page"},
      {Body(2, 8), "too short for the 2 pages"},
      {Body(1, 8 + kPageBytes - 1), "too short for the contents"},
      {Body(1, 8 + kPageBytes + 1), "1 bytes longer"},
      {Body(1, 8 + 2 * kPageBytes), "4096 bytes longer"},
  };
  for (const auto& c : cases) {
    SyntheticStream stream;
    ExpectError(Checkpoint::kLater, stream.Record(kPageData, c.body), c.words);
  }
  std::string huge_count(16, '\xff');
  SyntheticStream stream;
  ExpectError(Checkpoint::kLater, stream.Record(kPageData, huge_count), "4294967295 pages");
}

TEST(RecordScanner, RefusesFramesOfUnknownTypes) {
  for (const unsigned type : {5u, 6u, 7u, 8u}) {
    SyntheticStream stream;
    ExpectError(Checkpoint::kLater, stream.PageData({{1, type, ""}}), "unknown type");
  }
  SyntheticStream reserved;
  ExpectError(Checkpoint::kLater, reserved.PageData({{uint64_t{1} << 52, 0, ""}}), "unknown type");
}

TEST(RecordScanner, RefusesRecordsThatAreTooLong) {
  // Only the header: a scanner that waits for the body of a record like this would wait for 4 GiB.
  const std::string header("\x09\0\0\0\x01\0\0\x08", 8);
  RecordScanner scanner(Checkpoint::kLater);
  const absl::Status status = scanner.Feed(header);
  EXPECT_NE(status.message().find("longer than 128 MiB"), std::string::npos) << status;
  SyntheticStream body;
  ExpectError(Checkpoint::kLater, body.Record(kCheckpoint, "x"), "has a body");
}

}  // namespace
}  // namespace romulus
