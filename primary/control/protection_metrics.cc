#include "primary/control/protection_metrics.h"

#include <string>
#include <tuple>
#include <utility>

namespace romulus {
namespace {

using control::v1::DurationSpread;
using control::v1::Protection;
using control::v1::ProtectionPhase;
using control::v1::ProtectionStatus;
using control::v1::VifEgressStatus;
using Labels = MetricFamilies::Labels;

double Seconds(const google::protobuf::Duration& duration) {
  return static_cast<double>(duration.seconds()) + duration.nanos() / 1e9;
}

double Number(uint64_t value) { return static_cast<double>(value); }

std::string IdOf(const std::string& name) { return name.substr(name.find('/') + 1); }

// As state sets are written: a series per phase, 1 for the one that it is in.
void AddPhases(const std::string& id, ProtectionPhase now, MetricFamilies& families) {
  for (int phase = control::v1::CONNECTING; phase <= control::v1::FAILED; ++phase) {
    const std::string& name = control::v1::ProtectionPhase_Name(static_cast<ProtectionPhase>(phase));
    families.Gauge("romulus_protection_phase", "1 for the phase that the protection is in.",
                   {{"protection", id}, {"phase", name}}, phase == now ? 1 : 0);
  }
}

void AddCheckpoints(const std::string& id, const ProtectionStatus& status, MetricFamilies& families) {
  const Labels labels = {{"protection", id}};
  families.Gauge("romulus_epoch", "The epoch that the guest executes.", labels, Number(status.epoch()));
  families.Gauge("romulus_committed_epoch", "The last epoch that the secondary has committed.", labels,
                 Number(status.committed_epoch()));
  families.Counter("romulus_checkpoints_committed_total", "Checkpoints committed.", labels,
                   Number(status.checkpoints_committed()));
  families.Counter("romulus_early_checkpoints_total",
                   "Checkpoints taken before the interval was over, because output filled half of a buffer.", labels,
                   Number(status.egress().early_checkpoints()));
  families.Counter("romulus_sessions_total", "Sessions opened.", labels, Number(status.sessions()));
  if (status.has_last_commit_age()) {
    families.Gauge("romulus_recovery_point_age_seconds", "Age of the state that a takeover now would resume.", labels,
                   Seconds(status.last_commit_age()));
  }
  for (const auto& [quantile, pause, delay] : {std::tuple("0.5", status.pause().p50(), status.output_delay().p50()),
                                               std::tuple("0.99", status.pause().p99(), status.output_delay().p99()),
                                               std::tuple("1", status.pause().max(), status.output_delay().max())}) {
    const Labels with_quantile = {{"protection", id}, {"quantile", quantile}};
    families.Gauge("romulus_pause_seconds", "Guest's pause, suspend request to resume, of the last 1024 checkpoints.",
                   with_quantile, Seconds(pause));
    families.Gauge("romulus_output_delay_seconds",
                   "From an epoch's start to its output's release, of the last 1024 checkpoints.", with_quantile,
                   Seconds(delay));
  }
  families.Gauge("romulus_dirty_pages", "Pages of a checkpoint, of the last 1024.",
                 {{"protection", id}, {"quantile", "0.5"}}, Number(status.dirty_pages_p50()));
  families.Counter("romulus_sent_bytes_total", "Bytes of checkpoints sent; starts anew with each session.", labels,
                   Number(status.sent_bytes()));
  families.Gauge("romulus_staged_bytes", "Bytes of checkpoints captured and not committed.", labels,
                 Number(status.staged_bytes()));
}

void AddVif(const std::string& id, const VifEgressStatus& vif, MetricFamilies& families) {
  const Labels labels = {{"protection", id}, {"vif", vif.vif()}};
  families.Gauge("romulus_egress_held_packets", "Packets of the guest that wait for their commit.", labels,
                 Number(vif.held_packets()));
  families.Gauge("romulus_egress_held_bytes", "Bytes of the guest's output that wait for their commit.", labels,
                 Number(vif.held_bytes()));
  families.Gauge("romulus_egress_limit_bytes", "Bytes that the egress buffer takes before the kernel drops.", labels,
                 Number(vif.limit_bytes()));
  families.Counter("romulus_egress_sent_packets_total", "Packets of the guest that have left, as on the wire.", labels,
                   Number(vif.sent_packets()));
  families.Counter("romulus_egress_sent_bytes_total", "Bytes of the guest's output that have left.", labels,
                   Number(vif.sent_bytes()));
  families.Counter("romulus_egress_dropped_packets_total", "Packets dropped because the egress buffer was full.",
                   labels, Number(vif.dropped_packets()));
  families.Counter("romulus_egress_epochs_total", "Ends of epochs marked in the egress buffer.", labels,
                   Number(vif.epochs()));
  for (const auto& [quantile, held] :
       {std::pair("0.5", vif.time_held().p50()), std::pair("0.99", vif.time_held().p99())}) {
    families.Gauge("romulus_egress_time_held_seconds", "How long the packets that were released last were held.",
                   {{"protection", id}, {"vif", vif.vif()}, {"quantile", quantile}}, Seconds(held));
  }
}

}  // namespace

void AddProtectionMetrics(const std::vector<Protection>& protections, MetricFamilies& families) {
  for (const Protection& protection : protections) {
    const std::string id = IdOf(protection.name());
    AddPhases(id, protection.status().phase(), families);
    families.Gauge("romulus_protection_generation", "The protection's generation.", {{"protection", id}},
                   Number(protection.generation()));
    AddCheckpoints(id, protection.status(), families);
    for (const VifEgressStatus& vif : protection.status().egress().vifs()) AddVif(id, vif, families);
  }
}

}  // namespace romulus
