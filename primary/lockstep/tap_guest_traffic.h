#ifndef ROMULUS_PRIMARY_LOCKSTEP_TAP_GUEST_TRAFFIC_H_
#define ROMULUS_PRIMARY_LOCKSTEP_TAP_GUEST_TRAFFIC_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "common/link/traffic_messages.h"
#include "common/loop/scheduler.h"
#include "netbuf/vif_frames.h"
#include "primary/lockstep/guest_traffic.h"

namespace romulus::lockstep {

// The real GuestTraffic, over VifFrames. Of a vif that is diverted it also hands over copies of what goes to the guest,
// which the standby is to get as well (StandbyInput).
class TapGuestTraffic final : public GuestTraffic {
 public:
  // `taps` calls what it is given, until it is destroyed.
  using NewFrames = std::function<std::unique_ptr<VifFrames>(VifFrames::OnFrames, VifFrames::OnError)>;
  // In order per vif; from the loop, and from within Collect: what is there when an epoch ends counts to that one.
  using OnInput = std::function<void(std::vector<TrafficFrame> frames)>;

  // `scheduler` outlives it.
  TapGuestTraffic(const Scheduler* scheduler, const NewFrames& new_frames, OnInput on_input);

  void SetObserver(Observer* observer) override { observer_ = observer; }
  absl::StatusOr<Diverted> Divert(const Vif& vif, const std::string& protection) override;
  absl::Status Collect(const Vif& vif) override;
  void WriteOut(const Vif& vif, const GuestFrame& frame) override;
  absl::Status Restore(const Vif& vif, const std::string& protection) override;
  std::string DeviceName(const Vif& vif) const override;

  struct Statistics {
    uint64_t output_dropped = 0;    // Of the guest's, that were not read in time: lost, as on a full link.
    uint64_t output_unwritten = 0;  // Released, but the vif's way out did not take them.
    uint64_t input_dropped = 0;     // Copies that were not read in time: the standby misses them, and will differ.
  };
  // Of diverted vifs, as of their last Collect.
  Statistics statistics() const;

 private:
  struct Dropped {
    uint64_t output = 0;
    uint64_t input = 0;
  };

  void OnFrames(const Vif& vif, FrameDirection direction, std::vector<romulus::GuestFrame> frames);
  void OnError(const Vif& vif, absl::Status status);

  const Scheduler* const scheduler_;
  const OnInput on_input_;
  Observer* observer_ = nullptr;
  std::set<std::string> absent_;                // Emulated cards that are not there.
  std::map<std::string, absl::Status> failed_;  // Vifs that can't be read any more.
  std::map<uint32_t, Dropped> dropped_;         // By device id.
  uint64_t unwritten_ = 0;
  const std::unique_ptr<VifFrames> frames_;  // Last: it calls the above.
};

}  // namespace romulus::lockstep

#endif  // ROMULUS_PRIMARY_LOCKSTEP_TAP_GUEST_TRAFFIC_H_
