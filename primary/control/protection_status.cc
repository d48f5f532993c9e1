#include "primary/control/protection_status.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/control/durations.h"
#include "primary/control/protection_spec.h"

namespace romulus {
namespace {

control::v1::DurationSpread SpreadToProto(absl::Duration p50, absl::Duration p99, absl::Duration max) {
  control::v1::DurationSpread spread;
  *spread.mutable_p50() = ToProto(p50);
  *spread.mutable_p99() = ToProto(p99);
  *spread.mutable_max() = ToProto(max);
  return spread;
}

control::v1::DurationSpread SpreadToProto(const RecentSpread::Spread& nanoseconds) {
  return SpreadToProto(absl::Nanoseconds(nanoseconds.p50), absl::Nanoseconds(nanoseconds.p99),
                       absl::Nanoseconds(nanoseconds.max));
}

control::v1::CountSpread ToCounts(const RecentSpread::Spread& counts) {
  control::v1::CountSpread spread;
  spread.set_p50(counts.p50);
  spread.set_p99(counts.p99);
  spread.set_max(counts.max);
  return spread;
}

control::v1::PauseSpreads PauseToProto(const PauseSpreads::Spreads& parts) {
  control::v1::PauseSpreads proto;
  *proto.mutable_acknowledge() = SpreadToProto(parts.acknowledge);
  *proto.mutable_suspend() = SpreadToProto(parts.suspend);
  *proto.mutable_dirty_bitmap() = SpreadToProto(parts.dirty_bitmap);
  *proto.mutable_page_copy() = SpreadToProto(parts.page_copy);
  *proto.mutable_vcpu_state() = SpreadToProto(parts.vcpu_state);
  *proto.mutable_permit_wait() = SpreadToProto(parts.permit_wait);
  *proto.mutable_resume() = SpreadToProto(parts.resume);
  *proto.mutable_finish_resume() = SpreadToProto(parts.finish_resume);
  *proto.mutable_standby_wait() = SpreadToProto(parts.standby_wait);
  return proto;
}

control::v1::PacingBound BoundToProto(protection::PacingBound bound) {
  switch (bound) {
    case protection::PacingBound::kFixed:
      return control::v1::FIXED_INTERVAL;
    case protection::PacingBound::kNeither:
      return control::v1::NEITHER_GOAL;
    case protection::PacingBound::kPauseShare:
      return control::v1::PAUSE_SHARE_GOAL;
    case protection::PacingBound::kOutputDelay:
      return control::v1::OUTPUT_DELAY_GOAL;
    case protection::PacingBound::kFloor:
      return control::v1::FLOOR;
  }
  ROMULUS_CHECK_MESSAGE(false, "a bound without a name");
}

control::v1::PacingStatus PacingToProto(const protection::Pacer::Snapshot& pacing) {
  control::v1::PacingStatus proto;
  *proto.mutable_interval() = ToProto(pacing.interval);
  proto.set_bound(BoundToProto(pacing.bound));
  for (protection::Goal goal : pacing.missed) {
    proto.add_missed(goal == protection::Goal::kOutputDelay ? control::v1::OUTPUT_DELAY_GOAL
                                                            : control::v1::PAUSE_SHARE_GOAL);
  }
  proto.set_pause_share(pacing.pause_share);
  return proto;
}

protection::Pacing PacingFromProto(const control::v1::ProtectionSettings& settings) {
  protection::Pacing pacing;
  pacing.interval = FromProto(settings.interval());
  if (!settings.has_pacing_goal()) return pacing;
  const control::v1::PacingGoal& asked = settings.pacing_goal();
  protection::PacingGoal& goal = pacing.goal.emplace();
  if (asked.has_output_delay_p99()) goal.output_delay_p99 = FromProto(asked.output_delay_p99());
  if (asked.pause_share() > 0) goal.pause_share = asked.pause_share();
  goal.interval_min = FromProto(asked.interval_min());
  goal.interval_max = FromProto(asked.interval_max());
  return pacing;
}

control::v1::EncodingStatus EncodingToProto(const LinkEncoding& encoding) {
  control::v1::EncodingStatus proto;
  proto.set_codec(encoding.codec);
  const EncodingCounts& counts = encoding.counts;
  proto.set_captured_bytes(counts.raw_bytes);
  proto.set_encoded_bytes(counts.encoded_bytes);
  if (counts.encoded_bytes > 0) {
    proto.set_ratio(static_cast<double>(counts.raw_bytes) / static_cast<double>(counts.encoded_bytes));
  }
  proto.set_zero_pages(counts.zero_pages);
  proto.set_unchanged_pages(counts.unchanged_pages);
  proto.set_patched_pages(counts.patched_pages);
  proto.set_sparse_pages(counts.sparse_pages);
  proto.set_literal_pages(counts.literal_pages);
  constexpr const char* kMethods[block_format::kEncodings] = {"raw", "lz4", "zstd"};
  for (size_t i = 0; i < block_format::kEncodings; ++i) {
    if (counts.by_encoding[i].bytes == 0) continue;
    control::v1::CompressionStatus& compression = *proto.add_compressions();
    compression.set_method(kMethods[i]);
    compression.set_bytes(counts.by_encoding[i].bytes);
    compression.set_coded_bytes(counts.by_encoding[i].coded_bytes);
  }
  proto.set_page_cache_bytes(encoding.page_cache_bytes);
  proto.set_checkpoints_resent(encoding.checkpoints_resent);
  *proto.mutable_encode_time() = ToProto(absl::Nanoseconds(static_cast<int64_t>(counts.encode_ns)));
  return proto;
}

control::v1::EgressStatus EgressToProto(const ProtectionDriver::Status& status) {
  control::v1::EgressStatus egress;
  egress.set_held_packets(status.egress.held_packets);
  egress.set_held_bytes(status.egress.held_bytes);
  egress.set_dropped_packets(status.egress.dropped_packets);
  egress.set_early_checkpoints(status.core.early_checkpoints);
  for (size_t i = 0; i < status.egress.vifs.size(); ++i) {
    const EgressBuffer::VifStatistics& counters = status.egress.vifs[i];
    if (counters.device.empty()) continue;  // An emulated card that is not there.
    egress.add_buffer_devices(counters.device);
    control::v1::VifEgressStatus& vif = *egress.add_vifs();
    vif.set_vif(counters.vif);
    vif.set_buffer_device(counters.device);
    vif.set_limit_bytes(counters.limit_bytes);
    vif.set_held_packets(counters.held_packets);
    vif.set_held_bytes(counters.held_bytes);
    vif.set_sent_packets(counters.sent_packets);
    vif.set_sent_bytes(counters.sent_bytes);
    vif.set_dropped_packets(counters.dropped_packets);
    vif.set_epochs(counters.epochs);
    const HoldTimeMeter::Spread& held = status.egress_times_held[i];
    *vif.mutable_time_held() = SpreadToProto(held.p50, held.p99, held.max);
  }
  return egress;
}

control::v1::LockstepStatus LockstepToProto(const ProtectionDriver::Status& status) {
  control::v1::LockstepStatus lockstep;
  lockstep.set_running(status.core.lockstep);
  lockstep.set_share_of_time(status.lockstep_policy->lockstep_share);
  lockstep.set_runs(status.core.lockstep_runs);
  lockstep.set_short_runs(status.lockstep_policy->short_runs);
  lockstep.set_frames_released_by_comparison(status.comparison.released);
  lockstep.set_frames_released_by_commit(status.comparison.committed);
  for (size_t i = 0; i < comparison::kDifferenceReasons; ++i) {
    if (status.comparison.differences[i] == 0) continue;
    control::v1::LockstepDifferences& differences = *lockstep.add_differences();
    differences.set_reason(std::string(ToString(static_cast<comparison::DifferenceReason>(i))));
    differences.set_count(status.comparison.differences[i]);
  }
  lockstep.set_last_difference(status.core.last_difference);
  lockstep.set_last_refusal(status.core.lockstep_refusal);
  lockstep.set_standby_input_frames(status.standby_input_frames);
  lockstep.set_standby_input_dropped(status.standby_input_dropped);
  lockstep.set_standby_output_frames(status.standby_output_frames);
  lockstep.set_standby_pages_last(status.standby_pages_last);
  *lockstep.mutable_checkpoint() = SpreadToProto(status.lockstep_checkpoint_ns);
  return lockstep;
}

}  // namespace

control::v1::ProtectionPhase ToProto(protection::Protection::Phase phase) {
  using Phase = protection::Protection::Phase;
  switch (phase) {
    case Phase::kConnecting:
      return control::v1::CONNECTING;
    case Phase::kSeeding:
      return control::v1::SEEDING;
    case Phase::kProtected:
      return control::v1::PROTECTED;
    case Phase::kUnprotected:
      return control::v1::UNPROTECTED;
    case Phase::kHolding:
      return control::v1::HOLDING;
    case Phase::kDisengaging:
    case Phase::kEnded:
      return control::v1::DISENGAGING;
    case Phase::kFenced:
      return control::v1::FENCED;
    case Phase::kFailed:
      return control::v1::FAILED;
  }
  ROMULUS_CHECK_MESSAGE(false, "a phase without a name");
}

control::v1::ProtectionStatus ToProto(const ProtectionDriver::Status& status, absl::Time wall_now) {
  control::v1::ProtectionStatus proto;
  proto.set_phase(ToProto(status.core.phase));
  proto.set_epoch(status.core.epoch);
  proto.set_committed_epoch(status.core.committed_epoch);
  proto.set_checkpoints_committed(status.checkpoints_committed);
  if (status.checkpoints_committed > 0) *proto.mutable_last_commit_age() = ToProto(status.last_commit_age);
  *proto.mutable_pause() = SpreadToProto(status.pause_ns);
  *proto.mutable_output_delay() = SpreadToProto(status.output_delay_ns);
  proto.set_dirty_pages_last(status.dirty_pages_last);
  proto.set_dirty_pages_p50(status.dirty_pages.p50);
  proto.set_unchanged_pages_p50(status.unchanged_pages.p50);
  proto.set_captured_pages_bytes(status.captured_pages_bytes);
  proto.set_sent_bytes(status.sent_bytes);
  proto.set_staged_bytes(status.staged_bytes);
  proto.set_checkpoints_per_second(status.checkpoints_per_second);
  proto.set_seeding_pages_sent(status.seeding_pages_sent);
  proto.set_sessions(status.core.sessions);
  if (!status.core.last_error.ok()) {
    proto.set_last_error(std::string(status.core.last_error.message()));
    *proto.mutable_last_error_time() = ToProto(wall_now - status.last_error_age);
  }
  *proto.mutable_egress() = EgressToProto(status);
  *proto.mutable_pacing() = PacingToProto(status.core.pacing);
  *proto.mutable_pause_parts() = PauseToProto(status.pause_parts);
  *proto.mutable_commit() = SpreadToProto(status.commit_ns);
  *proto.mutable_checkpoint_bytes() = ToCounts(status.checkpoint_bytes);
  *proto.mutable_checkpoint_wire_bytes() = ToCounts(status.checkpoint_wire_bytes);
  *proto.mutable_encoding() = EncodingToProto(status.encoding);
  proto.set_oversized_checkpoints(status.oversized_checkpoints);
  if (status.lockstep_policy.has_value()) *proto.mutable_lockstep() = LockstepToProto(status);
  return proto;
}

control::v1::EpochTrace ToProto(const EpochTrace& trace) {
  control::v1::EpochTrace proto;
  proto.set_epoch(trace.epoch);
  *proto.mutable_ran() = ToProto(trace.ran);
  *proto.mutable_turn_wait() = ToProto(trace.turn_wait);
  *proto.mutable_pause() = ToProto(trace.pause);
  control::v1::PauseParts& parts = *proto.mutable_pause_parts();
  *parts.mutable_acknowledge() = ToProto(trace.parts.acknowledge);
  *parts.mutable_suspend() = ToProto(trace.parts.suspend);
  *parts.mutable_dirty_bitmap() = ToProto(trace.parts.dirty_bitmap);
  *parts.mutable_page_copy() = ToProto(trace.parts.page_copy);
  *parts.mutable_vcpu_state() = ToProto(trace.parts.vcpu_state);
  *parts.mutable_permit_wait() = ToProto(trace.parts.permit_wait);
  *parts.mutable_resume() = ToProto(trace.parts.resume);
  *parts.mutable_finish_resume() = ToProto(trace.parts.finish_resume);
  *parts.mutable_standby_wait() = ToProto(trace.parts.standby_wait);
  *proto.mutable_commit() = ToProto(trace.commit);
  *proto.mutable_output_delay() = ToProto(trace.output_delay);
  proto.set_dirty_pages(trace.dirty_pages);
  proto.set_unchanged_pages(trace.unchanged_pages);
  proto.set_bytes(trace.bytes);
  proto.set_wire_bytes(trace.wire_bytes);
  return proto;
}

protection::LossPolicy FromProto(control::v1::SecondaryLossPolicy policy) {
  switch (policy) {
    case control::v1::RUN_UNPROTECTED:
      return protection::LossPolicy::kRunUnprotected;
    case control::v1::HOLD_OUTPUT:
      return protection::LossPolicy::kHoldOutput;
    default:
      return protection::LossPolicy::kPauseGuest;
  }
}

protection::Config ToConfig(const control::v1::ProtectionSettings& settings) {
  protection::Config config;
  config.pacing = PacingFromProto(settings);
  config.link_timeout = FromProto(settings.link_timeout());
  config.loss_policy = FromProto(EffectiveLossPolicy(settings));
  config.failover_policy = settings.failover_policy() == replication::v1::ON_LINK_LOSS
                               ? protection::FailoverPolicy::kOnLinkLoss
                               : protection::FailoverPolicy::kByRequest;
  if (settings.stream_mode() == replication::v1::COLO) config.lockstep.emplace();
  return config;
}

}  // namespace romulus
