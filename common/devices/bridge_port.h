#ifndef ROMULUS_COMMON_DEVICES_BRIDGE_PORT_H_
#define ROMULUS_COMMON_DEVICES_BRIDGE_PORT_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

struct nl_sock;

namespace romulus {

// What Xen's vif-bridge script does to a backend's network interface, over one rtnetlink socket, without a fork.
// Synchronous, one thread at a time. Errors name the interface and the kernel's code.
class BridgePorts {
 public:
  static absl::StatusOr<std::unique_ptr<BridgePorts>> Open();
  ~BridgePorts();

  struct Port {
    int interface_index = 0;
    uint32_t mtu = 0;
  };
  // Renames `interface` to `name` (where it differs), gives it the MAC and MTU of a port, joins it to `bridge`, takes
  // it up. `mtu` 0: the bridge's. NOT_FOUND: no such interface. FAILED_PRECONDITION: no such bridge. ALREADY_EXISTS:
  // the name is taken.
  absl::StatusOr<Port> Join(const std::string& interface, const std::string& name, const std::string& bridge,
                            uint32_t mtu);

  // Takes a port out of its bridge, and joins it to one. In between nothing passes to or from it by itself: a port's
  // own network stack is the host's, which would answer ARP and speak IPv6 there. FAILED_PRECONDITION: it is in none.
  absl::Status Leave(int interface_index);
  absl::Status Rejoin(int interface_index, int bridge_index);

  // An empty clsact qdisc, OK if it has one: Romulus' filters then use that and leave it there. Made later, at a
  // protection's start, it would make the kernel drop what is on its way to the guest (netbuf/README.md); what is
  // made here, before the frontend connects, loses nothing.
  absl::Status AddClsact(int interface_index);

  // Makes the bridge send frames for `mac` to this port from now on, where it may still remember another one.
  // FAILED_PRECONDITION: the port does not forward yet (its backend is not connected).
  absl::Status LearnAddress(int interface_index, const std::string& mac);

  // NOT_FOUND where there is none.
  absl::StatusOr<int> InterfaceIndex(const std::string& interface);

 private:
  explicit BridgePorts(nl_sock* socket) : socket_(socket) {}

  nl_sock* const socket_;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_DEVICES_BRIDGE_PORT_H_
