#ifndef ROMULUS_TESTS_FAULTS_LATE_VIFS_GUEST_H_
#define ROMULUS_TESTS_FAULTS_LATE_VIFS_GUEST_H_

#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/devices/bridge_port.h"
#include "common/xen/xenstore.h"
#include "proto/replication/v1/domain.pb.h"
#include "secondary/target/standby_guest.h"
#include "secondary/target/vif_backends.h"

namespace romulus {

// What a prepared vif is measured against: a standby without network interfaces, which are made at the takeover before
// the guest runs, as Xen's own Remus does. Otherwise the real StandbyGuest.
class LateVifsGuest final : public StandbyGuest {
 public:
  // As CreateStandbyGuest, but not for lockstep (FAILED_PRECONDITION): a guest that runs along needs its interfaces.
  static absl::StatusOr<std::unique_ptr<StandbyGuest>> Create(const replication::v1::DomainDescription& description,
                                                              bool lockstep);

  absl::Status Run(uint64_t store_mfn) override;
  absl::Status TakeOver() override { return guest_->TakeOver(); }
  bool running() const override { return guest_->running(); }
  absl::Status Unfreeze() override { return guest_->Unfreeze(); }
  absl::Status Halt() override { return guest_->Halt(); }
  void Settle(uint64_t store_mfn, uint64_t console_mfn) override { guest_->Settle(store_mfn, console_mfn); }
  bool AnnounceAgain() override { return vifs_->Announce(); }
  absl::Status Destroy() override { return guest_->Destroy(); }
  const StandbyDomainIds& ids() const override { return guest_->ids(); }

 private:
  LateVifsGuest() = default;

  std::unique_ptr<Xenstore> store_;
  std::unique_ptr<BridgePorts> ports_;
  std::unique_ptr<StandbyGuest> guest_;
  replication::v1::DomainDescription description_;
  std::optional<VifBackends> vifs_;
};

}  // namespace romulus

#endif  // ROMULUS_TESTS_FAULTS_LATE_VIFS_GUEST_H_
