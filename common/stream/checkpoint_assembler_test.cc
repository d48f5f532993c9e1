#include "common/stream/checkpoint_assembler.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "common/stream/checkpoint_chunker.h"
#include "common/stream/memory_checkpoint.h"
#include "common/stream/stream_format.h"
#include "common/stream/synthetic_stream.h"

namespace romulus {
namespace {

using namespace stream_format;  // NOLINT: tests of that format.
using replication::v1::CheckpointData;
using replication::v1::CheckpointTrailer;
using replication::v1::PrimaryMessage;

constexpr CheckpointAssembler::Limits kLimits{1 << 20, 1 << 16, 1 << 16};

SyntheticStream First() {
  SyntheticStream stream;
  stream.Preamble().PageData({{1, 0, "one"}, {2, kFrameTypeXtab, ""}}).State("registers").EndCheckpoint();
  return stream;
}

SyntheticStream Later(const std::string& contents) {
  SyntheticStream stream;
  stream.PageData({{1, 0, contents}}).State("registers").EndCheckpoint();
  return stream;
}

// All that a sender makes of `bytes`.
std::vector<PrimaryMessage> Messages(uint64_t epoch, const std::string& bytes, size_t chunk_bytes,
                                     size_t piece = 1 << 20) {
  CheckpointChunker chunker(epoch, std::make_shared<MemoryCheckpointReader>(bytes, piece), chunk_bytes);
  std::vector<PrimaryMessage> messages;
  PrimaryMessage message;
  while (true) {
    const auto step = chunker.NextMessage(&message);
    EXPECT_TRUE(step.ok()) << step.status();
    messages.push_back(message);
    if (!step.ok() || *step == CheckpointChunker::Step::kTrailer) return messages;
  }
}

// Feeds messages; the result of the last one.
absl::StatusOr<CheckpointAssembler::Verified> Feed(CheckpointAssembler& assembler,
                                                   const std::vector<PrimaryMessage>& messages) {
  for (const PrimaryMessage& message : messages) {
    if (message.has_checkpoint_trailer()) return assembler.Finish(message.checkpoint_trailer());
    const absl::Status status = assembler.Add(message.checkpoint_data());
    if (!status.ok()) return status;
  }
  return absl::UnavailableError("the trailer has not come");
}

class CheckpointAssemblerTest : public testing::Test {
 protected:
  CheckpointAssemblerTest() { assembler_.SetSeedSink(sink_); }

  void Seed() {
    ASSERT_TRUE(Feed(assembler_, Messages(1, First().bytes(), 100)).ok());
    assembler_.MarkCommitted(1);
  }
  void ExpectFailure(const absl::Status& status, absl::StatusCode code, absl::string_view words) {
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_TRUE(absl::StrContains(status.message(), words)) << status;
    // First cause wins, whatever follows.
    EXPECT_EQ(assembler_.Add(CheckpointData()), status);
    EXPECT_EQ(assembler_.Finish(CheckpointTrailer()).status(), status);
  }

