#ifndef ROMULUS_COMMON_XEN_HOST_REPORT_H_
#define ROMULUS_COMMON_XEN_HOST_REPORT_H_

#include "absl/status/statusor.h"
#include "common/xen/handles.h"
#include "proto/control/v1/host_service.pb.h"

namespace romulus {

// What HostService.GetHost tells, of this host as it is now. On any thread.
absl::StatusOr<control::v1::Host> ReportHost(control::v1::Host::Role role);

}  // namespace romulus

#endif  // ROMULUS_COMMON_XEN_HOST_REPORT_H_
