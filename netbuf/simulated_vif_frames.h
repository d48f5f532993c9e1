#ifndef ROMULUS_NETBUF_SIMULATED_VIF_FRAMES_H_
#define ROMULUS_NETBUF_SIMULATED_VIF_FRAMES_H_

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "netbuf/vif_frames.h"

namespace romulus {

// For tests: a host's vifs, with a network and a guest at each. Outlives the VifFrames on it, and is no kinder than the
// kernel: what a process had taken dies with it, and its vifs stay as mute as it left them.
class SimulatedVifs {
 public:
  explicit SimulatedVifs(size_t queue_frames = 1024) : queue_frames_(queue_frames) {}

  void AddVif(const std::string& name) { vifs_[name]; }
  void RemoveVif(const std::string& name) { vifs_.erase(name); }

  void GuestSends(const std::string& vif, GuestFrame frame);
  void NetworkSends(const std::string& vif, GuestFrame frame);
  // Delivers what was taken, as the event loop would.
  void Deliver();

  // By vif: what reached the network, and the guest, since it was asked last.
  std::vector<GuestFrame> TakeSentToNetwork(const std::string& vif) { return std::exchange(vifs_[vif].network, {}); }
  std::vector<GuestFrame> TakeSentToGuest(const std::string& vif) { return std::exchange(vifs_[vif].guest, {}); }
  // kDirect where nothing is installed.
  VifMode mode(const std::string& vif) const { return vifs_.at(vif).mode; }
  bool installed(const std::string& vif) const { return !owner(vif).empty(); }
  // Whom it is marked as being of.
  const std::string& owner(const std::string& vif) const { return vifs_.at(vif).owner; }

  // The next call of that name fails.
  void FailAdd(const std::string& vif, absl::Status status) { failing_adds_[vif] = std::move(status); }
  void FailSetMode(absl::Status status) { failing_set_mode_ = std::move(status); }
  // Reading of the vif's frames fails, once and for all.
  void BreakReading(const std::string& vif, absl::Status status);
  // Somebody removes the filters.
  void LoseFilters(const std::string& vif) { vifs_.at(vif).in_place = false; }

 private:
  friend class SimulatedVifFrames;

  struct Kernel {
    VifMode mode = VifMode::kDirect;
    std::string owner;                           // Empty: nothing is installed.
    class SimulatedVifFrames* reader = nullptr;  // Null: dead.
    bool in_place = true;
    bool readable = true;
    std::deque<GuestFrame> taken[2];  // By direction.
    uint64_t dropped[2] = {};
    std::vector<GuestFrame> network;
    std::vector<GuestFrame> guest;
  };

  void Take(Kernel& vif, FrameDirection direction, GuestFrame frame);

  const size_t queue_frames_;
  std::map<std::string, Kernel> vifs_;
  std::map<std::string, absl::Status> failing_adds_;
  absl::Status failing_set_mode_;
};

class SimulatedVifFrames final : public VifFrames {
 public:
  SimulatedVifFrames(SimulatedVifs* host, OnFrames on_frames, OnError on_error)
      : host_(host), on_frames_(std::move(on_frames)), on_error_(std::move(on_error)) {}
  ~SimulatedVifFrames() override;

  absl::StatusOr<bool> Exists(const Vif& vif) override { return host_->vifs_.count(vif.name) != 0; }
  absl::StatusOr<Added> Add(const Vif& vif, const std::string& owner, VifMode mode) override;
  absl::Status Remove(uint32_t device_id, Held held) override;
  absl::Status Clear(const Vif& vif, const std::string& owner) override;
  absl::Status SetMode(VifMode mode) override;
  absl::Status CheckInPlace(uint32_t device_id) override;
  void Drain(uint32_t device_id, FrameDirection direction) override;
  absl::Status Write(uint32_t device_id, FrameDirection direction, const GuestFrame& frame) override;
  absl::Status Write(uint32_t device_id, FrameDirection direction, std::string contents) override;
  absl::StatusOr<uint64_t> ReadDropped(uint32_t device_id, FrameDirection direction) override;
  std::string DeviceName(const Vif& vif) const override { return "tap-" + vif.name; }

 private:
  friend class SimulatedVifs;

  // Null where the vif is gone.
  SimulatedVifs::Kernel* Find(uint32_t device_id);

  SimulatedVifs* const host_;
  const OnFrames on_frames_;
  const OnError on_error_;
  std::map<uint32_t, Vif> added_;
};

}  // namespace romulus

#endif  // ROMULUS_NETBUF_SIMULATED_VIF_FRAMES_H_
