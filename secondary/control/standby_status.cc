#include "secondary/control/standby_status.h"

#include "common/base/log.h"
#include "common/control/durations.h"
#include "common/control/uuid.h"

namespace romulus {

control::v1::StandbyPhase ToProto(standby::Standby::Phase phase) {
  using Phase = standby::Standby::Phase;
  switch (phase) {
    case Phase::kNone:
      return control::v1::STANDBY_PHASE_UNSPECIFIED;
    case Phase::kSeeding:
      return control::v1::STANDBY_SEEDING;
    case Phase::kReady:
      return control::v1::STANDBY_READY;
    case Phase::kActivating:
      return control::v1::STANDBY_ACTIVATING;
    case Phase::kActive:
      return control::v1::STANDBY_ACTIVE;
    case Phase::kFailed:
      return control::v1::STANDBY_FAILED;
  }
  ROMULUS_CHECK_MESSAGE(false, "a phase without a name");
}

namespace {

control::v1::StandbyGap GapToProto(const StandbyGap& gap) {
  control::v1::StandbyGap proto;
  *proto.mutable_stop() = ToProto(gap.stop);
  *proto.mutable_list() = ToProto(gap.list);
  *proto.mutable_checkpoint_wait() = ToProto(gap.checkpoint_wait);
  *proto.mutable_close() = ToProto(gap.close);
  *proto.mutable_apply() = ToProto(gap.apply);
  *proto.mutable_attach() = ToProto(gap.attach);
  *proto.mutable_resume() = ToProto(gap.resume);
  *proto.mutable_connect() = ToProto(gap.connect);
  *proto.mutable_total() = ToProto(gap.total());
  return proto;
}

}  // namespace

control::v1::Standby ToProto(const std::string& name, const StandbyDriver::Status& status, absl::Time wall_now) {
  control::v1::Standby standby;
  standby.set_name(name);
  standby.set_generation(status.core.generation);
  standby.set_phase(ToProto(status.core.phase));
  standby.set_domain_name(status.session.domain().name());
  standby.set_domain_uuid(FormatUuid(status.session.domain().uuid()));
  standby.set_domid(status.domid);
  standby.set_memory_kib(status.session.domain().memory_max_kib());
  standby.set_primary_host(status.session.primary_host().hostname());
  standby.set_failover_policy(status.session.failover_policy());
  standby.set_committed_epoch(status.core.committed_epoch);
  standby.set_applied_epoch(status.core.applied_epoch);
  if (status.core.committed_epoch > 0) *standby.mutable_last_commit_age() = ToProto(status.last_commit_age);
  standby.set_link_alive(status.core.link_alive);
  *standby.mutable_last_heard_age() = ToProto(status.last_heard_age);
  standby.set_received_bytes(status.received_bytes);
  standby.set_stored_bytes(status.stored_bytes);
  if (!status.core.last_error.ok()) {
    standby.set_last_error(std::string(status.core.last_error.message()));
    *standby.mutable_last_error_time() = ToProto(wall_now - status.last_error_age);
  }
  if (status.gaps.count > 0) {
    control::v1::StandbyGaps& gaps = *standby.mutable_gaps();
    gaps.set_count(status.gaps.count);
    *gaps.mutable_last() = GapToProto(status.gaps.last);
    *gaps.mutable_sum() = GapToProto(status.gaps.sum);
  }
  if (status.activation.total > absl::ZeroDuration()) {
    control::v1::ActivationTimes& times = *standby.mutable_activation();
    if (status.detect > absl::ZeroDuration()) *times.mutable_detect() = ToProto(status.detect);
    *times.mutable_restore() = ToProto(status.activation.restore);
    *times.mutable_devices() = ToProto(status.activation.devices);
    *times.mutable_total() = ToProto(status.activation.total);
  }
  return standby;
}

}  // namespace romulus
