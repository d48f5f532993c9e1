#ifndef ROMULUS_SECONDARY_TARGET_VIF_BACKENDS_H_
#define ROMULUS_SECONDARY_TARGET_VIF_BACKENDS_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "common/devices/bridge_port.h"
#include "common/xen/xenstore.h"
#include "proto/replication/v1/domain.pb.h"
#include "secondary/target/vif_backend.h"

namespace romulus {

// All network interfaces of one standby. As VifBackend: blocking, one thread at a time. `store` and `ports` outlive it.
class VifBackends {
 public:
  VifBackends(Xenstore& store, BridgePorts& ports) : store_(store), ports_(ports) {}

  // As VifBackend::Create. Those made before an error stay: TakeDown.
  absl::Status Create(const replication::v1::DomainDescription& description, uint32_t domid);

  // Takes them out of their bridges, and back in. FAILED_PRECONDITION: one of them is in no Linux bridge. JoinBridges
  // does nothing where LeaveBridges was not called; it goes on after an error and returns the first.
  absl::Status LeaveBridges();
  absl::Status JoinBridges();

  // Of a standby that will never run. What is not gone in time is logged, and goes with the domain's nodes.
  void TakeDown();

  // Failures are logged: announcing is repeated. True: all were connected before, so there is no need to repeat it.
  bool Announce();

 private:
  Xenstore& store_;
  BridgePorts& ports_;
  std::vector<std::unique_ptr<VifBackend>> vifs_;
};

}  // namespace romulus

#endif  // ROMULUS_SECONDARY_TARGET_VIF_BACKENDS_H_
