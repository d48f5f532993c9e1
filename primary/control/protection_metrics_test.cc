#include "primary/control/protection_metrics.h"

#include <prometheus/text_serializer.h>

#include "common/control/durations.h"
#include "gtest/gtest.h"

namespace romulus {
namespace {

using absl::Milliseconds;
using control::v1::DurationSpread;

DurationSpread Spread(int64_t p50_ms, int64_t p99_ms, int64_t max_ms) {
  DurationSpread spread;
  *spread.mutable_p50() = ToProto(Milliseconds(p50_ms));
  *spread.mutable_p99() = ToProto(Milliseconds(p99_ms));
  *spread.mutable_max() = ToProto(Milliseconds(max_ms));
  return spread;
}

control::v1::Protection Example() {
  control::v1::Protection protection;
  protection.set_name("protections/web-1");
  protection.set_generation(3);
  control::v1::ProtectionStatus& status = *protection.mutable_status();
  status.set_phase(control::v1::PROTECTED);
  status.set_epoch(43);
  status.set_committed_epoch(41);
  status.set_checkpoints_committed(1041);
  *status.mutable_last_commit_age() = ToProto(Milliseconds(1125));
  *status.mutable_pause() = Spread(125, 250, 375);
  *status.mutable_output_delay() = Spread(500, 625, 750);
  *status.mutable_commit() = Spread(375, 500, 625);
  *status.mutable_pause_parts()->mutable_page_copy() = Spread(125, 250, 500);
  status.mutable_checkpoint_bytes()->set_p99(4096000);
  status.mutable_checkpoint_wire_bytes()->set_p99(512000);
  control::v1::EncodingStatus& encoding = *status.mutable_encoding();
  encoding.set_codec(replication::v1::PAGE_BLOCKS);
  encoding.set_captured_bytes(8000);
  encoding.set_encoded_bytes(1000);
  encoding.set_patched_pages(17);
  encoding.set_page_cache_bytes(1 << 26);
  encoding.set_checkpoints_resent(1);
  *encoding.mutable_encode_time() = ToProto(Milliseconds(250));
  *status.mutable_pacing()->mutable_interval() = ToProto(Milliseconds(62) + absl::Microseconds(500));
  status.mutable_pacing()->set_bound(control::v1::OUTPUT_DELAY_GOAL);
  status.mutable_pacing()->add_missed(control::v1::PAUSE_SHARE_GOAL);
  status.mutable_pacing()->set_pause_share(0.25);
  status.set_dirty_pages_p50(350);
  status.set_unchanged_pages_p50(250);
  status.set_captured_pages_bytes(1 << 21);
  status.set_sent_bytes(5'000'000'000'000);
  status.set_staged_bytes(1 << 20);
  status.set_oversized_checkpoints(4);
  status.set_sessions(2);
  status.mutable_egress()->set_early_checkpoints(7);
  control::v1::VifEgressStatus& vif = *status.mutable_egress()->add_vifs();
  vif.set_vif("vif4.0");
  vif.set_limit_bytes(37500000);
  vif.set_held_packets(12);
  vif.set_held_bytes(18168);
  vif.set_sent_packets(99);
  vif.set_sent_bytes(9900);
  vif.set_dropped_packets(5);
  vif.set_epochs(1040);
  *vif.mutable_time_held() = Spread(375, 625, 750);
  status.mutable_egress()->add_vifs()->set_vif("vif4.1");
  control::v1::LockstepStatus& lockstep = *status.mutable_lockstep();
  lockstep.set_running(true);
  lockstep.set_share_of_time(0.875);
  lockstep.set_runs(11);
  lockstep.set_frames_released_by_comparison(1234);
  lockstep.set_frames_released_by_commit(56);
  control::v1::LockstepDifferences& differences = *lockstep.add_differences();
  differences.set_reason("content");
  differences.set_count(3);
  lockstep.add_differences()->set_reason("primary_only");
  lockstep.mutable_differences(1)->set_count(1);
  lockstep.set_standby_input_dropped(2);
  *lockstep.mutable_checkpoint() = Spread(500, 750, 1000);
  return protection;
}

TEST(ProtectionMetrics, SayWhatTheStatusSays) {
  MetricFamilies families;
  AddProtectionMetrics({Example()}, families);
  const std::string text = prometheus::TextSerializer().Serialize(families.families());
  for (const char* line : {
           "# TYPE romulus_protection_phase gauge",
           "romulus_protection_phase{protection=\"web-1\",phase=\"PROTECTED\"} 1",
           "romulus_protection_phase{protection=\"web-1\",phase=\"SEEDING\"} 0",
           "romulus_protection_phase{protection=\"web-1\",phase=\"FAILED\"} 0",
           "romulus_protection_generation{protection=\"web-1\"} 3",
           "romulus_epoch{protection=\"web-1\"} 43",
           "romulus_committed_epoch{protection=\"web-1\"} 41",
           "# TYPE romulus_checkpoints_committed_total counter",
           "romulus_checkpoints_committed_total{protection=\"web-1\"} 1041",
           "romulus_early_checkpoints_total{protection=\"web-1\"} 7",
           "romulus_oversized_checkpoints_total{protection=\"web-1\"} 4",
           "romulus_sessions_total{protection=\"web-1\"} 2",
           "romulus_recovery_point_age_seconds{protection=\"web-1\"} 1.125",
           "romulus_pause_seconds{protection=\"web-1\",quantile=\"0.5\"} 0.125",
           "romulus_pause_seconds{protection=\"web-1\",quantile=\"0.99\"} 0.25",
           "romulus_pause_seconds{protection=\"web-1\",quantile=\"1\"} 0.375",
           "romulus_commit_seconds{protection=\"web-1\",quantile=\"0.99\"} 0.5",
           "romulus_pause_part_seconds{protection=\"web-1\",part=\"page_copy\",quantile=\"1\"} 0.5",
           "romulus_checkpoint_bytes{protection=\"web-1\",quantile=\"0.99\"} 4096000",
           "romulus_checkpoint_wire_bytes{protection=\"web-1\",quantile=\"0.99\"} 512000",
           "romulus_interval_seconds{protection=\"web-1\"} 0.0625",
           "romulus_lockstep_running{protection=\"web-1\"} 1",
           "romulus_lockstep_share{protection=\"web-1\"} 0.875",
           "romulus_lockstep_checkpoint_seconds{protection=\"web-1\",quantile=\"0.5\"} 0.5",
           "romulus_lockstep_checkpoint_seconds{protection=\"web-1\",quantile=\"1\"} 1",
           "# TYPE romulus_lockstep_runs_total counter",
           "romulus_lockstep_runs_total{protection=\"web-1\"} 11",
           "# TYPE romulus_lockstep_frames_released_total counter",
           "romulus_lockstep_frames_released_total{protection=\"web-1\",by=\"comparison\"} 1234",
           "romulus_lockstep_frames_released_total{protection=\"web-1\",by=\"commit\"} 56",
           "# TYPE romulus_lockstep_differences_total counter",
           "romulus_lockstep_differences_total{protection=\"web-1\",reason=\"content\"} 3",
           "romulus_lockstep_differences_total{protection=\"web-1\",reason=\"primary_only\"} 1",
           "# TYPE romulus_lockstep_input_dropped_total counter",
           "romulus_lockstep_input_dropped_total{protection=\"web-1\"} 2",
           "romulus_encoded{protection=\"web-1\"} 1",
           "romulus_encoding_captured_bytes_total{protection=\"web-1\"} 8000",
           "romulus_encoding_encoded_bytes_total{protection=\"web-1\"} 1000",
           "romulus_encoding_pages_total{protection=\"web-1\",kind=\"patched\"} 17",
           "romulus_encoding_pages_total{protection=\"web-1\",kind=\"zero\"} 0",
           "romulus_page_cache_bytes{protection=\"web-1\"} 67108864",
           "romulus_checkpoints_resent_total{protection=\"web-1\"} 1",
           "romulus_encode_seconds_total{protection=\"web-1\"} 0.25",
           "romulus_pause_share{protection=\"web-1\"} 0.25",
           "romulus_pacing_bound{protection=\"web-1\",bound=\"OUTPUT_DELAY_GOAL\"} 1",
           "romulus_pacing_bound{protection=\"web-1\",bound=\"FLOOR\"} 0",
           "romulus_pacing_goal_missed{protection=\"web-1\",goal=\"PAUSE_SHARE_GOAL\"} 1",
           "romulus_pacing_goal_missed{protection=\"web-1\",goal=\"OUTPUT_DELAY_GOAL\"} 0",
           "romulus_output_delay_seconds{protection=\"web-1\",quantile=\"0.99\"} 0.625",
           "romulus_dirty_pages{protection=\"web-1\",quantile=\"0.5\"} 350",
           "romulus_unchanged_pages{protection=\"web-1\",quantile=\"0.5\"} 250",
           "romulus_captured_pages_bytes{protection=\"web-1\"} 2097152",
           "romulus_sent_bytes_total{protection=\"web-1\"} 5000000000000",
           "romulus_staged_bytes{protection=\"web-1\"} 1048576",
           "romulus_egress_held_packets{protection=\"web-1\",vif=\"vif4.0\"} 12",
           "romulus_egress_held_bytes{protection=\"web-1\",vif=\"vif4.0\"} 18168",
           "romulus_egress_limit_bytes{protection=\"web-1\",vif=\"vif4.0\"} 37500000",
           "romulus_egress_sent_packets_total{protection=\"web-1\",vif=\"vif4.0\"} 99",
           "romulus_egress_sent_bytes_total{protection=\"web-1\",vif=\"vif4.0\"} 9900",
           "# TYPE romulus_egress_dropped_packets_total counter",
           "romulus_egress_dropped_packets_total{protection=\"web-1\",vif=\"vif4.0\"} 5",
           "romulus_egress_dropped_packets_total{protection=\"web-1\",vif=\"vif4.1\"} 0",
           "romulus_egress_epochs_total{protection=\"web-1\",vif=\"vif4.0\"} 1040",
           "romulus_egress_time_held_seconds{protection=\"web-1\",vif=\"vif4.0\",quantile=\"0.5\"} 0.375",
           "romulus_egress_time_held_seconds{protection=\"web-1\",vif=\"vif4.0\",quantile=\"0.99\"} 0.625",
       }) {
    EXPECT_NE(text.find(std::string(line) + "\n"), std::string::npos) << line << "\nis not in\n" << text;
  }
}

TEST(ProtectionMetrics, EachFamilyIsNamedOnce) {
  MetricFamilies families;
  control::v1::Protection other = Example();
  other.set_name("protections/web-2");
  AddProtectionMetrics({Example(), other}, families);
  const std::string text = prometheus::TextSerializer().Serialize(families.families());
  EXPECT_EQ(text.find("# TYPE romulus_epoch "), text.rfind("# TYPE romulus_epoch "));
  EXPECT_NE(text.find("romulus_epoch{protection=\"web-2\"} 43\n"), std::string::npos);
}

TEST(ProtectionMetrics, WhatIsNotKnownIsNotThere) {
  control::v1::Protection fresh;
  fresh.set_name("protections/web-1");
  fresh.mutable_status()->set_phase(control::v1::CONNECTING);
  MetricFamilies families;
  AddProtectionMetrics({fresh}, families);
  const std::string text = prometheus::TextSerializer().Serialize(families.families());
  EXPECT_EQ(text.find("romulus_recovery_point_age_seconds"), std::string::npos);
  EXPECT_EQ(text.find("romulus_egress"), std::string::npos);
  EXPECT_EQ(text.find("romulus_lockstep"), std::string::npos) << "with stream mode COLO only";
}

}  // namespace
}  // namespace romulus
