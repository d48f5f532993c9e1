#ifndef ROMULUS_NETBUF_EGRESS_BUFFER_H_
#define ROMULUS_NETBUF_EGRESS_BUFFER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace romulus {

// The seam for a guest's outgoing packets: all of its vifs as one buffer with epochs.
// Real side: PlugEgressBuffer (ifb + redirect + plug qdisc per vif, over one netlink socket). Simulated side:
// SimulatedEgressBuffer (the kernel's two counters exactly). Both pass egress_buffer_contract.
//
// Call order:
//   Attach                          once; packets pass through
//   OpenEpoch, (ReleaseEpoch, OpenEpoch)*   at most one epoch is closed and unreleased at any time
//   PassThrough                     any time: everything held leaves, in order, and packets pass through again;
//                                   OpenEpoch starts buffering anew
//   Detach                          once; also after a failed Attach, or for a vif that is gone
//
// Synchronous (a netlink call takes microseconds), not thread safe. Destruction without Detach leaves the packets held
// and the devices in place, on purpose: an agent that dies must not release.
class EgressBuffer {
 public:
  virtual ~EgressBuffer() = default;

  // Puts the buffer into the guest's way out. An error leaves the vifs as they were.
  // If a predecessor's buffer is in place (an agent that died), it is adopted as it is: what it holds stays held until
  // PassThrough or Discard, and adopted() is true.
  virtual absl::Status Attach() = 0;
  virtual bool adopted() const = 0;

  // Ends the epoch that packets are counted to, holds it, and starts the next one; to be called while the guest is
  // suspended. Precondition, checked: the epoch before has been released (the kernel has two counters, not a queue: a
  // second OpenEpoch would let the next ReleaseEpoch release packets that no checkpoint covers).
  // On an error (UNAVAILABLE: vif gone; others: the native code in words) nothing has been released.
  virtual absl::Status OpenEpoch() = 0;

  // Releases the packets of the epoch that the last OpenEpoch ended. Only after its checkpoint's commit.
  virtual absl::Status ReleaseEpoch() = 0;

  virtual absl::Status PassThrough() = 0;

  // Drops everything held and keeps holding what comes: for a fenced guest, whose output must never leave.
  virtual absl::Status Discard() = 0;

  // Removes the buffer without losing a packet: after PassThrough the filter goes first, then the queue drains, then
  // plug and ifb go. After Discard (or while packets are held) what is held is dropped. Idempotent.
  virtual absl::Status Detach() = 0;

  struct Statistics {
    uint64_t held_packets = 0;
    uint64_t held_bytes = 0;
    uint64_t dropped_packets = 0;  // By the kernel, because the buffer was full.
  };
  virtual absl::Status ReadStatistics(Statistics& statistics) = 0;

  // Names of the devices that hold the packets (ifb...), for status and logs.
  virtual std::vector<std::string> devices() const = 0;
};

}  // namespace romulus

#endif  // ROMULUS_NETBUF_EGRESS_BUFFER_H_
