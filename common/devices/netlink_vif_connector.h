#ifndef ROMULUS_COMMON_DEVICES_NETLINK_VIF_CONNECTOR_H_
#define ROMULUS_COMMON_DEVICES_NETLINK_VIF_CONNECTOR_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/devices/backend_listener.h"
#include "common/devices/bridge_port.h"
#include "common/xen/xenstore.h"

namespace romulus {

// Does over netlink what Xen's vif-bridge script does, in some milliseconds instead of seconds, where the script would
// do no more than that; gives the interface a clsact qdisc besides (BridgePorts::AddClsact), as Romulus' hook does
// where the script runs.
class NetlinkVifConnector final : public VifConnector {
 public:
  // `backend_domid`: this domain.
  static absl::StatusOr<std::unique_ptr<NetlinkVifConnector>> Open(uint32_t backend_domid);

  bool Serves(const DeviceKey& vif, const HotplugNodes& nodes) override;
  absl::Status Connect(const DeviceKey& vif) override;

  // Why the script is needed all the same; "" if it is not. `addresses`: the vif's node `ip`.
  static std::string ReasonForScript(const HotplugNodes& nodes, const std::string& addresses);

 private:
  NetlinkVifConnector(uint32_t backend_domid, std::unique_ptr<Xenstore> store, std::unique_ptr<BridgePorts> ports);
  absl::StatusOr<std::string> Node(const DeviceKey& vif, const char* name);

  const uint32_t backend_domid_;
  const std::unique_ptr<Xenstore> store_;
  const std::unique_ptr<BridgePorts> ports_;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_DEVICES_NETLINK_VIF_CONNECTOR_H_
