#ifndef ROMULUS_NETBUF_KERNEL_HARNESS_H_
#define ROMULUS_NETBUF_KERNEL_HARNESS_H_

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "netbuf/egress_buffer_contract.h"
#include "netbuf/netlink_plug_kernel.h"
#include "netbuf/simulated_ifb_claims.h"
#include "netbuf/tap_device.h"

namespace romulus {

// The real kernel, in a network namespace of its own that the calling thread enters: two taps as the guest's vifs on a
// bridge, and a third on it as the network.
class KernelHarness : public EgressBufferHarness {
 public:
  // `free_ifbs`: ifb0 and on, as an administrator would have made them; with any, none is created on demand.
  explicit KernelHarness(int free_ifbs = 0);

  std::shared_ptr<PlugKernel> kernel() override { return kernel_; }
  std::unique_ptr<EgressBuffer> NewBufferOf(std::vector<Vif> vifs, const std::string& protection,
                                            uint32_t limit_bytes) override;
  using EgressBufferHarness::Send;
  void Send(int vif, uint64_t id, uint32_t bytes, FrameKind kind) override;
  std::vector<uint64_t> TakeReceived(int vif) override;
  void AddVif(int vif) override;
  void RemoveVif(int vif) override { taps_[vif].reset(); }
  void TakeLinkDownAndUp(int vif) override;
  std::vector<std::string> LeftBehind() override;

  SimulatedIfbClaims& claims() { return claims_; }
  NetlinkPlugKernel::Options options() const { return options_; }
  TapDevice& tap(int vif) { return *taps_[vif]; }
  TapDevice& network() { return *network_; }

  // A frame with `id` behind headers that end in `ether_type` (and what follows it).
  static std::string Frame(int vif, uint64_t id, uint32_t bytes, const std::string& ether_type);
  // The id of a frame made by Frame, and its vif; nothing of others.
  static bool Parse(const std::string& frame, int* vif, uint64_t* id);

 private:
  static constexpr int kCards = kVifs + 1;

  std::multiset<std::string> Inventory();
  Vif Card(int vif) { return vif == kEmulated ? emulated() : vifs()[vif]; }

  const NetlinkPlugKernel::Options options_;
  SimulatedIfbClaims claims_;
  std::shared_ptr<NetlinkPlugKernel> kernel_;
  std::unique_ptr<TapDevice> taps_[kCards];
  std::unique_ptr<TapDevice> network_;
  std::vector<uint64_t> received_[kCards];
  std::multiset<std::string> before_;
};

}  // namespace romulus

#endif  // ROMULUS_NETBUF_KERNEL_HARNESS_H_
