#include "secondary/control/standby_metrics.h"

#include <string>
#include <utility>

namespace romulus {
namespace {

using control::v1::Standby;
using control::v1::StandbyPhase;

double Seconds(const google::protobuf::Duration& duration) {
  return static_cast<double>(duration.seconds()) + duration.nanos() / 1e9;
}

double Number(uint64_t value) { return static_cast<double>(value); }

void AddGaps(const std::string& id, const control::v1::StandbyGaps& gaps, MetricFamilies& families) {
  families.Counter("romulus_standby_gaps_total", "How often the standby was suspended for a checkpoint and ran on.",
                   {{"protection", id}}, Number(gaps.count()));
  const control::v1::StandbyGap& sum = gaps.sum();
  for (const auto& [part, duration] :
       {std::pair("stop", &sum.stop()), std::pair("list", &sum.list()),
        std::pair("checkpoint_wait", &sum.checkpoint_wait()), std::pair("close", &sum.close()),
        std::pair("apply", &sum.apply()), std::pair("attach", &sum.attach()), std::pair("resume", &sum.resume()),
        std::pair("connect", &sum.connect())}) {
    families.Counter("romulus_standby_gap_part_seconds_total", "Time in these gaps, by their parts.",
                     {{"protection", id}, {"part", part}}, Seconds(*duration));
  }
}

void AddStandby(const Standby& standby, MetricFamilies& families) {
  const std::string id = standby.name().substr(standby.name().find('/') + 1);
  for (int phase = control::v1::STANDBY_SEEDING; phase <= control::v1::STANDBY_FAILED; ++phase) {
    const std::string& name = control::v1::StandbyPhase_Name(static_cast<StandbyPhase>(phase));
    families.Gauge("romulus_standby_phase", "1 for the phase that the standby is in.",
                   {{"protection", id}, {"phase", name}}, phase == standby.phase() ? 1 : 0);
  }
  const MetricFamilies::Labels labels = {{"protection", id}};
  families.Gauge("romulus_standby_generation", "The highest generation seen.", labels, Number(standby.generation()));
  families.Gauge("romulus_standby_committed_epoch", "The epoch that an activation now would resume.", labels,
                 Number(standby.committed_epoch()));
  families.Gauge("romulus_standby_applied_epoch", "The last epoch that is in the standby's memory.", labels,
                 Number(standby.applied_epoch()));
  if (standby.has_last_commit_age()) {
    families.Gauge("romulus_standby_recovery_point_age_seconds", "Age of the state that an activation would resume.",
                   labels, Seconds(standby.last_commit_age()));
  }
  families.Gauge("romulus_standby_link_alive", "Whether there is a session with the primary.", labels,
                 standby.link_alive() ? 1 : 0);
  families.Gauge("romulus_standby_last_heard_age_seconds", "Since the primary was heard last.", labels,
                 Seconds(standby.last_heard_age()));
  families.Counter("romulus_standby_received_bytes_total", "Bytes received; starts anew with each session.", labels,
                   Number(standby.received_bytes()));
  families.Gauge("romulus_standby_stored_bytes", "Bytes of checkpoints that are being received or wait to be applied.",
                 labels, Number(standby.stored_bytes()));
  if (standby.has_gaps()) AddGaps(id, standby.gaps(), families);
}

}  // namespace

void AddStandbyMetrics(const std::vector<Standby>& standbys, MetricFamilies& families) {
  for (const Standby& standby : standbys) AddStandby(standby, families);
}

}  // namespace romulus
