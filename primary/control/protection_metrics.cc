#include "primary/control/protection_metrics.h"

#include <algorithm>
#include <string>
#include <tuple>
#include <utility>

namespace romulus {
namespace {

using control::v1::DurationSpread;
using control::v1::PacingBound;
using control::v1::PacingStatus;
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
  families.Counter("romulus_oversized_checkpoints_total", "Checkpoints that were larger than the staging bound.",
                   labels, Number(status.oversized_checkpoints()));
  families.Counter("romulus_sessions_total", "Sessions opened.", labels, Number(status.sessions()));
  if (status.has_last_commit_age()) {
    families.Gauge("romulus_recovery_point_age_seconds", "Age of the state that a takeover now would resume.", labels,
                   Seconds(status.last_commit_age()));
  }
  for (const auto& [quantile, pause, delay, commit, bytes, wire_bytes] :
       {std::tuple("0.5", status.pause().p50(), status.output_delay().p50(), status.commit().p50(),
                   status.checkpoint_bytes().p50(), status.checkpoint_wire_bytes().p50()),
        std::tuple("0.99", status.pause().p99(), status.output_delay().p99(), status.commit().p99(),
                   status.checkpoint_bytes().p99(), status.checkpoint_wire_bytes().p99()),
        std::tuple("1", status.pause().max(), status.output_delay().max(), status.commit().max(),
                   status.checkpoint_bytes().max(), status.checkpoint_wire_bytes().max())}) {
    const Labels with_quantile = {{"protection", id}, {"quantile", quantile}};
    families.Gauge("romulus_pause_seconds", "Guest's pause, suspend request to resume, of the last 1024 checkpoints.",
                   with_quantile, Seconds(pause));
    families.Gauge("romulus_output_delay_seconds",
                   "From an epoch's start to its output's release, of the last 1024 checkpoints.", with_quantile,
                   Seconds(delay));
    families.Gauge("romulus_commit_seconds", "From captured to committed, of the last 1024 checkpoints.", with_quantile,
                   Seconds(commit));
    families.Gauge("romulus_checkpoint_bytes", "Size of a checkpoint, of the last 1024.", with_quantile, Number(bytes));
    families.Gauge("romulus_checkpoint_wire_bytes", "What was sent of a checkpoint, of the last 1024.", with_quantile,
                   Number(wire_bytes));
  }
  const Labels median{{"protection", id}, {"quantile", "0.5"}};
  families.Gauge("romulus_dirty_pages", "Pages written to in an epoch, of the last 1024.", median,
                 Number(status.dirty_pages_p50()));
  families.Gauge("romulus_unchanged_pages",
                 "Of the dirty pages: left out, as they hold what was last captured of them.", median,
                 Number(status.unchanged_pages_p50()));
  families.Gauge("romulus_captured_pages_bytes", "Memory in use for what pages held when they were last captured.",
                 labels, Number(status.captured_pages_bytes()));
  families.Counter("romulus_sent_bytes_total", "Bytes of checkpoints sent; starts anew with each session.", labels,
                   Number(status.sent_bytes()));
  families.Gauge("romulus_staged_bytes", "Bytes of checkpoints captured and not committed.", labels,
                 Number(status.staged_bytes()));
}

void AddPacing(const std::string& id, const PacingStatus& pacing, MetricFamilies& families) {
  families.Gauge("romulus_interval_seconds", "The interval of checkpoints that is in force.", {{"protection", id}},
                 Seconds(pacing.interval()));
  families.Gauge("romulus_pause_share", "Share of the guest's time that it was paused, over the last 128 epochs.",
                 {{"protection", id}}, pacing.pause_share());
  for (int bound = control::v1::FIXED_INTERVAL; bound <= control::v1::FLOOR; ++bound) {
    const std::string& name = control::v1::PacingBound_Name(static_cast<PacingBound>(bound));
    families.Gauge("romulus_pacing_bound", "1 for what decides the present interval.",
                   {{"protection", id}, {"bound", name}}, bound == pacing.bound() ? 1 : 0);
  }
  for (PacingBound goal : {control::v1::OUTPUT_DELAY_GOAL, control::v1::PAUSE_SHARE_GOAL}) {
    const bool missed = std::count(pacing.missed().begin(), pacing.missed().end(), goal) > 0;
    families.Gauge("romulus_pacing_goal_missed", "1 for a goal that the last 128 epochs did not keep.",
                   {{"protection", id}, {"goal", control::v1::PacingBound_Name(goal)}}, missed ? 1 : 0);
  }
}

void AddEncoding(const std::string& id, const control::v1::EncodingStatus& encoding, MetricFamilies& families) {
  const Labels labels = {{"protection", id}};
  families.Gauge("romulus_encoded", "1: checkpoints are encoded for the wire, 0: they are sent as they are.", labels,
                 encoding.codec() == replication::v1::PAGE_BLOCKS ? 1 : 0);
  families.Counter("romulus_encoding_captured_bytes_total",
                   "Bytes of checkpoints that were encoded; starts anew with each session.", labels,
                   Number(encoding.captured_bytes()));
  families.Counter("romulus_encoding_encoded_bytes_total", "What they were encoded to; starts anew with each session.",
                   labels, Number(encoding.encoded_bytes()));
  for (const auto& [kind, pages] :
       {std::pair("zero", encoding.zero_pages()), std::pair("unchanged", encoding.unchanged_pages()),
        std::pair("patched", encoding.patched_pages()), std::pair("sparse", encoding.sparse_pages()),
        std::pair("literal", encoding.literal_pages())}) {
    families.Counter("romulus_encoding_pages_total",
                     "Pages by what the encoding made of them; starts anew with each session.",
                     {{"protection", id}, {"kind", kind}}, Number(pages));
  }
  families.Gauge("romulus_page_cache_bytes", "Memory in use for the pages that both ends know.", labels,
                 Number(encoding.page_cache_bytes()));
  families.Counter("romulus_checkpoints_resent_total",
                   "Checkpoints sent twice because the secondary could not decode them; starts anew with each session.",
                   labels, Number(encoding.checkpoints_resent()));
  families.Counter("romulus_encode_seconds_total", "Processor time of encoding; starts anew with each session.", labels,
                   Seconds(encoding.encode_time()));
}

void AddPauseParts(const std::string& id, const control::v1::PauseSpreads& parts, MetricFamilies& families) {
  const auto add = [&](const char* part, const DurationSpread& spread) {
    for (const auto& [quantile, value] :
         {std::pair("0.5", spread.p50()), std::pair("0.99", spread.p99()), std::pair("1", spread.max())}) {
      families.Gauge("romulus_pause_part_seconds", "Parts of the pause, each by itself, of the last 1024 checkpoints.",
                     {{"protection", id}, {"part", part}, {"quantile", quantile}}, Seconds(value));
    }
  };
  add("acknowledge", parts.acknowledge());
  add("suspend", parts.suspend());
  add("dirty_bitmap", parts.dirty_bitmap());
  add("page_copy", parts.page_copy());
  add("vcpu_state", parts.vcpu_state());
  add("permit_wait", parts.permit_wait());
  add("resume", parts.resume());
  add("finish_resume", parts.finish_resume());
  add("standby_wait", parts.standby_wait());
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

void AddLockstep(const std::string& id, const control::v1::LockstepStatus& lockstep, MetricFamilies& families) {
  const Labels labels = {{"protection", id}};
  families.Gauge("romulus_lockstep_running", "1: the standby runs along, and output leaves by comparison.", labels,
                 lockstep.running() ? 1 : 0);
  families.Gauge("romulus_lockstep_share", "Share of the protection's time in which the standby ran along.", labels,
                 lockstep.share_of_time());
  families.Counter("romulus_lockstep_runs_total", "How often the standby has begun to run along.", labels,
                   Number(lockstep.runs()));
  for (const auto& [by, frames] : {std::pair("comparison", lockstep.frames_released_by_comparison()),
                                   std::pair("commit", lockstep.frames_released_by_commit())}) {
    families.Counter("romulus_lockstep_frames_released_total", "Frames of the guest that have left, by what let them.",
                     {{"protection", id}, {"by", by}}, Number(frames));
  }
  for (const control::v1::LockstepDifferences& differences : lockstep.differences()) {
    families.Counter("romulus_lockstep_differences_total", "Flows that were found different, by reason.",
                     {{"protection", id}, {"reason", differences.reason()}}, Number(differences.count()));
  }
  for (const auto& [quantile, checkpoint] :
       {std::pair("0.5", lockstep.checkpoint().p50()), std::pair("0.99", lockstep.checkpoint().p99()),
        std::pair("1", lockstep.checkpoint().max())}) {
    families.Gauge("romulus_lockstep_checkpoint_seconds",
                   "From the request of a running standby's checkpoint until it ran again, of the last 1024.",
                   {{"protection", id}, {"quantile", quantile}}, Seconds(checkpoint));
  }
  families.Counter("romulus_lockstep_input_dropped_total",
                   "Copies of the guest's input that the standby did not get, because the link did not take them.",
                   labels, Number(lockstep.standby_input_dropped()));
}

}  // namespace

void AddProtectionMetrics(const std::vector<Protection>& protections, MetricFamilies& families) {
  for (const Protection& protection : protections) {
    const std::string id = IdOf(protection.name());
    AddPhases(id, protection.status().phase(), families);
    families.Gauge("romulus_protection_generation", "The protection's generation.", {{"protection", id}},
                   Number(protection.generation()));
    AddCheckpoints(id, protection.status(), families);
    AddPacing(id, protection.status().pacing(), families);
    AddEncoding(id, protection.status().encoding(), families);
    AddPauseParts(id, protection.status().pause_parts(), families);
    for (const VifEgressStatus& vif : protection.status().egress().vifs()) AddVif(id, vif, families);
    if (protection.status().has_lockstep()) AddLockstep(id, protection.status().lockstep(), families);
  }
}

}  // namespace romulus
