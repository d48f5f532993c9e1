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
  guest->vifs_.emplace(*guest->store_, *guest->ports_);

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
  return vifs_->Create(description, ids().domid);
}

absl::Status XenStandbyGuest::Run(uint64_t store_mfn) {
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
