#include "secondary/target/xen_standby_guest.h"

#include <string>
#include <utility>

#include "common/base/log.h"
#include "common/xen/control.h"
#include "common/xen/tool_logger.h"
#include "secondary/target/console_backend.h"

namespace romulus {

absl::StatusOr<std::unique_ptr<StandbyGuest>> XenStandbyGuest::Create(
    const replication::v1::DomainDescription& description) {
  std::unique_ptr<XenStandbyGuest> guest(new XenStandbyGuest());
  // libxc says nothing that the statuses don't.
  guest->logger_ = NewToolLogger([](xentoollog_level, const std::string&) {});
  absl::StatusOr<XcInterface> xc = OpenXenControl(guest->logger_.get());
  if (!xc.ok()) return xc.status();
  guest->xc_ = *std::move(xc);
  absl::StatusOr<std::unique_ptr<Xenstore>> store = Xenstore::Open();
  if (!store.ok()) return store.status();
  guest->store_ = *std::move(store);
  absl::StatusOr<std::unique_ptr<BridgePorts>> ports = BridgePorts::Open();
  if (!ports.ok()) return ports.status();
  guest->ports_ = *std::move(ports);

  absl::StatusOr<std::unique_ptr<StandbyDomain>> domain =
      StandbyDomain::Create(guest->xc_.get(), *guest->store_, description);
  if (!domain.ok()) return domain.status();
  guest->domain_ = *std::move(domain);
  if (absl::Status status = guest->CreateDevices(description); !status.ok()) {
    if (absl::Status destroyed = guest->Destroy(); !destroyed.ok()) LogError(destroyed.message());
    return status;
  }
  return guest;
}

absl::Status XenStandbyGuest::CreateDevices(const replication::v1::DomainDescription& description) {
  if (absl::Status status = WriteConsole(*store_, ids(), description.console()); !status.ok()) return status;
  for (const replication::v1::Vif& vif : description.vifs()) {
    absl::StatusOr<std::unique_ptr<VifBackend>> backend = VifBackend::Create(*store_, *ports_, ids().domid, vif);
    if (!backend.ok()) return backend.status();
    vifs_.push_back(*std::move(backend));
  }
  return absl::OkStatus();
}

absl::Status XenStandbyGuest::Run(uint64_t store_mfn) {
  if (absl::Status status = domain_->Run(store_mfn); !status.ok()) return status;
  running_ = true;
  Announce();
  return absl::OkStatus();
}

bool XenStandbyGuest::AnnounceAgain() {
  // Asked first: an announcement is complete only where the port was connected before it.
  bool all_connected = true;
  for (const std::unique_ptr<VifBackend>& vif : vifs_) {
    const absl::StatusOr<bool> connected = vif->connected();
    all_connected = all_connected && connected.ok() && *connected;
  }
  Announce();
  return all_connected;
}

void XenStandbyGuest::Announce() {
  for (const std::unique_ptr<VifBackend>& vif : vifs_) {
    if (absl::Status status = vif->Announce(); !status.ok()) {
      LogWarning("can't announce ", vif->interface(), ": ", status.message());
    }
  }
}

absl::Status XenStandbyGuest::Destroy() {
  ROMULUS_CHECK(!running_);
  // All at once; what the listener does not manage in time goes with the domain's nodes.
  for (const std::unique_ptr<VifBackend>& vif : vifs_) {
    if (absl::Status status = vif->RequestRemoval(); !status.ok()) LogWarning(vif->interface(), ": ", status.message());
  }
  for (const std::unique_ptr<VifBackend>& vif : vifs_) {
    if (absl::Status status = vif->WaitUntilRemoved(); !status.ok()) {
      LogWarning(vif->interface(), " was not taken down in time: ", status.message());
    }
  }
  return domain_->Destroy();
}

}  // namespace romulus
