#ifndef ROMULUS_PRIMARY_LOCKSTEP_GUEST_TRAFFIC_H_
#define ROMULUS_PRIMARY_LOCKSTEP_GUEST_TRAFFIC_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "netbuf/vif.h"

namespace romulus::lockstep {

// A frame that the guest sent.
struct GuestFrame {
  std::string contents;  // From the Ethernet header on.
  // Of a GSO frame, larger than the MTU and to be cut on its way: the payload bytes of a segment. 0: of no other.
  uint16_t segment_bytes = 0;
  // What the frame has of offloads (a virtio_net_hdr): comes with it, goes back with it, means nothing to others.
  std::string offload;
};

// The seam for a guest's frames where they go through the agent. What the guest sends is held there
// (LockstepEgressBuffer), instead of in the kernel (PlugKernel). While a vif is diverted, nothing that its guest sends
// goes any other way than through here: an agent that dies takes what it held along, and its guest's output stops until
// a successor is there. So nothing is released by a death. What is sent to the guest goes on to it at once, but for the
// time of a suspend (HoldInput).
//
// Synchronous, not thread safe; all on the agent's loop. Errors as PlugKernel's: UNAVAILABLE if the vif is gone or no
// longer diverted, FAILED_PRECONDITION if it is somebody else's, others with the native code in words.
class GuestTraffic {
 public:
  class Observer {
   public:
    virtual ~Observer() = default;
    // In the order in which the guest sent them, per vif. May call WriteOut. `vif`: its name.
    virtual void OnGuestFrame(absl::Duration now, const std::string& vif, GuestFrame frame) = 0;
  };

  virtual ~GuestTraffic() = default;

  // Gets the frames of every vif that is diverted from here on. Null: nobody; they are dropped. Once, and again after
  // null.
  virtual void SetObserver(Observer* observer) = 0;

  // An emulated card that is not there is nothing to divert: OK. kAdopted: a dead owner of the same protection had
  // diverted it; what that one held is lost. An error leaves the vif as it was.
  enum class Diverted { kFresh, kAdopted };
  virtual absl::StatusOr<Diverted> Divert(const Vif& vif, const std::string& protection) = 0;

  // Hands all frames to the observer that the guest has sent so far, and finds out whether the vif is still there and
  // diverted (of an emulated card that was not there: that it has not come). To be called with the guest suspended.
  virtual absl::Status Collect(const Vif& vif) = 0;

  // The frame goes on where it was diverted from, behind all that were written before. A way out that is full or gone
  // loses it, as a full link would.
  virtual void WriteOut(const Vif& vif, const GuestFrame& frame) = 0;

  // What the guest sends goes its usual way again. Takes everything of Divert away, whatever is there of it, and
  // nothing of anybody else's; frames that are diverted and not yet handed over are handed to the observer first. OK if
  // nothing is there.
  virtual absl::Status Restore(const Vif& vif, const std::string& protection) = 0;

  // From here to ReleaseInput nothing new of the network reaches the guest; what it would have got waits, in order, and
  // what is past a bound is dropped, as by a full link. To be called before the guest is asked to suspend: what it got
  // before has reached its memory when it is suspended, so that each frame is of exactly one epoch, and nothing writes
  // to its memory while that is copied. ReleaseInput: it runs again. Both idempotent; Restore releases, too.
  virtual void HoldInput() = 0;
  virtual void ReleaseInput() = 0;

  // Of the device that frames are diverted to; for status and logs.
  virtual std::string DeviceName(const Vif& vif) const = 0;
};

}  // namespace romulus::lockstep

#endif  // ROMULUS_PRIMARY_LOCKSTEP_GUEST_TRAFFIC_H_
