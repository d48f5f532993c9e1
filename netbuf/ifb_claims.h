#ifndef ROMULUS_NETBUF_IFB_CLAIMS_H_
#define ROMULUS_NETBUF_IFB_CLAIMS_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "netbuf/vif.h"

namespace romulus {

// Who says on this host which ifb buffers which vif.
struct IfbClaim {
  Vif vif;                 // Without its name where somebody else made the record.
  std::string device;      // "ifb3"
  std::string protection;  // Of ours; empty: somebody else's (libxl's, by Xen's script).
};

// The host-wide record of claimed ifbs, and the right to choose one. Whoever looks for a free ifb takes its turn,
// looks, claims, puts a qdisc on the device, and ends its turn: so nobody ever sees a device that is chosen and looks
// free. Real side: XenstoreIfbClaims (libxl's nodes, locking.sh's lock: with Xen's scripts too). Simulated side:
// SimulatedIfbClaims. Synchronous, not thread safe.
class IfbClaims {
 public:
  // Ends when it goes.
  class Turn {
   public:
    virtual ~Turn() = default;
  };

  virtual ~IfbClaims() = default;

  // Waits a bounded time; UNAVAILABLE says who may be in the way and what to do.
  virtual absl::StatusOr<std::unique_ptr<Turn>> TakeTurn() = 0;

  // All of the host.
  virtual absl::StatusOr<std::vector<IfbClaim>> List() = 0;

  // Puts a claim on record, in place of any other of that vif. In one's turn.
  virtual absl::Status Record(const IfbClaim& claim) = 0;

  // Takes the claim of `vif` off the record if it is of `protection`, with all that would be left empty. OK if there is
  // none, or another's: which stays.
  virtual absl::Status Erase(const Vif& vif, const std::string& protection) = 0;
};

}  // namespace romulus

#endif  // ROMULUS_NETBUF_IFB_CLAIMS_H_
