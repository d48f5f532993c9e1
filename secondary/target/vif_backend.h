#ifndef ROMULUS_SECONDARY_TARGET_VIF_BACKEND_H_
#define ROMULUS_SECONDARY_TARGET_VIF_BACKEND_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/xen/xenstore.h"
#include "proto/replication/v1/domain.pb.h"
#include "secondary/target/bridge_port.h"

namespace romulus {

// The backend of one of a standby's network interfaces, made while the standby waits: netback creates its interface as
// soon as the nodes are there and waits (InitWait) for a frontend that connects; until then the port has no carrier.
// What is left for the failover is the guest's own: its netfront finds the backend waiting and connects.
// Blocking; one thread at a time.
class VifBackend {
 public:
  // FAILED_PRECONDITION: no netback, no bridge, no script; DEADLINE_EXCEEDED: netback or the script does not answer.
  // After an error RemoveDomainNodes takes away what was made. `store` and `ports` outlive the VifBackend.
  static absl::StatusOr<std::unique_ptr<VifBackend>> Create(Xenstore& store, BridgePorts& ports, uint32_t domid,
                                                            const replication::v1::Vif& vif);

  // Where a script connected the interface, it also disconnects it. Before RemoveDomainNodes.
  void TearDown();

  // Announces the guest's MAC to the network behind the bridge and points the bridge at the port. The latter needs the
  // frontend to be connected: to be repeated until (and after) `connected`.
  absl::Status Announce();
  absl::StatusOr<bool> connected() const;

  // Of the interface, "vif7.0" or the guest's own choice.
  const std::string& interface() const { return interface_; }

 private:
  VifBackend(Xenstore& store, BridgePorts& ports, uint32_t domid, const replication::v1::Vif& vif);
  absl::Status WriteNodes();
  absl::Status WaitForInterface();
  absl::Status ConnectByNetlink();
  absl::Status ConnectByScript();
  absl::Status RunScript(const std::string& action);

  Xenstore& store_;
  BridgePorts& ports_;
  const uint32_t domid_;
  const replication::v1::Vif vif_;
  const std::string script_;
  const std::string backend_path_;
  const std::string kernel_name_;
  const std::string interface_;
  bool by_script_ = false;
  int bridge_index_ = 0;
  int port_index_ = 0;
  std::vector<std::string> announcement_;
};

// Whether a hotplug script does no more than BridgePorts::Join does in this host's state; "" if so, else why not.
std::string ReasonForVifScript(const replication::v1::Vif& vif);

}  // namespace romulus

#endif  // ROMULUS_SECONDARY_TARGET_VIF_BACKEND_H_
