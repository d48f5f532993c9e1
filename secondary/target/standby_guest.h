#ifndef ROMULUS_SECONDARY_TARGET_STANDBY_GUEST_H_
#define ROMULUS_SECONDARY_TARGET_STANDBY_GUEST_H_

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/replication/v1/domain.pb.h"
#include "secondary/target/domain_nodes.h"

namespace romulus {

// A standby as a whole, but for its memory's contents: its domain, console and network backends, ready so that after
// the restore only the rings have to be connected. Blocking; one thread at a time. Real side: XenStandbyGuest.
// Destruction leaves the domain as it is.
class StandbyGuest {
 public:
  virtual ~StandbyGuest() = default;

  // After the restore has completed: runs the guest and announces it once. An error before it runs leaves it paused; it
  // may then be destroyed.
  virtual absl::Status Run(uint64_t store_mfn) = 0;

  // Instead of Run where the guest was created for lockstep and runs along: it is the guest from now on. Opens its
  // network, which until then has been no part of any bridge, and announces it once.
  virtual absl::Status TakeOver() = 0;
  // Whether either was done, as far as that it must not be destroyed any more.
  virtual bool running() const = 0;

  // Lets a guest go on that was taken over while its helper had stopped its vCPUs, where that helper is gone. OK if
  // they run.
  virtual absl::Status Unfreeze() = 0;

  // Stops the vCPUs of a guest that runs along and that nobody can suspend any more: its helper is gone.
  virtual absl::Status Halt() = 0;

  // Once, after Run or TakeOver: what the guest's users need not wait for. 0: where its rings are was said before.
  virtual void Settle(uint64_t store_mfn, uint64_t console_mfn) = 0;

  // Announces all interfaces again, now that they may be connected. True: all of them are connected, so that this was
  // the last one needed.
  virtual bool AnnounceAgain() = 0;

  // Precondition, checked: it does not run.
  virtual absl::Status Destroy() = 0;

  virtual const StandbyDomainIds& ids() const = 0;
};

// `lockstep`: as CheckpointTarget::Prepare. Codes as CheckpointTarget::Observer::OnPrepared; after an error nothing is
// left behind. Any thread.
using CreateStandbyGuest = std::function<absl::StatusOr<std::unique_ptr<StandbyGuest>>(
    const replication::v1::DomainDescription& description, bool lockstep)>;

}  // namespace romulus

#endif  // ROMULUS_SECONDARY_TARGET_STANDBY_GUEST_H_
