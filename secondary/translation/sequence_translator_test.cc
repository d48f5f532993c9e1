#include "secondary/translation/sequence_translator.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/packet/frame_builder.h"
#include "gtest/gtest.h"

namespace romulus::translation {
namespace {

using packet::BigEndian16;
using packet::BigEndian32;
using packet::Checksum;
using packet::kTcpAck;
using packet::kTcpFin;
using packet::kTcpRst;
using packet::kTcpSyn;
using packet::SequenceOffset;
using packet::TcpSegment;

constexpr uint32_t kDevice = 3;
// Not so far from the end of the numbers that nothing wraps around.
constexpr uint32_t kPrimary = 0xfffffff0;
constexpr uint32_t kStandby = 0x10000;

class SequenceTranslatorTest : public ::testing::TestWithParam<bool> {
 protected:
  explicit SequenceTranslatorTest(TranslatorSettings settings = {}) : translator_(settings) {}

  packet::Address guest() const { return packet::ParseAddress(GetParam() ? "fd00::2" : "10.0.0.2"); }
  packet::Address peer() const { return packet::ParseAddress(GetParam() ? "fd00::9" : "10.0.0.9"); }
  SequenceOffset Offset(uint16_t port = 51000) const {
    return {{kDevice, guest(), peer(), 80, port}, kPrimary, kStandby};
  }
  // What the remote end sends.
  std::string FromPeer(uint32_t sequence, uint32_t acknowledgement, uint8_t flags = kTcpAck, std::string options = "",
                       std::string payload = "", uint16_t port = 51000) const {
    return packet::TcpFrame({.source = peer(),
                             .destination = guest(),
                             .source_port = port,
                             .destination_port = 80,
                             .sequence = sequence,
                             .acknowledgement = acknowledgement,
                             .flags = flags,
                             .options = std::move(options),
                             .payload = std::move(payload)});
  }
  std::string FromGuest(uint32_t sequence, uint32_t acknowledgement, uint8_t flags = kTcpAck, std::string options = "",
                        std::string payload = "", uint16_t port = 51000) const {
    return packet::TcpFrame({.source = guest(),
                             .destination = peer(),
                             .source_port = 80,
                             .destination_port = port,
                             .sequence = sequence,
                             .acknowledgement = acknowledgement,
                             .flags = flags,
                             .options = std::move(options),
                             .payload = std::move(payload)});
  }
  std::string In(std::string frame) {
    const std::string before = frame;
    const bool changed = translator_.TranslateInput(now_, kDevice, absl::MakeSpan(frame), Checksum::kComplete);
    EXPECT_EQ(changed, frame != before);
    return frame;
  }
  std::string Out(std::string frame) {
    const std::string before = frame;
    const bool changed = translator_.TranslateOutput(now_, kDevice, absl::MakeSpan(frame), Checksum::kComplete);
    EXPECT_EQ(changed, frame != before);
    return frame;
  }
  // Both sides close; the standby first.
  void Close() {
    Out(FromGuest(kStandby + 1, 500, kTcpAck | kTcpFin));
    In(FromPeer(500, kPrimary + 2, kTcpAck));
    In(FromPeer(500, kPrimary + 2, kTcpAck | kTcpFin));
    Out(FromGuest(kStandby + 2, 501));
  }
  // An ICMP packet with right checksum about `quoted`, an IP packet.
  std::string Icmp(uint8_t type, uint8_t code, const std::string& quoted) const {
    const packet::Address router = packet::ParseAddress(GetParam() ? "fd00::1" : "10.0.0.1");
    std::string icmp{static_cast<char>(type), static_cast<char>(code), 0, 0};
    absl::StrAppend(&icmp, BigEndian32(1400), quoted);
    std::string summed = icmp;
    if (GetParam()) {
      summed = absl::StrCat(BytesOf(router), BytesOf(guest()), BigEndian32(static_cast<uint32_t>(icmp.size())),
                            BigEndian32(58), icmp);
    }
    uint32_t sum = 0;
    for (size_t i = 0; i + 1 < summed.size(); i += 2) {
      sum += static_cast<uint8_t>(summed[i]) << 8 | static_cast<uint8_t>(summed[i + 1]);
    }
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
    icmp.replace(2, 2, BigEndian16(static_cast<uint16_t>(~sum)));
    return packet::IpFrame(router, guest(), GetParam() ? 58 : 1, icmp);
  }
  // The head of the guest's packet, as it is quoted.
  std::string Quote(uint32_t sequence) const { return FromGuest(sequence, 500).substr(14, (GetParam() ? 40 : 20) + 8); }
  bool Knows() { return In(FromPeer(900, kPrimary + 2)) != FromPeer(900, kPrimary + 2); }

