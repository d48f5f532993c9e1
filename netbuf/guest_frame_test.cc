#include "netbuf/guest_frame.h"

#include <string>

#include "gtest/gtest.h"

namespace romulus {
namespace {

constexpr size_t kEthernetBytes = 14;
constexpr uint32_t kMtu = 1500;

void Put16(std::string& bytes, size_t at, uint16_t value) {
  bytes[at] = static_cast<char>(value >> 8);
  bytes[at + 1] = static_cast<char>(value);
}

// By the book, byte by byte, of an even or odd number of bytes.
uint16_t Checksum(const std::string& bytes) {
  uint32_t sum = 0;
  for (size_t i = 0; i < bytes.size(); ++i) {
    sum += static_cast<uint8_t>(bytes[i]) << (i % 2 == 0 ? 8 : 0);
    sum = (sum & 0xffff) + (sum >> 16);
  }
  return static_cast<uint16_t>(~sum);
}

struct Tcp {
  bool ipv6 = false;
  int vlan_tags = 0;
  size_t payload_bytes = 100;
  uint8_t protocol = 6;

  size_t ip() const { return kEthernetBytes + vlan_tags * 4; }
  size_t tcp() const { return ip() + (ipv6 ? 40 : 20); }

  std::string PseudoHeader(const std::string& frame) const {
    std::string pseudo = ipv6 ? frame.substr(ip() + 8, 32) : frame.substr(ip() + 12, 8);
    const size_t bytes = frame.size() - tcp();
    pseudo += {0, static_cast<char>(protocol), static_cast<char>(bytes >> 8), static_cast<char>(bytes)};
    return pseudo;
  }
  // A whole frame, its checksum right.
  std::string Frame() const {
    std::string frame("\x02\0\0\0\0\x01\x02\0\0\0\0\x02", 12);
    for (int i = 0; i < vlan_tags; ++i) frame += std::string("\x81\x00\x00\x05", 4);
    frame += ipv6 ? std::string("\x86\xdd", 2) : std::string("\x08\x00", 2);
    const size_t tcp_bytes = 20 + payload_bytes;
    std::string header(ipv6 ? 40 : 20, '\0');
    header[0] = ipv6 ? 0x60 : 0x45;
    if (ipv6) {
      Put16(header, 4, tcp_bytes);
      header[6] = static_cast<char>(protocol);
    } else {
      Put16(header, 2, 20 + tcp_bytes);
      header[9] = static_cast<char>(protocol);
    }
    for (size_t i = ipv6 ? 8 : 12; i < header.size(); ++i) header[i] = static_cast<char>(i * 37);
    frame += header;
    std::string segment(20, '\0');
    for (size_t i = 0; i < 12; ++i) segment[i] = static_cast<char>(i * 11 + 200);
    segment[12] = 0x50;
    segment[13] = 0x10;
    for (size_t i = 0; i < payload_bytes; ++i) segment += static_cast<char>(i * i + 3);
    frame += segment;
    Put16(frame, tcp() + 16, Checksum(PseudoHeader(frame) + frame.substr(tcp())));
    return frame;
  }
  // As a guest hands it over.
  GuestFrame Partial() const {
    GuestFrame frame{.offload = {.flags = OffloadHeader::kNeedsChecksum,
                                 .checksum_start = static_cast<uint16_t>(tcp()),
                                 .checksum_offset = 16},
                     .contents = Frame()};
    Put16(frame.contents, tcp() + 16, static_cast<uint16_t>(~Checksum(PseudoHeader(frame.contents))));
    return frame;
  }
};

TEST(GuestFrameTest, ContentsHaveTheChecksumThatTheGuestLeftToTheDevice) {
  for (const Tcp& tcp : {Tcp{}, Tcp{.ipv6 = true}, Tcp{.payload_bytes = 101}, Tcp{.vlan_tags = 1, .payload_bytes = 7},
                         Tcp{.payload_bytes = 60000}, Tcp{.ipv6 = true, .payload_bytes = 65001}}) {
    EXPECT_TRUE(tcp.Partial().checksum_partial());
    EXPECT_NE(tcp.Partial().contents, tcp.Frame());
    EXPECT_EQ(ToContents(tcp.Partial()), tcp.Frame()) << tcp.payload_bytes;
  }
}

TEST(GuestFrameTest, ContentsOfAWholeFrameAreTheFrameAlsoWithAWrongChecksum) {
  GuestFrame frame{.offload = {.flags = OffloadHeader::kChecksumIsRight}, .contents = Tcp{}.Frame()};
  frame.contents[60] ^= 1;
  EXPECT_FALSE(frame.checksum_partial());
  EXPECT_EQ(ToContents(frame), frame.contents);
}

TEST(GuestFrameTest, AHeaderThatPointsOutsideIsNoFrame) {
  GuestFrame frame = Tcp{}.Partial();
  frame.offload.checksum_start = static_cast<uint16_t>(frame.contents.size() - 17);
  EXPECT_EQ(ToContents(frame), std::nullopt);
  frame.offload.checksum_start = 65535;
  frame.offload.checksum_offset = 65535;
  EXPECT_EQ(ToContents(frame), std::nullopt);
}

TEST(GuestFrameTest, WhatFitsTheMtuGoesAsItIsAlsoDamaged) {
  std::string frame = Tcp{.payload_bytes = kMtu - 40}.Frame();
  frame[100] ^= 1;
  const std::optional<GuestFrame> made = ToGuestFrame(frame, kMtu);
  ASSERT_TRUE(made.has_value());
  EXPECT_EQ(made->contents, frame);
  EXPECT_EQ(made->offload.flags, 0);
  EXPECT_EQ(made->offload.gso_type, 0);
  EXPECT_EQ(ToGuestFrame(std::string(13, 'x'), kMtu), std::nullopt);
}

TEST(GuestFrameTest, ALargeSegmentIsCutByTheKernelToTheMtu) {
  for (const Tcp& tcp : {Tcp{.payload_bytes = 60000}, Tcp{.ipv6 = true, .payload_bytes = 1441},
                         Tcp{.vlan_tags = 2, .payload_bytes = 1461}}) {
    const std::optional<GuestFrame> made = ToGuestFrame(tcp.Frame(), kMtu);
    ASSERT_TRUE(made.has_value());
    EXPECT_TRUE(made->checksum_partial());
    EXPECT_EQ(made->contents, tcp.Partial().contents);
    EXPECT_EQ(made->offload.gso_type, tcp.ipv6 ? OffloadHeader::kGsoTcp6 : OffloadHeader::kGsoTcp4);
    EXPECT_EQ(made->offload.gso_bytes, tcp.ipv6 ? 1440 : 1460);
    EXPECT_EQ(made->offload.checksum_start, tcp.tcp());
    EXPECT_EQ(made->offload.checksum_offset, 16);
    EXPECT_EQ(made->offload.header_bytes, tcp.tcp() + 20);
  }
}

TEST(GuestFrameTest, AFullPacketWithVlanTagsIsNotCut) {
  const std::optional<GuestFrame> made = ToGuestFrame(Tcp{.vlan_tags = 2, .payload_bytes = 1460}.Frame(), kMtu);
  ASSERT_TRUE(made.has_value());
  EXPECT_EQ(made->offload.gso_type, 0);
}

// A damaged one must not get a fresh checksum: the other guest would have thrown it away.
TEST(GuestFrameTest, ADamagedLargeSegmentIsRefused) {
  std::string frame = Tcp{.payload_bytes = 60000}.Frame();
  frame[50000] ^= 1;
  EXPECT_EQ(ToGuestFrame(frame, kMtu), std::nullopt);
}

TEST(GuestFrameTest, WhatIsTooLargeAndNotTcpIsRefused) {
  EXPECT_EQ(ToGuestFrame(Tcp{.payload_bytes = 2000, .protocol = 17}.Frame(), kMtu), std::nullopt);
  EXPECT_EQ(ToGuestFrame(std::string(2000, '\xff'), kMtu), std::nullopt);
  std::string fragment = Tcp{.payload_bytes = 2000}.Frame();
  fragment[kEthernetBytes + 6] = 0x20;
  EXPECT_EQ(ToGuestFrame(fragment, kMtu), std::nullopt);
  std::string trailer = Tcp{.payload_bytes = 2000}.Frame() + "trailer";
  EXPECT_EQ(ToGuestFrame(trailer, kMtu), std::nullopt);
  EXPECT_EQ(ToGuestFrame(Tcp{.payload_bytes = 2000}.Frame(), 40), std::nullopt);
}

// Every byte that the length fields and offsets could be read beyond.
TEST(GuestFrameTest, NothingIsReadBeyondATruncatedFrame) {
  for (const bool ipv6 : {false, true}) {
    const std::string frame = Tcp{.ipv6 = ipv6, .vlan_tags = 2}.Frame();
    for (size_t length = 0; length <= frame.size(); ++length) {
      (void)ToGuestFrame(frame.substr(0, length), 10);
      GuestFrame partial = Tcp{.ipv6 = ipv6, .vlan_tags = 2}.Partial();
      partial.contents.resize(length);
      (void)ToContents(partial);
    }
  }
}

}  // namespace
}  // namespace romulus
