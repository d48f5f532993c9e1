#include "secondary/target/announcer.h"

#include <gtest/gtest.h>

#include "absl/strings/escaping.h"

namespace romulus {
namespace {

TEST(Announcer, ReadsMacAddressesAndNothingElse) {
  const absl::StatusOr<MacAddress> mac = ParseMacAddress("00:16:3e:80:0a:Ff");
  ASSERT_TRUE(mac.ok());
  EXPECT_EQ(*mac, (MacAddress{0x00, 0x16, 0x3e, 0x80, 0x0a, 0xff}));
  for (const char* wrong : {"", "00:16:3e:80:0a", "00:16:3e:80:0a:ff:11", "0:16:3e:80:0a:ff", "00-16-3e-80-0a-ff",
                            "00:16:3e:80:0a:fg", "00:16:3e:80:0a:ff "}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParseMacAddress(wrong).status())) << wrong;
  }
}

// RFC 903 section 3: hardware type 1, protocol 0x0800, lengths 6 and 4, opcode 3, both hardware addresses the sender's.
TEST(Announcer, AlwaysSendsARarpRequestFromTheGuestsMac) {
  const std::vector<std::string> frames = AnnouncementFrames({0x00, 0x16, 0x3e, 0x80, 0x00, 0x10}, {});
  ASSERT_EQ(frames.size(), 1);
  EXPECT_EQ(absl::BytesToHexString(frames[0]),
            "ffffffffffff"
            "00163e800010"
            "8035"
            "0001080006040003"
            "00163e80001000000000"
            "00163e80001000000000"
            "000000000000000000000000000000000000");
}

// RFC 5227 section 3: a broadcast request whose sender and target address are the same.
TEST(Announcer, SendsAGratuitousArpForEachKnownIpv4Address) {
  const std::vector<std::string> frames =
      AnnouncementFrames({0x00, 0x16, 0x3e, 0x80, 0x00, 0x10}, {"10.80.0.10", "fe80::1", "nonsense", "10.80.0.11"});
  ASSERT_EQ(frames.size(), 3);
  EXPECT_EQ(absl::BytesToHexString(frames[1]).substr(24, 60),
            "0806"
            "0001080006040001"
            "00163e8000100a50000a"
            "0000000000000a50000a");
  EXPECT_EQ(absl::BytesToHexString(frames[2]).substr(56, 8), "0a50000b");
}

}  // namespace
}  // namespace romulus
