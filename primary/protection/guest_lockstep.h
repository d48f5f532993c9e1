#ifndef ROMULUS_PRIMARY_PROTECTION_GUEST_LOCKSTEP_H_
#define ROMULUS_PRIMARY_PROTECTION_GUEST_LOCKSTEP_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "common/link/traffic_messages.h"
#include "common/loop/scheduler.h"
#include "primary/lockstep/lockstep_egress_buffer.h"
#include "proto/replication/v1/replication.pb.h"

namespace romulus {

// A protected guest's frames in lockstep: between those who have them (its LockstepEgressBuffer, and whoever copies
// what enters its vifs) and the session's driver. Gives the buffer its time.
//
// Made before the buffer, whose observer it is, and given it by SetBuffer; it outlives the buffer, and does not use it
// in its destructor. On the scheduler's thread.
class GuestLockstep final : public lockstep::LockstepEgressBuffer::Observer {
 public:
  class Observer {
   public:
    virtual ~Observer() = default;
    // Copies of frames that have just entered the guest. Never from within a call, nor OnDifference.
    virtual void OnGuestInput(std::vector<TrafficFrame> frames) = 0;
    // May come from within a call to the egress buffer or to this; calls neither.
    virtual void OnSequenceOffset(uint64_t epoch, const packet::SequenceOffset& offset) = 0;
    virtual void OnDifference(comparison::Difference difference) = 0;
  };

  // `scheduler` outlives it.
  explicit GuestLockstep(Scheduler* scheduler) : scheduler_(scheduler) {}
  ~GuestLockstep() override;

  // Once each, before anything else.
  void SetBuffer(lockstep::LockstepEgressBuffer* buffer) { buffer_ = buffer; }
  void SetObserver(Observer* observer) { observer_ = observer; }

  // From whoever gives the guest what is sent to it: copies of that, in the epoch in which the guest gets it.
  void OnInput(std::vector<TrafficFrame> frames) { observer_->OnGuestInput(std::move(frames)); }

  // For the driver; as the buffer's.
  void HoldInput() { buffer_->HoldInput(); }
  void ReleaseInput() { buffer_->ReleaseInput(); }
  void OnStandbyRunning(uint64_t epoch);
  void OnStandbyOutput(const replication::v1::StandbyOutput& output);
  void OnStandbyStopping();

  comparison::OutputComparison::Statistics statistics() const { return buffer_->comparison_statistics(); }

 private:
  // How late the buffer may learn that output has waited for too long: frames come to it without our knowing.
  static constexpr absl::Duration kLookPeriod = absl::Milliseconds(20);

  void SendSequenceOffset(uint64_t epoch, const packet::SequenceOffset& offset) override;
  void OnDifference(const comparison::Difference& difference) override;
  void Look();

  Scheduler* const scheduler_;
  lockstep::LockstepEgressBuffer* buffer_ = nullptr;
  Observer* observer_ = nullptr;
  Scheduler::TimerId look_ = Scheduler::kNoTimer;
  const std::shared_ptr<int> alive_ = std::make_shared<int>(0);
};

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_PROTECTION_GUEST_LOCKSTEP_H_
