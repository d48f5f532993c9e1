#ifndef ROMULUS_NETBUF_SIMULATED_PLUG_KERNEL_H_
#define ROMULUS_NETBUF_SIMULATED_PLUG_KERNEL_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "netbuf/plug_kernel.h"
#include "netbuf/simulated_plug.h"

namespace romulus {

// A host's kernel as far as its guests' outgoing packets go: vifs, and a plug for each that an egress buffer redirects.
// Outlives the agent that uses it, as the kernel does; when the host dies, drop it: what it held is lost.
class SimulatedPlugKernel : public PlugKernel {
 public:
  // Everything that leaves for the network, in order per vif. Must not call back into the kernel.
  using Sink = std::function<void(const std::string& vif, const SimulatedPacket& packet)>;

  explicit SimulatedPlugKernel(Sink sink) : sink_(std::move(sink)) {}

  void AddVif(const std::string& name);
  // The vif goes (its domain was destroyed): what its plug holds can't leave any more. The plug stays till Remove.
  void RemoveVif(const std::string& name);

  // The guest sends a packet. Dropped if there is no such vif.
  void Enqueue(const std::string& vif, const SimulatedPacket& packet);

  // The `count` next operations that change something fail with `status`, after `skip` that don't.
  void FailOperations(absl::Status status, int count, int skip = 0);

  // Null if the vif has none.
  SimulatedPlug* plug(const std::string& vif);
  // What is left behind (invariant I6).
  std::vector<std::string> installed() const;

  absl::StatusOr<Installed> Install(const Vif& vif, const std::string& protection, uint32_t limit_bytes) override;
  absl::Status Command(const std::vector<Vif>& vifs, PlugCommand command) override;
  absl::Status Discard(const Vif& vif, uint32_t limit_bytes) override;
  absl::Status Remove(const Vif& vif, const std::string& protection, Held held) override;
  absl::StatusOr<Statistics> Read(const Vif& vif) override;
  absl::StatusOr<std::vector<Leftover>> FindLeftovers(const std::set<std::string>& living) override;
  void AwaitTransmission() override {}
  std::string DeviceName(const Vif& vif) const override;

 private:
  struct Installation {
    std::string protection;
    Vif vif;
    std::unique_ptr<SimulatedPlug> plug;
  };

  std::unique_ptr<SimulatedPlug> NewPlug(const std::string& vif, uint32_t limit_bytes);
  absl::Status TakeFault();
  absl::StatusOr<SimulatedPlug*> FindPlug(const Vif& vif);

  // Of an emulated card: that it is not there.
  absl::Status CheckAbsent(const Vif& vif) const;

  const Sink sink_;
  std::set<std::string> vifs_;
  std::map<std::string, Installation> installations_;  // By vif.
  std::set<std::string> absent_;                       // Emulated cards that were not there to be buffered.
  absl::Status fault_;
  int faults_ = 0;
  int faults_skipped_ = 0;
};

}  // namespace romulus

#endif  // ROMULUS_NETBUF_SIMULATED_PLUG_KERNEL_H_
