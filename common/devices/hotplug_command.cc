#include "common/devices/hotplug_command.h"

#include "absl/strings/str_cat.h"

namespace romulus {
namespace {

bool IsPath(const std::string& text) { return text.size() > 1 && text[0] == '/' && text.find('\0') == text.npos; }

}  // namespace

std::string VifInterface(const DeviceKey& vif) { return absl::StrCat("vif", vif.domid, ".", vif.device_id); }
std::string TapInterface(const DeviceKey& vif) { return absl::StrCat(VifInterface(vif), "-emu"); }

absl::StatusOr<std::vector<HotplugCommand>> HotplugCommands(const DeviceKey& device, const HotplugNodes& nodes,
                                                            bool online, bool has_tap) {
  if (!IsPath(nodes.script)) {
    return absl::InvalidArgumentError(
        absl::StrCat("backend ", FormatDevice(device), ": its node script is '", nodes.script, "', not a path"));
  }
  if (nodes.gatewaydev.find('\0') != std::string::npos) {
    return absl::InvalidArgumentError(
        absl::StrCat("backend ", FormatDevice(device), ": its gatewaydev makes no sense"));
  }
  HotplugCommand command;
  command.program = nodes.script;
  command.environment = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                         absl::StrCat("script=", nodes.script),
                         absl::StrCat("XENBUS_TYPE=", BackendKindName(device.kind)),
                         absl::StrCat("XENBUS_PATH=backend/", FormatDevice(device)), "XENBUS_BASE_PATH=backend"};
  if (device.kind == DeviceKind::kVbd) {
    command.arguments = {online ? "add" : "remove"};
    return std::vector<HotplugCommand>{command};
  }
  if (device.kind != DeviceKind::kVif || (!nodes.type.empty() && nodes.type != "vif" && nodes.type != "vif_ioemu")) {
    return absl::InvalidArgumentError(
        absl::StrCat("backend ", FormatDevice(device), ": no script is known for type '", nodes.type, "'"));
  }
  const bool emulated = nodes.type == "vif_ioemu";
  command.environment.push_back(absl::StrCat("netdev=", nodes.gatewaydev));
  if (emulated) command.environment.push_back(absl::StrCat("INTERFACE=", TapInterface(device)));
  command.environment.push_back(absl::StrCat("vif=", VifInterface(device)));
  command.arguments = {online ? "online" : "offline", "type_if=vif"};
  std::vector<HotplugCommand> commands = {command};
  if (emulated && has_tap) {
    command.arguments = {online ? "add" : "remove", "type_if=tap"};
    commands.push_back(command);
  }
  return commands;
}

}  // namespace romulus
