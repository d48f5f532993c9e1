#include "tests/faults/late_vifs_guest.h"

#include <utility>

#include "common/base/log.h"
#include "secondary/target/xen_standby_guest.h"

namespace romulus {

absl::StatusOr<std::unique_ptr<StandbyGuest>> LateVifsGuest::Create(
    const replication::v1::DomainDescription& description) {
  std::unique_ptr<LateVifsGuest> late(new LateVifsGuest());
  absl::StatusOr<std::unique_ptr<Xenstore>> store = Xenstore::Open();
  if (!store.ok()) return store.status();
  late->store_ = *std::move(store);
  absl::StatusOr<std::unique_ptr<BridgePorts>> ports = BridgePorts::Open();
  if (!ports.ok()) return ports.status();
  late->ports_ = *std::move(ports);
  late->wanted_ = {description.vifs().begin(), description.vifs().end()};
  replication::v1::DomainDescription without_vifs = description;
  without_vifs.clear_vifs();
  absl::StatusOr<std::unique_ptr<StandbyGuest>> guest = XenStandbyGuest::Create(without_vifs);
  if (!guest.ok()) return guest.status();
  late->guest_ = *std::move(guest);
  return late;
}

absl::Status LateVifsGuest::Run(uint64_t store_mfn) {
  for (const replication::v1::Vif& vif : wanted_) {
    absl::StatusOr<std::unique_ptr<VifBackend>> backend = VifBackend::Create(*store_, *ports_, ids().domid, vif);
    if (!backend.ok()) return backend.status();
    vifs_.push_back(*std::move(backend));
  }
  if (absl::Status status = guest_->Run(store_mfn); !status.ok()) return status;
  Announce();
  return absl::OkStatus();
}

bool LateVifsGuest::AnnounceAgain() {
  bool all_connected = true;
  for (const std::unique_ptr<VifBackend>& vif : vifs_) {
    const absl::StatusOr<bool> connected = vif->connected();
    all_connected = all_connected && connected.ok() && *connected;
  }
  Announce();
  return all_connected;
}

void LateVifsGuest::Announce() {
  for (const std::unique_ptr<VifBackend>& vif : vifs_) {
    if (absl::Status status = vif->Announce(); !status.ok()) {
      LogWarning("can't announce ", vif->interface(), ": ", status.message());
    }
  }
}

}  // namespace romulus
