#ifndef ROMULUS_COMMON_XEN_CONTROL_H_
#define ROMULUS_COMMON_XEN_CONTROL_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/xen/handles.h"

namespace romulus {

// Opens the hypervisor's control interface (/dev/xen/privcmd). `logger` takes libxc's own lines; null: they go to
// stderr. FAILED_PRECONDITION where this is no Xen dom0, PERMISSION_DENIED without root.
absl::StatusOr<XcInterface> OpenXenControl(xentoollog_logger* logger);

// Opens /dev/xen/evtchn. As above.
absl::StatusOr<EventChannelHandle> OpenEventChannels(xentoollog_logger* logger);

// A failed libxc call as a Status: "<what> (domain 7): Invalid argument (errno 22)". Call it before errno changes.
// ESRCH, which libxc gives for a domain that does not exist, becomes NOT_FOUND.
absl::Status XenCallError(const std::string& what, uint32_t domid, int error);

}  // namespace romulus

#endif  // ROMULUS_COMMON_XEN_CONTROL_H_
