#include "secondary/control/standby_metrics.h"

#include <prometheus/text_serializer.h>

#include "common/control/durations.h"
#include "gtest/gtest.h"

namespace romulus {
namespace {

TEST(StandbyMetrics, SayWhatTheStatusSays) {
  control::v1::Standby standby;
  standby.set_name("standbys/web-1");
  standby.set_generation(4);
  standby.set_phase(control::v1::STANDBY_READY);
  standby.set_committed_epoch(41);
  standby.set_applied_epoch(40);
  *standby.mutable_last_commit_age() = ToProto(absl::Milliseconds(1125));
  standby.set_link_alive(true);
  *standby.mutable_last_heard_age() = ToProto(absl::Milliseconds(250));
  standby.set_received_bytes(123456789);
  standby.set_stored_bytes(4096);
  standby.mutable_gaps()->set_count(3);
  *standby.mutable_gaps()->mutable_sum()->mutable_list() = ToProto(absl::Milliseconds(125));
  *standby.mutable_gaps()->mutable_sum()->mutable_connect() = ToProto(absl::Milliseconds(1500));
  MetricFamilies families;
  AddStandbyMetrics({standby}, families);
  const std::string text = prometheus::TextSerializer().Serialize(families.families());
  for (const char* line : {
           "romulus_standby_phase{protection=\"web-1\",phase=\"STANDBY_READY\"} 1",
           "romulus_standby_phase{protection=\"web-1\",phase=\"STANDBY_ACTIVE\"} 0",
           "romulus_standby_generation{protection=\"web-1\"} 4",
           "romulus_standby_committed_epoch{protection=\"web-1\"} 41",
           "romulus_standby_applied_epoch{protection=\"web-1\"} 40",
           "romulus_standby_recovery_point_age_seconds{protection=\"web-1\"} 1.125",
           "romulus_standby_link_alive{protection=\"web-1\"} 1",
           "romulus_standby_last_heard_age_seconds{protection=\"web-1\"} 0.25",
           "# TYPE romulus_standby_received_bytes_total counter",
           "romulus_standby_received_bytes_total{protection=\"web-1\"} 123456789",
           "romulus_standby_stored_bytes{protection=\"web-1\"} 4096",
           "romulus_standby_gaps_total{protection=\"web-1\"} 3",
           "# TYPE romulus_standby_gap_part_seconds_total counter",
           "romulus_standby_gap_part_seconds_total{protection=\"web-1\",part=\"list\"} 0.125",
           "romulus_standby_gap_part_seconds_total{protection=\"web-1\",part=\"connect\"} 1.5",
       }) {
    EXPECT_NE(text.find(std::string(line) + "\n"), std::string::npos) << line << "\nis not in\n" << text;
  }
}

}  // namespace
}  // namespace romulus
