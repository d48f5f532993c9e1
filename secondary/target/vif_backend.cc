#include "secondary/target/vif_backend.h"

#include <dirent.h>
#include <stdlib.h>

#include <fstream>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "common/base/log.h"
#include "secondary/target/announcer.h"
#include "secondary/target/backend_device.h"
#include "secondary/target/hotplug_script.h"
#include "secondary/target/wait_for_node.h"

namespace romulus {
namespace {

constexpr absl::Duration kBackendTimeout = absl::Seconds(10);  // As libxl waits.
constexpr absl::Duration kInterfacePoll = absl::Milliseconds(5);
constexpr absl::Duration kScriptTimeout = absl::Seconds(40);  // LIBXL_HOTPLUG_TIMEOUT
constexpr char kDefaultMtu[] = "1492";                        // LIBXL_DEVICE_NIC_MTU_DEFAULT
constexpr char kDefaultScript[] = "/etc/xen/scripts/vif-bridge";
constexpr char kHooksDirectory[] = "/etc/xen/scripts/vif-post.d";

BackendDevice DeviceOf(uint32_t domid, const replication::v1::Vif& vif) {
  return {.kind = "vif", .domid = domid, .device_id = vif.device_id()};
}

bool HasEntries(const char* directory) {
  DIR* opened = opendir(directory);
  if (opened == nullptr) return false;
  bool any = false;
  while (const dirent* entry = readdir(opened)) any = any || entry->d_name[0] != '.';
  closedir(opened);
  return any;
}

bool BridgesPassThroughIptables() {
  std::ifstream setting("/proc/sys/net/bridge/bridge-nf-call-iptables");
  int value = 0;
  return setting >> value && value != 0;
}

std::string Entry(const replication::v1::Vif& vif, const std::string& key) {
  const auto found = vif.backend_entries().find(key);
  return found == vif.backend_entries().end() ? "" : found->second;
}

}  // namespace

std::string ReasonForVifScript(const replication::v1::Vif& vif) {
  const std::string name = vif.script().substr(vif.script().rfind('/') + 1);
  if (!name.empty() && name != "vif-bridge") return "it is not vif-bridge";
  if (!Entry(vif, "ip").empty()) return "the vif is restricted to IP addresses";
  if (BridgesPassThroughIptables()) return "bridged packets pass through iptables here";
  if (HasEntries(kHooksDirectory)) return "there are hooks in vif-post.d";
  return "";
}

absl::StatusOr<std::unique_ptr<VifBackend>> VifBackend::Create(Xenstore& store, BridgePorts& ports, uint32_t domid,
                                                               const replication::v1::Vif& vif) {
  const absl::StatusOr<MacAddress> mac = ParseMacAddress(vif.mac());
  if (!mac.ok()) return mac.status();
  if (vif.bridge().empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("vif ", vif.device_id(), " names no bridge: only bridged interfaces can move to another host"));
  }
  const absl::StatusOr<int> bridge = ports.InterfaceIndex(vif.bridge());
  if (!bridge.ok()) {
    return absl::FailedPreconditionError(
        absl::StrCat("the guest's bridge ", vif.bridge(), " does not exist on this host: create it"));
  }
  std::unique_ptr<VifBackend> backend(new VifBackend(store, ports, domid, vif));
  backend->bridge_index_ = *bridge;
  backend->announcement_ = AnnouncementFrames(*mac, absl::StrSplit(Entry(vif, "ip"), ' ', absl::SkipEmpty()));
  if (absl::Status status = backend->WriteNodes(); !status.ok()) return status;
  absl::Status status = WaitForNode(
      store, absl::StrCat(backend->backend_path_, "/state"),
      [](const std::string& state) { return state == kStateInitWait; }, kBackendTimeout);
  if (absl::IsDeadlineExceeded(status)) {
    return absl::FailedPreconditionError(absl::StrCat("this host's network backend does not take up ",
                                                      backend->kernel_name_, " (", status.message(),
                                                      "): load the kernel module xen-netback"));
  }
  if (!status.ok()) return status;
  // netback says InitWait before it has registered its interface.
  if (status = backend->WaitForInterface(); !status.ok()) return status;
  status = ReasonForVifScript(vif).empty() ? backend->ConnectByNetlink() : backend->ConnectByScript();
  if (!status.ok()) return status;
  return backend;
}

VifBackend::VifBackend(Xenstore& store, BridgePorts& ports, uint32_t domid, const replication::v1::Vif& vif)
    : store_(store),
      ports_(ports),
      domid_(domid),
      vif_(vif),
      script_(vif.script().empty() ? kDefaultScript : vif.script()),
      backend_path_(DeviceOf(domid, vif).backend_path()),
      kernel_name_(absl::StrCat("vif", domid, ".", vif.device_id())),
      interface_(vif.name().empty() ? kernel_name_ : vif.name()) {}

