#ifndef ROMULUS_PRIMARY_LOCKSTEP_TAP_GUEST_TRAFFIC_H_
#define ROMULUS_PRIMARY_LOCKSTEP_TAP_GUEST_TRAFFIC_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/link/traffic_messages.h"
#include "common/loop/scheduler.h"
#include "netbuf/vif_frames.h"
#include "primary/lockstep/guest_traffic.h"

namespace romulus::lockstep {

// The real GuestTraffic, over VifFrames. Of what it gives to the guest it also hands over copies, which the standby is
// to get as well (StandbyInput).
class TapGuestTraffic final : public GuestTraffic {
 public:
  // `taps` calls what it is given, until it is destroyed.
  using NewFrames = std::function<std::unique_ptr<VifFrames>(VifFrames::OnFrames, VifFrames::OnError)>;
  // Input that waits while it is held: frames, and their bytes.
  static constexpr size_t kHeldInputFrames = 4096;
  static constexpr size_t kHeldInputBytes = 16 << 20;

  // Copies of what the guest has just got, in order per vif; from the loop, and from within Collect, ReleaseInput and
  // Restore.
  using OnInput = std::function<void(std::vector<TrafficFrame> frames)>;

  // `scheduler` outlives it.
  TapGuestTraffic(const Scheduler* scheduler, const NewFrames& new_frames, OnInput on_input);

  void SetObserver(Observer* observer) override { observer_ = observer; }
  absl::StatusOr<Diverted> Divert(const Vif& vif, const std::string& protection) override;
  absl::Status Collect(const Vif& vif) override;
  void WriteOut(const Vif& vif, const GuestFrame& frame) override;
  void HoldInput() override { holds_input_ = true; }
  void ReleaseInput() override;
  absl::Status Restore(const Vif& vif, const std::string& protection) override;
  std::string DeviceName(const Vif& vif) const override;

  struct Statistics {
    uint64_t output_dropped = 0;    // Of the guest's, that were not read in time: lost, as on a full link.
    uint64_t output_unwritten = 0;  // Released, but the vif's way out did not take them.
    uint64_t input_dropped = 0;     // For the guest, not read in time or past the bound: lost, as on a full link.
    uint64_t input_unwritten = 0;   // For the guest, whose vif did not take them.
  };
  // Of diverted vifs, as of their last Collect.
  Statistics statistics() const;

 private:
  struct Dropped {
    uint64_t output = 0;
    uint64_t input = 0;
  };

  void OnFrames(const Vif& vif, FrameDirection direction, std::vector<romulus::GuestFrame> frames);
  void GiveToGuest(const Vif& vif, std::vector<romulus::GuestFrame> frames);
  void OnError(const Vif& vif, absl::Status status);

  const Scheduler* const scheduler_;
  const OnInput on_input_;
  Observer* observer_ = nullptr;
  std::set<std::string> absent_;                // Emulated cards that are not there.
  std::map<std::string, absl::Status> failed_;  // Vifs that can't be read any more.
  std::map<uint32_t, Dropped> dropped_;         // By device id.
  uint64_t unwritten_ = 0;
  uint64_t input_unwritten_ = 0;
  bool holds_input_ = false;
  // As it came; what came for one vif in a row is together.
  std::vector<std::pair<Vif, std::vector<romulus::GuestFrame>>> held_input_;
  size_t held_input_frames_ = 0;
  size_t held_input_bytes_ = 0;
  uint64_t held_input_dropped_ = 0;          // For want of room.
  const std::unique_ptr<VifFrames> frames_;  // Last: it calls the above.
};

}  // namespace romulus::lockstep

#endif  // ROMULUS_PRIMARY_LOCKSTEP_TAP_GUEST_TRAFFIC_H_
