#include "common/devices/running_scripts.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace romulus {
namespace {

constexpr char kPathEntry[] = "XENBUS_PATH=backend/";
constexpr char kScriptEntry[] = "script=";
constexpr uint32_t kPidMax = 1 << 22;

std::string Content(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

}  // namespace

std::optional<DeviceKey> DeviceOfEnvironment(const std::string& environment) {
  std::optional<DeviceKey> device;
  bool is_script = false;
  for (const auto piece : absl::StrSplit(environment, '\0')) {
    const std::string entry(piece);
    if (entry.rfind(kScriptEntry, 0) == 0) is_script = true;
    if (entry.rfind(kPathEntry, 0) != 0) continue;
    // Relative to the domain's own directory: that of any will do to parse it.
    const std::string root = BackendRoot(0);
    device = ParseBackendPath(root, absl::StrCat(root, "/", entry.substr(sizeof(kPathEntry) - 1))).device;
  }
  return is_script ? device : std::nullopt;
}

std::map<DeviceKey, RunningScript> FindRunningScripts() {
  std::map<DeviceKey, RunningScript> found;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", error)) {
    const std::optional<uint32_t> pid = ParseId(entry.path().filename(), kPidMax);
    // What a script calls has its environment, too, but is not a leader.
    if (!pid.has_value() || *pid == 0 || getsid(*pid) != static_cast<pid_t>(*pid)) continue;
    UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, static_cast<pid_t>(*pid), 0)));
    if (!pidfd.valid()) continue;
    const std::optional<DeviceKey> device = DeviceOfEnvironment(Content(absl::StrCat("/proc/", *pid, "/environ")));
    if (device.has_value()) found[*device] = RunningScript{static_cast<pid_t>(*pid), std::move(pidfd)};
  }
  return found;
}

}  // namespace romulus
