#ifndef ROMULUS_SECONDARY_TARGET_STANDBY_GUEST_H_
#define ROMULUS_SECONDARY_TARGET_STANDBY_GUEST_H_

#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/xen/handles.h"
#include "common/xen/xenstore.h"
#include "proto/replication/v1/domain.pb.h"
#include "secondary/target/bridge_port.h"
#include "secondary/target/standby_domain.h"
#include "secondary/target/vif_backend.h"

namespace romulus {

// A standby as a whole: its domain, console and network backends, ready so that after the restore only the rings have
// to be connected. Owns its connections to Xen and to the kernel. Blocking; one thread at a time.
class StandbyGuest {
 public:
  // Codes as CheckpointTarget::Observer::OnPrepared; after an error nothing is left behind.
  static absl::StatusOr<std::unique_ptr<StandbyGuest>> Create(const replication::v1::DomainDescription& description);

  // After the restore has completed: runs the guest and announces it once. An error before it runs leaves it paused; it
  // may then be destroyed.
  absl::Status Run(uint64_t store_mfn);
  bool running() const { return running_; }

  // Once, after Run: what the guest's users need not wait for.
  void Settle(uint64_t store_mfn, uint64_t console_mfn) { domain_->Settle(store_mfn, console_mfn); }

  // Announces all interfaces again, now that they may be connected. True: all of them are connected, so that this was
  // the last one needed.
  bool AnnounceAgain();

  // Precondition, checked: it does not run.
  absl::Status Destroy();

  const StandbyDomainIds& ids() const { return domain_->ids(); }

 private:
  StandbyGuest() = default;
  void Announce();
  absl::Status CreateDevices(const replication::v1::DomainDescription& description);

  ToolLoggerHandle logger_;
  XcInterface xc_;
  std::unique_ptr<Xenstore> store_;
  std::unique_ptr<BridgePorts> ports_;
  std::unique_ptr<StandbyDomain> domain_;
  std::vector<std::unique_ptr<VifBackend>> vifs_;
  bool running_ = false;
};

}  // namespace romulus

#endif  // ROMULUS_SECONDARY_TARGET_STANDBY_GUEST_H_
