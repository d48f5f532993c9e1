#include "secondary/target/vif_backend.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/devices/wait_for_node.h"
#include "common/devices/xenbus_state.h"
#include "secondary/target/announcer.h"

namespace romulus {
namespace {

constexpr absl::Duration kBackendTimeout = absl::Seconds(10);  // As libxl waits.
// For the listener: its script may take 40 s.
constexpr absl::Duration kConnectTimeout = absl::Seconds(55);
constexpr absl::Duration kRemovalTimeout = absl::Seconds(30);
constexpr char kDefaultMtu[] = "1492";  // LIBXL_DEVICE_NIC_MTU_DEFAULT
constexpr char kDefaultScript[] = "/etc/xen/scripts/vif-bridge";

BackendDevice DeviceOf(uint32_t domid, const replication::v1::Vif& vif) {
  return {.kind = "vif", .domid = domid, .device_id = vif.device_id()};
}

std::string Entry(const replication::v1::Vif& vif, const std::string& key) {
  const auto found = vif.backend_entries().find(key);
  return found == vif.backend_entries().end() ? "" : found->second;
}

}  // namespace

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
  if (absl::Status status = backend->WaitUntilConnected(); !status.ok()) return status;
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
  NodeValues backend = {
      {"frontend-id", absl::StrCat(domid_)}, {"online", "1"}, {"state", FormatXenbusState(XenbusState::kInitialising)}};
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
  // Keeps netback from connecting before the interface is where it belongs; the listener writes `connected` then.
  backend.emplace_back("hotplug-status", "");
  const std::string trusted = Entry(vif_, "trusted");
  const std::string mtu = Entry(vif_, "mtu");
  return WriteBackendDevice(store_, DeviceOf(domid_, vif_), backend,
                            {{"backend-id", "0"},
                             {"state", FormatXenbusState(XenbusState::kInitialising)},
                             {"handle", absl::StrCat(vif_.device_id())},
                             {"mac", vif_.mac()},
                             {"trusted", trusted.empty() ? "1" : trusted}},
                            {{"mtu", mtu.empty() ? kDefaultMtu : mtu}});
}

absl::Status VifBackend::WaitUntilConnected() {
  absl::Status status = WaitForNode(
      store_, absl::StrCat(backend_path_, "/state"),
      [](const std::string& state) { return ParseXenbusState(state) == XenbusState::kInitWait; }, kBackendTimeout);
  if (absl::IsDeadlineExceeded(status)) {
    return absl::FailedPreconditionError(absl::StrCat("this host's network backend does not take up ", kernel_name_,
                                                      " (", status.message(), "): ", DriversComplaint()));
  }
  if (!status.ok()) return status;
  status = WaitForNode(
      store_, absl::StrCat(backend_path_, "/hotplug-status"),
      [](const std::string& value) { return value == "connected" || value == "error"; }, kConnectTimeout);
  if (absl::IsDeadlineExceeded(status)) {
    return absl::FailedPreconditionError(
        absl::StrCat(interface_, " was not connected in time: ", status.message(), ": ", DriversComplaint()));
  }
  if (!status.ok()) return status;
  const absl::StatusOr<std::string> outcome = store_.Read(absl::StrCat(backend_path_, "/hotplug-status"));
  if (!outcome.ok()) return outcome.status();
  if (*outcome == "error") {
    const absl::StatusOr<std::string> why = store_.ReadOr(absl::StrCat(backend_path_, "/hotplug-error"), "");
    return absl::FailedPreconditionError(
        absl::StrCat(interface_, " can't be connected: ", why.ok() && !why->empty() ? *why : "see the agent's log"));
  }
  // A script may have left the interface out of any bridge; then there is nothing to point at it.
  if (const absl::StatusOr<int> index = ports_.InterfaceIndex(interface_); index.ok()) port_index_ = *index;
  return absl::OkStatus();
}

std::string VifBackend::DriversComplaint() const {
  // Where a backend driver says what it did not like (xenbus_dev_fatal).
  const absl::StatusOr<std::string> why =
      store_.ReadOr(absl::StrCat("/local/domain/0/error/backend/vif/", domid_, "/", vif_.device_id(), "/error"), "");
  return why.ok() && !why->empty() ? *why : "is the kernel module xen-netback loaded? The kernel's log may say more";
}

absl::Status VifBackend::LeaveBridge() {
  if (port_index_ == 0) {
    return absl::FailedPreconditionError(
        absl::StrCat(interface_,
                     " is not joined to a Linux bridge, which lockstep needs: put it on one (`bridge=` in the "
                     "guest's configuration), or protect it in stream mode REMUS"));
  }
  if (absl::Status status = ports_.Leave(port_index_); !status.ok()) return status;
  out_of_bridge_ = true;
  return absl::OkStatus();
}

absl::Status VifBackend::JoinBridge() {
  if (!out_of_bridge_) return absl::OkStatus();
  if (absl::Status status = ports_.Rejoin(port_index_, bridge_index_); !status.ok()) return status;
  out_of_bridge_ = false;
  return absl::OkStatus();
}

absl::Status VifBackend::RequestRemoval() { return RequestBackendRemoval(store_, DeviceOf(domid_, vif_)); }

absl::Status VifBackend::WaitUntilRemoved() {
  return WaitForNode(
      store_, absl::StrCat(backend_path_, "/state"), [](const std::string& state) { return state.empty(); },
      kRemovalTimeout);
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
  return ParseXenbusState(*state) == XenbusState::kConnected;
}

}  // namespace romulus
