#include "common/link/received_message.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "common/link/message_bytes.h"

namespace romulus {
namespace {

using replication::v1::CheckpointData;
using replication::v1::CheckpointTrailer;
using replication::v1::PrimaryMessage;

// `bytes` as gRPC might have received them: in slices of `slice` bytes.
grpc::ByteBuffer Sliced(const std::string& bytes, size_t slice) {
  std::vector<grpc::Slice> slices;
  for (size_t at = 0; at < bytes.size(); at += slice) slices.emplace_back(bytes.substr(at, slice));
  return grpc::ByteBuffer(slices.data(), slices.size());
}

PrimaryMessage Data(uint64_t generation, uint64_t epoch, uint64_t offset, const std::string& payload) {
  PrimaryMessage message;
  message.set_generation(generation);
  message.mutable_checkpoint_data()->set_epoch(epoch);
  message.mutable_checkpoint_data()->set_offset(offset);
  message.mutable_checkpoint_data()->set_payload(payload);
  return message;
}

std::string Varint(uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes.push_back(static_cast<char>(value | 0x80));
  bytes.push_back(static_cast<char>(value));
  return bytes;
}

// As a checkpoint's last message is made.
std::string LastData(uint64_t number, const std::string& payload) {
  CheckpointData data;
  data.set_epoch(number);
  data.set_offset(number);
  CheckpointTrailer& trailer = *data.mutable_trailer();
  trailer.set_epoch(number);
  trailer.set_length(number);
  trailer.set_page_count(number);
  trailer.set_digest_xxh3(number);
  grpc::Slice whole;
  EXPECT_TRUE(CheckpointDataToBytes(number, data, grpc::Slice(payload)).DumpToSingleSlice(&whole).ok());
  return std::string(reinterpret_cast<const char*>(whole.begin()), whole.size());
}

// The message that was received, put together again.
PrimaryMessage Whole(ReceivedMessage& received) {
  PrimaryMessage message = received.message();
  EXPECT_TRUE(message.checkpoint_data().payload().empty());
  for (const absl::Span<const char> piece : received.payload()) {
    message.mutable_checkpoint_data()->mutable_payload()->append(piece.data(), piece.size());
  }
  return message;
}

TEST(ReceivedMessage, IsWhatProtobufWouldHaveRead) {
  ReceivedMessage received;
  for (const size_t length : {0, 1, 100, 127, 128, 20'000}) {
    for (const uint64_t number : {uint64_t{0}, uint64_t{1}, uint64_t{300}, ~uint64_t{0}}) {
      const PrimaryMessage sent = Data(number, number, number, std::string(length, 'p'));
      for (const size_t slice : {1, 2, 7, 50, 1 << 20}) {
        ASSERT_TRUE(received.Parse(Sliced(sent.SerializeAsString(), slice)));
        EXPECT_EQ(Whole(received).SerializeAsString(), sent.SerializeAsString()) << length << ", " << number;
        const std::string last = LastData(number, std::string(length, 'p'));
        PrimaryMessage expected;
        ASSERT_TRUE(expected.ParseFromString(last));
        ASSERT_TRUE(received.Parse(Sliced(last, slice)));
        EXPECT_EQ(Whole(received).SerializeAsString(), expected.SerializeAsString()) << length << ", " << number;
      }
    }
  }
}

TEST(ReceivedMessage, APayloadIsNotCopied) {
  const std::string payload(100'000, 'p');
  grpc::Slice slice(payload);
  const void* const where = slice.begin();
  ReceivedMessage received;
  ASSERT_TRUE(received.Parse(CheckpointDataToBytes(7, 8, 9, std::move(slice))));
  ASSERT_EQ(received.payload().size(), 1);
  EXPECT_EQ(received.payload()[0].data(), where);
  EXPECT_EQ(received.message().generation(), 7);
  EXPECT_EQ(received.message().checkpoint_data().epoch(), 8);
  EXPECT_EQ(received.message().checkpoint_data().offset(), 9);

  // Nor one beside the longest trailer that there is.
  CheckpointData last;
  last.set_epoch(~uint64_t{0});
  last.set_offset(~uint64_t{0});
  last.mutable_trailer()->set_epoch(~uint64_t{0});
  last.mutable_trailer()->set_length(~uint64_t{0});
  last.mutable_trailer()->set_page_count(~uint64_t{0});
  last.mutable_trailer()->set_digest_xxh3(~uint64_t{0});
  grpc::Slice same(payload);
  const void* const there = same.begin();
  ASSERT_TRUE(received.Parse(CheckpointDataToBytes(~uint64_t{0}, last, std::move(same))));
  ASSERT_EQ(received.payload().size(), 1);
  EXPECT_EQ(received.payload()[0].data(), there);
  EXPECT_EQ(received.message().checkpoint_data().SerializeAsString(), last.SerializeAsString());
}

TEST(ReceivedMessage, APieceCanBeHeldLonger) {
  const std::string payload(100'000, 'p');
  const std::string bytes = Data(7, 8, 9, payload).SerializeAsString();
  ReceivedMessage received;
  for (size_t i = 0; i < 3; ++i) {
    SCOPED_TRACE(i);
    ASSERT_TRUE(received.Parse(Sliced(bytes, 40'000)));
    ASSERT_EQ(received.payload().size(), 3);
    const absl::Span<const char> piece = received.payload()[i];
    const std::shared_ptr<const void> holder = received.Hold(i);
    ASSERT_TRUE(received.Parse(Sliced(Data(7, 8, 9, std::string(100'000, 'q')).SerializeAsString(), 40'000)));
    if (i == 1) EXPECT_EQ(piece.size(), 40'000);
    EXPECT_EQ(std::string(piece.data(), piece.size()), std::string(piece.size(), 'p'));
  }

  // As protobuf reads it, it is a copy that the next message overwrites.
  ASSERT_TRUE(received.Parse(Sliced(bytes + "\xf8\x01\x05", 40'000)));
  ASSERT_EQ(received.payload().size(), 1);
  EXPECT_EQ(received.Hold(0), nullptr);
}

TEST(ReceivedMessage, OtherMessagesAreParsed) {
  PrimaryMessage stop;
  stop.set_generation(7);
  stop.mutable_stop_session()->set_reason("on purpose");
  ReceivedMessage received;
  ASSERT_TRUE(received.Parse(ToBytes(Data(1, 2, 3, "x"))));
  ASSERT_TRUE(received.Parse(ToBytes(stop)));
  EXPECT_TRUE(received.payload().empty());
  EXPECT_EQ(received.message().SerializeAsString(), stop.SerializeAsString());
}

TEST(ReceivedMessage, WhatIsLegalButUnusualIsReadAsProtobufReadsIt) {
  const std::string data = Data(7, 2, 3, "payload").SerializeAsString();
  const std::string later = Data(8, 4, 0, "another").SerializeAsString();
  PrimaryMessage heartbeat;
  heartbeat.mutable_heartbeat();
  const std::string beat = heartbeat.SerializeAsString();
  // Twice the same field, another body after it, unknown fields before and after, nothing.
  for (const std::string& bytes : {data + later, data + beat, beat + data, std::string("\xf8\x01\x05", 3) + data,
                                   data + std::string("\xf8\x01\x05", 3), std::string("\x1a\x00", 2), std::string()}) {
    PrimaryMessage expected;
    ASSERT_TRUE(expected.ParseFromString(bytes));
    ReceivedMessage received;
    ASSERT_TRUE(received.Parse(Sliced(bytes, 3)));
    EXPECT_EQ(Whole(received).SerializeAsString(), expected.SerializeAsString());
  }
}

TEST(ReceivedMessage, ATrailerOfAnyLengthIsReadOrRefusedAsProtobufWould) {
  // With an unknown field (15) that takes `unknown` bytes, and all of `claimed` more that the trailer says it has.
  for (const size_t unknown : {0, 1, 60, 100, 120, 1000}) {
    for (const size_t claimed : {0, 1, 100, 2000}) {
      const std::string trailer = "\x08\x02\x7a" + Varint(unknown) + std::string(unknown, 'u');
      const std::string data = "\x08\x02\x10\x03\x2a" + Varint(trailer.size() + claimed) + trailer + "\x1a" +
                               Varint(500) + std::string(500, 'p');
      const std::string bytes = "\x08\x07\x1a" + Varint(data.size()) + data;
      PrimaryMessage expected;
      const bool fine = expected.ParseFromString(bytes);
      EXPECT_EQ(fine, claimed == 0) << unknown << ", " << claimed;
      for (const size_t slice : {1, 50, 1 << 20}) {
        ReceivedMessage received;
        ASSERT_EQ(received.Parse(Sliced(bytes, slice)), fine) << unknown << ", " << claimed;
        if (!fine) continue;
        EXPECT_EQ(Whole(received).SerializeAsString(), expected.SerializeAsString()) << unknown;
      }
    }
  }
}

TEST(ReceivedMessage, ADamagedMessageIsReadOrRefusedAsProtobufWould) {
  for (const std::string& good :
       {Data(7, 300, 1 << 20, "payload").SerializeAsString(), LastData(300, "payload"), LastData(300, "")}) {
    for (size_t at = 0; at <= good.size(); ++at) {
      for (const int change : {0, 1, 0x08, 0x80, 0xff}) {
        std::string bytes = good;
        if (at < good.size()) bytes[at] = static_cast<char>(bytes[at] ^ change);
        if (change == 0) bytes.resize(at);
        PrimaryMessage expected;
        const bool fine = expected.ParseFromString(bytes);
        ReceivedMessage received;
        ASSERT_EQ(received.Parse(Sliced(bytes, 5)), fine) << at << " ^ " << change;
        if (!fine) continue;
        EXPECT_EQ(Whole(received).SerializeAsString(), expected.SerializeAsString()) << at << " ^ " << change;
      }
    }
  }
}

}  // namespace
}  // namespace romulus
