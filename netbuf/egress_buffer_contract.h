#ifndef ROMULUS_NETBUF_EGRESS_BUFFER_CONTRACT_H_
#define ROMULUS_NETBUF_EGRESS_BUFFER_CONTRACT_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "netbuf/egress_buffer.h"
#include "netbuf/plug_kernel.h"

namespace romulus {

// A guest with two vifs on a host, for EgressBufferContract.
class EgressBufferHarness {
 public:
  static constexpr int kVifs = 2;

  virtual ~EgressBufferHarness() = default;

  virtual std::vector<Vif> vifs() = 0;
  virtual std::shared_ptr<PlugKernel> kernel() = 0;
  // Over all vifs. Destroying it is its owner's death.
  virtual std::unique_ptr<EgressBuffer> NewBuffer(const std::string& protection, uint32_t limit_bytes) = 0;

  // The guest sends a frame of `bytes` (at least 64), headers included.
  virtual void Send(int vif, uint64_t id, uint32_t bytes) = 0;
  // The ids of what came out of `vif` to the network since the last call, in order.
  virtual std::vector<uint64_t> TakeReceived(int vif) = 0;

  virtual void RemoveVif(int vif) = 0;
  // Of the device that holds the vif's packets.
  virtual void TakeLinkDownAndUp(int vif) = 0;
  // Every device, qdisc and filter that was not there when the harness was made.
  virtual std::vector<std::string> LeftBehind() = 0;
};

// What every EgressBuffer keeps, and every kernel below it does. A test binary instantiates it with its harness.
class EgressBufferContract : public ::testing::TestWithParam<std::function<std::unique_ptr<EgressBufferHarness>()>> {
 protected:
  static constexpr uint32_t kLimit = 1 << 20;

  std::unique_ptr<EgressBuffer> Attached(uint32_t limit_bytes = kLimit);
  void Send(std::vector<uint64_t> ids, int vif = 0);

  const std::unique_ptr<EgressBufferHarness> harness_ = GetParam()();
};

}  // namespace romulus

#endif  // ROMULUS_NETBUF_EGRESS_BUFFER_CONTRACT_H_
