#include "secondary/target/xen_standby_guest.h"

#include <string>
#include <utility>

#include "common/base/log.h"
#include "common/xen/control.h"
#include "common/xen/tool_logger.h"
#include "secondary/target/console_backend.h"

namespace romulus {

absl::StatusOr<std::unique_ptr<StandbyGuest>> XenStandbyGuest::Create(
    const replication::v1::DomainDescription& description, bool lockstep) {
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
  guest->vifs_.emplace(*guest->store_, *guest->ports_);

  absl::StatusOr<std::unique_ptr<StandbyDomain>> domain =
      StandbyDomain::Create(guest->xc_.get(), *guest->store_, description, lockstep);
  if (!domain.ok()) return domain.status();
  guest->domain_ = *std::move(domain);
  if (absl::Status status = guest->CreateDevices(description, lockstep); !status.ok()) {
    if (absl::Status destroyed = guest->Destroy(); !destroyed.ok()) LogError(destroyed.message());
    return status;
  }
  return guest;
}

absl::Status XenStandbyGuest::CreateDevices(const replication::v1::DomainDescription& description, bool lockstep) {
  if (absl::Status status = WriteConsole(*store_, ids(), description.console()); !status.ok()) return status;
  if (absl::Status status = vifs_->Create(description, ids().domid); !status.ok()) return status;
  // What the guest sends while it runs along must not reach the network, nor what is in the network it.
  return lockstep ? vifs_->LeaveBridges() : absl::OkStatus();
}

absl::Status XenStandbyGuest::TakeOver() {
  if (absl::Status status = domain_->BecomeGuest(); !status.ok()) {
    if (absl::Status halted = domain_->Halt(); !halted.ok()) LogError(halted.message());
    return status;
  }
  running_ = true;
  // If this fails, the guest runs without its network: better than not at all, and it can be joined by hand.
  if (absl::Status status = vifs_->JoinBridges(); !status.ok()) LogError(status.message());
  vifs_->Announce();
  return absl::OkStatus();
}

absl::Status XenStandbyGuest::Run(uint64_t store_mfn) {
  if (absl::Status status = vifs_->JoinBridges(); !status.ok()) return status;
  if (absl::Status status = domain_->Run(store_mfn); !status.ok()) return status;
  running_ = true;
  vifs_->Announce();
  return absl::OkStatus();
}

absl::Status XenStandbyGuest::Destroy() {
  ROMULUS_CHECK(!running_);
  vifs_->TakeDown();
  return domain_->Destroy();
}

}  // namespace romulus
