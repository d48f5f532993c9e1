#include "secondary/target/vif_backends.h"

#include <utility>

#include "common/base/log.h"

namespace romulus {

absl::Status VifBackends::Create(const replication::v1::DomainDescription& description, uint32_t domid) {
  for (const replication::v1::Vif& vif : description.vifs()) {
    absl::StatusOr<std::unique_ptr<VifBackend>> backend = VifBackend::Create(store_, ports_, domid, vif);
    if (!backend.ok()) return backend.status();
    vifs_.push_back(*std::move(backend));
  }
  return absl::OkStatus();
}

absl::Status VifBackends::LeaveBridges() {
  for (const std::unique_ptr<VifBackend>& vif : vifs_) {
    if (absl::Status status = vif->LeaveBridge(); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status VifBackends::JoinBridges() {
  absl::Status first;
  for (const std::unique_ptr<VifBackend>& vif : vifs_) first.Update(vif->JoinBridge());
  return first;
}

void VifBackends::TakeDown() {
  // All at once.
  for (const std::unique_ptr<VifBackend>& vif : vifs_) {
    if (absl::Status status = vif->RequestRemoval(); !status.ok()) LogWarning(vif->interface(), ": ", status.message());
  }
  for (const std::unique_ptr<VifBackend>& vif : vifs_) {
    if (absl::Status status = vif->WaitUntilRemoved(); !status.ok()) {
      LogWarning(vif->interface(), " was not taken down in time: ", status.message());
    }
  }
}

bool VifBackends::Announce() {
  // Asked first: an announcement is complete only where the port was connected before it.
  bool all_connected = true;
  for (const std::unique_ptr<VifBackend>& vif : vifs_) {
    const absl::StatusOr<bool> connected = vif->connected();
    all_connected = all_connected && connected.ok() && *connected;
  }
  for (const std::unique_ptr<VifBackend>& vif : vifs_) {
    if (absl::Status status = vif->Announce(); !status.ok()) {
      LogWarning("can't announce ", vif->interface(), ": ", status.message());
    }
  }
  return all_connected;
}

}  // namespace romulus
