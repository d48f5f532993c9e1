#include "common/devices/netlink_vif_connector.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/log.h"

namespace romulus {
namespace {

constexpr char kHooksDirectory[] = "/etc/xen/scripts/vif-post.d";
constexpr char kOurHook[] = "romulus.hook";  // Does what Connect does besides.

// As the scripts look for them: executable files of this name's form.
bool HasOtherHooks() {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(kHooksDirectory, error)) {
    const std::string name = entry.path().filename();
    if (name != kOurHook && entry.path().extension() == ".hook" && access(entry.path().c_str(), X_OK) == 0) {
      return true;
    }
  }
  return false;
}

bool BridgesPassThroughIptables() {
  std::ifstream setting("/proc/sys/net/bridge/bridge-nf-call-iptables");
  int value = 0;
  return setting >> value && value != 0;
}

}  // namespace

absl::StatusOr<std::unique_ptr<NetlinkVifConnector>> NetlinkVifConnector::Open(uint32_t backend_domid) {
  absl::StatusOr<std::unique_ptr<Xenstore>> store = Xenstore::Open();
  if (!store.ok()) return store.status();
  absl::StatusOr<std::unique_ptr<BridgePorts>> ports = BridgePorts::Open();
  if (!ports.ok()) return ports.status();
  return std::unique_ptr<NetlinkVifConnector>(
      new NetlinkVifConnector(backend_domid, *std::move(store), *std::move(ports)));
}

NetlinkVifConnector::NetlinkVifConnector(uint32_t backend_domid, std::unique_ptr<Xenstore> store,
                                         std::unique_ptr<BridgePorts> ports)
    : backend_domid_(backend_domid), store_(std::move(store)), ports_(std::move(ports)) {}

absl::StatusOr<std::string> NetlinkVifConnector::Node(const DeviceKey& vif, const char* name) {
  return store_->ReadOr(absl::StrCat(BackendPath(backend_domid_, vif), "/", name), "");
}

std::string NetlinkVifConnector::ReasonForScript(const HotplugNodes& nodes, const std::string& addresses) {
  if (nodes.script.substr(nodes.script.rfind('/') + 1) != "vif-bridge") return "it is not vif-bridge";
  if (!nodes.type.empty() && nodes.type != "vif") return "the interface is also an emulated card's";
  if (!addresses.empty()) return "the vif is restricted to IP addresses";
  if (BridgesPassThroughIptables()) return "bridged packets pass through iptables here";
  if (HasOtherHooks()) return "there are hooks in vif-post.d";
  return "";
}

bool NetlinkVifConnector::Serves(const DeviceKey& vif, const HotplugNodes& nodes) {
  const absl::StatusOr<std::string> addresses = Node(vif, "ip");
  const absl::StatusOr<std::string> bridge = Node(vif, "bridge");
  // Without a bridge the script looks for one.
  return addresses.ok() && bridge.ok() && !bridge->empty() && ReasonForScript(nodes, *addresses).empty();
}

absl::Status NetlinkVifConnector::Connect(const DeviceKey& vif) {
  const absl::StatusOr<std::string> bridge = Node(vif, "bridge");
  if (!bridge.ok()) return bridge.status();
  const absl::StatusOr<std::string> name = Node(vif, "vifname");
  if (!name.ok()) return name.status();
  const absl::StatusOr<std::string> mtu_text = Node(vif, "mtu");
  if (!mtu_text.ok()) return mtu_text.status();
  uint32_t mtu = 0;
  if (!mtu_text->empty() && !absl::SimpleAtoi(*mtu_text, &mtu)) {
    return absl::InvalidArgumentError(absl::StrCat("'", *mtu_text, "' is no MTU"));
  }
  const std::string interface = VifInterface(vif);
  const absl::StatusOr<BridgePorts::Port> port =
      ports_->Join(interface, name->empty() ? interface : *name, *bridge, mtu);
  if (!port.ok()) return port.status();
  // Neither is worth the guest's network.
  if (absl::Status status = ports_->AddClsact(port->interface_index); !status.ok()) {
    LogWarning(interface, ": ", status.message(),
               ": what is on its way to the guest may be lost when its protection begins");
  }
  absl::Status told = store_->Write(absl::StrCat(FrontendPath(vif), "/mtu"), absl::StrCat(port->mtu));
  if (!told.ok()) LogWarning(interface, ": the guest will not know its MTU: ", told.message());
  return absl::OkStatus();
}

}  // namespace romulus
