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

// What a guest sends. All of them are output.
enum class FrameKind {
  kExperimental,  // EtherType 88b5: of no protocol.
  kIpv4,
  kIpv6,
  kArp,
  kVlan,        // 802.1Q around IPv4.
  kDoubleVlan,  // 802.1ad around 802.1Q around ARP.
  kLlc,         // 802.3 with a length in place of a type.
  kLldp,
  kGso,  // TCP over IPv4, larger than the MTU: to be cut on its way, after the buffer.
};
constexpr FrameKind kEveryFrameKind[] = {FrameKind::kExperimental, FrameKind::kIpv4, FrameKind::kIpv6,
                                         FrameKind::kArp,          FrameKind::kVlan, FrameKind::kDoubleVlan,
                                         FrameKind::kLlc,          FrameKind::kLldp, FrameKind::kGso};

// Ethernet, IPv4 and TCP headers of a GSO packet, and what it carries per segment.
constexpr uint32_t kGsoHeaderBytes = 54;
constexpr uint32_t kGsoSegmentBytes = 1448;

// A guest with two vifs on a host, and maybe an emulated card, for EgressBufferContract.
class EgressBufferHarness {
 public:
  static constexpr int kVifs = 2;
  static constexpr int kEmulated = 2;  // The emulated card, beside vif 0. Not there until AddVif(kEmulated).

  virtual ~EgressBufferHarness() = default;

  std::vector<Vif> vifs() { return {{"vif7.0", 7, 0}, {"vif7.1", 7, 1}}; }
  Vif emulated() { return {"vif7.0-emu", 7, 0, true}; }
  // Null: packets are not held by a kernel.
  virtual std::shared_ptr<PlugKernel> kernel() = 0;
  // False: of a buffer in its owner's memory, what is held dies with the owner. What the guest sends after that is
  // not let through either.
  virtual bool held_outlives_owner() const { return true; }
  // One that is there when the buffer is attached is refused, otherwise.
  virtual bool takes_emulated_cards() const { return true; }
  // Over `vifs`. Destroying it is its owner's death.
  virtual std::unique_ptr<EgressBuffer> NewBufferOf(std::vector<Vif> vifs, const std::string& protection,
                                                    uint32_t limit_bytes) = 0;
  // Over all vifs, without the emulated card.
  std::unique_ptr<EgressBuffer> NewBuffer(const std::string& protection, uint32_t limit_bytes) {
    return NewBufferOf(vifs(), protection, limit_bytes);
  }

  // The guest sends a frame of `bytes` (at least 64), headers included.
  virtual void Send(int vif, uint64_t id, uint32_t bytes, FrameKind kind) = 0;
  void Send(int vif, uint64_t id, uint32_t bytes) { Send(vif, id, bytes, FrameKind::kExperimental); }
  // The ids of what came out of `vif` to the network since the last call, in order.
  virtual std::vector<uint64_t> TakeReceived(int vif) = 0;

  virtual void AddVif(int vif) = 0;
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
