#include "common/link/message_bytes.h"

#include <string>
#include <vector>

#include "common/stream/memory_checkpoint.h"
#include "gtest/gtest.h"

namespace romulus {
namespace {

using replication::v1::PrimaryMessage;

std::string Joined(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  EXPECT_TRUE(buffer.Dump(&slices).ok());
  std::string joined;
  for (const grpc::Slice& slice : slices) {
    joined.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return joined;
}

PrimaryMessage Data(uint64_t generation, uint64_t epoch, uint64_t offset, const std::string& payload) {
  PrimaryMessage message;
  message.set_generation(generation);
  message.mutable_checkpoint_data()->set_epoch(epoch);
  message.mutable_checkpoint_data()->set_offset(offset);
  message.mutable_checkpoint_data()->set_payload(payload);
  return message;
}

TEST(MessageBytes, DataIsWhatProtobufWouldWrite) {
  // Lengths on both sides of where a varint grows, and numbers that take all of its bytes.
  for (const size_t length : {1, 100, 127, 128, 16383, 16384, 1 << 20}) {
    for (const uint64_t number : {uint64_t{0}, uint64_t{1}, uint64_t{300}, ~uint64_t{0}}) {
      const std::string payload(length, 'p');
      EXPECT_EQ(Joined(CheckpointDataToBytes(number, number, number, grpc::Slice(payload))),
                Data(number, number, number, payload).SerializeAsString())
          << length << " bytes, " << number;
    }
  }
}

TEST(MessageBytes, OtherMessagesAreWhatProtobufWouldWrite) {
  PrimaryMessage message;
  message.set_generation(7);
  message.mutable_stop_session()->set_reason("on purpose");
  EXPECT_EQ(Joined(ToBytes(message)), message.SerializeAsString());
}

TEST(MessageBytes, ASliceIsNoCopyAndKeepsItsReader) {
  const std::string bytes = "checkpoint";
  auto reader = std::make_shared<MemoryCheckpointReader>(bytes);
  const std::weak_ptr<CheckpointReader> watched = reader;
  grpc::ByteBuffer message =
      CheckpointDataToBytes(1, 2, 3, SliceOf(absl::MakeConstSpan(bytes.data(), bytes.size()), std::move(reader)));
  grpc::ByteBuffer in_flight = message;
  message.Clear();
  std::vector<grpc::Slice> slices;
  ASSERT_TRUE(in_flight.Dump(&slices).ok());
  EXPECT_EQ(reinterpret_cast<const char*>(slices.back().begin()), bytes.data());
  EXPECT_FALSE(watched.expired());
  slices.clear();
  in_flight.Clear();
  EXPECT_TRUE(watched.expired());
}

}  // namespace
}  // namespace romulus
