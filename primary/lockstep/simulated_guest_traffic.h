#ifndef ROMULUS_PRIMARY_LOCKSTEP_SIMULATED_GUEST_TRAFFIC_H_
#define ROMULUS_PRIMARY_LOCKSTEP_SIMULATED_GUEST_TRAFFIC_H_

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "primary/lockstep/guest_traffic.h"

namespace romulus::lockstep {

class SimulatedGuestTraffic;

// A host's kernel as far as diverted frames go: vifs, and whose agent gets what their guests send. Outlives the agents;
// no kinder than the real one: what an agent has taken and not written dies with it, and a vif whose diverter died
// sends nothing.
class SimulatedDiversions {
 public:
  // Everything that goes on to the network, in order per vif.
  using Sink = std::function<void(const std::string& vif, const GuestFrame& frame)>;

  SimulatedDiversions(std::function<absl::Duration()> clock, Sink sink)
      : clock_(std::move(clock)), sink_(std::move(sink)) {}

  void AddVif(const std::string& name) { vifs_.insert(name); }
  // What it still has to write is lost; the diversion stays till Restore.
  void RemoveVif(const std::string& name) { vifs_.erase(name); }

  // The guest sends a frame. Dropped if there is no such vif.
  void Enqueue(const std::string& vif, GuestFrame frame);

  // While true, diverted frames wait in the host until Deliver, Collect or Restore.
  void SetLag(bool lag) { lag_ = lag; }
  void Deliver();

  // Whether an agent holds up what is sent to the guest.
  bool holds_input() const { return holds_input_; }

  // What is left behind, by vif.
  std::vector<std::string> installed() const;

 private:
  friend class SimulatedGuestTraffic;

  struct Diversion {
    std::string protection;
    SimulatedGuestTraffic* owner = nullptr;  // Null: dead.
    std::deque<GuestFrame> waiting;
  };

  void Deliver(const std::string& vif, Diversion& diversion);

  const std::function<absl::Duration()> clock_;
  const Sink sink_;
  std::set<std::string> vifs_;
  std::map<std::string, Diversion> diversions_;  // By vif.
  std::set<std::string> absent_;                 // Emulated cards that were not there to be diverted.
  bool lag_ = false;
  bool holds_input_ = false;
};

// One agent's side of it, for one protection.
class SimulatedGuestTraffic : public GuestTraffic {
 public:
  explicit SimulatedGuestTraffic(std::shared_ptr<SimulatedDiversions> host) : host_(std::move(host)) {}
  ~SimulatedGuestTraffic() override;

  void SetObserver(Observer* observer) override { observer_ = observer; }
  absl::StatusOr<Diverted> Divert(const Vif& vif, const std::string& protection) override;
  absl::Status Collect(const Vif& vif) override;
  void WriteOut(const Vif& vif, const GuestFrame& frame) override;
  void HoldInput() override { host_->holds_input_ = true; }
  void ReleaseInput() override { host_->holds_input_ = false; }
  absl::Status Restore(const Vif& vif, const std::string& protection) override;
  std::string DeviceName(const Vif& vif) const override { return "tap-" + vif.name; }

 private:
  friend class SimulatedDiversions;

  const std::shared_ptr<SimulatedDiversions> host_;
  Observer* observer_ = nullptr;
};

}  // namespace romulus::lockstep

#endif  // ROMULUS_PRIMARY_LOCKSTEP_SIMULATED_GUEST_TRAFFIC_H_
