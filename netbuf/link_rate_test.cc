#include "netbuf/link_rate.h"

#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include "gtest/gtest.h"

namespace romulus {
namespace {

namespace fs = std::filesystem;

TEST(ParseVifRate, IsBytesPerPeriod) {
  // What xl writes for rate=10Mb/s: 62500 bytes in 50 ms.
  EXPECT_EQ(ParseVifRate("62500,50000"), 1'250'000);
  EXPECT_EQ(ParseVifRate("1,1000000"), 1);
}

TEST(ParseVifRate, AnythingElseIsNoLimit) {
  for (const char* rate : {"", "62500", ",", "62500,", ",50000", "62500,0", "0,50000", "-1,50000", "4294967295,0",
                           "4294967295,50000", "1e6,50000", "62500,50000 ", "99999999999999999999,1"}) {
    EXPECT_EQ(ParseVifRate(rate), std::nullopt) << rate;
  }
}

// A bridge with ports, as sysfs shows them.
class UplinkRate : public testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/tmp/link_rate_test.XXXXXX";
    ASSERT_NE(mkdtemp(path), nullptr);
    net_ = path;
    fs::create_directories(net_ / "xenbr0" / "brif");
    AddPort("vif1.0", "");
    fs::create_directory_symlink(net_ / "xenbr0", net_ / "vif1.0" / "master");
  }
  void TearDown() override { fs::remove_all(net_); }
  void AddPort(const std::string& name, const std::string& speed) {
    fs::create_directories(net_ / name);
    fs::create_directories(net_ / "xenbr0" / "brif" / name);
    std::ofstream(net_ / name / "speed") << speed;
  }

  fs::path net_;
};

TEST_F(UplinkRate, IsThatOfTheFastestPort) {
  AddPort("eth0", "1000\n");
  AddPort("eth1", "10000\n");
  AddPort("eth2", "100\n");
  EXPECT_EQ(ReadUplinkRate("vif1.0", net_), 1'250'000'000);
}

TEST_F(UplinkRate, PortsThatDoNotKnowTheirSpeedDoNotCount) {
  AddPort("eth0", "-1\n");
  AddPort("eth1", "4294967295\n");
  AddPort("vif2.0", "");
  EXPECT_EQ(ReadUplinkRate("vif1.0", net_), std::nullopt);
  AddPort("eth3", "2500\n");
  EXPECT_EQ(ReadUplinkRate("vif1.0", net_), 312'500'000);
}

TEST_F(UplinkRate, AnotherGuestsTapIsNoUplink) {
  AddPort("tap2.0", "10000\n");
  std::ofstream(net_ / "tap2.0" / "tun_flags") << "0x1002\n";
  EXPECT_EQ(ReadUplinkRate("vif1.0", net_), std::nullopt);
}

TEST_F(UplinkRate, NoBridgeNoRate) {
  fs::remove(net_ / "vif1.0" / "master");
  EXPECT_EQ(ReadUplinkRate("vif1.0", net_), std::nullopt);
  EXPECT_EQ(ReadUplinkRate("vif7.0", net_), std::nullopt);
}

}  // namespace
}  // namespace romulus
