#ifndef ROMULUS_COMMON_DEVICES_DEVICE_NODES_H_
#define ROMULUS_COMMON_DEVICES_DEVICE_NODES_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "common/xen/xenstore.h"

namespace romulus {

// Where a paravirtual device of a domain lives in xenstore, with its backend in this host (domain 0).
struct BackendDevice {
  std::string kind;  // "vif", "console", "vbd"
  uint32_t domid = 0;
  uint32_t device_id = 0;

  std::string backend_path() const;
  // The first console's is not below device/.
  std::string frontend_path() const;
  // libxl's own copy, which no guest can write and which `xl` relies on.
  std::string libxl_path() const;
};

using NodeValues = std::vector<std::pair<std::string, std::string>>;

// Writes a device's nodes with their permissions as libxl does (libxl_device.c, libxl__device_generic_add, 4.17):
// `backend` on both the backend's and libxl's path, `frontend` owned by the guest, `frontend_read_only` by this host.
// One transaction.
absl::Status WriteBackendDevice(Xenstore& store, const BackendDevice& device, const NodeValues& backend,
                                const NodeValues& frontend, const NodeValues& frontend_read_only);

// Asks for the removal of a device whose frontend does not run (a standby's): `online` 0, `state` Closing, and the
// frontend's nodes taken away, so that the driver does not wait for it. What follows is its listener's; the backend's
// nodes go last. One transaction. OK if it is not there.
absl::Status RequestBackendRemoval(Xenstore& store, const BackendDevice& device);

}  // namespace romulus

#endif  // ROMULUS_COMMON_DEVICES_DEVICE_NODES_H_
