#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/packet/checksum.h"
#include "common/packet/connection.h"
#include "common/packet/frame.h"
#include "common/packet/frame_builder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace romulus::packet {
namespace {

const Address kGuest = ParseAddress("10.0.0.2");
const Address kPeer = ParseAddress("10.0.0.9");
const Address kGuest6 = ParseAddress("fd00::2");
const Address kPeer6 = ParseAddress("fd00::9");

TcpSegment Segment(bool v6 = false) {
  return {.source = v6 ? kGuest6 : kGuest,
          .destination = v6 ? kPeer6 : kPeer,
          .source_port = 80,
          .destination_port = 51000,
          .sequence = 0xfffffff0,
          .acknowledgement = 77,
          .flags = kTcpAck | kTcpPsh,
          .window = 501,
          .payload = "hello"};
}

uint32_t EdgeAt(const std::string& frame, size_t at) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<uint8_t>(frame[at + i]);
  return value;
}

TEST(FrameTest, ATcpSegmentOverBothIps) {
  for (const bool v6 : {false, true}) {
    const std::string bytes = TcpFrame(Segment(v6));
    const Frame frame = Parse(bytes);
    ASSERT_EQ(frame.kind, Kind::kTcp);
    EXPECT_EQ(ToString(ConnectionOfGuestFrame(3, frame)),
              v6 ? "device 3, [fd00::2]:80 and [fd00::9]:51000" : "device 3, 10.0.0.2:80 and 10.0.0.9:51000");
    EXPECT_EQ(frame.tcp.sequence, 0xfffffff0);
    EXPECT_EQ(frame.tcp.acknowledgement, 77);
    EXPECT_EQ(frame.tcp.flags, kTcpAck | kTcpPsh);
    EXPECT_EQ(frame.tcp.window, 501);
    EXPECT_EQ(PayloadOf(frame, bytes), "hello");
    EXPECT_TRUE(ChecksumIsRight(bytes, frame));
  }
}

TEST(FrameTest, BothSidesNameTheSameConnection) {
  TcpSegment back = Segment();
  std::swap(back.source, back.destination);
  std::swap(back.source_port, back.destination_port);
  EXPECT_EQ(ConnectionOfPeerFrame(1, Parse(TcpFrame(back))), ConnectionOfGuestFrame(1, Parse(TcpFrame(Segment()))));
}

TEST(FrameTest, PaddingIsNoPayload) {
  const std::string bytes = absl::StrCat(TcpFrame(Segment()), "padding");
  EXPECT_EQ(PayloadOf(Parse(bytes), bytes), "hello");
  EXPECT_TRUE(ChecksumIsRight(bytes, Parse(bytes)));
}

TEST(FrameTest, TcpOptions) {
  TcpSegment segment = Segment();
  segment.options = SynOptions(1400, 9);
  Frame frame = Parse(TcpFrame(segment));
  EXPECT_TRUE(frame.tcp.has_mss && frame.tcp.has_window_scale && frame.tcp.sack_permitted);
  EXPECT_EQ(frame.tcp.mss, 1400);
  EXPECT_EQ(frame.tcp.window_scale, 9);
  EXPECT_FALSE(frame.tcp.has_timestamps);

  segment.options = absl::StrCat(std::string("\x08\x0a\0\0\0\1\0\0\0\2", 10), SackOption({{5, 6}, {8, 9}}));
  const std::string bytes = TcpFrame(segment);
  frame = Parse(bytes);
  EXPECT_TRUE(frame.tcp.has_timestamps);
  ASSERT_EQ(frame.tcp.sack_edges, 4);
  EXPECT_EQ(EdgeAt(bytes, frame.tcp.sack_edge_at[0]), 5);
  EXPECT_EQ(EdgeAt(bytes, frame.tcp.sack_edge_at[3]), 9);
  EXPECT_EQ(PayloadOf(frame, bytes), "hello");
}

