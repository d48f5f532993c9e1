#ifndef ROMULUS_TESTS_SIMULATION_FAULTY_GUEST_TRAFFIC_H_
#define ROMULUS_TESTS_SIMULATION_FAULTY_GUEST_TRAFFIC_H_

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "primary/lockstep/guest_traffic.h"
#include "tests/simulation/host.h"

namespace romulus::simulation {

// A GuestTraffic whose operations fail as the host's faults say. For the mutant `uncompared`: with `leak`, frames leave
// as they come while it says so, instead of being held.
class FaultyGuestTraffic final : public lockstep::GuestTraffic, private lockstep::GuestTraffic::Observer {
 public:
  FaultyGuestTraffic(std::unique_ptr<lockstep::GuestTraffic> traffic, Host* host, std::function<bool()> leak)
      : traffic_(std::move(traffic)), host_(host), leak_(std::move(leak)) {}

  void SetObserver(lockstep::GuestTraffic::Observer* observer) override {
    observer_ = observer;
    traffic_->SetObserver(observer == nullptr ? nullptr : this);
  }
  absl::StatusOr<Diverted> Divert(const Vif& vif, const std::string& protection) override {
    vif_ = vif;
    if (absl::Status fault = TakeFault(); !fault.ok()) return fault;
    return traffic_->Divert(vif, protection);
  }
  absl::Status Collect(const Vif& vif) override {
    if (absl::Status fault = TakeFault(); !fault.ok()) return fault;
    return traffic_->Collect(vif);
  }
  void WriteOut(const Vif& vif, const lockstep::GuestFrame& frame) override { traffic_->WriteOut(vif, frame); }
  void HoldInput() override { traffic_->HoldInput(); }
  void ReleaseInput() override { traffic_->ReleaseInput(); }
  absl::Status Restore(const Vif& vif, const std::string& protection) override {
    if (absl::Status fault = TakeFault(); !fault.ok()) return fault;
    return traffic_->Restore(vif, protection);
  }
  std::string DeviceName(const Vif& vif) const override { return traffic_->DeviceName(vif); }

 private:
  absl::Status TakeFault() {
    if (host_->failing_traffic == 0) return absl::OkStatus();
    --host_->failing_traffic;
    return absl::UnavailableError("simulated: the tap can't be read (ENODEV)");
  }
  void OnGuestFrame(absl::Duration now, const std::string& vif, lockstep::GuestFrame frame) override {
    if (leak_ != nullptr && leak_()) return traffic_->WriteOut(vif_, frame);
    observer_->OnGuestFrame(now, vif, std::move(frame));
  }

  const std::unique_ptr<lockstep::GuestTraffic> traffic_;
  Host* const host_;
  const std::function<bool()> leak_;
  lockstep::GuestTraffic::Observer* observer_ = nullptr;
  Vif vif_;
};

}  // namespace romulus::simulation

#endif  // ROMULUS_TESTS_SIMULATION_FAULTY_GUEST_TRAFFIC_H_
