#ifndef ROMULUS_NETBUF_EGRESS_BUFFER_H_
#define ROMULUS_NETBUF_EGRESS_BUFFER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "netbuf/hold_time_meter.h"

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

  // Of one vif. Counters run over this object's life, and over that of a predecessor's buffer that was adopted:
  // Discard, Detach and Attach do not set them back.
  struct VifStatistics {
    std::string vif;
    std::string device;            // That holds its packets; empty where there is nothing to hold.
    uint64_t limit_bytes = 0;      // Past it the kernel drops.
    uint64_t held_packets = 0;     // Now. A GSO packet is one.
    uint64_t held_bytes = 0;       // Now.
    uint64_t sent_packets = 0;     // That have left, but for GSO packets, which count none.
    uint64_t sent_bytes = 0;       // In the unit of held_bytes: held + sent is what has come, without what was dropped.
    uint64_t dropped_packets = 0;  // By the kernel, because the buffer was full. Not those that Discard dropped.
    uint64_t epochs = 0;           // Whose end OpenEpoch has marked.
    // Of the packets that left last, from each one's arrival to its release. Nullopt: this buffer knows no single
    // packet (HoldTimeMeter makes it up from the counters).
    std::optional<HoldTimeMeter::Spread> time_held;
  };
  struct Statistics {
    // Sums over the vifs.
    uint64_t held_packets = 0;
    uint64_t held_bytes = 0;
    uint64_t dropped_packets = 0;
    std::vector<VifStatistics> vifs;  // In the order in which the vifs were given.
  };
  // One netlink round trip per vif. On an error (the first vif's that could not be read) the others' are there, and of
  // that one what was known before. OK without a buffer: the counters stand.
  virtual absl::Status ReadStatistics(Statistics& statistics) = 0;

  // Names of the devices that hold the packets (ifb...), for status and logs.
  virtual std::vector<std::string> devices() const = 0;
};

}  // namespace romulus

#endif  // ROMULUS_NETBUF_EGRESS_BUFFER_H_
