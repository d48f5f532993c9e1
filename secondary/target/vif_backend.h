#ifndef ROMULUS_SECONDARY_TARGET_VIF_BACKEND_H_
#define ROMULUS_SECONDARY_TARGET_VIF_BACKEND_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/devices/bridge_port.h"
#include "common/devices/device_nodes.h"
#include "common/xen/xenstore.h"
#include "proto/replication/v1/domain.pb.h"

namespace romulus {

// The backend of one of a standby's network interfaces, made while the standby waits: netback creates its interface as
// soon as the nodes are there, the agent's BackendListener connects that, and netback waits (InitWait) for a frontend;
// until then the port has no carrier. What is left for the failover is the guest's own: its netfront finds the backend
// waiting and connects.
// Blocking; one thread at a time.
class VifBackend {
 public:
  // The domain carries the agent's mark (agent_mark.h), and a listener for marked domains runs. FAILED_PRECONDITION: no
  // netback, no bridge, no script, or one of them does not answer in time. `store` and `ports` outlive the VifBackend.
  static absl::StatusOr<std::unique_ptr<VifBackend>> Create(Xenstore& store, BridgePorts& ports, uint32_t domid,
                                                            const replication::v1::Vif& vif);

  // Takes the interface out of its bridge, so that nothing passes from one to the other, and back in. LeaveBridge's
  // FAILED_PRECONDITION: it is in no Linux bridge. JoinBridge without LeaveBridge does nothing.
  absl::Status LeaveBridge();
  absl::Status JoinBridge();

  // Of a standby that will never run. The listener takes the interface down and the nodes away; WaitUntilRemoved waits
  // for that, with a limit (DEADLINE_EXCEEDED).
  absl::Status RequestRemoval();
  absl::Status WaitUntilRemoved();

  // Announces the guest's MAC to the network behind the bridge and points the bridge at the port. The latter needs the
  // frontend to be connected: to be repeated until (and after) `connected`.
  absl::Status Announce();
  absl::StatusOr<bool> connected() const;

  // Of the interface, "vif7.0" or the guest's own choice.
  const std::string& interface() const { return interface_; }

 private:
  VifBackend(Xenstore& store, BridgePorts& ports, uint32_t domid, const replication::v1::Vif& vif);
  absl::Status WriteNodes();
  absl::Status WaitUntilConnected();
  std::string DriversComplaint() const;

  Xenstore& store_;
  BridgePorts& ports_;
  const uint32_t domid_;
  const replication::v1::Vif vif_;
  const std::string script_;
  const std::string backend_path_;
  const std::string kernel_name_;
  const std::string interface_;
  int bridge_index_ = 0;
  int port_index_ = 0;
  bool out_of_bridge_ = false;
  std::vector<std::string> announcement_;
};

}  // namespace romulus

#endif  // ROMULUS_SECONDARY_TARGET_VIF_BACKEND_H_