  const std::shared_ptr<MemoryCheckpointSink> sink_ = std::make_shared<MemoryCheckpointSink>();
  CheckpointAssembler assembler_{kLimits};
};

TEST_F(CheckpointAssemblerTest, WhatWasCutIsPutTogetherAgain) {
  const std::string first = First().bytes();
  for (const size_t chunk : {size_t{1}, size_t{7}, size_t{64}, size_t{1} << 16}) {
    auto sink = std::make_shared<MemoryCheckpointSink>();
    CheckpointAssembler assembler(kLimits);
    assembler.SetSeedSink(sink);
    const auto seeded = Feed(assembler, Messages(1, first, chunk, 5));
    ASSERT_TRUE(seeded.ok()) << seeded.status();
    EXPECT_EQ(seeded->epoch, 1);
    EXPECT_EQ(seeded->bytes.size(), kRecordHeaderBytes);
    EXPECT_EQ(sink->bytes() + seeded->bytes.ToString(), first);
    for (uint64_t epoch = 2; epoch < 5; ++epoch) {
      assembler.MarkCommitted(epoch - 1);
      const std::string later = Later(std::string(epoch, 'x')).bytes();
      const auto verified = Feed(assembler, Messages(epoch, later, chunk));
      ASSERT_TRUE(verified.ok()) << verified.status();
      EXPECT_EQ(verified->epoch, epoch);
      EXPECT_EQ(verified->bytes.ToString(), later);
    }
    EXPECT_EQ(sink->bytes() + seeded->bytes.ToString(), first);
  }
}

TEST_F(CheckpointAssemblerTest, TheSinkNeverGetsAByteOfTheCheckpointRecord) {
  const SyntheticStream stream = First();
  const std::string before = stream.bytes().substr(0, stream.bytes().size() - kRecordHeaderBytes);
  // Two chunks, cut at every byte.
  for (size_t cut = 1; cut < stream.bytes().size(); ++cut) {
    auto sink = std::make_shared<MemoryCheckpointSink>();
    CheckpointAssembler assembler(kLimits);
    assembler.SetSeedSink(sink);
    CheckpointData data;
    data.set_epoch(1);
    data.set_payload(stream.bytes().substr(0, cut));
    ASSERT_TRUE(assembler.Add(data).ok());
    ASSERT_LE(sink->bytes().size(), before.size()) << cut;
    ASSERT_GT(sink->bytes().size() + kRecordHeaderBytes, cut) << "holds back more than a record's header";
    data.set_offset(cut);
    data.set_payload(stream.bytes().substr(cut));
    ASSERT_TRUE(assembler.Add(data).ok());
    ASSERT_EQ(sink->bytes(), before) << cut;
  }
}

TEST_F(CheckpointAssemblerTest, ACheckpointThatIsCutShortIsNeverVerified) {
  Seed();
  const SyntheticStream stream = Later("contents");
  // At every record boundary and within every record: a trailer that is right about what was sent...
  for (size_t cut = 0; cut < stream.bytes().size(); ++cut) {
    CheckpointAssembler assembler(kLimits);
    assembler.SetSeedSink(sink_);
    ASSERT_TRUE(Feed(assembler, Messages(1, First().bytes(), 1000)).ok());
    assembler.MarkCommitted(1);
    StreamDigest digest;
    CheckpointData data;
    data.set_epoch(2);
    data.set_payload(stream.bytes().substr(0, cut));
    digest.Add(data.payload());
    if (cut > 0) {
      ASSERT_TRUE(assembler.Add(data).ok());
    }
    CheckpointTrailer trailer;
    trailer.set_epoch(2);
    trailer.set_length(cut);
    trailer.set_page_count(1);
    trailer.set_digest_xxh3(digest.value());
    EXPECT_EQ(assembler.Finish(trailer).status().code(), absl::StatusCode::kInvalidArgument) << cut;
  }
  // ... and one that is right about the whole.
  std::vector<PrimaryMessage> messages = Messages(2, stream.bytes(), 64);
  messages.erase(messages.end() - 2);
  ExpectFailure(Feed(assembler_, messages).status(), absl::StatusCode::kDataLoss, "its trailer says");
}

TEST_F(CheckpointAssemblerTest, EveryFlippedBitIsFound) {
  const std::string bytes = Later("contents").bytes();
  for (size_t at = 0; at < bytes.size(); ++at) {
    CheckpointAssembler assembler(kLimits);
    assembler.SetSeedSink(sink_);
    ASSERT_TRUE(Feed(assembler, Messages(1, First().bytes(), 1000)).ok());
    assembler.MarkCommitted(1);
    std::vector<PrimaryMessage> messages = Messages(2, bytes, 1 << 16);
    ASSERT_EQ(messages.size(), 2);
    (*messages[0].mutable_checkpoint_data()->mutable_payload())[at] ^= 1 << (at % 8);
    EXPECT_FALSE(Feed(assembler, messages).ok()) << at;
  }
}

TEST_F(CheckpointAssemblerTest, EveryFieldOfTheTrailerCounts) {
  const auto Code = [&](void (*change)(CheckpointTrailer*)) {
    CheckpointAssembler assembler(kLimits);
    assembler.SetSeedSink(sink_);
    std::vector<PrimaryMessage> messages = Messages(1, First().bytes(), 100);
    change(messages.back().mutable_checkpoint_trailer());
    return Feed(assembler, messages).status().code();
  };
  EXPECT_EQ(Code([](CheckpointTrailer*) {}), absl::StatusCode::kOk);
  EXPECT_EQ(Code([](CheckpointTrailer* t) { t->set_epoch(2); }), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Code([](CheckpointTrailer* t) { t->set_length(t->length() + 1); }), absl::StatusCode::kDataLoss);
  EXPECT_EQ(Code([](CheckpointTrailer* t) { t->set_page_count(2); }), absl::StatusCode::kDataLoss);
  EXPECT_EQ(Code([](CheckpointTrailer* t) { t->set_digest_xxh3(0); }), absl::StatusCode::kDataLoss);
}

TEST_F(CheckpointAssemblerTest, LargePiecesAreHeldWhereTheyLie) {
  Seed();
  SyntheticStream stream;
  for (int i = 0; i < 12; ++i) stream.PageData({{1, 0, "page"}});
  const std::string bytes = stream.State("registers").EndCheckpoint().bytes();
  constexpr size_t kLarge = CheckpointAssembler::kHeldBytesMin;
  ASSERT_GT(bytes.size(), kLarge + 1);
  const std::vector<PrimaryMessage> messages = Messages(2, bytes, bytes.size());
  const auto all = absl::MakeConstSpan(bytes);
  // A byte, a large piece, and a smaller one.
  const absl::Span<const char> payload[] = {all.subspan(0, 1), all.subspan(1, kLarge), all.subspan(1 + kLarge)};
  const auto holder = std::make_shared<const int>();
  std::vector<size_t> asked;
  ASSERT_TRUE(assembler_
                  .Add(2, 0, payload,
                       [&](size_t piece) {
                         asked.push_back(piece);
                         return piece == 1 ? holder : nullptr;
                       })
                  .ok());
  EXPECT_EQ(asked, std::vector<size_t>{1});
  EXPECT_EQ(holder.use_count(), 2);
  absl::StatusOr<CheckpointAssembler::Verified> verified = assembler_.Finish(messages.back().checkpoint_trailer());
  ASSERT_TRUE(verified.ok()) << verified.status();
  EXPECT_TRUE(verified->bytes.ToString() == bytes);
  ASSERT_EQ(verified->bytes.pieces().size(), 3);
  EXPECT_NE(verified->bytes.pieces()[0].data(), payload[0].data());
  EXPECT_EQ(verified->bytes.pieces()[1].data(), payload[1].data());
  *verified = {};
  EXPECT_EQ(holder.use_count(), 1);

  // The same bytes, large, but not to be held: copied. And damaged ones that are held are found out.
  assembler_.MarkCommitted(2);
  ASSERT_TRUE(assembler_.Add(3, 0, {all}, [](size_t) { return nullptr; }).ok());
  verified = assembler_.Finish(Messages(3, bytes, bytes.size()).back().checkpoint_trailer());
  ASSERT_TRUE(verified.ok()) << verified.status();
  EXPECT_NE(verified->bytes.pieces()[0].data(), bytes.data());
  assembler_.MarkCommitted(3);
  std::string damaged = bytes;
  damaged[kLarge / 2] ^= 1;
  ASSERT_TRUE(assembler_.Add(4, 0, {absl::MakeConstSpan(damaged)}, [&](size_t) { return holder; }).ok());
  EXPECT_TRUE(
      absl::IsDataLoss(assembler_.Finish(Messages(4, bytes, bytes.size()).back().checkpoint_trailer()).status()));
  EXPECT_EQ(holder.use_count(), 1);
}

TEST_F(CheckpointAssemblerTest, OfTheFirstCopyNothingIsHeld) {
  SyntheticStream stream;
  stream.Preamble();
  for (int i = 0; i < 12; ++i) stream.PageData({{1, 0, "page"}});
  const std::string bytes = stream.State("registers").EndCheckpoint().bytes();
  ASSERT_GT(bytes.size(), CheckpointAssembler::kHeldBytesMin);
  const auto holder = std::make_shared<const int>();
  ASSERT_TRUE(assembler_.Add(1, 0, {absl::MakeConstSpan(bytes)}, [&](size_t) { return holder; }).ok());
  const auto seeded = assembler_.Finish(Messages(1, bytes, bytes.size()).back().checkpoint_trailer());
  ASSERT_TRUE(seeded.ok()) << seeded.status();
  EXPECT_TRUE(sink_->bytes() + seeded->bytes.ToString() == bytes);
  EXPECT_EQ(holder.use_count(), 1);
}

TEST_F(CheckpointAssemblerTest, EpochsComeInOrderWithoutGaps) {
  ExpectFailure(Feed(assembler_, Messages(2, Later("").bytes(), 100)).status(), absl::StatusCode::kInvalidArgument,
                "checkpoint 2 out of order: expected 1");
}

TEST_F(CheckpointAssemblerTest, AnEpochIsNotRepeated) {
  Seed();
  ExpectFailure(Feed(assembler_, Messages(1, First().bytes(), 100)).status(), absl::StatusCode::kInvalidArgument,
                "checkpoint 1 out of order: expected 2");
}

TEST_F(CheckpointAssemblerTest, ATrailerIsNotRepeated) {
  const std::vector<PrimaryMessage> messages = Messages(1, First().bytes(), 100);
  ASSERT_TRUE(Feed(assembler_, messages).ok());
  assembler_.MarkCommitted(1);
  ExpectFailure(assembler_.Finish(messages.back().checkpoint_trailer()).status(), absl::StatusCode::kInvalidArgument,
                "out of order");
}

TEST_F(CheckpointAssemblerTest, TheNextCheckpointWaitsForTheCommit) {
  ASSERT_TRUE(Feed(assembler_, Messages(1, First().bytes(), 100)).ok());
  ExpectFailure(Feed(assembler_, Messages(2, Later("").bytes(), 100)).status(), absl::StatusCode::kInvalidArgument,
                "before checkpoint 1 was committed");
}

TEST_F(CheckpointAssemblerTest, DataIsContiguous) {
  for (const auto& [first, second] : {std::pair(0, 2), std::pair(0, 0), std::pair(1, 2)}) {
    CheckpointAssembler assembler(kLimits);
    assembler.SetSeedSink(sink_);
    const std::vector<PrimaryMessage> messages = Messages(1, First().bytes(), 100);
    std::vector<PrimaryMessage> chosen = {messages[first], messages[second]};
    const absl::Status status = Feed(assembler, chosen).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_TRUE(absl::StrContains(status.message(), first == 0 ? "expected byte 100" : "expected byte 0")) << status;
  }
}

TEST_F(CheckpointAssemblerTest, DataBeforeTheSessionIsAcceptedIsRefused) {
  assembler_.SetSeedSink(nullptr);
  ExpectFailure(Feed(assembler_, Messages(1, First().bytes(), 100)).status(), absl::StatusCode::kInvalidArgument,
                "before the session was accepted");
}

TEST_F(CheckpointAssemblerTest, AnEmptyChunkIsRefused) {
  CheckpointData data;
  data.set_epoch(1);
  ExpectFailure(assembler_.Add(data), absl::StatusCode::kInvalidArgument, "a chunk of 0 bytes");
}

TEST_F(CheckpointAssemblerTest, AnEmptyCheckpointIsRefused) {
  CheckpointTrailer trailer;
  trailer.set_epoch(1);
  trailer.set_digest_xxh3(StreamDigest().value());
  ExpectFailure(assembler_.Finish(trailer).status(), absl::StatusCode::kInvalidArgument, "without a CHECKPOINT record");
}

TEST_F(CheckpointAssemblerTest, AnOversizeChunkIsRefused) {
  CheckpointData data;
  data.set_epoch(1);
  data.set_payload(std::string(kLimits.chunk_bytes_max + 1, 'x'));
  ExpectFailure(assembler_.Add(data), absl::StatusCode::kInvalidArgument, "a chunk of 65537 bytes");
}

TEST_F(CheckpointAssemblerTest, AnOversizeCheckpointIsRefused) {
  Seed();
  SyntheticStream stream;
  for (uint64_t i = 0; i < 17; ++i) stream.PageData({{i, 0, ""}});
  ExpectFailure(Feed(assembler_, Messages(2, stream.EndCheckpoint().bytes(), 4096)).status(),
                absl::StatusCode::kInvalidArgument, "more than 65536 bytes");
}

TEST_F(CheckpointAssemblerTest, NothingOfARefusedRecordReachesTheSink) {
  SyntheticStream stream;
  stream.Preamble();
  const size_t good = stream.bytes().size();
  // END would make libxc take the copy for complete.
  stream.Record(kEnd, "");
  CheckpointData data;
  data.set_epoch(1);
  data.set_payload(stream.bytes().substr(0, good));
  ASSERT_TRUE(assembler_.Add(data).ok());
  data.set_offset(good);
  data.set_payload(stream.bytes().substr(good));
  ExpectFailure(assembler_.Add(data), absl::StatusCode::kInvalidArgument, "END");
  EXPECT_EQ(sink_->bytes(), stream.bytes().substr(0, good));
}

TEST_F(CheckpointAssemblerTest, ASinkThatFailsEndsIt) {
  sink_->set_status(absl::UnavailableError("the restore helper died"));
  ExpectFailure(Feed(assembler_, Messages(1, First().bytes(), 100)).status(), absl::StatusCode::kUnavailable,
                "the restore helper died");
}

TEST_F(CheckpointAssemblerTest, TakesACheckpointAgainFromItsBeginning) {
  Seed();
  EXPECT_EQ(assembler_.epoch(), 2);
  const std::string bytes = Later("right").bytes();
  // In the middle, and after its digest was found to be wrong.
  ASSERT_TRUE(assembler_.Add(Messages(2, bytes, 100)[0].checkpoint_data()).ok());
  assembler_.Restart();
  std::vector<PrimaryMessage> wrong = Messages(2, Later("wrong").bytes(), 100);
  wrong.back() = Messages(2, bytes, 100).back();
  EXPECT_TRUE(absl::IsDataLoss(Feed(assembler_, wrong).status()));
  assembler_.Restart();
  const auto verified = Feed(assembler_, Messages(2, bytes, 100));
  ASSERT_TRUE(verified.ok()) << verified.status();
  EXPECT_TRUE(verified->bytes.ToString() == bytes);
}

TEST(CheckpointAssemblerLimits, HoldEveryPageOfTheGuestAndGrowWithIt) {
  const auto limits = CheckpointAssembler::LimitsFor(128 << 10, 1, 1 << 20);
  const uint64_t pages = (128 << 20) / kPageBytes;
  EXPECT_GT(limits.checkpoint_bytes_max, pages * (kPageBytes + 8 + 16));
  EXPECT_LT(limits.checkpoint_bytes_max, uint64_t{2} * 128 << 20);
  EXPECT_GT(limits.seed_bytes_max, limits.checkpoint_bytes_max);
  // A hostile description does not overflow them.
  const auto huge = CheckpointAssembler::LimitsFor(~uint64_t{0}, ~uint32_t{0}, 1);
  EXPECT_GT(huge.seed_bytes_max, huge.checkpoint_bytes_max);
}

TEST(CheckpointChunker, SaysWhatIsWrongWithWhatItReads) {
  const auto Error = [](uint64_t epoch, const std::string& bytes) {
    CheckpointChunker chunker(epoch, std::make_shared<MemoryCheckpointReader>(bytes), 64);
    PrimaryMessage message;
    while (true) {
      const auto step = chunker.NextMessage(&message);
      if (!step.ok()) return step.status();
      if (*step == CheckpointChunker::Step::kTrailer) return absl::OkStatus();
    }
  };
  EXPECT_TRUE(Error(2, Later("").bytes()).ok());
  EXPECT_EQ(Error(1, Later("").bytes()).code(), absl::StatusCode::kInternal);
  const std::string cut = Later("").bytes().substr(0, 100);
  EXPECT_TRUE(absl::StrContains(Error(2, cut).message(), "checkpoint 2 as captured on this host ends at byte 100"));
}

TEST(CheckpointChunker, PassesOnTheReadersError) {
  auto reader = std::make_shared<MemoryCheckpointReader>(Later("").bytes());
  CheckpointChunker chunker(2, reader, 64);
  PrimaryMessage message;
  ASSERT_TRUE(chunker.NextMessage(&message).ok());
  reader->Cancel();
  EXPECT_EQ(chunker.NextMessage(&message).status().code(), absl::StatusCode::kCancelled);
}

}  // namespace
}  // namespace romulus
