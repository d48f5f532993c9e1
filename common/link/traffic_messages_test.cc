#include "common/link/traffic_messages.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace romulus {
namespace {

using replication::v1::StandbyInput;

std::vector<TrafficFrame> Frames(size_t count, size_t size) {
  std::vector<TrafficFrame> frames;
  for (size_t i = 0; i < count; ++i) frames.push_back({static_cast<uint32_t>(i), std::string(size, 'x')});
  return frames;
}

std::vector<StandbyInput> Messages(std::vector<TrafficFrame> frames) {
  std::vector<StandbyInput> messages;
  StandbyInput message;
  while (TakeTraffic(frames, message.mutable_frames())) messages.push_back(std::exchange(message, {}));
  return messages;
}

TEST(Traffic, AllFramesGoInOrderInMessagesThatAreTaken) {
  for (const auto& [count, size] : {std::pair<size_t, size_t>{0, 1},
                                    {1, 60},
                                    {64, 60},
                                    {65, 60},
                                    {300, 1500},
                                    {20, 60'000},
                                    {5, kTrafficFrameBytesMax}}) {
    const std::vector<StandbyInput> messages = Messages(Frames(count, size));
    uint32_t next = 0;
    for (const StandbyInput& message : messages) {
      EXPECT_TRUE(CheckTraffic(message.frames()).ok()) << CheckTraffic(message.frames());
      for (const replication::v1::Frame& frame : message.frames()) {
        EXPECT_EQ(frame.device_id(), next++);
        EXPECT_EQ(frame.contents().size(), size);
      }
    }
    EXPECT_EQ(next, count);
    EXPECT_LE(messages.size(), count * size / (kTrafficBytesMax / 2) + count / kTrafficFramesMax + 1) << "few messages";
  }
}

TEST(Traffic, MessagesThatAreTooLargeAreRefused) {
  StandbyInput message;
  EXPECT_FALSE(CheckTraffic(message.frames()).ok()) << "no frame";
  message.add_frames();
  EXPECT_FALSE(CheckTraffic(message.frames()).ok()) << "an empty frame";
  message.mutable_frames(0)->set_contents(std::string(kTrafficFrameBytesMax, 'x'));
  EXPECT_TRUE(CheckTraffic(message.frames()).ok());
  message.mutable_frames(0)->set_contents(std::string(kTrafficFrameBytesMax + 1, 'x'));
  EXPECT_FALSE(CheckTraffic(message.frames()).ok()) << "a frame that is too large";
  message.clear_frames();
  for (int i = 0; i < kTrafficFramesMax; ++i) message.add_frames()->set_contents("x");
  EXPECT_TRUE(CheckTraffic(message.frames()).ok());
  message.add_frames()->set_contents("x");
  EXPECT_FALSE(CheckTraffic(message.frames()).ok()) << "too many frames";
  message.clear_frames();
  for (int i = 0; i < 5; ++i) message.add_frames()->set_contents(std::string(60'000, 'x'));
  EXPECT_FALSE(CheckTraffic(message.frames()).ok()) << "too many bytes";
}

packet::SequenceOffset Offset(size_t address_bytes) {
  packet::SequenceOffset offset;
  offset.connection.guest = packet::AddressFrom(std::string(address_bytes, '\1'));
  offset.connection.peer = packet::AddressFrom(std::string(address_bytes, '\2'));
  offset.connection.guest_port = 80;
  offset.connection.peer_port = 65535;
  offset.connection.device_id = 3;
  offset.primary_initial = 0xfffffff0;
  offset.standby_initial = 7;
  return offset;
}

TEST(Traffic, AnOffsetIsReadBack) {
  for (const size_t address_bytes : {4, 16}) {
    const absl::StatusOr<packet::SequenceOffset> read = FromMessage(ToMessage(9, Offset(address_bytes)));
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_TRUE(*read == Offset(address_bytes));
    EXPECT_EQ(ToMessage(9, Offset(address_bytes)).epoch(), 9);
  }
}

TEST(Traffic, AMalformedOffsetIsRefused) {
  const auto refused = [](auto&& change) {
    replication::v1::SequenceOffset message = ToMessage(9, Offset(4));
    change(*message.mutable_connection());
    return !FromMessage(message).ok();
  };
  EXPECT_TRUE(refused([](auto& c) { c.set_guest_address(""); }));
  EXPECT_TRUE(refused([](auto& c) { c.set_guest_address("12345"); }));
  EXPECT_TRUE(refused([](auto& c) { c.set_peer_address(std::string(16, 'x')); }));
  EXPECT_TRUE(refused([](auto& c) { c.set_guest_port(65536); }));
  EXPECT_TRUE(refused([](auto& c) { c.set_peer_port(1 << 20); }));
}

}  // namespace
}  // namespace romulus
