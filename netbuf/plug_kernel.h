#ifndef ROMULUS_NETBUF_PLUG_KERNEL_H_
#define ROMULUS_NETBUF_PLUG_KERNEL_H_

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "netbuf/vif.h"

namespace romulus {

// The three commands of a plug qdisc (TCQ_PLUG_* in linux/pkt_sched.h, net/sched/sch_plug.c). A plug holds two
// counters, not a queue of epochs: see README.md.
enum class PlugCommand {
  kBuffer,             // last = current; current = 0. An unreleased `last` is forgotten.
  kReleaseOne,         // to_release += last; last = 0.
  kReleaseIndefinite,  // Everything leaves, and what comes passes, uncounted, until the next kBuffer.
};

// What a kernel does with the way out of a vif: the seam below PlugEgressBuffer, which decides when.
// Real side: NetlinkPlugKernel. Simulated side: SimulatedPlugKernel.
// Synchronous, not thread safe. Errors: UNAVAILABLE if the vif or its buffer is gone, PERMISSION_DENIED, others with
// the native code in words.
class PlugKernel {
 public:
  struct Statistics {
    uint64_t held_packets = 0;
    uint64_t held_bytes = 0;
    uint64_t dropped_packets = 0;
    // Since the plug was made. Packets: a GSO packet counts as its gso_segs, and of one that comes
    // from a guest the kernel has not counted these yet: 0. Bytes are right.
    uint64_t sent_packets = 0;
    uint64_t sent_bytes = 0;
  };

  virtual ~PlugKernel() = default;

  enum class Installed { kFresh, kAdopted };
  // Redirects what the vif's guest sends through a plug of `limit_bytes` that lets all pass. If one of `protection` is
  // in place, it is left as it is, but for its limit: kAdopted. An error leaves the vif as it was.
  virtual absl::StatusOr<Installed> Install(const Vif& vif, const std::string& protection, uint32_t limit_bytes) = 0;

  // To every vif's plug, also to those after one that failed; the first error counts. kBuffer also finds out whether
  // the vif is still there and redirected: one that was unplugged and plugged in again would leave unbuffered.
  virtual absl::Status Command(const std::vector<Vif>& vifs, PlugCommand command) = 0;

  // Drops what the vif's plug holds, and its counters; it then holds what comes. Nothing leaves in between.
  virtual absl::Status Discard(const Vif& vif, uint32_t limit_bytes) = 0;

  // Takes everything of Install away, whatever is there of it, and nothing of anybody else's. OK if nothing is there.
  // kDrain: of a passing plug; what is still in its queue leaves first. DATA_LOSS if it would not.
  enum class Held { kDrain, kDrop };
  virtual absl::Status Remove(const Vif& vif, const std::string& protection, Held held) = 0;

  virtual absl::StatusOr<Statistics> Read(const Vif& vif) = 0;

  // What dead owners left, of protections that are not in `living`, sorted by device. For an agent that starts: adopt
  // it with a PlugEgressBuffer of that protection, or just Detach one.
  struct Leftover {
    std::string protection;
    Vif vif;
    std::string device;
  };
  virtual absl::StatusOr<std::vector<Leftover>> FindLeftovers(const std::set<std::string>& living) = 0;

  // A short wait for packets under way in the kernel.
  virtual void AwaitTransmission() = 0;

  virtual std::string DeviceName(const Vif& vif) const = 0;
};

}  // namespace romulus

#endif  // ROMULUS_NETBUF_PLUG_KERNEL_H_
