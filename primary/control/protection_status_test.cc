#include "primary/control/protection_status.h"

#include <gtest/gtest.h>

// Of lockstep. The rest is shown by the metrics' and the registry's tests, and by the lab.
namespace romulus {
namespace {

using comparison::DifferenceReason;

ProtectionDriver::Status Example() {
  ProtectionDriver::Status status;
  status.core.lockstep = true;
  status.core.lockstep_runs = 11;
  status.core.differences = 5;
  status.core.last_difference = "10.0.0.2:80: other bytes";
  status.core.lockstep_refusal = "its event channels differ";
  status.comparison.released = 1234;
  status.comparison.committed = 56;
  status.comparison.differences[static_cast<size_t>(DifferenceReason::kContent)] = 3;
  status.comparison.differences[static_cast<size_t>(DifferenceReason::kBound)] = 4;
  status.standby_input_frames = 100;
  status.standby_input_dropped = 2;
  status.standby_output_frames = 101;
  status.standby_pages_last = 17;
  lockstep::LockstepPolicy::Snapshot& policy = status.lockstep_policy.emplace();
  policy.lockstep_share = 0.875;
  policy.runs = 10;
  policy.short_runs = 6;
  return status;
}

TEST(LockstepStatus, SaysWhatTheDriverSays) {
  const control::v1::ProtectionStatus proto = ToProto(Example(), absl::UnixEpoch());
  ASSERT_TRUE(proto.has_lockstep());
  const control::v1::LockstepStatus& lockstep = proto.lockstep();
  EXPECT_TRUE(lockstep.running());
  EXPECT_EQ(lockstep.share_of_time(), 0.875);
  EXPECT_EQ(lockstep.runs(), 11) << "begun, not ended";
  EXPECT_EQ(lockstep.short_runs(), 6);
  EXPECT_EQ(lockstep.frames_released_by_comparison(), 1234);
  EXPECT_EQ(lockstep.frames_released_by_commit(), 56);
  EXPECT_EQ(lockstep.last_difference(), "10.0.0.2:80: other bytes");
  EXPECT_EQ(lockstep.last_refusal(), "its event channels differ");
  EXPECT_EQ(lockstep.standby_input_frames(), 100);
  EXPECT_EQ(lockstep.standby_input_dropped(), 2);
  EXPECT_EQ(lockstep.standby_output_frames(), 101);
  EXPECT_EQ(lockstep.standby_pages_last(), 17);
  ASSERT_EQ(lockstep.differences_size(), 2) << "reasons that were there";
  EXPECT_EQ(lockstep.differences(0).reason(), "content");
  EXPECT_EQ(lockstep.differences(0).count(), 3);
  EXPECT_EQ(lockstep.differences(1).reason(), "bound");
  EXPECT_EQ(lockstep.differences(1).count(), 4);
}

TEST(LockstepStatus, IsOfProtectionsInStreamModeColoOnly) {
  ProtectionDriver::Status status = Example();
  status.lockstep_policy.reset();
  EXPECT_FALSE(ToProto(status, absl::UnixEpoch()).has_lockstep());

  control::v1::ProtectionSettings settings;
  settings.set_stream_mode(replication::v1::REMUS);
  EXPECT_FALSE(ToConfig(settings).lockstep.has_value());
  settings.set_stream_mode(replication::v1::COLO);
  EXPECT_TRUE(ToConfig(settings).lockstep.has_value());
}

}  // namespace
}  // namespace romulus
