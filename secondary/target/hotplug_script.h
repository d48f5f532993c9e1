#ifndef ROMULUS_SECONDARY_TARGET_HOTPLUG_SCRIPT_H_
#define ROMULUS_SECONDARY_TARGET_HOTPLUG_SCRIPT_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace romulus {

// Runs a hotplug script as libxl does (libxl_linux.c, libxl__hotplug_nic, 4.17): `arguments` after the script's name,
// `environment` ("NAME=value") on top of PATH. Blocks; after `timeout` the script's process group is killed.
// FAILED_PRECONDITION: it is not there or not executable. INTERNAL: how it ended.
absl::Status RunHotplugScript(const std::string& script, const std::vector<std::string>& arguments,
                              const std::vector<std::string>& environment, absl::Duration timeout);

}  // namespace romulus

#endif  // ROMULUS_SECONDARY_TARGET_HOTPLUG_SCRIPT_H_
