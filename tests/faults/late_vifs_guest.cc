#include "tests/faults/late_vifs_guest.h"

#include <utility>

#include "secondary/target/xen_standby_guest.h"

namespace romulus {

absl::StatusOr<std::unique_ptr<StandbyGuest>> LateVifsGuest::Create(
    const replication::v1::DomainDescription& description, bool lockstep) {
  if (lockstep)
    return absl::FailedPreconditionError("a guest whose vifs come late can't run along: protect it in REMUS mode");
  std::unique_ptr<LateVifsGuest> late(new LateVifsGuest());
  absl::StatusOr<std::unique_ptr<Xenstore>> store = Xenstore::Open();
  if (!store.ok()) return store.status();
  late->store_ = *std::move(store);
  absl::StatusOr<std::unique_ptr<BridgePorts>> ports = BridgePorts::Open();
  if (!ports.ok()) return ports.status();
  late->ports_ = *std::move(ports);
  late->description_ = description;
  late->vifs_.emplace(*late->store_, *late->ports_);
  replication::v1::DomainDescription without_vifs = description;
  without_vifs.clear_vifs();
  absl::StatusOr<std::unique_ptr<StandbyGuest>> guest = XenStandbyGuest::Create(without_vifs, lockstep);
  if (!guest.ok()) return guest.status();
  late->guest_ = *std::move(guest);
  return late;
}

absl::Status LateVifsGuest::Run(uint64_t store_mfn) {
  if (absl::Status status = vifs_->Create(description_, ids().domid); !status.ok()) return status;
  if (absl::Status status = guest_->Run(store_mfn); !status.ok()) return status;
  vifs_->Announce();
  return absl::OkStatus();
}

}  // namespace romulus
