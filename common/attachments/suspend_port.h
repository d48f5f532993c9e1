#ifndef ROMULUS_COMMON_ATTACHMENTS_SUSPEND_PORT_H_
#define ROMULUS_COMMON_ATTACHMENTS_SUSPEND_PORT_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "common/xen/xenstore.h"

namespace romulus {

// Where the number of the guest's event channel stands over which the hypervisor says that the guest has suspended: in
// libxl's part of xenstore, where no guest can write, and which goes with the domain.
std::string SuspendPortPath(uint32_t domid);

// None: it has never had one.
absl::StatusOr<std::optional<uint32_t>> ReadSuspendPort(const XenstoreAccess& store, uint32_t domid);

}  // namespace romulus

#endif  // ROMULUS_COMMON_ATTACHMENTS_SUSPEND_PORT_H_