absl::Status VifBackend::WriteNodes() {
  NodeValues backend = {{"frontend-id", absl::StrCat(domid_)}, {"online", "1"}, {"state", kStateInitialising}};
  // netback refuses a device without one, whoever is to run it.
  backend.emplace_back("script", script_);
  if (!vif_.name().empty()) backend.emplace_back("vifname", vif_.name());
  backend.emplace_back("mac", vif_.mac());
  // The only further nodes that libxl writes for a bridged interface; all others are the backend's own.
  for (const char* key : {"ip", "gatewaydev", "rate", "mtu"}) {
    if (const std::string value = Entry(vif_, key); !value.empty()) backend.emplace_back(key, value);
  }
  backend.emplace_back("bridge", vif_.bridge());
  backend.emplace_back("handle", absl::StrCat(vif_.device_id()));
  backend.emplace_back("type", vif_.type().empty() ? "vif" : vif_.type());
  // Keeps netback from connecting before the interface is where it belongs.
  backend.emplace_back("hotplug-status", "");
  const std::string trusted = Entry(vif_, "trusted");
  const std::string mtu = Entry(vif_, "mtu");
  return WriteBackendDevice(store_, DeviceOf(domid_, vif_), backend,
                            {{"backend-id", "0"},
                             {"state", kStateInitialising},
                             {"handle", absl::StrCat(vif_.device_id())},
                             {"mac", vif_.mac()},
                             {"trusted", trusted.empty() ? "1" : trusted}},
                            {{"mtu", mtu.empty() ? kDefaultMtu : mtu}});
}

absl::Status VifBackend::WaitForInterface() {
  for (absl::Duration waited; waited < kBackendTimeout; waited += kInterfacePoll) {
    const absl::StatusOr<int> index = ports_.InterfaceIndex(kernel_name_);
    if (!absl::IsNotFound(index.status())) return index.status();
    absl::SleepFor(kInterfacePoll);
  }
  // Where a backend driver says what it did not like (xenbus_dev_fatal).
  const absl::StatusOr<std::string> why =
      store_.ReadOr(absl::StrCat("/local/domain/0/error/backend/vif/", domid_, "/", vif_.device_id(), "/error"), "");
  return absl::FailedPreconditionError(absl::StrCat("network interface ", kernel_name_, " has not appeared within ",
                                                    absl::FormatDuration(kBackendTimeout), ": ",
                                                    why.ok() && !why->empty() ? *why : "see the kernel's log"));
}

absl::Status VifBackend::ConnectByNetlink() {
  uint32_t mtu = 0;
  if (const std::string text = Entry(vif_, "mtu"); !text.empty() && !absl::SimpleAtoi(text, &mtu)) {
    return absl::InvalidArgumentError(absl::StrCat("vif ", vif_.device_id(), ": '", text, "' is no MTU"));
  }
  const absl::StatusOr<BridgePorts::Port> port = ports_.Join(kernel_name_, interface_, vif_.bridge(), mtu);
  if (!port.ok()) return port.status();
  port_index_ = port->interface_index;
  absl::Status status =
      store_.Write(absl::StrCat(DeviceOf(domid_, vif_).frontend_path(), "/mtu"), absl::StrCat(port->mtu));
  if (!status.ok()) return status;
  return store_.Write(absl::StrCat(backend_path_, "/hotplug-status"), "connected");
}

absl::Status VifBackend::ConnectByScript() {
  by_script_ = true;
  if (absl::Status status = RunScript("online"); !status.ok()) {
    const absl::StatusOr<std::string> why = store_.ReadOr(absl::StrCat(backend_path_, "/hotplug-error"), "");
    return absl::FailedPreconditionError(absl::StrCat("vif ", vif_.device_id(), ": ", status.message(),
                                                      why.ok() && !why->empty() ? absl::StrCat(": ", *why) : ""));
  }
  absl::Status status = WaitForNode(
      store_, absl::StrCat(backend_path_, "/hotplug-status"),
      [](const std::string& value) { return value == "connected"; }, absl::Seconds(1));
  if (!status.ok()) return status;
  // A script may have left the interface out of any bridge; then there is nothing to point at it.
  if (const absl::StatusOr<int> index = ports_.InterfaceIndex(interface_); index.ok()) port_index_ = *index;
  return absl::OkStatus();
}

absl::Status VifBackend::RunScript(const std::string& action) {
  return RunHotplugScript(script_, {action, "type_if=vif"},
                          {absl::StrCat("script=", script_), "XENBUS_TYPE=vif",
                           absl::StrCat("XENBUS_PATH=backend/vif/", domid_, "/", vif_.device_id()),
                           "XENBUS_BASE_PATH=backend", "netdev=", absl::StrCat("vif=", kernel_name_)},
                          kScriptTimeout);
}

void VifBackend::TearDown() {
  if (!by_script_) return;
  // The interface goes with its backend in any case.
  if (absl::Status status = RunScript("offline"); !status.ok()) LogWarning(interface_, ": ", status.message());
}

absl::Status VifBackend::Announce() {
  if (absl::Status status = SendFrames(bridge_index_, announcement_); !status.ok()) return status;
  if (port_index_ == 0) return absl::OkStatus();
  absl::Status learned = ports_.LearnAddress(port_index_, vif_.mac());
  return absl::IsFailedPrecondition(learned) ? absl::OkStatus() : learned;
}

absl::StatusOr<bool> VifBackend::connected() const {
  const absl::StatusOr<std::string> state = store_.Read(absl::StrCat(backend_path_, "/state"));
  if (!state.ok()) return state.status();
  return *state == kStateConnected;
}

}  // namespace romulus
