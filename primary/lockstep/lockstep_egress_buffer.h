#ifndef ROMULUS_PRIMARY_LOCKSTEP_LOCKSTEP_EGRESS_BUFFER_H_
#define ROMULUS_PRIMARY_LOCKSTEP_LOCKSTEP_EGRESS_BUFFER_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/base/recent_spread.h"
#include "netbuf/egress_buffer.h"
#include "netbuf/vif.h"
#include "primary/comparison/output_comparison.h"
#include "primary/lockstep/guest_traffic.h"

namespace romulus::lockstep {

// A guest's egress buffer in the agent's memory, that knows each frame: an EgressBuffer as any other while the standby
// waits, and one that also releases frame by frame, by comparison, while the standby runs along.
//
// Beside the calls of EgressBuffer:
//   OnStandbyRunning(epoch)      StandbyRunning(epoch) came, for the epoch that was released last. From here to the
//                                next OpenEpoch (or OnStandbyStopping) frames leave also by comparison
//   OnStandbyFrame(epoch, ...)   what the standby sent; of any other epoch than the one that it runs from: ignored
//   OnStandbyStopping            before SuspendStandby is sent, or the session ends: nothing more leaves by comparison.
//                                What is left of the epoch leaves by its commit
//
// Order: a frame never overtakes another of its flow (README.md of comparison/ says what a flow is), be it of this
// epoch or of the one before. One that is released by comparison does overtake held frames of *other* flows of its vif:
// to hold it behind them would make each flow wait for the slowest, and between flows the network keeps no order
// either. What leaves by ReleaseEpoch and PassThrough leaves in the order in which the guest sent it.
//
// Past its limit it drops the guest's newest frame, as the kernel's plug does, and counts: the guest's TCP sends it
// again, so a drop is never a release. A frame counts as long as it is held; a GSO packet with the headers of its
// segments.
//
// A frame that is held costs its bytes and some 500 more.
class LockstepEgressBuffer : public EgressBuffer, private GuestTraffic::Observer {
 public:
  class Observer {
   public:
    virtual ~Observer() = default;
    // To be queued on the link at once: the frames that it is for leave right after.
    virtual void SendSequenceOffset(uint64_t epoch, const packet::SequenceOffset& offset) = 0;
    // A checkpoint is due. What differs is held until its commit. Several in one epoch are possible.
    virtual void OnDifference(const comparison::Difference& difference) = 0;
  };

  struct Options {
    std::string protection;
    std::vector<Vif> vifs;
    uint32_t limit_bytes = 64 << 20;     // Per vif.
    std::vector<uint32_t> limits_bytes;  // Where they differ: of each of `vifs`, in place of limit_bytes.
    comparison::Settings comparison;
    // The clock of NextDeadline, and of GuestTraffic's times.
    std::function<absl::Duration()> now;
  };

  // `observer` outlives it; its calls must not call back.
  LockstepEgressBuffer(std::shared_ptr<GuestTraffic> traffic, Observer* observer, Options options);
  ~LockstepEgressBuffer() override;

  absl::Status Attach() override;
  bool adopted() const override { return adopted_; }
  absl::Status OpenEpoch() override;
  absl::Status ReleaseEpoch() override;
  absl::Status PassThrough() override;
  absl::Status Discard() override;
  absl::Status Detach() override;
  absl::Status ReadStatistics(Statistics& statistics) override;
  std::vector<std::string> devices() const override;

  // Of what is sent to the guest; GuestTraffic's.
  void HoldInput() { traffic_->HoldInput(); }
  void ReleaseInput() { traffic_->ReleaseInput(); }

  void OnStandbyRunning(uint64_t epoch);
  void OnStandbyFrame(uint64_t epoch, uint32_t device_id, absl::string_view contents);
  void OnStandbyStopping();

  // For output that only one guest produced: OnTime at NextDeadline, or later; ask again after every call of this
  // object. Nullopt: nothing waits for a time.
  void OnTime();
  std::optional<absl::Duration> NextDeadline() const { return comparison_.NextDeadline(); }

  comparison::OutputComparison::Statistics comparison_statistics() const { return comparison_.statistics(); }

 private:
  enum class State { kDetached, kPassing, kAdopted, kHolding, kUnreleased, kFailed };

  struct Held {
    size_t vif = 0;
    std::shared_ptr<const GuestFrame> frame;  // Its contents are shared with the comparison.
    uint64_t wire_bytes = 0;
    absl::Duration came;
  };

  struct Counters {
    uint64_t held_packets = 0;
    uint64_t held_bytes = 0;
    uint64_t sent_packets = 0;
    uint64_t sent_bytes = 0;
    uint64_t dropped_packets = 0;
    RecentSpread times_held_ns;
  };

  void OnGuestFrame(absl::Duration now, const std::string& vif, GuestFrame frame) override;
  void Carry(absl::Duration now, comparison::Actions actions);
  void Release(absl::Duration now, std::map<comparison::FrameId, Held>::iterator held);
  void CountSent(const Held& frame);
  void ReleaseUpTo(comparison::FrameId end);
  void DropAll();
  uint32_t LimitOf(size_t vif) const;
  absl::Status Refuse(const char* call) const;

  const std::shared_ptr<GuestTraffic> traffic_;
  Observer* const observer_;
  const Options options_;
  comparison::OutputComparison comparison_;
  State state_ = State::kDetached;
  bool adopted_ = false;
  std::map<comparison::FrameId, Held> held_;
  comparison::FrameId next_id_ = 1;
  comparison::FrameId mark_ = 1;           // Frames below it are of the epoch that OpenEpoch ended.
  std::optional<uint64_t> standby_epoch_;  // That the standby runs from.
  std::vector<Counters> counters_;         // By vif.
  uint64_t epochs_ = 0;
};

}  // namespace romulus::lockstep

#endif  // ROMULUS_PRIMARY_LOCKSTEP_LOCKSTEP_EGRESS_BUFFER_H_