TEST(FrameTest, OptionsEndAtTheFirstThatIsWrong) {
  for (const std::string& wrong : {std::string("\x05\x00", 2), std::string("\x05\x01", 2), std::string("\x05\xff", 2),
                                   std::string("\x05\x09", 2), std::string("\0", 1), std::string("\x05\x22", 2)}) {
    TcpSegment segment = Segment();
    // In front of a NOP's padding a wrong option must be the first.
    segment.options = absl::StrCat(wrong, SackOption({{5, 6}}));
    segment.options.resize((segment.options.size() + 3) / 4 * 4, '\x01');
    const Frame frame = Parse(TcpFrame(segment));
    EXPECT_EQ(frame.kind, Kind::kTcp);
    EXPECT_EQ(frame.tcp.sack_edges, 0) << wrong.size();
  }
}

TEST(FrameTest, KindsOfIp) {
  EXPECT_EQ(Parse(UdpFrame(kGuest, 53, kPeer, 999, "q")).kind, Kind::kUdp);
  EXPECT_EQ(Parse(UdpFrame(kGuest6, 53, kPeer6, 999, "q")).destination_port, 999);
  for (const auto& [from, to] : {std::pair(kGuest, kPeer), std::pair(kGuest6, kPeer6)}) {
    const Frame echo = Parse(EchoFrame(from, to, true, 1234, "ping"));
    EXPECT_EQ(echo.kind, Kind::kIcmp);
    EXPECT_EQ(echo.icmp_id, 1234);
  }
  EXPECT_EQ(Parse(IpFrame(kGuest, kPeer, 2, "igmp")).kind, Kind::kNeighbour);
  EXPECT_EQ(Parse(IpFrame(kGuest, kPeer, 47, "gre")).kind, Kind::kIpOther);
  EXPECT_EQ(Parse(IpFrame(kGuest6, kPeer6, 58, std::string("\x87\0\0\0\0\0\0\0", 8))).kind, Kind::kNeighbour);
  EXPECT_EQ(Parse(IpFrame(kGuest6, kPeer6, 58, std::string("\x8f\0\0\0", 4))).kind, Kind::kNeighbour);
  EXPECT_EQ(Parse(IpFrame(kGuest6, kPeer6, 58, std::string("\x01\0\0\0", 4))).kind, Kind::kIcmp);
  EXPECT_EQ(Parse(IpFrame(kGuest6, kPeer6, 1, "ICMP in IPv6 is none")).kind, Kind::kIpOther);
}

TEST(FrameTest, Fragments) {
  for (const auto& [from, to] : {std::pair(kGuest, kPeer), std::pair(kGuest6, kPeer6)}) {
    const std::string first = FragmentFrame(from, to, 17, 9, 0, true, "12345678");
    const std::string last = FragmentFrame(from, to, 17, 9, 1, false, "tail");
    EXPECT_EQ(Parse(first).kind, Kind::kFragment);
    EXPECT_TRUE(Parse(first).more_fragments);
    EXPECT_EQ(Parse(last).kind, Kind::kFragment);
    EXPECT_EQ(Parse(last).fragment_offset, 1);
    EXPECT_EQ(Parse(last).protocol, 17);
    EXPECT_EQ(last.substr(Parse(last).transport_at), "tail");
  }
}

TEST(FrameTest, Ipv4Options) {
  std::string bytes = TcpFrame(Segment());
  bytes.insert(34, "\x94\x04\0\0", 4);  // Router alert.
  bytes[14] = '\x46';
  bytes[17] = static_cast<char>(bytes.size() - 14);
  EXPECT_EQ(Parse(bytes).kind, Kind::kTcp);
  EXPECT_EQ(PayloadOf(Parse(bytes), bytes), "hello");
}

TEST(FrameTest, Ipv6ExtensionsAreWalkedUpToABound) {
  const std::string tcp = TcpFrame(Segment(true)).substr(54);
  for (const int extensions : {1, 8, 9}) {
    std::string payload;
    for (int i = 0; i < extensions; ++i) {
      payload += std::string(1, i + 1 < extensions ? '\x3c' : '\x06') + std::string(7, '\0');
    }
    const std::string bytes = IpFrame(kGuest6, kPeer6, 60, payload + tcp);
    EXPECT_EQ(Parse(bytes).kind, extensions <= 8 ? Kind::kTcp : Kind::kIpOther) << extensions;
    if (extensions == 8) {
      EXPECT_TRUE(ChecksumIsRight(bytes, Parse(bytes)));
    }
  }
}

