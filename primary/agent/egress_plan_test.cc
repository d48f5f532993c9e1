#include "primary/agent/egress_plan.h"

#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include "common/control/durations.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace romulus {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A guest with two vifs on a bridge whose uplink has 10 Gb/s; the first vif is limited to 100 Mb/s by its toolstack.
class Plan : public testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/tmp/egress_plan_test.XXXXXX";
    ASSERT_NE(mkdtemp(path), nullptr);
    root_ = path;
    const fs::path net = root_ / "sys/class/net";
    fs::create_directories(net / "xenbr0/brif/eth0");
    fs::create_directories(net / "eth0");
    std::ofstream(net / "eth0/speed") << "10000\n";
    for (const char* vif : {"vif3.0", "vif3.1"}) {
      fs::create_directories(net / vif);
      fs::create_directory_symlink(net / "xenbr0", net / vif / "master");
    }
    fs::create_directories(root_ / "proc");
    std::ofstream(root_ / "proc/meminfo") << "MemTotal: 16777216 kB\nMemFree: 1 kB\nMemAvailable:    8388608 kB\n";
    *settings_.mutable_interval() = ToProto(absl::Milliseconds(100));
    for (uint32_t device = 0; device < 2; ++device) domain_.add_vifs()->set_device_id(device);
    (*domain_.mutable_vifs(0)->mutable_backend_entries())["rate"] = "625000,50000";
  }
  void TearDown() override { fs::remove_all(root_); }
  EgressPlan Make() { return PlanEgress(settings_, domain_, vifs_, root_); }

  fs::path root_;
  control::v1::ProtectionSettings settings_;
  replication::v1::DomainDescription domain_;
  const std::vector<Vif> vifs_ = {{"vif3.0", 3, 0}, {"vif3.1", 3, 1}};
};

TEST_F(Plan, EachVifsBufferFollowsItsLink) {
  const EgressPlan plan = Make();
  // 12.5 MB/s in 0.3 s is less than the floor; 1.25 GB/s in 0.3 s.
  EXPECT_THAT(plan.limits_bytes, ElementsAre(4 << 20, 375'000'000));
  // The floor lasts the slow link 42 ms, an eighth of the other buffer the fast one 37.
  EXPECT_EQ(plan.sample_period, absl::Milliseconds(10));
  EXPECT_THAT(plan.why, HasSubstr("the vif's rate"));
  EXPECT_THAT(plan.why, HasSubstr("fastest port"));
}

TEST_F(Plan, ALongerIntervalTakesALargerBuffer) {
  *settings_.mutable_interval() = ToProto(absl::Milliseconds(200));
  EXPECT_THAT(Make().limits_bytes, ElementsAre(6'250'000, 512 << 20));
}

TEST_F(Plan, APacersLongestIntervalCounts) {
  settings_.mutable_pacing_goal()->set_pause_share(0.1);
  *settings_.mutable_pacing_goal()->mutable_interval_max() = ToProto(absl::Milliseconds(200));
  EXPECT_THAT(Make().limits_bytes, ElementsAre(6'250'000, 512 << 20));
  *settings_.mutable_pacing_goal()->mutable_output_delay_p99() = ToProto(absl::Milliseconds(100));
  EXPECT_THAT(Make().limits_bytes, ElementsAre(4 << 20, 375'000'000));
}

TEST_F(Plan, WithoutALinkThatSaysItsSpeedOneIsAssumed) {
  fs::remove(root_ / "sys/class/net/eth0/speed");
  EXPECT_THAT(Make().limits_bytes, ElementsAre(4 << 20, 37'500'000));
  EXPECT_THAT(Make().why, HasSubstr("assumed"));
}

TEST_F(Plan, LittleMemoryMakesSmallBuffers) {
  std::ofstream(root_ / "proc/meminfo") << "MemAvailable: 262144 kB\n";
  EXPECT_THAT(Make().limits_bytes, ElementsAre(4 << 20, 16 << 20));
  fs::remove(root_ / "proc/meminfo");
  EXPECT_THAT(Make().limits_bytes, ElementsAre(4 << 20, 4 << 20));
}

TEST_F(Plan, WhatIsSetCounts) {
  settings_.set_egress_buffer_bytes(1 << 20);
  const EgressPlan plan = Make();
  EXPECT_THAT(plan.limits_bytes, ElementsAre(1 << 20, 1 << 20));
  EXPECT_EQ(plan.sample_period, absl::Milliseconds(2)) << "10 Gb/s fills it in less than a millisecond";
}

}  // namespace
}  // namespace romulus
