#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "primary/protection/protection.h"

// What Protection does where the standby runs along.
namespace romulus::protection {

bool Protection::StartsFrom(uint64_t epoch, const char* message) {
  if (!in_session()) {
    if (in<Connecting>()) Misbehaved(absl::StrCat(message, " before SessionAccepted"));
    return false;
  }
  Starts* starts = standby<Starts>();
  if (starts != nullptr && starts->epoch == epoch && in<Running>()) return true;
  Misbehaved(absl::StrCat(message, " of checkpoint ", epoch, " in ", state_name()));
  return false;
}

void Protection::On(const event::StandbyRunning& e) {
  if (!StartsFrom(e.epoch, "StandbyRunning")) return;
  Do(action::CancelTimer{Timer::kStandby});
  standby_guest_ = Runs{e.epoch};
  comparing_ = true;
  ++lockstep_runs_;
  Do(action::Compare{e.epoch});
  NoteRunsCheckpoint(e.now);
  lockstep_policy_->OnRunning(e.now);
  if (pressure_) {
    ++early_checkpoints_;
    return EndRun(e.now, lockstep::RunEnd::kOther);
  }
  const std::optional<absl::Duration> deadline = lockstep_policy_->RunDeadline();
  if (deadline.has_value()) Do(action::ArmTimer{Timer::kEpoch, std::max(*deadline - e.now, absl::ZeroDuration())});
}

void Protection::On(const event::LockstepRefused& e) {
  if (!StartsFrom(e.epoch, "LockstepRefused")) return;
  Do(action::CancelTimer{Timer::kStandby});
  standby_guest_ = Waits{};
  lockstep_refusal_ = e.reason;
  NoteRunsCheckpoint(e.now);
  lockstep_policy_->OnRefused(e.now);
  const Running running = *in<Running>();
  RequestNext(running.epoch, running.epoch_start, e.now);
}

void Protection::On(const event::StandbyPagesListed& e) {
  // The source that waits for them is being stopped.
  if (!in_session()) return;
  Suspends* suspends = standby<Suspends>();
  ROMULUS_CHECK(suspends != nullptr && suspends->epoch == e.epoch && !suspends->listed);
  suspends->listed = true;
  Do(action::CancelTimer{Timer::kStandby});
  Do(action::AddStandbyPages{e.epoch});
}

void Protection::On(const event::Difference& e) {
  // Where a checkpoint is on its way, its commit releases what differs.
  if (standby<Runs>() == nullptr || !in<Running>()) return;
  ++differences_;
  last_difference_ = e.what.text;
  EndRun(e.now, lockstep::RunEnd::kDifference, e.what.reason);
}

void Protection::EndRun(absl::Duration now, lockstep::RunEnd end, std::optional<comparison::DifferenceReason> reason) {
  lockstep_policy_->OnRunEnded(now, end, reason);
  run_ended_ = true;
  Do(action::CancelTimer{Timer::kEpoch});
  Request(in<Running>()->epoch);
}

void Protection::NoteRunsCheckpoint(absl::Duration now) {
  last_time_ = now;
  if (std::exchange(run_ended_, false)) lockstep_policy_->OnCheckpointDone(now);
}

void Protection::EndLockstep() {
  if (lockstep_policy_.has_value() && in_session()) lockstep_policy_->OnSessionEnded(last_time_);
  run_ended_ = false;
  standby_guest_ = Waits{};
  if (std::exchange(comparing_, false)) Do(action::StopComparing{});
}

}  // namespace romulus::protection
