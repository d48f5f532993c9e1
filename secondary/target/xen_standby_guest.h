#ifndef ROMULUS_SECONDARY_TARGET_XEN_STANDBY_GUEST_H_
#define ROMULUS_SECONDARY_TARGET_XEN_STANDBY_GUEST_H_

#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/devices/bridge_port.h"
#include "common/xen/handles.h"
#include "common/xen/xenstore.h"
#include "proto/replication/v1/domain.pb.h"
#include "secondary/target/standby_domain.h"
#include "secondary/target/standby_guest.h"
#include "secondary/target/vif_backends.h"

namespace romulus {

// The real StandbyGuest. Owns its connections to Xen and to the kernel.
class XenStandbyGuest final : public StandbyGuest {
 public:
  // As CreateStandbyGuest.
  static absl::StatusOr<std::unique_ptr<StandbyGuest>> Create(const replication::v1::DomainDescription& description,
                                                              bool lockstep);

  absl::Status Run(uint64_t store_mfn) override;
  absl::Status TakeOver() override;
  bool running() const override { return running_; }
  absl::Status Unfreeze() override { return domain_->Unfreeze(); }
  absl::Status Halt() override { return domain_->Halt(); }
  void Settle(uint64_t store_mfn, uint64_t console_mfn) override { domain_->Settle(store_mfn, console_mfn); }
  bool AnnounceAgain() override { return vifs_->Announce(); }
  absl::Status Destroy() override;
  const StandbyDomainIds& ids() const override { return domain_->ids(); }

 private:
  XenStandbyGuest() = default;
  absl::Status CreateDevices(const replication::v1::DomainDescription& description, bool lockstep);

  ToolLoggerHandle logger_;
  XcInterface xc_;
  std::unique_ptr<Xenstore> store_;
  std::unique_ptr<BridgePorts> ports_;
  std::unique_ptr<StandbyDomain> domain_;
  std::optional<VifBackends> vifs_;
  bool running_ = false;
};

}  // namespace romulus

#endif  // ROMULUS_SECONDARY_TARGET_XEN_STANDBY_GUEST_H_
