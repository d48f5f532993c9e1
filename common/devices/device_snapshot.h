#ifndef ROMULUS_COMMON_DEVICES_DEVICE_SNAPSHOT_H_
#define ROMULUS_COMMON_DEVICES_DEVICE_SNAPSHOT_H_

#include <optional>
#include <string>

#include "common/devices/device_key.h"
#include "common/devices/xenbus_state.h"

namespace romulus {

// Whose job a device is.
enum class DeviceOwner {
  kOthers,  // libxl's, or another agent's: listed, never touched.
  kOurs,    // To be connected and taken down here.
  // To be connected here; its domain is one that `xl destroy` takes down, scripts included. Only what that leaves
  // behind is cleaned up here.
  kOursToConnect,
};

// What xenstore says about a backend at one moment.
struct DeviceSnapshot {
  DeviceKey device;
  // It has a node `state`.
  bool exists = false;
  // None: the node is missing or makes no sense.
  std::optional<XenbusState> state;
  std::optional<bool> online;
  // Its nodes `frontend` and `frontend-id` are those that belong to its place below backend/.
  bool frontend_fits = false;
  DeviceOwner owner = DeviceOwner::kOthers;
  std::string hotplug_status;
  std::string hotplug_error;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_DEVICES_DEVICE_SNAPSHOT_H_
