#include "common/link/checkpoint_messages.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "common/link/received_message.h"
#include "common/stream/checkpoint_assembler.h"
#include "common/stream/memory_checkpoint.h"
#include "common/stream/synthetic_stream.h"

namespace romulus {
namespace {

using replication::v1::PrimaryMessage;

constexpr size_t kChunkBytes = 3000;

std::string Later() {
  SyntheticStream stream;
  return stream.PageData({{1, 0, "one"}, {2, 0, "two"}}).State("registers").EndCheckpoint().bytes();
}

// RAW, as the other end receives it.
std::vector<PrimaryMessage> Received(uint64_t epoch, const std::string& bytes, bool in_place, bool trailer_in_data) {
  CheckpointMessages messages({1, epoch, 0, trailer_in_data},
                              std::make_shared<MemoryCheckpointReader>(bytes, 1 << 20, in_place), kChunkBytes, nullptr);
  std::vector<PrimaryMessage> all;
  while (true) {
    const absl::StatusOr<CheckpointMessages::Message> message = messages.Next();
    EXPECT_TRUE(message.ok()) << message.status();
    if (!message.ok()) return all;
    ReceivedMessage received;
    EXPECT_TRUE(received.Parse(message->bytes));
    all.push_back(received.message());
    for (const absl::Span<const char> piece : received.payload()) {
      all.back().mutable_checkpoint_data()->mutable_payload()->append(piece.data(), piece.size());
    }
    if (message->is_last) return all;
  }
}

absl::Status Take(const std::vector<PrimaryMessage>& messages, CheckpointAssembler* assembler, std::string* bytes) {
  for (const PrimaryMessage& message : messages) {
    if (!message.has_checkpoint_data()) continue;
    const absl::Status status = assembler->Add(message.checkpoint_data());
    if (!status.ok()) return status;
  }
  const PrimaryMessage& last = messages.back();
  auto verified =
      assembler->Finish(last.has_checkpoint_data() ? last.checkpoint_data().trailer() : last.checkpoint_trailer());
  if (!verified.ok()) return verified.status();
  *bytes = verified->bytes.ToString();
  assembler->MarkCommitted(verified->epoch);
  return absl::OkStatus();
}

// What `messages` are of checkpoint 2, once verified.
std::string Verified(const std::vector<PrimaryMessage>& messages) {
  CheckpointAssembler assembler(CheckpointAssembler::LimitsFor(1024, 1, kChunkBytes));
  assembler.SetSeedSink(std::make_shared<MemoryCheckpointSink>());
  SyntheticStream first;
  std::string bytes;
  const std::string seed = first.Preamble().EndCheckpoint().bytes();
  EXPECT_EQ(Take(Received(1, seed, /*in_place=*/false, true), &assembler, &bytes), absl::OkStatus());
  EXPECT_EQ(Take(messages, &assembler, &bytes), absl::OkStatus());
  return bytes;
}

TEST(CheckpointMessages, TheLastDataOfAStagedCheckpointHasItsTrailer) {
  const std::string bytes = Later();
  const std::vector<PrimaryMessage> messages = Received(2, bytes, /*in_place=*/true, /*trailer_in_data=*/true);
  ASSERT_EQ(messages.size(), (bytes.size() + kChunkBytes - 1) / kChunkBytes);
  ASSERT_GT(messages.size(), 1);
  for (const PrimaryMessage& message : messages) {
    ASSERT_TRUE(message.has_checkpoint_data());
    EXPECT_EQ(message.checkpoint_data().has_trailer(), &message == &messages.back());
  }
  EXPECT_EQ(Verified(messages), bytes);
}

TEST(CheckpointMessages, TheFirstOfSeveralLargeMessagesIsSmall) {
  constexpr size_t kFirst = CheckpointMessages::kFirstRawBytes;
  SyntheticStream stream;
  for (uint64_t i = 0; i < 100; ++i) stream.PageData({{i, 0, "page"}});
  const std::string bytes = stream.EndCheckpoint().bytes();
  const auto Sizes = [&](size_t chunk_bytes) {
    CheckpointMessages messages({1, 2, 0, true}, std::make_shared<MemoryCheckpointReader>(bytes, 1 << 20, true),
                                chunk_bytes, nullptr);
    std::vector<size_t> sizes;
    for (bool is_last = false; !is_last;) {
      const absl::StatusOr<CheckpointMessages::Message> message = messages.Next();
      EXPECT_TRUE(message.ok()) << message.status();
      if (!message.ok()) break;
      sizes.push_back(message->payload_bytes);
      is_last = message->is_last;
    }
    return sizes;
  };
  ASSERT_GT(bytes.size(), 2 * kFirst);
  EXPECT_EQ(Sizes(2 * kFirst), (std::vector<size_t>{kFirst, 2 * kFirst, bytes.size() - 3 * kFirst}));
  EXPECT_EQ(Sizes(bytes.size()), std::vector<size_t>{bytes.size()}) << "one is enough";
}

TEST(CheckpointMessages, ATrailerIsAMessageOfItsOwnWhereTheEndIsNotKnownOrTheSecondaryIsOld) {
  const std::string bytes = Later();
  for (const bool in_place : {true, false}) {
    const std::vector<PrimaryMessage> messages = Received(2, bytes, in_place, /*trailer_in_data=*/!in_place);
    ASSERT_EQ(messages.size(), (bytes.size() + kChunkBytes - 1) / kChunkBytes + 1);
    EXPECT_FALSE(messages[messages.size() - 2].checkpoint_data().has_trailer());
    EXPECT_TRUE(messages.back().has_checkpoint_trailer());
    EXPECT_EQ(Verified(messages), bytes);
  }
}

TEST(CheckpointMessages, WhatDoesNotEndWhereItShouldHasNoTrailer) {
  const std::string good = Later();
  for (const std::string& bytes : {good.substr(0, good.size() - 1), good + "x", good.substr(0, kChunkBytes)}) {
    CheckpointMessages messages({1, 2, 0, true}, std::make_shared<MemoryCheckpointReader>(bytes, 1 << 20, true),
                                good.size(), nullptr);
    absl::Status status;
    while (status.ok()) {
      const absl::StatusOr<CheckpointMessages::Message> message = messages.Next();
      ASSERT_FALSE(message.ok() && message->is_last);
      status = message.status();
    }
    EXPECT_TRUE(messages.malformed()) << status;
  }
}

}  // namespace
}  // namespace romulus