TEST(FrameTest, OtherFrames) {
  const Frame arp = Parse(ArpRequest(kGuest, kPeer));
  EXPECT_EQ(arp.kind, Kind::kNeighbour);
  EXPECT_EQ(arp.source, kGuest);
  EXPECT_EQ(arp.destination, kPeer);
  EXPECT_EQ(Parse(EthernetFrame(0x88cc, "lldp")).kind, Kind::kOther);
  EXPECT_EQ(Parse(EthernetFrame(40, std::string(40, 'l'))).kind, Kind::kOther) << "802.3";
  // A tag takes a frame out of what is understood: connections of several VLANs may have the same addresses.
  std::string tagged = TcpFrame(Segment());
  tagged.insert(12, "\x81\0\0\x05", 4);
  EXPECT_EQ(Parse(tagged).kind, Kind::kOther);
}

TEST(FrameTest, EveryCutIsMalformedAndNothingOfItIsBelieved) {
  for (const std::string& whole : {TcpFrame(Segment()), TcpFrame(Segment(true)), UdpFrame(kGuest, 1, kPeer, 2, "data"),
                                   EchoFrame(kGuest, kPeer, false, 1, "x"), ArpRequest(kGuest, kPeer)}) {
    for (size_t size = 0; size < whole.size(); ++size) {
      // Own memory, so that the sanitizer sees a read past it.
      const std::vector<char> cut(whole.begin(), whole.begin() + size);
      const Frame frame = Parse(absl::string_view(cut.data(), cut.size()));
      EXPECT_EQ(frame.kind, Kind::kMalformed) << size;
      EXPECT_EQ(frame.source.size, 0);
      EXPECT_EQ(frame.end, size);
    }
  }
}

TEST(FrameTest, ContradictionsAreMalformed) {
  std::string header = TcpFrame(Segment());
  header[14] = '\x44';  // 16 bytes of IPv4 header.
  EXPECT_EQ(Parse(header).kind, Kind::kMalformed);
  std::string data_offset = TcpFrame(Segment());
  data_offset[46] = '\x40';  // 16 bytes of TCP header.
  EXPECT_EQ(Parse(data_offset).kind, Kind::kMalformed);
  data_offset[46] = '\xf0';  // Past the end.
  EXPECT_EQ(Parse(data_offset).kind, Kind::kMalformed);
  std::string udp = UdpFrame(kGuest, 1, kPeer, 2, "data");
  udp[39] = 7;
  EXPECT_EQ(Parse(udp).kind, Kind::kMalformed);
  udp[39] = 13;
  EXPECT_EQ(Parse(udp).kind, Kind::kMalformed);
}

TEST(ChecksumTest, Rfc1624sOwnExample) {
  // Section 4: the update that RFC 1141 got wrong.
  EXPECT_EQ(UpdatedChecksum(0xdd2f, 0x5555, 0x3285), 0x0000);
}

TEST(ChecksumTest, ExpectedIsWhatASenderWrites) {
  std::mt19937_64 random(5);
  for (int i = 0; i < 2000; ++i) {
    TcpSegment segment = Segment(random() % 2 == 0);
    segment.sequence = static_cast<uint32_t>(random());
    segment.payload.resize(random() % 64, static_cast<char>(random()));
    const std::string tcp = TcpFrame(segment);
    ASSERT_EQ(ExpectedChecksum(tcp, Parse(tcp)), Parse(tcp).tcp.checksum);
    const std::string udp = UdpFrame(kGuest, static_cast<uint16_t>(random()), kPeer, 1, segment.payload);
    ASSERT_TRUE(ChecksumIsRight(udp, Parse(udp)));
    std::string spoilt = udp;
    CompleteChecksum(absl::MakeSpan(spoilt), Parse(spoilt));
    ASSERT_EQ(spoilt, udp);
  }
}

