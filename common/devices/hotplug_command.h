#ifndef ROMULUS_COMMON_DEVICES_HOTPLUG_COMMAND_H_
#define ROMULUS_COMMON_DEVICES_HOTPLUG_COMMAND_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/devices/device_key.h"

namespace romulus {

// What a device's hotplug script is made from, as the backend's nodes have it.
struct HotplugNodes {
  std::string script;
  std::string type;        // vif: "vif" or "vif_ioemu"; empty: "vif".
  std::string gatewaydev;  // vif
};

// One call of a script, as libxl makes it (libxl_linux.c, 4.17).
struct HotplugCommand {
  std::string program;
  std::vector<std::string> arguments;
  std::vector<std::string> environment;  // "NAME=value"; nothing else is inherited.
};

// The calls that connect (`online`) or disconnect a vif or vbd, to be made one after the other. `has_tap`: the vif's
// emulated card has its interface in this domain ("vif7.0-emu"). INVALID_ARGUMENT: the nodes make no sense.
absl::StatusOr<std::vector<HotplugCommand>> HotplugCommands(const DeviceKey& device, const HotplugNodes& nodes,
                                                            bool online, bool has_tap);

// "vif7.0"; for the emulated card, "vif7.0-emu".
std::string VifInterface(const DeviceKey& vif);
std::string TapInterface(const DeviceKey& vif);

}  // namespace romulus

#endif  // ROMULUS_COMMON_DEVICES_HOTPLUG_COMMAND_H_
