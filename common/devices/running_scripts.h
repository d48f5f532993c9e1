#ifndef ROMULUS_COMMON_DEVICES_RUNNING_SCRIPTS_H_
#define ROMULUS_COMMON_DEVICES_RUNNING_SCRIPTS_H_

#include <sys/types.h>

#include <map>
#include <optional>
#include <string>

#include "common/base/unique_fd.h"
#include "common/devices/device_key.h"

namespace romulus {

// A hotplug script that runs, but is not this process' child.
struct RunningScript {
  pid_t pid = 0;   // Leader of a session of its own.
  UniqueFd pidfd;  // Readable when it has ended.
};

// What a listener that died has left running: its scripts go on by themselves, and to call another one for the same
// device before they have ended would connect it twice. Known by their environment. Looks through /proc once.
std::map<DeviceKey, RunningScript> FindRunningScripts();

// The device that a process with this environment (/proc/PID/environ: NUL after each entry) is a script for.
std::optional<DeviceKey> DeviceOfEnvironment(const std::string& environment);

}  // namespace romulus

#endif  // ROMULUS_COMMON_DEVICES_RUNNING_SCRIPTS_H_