  absl::Duration now_ = absl::Seconds(1000);
  SequenceTranslator translator_;
};

INSTANTIATE_TEST_SUITE_P(BothIps, SequenceTranslatorTest, ::testing::Bool());

TEST_P(SequenceTranslatorTest, AcknowledgementsToTheStandbyAreItsOwnNumbers) {
  ASSERT_TRUE(translator_.Add(now_, Offset()));
  EXPECT_EQ(In(FromPeer(500, kPrimary + 1)), FromPeer(500, kStandby + 1));
  EXPECT_EQ(In(FromPeer(500, kPrimary + 100, kTcpAck, "", "request")),
            FromPeer(500, kStandby + 100, kTcpAck, "", "request"));
  EXPECT_EQ(In(FromPeer(500, kPrimary + 5, kTcpAck, packet::SackOption({{kPrimary + 20, kPrimary + 40}}))),
            FromPeer(500, kStandby + 5, kTcpAck, packet::SackOption({{kStandby + 20, kStandby + 40}})));
}

TEST_P(SequenceTranslatorTest, AfterATakeoverSequenceNumbersAreThePrimarys) {
  ASSERT_TRUE(translator_.Add(now_, Offset()));
  EXPECT_EQ(Out(FromGuest(kStandby + 1, 500, kTcpAck, "", "data")), FromGuest(kPrimary + 1, 500, kTcpAck, "", "data"));
  // The SACK of output is about the remote end's numbers.
  EXPECT_EQ(Out(FromGuest(kStandby + 5, 500, kTcpAck, packet::SackOption({{600, 700}}))),
            FromGuest(kPrimary + 5, 500, kTcpAck, packet::SackOption({{600, 700}})));
  EXPECT_EQ(Out(FromGuest(kStandby, 78, kTcpSyn | kTcpAck)), FromGuest(kPrimary, 78, kTcpSyn | kTcpAck));
  EXPECT_EQ(Out(FromGuest(kStandby + 9, 0, kTcpRst)), FromGuest(kPrimary + 9, 0, kTcpRst));
}

TEST_P(SequenceTranslatorTest, OfAConnectionThatTheGuestOpened) {
  ASSERT_TRUE(translator_.Add(now_, Offset()));
  EXPECT_EQ(In(FromPeer(77, kPrimary + 1, kTcpSyn | kTcpAck)), FromPeer(77, kStandby + 1, kTcpSyn | kTcpAck));
}

TEST_P(SequenceTranslatorTest, WhatIsNotKnownPassesAsItIs) {
  ASSERT_TRUE(translator_.Add(now_, Offset()));
  EXPECT_EQ(In(FromPeer(500, 600, kTcpAck, "", "", 52000)), FromPeer(500, 600, kTcpAck, "", "", 52000));
  EXPECT_EQ(Out(FromGuest(500, 600, kTcpAck, "", "", 52000)), FromGuest(500, 600, kTcpAck, "", "", 52000));
  const std::string udp = packet::UdpFrame(peer(), 51000, guest(), 80, "datagram");
  EXPECT_EQ(In(udp), udp);
  EXPECT_EQ(In("cut"), "cut");
  std::string other_device = FromPeer(500, kPrimary + 1);
  EXPECT_FALSE(translator_.TranslateInput(now_, kDevice + 1, absl::MakeSpan(other_device), Checksum::kComplete));
  // Without ACK its number means nothing.
  EXPECT_EQ(In(FromPeer(500, 0, kTcpRst)), FromPeer(500, 0, kTcpRst));
}

TEST_P(SequenceTranslatorTest, APartialChecksumIsLeftAlone) {
  ASSERT_TRUE(translator_.Add(now_, Offset()));
  std::string frame = FromPeer(500, kPrimary + 1);
  const packet::Frame parsed = packet::Parse(frame);
  frame.replace(parsed.transport_at + 16, 2, BigEndian16(packet::PseudoHeaderSum(frame, parsed)));
  EXPECT_TRUE(translator_.TranslateInput(now_, kDevice, absl::MakeSpan(frame), Checksum::kPartial));
  EXPECT_EQ(packet::Parse(frame).tcp.checksum, packet::PseudoHeaderSum(frame, parsed));
  EXPECT_EQ(packet::Parse(frame).tcp.acknowledgement, kStandby + 1);
}

TEST_P(SequenceTranslatorTest, IcmpErrorsQuoteTheStandbysNumber) {
  ASSERT_TRUE(translator_.Add(now_, Offset()));
  // The quoted IPv4 checksum is of its own header only, and the TCP checksum is not quoted. Unreachable (with too large
  // a packet in IPv4), time exceeded, parameter problem; too big in IPv6.
  for (const uint8_t type : GetParam() ? std::vector<uint8_t>{1, 2, 3, 4} : std::vector<uint8_t>{3, 11, 12}) {
    EXPECT_EQ(In(Icmp(type, 0, Quote(kPrimary + 700))), Icmp(type, 0, Quote(kStandby + 700))) << int{type};
  }
  const std::string whole = Icmp(GetParam() ? 2 : 3, 4, Quote(kPrimary + 700));
  for (size_t cut = 40; cut < whole.size(); ++cut) In(whole.substr(0, cut));
}

TEST_P(SequenceTranslatorTest, IcmpThatQuotesNoNumberOfAKnownConnectionPassesAsItIs) {
  ASSERT_TRUE(translator_.Add(now_, Offset()));
  const uint8_t unreachable = GetParam() ? 1 : 3;
  const auto passes = [&](const std::string& frame, const char* what) { EXPECT_EQ(In(frame), frame) << what; };
  // What looks like a quote in them is data.
  for (const uint8_t type : GetParam() ? std::vector<uint8_t>{0, 5, 128, 129} : std::vector<uint8_t>{0, 8, 13}) {
    passes(Icmp(type, 0, Quote(kPrimary)), "no error");
  }
  std::string quote = Quote(kPrimary);
  quote[GetParam() ? 6 : 9] = 17;
  passes(Icmp(unreachable, 3, quote), "UDP of the same ports");
  passes(Icmp(unreachable, 3, FromGuest(kPrimary, 500, kTcpAck, "", "", 52000).substr(14, 48)), "another connection");
  if (GetParam()) return;
  quote = Quote(kPrimary);
  quote[7] = 1;
  passes(Icmp(unreachable, 3, quote), "a later fragment: no TCP header");
}

TEST_P(SequenceTranslatorTest, AQuoteMayHaveIpOptions) {
  if (GetParam()) return;
  ASSERT_TRUE(translator_.Add(now_, Offset()));
  const auto with_options = [&](uint32_t sequence) {
    std::string quote = Quote(sequence);
    quote[0] = 0x46;
    return quote.insert(20, 4, '\1');
  };
  EXPECT_EQ(In(Icmp(3, 4, with_options(kPrimary + 700))), Icmp(3, 4, with_options(kStandby + 700)));
}

TEST_P(SequenceTranslatorTest, NewNumbersTakeTheOldOnesPlace) {
  ASSERT_TRUE(translator_.Add(now_, Offset()));
  SequenceOffset next = Offset();
  next.standby_initial = 7;
  next.primary_initial = 1007;
  ASSERT_TRUE(translator_.Add(now_, next));
  EXPECT_EQ(translator_.connections(), 1);
  EXPECT_EQ(In(FromPeer(500, 1010)), FromPeer(500, 10));
}

TEST_P(SequenceTranslatorTest, EqualNumbersChangeNothing) {
  SequenceOffset same = Offset();
  same.standby_initial = same.primary_initial;
  ASSERT_TRUE(translator_.Add(now_, same));
  EXPECT_EQ(In(FromPeer(500, 1010)), FromPeer(500, 1010));
  EXPECT_EQ(Out(FromGuest(500, 1010)), FromGuest(500, 1010));
}

TEST_P(SequenceTranslatorTest, ACheckpointThatIsAppliedMakesAllVoid) {
  ASSERT_TRUE(translator_.Add(now_, Offset()));
  translator_.OnCheckpointApplied();
  EXPECT_EQ(translator_.connections(), 0);
  EXPECT_FALSE(Knows());
}

TEST_P(SequenceTranslatorTest, WhatEndsBeforeACheckpointEndsNoConnectionBehindIt) {
  ASSERT_TRUE(translator_.Add(now_, Offset()));
  ASSERT_TRUE(translator_.Add(now_, Offset(51001)));
  Close();
  translator_.OnCheckpointApplied();
  now_ += absl::Seconds(50);
  ASSERT_TRUE(translator_.Add(now_, Offset()));
  now_ += absl::Seconds(50);
  EXPECT_TRUE(Knows()) << "the one before had ended";
  translator_.OnCheckpointApplied();
  now_ += absl::Hours(2);
  ASSERT_TRUE(translator_.Add(now_, Offset()));
  ASSERT_TRUE(translator_.Add(now_, Offset(51001)));
  now_ += absl::Minutes(30);
  EXPECT_TRUE(Knows()) << "the one before had been idle";
  EXPECT_EQ(translator_.connections(), 2);
}

TEST_P(SequenceTranslatorTest, AfterBothFinsTheLastOneMayComeAgainForAWhile) {
  ASSERT_TRUE(translator_.Add(now_, Offset()));
  Close();
  now_ += absl::Seconds(30);
  EXPECT_EQ(In(FromPeer(500, kPrimary + 2, kTcpAck | kTcpFin)), FromPeer(500, kStandby + 2, kTcpAck | kTcpFin));
  now_ += absl::Seconds(59);
  EXPECT_TRUE(Knows());
  now_ += absl::Seconds(60);
  EXPECT_FALSE(Knows());
  EXPECT_EQ(translator_.connections(), 0);
}

TEST_P(SequenceTranslatorTest, AHalfClosedConnectionLives) {
  ASSERT_TRUE(translator_.Add(now_, Offset()));
  Out(FromGuest(kStandby + 1, 500, kTcpAck | kTcpFin));
  In(FromPeer(500, kPrimary + 2, kTcpAck));
  now_ += absl::Minutes(10);
  EXPECT_EQ(In(FromPeer(500, kPrimary + 2, kTcpAck, "", "still sending")),
            FromPeer(500, kStandby + 2, kTcpAck, "", "still sending"));
  // The peer's FIN that the standby has not acknowledged is not an end either.
  In(FromPeer(513, kPrimary + 2, kTcpAck | kTcpFin));
  Out(FromGuest(kStandby + 2, 513));
  now_ += absl::Minutes(10);
  EXPECT_TRUE(Knows());
}

TEST_P(SequenceTranslatorTest, AFinIsAcknowledgedWithAllThatCameBeforeIt) {
  ASSERT_TRUE(translator_.Add(now_, Offset()));
  // Of the standby: data in the same frame, of which the remote end has nothing yet.
  Out(FromGuest(kStandby + 1, 500, kTcpAck | kTcpFin, "", "bye"));
  In(FromPeer(500, kPrimary + 2, kTcpAck | kTcpFin));
  Out(FromGuest(kStandby + 5, 501));
  now_ += absl::Minutes(10);
  EXPECT_TRUE(Knows());
  // Of the remote end: numbers that wrap around.
  ASSERT_TRUE(translator_.Add(now_, Offset()));
  Out(FromGuest(kStandby + 1, 0xfffffff0, kTcpAck | kTcpFin));
  In(FromPeer(0xfffffff0, kPrimary + 2, kTcpAck));
  In(FromPeer(2, kPrimary + 2, kTcpAck | kTcpFin));
  Out(FromGuest(kStandby + 2, 0xfffffff0));
  now_ += absl::Minutes(10);
  EXPECT_TRUE(Knows());
}

TEST_P(SequenceTranslatorTest, WhatTheStandbySendsWhileThePrimaryLivesCountsForTheEnd) {
  ASSERT_TRUE(translator_.Add(now_, Offset()));
  translator_.NoteOutput(now_, kDevice, FromGuest(kStandby + 1, 500, kTcpAck | kTcpFin));
  In(FromPeer(500, kPrimary + 2, kTcpAck | kTcpFin));
  translator_.NoteOutput(now_, kDevice, FromGuest(kStandby + 2, 501));
  now_ += absl::Seconds(60);
  EXPECT_FALSE(Knows());
}

TEST_P(SequenceTranslatorTest, AResetEndsItUnlessItWasNotBelieved) {
  ASSERT_TRUE(translator_.Add(now_, Offset()));
  In(FromPeer(500, kPrimary + 1, kTcpAck | kTcpRst));
  now_ += absl::Seconds(1);
  Out(FromGuest(kStandby + 1, 500));
  now_ += absl::Minutes(10);
  EXPECT_TRUE(Knows()) << "the guest went on";
  Out(FromGuest(kStandby + 1, 500, kTcpAck | kTcpRst));
  In(FromPeer(500, kPrimary + 1));
  now_ += absl::Minutes(10);
  EXPECT_TRUE(Knows()) << "the remote end went on";
  Out(FromGuest(kStandby + 1, 500, kTcpAck | kTcpRst));
  now_ += absl::Seconds(60);
  EXPECT_FALSE(Knows());
}

TEST_P(SequenceTranslatorTest, TheNextConnectionOfTheSameAddressesIsNotTranslated) {
  ASSERT_TRUE(translator_.Add(now_, Offset()));
  In(FromPeer(40000, 0, kTcpSyn));
  EXPECT_TRUE(Knows()) << "a SYN into a living connection: the guest decides";
  Close();
  EXPECT_EQ(In(FromPeer(40000, 0, kTcpSyn)), FromPeer(40000, 0, kTcpSyn));
  EXPECT_EQ(translator_.connections(), 0);
  EXPECT_EQ(Out(FromGuest(123456, 40001, kTcpSyn | kTcpAck)), FromGuest(123456, 40001, kTcpSyn | kTcpAck));
  EXPECT_EQ(In(FromPeer(40001, 123457)), FromPeer(40001, 123457));

  ASSERT_TRUE(translator_.Add(now_, Offset()));
  EXPECT_EQ(Out(FromGuest(123456, 0, kTcpSyn)), FromGuest(123456, 0, kTcpSyn)) << "the guest opens a new one";
  EXPECT_FALSE(Knows());
}

TEST_P(SequenceTranslatorTest, AnIdleConnectionIsForgotten) {
  ASSERT_TRUE(translator_.Add(now_, Offset()));
  now_ += absl::Hours(2);
  EXPECT_TRUE(Knows());
  now_ += absl::Hours(3);
  EXPECT_FALSE(Knows());
}

TEST_P(SequenceTranslatorTest, AnIdleConnectionIsForgottenThoughAnOlderOneIsNot) {
  ASSERT_TRUE(translator_.Add(now_, Offset(51000)));
  ASSERT_TRUE(translator_.Add(now_, Offset(51001)));
  now_ += absl::Hours(1);
  ASSERT_TRUE(Knows());
  now_ += absl::Minutes(76);
  EXPECT_TRUE(Knows());
  EXPECT_EQ(translator_.connections(), 1);
}

class FullTranslatorTest : public SequenceTranslatorTest {
 protected:
  FullTranslatorTest() : SequenceTranslatorTest({.connections_max = 3}) {}
};

INSTANTIATE_TEST_SUITE_P(BothIps, FullTranslatorTest, ::testing::Bool());

TEST_P(FullTranslatorTest, RefusesANewOneAndLosesNoLivingOne) {
  for (uint16_t port = 51000; port < 51003; ++port) ASSERT_TRUE(translator_.Add(now_, Offset(port)));
  EXPECT_FALSE(translator_.Add(now_, Offset(51003)));
  EXPECT_EQ(translator_.connections(), 3);
  EXPECT_TRUE(translator_.Add(now_, Offset(51001))) << "known";
  Close();
  EXPECT_TRUE(translator_.Add(now_, Offset(51003))) << "in the place of one that has ended";
  EXPECT_FALSE(Knows());
  EXPECT_EQ(In(FromPeer(1, kPrimary + 4, kTcpAck, "", "", 51002)), FromPeer(1, kStandby + 4, kTcpAck, "", "", 51002));
  now_ += absl::Hours(3);
  EXPECT_TRUE(translator_.Add(now_, Offset(51004))) << "in the place of idle ones";
}

}  // namespace
}  // namespace romulus::translation
