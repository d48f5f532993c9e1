#include "common/link/received_message.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "common/link/message_bytes.h"

namespace romulus {
namespace {

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
  heartbeat.mutable_heartbeat()->set_sent_at_ns(5);
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

TEST(ReceivedMessage, ADamagedMessageIsReadOrRefusedAsProtobufWould) {
  const std::string good = Data(7, 300, 1 << 20, "payload").SerializeAsString();
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

}  // namespace
}  // namespace romulus