TEST(ChecksumTest, AUdpSumOfZeroIsWrittenAsOnes) {
  // The payload makes up for all the rest.
  const std::string without = UdpFrame(kGuest, 1, kPeer, 2, std::string(2, '\0'));
  const uint16_t sum = ExpectedChecksum(without, Parse(without));
  const std::string zero = UdpFrame(kGuest, 1, kPeer, 2, BigEndian16(sum));
  EXPECT_EQ(ExpectedChecksum(zero, Parse(zero)), 0xffff);
  EXPECT_TRUE(ChecksumIsRight(zero, Parse(zero)));
}

TEST(ShiftTest, ChangesTheNumbersAndNothingElse) {
  std::mt19937_64 random(7);
  for (int i = 0; i < 5000; ++i) {
    TcpSegment segment = Segment(random() % 2 == 0);
    segment.sequence = static_cast<uint32_t>(random());
    segment.acknowledgement = static_cast<uint32_t>(random());
    segment.payload.resize(random() % 8, 'x');
    const uint32_t left = static_cast<uint32_t>(random());
    const size_t nops = random() % 4;  // Also SACK at odd places.
    const TcpShift shift{random() % 3 == 0 ? 0 : static_cast<uint32_t>(random()), static_cast<uint32_t>(random())};
    const auto options = [&](uint32_t by) {
      return absl::StrCat(std::string(nops, '\x01'), SackOption({{left + by, left + by + 100}, {left + by + 500, by}}),
                          std::string((4 - (nops + 18) % 4) % 4, '\0'));
    };
    segment.options = options(0);
    std::string frame = TcpFrame(segment);
    const Frame parsed = Parse(frame);
    ASSERT_EQ(parsed.tcp.sack_edges, 4);
    ShiftTcpNumbers(absl::MakeSpan(frame), parsed, shift, i % 2 == 0 ? Checksum::kComplete : Checksum::kUnknown);
    segment.sequence += shift.sequence;
    segment.acknowledgement += shift.acknowledgement;
    segment.options = options(shift.acknowledgement);
    ASSERT_EQ(frame, TcpFrame(segment));
  }
}

TEST(ShiftTest, WithoutAckItsNumberMeansNothingAndStays) {
  TcpSegment segment = Segment();
  segment.flags = kTcpSyn;
  std::string frame = TcpFrame(segment);
  ShiftTcpNumbers(absl::MakeSpan(frame), Parse(frame), {.sequence = 0, .acknowledgement = 5}, Checksum::kComplete);
  EXPECT_EQ(frame, TcpFrame(segment));
}

TEST(ShiftTest, APartialChecksumStaysThePseudoHeadersSum) {
  std::string frame = TcpFrame(Segment());
  const Frame parsed = Parse(frame);
  frame.replace(parsed.transport_at + 16, 2, BigEndian16(PseudoHeaderSum(frame, parsed)));
  std::string shifted = frame;
  ShiftTcpNumbers(absl::MakeSpan(shifted), Parse(frame), {.sequence = 1000}, Checksum::kPartial);
  EXPECT_EQ(Parse(shifted).tcp.checksum, PseudoHeaderSum(frame, parsed));
  EXPECT_EQ(Parse(shifted).tcp.sequence, parsed.tcp.sequence + 1000);
  // What a network card would make of it is right.
  CompleteChecksum(absl::MakeSpan(shifted), Parse(shifted));
  EXPECT_TRUE(ChecksumIsRight(shifted, Parse(shifted)));

  std::string unknown = frame;
  ShiftTcpNumbers(absl::MakeSpan(unknown), Parse(frame), {.sequence = 1000}, Checksum::kUnknown);
  EXPECT_EQ(unknown, shifted) << "completed";
}

TEST(ShiftTest, AWrongChecksumStaysWrong) {
  for (const Checksum checksum : {Checksum::kComplete, Checksum::kUnknown}) {
    std::string frame = TcpFrame(Segment());
    frame[50] ^= 0x10;
    ShiftTcpNumbers(absl::MakeSpan(frame), Parse(frame), {.sequence = 0x12345678, .acknowledgement = 9}, checksum);
    EXPECT_FALSE(ChecksumIsRight(frame, Parse(frame)));
  }
}

}  // namespace
}  // namespace romulus::packet
