#include "primary/protection/guest_lockstep.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace romulus {

GuestLockstep::~GuestLockstep() { scheduler_->Cancel(look_); }

void GuestLockstep::OnStandbyRunning(uint64_t epoch) {
  buffer_->OnStandbyRunning(epoch);
  scheduler_->Cancel(look_);
  look_ = scheduler_->After(kLookPeriod, [this] { Look(); });
}

void GuestLockstep::OnStandbyOutput(const replication::v1::StandbyOutput& output) {
  for (const replication::v1::Frame& frame : output.frames()) {
    buffer_->OnStandbyFrame(output.epoch(), frame.device_id(), frame.contents());
  }
}

void GuestLockstep::OnStandbyStopping() {
  scheduler_->Cancel(std::exchange(look_, Scheduler::kNoTimer));
  buffer_->OnStandbyStopping();
}

void GuestLockstep::Look() {
  const absl::Duration now = scheduler_->Now();
  absl::Duration next = now + kLookPeriod;
  if (std::optional<absl::Duration> deadline = buffer_->NextDeadline(); deadline.has_value()) {
    if (*deadline <= now) buffer_->OnTime();
    deadline = buffer_->NextDeadline();
    if (deadline.has_value() && *deadline > now) next = std::min(next, *deadline);
  }
  look_ = scheduler_->After(next - now, [this] { Look(); });
}

void GuestLockstep::SendSequenceOffset(uint64_t epoch, const packet::SequenceOffset& offset) {
  observer_->OnSequenceOffset(epoch, offset);
}

// Later: what follows from it calls the buffer, which must not be called from within this.
void GuestLockstep::OnDifference(const comparison::Difference& difference) {
  scheduler_->Post([this, difference, alive = std::weak_ptr<int>(alive_)] {
    if (alive.lock() != nullptr) observer_->OnDifference(difference);
  });
}

}  // namespace romulus
