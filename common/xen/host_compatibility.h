#ifndef ROMULUS_COMMON_XEN_HOST_COMPATIBILITY_H_
#define ROMULUS_COMMON_XEN_HOST_COMPATIBILITY_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/xen/handles.h"
#include "proto/replication/v1/domain.pb.h"

namespace romulus {

// What this host says of itself when a session opens.
absl::StatusOr<replication::v1::HostCompatibility> ReadHostCompatibility(xc_interface* xc);

// Whether a PVH or HVM guest of `primary` can go on on `secondary`: pure. FAILED_PRECONDITION says what differs and
// what to do. Xen restores a guest only on the same or a newer version; a CPU feature that the guest may have seen must
// be there.
absl::Status CheckCompatible(const replication::v1::HostCompatibility& primary,
                             const replication::v1::HostCompatibility& secondary);

}  // namespace romulus

#endif  // ROMULUS_COMMON_XEN_HOST_COMPATIBILITY_H_
